//! ReadShareGroupStateSummary: where a share-partition is, for whoever only looks on.

use super::{Answers, StatePeers, StateQuestion, Told, by_topic, said};
use crate::error::Failure;
use crate::peers::Lanes;
use base::UnixMillis;
use coordinator_core::{ShareStateEffects, ShareStateError, ShareStateKey, ShareStates, StateSummary, Topics};
use protocol::messages::read_share_group_state_summary_request::{
    PartitionData, ReadShareGroupStateSummaryRequest, ReadStateSummaryData,
};
use protocol::messages::read_share_group_state_summary_response::{
    PartitionResult, ReadShareGroupStateSummaryResponse, ReadStateSummaryResult,
};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summarize {
    pub(crate) key: ShareStateKey,
}

/// A question about a group is nobody's who leads.
const NO_LEADER: i32 = -1;

impl StateQuestion for Summarize {
    type Told = StateSummary;
    type Asks = ReadShareGroupStateSummaryRequest;

    fn key(&self) -> &ShareStateKey {
        &self.key
    }

    fn decide(
        &self,
        _now: UnixMillis,
        topics: &Topics<'_>,
        states: &mut ShareStates,
        _fx: &mut ShareStateEffects,
    ) -> Result<StateSummary, ShareStateError> {
        states.summary(topics, &self.key)
    }

    fn asks(group_id: String, questions: Vec<Summarize>) -> ReadShareGroupStateSummaryRequest {
        let topic = |Summarize { key }: Summarize| ReadStateSummaryData {
            topic_id: key.topic.into(),
            partitions: vec![PartitionData { partition: key.partition, leader_epoch: NO_LEADER }],
        };
        ReadShareGroupStateSummaryRequest { group_id, topics: questions.into_iter().map(topic).collect() }
    }

    fn asked(request: ReadShareGroupStateSummaryRequest) -> Vec<Summarize> {
        let group: Arc<str> = request.group_id.into();
        let mut questions = Vec::new();
        for ReadStateSummaryData { topic_id, partitions } in request.topics {
            let key = |it: PartitionData| ShareStateKey {
                group: group.clone(),
                topic: topic_id.into(),
                partition: it.partition,
            };
            questions.extend(partitions.into_iter().map(|it| Summarize { key: key(it) }));
        }
        questions
    }

    async fn answer(told: impl Iterator<Item = Told<StateSummary>> + Send) -> ReadShareGroupStateSummaryResponse {
        let results = by_topic(told, result_of).await.into_iter();
        let results = results.map(|(topic, partitions)| ReadStateSummaryResult { topic_id: topic.into(), partitions });
        ReadShareGroupStateSummaryResponse { results: results.collect() }
    }

    fn told(answer: ReadShareGroupStateSummaryResponse) -> Answers<StateSummary> {
        let of = |ReadStateSummaryResult { topic_id, partitions }| {
            partitions.into_iter().map(move |it: PartitionResult| {
                let summary = StateSummary {
                    state_epoch: it.state_epoch,
                    leader_epoch: it.leader_epoch,
                    start_offset: it.start_offset,
                    delivery_complete_count: it.delivery_complete_count,
                };
                ((topic_id.into(), it.partition), said(it.error_code, it.error_message, summary))
            })
        };
        answer.results.into_iter().flat_map(of).collect()
    }

    fn lanes(peers: &StatePeers) -> &Lanes<Summarize> {
        &peers.summaries
    }
}

fn result_of(
    partition: i32,
    told: Result<StateSummary, Failure>,
    (error_code, error_message): (i16, Option<String>),
) -> PartitionResult {
    let refused = PartitionResult { partition, error_code, error_message, ..PartitionResult::default() };
    let Ok(StateSummary { state_epoch, leader_epoch, start_offset, delivery_complete_count }) = told else {
        return refused;
    };
    PartitionResult { state_epoch, leader_epoch, start_offset, delivery_complete_count, ..refused }
}
