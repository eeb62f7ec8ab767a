//! Consumer groups from outside: listed, described, deleted; their offsets read and set.
//!
//! What concerns one group is asked of its coordinator, which is looked for again as long as it says that it is not the one.

use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::patience::Patience;
use bytes::Bytes;
use protocol::error_code::ErrorCode;
use protocol::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use protocol::messages::consumer_group_describe_response::DescribedGroup as DescribedConsumers;
use protocol::messages::consumer_protocol_assignment::ConsumerProtocolAssignment;
use protocol::messages::delete_groups_request::DeleteGroupsRequest;
use protocol::messages::describe_groups_request::DescribeGroupsRequest;
use protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::list_groups_request::ListGroupsRequest;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_fetch_request::OffsetFetchRequest;
use protocol::wire::{Decoder, Message, Request};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Committed offsets, or those to commit, by topic and partition.
pub type GroupOffsets = BTreeMap<(String, i32), i64>;

/// A line of a list of groups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupListing {
    /// Its id.
    pub group: String,
    /// What its members are, `consumer` mostly; empty where nobody ever joined.
    pub protocol_type: String,
    /// Kafka's name of its state; `None` where the broker is too old to tell.
    pub state: Option<String>,
}

/// A group and who is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub group: String,
    /// Kafka's name of its state.
    pub state: String,
    /// What its members are; empty where nobody ever joined.
    pub protocol_type: String,
    /// How they assign.
    pub assignor: String,
    /// Who is in it.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that its coordinator gave it.
    pub member_id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it is.
    pub host: String,
    /// What it is assigned.
    pub partitions: Vec<(String, i32)>,
}

