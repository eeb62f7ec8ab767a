//! Brings decisions to the partitions: the markers of one shard, from its decisions' confirmation to the partitions' answers.
//!
//! Markers leave in the order of decisions, each when its decision is durable; those of different partitions do not wait for each other.
//! What failed is told to the core, which sends it again after a pause, for as long as this broker is the coordinator; whoever is it next
//! begins anew. A partition counts as gone when the ledger, read to its end, knows no such partition: this broker's image alone may be
//! older than the transaction.

use crate::Shared;
use crate::coordinator::Shard;
use crate::handler::write_txn_markers;
use crate::places::{Place, of_partition};
use base::{Offset, planted};
use coordinator_core::{Marker, MarkerOutcome, NamedTopicPartitions, Producer, Transactions};
use futures::stream::{FuturesUnordered, StreamExt};
use protocol::error_code::ErrorCode;
use protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use protocol::messages::write_txn_markers_response::WritableTxnMarkerResult;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use world::lock;

/// Markers of one shard under way at the most; others wait.
const UNDER_WAY_MAX: usize = 1024;

/// Before a producer id is asked for again.
const NO_ID_WAIT: Duration = Duration::from_secs(1);

/// Whose marker is on its way to where. A second one to the same place would tell nothing new.
type UnderWay = Mutex<BTreeSet<(String, Producer, Place)>>;

/// What became of a marker in some partitions.
type Outcomes = Vec<(String, i32, MarkerOutcome)>;

/// Sends what the shard hands on, until it is lost or the broker stops. Each marker is a task of its own: several wait for one confirmation, and
/// which of the futures within one task goes on first is left to chance.
pub(super) async fn run(broker: Arc<Shared>, shard: Arc<Shard<Transactions>>) {
    let mut stopping = broker.stopping.subscribe();
    let under_way = Arc::new(UnderWay::default());
    let room = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    loop {
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = shard.leaves() => {}
        }
        if shard.is_lost() {
            return;
        }
        if shard.look(Transactions::wants_producer_id) {
            supply(&broker, &shard).await;
        }
        for outgoing in shard.take_outgoing() {
            // Those before it end when the shard is lost or the broker stops.
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            let (of, shard, under_way) = (broker.clone(), shard.clone(), under_way.clone());
            let marker = async move {
                send(&of, &shard, &under_way, outgoing).await;
                drop(permit);
            };
            drop(broker.clock.spawn("marker", Box::pin(marker)));
        }
    }
}

/// An id for what is to be aborted behind its producer's last epoch; where there is none now, the core asks again.
async fn supply(broker: &Shared, shard: &Shard<Transactions>) {
    match broker.producer_ids.next(&broker.store).await {
        Ok(id) => drop(shard.apply(broker, |transactions, _, _| transactions.supply(id))),
        Err(error) => {
            tracing::warn!("a transaction that is too old can't be aborted, there is no producer id: {error}");
            broker.clock.sleep(NO_ID_WAIT).await;
        }
    }
}

/// Sends a marker to all its partitions, once its decision is durable.
async fn send(broker: &Shared, shard: &Shard<Transactions>, under_way: &UnderWay, (after, marker): (Offset, Marker)) {
    let after = planted!("F2", after, Offset(0));
    // However long it takes: the decision stands, and the log confirms in order.
    while shard.confirmed(broker, after, broker.clock.now().plus(broker.options.group_wait_max)).await.is_err() {
        if shard.is_lost() || *broker.stopping.borrow() {
            return;
        }
    }
    let places = places(broker, &marker.partitions).await;
    let mut sent: FuturesUnordered<_> = places
        .into_iter()
        .map(|(place, partitions)| send_to(broker, (shard.leader_epoch(), under_way), &marker, (place, partitions)))
        .collect();
    while let Some(outcomes) = sent.next().await {
        let Marker { transactional_id, producer, .. } = &marker;
        shard.apply(broker, |transactions, now, fx| {
            transactions.marked(now, transactional_id, *producer, &outcomes, fx);
        });
    }
}

