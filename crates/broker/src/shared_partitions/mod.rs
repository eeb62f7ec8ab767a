//! Share-partitions (KIP-932): the partitions that this broker leads, as share groups consume them, and the sessions of their members.
//!
//! The walk of ShareFetch and ShareAcknowledge: `handler::share_fetch` and `handler::share_acknowledge` → [`Shares`] (the session, and the
//! share-partition of a group) → `led` (applies what was asked for) → `coordinator-core` (decides) → this file's loop, which carries what is to
//! be written to the `persister`, the coordinator of the share-partition's state, and tells `led` what has become of it. An
//! acknowledgement is answered when its write is confirmed.
//!
//! A share-partition is loaded when it is first asked for (`loading`), and dropped when its partition is led elsewhere or is gone, when the
//! persister says that the group was set back, or when no session of its group is left. Memory is bounded by
//! `BrokerOptions::shares_bytes_max`: beyond it nothing more is loaded, and from its half on a group that has more than its part is given nothing
//! that was not given out before (`room`). As in Kafka nobody looks here whether a member is in its group.

mod led;
mod loading;
mod persister;
mod room;

pub(crate) use led::{Led, Turn, Turned};

use self::room::Room;
use crate::Shared;
use crate::error::Failure;
use crate::partition::Partition;
use crate::settings::{self, ShareSettings};
use base::{Micros, TopicId};
use control_core::SettingsScope;
use coordinator_core::{
    EndedSession, SHARE_SESSION_BEGINS, ShareSessionAnswer, ShareSessionError, ShareSessionKey, ShareSessionRequest,
    ShareSessions, ShareStateKey, ShareWrite, SharedPartition,
};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use world::lock;

/// What a partition of a session takes, roughly.
const SESSION_PARTITION_BYTES: usize = 160;

/// What a share-partition takes before anything is known of its records, roughly, beside its group's name.
const LED_BYTES: usize = 1024;

/// How often share-partitions are looked for whose partitions are gone or led elsewhere. Whoever asks for one sees that at once.
const SWEEP_PERIOD: Duration = Duration::from_secs(10);

/// How often a stop looks whether all is written.
const STOP_LOOK_PERIOD: Duration = Duration::from_millis(5);

/// What this broker leads of share groups.
pub(crate) struct Shares {
    sessions: Mutex<ShareSessions>,
    led: Mutex<BTreeMap<ShareStateKey, Arc<Led>>>,
    work: Mutex<Work>,
    /// There is work.
    wakes: Notify,
    next_number: AtomicU64,
    /// What share-partitions take.
    room: Mutex<Room>,
    bytes_max: usize,
}

/// What the loop has to do.
#[derive(Default)]
struct Work {
    loads: VecDeque<Arc<Led>>,
    writes: VecDeque<(Arc<Led>, ShareWrite)>,
    /// When somebody's time is over, by the number of the share-partition.
    deadlines: BTreeMap<(Micros, u64), Arc<Led>>,
}

impl Shares {
    pub(crate) fn new(sessions_max: usize, bytes_max: usize) -> Shares {
        Shares {
            sessions: Mutex::new(ShareSessions::new(sessions_max)),
            led: Mutex::default(),
            work: Mutex::default(),
            wakes: Notify::new(),
            next_number: AtomicU64::new(0),
            room: Mutex::new(Room::new(bytes_max)),
            bytes_max,
        }
    }

    /// A ShareFetch: which partitions it is about.
    pub(crate) fn fetch(&self, request: &ShareSessionRequest<'_>) -> Result<Vec<SharedPartition>, ShareSessionError> {
        let mut sessions = lock(&self.sessions);
        // Else a few requests could name more than there is memory for.
        let partitions = sessions.partitions() + request.partitions.len();
        let bytes = partitions.saturating_mul(SESSION_PARTITION_BYTES).saturating_add(sessions.bytes());
        let grows = request.epoch == SHARE_SESSION_BEGINS || !request.partitions.is_empty();
        if bytes > self.bytes_max && grows {
            return Err(ShareSessionError::LimitReached);
        }
        sessions.fetch(request)
    }

