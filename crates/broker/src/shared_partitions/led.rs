//! One share-partition that this broker leads: hands what is asked of it to `coordinator-core`, and carries on what comes of that.
//!
//! All is done under its lock, and nothing is awaited there. Those who wait for something to be given out are woken when there may be, and
//! one after the other have the turn to read the log for it.

use super::settings_of;
use crate::Shared;
use crate::error::Failure;
use crate::partition::Partition;
use base::{Micros, Offset};
use coordinator_core::{
    AcknowledgeBatch, AcquireRequest, Acquired, Fetched, ShareEffects, ShareError, SharePartition, ShareStateKey,
    Ticket,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, oneshot, watch};
use world::lock;

/// What became of an acknowledgement.
pub(crate) type Outcome = Result<(), ShareError>;

/// A share-partition.
pub(crate) struct Led {
    /// No other has the same, at any time.
    pub(super) number: u64,
    pub(crate) key: ShareStateKey,
    pub(crate) partition: Arc<Partition>,
    stage: Mutex<Stage>,
    /// Counts up when there may be more to give out, and when it is loaded or gone.
    changes: watch::Sender<u64>,
    /// Somebody has ended a turn.
    turns: Notify,
}

enum Stage {
    Loading,
    Serving(Box<Serving>),
    /// Whoever asks is told this; who comes next finds another in its place.
    Gone(Failure),
}

struct Serving {
    core: SharePartition,
    waiting: BTreeMap<Ticket, oneshot::Sender<Outcome>>,
    next_ticket: u64,
    /// When the loop looks at it.
    deadline: Option<Micros>,
    /// What it takes.
    bytes: usize,
    /// No session of its group is left.
    is_unused: bool,
    /// A write is being carried.
    is_writing: bool,
}

/// Whether a request may read the log for it.
pub(crate) enum Turned {
    /// From there on. The turn ends when it is dropped.
    Reads(Turn, Offset),
    /// Another one does.
    Busy,
    /// All that there is has been given out.
    AtEnd,
    /// Nothing can be given out, or it is not known yet what.
    Nothing,
    Gone(Failure),
}

/// The turn to read the log.
pub(crate) struct Turn {
    led: Arc<Led>,
    request: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Stage::Serving(serving) = &mut *lock(&self.led.stage) {
            serving.core.end_fetch(self.request);
        }
        self.led.turns.notify_one();
    }
}

impl Led {
    pub(super) fn new(number: u64, key: ShareStateKey, partition: Partition) -> Led {
        Led {
            number,
            key,
            partition: Arc::new(partition),
            stage: Mutex::new(Stage::Loading),
            changes: watch::Sender::new(0),
            turns: Notify::new(),
        }
    }

    /// It is loaded, or can't be.
    pub(super) fn loaded(self: &Arc<Self>, broker: &Shared, loaded: Result<(SharePartition, ShareEffects), Failure>) {
        let mut stage = lock(&self.stage);
        if !matches!(*stage, Stage::Loading) {
            return;
        }
        match loaded {
            Ok((core, effects)) => {
                let mut serving = Serving {
                    core,
                    waiting: BTreeMap::new(),
                    next_ticket: 0,
                    deadline: None,
                    bytes: 0,
                    is_unused: false,
                    is_writing: false,
                };
                self.carry_out(broker, &mut serving, effects);
                *stage = Stage::Serving(Box::new(serving));
            }
            Err(failure) => *stage = Stage::Gone(failure),
        }
        if matches!(*stage, Stage::Gone(_)) {
            broker.shares.forget(self);
        }
        self.has_changed();
    }

    /// Another one is in its place.
    pub(super) fn give_up(self: &Arc<Self>, broker: &Shared, why: Failure) {
        self.leave(broker, &mut lock(&self.stage), why);
    }

    fn has_changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until somebody has ended a turn to read.
    pub(crate) async fn turn_ends(&self) {
        self.turns.notified().await;
    }

    /// Does something with it as it serves. What comes of it is carried on.
    fn act<T>(
        self: &Arc<Self>,
        broker: &Shared,
        act: impl FnOnce(&mut Serving, Micros, &mut ShareEffects) -> T,
    ) -> Result<T, Option<Failure>> {
        let mut stage = lock(&self.stage);
        let serving = match &mut *stage {
            Stage::Serving(serving) => serving,
            Stage::Loading => return Err(None),
            Stage::Gone(failure) => return Err(Some(failure.clone())),
        };
        let gone = if self.partition.is_deleted() {
            Some(Failure::UnknownPartition)
        } else {
            self.partition.is_over().then_some(Failure::NotLeader)
        };
        if let Some(failure) = gone {
            self.leave(broker, &mut stage, failure.clone());
            return Err(Some(failure));
        }
        let super::ShareSettings { mut options, .. } = settings_of(broker, &self.key.group);
        if broker.shares.holds(&self.key.group) {
            // What was given out before may be given out again, so that it comes to an end.
            options.in_flight_max = 0;
        }
        serving.core.set_options(options);
        let mut effects = ShareEffects::default();
        let result = act(serving, broker.clock.now(), &mut effects);
        self.carry_out(broker, serving, effects);
        if serving.core.is_fenced() {
            self.leave(broker, &mut stage, Failure::NotLeader);
        } else if serving.is_unused && !serving.is_writing {
            // Whoever waits for it looks for it anew.
            self.leave(broker, &mut stage, Failure::NotLeader);
        }
        Ok(result)
    }

