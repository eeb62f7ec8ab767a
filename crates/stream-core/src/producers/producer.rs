//! What a stream knows of one producer.

use super::{BATCHES_KEPT, ProducerBatch, ProducerTold, Written};
use crate::{Ending, Marker, NO_SEQUENCE};
use base::{Offset, OffsetRange, UnixMillis, planted};
use std::time::Duration;

/// Of a producer that no marker has met here.
pub(super) const NO_COORDINATOR: i32 = -1;

/// One producer: never without a batch or a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Producer {
    /// Those with sequences, by offset.
    pub(super) batches: Vec<ProducerBatch>,
    /// Those without, by offset: the last confirmed one, and all that are not.
    pub(super) marks: Vec<Mark>,
    /// Where its open transaction begins.
    pub(super) open: Option<Offset>,
    /// In a part of a stream's state: the first marker of the producer that it holds.
    pub(super) first_ending: Option<FirstEnding>,
    /// When it last wrote, by the broker's clock.
    pub(super) seen: UnixMillis,
}

/// A batch without sequences: a marker, or what a coordinator has written in its client's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) range: OffsetRange,
    pub(super) timestamp: UnixMillis,
    /// The producer's from here on.
    pub(super) epoch: i16,
    /// Of the newest marker up to here.
    pub(super) coordinator_epoch: i32,
    /// Where that stands.
    pub(super) ended: Option<Offset>,
}

/// A marker that may end what began below all that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FirstEnding {
    pub(super) at: Offset,
    pub(super) ending: Ending,
    /// The last stable offset behind it, as far as what is known here goes.
    pub(super) stable: Offset,
}

impl Producer {
    pub(super) fn new(seen: UnixMillis) -> Producer {
        Producer { batches: Vec::new(), marks: Vec::new(), open: None, first_ending: None, seen }
    }

    /// The newest epoch that it was seen with here; -1 where it was not.
    pub(super) fn epoch(&self) -> i16 {
        let batch = self.batches.last().map(|batch| (batch.base, batch.epoch));
        let mark = self.marks.last().map(|mark| (mark.range.base, mark.epoch));
        batch.max(mark).map_or(-1, |(_, epoch)| epoch)
    }

    pub(super) fn told(&self, producer_id: i64) -> ProducerTold {
        let epoch = self.epoch();
        let of_epoch = self.batches.last().filter(|batch| batch.epoch == epoch);
        let batch = self.batches.last().map(|batch| (batch.base, batch.timestamp));
        let mark = self.marks.last().map(|mark| (mark.range.base, mark.timestamp));
        ProducerTold {
            producer_id,
            epoch,
            last_sequence: of_epoch.map_or(NO_SEQUENCE, |batch| batch.last_sequence),
            timestamp: batch.max(mark).map_or(self.seen, |(_, timestamp)| timestamp),
            coordinator_epoch: self.coordinator_epoch(),
            open: self.open,
        }
    }

    /// Everything that is known of it lies below.
    pub(super) fn end(&self) -> Offset {
        let batch = self.batches.last().map(ProducerBatch::next);
        let mark = self.marks.last().map(|mark| mark.range.next);
        batch.max(mark).unwrap_or_default()
    }

    pub(super) fn coordinator_epoch(&self) -> i32 {
        self.marks.last().map_or(NO_COORDINATOR, |mark| mark.coordinator_epoch)
    }

    /// Where its newest marker stands.
    pub(super) fn ended(&self) -> Option<Offset> {
        self.marks.last().and_then(|mark| mark.ended)
    }

    /// An open transaction keeps its producer: nobody else could end it (KIP-854).
    pub(super) fn is_expired(&self, now: UnixMillis, expiration: Duration) -> bool {
        let silent = now.0.saturating_sub(self.seen.0);
        self.open.is_none() && u64::try_from(silent).is_ok_and(|silent| u128::from(silent) >= expiration.as_millis())
    }

    /// Notes a batch with sequences, unless it is known.
    pub(super) fn add(&mut self, batch: ProducerBatch) {
        let at = self.batches.partition_point(|it| it.base < batch.base);
        if self.batches.get(at).is_none_or(|it| it.base != batch.base) {
            self.batches.insert(at, batch);
        }
    }

    /// Notes a batch without sequences, behind all that is known.
    pub(super) fn mark(&mut self, written: &Written, marker: Option<Marker>) {
        let Written { delta, range, timestamp } = *written;
        let epoch = match marker {
            Some(_) => planted!("F8", delta.producer_epoch, self.epoch().max(0)),
            None => delta.producer_epoch,
        };
        let coordinator_epoch = marker.map_or_else(|| self.coordinator_epoch(), |marker| marker.coordinator_epoch);
        let ended = if marker.is_some() { Some(range.base) } else { self.ended() };
        self.marks.push(Mark { range, timestamp, epoch, coordinator_epoch, ended });
    }

    /// Where what has raised it to that epoch stands, for who sends the marker again: the marker, else all that is known.
    pub(super) fn raised_to(&self, epoch: i16) -> ProducerBatch {
        let is_marker = |mark: &&Mark| mark.ended == Some(mark.range.base) && mark.epoch >= epoch;
        let (base, timestamp) = match self.marks.iter().find(is_marker) {
            Some(marker) => (marker.range.base, marker.timestamp),
            None => (Offset(self.end().0.saturating_sub(1)), self.seen),
        };
        ProducerBatch { epoch, first_sequence: NO_SEQUENCE, last_sequence: NO_SEQUENCE, base, timestamp }
    }

    /// Keeps what is not confirmed and the last few that are.
    pub(super) fn forget_beyond(&mut self, confirmed: Offset) {
        let known = self.batches.partition_point(|batch| batch.next() <= confirmed);
        self.batches.drain(..known.saturating_sub(BATCHES_KEPT));
        let known = self.marks.partition_point(|mark| mark.range.next <= confirmed);
        self.marks.drain(..known.saturating_sub(1));
    }

    /// What of it lies below, but for its transaction; `None`: nothing.
    pub(super) fn as_of(&self, confirmed: Offset) -> Option<Producer> {
        let mut part = Producer { open: None, ..self.clone() };
        part.batches.retain(|batch| batch.next() <= confirmed);
        part.marks.retain(|mark| mark.range.next <= confirmed);
        part.first_ending = part.first_ending.filter(|ending| ending.at < confirmed);
        part.forget_beyond(confirmed);
        (!part.batches.is_empty() || !part.marks.is_empty()).then_some(part)
    }
}
