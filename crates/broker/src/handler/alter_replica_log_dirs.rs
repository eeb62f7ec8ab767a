//! AlterReplicaLogDirs (KIP-113): moves partitions of this broker between its log dirs.
//!
//! There is one, the bucket, as DescribeLogDirs tells: what is to be there is there already, and no other is known. Each partition is judged on
//! its own, the dir first, as in Kafka; one that is named with several dirs is asked to be in the last of them.

use crate::checks::Steps;
use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, answer_size, topics};
use protocol::api::Operation;
use protocol::error_code::ErrorCode;
use protocol::messages::alter_replica_log_dirs_request::AlterReplicaLogDirsRequest;
use protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsResponse,
};
use std::collections::BTreeMap;
use tokio::sync::OwnedSemaphorePermit;

/// The partitions of each topic, and whether they are to be in the dir that there is.
type Wanted = BTreeMap<String, BTreeMap<i32, bool>>;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: AlterReplicaLogDirsRequest,
    rights: &Rights,
) -> (AlterReplicaLogDirsResponse, Option<OwnedSemaphorePermit>) {
    let topics = || request.dirs.iter().flat_map(|dir| &dir.topics);
    let bytes = answer_size::of_page(topics().count(), topics().map(|topic| topic.partitions.len()).sum());
    let refusal = rights.check_cluster(Operation::Alter).err();
    let memory = broker.answer_memory.take_ahead(bytes).await;
    let image = broker.store.ledger().image();
    let mut steps = Steps::default();
    let mut results = Vec::new();
    for (topic_name, wanted) in wanted(request, &broker.store.location()).await {
        let topic = image.topic(&topic_name).map(AsRef::as_ref);
        let mut partitions = Vec::with_capacity(wanted.len());
        for (partition_index, is_here) in wanted {
            steps.next().await;
            let outcome = match &refusal {
                Some(denied) => Err(denied.clone()),
                None if !is_here => Err(Failure::LogDirNotFound),
                None => topic.ok_or(Failure::UnknownPartition).and_then(|topic| {
                    let id = topics::stream_of(topic, partition_index)?;
                    broker.partitions.owned(id).map(|_| ()).ok_or(Failure::NoReplica)
                }),
            };
            let error_code = outcome.err().map_or(ErrorCode::None, |failure| failure.code()).number();
            partitions.push(AlterReplicaLogDirPartitionResult { partition_index, error_code });
        }
        results.push(AlterReplicaLogDirTopicResult { topic_name, partitions });
    }
    (AlterReplicaLogDirsResponse { results, ..AlterReplicaLogDirsResponse::default() }, memory)
}

async fn wanted(request: AlterReplicaLogDirsRequest, location: &str) -> Wanted {
    let (mut wanted, mut steps) = (Wanted::new(), Steps::default());
    for dir in request.dirs {
        let is_here = dir.path == location;
        for topic in dir.topics {
            let partitions = wanted.entry(topic.name).or_default();
            for partition in topic.partitions {
                steps.next().await;
                partitions.insert(partition, is_here);
            }
        }
    }
    wanted
}
