//! The ledger's task: one per process, owner of the image, the only one that appends.
//!
//! Commands wait in a queue; what is there becomes the next entry, one put at a time. Whoever has commands leads: an entry of a
//! broker that does not lead begins with `BecomeLeader`. What became of a put is never guessed:
//!
//! - *created*, and a listing begun afterwards shows no snapshot at or above its number: it counts (rule A-1);
//! - anything else: the log is read to its confirmed end, and the image tells by the commands' ids which of them it contains
//!   . Those are answered; the others stay in the queue and are put again under the same ids.
//!
//! So no command is reported as failed that was committed, and none is applied twice. Store trouble is outlasted.

use crate::format;
use crate::keeper::Keeper;
use crate::keys;
use crate::ledger::LedgerOptions;
use crate::log::Log;
use crate::{Ledger, LedgerError};
use base::{LedgerEpoch, NodeEpoch, NodeId, Nonce, planted};
use control_core::{ANSWERED_MAX, Command, CommandId, Entry, Image, Outcome, Refusal, apply, codec};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, warn};
use world::{Backoff, ClockExt, PutOutcome};

/// What the handles ask for.
pub(crate) enum Request {
    Submit { command: Command, answer: oneshot::Sender<Result<Outcome, LedgerError>> },
    Refresh { answer: oneshot::Sender<Result<Arc<Image>, LedgerError>> },
}

/// A command on its way into the log.
struct Waiting {
    id: CommandId,
    command: Command,
    answer: oneshot::Sender<Result<Outcome, LedgerError>>,
}

/// See the head of this file.
pub(crate) struct Task {
    log: Log,
    options: LedgerOptions,
    keeper: Keeper,
    image: Arc<Image>,
    published: watch::Sender<Arc<Image>>,
    requests: mpsc::Receiver<Request>,
    queue: VecDeque<Waiting>,
    refreshes: Vec<oneshot::Sender<Result<Arc<Image>, LedgerError>>>,
    /// This process's start, once it is registered.
    start: Option<NodeEpoch>,
    node_id: NodeId,
    /// Counter of the last command.
    counter: u64,
    /// The term that this task asked for last, and the nonce of the put that it was in.
    term: Option<(LedgerEpoch, Nonce)>,
    /// Grows while others keep winning the next number.
    deposed: Backoff,
    /// Grows while the log can't be followed.
    lost: Backoff,
}

impl Task {
    /// Starts the task over an image at the log's confirmed end.
    pub(crate) fn spawn(log: Log, options: LedgerOptions, image: Image, keeper: Keeper) -> Ledger {
        let image = Arc::new(image);
        let (published, watched) = watch::channel(image.clone());
        let (sender, requests) = mpsc::channel(options.waiting_commands_max.max(1));
        let clock = log.patient.clock.clone();
        let deposed = Backoff::up_to(options.backoff_max);
        let task = Task {
            log,
            options,
            keeper,
            image,
            published,
            requests,
            queue: VecDeque::new(),
            refreshes: Vec::new(),
            start: None,
            node_id: NodeId(-1),
            counter: 0,
            term: None,
            deposed,
            lost: Backoff::new(),
        };
        drop(clock.spawn("ledger", Box::pin(task.run())));
        Ledger::new(watched, sender)
    }

    async fn run(mut self) {
        while self.wait().await {
            self.take_waiting();
            while !(self.refreshes.is_empty() && self.queue.is_empty()) {
                if let Err(error) = self.serve().await {
                    self.fail(&error);
                }
                self.take_waiting();
            }
        }
    }

    /// Waits for a request, or until it is time to read on. `false`: all handles are gone.
    async fn wait(&mut self) -> bool {
        let mine = |epoch| Some(epoch) == self.start;
        let others = self.image.living().any(|(epoch, _)| !mine(epoch));
        let period = if others { self.options.follow_others } else { self.options.follow_alone };
        let dead = self.dead().is_some();
        let request = match period.filter(|_| !dead) {
            None => self.requests.recv().await,
            Some(period) => match self.log.patient.clock.timeout(period, self.requests.recv()).await {
                Some(request) => request,
                None => {
                    match self.read_on().await {
                        Ok(()) => self.lost.reset(),
                        Err(error) => {
                            // A bucket may refuse for hours.
                            if self.lost.is_worth_a_line() {
                                warn!(%error, "following the ledger failed; tries again");
                            }
                            // The period is wait enough; this one is only counted.
                            let _counted = self.lost.next_wait(0);
                        }
                    }
                    return true;
                }
            },
        };
        match request {
            Some(request) => self.take(request),
            None => return false,
        }
        true
    }

