//! Transactions in a small world: a log whose end a crash may take away, partitions that take markers, two processes under one
//! transactional id, and a network that delivers in any order, late, and more than once.
//!
//! What must never be is noticed when it happens: two outcomes of one transaction (invariant 8), a commit of a producer that is fenced (10)
//! or that did not ask for it (11), an outcome other than what was told, data that was told committed and is gone. When all is healed
//! nothing may be open, and a new producer must get its epoch.

mod judge;
mod partitions;
mod processes;

use super::bench::{ID, TIMEOUT_MS};
use super::broken::is_broken;
use crate::transactions::record::record;
use crate::transactions::state::Transaction;
use crate::transactions::{
    AddRequest, ClientVersion, EndRequest, InitRequest, Marker, MarkerOutcome, NamedTopicPartitions, Producer,
    TransactionEffects, TransactionError, TransactionOptions, TransactionState, Transactions,
};
use crate::{CoordinatorRecord, Now};
use base::{Micros, Seed, UnixMillis};
use std::time::Duration;

const PARTITIONS: i32 = 2;
const TOPIC: &str = "t";

pub(super) type Outcome = Result<(), &'static str>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Init(Option<Producer>),
    /// A partition's owner asks for the transaction's first batch.
    Write {
        txn: usize,
        partition: i32,
        producer: Producer,
    },
    End {
        txn: usize,
        producer: Producer,
        commit: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Is(Producer),
    Written(i32),
    Ended(Producer),
    Again,
    Refused,
}

#[derive(Debug, Clone)]
enum Message {
    Ask {
        who: usize,
        attempt: u32,
        ask: Ask,
    },
    Reply {
        who: usize,
        attempt: u32,
        reply: Reply,
    },
    /// A batch with its grant is numbered.
    Number {
        who: usize,
        attempt: u32,
        txn: usize,
        partition: i32,
        producer: Producer,
    },
    Marker {
        partition: i32,
        producer: Producer,
        commit: bool,
    },
    Marked {
        partition: i32,
        producer: Producer,
        outcome: MarkerOutcome,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Data { txn: usize, producer: Producer },
    Marker { producer: Producer, commit: bool },
}

/// One partition: what is in it, how much of that is confirmed, and what the owner knows of epochs.
#[derive(Debug, Clone, Default)]
struct Partition {
    log: Vec<Entry>,
    confirmed: usize,
}

#[derive(Debug, Clone)]
struct Txn {
    who: usize,
    asked: Option<bool>,
    told: Option<bool>,
    acknowledged: [bool; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Beginning,
    Writing,
    Ending(bool),
}

#[derive(Debug, Clone)]
struct Process {
    phase: Phase,
    attempt: u32,
    producer: Option<Producer>,
    txn: usize,
    /// Of the partitions asked, those that have not answered.
    waits: Vec<i32>,
}

pub(super) struct World {
    seed: Seed,
    transactions: Transactions,
    now: Now,
    log: Vec<CoordinatorRecord>,
    confirmed: usize,
    /// Messages that wait for the confirmation of so many records.
    held: Vec<(usize, Message)>,
    network: Vec<Message>,
    partitions: [Partition; 2],
    processes: [Process; 2],
    txns: Vec<Txn>,
    /// The highest producer that was told to somebody, and to whom.
    holder: Option<(Producer, usize)>,
    told: Vec<(Producer, usize)>,
    next_id: i64,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut transactions = Transactions::new(TransactionOptions::default());
        let mut log = Vec::new();
        // In some histories the epochs run out.
        if seed.is_multiple_of(4) {
            let late = Producer { id: 0, epoch: i16::MAX - 4 };
            log.push(record(ID, Some(&Transaction::new(late, TIMEOUT_MS, UnixMillis(1_700_000_000_000)))));
            transactions.replay(&log[0]).unwrap();
            transactions.loaded(Now::default(), &mut TransactionEffects::default());
        }
        let process = Process { phase: Phase::Beginning, attempt: 0, producer: None, txn: 0, waits: Vec::new() };
        World {
            seed: Seed::new(seed),
            transactions,
            now: Now { at: Micros(1_000_000), wall: UnixMillis(1_700_000_000_000) },
            confirmed: log.len(),
            log,
            held: Vec::new(),
            network: Vec::new(),
            partitions: <[Partition; 2]>::default(),
            processes: [process.clone(), process],
            txns: Vec::new(),
            holder: None,
            told: Vec::new(),
            next_id: 1,
        }
    }

