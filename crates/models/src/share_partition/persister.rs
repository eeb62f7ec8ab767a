//! The persister: what it takes from whom, and when it says so.

use super::leader::{LOST, may_be_gone, refuse};
use super::{Kept, Known, Phase, RECORDS, Reply, SharePartition, State, Write, short};
use crate::explore::Step;

pub(super) const FALLEN: &str = "a record was delivered less often than before";

impl SharePartition {
    /// Reads and writes arrive, and what came of them is confirmed.
    pub(super) fn persister_goes_on(&self, state: &State, all: &mut Vec<(Step, State)>) {
        for (number, leader) in state.leaders.iter().enumerate() {
            if leader.phase == Phase::Begun {
                let mut next = state.clone();
                self.read(&mut next, number);
                all.push((Step("read", [short(number), 0, 0]), next));
            }
        }
        for (place, write) in state.writes.iter().enumerate() {
            // Sorted by leader and number: the first of a leader is its oldest.
            let is_oldest = place == 0 || state.writes[place - 1].leader != write.leader;
            if is_oldest || !self.rules.writes_in_order {
                let mut next = state.clone();
                next.writes.remove(place);
                self.apply(&mut next, *write);
                all.push((Step("write", [short(write.leader), write.number, short(write.record)]), next));
            }
        }
        if let Some(first) = state.unconfirmed.first() {
            let mut next = state.clone();
            next.confirm(*first);
            next.unconfirmed.remove(0);
            next.replies.iter_mut().for_each(|(after, ..)| *after = after.saturating_sub(1));
            all.push((Step("confirmed", [first.leader_epoch, first.state_epoch, 0]), next));
        }
        for (place, (after, reply, known)) in state.replies.iter().enumerate() {
            if *after == 0 {
                let mut next = state.clone();
                next.replies.remove(place);
                self.tell(&mut next, *reply, *known);
                all.push((Step("told", [short(place), 0, 0]), next));
            }
        }
    }

    /// Writes get lost or late, the persister fails over, an administrator sets the group back.
    pub(super) fn persister_fails(&self, state: &State, all: &mut Vec<(Step, State)>) {
        for (place, write) in state.writes.iter().enumerate().filter(|(_, it)| !it.is_given_up) {
            if state.left.failures > 0 {
                let mut next = state.clone();
                next.left.failures -= 1;
                next.writes.remove(place);
                self.never(&mut next, *write);
                all.push((Step("fail", [short(write.leader), write.number, 0]), next));
            }
            if state.left.late > 0 {
                let mut next = state.clone();
                next.left.late -= 1;
                self.failed(&mut next, *write);
                next.writes[place].is_given_up = true;
                next.writes.sort_unstable();
                all.push((Step("give_up", [short(write.leader), write.number, 0]), next));
            }
        }
        if state.left.failovers > 0 && !state.unconfirmed.is_empty() {
            for kept in 0..=state.unconfirmed.len() {
                let mut next = state.clone();
                next.left.failovers -= 1;
                self.fail_over(&mut next, kept);
                all.push((Step("failover", [short(kept), 0, 0]), next));
            }
        }
        if state.left.resets > 0 {
            let mut next = state.clone();
            next.left.resets -= 1;
            let known = state.known();
            let records = [None; RECORDS];
            next.record(Known { state_epoch: known.state_epoch + 1, start: 0, records, ..known }, Reply::Reset, true);
            all.push((Step("reset", [known.state_epoch + 1, 0, 0]), next));
        }
    }

    fn read(&self, next: &mut State, number: usize) {
        let epoch = short(number);
        let known = next.known();
        if epoch < known.leader_epoch {
            next.leaders[number].phase = Phase::Deposed;
            return;
        }
        next.leaders[number].phase = Phase::Reading;
        let leader_epoch = if self.rules.read_raises_epoch { epoch } else { known.leader_epoch };
        if leader_epoch == known.leader_epoch {
            let after = if self.rules.reads_confirmed { next.unconfirmed.len() } else { 0 };
            next.replies.push((after, Reply::Read(number), known));
        } else {
            next.record(Known { leader_epoch, ..known }, Reply::Read(number), self.rules.reads_confirmed);
        }
    }

    fn apply(&self, next: &mut State, write: Write) {
        let known = next.known();
        let is_older = short(write.leader) < known.leader_epoch && self.rules.compares_leader_epoch;
        let is_other = write.state_epoch != known.state_epoch && self.rules.compares_state_epoch;
        if is_older || is_other {
            self.never(next, write);
            if !write.is_given_up {
                next.leaders[write.leader].phase = Phase::Deposed;
            }
            return;
        }
        let leader_epoch = known.leader_epoch.max(short(write.leader));
        let mut now = Known { leader_epoch, start: write.start, ..known };
        let before = now.records[write.record].replace(write.kept);
        let fell = before.is_some_and(|Kept { count, .. }| count > write.kept.count);
        next.record(now, Reply::Written(write), true);
        if fell && write.state_epoch == known.state_epoch {
            next.violate(FALLEN);
        }
    }

    /// A write has failed and will never be applied.
    fn never(&self, next: &mut State, write: Write) {
        self.failed(next, write);
        if let Some(ack) = write.ack {
            refuse(next, ack);
        }
    }

    fn fail_over(&self, next: &mut State, kept: usize) {
        let gone = next.replies.iter().filter(|(after, ..)| *after > kept).copied().collect::<Vec<_>>();
        next.replies.retain(|(after, ..)| *after <= kept);
        next.replies.iter_mut().for_each(|(after, ..)| *after = 0);
        next.unconfirmed.truncate(kept);
        next.confirm(next.known());
        next.unconfirmed.clear();
        for (_, reply, _) in gone {
            match reply {
                Reply::Read(number) => next.leaders[number].phase = Phase::Begun,
                Reply::Written(write) => self.never(next, write),
                Reply::Reset => {}
            }
        }
    }

    fn tell(&self, next: &mut State, reply: Reply, known: Known) {
        match reply {
            Reply::Read(number) if next.leaders[number].phase == Phase::Reading => self.load(next, number, known),
            Reply::Written(write) => self.written(next, write),
            Reply::Read(_) | Reply::Reset => {}
        }
    }
}

impl State {
    /// The persister knows something new.
    fn record(&mut self, now: Known, reply: Reply, waits: bool) {
        self.unconfirmed.push(now);
        let after = if waits { self.unconfirmed.len() } else { 0 };
        self.replies.push((after, reply, now));
    }

    /// What is confirmed stays. With a reset all begins anew.
    fn confirm(&mut self, now: Known) {
        if now.state_epoch > self.confirmed.state_epoch {
            self.accepted = [0; RECORDS];
            self.delivered = [0; RECORDS];
            self.counted = [(0, 0); RECORDS];
            self.told = [None; RECORDS];
        }
        self.confirmed = now;
    }
}

pub(super) fn bad(state: &State) -> Option<&'static str> {
    let known = state.known();
    (0..RECORDS).find_map(|record| {
        let is_done = known.records[record].is_some_and(|kept| kept.is_done);
        let is_gone = record < known.start || is_done;
        (is_gone && !may_be_gone(state, record)).then_some(LOST)
    })
}
