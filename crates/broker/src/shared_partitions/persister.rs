//! The way to the coordinator of share-partitions' state, which keeps what leaders have decided about records: this broker or another one.

use crate::Shared;
use crate::error::Failure;
use base::Offset;
use coordinator_core::{ShareError, ShareStateBatch, ShareStateKey, ShareWrite, StateBatch, StateRead, StateWrite};
use protocol::error_code::ErrorCode;

/// A leader of that epoch begins: what earlier leaders write comes to nothing from now on.
pub(super) async fn read(broker: &Shared, key: &ShareStateKey, leader_epoch: i32) -> Result<StateRead, ShareError> {
    let read = crate::share::persister::read_state(broker, key.clone(), leader_epoch).await;
    read.map_err(|failure| told(&failure))
}

/// What was decided is durable.
pub(super) async fn write(broker: &Shared, key: &ShareStateKey, write: &ShareWrite) -> Result<(), ShareError> {
    let write = StateWrite {
        state_epoch: write.state_epoch,
        leader_epoch: write.leader_epoch,
        start_offset: write.start.to_kafka(),
        delivery_complete_count: write.delivery_complete_count,
        batches: write.batches.iter().map(batch_of).collect(),
    };
    let written = crate::share::persister::write_state(broker, key.clone(), write).await;
    written.map_err(|failure| told(&failure))
}

fn batch_of(batch: &ShareStateBatch) -> StateBatch {
    StateBatch {
        first_offset: batch.range.base.to_kafka(),
        last_offset: Offset(batch.range.next.0.saturating_sub(1)).to_kafka(),
        delivery_state: batch.state.id(),
        delivery_count: batch.delivery_count,
    }
}

/// What a member is told of a failure: as Kafka has it, a fenced leader is one that does not lead any more.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other codes say nothing to members")]
fn told(failure: &Failure) -> ShareError {
    match failure.code() {
        ErrorCode::NotCoordinator
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::RequestTimedOut => ShareError::CoordinatorNotAvailable,
        ErrorCode::GroupIdNotFound => ShareError::GroupIdNotFound,
        ErrorCode::UnknownTopicOrPartition => ShareError::UnknownPartition,
        ErrorCode::FencedLeaderEpoch | ErrorCode::FencedStateEpoch => ShareError::NotLeader,
        _ => ShareError::Failed,
    }
}
