//! What clients have used, of those that use something now.
//!
//! A client that has used nothing for so long that it would be as new is forgotten; and as in Kafka one that has used nothing for an hour, also
//! where the windows span more or it owes more than that. So that very many names can't fill the memory, there are two generations of a
//! bounded size, by count and by bytes: who uses something comes into the young one, which becomes the old one when it is full, or when that
//! much time has passed. Who is old already and owes something stays old for as long as there is room beside those who were seen since: so
//! whoever owes nothing makes room first, and then those who were not seen since. Kafka has no other bound than the hour.

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
    old_bytes: usize,
    /// When the young ones began, in milliseconds.
    turned: u64,
}

impl<K: Name, S: Sensor> Sensors<K, S> {
    pub(super) fn new(windows: QuotaWindows) -> Sensors<K, S> {
        Sensors { windows, young: BTreeMap::new(), old: BTreeMap::new(), young_bytes: 0, old_bytes: 0, turned: 0 }
    }

    /// That of one, as it is, or made anew.
    pub(super) fn of(&mut self, name: K, now: u64, make: impl FnOnce() -> S) -> &mut S {
        // Whoever is among the young takes no more room, and one that comes from the old is not forgotten by the turn that makes it.
        let own = if self.young.contains_key(&name) { None } else { Some(self.take_old(&name)) };
        let is_full = own.is_some() && is_full(self.young_bytes, self.young.len());
        if is_full || now.saturating_sub(self.turned) >= self.windows.span_ms().min(INACTIVE_MS) {
            self.turn(now);
        }
        let own = own.flatten().or_else(|| self.take_old(&name));
        match self.young.entry(name) {
            Entry::Occupied(it) if is_inactive(it.get(), now) => {
                let sensor = it.into_mut();
                *sensor = make();
                sensor
            }
            Entry::Occupied(it) => it.into_mut(),
            Entry::Vacant(free) => {
                self.young_bytes += bytes(free.key(), self.windows);
                free.insert(own.filter(|sensor| !is_inactive(sensor, now)).unwrap_or_else(make))
            }
        }
    }

    fn take_old(&mut self, name: &K) -> Option<S> {
        let sensor = self.old.remove(name)?;
        self.old_bytes = self.old_bytes.saturating_sub(bytes(name, self.windows));
        Some(sensor)
    }

    /// The young ones are old from now on. Of those who were old those stay who owe something, as long as there is room: never in the place of
    /// somebody who was seen since.
    fn turn(&mut self, now: u64) {
        let before = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        (self.old_bytes, self.young_bytes, self.turned) = (self.young_bytes, 0, now);
        let owing = before.into_iter().filter(|(_, it)| !is_inactive(it, now) && !it.is_at_rest(self.windows, now));
        for (name, sensor) in owing {
            if is_full(self.old_bytes, self.old.len()) {
                return;
            }
            self.old_bytes += bytes(&name, self.windows);
            self.old.insert(name, sensor);
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// Whether a generation takes no more.
fn is_full(bytes: usize, count: usize) -> bool {
    bytes >= GENERATION_BYTES_MAX || count >= GENERATION_COUNT_MAX
}

fn is_inactive(sensor: &impl Sensor, now: u64) -> bool {
    now.saturating_sub(sensor.last_used()) >= INACTIVE_MS
}

fn bytes(name: &impl Name, windows: QuotaWindows) -> usize {
    CLIENT_BYTES + name.bytes() + WINDOW_BYTES * (usize::from(windows.count) + 1)
}

#[cfg(test)]
mod tests {
    use super::super::window::Bucket;
    use super::*;

    const SECOND: u64 = 1000;

    fn client(name: impl std::fmt::Display) -> Client {
        Client { user: String::new(), client_id: format!("{name}") }
    }

    fn owing(sensors: &mut Sensors<Client, Bucket>, name: &str, now: u64) -> u64 {
        let windows = sensors.windows;
        sensors.of(client(name), now, || Bucket::full(windows, 1.0, now)).excess_ms(windows, 1.0, now)
    }

    /// With clients that owe ten minutes each.
    fn debtors(sensors: &mut Sensors<Client, Bucket>, names: impl Iterator<Item = String>, now: u64) {
        let windows = sensors.windows;
        for name in names {
            sensors.of(client(name), now, || Bucket::full(windows, 1.0, now)).take(windows, 1.0, 611.0, now);
        }
    }

    #[test]
    fn who_owes_something_is_remembered_until_it_is_paid_and_no_longer() {
        let mut sensors = Sensors::new(QuotaWindows::default());
        debtors(&mut sensors, ["d".to_owned()].into_iter(), 0);
        for now in (1..60).map(|turn| turn * 10 * SECOND) {
            owing(&mut sensors, "somebody else", now);
        }
        assert_eq!(owing(&mut sensors, "d", 590 * SECOND), 10 * SECOND);
        for now in (60..70).map(|turn| turn * 12 * SECOND) {
            owing(&mut sensors, "somebody else", now);
        }
        assert_eq!(sensors.count(), 1, "all is paid");
    }

    #[test]
    fn who_owes_longest_makes_room_for_who_owes_since() {
        let mut sensors = Sensors::new(QuotaWindows::default());
        let names = |letter: char, count: usize| (0..count).map(move |number| format!("{letter}{number}"));
        debtors(&mut sensors, names('a', 4000), 0);
        debtors(&mut sensors, names('b', 4000), 12 * SECOND);
        debtors(&mut sensors, names('c', 200), 24 * SECOND);
        let forgotten = names('b', 3000).filter(|name| owing(&mut sensors, name, 25 * SECOND) == 0).count();
        assert_eq!(
            forgotten, 0,
            "those who were kept from before are not among the young, whom they would make too many"
        );
    }

    #[test]
    fn no_turn_forgets_whom_it_is_made_for() {
        let mut sensors = Sensors::new(QuotaWindows::default());
        let all = || (0..GENERATION_COUNT_MAX + 1).map(|number| format!("{number:05}"));
        debtors(&mut sensors, all(), 0);
        // The young ones are used on: they are no reason to make room.
        for name in all().skip(GENERATION_COUNT_MAX) {
            assert!(owing(&mut sensors, &name, SECOND) > 0);
        }
        let forgotten = all().filter(|name| owing(&mut sensors, name, SECOND) == 0).count();
        assert_eq!(forgotten, 0);
        assert!(sensors.count() <= 2 * GENERATION_COUNT_MAX);
    }
}
