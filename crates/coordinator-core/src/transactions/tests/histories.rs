//! Random histories: with all rules none of them goes wrong, and with any one broken some do.

use super::broken::without;
use super::world::World;

const STEPS: usize = 400;

/// The first history that goes wrong while a rule is broken, and how.
fn first_wrong(rule: &'static str, seeds: u64) -> Option<(u64, &'static str)> {
    without(rule, || (0..seeds).find_map(|seed| World::new(seed).run(STEPS).err().map(|what| (seed, what))))
}

#[test]
fn no_history_goes_wrong() {
    assert_eq!(first_wrong("", 1500), None);
}

/// By the names of `docs/rules.md` (F-1 to F-5) and of the models that they come from.
#[test]
fn each_broken_rule_is_missed() {
    let rules = [
        "F1",
        "F2",
        "F3",
        "F5",
        "F6",
        "F8",
        "F9",
        "F10",
        "F11",
        "F12",
        "F13",
        "raises the epoch",
        "forgets the last epoch",
        "compared before an abort",
        "waits until complete",
        "an abort raises the epoch",
    ];
    for rule in rules {
        let found = first_wrong(rule, 4000);
        assert!(found.is_some(), "{rule}");
    }
}
