//! Coordinators: who answers for a group, or for a transactional id, and how what `coordinator-core` decides becomes durable.
//!
//! The walk of every group API: `handler::<api>` → [`Coordinators::shard`] (the groups of one partition of `__consumer_offsets`, if this
//! broker owns it) → `shard` (applies, appends, waits) → `coordinator-core` (decides); that of transactions is the same with
//! `__transaction_state`. Rules: a decision is applied when its records
//! are enqueued and told when they are confirmed; what is read is told only after an append that was issued after the
//! question has been confirmed, so that a deposed owner never answers from its memory. The state of share-partitions lives in
//! `__share_group_state` in the same way.
//!
//! This file follows the ledger: a partition that this broker comes to own is loaded (`load`), one that it lost is given up. It also
//! keeps the time, and has logs that have become long copied (`compact`). Nothing here decides about safety by a clock. What tells
//! groups and transactions apart stands in `core`, and is filled in by `groups`, by `crate::transactions` and by `crate::share`.

mod compact;
mod core;
mod each;
mod groups;
mod load;
mod log_size;
mod outbox;
mod shard;
mod subscribed;
mod topic;
mod transactional;

pub(crate) use self::core::Core;
pub(crate) use each::GROUPS_MAX;
pub(crate) use shard::{CoreMemory, Shard};
pub(crate) use subscribed::{TopicChanges, with_topics};
pub(crate) use topic::{OFFSETS, OwnTopic, SHARE_STATE, TRANSACTION_STATE, partition_of};

use crate::Shared;
use crate::error::Failure;
use base::{Micros, StreamId};
use control_core::Image;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use world::{ClockExt, lock};

/// How long a request waits for its partition to be loaded before its client is told to come again.
const LOAD_WAIT_MAX: Duration = Duration::from_millis(500);

/// The loop looks at least so often.
const LOOK_PERIOD: Duration = Duration::from_secs(60);

/// And so often where it did not get through the last time.
const BEHIND_PERIOD: Duration = Duration::from_millis(100);

/// The partitions of an internal topic that this broker answers for.
pub(crate) struct Coordinators<C: Core> {
    shards: Mutex<BTreeMap<StreamId, Arc<Shard<C>>>>,
    memory: CoreMemory,
    /// Counts up when a shard comes, begins to serve, or goes.
    changes: watch::Sender<u64>,
    /// A deadline is earlier than the loop knows, or a shard must be loaded anew.
    wakes: Arc<Notify>,
}

impl<C: Core> Coordinators<C> {
    pub(crate) fn new() -> Coordinators<C> {
        Coordinators {
            shards: Mutex::default(),
            memory: CoreMemory::default(),
            changes: watch::Sender::new(0),
            wakes: Arc::default(),
        }
    }

    /// The shard that a group or a transactional id belongs to, ready to serve.
    pub(crate) async fn shard(&self, broker: &Shared, key: &str) -> Result<Arc<Shard<C>>, Failure> {
        let id = C::TOPIC.stream_of(&broker.store.ledger().image(), key);
        self.serving(broker, id.ok_or(Failure::NotCoordinator)?).await
    }

    /// What there is of a group or id at this moment, confirmed or not; nothing where this broker does not serve it now.
    pub(crate) fn look<T>(&self, broker: &Shared, key: &str, read: impl FnOnce(&C) -> T) -> Option<T> {
        let id = C::TOPIC.stream_of(&broker.store.ledger().image(), key)?;
        let shard = lock(&self.shards).get(&id).cloned();
        shard.filter(|shard| shard.is_serving()).map(|shard| shard.look(read))
    }

