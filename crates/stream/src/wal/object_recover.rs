//! Fence and recovery of a dead start's object WAL (rules B-1, B-2), and its deletion.
//!
//! ```text
//! n = the trim point's number, in an image that contains the death
//! while create(n, fence) says that n exists and n is not a fence { take n; n = n + 1 }
//! ```
//! That the fence could be *created* at `n` proves that every number below is there and that none can land later: the writer
//! never acknowledges `n` or anything above. Nothing starts from a listing, and what lies above the fence is ignored for ever, but for
//! one question before it is created: whether a group above says that `n` was durable. Then the bucket has lost it.
//! Numbers are read ahead in parallel first; that a number is missing then is only a hint to try the fence there.

use super::object::{DELETE_KEYS_MAX, number_of, position_of};
use super::{RecoverError, Recovered, RecoveredGroup};
use crate::keys::{wal_object_key, wal_object_number, wal_prefix};
use base::{WalId, WalPosition, planted};
use bytes::Bytes;
use futures::StreamExt;
use std::sync::Arc;
use stream_core::wal_group::{
    GroupKind, GroupPlace, HEADER_BYTES, WalGroup, decode_group, decode_header, encode_fence,
};
use world::{Backoff, ClockExt, GetRange, ObjectMeta, ObjectStore, Pages, PutOutcome, StoreError, World};

/// Numbers read ahead at once.
const READ_AHEAD_MAX: usize = 16;

/// The first read of an object: holds most groups' directories.
const HEAD_READ_BYTES: u64 = 64 << 10;

/// Whole answers that do not decode, before the object counts as damaged and not the answer as wrong.
const DECODE_TRIES: u32 = 5;

/// Fences the dead start's object WAL and reads what it holds from `from` on: its trim point in an image that contains its death
/// (rule B-1). Trouble of the store is waited out. Idempotent: a second recovery meets the first one's fence.
///
/// # Errors
/// [`RecoverError::Damaged`]. The WAL may have no fence then.
pub async fn recover_objects(
    world: &World,
    store: &Arc<dyn ObjectStore>,
    wal: WalId,
    from: WalPosition,
) -> Result<Recovered, RecoverError> {
    let recovery = Recovery { world, store: store.as_ref(), wal };
    let mut number = planted!("B1", number_of(from), recovery.lowest_listed().await);
    let mut groups = Vec::new();
    loop {
        let (next, met_fence) = recovery.read_run(number, &mut groups).await?;
        number = next;
        let fence = planted!("B4", number, recovery.beyond_highest_listed(number).await);
        if met_fence {
            // In a folder it may show before it is durable, and so may what lies below it; who creates the fence makes both durable.
            recovery.make_durable().await;
            break;
        }
        recovery.check_nothing_is_lost(number).await?;
        let is_fenced = planted!(
            "log in the bucket recovered without a fence",
            recovery.create_fence(fence).await == PutOutcome::Created,
            true
        );
        if is_fenced {
            break;
        }
        // Somebody was faster: the writer, whose group is then taken, or another recoverer, whose fence ends the walk.
    }
    planted!("B5", (), recovery.delete_fence(number).await);
    Ok(Recovered { wal, end: position_of(number), groups })
}

/// Deletes a sealed and wholly committed object WAL but for its fences (B5), leftovers above the sealed end included. To be called
/// before `ForgetWal`. Late copies of puts may land at any time: they are the sweep's.
///
/// # Errors
/// The store's; ask again later.
pub async fn delete_dead_objects(store: &Arc<dyn ObjectStore>, wal: WalId) -> Result<(), StoreError> {
    let is_deleted = |object: &ObjectMeta| planted!("fence collected", !is_fence(object), true);
    let mut pages = Pages::new(store.as_ref(), wal_prefix(wal), DELETE_KEYS_MAX);
    while let Some(page) = pages.next().await? {
        let keys: Vec<String> = page.into_iter().filter(is_deleted).map(|object| object.key).collect();
        if !keys.is_empty() {
            store.delete(&keys).await?;
        }
    }
    Ok(())
}

