//! One request that names many groups: those of one partition are read, or changed, one after the other and wait for the log once, all
//! partitions at the same time. One write for each of a thousand groups would take half a minute, with a log in the bucket.

use super::{Coordinators, Shard, partition_of, topic};
use crate::Shared;
use crate::checks::Steps;
use crate::error::Failure;
use base::{Offset, StreamId};
use coordinator_core::{Effects, Groups};
use futures::stream::{self, Stream, StreamExt};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

/// Groups of one request that are looked for at the most.
pub(crate) const GROUPS_MAX: usize = 100_000;

/// Partitions that one request works on at the same time.
const PARTITIONS_TOGETHER_MAX: usize = 64;

/// Groups that are looked at in one go, while nobody else gets at their partition.
const GROUPS_TOGETHER_MAX: usize = 16;

impl Coordinators {
    /// What `read` says of each of the first [`GROUPS_MAX`] groups, by their places: true at some moment after this call began, as with
    /// [`Shard::read`]. A partition that can't be read fails its own groups alone.
    pub(crate) async fn read_each<T: Send>(
        &self,
        broker: &Shared,
        ids: &[&str],
        read: impl Fn(&Groups, usize) -> T + Send + Sync,
    ) -> Vec<Result<T, Failure>> {
        let read = &read;
        let by_partition = by_partition(broker, ids).await;
        let count = by_partition.values().map(Vec::len).sum();
        let outcomes = stream::iter(by_partition).map(|(id, places)| async move {
            let outcome = match self.of_partition(broker, id).await {
                Ok(shard) => read_all(broker, &shard, &places, read).await,
                Err(failure) => Err(failure),
            };
            (places, outcome)
        });
        in_order(count, outcomes.buffer_unordered(PARTITIONS_TOGETHER_MAX)).await
    }

    /// What `decide` says of each of the first [`GROUPS_MAX`] groups, by their places, once that is durable.
    pub(crate) async fn run_each<T: Send>(
        &self,
        broker: &Shared,
        ids: &[&str],
        decide: impl Fn(&mut Groups, usize, &mut Effects) -> T + Send + Sync,
    ) -> Vec<Result<T, Failure>> {
        let decide = &decide;
        let by_partition = by_partition(broker, ids).await;
        let count = by_partition.values().map(Vec::len).sum();
        let outcomes = stream::iter(by_partition).map(|(id, places)| async move {
            let outcome = match self.of_partition(broker, id).await {
                Ok(shard) => run_all(broker, &shard, &places, decide).await,
                Err(failure) => Err(failure),
            };
            (places, outcome)
        });
        in_order(count, outcomes.buffer_unordered(PARTITIONS_TOGETHER_MAX)).await
    }

    async fn of_partition(&self, broker: &Shared, id: Option<StreamId>) -> Result<Arc<Shard>, Failure> {
        self.serving(broker, id.ok_or(Failure::NotCoordinator)?).await
    }
}

/// What became of `count` groups by their places, of what became of those of each partition.
async fn in_order<T: Send>(
    count: usize,
    outcomes: impl Stream<Item = (Vec<usize>, Result<Vec<T>, Failure>)> + Send,
) -> Vec<Result<T, Failure>> {
    let mut told = Vec::new();
    told.resize_with(count, || Err(Failure::NotCoordinator));
    let mut outcomes = pin!(outcomes);
    while let Some((places, outcome)) = outcomes.next().await {
        match outcome {
            Ok(values) => places.into_iter().zip(values).for_each(|(place, value)| told[place] = Ok(value)),
            Err(failure) => places.into_iter().for_each(|place| told[place] = Err(failure.clone())),
        }
        tokio::task::yield_now().await;
    }
    told
}

/// The places of the groups of each partition; of none where there is no such partition.
async fn by_partition(broker: &Shared, ids: &[&str]) -> BTreeMap<Option<StreamId>, Vec<usize>> {
    let image = broker.store.ledger().image();
    let topic = topic::find(&image);
    let (mut places, mut steps) = (BTreeMap::<_, Vec<usize>>::new(), Steps::default());
    for (place, id) in ids.iter().take(GROUPS_MAX).enumerate() {
        let number = topic.and_then(|topic| usize::try_from(partition_of(topic, id)).ok());
        let partition = topic.zip(number).and_then(|(topic, number)| topic.partitions.get(number).copied());
        places.entry(partition).or_default().push(place);
        steps.next().await;
    }
    places
}

async fn read_all<T: Send>(
    broker: &Shared,
    shard: &Shard,
    places: &[usize],
    read: &(impl Fn(&Groups, usize) -> T + Send + Sync),
) -> Result<Vec<T>, Failure> {
    let read_some =
        |groups: &Groups, some: &[usize]| -> Vec<T> { some.iter().map(|place| read(groups, *place)).collect() };
    let mut values = Vec::with_capacity(places.len());
    let (before, last) = places.split_at(places.len().saturating_sub(GROUPS_TOGETHER_MAX));
    for some in before.chunks(GROUPS_TOGETHER_MAX) {
        values.extend(shard.look(|groups| read_some(groups, some)));
        tokio::task::yield_now().await;
    }
    // Confirms all that was looked at before, and proves that it was this broker's to tell.
    values.extend(shard.read(broker, |groups| read_some(groups, last)).await?);
    Ok(values)
}

async fn run_all<T: Send>(
    broker: &Shared,
    shard: &Shard,
    places: &[usize],
    decide: &(impl Fn(&mut Groups, usize, &mut Effects) -> T + Send + Sync),
) -> Result<Vec<T>, Failure> {
    let deadline = broker.clock.now().plus(broker.options.group_wait_max);
    let mut values = Vec::with_capacity(places.len());
    let mut end = Offset(0);
    for some in places.chunks(GROUPS_TOGETHER_MAX) {
        shard.room(broker, deadline).await?;
        let decided = shard
            .apply(broker, |groups, _, fx| -> Vec<T> { some.iter().map(|place| decide(groups, *place, fx)).collect() });
        values.extend(decided.value);
        end = decided.after;
        tokio::task::yield_now().await;
    }
    shard.confirmed(broker, end, deadline).await?;
    Ok(values)
}
