//! Batches to an object.

use super::{
    BlockEntry, FOOTER_BYTES, Footer, INDEX_ENTRY_BYTES, MAGIC, MERGED, ObjectIndex, STATE_ENTRY_BYTES, StateEntry,
    VERSION,
};
use crate::{BatchBytes, NumberedBatch};
use base::{Crc32c, ObjectId, Offset, OffsetRange, StreamEpoch, StreamId, UnixMillis, WalId, crc32c};
use bytes::{BufMut, Bytes, BytesMut};

/// Lays batches into blocks. Copies none: the parts share the batches' memory.
#[derive(Debug)]
pub struct ObjectBuilder {
    object: ObjectId,
    wal: WalId,
    block_bytes: usize,
    parts: Vec<Bytes>,
    position: u64,
    open: Option<OpenBlock>,
    index: ObjectIndex,
    ranges: Vec<ObjectRange>,
    sections: Vec<Bytes>,
    /// A range may hold several tenures of its stream.
    across_tenures: bool,
}

/// One stream's contiguous part of an object, as its commit names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectRange {
    /// Which stream.
    pub stream: StreamId,
    /// The stream epoch of the tenure that these records belong to.
    pub stream_epoch: StreamEpoch,
    /// What it covers.
    pub range: OffsetRange,
    /// Bytes of record batches.
    pub bytes: u64,
    /// Records (not offsets).
    pub records: u64,
    /// Greatest record timestamp.
    pub max_timestamp: UnixMillis,
    /// Base offset of the first batch that holds `max_timestamp`.
    pub max_timestamp_offset: Offset,
}

/// Whole batches of one stream, back to back, as one piece of an object.
#[derive(Debug, Clone)]
pub struct Run {
    /// What it speaks for: nothing else of the stream lies at these offsets. Where batches are missing it is wider than they are.
    pub range: OffsetRange,
    /// The batches; not empty.
    pub bytes: BatchBytes,
    /// Records (not offsets).
    pub records: u64,
    /// Greatest record timestamp.
    pub max_timestamp: UnixMillis,
    /// Base offset of the first batch that holds it.
    pub max_timestamp_offset: Offset,
    /// Holds control batches.
    pub control: bool,
}

/// An object ready to be put.
#[derive(Debug, Clone)]
pub struct BuiltObject {
    /// Its bytes, in order.
    pub parts: Vec<Bytes>,
    /// Their number.
    pub size: u64,
    /// Its index.
    pub index: ObjectIndex,
    /// What its commit names, in index order.
    pub ranges: Vec<ObjectRange>,
}

#[derive(Debug)]
struct OpenBlock {
    entry: BlockEntry,
    crc: Crc32c,
}

impl ObjectBuilder {
    /// An empty object whose blocks are cut at about `block_bytes`.
    #[must_use]
    pub fn new(object: ObjectId, wal: WalId, block_bytes: usize) -> ObjectBuilder {
        ObjectBuilder {
            object,
            wal,
            block_bytes,
            parts: Vec::new(),
            position: 0,
            open: None,
            index: ObjectIndex::default(),
            ranges: Vec::new(),
            sections: Vec::new(),
            across_tenures: false,
        }
    }

    /// An empty object for what compaction merges: of several logs, and a range of it goes on from one tenure to the next.
    #[must_use]
    pub fn merged(object: ObjectId, block_bytes: usize) -> ObjectBuilder {
        ObjectBuilder { across_tenures: true, ..ObjectBuilder::new(object, MERGED, block_bytes) }
    }

    /// Adds a batch. Batches come in order of stream, then offset; a gap between two of a stream makes two ranges of it.
    ///
    /// # Panics
    /// Out of order.
    pub fn push(&mut self, stream: StreamId, stream_epoch: StreamEpoch, batch: &NumberedBatch) {
        let run = Run {
            range: batch.range,
            bytes: batch.bytes.clone(),
            records: u64::from(batch.records),
            max_timestamp: batch.max_timestamp,
            max_timestamp_offset: batch.range.base,
            control: batch.control,
        };
        self.push_run(stream, stream_epoch, &run);
    }

