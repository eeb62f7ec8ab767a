//! DescribeQuorum (KIP-595, KIP-836): the ledger, told as Kafka tells of its log of metadata.
//!
//! There is no quorum: an entry counts once the bucket holds it. `docs/adr/0180-what-a-quorum-of-one-bucket-tells.md` says what each
//! field means here.

use crate::answer_bounds::Reasons;
use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, answer_size, topics};
use base::NodeId;
use control_core::{Image, Node};
use protocol::api::Operation;
use protocol::messages::describe_quorum_request::DescribeQuorumRequest;
use protocol::messages::describe_quorum_response::{
    self as response, DescribeQuorumResponse, Listener, PartitionData, ReplicaState, TopicData,
};
use protocol::wire::Uuid;

/// Kafka's log of metadata, which has one partition.
const TOPIC: &str = "__cluster_metadata";
const PARTITION: i32 = 0;

/// Brokers have one listener, of Kafka's default name.
const LISTENER: &str = "PLAINTEXT";

/// The first version that tells where voters are.
const TELLS_NODES_FROM: i16 = 2;

/// A time that is not known.
const NO_TIME: i64 = -1;

pub(crate) fn handle(
    broker: &Shared,
    request: DescribeQuorumRequest,
    version: i16,
    rights: &Rights,
) -> DescribeQuorumResponse {
    if let Err(failure) = rights.check_cluster(Operation::Describe) {
        let error_code = failure.code().number();
        let error_message = Some(failure.to_string());
        return DescribeQuorumResponse { error_code, error_message, ..DescribeQuorumResponse::default() };
    }
    let is_metadata = match request.topics.as_slice() {
        [topic] => {
            topic.topic_name == TOPIC && matches!(&topic.partitions[..], [it] if it.partition_index == PARTITION)
        }
        _ => false,
    };
    if !is_metadata {
        return unknown(broker, request);
    }
    let image = broker.store.ledger().image();
    let voices =
        Voices { leader: topics::controller(broker, &image), own: broker.store.node_id(), now: broker.clock.wall().0 };
    let mut answer = describe(&image, &voices);
    if version < TELLS_NODES_FROM {
        answer.nodes.clear();
    }
    answer
}

/// Who answers, whom it takes for the leader, and when.
struct Voices {
    leader: NodeId,
    own: NodeId,
    /// Milliseconds since 1970.
    now: i64,
}

fn describe(image: &Image, voices: &Voices) -> DescribeQuorumResponse {
    let living = topics::living(image);
    // Kafka's offsets end behind the last entry.
    let end = i64::try_from(image.seq.next().0).unwrap_or(i64::MAX);
    let mut current_voters: Vec<ReplicaState> = living.keys().map(|id| voter(*id, end, voices)).collect();
    // Who leads stands first, so that a tool which looks for the slowest of equals finds it.
    current_voters.sort_by_key(|voter| voter.replica_id != voices.leader.0);
    let partition = PartitionData {
        partition_index: PARTITION,
        leader_id: voices.leader.0,
        leader_epoch: i32::try_from(image.leader.epoch.0).unwrap_or(i32::MAX),
        high_watermark: end,
        current_voters,
        observers: Vec::new(),
        ..PartitionData::default()
    };
    DescribeQuorumResponse {
        topics: vec![TopicData { topic_name: TOPIC.to_owned(), partitions: vec![partition] }],
        nodes: living.iter().map(|(id, (_, node))| address(*id, node)).collect(),
        ..DescribeQuorumResponse::default()
    }
}

fn voter(id: NodeId, end: i64, voices: &Voices) -> ReplicaState {
    let read_at = if id == voices.own || id == voices.leader { voices.now } else { NO_TIME };
    ReplicaState {
        replica_id: id.0,
        replica_directory_id: Uuid::default(),
        log_end_offset: end,
        last_fetch_timestamp: read_at,
        last_caught_up_timestamp: read_at,
    }
}

fn address(id: NodeId, node: &Node) -> response::Node {
    let (host, port) = topics::endpoint(&node.advertised);
    let listener = Listener { name: LISTENER.to_owned(), host, port: u16::try_from(port).unwrap_or(0) };
    response::Node { node_id: id.0, listeners: vec![listener] }
}

/// Any other question is about a partition that is not there.
fn unknown(broker: &Shared, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let partitions = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    if answer_size::of_page(request.topics.len(), partitions) > broker.answer_memory.total() {
        let failure = Failure::too_much_for_one_answer();
        return DescribeQuorumResponse {
            error_code: failure.code().number(),
            error_message: Some(failure.to_string()),
            ..DescribeQuorumResponse::default()
        };
    }
    let mut reasons = Reasons::default();
    let mut partition = |partition_index| PartitionData {
        partition_index,
        error_code: Failure::UnknownPartition.code().number(),
        error_message: Some(reasons.tell(&Failure::UnknownPartition).unwrap_or_default()),
        ..PartitionData::default()
    };
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let partitions = topic.partitions.into_iter().map(|asked| partition(asked.partition_index)).collect();
        topics.push(TopicData { topic_name: topic.topic_name, partitions });
    }
    DescribeQuorumResponse { topics, ..DescribeQuorumResponse::default() }
}
