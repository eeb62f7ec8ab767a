//! Loads what lives in a partition of an internal topic from its log, after this broker came to own it. Until that is done it is not
//! served.
//!
//! Everything up to the log's end is replayed. Trouble is waited out; damage, and records of a newer version, keep the partition from
//! being served until an operator has looked: groups that are half there would move consumers back, and transactions be decided twice.

use crate::Shared;
use crate::batch_check::DECOMPRESSED_BYTES_MAX;
use crate::coordinator::{Core, Shard};
use crate::end_marker::{ControlRecord, control_record};
use base::{Offset, planted};
use coordinator_core::CoordinatorRecord;
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
pub(crate) async fn run<C: Core>(broker: Arc<Shared>, shard: Arc<Shard<C>>, number: usize) {
    let mut stopping = broker.stopping.subscribe();
    loop {
        let wait = match load(&broker, &shard, number).await {
            Ok((core, log_bytes)) => {
                shard.serve(&broker, core, log_bytes);
                if let Some(beside) = C::beside(broker.clone(), shard) {
                    broker.clock.spawn("beside a coordinator", beside);
                }
                return C::all(&broker).has_changed();
            }
            Err(ReadError::NotOwner) => return shard.lose(),
            Err(error @ (ReadError::Trouble(_) | ReadError::OutOfRange)) => {
                tracing::warn!(partition = number, "load {}: {error}; trying again", C::WHAT);
                TROUBLE_WAIT
            }
            Err(ReadError::Corrupt(error)) => {
                tracing::error!(
                    partition = number,
                    "load {0}: {error}; the {0} of this partition are not served",
                    C::WHAT
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

/// What there is, and bytes of the records that it comes from.
async fn load<C: Core>(broker: &Shared, shard: &Shard<C>, number: usize) -> Result<(C, u64), ReadError> {
    let partition = shard.partition();
    let began = broker.clock.now();
    let end = partition.log_end();
    // Half, so that the batch around the record fits as well.
    let mut core = C::new(&broker.options, broker.store.batch_bytes_max() / 2);
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
        bytes += replay(&mut core, batches)?;
    }
    if from > first {
        let took_ms = broker.clock.now().since(began).as_millis();
        let count = core.count();
        tracing::info!(partition = number, %first, end = %from, count, took_ms, "{} loaded", C::WHAT);
    }
    Ok((core, bytes))
}

fn replay<C: Core>(core: &mut C, batches: ReadBatches) -> Result<u64, ReadError> {
    let mut replayed_bytes = 0;
    let bytes = batches.pieces.into_iter().collect::<Records>().to_bytes();
    for batch in record_batch::batches(bytes) {
        let batch = batch.map_err(|error| damaged(batches.next, &error))?;
        let producer_id = batch.producer_id();
        if batch.is_control() {
            match control_record(&batch).map_err(|error| damaged(batches.next, &error))? {
                Some(ControlRecord::Commit) => {
                    core.ended(producer_id, planted!("a replayed commit aborts", true, false));
                }
                Some(ControlRecord::Abort) => core.ended(producer_id, false),
                Some(ControlRecord::Other) | None => {}
            }
            continue;
        }
        for record in batch.records(DECOMPRESSED_BYTES_MAX).map_err(|error| damaged(batches.next, &error))? {
            let record = record.map_err(|error| damaged(batches.next, &error))?;
            let Some(key) = record.key else { continue };
            let coordinators = CoordinatorRecord { key, value: record.value };
            replayed_bytes += coordinators.len() as u64;
            let replayed = if batch.is_transactional() {
                core.replay_transactional(&coordinators, (producer_id, batch.producer_epoch()))
            } else {
                core.replay(&coordinators)
            };
            replayed.map_err(|error| ReadError::Corrupt(format!("offset {}: {error}", record.offset)))?;
        }
    }
    Ok(replayed_bytes)
}

fn damaged(before: Offset, what: &dyn std::fmt::Display) -> ReadError {
    ReadError::Corrupt(format!("records before offset {before}: {what}"))
}
