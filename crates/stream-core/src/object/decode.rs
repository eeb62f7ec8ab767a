//! An object's tail to its index.

use super::{
    BlockEntry, FOOTER_BYTES, Footer, INDEX_ENTRY_BYTES, MAGIC, ObjectIndex, STATE_ENTRY_BYTES, StateEntry, VERSION,
};
use crate::fields::Fields;
use base::{NodeEpoch, ObjectId, Offset, OffsetRange, StreamEpoch, StreamId, UnixMillis, WalId, WalIndex, crc32c};

/// Why bytes are not a data object's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Written by a newer release.
    #[error("the data object has version {0}, this release reads up to {VERSION}: use a newer release")]
    Newer(u16),
    /// Not a data object, cut short, or damaged.
    #[error("the data object is corrupt: {0}")]
    Corrupt(&'static str),
}

/// What the last bytes of an object yield.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectTail {
    /// Footer and index.
    Whole(Footer, ObjectIndex),
    /// The index begins before these bytes: read `[footer.index_position, + footer.index_len)` and call [`decode_index`].
    IndexAt(Footer),
}

/// Reads footer and, where they reach far enough, index from the last bytes of an object of `object_size` bytes.
///
/// # Errors
/// See [`ObjectError`].
pub fn decode_tail(tail: &[u8], object_size: u64) -> Result<ObjectTail, ObjectError> {
    let footer = decode_footer(tail, object_size)?;
    let needed = usize::try_from(footer.index_len).unwrap_or(usize::MAX).saturating_add(FOOTER_BYTES);
    match tail.len().checked_sub(needed) {
        Some(start) => {
            let index = &tail[start..tail.len() - FOOTER_BYTES];
            Ok(ObjectTail::Whole(footer, decode_index(index, &footer)?))
        }
        None => Ok(ObjectTail::IndexAt(footer)),
    }
}

/// Reads the footer from the last bytes of an object of `object_size` bytes.
///
/// # Errors
/// See [`ObjectError`].
pub fn decode_footer(tail: &[u8], object_size: u64) -> Result<Footer, ObjectError> {
    let start = tail.len().checked_sub(FOOTER_BYTES).ok_or(ObjectError::Corrupt("shorter than a footer"))?;
    let record = &tail[start..];
    if !record.starts_with(&MAGIC) {
        return Err(ObjectError::Corrupt("no footer at its end"));
    }
    let mut fields = Fields::new(&record[MAGIC.len()..]);
    let version = fields.u16();
    if version > VERSION {
        return Err(ObjectError::Newer(version));
    }
    let (body, stored) = record.split_at(FOOTER_BYTES - 4);
    if stored != crc32c(body).to_le_bytes() {
        return Err(ObjectError::Corrupt("footer checksum"));
    }
    fields.skip(2);
    let blocks = fields.u32();
    let index_position = fields.u64();
    let index_len = fields.u32();
    let index_crc = fields.u32();
    let object = ObjectId { node_epoch: NodeEpoch(fields.u64()), counter: fields.u64() };
    let wal = WalId { node_epoch: NodeEpoch(fields.u64()), index: WalIndex(fields.u16()) };
    fields.skip(2);
    // Version 1 has zeroes here, and no state sections.
    let (states, states_position) = (fields.u32(), fields.u64());
    let states_position = if version == 1 { index_position } else { states_position };
    let whole = index_position.checked_add(u64::from(index_len)).and_then(|end| end.checked_add(FOOTER_BYTES as u64));
    if whole != Some(object_size) {
        return Err(ObjectError::Corrupt("index and footer do not end where the object does"));
    }
    let index_bytes = u64::from(blocks) * INDEX_ENTRY_BYTES as u64 + u64::from(states) * STATE_ENTRY_BYTES as u64;
    if index_bytes != u64::from(index_len) {
        return Err(ObjectError::Corrupt("index length does not match its entries"));
    }
    Ok(Footer { object, wal, blocks, states, states_position, index_position, index_len, index_crc })
}

/// Reads the index: exactly the bytes that the footer names.
///
/// # Errors
/// [`ObjectError::Corrupt`].
pub fn decode_index(index: &[u8], footer: &Footer) -> Result<ObjectIndex, ObjectError> {
    if u64::try_from(index.len()) != Ok(u64::from(footer.index_len)) || crc32c(index) != footer.index_crc {
        return Err(ObjectError::Corrupt("index length or checksum"));
    }
    let block_bytes = usize::try_from(footer.blocks).unwrap_or(usize::MAX).saturating_mul(INDEX_ENTRY_BYTES);
    let (blocks, states) = index.split_at_checked(block_bytes).ok_or(ObjectError::Corrupt("index length"))?;
    let blocks = decode_blocks(blocks, footer.states_position)?;
    let states = decode_states(states, footer)?;
    Ok(ObjectIndex { blocks, states })
}