    /// A ShareAcknowledge.
    pub(crate) fn acknowledge(&self, key: &ShareSessionKey, epoch: i32) -> Result<(), ShareSessionError> {
        lock(&self.sessions).acknowledge(key, epoch)
    }

    /// Which of these are to be in the answer.
    pub(crate) fn answer(
        &self,
        key: &ShareSessionKey,
        epoch: i32,
        found: &[ShareSessionAnswer],
    ) -> Result<Vec<SharedPartition>, ShareSessionError> {
        lock(&self.sessions).answer(key, epoch, found)
    }

    /// A session is over: what its member has is released.
    pub(crate) fn end(&self, broker: &Shared, key: &ShareSessionKey) {
        let ended = lock(&self.sessions).end(key);
        if let Some(ended) = ended {
            self.release(broker, ended);
        }
    }

    /// A connection is gone, and with it the sessions that were begun by it; where those were a group's last ones, its share-partitions are
    /// dropped as soon as all is written.
    pub(crate) fn disconnected(&self, broker: &Shared, connection: u64) {
        let (ended, empty) = lock(&self.sessions).disconnected(connection);
        ended.into_iter().for_each(|ended| self.release(broker, ended));
        for led in empty.iter().flat_map(|group| self.of_group(group)) {
            led.is_unused(broker);
        }
    }

    fn release(&self, broker: &Shared, EndedSession { key, partitions }: EndedSession) {
        for (topic, partition) in partitions {
            let key_of = ShareStateKey { group: key.group.clone(), topic: TopicId::from(topic), partition };
            if let Some(led) = self.known(&key_of) {
                led.release(broker, &key.member);
            }
        }
    }

    fn of_group(&self, group: &Arc<str>) -> Vec<Arc<Led>> {
        let first = ShareStateKey { group: group.clone(), topic: TopicId::default(), partition: i32::MIN };
        let led = lock(&self.led);
        led.range(first..).take_while(|(key, _)| key.group == *group).map(|(_, led)| led.clone()).collect()
    }

    /// The share-partition, if it is here.
    pub(crate) fn known(&self, key: &ShareStateKey) -> Option<Arc<Led>> {
        lock(&self.led).get(key).cloned()
    }

