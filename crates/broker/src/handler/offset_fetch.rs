//! OffsetFetch: how far a group has come. What was answered to a commit is never missing here, whoever owns the group by now.
//!
//! Who asks for stable offsets only is told to come again for one that a transaction is about to change (KIP-447).
//!
//! Each offset is told once, however often its group, topic and partition are named: it may take a thousand times what names it.

use crate::Shared;
use crate::answer_bounds::{self, Left};
use crate::checks::Steps;
use crate::coordinator::GROUPS_MAX;
use crate::error::Failure;
use crate::memory::COPIES;
use crate::requests;
use crate::rights::Rights;
use crate::topics;
use base::{TopicId, planted};
use control_core::Image;
use coordinator_core::{Committed, Groups, Offsets};
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use protocol::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::OwnedSemaphorePermit;

/// From this version on a request names several groups.
const MANY_GROUPS_VERSION: i16 = 8;
/// From this version on the answer says what is wrong with all of it, before that with each partition.
const TOP_LEVEL_ERROR_VERSION: i16 = 2;
/// From this version on topics are named by their ids.
const TOPIC_ID_VERSION: i16 = 10;

/// The fields of an offset that there is none of.
const NO_OFFSET: i64 = -1;
const NO_EPOCH: i32 = -1;

/// What an offset takes in an answer beyond its metadata, roughly, as values and as bytes.
const OFFSET_BYTES: usize = 256;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: OffsetFetchRequest,
    version: i16,
    rights: &Rights,
) -> (OffsetFetchResponse, Option<OwnedSemaphorePermit>) {
    if version >= MANY_GROUPS_VERSION {
        let (groups, memory) =
            fetch_groups((broker, rights), merged(request.groups).await, (version, request.require_stable)).await;
        return (OffsetFetchResponse { groups, ..OffsetFetchResponse::default() }, memory);
    }
    let named = |topic: OffsetFetchRequestTopic| OffsetFetchRequestTopics {
        name: topic.name,
        partition_indexes: topic.partition_indexes,
        ..OffsetFetchRequestTopics::default()
    };
    let topics = request.topics.map(|topics| topics.into_iter().map(named).collect());
    let group = OffsetFetchRequestGroup { group_id: request.group_id, topics, ..OffsetFetchRequestGroup::default() };
    let (fetched, memory) =
        fetch_groups((broker, rights), merged(vec![group]).await, (version, request.require_stable)).await;
    let error_code = fetched.first().map_or(0, |group| group.error_code);
    let plain = |it: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: it.partition_index,
        committed_offset: it.committed_offset,
        committed_leader_epoch: it.committed_leader_epoch,
        metadata: it.metadata,
        error_code: it.error_code,
    };
    let topics = fetched.into_iter().flat_map(|group| group.topics).map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(plain).collect(),
    });
    let response = OffsetFetchResponse {
        topics: topics.collect(),
        error_code: if version >= TOP_LEVEL_ERROR_VERSION { error_code } else { 0 },
        ..OffsetFetchResponse::default()
    };
    (response, memory)
}

/// Each group once for each member that asks, with all that is asked of it, each topic of it once, and each partition of that.
async fn merged(asked: Vec<OffsetFetchRequestGroup>) -> Vec<OffsetFetchRequestGroup> {
    let join =
        |known: &mut OffsetFetchRequestGroup, more: OffsetFetchRequestGroup| match (&mut known.topics, more.topics) {
            (Some(known), Some(more)) => known.extend(more),
            // Who names no topics asks for all.
            (known, _) => *known = None,
        };
    let key = |group: &OffsetFetchRequestGroup| (group.group_id.clone(), group.member_id.clone(), group.member_epoch);
    let mut merged = requests::merged(asked, key, join).await;
    for group in &mut merged {
        if let Some(topics) = group.topics.take() {
            group.topics = Some(merged_topics(topics).await);
        }
    }
    merged
}

async fn merged_topics(asked: Vec<OffsetFetchRequestTopics>) -> Vec<OffsetFetchRequestTopics> {
    let join = |known: &mut OffsetFetchRequestTopics, more: OffsetFetchRequestTopics| {
        known.partition_indexes.extend(more.partition_indexes);
    };
    let mut merged = requests::merged(asked, |topic| (topic.topic_id, topic.name.clone()), join).await;
    for topic in &mut merged {
        topic.partition_indexes = requests::once(std::mem::take(&mut topic.partition_indexes), |index| *index).await;
    }
    merged
}

async fn fetch_groups(
    (broker, rights): (&Shared, &Rights),
    asked: Vec<OffsetFetchRequestGroup>,
    (version, stable): (i16, bool),
) -> (Vec<OffsetFetchResponseGroup>, Option<OwnedSemaphorePermit>) {
    let (committed, memory) = all_committed((broker, rights), &asked, stable).await;
    let image = broker.store.ledger().image();
    let (mut fetched, mut steps) = (Vec::with_capacity(asked.len()), Steps::default());
    for (group, committed) in asked.into_iter().zip(answer_bounds::rest_too_much(committed)) {
        // Whatever else is wrong with it.
        let allowed = rights.check(Operation::Describe, Resource::Group, &group.group_id);
        let found = allowed.and_then(|()| committed.and_then(|it| it));
        fetched.push(describe_group((&image, rights), group, (found, &mut steps), version).await);
    }
    (fetched, memory)
}

