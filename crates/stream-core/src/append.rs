//! The append path's decisions: what is accepted, what one WAL group holds, when it is sent, when it is acknowledged.
//!
//! Stands between `Stream::append` and the WAL. The shell accepts batches, asks [`Appender::form`] for the next group, writes it,
//! and reports [`Appender::durable`]; what comes back is acknowledged in that order.
//!
//! - A group is sent on the WAL's [`Terms`] of the moment: at once while nothing is in flight; otherwise when enough bytes are waiting,
//!   or the oldest batch has waited long enough: latency when idle, large groups when busy.
//! - Acknowledgement is in prefix order: a group counts only when it and every group before it are durable (rule B6).
//! - Waiting and unacknowledged bytes are bounded by `append_bytes_max`; what does not fit is refused, never queued. A tiny batch counts as
//!   `batch_bytes_min`: what waits for its acknowledgement takes so much memory however short it is.
//!
//! Offsets, ownership and the WAL's own room are checked by the shell before it calls [`Appender::accept`].

use crate::WalEntry;
use base::Micros;
use std::collections::VecDeque;
use std::time::Duration;

/// Bounds of the append path.
#[derive(Debug, Clone, Copy)]
pub struct AppendLimits {
    /// Bytes accepted and not yet acknowledged, at the most.
    pub append_bytes_max: u64,
    /// What a batch counts for in them at the least.
    pub batch_bytes_min: usize,
    /// Batches in one group at the most.
    pub group_batches_max: usize,
}

/// On what terms the next group goes: the WAL's, at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long a batch waits for company while a group is in flight.
    pub linger: Duration,
    /// No group goes before, unless it is full.
    pub spaced: Micros,
    /// No group goes before, full or not.
    pub allowed: Micros,
    /// So many bytes of batches make a group full.
    pub full_bytes: usize,
    /// Bytes of batches in one group, at the most; a single larger batch has a group of its own.
    pub group_bytes_max: usize,
    /// Groups that are not durable yet, at the most; not 0.
    pub in_flight_max: usize,
}

/// The number of a group since this start began: groups are sent and acknowledged in that order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupNumber(pub u64);

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Form {
    /// Write this group.
    Send(GroupNumber, Vec<WalEntry>),
    /// Ask again then (or when a group is durable, or more is accepted).
    At(Micros),
    /// Nothing to send until something is accepted or durable.
    Idle,
}

/// Beyond `append_bytes_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The append path's state.
#[derive(Debug)]
pub struct Appender {
    limits: AppendLimits,
    /// By the terms of last time.
    full_bytes: usize,
    waiting: VecDeque<(Micros, WalEntry)>,
    waiting_bytes: usize,
    /// Sent, not yet acknowledged. The first one's number is `acknowledged`.
    flying: VecDeque<Flight>,
    /// What all count for that are waiting or in flight.
    held_bytes: usize,
    acknowledged: u64,
}

#[derive(Debug)]
struct Flight {
    durable: bool,
    /// What its batches count for.
    held_bytes: usize,
    /// When its oldest batch was accepted.
    since: Micros,
}

impl Appender {
    /// Nothing waiting, nothing in flight.
    #[must_use]
    pub fn new(limits: AppendLimits) -> Appender {
        Appender {
            limits,
            full_bytes: usize::MAX,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            flying: VecDeque::new(),
            held_bytes: 0,
            acknowledged: 0,
        }
    }

    /// What it was made with.
    #[must_use]
    pub fn limits(&self) -> AppendLimits {
        self.limits
    }

    /// Enqueues a batch behind all accepted ones. One is always accepted when nothing else is held, so that a batch larger than
    /// the bound is slow and not impossible.
    ///
    /// # Errors
    /// Too many bytes are waiting or in flight; nothing was enqueued.
    pub fn accept(&mut self, now: Micros, entry: WalEntry) -> Result<(), Full> {
        let bytes = entry.batch.bytes.len();
        if self.held_bytes > 0 && !self.has_room_for(bytes) {
            return Err(Full);
        }
        self.waiting_bytes += bytes;
        self.held_bytes += self.counted(bytes);
        self.waiting.push_back((now, entry));
        Ok(())
    }

    /// The next group, if it is time for one.
    pub fn form(&mut self, now: Micros, terms: &Terms) -> Form {
        self.full_bytes = terms.full_bytes;
        let Some((since, _)) = self.waiting.front() else { return Form::Idle };
        // One that is durable, and only waits for those before it, takes nothing of the WAL's.
        if self.flying.iter().filter(|group| !group.durable).count() >= terms.in_flight_max {
            return Form::Idle;
        }
        let lingered = if self.flying.is_empty() { Micros(0) } else { since.plus(terms.linger) };
        let is_full = self.waiting_bytes >= terms.full_bytes;
        let due = if is_full { terms.allowed } else { lingered.max(terms.spaced).max(terms.allowed) };
        if now < due {
            return Form::At(due);
        }
        let since = *since;
        let batches = self.take_group(terms.group_bytes_max);
        let held_bytes = batches.iter().map(|entry| self.counted(entry.batch.bytes.len())).sum();
        let number = GroupNumber(self.acknowledged + self.flying.len() as u64);
        self.flying.push_back(Flight { durable: false, held_bytes, since });
        Form::Send(number, batches)
    }

