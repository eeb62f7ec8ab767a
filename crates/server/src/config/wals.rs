//! The write-ahead logs of `--wal`: one, or several that topics choose from by their names.
//!
//! `--wal URL` or `--wal NAME=URL`, in the order of their indexes: the first one is for every topic that does not choose.

use super::{ConfigError, StorageTarget, WalChoice, url};
use std::path::Path;
use stream::DEFAULT_WAL;

/// More are not a way to get more out of a disk or a bucket; each takes an equal part of the memory for appends and uploads.
const WALS_MAX: usize = 8;

/// Letters of a name at the most.
const NAME_LEN_MAX: usize = 32;

/// One of a broker's write-ahead logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalSpec {
    /// By which topics choose it.
    pub name: String,
    /// Where it is.
    pub choice: WalChoice,
}

/// What is given, or the default one.
pub(super) fn wals(given: &[String], data: &Path, storage: &StorageTarget) -> Result<Vec<WalSpec>, ConfigError> {
    if given.is_empty() {
        return Ok(vec![WalSpec { name: DEFAULT_WAL.to_owned(), choice: url::wal(None, data, storage)? }]);
    }
    if given.len() > WALS_MAX {
        return Err(ConfigError(format!("--wal: a broker has at most {WALS_MAX} write-ahead logs")));
    }
    let mut wals: Vec<WalSpec> = Vec::new();
    for text in given {
        let (name, rest) = split(text)?;
        let choice = url::wal(Some(rest), data, storage)?;
        let name = match name {
            Some(name) => name.to_owned(),
            None if wals.is_empty() => DEFAULT_WAL.to_owned(),
            None => {
                return Err(ConfigError(format!(
                    "--wal {text}: topics choose a further write-ahead log by its name: write --wal NAME={text}, such as --wal \
                     bulk={text}"
                )));
            }
        };
        if name == DEFAULT_WAL && !wals.is_empty() {
            let wrong = format!("--wal {text}: {DEFAULT_WAL} is always the first one; give this one another name");
            return Err(ConfigError(wrong));
        }
        if let Some(other) = wals.iter().find(|other| other.name == name) {
            let wrong =
                format!("--wal {text}: two write-ahead logs are called {}; give them different names", other.name);
            return Err(ConfigError(wrong));
        }
        if let Some(other) = wals.iter().find(|other| is_same_place(&other.choice, &choice)) {
            let wrong =
                format!("--wal {text}: the write-ahead log {} is there already; give another place", other.name);
            return Err(ConfigError(wrong));
        }
        wals.push(WalSpec { name, choice });
    }
    Ok(wals)
}

/// What stands before the first `=` is a name, unless it is the beginning of a URL.
fn split(text: &str) -> Result<(Option<&str>, &str), ConfigError> {
    let Some((name, rest)) = text.split_once('=').filter(|(name, _)| !name.contains([':', '/', '?'])) else {
        return Ok((None, text));
    };
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let is_name = !name.is_empty() && name.len() <= NAME_LEN_MAX && name.chars().all(is_letter);
    if is_name {
        return Ok((Some(name), rest));
    }
    Err(ConfigError(format!(
        "--wal {text}: {name:?} is no name of a write-ahead log: write up to {NAME_LEN_MAX} of a-z, 0-9 and -"
    )))
}

/// Two rings can't be in one file or on one device. Of a shared folder each start has files of its own.
fn is_same_place(one: &WalChoice, other: &WalChoice) -> bool {
    match (one, other) {
        (WalChoice::File { dir, .. }, WalChoice::File { dir: other, .. }) => dir == other,
        (WalChoice::Device { path, .. }, WalChoice::Device { path: other, .. }) => path == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(given: &[&str]) -> Result<Vec<(String, WalChoice)>, String> {
        let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
        let wals = wals(&given, Path::new("/data"), &StorageTarget::Folder("/b".into())).map_err(|error| error.0)?;
        Ok(wals.into_iter().map(|wal| (wal.name, wal.choice)).collect())
    }

    fn names(given: &[&str]) -> Vec<String> {
        parsed(given).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn the_first_one_needs_no_name() {
        assert_eq!(names(&[]), ["default"]);
        assert_eq!(names(&["file:///w?size=64MiB"]), ["default"]);
        assert_eq!(names(&["fast=file:///w?size=64MiB", "bulk=storage"]), ["fast", "bulk"]);
        assert_eq!(
            names(&["file:///w", "bulk-2=file:///x?size=1GiB", "third=storage"]),
            ["default", "bulk-2", "third"]
        );
        let (name, choice) = parsed(&["fast=file:///w?size=64MiB"]).unwrap().remove(0);
        assert_eq!((name.as_str(), choice), ("fast", WalChoice::File { dir: "/w".into(), bytes: Some(64 << 20) }));
    }

    #[test]
    fn what_can_t_be_told_apart_is_refused_with_what_to_write() {
        let told = |given: &[&str]| parsed(given).unwrap_err();
        assert!(told(&["file:///w", "storage"]).contains("--wal NAME=storage"));
        assert!(told(&["a=file:///w", "a=storage"]).contains("two write-ahead logs are called a"));
        assert!(told(&["a=file:///w", "default=storage"]).contains("always the first one"));
        assert!(told(&["a=file:///w", "b=file:///w?size=1GiB"]).contains("log a is there already"));
        assert!(told(&["Fast=file:///w"]).contains("\"Fast\" is no name"));
        assert!(told(&["=file:///w"]).contains("is no name"));
        assert!(told(&["fast=/w"]).contains("did you mean"));
        let many: Vec<String> = (0..9).map(|n| format!("n{n}=storage")).collect();
        assert!(told(&many.iter().map(String::as_str).collect::<Vec<_>>()).contains("at most 8"));
    }
}
