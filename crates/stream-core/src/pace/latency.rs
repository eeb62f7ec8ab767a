//! How long puts take, by size: the last ones of each class.
//!
//! What was sent twice is counted with the time at which the first copy had answered. That leaves the share which is slower than the
//! bound as it is, so that the bound does not creep down with its own success.

use std::collections::VecDeque;
use std::time::Duration;

/// Puts kept of each class.
const KEPT: usize = 128;
/// The usual time of a class is looked at anew after so many.
const LOOK_EACH: usize = 16;
/// Classes: up to 64 KiB, then four times as much each, without an end for the last.
const CLASSES: usize = 6;

/// Latencies of an object WAL's puts.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    classes: [Class; CLASSES],
    last: Option<usize>,
}

#[derive(Debug, Default)]
struct Class {
    recent: VecDeque<Duration>,
    added: usize,
    /// The median, of late.
    usual: Duration,
    /// What the median was when it was lowest; rises slowly, so that a store that has become another is believed in the end.
    lowest: Duration,
}

impl Latencies {
    /// One more. Whether its class now takes twice as long as it did at its best.
    pub(super) fn add(&mut self, bytes: usize, took: Duration) -> bool {
        let index = class_of(bytes);
        self.last = Some(index);
        let class = &mut self.classes[index];
        if class.recent.len() == KEPT {
            class.recent.pop_front();
        }
        class.recent.push_back(took);
        class.added += 1;
        if !class.added.is_multiple_of(LOOK_EACH) && class.added >= LOOK_EACH {
            return false;
        }
        class.usual = quantile(class.recent.iter().rev().take(2 * LOOK_EACH), 500);
        if class.added < LOOK_EACH {
            return false;
        }
        let lowest = if class.lowest.is_zero() { class.usual } else { class.lowest + class.lowest / 64 };
        class.lowest = lowest.min(class.usual);
        class.usual > class.lowest * 2
    }

    /// The median of the class that was met last.
    pub(super) fn usual(&self) -> Option<Duration> {
        self.last.map(|index| self.classes[index].usual)
    }

    /// What nine in ten of that size stay below, once there were so many.
    pub(super) fn slow(&self, bytes: usize, samples_min: usize) -> Option<Duration> {
        let recent = &self.classes[class_of(bytes)].recent;
        (recent.len() >= samples_min.clamp(1, KEPT)).then(|| quantile(recent.iter(), 900))
    }
}

fn class_of(bytes: usize) -> usize {
    let blocks = (bytes.max(1) - 1) >> 16;
    let doublings = usize::BITS - blocks.leading_zeros();
    usize::try_from(doublings.div_ceil(2)).unwrap_or(CLASSES).min(CLASSES - 1)
}

/// The value that so many per mille stay below; of at least one.
fn quantile<'a>(values: impl Iterator<Item = &'a Duration>, per_mille: usize) -> Duration {
    let mut values: Vec<Duration> = values.copied().collect();
    let index = (values.len() * per_mille / 1000).min(values.len().saturating_sub(1));
    if values.is_empty() { Duration::ZERO } else { *values.select_nth_unstable(index).1 }
}
