//! Store calls that outlast trouble: each is made again, with growing and jittered waits, until the store answers.
//!
//! A call that does not answer in time is abandoned and counts as trouble. What is refused is not made again, but for a put that
//! was ambiguous before: its fate must be known, or the same commands could be put twice.

use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};
use world::{Backoff, Clock, ClockExt, GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError};

/// A store and how to wait for it.
#[derive(Clone)]
pub(crate) struct Patient {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) call_timeout: Duration,
    pub(crate) backoff_max: Duration,
}

impl Patient {
    /// All bytes of an object.
    pub(crate) async fn get(&self, key: &str, range: GetRange) -> Result<Bytes, StoreError> {
        self.until_answered(key, false, || async {
            let (bytes, size) = self.store.get(key, range).await?;
            // A cut answer is the network's fault, not the object's.
            if range == GetRange::All && bytes.len() as u64 != size {
                return Err(StoreError::Trouble(format!("{key}: {} of {size} bytes came", bytes.len())));
            }
            Ok(bytes)
        })
        .await
    }

    pub(crate) async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        self.until_answered(prefix, false, || self.store.list(prefix, after, limit)).await
    }

    /// What was read directly below `prefix` is durable when this returns.
    pub(crate) async fn make_durable(&self, prefix: &str) -> Result<(), StoreError> {
        self.until_answered(prefix, false, || self.store.make_durable(prefix)).await
    }

    pub(crate) async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let first = keys.first().map_or("", String::as_str);
        self.until_answered(first, false, || self.store.delete(keys)).await
    }

    /// The same bytes at each try, so that a try that was taken for lost does no harm.
    pub(crate) async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        self.until_answered(key, true, || self.store.put_if_absent(key, vec![bytes.clone()])).await
    }

    async fn until_answered<T, F>(&self, what: &str, put: bool, mut call: impl FnMut() -> F) -> Result<T, StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let mut backoff = Backoff::up_to(self.backoff_max);
        loop {
            let trouble = match self.clock.timeout(self.call_timeout, call()).await {
                Some(Ok(answer)) => {
                    if backoff.tries() > 0 {
                        info!(what, tries = backoff.tries() + 1, "object store answers again");
                    }
                    return Ok(answer);
                }
                Some(Err(StoreError::Trouble(why))) => why,
                Some(Err(StoreError::Refused(why))) if put && backoff.tries() > 0 => why,
                Some(Err(error)) => return Err(error),
                None => format!("no answer within {:?}", self.call_timeout),
            };
            if backoff.is_worth_a_line() {
                warn!(what, tries = backoff.tries() + 1, why = trouble, "object store is in trouble; asking again");
            }
            backoff.wait(&*self.clock).await;
        }
    }
}
