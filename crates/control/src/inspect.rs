//! The ledger as it lies in the bucket, for `millstream inspect ledger` and `millstream fsck`.
//!
//! A reader of a ledger that nobody appends to; while brokers run it may see a snapshot and not the entries above it. It asks
//! once and gives up at the first trouble: a person waits for the answer.

use crate::{Format, LedgerError, keys};
use base::LedgerSeq;
use control_core::{Entry, Image, apply, check, codec};
use world::{GetRange, ObjectStore, Pages, StoreError};

/// Everything that the ledger's objects say.
#[derive(Debug)]
pub struct Dump {
    /// The `format` object, where there is one.
    pub format: Option<Format>,
    /// Numbers of the snapshots that are there, rising.
    pub snapshots: Vec<LedgerSeq>,
    /// All readable entries, those that a snapshot covers included, rising.
    pub entries: Vec<Entry>,
    /// The newest snapshot and the entries right above it, folded.
    pub image: Image,
    /// What is wrong: objects that can't be read, gaps, contradictions in the image.
    pub problems: Vec<String>,
}

/// Reads all of it. What is damaged becomes a problem in the answer.
///
/// # Errors
/// The store can't be read, or the bucket needs a newer program.
pub async fn read_all(store: &dyn ObjectStore) -> Result<Dump, LedgerError> {
    let mut problems = Vec::new();
    let format = match store.get(keys::FORMAT, GetRange::All).await {
        Ok((bytes, _)) => Some(Format::decode(&bytes)?),
        Err(StoreError::NotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let snapshots = numbers(store, keys::SNAPSHOTS, &mut problems).await?;
    let mut image = Image::default();
    if let Some(newest) = snapshots.last() {
        let key = keys::snapshot(*newest);
        let (bytes, _) = store.get(&key, GetRange::All).await?;
        match codec::decode_snapshot(&bytes) {
            Ok(snapshot) if snapshot.seq == *newest => image = snapshot,
            Ok(snapshot) => problems.push(format!("{key} says that it is number {}", snapshot.seq)),
            Err(error) => problems.push(format!("{key}: {error}")),
        }
    }
    let mut entries = Vec::new();
    for seq in numbers(store, keys::ENTRIES, &mut problems).await? {
        let key = keys::entry(seq);
        let bytes = match store.get(&key, GetRange::All).await {
            Ok((bytes, _)) => bytes,
            // Collected since it was listed.
            Err(StoreError::NotFound(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        match codec::decode_entry(&bytes) {
            Ok(entry) if entry.seq == seq => entries.push(entry),
            Ok(entry) => problems.push(format!("{key} says that it is number {}", entry.seq)),
            Err(error) => problems.push(format!("{key}: {error}")),
        }
    }
    for entry in &entries {
        if entry.seq == image.seq.next() {
            apply(&mut image, entry);
        } else if entry.seq > image.seq {
            problems.push(format!("ledger entry {} is missing, there is {}", image.seq.next(), entry.seq));
            break;
        }
    }
    problems.extend(check(&image));
    Ok(Dump { format, snapshots, entries, image, problems })
}

async fn numbers(
    store: &dyn ObjectStore,
    prefix: &str,
    problems: &mut Vec<String>,
) -> Result<Vec<LedgerSeq>, LedgerError> {
    const PAGE_KEYS: usize = 1000;
    let mut numbers = Vec::new();
    let mut pages = Pages::new(store, prefix, PAGE_KEYS);
    while let Some(page) = pages.next().await? {
        for object in page {
            match keys::number(prefix, &object.key) {
                Some(number) => numbers.push(number),
                None => problems.push(format!("{} is not a name that a broker writes", object.key)),
            }
        }
    }
    Ok(numbers)
}
