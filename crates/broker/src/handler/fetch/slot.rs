//! One partition of a fetch and what has been read of it.

use crate::error::Failure;
use crate::fetch_session::Asked;
use crate::partition::Partition;
use base::Offset;
use protocol::wire::Records;
use std::sync::Arc;
use stream::AbortedTransaction;

pub(in crate::handler) struct Slot {
    pub(in crate::handler) asked: Asked,
    pub(in crate::handler) found: Result<Arc<Partition>, Failure>,
    /// Greatest batch by its topic's own settings; 0 where these do not say.
    pub(super) batch_bytes_max: usize,
    /// It is not there, which was known before anything was read.
    pub(super) is_absent: bool,
    pub(in crate::handler) records: Records,
    /// Of the transactions of these records, those that count for nothing.
    pub(in crate::handler) aborted: Vec<AbortedTransaction>,
    /// The last stable offset at the last read of decided records: the partition's producers may be put away before it is told.
    pub(super) stable: Option<Offset>,
    /// See [`super::read::Progress::readable`].
    pub(super) readable: usize,
    /// Where what the client has last parts from what is here.
    pub(super) diverging: Option<(i32, Offset)>,
    /// The high watermark before the last read: more than that is worth another one.
    pub(super) seen: Offset,
}

impl Slot {
    /// Of which nothing has been read yet; the number is its greatest batch by its topic's own settings.
    pub(in crate::handler) fn new(asked: Asked, found: Result<(Arc<Partition>, usize), Failure>) -> Slot {
        let is_absent =
            matches!(found, Err(Failure::UnknownPartition | Failure::UnknownTopicId | Failure::NotAuthorized(_)));
        let (found, batch_bytes_max) = match found {
            Ok((partition, batch_bytes_max)) => (Ok(partition), batch_bytes_max),
            Err(failure) => (Err(failure), 0),
        };
        Slot {
            batch_bytes_max,
            is_absent,
            found,
            records: Records::default(),
            aborted: Vec::new(),
            stable: None,
            readable: 0,
            diverging: None,
            seen: Offset::from_kafka(asked.offset).unwrap_or_default(),
            asked,
        }
    }

    /// Whether the client must hear of it at once.
    pub(super) fn is_news(&self) -> bool {
        (self.found.is_err() && !self.is_absent) || self.diverging.is_some()
    }

    /// Whether something was appended that is not durable yet.
    pub(super) fn is_arriving(&self) -> bool {
        self.found.as_ref().is_ok_and(|partition| partition.log_end() > partition.high_watermark())
    }
}
