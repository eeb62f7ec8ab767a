//! A member of a consumer group that reads one topic: joins, is assigned partitions, commits, and leaves.
//!
//! It assigns by ranges when it leads, as Kafka's clients do unless told otherwise, so that it may share a group with them. Whoever
//! holds it reads the partitions with a [`crate::Consumer`], calls [`GroupConsumer::heartbeat`] often, and joins again when told to.
//! It has its coordinator's connection for itself where its [`Cluster`] is its own: an answer to a join may take long.

use crate::cluster::{Cluster, RETRY_WAIT_MAX};
use crate::error::ClientError;
use crate::groups::{GroupOffsets, assigned, commit_request};
use bytes::Bytes;
use protocol::error_code::ErrorCode;
use protocol::messages::consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition};
use protocol::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use protocol::messages::heartbeat_request::HeartbeatRequest;
use protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use protocol::messages::join_group_response::JoinGroupResponse;
use protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use protocol::wire::{Decoder, Encoder, Message, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use world::Backoff;

/// How often a member says that it is there.
pub const HEARTBEAT_PERIOD: Duration = Duration::from_secs(3);
/// One that is silent for so long is taken for gone.
const SESSION_MS: i32 = 45_000;
/// What a rebalance waits for a member.
const REBALANCE_MS: i32 = 60_000;
/// What members of this kind are, and how they assign.
const PROTOCOL_TYPE: &str = "consumer";
const ASSIGNOR: &str = "range";

/// What an answer means for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its partitions are its own still.
    Stays,
    /// The group's partitions are dealt out anew: join again.
    JoinsAgain,
}

/// A member of a group.
pub struct GroupConsumer {
    cluster: Cluster,
    group: String,
    topic: String,
    member_id: String,
    generation: i32,
}

impl GroupConsumer {
    /// Not yet a member.
    #[must_use]
    pub fn new(cluster: Cluster, group: &str, topic: &str) -> GroupConsumer {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        GroupConsumer { cluster, group, topic, member_id: String::new(), generation: -1 }
    }

    /// Joins, and waits for the others: which partitions of the topic are its own.
    ///
    /// # Errors
    /// The group refuses, or its coordinator is not there for as long as a call may take.
    pub async fn join(&mut self) -> Result<Vec<i32>, ClientError> {
        let clock = self.cluster.world().clock.clone();
        let mut failing_since = None;
        let mut backoff = Backoff::up_to(RETRY_WAIT_MAX);
        loop {
            let error = match self.join_once().await {
                Ok(assigned) => return Ok(assigned),
                Err(error) => error,
            };
            match error.code() {
                Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => self.forget(),
                Some(ErrorCode::MemberIdRequired | ErrorCode::RebalanceInProgress) => {}
                _ => {
                    let since = *failing_since.get_or_insert(clock.now());
                    let lasting = matches!(error, ClientError::Unreachable { .. });
                    let is_over = clock.now().since(since) >= self.cluster.options().call_within;
                    if is_over || !(error.is_retriable() || lasting) {
                        return Err(error);
                    }
                }
            }
            backoff.wait(clock.as_ref()).await;
        }
    }

