//! The two processes: each begins, runs one transaction after the other, and when it is refused says once who it was, or gives up.

use super::{Ask, Phase, Producer, Reply, Request, State, TwoProducers, bit};
use crate::explore::Step;

pub(super) const SHARED: &str = "two producers are told the same epoch";
pub(super) const BACK: &str = "a fenced producer comes back";

impl TwoProducers {
    /// They hear answers and go on, and send what got lost again.
    pub(super) fn clients_go_on(&self, state: &State, all: &mut Vec<(Step, State)>) {
        for (place, answer) in state.answers.iter().enumerate().filter(|(_, answer)| answer.after == 0) {
            let mut next = state.clone();
            next.answers.remove(place);
            let Request { who, attempt, .. } = answer.request;
            if state.producers[who].attempt == attempt {
                self.hear(&mut next, who, answer.reply);
            }
            all.push((Step("answered", [number(who), attempt, 0]), next));
        }
        for (who, producer) in state.producers.iter().enumerate() {
            // Which of two that are alike is called the first does not matter.
            let is_turn = who == 0 || state.producers[0].attempt > 0;
            if is_turn && producer.phase != Phase::Over && !is_under_way(state, who) {
                let mut next = state.clone();
                next.send(who);
                all.push((Step("sends", [number(who), 0, 0]), next));
            }
        }
    }

    /// What they may do besides: lose patience, and ask for a new epoch in the middle of a transaction.
    pub(super) fn clients_lose_patience(&self, state: &State, all: &mut Vec<(Step, State)>) {
        for (who, producer) in state.producers.iter().enumerate() {
            if producer.phase != Phase::Over && state.repeats > 0 && is_under_way(state, who) {
                let mut next = state.clone();
                next.repeats -= 1;
                next.send(who);
                all.push((Step("sends_again", [number(who), 0, 0]), next));
            }
            if matches!(producer.phase, Phase::Writing | Phase::Ending) && producer.recoveries > 0 {
                let mut next = state.clone();
                recover(&mut next, who);
                all.push((Step("starts_over", [number(who), 0, 0]), next));
            }
        }
    }

    fn begin(&self, next: &mut State, who: usize) {
        if next.next_txn == self.bounds.transactions {
            next.producers[who].phase = Phase::Over;
            return;
        }
        let txn = next.next_txn;
        next.next_txn += 1;
        let producer = &mut next.producers[who];
        (producer.phase, producer.txn) = (Phase::Writing, txn);
        producer.asked = Ask::Write(txn, producer.identity);
        next.send(who);
    }

    fn hear(&self, next: &mut State, who: usize, reply: Reply) {
        match reply {
            Reply::Is(identity) => {
                // Answers may overtake each other; the highest epoch fences all others.
                let is_highest = next.told.last().is_none_or(|(highest, _)| *highest < identity);
                let is_recovery = matches!(next.producers[who].asked, Ask::Init(Some(_)));
                if is_recovery && is_highest && next.holder != Some(who) {
                    next.violate(BACK);
                }
                if next.told.iter().any(|(it, other)| *it == identity && *other != who) {
                    next.violate(SHARED);
                }
                if is_highest {
                    next.holder = Some(who);
                }
                next.told.push((identity, who));
                next.told.sort_unstable();
                next.told.dedup();
                next.producers[who].identity = identity;
                self.begin(next, who);
            }
            Reply::Written => {
                let producer = &mut next.producers[who];
                (producer.phase, producer.asked) = (Phase::Ending, Ask::End(producer.txn, producer.identity));
                next.asked_commit |= bit(producer.txn);
                next.send(who);
            }
            Reply::Committed(identity) => {
                next.told_commit |= bit(next.producers[who].txn);
                next.producers[who].identity = identity;
                self.begin(next, who);
            }
            Reply::Refused => {
                let Producer { phase, recoveries, .. } = next.producers[who];
                if phase != Phase::Beginning && recoveries > 0 {
                    recover(next, who);
                } else {
                    next.producers[who].phase = Phase::Over;
                }
            }
        }
    }
}

/// InitProducerId of a producer that says who it was (KIP-360).
fn recover(next: &mut State, who: usize) {
    let producer = &mut next.producers[who];
    producer.recoveries -= 1;
    producer.phase = Phase::Beginning;
    producer.asked = Ask::Init(Some(producer.identity));
    next.send(who);
}

fn number(who: usize) -> i8 {
    i8::from(who != 0)
}

/// Whether the last request, or its answer, is still somewhere.
fn is_under_way(state: &State, who: usize) -> bool {
    let attempt = state.producers[who].attempt;
    let is_it = |request: &Request| request.who == who && request.attempt == attempt;
    state.network.iter().any(is_it)
        || state.answers.iter().any(|answer| is_it(&answer.request))
        || state.grants.iter().any(|(_, request)| is_it(request))
}

impl State {
    /// A process sends what it asks for; answers to what it sent before are not its own any more.
    fn send(&mut self, who: usize) {
        let producer = &mut self.producers[who];
        producer.attempt += 1;
        let request = Request { who, attempt: producer.attempt, ask: producer.asked };
        self.network.push(request);
        self.network.sort_unstable();
    }

    /// An answer sets out; nobody waits for those of earlier attempts.
    pub(super) fn reply(&mut self, request: Request, reply: Reply, after: usize) {
        if self.producers[request.who].attempt == request.attempt {
            self.answers.push(super::Answer { request, reply, after });
        }
    }
}
