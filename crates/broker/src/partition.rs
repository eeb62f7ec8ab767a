//! A Kafka partition on a stream: the only place where Kafka's words become stream words.
//!
//! Fourth stop of the produce and the fetch walk. Numbering: a batch gets its offsets and enters the stream under one
//! lock per partition, so that order in the stream is offset order; nothing is awaited under it. High watermark = the stream's
//! confirmed offset, log start = its start, leader epoch = its stream epoch.
//!
//! Guarantees: what is appended was checked (`batch_check`) and is not changed but for base offset, leader epoch and, under
//! LogAppendTime, the timestamp. Leaves to others: durability and order of acknowledgements (the stream), waiting for either
//! (`handler::produce`, `waiter`), and which batches of an idempotent producer are repeats (the stream).

use crate::batch_check::CheckedBatch;
use crate::end_marker::EndMarker;
use crate::error::Failure;
use base::{Offset, OffsetRange, StreamId, UnixMillis, planted};
use control_core::Image;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream::{AbortedTransaction, Blocks, Forgotten, ProducerDelta, ProducerTold, Rewrite, Scan, StoredPart, Ticket};
use stream::{AppendError, Confirmation, Greatest, NumberedBatch, ReadBatches, ReadError, Store, Stream};
use tokio::sync::watch;
use world::lock;

/// The partitions that this broker owns.
pub(crate) struct Partitions {
    store: Store,
    /// One lock per stream, for as long as the stream exists.
    numbering: Mutex<BTreeMap<StreamId, Arc<Mutex<()>>>>,
}

impl Partitions {
    pub(crate) fn new(store: Store) -> Partitions {
        Partitions { store, numbering: Mutex::default() }
    }

    /// The partition of that stream, if this broker owns it now.
    pub(crate) fn owned(&self, id: StreamId) -> Option<Partition> {
        let stream = self.store.stream(id)?;
        let mut locks = lock(&self.numbering);
        Some(Partition { stream, numbering: locks.entry(id).or_default().clone() })
    }

    /// Drops the locks of streams that exist no more.
    pub(crate) fn forget_deleted(&self, image: &Image) {
        let mut locks = lock(&self.numbering);
        locks.retain(|id, lock| Arc::strong_count(lock) > 1 || image.streams.contains_key(id));
    }
}

/// One owned partition.
pub(crate) struct Partition {
    stream: Stream,
    numbering: Arc<Mutex<()>>,
}

/// A batch on its way to the WAL, or one that is there.
pub(crate) struct Appended {
    pub(crate) base: Offset,
    /// Of a batch that an idempotent producer has sent again: the greatest timestamp of the original.
    pub(crate) repeats: Option<UnixMillis>,
    confirms: Confirms,
}

/// By what a batch's durability is told.
enum Confirms {
    New(Confirmation),
    /// The original may be on its way still: everything below this offset must be durable.
    Repeat(Stream, Offset),
}

impl Appended {
    /// Waits until the batch is durable. False: whether it ever is will not be known here.
    pub(crate) async fn confirmed(self) -> bool {
        match self.confirms {
            Confirms::New(confirmation) => confirmation.await.is_ok(),
            Confirms::Repeat(stream, next) => stream.until_confirmed(next).await,
        }
    }
}

impl Partition {
    /// Gives the batch its offsets and enqueues it; never waits.
    pub(crate) fn append(&self, batch: &CheckedBatch) -> Result<Appended, AppendError> {
        self.append_by(batch, (batch.producer(), false), Stream::append)
    }

    /// The same of a transaction's marker, which was built by [`EndMarker::batch`].
    pub(crate) fn append_marker(&self, marker: &EndMarker, batch: &CheckedBatch) -> Result<Appended, AppendError> {
        let append = |stream: &Stream, numbered| stream.append_marker(numbered, marker.rule);
        self.append_by(batch, (Some(marker.delta()), true), append)
    }

    fn append_by(
        &self,
        batch: &CheckedBatch,
        (producer, control): (Option<ProducerDelta>, bool),
        append: impl FnOnce(&Stream, NumberedBatch) -> Result<stream::Appended, AppendError>,
    ) -> Result<Appended, AppendError> {
        let _numbering = lock(&self.numbering);
        let base = self.stream.next();
        let numbered = NumberedBatch {
            range: OffsetRange::new(base, base.plus(u64::from(batch.records()))),
            bytes: batch.numbered(base, self.stream.epoch()),
            records: batch.records(),
            max_timestamp: batch.max_timestamp(),
            producer,
            control,
            frame: batch.frame().cloned(),
        };
        let bytes = numbered.bytes.len();
        Ok(match append(&self.stream, numbered)? {
            stream::Appended::Enqueued(confirmation) => {
                if let Some(frame) = batch.frame() {
                    frame.accept(bytes);
                }
                Appended { base, repeats: None, confirms: Confirms::New(confirmation) }
            }
            stream::Appended::Repeat(original) => Appended {
                base: planted!("a repeat is told another offset", original.base, base),
                repeats: Some(original.timestamp),
                confirms: Confirms::Repeat(self.stream.clone(), original.next()),
            },
        })
    }

