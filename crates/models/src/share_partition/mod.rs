//! A partition shared by the members of a group (KIP-932): who has which record, what is remembered of it, and who may write that down.
//!
//! Leaders of one partition follow each other, and one that is deposed goes on until it hears of it. Each reads what its predecessor had
//! written, delivers records, takes acknowledgements and writes them to the persister, whose log is confirmed later and cut by its own
//! fail-over to any prefix that covers what is confirmed. Members acknowledge late, or never; locks run out; writes fail, or are given up and arrive
//! nevertheless; an administrator sets the group back to the beginning. Rejecting is accepting, as far as this goes.
//!
//! A leader that is deposed and does not know may deliver what its successor has accepted, and nothing prevents that: what it is told
//! of such a delivery comes to nothing. So all that must hold holds for a leader and those before it.

mod leader;
mod members;
mod persister;

#[cfg(test)]
mod tests;

use crate::explore::{Model, Step};

const RECORDS: usize = 2;
const MEMBERS: usize = 2;

/// How often a record is delivered.
const COUNT_MAX: i8 = 2;

/// What a shared partition has to hold to; each can be broken by itself.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The persister refuses writes of an older leader epoch.
    pub compares_leader_epoch: bool,
    /// A leader that reads raises the leader epoch that the persister compares.
    pub read_raises_epoch: bool,
    /// What is read is told when it is confirmed.
    pub reads_confirmed: bool,
    /// The persister refuses writes of another state epoch.
    pub compares_state_epoch: bool,
    /// An acknowledgement is answered when its write is confirmed.
    pub answers_confirmed: bool,
    /// The writes of a leader are applied in its order, none after a later one.
    pub writes_in_order: bool,
    /// A record is acknowledged by the member that has it.
    pub compares_member: bool,
    /// What is released is delivered when its write is confirmed.
    pub hides_unconfirmed: bool,
    /// The start does not pass what is not confirmed.
    pub start_waits: bool,
    /// What a write that failed was to change is as it was before.
    pub rolls_back: bool,
    /// A lock that runs out while an acknowledgement is being written leaves the record to that write.
    pub expiry_waits: bool,
    /// Where that write fails, the record is not locked again.
    pub expiry_is_remembered: bool,
    /// Locks run out.
    pub locks_expire: bool,
    /// Records of which the persister knows nothing are delivered, also where it knows of later ones.
    pub gaps_are_delivered: bool,
    /// How often a record was delivered is written with its state.
    pub counts_are_written: bool,
}

impl Rules {
    pub const ALL: Rules = Rules {
        compares_leader_epoch: true,
        read_raises_epoch: true,
        reads_confirmed: true,
        compares_state_epoch: true,
        answers_confirmed: true,
        writes_in_order: true,
        compares_member: true,
        hides_unconfirmed: true,
        start_waits: true,
        rolls_back: true,
        expiry_waits: true,
        expiry_is_remembered: true,
        locks_expire: true,
        gaps_are_delivered: true,
        counts_are_written: true,
    };
}

/// How much happens.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Records, at most two.
    pub records: usize,
    /// Leaders after the first.
    pub leaders: usize,
    /// Locks that run out while something else goes on.
    pub expiries: i8,
    /// Writes that fail.
    pub failures: i8,
    /// Writes that are given up and arrive nevertheless.
    pub late: i8,
    /// Fail-overs of the persister.
    pub failovers: i8,
    /// Deliveries that a member forgets.
    pub forgotten: i8,
    /// How often the group is set back.
    pub resets: i8,
}

/// Rules within bounds.
#[derive(Debug, Clone, Copy)]
pub struct SharePartition {
    pub rules: Rules,
    pub bounds: Bounds,
}

/// What the persister knows of a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Kept {
    is_done: bool,
    count: i8,
}

/// What the persister knows, and a record of its log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Known {
    leader_epoch: i8,
    state_epoch: i8,
    start: usize,
    records: [Option<Kept>; RECORDS],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Mark {
    Free,
    Held(usize),
    Done,
}

