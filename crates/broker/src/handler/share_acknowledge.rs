//! ShareAcknowledge (KIP-932): a member says what became of its records, without asking for more. Answered when it is durable.
//!
//! ShareFetch carries acknowledgements as well; what becomes of them is decided here too.

use crate::Shared;
use crate::error::Failure;
use crate::rights::Rights;
use crate::shared_partitions::settings_of;
use crate::topics;
use base::{Offset, OffsetRange, TopicId};
use control_core::Image;
use coordinator_core::{
    AcknowledgeBatch, SHARE_SESSION_ENDS, ShareSessionKey, ShareStateKey, SharedPartition, acknowledgements_are_valid,
};
use futures::stream::{FuturesOrdered, StreamExt};
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::share_acknowledge_request::{AcknowledgePartition, ShareAcknowledgeRequest};
use protocol::messages::share_acknowledge_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareAcknowledgeResponse, ShareAcknowledgeTopicResponse,
};
use std::collections::{BTreeMap, BTreeSet};

/// From this version on members may keep records for longer (KIP-1222).
const RENEW_VERSION: i16 = 2;

/// What a request says of the records of a partition: none for a batch that makes no sense.
pub(super) type Said = Vec<Option<AcknowledgeBatch>>;

/// What became of each; partitions of which nothing was to be done are left out where there is nothing to do at all, as in Kafka.
pub(super) type Told = Vec<(SharedPartition, Result<(), Failure>)>;

/// Whose records, and how the request may speak of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acknowledger<'a> {
    pub(super) key: &'a ShareSessionKey,
    /// What its member may do.
    pub(super) rights: &'a Rights,
    pub(super) version: i16,
    /// The request renews.
    pub(super) renews: bool,
}

pub(crate) async fn handle(
    broker: &Shared,
    request: ShareAcknowledgeRequest,
    version: i16,
    rights: &Rights,
) -> ShareAcknowledgeResponse {
    match acknowledge(broker, request, version, rights).await {
        Ok(response) => response,
        Err(failure) => {
            ShareAcknowledgeResponse { error_code: failure.code().number(), ..ShareAcknowledgeResponse::default() }
        }
    }
}

async fn acknowledge(
    broker: &Shared,
    request: ShareAcknowledgeRequest,
    version: i16,
    rights: &Rights,
) -> Result<ShareAcknowledgeResponse, Failure> {
    let key = session_key(rights, request.group_id, request.member_id)?;
    let epoch = request.share_session_epoch;
    broker.shares.acknowledge(&key, epoch)?;
    let mut said = BTreeMap::new();
    for topic in request.topics {
        for AcknowledgePartition { partition_index, acknowledgement_batches } in topic.partitions {
            let batches = acknowledgement_batches.into_iter();
            let batches = batches.map(|it| batch(it.first_offset, it.last_offset, it.acknowledge_types));
            said.insert((topic.topic_id, partition_index), batches.collect());
        }
    }
    let of = Acknowledger { key: &key, rights, version, renews: request.is_renew_ack };
    let told = all(broker, of, said).await;
    if epoch == SHARE_SESSION_ENDS {
        broker.shares.end(broker, &key);
    }
    let image = broker.store.ledger().image();
    let mut leaders = BTreeSet::new();
    let mut responses: Vec<ShareAcknowledgeTopicResponse> = Vec::new();
    for ((topic_id, partition_index), told) in told {
        let (error_code, error_message) = words(&told);
        let mut data = PartitionData { partition_index, error_code, error_message, ..PartitionData::default() };
        if let Some((leader_id, leader_epoch)) = leader(&image, (topic_id, partition_index), error_code) {
            leaders.insert(leader_id);
            data.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch };
        }
        match responses.last_mut() {
            Some(topic) if topic.topic_id == topic_id => topic.partitions.push(data),
            _ => responses.push(ShareAcknowledgeTopicResponse { topic_id, partitions: vec![data] }),
        }
    }
    let endpoint = |(node_id, host, port)| NodeEndpoint { node_id, host, port, rack: None };
    Ok(ShareAcknowledgeResponse {
        acquisition_lock_timeout_ms: lock_millis(broker, &key.group),
        responses,
        node_endpoints: endpoints(&image, &leaders).into_iter().map(endpoint).collect(),
        ..ShareAcknowledgeResponse::default()
    })
}

