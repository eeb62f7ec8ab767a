//! The URLs of `--storage` and `--wal`.

use super::{ConfigError, size};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use url::Url;

/// The bucket that is the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageTarget {
    /// A folder.
    Folder(PathBuf),
    /// A bucket of a cloud, as written; `world` reads the rest of the URL.
    Cloud(Url),
}

impl StorageTarget {
    /// As `world::open_store` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            StorageTarget::Folder(dir) => {
                Url::from_file_path(dir).map_or_else(|()| format!("file://{}", dir.display()), String::from)
            }
            StorageTarget::Cloud(url) => url.to_string(),
        }
    }
}

/// Without parameters, which may hold what should not be shown.
impl fmt::Display for StorageTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageTarget::Folder(dir) => write!(f, "file://{}", dir.display()),
            StorageTarget::Cloud(url) => {
                // Azure's may name a container before its account.
                let container = if url.username().is_empty() { String::new() } else { format!("{}@", url.username()) };
                write!(f, "{}://{container}{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
            }
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
    /// A ring for each start in a folder that all brokers see under this name.
    Shared {
        /// The folder.
        dir: PathBuf,
        /// A ring's size in bytes, where given.
        bytes: Option<u64>,
    },
    /// A ring that is the whole of a block device.
    Device {
        /// The device.
        path: PathBuf,
        /// What is on it and may be lost, as a refusal named it.
        give_up: Option<String>,
    },
    /// Objects in the cluster's own bucket.
    Storage(Puts),
}

/// What the puts of a log in the bucket may cost, where it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Puts {
    /// So many a second at the most, in the long run.
    pub per_second: Option<u32>,
    /// So many for a GiB under heavy load.
    pub per_gib: Option<u32>,
}

/// Puts a second that may be asked for.
const PUTS_PER_SECOND: RangeInclusive<u32> = 1..=10_000;
/// Puts for a GiB that may be asked for: objects of 1 to 32 MiB.
const PUTS_PER_GIB: RangeInclusive<u32> = 32..=1024;

/// Where it is, without parameters.
impl fmt::Display for WalChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalChoice::File { dir, .. } => write!(f, "file://{}", dir.display()),
            WalChoice::Shared { dir, .. } => write!(f, "file://{}?shared", dir.display()),
            WalChoice::Device { path, .. } => write!(f, "block://{}", path.display()),
            WalChoice::Storage(_) => f.write_str("storage"),
        }
    }
}

/// What a URL of a folder or a device is.
const THREE_SLASHES: &str = "three slashes, then the path from the root";

/// A bucket's URL, as that option has it.
///
/// # Errors
/// One line that says what is wrong with it.
pub fn storage(option: &str, text: &str) -> Result<StorageTarget, ConfigError> {
    let wrong = |why: &str| {
        ConfigError(format!(
            "{option} {text}: {why}{} write file:///dir, s3://bucket/prefix?endpoint=…&region=…, gs://bucket/prefix or az://container/prefix?account=…",
            behind(why)
        ))
    };
    let url = Url::parse(text).map_err(|error| wrong(&meant(text).unwrap_or_else(|| no_url(error))))?;
    let names_a_container = url.scheme().starts_with("abfs");
    if (!url.username().is_empty() && !names_a_container) || url.password().is_some() {
        // Not shown again: it may hold a secret.
        return Err(ConfigError(format!(
            "{option}: a URL holds no credentials; give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or as your cloud's \
             variables say"
        )));
    }
    no_fragment(&url).map_err(&wrong)?;
    match url.scheme() {
        "file" if !names_an_authority(text) => Err(wrong(THREE_SLASHES)),
        "file" if url.query().is_some() => Err(wrong("a folder has no parameters")),
        "file" => folder(&url).map(StorageTarget::Folder).map_err(|why| wrong(&why)),
        "s3" | "gs" | "gcs" | "az" | "azure" | "abfs" | "abfss" => Ok(StorageTarget::Cloud(url)),
        other => Err(wrong(&format!("{other}:// is not served"))),
    }
}

