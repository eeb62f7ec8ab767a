//! What a running broker does about the dead: recovers their logs, opens their streams on those that live, reads the ledger often for as
//! long as others do so.
//!
//! ```text
//! a death in the ledger ─▶ fence and read, seal (`recover`) ─▶ serve and upload the tail (`take_over`) ─▶ open the streams on their heirs
//! ```
//! The order is that of a start (rules B-1, B-2, D-4): recovery begins from an image that holds the death, and a stream is opened behind the
//! entry that fixed where the dead log ends. A log whose end is known has no owner for its streams until then, so that nobody serves them.
//! Guarantees: what one heir leaves undone another does; a stream without an owner gets one, also after a clean stop. A broker that is
//! about to stop begins nothing of this: it would keep what it recovers, and not end.
//! A tail that is long stays with the start that has it in hand, where its producers are known at once; heirs of other streams wait for
//! what it uploads (`read`, `producers`).

use crate::heirs;
use crate::options::WatchTimes;
use crate::recover::{self, Recovery};
use crate::shared::Shared;
use crate::take_over::{self, Tail};
use crate::wal::Patience;
use base::{NodeEpoch, StreamId, WalId};
use control_core::{Command, Image, Outcome, WalState};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use world::lock;

/// Streams with such a tail are dealt to all: it is uploaded before many of their clients come.
const DEALT_TAIL_BYTES_MAX: u64 = 16 << 20;
/// Whoever comes one place later does what others have not done so many timeouts later.
const TIMEOUTS_A_PLACE: u32 = 5;
/// So many timeouts after a change of who lives it is looked for what the change has left to do.
const ATTENTION_TIMEOUTS: u32 = 10;
/// A stream without an owner is for so many timeouts whose log it was in, or who comes back.
const OWNERLESS_TIMEOUTS: u32 = 1;
/// So many logs are read by one broker at a time: of each the descriptions of all its batches come into memory, which no budget counts. More
/// than one, so that one that does not answer holds up no other. What was read stays until it is uploaded, of however many logs.
const RECOVERIES_MAX: usize = 2;
/// So often streams are offered to heirs that die meanwhile; then they are looked for as such without an owner.
const OFFERS_MAX: usize = 5;

/// What remains from look to look.
pub(crate) struct Succession {
    shared: Arc<Shared>,
    looks_a_timeout: u32,
    /// Logs that others are to recover first, and for how many looks; and those that were tried here, until they are tried again.
    waits: BTreeMap<WalId, u32>,
    /// Logs that are being recovered.
    busy: Arc<Mutex<BTreeSet<WalId>>>,
    /// So many of them were when it was looked last.
    under_way: usize,
    /// The living starts of the newest image that was looked at.
    living: Vec<NodeEpoch>,
    /// So many more looks are for what a change of them has left.
    attention: u32,
    /// For how many looks there have been streams without an owner.
    ownerless: u32,
}

impl Succession {
    pub(crate) fn new(shared: Arc<Shared>, times: WatchTimes) -> Succession {
        let looks_a_timeout = times.timeout.as_millis().div_ceil(times.interval.as_millis().max(1)).max(1);
        let living = living(&shared.ledger.image());
        let mut succession = Succession {
            shared,
            looks_a_timeout: u32::try_from(looks_a_timeout).unwrap_or(u32::MAX),
            waits: BTreeMap::new(),
            busy: Arc::default(),
            under_way: 0,
            living,
            attention: 0,
            ownerless: 0,
        };
        // Who stopped while this one started has left its streams to it.
        succession.attention = succession.looks(ATTENTION_TIMEOUTS);
        succession
    }

    /// Notices who has come and gone.
    pub(crate) fn follow(&mut self, image: &Image) {
        let living = living(image);
        if living != self.living {
            self.living = living;
            self.attention = self.looks(ATTENTION_TIMEOUTS);
            // Whose turn it is counts anew among those that live now: whoever was waited for may be the one that died.
            self.waits.clear();
        }
    }

    /// Whether another look is needed also where nobody is left to be watched.
    pub(crate) fn has_work(&self, image: &Image) -> bool {
        self.attention > 0 || self.under_way > 0 || self.has_dead_logs(image)
    }

    fn looks(&self, timeouts: u32) -> u32 {
        self.looks_a_timeout.saturating_mul(timeouts)
    }

