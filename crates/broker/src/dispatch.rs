//! From a frame to its handler, and from the handler's answer to bytes. Second stop of every walk.
//!
//! What is served stands in the protocol's one table; each of its rows has an arm here. A request that is not served, or not a
//! request at all, closes its connection with one log line, as its sender could not read an answer either; only ApiVersions
//! answers a version that it does not know, in version 0, because that is how clients find out.

use crate::Shared;
use crate::answer::{Answer, Held};
use crate::caller::Caller;
use crate::connection::Activity;
use crate::error::Failure;
use crate::frame::Frame;
use crate::handler::{
    add_offsets_to_txn, add_partitions_to_txn, alter_client_quotas, alter_configs, alter_partition_reassignments,
    alter_share_group_offsets, alter_user_scram_credentials, api_versions, consumer_group_describe,
    consumer_group_heartbeat, create_acls, create_partitions, create_topics, delete_acls, delete_groups,
    delete_records, delete_share_group_offsets, delete_topics, describe_acls, describe_client_quotas, describe_cluster,
    describe_configs, describe_groups, describe_log_dirs, describe_producers, describe_quorum,
    describe_share_group_offsets, describe_topic_partitions, describe_transactions, describe_user_scram_credentials,
    elect_leaders, end_txn, fetch, find_coordinator, get_telemetry_subscriptions, heartbeat, init_producer_id,
    join_group, leave_group, list_config_resources, list_groups, list_offsets, list_partition_reassignments,
    list_transactions, metadata, offset_commit, offset_delete, offset_fetch, offset_for_leader_epoch, produce,
    push_telemetry, share_acknowledge, share_fetch, share_group_describe, share_group_heartbeat,
    streams_group_describe, streams_group_heartbeat, sync_group, txn_offset_commit, unregister_broker, update_features,
    write_txn_markers,
};
use crate::hello::START_CLIENT_ID;
use crate::memory::{self, FrameMemory, SMALL_ANSWER_BYTES_MAX};
use crate::quota::Meter;
use crate::rights::Rights;
use crate::sasl;
use crate::share::{self, Delete, Initialize, Read, Summarize, Write};
use bytes::Bytes;
use futures::future::BoxFuture;
use protocol::api;
use protocol::api_key::ApiKey;
use protocol::frame::{self, RequestFrame, RequestHeader};
use protocol::wire::{DecodeError, EncodeError, Message, Rope};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Only produce requests carry bulk data. Any other frame above this is refused, because what it decodes to takes more memory
/// than its bytes.
const PLAIN_REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What naming something that has settings takes at least, and what an answer about it takes at the most, roughly.
const RESOURCE_BYTES_MIN: usize = 8;
const RESOURCE_ANSWER_BYTES: usize = 128 * 1024;

/// A started request: resolves to its answer, or to none where the client wants none.
pub(crate) type Running = BoxFuture<'static, Result<Option<Answer>, Unserved>>;

/// A request with its header read.
pub(crate) struct Request {
    frame: RequestFrame,
    frame_bytes: usize,
    memory: FrameMemory,
    /// The connection's.
    connection: u64,
    caller: Arc<Caller>,
}

/// Why a connection must be closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unserved {
    #[error("{0}")]
    Header(#[from] frame::FrameError),
    /// Its login has failed, or it has asked for something before it.
    #[error("{0}")]
    Login(String),
    #[error("{} is not served yet", .0.name())]
    Api(ApiKey),
    #[error("{} version {version} is not served", key.name())]
    Version { key: ApiKey, version: i16 },
    #[error("{} of {bytes} bytes; only produce requests may be greater than {PLAIN_REQUEST_BYTES_MAX}", key.name())]
    TooLarge { key: ApiKey, bytes: usize },
    #[error("{} version {version}: {error}", key.name())]
    Body { key: ApiKey, version: i16, error: DecodeError },
    /// The client asked for no answer and has no other way to learn of an error.
    #[error("{0}")]
    Unanswered(Failure),
    /// A handler's answer has no form in the version that was asked for: a programmer's error.
    #[error("answer to {}: {error}; this is a bug", key.name())]
    Answer { key: ApiKey, error: EncodeError },
}

