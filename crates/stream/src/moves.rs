//! Streams that change from one of this start's logs to another: moves to oneself (rule D-9).
//!
//! ```text
//! accept nothing ─▶ drain the log that is left ─▶ offer the end ─▶ decided in the ledger ─▶ the next tenure accepts
//! ```
//! Nothing is uploaded for it, so it takes a ledger entry: appends wait, they are not refused. What the log that is left still holds is served
//! from the log cache, and uploaded and committed by that log as ever. A stream accepts again only when the ledger shows what became of the
//! offer (rule D-3); before the offer it may resume at any time.
//!
//! The same for a log that has failed, without the drain: it is sealed at the end of what it has acknowledged, and its streams go on in
//! another one. What was in flight is unknown, as after a crash.

use crate::log::Log;
use crate::open_stream::OpenStream;
use crate::shared::Shared;
use crate::{producers, take_over, upload};
use base::{Micros, StreamId, planted};
use control::LedgerError;
use control_core::{Command, Image, Outcome};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use world::{ClockExt, lock};

/// A log that has not acknowledged everything by then goes on with its streams for now.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// After which time they are asked to move again. No longer does a stream stay that comes to this start in another log than its own.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Moves whatever its topic wants elsewhere, until this start ends.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut images = shared.ledger.watch();
    let (mut looked_at, mut again) = (None::<Arc<Image>>, None::<Micros>);
    loop {
        let image = images.borrow_and_update().clone();
        let now = shared.world.clock.now();
        // Most entries are about something else: only those that change topics are looked at when they come.
        let changed = looked_at.as_ref().is_none_or(|looked_at| !image.topics.ptr_eq(&looked_at.topics));
        if changed || again.is_some_and(|again| again <= now) {
            let moved = move_misplaced(&shared, &image).await;
            looked_at = Some(image);
            again = match moved {
                Ok(true) => None,
                Ok(false) => Some(shared.world.clock.now().plus(AGAIN_AFTER)),
                Err(error) => {
                    shared.stop(format!("can't move streams between write-ahead logs: {error}"));
                    return;
                }
            };
        } else if again.is_none()
            && looked_at.as_ref().is_some_and(|looked_at| !image.streams.ptr_eq(&looked_at.streams))
        {
            // A living start gets streams also by an entry of another one, as from a recoverer that leaves.
            again = Some(now.plus(AGAIN_AFTER));
        }
        let wait = async {
            match again {
                Some(again) => shared.world.clock.sleep(again.since(shared.world.clock.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = images.changed() => if changed.is_err() { return },
            () = wait => {}
            _ = shared.until_stopped() => return,
        }
    }
}

/// False where something could not be moved now.
async fn move_misplaced(shared: &Shared, image: &Image) -> Result<bool, LedgerError> {
    let mut misplaced: BTreeMap<usize, Vec<StreamId>> = BTreeMap::new();
    for (id, record) in &image.streams {
        let Some(owner) = record.owner().filter(|owner| owner.node_epoch() == shared.node_epoch) else { continue };
        let wanted = shared.wanted_log(image, *id);
        if shared.logs[wanted].id != owner.wal {
            misplaced.entry(wanted).or_default().push(*id);
        }
    }
    let mut all = true;
    for (to, ids) in misplaced {
        all &= move_to(shared, &shared.logs[to], &ids).await?;
    }
    Ok(all)
}

async fn move_to(shared: &Shared, to: &Arc<Log>, ids: &[StreamId]) -> Result<bool, LedgerError> {
    let streams = ids.iter().filter_map(|id| shared.open_stream(*id)).filter(|stream| stream.log.id != to.id);
    let streams: Vec<Arc<OpenStream>> = streams.collect();
    for stream in &streams {
        let _front = lock(&stream.log.front);
        stream.is_moving.store(true, Ordering::Release);
    }
    let drains = streams.iter().map(|stream| shared.world.clock.timeout(DRAIN_MAX, drained(stream)));
    let drained = if planted!("moved before it is drained", true, false) {
        join_all(drains).await.into_iter().map(|in_time| in_time.is_some()).collect()
    } else {
        vec![true; streams.len()]
    };
    let (moving, staying): (Vec<_>, Vec<_>) = streams.into_iter().zip(drained).partition(|(_, drained)| *drained);
    for (stream, _) in &staying {
        tracing::warn!(stream = %stream.id, log = stream.log.name, "its write-ahead log does not acknowledge: it is moved later");
        resume(shared, stream);
    }
    if moving.is_empty() {
        return Ok(staying.is_empty());
    }
    let end = |stream: &OpenStream| planted!("moved before it is drained", stream.next(), stream.confirmed());
    let offers = moving.iter().map(|(stream, _)| (stream.id, stream.epoch, end(stream))).collect();
    let command = Command::MoveStreams { node_epoch: shared.node_epoch, to: to.id.index, streams: offers };
    let mut all = staying.is_empty();
    if let Outcome::Refused(refusal) = upload::submit_for_ever(shared, &command).await? {
        tracing::warn!(%refusal, log = to.name, "streams can't be moved to a write-ahead log");
        all = false;
    }
    for (stream, _) in &moving {
        all &= go_on(shared, stream);
    }
    tracing::info!(log = to.name, streams = moving.len(), "moved streams to another write-ahead log");
    Ok(all)
}

/// Until all that was accepted is acknowledged, and so in the log cache and among the uploads.
async fn drained(stream: &OpenStream) {
    let next = stream.next();
    let mut confirmed = stream.watch_confirmed();
    // It fails where the stream is dropped, which this call does not let happen.
    let _drained = confirmed.wait_for(|confirmed| *confirmed >= next).await.is_ok();
}

fn resume(shared: &Shared, stream: &OpenStream) {
    stream.is_moving.store(false, Ordering::Release);
    shared.room.notify_waiters();
}

/// Lets a stream accept again: in its newest tenure, or, where there is none since the one that is over, as before.
fn go_on(shared: &Shared, over: &Arc<OpenStream>) -> bool {
    let mut streams = lock(&shared.streams);
    // Looked at under the lock: by an older image a stream could come to a log that has failed and was left by all others meanwhile.
    let image = shared.ledger.image();
    let owner = image.streams.get(&over.id).and_then(|record| record.owner());
    let next = owner.filter(|next| next.node_epoch() == shared.node_epoch && next.stream_epoch > over.epoch);
    let Some((next, log)) = next.and_then(|next| Some((next, shared.log_of(next.wal)?))) else {
        drop(streams);
        resume(shared, over);
        return image.is_deleted(over.id);
    };
    // Unless the follower has just dropped it as deleted.
    if streams.get(&over.id).is_some_and(|held| Arc::ptr_eq(held, over)) {
        let stream = Arc::new(over.following(next.stream_epoch, next.start, log.clone()));
        over.mark_moved();
        producers::hand_over(shared, over, &stream);
        streams.insert(over.id, stream);
    }
    drop(streams);
    shared.moved.send_modify(|count| *count += 1);
    shared.room.notify_waiters();
    true
}

/// Takes the streams of a log that has failed to another one. Where there is none, or the ledger says otherwise, this start ends.
pub(crate) async fn leave_failed(shared: &Shared, log: &Arc<Log>, why: String) {
    log.fail();
    let Some(to) = shared.logs.iter().find(|other| !other.has_failed()) else {
        shared.stop(why);
        return;
    };
    tracing::error!(
        log = log.name,
        why,
        "a write-ahead log has failed; its streams go on in {} until the next start",
        to.name
    );
    let streams: Vec<Arc<OpenStream>> =
        lock(&shared.streams).values().filter(|stream| stream.log.id == log.id).cloned().collect();
    let ends = streams.iter().map(|stream| (stream.id, stream.confirmed())).collect();
    let end = lock(&log.source.core).acknowledged_to();
    let (recoverer, open_on) = (shared.node_epoch, Some(to.id.index));
    let seal = Command::WalRecovered { wal: log.id, end, ends, recoverer, open_on };
    match upload::submit_for_ever(shared, &seal).await {
        Ok(Outcome::Refused(refusal)) => return shared.stop(format!("{why}; and it can't be sealed: {refusal}")),
        Ok(_) => {}
        Err(error) => return shared.stop(format!("{why}; and it can't be sealed: {error}")),
    }
    // Also those that were met since; from this entry on none is met in that log.
    let streams: Vec<Arc<OpenStream>> =
        lock(&shared.streams).values().filter(|stream| stream.log.id == log.id).cloned().collect();
    let mut all = true;
    for stream in &streams {
        all &= go_on(shared, stream);
    }
    if !all {
        // The other one failed at the same time, and was sealed before.
        shared.stop(why);
    }
    log.source.freeze();
}

/// Forgets a log that has failed once all that it had acknowledged is committed.
pub(crate) async fn forget_failed(shared: &Shared, log: &Log) -> Result<(), LedgerError> {
    let mut images = shared.ledger.watch();
    let forgettable = |image: &Image| image.can_delete_wal(log.id) || !image.wals.contains_key(&log.id);
    tokio::select! {
        biased;
        committed = images.wait_for(|image| forgettable(image)) => if committed.is_err() { return Ok(()) },
        _ = shared.until_stopped() => return Ok(()),
    }
    let image = shared.ledger.image();
    if let Err(error) = take_over::delete(&shared.world, &shared.objects.wals, &image, log.id).await {
        tracing::info!(log = log.name, error, "a failed write-ahead log is left to the next start");
        return Ok(());
    }
    upload::submit_for_ever(shared, &Command::ForgetWal { wal: log.id }).await?;
    tracing::info!(log = log.name, "everything that a failed write-ahead log had acknowledged is in the bucket");
    Ok(())
}

#[cfg(test)]
#[path = "moves_tests.rs"]
mod tests;
