//! WriteShareGroupState: what a partition's leader has decided about records lasts.

use super::{Answers, StatePeers, StateQuestion, Told, by_topic, said};
use crate::peers::Lanes;
use base::UnixMillis;
use coordinator_core::{
    ShareStateEffects, ShareStateError, ShareStateKey, ShareStates, StateBatch, StateWrite, Topics,
};
use protocol::messages::write_share_group_state_request::{
    PartitionData, StateBatch as WireBatch, WriteShareGroupStateRequest, WriteStateData,
};
use protocol::messages::write_share_group_state_response::{
    PartitionResult, WriteShareGroupStateResponse, WriteStateResult,
};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) key: ShareStateKey,
    pub(crate) write: StateWrite,
}

impl StateQuestion for Write {
    type Told = ();
    type Asks = WriteShareGroupStateRequest;

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
        states.write(now, topics, &self.key, &self.write, fx)
    }

    fn asks(group_id: String, questions: Vec<Write>) -> WriteShareGroupStateRequest {
        let topic = |it: Write| WriteStateData { topic_id: it.key.topic.into(), partitions: vec![part_of(it)] };
        WriteShareGroupStateRequest { group_id, topics: questions.into_iter().map(topic).collect() }
    }

    fn asked(request: WriteShareGroupStateRequest) -> Vec<Write> {
        let group: Arc<str> = request.group_id.into();
        let mut questions = Vec::new();
        for WriteStateData { topic_id, partitions } in request.topics {
            questions.extend(partitions.into_iter().map(|it| Write {
                key: ShareStateKey { group: group.clone(), topic: topic_id.into(), partition: it.partition },
                write: write_of(it),
            }));
        }
        questions
    }

    async fn answer(told: impl Iterator<Item = Told<()>> + Send) -> WriteShareGroupStateResponse {
        let result =
            |partition, _, (error_code, error_message)| PartitionResult { partition, error_code, error_message };
        let results = by_topic(told, result).await.into_iter();
        let results = results.map(|(topic, partitions)| WriteStateResult { topic_id: topic.into(), partitions });
        WriteShareGroupStateResponse { results: results.collect() }
    }

    fn told(answer: WriteShareGroupStateResponse) -> Answers<()> {
        let of = |WriteStateResult { topic_id, partitions }| {
            partitions.into_iter().map(move |it: PartitionResult| {
                ((topic_id.into(), it.partition), said(it.error_code, it.error_message, ()))
            })
        };
        answer.results.into_iter().flat_map(of).collect()
    }

    fn lanes(peers: &StatePeers) -> &Lanes<Write> {
        &peers.writes
    }
}

fn part_of(Write { key, write }: Write) -> PartitionData {
    let batch = |it: StateBatch| WireBatch {
        first_offset: it.first_offset,
        last_offset: it.last_offset,
        delivery_state: it.delivery_state,
        delivery_count: it.delivery_count,
    };
    PartitionData {
        partition: key.partition,
        state_epoch: write.state_epoch,
        leader_epoch: write.leader_epoch,
        start_offset: write.start_offset,
        delivery_complete_count: write.delivery_complete_count,
        state_batches: write.batches.into_iter().map(batch).collect(),
    }
}

fn write_of(part: PartitionData) -> StateWrite {
    let batch = |it: WireBatch| StateBatch {
        first_offset: it.first_offset,
        last_offset: it.last_offset,
        delivery_state: it.delivery_state,
        delivery_count: it.delivery_count,
    };
    StateWrite {
        state_epoch: part.state_epoch,
        leader_epoch: part.leader_epoch,
        start_offset: part.start_offset,
        delivery_complete_count: part.delivery_complete_count,
        batches: part.state_batches.into_iter().map(batch).collect(),
    }
}