    fn leave(self: &Arc<Self>, broker: &Shared, stage: &mut Stage, why: Failure) {
        if let Stage::Serving(serving) = stage {
            broker.shares.schedule(self, serving.deadline, None);
            broker.shares.took(&self.key.group, serving.bytes, 0);
        }
        *stage = Stage::Gone(why);
        broker.shares.forget(self);
        self.has_changed();
    }

    fn carry_out(self: &Arc<Self>, broker: &Shared, serving: &mut Serving, mut effects: ShareEffects) {
        // There is no other topic to copy them to yet (KIP-1191); state that Kafka has written may ask for it.
        for letter in std::mem::take(&mut effects.dead_letters) {
            serving.core.dead_lettered(letter.range, &mut effects);
        }
        let ShareEffects { writes, answers, frees, .. } = effects;
        for (ticket, outcome) in answers {
            if let Some(waiting) = serving.waiting.remove(&ticket) {
                // Nobody waits any more where the connection is gone.
                let _is_heard = waiting.send(outcome);
            }
        }
        for write in writes {
            serving.is_writing = true;
            broker.shares.write(self, write);
        }
        let (deadline, bytes) = (serving.core.next_deadline(), serving.core.kept_bytes());
        if deadline != serving.deadline {
            broker.shares.schedule(self, serving.deadline, deadline);
            serving.deadline = deadline;
        }
        broker.shares.took(&self.key.group, serving.bytes, bytes);
        serving.bytes = bytes;
        if frees {
            self.has_changed();
        }
    }

    /// A member acknowledges; answered when it is confirmed.
    pub(crate) async fn acknowledge(
        self: &Arc<Self>,
        broker: &Shared,
        member: &str,
        batches: &[AcknowledgeBatch],
    ) -> Result<(), Failure> {
        let parts = batches.iter().map(AcknowledgeBatch::parts).sum::<usize>();
        if parts > broker.shares.parts_max(&self.key.group) {
            return Err(super::crowded());
        }
        let answer = self.act(broker, |serving, now, effects| {
            let (ticket, answer) = serving.ticket();
            serving.core.acknowledge(now, member, batches, ticket, effects);
            answer
        });
        match answer {
            // Where the sender is gone, so is the share-partition.
            Ok(answer) => answer.await.unwrap_or(Err(ShareError::NotLeader)).map_err(Failure::from),
            Err(Some(failure)) => Err(failure),
            // Nobody has been given anything yet.
            Err(None) => Err(ShareError::NOT_FOUND.into()),
        }
    }

    /// What a member has is for others.
    pub(super) fn release(self: &Arc<Self>, broker: &Shared, member: &str) {
        // What is gone or not yet here has given nothing to anybody.
        let _is_there = self.act(broker, |serving, _, effects| {
            serving.core.release(member, None, effects);
        });
    }

    /// No session of its group is left; a later one may use it again, until it is dropped.
    pub(super) fn is_unused(self: &Arc<Self>, broker: &Shared) {
        let _is_there = self.act(broker, |serving, _, _| serving.is_unused = true);
    }

    /// Members' time may be over.
    pub(super) fn tick(self: &Arc<Self>, broker: &Shared) {
        let _is_there = self.act(broker, |serving, now, effects| {
            // The loop has taken it off its list.
            serving.deadline = None;
            serving.core.tick(now, effects);
        });
    }

    /// Sees whether its partition is gone.
    pub(super) fn look(self: &Arc<Self>, broker: &Shared) {
        let _is_there = self.act(broker, |_, _, _| ());
    }

    /// What became of a write.
    pub(super) fn wrote(self: &Arc<Self>, broker: &Shared, id: u64, outcome: Outcome) {
        let _is_there = self.act(broker, |serving, now, effects| {
            serving.is_writing = false;
            serving.core.wrote(now, id, outcome, effects);
        });
    }

    /// Whether a request may read the log for it, up to `end` at the most.
    pub(crate) fn turn(self: &Arc<Self>, broker: &Shared, request: u64, end: Offset) -> Turned {
        let begun = self.act(broker, |serving, _, _| {
            serving.is_unused = false;
            let core = &mut serving.core;
            core.log_starts_at(self.partition.log_start());
            let from = core.next_fetch();
            match core.can_acquire() {
                false => Turned::Nothing,
                true if from >= end => Turned::AtEnd,
                true if core.begin_fetch(request) => Turned::Reads(Turn { led: self.clone(), request }, from),
                true => Turned::Busy,
            }
        });
        match begun {
            Ok(turned) => turned,
            Err(None) => Turned::Nothing,
            Err(Some(failure)) => Turned::Gone(failure),
        }
    }

    /// Gives a member what it can of what was read in its turn; and where the next one begins.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        broker: &Shared,
        request: AcquireRequest<'_>,
        fetched: &Fetched<'_>,
    ) -> Result<(Acquired, Offset), Failure> {
        let acquired = self.act(broker, |serving, now, _| {
            let acquired = serving.core.acquire(now, request, fetched);
            (acquired, serving.core.next_fetch())
        });
        acquired.map_err(|failure| failure.unwrap_or(Failure::NotLeader))
    }
}

impl Serving {
    fn ticket(&mut self) -> (Ticket, oneshot::Receiver<Outcome>) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let (sender, receiver) = oneshot::channel();
        self.waiting.insert(ticket, sender);
        (ticket, receiver)
    }
}
