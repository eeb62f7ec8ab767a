//! Two producers under one transactional id, with transactions of KIP-890 v2: who is fenced when.
//!
//! One coordinator with a log (applied on enqueue, confirmed later, cut to any prefix that covers what is confirmed by a fail-over), one
//! partition with the rules F-2 and F-4 of `docs/rules.md`, and two processes that begin, write, commit, give up and
//! begin again, each with requests that may arrive late. Epochs end at 4, so that they run out. What several partitions add (atomicity)
//! and what the partition's own fail-over adds is modelled elsewhere and left out here.

mod clients;
mod coordinator;
mod partition;

#[cfg(test)]
mod tests;

use crate::explore::{Model, Step};

/// The last epoch that a partition may see; the last that a producer is told is the one before.
const EPOCH_MAX: i8 = 4;

/// No producer id, no epoch.
const NONE: i8 = -1;

/// A producer's id and epoch.
type Identity = (i8, i8);

/// What InitProducerId and the end of a transaction have to hold to; each can be broken by itself.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// InitProducerId raises the epoch.
    pub bumps: bool,
    /// InitProducerId of a transaction that is open aborts it, and has to be asked again.
    pub aborts_first: bool,
    /// InitProducerId waits until the transaction before is complete in all partitions.
    pub waits_for_complete: bool,
    /// Answers wait for the confirmation of what they rest on.
    pub tells_confirmed: bool,
    /// The epoch that a producer says it has (KIP-360) is compared.
    pub compares_expected: bool,
    /// It is compared before an open transaction is aborted for it.
    pub compares_before_abort: bool,
    /// InitProducerId without an epoch leaves none that a repeat could be taken for.
    pub forgets_last: bool,
    /// A repeat of InitProducerId is told the same again.
    pub tells_repeat_the_same: bool,
    /// After the last epoch comes a new producer id.
    pub takes_new_id: bool,
    /// An epoch that only the coordinator uses is kept back, so that the last producer can be fenced.
    pub keeps_one_epoch: bool,
    /// Of the producer id before, only the last epoch counts as a repeat.
    pub compares_epoch_of_id_before: bool,
    /// A transaction that is aborted for its age gets a higher epoch.
    pub timeout_bumps: bool,
    /// A partition takes a marker with a higher epoch only (F-2).
    pub markers_are_higher: bool,
    /// A repeat of EndTxn is compared with the outcome (F-5).
    pub compares_result: bool,
}

impl Rules {
    pub const ALL: Rules = Rules {
        bumps: true,
        aborts_first: true,
        waits_for_complete: true,
        tells_confirmed: true,
        compares_expected: true,
        compares_before_abort: true,
        forgets_last: true,
        tells_repeat_the_same: true,
        takes_new_id: true,
        keeps_one_epoch: true,
        compares_epoch_of_id_before: true,
        timeout_bumps: true,
        markers_are_higher: true,
        compares_result: true,
    };
}

/// How much happens.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Transactions that both begin together.
    pub transactions: i8,
    /// Requests that are sent again while the one before is still on its way.
    pub repeats: i8,
    /// How often each process asks for its identity again and says which one it had.
    pub recoveries: i8,
    pub failovers: i8,
    pub timeouts: i8,
    /// The epoch of the first identity, 0 or close to the last.
    pub first_epoch: i8,
}