/// A record as its leader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Record {
    mark: Mark,
    /// Who had it before the write that is under way; `mark` holds when that is confirmed.
    before: Option<usize>,
    count: i8,
    /// Its lock has run out, which it does once for each delivery.
    is_expired: bool,
    /// Who may rely on having it.
    holder: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    Begun,
    Reading,
    Serving,
    Deposed,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Leader {
    phase: Phase,
    state_epoch: i8,
    start: usize,
    records: [Record; RECORDS],
    writes: i8,
    /// Which members think that they have which record.
    believed: [[bool; MEMBERS]; RECORDS],
}

/// An acknowledgement under way to its leader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Ack {
    leader: usize,
    member: usize,
    record: usize,
    accepts: bool,
    state_epoch: i8,
}

/// A write under way to the persister.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Write {
    leader: usize,
    number: i8,
    state_epoch: i8,
    start: usize,
    record: usize,
    kept: Kept,
    /// How often the record was delivered, whatever is written of it.
    count: i8,
    ack: Option<Ack>,
    /// Its leader does not wait any more.
    is_given_up: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Reply {
    Read(usize),
    Written(Write),
    Reset,
}

/// All of it at one moment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    confirmed: Known,
    unconfirmed: Vec<Known>,
    /// What is told once so many records are confirmed, and what the persister knew.
    replies: Vec<(usize, Reply, Known)>,
    leaders: Vec<Leader>,
    acks: Vec<Ack>,
    writes: Vec<Write>,
    /// Acknowledgements that accept a record and may come to something.
    accepted: [i8; RECORDS],
    /// By which leader, at which state epoch, somebody was told that it is accepted.
    told: [Option<(usize, i8)>; RECORDS],
    /// How often a record was delivered by one leader and those before it.
    delivered: [i8; RECORDS],
    /// How often, as far as that is confirmed, and by which leader.
    counted: [(i8, usize); RECORDS],
    left: Bounds8,
    violation: Option<&'static str>,
}

/// What of the bounds is left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Bounds8 {
    expiries: i8,
    failures: i8,
    late: i8,
    failovers: i8,
    forgotten: i8,
    resets: i8,
}

impl State {
    fn known(&self) -> Known {
        self.unconfirmed.last().copied().unwrap_or(self.confirmed)
    }

    fn violate(&mut self, what: &'static str) {
        self.violation.get_or_insert(what);
    }
}

/// For a step.
fn short(number: usize) -> i8 {
    i8::try_from(number).unwrap_or(i8::MAX)
}

impl Model for SharePartition {
    type State = State;

    fn first(&self) -> State {
        let Bounds { expiries, failures, late, failovers, forgotten, resets, .. } = self.bounds;
        State {
            confirmed: Known { leader_epoch: 0, state_epoch: 0, start: 0, records: [None; RECORDS] },
            unconfirmed: Vec::new(),
            replies: Vec::new(),
            leaders: vec![leader::begun()],
            acks: Vec::new(),
            writes: Vec::new(),
            accepted: [0; RECORDS],
            told: [None; RECORDS],
            delivered: [0; RECORDS],
            counted: [(0, 0); RECORDS],
            left: Bounds8 { expiries, failures, late, failovers, forgotten, resets },
            violation: None,
        }
    }

    fn next(&self, state: &State) -> Vec<(Step, State)> {
        let mut all = Vec::new();
        if state.violation.is_some() {
            return all;
        }
        self.leaders_go_on(state, &mut all);
        self.persister_goes_on(state, &mut all);
        self.members_acknowledge(state, &mut all);
        let progresses = !all.is_empty();
        self.leaders_fail(state, &mut all);
        self.persister_fails(state, &mut all);
        self.members_forget(state, &mut all);
        if !progresses {
            self.come_to_rest(state, &mut all);
        }
        all
    }

    fn bad(&self, state: &State) -> Option<&'static str> {
        state.violation.or_else(|| persister::bad(state)).or_else(|| leader::bad(state, self.bounds.records))
    }
}
