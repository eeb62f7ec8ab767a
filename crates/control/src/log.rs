//! Reading the log: which entries are believed, and where it ends (rules ).
//!
//! Snapshots let entries be deleted, and a deleted number is free again: a late copy of a put may create it once more, and a
//! reader that fell behind finds nothing there. So what was read at a number, an entry or its absence, counts only if a listing
//! of the snapshots begun *after* it shows none at or above that number. Otherwise all of it is discarded and the reader starts
//! from that snapshot.

use crate::keys;
use crate::patient::Patient;
use crate::{LedgerError, format};
use base::{LedgerSeq, planted};
use control_core::{Entry, Image, apply, codec};
use futures::{StreamExt, stream};
use world::{Backoff, GetRange, StoreError};

/// Entries fetched side by side by a start.
const READ_AHEAD_MAX: usize = 16;
/// Names asked for in one listing.
const LIST_MAX: usize = 1000;
/// An object whose checksum does not match is fetched so often before it is given up: the bytes may have been damaged underway.
const DAMAGED_TRIES_MAX: u32 = 4;

/// The log of one cluster.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) patient: Patient,
}

/// What was found from an image on, not believed yet.
struct Run {
    /// The image with the entries that were read.
    image: Image,
    /// The first number without a readable entry.
    missing: LedgerSeq,
    /// What is wrong with the entry there; `None`: nothing is there.
    unreadable: Option<LedgerError>,
}

impl Log {
    /// The image at the log's confirmed end, from nothing, and the snapshot that it began with. Checks that this program may read
    /// the bucket.
    pub(crate) async fn open(&self) -> Result<(Image, LedgerSeq), LedgerError> {
        format::read(&self.patient).await?;
        let mut image = Image::default();
        if let Some(newest) = self.newest_snapshot().await? {
            self.load(newest, &mut image).await?;
        }
        let snapshot = image.seq;
        let listed = self.listed_entries(image.seq).await?;
        if !listed.is_empty() {
            let run = self.read_listed(image.clone(), listed).await?;
            self.believe(&mut image, run).await?;
        }
        self.catch_up(&mut image).await?;
        self.reach_whole_end(&mut image).await?;
        Ok((image, snapshot))
    }

    /// Makes sure that nothing lies above the log's end. Who puts an entry has read all below it, so that one which is missing below
    /// another has been lost by the bucket; to go on from there would write another history over the rest of this one.
    async fn reach_whole_end(&self, image: &mut Image) -> Result<(), LedgerError> {
        loop {
            let missing = image.seq.next();
            let Some(above) = self.numbers(keys::ENTRIES, missing, None).await?.first().copied() else { return Ok(()) };
            self.catch_up(image).await?;
            if image.seq.next() == missing {
                return Err(LedgerError::Unreadable(format!(
                    "{} is not in the bucket, though {} is: the bucket has lost it; put it back from a copy or an earlier \
                     version of the bucket; where there is none, `millstream restore` says what is left without it",
                    keys::entry(missing),
                    keys::entry(above)
                )));
            }
        }
    }

    /// Reads on to the log's confirmed end.
    pub(crate) async fn catch_up(&self, image: &mut Image) -> Result<(), LedgerError> {
        loop {
            let run = self.read_on(image.clone()).await?;
            if self.believe(image, run).await? {
                return Ok(());
            }
        }
    }

    /// The number of the newest snapshot.
    pub(crate) async fn newest_snapshot(&self) -> Result<Option<LedgerSeq>, LedgerError> {
        Ok(self.numbers(keys::SNAPSHOTS, LedgerSeq(0), None).await?.last().copied())
    }

    /// Whether a put of this number, or what was read there, counts. To be called after the answer is in hand.
    pub(crate) async fn confirms(&self, seq: LedgerSeq) -> Result<bool, LedgerError> {
        Ok(self.newest_snapshot().await?.is_none_or(|newest| newest < seq))
    }

    /// The numbers under a prefix above `after` (and up to `last`), rising.
    pub(crate) async fn numbers(
        &self,
        prefix: &str,
        after: LedgerSeq,
        last: Option<LedgerSeq>,
    ) -> Result<Vec<LedgerSeq>, LedgerError> {
        let mut numbers = Vec::new();
        let mut from = format!("{prefix}{:020}", after.0);
        loop {
            let page = self.patient.list(prefix, &from, LIST_MAX).await?;
            numbers.extend(page.iter().filter_map(|object| keys::number(prefix, &object.key)));
            let beyond = |seq: LedgerSeq| last.is_some_and(|last| seq > last);
            let full = page.len() >= LIST_MAX;
            match page.into_iter().next_back() {
                Some(object) if full && !numbers.last().copied().is_some_and(beyond) => from = object.key,
                _ => {
                    numbers.retain(|seq| !beyond(*seq));
                    return Ok(numbers);
                }
            }
        }
    }

