//! The table of handlers: who answers which API, a line for each.

use super::reply::Reply;
use super::{Request, Unserved};
use crate::Shared;
use crate::answer::{Answer, Held};
use crate::handler as on;
use crate::hello::START_CLIENT_ID;
use crate::quota::Meter;
use crate::rights::Rights;
use crate::sasl;
use crate::share::{self, Delete, Initialize, Read, Summarize, Write};
use protocol::api;
use protocol::api_key::ApiKey;
use protocol::wire::Rope;

/// Rows of the table. `told` is awaited, `held` comes with the memory that was got for it, `said` is there at once.
macro_rules! rows {
    (($reply:ident, $frame:ident, $held:ident) { $($kind:ident $api:ident($body:ident) => $answer:expr;)* }) => {
        match $reply.key {
            $(ApiKey::$api => rows!(@$kind ($reply, $frame, $held) ($body) $answer),)*
            // Produce has a way of its own.
            other => Err(Unserved::Api(other)),
        }
    };
    (@told ($reply:ident, $frame:ident, $held:ident) ($body:ident) $answer:expr) => {{
        let $body = $reply.body($frame)?;
        $reply.encode(&$answer.await)
    }};
    (@held ($reply:ident, $frame:ident, $held:ident) ($body:ident) $answer:expr) => {{
        let $body = $reply.body($frame)?;
        let answer = $answer.await;
        $reply.encode_held(answer, &mut $held)
    }};
    (@said ($reply:ident, $frame:ident, $held:ident) ($body:ident) $answer:expr) => {{
        let $body = $reply.body($frame)?;
        $reply.encode(&$answer)
    }};
}