    /// Adds several batches at once. They end up in one block.
    ///
    /// # Panics
    /// Out of order.
    pub fn push_run(&mut self, stream: StreamId, stream_epoch: StreamEpoch, run: &Run) {
        let continues = self.extends_last_range(stream, stream_epoch, run);
        let fits = self.open.as_ref().is_some_and(|open| {
            open.entry.stream_epoch == stream_epoch && open.len() + run.bytes.len() <= self.block_bytes
        });
        if !(continues && fits) {
            self.close_block();
        }
        self.add_to_range(continues, stream, stream_epoch, run);
        self.add_to_block(stream, stream_epoch, run);
    }

    /// Adds a stream's state section. Sections come in order of stream.
    ///
    /// # Panics
    /// Out of order, or with a section of 4 GiB: the caller bounds it.
    pub fn push_state(&mut self, stream: StreamId, stream_epoch: StreamEpoch, range: OffsetRange, section: Bytes) {
        assert!(
            self.index.states.last().is_none_or(|last| last.stream < stream),
            "sections come in order of stream, one each"
        );
        let len = u32::try_from(section.len()).expect("the caller bounds sections");
        let crc = crc32c(&section);
        // Their places are known when the blocks are.
        self.index.states.push(StateEntry { stream, stream_epoch, range, position: 0, len, crc });
        self.sections.push(section);
    }

    /// Bytes of blocks so far.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.position
    }

    /// Whether nothing was pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.sections.is_empty()
    }

    /// The object.
    ///
    /// # Panics
    /// With more than `u32::MAX` bytes of index: the caller bounds objects.
    #[must_use]
    pub fn finish(mut self) -> BuiltObject {
        self.close_block();
        let states_position = self.position;
        for (entry, section) in self.index.states.iter_mut().zip(self.sections) {
            entry.position = self.position;
            self.position += section.len() as u64;
            self.parts.push(section);
        }
        let ObjectIndex { blocks, states } = &self.index;
        let index_bytes = blocks.len() * INDEX_ENTRY_BYTES + states.len() * STATE_ENTRY_BYTES;
        let mut tail = BytesMut::with_capacity(index_bytes + FOOTER_BYTES);
        for block in blocks {
            put_entry(&mut tail, block);
        }
        for state in states {
            put_state(&mut tail, state);
        }
        let footer = Footer {
            object: self.object,
            wal: self.wal,
            blocks: u32::try_from(blocks.len()).expect("the caller bounds objects"),
            states: u32::try_from(states.len()).expect("the caller bounds objects"),
            states_position,
            index_position: self.position,
            index_len: u32::try_from(tail.len()).expect("the caller bounds objects"),
            index_crc: crc32c(&tail),
        };
        put_footer(&mut tail, &footer);
        let size = self.position + u64::try_from(tail.len()).expect("a length in memory fits 64 bits");
        self.parts.push(tail.freeze());
        BuiltObject { parts: self.parts, size, index: self.index, ranges: self.ranges }
    }

    /// Whether the run follows the last one without a gap, in the same tenure where that matters.
    fn extends_last_range(&self, stream: StreamId, stream_epoch: StreamEpoch, run: &Run) -> bool {
        let Some(last) = self.ranges.last() else { return false };
        assert!(
            (last.stream, last.range.next) <= (stream, run.range.base) && last.range.next <= Offset::MAX,
            "batches come in order of stream and offset"
        );
        let tenure_goes_on = self.across_tenures || last.stream_epoch == stream_epoch;
        last.stream == stream && tenure_goes_on && last.range.next == run.range.base
    }

    fn add_to_range(&mut self, continues: bool, stream: StreamId, stream_epoch: StreamEpoch, run: &Run) {
        if !continues {
            self.ranges.push(ObjectRange {
                stream,
                stream_epoch,
                range: OffsetRange::new(run.range.base, run.range.base),
                bytes: 0,
                records: 0,
                max_timestamp: run.max_timestamp,
                max_timestamp_offset: run.max_timestamp_offset,
            });
        }
        let range = self.ranges.last_mut().expect("one was pushed or continues");
        range.range.next = run.range.next;
        range.bytes += run.bytes.len() as u64;
        range.records += run.records;
        if run.max_timestamp > range.max_timestamp {
            range.max_timestamp = run.max_timestamp;
            range.max_timestamp_offset = run.max_timestamp_offset;
        }
    }

    fn add_to_block(&mut self, stream: StreamId, stream_epoch: StreamEpoch, run: &Run) {
        let position = self.position;
        let open = self.open.get_or_insert_with(|| OpenBlock {
            entry: BlockEntry {
                stream,
                stream_epoch,
                range: OffsetRange::new(run.range.base, run.range.base),
                position,
                len: 0,
                crc: 0,
                records: 0,
                max_timestamp: run.max_timestamp,
                max_timestamp_offset: run.max_timestamp_offset,
                control: false,
            },
            crc: Crc32c::default(),
        });
        let entry = &mut open.entry;
        entry.range.next = run.range.next;
        entry.len += u32::try_from(run.bytes.len()).expect("a run is below 2 GiB");
        entry.records += run.records;
        entry.control |= run.control;
        if run.max_timestamp > entry.max_timestamp {
            entry.max_timestamp = run.max_timestamp;
            entry.max_timestamp_offset = run.max_timestamp_offset;
        }
        for piece in [&run.bytes.head, &run.bytes.body] {
            if !piece.is_empty() {
                open.crc.update(piece);
                self.position += piece.len() as u64;
                self.parts.push(piece.clone());
            }
        }
    }

    fn close_block(&mut self) {
        if let Some(open) = self.open.take() {
            self.index.blocks.push(BlockEntry { crc: open.crc.value(), ..open.entry });
        }
    }
}

