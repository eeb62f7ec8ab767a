//! A bucket of a cloud's object store, through the `object_store` crate: S3 and its likes, Google Cloud Storage, Azure Blob Storage.
//!
//! | file | what it is |
//! |---|---|
//! | `s3`, `gcs`, `azure` | what the URLs say, and how each is reached |
//! | `location` | what these have in common |
//! | `walk` | lists in order where the service has none |
//! | `error` | what a failed request means |
//!
//! Put-if-absent is a single conditional PUT, up to the largest object that we write; multipart uploads are not used, since only few
//! services complete them conditionally. Nothing is tried again in here: whoever puts knows by its nonce whether a repeat finds its own
//! object.
//!
//! Deadlines bound every call. A put that passed its deadline may still happen at the service.

#[cfg(feature = "azure")]
mod azure;
mod error;
#[cfg(any(test, feature = "conformance"))]
pub mod fixture;
#[cfg(feature = "gcs")]
mod gcs;
mod location;
#[cfg(feature = "s3")]
mod s3;
#[cfg(test)]
#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
mod tests;
mod walk;

#[cfg(feature = "azure")]
pub use azure::AzureLocation;
#[cfg(feature = "gcs")]
pub use gcs::GcsLocation;
#[cfg(feature = "s3")]
pub use s3::S3Location;

use crate::clock::{Clock, ClockExt};
use crate::object_store::{GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use error::Failure;
use futures::{StreamExt, TryStreamExt};
use location::Bucket;
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetResult, ObjectStore as _, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long any request may take, before what its size adds.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The slowest transfer that is waited for.
const BYTES_PER_SECOND_MIN: u64 = 1024 * 1024;

/// Keys in one answer of a list, by S3's definition.
const LIST_PAGE: u64 = 1000;

/// What a list may take longer that reads whole folders, as bytes.
const WALK_LIMIT_BYTES: u64 = 60 * BYTES_PER_SECOND_MIN;

/// A service, ready to be asked.
struct Built {
    service: Arc<dyn object_store::ObjectStore>,
    /// It serves the last bytes of an object whose size nobody has asked for.
    has_suffixes: bool,
    /// By the bytes of names, from where it is told to.
    lists_in_order: bool,
    /// Empty, or ends with a slash.
    prefix: String,
    /// For messages; there is no secret in it.
    text: String,
}

/// A bucket, or the part of it below a prefix.
pub struct CloudStore {
    built: Built,
    clock: Arc<dyn Clock>,
}

fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

fn client_options(bucket: &Bucket) -> ClientOptions {
    let client = ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT_LIMIT);
    client.with_allow_http(bucket.is_plain_http())
}

/// The settings contradict each other, or lack something.
fn not_built(text: &str, error: &object_store::Error) -> StoreError {
    StoreError::Refused(format!("{text}: {}", Failure::of(error).message))
}

impl CloudStore {
    /// S3 and its likes. No request is made.
    ///
    /// # Errors
    /// The settings contradict each other.
    #[cfg(feature = "s3")]
    pub fn s3(location: &S3Location, clock: Arc<dyn Clock>) -> Result<CloudStore, StoreError> {
        Ok(CloudStore { built: s3::build(location, |builder| builder)?, clock })
    }

    /// Google Cloud Storage. No request is made.
    ///
    /// # Errors
    /// The settings contradict each other, or a file of credentials can't be read.
    #[cfg(feature = "gcs")]
    pub fn gcs(location: &GcsLocation, clock: Arc<dyn Clock>) -> Result<CloudStore, StoreError> {
        Ok(CloudStore { built: gcs::build(location, |builder| builder)?, clock })
    }

    /// Azure Blob Storage. No request is made.
    ///
    /// # Errors
    /// The settings contradict each other, or name no account.
    #[cfg(feature = "azure")]
    pub fn azure(location: &AzureLocation, clock: Arc<dyn Clock>) -> Result<CloudStore, StoreError> {
        Ok(CloudStore { built: azure::build(location, |builder| builder)?, clock })
    }

    /// Where a key is in the bucket.
    fn path(&self, key: &str) -> Result<Path, StoreError> {
        let path = Path::parse(format!("{}{key}", self.built.prefix));
        match path {
            Ok(path) if !key.is_empty() && path.as_ref().len() == self.built.prefix.len() + key.len() => Ok(path),
            _ => Err(StoreError::Refused(format!("{key:?} is not a key for an object store"))),
        }
    }

    /// `request`'s answer within the time that so many bytes may take.
    async fn within<T: Send>(
        &self,
        bytes: u64,
        request: impl Future<Output = Result<T, object_store::Error>> + Send,
    ) -> Result<T, Failure> {
        let limit = REQUEST_LIMIT + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
        match self.clock.timeout(limit, request).await {
            Some(answer) => answer.map_err(|error| Failure::of(&error)),
            None => Err(Failure::timeout(limit)),
        }
    }

    async fn body(&self, answer: GetResult) -> Result<(Bytes, u64), StoreError> {
        let (size, range) = (answer.meta.size, answer.range.clone());
        let expected = range.end.saturating_sub(range.start);
        let bytes = self.within(expected, answer.bytes()).await.map_err(|failure| self.explain(failure))?;
        if u64::try_from(bytes.len()) == Ok(expected) {
            Ok((bytes, size))
        } else {
            Err(StoreError::Trouble(format!("{}: an answer was cut short", self.built.text)))
        }
    }

    /// The answer for a range that holds no byte.
    async fn nothing_of(&self, path: &Path, key: &str) -> Result<(Bytes, u64), StoreError> {
        match self.within(0, self.built.service.head(path)).await {
            Ok(meta) => Ok((Bytes::new(), meta.size)),
            Err(failure) => Err(self.explain_read(key, failure)),
        }
    }

