//! `millstream topic` where it is asked for several things at once, or for what does not act.

use crate::support::commands::{Cluster, json};

#[test]
fn each_of_several_is_tried_and_those_that_fail_are_named() {
    let cluster = Cluster::start();
    let told = cluster.ok(&["topic", "create", "a", "b", "c", "--partitions", "2"]);
    assert_eq!(told, "created a with 2 partitions\ncreated b with 2 partitions\ncreated c with 2 partitions\n");
    let (code, line) = cluster.fails(&["topic", "create", "a", "d", "b"], b"");
    assert_eq!(code, Some(1));
    assert!(line.contains("2 of 3 topics failed: create topic a: ") && line.contains("; create topic b: "), "{line}");
    let (code, line) = cluster.fails(&["topic", "delete", "nowhere", "a", "neither", "b"], b"");
    assert_eq!(code, Some(1));
    assert!(
        line.contains("2 of 4 topics failed: delete topic nowhere: ") && line.contains("; delete topic neither: "),
        "{line}"
    );
    assert_eq!(cluster.ok(&["topic", "list"]), "c  2 partitions\nd  1 partition\n");
    cluster.ok(&["consume", "c", "--group", "g"]);
    cluster.ok(&["consume", "c", "--group", "h"]);
    let (code, line) = cluster.fails(&["group", "delete", "none", "g", "h"], b"");
    assert!(code == Some(1) && line.contains("1 of 3 groups failed: ") && line.contains("group none"), "{line}");
    assert_eq!(cluster.ok(&["group", "list"]), "");
}

#[test]
fn what_is_there_already_or_gone_already_is_no_failure_where_that_is_said() {
    let cluster = Cluster::start();
    let create = ["topic", "create", "t", "--if-not-exists"];
    assert_eq!(cluster.ok(&create), "created t with 1 partition\n");
    assert_eq!(cluster.ok(&create), "t is there, with 1 partition\n");
    let told = json(&cluster.ok(&[&create[..], &["--json"]].concat()));
    assert_eq!((&told["created"], &told["partitions"]), (&false.into(), &1.into()));
    let delete = ["topic", "delete", "t", "--if-exists"];
    assert_eq!(cluster.ok(&delete), "deleted t\n");
    assert_eq!(cluster.ok(&delete), "t is not there\n");
    assert_eq!(json(&cluster.ok(&[&delete[..], &["--json"]].concat()))["deleted"], false);
}

#[test]
fn the_clusters_own_topic_is_not_deleted_by_mistake() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t"]);
    cluster.ok_with(&["produce", "t"], b"x\n");
    cluster.ok(&["consume", "t", "--group", "g"]);
    let own = "__consumer_offsets";
    let (code, line) = cluster.fails(&["topic", "delete", own], b"");
    assert!(code == Some(2) && line.contains("--internal"), "{line}");
    assert_eq!(cluster.ok(&["consume", "t", "--group", "g"]), "", "what was committed is there");
    assert_eq!(cluster.ok(&["topic", "delete", own, "--internal"]), format!("deleted {own}\n"));
}

#[test]
fn a_setting_that_does_not_do_what_its_name_says_is_told_when_it_is_set() {
    let cluster = Cluster::start();
    let told = cluster.ok(&["topic", "create", "t", "--set", "segment.jitter.ms=60000", "--set", "retention.ms=60000"]);
    assert!(told.starts_with("created t with 1 partition\nnote: segment.jitter.ms is without object here: "), "{told}");
    assert_eq!(told.lines().count(), 2, "what acts needs no note: {told}");
    let alter = ["topic", "alter", "t", "--set", "flush.ms=1"];
    assert!(cluster.ok(&alter).starts_with("changed t\nnote: flush.ms is without object here: "));
    let told = json(&cluster.ok(&[&alter[..], &["--json"]].concat()));
    let notes = told["notes"].as_array().unwrap();
    assert!(notes.len() == 1 && notes[0].as_str().unwrap().starts_with("flush.ms is"), "{told}");
    assert_eq!(cluster.ok(&["topic", "alter", "t", "--unset", "flush.ms"]), "changed t\n");
}

#[test]
fn a_change_is_made_whole_or_not_at_all() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t", "--partitions", "2"]);
    let setting = || {
        let told = json(&cluster.ok(&["topic", "describe", "t", "--json"]));
        (told["settings"].as_array().unwrap().len(), told["partitions"].as_array().unwrap().len())
    };
    let (code, line) = cluster.fails(&["topic", "alter", "t", "--set", "retention.ms=5000", "--partitions", "1"], b"");
    assert!(code == Some(2) && line.contains("give topic t 1 partition: "), "{line}");
    let wrong = ["topic", "alter", "t", "--set", "retention.ms=many", "--partitions", "3"];
    let (code, line) = cluster.fails(&wrong, b"");
    assert!(code == Some(2) && line.contains("retention.ms"), "{line}");
    let wrong = ["topic", "alter", "t", "--unset", "retention.m", "--set", "retention.ms=5000"];
    let (code, line) = cluster.fails(&wrong, b"");
    assert!(code == Some(2) && line.contains("--unset retention.m: ") && line.contains("describe t --all"), "{line}");
    assert_eq!(setting(), (0, 2));
    cluster.ok(&["topic", "alter", "t", "--set", "retention.ms=5000", "--partitions", "3"]);
    assert_eq!(setting(), (1, 3));
}