impl OpenBlock {
    fn len(&self) -> usize {
        usize::try_from(self.entry.len).unwrap_or(usize::MAX)
    }
}

fn put_entry(out: &mut BytesMut, block: &BlockEntry) {
    out.put_u64_le(block.stream.0);
    out.put_i32_le(block.stream_epoch.0);
    out.put_u32_le(u32::from(block.control));
    out.put_u64_le(block.range.base.0);
    out.put_u64_le(block.range.next.0);
    out.put_u64_le(block.position);
    out.put_u32_le(block.len);
    out.put_u32_le(block.crc);
    out.put_u64_le(block.records);
    out.put_i64_le(block.max_timestamp.0);
    out.put_u64_le(block.max_timestamp_offset.0);
    out.put_u64_le(0);
}

fn put_state(out: &mut BytesMut, state: &StateEntry) {
    out.put_u64_le(state.stream.0);
    out.put_i32_le(state.stream_epoch.0);
    out.put_u32_le(0);
    out.put_u64_le(state.range.base.0);
    out.put_u64_le(state.range.next.0);
    out.put_u64_le(state.position);
    out.put_u32_le(state.len);
    out.put_u32_le(state.crc);
}

fn put_footer(out: &mut BytesMut, footer: &Footer) {
    let start = out.len();
    out.put_slice(&MAGIC);
    out.put_u16_le(VERSION);
    out.put_bytes(0, 2);
    out.put_u32_le(footer.blocks);
    out.put_u64_le(footer.index_position);
    out.put_u32_le(footer.index_len);
    out.put_u32_le(footer.index_crc);
    out.put_u64_le(footer.object.node_epoch.0);
    out.put_u64_le(footer.object.counter);
    out.put_u64_le(footer.wal.node_epoch.0);
    out.put_u16_le(footer.wal.index.0);
    out.put_bytes(0, 2);
    out.put_u32_le(footer.states);
    out.put_u64_le(footer.states_position);
    out.put_bytes(0, 4);
    let crc = crc32c(&out[start..]);
    out.put_u32_le(crc);
    assert_eq!(out.len() - start, FOOTER_BYTES, "the footer has a fixed size");
}
