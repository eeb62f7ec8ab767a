//! ShareGroupDescribe (KIP-932): a share group's epochs and its members with what they may fetch from. A group is described once, however
//! often it is named.

use super::described::{Described, check_named, described, told};
use super::share_group_heartbeat::not_found;
use crate::coordinator::with_topics;
use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, authorized};
use coordinator_core::{GroupError, Groups, NamedPartitions, ShareDescription, ShareMemberDescription};
use protocol::messages::share_group_describe_request::ShareGroupDescribeRequest;
use protocol::messages::share_group_describe_response::{
    Assignment, DescribedGroup, Member, ShareGroupDescribeResponse, TopicPartitions,
};
use tokio::sync::OwnedSemaphorePermit;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: ShareGroupDescribeRequest,
    rights: &Rights,
) -> (ShareGroupDescribeResponse, Option<OwnedSemaphorePermit>) {
    let describe = |groups: &Groups, id: &str| {
        check_named(id)?;
        Ok((with_topics(broker, |topics| groups.describe_share(id, topics))?, groups.described_share_bytes(id)))
    };
    let named = (request.group_ids, size_of::<DescribedGroup>());
    let (described, memory) = described((broker, rights), named, Groups::described_share_bytes, None, describe).await;
    let groups = told((broker, rights), described, request.include_authorized_operations).await;
    (ShareGroupDescribeResponse { groups, ..Default::default() }, memory)
}

impl Described for ShareDescription {
    type Group = DescribedGroup;

    fn topics(&self) -> impl Iterator<Item = &String> {
        self.members.iter().flat_map(|it| &it.assignment).map(|of_topic| &of_topic.name)
    }

    fn tell(self, group_id: String, operations: i32) -> DescribedGroup {
        DescribedGroup {
            group_id,
            group_state: self.state.name().to_owned(),
            group_epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor_name: self.assignor.to_owned(),
            members: self.members.into_iter().map(describe_member).collect(),
            authorized_operations: operations,
            ..DescribedGroup::default()
        }
    }

    fn words(broker: &Shared, group_id: &str, failure: &Failure, reason: String) -> Option<String> {
        match failure {
            Failure::Group(GroupError::NotFound) => {
                let is_another = broker.coordinators.look(broker, group_id, |groups| groups.has_group(group_id));
                Some(not_found(group_id, is_another.unwrap_or(false)))
            }
            _ => Some(reason),
        }
    }

    fn refuse(group_id: String, error_code: i16, error_message: Option<String>) -> DescribedGroup {
        let authorized_operations = authorized::NOT_ASKED_FOR;
        DescribedGroup { error_code, error_message, group_id, authorized_operations, ..DescribedGroup::default() }
    }
}

fn describe_member(member: ShareMemberDescription) -> Member {
    let topic = |NamedPartitions { topic, name, partitions }| TopicPartitions {
        topic_id: topic.into(),
        topic_name: name,
        partitions,
    };
    Member {
        member_id: member.member_id,
        rack_id: member.rack_id,
        member_epoch: member.epoch,
        client_id: member.client_id,
        client_host: member.client_host,
        subscribed_topic_names: member.names,
        assignment: Assignment { topic_partitions: member.assignment.into_iter().map(topic).collect() },
    }
}
