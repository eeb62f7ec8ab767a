//! The leader of a shared partition: deliveries, acknowledgements, locks, and what becomes of its writes.

use super::persister::FALLEN;
use super::{
    Ack, COUNT_MAX, Kept, Known, Leader, MEMBERS, Mark, Phase, RECORDS, Record, SharePartition, State, Write, short,
};
use crate::explore::Step;

pub(super) const AGAIN: &str = "a record is delivered again of which was told that it is accepted";
pub(super) const TWO_HOLD: &str = "two members have a record at a time";
pub(super) const TAKEN: &str = "a record is taken from the member that has it";
pub(super) const LOST: &str = "a record is gone that nobody has accepted";
pub(super) const STUCK: &str = "a record is locked for ever";
pub(super) const TOO_OFTEN: &str = "a record is delivered more often than it may be";

/// A leader that has not read yet.
pub(super) fn begun() -> Leader {
    Leader {
        phase: Phase::Begun,
        state_epoch: 0,
        start: 0,
        records: [free(0); RECORDS],
        writes: 0,
        believed: [[false; MEMBERS]; RECORDS],
    }
}

fn free(count: i8) -> Record {
    Record { mark: Mark::Free, before: None, count, is_expired: false, holder: None }
}

/// What a record is that nobody has any more.
fn released(count: i8) -> Mark {
    if count >= COUNT_MAX { Mark::Done } else { Mark::Free }
}

impl SharePartition {
    /// Leaders deliver records and take acknowledgements.
    pub(super) fn leaders_go_on(&self, state: &State, all: &mut Vec<(Step, State)>) {
        for (number, leader) in state.leaders.iter().enumerate() {
            if leader.phase != Phase::Serving {
                continue;
            }
            for record in leader.start..self.bounds.records {
                let it = leader.records[record];
                if it.mark != Mark::Free || it.before.is_some() && self.rules.hides_unconfirmed {
                    continue;
                }
                for member in 0..MEMBERS {
                    // A member's requests to a leader are taken in order.
                    if !state.acks.iter().any(|ack| (ack.leader, ack.member) == (number, member)) {
                        let mut next = state.clone();
                        deliver(&mut next, number, record, member);
                        all.push((Step("deliver", [short(number), short(record), short(member)]), next));
                    }
                }
            }
        }
        for (place, ack) in state.acks.iter().enumerate() {
            let mut next = state.clone();
            next.acks.remove(place);
            self.acknowledge(&mut next, *ack);
            all.push((Step("acknowledge", [short(ack.leader), short(ack.record), short(ack.member)]), next));
        }
    }

    /// Locks run out, writes are given up, and another leader begins.
    pub(super) fn leaders_fail(&self, state: &State, all: &mut Vec<(Step, State)>) {
        if state.left.expiries > 0 {
            self.expire(state, all, |next| next.left.expiries -= 1);
        }
        if state.leaders.len() <= self.bounds.leaders {
            let mut next = state.clone();
            next.leaders.push(begun());
            all.push((Step("elected", [short(state.leaders.len()), 0, 0]), next));
        }
    }

    /// Nothing goes on by itself: locks of members that say nothing run out at last, and what is locked then is locked for ever.
    pub(super) fn come_to_rest(&self, state: &State, all: &mut Vec<(Step, State)>) {
        if self.rules.locks_expire {
            self.expire(state, all, |_| ());
        }
        if all.iter().any(|(Step(name, _), _)| *name == "expire") {
            return;
        }
        let Some(leader) = state.leaders.last().filter(|leader| leader.phase == Phase::Serving) else { return };
        let is_locked = |record: &Record| matches!(record.mark, Mark::Held(_));
        if leader.records[leader.start..].iter().any(is_locked) {
            let mut next = state.clone();
            next.violate(STUCK);
            all.push((Step("rest", [0; 3]), next));
        }
    }

    fn expire(&self, state: &State, all: &mut Vec<(Step, State)>, pay: impl Fn(&mut State)) {
        for (number, leader) in state.leaders.iter().enumerate().filter(|(_, it)| it.phase == Phase::Serving) {
            for (record, it) in leader.records.iter().enumerate() {
                let mut next = state.clone();
                pay(&mut next);
                let count = it.count;
                let expired = &mut next.leaders[number].records[record];
                match (it.mark, it.before) {
                    _ if it.is_expired => continue,
                    (_, Some(_)) if self.rules.expiry_waits => expired.is_expired = true,
                    (Mark::Held(_), None) | (_, Some(_)) => {
                        *expired = Record { mark: released(count), ..free(count) };
                        self.write(&mut next, number, record, None);
                    }
                    _ => continue,
                }
                all.push((Step("expire", [short(number), short(record), 0]), next));
            }
        }
    }

    fn acknowledge(&self, next: &mut State, ack: Ack) {
        let leader = &mut next.leaders[ack.leader];
        let Record { mark, before, count, .. } = leader.records[ack.record];
        let has_it = match mark {
            Mark::Held(member) => member == ack.member || !self.rules.compares_member,
            Mark::Free | Mark::Done => false,
        };
        if !has_it || before.is_some() || leader.phase != Phase::Serving {
            return refuse(next, ack);
        }
        let record = &mut leader.records[ack.record];
        record.mark = if ack.accepts { Mark::Done } else { released(count) };
        record.before = match mark {
            Mark::Held(member) => Some(member),
            Mark::Free | Mark::Done => None,
        };
        if record.holder == Some(ack.member) {
            record.holder = None;
        }
        if !self.rules.start_waits {
            move_start(leader, false);
        }
        if !self.rules.answers_confirmed {
            tell_accepted(next, ack);
        }
        self.write(next, ack.leader, ack.record, Some(ack));
    }

