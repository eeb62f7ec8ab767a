//! Reads a topic's partitions from given offsets on.
//!
//! One fetch is under way at each leader. As soon as it is answered the next one is sent, before the records are handed out, so
//! that the broker works while the caller does. Memory is bounded by one answer a leader, under way or handed out.

use crate::batches::{Decoded, decode};
use crate::cluster::Cluster;
use crate::error::ClientError;
use crate::offsets::{AT_BEGINNING, AT_END};
use crate::patience::Patience;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use protocol::error_code::ErrorCode;
use protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use protocol::messages::fetch_response::{FetchResponse, PartitionData};
use protocol::record_batch::Record;
use protocol::wire::Records;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// In a fetch request: the client keeps no session with the broker.
const NO_SESSION_EPOCH: i32 = -1;

/// How much is asked for at once, and how long a broker may wait for it.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// A broker answers after this time even if there is nothing new.
    pub wait_max: Duration,
    /// Greatest answer, but for a single larger batch.
    pub fetch_bytes_max: i32,
    /// The same for one partition.
    pub partition_bytes_max: i32,
}

impl Default for ConsumerOptions {
    fn default() -> ConsumerOptions {
        ConsumerOptions {
            wait_max: Duration::from_millis(500),
            fetch_bytes_max: 16 << 20,
            partition_bytes_max: 4 << 20,
        }
    }
}

/// What came of one partition.
#[derive(Debug)]
pub struct Fetched {
    /// Its number.
    pub partition: i32,
    /// The records, in order. There may be none where only the offset went on.
    pub records: Vec<Record>,
    /// The offset to go on from.
    pub next_offset: i64,
}

/// A reader of one topic.
pub struct Consumer {
    cluster: Cluster,
    topic: String,
    options: ConsumerOptions,
    /// For each partition that is read: from which offset to go on.
    positions: BTreeMap<i32, i64>,
    in_flight: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// The leaders that have a fetch under way.
    asked: BTreeSet<i32>,
    ready: VecDeque<Fetched>,
    /// Which partition is asked for first: each in turn, since an answer is filled from the front.
    turn: usize,
    patience: Patience,
}

struct Answered {
    leader: i32,
    answer: Result<FetchResponse, ClientError>,
}

impl Consumer {
    /// Reads the partitions in `positions` from the offsets there on.
    #[must_use]
    pub fn new(cluster: Cluster, topic: &str, positions: BTreeMap<i32, i64>, options: ConsumerOptions) -> Consumer {
        Consumer {
            patience: Patience::new(&cluster),
            cluster,
            topic: topic.to_owned(),
            options,
            positions,
            in_flight: FuturesUnordered::new(),
            asked: BTreeSet::new(),
            ready: VecDeque::new(),
            turn: 0,
        }
    }

    /// Reads a partition no further.
    pub fn leave(&mut self, partition: i32) {
        self.positions.remove(&partition);
        self.ready.retain(|fetched| fetched.partition != partition);
    }

    /// Waits for the next records of any partition. May be dropped and called again; nothing is lost by that.
    ///
    /// # Errors
    /// A partition can't be read from where it stands, its bytes are damaged, or its broker has not answered for as long as a
    /// call may take.
    pub async fn next(&mut self) -> Result<Fetched, ClientError> {
        loop {
            if let Some(fetched) = self.ready.pop_front() {
                return Ok(fetched);
            }
            if let Err(error) = self.ask().await {
                self.trouble(error).await?;
                continue;
            }
            let Some(Answered { leader, answer }) = self.in_flight.next().await else {
                return Err(ClientError::Impossible("no partition is left to read".to_owned()));
            };
            self.asked.remove(&leader);
            match answer.and_then(|answer| self.take(answer)) {
                Ok(out_of_range) => {
                    for partition in out_of_range {
                        self.catch_up(partition).await?;
                    }
                    // Sent before the records are handed out. Trouble with it is the next call's.
                    if !self.ready.is_empty() {
                        self.ask().await.ok();
                    }
                }
                Err(error) => self.trouble(error).await?,
            }
        }
    }

