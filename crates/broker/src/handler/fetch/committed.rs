//! Reads for consumers that want decided records only: up to the last stable offset, with the transactions below it that were aborted.
//!
//! A partition's transactions are in memory with its producers; where those are not, they are loaded first. What is aborted is asked
//! before it is read, so that no cleaning comes between. Of aborted transactions that are forgotten the log tells (`forgotten`).

use super::forgotten;
use crate::Shared;
use crate::error::Failure;
use crate::partition::Partition;
use base::{Micros, Offset, OffsetRange, planted};
use stream::{AbortedTransaction, Forgotten, ReadBatches};
use world::ClockExt;

/// What was read of a partition.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) batches: ReadBatches,
    /// Where what may be read ended.
    pub(super) end: Offset,
    /// By their markers.
    pub(super) aborted: Vec<AbortedTransaction>,
}

/// What was known of aborted transactions before a read.
struct Known {
    /// Of markers at these offsets the log must be asked.
    forgotten: Option<OffsetRange>,
    /// Of the others, by their markers; some of them may begin behind what is read.
    rest: Vec<AbortedTransaction>,
}

/// The last stable offset, once it is known.
pub(crate) async fn last_stable(broker: &Shared, partition: &Partition, deadline: Micros) -> Result<Offset, Failure> {
    loop {
        if let Some(stable) = partition.last_stable() {
            return Ok(stable);
        }
        planted!("offset 0 where none is known", load(broker, partition, deadline).await?, return Ok(Offset(0)));
    }
}

async fn load(broker: &Shared, partition: &Partition, deadline: Micros) -> Result<(), Failure> {
    let left = deadline.since(broker.clock.now());
    match broker.clock.timeout(left, partition.load_producers()).await {
        Some(loaded) => Ok(loaded?),
        // Where it is endless, there is no other end.
        None => Err(stream::ReadError::Trouble("the partition's transactions are being loaded".to_owned()).into()),
    }
}

/// Whole batches from `from` on that are decided; empty where there is nothing to see yet.
pub(super) async fn read(
    broker: &Shared,
    partition: &Partition,
    (from, bytes_max): (Offset, usize),
    deadline: Micros,
) -> Result<Part, Failure> {
    let stable = last_stable(broker, partition, deadline).await?;
    let end = planted!("read beyond the last stable offset", stable, partition.high_watermark());
    if from >= end {
        return Ok(Part { batches: ReadBatches { next: from, ..ReadBatches::default() }, end, ..Part::default() });
    }
    let known = ask(broker, partition, OffsetRange::new(from, end), deadline).await?;
    let mut batches = partition.read_below(from, end, bytes_max).await?;
    let mut aborted = Vec::new();
    if let Some(range) = known.forgotten {
        aborted = forgotten::find(broker, partition, (&mut batches, from), range, deadline).await?;
    }
    // As Kafka's index is read: behind this one nobody's begins below.
    for entry in known.rest {
        if planted!("aborted transactions not told", entry.first < batches.next, false) {
            aborted.push(entry);
        }
        if entry.last_stable >= batches.next {
            break;
        }
    }
    Ok(Part { batches, end, aborted })
}

async fn ask(broker: &Shared, partition: &Partition, range: OffsetRange, deadline: Micros) -> Result<Known, Failure> {
    let mut asked = range;
    let mut forgotten = None;
    loop {
        match partition.aborted(asked) {
            Some(Ok(rest)) => return Ok(Known { forgotten, rest }),
            Some(Err(Forgotten(more))) => {
                let base = forgotten.map_or(more.base, |known: OffsetRange| known.base);
                forgotten = Some(OffsetRange::new(base, more.next));
                // What ends behind all that is forgotten is known, wherever it begins.
                asked = OffsetRange::new(more.next, more.next.max(range.next));
            }
            None => load(broker, partition, deadline).await?,
        }
    }
}