    fn write(&self, next: &mut State, number: usize, record: usize, ack: Option<Ack>) {
        let leader = &mut next.leaders[number];
        leader.writes += 1;
        let Record { mark, count, .. } = leader.records[record];
        let kept = Kept { is_done: mark == Mark::Done, count: if self.rules.counts_are_written { count } else { 0 } };
        let (start, state_epoch) = (leader.start, leader.state_epoch);
        let number_of_write = leader.writes;
        next.writes.push(Write {
            leader: number,
            number: number_of_write,
            state_epoch,
            start,
            record,
            kept,
            count,
            ack,
            is_given_up: false,
        });
        next.writes.sort_unstable();
    }

    /// The persister has answered a read.
    pub(super) fn load(&self, next: &mut State, number: usize, known: Known) {
        let last = known.records.iter().rposition(Option::is_some);
        let leader = &mut next.leaders[number];
        leader.phase = Phase::Serving;
        leader.state_epoch = known.state_epoch;
        leader.start = known.start;
        for (place, record) in leader.records.iter_mut().enumerate() {
            *record = match known.records[place] {
                Some(Kept { is_done: true, count }) => Record { mark: Mark::Done, ..free(count) },
                Some(Kept { is_done: false, count }) => free(count),
                None if !self.rules.gaps_are_delivered && last > Some(place) => Record { mark: Mark::Done, ..free(0) },
                None => free(0),
            };
        }
        move_start(leader, true);
    }

    /// A write is confirmed.
    pub(super) fn written(&self, next: &mut State, write: Write) {
        if write.state_epoch == next.confirmed.state_epoch {
            next.counted[write.record] = next.counted[write.record].max((write.count, write.leader));
        }
        let leader = &mut next.leaders[write.leader];
        if write.is_given_up || leader.phase != Phase::Serving {
            return;
        }
        if let Some(ack) = write.ack {
            let record = &mut leader.records[write.record];
            record.before = None;
            record.is_expired = false;
            move_start(leader, self.rules.start_waits);
            if self.rules.answers_confirmed {
                tell_accepted(next, ack);
            }
        } else {
            move_start(leader, self.rules.start_waits);
        }
    }

    /// A write has failed, or may have.
    pub(super) fn failed(&self, next: &mut State, write: Write) {
        let Some(ack) = write.ack.filter(|_| !write.is_given_up) else { return };
        let record = &mut next.leaders[write.leader].records[write.record];
        let Some(member) = record.before.take() else { return };
        if !self.rules.rolls_back {
            record.is_expired = false;
            return;
        }
        let is_free = record.is_expired && self.rules.expiry_is_remembered;
        record.is_expired &= !is_free;
        // Who acknowledged is told that it failed and goes on without the record; the lock is its own until it runs out.
        let is_taken = record.holder.is_some();
        record.mark = if is_free { released(record.count) } else { Mark::Held(member) };
        record.holder = if is_free { None } else { Some(ack.member) };
        if is_taken {
            next.violate(TAKEN);
        }
    }
}

fn deliver(next: &mut State, number: usize, record: usize, member: usize) {
    let leader = &mut next.leaders[number];
    let state_epoch = leader.state_epoch;
    leader.believed[record][member] = true;
    let it = &mut leader.records[record];
    let holder = it.holder.replace(member);
    it.mark = Mark::Held(member);
    it.count += 1;
    it.is_expired = false;
    let count = it.count;
    next.delivered[record] = next.delivered[record].max(count);
    if holder.is_some() {
        next.violate(TWO_HOLD);
    }
    if count > COUNT_MAX {
        next.violate(TOO_OFTEN);
    }
    if next.told[record].is_some_and(|(by, epoch)| by <= number && epoch == state_epoch) {
        next.violate(AGAIN);
    }
    let (counted, by) = next.counted[record];
    if count <= counted && by <= number && state_epoch == next.confirmed.state_epoch {
        next.violate(FALLEN);
    }
}

/// Whoever asked is told that nothing came of it, and nothing will.
pub(super) fn refuse(next: &mut State, ack: Ack) {
    if ack.accepts && ack.state_epoch == next.confirmed.state_epoch {
        next.accepted[ack.record] = (next.accepted[ack.record] - 1).max(0);
    }
}

fn tell_accepted(next: &mut State, ack: Ack) {
    if ack.accepts {
        next.told[ack.record] = Some((ack.leader, next.leaders[ack.leader].state_epoch));
    }
}

fn move_start(leader: &mut Leader, waits: bool) {
    let is_passed = |record: &Record| record.mark == Mark::Done && (record.before.is_none() || !waits);
    while leader.records.get(leader.start).is_some_and(is_passed) {
        leader.start += 1;
    }
}

/// Whether a record may be gone.
pub(super) fn may_be_gone(state: &State, record: usize) -> bool {
    state.accepted[record] > 0 || state.delivered[record] >= COUNT_MAX
}

pub(super) fn bad(state: &State, records: usize) -> Option<&'static str> {
    let state_epoch = state.confirmed.state_epoch;
    state.leaders.iter().filter(|it| it.phase == Phase::Serving && it.state_epoch == state_epoch).find_map(|leader| {
        (0..records).find_map(|record| {
            let it = leader.records[record];
            let is_gone = record < leader.start || it.mark == Mark::Done && it.before.is_none();
            let has_lock = it.holder.is_none_or(|holder| it.mark == Mark::Held(holder));
            match (is_gone && !may_be_gone(state, record), has_lock) {
                (true, _) => Some(LOST),
                (_, false) => Some(TAKEN),
                _ => None,
            }
        })
    })
}
