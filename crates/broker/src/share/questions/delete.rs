//! DeleteShareGroupState: a group has done with a share-partition.

use super::{Answers, StatePeers, StateQuestion, Told, by_topic, said};
use crate::peers::Lanes;
use base::UnixMillis;
use coordinator_core::{ShareStateEffects, ShareStateError, ShareStateKey, ShareStates, Topics};
use protocol::messages::delete_share_group_state_request::{
    DeleteShareGroupStateRequest, DeleteStateData, PartitionData,
};
use protocol::messages::delete_share_group_state_response::{
    DeleteShareGroupStateResponse, DeleteStateResult, PartitionResult,
};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delete {
    pub(crate) key: ShareStateKey,
}

impl StateQuestion for Delete {
    type Told = ();
    type Asks = DeleteShareGroupStateRequest;

    fn key(&self) -> &ShareStateKey {
        &self.key
    }

    fn decide(
        &self,
        _now: UnixMillis,
        topics: &Topics<'_>,
        states: &mut ShareStates,
        fx: &mut ShareStateEffects,
    ) -> Result<(), ShareStateError> {
        states.delete(topics, &self.key, fx)
    }

    fn asks(group_id: String, questions: Vec<Delete>) -> DeleteShareGroupStateRequest {
        let topic = |Delete { key }: Delete| DeleteStateData {
            topic_id: key.topic.into(),
            partitions: vec![PartitionData { partition: key.partition }],
        };
        DeleteShareGroupStateRequest { group_id, topics: questions.into_iter().map(topic).collect() }
    }

    fn asked(request: DeleteShareGroupStateRequest) -> Vec<Delete> {
        let group: Arc<str> = request.group_id.into();
        let mut questions = Vec::new();
        for DeleteStateData { topic_id, partitions } in request.topics {
            let key = |it: PartitionData| ShareStateKey {
                group: group.clone(),
                topic: topic_id.into(),
                partition: it.partition,
            };
            questions.extend(partitions.into_iter().map(|it| Delete { key: key(it) }));
        }
        questions
    }

    async fn answer(told: impl Iterator<Item = Told<()>> + Send) -> DeleteShareGroupStateResponse {
        let result =
            |partition, _, (error_code, error_message)| PartitionResult { partition, error_code, error_message };
        let results = by_topic(told, result).await.into_iter();
        let results = results.map(|(topic, partitions)| DeleteStateResult { topic_id: topic.into(), partitions });
        DeleteShareGroupStateResponse { results: results.collect() }
    }

    fn told(answer: DeleteShareGroupStateResponse) -> Answers<()> {
        let of = |DeleteStateResult { topic_id, partitions }| {
            partitions.into_iter().map(move |it: PartitionResult| {
                ((topic_id.into(), it.partition), said(it.error_code, it.error_message, ()))
            })
        };
        answer.results.into_iter().flat_map(of).collect()
    }

    fn lanes(peers: &StatePeers) -> &Lanes<Delete> {
        &peers.deletions
    }
}
