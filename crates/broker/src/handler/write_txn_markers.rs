//! WriteTxnMarkers: a transaction's coordinator has decided, and its partitions are told by a control batch each (KIP-98).
//!
//! Sent by coordinators: by other brokers as a request, by this one through [`write`]. A partition is answered for when its marker is
//! durable, or is found to be there already (rules F-2 and F-3). Markers for one partition are written in the order of the request;
//! partitions do not wait for each other.
//!
//! A marker for a partition of `__consumer_offsets` goes to its groups, whose offsets it makes count or drops (`coordinator`). Leaves to others:
//! what is a repeat (the stream).

use crate::appending::{self, Patience};
use crate::checks::{Steps, in_steps};
use crate::coordinator::{OFFSETS, Shard};
use crate::end_marker::EndMarker;
use crate::error::Failure;
use crate::memory::COPIES;
use crate::partition::{Appended, Partition};
use crate::rights::Rights;
use crate::topic_settings::TopicSettings;
use crate::{Shared, requests, topics};
use base::{Micros, TopicId, planted};
use control_core::{Image, Topic};
use coordinator_core::Groups;
use futures::future::join_all;
use futures::stream::StreamExt;
use protocol::api::Operation;
use protocol::error_code::ErrorCode;
use protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult, WriteTxnMarkersResponse,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stream::{Ending, Marker, MarkerRule};
use tokio::sync::OwnedSemaphorePermit;

/// Partitions of one request that are written to at the same time.
const PARTITIONS_TOGETHER_MAX: usize = 256;

/// Markers for partitions that one request has under way at the same time, each with a confirmation that is waited for: a request may name
/// a million.
const PLACES_TOGETHER_MAX: usize = 8192;

/// From this version of transactions on the coordinator has raised the epoch for the marker (KIP-890, KIP-1228).
const RAISING_VERSION: i8 = 2;

/// What a marker holds in memory while it waits, about.
const MARKER_BYTES: usize = 256;

/// A marker that is to be written to a partition, and the place of the partition in its result.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: usize,
    topic_at: usize,
    partition_at: usize,
}

pub(crate) async fn handle(
    broker: &Shared,
    request: WriteTxnMarkersRequest,
    rights: &Rights,
) -> (WriteTxnMarkersResponse, Option<OwnedSemaphorePermit>) {
    let markers = each_once(request.markers).await;
    let memory = broker.answer_memory.take_ahead(answer_bytes(&markers)).await;
    let results = if !rights.allow_cluster(Operation::Alter)
        && let Err(failure) = rights.check_cluster(Operation::ClusterAction)
    {
        let mut refused = unanswered(&markers).await;
        let partitions = refused.iter_mut().flat_map(|marker| &mut marker.topics).flat_map(|it| &mut it.partitions);
        partitions.for_each(|partition| partition.error_code = failure.code().number());
        refused
    } else {
        write(broker, markers).await
    };
    (WriteTxnMarkersResponse { markers: merged(results).await }, memory)
}

/// A partition that a marker names again has the marker once, and is told once: Kafka keeps a map of each marker's partitions. In their
/// order.
async fn each_once(mut markers: Vec<WritableTxnMarker>) -> Vec<WritableTxnMarker> {
    let mut steps = Steps::default();
    for marker in &mut markers {
        steps.next().await;
        let mut topics: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for topic in std::mem::take(&mut marker.topics) {
            steps.next().await;
            let known = topics.entry(topic.name).or_default();
            for index in topic.partition_indexes {
                steps.next().await;
                known.insert(index);
            }
        }
        let topics = topics
            .into_iter()
            .map(|(name, known)| WritableTxnMarkerTopic { name, partition_indexes: known.into_iter().collect() });
        marker.topics = topics.collect();
    }
    markers
}

