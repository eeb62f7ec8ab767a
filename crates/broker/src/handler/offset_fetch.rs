//! OffsetFetch: how far a group has come. What was answered to a commit is never missing here, whoever owns the group by now.

use crate::Shared;
use crate::checks::Steps;
use crate::error::Failure;
use crate::topics;
use base::TopicId;
use control_core::Image;
use coordinator_core::{Committed, Offsets};
use protocol::error_code::ErrorCode;
use protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use protocol::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

/// From this version on a request names several groups.
const MANY_GROUPS_VERSION: i16 = 8;
/// From this version on the answer says what is wrong with all of it, before that with each partition.
const TOP_LEVEL_ERROR_VERSION: i16 = 2;
/// From this version on topics are named by their ids.
const TOPIC_ID_VERSION: i16 = 10;

/// The fields of an offset that there is none of.
const NO_OFFSET: i64 = -1;
const NO_EPOCH: i32 = -1;

pub(crate) async fn handle(broker: &Shared, request: OffsetFetchRequest, version: i16) -> OffsetFetchResponse {
    if version >= MANY_GROUPS_VERSION {
        let mut groups = Vec::new();
        for group in request.groups {
            groups.push(fetch_group(broker, group, version).await);
        }
        return OffsetFetchResponse { groups, ..OffsetFetchResponse::default() };
    }
    let named = |topic: OffsetFetchRequestTopic| OffsetFetchRequestTopics {
        name: topic.name,
        partition_indexes: topic.partition_indexes,
        ..OffsetFetchRequestTopics::default()
    };
    let topics = request.topics.map(|topics| topics.into_iter().map(named).collect());
    let group = OffsetFetchRequestGroup { group_id: request.group_id, topics, ..OffsetFetchRequestGroup::default() };
    let fetched = fetch_group(broker, group, version).await;
    let plain = |it: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: it.partition_index,
        committed_offset: it.committed_offset,
        committed_leader_epoch: it.committed_leader_epoch,
        metadata: it.metadata,
        error_code: it.error_code,
    };
    let topics = fetched.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(plain).collect(),
    });
    OffsetFetchResponse {
        topics: topics.collect(),
        error_code: if version >= TOP_LEVEL_ERROR_VERSION { fetched.error_code } else { 0 },
        ..OffsetFetchResponse::default()
    }
}

async fn fetch_group(broker: &Shared, asked: OffsetFetchRequestGroup, version: i16) -> OffsetFetchResponseGroup {
    let OffsetFetchRequestGroup { group_id, topics: asked, .. } = asked;
    let image = broker.store.ledger().image();
    let committed = committed(broker, &group_id, asked.as_deref()).await;
    let (error_code, topics) = match (committed, asked) {
        (Ok(committed), Some(mut asked)) => {
            // Kafka answers what it doesn't know last.
            asked.sort_by_cached_key(|topic| is_unknown_id(&image, topic, version));
            let mut topics = Vec::with_capacity(asked.len());
            let mut steps = Steps::default();
            for topic in asked {
                topics.push(describe(&image, topic, (&committed, &mut steps), version).await);
            }
            (ErrorCode::None, topics)
        }
        (Ok(committed), None) => (ErrorCode::None, describe_all(&image, committed, version)),
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

/// The group's offsets of the topics that were asked for, or of all.
async fn committed(
    broker: &Shared,
    group: &str,
    asked: Option<&[OffsetFetchRequestTopics]>,
) -> Result<Offsets, Failure> {
    let shard = broker.coordinators.shard(broker, group).await?;
    let image = broker.store.ledger().image();
    let name_of = |topic: &OffsetFetchRequestTopics| {
        topics::find(&image, &topic.name, TopicId::from(topic.topic_id))
            .map_or(topic.name.clone(), |it| it.name.clone())
    };
    let names: Option<Vec<String>> = asked.map(|asked| asked.iter().map(name_of).collect());
    let group = group.to_owned();
    let read = move |groups: &coordinator_core::Groups| {
        let Some(all) = groups.committed(&group) else { return Offsets::new() };
        match &names {
            None => all.clone(),
            Some(names) => {
                let each = names.iter().filter_map(|name| all.get_key_value(name));
                each.map(|(name, offsets)| (name.clone(), offsets.clone())).collect()
            }
        }
    };
    shard.read(broker, read).await
}

/// Whether a topic is asked for by an id that there is not.
fn is_unknown_id(image: &Image, asked: &OffsetFetchRequestTopics, version: i16) -> bool {
    version >= TOPIC_ID_VERSION && topics::find(image, &asked.name, TopicId::from(asked.topic_id)).is_err()
}

async fn describe(
    image: &Image,
    asked: OffsetFetchRequestTopics,
    (committed, steps): (&Offsets, &mut Steps),
    version: i16,
) -> OffsetFetchResponseTopics {
    let found = topics::find(image, &asked.name, TopicId::from(asked.topic_id));
    let unknown_id = is_unknown_id(image, &asked, version);
    let name = found.map_or(asked.name.as_str(), |topic| topic.name.as_str());
    let of_topic = committed.get(name);
    let partition = |index: i32| {
        if unknown_id {
            return none(index, Failure::UnknownTopicId.code());
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

fn describe_all(image: &Image, committed: Offsets, version: i16) -> Vec<OffsetFetchResponseTopics> {
    let describe = |(name, partitions): (String, std::collections::BTreeMap<i32, Committed>)| {
        let id = image.topic_names.get(&name).copied();
        // A topic that is gone has no id to name it by; its offsets are about to go as well.
        let topic_id = if version >= TOPIC_ID_VERSION { id?.into() } else { protocol::wire::Uuid::ZERO };
        let partitions = partitions.iter().map(|(index, offset)| some(*index, offset)).collect();
        Some(OffsetFetchResponseTopics { name, topic_id, partitions })
    };
    committed.into_iter().filter_map(describe).collect()
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
