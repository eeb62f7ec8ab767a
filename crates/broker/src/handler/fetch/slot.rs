//! One partition of a fetch and what has been read of it.

use crate::detach::detached;
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
    /// These have memory of their own.
    is_detached: bool,
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
            is_detached: false,
            aborted: Vec::new(),
            stable: None,
            readable: 0,
            diverging: None,
            seen: Offset::from_kafka(asked.offset).unwrap_or_default(),
            asked,
        }
    }

    /// What has been read of it, in the caches' memory.
    pub(super) fn fill(&mut self, records: Records) {
        (self.records, self.is_detached) = (records, false);
    }

    /// Whether what has been read keeps the caches' memory.
    pub(super) fn is_shared(&self) -> bool {
        !self.is_detached && !self.records.is_empty()
    }

    /// Copies what has been read into memory of its own, unless it has been.
    pub(super) async fn detach(&mut self) {
        if !self.is_shared() {
            return;
        }
        let shared = std::mem::take(&mut self.records).pieces().iter().cloned().collect();
        self.records = detached(shared).await.into_iter().collect();
        self.is_detached = true;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch_session::TopicKey;
    use bytes::Bytes;

    #[tokio::test]
    async fn what_has_been_read_is_copied_once_and_anew_when_it_is_read_anew() {
        let asked = Asked {
            topic: TopicKey::Name("t".into()),
            name: None,
            partition: 0,
            offset: 0,
            bytes_max: 0,
            leader_epoch: -1,
            last_fetched_epoch: -1,
        };
        let mut slot = Slot::new(asked, Err(Failure::NotLeader));
        assert!(!slot.is_shared());
        let frame: Bytes = (0..=255).collect();
        for round in 0..2 {
            slot.fill([frame.slice(10..20), frame.slice(30..40)].into_iter().collect());
            assert!(slot.is_shared(), "round {round}");
            slot.detach().await;
            assert!(!slot.is_shared() && frame.is_unique(), "round {round}");
            assert_eq!(slot.records.to_bytes()[..], [&frame[10..20], &frame[30..40]].concat());
        }
    }
}
