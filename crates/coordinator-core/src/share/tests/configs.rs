//! The configs of a group.

use crate::{ShareConfigError, ShareConfigs};

#[test]
fn configs_have_kafkas_names_defaults_and_bounds() {
    let mut configs = ShareConfigs::default();
    assert_eq!(ShareConfigs::defaults().count(), 9);
    for (name, default) in ShareConfigs::defaults() {
        assert_eq!(configs.get(name), Some(default));
        configs.set(name, default).unwrap();
    }
    assert_eq!(configs.get("share.nothing"), None);
    let unknown = Err(ShareConfigError::Unknown("share.nothing".to_owned()));
    assert_eq!(configs.set("share.nothing", "1"), unknown);
    for (name, wrong, right) in [
        ("share.session.timeout.ms", "44999", "60000"),
        ("share.heartbeat.interval.ms", "15001", "5000"),
        ("share.record.lock.duration.ms", "14999", "15000"),
        ("share.delivery.count.limit", "11", "2"),
        ("share.partition.max.record.locks", "x", "4000"),
        ("share.assignment.interval.ms", "-1", "0"),
        ("share.isolation.level", "any", "read_committed"),
        ("share.renew.acknowledge.enable", "", "false"),
        ("share.auto.offset.reset", "none", "by_duration:PT1H"),
    ] {
        let before = configs.clone();
        assert!(configs.set(name, wrong).is_err(), "{name}");
        assert_eq!(configs, before);
        configs.set(name, right).unwrap();
        assert_eq!(configs.get(name), Some(right));
    }
    configs.unset("share.delivery.count.limit");
    assert_eq!(configs.get("share.delivery.count.limit"), Some("5"));
}

#[test]
fn durations_are_java_ones() {
    let mut configs = ShareConfigs::default();
    let mut is_taken = |text: &str| configs.set("share.auto.offset.reset", text).is_ok();
    for right in ["PT1H", "P1D", "P1DT2H3M4.5S", "pt10s", "P2DT1M"] {
        assert!(is_taken(&format!("by_duration:{right}")), "{right}");
    }
    for wrong in ["", "P", "PT", "1H", "PT1", "P1H", "PT-1H", "-PT1H", "PT1M1H", "PT1.5H", "P1DT", "PT1ä", "PTS"] {
        assert!(!is_taken(&format!("by_duration:{wrong}")), "{wrong}");
    }
}
