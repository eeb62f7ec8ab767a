//! Records of the broker's own on their way into a partition's log, and the batches that they go in.

use crate::batch_check::CheckedBatch;
use coordinator_core::CoordinatorRecord;
use protocol::record_batch::{BatchBuilder, BatchError, NewRecord};
use std::collections::VecDeque;
use stream::NO_SEQUENCE;

/// Bytes of records in one batch at the most, but for a single record that is larger, or for several that must not be parted.
pub(super) const BATCH_RECORD_BYTES_MAX: usize = 512 * 1024;

/// A record of the broker's own.
#[derive(Debug)]
pub(super) struct OwnRecord {
    pub(super) record: CoordinatorRecord,
    /// In whose transaction it is stored, and in which of the producer's epochs.
    pub(super) producer: Option<(i64, i16)>,
    /// It is in the log together with the one before it, or neither is.
    pub(super) is_joined: bool,
}

impl OwnRecord {
    pub(super) fn new(record: CoordinatorRecord, producer: Option<(i64, i16)>) -> OwnRecord {
        OwnRecord { record, producer, is_joined: false }
    }
}

/// How many of the first records go into the next batch: those of one producer, as far as they fit. None is parted from those that it is
/// joined to, of which a core makes no more than fit a batch.
pub(super) fn fits_batch(outbox: &VecDeque<OwnRecord>) -> usize {
    let producer = outbox.front().and_then(|first| first.producer);
    let mut bytes = 0;
    let fits = |it: &&OwnRecord| {
        bytes += it.record.len();
        bytes <= BATCH_RECORD_BYTES_MAX && it.producer == producer
    };
    let count = outbox.iter().take_while(fits).count().max(1);
    let may_end_before = |place: &usize| outbox.get(*place).is_none_or(|next| !next.is_joined);
    let fewer = (1..=count).rev().find(may_end_before);
    fewer.or_else(|| (count..=outbox.len()).find(may_end_before)).unwrap_or(count)
}

/// A batch of the broker's own records, dated now: all of one producer's transaction, or of none.
pub(super) fn batch_of<'a>(
    mut records: impl Iterator<Item = &'a OwnRecord>,
    timestamp: i64,
) -> Result<CheckedBatch, BatchError> {
    let mut builder = BatchBuilder::new();
    let first = records.next();
    if let Some((producer_id, epoch)) = first.and_then(|it| it.producer) {
        builder = builder.producer(producer_id, epoch, NO_SEQUENCE).transactional();
    }
    let add = |builder: BatchBuilder, OwnRecord { record, .. }: &OwnRecord| {
        let (key, value) = (Some(&record.key[..]), record.value.as_deref());
        builder.record(&NewRecord { timestamp, key, value, headers: &[] })
    };
    first.into_iter().chain(records).fold(builder, add).build(0).map(CheckedBatch::own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize, is_joined: bool) -> OwnRecord {
        let record = CoordinatorRecord { key: vec![0; bytes].into(), value: None };
        OwnRecord { record, producer: None, is_joined }
    }

    fn outbox(records: &[(usize, bool)]) -> VecDeque<OwnRecord> {
        records.iter().map(|(bytes, is_joined)| record(*bytes, *is_joined)).collect()
    }

    #[test]
    fn a_batch_holds_what_fits_and_parts_nothing_that_is_joined() {
        const HALF: usize = BATCH_RECORD_BYTES_MAX / 2;
        assert_eq!(fits_batch(&outbox(&[(HALF, false), (HALF, false), (1, false)])), 2);
        assert_eq!(fits_batch(&outbox(&[(3 * HALF, false), (1, false)])), 1, "one that is larger than a batch");
        assert_eq!(fits_batch(&outbox(&[(1, false), (HALF, false), (HALF, true), (1, false)])), 1);
        assert_eq!(fits_batch(&outbox(&[(HALF, false), (HALF, true), (HALF, true), (1, false)])), 3);
        assert_eq!(fits_batch(&outbox(&[(HALF, false), (HALF, true), (HALF, true)])), 3);
        let mut mixed = outbox(&[(1, false), (1, false)]);
        mixed[1].producer = Some((7, 0));
        assert_eq!(fits_batch(&mixed), 1, "another producer's");
    }
}
