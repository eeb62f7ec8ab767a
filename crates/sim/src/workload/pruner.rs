//! Producers that also delete what they wrote: in bursts, all of it or up to the middle of a batch, then silence, so that a
//! partition may hold nothing while its broker dies.

use crate::checker::PartitionKey;
use crate::workload::client::Client;
use crate::workload::idempotent::Idempotent;
use crate::workload::topic::LiveTopic;
use crate::workload::{Shared, breathe, producer};
use base::Seed;
use std::sync::Arc;
use tokio::sync::watch;

/// Batches of a burst at the most.
const BURST_MAX: u64 = 5;
/// Longest wait between a burst and its deletion, in milliseconds.
const UPLOAD_MS_MAX: u64 = 3_000;
/// Longest silence after a deletion, in milliseconds.
const SILENCE_MS_MAX: u64 = 4_000;

/// Writes and deletes until the topic closes.
pub(super) async fn run(shared: Arc<Shared>, topic: LiveTopic, mut seed: Seed, closing: watch::Receiver<bool>) {
    let mut client = Client::new(&shared, seed.fork("client"));
    let mut idempotent = seed.chance(600).then(Idempotent::default);
    while !*closing.borrow() {
        let partition = i32::try_from(seed.below(topic.plan.partitions.unsigned_abs().into())).unwrap_or(0);
        let key = PartitionKey { topic: topic.key.clone(), partition };
        for _ in 0..seed.between(1, BURST_MAX) {
            match &mut idempotent {
                Some(producer) => producer.send(&mut client, &shared, &topic, &key, &mut seed, &closing).await,
                None => producer::send(&mut client, &shared, &topic, &key, -1, &mut seed, &closing).await,
            }
            breathe(&mut seed, 60).await;
        }
        if seed.chance(500) {
            // Long enough for the records to reach an object, which then dies by the deletion.
            breathe(&mut seed, UPLOAD_MS_MAX).await;
        }
        if seed.chance(700) {
            let offset = shared.history.delete(&key, &mut seed);
            match client.delete_records(&topic, partition, offset).await {
                Ok(low_watermark) => shared.history.deleted(&key, offset, low_watermark),
                Err(failure) => producer::note_unexpected(&shared, &key, &failure),
            }
        }
        let silence = if seed.chance(500) { SILENCE_MS_MAX } else { 300 };
        breathe(&mut seed, silence).await;
    }
}
