//! What only write-ahead logs hold, beyond the ends of what is in objects: chosen, and laid into objects of the restore's own.
//!
//! A log's trim point and its sealed end were in the ledger. Where that is gone, what a log holds beyond its end is told from what was
//! acknowledged by the offsets of later tenures; what a ring holds below its trim point, left over from earlier laps, was acknowledged
//! once, and is back where retention has removed its objects since.

use super::RestoreError;
use super::find::{Found, FoundObject, LogPlace};
use crate::keys::data_key;
use crate::wal::{ObjectWalReader, Patience, RingFile, WalReader, WalSpan};
use base::{
    NodeEpoch, ObjectId, Offset, OffsetRange, StreamEpoch, StreamId, UnixMillis, WalId, WalPosition, crc32c_joined,
};
use bytes::Bytes;
use control_core::{Image, WalState};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use stream_core::object::{BlockEntry, ObjectBuilder, Run, StateEntry};
use stream_core::producers::{Producers, Written, decode_section, encode_section};
use stream_core::{BatchBytes, DirectoryEntry};
use world::{GetRange, ObjectStore, PutOutcome, World};

/// Bytes of records in one object, about: they are in memory until it is put.
const OBJECT_BYTES: u64 = 64 << 20;
/// Read from a log at once.
const READ_BYTES_MAX: u32 = 4 << 20;
/// A call on a ring takes so long at the most.
pub(super) const RING_STALLED_MAX: Duration = Duration::from_secs(60);
/// Bytes of a block, about.
const BLOCK_BYTES: usize = 1 << 20;

/// A batch that is in no object.
#[derive(Debug, Clone, Copy)]
pub(super) struct TailBatch {
    pub(super) entry: DirectoryEntry,
    pub(super) span: WalSpan,
    /// Which of the logs that were found.
    pub(super) log: usize,
}

/// What the logs add, by stream and offset: whatever counts by [`Validity`], at offsets that no object has.
///
/// Blocks are uploaded two at a time, and a successor uploads before its predecessor's tail is: so there are offsets below the greatest
/// of the objects that only a log has.
pub(super) fn choose(found: &Found, image: &Image) -> Vec<TailBatch> {
    let validity = Validity::of(found, image);
    let mut by_stream: BTreeMap<StreamId, Vec<TailBatch>> = BTreeMap::new();
    for (log, held) in found.logs.iter().enumerate() {
        for (entry, span) in held.entries.iter().filter(|(entry, span)| validity.counts(held.wal, entry, *span)) {
            by_stream.entry(entry.stream).or_default().push(TailBatch { entry: *entry, span: *span, log });
        }
    }
    let mut taken = taken(found, image);
    let mut chosen = Vec::new();
    for (stream, mut batches) in by_stream {
        let taken = taken.entry(stream).or_default();
        // Of two that were given the same offset, the one of the later tenure was acknowledged.
        batches.sort_by_key(|batch| (batch.entry.range.base, Reverse(batch.entry.stream_epoch)));
        let mut next = Offset(0);
        for batch in batches {
            let range = batch.entry.range;
            if range.base >= next && !taken.covers(range) {
                next = range.next;
                chosen.push(batch);
            }
        }
    }
    chosen
}

/// Which offsets something speaks for already, by stream: objects do, and the ledger where it says that there is nothing.
fn taken(found: &Found, image: &Image) -> BTreeMap<StreamId, Taken> {
    let mut taken: BTreeMap<StreamId, Taken> = BTreeMap::new();
    for (stream, part) in found.objects.values().flat_map(|object| &object.parts) {
        taken.entry(*stream).or_default().add(part.range());
    }
    for (stream, record) in &image.streams {
        let of_stream = taken.entry(*stream).or_default();
        of_stream.add(OffsetRange::new(Offset(0), record.start));
        record.references.values().filter(|it| it.bytes == 0).for_each(|it| of_stream.add(it.range));
    }
    taken
}

