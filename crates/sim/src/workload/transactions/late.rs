//! Late copies of markers, as a slow network brings them: whatever ended a transaction is sent once more when the next one is open.
//!
//! Only of those that raise their producer's epoch: without that nobody can tell a copy from the next transaction's marker, as in Kafka.

use super::{Parts, SINKS};
use crate::checker::transactions::ProducerEpoch;
use crate::launch::OFFSETS_PARTITIONS;
use crate::workload::batch::{self, Marker};
use crate::workload::client::{Client, Failure, Isolation};
use crate::workload::topic::LiveTopic;
use crate::workload::{Shared, breathe, group};
use base::Seed;
use protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Markers that are remembered of a partition.
const KEPT: usize = 6;
/// Markers of what transforms that go to the partitions of groups.
const TO_GROUPS_PER_MILLE: u64 = 400;
/// Bytes of one look at a partition.
const LOOK_BYTES: u64 = 6_000;

/// Sends copies until the workload stops.
pub(super) async fn run(shared: Arc<Shared>, parts: Parts, mut seed: Seed, stopped: watch::Receiver<bool>) {
    let mut client = Client::new(&shared, seed.fork("client"));
    let mut positions = vec![0_i64; parts.len()];
    let mut known: Vec<Vec<(ProducerEpoch, Marker)>> = vec![Vec::new(); parts.len()];
    while !*stopped.borrow() {
        let partition = usize::try_from(seed.below(parts.len() as u64)).unwrap_or(0);
        let (topic, number) = &parts[partition];
        let at = (*number, positions[partition]);
        let fetched = client.fetch_as(Isolation::All, topic, at, Duration::ZERO, LOOK_BYTES).await;
        for batch in fetched.map(|fetched| batch::decode(&fetched.records).unwrap_or_default()).unwrap_or_default() {
            positions[partition] = batch.base + i64::try_from(batch.records.len()).unwrap_or(0);
            let by_version_1 = shared.by_version_1.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(marker) = batch.marker.filter(|_| !by_version_1.contains(&batch.producer)) {
                known[partition].push((batch.producer, marker));
            }
        }
        let len = known[partition].len();
        known[partition].drain(..len.saturating_sub(KEPT));
        // Mostly the last one.
        let back = if seed.chance(700) { 1 } else { seed.between(1, KEPT as u64) };
        let chosen = known[partition].len().checked_sub(usize::try_from(back).unwrap_or(1));
        if let Some((producer, marker)) = chosen.and_then(|at| known[partition].get(at)).copied()
            && send(&mut client, place(&parts, partition, &mut seed), producer, marker).await.is_ok()
        {
            shared.cluster.universe().trace.count("workload.txn_late_marker");
        }
        breathe(&mut seed, 700).await;
    }
}

/// Where a marker found in that partition goes: there, or to the partitions of groups, where offsets are of the same transaction.
fn place(parts: &Parts, partition: usize, seed: &mut Seed) -> (LiveTopic, i32) {
    let is_of_transformer = SINKS.contains(&partition);
    if is_of_transformer && seed.chance(TO_GROUPS_PER_MILLE) {
        let number = i32::try_from(seed.below(OFFSETS_PARTITIONS.unsigned_abs().into())).unwrap_or(0);
        return (group::topic(), number);
    }
    parts[partition].clone()
}

async fn send(
    client: &mut Client,
    (topic, number): (LiveTopic, i32),
    (producer_id, producer_epoch): ProducerEpoch,
    marker: Marker,
) -> Result<(), Failure> {
    let named = WritableTxnMarkerTopic { name: topic.plan.name.clone(), partition_indexes: vec![number] };
    let marker = WritableTxnMarker {
        producer_id,
        producer_epoch,
        transaction_result: marker.commits,
        topics: vec![named],
        coordinator_epoch: marker.coordinator_epoch,
        transaction_version: 2,
    };
    let leader = client.leader(&topic, number).await?;
    let request = WriteTxnMarkersRequest { markers: vec![marker] };
    let sent = client.call(&leader, 2, &request).await;
    client.forget_leader_unless(sent.is_ok(), &topic, number);
    sent.map(drop)
}
