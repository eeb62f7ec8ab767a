//! DescribeLogDirs: how large the partitions are. There is one log dir, which stands for the bucket: all records are there, or are on
//! their way there from a write-ahead log.
//!
//! Each broker tells of the partitions that it owns, so that whoever asks all of them and adds up counts each once. Sizes come from the
//! ledger and the log cache; the bucket is not asked. It has no size of its own to tell.

use crate::rights::Rights;
use crate::{Shared, answer_size};
use control_core::Topic;
use protocol::api::Operation;
use protocol::error_code::ErrorCode;
use protocol::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::OwnedSemaphorePermit;

/// What the answer takes while it is made.
fn answer_bytes(broker: &Shared, request: &DescribeLogDirsRequest) -> usize {
    let image = broker.store.ledger().image();
    match &request.topics {
        None => answer_size::of_all(&image),
        Some(asked) => {
            let known = asked.iter().filter_map(|topic| image.topic(&topic.topic));
            answer_size::of_topics(&image, known.map(AsRef::as_ref))
        }
    }
}

pub(crate) async fn handle(
    broker: &Shared,
    request: DescribeLogDirsRequest,
    rights: &Rights,
) -> (DescribeLogDirsResponse, Option<OwnedSemaphorePermit>) {
    if let Err(failure) = rights.check_cluster(Operation::Describe) {
        let error_code = failure.code().number();
        return (DescribeLogDirsResponse { error_code, ..DescribeLogDirsResponse::default() }, None);
    }
    let memory = broker.answer_memory.take_ahead(answer_bytes(broker, &request)).await;
    (describe_all(broker, request), memory)
}

fn describe_all(broker: &Shared, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let image = broker.store.ledger().image();
    let topics = match request.topics {
        None => image.topics.values().map(|topic| describe(broker, topic, |_| true)).collect(),
        Some(asked) => {
            let mut wanted: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
            for topic in asked {
                wanted.entry(topic.topic).or_default().extend(topic.partitions);
            }
            let known = wanted.iter().filter_map(|(name, numbers)| Some((image.topic(name)?, numbers)));
            known.map(|(topic, numbers)| describe(broker, topic, |number| numbers.contains(&number))).collect()
        }
    };
    let topics: Vec<DescribeLogDirsTopic> = topics;
    let log_dir = DescribeLogDirsResult {
        error_code: ErrorCode::None.number(),
        log_dir: broker.store.location(),
        topics: topics.into_iter().filter(|topic| !topic.partitions.is_empty()).collect(),
        ..DescribeLogDirsResult::default()
    };
    DescribeLogDirsResponse { results: vec![log_dir], ..DescribeLogDirsResponse::default() }
}

/// Those of the topic's wanted partitions that this broker owns.
fn describe(broker: &Shared, topic: &Topic, wanted: impl Fn(i32) -> bool) -> DescribeLogDirsTopic {
    let numbered = (0..).zip(&topic.partitions).filter(|(number, _)| wanted(*number));
    let owned = numbered.filter_map(|(number, id)| Some((number, broker.partitions.owned(*id)?)));
    let partitions = owned.map(|(partition_index, partition)| DescribeLogDirsPartition {
        partition_index,
        partition_size: i64::try_from(partition.bytes()).unwrap_or(i64::MAX),
        // There are no copies that could lag behind or be moved between dirs.
        offset_lag: 0,
        is_future_key: false,
    });
    DescribeLogDirsTopic { name: topic.name.clone(), partitions: partitions.collect() }
}