/// What each group has committed of what is asked of it, with the memory for telling it.
async fn all_committed(
    (broker, rights): (&Shared, &Rights),
    asked: &[OffsetFetchRequestGroup],
    stable: bool,
) -> (Vec<Result<Result<Found, Failure>, Failure>>, Option<OwnedSemaphorePermit>) {
    let (mut all_wanted, mut bytes, mut steps) = (Vec::new(), 0, Steps::default());
    for group in asked.iter().take(GROUPS_MAX) {
        let id = &group.group_id;
        let wanted = wanted(broker, group.topics.as_deref());
        let size = |groups: &Groups| groups.committed(id).map_or(0, |all| bytes_of(chosen(all, wanted.as_ref())));
        bytes += broker.coordinators.look(broker, id, size).unwrap_or(0);
        all_wanted.push(wanted);
        steps.next().await;
    }
    let memory = broker.answer_memory.take_ahead(bytes).await;
    let left = Left::new(broker.answer_memory.total());
    let read = |groups: &Groups, place: usize| -> Result<Found, Failure> {
        left.check()?;
        let OffsetFetchRequestGroup { group_id, member_id, member_epoch, .. } = &asked[place];
        rights.check(Operation::Describe, Resource::Group, group_id)?;
        groups.check_fetch(group_id, member_id.as_deref(), *member_epoch)?;
        let offsets = committed(groups, group_id, all_wanted[place].as_ref());
        left.spend(bytes_of(chosen(&offsets, None)));
        let unstable =
            if planted!("unstable offsets told", stable, false) { groups.unstable(group_id) } else { BTreeSet::new() };
        Ok(Found { offsets, unstable })
    };
    let ids: Vec<&str> = asked.iter().map(|group| group.group_id.as_str()).collect();
    (broker.coordinators.read_each(broker, &ids, read).await, memory)
}

/// What there is of a group's offsets.
#[derive(Debug, Default)]
struct Found {
    offsets: Offsets,
    /// Topics and partitions whose offsets are not to be told, since a transaction is about to change them.
    unstable: BTreeSet<(String, i32)>,
}

/// Bytes that offsets take in an answer, as values and as bytes, about.
fn bytes_of<'a>(offsets: impl Iterator<Item = Chosen<'a>>) -> usize {
    offsets.map(|(_, _, committed)| OFFSET_BYTES + COPIES * committed.metadata.len()).sum()
}

async fn describe_group(
    (image, rights): (&Image, &Rights),
    asked: OffsetFetchRequestGroup,
    (found, steps): (Result<Found, Failure>, &mut Steps),
    version: i16,
) -> OffsetFetchResponseGroup {
    let OffsetFetchRequestGroup { group_id, topics: asked, .. } = asked;
    steps.next().await;
    let (error_code, topics) = match (found, asked) {
        (Ok(found), Some(mut asked)) => {
            // Kafka answers what it doesn't know last.
            asked.sort_by_cached_key(|topic| is_unknown_id(image, topic, version));
            let mut topics = Vec::with_capacity(asked.len());
            for topic in asked {
                topics.push(describe((image, rights), topic, (&found, &mut *steps), version).await);
            }
            (ErrorCode::None, topics)
        }
        (Ok(found), None) => (ErrorCode::None, describe_all((image, rights), found, version)),
        (Err(failure), asked) => {
            let code = code_of(&failure);
            let topics = if version < TOP_LEVEL_ERROR_VERSION { refused(asked, code) } else { Vec::new() };
            (code, topics)
        }
    };
    OffsetFetchResponseGroup { group_id, topics, error_code: error_code.number() }
}

/// Older consumers know no other retriable code here, and this one makes them look for the coordinator.
fn code_of(failure: &Failure) -> ErrorCode {
    match failure {
        Failure::CoordinatorUnavailable(_) => ErrorCode::NotCoordinator,
        other => other.code(),
    }
}

/// The group's offsets of what is wanted, or all.
fn committed(groups: &Groups, group: &str, wanted: Option<&Wanted<'_>>) -> Offsets {
    let Some(all) = groups.committed(group) else { return Offsets::new() };
    let Some(wanted) = wanted else { return all.clone() };
    let mut offsets = Offsets::new();
    for (name, index, committed) in chosen(all, Some(wanted)) {
        offsets.entry(name.clone()).or_default().insert(index, committed.clone());
    }
    offsets
}

/// An offset with its topic and partition.
type Chosen<'a> = (&'a String, i32, &'a Committed);

/// Names of topics, and partitions of each.
type Wanted<'a> = Vec<(String, &'a [i32])>;

