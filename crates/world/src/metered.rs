//! A store that counts its requests and bytes: what the provider bills, and what metrics show.

use crate::object_store::{GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Any store, counted.
pub struct Metered {
    store: Arc<dyn ObjectStore>,
    counts: Counts,
}

/// What a store was asked for since the start. Failed requests count too: they are billed, mostly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreUse {
    /// Puts.
    pub puts: u64,
    /// Bytes of all puts.
    pub put_bytes: u64,
    /// Gets.
    pub gets: u64,
    /// Bytes that gets returned.
    pub get_bytes: u64,
    /// Lists.
    pub lists: u64,
    /// Objects that were asked to be deleted.
    pub deletes: u64,
    /// Requests of any kind that ended in trouble or were refused.
    pub failures: u64,
}

#[derive(Default)]
struct Counts {
    puts: AtomicU64,
    put_bytes: AtomicU64,
    gets: AtomicU64,
    get_bytes: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    failures: AtomicU64,
}

impl Metered {
    /// Counts from zero.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Metered {
        Metered { store, counts: Counts::default() }
    }

    /// The counts now.
    #[must_use]
    pub fn used(&self) -> StoreUse {
        let Counts { puts, put_bytes, gets, get_bytes, lists, deletes, failures } = &self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        StoreUse {
            puts: read(puts),
            put_bytes: read(put_bytes),
            gets: read(gets),
            get_bytes: read(get_bytes),
            lists: read(lists),
            deletes: read(deletes),
            failures: read(failures),
        }
    }

    fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(result, Err(StoreError::Trouble(_) | StoreError::Refused(_))) {
            add(&self.counts.failures, 1);
        }
        result
    }
}

#[async_trait]
impl ObjectStore for Metered {
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        add(&self.counts.puts, 1);
        add(&self.counts.put_bytes, parts.iter().map(Bytes::len).sum());
        self.note(self.store.put_if_absent(key, parts).await)
    }

    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        add(&self.counts.gets, 1);
        let (bytes, size) = self.note(self.store.get(key, range).await)?;
        add(&self.counts.get_bytes, bytes.len());
        Ok((bytes, size))
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        add(&self.counts.lists, 1);
        self.note(self.store.list(prefix, after, limit).await)
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        add(&self.counts.deletes, keys.len());
        self.note(self.store.delete(keys).await)
    }

    async fn make_durable(&self, prefix: &str) -> Result<(), StoreError> {
        self.note(self.store.make_durable(prefix).await)
    }

    fn describe(&self) -> String {
        self.store.describe()
    }
}

fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FolderStore, OsDisk, SystemClock};

    #[tokio::test]
    async fn counts_requests_bytes_and_failures_by_kind() {
        let root = tempfile::tempdir().unwrap();
        let store =
            FolderStore::open(Arc::new(OsDisk::new()), Arc::new(SystemClock::new()), root.path().to_owned()).await;
        let store = Metered::new(Arc::new(store.unwrap()));
        for _ in 0..2 {
            store.put_if_absent("a", vec![Bytes::from_static(b"abc"), Bytes::from_static(b"de")]).await.unwrap();
        }
        store.get("a", GetRange::Suffix(2)).await.unwrap();
        assert!(store.get("missing", GetRange::All).await.is_err());
        assert!(store.get("../a", GetRange::All).await.is_err());
        store.list("", "", 10).await.unwrap();
        store.delete(&["a".to_owned(), "missing".to_owned()]).await.unwrap();
        let expected = StoreUse { puts: 2, put_bytes: 10, gets: 3, get_bytes: 2, lists: 1, deletes: 2, failures: 1 };
        assert_eq!(store.used(), expected);
    }
}