impl Request {
    pub(crate) fn is_produce(&self) -> bool {
        self.frame.header.key == ApiKey::Produce
    }

    /// Whether it is dropped when its peer sends no more: what old consumers ask for may be much work, what a member of a share group is given
    /// is kept from others, and none of them closes a half of its connection only.
    pub(crate) fn ends_with_peer(&self) -> bool {
        let (key, version) = (self.frame.header.key, self.frame.header.version);
        key == ApiKey::ShareFetch || (key == ApiKey::Fetch && fetch::needs_conversion(version))
    }

    pub(crate) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }
}

/// Reads a frame's header and checks that the request is served.
pub(crate) fn parse(frame: Frame, caller: Arc<Caller>, connection: u64) -> Result<Request, Unserved> {
    let frame_bytes = frame.bytes.len();
    let request = RequestFrame::decode(frame.bytes)?;
    let RequestHeader { key, version, .. } = request.header;
    let api = api::served(key).ok_or(Unserved::Api(key))?;
    if !api.serves(version) && key != ApiKey::ApiVersions {
        return Err(Unserved::Version { key, version });
    }
    if key != ApiKey::Produce && frame_bytes > PLAIN_REQUEST_BYTES_MAX {
        return Err(Unserved::TooLarge { key, bytes: frame_bytes });
    }
    Ok(Request { frame: request, frame_bytes, memory: frame.memory, caller, connection })
}

/// The answer to a step of a login, and whether the connection ends behind it, late, and why.
pub(crate) fn answered(bytes: Option<Bytes>, memory: FrameMemory, ends: Option<(Arc<Shared>, String)>) -> Vec<Running> {
    let answer = bytes.map(|bytes| Answer::new(vec![bytes], Held { frame: memory, answer: None }));
    let Some((broker, why)) = ends else {
        let at_once: Running = Box::pin(std::future::ready(Ok(answer)));
        return vec![at_once];
    };
    let late: Running = Box::pin(async move {
        let delay = broker.options.sasl.as_ref().map_or(Duration::ZERO, |sasl| sasl.failure_delay);
        broker.clock.sleep(delay).await;
        Ok(answer)
    });
    let end: Running = Box::pin(std::future::ready(Err(Unserved::Login(why))));
    vec![late, end]
}

/// Starts a request. Resolves when the connection may start its next one beside it, should the rule for both allow that.
pub(crate) fn start(
    broker: Arc<Shared>,
    request: Request,
    connection: &Arc<Activity>,
) -> BoxFuture<'static, Result<Running, Unserved>> {
    let meter = Meter::of(&broker, &request.frame.header, (connection, &request.caller));
    if request.is_produce() {
        meter.timed(Box::pin(start_produce(broker, request, meter.clone())))
    } else {
        let metered = meter.clone();
        let running = Box::pin(async move { answer(&broker, request, metered).await.map(Some) });
        Box::pin(std::future::ready(Ok(meter.timed(running))))
    }
}

async fn start_produce(broker: Arc<Shared>, request: Request, meter: Meter) -> Result<Running, Unserved> {
    let Request { frame, frame_bytes, memory, caller, .. } = request;
    let rights = Rights::of(&broker, &caller);
    let reply = Reply::to(&frame.header, meter.clone());
    let body = reply.body(frame)?;
    let version = reply.version;
    let waiting = produce::start(broker, body, version, (frame_bytes, rights)).await;
    let running = Box::pin(async move {
        let outcome = waiting.await;
        reply.meter.charge_produce(frame_bytes, matches!(outcome, Ok(Some(_))));
        match outcome {
            Ok(Some(response)) => {
                let rope = reply.encode(&response)?;
                Ok(Some(Answer::new(rope.into_pieces(), Held { frame: memory, answer: None })))
            }
            Ok(None) => {
                reply.meter.settle();
                Ok(None)
            }
            Err(failure) => Err(Unserved::Unanswered(failure)),
        }
    });
    Ok(meter.timed(running))
}