    /// The same list from a service that has no order.
    async fn list_in_order(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        let root = &self.built.prefix;
        let (prefix, after) = (format!("{root}{prefix}"), format!("{root}{after}"));
        let wanted = walk::Wanted { prefix: &prefix, after: &after, limit };
        let folder = prefix[..prefix.rfind('/').map_or(0, |slash| slash + 1)].to_owned();
        let mut found = Vec::new();
        let walked = async { walk::walk(self.built.service.as_ref(), &wanted, folder, &mut found).await };
        self.within(WALK_LIMIT_BYTES, walked).await.map_err(|failure| self.explain(failure))?;
        for object in &mut found {
            object.key.drain(..root.len());
        }
        Ok(found)
    }

    fn explain(&self, failure: Failure) -> StoreError {
        failure.into_store_error(&self.built.text)
    }

    fn explain_read(&self, key: &str, failure: Failure) -> StoreError {
        if failure.is_missing_object() { StoreError::NotFound(key.to_owned()) } else { self.explain(failure) }
    }
}

#[async_trait]
impl ObjectStore for CloudStore {
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        let path = self.path(key)?;
        let size: usize = parts.iter().map(Bytes::len).sum();
        let size = u64::try_from(size).expect("usize fits u64");
        let payload: PutPayload = parts.into_iter().filter(|part| !part.is_empty()).collect();
        match self.within(size, self.built.service.put_opts(&path, payload, PutMode::Create.into())).await {
            Ok(_) => Ok(PutOutcome::Created),
            Err(failure) if failure.exists => Ok(PutOutcome::Exists),
            Err(failure) => Err(self.explain(failure)),
        }
    }

    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        let path = self.path(key)?;
        let range = match range {
            GetRange::All => None,
            GetRange::Span { start, end } if start >= end => return self.nothing_of(&path, key).await,
            GetRange::Span { start, end } => Some(object_store::GetRange::Bounded(start..end)),
            GetRange::Suffix(0) => return self.nothing_of(&path, key).await,
            GetRange::Suffix(len) if !self.built.has_suffixes => {
                let (_, size) = self.nothing_of(&path, key).await?;
                if size == 0 {
                    return Ok((Bytes::new(), 0));
                }
                Some(object_store::GetRange::Bounded(size.saturating_sub(len)..size))
            }
            GetRange::Suffix(len) => Some(object_store::GetRange::Suffix(len)),
        };
        let options = GetOptions { range: range.clone(), ..GetOptions::default() };
        match self.within(0, self.built.service.get_opts(&path, options)).await {
            Ok(answer) => self.body(answer).await,
            // The range begins beyond the end. Services differ in how they say so, and what of an empty object.
            Err(failure) if range.is_some() && failure.is_bad_range() => {
                let (bytes, size) = self.nothing_of(&path, key).await?;
                match range {
                    Some(object_store::GetRange::Bounded(span)) if span.start >= size => Ok((bytes, size)),
                    _ if size == 0 => Ok((bytes, size)),
                    _ => Err(self.explain(failure)),
                }
            }
            Err(failure) => Err(self.explain_read(key, failure)),
        }
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        let root = &self.built.prefix;
        let pages = u64::try_from(limit).unwrap_or(u64::MAX) / LIST_PAGE;
        let limit_bytes = pages.saturating_mul(BYTES_PER_SECOND_MIN);
        if !self.built.lists_in_order {
            return self.list_in_order(prefix, after, limit).await;
        }
        let folder = &prefix[..prefix.rfind('/').map_or(0, |slash| slash + 1)];
        let folder = Path::parse(format!("{root}{folder}"))
            .map_err(|error| StoreError::Refused(format!("cannot list {prefix:?}: {error}")))?;
        let folder = Some(&folder).filter(|path| !path.as_ref().is_empty());
        let objects = match location::offset_before(root, prefix, after) {
            Some(offset) => self.built.service.list_with_offset(folder, &offset),
            None => self.built.service.list(folder),
        };
        // The service lists whole folders, from a little before; what does not belong is left out here.
        let wanted = |object: object_store::ObjectMeta| {
            let key = object.location.as_ref().strip_prefix(root.as_str())?.to_owned();
            Some(ObjectMeta { key, size: object.size })
        };
        let found = objects
            .try_filter_map(|object| futures::future::ready(Ok(wanted(object))))
            .try_skip_while(|object| {
                futures::future::ready(Ok(!object.key.starts_with(prefix) || *object.key <= *after))
            })
            .try_take_while(|object| futures::future::ready(Ok(object.key.starts_with(prefix))))
            .take(limit)
            .try_collect();
        self.within(limit_bytes, found).await.map_err(|failure| self.explain(failure))
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let paths: Vec<Result<Path, object_store::Error>> =
            keys.iter().map(|key| self.path(key).map(Ok)).collect::<Result<_, _>>()?;
        let answers = self.built.service.delete_stream(futures::stream::iter(paths).boxed()).collect::<Vec<_>>();
        let limit = BYTES_PER_SECOND_MIN.saturating_mul(u64::try_from(keys.len()).unwrap_or(u64::MAX) / 100);
        for answer in self.within(limit, async { Ok(answers.await) }).await.map_err(|failure| self.explain(failure))? {
            match answer.map_err(|error| Failure::of(&error)) {
                Ok(_) => {}
                Err(failure) if failure.is_missing_object() => {}
                Err(failure) => return Err(self.explain(failure)),
            }
        }
        Ok(())
    }

    async fn make_durable(&self, _prefix: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn describe(&self) -> String {
        self.built.text.clone()
    }
}