    /// A history with faults, and what is left when they are over.
    pub(super) fn run(mut self, steps: usize) -> Outcome {
        for _ in 0..steps {
            self.step()?;
        }
        self.heal()
    }

    fn step(&mut self) -> Outcome {
        match self.seed.below(100) {
            0..45 => self.deliver(true)?,
            45..65 => self.confirm(),
            65..75 => self.confirm_partition(),
            75..88 => self.go_on(),
            88..93 => self.lose_patience(),
            93..95 => self.crash(),
            95 => self.crash_partition(),
            _ => {
                let seconds = self.seed.between(1, 40);
                self.pass(Duration::from_secs(seconds));
            }
        }
        self.check()
    }

    // The coordinator.

    fn decide<T>(
        &mut self,
        decide: impl Fn(&mut Transactions, Now, &mut TransactionEffects) -> Result<T, TransactionError>,
    ) -> Result<T, TransactionError> {
        let mut fx = TransactionEffects::default();
        let mut outcome = decide(&mut self.transactions, self.now, &mut fx);
        if matches!(outcome, Err(TransactionError::NeedsProducerId)) {
            self.transactions.supply(self.next_id);
            self.next_id += 1;
            outcome = decide(&mut self.transactions, self.now, &mut fx);
        }
        self.take(fx);
        outcome
    }

    fn take(&mut self, fx: TransactionEffects) {
        self.log.extend(fx.records);
        let after = if is_broken("F2") { 0 } else { self.log.len() };
        for Marker { producer, commit, partitions, .. } in fx.markers {
            for partition in partitions[TOPIC].iter().copied() {
                self.held.push((after, Message::Marker { partition, producer, commit }));
            }
        }
    }

    fn hold(&mut self, message: Message) {
        self.held.push((self.log.len(), message));
    }

    /// Some more of the log is durable; what waited for it sets out.
    fn confirm(&mut self) {
        let left = (self.log.len() - self.confirmed) as u64;
        let more = self.seed.below(left + 1);
        self.confirmed += usize::try_from(more).unwrap();
        self.release();
    }

    fn release(&mut self) {
        let confirmed = self.confirmed;
        let (ready, held): (Vec<_>, Vec<_>) = self.held.drain(..).partition(|(after, _)| *after <= confirmed);
        self.held = held;
        self.network.extend(ready.into_iter().map(|(_, message)| message));
    }

    /// The coordinator is another one: it has any beginning of the log that holds all that was confirmed.
    fn crash(&mut self) {
        let left = (self.log.len() - self.confirmed) as u64;
        let kept = self.confirmed + usize::try_from(self.seed.below(left + 1)).unwrap();
        self.log.truncate(kept);
        self.confirmed = kept;
        self.held.clear();
        self.transactions = Transactions::new(TransactionOptions::default());
        for record in &self.log {
            self.transactions.replay(record).unwrap();
        }
        let mut fx = TransactionEffects::default();
        self.transactions.loaded(self.now, &mut fx);
        self.take(fx);
        self.release();
    }

    fn pass(&mut self, time: Duration) {
        if self.transactions.wants_producer_id() {
            self.transactions.supply(self.next_id);
            self.next_id += 1;
        }
        let wall = UnixMillis(self.now.wall.0 + i64::try_from(time.as_millis()).unwrap());
        self.now = Now { at: self.now.at.plus(time), wall };
        let mut fx = TransactionEffects::default();
        self.transactions.tick(self.now, &mut fx);
        self.take(fx);
    }

