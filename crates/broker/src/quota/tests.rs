//! Which quota counts for whom, and what becomes of those who are not seen again.

use super::*;
use control_core::{QuotaEntity, QuotaName, QuotaValue};
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000;

fn name(text: &str) -> Option<QuotaName> {
    match text {
        "" => None,
        "*" => Some(QuotaName::Default),
        of => Some(QuotaName::Of(of.to_owned())),
    }
}

/// Quotas of one kind by (user, client id).
fn image(quota: &str, all: &[(&str, &str, f64)]) -> Image {
    let mut image = Image::default();
    for (user, client_id, value) in all {
        let entity = QuotaEntity { user: name(user), client_id: name(client_id), ip: None };
        let quotas = BTreeMap::from([(quota.to_owned(), QuotaValue::new(*value))]);
        image.quotas.insert(entity, Arc::new(quotas));
    }
    image
}

fn quotas() -> Quotas {
    Quotas::new(&BrokerOptions::default())
}

fn limit(image: &Image, user: &str, client_id: &str) -> Option<f64> {
    quotas().limit(image, Kind::Produced, user, client_id).map(|(limit, _)| limit)
}

#[test]
fn of_several_the_one_counts_that_says_most_of_the_client() {
    let mut all = vec![
        ("u", "c", 1.0),
        ("u", "*", 2.0),
        ("u", "", 3.0),
        ("*", "c", 4.0),
        ("*", "*", 5.0),
        ("*", "", 6.0),
        ("", "c", 7.0),
        ("", "*", 8.0),
    ];
    let expected = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    for expected in expected {
        let image = image("producer_byte_rate", &all);
        assert_eq!(limit(&image, "u", "c"), Some(expected));
        all.remove(0);
    }
    assert_eq!(limit(&image("producer_byte_rate", &all), "u", "c"), None);
    let of_fetches = image("consumer_byte_rate", &[("u", "", 3.0)]);
    assert_eq!(limit(&of_fetches, "u", "c"), None, "each kind stands alone");
    let by_client_ids = image("producer_byte_rate", &[("", "*", 3.0)]);
    assert_eq!(limit(&by_client_ids, "u", ""), None, "who does not name itself has no default of client ids");
}

#[test]
fn a_user_shares_its_quota_among_its_clients_and_a_default_is_everybodys_own() {
    let throttled = |image: &Image, client: (&str, &str)| {
        let quotas = quotas();
        quotas.record(image, Use::Produced, ("u", "c"), 20_000.0, Micros(0));
        quotas.record(image, Use::Produced, client, 1.0, Micros(0)) > 0
    };
    let by_user = image("producer_byte_rate", &[("*", "", 1000.0)]);
    assert!(throttled(&by_user, ("u", "another")));
    assert!(!throttled(&by_user, ("another", "c")));
    let by_client_id = image("producer_byte_rate", &[("", "*", 1000.0)]);
    assert!(throttled(&by_client_id, ("another", "c")));
    assert!(!throttled(&by_client_id, ("u", "another")));
    let by_both = image("producer_byte_rate", &[("*", "*", 1000.0)]);
    assert!(throttled(&by_both, ("u", "c")));
    assert!(!throttled(&by_both, ("another", "c")) && !throttled(&by_both, ("u", "another")));
}

#[test]
fn a_quota_that_changes_acts_at_once() {
    let quotas = quotas();
    let client = ("u", "c");
    let before = image("producer_byte_rate", &[("u", "", 1000.0)]);
    assert_eq!(quotas.record(&before, Use::Produced, client, 20_000.0, Micros(0)), 10_000);
    let after = image("producer_byte_rate", &[("u", "", 4000.0)]);
    assert_eq!(quotas.record(&after, Use::Produced, client, 0.0, Micros(0)), 0);
    assert_eq!(quotas.record(&Image::default(), Use::Produced, client, 1e9, Micros(0)), 0);
}

#[test]
fn time_is_throttled_for_one_window_at_the_most() {
    let image = image("request_percentage", &[("u", "", 1.0)]);
    assert_eq!(quotas().record(&image, Use::Requests, ("u", "c"), 10_000.0, Micros(0)), 1000);
}

#[test]
fn changes_of_topics_are_refused_or_only_throttled() {
    let image = image("controller_mutation_rate", &[("u", "", 2.0)]);
    let quotas = quotas();
    let change = |count: usize, strictness: Strictness, second: u64| {
        quotas.record_mutation(&image, ("u", "c"), (count, strictness), Micros(second * SECOND))
    };
    assert_eq!(change(30, Strictness::Strict, 0), Ok(()), "any number while there is something left");
    assert_eq!(change(1, Strictness::Strict, 0), Err(4000), "22 were there");
    assert_eq!(change(1, Strictness::Strict, 3), Err(1000), "what was refused does not count");
    assert_eq!(change(1, Strictness::Permissive, 3), Err(1500), "it was done");
    assert_eq!(change(1, Strictness::Strict, 5), Ok(()));
}