/// Answers any request but a produce.
#[expect(clippy::too_many_lines, reason = "a table: a line for each API")]
pub(super) async fn handle(broker: &Shared, request: Request, meter: Meter) -> Result<Answer, Unserved> {
    let Request { mut frame, memory, caller, connection, .. } = request;
    let rights = &Rights::of(broker, &caller);
    let mut reply = Reply::to(&frame.header, meter);
    let mut held = Held { frame: memory, ..Held::default() };
    let client = frame.header.client_id.take();
    if reply.key == ApiKey::ApiVersions {
        if client.as_deref() == Some(START_CLIENT_ID) {
            broker.said_hello.notify_one();
        } else if !api::served(ApiKey::ApiVersions).is_some_and(|api| api.serves(reply.version)) {
            reply.version = 0;
            let rope = reply.encode(&on::api_versions::unserved_version())?;
            return Ok(Answer::new(rope.into_pieces(), held));
        }
    }
    let version = reply.version;
    let peer = &rights.caller.peer;
    let both = (rights, &reply.meter);
    let rope: Result<Rope, Unserved> = rows!((reply, frame, held) {
        // Records.
        held Fetch(body) => on::fetch::handle(broker, body, version, &mut held, both);
        told ListOffsets(body) => on::list_offsets::handle(broker, body, version, rights);
        told OffsetForLeaderEpoch(body) => on::offset_for_leader_epoch::handle(broker, body, rights);
        told DeleteRecords(body) => on::delete_records::handle(broker, body, rights);

        // Topics, and the cluster as a whole.
        said ApiVersions(body) => on::api_versions::handle(broker, &body, version, peer);
        held Metadata(body) => on::metadata::handle(broker, body, version, both);
        held DescribeTopicPartitions(body) => on::describe_topic_partitions::handle(broker, body, rights);
        held CreateTopics(body) => on::create_topics::handle(broker, body, version, both);
        told DeleteTopics(body) => on::delete_topics::handle(broker, body, version, both);
        told CreatePartitions(body) => on::create_partitions::handle(broker, body, version, both);
        told AlterConfigs(body) => on::alter_configs::replace(broker, body, rights);
        told IncrementalAlterConfigs(body) => on::alter_configs::change(broker, body, rights);
        told DescribeConfigs(body) => on::describe_configs::handle(broker, body, version, rights);
        held ListConfigResources(body) => on::list_config_resources::handle(broker, body, version, rights);
        said DescribeCluster(body) => on::describe_cluster::handle(broker, &body, version, rights);
        said DescribeQuorum(body) => on::describe_quorum::handle(broker, body, version, rights);
        said AddRaftVoter(body) => on::add_raft_voter::handle(broker, &body, rights);
        said RemoveRaftVoter(body) => on::remove_raft_voter::handle(broker, &body, rights);
        held DescribeLogDirs(body) => on::describe_log_dirs::handle(broker, body, rights);
        held AlterReplicaLogDirs(body) => on::alter_replica_log_dirs::handle(broker, body, rights);
        held ElectLeaders(body) => on::elect_leaders::handle(broker, body, rights);
        held AlterPartitionReassignments(body) => on::alter_partition_reassignments::handle(broker, body, rights);
        said ListPartitionReassignments(body) => on::list_partition_reassignments::handle(&body, rights);
        told UnregisterBroker(body) => on::unregister_broker::handle(broker, body, rights);
        said UnregisterController(body) => on::unregister_controller::handle(broker, &body, rights);
        said UpdateFeatures(body) => on::update_features::handle(broker, &body, version, rights);
        held DescribeClientQuotas(body) => on::describe_client_quotas::handle(broker, body, rights);
        told AlterClientQuotas(body) => on::alter_client_quotas::handle(broker, body, rights);
        said GetTelemetrySubscriptions(body) => on::get_telemetry_subscriptions::handle(broker, &body, client.as_deref(), peer);
        told PushTelemetry(body) => on::push_telemetry::handle(broker, body, client.as_deref(), peer);

        // Groups, of whatever protocol.
        told FindCoordinator(body) => on::find_coordinator::handle(broker, body, version, rights);
        held ListGroups(body) => on::list_groups::handle(broker, body, rights);
        told DeleteGroups(body) => on::delete_groups::handle(broker, body, rights);
        told OffsetCommit(body) => on::offset_commit::handle(broker, body, version, rights);
        held OffsetFetch(body) => on::offset_fetch::handle(broker, body, version, rights);
        told OffsetDelete(body) => on::offset_delete::handle(broker, body, rights);

        // Groups of the classic protocol. Who waits for others does not keep its frame's memory.
        told JoinGroup(body) => on::join_group::handle(broker, body, version, (client, rights), std::mem::take(&mut held.frame));
        told SyncGroup(body) => on::sync_group::handle(broker, body, version, (std::mem::take(&mut held.frame), rights));
        told Heartbeat(body) => on::heartbeat::handle(broker, body, rights);
        told LeaveGroup(body) => on::leave_group::handle(broker, body, version, rights);
        held DescribeGroups(body) => on::describe_groups::handle(broker, body, version, rights);

        // Consumer groups (KIP-848), and streams groups (KIP-1071).
        held ConsumerGroupHeartbeat(body) => on::consumer_group_heartbeat::handle(broker, body, version, (client, rights));
        held ConsumerGroupDescribe(body) => on::consumer_group_describe::handle(broker, body, rights);
        held StreamsGroupHeartbeat(body) => on::streams_group_heartbeat::handle(broker, body, version, (client, rights));
        held StreamsGroupDescribe(body) => on::streams_group_describe::handle(broker, body, rights);
        said StreamsGroupTopologyDescriptionUpdate(body) => on::streams_group_topology_description_update::handle(broker, &body, rights);

        // Share groups (KIP-932).
        held ShareGroupHeartbeat(body) => on::share_group_heartbeat::handle(broker, body, (client, rights));
        held ShareGroupDescribe(body) => on::share_group_describe::handle(broker, body, rights);
        held ShareFetch(body) => on::share_fetch::handle(broker, body, version, (connection, rights, &mut held.frame), &reply.meter);
        told ShareAcknowledge(body) => on::share_acknowledge::handle(broker, body, version, rights);
        held InitializeShareGroupState(body) => share::answer::<Initialize>(broker, body, rights);
        held ReadShareGroupState(body) => share::answer::<Read>(broker, body, rights);
        held WriteShareGroupState(body) => share::answer::<Write>(broker, body, rights);
        held DeleteShareGroupState(body) => share::answer::<Delete>(broker, body, rights);
        held ReadShareGroupStateSummary(body) => share::answer::<Summarize>(broker, body, rights);
        told DescribeShareGroupOffsets(body) => on::describe_share_group_offsets::handle(broker, body, rights);
        told AlterShareGroupOffsets(body) => on::alter_share_group_offsets::handle(broker, body, rights);
        told DeleteShareGroupOffsets(body) => on::delete_share_group_offsets::handle(broker, body, rights);

        // Producers and their transactions.
        told InitProducerId(body) => on::init_producer_id::handle(broker, body, version, rights);
        told AddPartitionsToTxn(body) => on::add_partitions_to_txn::handle(broker, body, version, rights);
        told AddOffsetsToTxn(body) => on::add_offsets_to_txn::handle(broker, body, version, rights);
        told EndTxn(body) => on::end_txn::handle(broker, body, version, rights);
        held WriteTxnMarkers(body) => on::write_txn_markers::handle(broker, body, rights);
        told TxnOffsetCommit(body) => on::txn_offset_commit::handle(broker, body, version, rights);
        told DescribeProducers(body) => on::describe_producers::handle(broker, body, rights);
        held DescribeTransactions(body) => on::describe_transactions::handle(broker, body, rights);
        held ListTransactions(body) => on::list_transactions::handle(broker, body, rights);

        // Who may do what, and how users show who they are. Where there is a login to be made, the connection takes it.
        said SaslHandshake(body) => sasl::illegal_handshake(&body);
        said SaslAuthenticate(body) => sasl::illegal_authenticate(&body);
        held DescribeAcls(body) => on::describe_acls::handle(broker, body, rights);
        told CreateAcls(body) => on::create_acls::handle(broker, body, rights);
        told DeleteAcls(body) => on::delete_acls::handle(broker, body, rights);
        told CreateDelegationToken(body) => on::create_delegation_token::handle(broker, body, version, rights);
        told RenewDelegationToken(body) => on::renew_delegation_token::handle(broker, body, rights);
        told ExpireDelegationToken(body) => on::expire_delegation_token::handle(broker, body, rights);
        held DescribeDelegationToken(body) => on::describe_delegation_token::handle(broker, body, version, rights);
        said DescribeUserScramCredentials(body) => on::describe_user_scram_credentials::handle(broker, body, rights);
        told AlterUserScramCredentials(body) => on::alter_user_scram_credentials::handle(broker, body, rights);
    });
    Ok(Answer::new(rope?.into_pieces(), held))
}
