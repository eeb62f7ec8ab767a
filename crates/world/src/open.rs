//! From a URL to an object store.

use crate::World;
use crate::clock::Clock;
use crate::folder::FolderStore;
use crate::object_store::{ObjectStore, StoreError};
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

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

/// The object store that `url` names: `file:///dir`, `s3://bucket/prefix?endpoint=…&region=…`, `gs://bucket/prefix`,
/// `az://container/prefix?account=…` or `abfs://container@account.dfs.core.windows.net/prefix`.
///
/// A folder is created where it is missing; a bucket is not contacted yet (the [probe](crate::probe) does).
///
/// # Errors
/// A URL that is not served, or a folder that cannot be made or used.
pub async fn open_store(url: &str, world: &World) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let wrong = |why: String| OpenError::Url(format!("{}: {why}", without_secrets(url)));
    let parsed = Url::parse(url).map_err(|_| wrong(format!("not a URL; {}", served())))?;
    match parsed.scheme() {
        "file" => {
            let root = folder_of(&parsed).map_err(wrong)?;
            Ok(Arc::new(FolderStore::open(Arc::clone(&world.disk), Arc::clone(&world.clock), root).await?))
        }
        scheme @ ("s3" | "gs" | "gcs" | "az" | "azure" | "abfs" | "abfss") => open_cloud(scheme, &parsed, &world.clock)
            .map_err(|error| match error {
                OpenError::Url(why) => wrong(why),
                other => other,
            }),
        scheme => Err(wrong(format!("{scheme} storage is not known; {}", served()))),
    }
}

/// The same, to look at: a folder must be there, is not changed, and need not be writable.
///
/// # Errors
/// A URL that is not served, or a folder that is not there or can't be read.
pub async fn open_store_to_read(url: &str, world: &World) -> Result<Arc<dyn ObjectStore>, OpenError> {
    match Url::parse(url).ok().filter(|parsed| parsed.scheme() == "file").and_then(|parsed| folder_of(&parsed).ok()) {
        Some(root) => {
            let (disk, clock) = (Arc::clone(&world.disk), Arc::clone(&world.clock));
            Ok(Arc::new(FolderStore::open_to_read(disk, clock, root).await?))
        }
        None => open_store(url, world).await,
    }
}

/// What this build serves.
fn served() -> String {
    let clouds = [
        (cfg!(feature = "s3"), "s3://BUCKET/PREFIX?endpoint=…&region=…"),
        (cfg!(feature = "gcs"), "gs://BUCKET/PREFIX"),
        (cfg!(feature = "azure"), "az://CONTAINER/PREFIX?account=…"),
    ];
    let clouds = clouds.into_iter().filter(|(is_in, _)| *is_in).map(|(_, form)| form);
    let forms: Vec<&str> = std::iter::once("file:///DIR").chain(clouds).collect();
    format!("storage is {}", forms.join(", "))
}

/// The folder of a `file:` URL.
fn folder_of(url: &Url) -> Result<PathBuf, String> {
    if url.has_host() && url.host_str() != Some("localhost") {
        return Err("a file URL has three slashes and an absolute path: file:///DIR".to_owned());
    }
    if let Some(query) = url.query() {
        return Err(format!("?{query} is not understood; folder storage has no parameters"));
    }
    if url.fragment().is_some() {
        return Err("write %23 for # in a path".to_owned());
    }
    let path = url.to_file_path().map_err(|()| "not a path of this machine".to_owned())?;
    if path.parent().is_none() {
        return Err("the root of the file system is no place for a bucket; name a folder".to_owned());
    }
    Ok(path)
}

fn open_cloud(scheme: &str, url: &Url, clock: &Arc<dyn Clock>) -> Result<Arc<dyn ObjectStore>, OpenError> {
    // What follows is empty where nothing of it is in this build.
    let _unused = (url, clock);
    match scheme {
        #[cfg(feature = "s3")]
        "s3" => {
            let location = crate::cloud::S3Location::parse(url).map_err(OpenError::Url)?;
            warn_if_unprotected(location.is_unprotected());
            Ok(Arc::new(crate::cloud::CloudStore::s3(&location, Arc::clone(clock))?))
        }
        #[cfg(feature = "gcs")]
        "gs" | "gcs" => {
            let location = crate::cloud::GcsLocation::parse(url).map_err(OpenError::Url)?;
            warn_if_unprotected(location.is_unprotected());
            Ok(Arc::new(crate::cloud::CloudStore::gcs(&location, Arc::clone(clock))?))
        }
        #[cfg(feature = "azure")]
        "az" | "azure" | "abfs" | "abfss" => {
            let location = crate::cloud::AzureLocation::parse(url).map_err(OpenError::Url)?;
            warn_if_unprotected(location.is_unprotected());
            Ok(Arc::new(crate::cloud::CloudStore::azure(&location, Arc::clone(clock))?))
        }
        other => Err(OpenError::Url(format!("this build has no {other} storage; {}", served()))),
    }
}

#[cfg(feature = "cloud")]
fn warn_if_unprotected(is_unprotected: bool) {
    if is_unprotected {
        tracing::warn!(
            "the object store's endpoint is plain http on another machine: anybody between can read the data"
        );
    }
}

/// The URL for a message, without what may be a password.
fn without_secrets(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}://…@{}", &url[..scheme], &url[at + 1..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(url: &str) -> String {
        match open_store(url, &World::system()).await {
            Ok(store) => panic!("{url} opened {}", store.describe()),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn a_folder_is_made_where_it_is_missing() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("a b/bucket");
        let url = Url::from_file_path(&root).unwrap();
        let store = open_store(url.as_str(), &World::system()).await.unwrap();
        assert_eq!(store.describe(), format!("folder {}", root.display()));
        assert!(root.is_dir());
    }

    #[tokio::test]
    async fn what_is_not_served_is_refused_with_what_is() {
        for (url, part) in [
            ("bucket", "bucket: not a URL; storage is file:///DIR"),
            ("/a/folder", "not a URL; storage is file:///DIR"),
            ("ftp://host/a", "ftp storage is not known; storage is file:///DIR"),
            ("file://host/dir", "three slashes"),
            ("file:///dir?shared", "?shared is not understood"),
            ("file:///", "the root of the file system"),
            ("file:///dir#1", "%23"),
        ] {
            let message = refusal(url).await;
            assert!(message.contains(part), "{url}: {message}");
        }
    }

    #[tokio::test]
    async fn no_message_repeats_a_password() {
        for url in ["s3://key:hunter2@bucket/prefix", "ftp://me:hunter2@host", "s3://key:hunter2@bucket:x/"] {
            let message = refusal(url).await;
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
