//! AlterPartitionReassignments (KIP-455): gives partitions to other brokers, or stops that.
//!
//! A living broker does not hand a partition to another one yet. So the only assignment that is taken is the present one, which changes
//! nothing, and there is nothing in progress that could be cancelled. Each partition is judged on its own, in Kafka's words where it has
//! some.

use crate::answer_bounds::Reasons;
use crate::checks::Steps;
use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, answer_size, requests, topics};
use base::{NodeEpoch, NodeId};
use control_core::{Image, Node, Topic};
use protocol::api::Operation;
use protocol::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use protocol::messages::alter_partition_reassignments_response::{
    AlterPartitionReassignmentsResponse, ReassignablePartitionResponse, ReassignableTopicResponse,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

const CAN_NOT_MOVE: &str = "A partition can't be given to another broker while its owner lives: this is not there yet. \
    A broker that is stopped leaves its partitions to the others.";

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: AlterPartitionReassignmentsRequest,
    rights: &Rights,
) -> (AlterPartitionReassignmentsResponse, Option<OwnedSemaphorePermit>) {
    let named = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    let bytes = answer_size::of_page(request.topics.len(), named);
    let mut answer = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        error_message: None,
        ..AlterPartitionReassignmentsResponse::default()
    };
    let checked = rights.check_cluster(Operation::Alter).and_then(|()| {
        if bytes > broker.answer_memory.total() { Err(Failure::too_much_for_one_answer()) } else { Ok(()) }
    });
    if let Err(failure) = checked {
        (answer.error_code, answer.error_message) = (failure.code().number(), Some(failure.to_string()));
        return (answer, None);
    }
    let memory = broker.answer_memory.take_ahead(bytes).await;
    let image = broker.store.ledger().image();
    let judge = Judge { image: &image, living: topics::living(&image) };
    let (mut reasons, mut steps) = (Reasons::default(), Steps::default());
    for ReassignableTopic { name, partitions } in request.topics {
        let topic = image.topic(&name).map(AsRef::as_ref);
        let mut told = Vec::with_capacity(partitions.len());
        for asked in partitions {
            steps.next().await;
            let outcome = judge.one(&name, topic, &asked, request.allow_replication_factor_change);
            told.push(tell(asked.partition_index, &outcome, &mut reasons));
        }
        answer.responses.push(ReassignableTopicResponse { name, partitions: told });
    }
    (answer, memory)
}

struct Judge<'a> {
    image: &'a Image,
    living: BTreeMap<NodeId, (NodeEpoch, &'a Arc<Node>)>,
}

impl Judge<'_> {
    fn one(
        &self,
        name: &str,
        topic: Option<&Topic>,
        asked: &ReassignablePartition,
        may_change_factor: bool,
    ) -> Result<(), Failure> {
        let topic = topic.ok_or_else(|| Failure::NotThere(format!("Unable to find a topic named {name}.")))?;
        let number = asked.partition_index;
        let stream = topics::stream_of(topic, number).ok().and_then(|id| self.image.streams.get(&id));
        let stream = stream.ok_or_else(|| Failure::NotThere(format!("Unable to find partition {name}:{number}.")))?;
        let assigned = asked.replicas.as_ref().ok_or(Failure::NoReassignment)?;
        requests::check_assignment(&self.living, assigned)?;
        if !may_change_factor && assigned.len() != 1 {
            let count = assigned.len();
            return Err(Failure::InvalidReplicationFactor(format!(
                "The replication factor is changed from 1 to {count}"
            )));
        }
        let leader = requests::assigned_leader(&self.living, assigned)?;
        let owner = topics::owner(self.image, stream).and_then(|_| stream.owner()).map(|tenure| tenure.node_epoch());
        if owner == Some(leader) { Ok(()) } else { Err(Failure::InvalidAssignment(CAN_NOT_MOVE.to_owned())) }
    }
}

fn tell(partition_index: i32, outcome: &Result<(), Failure>, reasons: &mut Reasons) -> ReassignablePartitionResponse {
    let (error_code, error_message) = match outcome {
        // Kafka has no words for it beside the code.
        Err(failure @ Failure::NoReassignment) => (failure.code().number(), None),
        other => reasons.of(other),
    };
    ReassignablePartitionResponse { partition_index, error_code, error_message }
}
