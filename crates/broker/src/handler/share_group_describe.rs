//! ShareGroupDescribe (KIP-932): a share group's epochs and its members with what they may fetch from. A group is described once, however
//! often it is named.

use super::described::{HIDDEN_TOPICS, check_named, check_topics, described};
use super::share_group_heartbeat::not_found;
use crate::answer_bounds::Reasons;
use crate::checks::in_steps;
use crate::coordinator::with_topics;
use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, authorized};
use coordinator_core::{GroupError, Groups, NamedPartitions, ShareDescription, ShareMemberDescription};
use futures::stream::StreamExt;
use protocol::api::Resource;
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
    let mut reasons = Reasons::default();
    let groups = in_steps(described).map(|(id, described)| {
        let told = described.and_then(|description| {
            let members = description.members.iter().flat_map(|it| it.assignment.iter());
            check_topics(rights, members.map(|of_topic| &of_topic.name), HIDDEN_TOPICS).map(|()| description)
        });
        match told {
            Ok(description) => {
                let asked = request.include_authorized_operations;
                let operations = authorized::field(asked, rights, Resource::Group, &id);
                describe_group(id, description, operations)
            }
            Err(failure) => refuse(broker, id, &failure, &mut reasons),
        }
    });
    (ShareGroupDescribeResponse { groups: groups.collect().await, ..Default::default() }, memory)
}

fn refuse(broker: &Shared, group_id: String, failure: &Failure, reasons: &mut Reasons) -> DescribedGroup {
    let reason = reasons.tell_unless_denied(failure);
    // Kafka's words, which tools show as they are.
    let error_message = reason.map(|reason| match failure {
        Failure::Group(GroupError::NotFound) => {
            let is_another = broker.coordinators.look(broker, &group_id, |groups| groups.has_group(&group_id));
            not_found(&group_id, is_another.unwrap_or(false))
        }
        _ => reason,
    });
    DescribedGroup {
        error_code: failure.code().number(),
        error_message,
        group_id,
        authorized_operations: authorized::NOT_ASKED_FOR,
        ..DescribedGroup::default()
    }
}

fn describe_group(group_id: String, description: ShareDescription, operations: i32) -> DescribedGroup {
    DescribedGroup {
        group_id,
        group_state: description.state.name().to_owned(),
        group_epoch: description.epoch,
        assignment_epoch: description.assignment_epoch,
        assignor_name: description.assignor.to_owned(),
        members: description.members.into_iter().map(describe_member).collect(),
        authorized_operations: operations,
        ..DescribedGroup::default()
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