/// Answers a request, and counts the answer's memory until it is written. A fetch counts its own.
async fn answer(broker: &Shared, request: Request, meter: Meter) -> Result<Answer, Unserved> {
    let (key, frame_bytes) = (request.frame.header.key, request.frame_bytes);
    let ahead = match expected_bytes(key, frame_bytes) {
        0 => None,
        expected => Some(broker.answer_memory.take(expected).await),
    };
    let mut answer = handle(broker, request, meter).await?;
    if matches!(key, ApiKey::Fetch | ApiKey::ShareFetch) {
        return Ok(answer);
    }
    // The request's own memory is held as long, but for those that have waited for others.
    let frame_bytes = if matches!(key, ApiKey::JoinGroup | ApiKey::SyncGroup) { 0 } else { frame_bytes };
    let beyond = answer.len().saturating_sub(frame_bytes);
    let ahead = ahead.or_else(|| answer.held());
    answer.hold(match ahead {
        Some(mut ahead) => {
            memory::keep_only(&mut ahead, beyond);
            Some(ahead)
        }
        None if beyond <= SMALL_ANSWER_BYTES_MAX => broker.answer_memory.try_take(beyond),
        None => Some(broker.answer_memory.take(beyond).await),
    });
    Ok(answer)
}

/// What an answer that may be much greater than its question takes while it is made. Those about topics and groups, and about what
/// was created, take theirs when it is known of how much they tell. Others are counted when they are there: they are in
/// proportion to their requests, which are counted.
fn expected_bytes(key: ApiKey, frame_bytes: usize) -> usize {
    match key {
        // A few bytes name a broker with all its settings.
        ApiKey::DescribeConfigs => {
            let named = frame_bytes / RESOURCE_BYTES_MIN;
            named.saturating_mul(RESOURCE_ANSWER_BYTES).min(describe_configs::ANSWER_BYTES_MAX)
        }
        _ => 0,
    }
}

/// The table of handlers.
async fn handle(broker: &Shared, request: Request, meter: Meter) -> Result<Answer, Unserved> {
    let Request { frame, memory, caller, connection, .. } = request;
    let rights = &Rights::of(broker, &caller);
    let mut reply = Reply::to(&frame.header, meter);
    let mut held = Held { frame: memory, answer: None };
    let version = reply.version;
    let rope = match reply.key {
        ApiKey::Fetch => {
            let of = (rights, &reply.meter);
            let answered = fetch::handle(broker, reply.body(frame)?, version, &mut held.frame, of).await;
            reply.encode_held(answered, &mut held)
        }
        ApiKey::ShareFetch => {
            let of = (connection, rights, &mut held.frame);
            let answered = share_fetch::handle(broker, reply.body(frame)?, version, of, &reply.meter).await;
            reply.encode_held(answered, &mut held)
        }
        ApiKey::ShareAcknowledge => {
            reply.encode(&share_acknowledge::handle(broker, reply.body(frame)?, version, rights).await)
        }
        ApiKey::ListOffsets => reply.encode(&list_offsets::handle(broker, reply.body(frame)?, version, rights).await),
        ApiKey::Metadata => {
            let answered = metadata::handle(broker, reply.body(frame)?, version, (rights, &reply.meter)).await;
            reply.encode_held(answered, &mut held)
        }
        ApiKey::FindCoordinator => {
            reply.encode(&find_coordinator::handle(broker, reply.body(frame)?, version, rights).await)
        }
        ApiKey::CreateTopics => {
            let answered = create_topics::handle(broker, reply.body(frame)?, version, (rights, &reply.meter)).await;
            reply.encode_held(answered, &mut held)
        }
        ApiKey::DeleteTopics => {
            reply.encode(&delete_topics::handle(broker, reply.body(frame)?, version, (rights, &reply.meter)).await)
        }
        ApiKey::DeleteRecords => reply.encode(&delete_records::handle(broker, reply.body(frame)?, rights).await),
        ApiKey::AlterConfigs => reply.encode(&alter_configs::replace(broker, reply.body(frame)?, rights).await),
        ApiKey::IncrementalAlterConfigs => {
            reply.encode(&alter_configs::change(broker, reply.body(frame)?, rights).await)
        }
        ApiKey::DescribeConfigs => {
            reply.encode(&describe_configs::handle(broker, reply.body(frame)?, version, rights).await)
        }
        ApiKey::OffsetForLeaderEpoch => {
            reply.encode(&offset_for_leader_epoch::handle(broker, reply.body(frame)?, rights).await)
        }
        ApiKey::DescribeTopicPartitions => {
            reply.encode_held(describe_topic_partitions::handle(broker, reply.body(frame)?, rights).await, &mut held)
        }
        ApiKey::ApiVersions if frame.header.client_id.as_deref() == Some(START_CLIENT_ID) => {
            broker.said_hello.notify_one();
            reply.encode(&api_versions::handle(broker, &reply.body(frame)?, version, &rights.caller.peer))
        }
        ApiKey::ApiVersions if api::served(ApiKey::ApiVersions).is_some_and(|api| api.serves(version)) => {
            reply.encode(&api_versions::handle(broker, &reply.body(frame)?, version, &rights.caller.peer))
        }
        ApiKey::ApiVersions => {
            reply.version = 0;
            reply.encode(&api_versions::unserved_version())
        }
        _ => of_groups(broker, &reply, frame, (rights, &mut held)).await,
    };
    Ok(Answer::new(rope?.into_pieces(), held))
}

