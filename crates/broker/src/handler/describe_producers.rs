//! DescribeProducers (KIP-664): who has written to a partition, and which of its transactions is open: how an operator finds one that hangs.

use crate::answer_bounds::Reasons;
use crate::checks::Steps;
use crate::error::Failure;
use crate::handler::fetch;
use crate::memory::COPIES;
use crate::rights::Rights;
use crate::{Shared, topic_name, topics};
use base::{Micros, TopicId};
use control_core::Image;
use protocol::api::Operation;
use protocol::messages::describe_producers_request::DescribeProducersRequest;
use protocol::messages::describe_producers_response::{
    DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use stream::ProducerTold;

/// The value of what there is none of.
const NONE: i64 = -1;

pub(crate) async fn handle(
    broker: &Shared,
    request: DescribeProducersRequest,
    rights: &Rights,
) -> DescribeProducersResponse {
    let image = &broker.store.ledger().image();
    let deadline = broker.clock.now().plus(broker.options.produce_wait_max);
    // A partition may be named again and again.
    let mut left = broker.answer_memory.total() / (COPIES * size_of::<ProducerState>());
    let (mut topics, mut reasons, mut steps) = (Vec::new(), Reasons::default(), Steps::default());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            steps.next().await;
            let found = producers((broker, rights), image, (&topic.name, index), &mut left, deadline).await;
            let (error_code, error_message) = reasons.of(&found);
            partitions.push(PartitionResponse {
                partition_index: index,
                error_code,
                error_message,
                active_producers: found.unwrap_or_default(),
            });
        }
        topics.push(TopicResponse { name: topic.name, partitions });
    }
    DescribeProducersResponse { topics, ..DescribeProducersResponse::default() }
}

async fn producers(
    (broker, rights): (&Shared, &Rights),
    image: &Image,
    (name, index): (&str, i32),
    left: &mut usize,
    deadline: Micros,
) -> Result<Vec<ProducerState>, Failure> {
    topic_name::check(name).map_err(Failure::InvalidTopic)?;
    let topic = topics::find_allowed(image, (name, TopicId::default()), rights, Operation::Read)?;
    let id = topics::stream_of(topic, index)?;
    let partition = broker.partitions.owned(id).ok_or(Failure::NotLeader)?;
    loop {
        // With the state in memory this is known as well.
        fetch::last_stable(broker, &partition, deadline).await?;
        let Some(told) = partition.producers(left.saturating_add(1)) else { continue };
        *left = left.checked_sub(told.len()).ok_or_else(Failure::too_much_for_one_answer)?;
        return Ok(told.iter().map(describe).collect());
    }
}

fn describe(told: &ProducerTold) -> ProducerState {
    ProducerState {
        producer_id: told.producer_id,
        producer_epoch: told.epoch.into(),
        last_sequence: told.last_sequence,
        last_timestamp: told.timestamp.0,
        coordinator_epoch: told.coordinator_epoch,
        current_txn_start_offset: told.open.map_or(NONE, base::Offset::to_kafka),
    }
}
