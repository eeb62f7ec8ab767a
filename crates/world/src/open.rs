//! From a URL to an object store.

use crate::World;
use crate::object_store::{ObjectStore, StoreError};
use std::sync::Arc;

/// Why there is no store behind a URL. The message says what to change.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// The URL itself is wrong; no request was made.
    #[error("{0}")]
    Url(String),
    /// The store was reached, or its folder touched, and failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The object store that `url` names: `file:///dir` or `s3://bucket/prefix?endpoint=…&region=…`.
///
/// # Errors
/// A URL that is not served, or a folder that cannot be made or used.
pub async fn open_store(url: &str, world: &World) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let _ = (url, world);
    todo!()
}