/// A set of offsets: disjoint ranges that do not touch, by base.
#[derive(Debug, Default)]
struct Taken(BTreeMap<Offset, Offset>);

impl Taken {
    fn add(&mut self, range: OffsetRange) {
        if range.is_empty() {
            return;
        }
        let (mut base, mut next) = (range.base, range.next);
        while let Some((there, end)) = self.0.range(..=next).next_back().map(|(base, next)| (*base, *next)) {
            if end < base {
                break;
            }
            self.0.remove(&there);
            (base, next) = (base.min(there), next.max(end));
        }
        self.0.insert(base, next);
    }

    fn covers(&self, range: OffsetRange) -> bool {
        self.0.range(..=range.base).next_back().is_some_and(|(_, next)| *next >= range.next)
    }
}

/// Which batches of logs can have been acknowledged, by what is known of ends.
///
/// What was in flight as its writer died was numbered and never acknowledged, and the next tenure gave the same offsets out again. So
/// nothing counts from the first offset of any later tenure on, nor beyond an end that the ledger has fixed.
struct Validity<'a> {
    image: &'a Image,
    /// By stream: the first offset that is known of each tenure.
    begun: BTreeMap<StreamId, BTreeMap<StreamEpoch, Offset>>,
}

impl<'a> Validity<'a> {
    fn of(found: &Found, image: &'a Image) -> Validity<'a> {
        let mut begun: BTreeMap<StreamId, BTreeMap<StreamEpoch, Offset>> = BTreeMap::new();
        let mut note = |stream, epoch, offset: Offset| {
            let first = begun.entry(stream).or_default().entry(epoch).or_insert(offset);
            *first = offset.min(*first);
        };
        for (stream, part) in found.objects.values().flat_map(|object| &object.parts) {
            part.blocks.iter().for_each(|block| note(*stream, block.stream_epoch, block.range.base));
        }
        for (entry, _) in found.logs.iter().flat_map(|log| &log.entries) {
            note(entry.stream, entry.stream_epoch, entry.range.base);
        }
        for (stream, record) in &image.streams {
            record.epochs.iter().for_each(|(epoch, first)| note(*stream, *epoch, *first));
            record.tenures.iter().for_each(|tenure| note(*stream, tenure.stream_epoch, tenure.start));
        }
        Validity { image, begun }
    }

    fn counts(&self, wal: WalId, entry: &DirectoryEntry, span: WalSpan) -> bool {
        if entry.range.is_empty() || self.image.is_deleted(entry.stream) {
            return false;
        }
        let later = self.begun.get(&entry.stream).into_iter().flat_map(|begun| {
            begun.range((Bound::Excluded(entry.stream_epoch), Bound::Unbounded)).map(|(_, first)| *first)
        });
        let of_wal = self.image.wals.get(&wal);
        let is_settled = of_wal.is_some_and(|record| span.position < record.trim);
        let is_beyond =
            of_wal.is_some_and(|record| matches!(record.state, WalState::Sealed { end, .. } if span.position >= end));
        let known = self.image.streams.get(&entry.stream).into_iter().flat_map(|record| &record.tenures);
        let ends = known.filter(|tenure| tenure.stream_epoch == entry.stream_epoch).filter_map(|tenure| tenure.end);
        !is_settled && !is_beyond && later.chain(ends).all(|end| entry.range.next <= end)
    }
}

/// The object that they would be in, for who only asks.
pub(super) fn imagined(batches: &[TailBatch], id: ObjectId) -> FoundObject {
    let block = |batch: &TailBatch| {
        let entry = batch.entry;
        BlockEntry {
            stream: entry.stream,
            stream_epoch: entry.stream_epoch,
            range: entry.range,
            position: 0,
            len: entry.payload_len,
            crc: entry.payload_crc,
            records: u64::from(entry.records),
            max_timestamp: entry.max_timestamp,
            max_timestamp_offset: entry.range.base,
            control: entry.control,
        }
    };
    let blocks: Vec<BlockEntry> = batches.iter().map(block).collect();
    let size = blocks.iter().map(|block| u64::from(block.len)).sum();
    FoundObject::new(id, size, true, &blocks, Vec::new())
}

/// Where objects are read and put, and as whose.
pub(super) struct Writer<'a> {
    pub(super) world: &'a World,
    pub(super) from: &'a Arc<dyn ObjectStore>,
    pub(super) to: &'a Arc<dyn ObjectStore>,
    pub(super) start: NodeEpoch,
    pub(super) next: u64,
}