/// The part of it that is about groups.
async fn of_groups(
    broker: &Shared,
    reply: &Reply,
    frame: RequestFrame,
    (rights, held): (&Rights, &mut Held),
) -> Result<Rope, Unserved> {
    let version = reply.version;
    match reply.key {
        ApiKey::JoinGroup => {
            let client = (frame.header.client_id.clone(), rights);
            let memory = std::mem::take(&mut held.frame);
            reply.encode(&join_group::handle(broker, reply.body(frame)?, version, client, memory).await)
        }
        ApiKey::SyncGroup => {
            let memory = std::mem::take(&mut held.frame);
            reply.encode(&sync_group::handle(broker, reply.body(frame)?, version, (memory, rights)).await)
        }
        ApiKey::Heartbeat => reply.encode(&heartbeat::handle(broker, reply.body(frame)?, rights).await),
        ApiKey::LeaveGroup => reply.encode(&leave_group::handle(broker, reply.body(frame)?, version, rights).await),
        ApiKey::OffsetCommit => reply.encode(&offset_commit::handle(broker, reply.body(frame)?, version, rights).await),
        ApiKey::OffsetFetch => {
            reply.encode_held(offset_fetch::handle(broker, reply.body(frame)?, version, rights).await, held)
        }
        ApiKey::OffsetDelete => reply.encode(&offset_delete::handle(broker, reply.body(frame)?, rights).await),
        ApiKey::DescribeGroups => {
            reply.encode_held(describe_groups::handle(broker, reply.body(frame)?, version, rights).await, held)
        }
        ApiKey::ListGroups => reply.encode_held(list_groups::handle(broker, reply.body(frame)?, rights).await, held),
        ApiKey::ConsumerGroupHeartbeat => {
            let client = (frame.header.client_id.clone(), rights);
            reply.encode_held(consumer_group_heartbeat::handle(broker, reply.body(frame)?, version, client).await, held)
        }
        ApiKey::ConsumerGroupDescribe => {
            reply.encode_held(consumer_group_describe::handle(broker, reply.body(frame)?, rights).await, held)
        }
        ApiKey::StreamsGroupHeartbeat => {
            let client = (frame.header.client_id.clone(), rights);
            reply.encode_held(streams_group_heartbeat::handle(broker, reply.body(frame)?, client).await, held)
        }
        ApiKey::StreamsGroupDescribe => {
            reply.encode_held(streams_group_describe::handle(broker, reply.body(frame)?, rights).await, held)
        }
        ApiKey::DeleteGroups => reply.encode(&delete_groups::handle(broker, reply.body(frame)?, rights).await),
        _ => of_share_groups(broker, reply, frame, (rights, held)).await,
    }
}

