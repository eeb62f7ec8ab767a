//! A member of a consumer group that reads one topic: joins, is assigned partitions, commits, and leaves.
//!
//! It assigns by ranges when it leads, as Kafka's clients do unless told otherwise, so that it may share a group with them. Whoever
//! holds it reads the partitions with a [`crate::Consumer`], calls [`GroupConsumer::heartbeat`] often, and joins again when told to.
//! That its coordinator is away, or another broker now, is borne for as long as a call may take.
//! It has its coordinator's connection for itself where its [`Cluster`] is its own: an answer to a join may take long.

use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::groups::{GroupOffsets, assigned, commit_request};
use crate::patience::Patience;
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
use std::sync::Arc;
use std::time::Duration;

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
    /// Who answered last; looked for anew after trouble.
    coordinator: Option<Arc<Connection>>,
}

impl GroupConsumer {
    /// Not yet a member.
    #[must_use]
    pub fn new(cluster: Cluster, group: &str, topic: &str) -> GroupConsumer {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        GroupConsumer { cluster, group, topic, member_id: String::new(), generation: -1, coordinator: None }
    }

    /// Joins, and waits for the others: which partitions of the topic are its own.
    ///
    /// # Errors
    /// The group refuses, or its coordinator is not there for as long as a call may take.
    pub async fn join(&mut self) -> Result<Vec<i32>, ClientError> {
        let mut patience = Patience::new(&self.cluster);
        loop {
            let error = match self.join_once().await {
                Ok(assigned) => return Ok(assigned),
                Err(error) => error,
            };
            match error.code() {
                Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                    self.forget();
                    patience.pause().await;
                }
                Some(ErrorCode::MemberIdRequired | ErrorCode::RebalanceInProgress) => patience.pause().await,
                _ => {
                    self.coordinator = None;
                    patience.bear(error).await?;
                }
            }
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
            let known = match self.cluster.topic(&topic).await {
                Ok(known) => known,
                // Others may subscribe to topics that are not there yet, or never will be.
                Err(ClientError::Refused { .. }) => continue,
                Err(error) => return Err(error),
            };
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
    /// The group refuses, or its coordinator is not there for as long as a call may take.
    pub async fn heartbeat(&mut self) -> Result<Standing, ClientError> {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: None,
        };
        self.ask_for_standing(&request, |me, answer| me.standing(answer.error_code, "stay in")).await
    }

    /// Commits: from these offsets on the group goes on.
    ///
    /// # Errors
    /// The group refuses, or its coordinator is not there for as long as a call may take; what has been committed is unknown then.
    pub async fn commit(&mut self, offsets: &BTreeMap<i32, i64>) -> Result<Standing, ClientError> {
        let offsets: GroupOffsets =
            offsets.iter().map(|(partition, offset)| ((self.topic.clone(), *partition), *offset)).collect();
        let mut request = commit_request(&self.group, &offsets);
        request.generation_id_or_member_epoch = self.generation;
        request.member_id.clone_from(&self.member_id);
        self.ask_for_standing(&request, |me, answer| {
            let mut standing = Standing::Stays;
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                if me.standing(partition.error_code, "commit to")? == Standing::JoinsAgain {
                    standing = Standing::JoinsAgain;
                }
            }
            Ok(standing)
        })
        .await
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

    /// Asks what `take` finds in the answer, and again where that fails in a way that may pass. For requests that may be repeated.
    async fn ask_for_standing<R: Request>(
        &mut self,
        request: &R,
        take: impl Fn(&GroupConsumer, R::Response) -> Result<Standing, ClientError>,
    ) -> Result<Standing, ClientError> {
        let mut patience = Patience::of_call(&self.cluster);
        loop {
            let answered = self.call(request, Duration::ZERO).await;
            match answered.and_then(|answer| take(self, answer)) {
                Ok(standing) => return Ok(standing),
                Err(error) => {
                    self.coordinator = None;
                    patience.bear(error).await?;
                }
            }
        }
    }

    /// Asks the coordinator, which may take `longer` than a call usually does.
    async fn call<R: Request>(&mut self, request: &R, longer: Duration) -> Result<R::Response, ClientError> {
        let within = self.cluster.options().call_within;
        let began = self.cluster.world().clock.now();
        // Nobody's until it has answered: where this is given up half-way, too.
        let coordinator = match self.coordinator.take().filter(|known| known.is_open()) {
            Some(known) => known,
            None => self.cluster.coordinator(&self.group, within).await?,
        };
        let answer = coordinator.call(request, self.cluster.left_of(within + longer, began)).await?;
        self.coordinator = Some(coordinator);
        Ok(answer)
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
#[path = "group_consumer_tests.rs"]
mod tests;
