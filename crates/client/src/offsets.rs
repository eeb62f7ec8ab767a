//! Where partitions begin and end, and which offset a time has.

use crate::cluster::{Cluster, RETRY_WAIT_MAX, Topic};
use crate::error::ClientError;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use std::collections::BTreeMap;
use world::Backoff;

/// In place of a time: the offset of the first record that is still there.
pub const AT_BEGINNING: i64 = -2;
/// In place of a time: the offset behind the last record.
pub const AT_END: i64 = -1;

impl Cluster {
    /// For each of the topic's partitions the offset of the first record at or after `timestamp` (in milliseconds), or of
    /// [`AT_BEGINNING`] or [`AT_END`]. Where no record is that young, the end.
    ///
    /// # Errors
    /// There is no such topic, or its brokers do not answer in time.
    pub async fn offsets(&self, topic: &str, timestamp: i64) -> Result<BTreeMap<i32, i64>, ClientError> {
        let mut found = self.listed(topic, timestamp, None).await?;
        let none: Vec<i32> = found.iter().filter(|(_, offset)| **offset < 0).map(|(index, _)| *index).collect();
        if !none.is_empty() {
            found.extend(self.listed(topic, AT_END, Some(&none)).await?);
        }
        Ok(found)
    }

    /// The same for those of the topic's partitions that have a leader, asked once. Where no record is that young, -1.
    ///
    /// # Errors
    /// A broker does not answer, or leads a partition no longer.
    pub async fn offsets_where_led(&self, topic: &Topic, timestamp: i64) -> Result<BTreeMap<i32, i64>, ClientError> {
        self.listed_once(topic, timestamp, None).await
    }

    /// The same as [`Cluster::offsets`] for all partitions or for some, with -1 where there is no such record.
    async fn listed(
        &self,
        topic: &str,
        timestamp: i64,
        only: Option<&[i32]>,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let clock = &self.world().clock;
        let began = clock.now();
        let mut backoff = Backoff::up_to(RETRY_WAIT_MAX);
        loop {
            // It waits on its own, and no longer for a topic that is not there.
            let known = self.topic(topic).await?;
            let error = match self.listed_once(&known, timestamp, only).await {
                Ok(offsets) => return Ok(offsets),
                Err(error) => error,
            };
            if !error.is_retriable() || clock.now().since(began) >= self.options().call_within {
                return Err(error);
            }
            backoff.wait(clock.as_ref()).await;
            // Leaders may have moved. Where that can't be learnt either, the next round tells.
            self.refresh(topic).await.ok();
        }
    }

    async fn listed_once(
        &self,
        known: &Topic,
        timestamp: i64,
        only: Option<&[i32]>,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let topic = known.name.as_str();
        let mut by_leader: BTreeMap<i32, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for partition in &known.partitions {
            let wanted = only.is_none_or(|only| only.contains(&partition.index));
            let Some(leader) = partition.leader.filter(|_| wanted) else { continue };
            by_leader.entry(leader).or_default().push(ListOffsetsPartition {
                partition_index: partition.index,
                current_leader_epoch: -1,
                timestamp,
                ..ListOffsetsPartition::default()
            });
        }
        let mut answers = Vec::new();
        for (leader, partitions) in by_leader {
            let topics = vec![ListOffsetsTopic { name: topic.to_owned(), partitions }];
            let request = ListOffsetsRequest { replica_id: -1, topics, ..ListOffsetsRequest::default() };
            answers.push(self.begin(leader, &request, self.options().call_within).await?);
        }
        let mut offsets = BTreeMap::new();
        for answer in answers {
            for partition in answer.await?.topics.iter().flat_map(|topic| &topic.partitions) {
                let about = || format!("offsets of topic {topic}, partition {}", partition.partition_index);
                ClientError::check(partition.error_code, None, about)?;
                offsets.insert(partition.partition_index, partition.offset);
            }
        }
        Ok(offsets)
    }
}
