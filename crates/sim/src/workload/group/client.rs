//! The requests of consumer groups, in many versions; the coordinator is looked for again after every failure.

use crate::checker::Partitions;
use crate::workload::Shared;
use crate::workload::client::{Client, Failure, kafka, unreadable};
use base::Seed;
use bytes::{BufMut, Bytes, BytesMut};
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::heartbeat_request::HeartbeatRequest;
use protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use protocol::messages::join_group_response::JoinGroupResponse;
use protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use protocol::wire::Request;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Milliseconds after which a silent member is taken for gone, and that a rebalance waits for members.
pub(super) const SESSION_MS: i32 = 2_500;
const REBALANCE_MS: i32 = 2_000;
/// How members assign.
const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "by number";

/// Who a request says it comes from.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    pub(super) member_id: String,
    pub(super) instance_id: Option<String>,
    /// -1: none.
    pub(super) generation: i32,
}

/// A client of one group.
pub(super) struct GroupClient {
    client: Client,
    pub(super) group: String,
    coordinator: Option<String>,
}

impl GroupClient {
    pub(super) fn new(shared: &Arc<Shared>, group: &str, seed: Seed) -> GroupClient {
        GroupClient { client: Client::new(shared, seed), group: group.to_owned(), coordinator: None }
    }

    /// The next request goes to any broker.
    pub(super) fn turn_to_anybody(&mut self) {
        self.coordinator = Some(self.client.anybody());
    }