/// Whose session, where the request says, and where the caller may be in that group.
pub(super) fn session_key(
    rights: &Rights,
    group: Option<String>,
    member: Option<String>,
) -> Result<ShareSessionKey, Failure> {
    const MEMBER_ID_MAX: usize = 36;
    let group = group.ok_or_else(|| Failure::InvalidRequest("Invalid group id in the request.".to_owned()))?;
    rights.check(Operation::Read, Resource::Group, &group)?;
    let member = member.filter(|member| !member.is_empty() && member.chars().count() <= MEMBER_ID_MAX);
    let member = member.ok_or_else(|| Failure::InvalidRequest("Invalid member id in the request.".to_owned()))?;
    Ok(ShareSessionKey { group: group.into(), member })
}

/// A batch of a request; none where its offsets make no sense.
pub(super) fn batch(first: i64, last: i64, types: Vec<i8>) -> Option<AcknowledgeBatch> {
    let (base, last) = (Offset::from_kafka(first)?, Offset::from_kafka(last)?);
    (base <= last).then(|| AcknowledgeBatch { range: OffsetRange::new(base, last.plus(1)), types })
}

/// Takes what is said of records, and waits until all of it is durable or refused.
pub(super) async fn all(broker: &Shared, of: Acknowledger<'_>, said: BTreeMap<SharedPartition, Said>) -> Told {
    let image = broker.store.ledger().image();
    let mut told = Told::new();
    let mut nothing = Told::new();
    let mut under_way = FuturesOrdered::new();
    for (partition, said) in said {
        match check(&image, partition, &of, &said) {
            Err(failure) => told.push((partition, Err(failure))),
            Ok(()) if said.is_empty() => nothing.push((partition, Ok(()))),
            Ok(()) => {
                let batches: Vec<AcknowledgeBatch> = said.into_iter().flatten().collect();
                under_way.push_back(async move { (partition, one(broker, of.key, partition, &batches).await) });
            }
        }
    }
    if !under_way.is_empty() {
        told.append(&mut nothing);
    }
    while let Some(one) = under_way.next().await {
        told.push(one);
    }
    told.sort_by_key(|(partition, _)| *partition);
    told
}

fn check(
    image: &Image,
    (topic, partition): SharedPartition,
    of: &Acknowledger<'_>,
    said: &Said,
) -> Result<(), Failure> {
    let topic = image.topics.get(&TopicId::from(topic)).ok_or(Failure::UnknownTopicId)?;
    if !acknowledgements_are_valid(said, of.version >= RENEW_VERSION, of.renews) {
        return Err(Failure::InvalidRequest("the acknowledgements make no sense".to_owned()));
    }
    of.rights.check(Operation::Read, Resource::Topic, &topic.name)?;
    topics::stream_of(topic, partition).map(|_| ())
}

async fn one(
    broker: &Shared,
    key: &ShareSessionKey,
    (topic, partition): SharedPartition,
    batches: &[AcknowledgeBatch],
) -> Result<(), Failure> {
    let of = ShareStateKey { group: key.group.clone(), topic: TopicId::from(topic), partition };
    let led = broker.shares.known(&of).ok_or(Failure::UnknownPartition)?;
    led.acknowledge(broker, &key.member, batches).await
}

/// How an answer tells of a failure.
pub(super) fn words(told: &Result<(), Failure>) -> (i16, Option<String>) {
    match told {
        Ok(()) => (ErrorCode::None.number(), None),
        Err(failure) => (failure.code().number(), Some(failure.to_string())),
    }
}

/// How long members have records, as they are told.
pub(super) fn lock_millis(broker: &Shared, group: &str) -> i32 {
    i32::try_from(settings_of(broker, group).options.lock.as_millis()).unwrap_or(i32::MAX)
}

/// Who leads a partition instead, where the answer says that this broker does not.
pub(super) fn leader(image: &Image, (topic, partition): SharedPartition, code: i16) -> Option<(i32, i32)> {
    let elsewhere = [ErrorCode::NotLeaderOrFollower, ErrorCode::FencedLeaderEpoch].map(ErrorCode::number);
    let topic = image.topics.get(&TopicId::from(topic)).filter(|_| elsewhere.contains(&code))?;
    let stream = image.streams.get(&topics::stream_of(topic, partition).ok()?)?;
    let placement = topics::placement(image, stream);
    Some((placement.leader, placement.leader_epoch))
}

/// Where those are.
pub(super) fn endpoints(image: &Image, leaders: &BTreeSet<i32>) -> Vec<(i32, String, i32)> {
    let living = topics::living(image);
    let of = living.iter().filter(|(id, _)| leaders.contains(&id.0));
    of.map(|(id, (_, node))| {
        let (host, port) = topics::endpoint(&node.advertised);
        (id.0, host, port)
    })
    .collect()
}
