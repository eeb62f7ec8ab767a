//! What clients have used, of those that use something now.
//!
//! A client that has used nothing for so long that it would be as new is forgotten; and as in Kafka one that has used nothing for an hour, also
//! where the windows span more or it owes more than that. So that very many names can't fill the memory, there are two generations of a
//! bounded size, by count and by bytes: who uses something comes into the young one, which becomes the old one when it is full, or when that
//! much time has passed. Kafka has no other bound than the hour.

use super::window::{QuotaWindows, Sensor};
use super::{Client, Rate};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

/// What one generation takes at the most, about: with five tables of two 20 MiB in all.
const GENERATION_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Clients of one generation at the most, however little they take.
const GENERATION_COUNT_MAX: usize = 4096;

/// Who has used nothing for so long is forgotten, in milliseconds (Kafka's `InactiveSensorExpirationTimeSeconds`).
pub(super) const INACTIVE_MS: u64 = 3600 * 1000;

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
    young: BTreeMap<K, S>,
    old: BTreeMap<K, S>,
    young_bytes: usize,
    /// When the young ones began, in milliseconds.
    turned: u64,
}

impl<K: Name, S: Sensor> Sensors<K, S> {
    pub(super) fn new(windows: QuotaWindows) -> Sensors<K, S> {
        Sensors { windows, young: BTreeMap::new(), old: BTreeMap::new(), young_bytes: 0, turned: 0 }
    }

    /// That of one, as it is, or made anew.
    pub(super) fn of(&mut self, name: K, now: u64, make: impl FnOnce() -> S) -> &mut S {
        let is_full = self.young_bytes >= GENERATION_BYTES_MAX || self.young.len() >= GENERATION_COUNT_MAX;
        if is_full || now.saturating_sub(self.turned) >= self.windows.span_ms().min(INACTIVE_MS) {
            self.turn(now, is_full);
        }
        match self.young.entry(name) {
            Entry::Occupied(it) if is_inactive(it.get(), now) => {
                let sensor = it.into_mut();
                *sensor = make();
                sensor
            }
            Entry::Occupied(it) => it.into_mut(),
            Entry::Vacant(free) => {
                self.young_bytes += bytes(free.key(), self.windows);
                let sensor = self.old.remove(free.key()).filter(|sensor| !is_inactive(sensor, now));
                free.insert(sensor.unwrap_or_else(make))
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
            if !is_inactive(&sensor, now) && !sensor.is_at_rest(self.windows, now) {
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

fn is_inactive(sensor: &impl Sensor, now: u64) -> bool {
    now.saturating_sub(sensor.last_used()) >= INACTIVE_MS
}

fn bytes(name: &impl Name, windows: QuotaWindows) -> usize {
    CLIENT_BYTES + name.bytes() + WINDOW_BYTES * (usize::from(windows.count) + 1)
}