    /// Decides about what was read from `image` on. `false`: it was discarded, and `image` is that of a newer snapshot.
    async fn believe(&self, image: &mut Image, run: Run) -> Result<bool, LedgerError> {
        let first = image.seq.next();
        let found = run.missing > first;
        if planted!("A2", false, !found) {
            return Ok(true);
        }
        if found {
            // In a folder another broker's entry shows before it is durable: after a power loss who acted on it had acted on nothing.
            self.patient.make_durable(keys::ENTRIES).await?;
        }
        let doubted = if found { planted!("A3", first, run.missing) } else { first };
        if let Some(newest) = self.newest_snapshot().await?.filter(|newest| *newest >= doubted) {
            self.load(newest, image).await?;
            return Ok(false);
        }
        *image = run.image;
        match run.unreadable {
            Some(error) => Err(error),
            None => Ok(true),
        }
    }

    /// Replaces `image` by a snapshot. Leaves it where a newer one has replaced that one meanwhile.
    async fn load(&self, seq: LedgerSeq, image: &mut Image) -> Result<(), LedgerError> {
        let decoded = self.fetch(&keys::snapshot(seq), codec::decode_snapshot).await?;
        let Some(snapshot) = decoded else { return Ok(()) };
        let snapshot = snapshot?;
        if snapshot.seq != seq {
            return Err(LedgerError::Unreadable(format!(
                "ledger snapshot {seq} says that it is number {}",
                snapshot.seq
            )));
        }
        *image = snapshot;
        Ok(())
    }

    /// Folds entry after entry until one is missing or can't be read.
    async fn read_on(&self, mut image: Image) -> Result<Run, LedgerError> {
        loop {
            let next = image.seq.next();
            match self.entry(next).await? {
                Some(Ok(entry)) => drop(apply(&mut image, &entry)),
                Some(Err(error)) => return Ok(Run { image, missing: next, unreadable: Some(error) }),
                None => return Ok(Run { image, missing: next, unreadable: None }),
            }
        }
    }

    /// Folds the entries that a listing showed, several fetched at a time: only a start has that many to read.
    async fn read_listed(&self, mut image: Image, listed: Vec<LedgerSeq>) -> Result<Run, LedgerError> {
        let mut fetched = stream::iter(listed.into_iter().map(|seq| self.entry(seq))).buffered(READ_AHEAD_MAX);
        while let Some(entry) = fetched.next().await {
            match entry? {
                Some(Ok(entry)) => drop(apply(&mut image, &entry)),
                Some(Err(_)) | None => break,
            }
        }
        let missing = image.seq.next();
        Ok(Run { image, missing, unreadable: None })
    }

    /// The numbers right after `seq` that a listing shows, without a gap.
    async fn listed_entries(&self, seq: LedgerSeq) -> Result<Vec<LedgerSeq>, LedgerError> {
        let mut listed = self.numbers(keys::ENTRIES, seq, None).await?;
        let contiguous = listed.iter().zip(seq.0 + 1..).take_while(|(listed, expected)| listed.0 == *expected).count();
        listed.truncate(contiguous);
        Ok(listed)
    }

    /// The entry at a number, or what is wrong with it. `None`: nothing is there.
    async fn entry(&self, seq: LedgerSeq) -> Result<Option<Result<Entry, LedgerError>>, LedgerError> {
        let decoded = self.fetch(&keys::entry(seq), codec::decode_entry).await?;
        Ok(decoded.map(|decoded| match decoded {
            Ok(entry) if entry.seq == seq => Ok(entry),
            Ok(entry) => {
                Err(LedgerError::Unreadable(format!("ledger entry {seq} says that it is number {}", entry.seq)))
            }
            Err(error) => Err(error),
        }))
    }

    async fn fetch<T>(
        &self,
        key: &str,
        decode: impl Fn(&[u8]) -> Result<T, codec::CodecError>,
    ) -> Result<Option<Result<T, LedgerError>>, LedgerError> {
        let mut backoff = Backoff::up_to(self.patient.backoff_max);
        loop {
            let bytes = match self.patient.get(key, GetRange::All).await {
                Ok(bytes) => bytes,
                Err(StoreError::NotFound(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            match decode(&bytes) {
                Ok(value) => return Ok(Some(Ok(value))),
                Err(codec::CodecError::Damaged { .. }) if backoff.tries() + 1 < DAMAGED_TRIES_MAX => {
                    backoff.wait(&*self.patient.clock).await;
                }
                Err(error) => return Ok(Some(Err(LedgerError::Unreadable(format!("{key}: {error}"))))),
            }
        }
    }
}
