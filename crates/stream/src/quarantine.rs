//! Rings that were given up (rule D-10): a marker in the bucket for each, which outlives the ledger's record of the logs in it.
//!
//! ```text
//! abandon: marker put ─▶ ledger read: nobody else has registered with the ring ─▶ sealed
//! a start: registered ─▶ marker asked for: there is none ─▶ the ring is read, and written
//! ```
//! Whichever of the two is later sees the other. So a ring with a marker is never read into the cluster nor written by it, wherever it comes
//! back from.

use crate::keys::{ABANDONED_PREFIX, abandoned_key, ring_of_key};
use std::sync::Arc;
use std::time::Duration;
use stream_core::abandoned::Abandoned;
use world::retry::Backoff;
use world::{Clock, ClockExt, GetRange, ObjectStore, Pages, PutOutcome, StoreError};

/// Keys asked for by one list.
const PAGE_KEYS: usize = 1000;

/// A request that has not been answered for so long is made again.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A marker, or what is wrong with it, by its key.
pub type FoundMarker = (String, Result<Abandoned, String>);

/// All of them.
///
/// # Errors
/// The store's.
pub async fn markers(store: &Arc<dyn ObjectStore>) -> Result<Vec<FoundMarker>, StoreError> {
    let mut found = Vec::new();
    let mut pages = Pages::new(store.as_ref(), ABANDONED_PREFIX, PAGE_KEYS);
    while let Some(page) = pages.next().await? {
        for meta in page {
            let (bytes, _) = match store.get(&meta.key, GetRange::All).await {
                // Taken back since it was listed.
                Err(StoreError::NotFound(_)) => continue,
                read => read?,
            };
            found.push((meta.key.clone(), decode(&meta.key, &bytes)));
        }
    }
    Ok(found)
}

fn decode(key: &str, bytes: &[u8]) -> Result<Abandoned, String> {
    let marker = Abandoned::decode(bytes).map_err(|why| format!("{key}: {why}"))?;
    match ring_of_key(key) {
        Some(ring_id) if ring_id == marker.ring_id => Ok(marker),
        _ => Err(format!("{key}: it speaks of another ring")),
    }
}

/// The marker of that ring; `None` where it was not given up. Waits for a store that is in trouble.
///
/// # Errors
/// The store refuses, or the marker can't be read: one line.
pub(crate) async fn find(
    clock: &dyn Clock,
    store: &dyn ObjectStore,
    ring_id: u128,
) -> Result<Option<Abandoned>, String> {
    let key = abandoned_key(ring_id);
    let mut backoff = Backoff::new();
    loop {
        let asked = clock.timeout(ANSWER_WITHIN, store.get(&key, GetRange::All)).await;
        match asked.unwrap_or_else(|| Err(StoreError::Trouble("no answer in time".to_owned()))) {
            Ok((bytes, _)) => return decode(&key, &bytes).map(Some),
            Err(StoreError::NotFound(_)) => return Ok(None),
            Err(error @ StoreError::Trouble(_)) => {
                if backoff.is_worth_a_line() {
                    tracing::warn!(key, %error, "can't ask whether a write-ahead log was given up; tries again");
                }
            }
            Err(error) => return Err(format!("{key}: {error}")),
        }
        backoff.wait(clock).await;
    }
}

/// Refuses to read a ring that was given up; `place`: where it is.
///
/// # Errors
/// One line that says what it is.
pub(crate) async fn refuse(
    clock: &dyn Clock,
    store: &dyn ObjectStore,
    ring_id: u128,
    place: &str,
) -> Result<(), String> {
    match find(clock, store, ring_id).await? {
        Some(marker) => Err(refusal(place, &marker)),
        None => Ok(()),
    }
}

/// Says that the ring at that place was given up.
pub(crate) fn refusal(place: &str, marker: &Abandoned) -> String {
    format!("the write-ahead log {place} {}", told(marker))
}

/// What became of it, of a ring that the sentence names before.
pub(crate) fn told(marker: &Abandoned) -> String {
    let Abandoned { when, command, .. } = marker;
    format!(
        "was given up at {when} by `{command}`: what it holds was never merged, and can't be any more, as its partitions went on without it; \
         `millstream inspect wal` shows it"
    )
}

/// Puts the marker; whether it was not there before. Stands durably when this returns.
///
/// # Errors
/// The store's, or what stands there is no marker of that ring.
pub(crate) async fn put(store: &dyn ObjectStore, marker: &Abandoned) -> Result<bool, StoreError> {
    let key = abandoned_key(marker.ring_id);
    let put = store.put_if_absent(&key, vec![marker.encode().into()]).await?;
    Ok(put == PutOutcome::Created)
}

/// Takes back a marker, of a ring of which nothing was given up.
///
/// # Errors
/// The store's.
pub(crate) async fn take_back(store: &dyn ObjectStore, ring_id: u128) -> Result<(), StoreError> {
    store.delete(&[abandoned_key(ring_id)]).await
}
