//! The append loop: one task for each log owns its order.
//!
//! ```text
//! Stream::append ─▶ front ─form─▶ place ─▶ write ─durable─▶ log cache ─▶ confirmed offset ─▶ acknowledgements
//! ```
//! Several groups are in flight; [`stream_core::append`] decides when one is sent and that groups are acknowledged in prefix order.
//! A batch is in the log cache before its offset is confirmed, and its offset is confirmed before it is acknowledged: who was
//! told can read it. When the WAL fails or is fenced, unacknowledged confirmations are dropped: unknown. A start that has no other log ends
//! then, and one that is fenced; otherwise the streams go on in another log (`moves`).

use crate::log::Log;
use crate::moves;
use crate::open_stream::OpenStream;
use crate::shared::{Shared, committed_in};
use crate::wal::{Placed, WalError};
use base::{OffsetRange, StreamId, planted};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use stream_core::WalEntry;
use stream_core::append::{Form, GroupNumber};
use stream_core::cache::{Place, PlacedBatch};
use stream_core::upload::BlockRange;
use tokio::sync::oneshot;
use world::lock;

type Write = BoxFuture<'static, (GroupNumber, Result<(), WalError>)>;

/// A group on its way through the WAL.
struct Group {
    number: GroupNumber,
    entries: Vec<WalEntry>,
    confirmations: Vec<oneshot::Sender<()>>,
}

/// Runs until this start ends.
pub(crate) async fn drive(shared: Arc<Shared>, log: Arc<Log>) {
    let mut driver = Driver { shared, log, flying: BTreeMap::new(), writes: FuturesUnordered::new(), unplaced: None };
    let error = driver.run().await;
    let Driver { shared, log, .. } = driver;
    // Like those in flight, which went with the driver: whoever waits learns that the fate of its batch is unknown.
    lock(&log.front).confirmations.clear();
    match error {
        Some(error @ WalError::Failed(_)) if shared.logs.len() > 1 => {
            moves::leave_failed(&shared, &log, error.to_string()).await;
        }
        Some(error) => shared.stop(error.to_string()),
        None => {}
    }
    lock(&log.front).confirmations.clear();
}

struct Driver {
    shared: Arc<Shared>,
    log: Arc<Log>,
    flying: BTreeMap<GroupNumber, (Group, Placed)>,
    writes: FuturesUnordered<Write>,
    /// The next group, for which the WAL has no room yet.
    unplaced: Option<Group>,
}