    /// Begins what is this start's to do; nothing is given to those that are `silent`.
    pub(crate) async fn look(&mut self, silent: &BTreeSet<NodeEpoch>) {
        let mut image = self.shared.ledger.image();
        self.follow(&image);
        if self.shared.is_leaving() {
            return;
        }
        let under_way = lock(&self.busy).len();
        if under_way < std::mem::replace(&mut self.under_way, under_way) {
            // It may have left something to do, as a change of who lives does.
            self.attention = self.looks(ATTENTION_TIMEOUTS);
        }
        let is_attentive = self.attention > 0;
        if self.has_dead_logs(&image) || is_attentive && is_unsettled(&image, self.shared.node_epoch) {
            match self.shared.ledger.refresh().await {
                Ok(newer) => image = newer,
                Err(error) => {
                    tracing::warn!(%error, "can't read the ledger to see what is left of a dead broker");
                    return;
                }
            }
        }
        // It may have begun to stop meanwhile.
        if self.shared.is_leaving() {
            return;
        }
        self.attention = self.attention.saturating_sub(1);
        self.recover(&image, silent);
        if is_attentive {
            self.open(&image, silent).await;
        }
    }

    /// Dead starts' logs that somebody can recover, and that this start has not given up.
    fn dead_logs(&self, image: &Image) -> Vec<WalId> {
        let offline = lock(&self.shared.dead.offline);
        let dead = image.unsealed_dead_wals().chain(image.orphaned_wals());
        let readable = dead.filter(|(wal, record)| heirs::can_read(record) && !offline.contains_key(wal));
        readable.map(|(wal, _)| wal).collect()
    }

    fn has_dead_logs(&self, image: &Image) -> bool {
        !self.dead_logs(image).is_empty()
    }

    /// Recovers what is this start's to recover, each log in a task of its own.
    fn recover(&mut self, image: &Arc<Image>, silent: &BTreeSet<NodeEpoch>) {
        let dead = self.dead_logs(image);
        self.waits.retain(|wal, _| dead.contains(wal));
        for wal in dead {
            let Some(rank) = heirs::rank(image, self.shared.node_epoch, wal) else { return };
            let place = u32::try_from(rank).unwrap_or(u32::MAX).saturating_mul(self.looks(TIMEOUTS_A_PLACE));
            let wait = self.waits.entry(wal).or_insert(place);
            if *wait > 0 {
                *wait -= 1;
                continue;
            }
            if !begins(&mut lock(&self.busy), wal) {
                continue;
            }
            self.waits.insert(wal, self.looks(TIMEOUTS_A_PLACE));
            let (shared, busy, image, silent) = (self.shared.clone(), self.busy.clone(), image.clone(), silent.clone());
            let work = async move {
                succeed(&shared, wal, &image, &silent).await;
                lock(&busy).remove(&wal);
            };
            drop(self.shared.world.clock.spawn("recovery", Box::pin(work)));
        }
    }

    /// Opens streams that nobody has for a while: their owner has stopped cleanly, or who recovered their log did not come to it.
    async fn open(&mut self, image: &Image, silent: &BTreeSet<NodeEpoch>) {
        let streams = ownerless(image);
        self.ownerless = if streams.is_empty() { 0 } else { self.ownerless + 1 };
        if streams.is_empty() {
            return;
        }
        self.attention = self.attention.max(1);
        let place = heirs::brokers(image).iter().position(|epoch| *epoch == self.shared.node_epoch);
        let Some(place) = place.and_then(|place| u32::try_from(place).ok()) else { return };
        let wait = self.looks(OWNERLESS_TIMEOUTS).saturating_add(place.saturating_mul(self.looks(TIMEOUTS_A_PLACE)));
        if self.ownerless > wait && lock(&self.busy).is_empty() {
            tracing::info!(streams = streams.len(), "opens streams that nobody has");
            let shares = heirs::shares(image, streams, self.shared.choice, silent);
            offer(&self.shared, shares).await;
        }
    }
}

/// Whether the recovery of that log may begin; it is one of those under way then.
fn begins(busy: &mut BTreeSet<WalId>, wal: WalId) -> bool {
    busy.len() < RECOVERIES_MAX && busy.insert(wal)
}

fn living(image: &Image) -> Vec<NodeEpoch> {
    image.living().map(|(epoch, _)| epoch).collect()
}

/// Streams without an owner, but for those of a log that a recovery without a broker is at work on: it hands them on itself.
fn ownerless(image: &Image) -> Vec<StreamId> {
    let is_worked_on = |stream: &StreamId| {
        let wal = image.streams.get(stream).and_then(|record| record.tenures.last()).map(|tenure| tenure.wal);
        let state = wal.and_then(|wal| image.wals.get(&wal)).map(|record| record.state);
        let Some(WalState::Sealed { recoverer, .. }) = state else { return false };
        image.is_alive(recoverer) && image.nodes.get(&recoverer).is_some_and(|node| !node.is_broker())
    };
    image.ownerless_streams().into_iter().filter(|stream| !is_worked_on(stream)).collect()
}