    /// Joins; the answer is returned with its error, as that may bring a member id.
    pub(super) async fn join(&mut self, member: &Membership) -> Result<JoinGroupResponse, Failure> {
        let versions: &[i16] = if member.instance_id.is_some() { &[5, 6, 7, 8, 9] } else { &[1, 2, 3, 4, 5, 7, 9] };
        let version = self.client.pick(versions);
        // What the leader knows it by: older versions of the answer name no instances.
        let metadata = Bytes::from(member.instance_id.clone().unwrap_or_default());
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            member_id: member.member_id.clone(),
            group_instance_id: member.instance_id.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols: vec![JoinGroupRequestProtocol { name: PROTOCOL.to_owned(), metadata }],
            reason: None,
        };
        let answer = self.call(version, &request).await?;
        self.note(answer.error_code);
        Ok(answer)
    }

    /// Syncs, as the leader with what each member gets.
    pub(super) async fn sync(
        &mut self,
        member: &Membership,
        assignments: &BTreeMap<String, Bytes>,
    ) -> Result<Bytes, Failure> {
        let version = self.client.pick(if member.instance_id.is_some() { &[3, 4, 5] } else { &[0, 1, 2, 3, 4, 5] });
        let assign = |(member_id, assignment): (&String, &Bytes)| SyncGroupRequestAssignment {
            member_id: member_id.clone(),
            assignment: assignment.clone(),
        };
        let names_protocol = version >= 5;
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: member.generation,
            member_id: member.member_id.clone(),
            group_instance_id: member.instance_id.clone(),
            protocol_type: names_protocol.then(|| PROTOCOL_TYPE.to_owned()),
            protocol_name: names_protocol.then(|| PROTOCOL.to_owned()),
            assignments: assignments.iter().map(assign).collect(),
        };
        let answer = self.call(version, &request).await?;
        self.checked(answer.error_code)?;
        Ok(answer.assignment)
    }

    pub(super) async fn heartbeat(&mut self, member: &Membership) -> Result<(), Failure> {
        let version = self.client.pick(if member.instance_id.is_some() { &[3, 4] } else { &[0, 1, 2, 3, 4] });
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: member.generation,
            member_id: member.member_id.clone(),
            group_instance_id: member.instance_id.clone(),
        };
        let answer = self.call(version, &request).await?;
        self.checked(answer.error_code)
    }

    pub(super) async fn leave(&mut self, member: &Membership) -> Result<(), Failure> {
        let version = self.client.pick(if member.instance_id.is_some() { &[3, 4, 5] } else { &[0, 1, 2, 3, 4, 5] });
        let mut request = LeaveGroupRequest { group_id: self.group.clone(), ..LeaveGroupRequest::default() };
        if version < 3 {
            request.member_id = member.member_id.clone();
        } else {
            request.members = vec![MemberIdentity {
                member_id: member.member_id.clone(),
                group_instance_id: member.instance_id.clone(),
                reason: None,
            }];
        }
        let answer = self.call(version, &request).await?;
        self.checked(answer.error_code)?;
        answer.members.first().map_or(Ok(()), |member| kafka(member.error_code))
    }

    /// Commits offsets; what became of each stands at its place.
    pub(super) async fn commit(
        &mut self,
        member: &Membership,
        offsets: &[((String, i32), i64)],
    ) -> Result<Vec<Result<(), Failure>>, Failure> {
        let version = self.client.pick(if member.instance_id.is_some() { &[7, 8, 9] } else { &[2, 3, 5, 6, 7, 8, 9] });
        let topic = |((topic, partition), offset): &((String, i32), i64)| OffsetCommitRequestTopic {
            name: topic.clone(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: *offset,
                committed_metadata: Some(metadata_of(*offset)),
                ..OffsetCommitRequestPartition::default()
            }],
            ..OffsetCommitRequestTopic::default()
        };
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: member.generation,
            member_id: member.member_id.clone(),
            group_instance_id: member.instance_id.clone(),
            topics: offsets.iter().map(topic).collect(),
            ..OffsetCommitRequest::default()
        };
        let answer = self.call(version, &request).await?;
        let codes: Vec<i16> = answer.topics.iter().flat_map(|it| &it.partitions).map(|it| it.error_code).collect();
        if codes.len() != offsets.len() {
            return Err(unreadable());
        }
        codes.iter().for_each(|code| self.note(*code));
        Ok(codes.into_iter().map(kafka).collect())
    }

    /// What is committed of these partitions; `None` where nothing is.
    pub(super) async fn fetch(&mut self, wanted: &Partitions) -> Result<Vec<((String, i32), Option<i64>)>, Failure> {
        let version = self.client.pick(&[1, 2, 5, 6, 7, 8, 9]);
        let mut request = OffsetFetchRequest::default();
        if version < 8 {
            let topic = |(name, partition): &(String, i32)| OffsetFetchRequestTopic {
                name: name.clone(),
                partition_indexes: vec![*partition],
            };
            request.group_id = self.group.clone();
            request.topics = Some(wanted.iter().map(topic).collect());
        } else {
            let topic = |(name, partition): &(String, i32)| OffsetFetchRequestTopics {
                name: name.clone(),
                partition_indexes: vec![*partition],
                ..OffsetFetchRequestTopics::default()
            };
            request.groups = vec![OffsetFetchRequestGroup {
                group_id: self.group.clone(),
                topics: Some(wanted.iter().map(topic).collect()),
                ..OffsetFetchRequestGroup::default()
            }];
        }
        let answer = self.call(version, &request).await?;
        let mut found = Vec::new();
        if version < 8 {
            self.checked(answer.error_code)?;
            for (topic, it) in answer.topics.iter().flat_map(|it| it.partitions.iter().map(|part| (&it.name, part))) {
                let offset = self.offset(it.error_code, it.committed_offset, it.metadata.as_deref())?;
                found.push(((topic.clone(), it.partition_index), offset));
            }
        } else {
            let group = answer.groups.first().ok_or_else(unreadable)?;
            self.checked(group.error_code)?;
            for (topic, it) in group.topics.iter().flat_map(|it| it.partitions.iter().map(|part| (&it.name, part))) {
                let offset = self.offset(it.error_code, it.committed_offset, it.metadata.as_deref())?;
                found.push(((topic.clone(), it.partition_index), offset));
            }
        }
        if found.len() == wanted.len() { Ok(found) } else { Err(unreadable()) }
    }

    /// An offset that was found, which must have the metadata that it was committed with.
    fn offset(&mut self, code: i16, offset: i64, metadata: Option<&str>) -> Result<Option<i64>, Failure> {
        self.checked(code)?;
        match offset {
            -1 => Ok(None),
            // What is not as it was sent is nobody's.
            _ if metadata != Some(&metadata_of(offset)) => Ok(Some(i64::MAX)),
            offset => Ok(Some(offset)),
        }
    }

    async fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response, Failure> {
        let coordinator = match self.coordinator.clone() {
            Some(coordinator) => coordinator,
            None => self.find().await?,
        };
        let answered = self.client.call(&coordinator, version, request).await;
        self.coordinator = answered.is_ok().then_some(coordinator);
        answered.map(|(answer, _)| answer)
    }

    async fn find(&mut self) -> Result<String, Failure> {
        let address = self.client.anybody();
        let version = self.client.pick(&[1, 2, 3, 4, 5, 6]);
        let mut request = FindCoordinatorRequest::default();
        if version < 4 {
            request.key = self.group.clone();
        } else {
            request.coordinator_keys = vec![self.group.clone()];
        }
        let (answer, _) = self.client.call(&address, version, &request).await?;
        if version < 4 {
            kafka(answer.error_code)?;
            return Ok(format!("{}:{}", answer.host, answer.port));
        }
        let found = answer.coordinators.first().ok_or_else(unreadable)?;
        kafka(found.error_code)?;
        Ok(format!("{}:{}", found.host, found.port))
    }

    /// Where the coordinator is elsewhere, or may be, it is looked for.
    fn note(&mut self, code: i16) {
        if super::COORDINATOR_MOVES.contains(&code) {
            self.coordinator = None;
        }
    }

    fn checked(&mut self, code: i16) -> Result<(), Failure> {
        self.note(code);
        kafka(code)
    }
}

/// The text that goes with an offset.
fn metadata_of(offset: i64) -> String {
    format!("at {offset}")
}

/// An assignment's bytes.
pub(super) fn encode(partitions: &Partitions) -> Bytes {
    let mut bytes = BytesMut::new();
    for (topic, partition) in partitions {
        bytes.put_slice(format!("{topic}/{partition}\n").as_bytes());
    }
    bytes.freeze()
}

/// What an assignment's bytes say; `None`: nothing that [`encode`] writes.
pub(super) fn decode(bytes: &[u8]) -> Option<Partitions> {
    let lines = std::str::from_utf8(bytes).ok()?.lines();
    lines.map(|line| line.rsplit_once('/').and_then(|(topic, it)| Some((topic.to_owned(), it.parse().ok()?)))).collect()
}
