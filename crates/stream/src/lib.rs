//! S3Stream: append-only streams on object storage, acknowledged by a write-ahead log.
//!
//! [`Store::start`] brings a start of a broker to life (lead, register, declare dead, recover, seal, open); a [`Stream`] is one
//! stream that this start owns. The decisions are [`stream_core`]'s; here they are carried out.
//!
//! | walk | files, in order |
//! |---|---|
//! | append | `store` → `log` → `driver` → `wal` → `driver` |
//! | upload and commit | `upload` → the ledger → `upload` |
//! | read | `store` → `read` → `block_cache`, `object_index` |
//! | start and recovery | `start` → `recover` → `take_over` → `upload`; without serving: `alone`, `recover_alone` |
//! | watch others, take over while running | `watch` → `suspicion` → the ledger → `succession`, `heirs` → `recover` → `take_over` |
//! | give a lost log up | `alone` → `abandon` → `quarantine` → the ledger |
//! | change from log to log | `moves` → the ledger → `moves` |
//! | stop | `drain` |
//! | producers' state | `store` → `producers` → `upload`; after a crash `take_over` → `producers` |
//! | transactions: markers, grants, what is undecided or aborted | `transactions` → `store`, `producers` |
//! | compaction | `compaction` → the ledger; Kafka's log compaction enters by `clean` |
//! | follow the ledger, clean the bucket, check it | `follow`, `housekeeping`, `fsck` |
//! | rebuild the ledger from the bucket | `restore` |

mod abandon;
mod alone;
mod block_cache;
mod clean;
mod compaction;
mod counters;
mod drain;
mod driver;
mod follow;
mod front;
mod fsck;
mod heirs;
mod housekeeping;
mod keys;
mod log;
mod moves;
mod object_index;
mod objects;
mod offsets;
mod open_stream;
mod options;
mod producers;
mod quarantine;
mod read;
mod recover;
mod recover_alone;
mod restore;
mod ring_age;
mod shared;
mod start;
mod store;
mod succession;
mod suspicion;
mod take_over;
mod transactions;
mod upload;
pub mod wal;
mod watch;

pub use abandon::{AbandonLogs, AbandonOutcome, abandon_logs, logs_of_ring, lost_with};
pub use compaction::{Blocks, CompactionUse, Rewrite, Scan, StoredPart};
pub use fsck::{FsckError, FsckReport, Newest, fsck, fsck_of};
pub use keys::{data_key, object_of_key};
pub use object_index::{IndexRead, read_index};
pub use offsets::Greatest;
pub use options::{CompactionOptions, Options, StoreProbe, WatchTimes};
pub use quarantine::{FoundMarker, markers};
pub use recover_alone::{
    DeadLog, LogFound, LogOutcome, RecoverLogs, Standing, bucket_is_older, is_with_a_broker, log_objects, logs_left,
    logs_to_recover, recover_logs,
};
pub use restore::{LedgerLoss, RestoreError, RestorePlan, RestoreRequest, StreamTold, Verdict, plan_restore};
pub use ring_age::{RingHolds, is_ahead_of, is_unbegun, older_told, why_older};
pub use store::{
    AppendError, Appended, Confirmation, DEFAULT_WAL, Gauges, NamedWal, ReadBatches, ReadError, StartError,
    StartRequest, Store, Stream, WalChoice, WalGauges, WalTarget,
};
pub use stream_core::abandoned::{Abandoned, LostPart};
pub use stream_core::producers::{
    AbortedTransaction, Forgotten, MarkerRule, ProducerBatch, ProducerTold, SequenceError, Ticket, last_sequence,
};
pub use stream_core::{BatchBytes, BatchKind, Ending, FrameUse, Marker, NO_SEQUENCE, NumberedBatch, ProducerDelta};
pub use watch::{Ask, Asked, Connects, Watch};
