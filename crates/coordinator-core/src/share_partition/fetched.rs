//! What a fetch for a share-partition has found: where its batches lie, and which of them belong to aborted transactions.

use super::effects::ShareStateBatch;
use base::{Offset, OffsetRange};
use std::collections::BTreeSet;

/// A batch of the log, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchedBatch {
    pub range: OffsetRange,
    /// Whose, where it has a producer.
    pub producer_id: Option<i64>,
    pub is_transactional: bool,
    /// It ends an aborted transaction of its producer.
    pub is_abort_marker: bool,
}

/// An aborted transaction, as the fetch tells it under `read_committed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchedAbort {
    pub producer_id: i64,
    pub first: Offset,
}

/// What was read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fetched<'a> {
    /// From where on.
    pub from: Offset,
    /// In order. The first may begin below, the last is taken whole.
    pub batches: &'a [FetchedBatch],
    /// In any order. Empty where the group's `share.isolation.level` is `read_uncommitted`: then all is delivered.
    pub aborted: &'a [FetchedAbort],
}

/// Records that a member has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcquiredRange {
    pub range: OffsetRange,
    /// How often they were delivered, this time included.
    pub delivery_count: i16,
}

/// What an acquisition came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acquired {
    /// In order.
    pub ranges: Vec<AcquiredRange>,
    /// Records, of which the next partition of the request has so many fewer to give.
    pub count: u32,
}

impl Fetched<'_> {
    /// The batches that belong to aborted transactions, as a consumer that reads committed records tells them.
    pub(super) fn aborted_batches(&self) -> Vec<OffsetRange> {
        let mut aborts = self.aborted.to_vec();
        aborts.sort_by_key(|abort| abort.first);
        let mut aborts = aborts.into_iter().peekable();
        let mut producers = BTreeSet::new();
        let mut found = Vec::new();
        for batch in self.batches {
            let Some(producer_id) = batch.producer_id else { continue };
            while let Some(abort) = aborts.next_if(|abort| abort.first < batch.range.next) {
                producers.insert(abort.producer_id);
            }
            if batch.is_abort_marker {
                producers.remove(&producer_id);
            } else if batch.is_transactional && producers.contains(&producer_id) {
                found.push(batch.range);
            }
        }
        found
    }
}

/// What is left of what was acquired. Both in order.
pub(super) fn without(acquired: Vec<AcquiredRange>, taken: &[OffsetRange]) -> Vec<AcquiredRange> {
    let mut left = Vec::with_capacity(acquired.len());
    for AcquiredRange { range, delivery_count } in acquired {
        let mut base = range.base;
        let first = taken.partition_point(|gone| gone.next <= range.base);
        for gone in taken[first..].iter().take_while(|gone| gone.base < range.next) {
            if base < gone.base {
                left.push(AcquiredRange { range: OffsetRange::new(base, gone.base), delivery_count });
            }
            base = base.max(gone.next);
        }
        if base < range.next {
            left.push(AcquiredRange { range: OffsetRange::new(base, range.next), delivery_count });
        }
    }
    left
}

/// Adds what was given of one batch, joined where it follows each other and was delivered as often.
pub(super) fn accumulate(acquired: &mut Vec<AcquiredRange>, given: &[AcquiredRange]) {
    let first_new = acquired.len();
    for &it in given {
        match acquired[first_new..].last_mut() {
            Some(last) if last.range.next == it.range.base && last.delivery_count == it.delivery_count => {
                last.range.next = it.range.next;
            }
            _ => acquired.push(it),
        }
    }
}

/// Adds a state to be written, joined to the one before where it goes on with it.
pub(super) fn push_state(batches: &mut Vec<ShareStateBatch>, batch: ShareStateBatch) {
    match batches.last_mut() {
        Some(last)
            if last.range.next == batch.range.base
                && (last.state, last.delivery_count) == (batch.state, batch.delivery_count) =>
        {
            last.range.next = batch.range.next;
        }
        _ => batches.push(batch),
    }
}