    /// Takes what is waiting at the handles, as far as the next entry has room.
    fn take_waiting(&mut self) {
        for _ in 0..self.options.waiting_commands_max.max(1) {
            if self.queue.len() >= self.entry_commands_max() {
                return;
            }
            match self.requests.try_recv() {
                Ok(request) => self.take(request),
                Err(_) => return,
            }
        }
    }

    /// An entry's commands must all be remembered by the image, or their fate could not be told.
    fn entry_commands_max(&self) -> usize {
        self.options.entry_commands_max.clamp(1, ANSWERED_MAX)
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Refresh { answer } => self.refreshes.push(answer),
            Request::Submit { command, answer } => {
                if let Command::Register { node_id, .. } = &command {
                    self.node_id = node_id.unwrap_or(NodeId(-1));
                }
                let id = self.next_id();
                self.queue.push_back(Waiting { id, command, answer });
            }
        }
    }

    /// Ids rise in the order of the queue, which is the order in the log: what is put again goes first.
    fn next_id(&mut self) -> CommandId {
        match self.start {
            None => CommandId::default(),
            Some(requester) => {
                self.counter += 1;
                CommandId { requester, counter: self.counter }
            }
        }
    }

    async fn serve(&mut self) -> Result<(), LedgerError> {
        if let Some(start) = self.dead() {
            return Err(LedgerError::Dead(start));
        }
        if !self.refreshes.is_empty() {
            // Those that ask from here on may mean a later moment, so they wait for the next time.
            let asked = std::mem::take(&mut self.refreshes);
            let read = self.read_on().await.map(|()| self.image.clone());
            for answer in asked {
                reply(answer, read.clone());
            }
            read?;
        }
        if self.queue.is_empty() { Ok(()) } else { self.append().await }
    }

    /// Puts one entry of what waits.
    async fn append(&mut self) -> Result<(), LedgerError> {
        if !self.leads() {
            self.read_on().await?;
            self.resolve();
            if self.queue.is_empty() || self.dead().is_some() {
                return Ok(());
            }
        }
        let (entry, first) = self.next_entry().await?;
        let bytes = codec::encode_entry(&entry);
        let outcome = self.log.patient.put_if_absent(&keys::entry(entry.seq), bytes).await?;
        let counts = outcome == PutOutcome::Created && planted!("A1", self.log.confirms(entry.seq).await?, true);
        if counts {
            self.count(&entry, first);
            self.deposed.reset();
            return Ok(());
        }
        if outcome == PutOutcome::Exists {
            planted!("A10", (), self.draw_new_ids());
        }
        let term = self.term;
        self.read_on().await?;
        self.resolve();
        if !self.leads() && self.dead().is_none() && !self.queue.is_empty() {
            debug!(?term, now = ?self.image.leader, "another broker leads the ledger");
            // Two that keep taking the lead from each other must not do so in step.
            self.deposed.wait(&*self.log.patient.clock).await;
        }
        Ok(())
    }

    /// The next entry, and the place of the queue's first command in it.
    async fn next_entry(&mut self) -> Result<(Entry, usize), LedgerError> {
        let nonce = self.log.patient.clock.nonce();
        let mut commands = Vec::new();
        let mut epoch = self.image.leader.epoch;
        if !self.leads() {
            epoch = LedgerEpoch(epoch.0 + 1);
            let cluster_id = if self.image.leader_history.is_empty() {
                format::read_or_create(&self.log.patient, self.log.patient.clock.nonce().0).await?.cluster_id
            } else {
                self.image.cluster_id
            };
            let lead = Command::BecomeLeader { epoch, node_id: self.node_id, cluster_id };
            commands.push((CommandId::default(), lead));
            self.term = Some((epoch, nonce));
        }
        let first = commands.len();
        let mut bytes = 0;
        for waiting in self.queue.iter().take(self.entry_commands_max()) {
            bytes += codec::command_bytes(waiting.id, &waiting.command);
            if bytes > self.options.entry_bytes_max && commands.len() > first {
                break;
            }
            commands.push((waiting.id, waiting.command.clone()));
        }
        let written = self.log.patient.clock.wall();
        Ok((Entry { seq: self.image.seq.next(), epoch, nonce, written, commands }, first))
    }

    /// The entry is in the log: folds it, shows the image, answers.
    fn count(&mut self, entry: &Entry, first: usize) {
        let before = self.image.clone();
        let mut image = (*before).clone();
        let outcomes = apply(&mut image, entry);
        self.show(image);
        self.keeper.appended(&before, &self.image);
        for outcome in outcomes.into_iter().skip(first) {
            let Some(waiting) = self.queue.pop_front() else { unreachable!("the entry was made of the queue's front") };
            self.answer(waiting, outcome);
        }
    }

    /// Answers those waiting commands that the image contains.
    fn resolve(&mut self) {
        for waiting in std::mem::take(&mut self.queue) {
            match contained(&self.image, &waiting) {
                Some(outcome) => self.answer(waiting, outcome),
                None => self.queue.push_back(waiting),
            }
        }
    }

    fn answer(&mut self, waiting: Waiting, outcome: Outcome) {
        if let (Command::Register { .. }, Outcome::Registered { node_id, node_epoch }) = (&waiting.command, &outcome) {
            self.start = Some(*node_epoch);
            self.node_id = *node_id;
            self.counter = 0;
            // What waits already gets ids of the new start, by which it can be asked again.
            let mut queue = std::mem::take(&mut self.queue);
            for later in &mut queue {
                later.id = self.next_id();
            }
            self.queue = queue;
        }
        let answer = match outcome {
            Outcome::Refused(Refusal::Dead(start)) if Some(start) == self.start || waiting.is_register() => {
                Err(LedgerError::Dead(start))
            }
            outcome => Ok(outcome),
        };
        reply(waiting.answer, answer);
    }

    /// Only the mutant A10 calls this: it takes *exists* for *failed* and asks anew.
    #[cfg(mutants)]
    fn draw_new_ids(&mut self) {
        let mut queue = std::mem::take(&mut self.queue);
        for waiting in &mut queue {
            waiting.id = self.next_id();
        }
        self.queue = queue;
    }

    /// Reads to the log's confirmed end and shows what it finds.
    async fn read_on(&mut self) -> Result<(), LedgerError> {
        let mut image = (*self.image).clone();
        let read = self.log.catch_up(&mut image).await;
        if image.seq > self.image.seq {
            self.show(image);
        }
        read
    }

    fn show(&mut self, image: Image) {
        self.image = Arc::new(image);
        self.published.send_replace(self.image.clone());
    }

    /// Whether the image's term is the one that this task asked for: the entry that began it carries its nonce.
    fn leads(&self) -> bool {
        let newest = self.image.leader_history.last();
        self.term.is_some() && newest.map(|(epoch, _, nonce)| (*epoch, *nonce)) == self.term
    }

    /// This start, where it was declared dead.
    fn dead(&self) -> Option<NodeEpoch> {
        self.start.filter(|start| !self.image.is_alive(*start) && planted!("R2", true, false))
    }

    fn fail(&mut self, error: &LedgerError) {
        for waiting in std::mem::take(&mut self.queue) {
            reply(waiting.answer, Err(error.clone()));
        }
        for answer in std::mem::take(&mut self.refreshes) {
            reply(answer, Err(error.clone()));
        }
    }
}

impl Waiting {
    fn is_register(&self) -> bool {
        matches!(self.command, Command::Register { .. })
    }
}

/// The outcome of a command that the image contains; `None`: it does not contain it, and asking again is safe.
fn contained(image: &Image, waiting: &Waiting) -> Option<Outcome> {
    if let Command::Register { incarnation, .. } = &waiting.command {
        let (epoch, node) = image.nodes.iter().find(|(_, node)| node.incarnation == *incarnation)?;
        return Some(if image.is_alive(*epoch) {
            Outcome::Registered { node_id: node.node_id, node_epoch: *epoch }
        } else {
            Outcome::Refused(Refusal::Dead(*epoch))
        });
    }
    let (_, outcome) = image.nodes.get(&waiting.id.requester)?.answered.get(&waiting.id.counter)?;
    Some(outcome.clone())
}

/// Answers a handle that may be gone: its call was dropped, which is its right.
fn reply<T>(answer: oneshot::Sender<T>, value: T) {
    drop(answer.send(value));
}
