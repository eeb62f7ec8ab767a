//! What a stream offers to Kafka's log compaction, whose rules are the layer above's: to be read and rewritten where it lies in objects, and to
//! remember how far that has come.
//!
//! Guarantees: nothing that is not committed to objects is shown or touched; what is rewritten covers the same offsets; the cleaned end
//! is the ledger's, so it outlives this start. Leaves to others: which records go.

use crate::compaction::{self, Blocks, Rewrite, Scan, StoredPart};
use crate::producers;
use crate::store::{ReadError, Stream};
use base::{Offset, OffsetRange};
use control_core::Command;
use world::lock;

impl Stream {
    /// What lies in objects, oldest first, without a gap. The first may begin below the stream's start.
    #[must_use]
    pub fn stored(&self) -> Vec<StoredPart> {
        let image = self.shared.ledger.image();
        let references = image.streams.get(&self.stream.id).map(|record| compaction::parts(record)).unwrap_or_default();
        let part = |it: control_core::Reference| StoredPart {
            range: it.range,
            bytes: it.bytes,
            max_timestamp: it.max_timestamp,
        };
        references.into_iter().map(part).collect()
    }

    /// Up to where it is cleaned; may lie below the start.
    #[must_use]
    pub fn cleaned(&self) -> Offset {
        self.shared.ledger.image().streams.get(&self.stream.id).map_or(Offset(0), |record| record.cleaned)
    }

    /// Reads what lies in objects of these offsets, at most so many bytes a second, in turns with compaction.
    #[must_use]
    pub fn scan(&self, range: OffsetRange, which: Blocks, bytes_per_second: u64) -> Scan<'_> {
        Scan::new(&self.shared, self.stream.id, (range, which), bytes_per_second)
    }

    /// Rewrites what lies in objects: from the start on all parts that begin below `below`. A scan that waits for its turn beside it waits
    /// until a part is handed in.
    #[must_use]
    pub fn rewrite(&self, below: Offset, bytes_per_second: u64) -> Rewrite<'_> {
        Rewrite::new(&self.shared, self.stream.id, below, bytes_per_second)
    }

    /// Moves the cleaned end; at most to the committed end. Readers see what is in objects below it from then on.
    ///
    /// # Errors
    /// The kind says what to do.
    pub async fn set_cleaned(&self, cleaned: Offset) -> Result<(), ReadError> {
        let (stream, node_epoch, stream_epoch) = (self.stream.id, self.shared.node_epoch, self.stream.epoch);
        self.submit(Command::Cleaned { stream, node_epoch, stream_epoch, cleaned }).await?;
        lock(&self.shared.cache).trimmed(stream, cleaned);
        Ok(())
    }

    /// Whether the batch at this offset is the newest of a producer that is not forgotten. True as well while what producers wrote is not in
    /// memory ([`Stream::load_producers`]).
    #[must_use]
    pub fn may_be_newest_of(&self, producer_id: i64, base: Offset) -> bool {
        producers::newest_of(&self.stream, producer_id).is_none_or(|newest| newest == Some(base))
    }
}
