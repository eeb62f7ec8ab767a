//! ConsumerGroupDescribe (KIP-848): a consumer group's epochs and its members with what they hold and are to hold. A group is described
//! once, however often it is named.

use super::consumer_group_heartbeat::not_served;
use super::described::{Described, check_named, described, told};
use crate::coordinator::with_topics;
use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, authorized, settings};
use coordinator_core::{ConsumerDescription, ConsumerMemberDescription, GroupError, Groups, NamedPartitions};
use protocol::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use protocol::messages::consumer_group_describe_response::{
    Assignment, ConsumerGroupDescribeResponse, DescribedGroup, Member, TopicPartitions,
};
use tokio::sync::OwnedSemaphorePermit;

/// What protocol a member speaks.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: ConsumerGroupDescribeRequest,
    rights: &Rights,
) -> (ConsumerGroupDescribeResponse, Option<OwnedSemaphorePermit>) {
    let describe = |groups: &Groups, id: &str| {
        check_named(id)?;
        Ok((with_topics(broker, |topics| groups.describe_consumer(id, topics))?, groups.described_consumer_bytes(id)))
    };
    let refusal = (!settings::serves_consumer_groups(&broker.options)).then(not_served);
    let named = (request.group_ids, size_of::<DescribedGroup>());
    let (described, memory) =
        described((broker, rights), named, Groups::described_consumer_bytes, refusal, describe).await;
    let groups = told((broker, rights), described, request.include_authorized_operations).await;
    (ConsumerGroupDescribeResponse { groups, ..Default::default() }, memory)
}

impl Described for ConsumerDescription {
    type Group = DescribedGroup;

    fn topics(&self) -> impl Iterator<Item = &String> {
        let assignments = self.members.iter().flat_map(|it| it.assignment.iter().chain(&it.target));
        assignments.map(|of_topic| &of_topic.name)
    }

    fn tell(self, group_id: String, operations: i32) -> DescribedGroup {
        DescribedGroup {
            group_id,
            group_state: self.state.name().to_owned(),
            group_epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor_name: self.assignor.to_owned(),
            // Any order will do. Kafka's is that of its hash table, in which numbered ids stand this way round, and its own tests say so.
            members: self.members.into_iter().rev().map(describe_member).collect(),
            authorized_operations: operations,
            ..DescribedGroup::default()
        }
    }

    fn words(_broker: &Shared, group_id: &str, failure: &Failure, reason: String) -> Option<String> {
        match failure {
            Failure::Group(GroupError::NotFound) => Some(format!("Group {group_id} not found.")),
            Failure::Group(GroupError::NotConsumer) => Some(format!("Group {group_id} is not a consumer group.")),
            Failure::UnsupportedVersion(_) => None,
            _ => Some(reason),
        }
    }

    fn refuse(group_id: String, error_code: i16, error_message: Option<String>) -> DescribedGroup {
        let authorized_operations = authorized::NOT_ASKED_FOR;
        DescribedGroup { error_code, error_message, group_id, authorized_operations, ..DescribedGroup::default() }
    }
}

fn describe_member(member: ConsumerMemberDescription) -> Member {
    Member {
        member_id: member.member_id,
        instance_id: member.instance_id,
        rack_id: member.rack_id,
        member_epoch: member.epoch,
        client_id: member.client_id,
        client_host: member.client_host,
        subscribed_topic_names: member.names,
        subscribed_topic_regex: Some(member.regex),
        assignment: assignment(member.assignment),
        target_assignment: assignment(member.target),
        member_type: if member.is_classic { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
    }
}

fn assignment(partitions: Vec<NamedPartitions>) -> Assignment {
    let topic = |NamedPartitions { topic, name, partitions }| TopicPartitions {
        topic_id: topic.into(),
        topic_name: name,
        partitions,
    };
    Assignment { topic_partitions: partitions.into_iter().map(topic).collect() }
}