/// What the answer takes, about.
fn answer_bytes(markers: &[WritableTxnMarker]) -> usize {
    let topics = || markers.iter().flat_map(|marker| &marker.topics);
    let names: usize = topics().map(|topic| size_of::<WritableTxnMarkerTopicResult>() + topic.name.len()).sum();
    let partitions: usize = topics().map(|topic| topic.partition_indexes.len()).sum();
    let partitions = partitions * size_of::<WritableTxnMarkerPartitionResult>();
    COPIES * (size_of_val(markers) + names + partitions)
}

/// Writes markers to partitions that this broker leads. A result for each marker, in their order, with an error code for each partition.
pub(crate) async fn write(broker: &Shared, markers: Vec<WritableTxnMarker>) -> Vec<WritableTxnMarkerResult> {
    let image = &broker.store.ledger().image();
    let deadline = broker.clock.now().plus(broker.options.produce_wait_max);
    let mut results = unanswered(&markers).await;
    let mut places = places(&markers);
    loop {
        let some: Vec<Place> = places.by_ref().take(PLACES_TOGETHER_MAX).collect();
        if some.is_empty() {
            return results;
        }
        for (Place { at, topic_at, partition_at }, code) in write_some(broker, image, (&markers, some), deadline).await
        {
            results[at].topics[topic_at].partitions[partition_at].error_code = code.number();
        }
        // What is refused at once has waited for nothing.
        tokio::task::yield_now().await;
    }
}

/// All partitions that are named, in the order of the request.
fn places(markers: &[WritableTxnMarker]) -> impl Iterator<Item = Place> + Send {
    markers.iter().enumerate().flat_map(|(at, marker)| {
        marker.topics.iter().enumerate().flat_map(move |(topic_at, topic)| {
            (0..topic.partition_indexes.len()).map(move |partition_at| Place { at, topic_at, partition_at })
        })
    })
}

/// What becomes of some of them.
async fn write_some(
    broker: &Shared,
    image: &Image,
    (markers, some): (&[WritableTxnMarker], Vec<Place>),
    deadline: Micros,
) -> Vec<(Place, ErrorCode)> {
    let mut asked: BTreeMap<(Arc<str>, i32), Vec<Place>> = BTreeMap::new();
    for place in some {
        let topic = &markers[place.at].topics[place.topic_at];
        let key = (topic.name.as_str().into(), topic.partition_indexes[place.partition_at]);
        asked.entry(key).or_default().push(place);
    }
    let written = in_steps(asked).map(async |((name, index), places)| {
        let of_partition = places.iter().map(|place| end_marker(&markers[place.at])).collect();
        let codes = write_to(broker, image, (&name, index), (of_partition, deadline)).await;
        places.into_iter().zip(codes).collect::<Vec<_>>()
    });
    let written: Vec<_> = written.buffered(PARTITIONS_TOGETHER_MAX).collect().await;
    written.into_iter().flatten().collect()
}

fn end_marker(marker: &WritableTxnMarker) -> Result<EndMarker, Failure> {
    if marker.producer_id < 0 || marker.producer_epoch < 0 {
        return Err(Failure::InvalidRequest("a marker names a producer id and its epoch".to_owned()));
    }
    let ending = if marker.transaction_result { Ending::Commit } else { Ending::Abort };
    Ok(EndMarker {
        producer_id: marker.producer_id,
        producer_epoch: marker.producer_epoch,
        marker: Marker { ending, coordinator_epoch: marker.coordinator_epoch },
        rule: if marker.transaction_version >= RAISING_VERSION { MarkerRule::V2 } else { MarkerRule::V1 },
    })
}

/// Writes markers to one partition, one behind the other; waits until all are durable.
async fn write_to(
    broker: &Shared,
    image: &Image,
    (name, index): (&str, i32),
    (markers, deadline): (Vec<Result<EndMarker, Failure>>, Micros),
) -> Vec<ErrorCode> {
    let target = match find(broker, image, name, index).await {
        Ok(target) => target,
        Err(failure) => return markers.iter().map(|_| failure.code()).collect(),
    };
    match target {
        Target::Groups(shard) => {
            let mut codes = Vec::with_capacity(markers.len());
            for marker in markers {
                let ended = match marker {
                    Ok(marker) => shard.end_transaction(broker, &marker).await.map_err(not_ready),
                    Err(failure) => Err(failure),
                };
                codes.push(code_of(ended));
            }
            codes
        }
        Target::Plain(topic, partition) => write_plain(broker, image, (topic, partition), (markers, deadline)).await,
    }
}