#[test]
fn an_address_that_connects_too_often_waits_and_what_was_not_served_does_not_count() {
    let mut image = Image::default();
    let mut put = |ip: QuotaName, value: f64| {
        let entity = QuotaEntity { ip: Some(ip), ..QuotaEntity::default() };
        let quotas = BTreeMap::from([("connection_creation_rate".to_owned(), QuotaValue::new(value))]);
        image.quotas.insert(entity, Arc::new(quotas));
    };
    put(QuotaName::Default, 1.0);
    put(QuotaName::Of("10.0.0.1".to_owned()), 2.0);
    let quotas = quotas();
    let accepted = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        (0..100).filter(|_| quotas.record_connection(&image, address, Micros(0)).is_none()).count()
    };
    assert_eq!(accepted("10.0.0.1"), 20, "ten seconds of two");
    assert_eq!(accepted("::ffff:10.0.0.1"), 0, "it is the same");
    assert_eq!(accepted("10.0.0.2"), 10);
    let wait = quotas.record_connection(&image, "10.0.0.2".parse().unwrap(), Micros(0)).unwrap();
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
}

#[test]
fn a_million_client_ids_take_no_more_memory_than_some_thousand_and_idle_ones_none() {
    let image = image("producer_byte_rate", &[("", "*", 1000.0)]);
    let quotas = quotas();
    for number in 0..1_000_000 {
        let client_id = format!("a client with a name of its own, {number}");
        quotas.record(&image, Use::Produced, ("u", client_id.as_str()), 1.0, Micros(number));
    }
    let count = lock(&quotas.produced).count();
    assert!((4_000..=8_192).contains(&count), "{count}");
    let mut bytes = 0;
    for number in 0..10_000 {
        let client_id = format!("{number:030000}");
        quotas.record(&image, Use::Produced, ("u", client_id.as_str()), 1.0, Micros(1_000_000 + number));
        bytes = lock(&quotas.produced).count() * client_id.len();
    }
    assert!(bytes <= 5 << 20, "long names count by their bytes: {bytes}");
    for later in 1..4 {
        quotas.record(&image, Use::Produced, ("u", "c"), 1.0, Micros(later * 20 * SECOND));
    }
    assert_eq!(lock(&quotas.produced).count(), 1);
}

#[test]
fn who_owes_changes_is_not_forgotten_before_it_has_paid() {
    let image = image("controller_mutation_rate", &[("", "*", 1.0)]);
    let quotas = quotas();
    let change = |client_id: &str, second: u64| {
        quotas.record_mutation(&image, ("u", client_id), (1, Strictness::Strict), Micros(second * SECOND))
    };
    let debt = (1000, Strictness::Permissive);
    assert_eq!(quotas.record_mutation(&image, ("u", "c"), debt, Micros(0)), Err(989_000));
    for second in (1..100).step_by(5) {
        assert_eq!(change("another", second), Ok(()));
    }
    assert_eq!(change("c", 100), Err(889_000));
}

#[test]
fn who_has_used_nothing_for_an_hour_is_forgotten_whatever_it_owes() {
    let options = BrokerOptions {
        quota_windows: QuotaWindows { count: 100, seconds: 3600 },
        controller_quota_windows: QuotaWindows { count: 100, seconds: 3600 },
        ..BrokerOptions::default()
    };
    let quotas = Quotas::new(&options);
    let rates = image("producer_byte_rate", &[("", "*", 1.0)]);
    let waits = |second: u64| quotas.record(&rates, Use::Produced, ("u", "c"), 0.0, Micros(second * SECOND)) > 0;
    quotas.record(&rates, Use::Produced, ("u", "c"), 1e9, Micros(0));
    assert!(waits(1800) && waits(5000), "as long as it comes again");
    assert!(!waits(5000 + 3600));
    let changes = image("controller_mutation_rate", &[("", "*", 1.0)]);
    let change = |count: usize, second: u64| {
        let how = (count, Strictness::Permissive);
        quotas.record_mutation(&changes, ("u", "c"), how, Micros(second * SECOND)).is_ok()
    };
    assert!(!change(1_000_000, 0) && !change(1, 3000));
    assert!(change(1, 3000 + 3600));
}
