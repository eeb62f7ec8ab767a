//! Loads the groups of a partition from its log, after this broker came to own it. Until that is done its groups are not served.
//!
//! Everything up to the log's end is replayed. Trouble is waited out; damage, and records of a newer version, keep the partition from
//! being served until an operator has looked: groups that are half there would move consumers back.

use crate::Shared;
use crate::batch_check::DECOMPRESSED_BYTES_MAX;
use crate::coordinator::{Shard, is_gone};
use base::Offset;
use coordinator_core::{CoordinatorRecord, Groups, Now};
use protocol::record_batch;
use protocol::wire::Records;
use std::sync::Arc;
use std::time::Duration;
use stream::{ReadBatches, ReadError};

/// Bytes read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// The waits before a failed read is tried again.
const TROUBLE_WAIT: Duration = Duration::from_millis(100);
const DAMAGE_WAIT: Duration = Duration::from_secs(30);

/// Loads until it has worked, or the shard is lost, or the broker stops. Its log calls the partition by its number in the topic.
pub(crate) async fn run(broker: Arc<Shared>, shard: Arc<Shard>, number: usize) {
    let mut stopping = broker.stopping.subscribe();
    loop {
        let wait = match load(&broker, &shard, number).await {
            Ok((mut groups, log_bytes)) => {
                // Sessions begin before anybody is let in, so that none takes the place of another timer of a member that waits.
                groups.loaded(Now { at: broker.clock.now(), wall: broker.clock.wall() });
                shard.serve(groups, log_bytes);
                let image = broker.store.ledger().image();
                shard.apply(&broker, |groups, _, fx| groups.forget_topics(is_gone(&image), fx));
                return broker.coordinators.has_changed();
            }
            Err(ReadError::NotOwner) => return shard.lose(),
            Err(error @ (ReadError::Trouble(_) | ReadError::OutOfRange)) => {
                tracing::warn!(partition = number, "load groups: {error}; trying again");
                TROUBLE_WAIT
            }
            Err(ReadError::Corrupt(error)) => {
                tracing::error!(
                    partition = number,
                    "load groups: {error}; the groups of this partition are not served"
                );
                DAMAGE_WAIT
            }
        };
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = broker.clock.sleep(wait) => {}
        }
        if shard.is_lost() {
            return;
        }
    }
}

/// The groups, and bytes of the records that they come from.
async fn load(broker: &Shared, shard: &Shard, number: usize) -> Result<(Groups, u64), ReadError> {
    let partition = shard.partition();
    let began = broker.clock.now();
    let end = partition.log_end();
    let mut options = broker.options.groups.clone();
    // Half, so that the batch around the record fits as well.
    options.record_bytes_max = options.record_bytes_max.min(broker.store.batch_bytes_max() / 2);
    let mut groups = Groups::new(options);
    let first = partition.log_start();
    let mut from = first;
    let mut bytes = 0;
    while from < end {
        let batches = partition.read(from, READ_BYTES).await?;
        if batches.next <= from {
            // What an earlier shard of this broker appended is not confirmed yet.
            return Err(ReadError::Trouble(format!("the log is not confirmed from offset {from} on")));
        }
        from = batches.next;
        bytes += replay(&mut groups, batches)?;
    }
    if from > first {
        let took_ms = broker.clock.now().since(began).as_millis();
        let groups = groups.list().count();
        tracing::info!(partition = number, %first, end = %from, groups, took_ms, "groups loaded");
    }
    Ok((groups, bytes))
}

fn replay(groups: &mut Groups, batches: ReadBatches) -> Result<u64, ReadError> {
    let mut replayed_bytes = 0;
    let bytes = batches.pieces.into_iter().collect::<Records>().to_bytes();
    for batch in record_batch::batches(bytes) {
        let batch = batch.map_err(|error| damaged(batches.next, &error))?;
        if batch.is_control() {
            continue;
        }
        for record in batch.records(DECOMPRESSED_BYTES_MAX).map_err(|error| damaged(batches.next, &error))? {
            let record = record.map_err(|error| damaged(batches.next, &error))?;
            let Some(key) = record.key else { continue };
            let coordinators = CoordinatorRecord { key, value: record.value };
            replayed_bytes += coordinators.len() as u64;
            let replayed = groups.replay(&coordinators);
            replayed.map_err(|error| ReadError::Corrupt(format!("offset {}: {error}", record.offset)))?;
        }
    }
    Ok(replayed_bytes)
}

fn damaged(before: Offset, what: &dyn std::fmt::Display) -> ReadError {
    ReadError::Corrupt(format!("records before offset {before}: {what}"))
}