/// Whether others have something to do that this start waits for: a stream has no owner, or one of this start's lacks what is in a dead log.
fn is_unsettled(image: &Image, own: NodeEpoch) -> bool {
    image.streams.values().any(|record| match record.owner() {
        None => true,
        Some(owner) if owner.node_epoch() == own => record.unsaved.iter().any(|wal| wal.node_epoch != own),
        Some(_) => false,
    })
}

/// Recovers one log, and opens its streams. The image holds its owner's death.
async fn succeed(shared: &Arc<Shared>, wal: WalId, image: &Image, silent: &BTreeSet<NodeEpoch>) {
    let recovery = Recovery {
        world: &shared.world,
        objects: &shared.objects.wals,
        ledger: &shared.ledger,
        node_epoch: shared.node_epoch,
        // No stream is opened by the sealing entry: it could name one heir only.
        wals: &[],
        rings: &[],
        other_rings: Mutex::default(),
        patience: Patience::new(&shared.world, shared.options.wal.dead_ring_stalled_max),
        only: Some(BTreeSet::from([wal])),
        older_too: true,
    };
    let outcomes = match recover::recover_dead(&recovery, image, image, BTreeMap::new()).await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            tracing::warn!(%wal, %error, "can't recover a dead broker's write-ahead log; tries again");
            return;
        }
    };
    drop(recovery);
    lock(&shared.dead.offline).extend(outcomes.offline);
    for adopted in outcomes.adopted {
        // Before a stream is opened here, so that none of its readers and producers finds less than there is.
        let tail = take_over::take_over(shared, adopted);
        open_streams_of(shared, wal, &tail, silent).await;
    }
}

/// Opens the streams whose last tenure was in that log; none of them on this start where it is about to stop.
async fn open_streams_of(shared: &Shared, wal: WalId, tail: &Tail, silent: &BTreeSet<NodeEpoch>) {
    for _ in 0..OFFERS_MAX {
        let image = shared.ledger.image();
        let was_there = |stream: &StreamId| {
            image.streams.get(stream).and_then(|record| record.tenures.last()).is_some_and(|tenure| tenure.wal == wal)
        };
        let streams: Vec<StreamId> = image.ownerless_streams().into_iter().filter(was_there).collect();
        if streams.is_empty() || shared.has_stopped() {
            return;
        }
        let is_leaving = shared.is_leaving();
        let mut silent = silent.clone();
        silent.extend(is_leaving.then_some(shared.node_epoch));
        let is_long = tail.bytes > DEALT_TAIL_BYTES_MAX && !is_leaving;
        let (kept, dealt): (Vec<_>, Vec<_>) =
            streams.into_iter().partition(|stream| is_long && tail.streams.contains(stream));
        let others = heirs::brokers(&image).into_iter().filter(|epoch| *epoch != shared.node_epoch).collect();
        let mut shares = heirs::shares(&image, dealt, shared.choice, &silent);
        for (wal, streams) in heirs::shares(&image, kept, shared.choice, &others) {
            shares.entry(wal).or_default().extend(streams);
        }
        if !offer(shared, shares).await {
            return;
        }
    }
}

/// Opens streams on their heirs, all at once; false where the ledger can't be written.
async fn offer(shared: &Shared, shares: BTreeMap<WalId, Vec<StreamId>>) -> bool {
    let opened = shares.into_iter().map(async |(wal, streams)| {
        let count = streams.len();
        let open = Command::OpenStreams { streams, node_epoch: wal.node_epoch, wal_index: wal.index };
        match shared.ledger.submit(open).await {
            Ok(Outcome::Refused(refusal)) => {
                tracing::info!(%wal, count, %refusal, "a broker does not take streams; others do");
                true
            }
            Ok(_) => {
                tracing::info!(%wal, count, "opened a dead broker's streams");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "can't open a dead broker's streams; others do");
                false
            }
        }
    });
    join_all(opened).await.into_iter().all(|is_written| is_written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::WalIndex;

    #[test]
    fn few_logs_are_recovered_at_a_time() {
        let wal = |index| WalId { node_epoch: NodeEpoch(1), index: WalIndex(index) };
        let mut busy = BTreeSet::new();
        let begun: Vec<bool> = [0, 0, 1, 2, 3].map(|index| begins(&mut busy, wal(index))).to_vec();
        assert_eq!(begun, [true, false, true, false, false]);
        busy.remove(&wal(0));
        assert!(begins(&mut busy, wal(2)), "its turn comes when one has ended");
    }
}
