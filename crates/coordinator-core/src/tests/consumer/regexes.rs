//! Subscriptions by regular expression.

use super::bench::{Bench, beats, joins, of, owns};
use crate::{ConsumerOptions, GroupError, GroupOptions, HeartbeatRequest, LEAVES};

fn matching(member_id: &str, regex: &str) -> HeartbeatRequest {
    HeartbeatRequest { names: None, regex: Some(regex.to_owned()), ..joins(member_id, &[]) }
}

fn regexes(bench: &Bench) -> Vec<(String, Vec<String>)> {
    let each = bench.consumer().regexes().iter();
    each.map(|(regex, resolved)| (regex.clone(), resolved.topics.iter().cloned().collect())).collect()
}

#[test]
fn whole_names_are_matched() {
    let mut bench = Bench::new(&[("t1", 1), ("t2", 1), ("at1", 1), ("u", 1)]);
    bench.beat(&matching("a", "t[12]|u")).unwrap();
    let topics = ["t1", "t2", "u"].map(str::to_owned).to_vec();
    assert_eq!(regexes(&bench), [("t[12]|u".to_owned(), topics)]);
    bench.restart();
    assert_eq!(regexes(&bench).len(), 1);
    assert!(bench.beat(&beats("a", 1)).unwrap().assignment.is_none());
    bench.beat(&beats("a", LEAVES)).unwrap();
    assert_eq!(regexes(&bench), [], "nobody subscribes to it any more");
}

#[test]
fn names_and_a_regular_expression_add_up() {
    let mut bench = Bench::new(&[("t", 1), ("u", 1), ("v", 1)]);
    let both = HeartbeatRequest { names: Some(vec!["u".to_owned()]), ..matching("a", "t|u") };
    let assignment = bench.beat(&both).unwrap().assignment.unwrap();
    assert_eq!(assignment.keys().copied().collect::<Vec<_>>(), [bench.id("t"), bench.id("u")]);
}

#[test]
fn what_is_wrong_or_too_large_is_refused() {
    let mut bench = Bench::new(&[("t", 1)]);
    let large = "(?:\\w{100}){100}";
    for regex in ["(", "a)(?:b", "a)|(b", "\\", large, &"t".repeat(9_000)] {
        assert_eq!(bench.beat(&matching("a", regex)), Err(GroupError::InvalidRegex), "{regex:.20}");
    }
    assert!(bench.log.is_empty());
    // What would take other engines for ever.
    assert!(bench.beat(&matching("a", "(t*)*x")).is_ok());
    let consumer = ConsumerOptions { regexes_max: 1, ..ConsumerOptions::default() };
    let mut bench = Bench::with(GroupOptions { consumer, ..GroupOptions::default() }, &[("t", 1)]);
    bench.beat(&matching("a", "t")).unwrap();
    assert_eq!(bench.beat(&matching("b", "t.*")), Err(GroupError::Full));
    assert!(bench.beat(&matching("b", "t")).is_ok(), "the same one");
}

#[test]
fn a_topic_that_comes_later_is_found_in_time() {
    let mut bench = Bench::new(&[("t1", 1)]);
    bench.beat(&matching("a", "t.*")).unwrap();
    bench.pass_seconds(2);
    bench.make_topic("t2", 1);
    assert_eq!(bench.beat(&beats("a", 1)).unwrap().assignment, None, "all topics are looked at every now and then");
    bench.pass_seconds(8);
    let answer = bench.beat(&beats("a", 1)).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment.unwrap().len()), (2, 2));
    bench.make_topic("u", 1);
    bench.pass_seconds(10);
    let log = bench.log.len();
    bench.beat(&beats("a", 2)).unwrap();
    assert_eq!(bench.log.len(), log, "it does not match");
    bench.make_topic("t3", 1);
    bench.restart();
    bench.pass_seconds(2);
    assert_eq!(bench.beat(&beats("a", 2)).unwrap().assignment.unwrap().len(), 3, "at once after a takeover");
}

#[test]
fn a_member_changes_its_regular_expression() {
    let mut bench = Bench::new(&[("t", 1), ("u", 1)]);
    bench.beat(&matching("a", "t")).unwrap();
    bench.pass_seconds(2);
    let other = HeartbeatRequest { regex: Some("u".to_owned()), ..owns("a", 1, of(bench.id("t"), [0])) };
    let answer = bench.beat(&other).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (1, Some(crate::Partitions::new())));
    assert_eq!(regexes(&bench), [("u".to_owned(), vec!["u".to_owned()])]);
    let u = bench.id("u");
    assert_eq!(bench.beat(&owns("a", 1, of(u, []))).unwrap().assignment, Some(of(u, [0])));
    bench.pass_seconds(2);
    let none = HeartbeatRequest { regex: Some(String::new()), names: Some(vec![]), ..owns("a", 2, of(u, [0])) };
    bench.beat(&none).unwrap();
    assert_eq!(regexes(&bench), []);
    assert_eq!(bench.beat(&owns("a", 2, of(u, []))).unwrap().member_epoch, 3);
}

#[test]
fn what_a_crash_has_left_of_an_expression_goes_with_the_next_heartbeat() {
    let mut bench = Bench::new(&[("orders", 2)]);
    bench.beat(&HeartbeatRequest { regex: Some("ord.*".to_owned()), ..joins("a", &[]) }).unwrap();
    assert!(bench.consumer().is_subscribed("orders"));
    let before = bench.log.len();
    let unsubscribes = HeartbeatRequest { regex: Some(String::new()), names: Some(Vec::new()), ..beats("a", 1) };
    bench.beat(&unsubscribes).unwrap();
    // The group's epoch and what the member says of itself; that the match is gone is lost.
    bench.log.truncate(before + 2);
    bench.restart();
    assert!(bench.consumer().is_subscribed("orders"));
    bench.beat(&unsubscribes).unwrap();
    assert!(!bench.consumer().is_subscribed("orders"));
    bench.restart();
    assert!(!bench.consumer().is_subscribed("orders"));
}