impl Driver {
    async fn run(&mut self) -> Option<WalError> {
        loop {
            let form = self.send_what_is_due();
            if self.shared.has_stopped() {
                return None;
            }
            let clock = self.shared.world.clock.clone();
            let window = async {
                match form {
                    Form::At(due) => clock.sleep(due.since(clock.now())).await,
                    Form::Send(..) | Form::Idle => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some((number, result)) = self.writes.next() => match result {
                    Ok(()) => self.durable(number),
                    Err(error) => return Some(error),
                },
                () = self.log.driver_wakes.notified() => {}
                () = window => {}
            }
        }
    }

    /// Sends groups until it is time to wait.
    fn send_what_is_due(&mut self) -> Form {
        loop {
            let group = match self.unplaced.take() {
                Some(group) => group,
                None => match self.next_group() {
                    Ok(group) => group,
                    Err(form) => return form,
                },
            };
            if let Some(group) = self.send(group) {
                self.unplaced = Some(group);
                return Form::Idle;
            }
        }
    }

    fn next_group(&self) -> Result<Group, Form> {
        let now = self.shared.world.clock.now();
        let terms = lock(&self.log.wal).terms(now);
        let mut front = lock(&self.log.front);
        match front.appender.form(now, &terms) {
            Form::Send(number, mut entries) => {
                self.log.note_oldest_append(&front);
                let confirmations = front.confirmations.drain(..entries.len()).collect();
                // A stream's batches lie back to back in the group: one run to spill, to read back, to recover.
                entries.sort_by_key(|entry| entry.stream);
                Ok(Group { number, entries, confirmations })
            }
            form => Err(form),
        }
    }

    /// Places the group and begins to write it; gives it back where the WAL has no room before the next trim.
    fn send(&mut self, mut group: Group) -> Option<Group> {
        let (placed, write) = {
            let mut wal = lock(&self.log.wal);
            let Ok((placed, unwritten)) = wal.place(&group.entries) else {
                self.log.is_full.store(true, Ordering::Release);
                self.log.source.changed.notify_one();
                return Some(group);
            };
            if self.log.note_room(&wal) {
                self.shared.room.notify_waiters();
            }
            (placed, wal.write(unwritten))
        };
        if planted!("acknowledge before durable", false, true) {
            acknowledge(&mut group);
        }
        let number = group.number;
        self.flying.insert(number, (group, placed));
        self.writes.push(Box::pin(async move { (number, write.await) }));
        None
    }

    fn durable(&mut self, number: GroupNumber) {
        if planted!("B6", false, true)
            && let Some((group, _)) = self.flying.get_mut(&number)
        {
            acknowledge(group);
        }
        let groups = {
            let mut front = lock(&self.log.front);
            let groups = front.appender.durable(number);
            self.log.note_oldest_append(&front);
            groups
        };
        for number in groups {
            let Some((mut group, placed)) = self.flying.remove(&number) else {
                unreachable!("{number:?} is in flight until it is acknowledged");
            };
            self.publish(&group.entries, &placed);
            acknowledge(&mut group);
        }
        self.shared.room.notify_waiters();
    }

    /// Makes a durable group readable and confirmed.
    fn publish(&self, entries: &[WalEntry], placed: &Placed) {
        let shared = &self.shared;
        let parts: Vec<(Arc<OpenStream>, BlockRange)> = self.cache(entries, placed);
        {
            let now = shared.world.clock.now();
            let mut uploader = lock(&self.log.source.core);
            for (stream, part) in &parts {
                uploader.acknowledged(now, stream.id, *part);
            }
            uploader.group_ends(placed.end);
        }
        self.log.source.changed.notify_one();
        let bytes = parts.iter().map(|(_, part)| part.bytes).sum();
        self.log.appended_bytes.fetch_add(bytes, Ordering::Relaxed);
        for (stream, part) in parts {
            stream.confirm(part.range.next);
        }
    }

    /// Puts a group into the log cache; answers each stream's part of it.
    fn cache(&self, entries: &[WalEntry], placed: &Placed) -> Vec<(Arc<OpenStream>, BlockRange)> {
        let shared = &self.shared;
        let mut parts = Vec::new();
        let mut spans = placed.spans.as_slice();
        // Both at once, in this order: the follower drops a deleted stream from the one, then from the other.
        let streams = lock(&shared.streams);
        let mut cache = lock(&shared.cache);
        for run in entries.chunk_by(|first, second| first.stream == second.stream) {
            let (of_run, rest) = spans.split_at(run.len());
            spans = rest;
            // A stream that was deleted meanwhile needs neither cache nor upload.
            let Some(stream) = streams.get(&run[0].stream) else { continue };
            let batches: Vec<PlacedBatch> = run
                .iter()
                .zip(of_run)
                .map(|(entry, span)| {
                    let place = Place { wal: self.log.id, position: span.position, len: span.len, crc: span.crc };
                    PlacedBatch { batch: entry.batch.clone(), place }
                })
                .collect();
            parts.push((stream.clone(), part_of(run)));
            cache.append(stream.id, &batches);
        }
        // Looked at under the lock: a run that an older image shows uncommitted would be spilled after its commit had cleared the
        // cache of such runs, and would stay when its place in the WAL is written over.
        let image = shared.ledger.image();
        let gives_back = |wal| shared.log_of(wal).is_none_or(|log| log.id == self.log.id || log.gives_back());
        cache.fit(|stream: StreamId, wal| committed_in(&image, stream, wal), gives_back);
        parts
    }
}

fn part_of(run: &[WalEntry]) -> BlockRange {
    let (first, last) = (&run[0], &run[run.len() - 1]);
    BlockRange {
        stream_epoch: first.stream_epoch,
        range: OffsetRange::new(first.batch.range.base, last.batch.range.next),
        bytes: run.iter().map(|entry| entry.batch.bytes.len() as u64).sum(),
    }
}

fn acknowledge(group: &mut Group) {
    for confirmation in group.confirmations.drain(..) {
        // Whoever asked may have gone; the batch stays.
        let _is_heard = confirmation.send(());
    }
}
