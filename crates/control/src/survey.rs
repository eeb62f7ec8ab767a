//! A ledger that brokers refuse, or that is gone: what of it can be read, and how far it folds. For `millstream restore`.
//!
//! The normal reader believes only what cannot be doubted and stops at the first thing that is wrong. This one looks at everything that
//! lies there, and says which of it makes the newest image: a snapshot, not necessarily the newest, and the entries right above it. What
//! lies beyond a gap is told and not folded, as it may rest on what is missing: a topic's streams are numbered as they come.
//!
//! What is written again is one snapshot above all numbers that are there (rule A-1 makes it what is believed); nothing is overwritten.

use crate::{Format, LedgerError, format, keys};
use base::LedgerSeq;
use bytes::Bytes;
use control_core::{CodecError, Entry, Image, apply, codec};
use std::collections::BTreeMap;
use world::{GetRange, ObjectStore, Pages, PutOutcome, StoreError};

/// Keys of one listing.
const PAGE_KEYS: usize = 1000;

/// What is there, and what it comes to.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// The `format` object, where it is there and whole.
    pub format: Option<Format>,
    /// What is wrong with it, where it is there.
    pub format_problem: Option<String>,
    /// The snapshots that are there, and what is wrong with each.
    pub snapshots: BTreeMap<LedgerSeq, Option<String>>,
    /// The entries that are there, and what is wrong with each.
    pub entries: BTreeMap<LedgerSeq, Option<String>>,
    /// The newest image that folds.
    pub image: Image,
    /// The snapshot that it rests on; `None`: it is folded from the first entry, or empty.
    pub base: Option<LedgerSeq>,
    /// Entries above it that can be read.
    pub beyond: Vec<Entry>,
}

impl Survey {
    /// The greatest number of any entry or snapshot.
    #[must_use]
    pub fn highest(&self) -> LedgerSeq {
        let last = |numbers: &BTreeMap<LedgerSeq, Option<String>>| numbers.keys().next_back().copied();
        last(&self.snapshots).max(last(&self.entries)).unwrap_or_default()
    }

    /// Whether nothing that is there lies beyond what folds. What was taken from the end without a trace is not seen by this.
    #[must_use]
    pub fn folds_to_its_end(&self) -> bool {
        self.highest() > LedgerSeq(0) && self.image.seq == self.highest()
    }

    /// Whether brokers can read it as it is.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let newest = self.snapshots.last_key_value();
        let newest_is_read = newest.is_none_or(|(seq, problem)| problem.is_none() && self.base == Some(*seq));
        self.folds_to_its_end() && newest_is_read && self.format.is_some()
    }

    /// Numbers between the image and the greatest that is there, of which no whole entry is left: `(first, last)` of each gap.
    #[must_use]
    pub fn gaps(&self) -> Vec<(LedgerSeq, LedgerSeq)> {
        let mut gaps: Vec<(LedgerSeq, LedgerSeq)> = Vec::new();
        let mut next = self.image.seq.next();
        let present = self.beyond.iter().map(|entry| entry.seq).chain([self.highest().next()]);
        for seq in present {
            if seq > next {
                gaps.push((next, LedgerSeq(seq.0 - 1)));
            }
            next = next.max(seq.next());
        }
        gaps
    }
}

/// Looks at all of it.
///
/// # Errors
/// The store can't be read, or something there was written by a newer release.
pub async fn survey(store: &dyn ObjectStore) -> Result<Survey, LedgerError> {
    let mut survey = Survey::default();
    match read(store, keys::FORMAT).await? {
        None => {}
        Some(bytes) => match Format::decode(&bytes) {
            Ok(format) => survey.format = Some(format),
            Err(error) => survey.format_problem = Some(error.to_string()),
        },
    }
    let mut entries: BTreeMap<LedgerSeq, Entry> = BTreeMap::new();
    for seq in numbers(store, keys::ENTRIES).await? {
        let decoded = decoded(store, &keys::entry(seq), codec::decode_entry).await?;
        let Some(decoded) = decoded else { continue };
        let decoded = decoded.and_then(|entry| if entry.seq == seq { Ok(entry) } else { Err(other(entry.seq)) });
        survey.entries.insert(seq, decoded.as_ref().err().cloned());
        entries.extend(decoded.ok().map(|entry| (seq, entry)));
    }
    survey.image = fold(Image::default(), &entries);
    for seq in numbers(store, keys::SNAPSHOTS).await? {
        let decoded = decoded(store, &keys::snapshot(seq), codec::decode_snapshot).await?;
        let Some(decoded) = decoded else { continue };
        let decoded = decoded.and_then(|image| if image.seq == seq { Ok(image) } else { Err(other(image.seq)) });
        survey.snapshots.insert(seq, decoded.as_ref().err().cloned());
        let Ok(image) = decoded else { continue };
        let folded = fold(image, &entries);
        // Rising, so that of two that come as far the newer one counts, as for brokers.
        if folded.seq >= survey.image.seq {
            (survey.image, survey.base) = (folded, Some(seq));
        }
    }
    survey.beyond = entries.into_iter().filter(|(seq, _)| *seq > survey.image.seq).map(|(_, entry)| entry).collect();
    Ok(survey)
}

