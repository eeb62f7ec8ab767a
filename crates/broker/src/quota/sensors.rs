//! What clients have used, of those that use something now.
//!
//! A client that has used nothing for so long that it would be as new is forgotten. So that very many names can't fill the memory, there are
//! two generations of a bounded size: who uses something comes into the young one, which becomes the old one when it is full, or when that
//! much time has passed. Kafka forgets a client after an hour, and has no other bound.

use super::window::QuotaWindows;
use super::{Client, Rate};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

/// What one generation takes at the most, about.
const GENERATION_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a client takes beside its name and its windows, about.
const CLIENT_BYTES: usize = 160;

/// A window of it.
const WINDOW_BYTES: usize = 24;

/// Who may use something.
pub(super) trait Name: Ord {
    /// Bytes that it takes beside its fixed size.
    fn bytes(&self) -> usize;
}

impl Name for Client {
    fn bytes(&self) -> usize {
        self.user.len() + self.client_id.len()
    }
}

impl Name for IpAddr {
    fn bytes(&self) -> usize {
        0
    }
}

/// What each of them has used.
#[derive(Debug)]
pub(super) struct Sensors<K, S = Rate> {
    windows: QuotaWindows,
    /// Whether one need not be kept.
    is_at_rest: fn(&S, QuotaWindows, u64) -> bool,
    young: BTreeMap<K, S>,
    old: BTreeMap<K, S>,
    young_bytes: usize,
    /// When the young ones began, in milliseconds.
    turned: u64,
}

impl<K: Name, S> Sensors<K, S> {
    pub(super) fn new(windows: QuotaWindows, is_at_rest: fn(&S, QuotaWindows, u64) -> bool) -> Sensors<K, S> {
        Sensors { windows, is_at_rest, young: BTreeMap::new(), old: BTreeMap::new(), young_bytes: 0, turned: 0 }
    }

    /// That of one, as it is, or made anew.
    pub(super) fn of(&mut self, name: K, now: u64, make: impl FnOnce() -> S) -> &mut S {
        let is_full = self.young_bytes >= GENERATION_BYTES_MAX;
        if is_full || now.saturating_sub(self.turned) >= self.windows.span_ms() {
            self.turn(now, is_full);
        }
        match self.young.entry(name) {
            Entry::Occupied(it) => it.into_mut(),
            Entry::Vacant(free) => {
                self.young_bytes += bytes(free.key(), self.windows);
                let sensor = self.old.remove(free.key()).unwrap_or_else(make);
                free.insert(sensor)
            }
        }
    }

    /// The young ones are old from now on. Of the old ones those stay that are owed something, unless there are too many.
    fn turn(&mut self, now: u64, is_full: bool) {
        let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        (self.young_bytes, self.turned) = (0, now);
        if is_full {
            return;
        }
        for (name, sensor) in old {
            if !(self.is_at_rest)(&sensor, self.windows, now) {
                self.young_bytes += bytes(&name, self.windows);
                self.young.insert(name, sensor);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

fn bytes(name: &impl Name, windows: QuotaWindows) -> usize {
    CLIENT_BYTES + name.bytes() + WINDOW_BYTES * (usize::from(windows.count) + 1)
}