fn decode_blocks(records: &[u8], end: u64) -> Result<Vec<BlockEntry>, ObjectError> {
    let mut blocks: Vec<BlockEntry> = Vec::with_capacity(records.len() / INDEX_ENTRY_BYTES);
    let mut position = 0;
    for record in records.chunks_exact(INDEX_ENTRY_BYTES) {
        let block = decode_entry(record)?;
        let ordered =
            blocks.last().is_none_or(|last| (last.stream, last.range.next) <= (block.stream, block.range.base));
        if !ordered || block.position != position {
            return Err(ObjectError::Corrupt("blocks out of order"));
        }
        position += u64::from(block.len);
        blocks.push(block);
    }
    if position != end {
        return Err(ObjectError::Corrupt("blocks do not end where the state sections or the index begin"));
    }
    Ok(blocks)
}

fn decode_states(records: &[u8], footer: &Footer) -> Result<Vec<StateEntry>, ObjectError> {
    let mut states: Vec<StateEntry> = Vec::with_capacity(records.len() / STATE_ENTRY_BYTES);
    let mut position = footer.states_position;
    for record in records.chunks_exact(STATE_ENTRY_BYTES) {
        let mut fields = Fields::new(record);
        let (stream, stream_epoch) = (StreamId(fields.u64()), StreamEpoch(fields.i32()));
        fields.skip(4);
        let (base, next) = (Offset(fields.u64()), Offset(fields.u64()));
        let (at, len, crc) = (fields.u64(), fields.u32(), fields.u32());
        if base > next || next > Offset::MAX {
            return Err(ObjectError::Corrupt("offsets out of order"));
        }
        if at != position || states.last().is_some_and(|last| last.stream >= stream) {
            return Err(ObjectError::Corrupt("state sections out of order"));
        }
        position = position.saturating_add(u64::from(len));
        states.push(StateEntry { stream, stream_epoch, range: OffsetRange::new(base, next), position: at, len, crc });
    }
    if position != footer.index_position {
        return Err(ObjectError::Corrupt("state sections do not end where the index begins"));
    }
    Ok(states)
}

impl StateEntry {
    /// Whether `bytes` are this section's.
    ///
    /// # Errors
    /// [`ObjectError::Corrupt`].
    pub fn verify(&self, bytes: &[u8]) -> Result<(), ObjectError> {
        if u64::try_from(bytes.len()) == Ok(u64::from(self.len)) && crc32c(bytes) == self.crc {
            Ok(())
        } else {
            Err(ObjectError::Corrupt("state section length or checksum"))
        }
    }
}

impl BlockEntry {
    /// Whether `bytes` are this block's.
    ///
    /// # Errors
    /// [`ObjectError::Corrupt`].
    pub fn verify(&self, bytes: &[u8]) -> Result<(), ObjectError> {
        if u64::try_from(bytes.len()) == Ok(u64::from(self.len)) && crc32c(bytes) == self.crc {
            Ok(())
        } else {
            Err(ObjectError::Corrupt("block length or checksum"))
        }
    }
}

fn decode_entry(record: &[u8]) -> Result<BlockEntry, ObjectError> {
    let mut fields = Fields::new(record);
    let stream = StreamId(fields.u64());
    let stream_epoch = StreamEpoch(fields.i32());
    let flags = fields.u32();
    let (base, next) = (Offset(fields.u64()), Offset(fields.u64()));
    let position = fields.u64();
    let (len, crc) = (fields.u32(), fields.u32());
    let records = fields.u64();
    let max_timestamp = UnixMillis(fields.i64());
    let max_timestamp_offset = Offset(fields.u64());
    if base > next || next > Offset::MAX {
        return Err(ObjectError::Corrupt("offsets out of order"));
    }
    if flags > 1 {
        return Err(ObjectError::Corrupt("unknown block flags"));
    }
    let range = OffsetRange::new(base, next);
    let control = flags == 1;
    Ok(BlockEntry {
        stream,
        stream_epoch,
        range,
        position,
        len,
        crc,
        records,
        max_timestamp,
        max_timestamp_offset,
        control,
    })
}