    /// The batch was refused since nobody has said that its transaction is in this partition: what to answer with. `None`: what producers
    /// wrote is not in memory, so that it will be refused for another reason.
    pub(crate) fn ask_grant(&self, batch: &CheckedBatch) -> Option<Ticket> {
        self.stream.ask_grant(&batch.producer()?)
    }

    /// The transaction's coordinator has answered. Where the question is worthless by now, the batch is refused again.
    pub(crate) fn answer_grant(&self, ticket: Ticket, is_granted: bool) {
        let _is_of_use = self.stream.answer_grant(ticket, is_granted);
    }

    /// Waits until its log has room again.
    pub(crate) async fn room(&self) {
        self.stream.room().await;
    }

    /// Which of this start's logs it is written to.
    pub(crate) fn log_index(&self) -> usize {
        self.stream.log_index()
    }

    /// How long producers to it should send nothing.
    pub(crate) fn throttle(&self) -> Duration {
        self.stream.throttle()
    }

    /// Brings the state of the partition's producers into memory.
    pub(crate) async fn load_producers(&self) -> Result<(), ReadError> {
        self.stream.load_producers().await
    }

    /// Whether this broker still led the partition after this was asked.
    pub(crate) async fn is_still_owned(&self) -> Result<bool, ReadError> {
        self.stream.is_still_owned().await
    }

    /// Whether there is room for one more producer, now that those which may leave memory have.
    pub(crate) fn has_room_for_a_producer(&self) -> bool {
        self.stream.make_room_for_producers()
    }

    /// Its stream.
    pub(crate) fn id(&self) -> StreamId {
        self.stream.id()
    }