    async fn join_once(&mut self) -> Result<Vec<i32>, ClientError> {
        let subscription = ConsumerProtocolSubscription {
            topics: vec![self.topic.clone()],
            ..ConsumerProtocolSubscription::default()
        };
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            member_id: self.member_id.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols: vec![JoinGroupRequestProtocol { name: ASSIGNOR.to_owned(), metadata: versioned(&subscription) }],
            ..JoinGroupRequest::default()
        };
        let answer = self.call(&request, Duration::from_millis(REBALANCE_MS.unsigned_abs().into())).await?;
        // Told with an error, too: the id to join with.
        if !answer.member_id.is_empty() {
            self.member_id.clone_from(&answer.member_id);
        }
        self.check(answer.error_code, "join")?;
        self.generation = answer.generation_id;
        let leads = answer.leader == answer.member_id && !answer.skip_assignment;
        let assignments = if leads { self.assign(&answer).await? } else { Vec::new() };
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol_name: Some(ASSIGNOR.to_owned()),
            assignments,
            ..SyncGroupRequest::default()
        };
        let answer = self.call(&request, Duration::from_millis(REBALANCE_MS.unsigned_abs().into())).await?;
        self.check(answer.error_code, "sync with")?;
        let mine = assigned(&answer.assignment).into_iter().filter(|(topic, _)| *topic == self.topic);
        Ok(mine.map(|(_, partition)| partition).collect())
    }

    /// As the leader: who gets what of all that somebody subscribes to.
    async fn assign(&self, answer: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        let mut subscribers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for member in &answer.members {
            for topic in subscribed(&member.metadata) {
                subscribers.entry(topic).or_default().insert(member.member_id.clone());
            }
        }
        let mut shares: BTreeMap<String, Vec<TopicPartition>> = BTreeMap::new();
        for (topic, members) in subscribers {
            // Others may subscribe to topics that are not there yet.
            let Ok(known) = self.cluster.topic(&topic).await else { continue };
            for (member, partitions) in ranges(known.partitions.len(), &members) {
                shares.entry(member).or_default().push(TopicPartition { topic: topic.clone(), partitions });
            }
        }
        let assign = |(member_id, assigned_partitions)| SyncGroupRequestAssignment {
            member_id,
            assignment: versioned(&ConsumerProtocolAssignment { assigned_partitions, user_data: None }),
        };
        Ok(shares.into_iter().map(assign).collect())
    }

    /// Says that it is there.
    ///
    /// # Errors
    /// The group refuses, or its coordinator does not answer.
    pub async fn heartbeat(&mut self) -> Result<Standing, ClientError> {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: None,
        };
        let answer = self.call(&request, Duration::ZERO).await?;
        self.standing(answer.error_code, "stay in")
    }

    /// Commits: from these offsets on the group goes on.
    ///
    /// # Errors
    /// The group refuses, or its coordinator does not answer; what has been committed is unknown then.
    pub async fn commit(&mut self, offsets: &BTreeMap<i32, i64>) -> Result<Standing, ClientError> {
        let offsets: GroupOffsets =
            offsets.iter().map(|(partition, offset)| ((self.topic.clone(), *partition), *offset)).collect();
        let mut request = commit_request(&self.group, &offsets);
        request.generation_id_or_member_epoch = self.generation;
        request.member_id.clone_from(&self.member_id);
        let answer = self.call(&request, Duration::ZERO).await?;
        let mut standing = Standing::Stays;
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            if self.standing(partition.error_code, "commit to")? == Standing::JoinsAgain {
                standing = Standing::JoinsAgain;
            }
        }
        Ok(standing)
    }

    /// Leaves, so that the others need not wait for its session to end.
    ///
    /// # Errors
    /// Its coordinator does not answer; it is taken for gone later then.
    pub async fn leave(&mut self) -> Result<(), ClientError> {
        let member = MemberIdentity { member_id: self.member_id.clone(), ..MemberIdentity::default() };
        let request =
            LeaveGroupRequest { group_id: self.group.clone(), members: vec![member], ..LeaveGroupRequest::default() };
        let answer = self.call(&request, Duration::ZERO).await?;
        self.forget();
        self.check(answer.error_code, "leave")
    }

    fn forget(&mut self) {
        self.member_id.clear();
        self.generation = -1;
    }

    fn standing(&self, code: i16, what: &str) -> Result<Standing, ClientError> {
        match ErrorCode::from_number(code) {
            Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId) => {
                Ok(Standing::JoinsAgain)
            }
            _ => self.check(code, what).map(|()| Standing::Stays),
        }
    }

    fn check(&self, code: i16, what: &str) -> Result<(), ClientError> {
        ClientError::check(code, None, || format!("{what} group {}", self.group))
    }

    /// Asks the coordinator, which may take `longer` than a call usually does.
    async fn call<R: Request>(&self, request: &R, longer: Duration) -> Result<R::Response, ClientError> {
        let within = self.cluster.options().call_within;
        self.cluster.coordinator(&self.group, within).await?.call(request, within + longer).await
    }
}

/// A structure of consumers, behind its version. Version 0 is the beginning of all later ones, and what every client reads.
fn versioned(message: &impl Message) -> Bytes {
    let mut encoder = Encoder::new();
    encoder.put(&0_i16, 0);
    message.encode_to(&mut encoder, 0);
    encoder.finish().map(protocol::wire::Rope::into_bytes).unwrap_or_default()
}

/// The topics that a member says it consumes; none where that can't be read.
fn subscribed(metadata: &Bytes) -> Vec<String> {
    let mut decoder = Decoder::new(metadata.clone());
    let _version: i16 = decoder.get(0);
    let subscription = ConsumerProtocolSubscription::decode_from(&mut decoder, 0);
    if decoder.so_far().is_ok() { subscription.topics } else { Vec::new() }
}

/// Kafka's ranges: neighbouring partitions to one member, one more to the first where it does not come out even.
fn ranges(partitions: usize, members: &BTreeSet<String>) -> Vec<(String, Vec<i32>)> {
    let each = partitions / members.len().max(1);
    let one_more = partitions % members.len().max(1);
    let mut next = 0;
    let share = |(number, member): (usize, &String)| {
        let count = each + usize::from(number < one_more);
        let range = next..next + count;
        next = range.end;
        (member.clone(), range.filter_map(|index| i32::try_from(index).ok()).collect())
    };
    members.iter().enumerate().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_kafka() {
        let members = BTreeSet::from(["a", "b", "c"].map(str::to_owned));
        let shares = |partitions| ranges(partitions, &members).into_iter().map(|(_, it)| it).collect::<Vec<_>>();
        assert_eq!(shares(7), [vec![0, 1, 2], vec![3, 4], vec![5, 6]]);
        assert_eq!(shares(2), [vec![0], vec![1], vec![]]);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let topics = vec!["t".to_owned()];
        let subscription = ConsumerProtocolSubscription { topics: topics.clone(), ..Default::default() };
        assert_eq!(subscribed(&versioned(&subscription)), topics);
        let part = TopicPartition { topic: "t".to_owned(), partitions: vec![0, 5] };
        let assignment = ConsumerProtocolAssignment { assigned_partitions: vec![part], user_data: None };
        assert_eq!(assigned(&versioned(&assignment)), [("t".to_owned(), 0), ("t".to_owned(), 5)]);
        assert_eq!(subscribed(&Bytes::from_static(b"\0")), Vec::<String>::new());
    }
}
