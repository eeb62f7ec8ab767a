//! ElectLeaders (KIP-183, KIP-460): gives partitions their preferred leader, or any.
//!
//! A partition has one place, its owner: who leads it is the preferred leader, and one that nobody leads has nobody else who could.
//! So nothing is ever elected, and the answer is Kafka's for a partition whose only replica is there, or is not.

use crate::answer_bounds::Reasons;
use crate::checks::Steps;
use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, answer_size, topics};
use control_core::{Image, Topic};
use protocol::api::Operation;
use protocol::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use protocol::messages::elect_leaders_response::{ElectLeadersResponse, PartitionResult, ReplicaElectionResult};
use tokio::sync::OwnedSemaphorePermit;

/// Kafka's numbers of the kinds of election. Version 0 knows the first alone.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: ElectLeadersRequest,
    rights: &Rights,
) -> (ElectLeadersResponse, Option<OwnedSemaphorePermit>) {
    let image = broker.store.ledger().image();
    let bytes = match &request.topic_partitions {
        None => answer_size::of_all(&image),
        Some(asked) => answer_size::of_page(asked.len(), asked.iter().map(|topic| topic.partitions.len()).sum()),
    };
    let checked = rights.check_cluster(Operation::Alter).and_then(|()| {
        let is_too_much = request.topic_partitions.is_some() && bytes > broker.answer_memory.total();
        if is_too_much { Err(Failure::too_much_for_one_answer()) } else { Ok(()) }
    });
    if let Err(failure) = checked {
        let error_code = failure.code().number();
        return (ElectLeadersResponse { error_code, ..ElectLeadersResponse::default() }, None);
    }
    let memory = broker.answer_memory.take_ahead(bytes).await;
    let kind = match request.election_type {
        PREFERRED | UNCLEAN => Ok(request.election_type),
        other => Err(Failure::InvalidRequest(format!("Unknown election type {other}"))),
    };
    let replica_election_results = match (request.topic_partitions, &kind) {
        (Some(asked), _) => judge_asked(&image, &kind, asked).await,
        (None, Ok(kind)) => judge_all(&image, *kind).await,
        (None, Err(_)) => Vec::new(),
    };
    let error_code = kind.err().map_or(0, |failure| failure.code().number());
    (ElectLeadersResponse { error_code, replica_election_results, ..ElectLeadersResponse::default() }, memory)
}

async fn judge_asked(
    image: &Image,
    kind: &Result<i8, Failure>,
    asked: Vec<TopicPartitions>,
) -> Vec<ReplicaElectionResult> {
    let (mut reasons, mut steps) = (Reasons::default(), Steps::default());
    let mut results = Vec::with_capacity(asked.len());
    for TopicPartitions { topic, partitions } in asked {
        let known = image.topic(&topic).ok_or_else(|| Failure::NotThere(format!("No such topic as {topic}")));
        let mut partition_result = Vec::with_capacity(partitions.len());
        for number in partitions {
            steps.next().await;
            let outcome = match (kind, &known) {
                (Err(failure), _) | (_, Err(failure)) => failure.clone(),
                (Ok(kind), Ok(known)) => judge(image, *kind, known, number),
            };
            partition_result.push(told(number, &outcome, &mut reasons));
        }
        results.push(ReplicaElectionResult { topic, partition_result });
    }
    results
}

/// Each topic, with those of its partitions that an election would be needed for.
async fn judge_all(image: &Image, kind: i8) -> Vec<ReplicaElectionResult> {
    let (mut reasons, mut steps) = (Reasons::default(), Steps::default());
    let mut results = Vec::with_capacity(image.topics.len());
    for topic in image.topic_names.values().filter_map(|id| image.topics.get(id)) {
        let mut partition_result = Vec::new();
        for (number, _) in (0..).zip(&topic.partitions) {
            steps.next().await;
            match judge(image, kind, topic, number) {
                Failure::ElectionNotNeeded => {}
                failure => partition_result.push(told(number, &failure, &mut reasons)),
            }
        }
        results.push(ReplicaElectionResult { topic: topic.name.clone(), partition_result });
    }
    results
}

/// Why nobody is elected.
fn judge(image: &Image, kind: i8, topic: &Topic, number: i32) -> Failure {
    let stream = topics::stream_of(topic, number).ok().and_then(|id| image.streams.get(&id));
    match stream.map(|stream| topics::owner(image, stream)) {
        None => Failure::NotThere(format!("No such partition as {}-{number}", topic.name)),
        Some(Some(_)) => Failure::ElectionNotNeeded,
        Some(None) if kind == UNCLEAN => Failure::NoEligibleLeader,
        Some(None) => Failure::NoPreferredLeader,
    }
}

fn told(partition_id: i32, failure: &Failure, reasons: &mut Reasons) -> PartitionResult {
    PartitionResult { partition_id, error_code: failure.code().number(), error_message: reasons.tell(failure) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{NodeEpoch, Offset, StreamEpoch, StreamId, TopicId, WalId, WalIndex};
    use control_core::{StreamRecord, Tenure};
    use std::sync::Arc;

    #[tokio::test]
    async fn a_partition_that_nobody_leads_has_nobody_to_be_elected() {
        let wal = WalId { node_epoch: NodeEpoch(9), index: WalIndex(0) };
        let tenure = Tenure { stream_epoch: StreamEpoch(0), wal, start: Offset(0), committed: Offset(0), end: None };
        let (id, stream) = (TopicId(7), StreamId(3));
        let record = StreamRecord {
            topic: id,
            partition: 0,
            epoch: StreamEpoch(0),
            start: Offset(0),
            tenures: vec![tenure],
            epochs: Vec::new(),
            references: Default::default(),
            live_bytes: 0,
            producers: Vec::new(),
            unsaved: Vec::new(),
            reborn: false,
            cleaned: Offset(0),
        };
        let topic = Topic {
            id,
            name: "t".to_owned(),
            partitions: vec![stream],
            replication_factor: 1,
            configs: Default::default(),
            internal: false,
        };
        let mut image = Image::default();
        image.streams.insert(stream, Arc::new(record));
        image.topic_names.insert("t".to_owned(), id);
        image.topics.insert(id, Arc::new(topic));
        for (kind, code) in [(PREFERRED, 80), (UNCLEAN, 83)] {
            let all = judge_all(&image, kind).await;
            assert_eq!((all.len(), all[0].partition_result[0].error_code), (1, code));
        }
    }
}