    /// The share-partition, which begins to be loaded if it is not here.
    pub(crate) fn of(&self, broker: &Shared, key: ShareStateKey, partition: Partition) -> Result<Arc<Led>, Failure> {
        let mut all = lock(&self.led);
        if let Some(led) = all.get(&key).filter(|led| led.partition.leader_epoch() == partition.leader_epoch()) {
            return Ok(led.clone());
        }
        if lock(&self.room).is_full() {
            return Err(crowded());
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let led = Arc::new(Led::new(number, key.clone(), partition));
        lock(&self.room).enter(&key.group, led_bytes(&key));
        let before = all.insert(key, led.clone());
        drop(all);
        if let Some(before) = before {
            lock(&self.room).leave(&before.key.group, led_bytes(&before.key));
            before.give_up(broker, Failure::NotLeader);
        }
        lock(&self.work).loads.push_back(led.clone());
        self.wakes.notify_one();
        Ok(led)
    }

    /// Forgets a share-partition, unless there is another one in its place.
    fn forget(&self, led: &Arc<Led>) {
        let mut all = lock(&self.led);
        if all.get(&led.key).is_some_and(|it| Arc::ptr_eq(it, led)) {
            all.remove(&led.key);
            lock(&self.room).leave(&led.key.group, led_bytes(&led.key));
        }
    }

    /// A number that no other request to read has.
    pub(crate) fn next_request(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the group has more than its part of what may be known of records, where that is much already.
    fn holds(&self, group: &Arc<str>) -> bool {
        lock(&self.room).holds(group)
    }

    /// In how many parts an acknowledgement of the group may cut what is known of records.
    fn parts_max(&self, group: &Arc<str>) -> usize {
        lock(&self.room).parts_max(group)
    }

    /// What is known of a share-partition's records takes so many bytes now instead of those.
    fn took(&self, group: &Arc<str>, before: usize, now: usize) {
        if before != now {
            lock(&self.room).took(group, before, now);
        }
    }

    /// Has a write carried.
    fn write(&self, led: &Arc<Led>, write: ShareWrite) {
        lock(&self.work).writes.push_back((led.clone(), write));
        self.wakes.notify_one();
    }

    /// Has a share-partition looked at then, and not at the time before.
    fn schedule(&self, led: &Arc<Led>, before: Option<Micros>, at: Option<Micros>) {
        let mut work = lock(&self.work);
        let first = work.deadlines.first_key_value().map(|((at, _), _)| *at);
        if let Some(before) = before {
            work.deadlines.remove(&(before, led.number));
        }
        if let Some(at) = at {
            work.deadlines.insert((at, led.number), led.clone());
            if first.is_none_or(|first| at < first) {
                self.wakes.notify_one();
            }
        }
    }

    fn next_deadline(&self) -> Option<Micros> {
        lock(&self.work).deadlines.first_key_value().map(|((at, _), _)| *at)
    }

    fn due(&self, now: Micros) -> Vec<Arc<Led>> {
        let mut work = lock(&self.work);
        let later = work.deadlines.split_off(&(now.plus(Duration::from_micros(1)), 0));
        std::mem::replace(&mut work.deadlines, later).into_values().collect()
    }

    fn take_loads(&self) -> VecDeque<Arc<Led>> {
        std::mem::take(&mut lock(&self.work).loads)
    }

    fn take_writes(&self) -> VecDeque<(Arc<Led>, ShareWrite)> {
        std::mem::take(&mut lock(&self.work).writes)
    }

    fn sweep(&self, broker: &Shared) {
        let all: Vec<Arc<Led>> = lock(&self.led).values().cloned().collect();
        all.iter().for_each(|led| led.look(broker));
    }
}

fn crowded() -> Failure {
    let why =
        "this broker knows as much of share groups' records as it may: acknowledge more, or give it more --memory";
    Failure::CoordinatorUnavailable(why.to_owned())
}

fn led_bytes(key: &ShareStateKey) -> usize {
    LED_BYTES + key.group.len()
}

/// What a group goes by at the moment.
pub(crate) fn settings_of(broker: &Shared, group: &str) -> ShareSettings {
    let image = broker.store.ledger().image();
    let set = image.settings.get(&SettingsScope::Group(group.to_owned()));
    settings::share_settings(&broker.live.at(&image).shares, set.map(AsRef::as_ref))
}

/// Loads, writes, and takes records from those whose time is over, until the broker has stopped.
pub(crate) async fn run(broker: Arc<Shared>) {
    let mut stopping = broker.stopping.subscribe();
    let mut under_way: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    let mut stops_at = None;
    let mut sweeps_at = broker.clock.now().plus(SWEEP_PERIOD);
    loop {
        let now = broker.clock.now();
        let mut until = broker.shares.next_deadline().map_or(sweeps_at, |at| at.min(sweeps_at)).since(now);
        if stops_at.is_some() {
            until = until.min(STOP_LOOK_PERIOD);
        }
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping), if stops_at.is_none() => {
                // Those whose acknowledgements are under way are answered yet.
                stops_at = Some(now.plus(broker.options.stop_wait_max));
            }
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            () = broker.shares.wakes.notified() => {}
            () = broker.clock.sleep(until) => {}
        }
        let now = broker.clock.now();
        for led in broker.shares.due(now) {
            led.tick(&broker);
        }
        for led in broker.shares.take_loads() {
            under_way.push(Box::pin(loading::load(&broker, led)));
        }
        for (led, write) in broker.shares.take_writes() {
            under_way.push(Box::pin(carry(&broker, led, write)));
        }
        if sweeps_at <= now {
            broker.shares.sweep(&broker);
            sweeps_at = now.plus(SWEEP_PERIOD);
        }
        let is_quiet = under_way.is_empty() && broker.connections.count() == 0;
        if stops_at.is_some_and(|at| is_quiet || at <= now) {
            return;
        }
    }
}

async fn carry(broker: &Shared, led: Arc<Led>, write: ShareWrite) {
    let outcome = persister::write(broker, &led.key, &write).await;
    led.wrote(broker, write.id, outcome);
}
