//! The URLs of `--storage` and `--wal`.

use super::{ConfigError, size};
use std::fmt;
use std::path::{Path, PathBuf};
use url::Url;

/// The bucket that is the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageTarget {
    /// A folder.
    Folder(PathBuf),
    /// An S3-compatible store, as written; `world` reads the rest of the URL.
    S3(Url),
}

impl StorageTarget {
    /// As `world::open_store` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            StorageTarget::Folder(dir) => {
                Url::from_file_path(dir).map_or_else(|()| format!("file://{}", dir.display()), String::from)
            }
            StorageTarget::S3(url) => url.to_string(),
        }
    }
}

/// Without parameters, which may hold what should not be shown.
impl fmt::Display for StorageTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageTarget::Folder(dir) => write!(f, "file://{}", dir.display()),
            StorageTarget::S3(url) => write!(f, "s3://{}{}", url.host_str().unwrap_or_default(), url.path()),
        }
    }
}

/// The write-ahead log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalChoice {
    /// A ring in a local file of that folder.
    File {
        /// The folder.
        dir: PathBuf,
        /// The ring's size in bytes, where given.
        bytes: Option<u64>,
    },
    /// Objects in the cluster's own bucket.
    Storage,
}

pub(super) fn storage(text: &str) -> Result<StorageTarget, ConfigError> {
    let wrong = |why: &str| {
        ConfigError(format!("--storage {text}: {why}; write file:///dir or s3://bucket/prefix?endpoint=…&region=…"))
    };
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not shown again: it may hold a secret.
        return Err(ConfigError(
            "--storage: a URL holds no credentials; give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                .to_owned(),
        ));
    }
    match url.scheme() {
        "file" if url.query().is_some() => Err(wrong("a folder has no parameters")),
        "file" => folder(&url).map(StorageTarget::Folder).map_err(|why| wrong(&why)),
        "s3" => Ok(StorageTarget::S3(url)),
        other => Err(wrong(&format!("{other}:// is not served"))),
    }
}

pub(super) fn wal(text: Option<&str>, data: &Path, storage: &StorageTarget) -> Result<WalChoice, ConfigError> {
    let text = match (text, storage) {
        (None, StorageTarget::Folder(_)) => return Ok(WalChoice::File { dir: data.join("wal"), bytes: None }),
        (None, StorageTarget::S3(_)) | (Some("storage"), _) => return Ok(WalChoice::Storage),
        (Some(text), _) => text,
    };
    let wrong = |why: &str| ConfigError(format!("--wal {text}: {why}; write file:///dir?size=2GiB, or storage"));
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if url.scheme() != "file" {
        return Err(wrong(&format!("{}:// is not served yet", url.scheme())));
    }
    let mut bytes = None;
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "size" => bytes = Some(size::parse("--wal size", &value)?),
            other => return Err(wrong(&format!("unknown parameter {other}"))),
        }
    }
    let dir = folder(&url).map_err(|why| wrong(&why))?;
    Ok(WalChoice::File { dir, bytes })
}

fn folder(url: &Url) -> Result<PathBuf, String> {
    url.to_file_path().map_err(|()| "three slashes, then the folder's path from the root".to_owned())
}