/// The part of it that is about share groups.
async fn of_share_groups(
    broker: &Shared,
    reply: &Reply,
    frame: RequestFrame,
    (rights, held): (&Rights, &mut Held),
) -> Result<Rope, Unserved> {
    match reply.key {
        ApiKey::ShareGroupHeartbeat => {
            let client = (frame.header.client_id.clone(), rights);
            reply.encode_held(share_group_heartbeat::handle(broker, reply.body(frame)?, client).await, held)
        }
        ApiKey::ShareGroupDescribe => {
            reply.encode_held(share_group_describe::handle(broker, reply.body(frame)?, rights).await, held)
        }
        ApiKey::InitializeShareGroupState => {
            reply.encode(&share::answer::<Initialize>(broker, reply.body(frame)?, rights).await)
        }
        ApiKey::ReadShareGroupState => reply.encode(&share::answer::<Read>(broker, reply.body(frame)?, rights).await),
        ApiKey::WriteShareGroupState => reply.encode(&share::answer::<Write>(broker, reply.body(frame)?, rights).await),
        ApiKey::DeleteShareGroupState => {
            reply.encode(&share::answer::<Delete>(broker, reply.body(frame)?, rights).await)
        }
        ApiKey::ReadShareGroupStateSummary => {
            reply.encode(&share::answer::<Summarize>(broker, reply.body(frame)?, rights).await)
        }
        ApiKey::DescribeShareGroupOffsets => {
            reply.encode(&describe_share_group_offsets::handle(broker, reply.body(frame)?, rights).await)
        }
        ApiKey::AlterShareGroupOffsets => {
            reply.encode(&alter_share_group_offsets::handle(broker, reply.body(frame)?, rights).await)
        }
        ApiKey::DeleteShareGroupOffsets => {
            reply.encode(&delete_share_group_offsets::handle(broker, reply.body(frame)?, rights).await)
        }
        _ => of_transactions(broker, reply, frame, (rights, held)).await,
    }
}

/// The part of it that is about producers and their transactions.
async fn of_transactions(
    broker: &Shared,
    reply: &Reply,
    frame: RequestFrame,
    (rights, held): (&Rights, &mut Held),
) -> Result<Rope, Unserved> {
    let version = reply.version;
    match reply.key {
        ApiKey::InitProducerId => {
            reply.encode(&init_producer_id::handle(broker, reply.body(frame)?, version, rights).await)
        }
        ApiKey::AddPartitionsToTxn => {
            reply.encode(&add_partitions_to_txn::handle(broker, reply.body(frame)?, version, rights).await)
        }
        ApiKey::AddOffsetsToTxn => {
            reply.encode(&add_offsets_to_txn::handle(broker, reply.body(frame)?, version, rights).await)
        }
        ApiKey::EndTxn => reply.encode(&end_txn::handle(broker, reply.body(frame)?, version, rights).await),
        ApiKey::WriteTxnMarkers => reply.encode(&write_txn_markers::handle(broker, reply.body(frame)?, rights).await),
        ApiKey::TxnOffsetCommit => {
            reply.encode(&txn_offset_commit::handle(broker, reply.body(frame)?, version, rights).await)
        }
        ApiKey::DescribeProducers => {
            reply.encode(&describe_producers::handle(broker, reply.body(frame)?, rights).await)
        }
        ApiKey::DescribeTransactions => {
            reply.encode_held(describe_transactions::handle(broker, reply.body(frame)?, rights).await, held)
        }
        ApiKey::ListTransactions => {
            reply.encode_held(list_transactions::handle(broker, reply.body(frame)?, rights).await, held)
        }
        _ => of_the_cluster(broker, reply, frame, (rights, held)).await,
    }
}