/// Rules within bounds.
#[derive(Debug, Clone, Copy)]
pub struct TwoProducers {
    pub rules: Rules,
    pub bounds: Bounds,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

/// What the coordinator knows, and a record of its log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Known {
    kind: Kind,
    id: i8,
    epoch: i8,
    /// Of which a repeat is known; only in memory.
    last: i8,
    id_before: i8,
    id_next: i8,
    /// The partition is in the transaction.
    has_partition: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Entry {
    Data { txn: i8, identity: Identity },
    Marker { identity: Identity, commit: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Ask {
    Init(Option<Identity>),
    Write(i8, Identity),
    End(i8, Identity),
}

/// A request on its way, or one that waits at the coordinator's door to be asked again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Request {
    who: usize,
    attempt: i8,
    ask: Ask,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Reply {
    Is(Identity),
    Written,
    Committed(Identity),
    /// Whatever the code: this producer can't go on as it is.
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Answer {
    request: Request,
    reply: Reply,
    /// So many records have to be confirmed first.
    after: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// Waits for its identity.
    Beginning,
    Writing,
    Ending,
    /// Has been refused for good, or has nothing more to do.
    Over,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Producer {
    phase: Phase,
    identity: Identity,
    txn: i8,
    attempt: i8,
    recoveries: i8,
    asked: Ask,
}

/// All of it at one moment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    confirmed: Known,
    unconfirmed: Vec<Known>,
    producers: [Producer; 2],
    network: Vec<Request>,
    answers: Vec<Answer>,
    /// Markers that were ever sent: they may arrive at any time, as often as they like.
    markers: Vec<(Identity, bool)>,
    partition: Vec<Entry>,
    /// Who may write: transaction and identity, granted and not used yet.
    grants: Vec<(usize, Request)>,
    next_txn: i8,
    repeats: i8,
    failovers: i8,
    timeouts: i8,
    /// Who was told the highest identity, and all who were told one.
    holder: Option<usize>,
    told: Vec<(Identity, usize)>,
    /// Transactions whose producer asked for their commit, and those it was told are committed.
    asked_commit: u8,
    told_commit: u8,
    violation: Option<&'static str>,
}

impl State {
    fn known(&self) -> Known {
        self.unconfirmed.last().copied().unwrap_or(self.confirmed)
    }

    fn violate(&mut self, what: &'static str) {
        self.violation.get_or_insert(what);
    }
}

fn bit(txn: i8) -> u8 {
    1 << txn
}

impl TwoProducers {
    /// Whether no producer is told a higher epoch of this id.
    fn is_exhausted(&self, epoch: i8) -> bool {
        epoch >= if self.rules.keeps_one_epoch { EPOCH_MAX - 1 } else { EPOCH_MAX }
    }
}

impl Model for TwoProducers {
    type State = State;

    fn first(&self) -> State {
        let producer = Producer {
            phase: Phase::Beginning,
            identity: (NONE, NONE),
            txn: NONE,
            attempt: 0,
            recoveries: self.bounds.recoveries,
            asked: Ask::Init(None),
        };
        let epoch = self.bounds.first_epoch - 1;
        let (last, id_before, id_next) = (NONE, NONE, NONE);
        State {
            confirmed: Known { kind: Kind::Empty, id: 0, epoch, last, id_before, id_next, has_partition: false },
            unconfirmed: Vec::new(),
            producers: [producer.clone(), producer],
            network: Vec::new(),
            answers: Vec::new(),
            markers: Vec::new(),
            partition: Vec::new(),
            grants: Vec::new(),
            next_txn: 0,
            repeats: self.bounds.repeats,
            failovers: self.bounds.failovers,
            timeouts: self.bounds.timeouts,
            holder: None,
            told: Vec::new(),
            asked_commit: 0,
            told_commit: 0,
            violation: None,
        }
    }

    fn next(&self, state: &State) -> Vec<(Step, State)> {
        let mut all = Vec::new();
        if state.violation.is_some() {
            return all;
        }
        self.clients_go_on(state, &mut all);
        self.coordinator_decides(state, &mut all);
        self.partition_goes_on(state, &mut all);
        let progresses = !all.is_empty();
        self.faults_happen(state, &mut all);
        if !progresses {
            self.come_to_rest(state, &mut all);
        }
        all
    }

    fn bad(&self, state: &State) -> Option<&'static str> {
        state.violation.or_else(|| partition::bad(state))
    }
}
