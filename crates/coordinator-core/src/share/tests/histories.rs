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
    assert_eq!(first_wrong("", 500), None);
}

#[test]
fn each_broken_rule_is_missed() {
    let rules = [
        "initialize fences",
        "a repeat changes nothing",
        "a write's state epoch is compared",
        "an older leader is fenced",
        "reading fences older leaders",
        "only what is initialised is shared out",
        "only the last answer counts",
    ];
    for rule in rules {
        let found = first_wrong(rule, 2000);
        assert!(found.is_some(), "{rule}");
    }
}
