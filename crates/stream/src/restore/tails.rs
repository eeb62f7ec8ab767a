//! What only write-ahead logs hold, beyond the ends of what is in objects: chosen, and laid into objects of the restore's own.
//!
//! A log's trim point and its sealed end were in the ledger. So a log only ever extends what objects hold: at offsets that they have, it
//! says the same; what a ring holds below them is left over from earlier laps.

use super::RestoreError;
use super::find::{Found, FoundObject, LogPlace};
use crate::keys::data_key;
use crate::wal::{ObjectWalReader, Patience, RingFile, WalReader, WalSpan};
use base::{NodeEpoch, ObjectId, Offset, OffsetRange, StreamId, UnixMillis, WalPosition, crc32c_joined};
use bytes::Bytes;
use control_core::Image;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use stream_core::object::{BlockEntry, ObjectBuilder, Run, StateEntry};
use stream_core::producers::{ProducerBatch, Producers, decode_section, encode_section};
use stream_core::{BatchBytes, DirectoryEntry};
use world::{GetRange, ObjectStore, PutOutcome, World};

/// Bytes of records in one object, about: they are in memory until it is put.
const OBJECT_BYTES: u64 = 64 << 20;
/// Read from a log at once.
const READ_BYTES_MAX: u32 = 4 << 20;
/// A call on a ring takes so long at the most.
const RING_STALLED_MAX: Duration = Duration::from_secs(60);
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

/// What the logs add, by stream and offset.
pub(super) fn choose(found: &Found, image: &Image) -> Vec<TailBatch> {
    let mut ends: BTreeMap<StreamId, Offset> = BTreeMap::new();
    for (stream, part) in found.objects.values().flat_map(|object| &object.parts) {
        let end = ends.entry(*stream).or_default();
        *end = part.range().next.max(*end);
    }
    let mut by_stream: BTreeMap<StreamId, Vec<TailBatch>> = BTreeMap::new();
    for (log, held) in found.logs.iter().enumerate() {
        for (entry, span) in &held.entries {
            let has_it = ends.get(&entry.stream).is_some_and(|end| entry.range.base < *end);
            if !has_it && !entry.range.is_empty() && !image.is_deleted(entry.stream) {
                by_stream.entry(entry.stream).or_default().push(TailBatch { entry: *entry, span: *span, log });
            }
        }
    }
    let mut chosen = Vec::new();
    for (stream, mut batches) in by_stream {
        batches.sort_by_key(|batch| batch.entry.range.base);
        let mut kept: Vec<TailBatch> = Vec::new();
        for batch in batches {
            let next = kept.last().map(|last| last.entry.range.next);
            match next {
                Some(next) if batch.entry.range.base < next => {}
                // Of a stream without objects what lies before a gap is left over from an earlier lap.
                Some(next) if batch.entry.range.base > next && !ends.contains_key(&stream) => kept = vec![batch],
                Some(_) | None => kept.push(batch),
            }
        }
        chosen.extend(kept);
    }
    chosen
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
        if !states.is_empty() {
            let id = self.draw();
            let mut builder = ObjectBuilder::merged(id, BLOCK_BYTES);
            for (stream, (last, producers)) in states {
                let range = OffsetRange::new(Offset(0), last.range.next);
                builder.push_state(stream, last.stream_epoch, range, encode_section(&producers));
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
        if self.to.put_if_absent(&key, built.parts).await? == PutOutcome::Exists {
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
        let mut states: BTreeMap<StreamId, (DirectoryEntry, Producers)> = BTreeMap::new();
        let seen: UnixMillis = self.world.clock.wall();
        for batch in batches {
            let entry = batch.entry;
            let Some(delta) = entry.producer else { continue };
            let state = states.entry(entry.stream).or_insert_with(|| (entry, Producers::default()));
            state.1.fold(delta.producer_id, ProducerBatch::of(&delta, entry.range.base, entry.max_timestamp), seen);
        }
        for (stream, (last, producers)) in &mut states {
            let of_stream = batches.iter().filter(|batch| batch.entry.stream == *stream);
            *last = of_stream.map(|batch| batch.entry).next_back().unwrap_or(*last);
            for (object, section) in found.states_of(*stream) {
                producers.merge(&read_state(self.from, object, &section).await?);
            }
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