impl Cluster {
    /// All groups, in the order of their ids.
    ///
    /// # Errors
    /// A broker does not answer in time.
    pub async fn groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        let mut groups = Vec::new();
        for broker in self.brokers() {
            let about = || format!("list the groups of broker {}", broker.id);
            let answer = self
                .again_until_served(|left| async move {
                    let request = ListGroupsRequest::default();
                    let answer = self.begin(broker.id, &request, left).await?.await?;
                    ClientError::check(answer.error_code, None, about)?;
                    Ok(answer)
                })
                .await?;
            groups.extend(answer.groups.into_iter().map(|it| GroupListing {
                group: it.group_id,
                protocol_type: it.protocol_type,
                state: Some(it.group_state).filter(|state| !state.is_empty()),
            }));
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    /// A group's state and members.
    ///
    /// # Errors
    /// There is no such group, or its coordinator does not answer in time.
    pub async fn group(&self, group: &str) -> Result<GroupDescription, ClientError> {
        let request = DescribeGroupsRequest { groups: vec![group.to_owned()], ..DescribeGroupsRequest::default() };
        let about = || format!("describe group {group}");
        let described = self
            .ask_coordinator(group, &request, |answer| {
                let found = answer.groups.into_iter().next().ok_or_else(|| absent(group))?;
                ClientError::check(found.error_code, found.error_message.as_deref(), about)?;
                Ok(found)
            })
            .await;
        match described {
            // Before version 6 a group that does not exist is told as a dead one.
            Ok(found) if found.group_state == "Dead" => Err(absent(group)),
            Ok(found) => Ok(describe(found)),
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {
                // It may be one of the newer protocol, where the cluster has that.
                self.consumers(group).await.map_err(|_| absent(group))
            }
            Err(error) => Err(error),
        }
    }

    async fn consumers(&self, group: &str) -> Result<GroupDescription, ClientError> {
        let request =
            ConsumerGroupDescribeRequest { group_ids: vec![group.to_owned()], include_authorized_operations: false };
        self.ask_coordinator(group, &request, |answer| {
            let found = answer.groups.into_iter().next().ok_or_else(|| absent(group))?;
            ClientError::check(found.error_code, found.error_message.as_deref(), || format!("describe group {group}"))?;
            Ok(describe_consumers(found))
        })
        .await
    }

    /// All that a group has committed; nothing where there is no such group.
    ///
    /// # Errors
    /// Its coordinator does not answer in time.
    pub async fn committed(&self, group: &str) -> Result<GroupOffsets, ClientError> {
        let request = OffsetFetchRequest { group_id: group.to_owned(), topics: None, ..OffsetFetchRequest::default() };
        let about = || format!("offsets of group {group}");
        self.ask_coordinator(group, &request, |answer| {
            ClientError::check(answer.error_code, None, about)?;
            let mut offsets = GroupOffsets::new();
            for topic in answer.topics {
                for partition in topic.partitions {
                    ClientError::check(partition.error_code, None, about)?;
                    if partition.committed_offset >= 0 {
                        offsets.insert((topic.name.clone(), partition.partition_index), partition.committed_offset);
                    }
                }
            }
            Ok(offsets)
        })
        .await
    }

    /// Sets offsets of a group that has no members.
    ///
    /// # Errors
    /// It has members, a partition does not exist, or its coordinator does not answer in time.
    pub async fn set_offsets(&self, group: &str, offsets: &GroupOffsets) -> Result<(), ClientError> {
        let request = commit_request(group, offsets);
        self.ask_coordinator(group, &request, |answer| {
            for topic in answer.topics {
                for partition in topic.partitions {
                    let (name, index) = (&topic.name, partition.partition_index);
                    let about = || format!("set the offset of group {group} in topic {name}, partition {index}");
                    ClientError::check(partition.error_code, None, about)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Deletes a group that has no members, with all that it has committed.
    ///
    /// # Errors
    /// It has members, it does not exist, or its coordinator does not answer in time.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest { groups_names: vec![group.to_owned()] };
        self.ask_coordinator(group, &request, |answer| {
            for result in &answer.results {
                let about = || format!("delete group {group}");
                ClientError::check(result.error_code, result.error_message.as_deref(), about)?;
            }
            Ok(())
        })
        .await
    }

    /// Asks a group's coordinator and takes the answer apart; all of it again where that fails in a way that may pass.
    async fn ask_coordinator<R: Request, T>(
        &self,
        group: &str,
        request: &R,
        take: impl Fn(R::Response) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.again_until_served(|left| {
            let take = &take;
            async move {
                let began = self.world().clock.now();
                let coordinator = self.coordinator(group, left).await?;
                take(coordinator.call(request, self.left_of(left, began)).await?)
            }
        })
        .await
    }

    async fn again_until_served<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        attempt: impl Fn(Duration) -> F,
    ) -> Result<T, ClientError> {
        let mut patience = Patience::of_call(self);
        loop {
            match attempt(patience.left()).await {
                Err(error) => patience.bear(error).await?,
                done => return done,
            }
        }
    }

    /// A connection to the broker that answers for a group.
    pub(crate) async fn coordinator(&self, group: &str, within: Duration) -> Result<Arc<Connection>, ClientError> {
        let request = FindCoordinatorRequest { key: group.to_owned(), ..FindCoordinatorRequest::default() };
        let began = self.world().clock.now();
        let broker = self.any(within).await?;
        let found = broker.call(&request, self.left_of(within, began)).await?;
        let about = || format!("the coordinator of group {group}");
        ClientError::check(found.error_code, found.error_message.as_deref(), about)?;
        let host = if found.host.contains(':') { format!("[{}]", found.host) } else { found.host };
        self.at(&format!("{host}:{}", found.port), self.left_of(within, began)).await
    }
}

/// A commit by nobody's member.
pub(crate) fn commit_request(group: &str, offsets: &GroupOffsets) -> OffsetCommitRequest {
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for ((name, index), offset) in offsets {
        if topics.last().is_none_or(|topic| topic.name != *name) {
            topics.push(OffsetCommitRequestTopic { name: name.clone(), ..OffsetCommitRequestTopic::default() });
        }
        let partition = OffsetCommitRequestPartition {
            partition_index: *index,
            committed_offset: *offset,
            ..OffsetCommitRequestPartition::default()
        };
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(partition);
        }
    }
    OffsetCommitRequest { group_id: group.to_owned(), topics, ..OffsetCommitRequest::default() }
}

fn absent(group: &str) -> ClientError {
    ClientError::Refused { what: format!("group {group}"), code: ErrorCode::GroupIdNotFound, message: None }
}

fn describe(found: DescribedGroup) -> GroupDescription {
    let is_consumers = found.protocol_type == "consumer";
    let member = |member: DescribedGroupMember| GroupMember {
        partitions: if is_consumers { assigned(&member.member_assignment) } else { Vec::new() },
        member_id: member.member_id,
        instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host.trim_start_matches('/').to_owned(),
    };
    GroupDescription {
        group: found.group_id,
        state: found.group_state,
        protocol_type: found.protocol_type,
        assignor: found.protocol_data,
        members: found.members.into_iter().map(member).collect(),
    }
}

fn describe_consumers(found: DescribedConsumers) -> GroupDescription {
    let members = found.members.into_iter().map(|member| {
        let topics = member.assignment.topic_partitions.into_iter();
        let each = topics.flat_map(|topic| topic.partitions.into_iter().map(move |it| (topic.topic_name.clone(), it)));
        GroupMember {
            partitions: each.collect(),
            member_id: member.member_id,
            instance_id: member.instance_id,
            client_id: member.client_id,
            host: member.client_host.trim_start_matches('/').to_owned(),
        }
    });
    GroupDescription {
        group: found.group_id,
        state: found.group_state,
        protocol_type: "consumer".to_owned(),
        assignor: found.assignor_name,
        members: members.collect(),
    }
}

/// The partitions that consumers' bytes speak of; none where they can't be read.
pub(crate) fn assigned(bytes: &Bytes) -> Vec<(String, i32)> {
    let mut decoder = Decoder::new(bytes.clone());
    let version: i16 = decoder.get(0);
    let known = version.clamp(0, *ConsumerProtocolAssignment::VERSIONS.end());
    let assignment = ConsumerProtocolAssignment::decode_from(&mut decoder, known);
    if decoder.so_far().is_err() {
        return Vec::new();
    }
    let topics = assignment.assigned_partitions.into_iter();
    topics.flat_map(|it| it.partitions.into_iter().map(move |partition| (it.topic.clone(), partition))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_names_each_topic_once() {
        let offsets = [(("a", 0), 5), (("a", 3), 6), (("b", 1), 7)];
        let offsets = offsets.map(|((topic, partition), offset)| ((topic.to_owned(), partition), offset));
        let request = commit_request("g", &GroupOffsets::from(offsets));
        let topics: Vec<(&str, usize)> =
            request.topics.iter().map(|topic| (topic.name.as_str(), topic.partitions.len())).collect();
        assert_eq!(topics, [("a", 2), ("b", 1)]);
        assert_eq!(request.generation_id_or_member_epoch, -1);
    }

    #[test]
    fn what_is_no_assignment_assigns_nothing() {
        assert_eq!(assigned(&Bytes::new()), []);
        assert_eq!(assigned(&Bytes::from_static(b"\0\0\xff\xff\xff\xff")), []);
    }
}
