//! The bucket: named immutable objects, created *put if absent*.
//!
//! Keys are `/`-separated ASCII names relative to the cluster's root (bucket and prefix, or folder); the implementation adds
//! the root. A call returns once: retries are the caller's, who knows whether an ambiguous answer can be resolved.

use crate::store_use::Purpose;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

/// What a put-if-absent found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object did not exist and now holds these bytes, durably.
    Created,
    /// The object exists; nothing changed. It may be the caller's own, from an earlier try whose answer was lost.
    Exists,
}

/// Which bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetRange {
    /// All of it.
    All,
    /// `[start, end)`, cut at the object's end. Beyond the end: an empty answer.
    Span { start: u64, end: u64 },
    /// The last `n` bytes, or all where it is shorter.
    Suffix(u64),
}

/// A key and its object's size in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Relative to the root.
    pub key: String,
    /// Bytes.
    pub size: u64,
}

/// Why a call failed. Coarse: callers act on the kind, people on the message.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No object of that name.
    #[error("no object {0}")]
    NotFound(String),
    /// May pass: timeout, 429, 5xx, reset, full disk. A put that ended so may have happened, or may still.
    #[error("object store is in trouble: {0}")]
    Trouble(String),
    /// Will not pass by itself: credentials, missing bucket, permission. A put that ended so did not happen.
    #[error("object store refuses: {0}")]
    Refused(String),
}

/// A bucket.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Creates `key` with the concatenation of `parts` unless it exists. Durable when it returns `Created`.
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError>;

    /// The bytes of `range`, and the whole object's size.
    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError>;

    /// Up to `limit` objects whose keys begin with `prefix` and are greater than `after` (empty: from the first), in byte order.
    /// Fewer than `limit` says that there are no more. Strongly consistent with puts and deletes that have returned, and shows each of
    /// them or not as of one moment for all keys that share a prefix up to the last slash.
    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError>;

    /// Deletes; no error for what is not there.
    async fn delete(&self, keys: &[String]) -> Result<(), StoreError>;

    /// Once this returns, what gets and lists of keys directly below `prefix` (which ends with a slash) have shown before is durable.
    /// A bucket shows nothing else and does nothing here; a folder shows what another process puts a moment before it is durable.
    async fn make_durable(&self, prefix: &str) -> Result<(), StoreError>;

    /// What to call it in messages and where; never contains a secret.
    fn describe(&self) -> String;

    /// The same store, whose requests are counted as being for that; `None` where nobody counts. See [`counted_as`].
    fn counted_as(&self, _purpose: Purpose) -> Option<Arc<dyn ObjectStore>> {
        None
    }
}

/// The same store for one purpose.
#[must_use]
pub fn counted_as(store: &Arc<dyn ObjectStore>, purpose: Purpose) -> Arc<dyn ObjectStore> {
    store.counted_as(purpose).unwrap_or_else(|| store.clone())
}

/// A listing page by page, so that no bucket is too large for it.
pub struct Pages<'a> {
    store: &'a dyn ObjectStore,
    prefix: String,
    after: String,
    page_keys_max: usize,
    ended: bool,
}

impl<'a> Pages<'a> {
    /// Of all keys that begin with `prefix`, at most `page_keys_max` (not 0) at a time.
    #[must_use]
    pub fn new(store: &'a dyn ObjectStore, prefix: impl Into<String>, page_keys_max: usize) -> Pages<'a> {
        Pages { store, prefix: prefix.into(), after: String::new(), page_keys_max, ended: false }
    }

    /// The next page, which is not empty; `None` at the end. After an error the same page is asked for again.
    ///
    /// # Errors
    /// The store's.
    pub async fn next(&mut self) -> Result<Option<Vec<ObjectMeta>>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let page = self.store.list(&self.prefix, &self.after, self.page_keys_max).await?;
        self.ended = page.len() < self.page_keys_max;
        let Some(last) = page.last() else { return Ok(None) };
        self.after.clone_from(&last.key);
        Ok(Some(page))
    }
}