async fn write_plain(
    broker: &Shared,
    image: &Image,
    (topic, mut partition): (&Topic, Partition),
    (markers, deadline): (Vec<Result<EndMarker, Failure>>, Micros),
) -> Vec<ErrorCode> {
    let patience = Patience { deadline, frame_bytes: MARKER_BYTES };
    let settings = TopicSettings::of(&topic.configs, &broker.live.at(image));
    let (mut appended, mut steps) = (Vec::with_capacity(markers.len()), Steps::default());
    for marker in markers {
        steps.next().await;
        appended.push(append(broker, &mut partition, patience, (marker, &settings)).await);
    }
    let confirmed = appended.into_iter().map(async |appended| match appended {
        Ok(appended) => code_of(planted!("F10", appending::confirm(broker, appended, deadline).await, Ok(()))),
        Err(failure) => failure.code(),
    });
    join_all(confirmed).await
}

/// Coordinators of transactions don't expect those of groups to be away: this code makes them come again, as in Kafka.
fn not_ready(failure: Failure) -> Failure {
    match failure.code() {
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress => {
            Failure::NotLeader
        }
        _ => failure,
    }
}

fn code_of(outcome: Result<(), Failure>) -> ErrorCode {
    outcome.map_or_else(|failure| failure.code(), |()| ErrorCode::None)
}

/// Where a marker goes.
enum Target<'a> {
    Plain(&'a Topic, Partition),
    Groups(Arc<Shard<Groups>>),
}

async fn find<'a>(broker: &Shared, image: &'a Image, name: &str, index: i32) -> Result<Target<'a>, Failure> {
    let topic = topics::find(image, name, TopicId::default())?;
    let id = topics::stream_of(topic, index)?;
    if topic.name == OFFSETS.name {
        return broker.coordinators.shard_at(broker, id).await.map(Target::Groups).map_err(not_ready);
    }
    if topic.internal {
        return Err(Failure::InvalidTopic(format!("'{name}' has no part in transactions")));
    }
    Ok(Target::Plain(topic, broker.partitions.owned(id).ok_or(Failure::NotLeader)?))
}

async fn append(
    broker: &Shared,
    partition: &mut Partition,
    patience: Patience,
    (marker, settings): (Result<EndMarker, Failure>, &TopicSettings),
) -> Result<Appended, Failure> {
    let marker = marker?;
    let batch = marker.batch(broker.clock.wall(), settings.log_append_time)?;
    let enqueue = |partition: &Partition| partition.append_marker(&marker, &batch);
    appending::append(broker, partition, patience, enqueue).await
}

async fn unanswered(markers: &[WritableTxnMarker]) -> Vec<WritableTxnMarkerResult> {
    let (mut results, mut steps) = (Vec::with_capacity(markers.len()), Steps::default());
    for marker in markers {
        steps.next().await;
        let topics = marker.topics.iter().map(|topic| WritableTxnMarkerTopicResult {
            name: topic.name.clone(),
            partitions: topic
                .partition_indexes
                .iter()
                .map(|index| WritableTxnMarkerPartitionResult { partition_index: *index, ..Default::default() })
                .collect(),
        });
        results.push(WritableTxnMarkerResult { producer_id: marker.producer_id, topics: topics.collect() });
    }
    results
}

/// Clients know results by their producer, as Kafka answers: one for each.
async fn merged(results: Vec<WritableTxnMarkerResult>) -> Vec<WritableTxnMarkerResult> {
    requests::merged(results, |it| it.producer_id, |known, more| known.topics.extend(more.topics)).await
}