/// What administrators ask of the cluster as a whole, and what clients tell of themselves.
async fn of_the_cluster(
    broker: &Shared,
    reply: &Reply,
    frame: RequestFrame,
    (rights, held): (&Rights, &mut Held),
) -> Result<Rope, Unserved> {
    let version = reply.version;
    match reply.key {
        ApiKey::CreatePartitions => {
            reply.encode(&create_partitions::handle(broker, reply.body(frame)?, version, (rights, &reply.meter)).await)
        }
        ApiKey::DescribeLogDirs => {
            reply.encode_held(describe_log_dirs::handle(broker, reply.body(frame)?, rights).await, held)
        }
        ApiKey::DescribeCluster => {
            reply.encode(&describe_cluster::handle(broker, &reply.body(frame)?, version, rights))
        }
        ApiKey::ListConfigResources => {
            reply.encode_held(list_config_resources::handle(broker, reply.body(frame)?, version, rights).await, held)
        }
        ApiKey::ElectLeaders => {
            reply.encode_held(elect_leaders::handle(broker, reply.body(frame)?, rights).await, held)
        }
        ApiKey::DescribeClientQuotas => {
            reply.encode_held(describe_client_quotas::handle(broker, reply.body(frame)?, rights).await, held)
        }
        ApiKey::AlterClientQuotas => {
            reply.encode(&alter_client_quotas::handle(broker, reply.body(frame)?, rights).await)
        }
        ApiKey::UnregisterBroker => reply.encode(&unregister_broker::handle(broker, reply.body(frame)?, rights).await),
        ApiKey::DescribeQuorum => reply.encode(&describe_quorum::handle(broker, reply.body(frame)?, version, rights)),
        ApiKey::UpdateFeatures => reply.encode(&update_features::handle(broker, &reply.body(frame)?, version, rights)),
        ApiKey::AlterPartitionReassignments => {
            reply.encode_held(alter_partition_reassignments::handle(broker, reply.body(frame)?, rights).await, held)
        }
        ApiKey::ListPartitionReassignments => {
            reply.encode(&list_partition_reassignments::handle(&reply.body(frame)?, rights))
        }
        ApiKey::GetTelemetrySubscriptions => {
            let (client_id, peer) = (frame.header.client_id.clone(), &rights.caller.peer);
            let request = reply.body(frame)?;
            reply.encode(&get_telemetry_subscriptions::handle(broker, &request, client_id.as_deref(), peer))
        }
        ApiKey::PushTelemetry => {
            let (client_id, peer) = (frame.header.client_id.clone(), &rights.caller.peer);
            let request = reply.body(frame)?;
            reply.encode(&push_telemetry::handle(broker, request, client_id.as_deref(), peer).await)
        }
        _ => of_security(broker, reply, frame, (rights, held)).await,
    }
}

/// Who may do what, and how users show who they are.
async fn of_security(
    broker: &Shared,
    reply: &Reply,
    frame: RequestFrame,
    (rights, held): (&Rights, &mut Held),
) -> Result<Rope, Unserved> {
    match reply.key {
        // Where there is a login to be made, the connection takes them.
        ApiKey::SaslHandshake => reply.encode(&sasl::illegal_handshake()),
        ApiKey::SaslAuthenticate => reply.encode(&sasl::illegal_authenticate()),
        ApiKey::DescribeAcls => {
            reply.encode_held(describe_acls::handle(broker, reply.body(frame)?, rights).await, held)
        }
        ApiKey::CreateAcls => reply.encode(&create_acls::handle(broker, reply.body(frame)?, rights).await),
        ApiKey::DeleteAcls => reply.encode(&delete_acls::handle(broker, reply.body(frame)?, rights).await),
        ApiKey::DescribeUserScramCredentials => {
            reply.encode(&describe_user_scram_credentials::handle(broker, reply.body(frame)?, rights))
        }
        ApiKey::AlterUserScramCredentials => {
            reply.encode(&alter_user_scram_credentials::handle(broker, reply.body(frame)?, rights).await)
        }
        other => Err(Unserved::Api(other)),
    }
}

/// What an answer repeats of its request.
struct Reply {
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    meter: Meter,
}

impl Reply {
    fn to(header: &RequestHeader, meter: Meter) -> Reply {
        Reply { key: header.key, version: header.version, correlation_id: header.correlation_id, meter }
    }

    fn body<R: protocol::wire::Request>(&self, frame: RequestFrame) -> Result<R, Unserved> {
        frame.body().map_err(|error| Unserved::Body { key: self.key, version: self.version, error })
    }

    /// The same with the memory that was got for it.
    fn encode_held<M: Message>(
        &self,
        (response, memory): (M, Option<OwnedSemaphorePermit>),
        held: &mut Held,
    ) -> Result<Rope, Unserved> {
        held.answer = memory;
        self.encode(&response)
    }

    fn encode<M: Message>(&self, response: &M) -> Result<Rope, Unserved> {
        let throttle_time_ms = self.meter.settle();
        frame::encode_throttled(self.key, self.version, (self.correlation_id, throttle_time_ms), response)
            .map_err(|error| Unserved::Answer { key: self.key, error })
    }
}
