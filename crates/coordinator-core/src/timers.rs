//! Deadlines of all groups, by time and by name.

use base::Micros;
use std::collections::{BTreeMap, BTreeSet};

/// What happens to a group at a deadline. A group has one of each, and some for each member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The rebalance goes on with those who have joined.
    Join,
    /// Members that have not synced are removed.
    Sync,
    /// The member of this id has not been heard of.
    Session(String),
    /// The member of this id has not given up what it was to give up (consumer groups).
    Revocation(String),
    /// The member of this id was told to join and has not (members of the classic protocol in consumer groups).
    MemberJoin(String),
    /// It has joined, and not asked for its assignment.
    MemberSync(String),
}

/// Names a deadline.
type Name = (String, Timer);

#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Timers {
    by_time: BTreeSet<(Micros, Name)>,
    by_name: BTreeMap<Name, Micros>,
}

impl Timers {
    /// Sets a deadline, or moves it.
    pub(crate) fn set(&mut self, group: &str, timer: Timer, at: Micros) {
        let name = (group.to_owned(), timer);
        if let Some(before) = self.by_name.insert(name.clone(), at) {
            self.by_time.remove(&(before, name.clone()));
        }
        self.by_time.insert((at, name));
    }

    /// Sets a deadline, unless there is one of that name.
    pub(crate) fn set_if_absent(&mut self, group: &str, timer: Timer, at: Micros) {
        if !self.by_name.contains_key(&(group.to_owned(), timer.clone())) {
            self.set(group, timer, at);
        }
    }

    pub(crate) fn cancel(&mut self, group: &str, timer: Timer) {
        let name = (group.to_owned(), timer);
        if let Some(at) = self.by_name.remove(&name) {
            self.by_time.remove(&(at, name));
        }
    }

    /// Forgets all deadlines of a group.
    pub(crate) fn cancel_all(&mut self, group: &str) {
        let first = (group.to_owned(), Timer::Join);
        let of_group = self.by_name.range(first..).take_while(|((name, _), _)| name == group);
        let timers: Vec<Timer> = of_group.map(|((_, timer), _)| timer.clone()).collect();
        for timer in timers {
            self.cancel(group, timer);
        }
    }

    /// The earliest of all.
    pub(crate) fn next(&self) -> Option<Micros> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the earliest deadline that has passed.
    pub(crate) fn take_due(&mut self, now: Micros) -> Option<Name> {
        if self.next()? > now {
            return None;
        }
        let (_, name) = self.by_time.pop_first()?;
        self.by_name.remove(&name);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_move_and_go() {
        let mut timers = Timers::default();
        timers.set("b", Timer::Join, Micros(5));
        timers.set("a", Timer::Session("m".to_owned()), Micros(3));
        timers.set("a", Timer::Sync, Micros(9));
        timers.set("b", Timer::Join, Micros(1));
        assert_eq!(timers.next(), Some(Micros(1)));
        assert_eq!(timers.take_due(Micros(0)), None);
        assert_eq!(timers.take_due(Micros(4)), Some(("b".to_owned(), Timer::Join)));
        timers.cancel_all("a");
        assert_eq!((timers.next(), timers.take_due(Micros(99))), (None, None));
    }
}
