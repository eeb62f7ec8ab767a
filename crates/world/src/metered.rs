//! A store that counts its requests and bytes, by what they are for: what the provider bills, and what metrics show.
//!
//! Whoever is handed the store says what for by [`counted_as`](crate::counted_as); what is not said counts as *other*. Failed requests
//! are counted too, and those that their caller gave up.

use crate::object_store::{GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError};
use crate::store_use::{Ended, Operation, Purpose, REQUEST_KEYS_MAX, StoreUse, Table};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Any store, counted.
pub struct Metered {
    store: Arc<dyn ObjectStore>,
    counts: Arc<Counts>,
    purpose: Purpose,
}

#[derive(Default)]
struct Counts {
    requests: Table<AtomicU64>,
    up_bytes: [AtomicU64; Purpose::ALL.len()],
    down_bytes: [AtomicU64; Purpose::ALL.len()],
}

impl Metered {
    /// Counts from zero.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Metered {
        Metered { store, counts: Arc::default(), purpose: Purpose::Other }
    }

    /// The counts now, for all purposes.
    #[must_use]
    pub fn used(&self) -> StoreUse {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut used = StoreUse::default();
        for operation in Operation::ALL.map(|it| it as usize) {
            for purpose in Purpose::ALL.map(|it| it as usize) {
                for ended in Ended::ALL.map(|it| it as usize) {
                    used.requests[operation][purpose][ended] = read(&self.counts.requests[operation][purpose][ended]);
                }
            }
        }
        for purpose in Purpose::ALL.map(|it| it as usize) {
            used.up_bytes[purpose] = read(&self.counts.up_bytes[purpose]);
            used.down_bytes[purpose] = read(&self.counts.down_bytes[purpose]);
        }
        used
    }

    fn ask(&self, operation: Operation) -> Pending<'_> {
        Pending { counts: &self.counts.requests[operation as usize][self.purpose as usize], requests: 1, ended: None }
    }
}

/// A request under way: counted when it ends, or is dropped.
struct Pending<'a> {
    counts: &'a [AtomicU64; Ended::ALL.len()],
    requests: usize,
    ended: Option<Ended>,
}

impl Pending<'_> {
    fn end<T>(mut self, result: Result<T, StoreError>, done: impl Fn(&T) -> Ended) -> Result<T, StoreError> {
        self.ended = Some(match &result {
            Ok(answer) => done(answer),
            Err(StoreError::NotFound(_)) => Ended::Missing,
            Err(StoreError::Trouble(_)) => Ended::Trouble,
            Err(StoreError::Refused(_)) => Ended::Refused,
        });
        result
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        add(&self.counts[self.ended.unwrap_or(Ended::Abandoned) as usize], self.requests);
    }
}

#[async_trait]
impl ObjectStore for Metered {
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        let pending = self.ask(Operation::Put);
        add(&self.counts.up_bytes[self.purpose as usize], parts.iter().map(Bytes::len).sum());
        pending.end(self.store.put_if_absent(key, parts).await, |outcome| match outcome {
            PutOutcome::Created => Ended::Done,
            PutOutcome::Exists => Ended::Exists,
        })
    }

    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        let pending = self.ask(Operation::Get);
        let (bytes, size) = pending.end(self.store.get(key, range).await, |_| Ended::Done)?;
        add(&self.counts.down_bytes[self.purpose as usize], bytes.len());
        Ok((bytes, size))
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut pending = self.ask(Operation::List);
        let listed = self.store.list(prefix, after, limit).await;
        pending.requests = listed.as_ref().map_or(1, |page| page.len().div_ceil(REQUEST_KEYS_MAX).max(1));
        pending.end(listed, |_| Ended::Done)
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let mut pending = self.ask(Operation::Delete);
        pending.requests = keys.len().div_ceil(REQUEST_KEYS_MAX);
        pending.end(self.store.delete(keys).await, |()| Ended::Done)
    }

    async fn make_durable(&self, prefix: &str) -> Result<(), StoreError> {
        self.store.make_durable(prefix).await
    }

    fn describe(&self) -> String {
        self.store.describe()
    }

    fn counted_as(&self, purpose: Purpose) -> Option<Arc<dyn ObjectStore>> {
        Some(Arc::new(Metered { store: self.store.clone(), counts: self.counts.clone(), purpose }))
    }
}

fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FolderStore, OsDisk, SystemClock, counted_as};
    use futures::FutureExt;

    #[tokio::test]
    async fn counts_requests_and_bytes_by_kind_purpose_and_end() {
        let root = tempfile::tempdir().unwrap();
        let store =
            FolderStore::open(Arc::new(OsDisk::new()), Arc::new(SystemClock::new()), root.path().to_owned()).await;
        let metered = Arc::new(Metered::new(Arc::new(store.unwrap())));
        let all: Arc<dyn ObjectStore> = metered.clone();
        let wal = counted_as(&all, Purpose::Wal);
        for _ in 0..2 {
            wal.put_if_absent("a", vec![Bytes::from_static(b"abc"), Bytes::from_static(b"de")]).await.unwrap();
        }
        let read = counted_as(&wal, Purpose::Read);
        read.get("a", GetRange::Suffix(2)).await.unwrap();
        assert!(read.get("missing", GetRange::All).await.is_err());
        assert!(read.get("../a", GetRange::All).await.is_err());
        all.list("", "", 10).await.unwrap();
        all.delete(&["a".to_owned(), "missing".to_owned()]).await.unwrap();
        // Asked for, and given up before the answer.
        assert!(wal.put_if_absent("b", vec![Bytes::from_static(b"x")]).now_or_never().is_none());

        let used = metered.used();
        let expected = [
            (Operation::Put, Purpose::Wal, Ended::Done),
            (Operation::Put, Purpose::Wal, Ended::Exists),
            (Operation::Put, Purpose::Wal, Ended::Abandoned),
            (Operation::Get, Purpose::Read, Ended::Done),
            (Operation::Get, Purpose::Read, Ended::Missing),
            (Operation::Get, Purpose::Read, Ended::Refused),
            (Operation::List, Purpose::Other, Ended::Done),
            (Operation::Delete, Purpose::Other, Ended::Done),
        ];
        for (operation, purpose, ended) in expected {
            assert_eq!(used.requests(operation, purpose, ended), 1, "{operation:?} {purpose:?} {ended:?}");
        }
        assert_eq!(used.requests.iter().flatten().flatten().sum::<u64>(), expected.len() as u64);
        assert_eq!((used.up_bytes(Purpose::Wal), used.down_bytes(Purpose::Read), used.failures()), (11, 2, 1));
    }
}