fn other(seq: LedgerSeq) -> String {
    format!("it says that it is number {seq}")
}

fn fold(mut image: Image, entries: &BTreeMap<LedgerSeq, Entry>) -> Image {
    while let Some(entry) = entries.get(&image.seq.next()) {
        apply(&mut image, entry);
    }
    image
}

/// The greatest number of any entry or snapshot that is there by now.
///
/// # Errors
/// The store's.
pub async fn highest(store: &dyn ObjectStore) -> Result<LedgerSeq, LedgerError> {
    let entries = numbers(store, keys::ENTRIES).await?;
    let snapshots = numbers(store, keys::SNAPSHOTS).await?;
    Ok(entries.into_iter().chain(snapshots).max().unwrap_or_default())
}

async fn read(store: &dyn ObjectStore, key: &str) -> Result<Option<Bytes>, LedgerError> {
    match store.get(key, GetRange::All).await {
        Ok((bytes, _)) => Ok(Some(bytes)),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// `None`: gone since it was listed.
async fn decoded<T>(
    store: &dyn ObjectStore,
    key: &str,
    decode: impl Fn(&[u8]) -> Result<T, CodecError>,
) -> Result<Option<Result<T, String>>, LedgerError> {
    let Some(bytes) = read(store, key).await? else { return Ok(None) };
    match decode(&bytes) {
        Ok(value) => Ok(Some(Ok(value))),
        Err(error @ CodecError::Newer { .. }) => Err(LedgerError::Unreadable(format!("{key}: {error}"))),
        Err(error @ CodecError::Damaged { .. }) => Ok(Some(Err(error.to_string()))),
    }
}

async fn numbers(store: &dyn ObjectStore, prefix: &str) -> Result<Vec<LedgerSeq>, LedgerError> {
    let mut numbers = Vec::new();
    let mut pages = Pages::new(store, prefix, PAGE_KEYS);
    while let Some(page) = pages.next().await? {
        numbers.extend(page.iter().filter_map(|object| keys::number(prefix, &object.key)));
    }
    Ok(numbers)
}

/// Makes `image` what is believed: the `format` object where there is none, then its snapshot. Overwrites nothing.
///
/// # Errors
/// The store's; or a snapshot of that number, or another cluster's format, is there already.
pub async fn put_image(store: &dyn ObjectStore, image: &Image) -> Result<(), LedgerError> {
    let mine = format::of_cluster(image.cluster_id);
    if put(store, keys::FORMAT, mine.encode()).await? == PutOutcome::Exists {
        let there = read(store, keys::FORMAT).await?.map(|bytes| Format::decode(&bytes)).transpose()?;
        if there.is_none_or(|there| there.cluster_id != image.cluster_id) {
            return Err(LedgerError::Unreadable("the bucket has the format object of another cluster".to_owned()));
        }
    }
    let key = keys::snapshot(image.seq);
    let bytes = codec::encode_snapshot(image);
    if put(store, &key, bytes.clone()).await? == PutOutcome::Exists && read(store, &key).await?.as_ref() != Some(&bytes)
    {
        return Err(LedgerError::Unreadable(format!(
            "{key} has been written meanwhile: a broker runs, or another restore; stop it and look again"
        )));
    }
    Ok(())
}

async fn put(store: &dyn ObjectStore, key: &str, bytes: Bytes) -> Result<PutOutcome, LedgerError> {
    Ok(store.put_if_absent(key, vec![bytes]).await?)
}

/// Whether anything of a ledger is in the bucket.
///
/// # Errors
/// The store's.
pub async fn is_taken(store: &dyn ObjectStore) -> Result<bool, LedgerError> {
    let has_format = read(store, keys::FORMAT).await?.is_some();
    Ok(has_format || !store.list("ledger/", "", 1).await?.is_empty())
}
