//! AlterShareGroupOffsets (KIP-932): an administrator says where a share group without members is to go on.

use super::share_group_heartbeat::words;
use crate::Shared;
use crate::coordinator::with_topics;
use crate::error::Failure;
use crate::rights::Rights;
use crate::share;
use base::TopicId;
use control_core::Image;
use coordinator_core::{AlterOutcome, NewStartOffset};
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestTopic,
};
use protocol::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponse, AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};

/// What became of a partition, of the topic of that id where there is one.
type Outcome = (TopicId, Result<(), Failure>);

pub(crate) async fn handle(
    broker: &Shared,
    request: AlterShareGroupOffsetsRequest,
    rights: &Rights,
) -> AlterShareGroupOffsetsResponse {
    if let Err(failure) = rights.check(Operation::Read, Resource::Group, &request.group_id) {
        return refuse(&failure, failure.to_string());
    }
    let (topics, denied): (Vec<_>, Vec<_>) =
        request.topics.into_iter().partition(|topic| rights.allow(Operation::Read, Resource::Topic, &topic.topic_name));
    let mut offsets = Vec::new();
    for topic in &topics {
        offsets.extend(topic.partitions.iter().map(|it| NewStartOffset {
            topic: topic.topic_name.clone(),
            partition: it.partition_index,
            start_offset: it.start_offset,
        }));
    }
    match alter(broker, &request.group_id, &offsets).await {
        Ok(outcomes) => {
            let mut outcomes = outcomes.into_iter();
            let image = broker.store.ledger().image();
            // Nothing is said of a topic that the caller may not see.
            let unseen = Image::default();
            let mut denials =
                std::iter::repeat_with(|| (TopicId::default(), Err(Failure::NotAuthorized(Resource::Topic))));
            let denied: Vec<_> = denied.into_iter().map(|topic| tell(&unseen, topic, &mut denials)).collect();
            let done = topics.into_iter().map(|topic| tell(&image, topic, &mut outcomes));
            let responses = denied.into_iter().chain(done).collect();
            AlterShareGroupOffsetsResponse { responses, ..AlterShareGroupOffsetsResponse::default() }
        }
        Err(failure) => refuse(&failure, words(broker, &failure, &request.group_id)),
    }
}

fn refuse(failure: &Failure, words: String) -> AlterShareGroupOffsetsResponse {
    AlterShareGroupOffsetsResponse {
        error_code: failure.code().number(),
        error_message: Some(words),
        ..AlterShareGroupOffsetsResponse::default()
    }
}

async fn alter(broker: &Shared, group: &str, offsets: &[NewStartOffset]) -> Result<Vec<Outcome>, Failure> {
    let shard = broker.coordinators.shard(broker, group).await?;
    let decided = shard.run_proved(broker, |groups, now, fx| {
        with_topics(broker, |topics| groups.alter_share_offsets(now, topics, group, offsets, fx))
    });
    let (decided, wanted) = decided.await??;
    let told = match wanted {
        Some(wanted) => share::initialize(broker, &shard, wanted).await?,
        None => share::Outcomes::new(),
    };
    let superseded = || Failure::CoordinatorUnavailable("the offset was altered anew meanwhile".to_owned());
    let outcome = |(offset, outcome): (&NewStartOffset, AlterOutcome)| match outcome {
        AlterOutcome::Asked(topic) => {
            let told = told.get(&(topic, offset.partition)).cloned();
            (topic, told.unwrap_or_else(|| Err(superseded())))
        }
        AlterOutcome::UnknownPartition => (TopicId::default(), Err(Failure::UnknownPartition)),
        AlterOutcome::InvalidOffset => {
            (TopicId::default(), Err(Failure::InvalidRequest("the start offset is negative".to_owned())))
        }
    };
    Ok(offsets.iter().zip(decided).map(outcome).collect())
}

fn tell(
    image: &Image,
    topic: AlterShareGroupOffsetsRequestTopic,
    outcomes: &mut impl Iterator<Item = Outcome>,
) -> AlterShareGroupOffsetsResponseTopic {
    // Also of a topic of which nothing was asked, or nothing that could be done.
    let mut topic_id = image.topic(&topic.topic_name).map(|it| it.id).unwrap_or_default();
    let partitions = topic.partitions.iter().zip(outcomes).map(|(asked, (topic, outcome))| {
        if topic != TopicId::default() {
            topic_id = topic;
        }
        let failure = outcome.err();
        AlterShareGroupOffsetsResponsePartition {
            partition_index: asked.partition_index,
            error_code: failure.as_ref().map_or(ErrorCode::None, Failure::code).number(),
            error_message: failure.map(|failure| failure.to_string()),
        }
    });
    let partitions = partitions.collect();
    AlterShareGroupOffsetsResponseTopic { topic_name: topic.topic_name, topic_id: topic_id.into(), partitions }
}
