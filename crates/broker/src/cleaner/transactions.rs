//! Which transactions were aborted, as far as the markers in the log tell. Pure.
//!
//! A producer's transactions follow each other, so a batch belongs to the one that its producer's next marker ends; where none is known
//! it may be open still. Neighbouring markers of one producer that say the same are remembered as one, the last.

pub(super) use crate::end_marker::{ControlRecord as Marker, control_record as marker};
use base::Offset;
use protocol::record_batch::{BatchError, RecordBatch};
use std::collections::BTreeMap;

/// What a marker takes in memory, about.
pub(super) const MARKER_BYTES: usize = 96;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Aborted,
    Committed,
    /// Not at all, as far as is known.
    Open,
}

/// The markers of a part of the log.
#[derive(Debug, Default)]
pub(super) struct Markers {
    /// By producer: the marker's offset, and whether it aborts.
    by_producer: BTreeMap<i64, Vec<(i64, bool)>>,
    count: usize,
}

impl Markers {
    /// Notes a control batch; they come in order.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), BatchError> {
        let aborts = match marker(batch)? {
            Some(Marker::Abort) => true,
            Some(Marker::Commit) => false,
            Some(Marker::Other) | None => return Ok(()),
        };
        let own = self.by_producer.entry(batch.producer_id()).or_default();
        match own.last_mut().filter(|(_, same)| *same == aborts) {
            Some((offset, _)) => *offset = batch.last_offset(),
            None => {
                own.push((batch.last_offset(), aborts));
                self.count += 1;
            }
        }
        Ok(())
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// How the transaction of a producer's batch ended that begins there.
    pub(super) fn ending(&self, producer_id: i64, base: Offset) -> Ending {
        let own = self.by_producer.get(&producer_id).map_or(&[][..], Vec::as_slice);
        let next = own.partition_point(|(offset, _)| *offset < base.to_kafka());
        match own.get(next) {
            Some((_, true)) => Ending::Aborted,
            Some((_, false)) => Ending::Committed,
            None => Ending::Open,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use protocol::record_batch::{BatchBuilder, NewRecord};

    /// A marker as Kafka's brokers write it.
    pub(crate) fn marker_batch(offset: i64, producer_id: i64, aborts: bool) -> RecordBatch {
        let kind: i16 = if aborts { 0 } else { 1 };
        let key = [0_i16.to_be_bytes(), kind.to_be_bytes()].concat();
        let record = NewRecord { timestamp: 5, key: Some(&key), value: Some(&[0; 6]), ..NewRecord::default() };
        let builder = BatchBuilder::new().producer(producer_id, 0, -1).transactional().control();
        builder.record(&record).build(offset).unwrap()
    }

    #[test]
    fn a_batch_belongs_to_its_producers_next_marker() {
        let mut markers = Markers::default();
        for (offset, producer, aborts) in [(3, 7, false), (5, 8, true), (9, 7, true), (12, 7, true), (20, 7, false)] {
            markers.add(&marker_batch(offset, producer, aborts)).unwrap();
        }
        let endings = [0, 4, 10, 13, 21].map(|base| markers.ending(7, Offset(base)));
        assert_eq!(endings, [Ending::Committed, Ending::Aborted, Ending::Aborted, Ending::Committed, Ending::Open]);
        assert_eq!((markers.ending(8, Offset(2)), markers.ending(9, Offset(2))), (Ending::Aborted, Ending::Open));
        assert_eq!(markers.len(), 4, "two that say the same are one");
    }

    #[test]
    fn other_control_records_end_nothing() {
        let record = NewRecord { key: Some(&[0, 0, 0, 2]), value: Some(b"x"), ..NewRecord::default() };
        let other = BatchBuilder::new().producer(7, 0, -1).control().record(&record).build(3).unwrap();
        assert_eq!(marker(&other), Ok(Some(Marker::Other)));
        let mut markers = Markers::default();
        markers.add(&other).unwrap();
        assert_eq!(markers.ending(7, Offset(0)), Ending::Open);
    }
}
