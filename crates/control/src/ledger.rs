//! The handle that everything above holds: read the image, submit commands.

use crate::keeper::Keeper;
use crate::log::Log;
use crate::patient::Patient;
use crate::task::{Request, Task};
use base::{NodeEpoch, NodeId};
use control_core::{ANSWERED_MAX, Command, Image, Outcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use world::{ObjectStore, World};

/// Bounds and periods. The simulator makes them tiny.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// A snapshot is written every so many entries.
    pub snapshot_entries: u64,
    /// Commands in one entry at the most.
    pub entry_commands_max: usize,
    /// Bytes of commands in one entry at the most, but for a single command that is longer.
    pub entry_bytes_max: usize,
    /// Commands waiting at the most; beyond that `submit` waits.
    pub waiting_commands_max: usize,
    /// How often an idle broker reads on while it is the only living one in its image (two requests each time). `None`: never.
    pub follow_alone: Option<Duration>,
    /// How often an idle broker reads on while there are others. `None`: never.
    pub follow_others: Option<Duration>,
    /// A request to the store that has not answered for so long is taken for ambiguous and made again.
    pub call_timeout: Duration,
    /// The longest wait before a failed request is made again.
    pub backoff_max: Duration,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        LedgerOptions {
            snapshot_entries: 256,
            entry_commands_max: ANSWERED_MAX,
            entry_bytes_max: 4 << 20,
            waiting_commands_max: 4096,
            follow_alone: Some(Duration::from_secs(120)),
            follow_others: Some(Duration::from_secs(2)),
            call_timeout: Duration::from_secs(30),
            backoff_max: Duration::from_secs(5),
        }
    }
}

/// Why the ledger can't answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// This start was declared dead: it must stop serving and exit.
    #[error("this broker (start {0}) was declared dead by another one; start it again to rejoin")]
    Dead(NodeEpoch),
    /// The bucket holds something that this version can't read.
    #[error("{0}")]
    Unreadable(String),
    /// The store refuses (credentials, permission, missing bucket).
    #[error(transparent)]
    Store(#[from] world::StoreError),
    /// The ledger task has ended.
    #[error("the ledger is closed")]
    Closed,
}

/// A handle to the ledger; clones share one task, which ends with the last of them.
#[derive(Clone)]
pub struct Ledger {
    image: watch::Receiver<Arc<Image>>,
    requests: mpsc::Sender<Request>,
}

impl Ledger {
    /// Reads the ledger to its confirmed end. Writes nothing.
    ///
    /// # Errors
    /// The store refuses, or the bucket can't be read by this version.
    pub async fn open(
        world: &World,
        store: Arc<dyn ObjectStore>,
        options: LedgerOptions,
    ) -> Result<Ledger, LedgerError> {
        let patient = Patient {
            store,
            clock: world.clock.clone(),
            call_timeout: options.call_timeout,
            backoff_max: options.backoff_max,
        };
        let log = Log { patient };
        let (image, snapshot) = log.open().await?;
        let keeper = Keeper::new(log.clone(), options.snapshot_entries, snapshot);
        Ok(Task::spawn(log, options, image, keeper))
    }

    pub(crate) fn new(image: watch::Receiver<Arc<Image>>, requests: mpsc::Sender<Request>) -> Ledger {
        Ledger { image, requests }
    }

    /// The newest image of this broker.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.image.borrow().clone()
    }

    /// Follows the images.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Image>> {
        self.image.clone()
    }

    /// Becomes leader and registers this start, in one entry; `register` is a [`Command::Register`]. The first registration of all
    /// makes the cluster: it draws its id and writes the `format` object.
    ///
    /// # Errors
    /// As for [`Ledger::submit`]; a registration that is refused for what it says is [`LedgerError::Unreadable`].
    pub async fn register(&self, register: Command) -> Result<(NodeId, NodeEpoch), LedgerError> {
        match self.submit(register).await? {
            Outcome::Registered { node_id, node_epoch } => Ok((node_id, node_epoch)),
            Outcome::Refused(refusal) => {
                Err(LedgerError::Unreadable(format!("the registration was refused: {refusal}")))
            }
            outcome => unreachable!("a registration is answered by {outcome:?}"),
        }
    }

    /// Appends one command and answers when this broker's image contains it. Retries for ever while its fate is unknown; a
    /// deposed leader whose start is still alive in the image leads again. Cancel-safe: a dropped call may or may not take effect.
    /// Before this start is registered its commands are not told apart, so only such as may be applied twice are allowed then.
    ///
    /// # Errors
    /// This start is dead, the store refuses, or the ledger can't be read. After any error the command may have taken effect.
    pub async fn submit(&self, command: Command) -> Result<Outcome, LedgerError> {
        self.ask(|answer| Request::Submit { command, answer }).await
    }

    /// Reads to the ledger's confirmed end, so that the image is at least as new as the moment of the call.
    ///
    /// # Errors
    /// As for [`Ledger::submit`].
    pub async fn refresh(&self) -> Result<Arc<Image>, LedgerError> {
        self.ask(|answer| Request::Refresh { answer }).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, LedgerError>>) -> Request,
    ) -> Result<T, LedgerError> {
        let (sender, answer) = oneshot::channel();
        self.requests.send(request(sender)).await.map_err(|_| LedgerError::Closed)?;
        answer.await.map_err(|_| LedgerError::Closed)?
    }
}
