//! The planted bugs that the ordinary workload must find, and the report of how many seeds each takes.
//!
//! The names are those of the broken variants of the protocols that the design was model-checked with (`docs/rules.md` has the rules that each breaks). Each is woken in a process of its own,
//! since a process can wake only one.

use std::ops::Range;
use std::process::Command;

/// Every planted bug that the report searches for.
pub const NAMES: [&str; 102] = [
    "B1",
    "B2",
    "B3",
    "B4",
    "B5",
    "B6",
    "B7",
    "B8",
    "D3",
    "D6",
    "O2",
    "A1",
    "A2",
    "A3",
    "A10",
    "T1",
    "T2",
    "T3",
    "T4",
    "T7",
    "S1",
    "R2",
    "R7",
    "acknowledge before durable",
    "trim before commit",
    "torn tail accepted",
    "tail cut too early",
    "commit of a gap",
    "offset reused",
    "snapshot without its last entry",
    "directory not synced",
    "G1",
    "G3",
    "assignment told before it is durable",
    "commit of an old generation",
    "trim before the copy is confirmed",
    "copy that misses an offset",
    "producer state left out of a commit",
    "producer state lost with deleted records",
    "producer state goes back",
    "producers of a dead log forgotten",
    "repeat answered before it is confirmed",
    "producer id twice",
    "R3",
    "R4",
    "R5",
    "Replace loses a reference",
    "merge loses a block",
    "sweep deletes a shared object",
    "compaction drops the last record of a key",
    "tombstone gone too early",
    "shared log not checked",
    "C11",
    "shared log read before its fence",
    "fence collected",
    "spilled block read from a wrapped position",
    "hedge counted as a second group",
    "acknowledged on the first of two ambiguous answers",
    "taken for one's own",
    "W2",
    "W1",
    "trim of another log",
    "moved before it is drained",
    "producers forgotten by a move",
    "producer state left behind by a move",
    "log in the bucket recovered without a fence",
    "tail of another's dead log passed over",
    "producers of another's dead log not waited for",
    "F1",
    "F5",
    "F6",
    "F7",
    "F9",
    "F11",
    "F12",
    "F13",
    "an abort raises the epoch",
    "waits until complete",
    "forgets the last epoch",
    "raises the epoch",
    "a late EndTxn ends nothing",
    "all partitions are told",
    "markers are sent again",
    "a takeover sends the markers",
    "a fenced producer adds nothing",
    "offsets count before their transaction does",
    "aborted offsets count",
    "copy that forgets transactions",
    "a replayed commit aborts",
    "a lost answer counts as a marker",
    "offsets told before they are durable",
    "a repeated marker ends offsets",
    "offset 0 where none is known",
    "read beyond the last stable offset",
    "aborted transactions not told",
    "a repeat is told another offset",
    "duplicate write",
    "a takeover keeps the time",
    "unstable offsets told",
    "crash at a late marker",
    "F3",
    "F10",
];

/// Planted, and not found by the ordinary workload yet: `--mutant` searches for one of them, the report passes them over.
///
/// State beyond what is confirmed needs an upload between an append and its confirmation, and then a crash that loses the append and a repeat
/// of it.
///
/// R1 and a Replace by a dead start need the late copy of one start's Replace behind another start's compaction of the same objects;
/// `crates/control-core/src/apply/tests/replace.rs` tells both stories.
///
/// Nobody writes transactions to a compacted topic, so no cleaning meets an aborted one or a marker; `crates/broker/src/cleaner/filter_tests.rs`
/// finds both bugs.
///
/// A start that waits for a dead log which others have deleted goes on after half a minute, which the storms mostly outlast;
/// `crates/stream/tests/recoverers.rs` finds it.
///
/// Nobody gives a log up in the storms, nor comes 2^36 offsets ahead of the bucket; `crates/stream/tests/abandon.rs` finds both bugs.
///
/// F8 alone does no harm that a client sees: what ends a transaction makes the question worthless that a late batch was granted by. *Compared
/// before an abort* only lets a fenced producer abort its successor's transaction, which is told so. The histories of the cores find both, and
/// F2, which needs a broker that is lost just between what it told too early and its confirmation, while another broker has acted on it;
/// [`crate::plan::Fault::SlowDeath`] is made for that, F4 and the stalest answers of G2. Sixty seeds found none of these.
pub const NOT_FOUND_YET: [&str; 13] = [
    "producer state beyond what is confirmed",
    "R1",
    "Replace by a dead start",
    "compaction drops a control batch",
    "compaction drops an abort range",
    "a dead log waited for that others have deleted",
    "numbered beyond the ceiling",
    "abandoned at the committed end",
    "F2",
    "F4",
    "F8",
    "G2",
    "compared before an abort",
];

/// Seeds that a planted bug may take at the most.
pub const SEEDS_MAX: u64 = 200;
/// Where each bug's searches begin: the median of several says more than one.
const STARTS: [u64; 3] = [1, 10_001, 20_001];

/// Wakes a planted bug for the rest of the process.
///
/// # Errors
/// The build has none, or there is none of that name.
pub fn wake(name: &str) -> Result<(), String> {
    if !NAMES.contains(&name) && !NOT_FOUND_YET.contains(&name) {
        return Err(format!("no planted bug is called {name:?}; there are {NAMES:?} and {NOT_FOUND_YET:?}"));
    }
    #[cfg(mutants)]
    {
        base::mutant::wake(name);
        Ok(())
    }
    #[cfg(not(mutants))]
    Err("this build has no planted bugs; build it with RUSTFLAGS='--cfg mutants' --target-dir target/mutants"
        .to_owned())
}

/// How often the code passed the place of the bug that is awake.
#[must_use]
pub fn reached() -> u64 {
    #[cfg(mutants)]
    return base::mutant::reached();
    #[cfg(not(mutants))]
    0
}

/// Searches for every bug and returns the lines of the report, and whether all were found.
///
/// # Errors
/// This program can't start itself.
pub fn report(names: &[&str], mut tell: impl FnMut(String)) -> Result<bool, String> {
    let mut all = true;
    for name in names {
        let mut needed = Vec::new();
        for start in STARTS {
            needed.push(search(name, start..start + SEEDS_MAX)?);
        }
        needed.sort_by_key(|found| found.unwrap_or(u64::MAX));
        let shown: Vec<_> = needed
            .iter()
            .map(|found| found.map_or_else(|| "not found".to_owned(), |seeds| seeds.to_string()))
            .collect();
        let median = &shown[shown.len() / 2];
        all &= needed.last().copied().flatten().is_some();
        tell(format!("{name:<34} median {median:>9} seeds   ({})", shown.join(", ")));
    }
    Ok(all)
}

/// How many seeds of the range it takes to find the bug.
fn search(name: &str, seeds: Range<u64>) -> Result<Option<u64>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args(["--mutant", name, "--seeds", &format!("{}..{}", seeds.start, seeds.end)])
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found =
        text.lines().find_map(|line| line.strip_prefix("found at seed ")?.split(':').next()?.parse::<u64>().ok());
    Ok(found.map(|seed| seed - seeds.start + 1))
}
