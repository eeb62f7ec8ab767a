//! One request that names many groups, or many transactional ids: those of one partition are read, or changed, one after the other and wait for the log once, all
//! partitions at the same time. One write for each of a thousand groups would take half a minute, with a log in the bucket.

use super::{Coordinators, Core, Shard};
use crate::Shared;
use crate::checks::Steps;
use crate::error::Failure;
use base::{Offset, StreamId};
use futures::stream::{self, Stream, StreamExt};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

/// Groups of one request that are looked for at the most.
pub(crate) const GROUPS_MAX: usize = 100_000;

/// Partitions that one request works on at the same time.
const PARTITIONS_TOGETHER_MAX: usize = 64;

/// Groups that are changed in one go, while nobody else gets at their partition.
const GROUPS_TOGETHER_MAX: usize = 16;

impl<C: Core> Coordinators<C> {
    /// What `read` says of each of the first [`GROUPS_MAX`] groups, by their places: true at some moment after this call began, as with
    /// [`Shard::read`]. A partition that can't be read fails its own groups alone.
    pub(crate) async fn read_each<T: Send>(
        &self,
        broker: &Shared,
        ids: &[&str],
        read: impl Fn(&C, usize) -> T + Send + Sync,
    ) -> Vec<Result<T, Failure>> {
        let read = &read;
        let by_partition = by_partition::<C>(broker, ids).await;
        let count = by_partition.values().map(Vec::len).sum();
        let outcomes = stream::iter(by_partition).map(|(id, places)| async move {
            let outcomes = match self.of_partition(broker, id).await {
                Ok(shard) => read_places(broker, &shard, &places, read).await,
                Err(failure) => places.iter().map(|_| Err(failure.clone())).collect(),
            };
            (places, outcomes)
        });
        in_order(count, outcomes.buffer_unordered(PARTITIONS_TOGETHER_MAX)).await
    }

    /// What `decide` says of each of the first [`GROUPS_MAX`] groups, by their places, once that is durable.
    pub(crate) async fn run_each<T: Send>(
        &self,
        broker: &Shared,
        ids: &[&str],
        decide: impl Fn(&mut C, usize, &mut C::Effects) -> T + Send + Sync,
    ) -> Vec<Result<T, Failure>> {
        let decide = &decide;
        let by_partition = by_partition::<C>(broker, ids).await;
        let count = by_partition.values().map(Vec::len).sum();
        let outcomes = stream::iter(by_partition).map(|(id, places)| async move {
            let outcomes = match self.of_partition(broker, id).await {
                Ok(shard) => run_all(broker, &shard, &places, decide).await,
                Err(failure) => places.iter().map(|_| Err(failure.clone())).collect(),
            };
            (places, outcomes)
        });
        in_order(count, outcomes.buffer_unordered(PARTITIONS_TOGETHER_MAX)).await
    }

    /// What `read` says of each of these shards: true at some moment after this call began, as with [`Shard::read`].
    pub(crate) async fn read_all<T: Send>(
        &self,
        broker: &Shared,
        shards: &[Arc<Shard<C>>],
        read: impl Fn(&C) -> T + Send + Sync,
    ) -> Result<Vec<T>, Failure> {
        let read = &read;
        let mut all = Vec::new();
        let mut by_log: BTreeMap<usize, Vec<&Shard<C>>> = BTreeMap::new();
        for shard in shards {
            by_log.entry(shard.partition().log_index()).or_default().push(shard);
        }
        // Most often they lie in one. In several they lie while they move, and after a start with other logs than before.
        for shards in by_log.values() {
            let Some((first, others)) = shards.split_first() else { continue };
            for shard in others {
                all.push(shard.peek(broker, read).await?);
                // What is confirmed already is not waited for.
                tokio::task::yield_now().await;
            }
            // Last, so that it proves all of this write-ahead log.
            all.push(first.read(broker, read).await?);
        }
        Ok(all)
    }

    async fn of_partition(&self, broker: &Shared, id: Option<StreamId>) -> Result<Arc<Shard<C>>, Failure> {
        self.serving(broker, id.ok_or(Failure::NotCoordinator)?).await
    }
}

/// What became of `count` groups by their places, of what became of those of each partition.
async fn in_order<T: Send>(
    count: usize,
    outcomes: impl Stream<Item = (Vec<usize>, Vec<Result<T, Failure>>)> + Send,
) -> Vec<Result<T, Failure>> {
    let mut told = Vec::new();
    told.resize_with(count, || Err(Failure::NotCoordinator));
    let mut outcomes = pin!(outcomes);
    while let Some((places, outcomes)) = outcomes.next().await {
        places.into_iter().zip(outcomes).for_each(|(place, outcome)| told[place] = outcome);
        tokio::task::yield_now().await;
    }
    told
}

/// The places of the groups of each partition; of none where there is no such partition.
async fn by_partition<C: Core>(broker: &Shared, ids: &[&str]) -> BTreeMap<Option<StreamId>, Vec<usize>> {
    let image = broker.store.ledger().image();
    let (mut places, mut steps) = (BTreeMap::<_, Vec<usize>>::new(), Steps::default());
    for (place, id) in ids.iter().take(GROUPS_MAX).enumerate() {
        places.entry(C::TOPIC.stream_of(&image, id)).or_default().push(place);
        steps.next().await;
    }
    places
}

/// One group at a time, since one may be large, and who commits waits meanwhile.
async fn read_places<C: Core, T: Send>(
    broker: &Shared,
    shard: &Shard<C>,
    places: &[usize],
    read: &(impl Fn(&C, usize) -> T + Send + Sync),
) -> Vec<Result<T, Failure>> {
    let Some((last, before)) = places.split_last() else { return Vec::new() };
    let (mut values, mut steps) = (Vec::with_capacity(places.len()), Steps::default());
    for place in before {
        values.push(shard.look(|groups| read(groups, *place)));
        steps.next().await;
    }
    // Confirms all that was looked at before, and proves that it was this broker's to tell.
    match shard.read(broker, |groups| read(groups, *last)).await {
        Ok(value) => values.into_iter().chain([value]).map(Ok).collect(),
        Err(failure) => places.iter().map(|_| Err(failure.clone())).collect(),
    }
}

/// Those behind the first that there was no room for are left alone, and told so; what was decided is told when it is durable.
async fn run_all<C: Core, T: Send>(
    broker: &Shared,
    shard: &Shard<C>,
    places: &[usize],
    decide: &(impl Fn(&mut C, usize, &mut C::Effects) -> T + Send + Sync),
) -> Vec<Result<T, Failure>> {
    let deadline = || broker.clock.now().plus(broker.options.group_wait_max);
    let mut values = Vec::with_capacity(places.len());
    let (mut end, mut no_room) = (Offset(0), None);
    for some in places.chunks(GROUPS_TOGETHER_MAX) {
        if let Err(failure) = shard.room(broker, deadline()).await {
            no_room = Some(failure);
            break;
        }
        let decided = shard
            .apply(broker, |groups, _, fx| -> Vec<T> { some.iter().map(|place| decide(groups, *place, fx)).collect() });
        values.extend(decided.value);
        end = decided.after;
        tokio::task::yield_now().await;
    }
    let left = places.len() - values.len();
    let mut outcomes: Vec<Result<T, Failure>> = match shard.confirmed(broker, end, deadline()).await {
        Ok(()) => values.into_iter().map(Ok).collect(),
        Err(failure) => values.iter().map(|_| Err(failure.clone())).collect(),
    };
    outcomes.extend(no_room.into_iter().flat_map(|failure| std::iter::repeat_n(failure, left)).map(Err));
    outcomes
}
