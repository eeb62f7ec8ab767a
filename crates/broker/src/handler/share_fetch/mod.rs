//! ShareFetch (KIP-932): a member of a share group acknowledges records and is given others.
//!
//! The walk: the session says which partitions are meant (`crate::shared_partitions`); what is acknowledged begins first
//! (`handler::share_acknowledge`), and is written while `fetching` reads, or waits for something to read; `granting` gives the member what it
//! can of it. Where a request renews it fetches nothing, so that the answer is there before the renewed time is over (KIP-1222).

mod fetching;
mod granting;

use self::fetching::{Place, Wanted};
use super::share_acknowledge::{self, Acknowledger, Told};
use crate::Shared;
use crate::error::Failure;
use crate::memory::{FrameMemory, Parking};
use crate::quota::Meter;
use crate::rights::Rights;
use crate::shared_partitions::settings_of;
use coordinator_core::{
    AcquireMode, SHARE_SESSION_ENDS, ShareSessionAnswer, ShareSessionError, ShareSessionKey, ShareSessionRequest,
    SharedPartition,
};
use futures::future;
use protocol::error_code::ErrorCode;
use protocol::messages::share_fetch_request::ShareFetchRequest;
use protocol::messages::share_fetch_response::{
    AcquiredRecords, LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareFetchResponse, ShareFetchableTopicResponse,
};
use protocol::wire::Records;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// The longest that a fetch waits while it holds the memory of its frame, as in `handler::fetch`.
const CROWDED_WAIT_MAX: Duration = Duration::from_millis(500);

/// What it brings counts for the client's quota as a fetch's does. `frame` is the memory of the request's frame, `rights` what its member may
/// do, `connection` the number of the connection with which the session ends.
pub(crate) async fn handle(
    broker: &Shared,
    request: ShareFetchRequest,
    version: i16,
    (connection, rights, frame): (u64, &Rights, &mut FrameMemory),
    meter: &Meter,
) -> (ShareFetchResponse, Option<OwnedSemaphorePermit>) {
    match fetch(broker, request, version, (connection, rights, frame), meter).await {
        Ok(answered) => answered,
        Err(failure) => {
            let error_code = failure.code().number();
            (ShareFetchResponse { error_code, ..ShareFetchResponse::default() }, None)
        }
    }
}

async fn fetch(
    broker: &Shared,
    mut request: ShareFetchRequest,
    version: i16,
    (connection, rights, frame): (u64, &Rights, &mut FrameMemory),
    meter: &Meter,
) -> Result<(ShareFetchResponse, Option<OwnedSemaphorePermit>), Failure> {
    let key = share_acknowledge::session_key(rights, request.group_id.take(), request.member_id.take())?;
    check_renewal(&request)?;
    let mode = AcquireMode::of_id(request.share_acquire_mode);
    let mode = mode.ok_or_else(|| Failure::InvalidRequest("Unknown share acquire mode.".to_owned()))?;
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let said = said(&mut request);
    let partitions = begin(broker, (&key, connection), (&request, &said), wait).await?;
    let wait = wait.min(match frame.park(&broker.frames.memory, partitions.len() * fetching::PLACE_BYTES) {
        Parking::Free => broker.options.fetch_wait_max,
        Parking::Brief => CROWDED_WAIT_MAX,
        Parking::Never => Duration::ZERO,
    });
    let wanted = Wanted {
        key: &key,
        rights,
        mode,
        batch_size: u32::try_from(request.batch_size).unwrap_or(0),
        records_max: u32::try_from(request.max_records).unwrap_or(0),
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0),
        bytes_max: usize::try_from(request.max_bytes).unwrap_or(0).min(meter.fetch_bytes_max()),
        wait,
        is_committed: settings_of(broker, &key.group).is_committed,
    };
    let of = Acknowledger { key: &key, rights, version, renews: request.is_renew_ack };
    let acknowledges = said.values().any(|said| !said.is_empty());
    let acknowledged =
        async { if acknowledges { share_acknowledge::all(broker, of, said).await } else { Told::new() } };
    let fetched = async {
        if request.is_renew_ack { (Vec::new(), None) } else { fetching::run(broker, &wanted, partitions).await }
    };
    // What is acknowledged has begun before anything is given out.
    let (told, (places, memory)) = future::join(acknowledged, fetched).await;
    meter.charge_share_fetch(places.iter().map(|place| place.records.len()).sum());
    let epoch = request.share_session_epoch;
    let response = answer(broker, (&key, epoch), places, told);
    if epoch == SHARE_SESSION_ENDS {
        broker.shares.end(broker, &key);
    }
    Ok((response, memory))
}

/// Kafka's rule about requests that renew, in its words.
fn check_renewal(request: &ShareFetchRequest) -> Result<(), Failure> {
    let bounds = [
        ("maxBytes", request.max_bytes),
        ("minBytes", request.min_bytes),
        ("maxRecords", request.max_records),
        ("maxWaitMs", request.max_wait_ms),
    ];
    let wrong: String = bounds
        .iter()
        .filter(|(_, bound)| request.is_renew_ack && *bound != 0)
        .map(|(name, _)| format!("{name} must be set to 0, "))
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(Failure::InvalidRequest(format!("{wrong}if isRenewAck is true."))) }
}