    /// Notes that a group is durable; answers the groups that are acknowledged by that, in order: none while an earlier one is not
    /// durable yet.
    ///
    /// # Panics
    /// For a group that was never sent or is acknowledged already: a programmer's error.
    pub fn durable(&mut self, group: GroupNumber) -> Vec<GroupNumber> {
        let index = group.0.checked_sub(self.acknowledged).and_then(|index| usize::try_from(index).ok());
        let flight = index.and_then(|index| self.flying.get_mut(index)).expect("only groups in flight become durable");
        assert!(!flight.durable, "{group:?} became durable twice");
        flight.durable = true;
        let mut groups = Vec::new();
        while self.flying.front().is_some_and(|first| first.durable) {
            let first = self.flying.pop_front().expect("just seen");
            self.held_bytes -= first.held_bytes;
            groups.push(GroupNumber(self.acknowledged));
            self.acknowledged += 1;
        }
        groups
    }

    /// Whether what was accepted since `waited` bytes were waiting can make [`Appender::form`] answer differently: the first to wait
    /// sets the time, and a full group need not wait.
    #[must_use]
    pub fn is_worth_waking(&self, waited: usize) -> bool {
        waited == 0 || (waited < self.full_bytes && self.waiting_bytes >= self.full_bytes)
    }

    /// Bytes waiting or in flight; a tiny batch counts as [`AppendLimits::batch_bytes_min`].
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// When the oldest batch was accepted that is not acknowledged.
    #[must_use]
    pub fn oldest(&self) -> Option<Micros> {
        let flying = self.flying.front().map(|flight| flight.since);
        flying.or_else(|| self.waiting.front().map(|(since, _)| *since))
    }

    /// Bytes held, in thousandths of what may be.
    #[must_use]
    pub fn held_permille(&self) -> u64 {
        self.held_bytes as u64 * 1000 / self.limits.append_bytes_max.max(1)
    }

