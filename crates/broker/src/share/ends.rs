//! Where partitions end, wherever their leaders are: what a share group has not read yet is told by that.

use super::questions::said;
use crate::Shared;
use crate::error::Failure;
use crate::handler::list_offsets;
use crate::peers::{Lanes, Question, Reach};
use crate::places::{Place, of_partition};
use crate::rights::Rights;
use futures::future::join_all;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use protocol::messages::list_offsets_response::ListOffsetsResponse;
use std::collections::{BTreeMap, BTreeSet};

/// Any version in which an answer has one offset would do.
const VERSION: i16 = 7;
const LATEST: i64 = -1;
/// What stands where a client does not know the leader's epoch, and where it is no replica.
const NONE: i32 = -1;

/// Each partition's end, the offset of the next record, or why it can't be told.
pub(crate) type Ends = BTreeMap<(String, i32), Result<i64, Failure>>;

/// The connections by which other brokers are asked.
pub(crate) struct EndPeers(Lanes<EndsOf>);

/// The partitions of one question.
struct EndsOf(Vec<(String, i32)>);

impl EndPeers {
    pub(crate) fn new(reach: &Reach) -> EndPeers {
        EndPeers(Lanes::new(reach.clone()))
    }
}

/// Of these partitions, each of which stands here once.
pub(crate) async fn ends(broker: &Shared, partitions: BTreeSet<(String, i32)>) -> Ends {
    let image = broker.store.ledger().image();
    let mut by_place: BTreeMap<Place, Vec<(String, i32)>> = BTreeMap::new();
    for (topic, partition) in partitions {
        let place = of_partition(broker, &image, &topic, partition);
        by_place.entry(place).or_default().push((topic, partition));
    }
    let told = by_place.into_iter().map(async |(place, partitions)| {
        let failed = |failure: &Failure| partitions.iter().map(|it| (it.clone(), Err(failure.clone()))).collect();
        match place {
            Place::Here => {
                ends_of(list_offsets::handle(broker, request(&partitions), VERSION, &Rights::unlimited()).await)
            }
            Place::At(address) => {
                let answer = broker.end_peers.0.ask(&address, EndsOf(partitions.clone())).await;
                answer.unwrap_or_else(|| failed(&Failure::TimedOut))
            }
            Place::Nowhere => failed(&Failure::NotLeader),
            Place::Gone => failed(&Failure::UnknownPartition),
        }
    });
    let told: Vec<Ends> = join_all(told).await;
    told.into_iter().flatten().collect()
}

impl Question for EndsOf {
    type Asks = ListOffsetsRequest;
    type Answer = Ends;
    const WAITS: &'static str = "share groups that consume what it leads";

    fn ask(questions: Vec<EndsOf>) -> ListOffsetsRequest {
        let partitions: Vec<(String, i32)> = questions.into_iter().flat_map(|question| question.0).collect();
        request(&partitions)
    }

    fn told(_asked: &ListOffsetsRequest, answer: ListOffsetsResponse) -> Vec<Option<Ends>> {
        vec![Some(ends_of(answer))]
    }

    /// A request may name a partition once.
    fn goes_with(&self, first: &EndsOf) -> bool {
        std::ptr::eq(self, first)
    }
}

fn request(partitions: &[(String, i32)]) -> ListOffsetsRequest {
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for (topic, partition_index) in partitions {
        topics.entry(topic).or_default().push(ListOffsetsPartition {
            partition_index: *partition_index,
            current_leader_epoch: NONE,
            timestamp: LATEST,
            ..ListOffsetsPartition::default()
        });
    }
    let topic = |(name, partitions): (&str, _)| ListOffsetsTopic { name: name.to_owned(), partitions };
    let topics = topics.into_iter().map(topic).collect();
    ListOffsetsRequest { replica_id: NONE, topics, ..ListOffsetsRequest::default() }
}

fn ends_of(answer: ListOffsetsResponse) -> Ends {
    let mut ends = Ends::new();
    for topic in answer.topics {
        for it in topic.partitions {
            ends.insert((topic.name.clone(), it.partition_index), said(it.error_code, None, it.offset));
        }
    }
    ends
}