/// What a request says of records.
fn said(request: &mut ShareFetchRequest) -> BTreeMap<SharedPartition, share_acknowledge::Said> {
    let mut said = BTreeMap::new();
    for topic in &mut request.topics {
        for partition in &mut topic.partitions {
            let batches = std::mem::take(&mut partition.acknowledgement_batches).into_iter();
            let batches =
                batches.map(|it| share_acknowledge::batch(it.first_offset, it.last_offset, it.acknowledge_types));
            said.insert((topic.topic_id, partition.partition_index), batches.collect());
        }
    }
    said
}

/// The session begins or goes on: which partitions are fetched.
async fn begin(
    broker: &Shared,
    (key, connection): (&ShareSessionKey, u64),
    (request, said): (&ShareFetchRequest, &BTreeMap<SharedPartition, share_acknowledge::Said>),
    wait: Duration,
) -> Result<Vec<SharedPartition>, Failure> {
    let named = request.topics.iter();
    let partitions: Vec<SharedPartition> =
        named.flat_map(|it| it.partitions.iter().map(|of| (it.topic_id, of.partition_index))).collect();
    let forgotten = request.forgotten_topics_data.iter();
    let forgotten: Vec<SharedPartition> =
        forgotten.flat_map(|it| it.partitions.iter().map(|partition| (it.topic_id, *partition))).collect();
    let begun = broker.shares.fetch(&ShareSessionRequest {
        key,
        epoch: request.share_session_epoch,
        connection,
        partitions: &partitions,
        forgotten: &forgotten,
        acknowledges: said.values().any(|said| !said.is_empty()),
    });
    if begun == Err(ShareSessionError::LimitReached) {
        // Else its client would ask in a loop.
        let mut stopping = broker.stopping.subscribe();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = broker.clock.sleep(wait.min(broker.options.fetch_wait_max)) => {}
        }
    }
    begun.map_err(Failure::from)
}

/// What of it the session's client has to hear, with what became of its acknowledgements.
fn answer(
    broker: &Shared,
    (key, epoch): (&ShareSessionKey, i32),
    places: Vec<Place>,
    told: Told,
) -> ShareFetchResponse {
    let data = places.into_iter().map(|place| (place.partition, describe(place)));
    let mut data: Vec<(SharedPartition, PartitionData)> =
        data.filter_map(|(partition, data)| Some((partition, data?))).collect();
    let found: Vec<ShareSessionAnswer> = data
        .iter()
        .map(|(partition, data)| ShareSessionAnswer {
            partition: *partition,
            has_records: !data.records.is_empty(),
            has_error: data.error_code != ErrorCode::None.number(),
        })
        .collect();
    let answered = broker.shares.answer(key, epoch, &found);
    let error_code =
        answered.as_ref().err().map_or(ErrorCode::None.number(), |error| Failure::from(*error).code().number());
    let answered: BTreeSet<SharedPartition> = answered.unwrap_or_default().into_iter().collect();
    data.retain(|(partition, _)| answered.contains(partition));
    for (partition, told) in told {
        let (code, words) = share_acknowledge::words(&told);
        let place = data.iter().position(|(it, _)| *it == partition).unwrap_or_else(|| {
            data.push((partition, PartitionData { partition_index: partition.1, ..PartitionData::default() }));
            data.len() - 1
        });
        let (_, of) = &mut data[place];
        (of.acknowledge_error_code, of.acknowledge_error_message) = (code, words);
    }
    let image = broker.store.ledger().image();
    let mut leaders = BTreeSet::new();
    for (partition, of) in &mut data {
        if let Some((leader_id, leader_epoch)) = share_acknowledge::leader(&image, *partition, of.error_code) {
            leaders.insert(leader_id);
            of.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch };
        }
    }
    let endpoint = |(node_id, host, port)| NodeEndpoint { node_id, host, port, rack: None };
    ShareFetchResponse {
        error_code,
        acquisition_lock_timeout_ms: share_acknowledge::lock_millis(broker, &key.group),
        responses: by_topic(data),
        node_endpoints: share_acknowledge::endpoints(&image, &leaders).into_iter().map(endpoint).collect(),
        ..ShareFetchResponse::default()
    }
}

/// What is told of a partition; nothing of one that was not read.
fn describe(place: Place) -> Option<PartitionData> {
    let partition_index = place.partition.1;
    match place.led {
        Ok(_) if !place.is_read => None,
        Ok(_) => {
            let acquired = place.acquired.iter().map(|it| AcquiredRecords {
                first_offset: it.range.base.to_kafka(),
                last_offset: it.range.next.to_kafka() - 1,
                delivery_count: it.delivery_count,
            });
            let acquired_records = acquired.collect();
            Some(PartitionData {
                partition_index,
                records: place.records,
                acquired_records,
                ..PartitionData::default()
            })
        }
        Err(failure) => Some(PartitionData {
            partition_index,
            error_code: failure.code().number(),
            error_message: Some(failure.to_string()),
            records: Records::default(),
            ..PartitionData::default()
        }),
    }
}

/// The answers topic by topic, topics in the order in which they are first met.
fn by_topic(data: Vec<(SharedPartition, PartitionData)>) -> Vec<ShareFetchableTopicResponse> {
    let mut topics: Vec<ShareFetchableTopicResponse> = Vec::new();
    let mut places = BTreeMap::new();
    for ((topic_id, _), data) in data {
        let place = *places.entry(topic_id).or_insert_with(|| {
            topics.push(ShareFetchableTopicResponse { topic_id, partitions: Vec::new() });
            topics.len() - 1
        });
        topics[place].partitions.push(data);
    }
    topics
}
