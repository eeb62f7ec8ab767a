//! The handle that everything above holds: read the image, submit commands.

use base::{NodeEpoch, NodeId};
use control_core::{ANSWERED_MAX, Command, Image, Outcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
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

/// A handle to the ledger; clones share one task.
#[derive(Clone)]
pub struct Ledger {
    image: watch::Receiver<Arc<Image>>,
}

impl Ledger {
    /// Reads the ledger to its confirmed end. Writes nothing.
    pub async fn open(
        _world: &World,
        _store: Arc<dyn ObjectStore>,
        _options: LedgerOptions,
    ) -> Result<Ledger, LedgerError> {
        todo!()
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
    pub async fn register(&self, _register: Command) -> Result<(NodeId, NodeEpoch), LedgerError> {
        todo!()
    }

    /// Appends one command and answers when this broker's image contains it. Retries for ever while its fate is unknown; a
    /// deposed leader whose start is still alive in the image leads again. Cancel-safe: a dropped call may or may not take effect.
    pub async fn submit(&self, _command: Command) -> Result<Outcome, LedgerError> {
        todo!()
    }

    /// Reads to the ledger's confirmed end, so that the image is at least as new as the moment of the call.
    pub async fn refresh(&self) -> Result<Arc<Image>, LedgerError> {
        todo!()
    }
}
