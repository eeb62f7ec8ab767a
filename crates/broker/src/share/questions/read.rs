//! ReadShareGroupState: a partition's leader begins where the last one was.

use super::{Answers, StatePeers, StateQuestion, Told, by_topic, said};
use crate::error::Failure;
use crate::peers::Lanes;
use base::UnixMillis;
use coordinator_core::{ShareStateEffects, ShareStateError, ShareStateKey, ShareStates, StateBatch, StateRead, Topics};
use protocol::messages::read_share_group_state_request::{PartitionData, ReadShareGroupStateRequest, ReadStateData};
use protocol::messages::read_share_group_state_response::{
    PartitionResult, ReadShareGroupStateResponse, ReadStateResult, StateBatch as WireBatch,
};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) key: ShareStateKey,
    /// Of the partition; -1: it is not its leader who asks.
    pub(crate) leader_epoch: i32,
}

impl StateQuestion for Read {
    type Told = StateRead;
    type Asks = ReadShareGroupStateRequest;

    fn key(&self) -> &ShareStateKey {
        &self.key
    }

    fn decide(
        &self,
        now: UnixMillis,
        topics: &Topics<'_>,
        states: &mut ShareStates,
        fx: &mut ShareStateEffects,
    ) -> Result<StateRead, ShareStateError> {
        states.read(now, topics, &self.key, self.leader_epoch, fx)
    }

    fn asks(group_id: String, questions: Vec<Read>) -> ReadShareGroupStateRequest {
        let topic = |Read { key, leader_epoch }: Read| ReadStateData {
            topic_id: key.topic.into(),
            partitions: vec![PartitionData { partition: key.partition, leader_epoch }],
        };
        ReadShareGroupStateRequest { group_id, topics: questions.into_iter().map(topic).collect() }
    }

    fn asked(request: ReadShareGroupStateRequest) -> Vec<Read> {
        let group: Arc<str> = request.group_id.into();
        let mut questions = Vec::new();
        for ReadStateData { topic_id, partitions } in request.topics {
            questions.extend(partitions.into_iter().map(|it| Read {
                key: ShareStateKey { group: group.clone(), topic: topic_id.into(), partition: it.partition },
                leader_epoch: it.leader_epoch,
            }));
        }
        questions
    }

    async fn answer(told: impl Iterator<Item = Told<StateRead>> + Send) -> ReadShareGroupStateResponse {
        let results = by_topic(told, result_of).await.into_iter();
        let results = results.map(|(topic, partitions)| ReadStateResult { topic_id: topic.into(), partitions });
        ReadShareGroupStateResponse { results: results.collect() }
    }

    fn told(answer: ReadShareGroupStateResponse) -> Answers<StateRead> {
        let of = |ReadStateResult { topic_id, partitions }| {
            partitions.into_iter().map(move |it: PartitionResult| {
                let state = StateRead {
                    state_epoch: it.state_epoch,
                    start_offset: it.start_offset,
                    batches: it.state_batches.into_iter().map(batch_of).collect(),
                };
                ((topic_id.into(), it.partition), said(it.error_code, it.error_message, state))
            })
        };
        answer.results.into_iter().flat_map(of).collect()
    }

    fn lanes(peers: &StatePeers) -> &Lanes<Read> {
        &peers.reads
    }
}

fn result_of(
    partition: i32,
    told: Result<StateRead, Failure>,
    (error_code, error_message): (i16, Option<String>),
) -> PartitionResult {
    let refused = PartitionResult { partition, error_code, error_message, ..PartitionResult::default() };
    let Ok(StateRead { state_epoch, start_offset, batches }) = told else { return refused };
    let state_batches = batches.into_iter().map(|it| WireBatch {
        first_offset: it.first_offset,
        last_offset: it.last_offset,
        delivery_state: it.delivery_state,
        delivery_count: it.delivery_count,
    });
    PartitionResult { state_epoch, start_offset, state_batches: state_batches.collect(), ..refused }
}

fn batch_of(it: WireBatch) -> StateBatch {
    StateBatch {
        first_offset: it.first_offset,
        last_offset: it.last_offset,
        delivery_state: it.delivery_state,
        delivery_count: it.delivery_count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::serve::check_amount;
    use base::TopicId;
    use protocol::wire::Uuid;

    #[test]
    fn share_partitions_of_a_request_share_their_group_s_name() {
        let partition = |partition| PartitionData { partition, leader_epoch: -1 };
        let topics = vec![ReadStateData { topic_id: Uuid(3), partitions: (0..3).map(partition).collect() }];
        let asked = Read::asked(ReadShareGroupStateRequest { group_id: "g".repeat(30_000), topics });
        assert_eq!(asked.iter().map(|it| (it.key.topic, it.key.partition)).max(), Some((TopicId(3), 2)));
        assert!(asked.iter().all(|it| Arc::ptr_eq(&it.key.group, &asked[0].key.group)));
        let again = asked[0].clone();
        assert!(Arc::ptr_eq(&again.key.group, &asked[0].key.group));
        let many = vec![again; 3000];
        assert!(check_amount(&many).is_err() && check_amount(&many[..2000]).is_ok());
    }
}