    /// Bytes accepted and not sent yet.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether nothing is waiting or in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.flying.is_empty()
    }

    /// Whether a batch of that length would be accepted.
    #[must_use]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        (self.held_bytes + self.counted(bytes)) as u64 <= self.limits.append_bytes_max
    }

    /// What a batch of that length counts for.
    fn counted(&self, bytes: usize) -> usize {
        bytes.max(self.limits.batch_bytes_min)
    }

    fn take_group(&mut self, bytes_max: usize) -> Vec<WalEntry> {
        let mut bytes = 0;
        let mut batches = Vec::new();
        while let Some((_, first)) = self.waiting.front() {
            let len = first.batch.bytes.len();
            let full = bytes + len > bytes_max || batches.len() >= self.limits.group_batches_max;
            if !batches.is_empty() && full {
                break;
            }
            bytes += len;
            batches.extend(self.waiting.pop_front().map(|(_, entry)| entry));
        }
        self.waiting_bytes -= bytes;
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::batch;
    use base::{Seed, StreamEpoch, StreamId};

    fn limits() -> AppendLimits {
        AppendLimits { append_bytes_max: 1000, batch_bytes_min: 50, group_batches_max: 100 }
    }

    const TERMS: Terms = Terms {
        linger: Duration::from_micros(50),
        spaced: Micros(0),
        allowed: Micros(0),
        full_bytes: 300,
        group_bytes_max: 300,
        in_flight_max: 3,
    };

    fn appended(base: u64, len: usize) -> WalEntry {
        WalEntry { stream: StreamId(1), stream_epoch: StreamEpoch(0), batch: batch(base, 1, len) }
    }

    fn sent(form: Form) -> (GroupNumber, usize) {
        match form {
            Form::Send(number, batches) => (number, batches.len()),
            other => panic!("expected a group, got {other:?}"),
        }
    }

    #[test]
    fn sends_at_once_when_idle_then_waits_for_company_or_the_window() {
        let mut core = Appender::new(limits());
        core.accept(Micros(0), appended(0, 100)).unwrap();
        assert_eq!(sent(core.form(Micros(0), &TERMS)), (GroupNumber(0), 1));
        core.accept(Micros(10), appended(1, 100)).unwrap();
        assert_eq!(core.form(Micros(10), &TERMS), Form::At(Micros(60)), "a group is in flight: wait");
        core.accept(Micros(20), appended(2, 200)).unwrap();
        assert_eq!(sent(core.form(Micros(20), &TERMS)), (GroupNumber(1), 2), "a full group need not wait");
        core.accept(Micros(30), appended(3, 100)).unwrap();
        assert_eq!(sent(core.form(Micros(80), &TERMS)), (GroupNumber(2), 1), "the window has passed");
        core.accept(Micros(90), appended(4, 100)).unwrap();
        assert_eq!(core.form(Micros(900), &TERMS), Form::Idle, "no more than three in flight");
        assert!(core.durable(GroupNumber(1)).is_empty());
        assert_eq!(sent(core.form(Micros(900), &TERMS)), (GroupNumber(3), 1), "one of them only waits for another");
    }

    #[test]
    fn a_group_that_is_not_full_keeps_its_distance_and_every_group_waits_for_its_permit() {
        let mut core = Appender::new(limits());
        let terms = Terms { spaced: Micros(100), allowed: Micros(70), full_bytes: 200, ..TERMS };
        core.accept(Micros(0), appended(0, 100)).unwrap();
        assert_eq!(core.form(Micros(0), &terms), Form::At(Micros(100)), "nothing is in flight, and still");
        assert!(!core.is_worth_waking(50));
        core.accept(Micros(10), appended(1, 100)).unwrap();
        assert!(core.is_worth_waking(100), "it is full now");
        assert_eq!(core.form(Micros(10), &terms), Form::At(Micros(70)));
        core.accept(Micros(20), appended(2, 150)).unwrap();
        assert_eq!(sent(core.form(Micros(70), &terms)), (GroupNumber(0), 2), "as much as a group may hold");
        assert_eq!(core.form(Micros(80), &terms), Form::At(Micros(100)));
    }

    #[test]
    fn acknowledges_in_prefix_order_only() {
        let mut core = Appender::new(limits());
        for base in 0..3 {
            core.accept(Micros(base), appended(base, 300)).unwrap();
            let _ = sent(core.form(Micros(base), &TERMS));
        }
        assert_eq!(core.durable(GroupNumber(2)), vec![]);
        assert_eq!((core.oldest(), core.held_permille()), (Some(Micros(0)), 900));
        assert_eq!(core.durable(GroupNumber(0)), vec![GroupNumber(0)]);
        assert_eq!(core.oldest(), Some(Micros(1)));
        assert_eq!(core.durable(GroupNumber(1)), vec![GroupNumber(1), GroupNumber(2)]);
        assert!(core.is_idle() && core.oldest().is_none());
    }

    #[test]
    fn refuses_beyond_the_bound_but_always_takes_one() {
        let mut core = Appender::new(limits());
        core.accept(Micros(0), appended(0, 5000)).unwrap();
        assert_eq!(core.accept(Micros(0), appended(1, 100)), Err(Full));
        let (number, _) = sent(core.form(Micros(0), &TERMS));
        assert_eq!(core.accept(Micros(0), appended(1, 100)), Err(Full), "in flight counts as held");
        core.durable(number);
        core.accept(Micros(0), appended(1, 100)).unwrap();
    }

    #[test]
    fn tiny_batches_are_bounded_by_what_waiting_for_them_takes() {
        let mut core = Appender::new(limits());
        let accepted = (0..).take_while(|base| core.accept(Micros(0), appended(*base, 61)).is_ok()).count();
        assert_eq!((accepted, core.held_bytes()), (16, 16 * 61));
        let mut core = Appender::new(AppendLimits { batch_bytes_min: 200, ..limits() });
        let accepted = (0..).take_while(|base| core.accept(Micros(0), appended(*base, 61)).is_ok()).count();
        assert_eq!((accepted, core.held_bytes(), core.waiting_bytes()), (5, 1000, 5 * 61));
        let (number, sent) = sent(core.form(Micros(0), &TERMS));
        assert_eq!(
            (sent, core.held_bytes()),
            (4, 1000),
            "a group is full by its bytes, and is held until it is acknowledged"
        );
        core.durable(number);
        assert_eq!((core.held_bytes(), core.waiting_bytes()), (200, 61));
    }

    /// Whatever the interleaving: groups hold what was accepted in order, nothing is acknowledged before it is durable, and all
    /// of it is in the end.
    #[test]
    fn any_interleaving_acknowledges_everything_once_in_order() {
        for seed in 0..500 {
            let mut random = Seed::new(seed);
            let mut core = Appender::new(limits());
            let (mut accepted, mut now) = (0, 0);
            let mut flying: Vec<(GroupNumber, Vec<u64>)> = Vec::new();
            let mut durable: Vec<(GroupNumber, Vec<u64>)> = Vec::new();
            let mut acknowledged = Vec::new();
            while acknowledged.len() < 60 {
                now += random.below(40);
                if accepted < 60 && random.chance(500) {
                    let len = usize::try_from(random.between(61, 400)).unwrap();
                    accepted += u64::from(core.accept(Micros(now), appended(accepted, len)).is_ok());
                }
                if let Form::Send(number, batches) = core.form(Micros(now), &TERMS) {
                    flying.push((number, batches.iter().map(|it| it.batch.range.base.0).collect()));
                }
                if !flying.is_empty() && random.chance(400) {
                    let pick = usize::try_from(random.below(flying.len() as u64)).unwrap();
                    let done = flying.swap_remove(pick);
                    durable.push(done.clone());
                    for number in core.durable(done.0) {
                        let held = durable.iter().find(|(it, _)| *it == number).expect("acknowledged before durable");
                        acknowledged.extend(held.1.iter().copied());
                    }
                }
                assert!(core.held_bytes() <= 1000 || core.held_bytes() <= 400);
            }
            assert_eq!(acknowledged, (0..60).collect::<Vec<_>>(), "seed {seed}");
            assert!(core.is_idle());
        }
    }
}