    /// Kafka's leader epoch.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.stream.epoch().0
    }

    /// A client that knows another epoch than the owner's must refresh its metadata, or wait until the broker has; -1: knows none.
    pub(crate) fn check_leader_epoch(&self, known: i32) -> Result<(), Failure> {
        match known {
            known if known == -1 || known == self.leader_epoch() => Ok(()),
            known if known < self.leader_epoch() => Err(Failure::FencedLeaderEpoch),
            _ => Err(Failure::UnknownLeaderEpoch),
        }
    }

    pub(crate) fn log_start(&self) -> Offset {
        self.stream.start()
    }

    /// Where the next batch will begin.
    pub(crate) fn log_end(&self) -> Offset {
        self.stream.next()
    }

    /// What consumers may see ends here; what those may see who read decided records only, at [`Partition::last_stable`].
    pub(crate) fn high_watermark(&self) -> Offset {
        self.stream.confirmed()
    }

    /// Below it all transactions are decided. `None`: what producers wrote is not in memory ([`Partition::load_producers`]). Changes with
    /// the high watermark only.
    pub(crate) fn last_stable(&self) -> Option<Offset> {
        // Records of an open transaction may have been deleted.
        self.stream.last_stable().map(|stable| stable.max(self.log_start()))
    }

    /// The aborted transactions that a reader of `range` must pass over; asked before it reads. `None` as with
    /// [`Partition::last_stable`].
    pub(crate) fn aborted(&self, range: OffsetRange) -> Option<Result<Vec<AbortedTransaction>, Forgotten>> {
        self.stream.aborted(range)
    }

    /// The producers that are known, at most so many. `None` as with [`Partition::last_stable`].
    pub(crate) fn producers(&self, count: usize) -> Option<Vec<ProducerTold>> {
        self.stream.producers(count)
    }

    pub(crate) fn watch_high_watermark(&self) -> watch::Receiver<Offset> {
        self.stream.watch_confirmed()
    }

    /// Kafka's end of a leader epoch: the greatest epoch not above it that has an end here, and that end. None where the epoch is
    /// beyond all that are known. An epoch older than all of them ends where they begin.
    pub(crate) fn epoch_end(&self, image: &Image, epoch: i32) -> Option<(i32, Offset)> {
        if epoch == self.leader_epoch() {
            return Some((epoch, self.stream.next()));
        }
        let record = image.streams.get(&self.stream.id())?;
        // Those that have an end here; and those whose records are not committed to objects yet, with the present one. Where both know
        // an epoch, the former say where it begins.
        let committed = record.epochs.iter().map(|(it, first)| (it.0, *first));
        let tenures = record.tenures.iter().filter(|tenure| tenure.end != Some(tenure.start));
        let first_offsets =
            committed.chain(tenures.map(|tenure| (tenure.stream_epoch.0, tenure.start.max(record.start))));
        let (mut known, mut next) = (None, None::<(i32, Offset)>);
        for (it, first) in first_offsets {
            if it <= epoch {
                known = known.max(Some(it));
            } else if next.is_none_or(|(nearest, _)| it < nearest) {
                next = Some((it, first));
            }
        }
        let (_, end) = next?;
        Some((known.unwrap_or(epoch), end))
    }

    /// Bytes of its records, in objects and on their way there.
    pub(crate) fn bytes(&self) -> u64 {
        self.stream.bytes()
    }

    /// What reading at `from` can bring at the most, where that is less than `bytes_max` and easily known.
    pub(crate) fn bytes_from(&self, from: Offset, bytes_max: usize) -> Option<usize> {
        self.stream.bytes_from(from, bytes_max)
    }

    /// Whether reading at `from` could answer more than "nothing yet": false between the high watermark and the log's end.
    pub(crate) fn may_have(&self, from: Offset) -> bool {
        from < self.high_watermark() || from > self.stream.next()
    }

    /// Whole batches from `from` on, oldest first, at least one; empty where there is nothing to see yet.
    pub(crate) async fn read(&self, from: Offset, bytes_max: usize) -> Result<ReadBatches, ReadError> {
        if !self.may_have(from) {
            return Ok(ReadBatches { next: from, ..ReadBatches::default() });
        }
        self.stream.read(from, bytes_max).await
    }

    /// The same of what begins below `below`.
    pub(crate) async fn read_below(
        &self,
        from: Offset,
        below: Offset,
        bytes_max: usize,
    ) -> Result<ReadBatches, ReadError> {
        self.stream.read_below(from, below, bytes_max).await
    }

    /// Where reading on meets the first batch with a timestamp of at least `target`.
    pub(crate) async fn seek_time(&self, target: UnixMillis) -> Result<Option<Offset>, ReadError> {
        self.stream.seek_time(target).await
    }

    /// Where the greatest timestamp is, as far as that is known without reading records.
    pub(crate) async fn greatest_time(&self) -> Result<Greatest, ReadError> {
        self.stream.greatest_time().await
    }

    /// Whether this leader epoch is over, be it that the same broker goes on with the next one: look for the partition anew.
    pub(crate) fn is_over(&self) -> bool {
        self.stream.is_over()
    }

    /// Whether the topic is gone, which a parked fetch must notice.
    pub(crate) fn is_deleted(&self) -> bool {
        self.stream.is_deleted()
    }

    /// Moves the log start to `start` unless it is beyond already; at most to the high watermark.
    pub(crate) async fn delete_before(&self, start: Offset) -> Result<(), ReadError> {
        if start > self.stream.start() {
            self.stream.trim(start).await?;
        }
        Ok(())
    }

    /// What of it lies in objects, oldest first.
    pub(crate) fn stored(&self) -> Vec<StoredPart> {
        self.stream.stored()
    }

    /// Up to where log compaction has been.
    pub(crate) fn cleaned(&self) -> Offset {
        self.stream.cleaned()
    }

    /// Moves the end of what is compacted.
    pub(crate) async fn set_cleaned(&self, cleaned: Offset) -> Result<(), ReadError> {
        self.stream.set_cleaned(cleaned).await
    }

    /// Reads what lies in objects, beside the caches of those that clients wait for.
    pub(crate) fn scan(&self, range: OffsetRange, which: Blocks, bytes_per_second: u64) -> Scan<'_> {
        self.stream.scan(range, which, bytes_per_second)
    }

    /// Takes batches out of what lies in objects below that offset.
    pub(crate) fn rewrite(&self, below: Offset, bytes_per_second: u64) -> Rewrite<'_> {
        self.stream.rewrite(below, bytes_per_second)
    }

    /// Whether that batch may be the newest of its producer.
    pub(crate) fn may_be_newest_of(&self, producer_id: i64, base: Offset) -> bool {
        self.stream.may_be_newest_of(producer_id, base)
    }

    /// Moves the log start beyond what is older than `older_than` and beyond what exceeds `bytes_max`.
    pub(crate) async fn retain(&self, older_than: Option<UnixMillis>, bytes_max: Option<u64>) -> Result<(), ReadError> {
        self.delete_before(self.stream.retention_start(bytes_max, older_than)).await
    }
}
