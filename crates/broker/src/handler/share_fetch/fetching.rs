//! Reads for a member of a share group, from where its group's share-partitions say, and waits while there is nothing to read.
//!
//! One request at a time reads for a share-partition (`crate::shared_partitions::Turn`). Records are read as a fetch reads them
//! (`handler::fetch`), within its bounds and its memory, divided evenly among the partitions that have something. A request that is given
//! nothing waits: for records, for others to give some back, or for its turn; its time up, it takes what there is.

use super::granting::grant;
use crate::Shared;
use crate::error::Failure;
use crate::fetch_session::{Asked, TopicKey};
use crate::handler::fetch::{self, Bounds, Progress, Slot, read_all};
use crate::memory;
use crate::rights::Rights;
use crate::shared_partitions::{Led, Turn, Turned};
use crate::topics;
use crate::waiter::PARKED_PARTITIONS_MAX;
use base::{Offset, TopicId};
use control_core::Image;
use coordinator_core::{AcquireMode, AcquiredRange, ShareSessionKey, ShareStateKey, SharedPartition};
use futures::stream::{FuturesUnordered, StreamExt};
use protocol::api::{Operation, Resource};
use protocol::wire::Records;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};

/// What a partition takes while its request waits, roughly.
pub(super) const PLACE_BYTES: usize = 1024;

/// A stream that has lost its owner says so at once, again and again; what follows from it takes a moment.
const LOST_PAUSE: Duration = Duration::from_millis(20);

/// What a request wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) key: &'a ShareSessionKey,
    /// What the member may do.
    pub(super) rights: &'a Rights,
    pub(super) mode: AcquireMode,
    pub(super) batch_size: u32,
    pub(super) records_max: u32,
    pub(super) bytes_min: usize,
    pub(super) bytes_max: usize,
    pub(super) wait: Duration,
    /// Its group is given decided records only.
    pub(super) is_committed: bool,
}

/// One partition of a request, and what the member is given of it.
pub(super) struct Place {
    pub(super) partition: SharedPartition,
    pub(super) led: Result<Arc<Led>, Failure>,
    /// What wakes the request: records that become visible, and others that give some back.
    watches: Option<(watch::Receiver<Offset>, watch::Receiver<u64>)>,
    /// Another request reads for it.
    is_busy: bool,
    batch_bytes_max: usize,
    pub(super) is_read: bool,
    pub(super) records: Records,
    pub(super) acquired: Vec<AcquiredRange>,
}

/// What an attempt came to.
enum Attempt {
    /// There is something to answer, in this memory.
    Done(Option<OwnedSemaphorePermit>),
    /// What was read was for nobody, and there may be more behind it.
    Again,
    Nothing,
}

/// What was read is given out in turns.
pub(super) type Reading = (usize, Turn, Offset);

/// What the member is given, with the memory that it takes.
pub(super) async fn run(
    broker: &Shared,
    wanted: &Wanted<'_>,
    partitions: Vec<SharedPartition>,
) -> (Vec<Place>, Option<OwnedSemaphorePermit>) {
    let image = broker.store.ledger().image();
    let mut places: Vec<Place> = partitions.into_iter().map(|it| Place::find(broker, &image, wanted, it)).collect();
    drop(image);
    if places.iter().all(|place| place.led.is_err()) || wanted.records_max == 0 || wanted.bytes_max == 0 {
        return (places, None);
    }
    let number = broker.shares.next_request();
    let mut deadline = broker.clock.now().plus(wanted.wait);
    let mut is_late = false;
    let mut stopping = broker.stopping.subscribe();
    loop {
        let is_last = deadline <= broker.clock.now() || *stopping.borrow();
        places.iter_mut().for_each(Place::begin);
        match attempt(broker, (wanted, number), &mut places, is_last).await {
            Attempt::Done(memory) => return (places, memory),
            Attempt::Again if !is_last => {
                tokio::task::yield_now().await;
                continue;
            }
            Attempt::Again | Attempt::Nothing => {}
        }
        if is_last || places.iter().all(|place| place.led.is_err()) {
            // Records that come in time are waited for until they are durable, as in `handler::fetch`.
            if is_late || *stopping.borrow() || !places.iter().any(Place::is_arriving) {
                return (places, None);
            }
            is_late = true;
            deadline = broker.clock.now().plus(broker.options.fetch_arriving_wait_max);
        }
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = changes(broker, &mut places) => {}
            () = broker.clock.sleep(deadline.since(broker.clock.now())) => {}
        }
    }
}

/// Waits until there may be more in one of them.
async fn changes(broker: &Shared, places: &mut [Place]) {
    let mut waits: FuturesUnordered<_> = places
        .iter_mut()
        .filter(|place| place.led.is_ok())
        .take(PARKED_PARTITIONS_MAX)
        .map(|it| it.changes(broker))
        .collect();
    if waits.next().await.is_none() {
        futures::future::pending::<()>().await;
    }
}

impl Place {
    fn find(broker: &Shared, image: &Image, wanted: &Wanted<'_>, partition: SharedPartition) -> Place {
        let found = find(broker, image, wanted, partition);
        let batch_bytes_max = found.as_ref().map_or(0, |(_, batch_bytes_max)| *batch_bytes_max);
        let led = found.map(|(led, _)| led);
        let watches = led.as_ref().ok().map(|led| (led.partition.watch_high_watermark(), led.watch()));
        Place {
            partition,
            led,
            watches,
            is_busy: false,
            batch_bytes_max,
            is_read: false,
            records: Records::default(),
            acquired: Vec::new(),
        }
    }