    /// All shards that this broker is to answer for.
    pub(crate) async fn all(&self, broker: &Shared) -> Result<Vec<Arc<Shard<C>>>, Failure> {
        let image = broker.store.ledger().image();
        let mut shards = Vec::new();
        for id in C::TOPIC.find(&image).into_iter().flat_map(|topic| &topic.partitions) {
            match self.serving(broker, *id).await {
                Ok(shard) => shards.push(shard),
                Err(Failure::NotCoordinator) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(shards)
    }

    /// The shard of a partition of the topic, ready to serve.
    pub(crate) async fn shard_at(&self, broker: &Shared, id: StreamId) -> Result<Arc<Shard<C>>, Failure> {
        self.serving(broker, id).await
    }

    async fn serving(&self, broker: &Shared, id: StreamId) -> Result<Arc<Shard<C>>, Failure> {
        let partition = broker.partitions.owned(id).ok_or(Failure::NotCoordinator)?;
        let mut changes = self.changes.subscribe();
        let serves = async {
            loop {
                changes.borrow_and_update();
                let shard = lock(&self.shards).get(&id).cloned();
                let shard = shard.filter(|shard| shard.leader_epoch() == partition.leader_epoch());
                if let Some(shard) = shard.filter(|shard| shard.is_serving()) {
                    return shard;
                }
                // The sender lives as long as this.
                if changes.changed().await.is_err() {
                    futures::future::pending::<()>().await;
                }
            }
        };
        broker.clock.timeout(LOAD_WAIT_MAX, serves).await.ok_or(Failure::CoordinatorLoading)
    }

    pub(crate) fn has_changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn serving_shards(&self) -> Vec<Arc<Shard<C>>> {
        lock(&self.shards).values().filter(|shard| shard.is_serving()).cloned().collect()
    }

    /// Begins to load what this broker owns since, and gives up what it owns no more.
    fn follow(&self, broker: &Arc<Shared>, image: &Image) {
        let ids = C::TOPIC.find(image).map(|topic| topic.partitions.to_vec()).unwrap_or_default();
        let mut owned = BTreeMap::new();
        for (number, id) in ids.into_iter().enumerate() {
            if let Some(partition) = broker.partitions.owned(id) {
                owned.insert(id, (number, partition));
            }
        }
        let mut shards = lock(&self.shards);
        shards.retain(|id, shard| {
            let epoch = owned.get(id).map(|(_, partition)| partition.leader_epoch());
            let stays = epoch == Some(shard.leader_epoch()) && !shard.is_lost();
            if !stays {
                shard.lose();
            }
            stays
        });
        for (id, (number, partition)) in owned {
            shards.entry(id).or_insert_with(|| {
                let shard = Arc::new(Shard::new(partition, self.memory.clone(), self.wakes.clone()));
                broker.clock.spawn("load", Box::pin(load::run(broker.clone(), shard.clone(), number)));
                shard
            });
        }
    }
}

/// Follows the ledger and the clock until the broker stops.
pub(crate) async fn run<C: Core>(broker: Arc<Shared>) {
    let coordinators = C::all(&broker);
    let period = C::expiry_period(&broker.options);
    let mut stopping = broker.stopping.subscribe();
    let mut images = broker.store.ledger().watch();
    let mut moves = broker.store.watch_moves();
    let mut names = images.borrow().topic_names.clone();
    let mut next_expiry = broker.clock.now().plus(period);
    loop {
        let image = images.borrow_and_update().clone();
        moves.borrow_and_update();
        coordinators.follow(&broker, &image);
        // Most entries of the ledger are about other things, and leave the names as they were.
        let has_lost_topics =
            !names.ptr_eq(&image.topic_names) && names.iter().any(|(name, id)| image.topic_names.get(name) != Some(id));
        names = image.topic_names.clone();
        let now = broker.clock.now();
        let expires = now >= next_expiry;
        if expires {
            next_expiry = now.plus(period);
        }
        let mut is_behind = false;
        for shard in coordinators.serving_shards() {
            // What is left of the last time waits until the log has taken that.
            let goes_on = shard.look(C::is_behind) && shard.is_flushed();
            if has_lost_topics || goes_on {
                shard.apply(&broker, |core, _, fx| core.topics_gone(&image, fx));
            }
            if expires || goes_on {
                shard.apply(&broker, C::expire);
            }
            is_behind |= shard.look(C::is_behind);
            shard.tick(&broker);
            if let Some(begun) = shard.begin_copy(&broker) {
                broker.clock.spawn("copy", Box::pin(compact::run(broker.clone(), shard, begun)));
            }
        }
        let deadlines = coordinators.serving_shards().into_iter().filter_map(|shard| shard.next_deadline());
        let look = now.plus(if is_behind { BEHIND_PERIOD } else { LOOK_PERIOD });
        let next = deadlines.chain([next_expiry, look]).min().unwrap_or(Micros(0));
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            changed = images.changed() => if changed.is_err() { return },
            changed = moves.changed() => if changed.is_err() { return },
            () = coordinators.wakes.notified() => {}
            () = broker.clock.sleep(next.since(broker.clock.now())) => {}
        }
    }
}
