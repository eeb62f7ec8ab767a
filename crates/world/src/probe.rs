//! Whether an object store does what Millstream needs.

use crate::clock::Clock;
use crate::object_store::{ObjectStore, StoreError};
use std::time::Duration;

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeDepth {
    /// 8 rounds of 16 racing creates: when the cluster is created on a remote store, or its endpoint has changed.
    Full,
    /// One round: at every other start.
    Cheap,
}

/// What a store that passed took, as medians.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeReport {
    /// Creates that raced, in all.
    pub creates: usize,
    /// One small put.
    pub put_median: Duration,
    /// One small get.
    pub get_median: Duration,
    /// One short list.
    pub list_median: Duration,
}

/// Why a store is not fit.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProbeError {
    /// It lacks what Millstream needs: one sentence says what, and why it is needed.
    #[error("{0}")]
    Unfit(String),
    /// It could not be told.
    #[error("cannot probe the object store: {0}")]
    Store(#[from] StoreError),
}

/// Races, reads, lists and deletes a few small objects under `probe/`.
///
/// # Errors
/// The store is not fit, or did not answer.
pub async fn probe(store: &dyn ObjectStore, clock: &dyn Clock, depth: ProbeDepth) -> Result<ProbeReport, ProbeError> {
    let _ = (store, clock, depth);
    todo!()
}