    /// What changes from now on is worth another look.
    fn begin(&mut self) {
        self.is_busy = false;
        if let Some((confirmed, changes)) = &mut self.watches {
            confirmed.borrow_and_update();
            changes.borrow_and_update();
        }
    }

    async fn changes(&mut self, broker: &Shared) {
        let (Ok(led), Some((confirmed, changes))) = (&self.led, &mut self.watches) else {
            return futures::future::pending().await;
        };
        let is_lost = tokio::select! {
            biased;
            changed = changes.changed() => changed.is_err(),
            changed = confirmed.changed() => changed.is_err(),
            () = led.turn_ends(), if self.is_busy => false,
        };
        if is_lost {
            broker.clock.sleep(LOST_PAUSE).await;
        }
    }

    /// Whether something was appended that is not durable yet.
    fn is_arriving(&self) -> bool {
        let is_arriving = |led: &Arc<Led>| led.partition.log_end() > led.partition.high_watermark();
        self.led.as_ref().is_ok_and(is_arriving)
    }

    /// Where what its group may see ends.
    fn end(led: &Led, is_committed: bool) -> Offset {
        let confirmed = led.partition.high_watermark();
        // Where it is not known, reading finds out.
        if is_committed { led.partition.last_stable().unwrap_or(confirmed) } else { confirmed }
    }
}

fn find(
    broker: &Shared,
    image: &Image,
    wanted: &Wanted<'_>,
    (topic, partition): SharedPartition,
) -> Result<(Arc<Led>, usize), Failure> {
    let id = TopicId::from(topic);
    let topic = image.topics.get(&id).ok_or(Failure::UnknownTopicId)?;
    wanted.rights.check(Operation::Read, Resource::Topic, &topic.name)?;
    let stream = topics::stream_of(topic, partition)?;
    let owned = broker.partitions.owned(stream).ok_or(Failure::NotLeader)?;
    let key = ShareStateKey { group: wanted.key.group.clone(), topic: id, partition };
    Ok((broker.shares.of(broker, key, owned)?, fetch::batch_bytes_max(topic)))
}

/// Reads what there is, and gives the member what it can of it.
async fn attempt(
    broker: &Shared,
    (wanted, number): (&Wanted<'_>, u64),
    places: &mut [Place],
    is_last: bool,
) -> Attempt {
    let readings = take_turns(broker, (wanted, number), places);
    if readings.is_empty() {
        return Attempt::Nothing;
    }
    let each = i32::try_from(wanted.bytes_max / readings.len()).unwrap_or(i32::MAX).max(1);
    let mut slots: Vec<Slot> =
        readings.iter().filter_map(|(index, _, from)| slot(&places[*index], *from, each)).collect();
    let Wanted { bytes_min, bytes_max, is_committed, .. } = *wanted;
    let bounds = Bounds { bytes_min, bytes_max, format: None, is_committed };
    let mut progress = Progress::new(broker, bounds, broker.clock.now(), wanted.wait);
    let everything: Vec<usize> = (0..slots.len()).collect();
    read_all(broker, &mut slots, &everything, &mut progress).await;
    let has_error = slots.iter().any(|slot| slot.found.is_err());
    if progress.readable < progress.bytes_min && !is_last && !has_error && !progress.is_short {
        return Attempt::Nothing;
    }
    let granted = grant(broker, wanted, places, (readings, slots));
    let bytes: usize = places.iter().map(|place| place.records.len()).sum();
    if granted.has_error || bytes > 0 || places.iter().any(|place| !place.acquired.is_empty()) {
        if let Some(memory) = &mut progress.memory {
            memory::keep_only(memory, bytes);
        }
        return Attempt::Done(progress.memory);
    }
    if granted.is_further { Attempt::Again } else { Attempt::Nothing }
}

/// The turns to read, for all partitions that have something.
fn take_turns(broker: &Shared, (wanted, number): (&Wanted<'_>, u64), places: &mut [Place]) -> Vec<Reading> {
    let mut readings = Vec::new();
    for (index, place) in places.iter_mut().enumerate() {
        let Ok(led) = &place.led else { continue };
        match led.turn(broker, number, Place::end(led, wanted.is_committed)) {
            Turned::Reads(turn, from) => readings.push((index, turn, from)),
            Turned::Busy => place.is_busy = true,
            // The session's first answer names it all the same, as Kafka's does.
            Turned::AtEnd => place.is_read = true,
            Turned::Nothing => {}
            Turned::Gone(failure) => place.led = Err(failure),
        }
    }
    readings
}

fn slot(place: &Place, from: Offset, bytes_max: i32) -> Option<Slot> {
    let led = place.led.as_ref().ok()?;
    let asked = Asked {
        topic: TopicKey::Id(led.key.topic),
        name: None,
        partition: led.key.partition,
        offset: from.to_kafka(),
        bytes_max,
        leader_epoch: -1,
        last_fetched_epoch: -1,
    };
    Some(Slot::new(asked, Ok((led.partition.clone(), place.batch_bytes_max))))
}