impl Writer<'_> {
    /// Puts the batches into objects, and what their producers have written besides.
    pub(super) async fn write(
        &mut self,
        found: &Found,
        mut batches: Vec<TailBatch>,
    ) -> Result<BTreeMap<ObjectId, FoundObject>, RestoreError> {
        let mut written = BTreeMap::new();
        if batches.is_empty() {
            return Ok(written);
        }
        let readers = self.readers(found, &batches).await?;
        let states = self.states(found, &batches).await?;
        // First, so that what is cut off in between and done again finds them with the records, and not the records alone.
        if !states.is_empty() {
            let id = self.draw();
            let mut builder = ObjectBuilder::merged(id, BLOCK_BYTES);
            for (stream, (last, producers)) in states {
                let range = OffsetRange::new(Offset(0), last.range.next);
                builder.push_state(stream, last.stream_epoch, range, encode_section(&producers));
            }
            self.put(id, builder, &mut written).await?;
        }
        batches.sort_by_key(|batch| (batch.log, batch.span.position));
        let mut rest = batches.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let within = |batch: &&TailBatch| {
                let fits = bytes < OBJECT_BYTES;
                bytes += u64::from(batch.span.len);
                fits
            };
            let count = rest.iter().take_while(within).count();
            let (chunk, later) = rest.split_at(count);
            rest = later;
            let mut runs = self.read(&readers, chunk).await?;
            runs.sort_by_key(|(batch, _)| (batch.entry.stream, batch.entry.range.base));
            let id = self.draw();
            let mut builder = ObjectBuilder::merged(id, BLOCK_BYTES);
            for (TailBatch { entry, .. }, bytes) in runs {
                let run = Run {
                    range: entry.range,
                    bytes: BatchBytes::whole(bytes),
                    records: u64::from(entry.records),
                    max_timestamp: entry.max_timestamp,
                    max_timestamp_offset: entry.range.base,
                    control: entry.control,
                };
                builder.push_run(entry.stream, entry.stream_epoch, &run);
            }
            self.put(id, builder, &mut written).await?;
        }
        Ok(written)
    }

    fn draw(&mut self) -> ObjectId {
        let id = ObjectId { node_epoch: self.start, counter: self.next };
        self.next += 1;
        id
    }

    async fn put(
        &self,
        id: ObjectId,
        builder: ObjectBuilder,
        written: &mut BTreeMap<ObjectId, FoundObject>,
    ) -> Result<(), RestoreError> {
        let built = builder.finish();
        let key = data_key(id);
        // One that was cut off has left the same bytes where it is done again: into another bucket, from one that has not changed.
        if self.to.put_if_absent(&key, built.parts.clone()).await? == PutOutcome::Exists
            && self.to.get(&key, GetRange::All).await?.0 != built.parts.concat()
        {
            return Err(RestoreError(format!(
                "{key} has been written meanwhile: a broker runs, or another restore; stop it and look again"
            )));
        }
        written.insert(id, FoundObject::new(id, built.size, true, &built.index.blocks, built.index.states));
        Ok(())
    }

    async fn readers(&self, found: &Found, batches: &[TailBatch]) -> Result<BTreeMap<usize, WalReader>, RestoreError> {
        let mut readers = BTreeMap::new();
        let mut rings: BTreeMap<u128, RingFile> = BTreeMap::new();
        let patience = Patience::new(self.world, RING_STALLED_MAX);
        for (at, log) in found.logs.iter().enumerate() {
            if !batches.iter().any(|batch| batch.log == at) {
                continue;
            }
            let reader = match &log.place {
                LogPlace::Bucket { .. } => WalReader::Object(ObjectWalReader::new(self.from.clone(), log.wal)),
                LogPlace::Ring(ring) => {
                    let open = match rings.get(&ring.header.ring_id) {
                        Some(open) => open.clone(),
                        // Locked, so that nobody writes over it meanwhile.
                        None => RingFile::open_found(self.world, &patience, ring)
                            .await
                            .map_err(|error| RestoreError(error.to_string()))?,
                    };
                    rings.insert(ring.header.ring_id, open.clone());
                    WalReader::Ring(open)
                }
            };
            readers.insert(at, reader);
        }
        Ok(readers)
    }

    /// The bytes of batches that stand by log and position; what lies side by side is read at once.
    async fn read(
        &self,
        readers: &BTreeMap<usize, WalReader>,
        batches: &[TailBatch],
    ) -> Result<Vec<(TailBatch, Bytes)>, RestoreError> {
        let mut read = Vec::with_capacity(batches.len());
        let mut batches = batches.iter().peekable();
        while let Some(first) = batches.next() {
            let mut together = vec![*first];
            let mut span = first.span;
            while let Some(next) = batches.next_if(|next| {
                next.log == first.log
                    && next.span.position == WalPosition(span.position.0 + u64::from(span.len))
                    && next.span.len <= READ_BYTES_MAX.saturating_sub(span.len)
            }) {
                span.crc = crc32c_joined(span.crc, next.span.crc, u64::from(next.span.len));
                span.len += next.span.len;
                together.push(*next);
            }
            let reader = &readers[&first.log];
            let mut bytes = reader.read(span).await.map_err(|error| RestoreError(error.to_string()))?;
            read.extend(together.into_iter().map(|batch| (batch, bytes.split_to(batch.span.len as usize))));
        }
        Ok(read)
    }

    /// The whole state of the streams whose tails have batches of idempotent producers, each with its last batch.
    async fn states(
        &self,
        found: &Found,
        batches: &[TailBatch],
    ) -> Result<BTreeMap<StreamId, (DirectoryEntry, Producers)>, RestoreError> {
        let seen: UnixMillis = self.world.clock.wall();
        let mut parts: BTreeMap<StreamId, Vec<(OffsetRange, Producers)>> = BTreeMap::new();
        let mut last: BTreeMap<StreamId, DirectoryEntry> = BTreeMap::new();
        for TailBatch { entry, .. } in batches {
            last.insert(entry.stream, *entry);
            let of_stream = parts.entry(entry.stream).or_default();
            // Of what lies between two runs, objects speak.
            match of_stream.last_mut().filter(|(range, _)| range.next == entry.range.base) {
                Some((range, _)) => range.next = entry.range.next,
                None => of_stream.push((entry.range, Producers::default())),
            }
            if let (Some(delta), Some((_, part))) = (entry.producer, of_stream.last_mut()) {
                part.fold(&Written { delta, range: entry.range, timestamp: entry.max_timestamp }, seen);
            }
        }
        parts.retain(|_, parts| parts.iter().any(|(_, part)| !part.is_empty()));
        let mut states = BTreeMap::new();
        for (stream, mut parts) in parts {
            for (object, section) in found.states_of(stream) {
                match read_state(self.from, object, &section).await {
                    Ok(saved) => parts.push((section.range, saved)),
                    // As the plan does: its producers are told of as if they were new, and the records are no worse.
                    Err(error) => tracing::warn!(%stream, %error, "what it says of producers is passed over"),
                }
            }
            states.insert(stream, (last[&stream], Producers::of_parts(parts)));
        }
        Ok(states)
    }
}

