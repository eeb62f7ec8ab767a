//! The coordinator: what InitProducerId and EndTxn do in each state, and its faults.

use super::{Ask, EPOCH_MAX, Identity, Kind, Known, NONE, Reply, Request, State, TwoProducers, partition};
use crate::explore::Step;

pub(super) const FENCED_COMMITS: &str = "a fenced producer commits";
pub(super) const FENCED_ABORTS: &str = "a fenced producer aborts its successor's transaction";
pub(super) const BEYOND: &str = "there is no epoch left to fence with";
pub(super) const OWN_REPEAT: &str = "a repeat of its own request takes a producer's epoch away";

impl TwoProducers {
    /// Requests arrive, appends are confirmed, transactions are completed.
    pub(super) fn coordinator_decides(&self, state: &State, all: &mut Vec<(Step, State)>) {
        for request in &state.network {
            let mut next = state.clone();
            let (name, is_decided) = match request.ask {
                Ask::Init(expected) => ("InitProducerId", self.init(state, *request, expected, &mut next)),
                Ask::Write(_, identity) => ("write", self.ask_for_grant(state, *request, identity, &mut next)),
                Ask::End(_, identity) => ("EndTxn", self.end(state, *request, identity, &mut next)),
            };
            if is_decided {
                all.push((Step(name, [i8::from(request.who != 0), request.attempt, 0]), next));
            }
        }
        if let Some(first) = state.unconfirmed.first() {
            let mut next = state.clone();
            next.confirmed = *first;
            next.unconfirmed.remove(0);
            next.answers.iter_mut().for_each(|answer| answer.after = answer.after.saturating_sub(1));
            next.grants.iter_mut().for_each(|(after, _)| *after = after.saturating_sub(1));
            next.send_markers();
            all.push((Step("confirmed", [first.id, first.epoch, 0]), next));
        }
        let known = state.known();
        let is_prepared = matches!(known.kind, Kind::PrepareCommit | Kind::PrepareAbort);
        let needs_marker = known.has_partition && !Self::is_marked(state, (known.id, known.epoch));
        if is_prepared && state.unconfirmed.is_empty() && !needs_marker {
            let mut next = state.clone();
            let (id, epoch) = after(known);
            let kind = if known.kind == Kind::PrepareCommit { Kind::CompleteCommit } else { Kind::CompleteAbort };
            let (id_before, id_next) = (known.id, NONE);
            next.record(Known { kind, id, epoch, id_before, id_next, has_partition: false, ..known });
            all.push((Step("complete", [id, epoch, 0]), next));
        }
    }

    pub(super) fn faults_happen(&self, state: &State, all: &mut Vec<(Step, State)>) {
        self.clients_lose_patience(state, all);
        if state.known().kind == Kind::Ongoing && state.timeouts > 0 {
            let mut next = state.clone();
            next.timeouts -= 1;
            self.abort(&mut next, self.rules.timeout_bumps);
            all.push((Step("timeout", [state.known().id, state.known().epoch, 0]), next));
        }
        if state.failovers > 0 {
            for kept in 0..=state.unconfirmed.len() {
                let mut next = state.clone();
                next.failovers -= 1;
                next.unconfirmed.clear();
                // The last epoch is in memory only.
                next.confirmed = if kept > 0 { state.unconfirmed[kept - 1] } else { state.confirmed };
                next.confirmed.last = NONE;
                next.answers.retain(|answer| answer.after == 0);
                next.grants.retain(|(after, _)| *after == 0);
                next.send_markers();
                all.push((Step("failover", [0, 0, 0]), next));
            }
        }
    }

    /// Nothing goes on by itself: what is open now is open until its timeout, and what is open then is open for ever.
    pub(super) fn come_to_rest(&self, state: &State, all: &mut Vec<(Step, State)>) {
        let mut next = state.clone();
        if state.known().kind == Kind::Ongoing {
            self.abort(&mut next, self.rules.timeout_bumps);
            all.push((Step("timeout_at_last", [0; 3]), next));
        } else if partition::is_open(state) {
            next.violate(partition::HANGING);
            all.push((Step("rest", [0; 3]), next));
        }
    }

    fn init(&self, state: &State, request: Request, expected: Option<Identity>, next: &mut State) -> bool {
        let known = state.known();
        if matches!(known.kind, Kind::PrepareCommit | Kind::PrepareAbort) && self.rules.waits_for_complete {
            return false;
        }
        let is_current = expected.is_none_or(|it| it == (known.id, known.epoch));
        if known.kind == Kind::Ongoing && self.rules.aborts_first {
            let is_compared = self.rules.compares_before_abort && self.rules.compares_expected;
            if !expected.is_none_or(|it| self.may_be_known(known, it)) || is_compared && !is_current {
                return refuse(state, request, next);
            }
            if expected.is_some() && state.holder.is_some_and(|holder| holder != request.who) {
                next.violate(FENCED_ABORTS);
            }
            self.abort(next, true);
            return true;
        }
        let Some(now) = self.init_idle(known, expected) else {
            return refuse(state, request, next);
        };
        next.network.retain(|it| *it != request);
        next.record(now);
        let before = (known.id, known.epoch);
        let takes_away = (now.id, now.epoch) != before && state.told.contains(&(before, request.who));
        if takes_away && expected.is_some() && !is_current {
            next.violate(OWN_REPEAT);
        }
        let after = if self.rules.tells_confirmed { next.unconfirmed.len() } else { 0 };
        next.reply(request, Reply::Is((now.id, now.epoch)), after);
        true
    }