    fn asked(&mut self, who: usize, attempt: u32, ask: Ask) -> Outcome {
        let reply = match ask {
            Ask::Init(expected) => {
                let request = InitRequest {
                    transactional_id: ID.to_owned(),
                    timeout_ms: TIMEOUT_MS,
                    expected,
                    ..InitRequest::default()
                };
                let was_open = self.state() == Some(TransactionState::Ongoing);
                let outcome = self.decide(|transactions, now, fx| transactions.init(now, &request, fx));
                let aborts = was_open && self.state() != Some(TransactionState::Ongoing);
                if aborts && expected.is_some() && self.holder.is_some_and(|(_, holder)| holder != who) {
                    return Err("a fenced producer aborts its successor's transaction");
                }
                outcome.map(Reply::Is)
            }
            Ask::Write { txn, partition, producer } => {
                return self.asked_to_write(who, attempt, txn, partition, producer);
            }
            Ask::End { txn: _, producer, commit } => {
                let version = ClientVersion::V2;
                let request = EndRequest { transactional_id: ID.to_owned(), producer, commit, version };
                let was_open = self.state() == Some(TransactionState::Ongoing);
                let outcome = self.decide(|transactions, now, fx| transactions.end(now, &request, fx));
                let is_fenced = self.holder.is_some_and(|(_, holder)| holder != who);
                if was_open && commit && outcome.is_ok() && is_fenced {
                    return Err("a fenced producer commits");
                }
                outcome.map(Reply::Ended)
            }
        };
        let reply = reply.unwrap_or_else(refusal);
        let message = Message::Reply { who, attempt, reply };
        if is_broken("F1") {
            self.network.push(message)
        } else {
            self.hold(message)
        }
        Ok(())
    }

    /// The partition's owner asks for a grant, which begins the transaction or adds to it.
    fn asked_to_write(&mut self, who: usize, attempt: u32, txn: usize, partition: i32, producer: Producer) -> Outcome {
        let number = Message::Number { who, attempt, txn, partition, producer };
        if is_broken("F9") {
            self.network.push(number);
            return Ok(());
        }
        let request = AddRequest {
            transactional_id: ID.to_owned(),
            producer,
            version: ClientVersion::V2,
            partitions: NamedTopicPartitions::from([(TOPIC.to_owned(), [partition].into())]),
        };
        let outcome = self.decide(|transactions, now, fx| transactions.add(now, request.clone(), fx));
        let message = match outcome {
            Ok(()) => number,
            Err(error) => Message::Reply { who, attempt, reply: refusal(error) },
        };
        if is_broken("F3") {
            self.network.push(message)
        } else {
            self.hold(message)
        }
        Ok(())
    }

    fn state(&self) -> Option<TransactionState> {
        self.transactions.describe(ID).ok().map(|described| described.state)
    }

    // The network.

    /// One message arrives, and may arrive once more.
    fn deliver(&mut self, has_faults: bool) -> Outcome {
        if self.network.is_empty() {
            return Ok(());
        }
        let place = usize::try_from(self.seed.below(self.network.len() as u64)).unwrap();
        let stays = has_faults && self.network.len() < 24 && self.seed.chance(250);
        let message = if stays { self.network[place].clone() } else { self.network.swap_remove(place) };
        match message {
            Message::Ask { who, attempt, ask } => self.asked(who, attempt, ask),
            Message::Reply { who, attempt, reply } => {
                if self.processes[who].attempt == attempt {
                    self.heard(who, reply)
                } else {
                    Ok(())
                }
            }
            Message::Number { who, attempt, txn, partition, producer } => {
                // A grant is used once: a copy of it is the same batch, which the sequence numbers tell.
                self.number(who, attempt, txn, partition, producer);
                Ok(())
            }
            Message::Marker { partition, producer, .. } if has_faults && self.seed.chance(50) => {
                self.network.push(Message::Marked { partition, producer, outcome: MarkerOutcome::Retry });
                Ok(())
            }
            Message::Marker { partition, producer, commit } => {
                self.marker(partition, producer, commit);
                Ok(())
            }
            Message::Marked { partition, producer, outcome } => {
                let outcomes = [(TOPIC.to_owned(), partition, outcome)];
                let mut fx = TransactionEffects::default();
                self.transactions.marked(self.now, ID, producer, &outcomes, &mut fx);
                self.take(fx);
                Ok(())
            }
        }
    }
}

fn refusal(error: TransactionError) -> Reply {
    if error == TransactionError::Concurrent { Reply::Again } else { Reply::Refused }
}
