//! DescribeShareGroupOffsets (KIP-932, KIP-1226): where share groups are in their partitions, and how much is before them.

use crate::Shared;
use crate::coordinator::with_topics;
use crate::error::Failure;
use crate::rights::Rights;
use crate::{requests, share};
use coordinator_core::{
    Groups, NamedPartitions, OffsetsQuestion, ShareOffset, ShareStateKey, StateSummary, UNINITIALIZED_OFFSET,
    told_offset,
};
use futures::stream::{self, StreamExt};
use protocol::api::{Operation, Resource};
use protocol::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
};
use protocol::messages::describe_share_group_offsets_response::{
    DescribeShareGroupOffsetsResponse, DescribeShareGroupOffsetsResponseGroup,
    DescribeShareGroupOffsetsResponsePartition, DescribeShareGroupOffsetsResponseTopic,
};
use protocol::wire::Uuid;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Groups of one request that are looked for at the same time.
const TOGETHER_MAX: usize = 16;

/// Where the share coordinator does not know.
const UNKNOWN_COUNT: i32 = -1;

/// A group is described once, however often it is named.
pub(crate) async fn handle(
    broker: &Shared,
    request: DescribeShareGroupOffsetsRequest,
    rights: &Rights,
) -> DescribeShareGroupOffsetsResponse {
    let groups = requests::once(request.groups, |group| group.group_id.clone()).await;
    let described = stream::iter(groups).map(async |group| describe_group((broker, rights), group).await);
    let groups = described.buffered(TOGETHER_MAX).collect().await;
    DescribeShareGroupOffsetsResponse { groups, ..DescribeShareGroupOffsetsResponse::default() }
}

async fn describe_group(
    (broker, rights): (&Shared, &Rights),
    group: DescribeShareGroupOffsetsRequestGroup,
) -> DescribeShareGroupOffsetsResponseGroup {
    let DescribeShareGroupOffsetsRequestGroup { group_id, topics } = group;
    if let Err(failure) = rights.check(Operation::Describe, Resource::Group, &group_id) {
        let error_code = failure.code().number();
        return DescribeShareGroupOffsetsResponseGroup { group_id, error_code, ..Default::default() };
    }
    let mut denied = Vec::new();
    let asked = topics.map(|topics| {
        let topics = topics.into_iter().map(|it| (it.topic_name, it.partitions));
        let may_know = |(name, _): &(String, _)| rights.allow(Operation::Describe, Resource::Topic, name);
        let (allowed, others) = topics.partition(may_know);
        denied = others;
        allowed
    });
    match offsets((broker, rights), &group_id, asked).await {
        Ok(mut topics) => {
            topics.extend(denied.into_iter().map(untold));
            DescribeShareGroupOffsetsResponseGroup { group_id, topics, ..Default::default() }
        }
        Err(failure) => DescribeShareGroupOffsetsResponseGroup {
            group_id,
            error_code: failure.code().number(),
            error_message: Some(failure.to_string()),
            ..Default::default()
        },
    }
}

/// A topic of which the caller may not know.
fn untold((topic_name, partitions): (String, Vec<i32>)) -> DescribeShareGroupOffsetsResponseTopic {
    let failure = Failure::NotAuthorized(Resource::Topic);
    let partitions = partitions.into_iter().map(|it| DescribeShareGroupOffsetsResponsePartition {
        error_code: failure.code().number(),
        error_message: Some(failure.to_string()),
        ..describe(it, None, None)
    });
    DescribeShareGroupOffsetsResponseTopic { topic_name, topic_id: Uuid::ZERO, partitions: partitions.collect() }
}

/// Of the topics that are asked for, or of all that the group has and the caller may know of.
async fn offsets(
    (broker, rights): (&Shared, &Rights),
    group: &str,
    asked: Option<Vec<(String, Vec<i32>)>>,
) -> Result<Vec<DescribeShareGroupOffsetsResponseTopic>, Failure> {
    if asked.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Vec::new());
    }
    let shard = broker.coordinators.shard(broker, group).await?;
    let question =
        |groups: &Groups| with_topics(broker, |topics| groups.share_offsets_question(group, asked.as_deref(), topics));
    // What is asked by name does not depend on the group.
    let question = if asked.is_some() { shard.look(question) } else { shard.read(broker, question).await? };
    let OffsetsQuestion { mut known, unknown } = question;
    known.retain(|named| rights.allow(Operation::Describe, Resource::Topic, &named.name));
    let of_group: Arc<str> = group.into();
    let key = |topic, partition| ShareStateKey { group: of_group.clone(), topic, partition };
    let each = known.iter().flat_map(|named| named.partitions.iter().map(|it| (named.topic, *it)));
    let questions = each.map(|(topic, partition)| share::Summarize { key: key(topic, partition) }).collect();
    let summaries = share::ask(broker, questions).await;
    let partitions = known.iter().flat_map(|named| named.partitions.iter().map(|it| (named.name.clone(), *it)));
    let counted = partitions.zip(&summaries).filter(|(_, summary)| summary.as_ref().is_ok_and(is_counted));
    let ends = share::ends(broker, counted.map(|(partition, _)| partition).collect::<BTreeSet<_>>()).await;
    let mut summaries = summaries.into_iter();
    let mut topics = Vec::with_capacity(known.len() + unknown.len());
    for NamedPartitions { topic, name, partitions } in known {
        let mut told = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let summary = summaries.next().and_then(Result::ok);
            let end = ends.get(&(name.clone(), partition));
            told.push(describe(partition, summary, end));
        }
        topics.push(DescribeShareGroupOffsetsResponseTopic {
            topic_name: name,
            topic_id: topic.into(),
            partitions: told,
        });
    }
    topics.extend(unknown.into_iter().map(|(topic_name, partitions)| DescribeShareGroupOffsetsResponseTopic {
        topic_name,
        topic_id: Uuid::ZERO,
        partitions: partitions.into_iter().map(|it| describe(it, None, None)).collect(),
    }));
    Ok(topics)
}

/// Whether it can be told how much is before the group.
fn is_counted(summary: &StateSummary) -> bool {
    summary.start_offset != UNINITIALIZED_OFFSET && summary.delivery_complete_count != UNKNOWN_COUNT
}

fn describe(
    partition_index: i32,
    summary: Option<StateSummary>,
    end: Option<&Result<i64, Failure>>,
) -> DescribeShareGroupOffsetsResponsePartition {
    if let Some(Err(failure)) = end {
        return DescribeShareGroupOffsetsResponsePartition {
            partition_index,
            error_code: failure.code().number(),
            error_message: Some(failure.to_string()),
            ..DescribeShareGroupOffsetsResponsePartition::default()
        };
    }
    let end = end.and_then(|end| end.as_ref().ok()).copied();
    let ShareOffset { start_offset, leader_epoch, lag } = told_offset(summary.map(Ok), end);
    DescribeShareGroupOffsetsResponsePartition {
        partition_index,
        start_offset,
        leader_epoch,
        lag,
        ..DescribeShareGroupOffsetsResponsePartition::default()
    }
}
