//! An object that a job reads: its index, and its blocks in order, many of them by one request.

use super::budget::Budget;
use super::job::Fault;
use crate::read::blocks_of;
use base::{ObjectId, StreamId};
use bytes::Bytes;
use stream_core::object::{BlockEntry, ObjectError, ObjectIndex, ObjectTail, TAIL_BYTES, decode_index, decode_tail};
use world::GetRange;

/// How often bytes that fail their checksum are read again: a cut or garbled answer is not damage yet.
const VERIFY_TRIES: usize = 3;

/// An object that is read from its first wanted block to its last.
pub(super) struct Input {
    id: ObjectId,
    blocks: Vec<BlockEntry>,
    /// Where its blocks end.
    data_end: u64,
    read_bytes: u64,
    /// What the last request brought, and where in the object it begins.
    chunk: Bytes,
    chunk_at: u64,
}

impl Input {
    /// Reads its index.
    pub(super) async fn open(budget: &mut Budget<'_>, id: ObjectId, read_bytes: u64) -> Result<Input, Fault> {
        let mut problem = String::new();
        for _ in 0..VERIFY_TRIES {
            match read_index(budget, id).await? {
                Ok(ObjectIndex { blocks, .. }) => {
                    let data_end = blocks.last().map_or(0, |block| block.position + u64::from(block.len));
                    return Ok(Input { id, blocks, data_end, read_bytes, chunk: Bytes::new(), chunk_at: 0 });
                }
                Err(why) => problem = why.to_string(),
            }
        }
        Err(Fault::Damaged(format!("object {id}: {problem}")))
    }

    /// From now on no bytes behind this stream's are asked for.
    pub(super) fn only(&mut self, stream: StreamId) {
        let end = self.blocks_of(stream).last().map(|block| block.position + u64::from(block.len));
        self.data_end = end.unwrap_or(self.data_end);
    }

    /// A stream's blocks.
    pub(super) fn blocks_of(&self, stream: StreamId) -> Vec<BlockEntry> {
        blocks_of(&self.blocks, stream)
    }

    /// A block's bytes, verified. Blocks are asked for in the object's order, so that one request brings those that follow.
    pub(super) async fn bytes(&mut self, budget: &mut Budget<'_>, block: &BlockEntry) -> Result<Bytes, Fault> {
        let end = block.position + u64::from(block.len);
        let mut tries = 0;
        loop {
            if let Some(bytes) = self.held(block.position, end)
                && block.verify(&bytes).is_ok()
            {
                return Ok(bytes);
            }
            if tries == VERIFY_TRIES {
                return Err(Fault::Damaged(format!("object {}, block at byte {}", self.id, block.position)));
            }
            tries += 1;
            let reach = (block.position + self.read_bytes).min(self.data_end).max(end);
            let range = GetRange::Span { start: block.position, end: reach };
            (self.chunk, _) = budget.get(self.id, range).await?;
            self.chunk_at = block.position;
        }
    }

    /// What the last request has of these bytes, copied where it would keep much else in memory.
    fn held(&self, start: u64, end: u64) -> Option<Bytes> {
        let from = usize::try_from(start.checked_sub(self.chunk_at)?).ok()?;
        let to = usize::try_from(end - self.chunk_at).ok()?;
        let bytes = (to <= self.chunk.len()).then(|| self.chunk.slice(from..to))?;
        Some(if bytes.len() >= self.chunk.len() / 2 { bytes } else { Bytes::copy_from_slice(&bytes) })
    }
}

/// The outer error is the store's, the inner one the bytes'.
async fn read_index(budget: &mut Budget<'_>, id: ObjectId) -> Result<Result<ObjectIndex, ObjectError>, Fault> {
    let (tail, size) = budget.get(id, GetRange::Suffix(TAIL_BYTES)).await?;
    let footer = match decode_tail(&tail, size) {
        Ok(ObjectTail::Whole(_, index)) => return Ok(Ok(index)),
        Ok(ObjectTail::IndexAt(footer)) => footer,
        Err(error) => return Ok(Err(error)),
    };
    let end = footer.index_position + u64::from(footer.index_len);
    let (bytes, _) = budget.get(id, GetRange::Span { start: footer.index_position, end }).await?;
    Ok(decode_index(&bytes, &footer))
}