/// The partitions by where they are. That one is gone is believed only where the ledger was read to its end.
async fn places(broker: &Shared, partitions: &NamedTopicPartitions) -> BTreeMap<Place, NamedTopicPartitions> {
    let known = by_place(broker, partitions);
    if !known.contains_key(&Place::Gone) {
        return known;
    }
    match broker.store.ledger().refresh().await {
        Ok(_image) => by_place(broker, partitions),
        Err(error) => {
            tracing::debug!("look for the partitions of a transaction: {error}");
            BTreeMap::from([(Place::Nowhere, partitions.clone())])
        }
    }
}

fn by_place(broker: &Shared, partitions: &NamedTopicPartitions) -> BTreeMap<Place, NamedTopicPartitions> {
    let image = broker.store.ledger().image();
    let mut places: BTreeMap<Place, NamedTopicPartitions> = BTreeMap::new();
    for (topic, numbers) in partitions {
        for number in numbers {
            let place = of_partition(broker, &image, topic, *number);
            places.entry(place).or_default().entry(topic.clone()).or_default().insert(*number);
        }
    }
    places
}

async fn send_to(
    broker: &Shared,
    (coordinator_epoch, under_way): (i32, &UnderWay),
    marker: &Marker,
    (place, partitions): (Place, NamedTopicPartitions),
) -> Outcomes {
    let address = match &place {
        Place::Gone => return all(&partitions, MarkerOutcome::Gone),
        Place::Nowhere => return all(&partitions, MarkerOutcome::Retry),
        Place::Here => None,
        Place::At(address) => Some(address.clone()),
    };
    let name = (marker.transactional_id.clone(), marker.producer, place);
    if !lock(under_way).insert(name.clone()) {
        return all(&partitions, MarkerOutcome::Retry);
    }
    let wanted = message(coordinator_epoch, marker, &partitions);
    let result = match address {
        Some(address) => broker.peers.write(&address, wanted).await,
        None => write_txn_markers::write(broker, vec![wanted]).await.pop(),
    };
    lock(under_way).remove(&name);
    let unknown = planted!("a lost answer counts as a marker", MarkerOutcome::Retry, MarkerOutcome::Written);
    result.map_or_else(|| all(&partitions, unknown), |result| outcomes(marker, &partitions, &result))
}

fn all(partitions: &NamedTopicPartitions, outcome: MarkerOutcome) -> Outcomes {
    each(partitions).map(|(topic, number)| (topic.to_owned(), number, outcome)).collect()
}

fn each(partitions: &NamedTopicPartitions) -> impl Iterator<Item = (&str, i32)> {
    partitions.iter().flat_map(|(topic, numbers)| numbers.iter().map(move |number| (topic.as_str(), *number)))
}

fn message(coordinator_epoch: i32, marker: &Marker, partitions: &NamedTopicPartitions) -> WritableTxnMarker {
    let topics = partitions.iter().map(|(name, numbers)| WritableTxnMarkerTopic {
        name: name.clone(),
        partition_indexes: numbers.iter().copied().collect(),
    });
    WritableTxnMarker {
        producer_id: marker.producer.id,
        producer_epoch: marker.producer.epoch,
        transaction_result: marker.commit,
        topics: topics.collect(),
        coordinator_epoch,
        transaction_version: i8::try_from(marker.version.level()).unwrap_or(0),
    }
}

/// What the partitions have answered, of those that were asked; no answer is none.
fn outcomes(marker: &Marker, asked: &NamedTopicPartitions, result: &WritableTxnMarkerResult) -> Outcomes {
    let told: BTreeMap<(&str, i32), i16> = (result.topics.iter())
        .flat_map(|topic| topic.partitions.iter().map(|it| ((topic.name.as_str(), it.partition_index), it.error_code)))
        .collect();
    let of = |(topic, number): (&str, i32)| {
        let code = told.get(&(topic, number)).copied();
        let is_written = code == Some(ErrorCode::None.number());
        if !is_written {
            let Marker { transactional_id, producer, .. } = marker;
            tracing::debug!(transactional_id, producer.id, topic, number, code, "a marker is to be written again");
        }
        (topic.to_owned(), number, if is_written { MarkerOutcome::Written } else { MarkerOutcome::Retry })
    };
    each(asked).map(of).collect()
}