    /// Sends a fetch to each leader that has none under way.
    async fn ask(&mut self) -> Result<(), ClientError> {
        let topic = self.cluster.topic(&self.topic).await?;
        let mut by_leader: BTreeMap<i32, Vec<FetchPartition>> = BTreeMap::new();
        for (&index, &offset) in &self.positions {
            let partition = topic.partition(index).ok_or_else(|| no_partition(&self.topic, index))?;
            let Some(leader) = partition.leader.filter(|leader| !self.asked.contains(leader)) else { continue };
            by_leader.entry(leader).or_default().push(FetchPartition {
                partition: index,
                current_leader_epoch: -1,
                fetch_offset: offset,
                partition_max_bytes: self.options.partition_bytes_max,
                ..FetchPartition::default()
            });
        }
        self.turn = self.turn.wrapping_add(1);
        for (leader, mut partitions) in by_leader {
            let first = self.turn % partitions.len();
            partitions.rotate_left(first);
            let request = self.request(partitions);
            // Over the time that the broker may wait itself.
            let within = self.cluster.options().call_within + self.options.wait_max;
            let answer = self.cluster.begin(leader, &request, within).await?;
            self.asked.insert(leader);
            self.in_flight.push(Box::pin(async move { Answered { leader, answer: answer.await } }));
        }
        Ok(())
    }

    fn request(&self, partitions: Vec<FetchPartition>) -> FetchRequest {
        FetchRequest {
            max_wait_ms: i32::try_from(self.options.wait_max.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: self.options.fetch_bytes_max,
            session_epoch: NO_SESSION_EPOCH,
            topics: vec![FetchTopic { topic: self.topic.clone(), partitions, ..FetchTopic::default() }],
            ..FetchRequest::default()
        }
    }

    /// Takes an answer in; the partitions whose offset does not exist come back. A retriable error is told after all the others
    /// were taken in.
    fn take(&mut self, answer: FetchResponse) -> Result<Vec<i32>, ClientError> {
        let topic = self.topic.clone();
        ClientError::check(answer.error_code, None, || format!("fetch topic {topic}"))?;
        let (mut out_of_range, mut moved) = (Vec::new(), Ok(()));
        for data in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
            if ErrorCode::from_number(data.error_code) == Some(ErrorCode::OffsetOutOfRange) {
                out_of_range.push(data.partition_index);
                continue;
            }
            let about = || format!("fetch topic {topic}, partition {}", data.partition_index);
            match ClientError::check(data.error_code, None, about) {
                Ok(()) => self.take_records(data)?,
                Err(error) if error.is_retriable() => moved = Err(error),
                Err(error) => return Err(error),
            }
        }
        moved?;
        self.patience.renew();
        Ok(out_of_range)
    }

    fn take_records(&mut self, data: PartitionData) -> Result<(), ClientError> {
        let partition = data.partition_index;
        let Some(position) = self.positions.get_mut(&partition) else { return Ok(()) };
        let bytes = data.records.as_ref().map(Records::to_bytes).unwrap_or_default();
        let damaged = |error| ClientError::Malformed {
            address: format!("topic {}, partition {partition}, offset {position}", self.topic),
            what: "records",
            reason: format!("{error}"),
        };
        let Decoded { records, next_offset } = decode(bytes, *position).map_err(damaged)?;
        // An answer that was under way while the position moved brings nothing new.
        if let Some(next_offset) = next_offset.filter(|next| *next > *position) {
            *position = next_offset;
            self.ready.push_back(Fetched { partition, records, next_offset });
        }
        Ok(())
    }

    /// Records may be deleted while they are read: then those that are left are gone on with. An offset beyond the end never was.
    async fn catch_up(&mut self, partition: i32) -> Result<(), ClientError> {
        let Some(position) = self.positions.get(&partition).copied() else { return Ok(()) };
        let beginning = self.cluster.offsets(&self.topic, AT_BEGINNING).await?.get(&partition).copied().unwrap_or(0);
        if position < beginning {
            self.positions.insert(partition, beginning);
            return Ok(());
        }
        let end = self.cluster.offsets(&self.topic, AT_END).await?.get(&partition).copied().unwrap_or(0);
        if position <= end {
            // A leader that is not up to date yet.
            self.patience.pause().await;
            return Ok(());
        }
        Err(ClientError::Refused {
            what: format!("fetch topic {}, partition {partition}", self.topic),
            code: ErrorCode::OffsetOutOfRange,
            message: Some(format!("there is no offset {position}, only {beginning} to {end}")),
        })
    }

    /// Waits and learns where leaders are now, unless it has gone on for too long.
    async fn trouble(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.patience.bear(error).await?;
        match self.cluster.refresh(&self.topic).await {
            Ok(_) => Ok(()),
            // The broker may be about to come back: the next round tries again, until the time is over.
            Err(again) if again.is_retriable() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn no_partition(topic: &str, index: i32) -> ClientError {
    ClientError::Refused {
        what: format!("topic {topic}"),
        code: ErrorCode::UnknownTopicOrPartition,
        message: Some(format!("there is no partition {index}")),
    }
}