/// Whether an object of a WAL is a fence: those are shorter than any group. There may be several, as a recoverer that was slow finds
/// nothing at the numbers that a faster one has committed and deleted.
pub(crate) fn is_fence(object: &ObjectMeta) -> bool {
    object.size == HEADER_BYTES as u64
}

/// Whether that object of a WAL lies wholly below a position.
pub(crate) fn object_ends_by(key: &str, position: WalPosition) -> bool {
    wal_object_number(key).is_some_and(|number| position_of(number + 1) <= position)
}

struct Recovery<'a> {
    world: &'a World,
    store: &'a dyn ObjectStore,
    wal: WalId,
}

impl Recovery<'_> {
    /// What was read is durable when this returns.
    async fn make_durable(&self) {
        let mut backoff = Backoff::new();
        while let Err(error) = self.store.make_durable(&wal_prefix(self.wal)).await {
            tracing::debug!(wal = %self.wal, %error, "what was recovered can't be made durable yet");
            backoff.wait(self.world.clock.as_ref()).await;
        }
    }

    /// Takes the groups from `number` on. Yields the first number that was missing or is a fence, and whether it is a fence.
    async fn read_run(&self, number: u64, groups: &mut Vec<RecoveredGroup>) -> Result<(u64, bool), RecoverError> {
        let mut next = number;
        let mut reads = futures::stream::iter(number..).map(|number| self.read(number)).buffered(READ_AHEAD_MAX);
        while let Some(read) = reads.next().await {
            let Some(group) = read? else { return Ok((next, false)) };
            if group.header.kind == GroupKind::Fence {
                return Ok((next, true));
            }
            let (position, end) = (position_of(next), position_of(next + 1));
            groups.push(RecoveredGroup { position, end, entries: group.entries });
            next += 1;
        }
        unreachable!("numbers do not end")
    }

    /// That a number is missing is the log's end only if nobody was told that it is durable. The groups above it, which count for
    /// nothing else, say how far their writer knew itself durable; marks rise with the numbers, so the highest says it.
    async fn check_nothing_is_lost(&self, missing: u64) -> Result<(), RecoverError> {
        let Some(highest) = self.highest_group_above(missing).await else { return Ok(()) };
        let durable = match self.read(highest).await {
            Ok(Some(group)) => group.header.place.durable,
            // One that says nothing readable says nothing of those below it.
            Ok(None) | Err(_) => return Ok(()),
        };
        // A writer that does not know of its death may have put both since the first look.
        if durable <= position_of(missing) || self.read(missing).await?.is_some() {
            return Ok(());
        }
        Err(RecoverError::Damaged {
            wal: self.wal,
            position: position_of(missing),
            reason: format!(
                "{} is not there, and {} says that it was durable",
                wal_object_key(self.wal, missing),
                wal_object_key(self.wal, highest)
            ),
        })
    }

    /// The highest number above `number` that a listing shows, fences left aside.
    async fn highest_group_above(&self, number: u64) -> Option<u64> {
        let (prefix, mut after) = (wal_prefix(self.wal), wal_object_key(self.wal, number));
        let (mut highest, mut backoff) = (None, Backoff::new());
        loop {
            match self.store.list(&prefix, &after, DELETE_KEYS_MAX).await {
                Ok(page) => {
                    let groups = page.iter().filter(|object| !is_fence(object));
                    highest = groups.filter_map(|object| wal_object_number(&object.key)).next_back().or(highest);
                    match page.last() {
                        Some(last) if page.len() == DELETE_KEYS_MAX => after = last.key.clone(),
                        _ => return highest,
                    }
                }
                Err(error) => {
                    tracing::debug!(wal = %self.wal, %error, "a dead start's write-ahead log can't be listed yet");
                    backoff.wait(self.world.clock.as_ref()).await;
                }
            }
        }
    }

    /// The group of that number; `None` where there is none.
    async fn read(&self, number: u64) -> Result<Option<WalGroup>, RecoverError> {
        let key = wal_object_key(self.wal, number);
        let mut undecodable = 0;
        let mut backoff = Backoff::new();
        loop {
            match self.read_once(&key).await {
                Ok(Ok(group)) if self.belongs(&group, number) => return Ok(Some(group)),
                Err(StoreError::NotFound(_)) => return Ok(None),
                Err(error) => tracing::debug!(%key, %error, "a dead start's write-ahead log can't be read yet"),
                Ok(read) => {
                    undecodable += 1;
                    if undecodable == DECODE_TRIES {
                        let reason = read.err().unwrap_or_else(|| format!("{key} holds another number's group"));
                        return Err(RecoverError::Damaged { wal: self.wal, position: position_of(number), reason });
                    }
                }
            }
            backoff.wait(self.world.clock.as_ref()).await;
        }
    }

    /// The group as the store answers now, or why the answer is none.
    async fn read_once(&self, key: &str) -> Result<Result<WalGroup, String>, StoreError> {
        let (mut bytes, size) = self.head(key, HEAD_READ_BYTES).await?;
        match decode_header(&bytes) {
            Ok(header) if header.head_len > bytes.len() => (bytes, _) = self.head(key, header.head_len as u64).await?,
            Ok(_) => {}
            Err(error) => return Ok(Err(format!("{key}: {error}"))),
        }
        Ok(match decode_group(&bytes) {
            Ok(group) if group.header.total_len == size => Ok(group),
            Ok(group) => Err(format!("{key} has {size} bytes, its group {}", group.header.total_len)),
            Err(error) => Err(format!("{key}: {error}")),
        })
    }

    async fn head(&self, key: &str, len: u64) -> Result<(Bytes, u64), StoreError> {
        let (bytes, size) = self.store.get(key, GetRange::Span { start: 0, end: len }).await?;
        if (bytes.len() as u64) < size.min(len) {
            return Err(StoreError::Trouble(format!("{key}: a short answer")));
        }
        Ok((bytes, size))
    }

    fn belongs(&self, group: &WalGroup, number: u64) -> bool {
        let place = group.header.place;
        place.wal == self.wal && place.position == position_of(number) && group.header.kind != GroupKind::Pad
    }

    /// Creates the fence at `number`, unless that exists. An answer that was lost is asked for again: *exists* may then be this
    /// very fence, which reading it back shows.
    async fn create_fence(&self, number: u64) -> PutOutcome {
        let key = wal_object_key(self.wal, number);
        let position = position_of(number);
        let tag = self.world.clock.nonce().0;
        let fence = encode_fence(GroupPlace { wal: self.wal, position, durable: position, tag });
        let mut backoff = Backoff::new();
        loop {
            match self.store.put_if_absent(&key, vec![fence.clone()]).await {
                Ok(outcome) => return outcome,
                Err(error) => tracing::debug!(%key, %error, "a dead start's write-ahead log can't be fenced yet"),
            }
            backoff.wait(self.world.clock.as_ref()).await;
        }
    }
}

/// What only planted bugs do: trust listings, and delete fences.
#[cfg(mutants)]
impl Recovery<'_> {
    async fn listed(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        let mut pages = Pages::new(self.store, wal_prefix(self.wal), DELETE_KEYS_MAX);
        loop {
            match pages.next().await {
                Ok(Some(page)) => numbers.extend(page.iter().filter_map(|object| wal_object_number(&object.key))),
                Ok(None) => return numbers,
                Err(_) => Backoff::new().wait(self.world.clock.as_ref()).await,
            }
        }
    }

    async fn lowest_listed(&self) -> u64 {
        self.listed().await.first().copied().unwrap_or(0)
    }

    async fn beyond_highest_listed(&self, number: u64) -> u64 {
        self.listed().await.last().map_or(number, |highest| number.max(highest + 1))
    }

    async fn delete_fence(&self, number: u64) {
        drop(self.store.delete(&[wal_object_key(self.wal, number)]).await);
    }
}
