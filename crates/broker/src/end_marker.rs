//! The control batch that ends a transaction in a partition, in Kafka's bytes: one record, whose key says how, and whose value says which
//! epoch of the coordinator has decided it. Written and read.

use crate::batch_check::CheckedBatch;
use base::UnixMillis;
use protocol::record_batch::{BatchBuilder, BatchError, NewRecord, RecordBatch};
use stream::{Ending, Marker, MarkerRule, NO_SEQUENCE, ProducerDelta};

/// Of a control record's key and of a marker's value.
const FORMAT: i16 = 0;

/// A control record's key: its version and its type, two bytes each.
const KEY_BYTES: usize = 4;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;

/// Bytes of a control batch at the most, decompressed: each holds one small record.
const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// A transaction's marker, for any partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndMarker {
    pub(crate) producer_id: i64,
    /// The one that the marker raises the producer to.
    pub(crate) producer_epoch: i16,
    pub(crate) marker: Marker,
    /// By which it is told from a repeat.
    pub(crate) rule: MarkerRule,
}

impl EndMarker {
    /// The batch, dated by the broker's clock; stamped with it where the topic wants that.
    pub(crate) fn batch(&self, now: UnixMillis, log_append_time: bool) -> Result<CheckedBatch, BatchError> {
        let ending = match self.marker.ending {
            Ending::Abort => ABORT,
            Ending::Commit => COMMIT,
        };
        let key = [FORMAT.to_be_bytes(), ending.to_be_bytes()].concat();
        let value = [&FORMAT.to_be_bytes()[..], &self.marker.coordinator_epoch.to_be_bytes()].concat();
        let record = NewRecord { timestamp: now.0, key: Some(&key), value: Some(&value), headers: &[] };
        let builder = BatchBuilder::new().producer(self.producer_id, self.producer_epoch, NO_SEQUENCE);
        let batch = builder.transactional().control().record(&record).build(0)?;
        Ok(CheckedBatch::own(batch).stamped_with(log_append_time.then_some(now)))
    }

    /// What it changes in a partition.
    pub(crate) fn delta(&self) -> ProducerDelta {
        ProducerDelta::marker(self.producer_id, self.producer_epoch, self.marker)
    }
}

/// What a control batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlRecord {
    /// Its producer's transaction is void.
    Abort,
    /// Its producer's transaction counts.
    Commit,
    /// Something else than the end of a transaction.
    Other,
}

/// What the batch's first record says; none where cleaning has taken its records.
pub(crate) fn control_record(batch: &RecordBatch) -> Result<Option<ControlRecord>, BatchError> {
    let Some(record) = batch.records(CONTROL_BYTES_MAX)?.next() else { return Ok(None) };
    let key = record?.key.filter(|key| key.len() >= KEY_BYTES);
    Ok(Some(match key.map(|key| i16::from_be_bytes([key[2], key[3]])) {
        Some(ABORT) => ControlRecord::Abort,
        Some(COMMIT) => ControlRecord::Commit,
        _ => ControlRecord::Other,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Offset, StreamEpoch};

    #[test]
    fn a_marker_has_kafkas_bytes() {
        let marker = Marker { ending: Ending::Commit, coordinator_epoch: 7 };
        let marker = EndMarker { producer_id: 0x0102, producer_epoch: 3, marker, rule: MarkerRule::V2 };
        let numbered = marker.batch(UnixMillis(1000), false).unwrap().numbered(Offset(5), StreamEpoch(2));
        let bytes = [&numbered.head[..], &numbered.body].concat();
        assert_eq!(bytes.len(), 78, "as Kafka's");
        assert_eq!(bytes[..16], [&5_i64.to_be_bytes()[..], &66_i32.to_be_bytes(), &2_i32.to_be_bytes()].concat());
        assert_eq!(bytes[21..23], [0, 0x30], "transactional, control");
        assert_eq!(bytes[43..57], [0, 0, 0, 0, 0, 0, 1, 2, 0, 3, 0xff, 0xff, 0xff, 0xff]);
        // Length 16, no attributes, time and offset; key of 4, value of 6, no headers.
        assert_eq!(bytes[61..], [32, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 7, 0]);
    }
}
