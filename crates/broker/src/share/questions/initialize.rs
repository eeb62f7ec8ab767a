//! InitializeShareGroupState: a group begins with a share-partition.

use super::{Answers, StatePeers, StateQuestion, Told, by_topic, said};
use crate::peers::Lanes;
use base::UnixMillis;
use coordinator_core::{ShareStateEffects, ShareStateError, ShareStateKey, ShareStates, Topics};
use protocol::messages::initialize_share_group_state_request::{
    InitializeShareGroupStateRequest, InitializeStateData, PartitionData,
};
use protocol::messages::initialize_share_group_state_response::{
    InitializeShareGroupStateResponse, InitializeStateResult, PartitionResult,
};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Initialize {
    pub(crate) key: ShareStateKey,
    pub(crate) state_epoch: i32,
    pub(crate) start_offset: i64,
}

impl StateQuestion for Initialize {
    type Told = ();
    type Asks = InitializeShareGroupStateRequest;

    fn key(&self) -> &ShareStateKey {
        &self.key
    }

    fn decide(
        &self,
        now: UnixMillis,
        topics: &Topics<'_>,
        states: &mut ShareStates,
        fx: &mut ShareStateEffects,
    ) -> Result<(), ShareStateError> {
        states.initialize(now, topics, &self.key, (self.state_epoch, self.start_offset), fx)
    }

    fn asks(group_id: String, questions: Vec<Initialize>) -> InitializeShareGroupStateRequest {
        let topic = |Initialize { key, state_epoch, start_offset }: Initialize| InitializeStateData {
            topic_id: key.topic.into(),
            partitions: vec![PartitionData { partition: key.partition, state_epoch, start_offset }],
        };
        InitializeShareGroupStateRequest { group_id, topics: questions.into_iter().map(topic).collect() }
    }

    fn asked(request: InitializeShareGroupStateRequest) -> Vec<Initialize> {
        let group: Arc<str> = request.group_id.into();
        let mut questions = Vec::new();
        for InitializeStateData { topic_id, partitions } in request.topics {
            questions.extend(partitions.into_iter().map(|it| Initialize {
                key: ShareStateKey { group: group.clone(), topic: topic_id.into(), partition: it.partition },
                state_epoch: it.state_epoch,
                start_offset: it.start_offset,
            }));
        }
        questions
    }

    async fn answer(told: impl Iterator<Item = Told<()>> + Send) -> InitializeShareGroupStateResponse {
        let result =
            |partition, _, (error_code, error_message)| PartitionResult { partition, error_code, error_message };
        let results = by_topic(told, result).await.into_iter();
        let results = results.map(|(topic, partitions)| InitializeStateResult { topic_id: topic.into(), partitions });
        InitializeShareGroupStateResponse { results: results.collect() }
    }

    fn told(answer: InitializeShareGroupStateResponse) -> Answers<()> {
        let of = |InitializeStateResult { topic_id, partitions }| {
            partitions.into_iter().map(move |it: PartitionResult| {
                ((topic_id.into(), it.partition), said(it.error_code, it.error_message, ()))
            })
        };
        answer.results.into_iter().flat_map(of).collect()
    }

    fn lanes(peers: &StatePeers) -> &Lanes<Initialize> {
        &peers.initializations
    }
}
