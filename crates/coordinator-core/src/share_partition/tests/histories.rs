//! Random histories: with all rules none of them goes wrong, and with any one broken some do.

use super::broken::without;
use super::world::World;

const STEPS: usize = 300;

/// The first history that goes wrong while a rule is broken, and how.
fn first_wrong(rule: &'static str, seeds: u64) -> Option<(u64, &'static str)> {
    without(rule, || (0..seeds).find_map(|seed| World::new(seed).run(STEPS).err().map(|what| (seed, what))))
}

#[test]
fn no_history_goes_wrong() {
    assert_eq!(first_wrong("", 2000), None);
}

/// By their names in the code; `crates/models/src/share_partition` has the same, and those that the persister has to hold to.
#[test]
fn each_broken_rule_is_missed() {
    let rules = [
        "hides unconfirmed",
        "start waits",
        "rolls back",
        "archives what is delivered too often",
        "counts survive",
        "gaps are delivered",
        "answers confirmed",
        "one write at a time",
        "expiry waits",
        "expiry is remembered",
        "compares the member",
    ];
    for rule in rules {
        assert!(first_wrong(rule, 4000).is_some(), "{rule}");
    }
}