pub(super) async fn read_state(
    store: &Arc<dyn ObjectStore>,
    object: ObjectId,
    section: &StateEntry,
) -> Result<Producers, RestoreError> {
    let range = GetRange::Span { start: section.position, end: section.position + u64::from(section.len) };
    let (bytes, _) = store.get(&data_key(object), range).await?;
    section.verify(&bytes).map_err(|error| RestoreError(format!("object {object}: {error}")))?;
    decode_section(&bytes).map_err(|error| RestoreError(format!("object {object}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::super::find::FoundLog;
    use super::*;
    use base::WalIndex;

    fn entry(epoch: i32, base: u64, next: u64) -> (DirectoryEntry, WalSpan) {
        let entry = DirectoryEntry {
            stream: StreamId(1),
            stream_epoch: StreamEpoch(epoch),
            range: OffsetRange::new(Offset(base), Offset(next)),
            payload_position: 0,
            payload_len: 1,
            payload_crc: 0,
            records: 1,
            max_timestamp: UnixMillis(0),
            control: false,
            producer: None,
        };
        (entry, WalSpan { position: WalPosition(base), len: 1, crc: 0 })
    }

    fn log(start: u64, entries: &[(DirectoryEntry, WalSpan)]) -> FoundLog {
        FoundLog {
            wal: WalId { node_epoch: NodeEpoch(start), index: WalIndex(0) },
            place: LogPlace::Bucket { fenced: true, first: WalPosition(0) },
            entries: entries.to_vec(),
            problems: Vec::new(),
        }
    }

    fn told(found: &Found) -> Vec<(i32, u64, u64)> {
        let chosen = choose(found, &Image::default());
        let told = |it: &TailBatch| (it.entry.stream_epoch.0, it.entry.range.base.0, it.entry.range.next.0);
        chosen.iter().map(told).collect()
    }

    /// Start 5 had [8, 10) torn and [10, 12) whole in flight as it died, and was sealed at 8; start 6 goes on from there.
    #[test]
    fn what_was_never_acknowledged_gives_way_to_what_was() {
        let logs = vec![
            log(5, &[entry(3, 6, 8), entry(3, 10, 12)]),
            log(6, &[entry(4, 8, 10), entry(4, 10, 11), entry(4, 11, 14)]),
        ];
        let found = Found { logs, ..Found::default() };
        assert_eq!(told(&found), [(3, 6, 8), (4, 8, 10), (4, 10, 11), (4, 11, 14)]);
    }

    #[test]
    fn what_no_object_has_is_taken_below_their_end_too() {
        let log = log(5, &[entry(3, 0, 4), entry(3, 4, 8), entry(3, 8, 12), entry(3, 12, 16)]);
        let held = TailBatch { entry: entry(3, 8, 12).0, span: entry(3, 8, 12).1, log: 0 };
        let id = ObjectId { node_epoch: NodeEpoch(5), counter: 1 };
        let objects = BTreeMap::from([(id, imagined(&[held], id))]);
        let found = Found { objects, logs: vec![log], ..Found::default() };
        assert_eq!(told(&found), [(3, 0, 4), (3, 4, 8), (3, 12, 16)]);
    }

    #[test]
    fn a_set_of_offsets_joins_what_touches() {
        let range = |base, next| OffsetRange::new(Offset(base), Offset(next));
        let mut taken = Taken::default();
        for (base, next) in [(20, 30), (0, 5), (40, 50), (5, 10), (28, 40), (3, 4), (9, 9)] {
            taken.add(range(base, next));
        }
        assert_eq!(taken.0, BTreeMap::from([(Offset(0), Offset(10)), (Offset(20), Offset(50))]));
        assert!(taken.covers(range(20, 50)) && !taken.covers(range(8, 11)) && !taken.covers(range(12, 14)));
    }
}