pub(super) fn wal(text: Option<&str>, data: &Path, storage: &StorageTarget) -> Result<WalChoice, ConfigError> {
    let text = match (text, storage) {
        (None, StorageTarget::Folder(_)) => return Ok(WalChoice::File { dir: data.join("wal"), bytes: None }),
        (None, StorageTarget::Cloud(_)) => return Ok(WalChoice::Storage(Puts::default())),
        (Some(text), _) => text,
    };
    // What a folder would refuse is not recommended for it.
    let in_the_bucket = match storage {
        StorageTarget::Folder(_) => "or storage",
        StorageTarget::Cloud(_) => "storage, or storage?puts-per-second=20&puts-per-gib=100",
    };
    let wrong = |why: &str| {
        ConfigError(format!(
            "--wal {text}: {why}{} write file:///dir?size=2GiB, file:///dir?shared, block:///dev/NAME, {in_the_bucket}",
            behind(why)
        ))
    };
    if let Some(parameters) = text.strip_prefix("storage") {
        return objects(parameters, storage).map(WalChoice::Storage).map_err(|why| wrong(&why));
    }
    let device_meant = || {
        let is_device = text.starts_with("/dev/") && !text.starts_with("/dev/shm/");
        is_device.then(|| format!("a path is not a URL: did you mean block://{text}?"))
    };
    let url = Url::parse(text)
        .map_err(|error| wrong(&device_meant().or_else(|| meant(text)).unwrap_or_else(|| no_url(error))))?;
    no_fragment(&url).map_err(&wrong)?;
    match url.scheme() {
        "file" | "block" if !names_an_authority(text) => Err(wrong(THREE_SLASHES)),
        "file" => ring_in_a_file(&url).map_err(|why| wrong(&why)),
        "block" => ring_on_a_device(&url).map_err(|why| wrong(&why)),
        other => Err(wrong(&format!("{other}:// is not served"))),
    }
}

/// What stands between why a text is wrong, which may be a question, and what to write instead.
fn behind(why: &str) -> &'static str {
    if why.ends_with('?') { " Else" } else { ";" }
}

/// What stands behind `#` would be forgotten, be it part of a name or a parameter.
fn no_fragment(url: &Url) -> Result<(), &'static str> {
    if url.fragment().is_some() { Err("what stands behind # would not act; in a path it is %23") } else { Ok(()) }
}

/// Whether a URL has its two slashes. `file:dir` is the root's `dir` to the standard of URLs, and the present folder's to whoever writes it.
fn names_an_authority(text: &str) -> bool {
    text.split_once(':').is_some_and(|(_, rest)| rest.starts_with("//"))
}

/// A path where a URL should be.
fn meant(text: &str) -> Option<String> {
    let is_path = text.starts_with('/') || text.starts_with('.');
    let path = is_path.then(|| std::path::absolute(text).ok()).flatten()?;
    let url = Url::from_file_path(path).ok()?;
    Some(format!("a path is not a URL: did you mean {url}?"))
}

fn no_url(error: url::ParseError) -> String {
    match error {
        url::ParseError::RelativeUrlWithoutBase => "it is no URL".to_owned(),
        other => other.to_string(),
    }
}

fn objects(parameters: &str, storage: &StorageTarget) -> Result<Puts, String> {
    let mut puts = Puts::default();
    if parameters.is_empty() {
        return Ok(puts);
    }
    let parameters = parameters.strip_prefix('?').ok_or_else(|| match storage {
        StorageTarget::Folder(_) => format!("there is no log storage{parameters}"),
        StorageTarget::Cloud(_) => "storage takes parameters after a question mark".to_owned(),
    })?;
    if matches!(storage, StorageTarget::Folder(_)) {
        return Err("in a folder storage takes no parameters, as puts into it cost nothing".to_owned());
    }
    for (name, value) in url::form_urlencoded::parse(parameters.as_bytes()) {
        match name.as_ref() {
            "puts-per-second" => puts.per_second = Some(within(&name, &value, PUTS_PER_SECOND)?),
            "puts-per-gib" => puts.per_gib = Some(within(&name, &value, PUTS_PER_GIB)?),
            other => return Err(format!("unknown parameter {other}")),
        }
    }
    Ok(puts)
}

fn within(name: &str, value: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{name} is a number from {} to {}", range.start(), range.end()))
}

fn ring_in_a_file(url: &Url) -> Result<WalChoice, String> {
    let (mut bytes, mut shared) = (None, false);
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "size" => bytes = Some(size::parse("size", &value).map_err(|error| error.to_string())?),
            "shared" if value.is_empty() => shared = true,
            "shared" => return Err("shared takes no value".to_owned()),
            other => return Err(format!("unknown parameter {other}")),
        }
    }
    let dir = folder(url)?;
    Ok(if shared { WalChoice::Shared { dir, bytes } } else { WalChoice::File { dir, bytes } })
}

fn ring_on_a_device(url: &Url) -> Result<WalChoice, String> {
    let mut give_up = None;
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "overwrite" => give_up = Some(value.into_owned()),
            "size" => return Err("a device has its own size".to_owned()),
            other => return Err(format!("unknown parameter {other}")),
        }
    }
    let path = url.to_file_path().map_err(|()| THREE_SLASHES.to_owned())?;
    Ok(WalChoice::Device { path, give_up })
}

fn folder(url: &Url) -> Result<PathBuf, String> {
    url.to_file_path().map_err(|()| THREE_SLASHES.to_owned())
}
