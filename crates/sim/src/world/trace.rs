//! The trace: every seam call and answer, with a hash of its bytes, folded into one number.
//!
//! The same seed must give the same number, or a seed does not tell one story. The trace also counts what happened to the
//! run (faults that struck, checks that looked), by which a run that exercised nothing is told from a green one.

use crate::world::now;
use base::Micros;
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

/// The trace of one run; clones share it.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    hash: u64,
    events: u64,
    line: String,
    sink: Option<Box<dyn std::io::Write + Send>>,
    counts: BTreeMap<&'static str, u64>,
}

impl Trace {
    /// A trace that also writes its lines to `sink`.
    #[must_use]
    pub fn new(sink: Option<Box<dyn std::io::Write + Send>>) -> Trace {
        Trace(Arc::new(Mutex::new(Inner {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            line: String::new(),
            sink,
            counts: BTreeMap::new(),
        })))
    }

    /// One call or answer at a seam.
    pub fn event(&self, who: &str, what: fmt::Arguments<'_>) {
        let Micros(at) = now();
        let mut inner = self.lock();
        let mut line = std::mem::take(&mut inner.line);
        line.clear();
        let formatted = write!(line, "{at:>12} {who} {what}");
        debug_assert!(formatted.is_ok(), "formatting into a string never fails");
        inner.hash = fold(inner.hash, line.as_bytes());
        inner.events += 1;
        if let Some(sink) = inner.sink.as_mut() {
            line.push('\n');
            // A trace that can't be written is of no use, and nothing of the run depends on it.
            if sink.write_all(line.as_bytes()).is_err() {
                inner.sink = None;
            }
        }
        inner.line = line;
    }

    /// A draw of randomness: into the hash, but not worth a line.
    pub fn mix(&self, value: u64) {
        let mut inner = self.lock();
        inner.hash = fold(inner.hash, &value.to_le_bytes());
    }

    /// Counts something that happened: a fault kind that struck, a checker that looked.
    pub fn count(&self, what: &'static str) {
        self.count_by(what, 1);
    }

    /// Counts something that happened `by` times.
    pub fn count_by(&self, what: &'static str, by: u64) {
        *self.lock().counts.entry(what).or_default() += by;
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counts.clone()
    }

    /// The hash so far, and the number of events.
    #[must_use]
    pub fn hash(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.hash, inner.events)
    }

    /// Writes out what the sink still holds.
    pub fn finish(&self) {
        if let Some(sink) = self.lock().sink.as_mut() {
            // As above: a trace that can't be written changes nothing of the run.
            drop(sink.flush());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// FNV-1a, eight bytes at a time. Differences show; nobody attacks it.
fn fold(mut hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x0100_0000_01b3);
        hash ^= hash >> 29;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}