    /// Whether this can be an identity that its producer has not been deprived of: the epoch is compared later.
    fn may_be_known(&self, known: Known, (id, epoch): Identity) -> bool {
        let is_last = epoch == EPOCH_MAX - 1 || !self.rules.compares_epoch_of_id_before;
        id == known.id || id == known.id_before && is_last || !self.rules.compares_expected
    }

    /// What InitProducerId makes of a transactional id without a transaction; nothing where it refuses.
    fn init_idle(&self, known: Known, expected: Option<Identity>) -> Option<Known> {
        let last = match expected {
            None if self.rules.forgets_last => NONE,
            Some(it) if !self.may_be_known(known, it) => return None,
            Some(it) if it == (known.id, known.epoch) => known.epoch,
            // A repeat is told what was told.
            Some((_, epoch)) if epoch == known.last && self.rules.tells_repeat_the_same => {
                return Some(Known { kind: Kind::Empty, id_before: known.id, ..known });
            }
            Some((_, epoch)) if epoch == known.last => NONE,
            Some((id, _)) if id == known.id_before && !self.rules.compares_epoch_of_id_before => return Some(known),
            Some(_) if self.rules.compares_expected => return None,
            None | Some(_) => known.epoch,
        };
        let idle = Known { kind: Kind::Empty, id_before: known.id, id_next: NONE, has_partition: false, last, ..known };
        Some(if !self.rules.bumps {
            Known { epoch: known.epoch.max(0), ..idle }
        } else if self.is_exhausted(known.epoch) {
            Known { id: self.fresh_id(known), epoch: 0, ..idle }
        } else {
            Known { epoch: known.epoch + 1, ..idle }
        })
    }

    fn fresh_id(&self, known: Known) -> i8 {
        if self.rules.takes_new_id { known.id + 1 } else { known.id }
    }

    fn end(&self, state: &State, request: Request, identity: Identity, next: &mut State) -> bool {
        let known = state.known();
        let (id, epoch) = identity;
        let is_repeat = known.id == id && known.epoch == epoch + 1
            || known.id_before == id && epoch == EPOCH_MAX - 1 && known.epoch == 0;
        match known.kind {
            Kind::PrepareCommit | Kind::PrepareAbort => return false,
            Kind::Ongoing if (known.id, known.epoch) == identity => {
                if state.holder.is_some_and(|holder| holder != request.who) {
                    next.violate(FENCED_COMMITS);
                }
                let prepared = self.prepare(known, Kind::PrepareCommit, true);
                next.record(prepared);
                next.reply(request, Reply::Committed(after(prepared)), next.unconfirmed.len());
            }
            Kind::CompleteCommit if is_repeat => {
                next.reply(request, Reply::Committed((known.id, known.epoch)), state.unconfirmed.len());
            }
            Kind::CompleteAbort if is_repeat && !self.rules.compares_result => {
                next.reply(request, Reply::Committed((known.id, known.epoch)), state.unconfirmed.len());
            }
            Kind::Empty | Kind::Ongoing | Kind::CompleteCommit | Kind::CompleteAbort => {
                return refuse(state, request, next);
            }
        }
        next.network.retain(|it| *it != request);
        true
    }

    fn abort(&self, next: &mut State, bumps: bool) {
        next.record(self.prepare(next.known(), Kind::PrepareAbort, bumps));
    }

    /// The end of a transaction is decided.
    fn prepare(&self, known: Known, kind: Kind, bumps: bool) -> Known {
        let id_next = if self.is_exhausted(known.epoch) { self.fresh_id(known) } else { NONE };
        Known { kind, epoch: known.epoch + i8::from(bumps), last: known.epoch, id_next, ..known }
    }
}

/// Who the producer is when the transaction is complete.
fn after(prepared: Known) -> Identity {
    if prepared.id_next == NONE { (prepared.id, prepared.epoch) } else { (prepared.id_next, 0) }
}

fn refuse(state: &State, request: Request, next: &mut State) -> bool {
    next.network.retain(|it| *it != request);
    next.reply(request, Reply::Refused, state.unconfirmed.len());
    true
}

impl State {
    pub(super) fn record(&mut self, known: Known) {
        if known.epoch > EPOCH_MAX {
            self.violate(BEYOND);
        }
        self.unconfirmed.push(known);
    }

    /// The markers of a decision that is confirmed.
    fn send_markers(&mut self) {
        let Known { kind, id, epoch, has_partition, .. } = self.confirmed;
        let commit = kind == Kind::PrepareCommit;
        if has_partition && (commit || kind == Kind::PrepareAbort) && !self.markers.contains(&((id, epoch), commit)) {
            self.markers.push(((id, epoch), commit));
            self.markers.sort_unstable();
        }
    }
}