fn wanted<'a>(broker: &Shared, asked: Option<&'a [OffsetFetchRequestTopics]>) -> Option<Wanted<'a>> {
    let image = broker.store.ledger().image();
    let name_of = |topic: &OffsetFetchRequestTopics| {
        topics::find(&image, &topic.name, TopicId::from(topic.topic_id))
            .map_or(topic.name.clone(), |it| it.name.clone())
    };
    asked.map(|asked| asked.iter().map(|topic| (name_of(topic), topic.partition_indexes.as_slice())).collect())
}

/// Those of the offsets that are wanted, or all.
fn chosen<'a>(all: &'a Offsets, wanted: Option<&'a Wanted<'a>>) -> Box<dyn Iterator<Item = Chosen<'a>> + 'a> {
    match wanted {
        None => Box::new(
            all.iter()
                .flat_map(|(name, offsets)| offsets.iter().map(move |(index, committed)| (name, *index, committed))),
        ),
        Some(wanted) => Box::new(wanted.iter().flat_map(move |(name, indexes)| {
            let known = all.get_key_value(name).into_iter();
            known.flat_map(move |(name, offsets)| {
                indexes.iter().filter_map(move |index| Some((name, *index, offsets.get(index)?)))
            })
        })),
    }
}

/// Whether a topic is asked for by an id that there is not.
fn is_unknown_id(image: &Image, asked: &OffsetFetchRequestTopics, version: i16) -> bool {
    version >= TOPIC_ID_VERSION && topics::find(image, &asked.name, TopicId::from(asked.topic_id)).is_err()
}

async fn describe(
    (image, rights): (&Image, &Rights),
    asked: OffsetFetchRequestTopics,
    (found, steps): (&Found, &mut Steps),
    version: i16,
) -> OffsetFetchResponseTopics {
    let topic = topics::find(image, &asked.name, TopicId::from(asked.topic_id));
    let unknown_id = is_unknown_id(image, &asked, version);
    let name = topic.map_or(asked.name.as_str(), |topic| topic.name.as_str());
    let is_allowed = rights.allow(Operation::Describe, Resource::Topic, name);
    let of_topic = found.offsets.get(name);
    let partition = |index: i32| {
        if unknown_id {
            return none(index, Failure::UnknownTopicId.code());
        }
        if !is_allowed {
            return none(index, ErrorCode::TopicAuthorizationFailed);
        }
        if found.is_unstable(name, index) {
            return none(index, ErrorCode::UnstableOffsetCommit);
        }
        let is_same = |it: &&Committed| {
            let wanted = TopicId::from(asked.topic_id);
            wanted == TopicId::default() || it.topic == TopicId::default() || it.topic == wanted
        };
        let offset = of_topic.and_then(|partitions| partitions.get(&index)).filter(is_same);
        offset.map_or_else(|| none(index, ErrorCode::None), |offset| some(index, offset))
    };
    let mut partitions = Vec::with_capacity(asked.partition_indexes.len());
    for index in &asked.partition_indexes {
        steps.next().await;
        partitions.push(partition(*index));
    }
    OffsetFetchResponseTopics { name: asked.name.clone(), topic_id: asked.topic_id, partitions }
}

impl Found {
    fn is_unstable(&self, topic: &str, partition: i32) -> bool {
        !self.unstable.is_empty() && self.unstable.contains(&(topic.to_owned(), partition))
    }
}

fn describe_all((image, rights): (&Image, &Rights), found: Found, version: i16) -> Vec<OffsetFetchResponseTopics> {
    let tell = |name: &str, index: i32, offset: &Committed| {
        if found.is_unstable(name, index) { none(index, ErrorCode::UnstableOffsetCommit) } else { some(index, offset) }
    };
    let describe = |(name, partitions): (&String, &BTreeMap<i32, Committed>)| {
        let id = image.topic_names.get(name).copied();
        // A topic that is gone has no id to name it by; its offsets are about to go as well.
        let topic_id = if version >= TOPIC_ID_VERSION { id?.into() } else { protocol::wire::Uuid::ZERO };
        let partitions = partitions.iter().map(|(index, offset)| tell(name, *index, offset)).collect();
        Some(OffsetFetchResponseTopics { name: name.clone(), topic_id, partitions })
    };
    let may_know = |name: &str| rights.allow(Operation::Describe, Resource::Topic, name);
    found.offsets.iter().filter(|(name, _)| may_know(name)).filter_map(describe).collect()
}

fn refused(asked: Option<Vec<OffsetFetchRequestTopics>>, code: ErrorCode) -> Vec<OffsetFetchResponseTopics> {
    let each = asked.into_iter().flatten().map(|topic| OffsetFetchResponseTopics {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.into_iter().map(|index| none(index, code)).collect(),
    });
    each.collect()
}

fn none(partition_index: i32, code: ErrorCode) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: NO_OFFSET,
        committed_leader_epoch: NO_EPOCH,
        metadata: Some(String::new()),
        error_code: code.number(),
    }
}

fn some(partition_index: i32, committed: &Committed) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: committed.offset,
        committed_leader_epoch: committed.leader_epoch,
        metadata: Some(committed.metadata.clone()),
        error_code: ErrorCode::None.number(),
    }
}
