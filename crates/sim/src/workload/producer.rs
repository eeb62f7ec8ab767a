//! Producers: batches of unique records, acknowledged by all, by one or by nobody, repeated while their fate is unknown.

use crate::checker::PartitionKey;
use crate::workload::client::{Client, Failure};
use crate::workload::idempotent::Idempotent;
use crate::workload::topic::LiveTopic;
use crate::workload::{Shared, breathe};
use crate::world::{now, true_wall};
use base::{Micros, Seed};
use std::sync::Arc;
use tokio::sync::watch;

/// Tries of one request before a producer gives it up.
const TRIES_MAX: u32 = 6;
/// Records of one batch at the most.
const BATCH_RECORDS_MAX: u64 = 8;
/// Requests under way over one connection at the most.
const PIPELINED_MAX: u64 = 5;

/// Produces until the topic closes.
pub(super) async fn run(
    shared: Arc<Shared>,
    topic: LiveTopic,
    number: u64,
    mut seed: Seed,
    closing: watch::Receiver<bool>,
) {
    let mut client = Client::new(&shared, seed.fork("client"));
    // Some are in a hurry, some write now and then.
    let mut idempotent = seed.chance(500).then(Idempotent::default);
    let pause_ms_max = [120, 400, 1200][usize::try_from((number + seed.below(3)) % 3).unwrap_or(0)];
    while !*closing.borrow() {
        let partition = i32::try_from(seed.below(topic.plan.partitions.unsigned_abs().into())).unwrap_or(0);
        let key = PartitionKey { topic: topic.key.clone(), partition };
        let acks = match seed.below(20) {
            0 => 0,
            1..5 => 1,
            _ => -1,
        };
        if let Some(producer) = &mut idempotent {
            producer.send(&mut client, &shared, &topic, &key, &mut seed, &closing).await;
        } else if seed.chance(250) {
            send_several(&mut client, &shared, &topic, &key, acks, &mut seed).await;
        } else {
            send(&mut client, &shared, &topic, &key, acks, &mut seed, &closing).await;
        }
        breathe(&mut seed, pause_ms_max).await;
    }
}

pub(super) async fn send(
    client: &mut Client,
    shared: &Shared,
    topic: &LiveTopic,
    key: &PartitionKey,
    acks: i16,
    seed: &mut Seed,
    closing: &watch::Receiver<bool>,
) {
    let timestamps = timestamps(seed);
    let (mut sending, records) = shared.history.send(key, &timestamps, topic.plan.value_bytes_max);
    let batch = crate::workload::batch::encode(&records);
    for _ in 0..TRIES_MAX {
        match client.produce(topic, key.partition, acks, &batch).await {
            Ok(Some(base)) => {
                shared.history.acknowledged(&sending, base);
                return;
            }
            Ok(None) => return,
            Err(failure) => {
                note_unexpected(shared, key, &failure);
                // A request without an answer may have been stored: to repeat it may store it twice, which is the sender's choice.
                if acks == 0 || *closing.borrow() || matches!(failure, Failure::Lost(_)) && seed.chance(400) {
                    return;
                }
            }
        }
        breathe(seed, 250).await;
        shared.history.send_again(&mut sending);
    }
}

/// Several requests one behind the other over one connection; those without success are given up.
async fn send_several(
    client: &mut Client,
    shared: &Shared,
    topic: &LiveTopic,
    key: &PartitionKey,
    acks: i16,
    seed: &mut Seed,
) {
    let (mut sendings, mut batches) = (Vec::new(), Vec::new());
    for _ in 0..seed.between(2, PIPELINED_MAX) {
        let (sending, records) = shared.history.send(key, &timestamps(seed), topic.plan.value_bytes_max);
        sendings.push(sending);
        batches.push(crate::workload::batch::encode(&records));
    }
    let outcomes = client.produce_all(topic, key.partition, acks, &batches).await;
    let mut placed = Vec::new();
    for (sending, outcome) in sendings.iter().zip(outcomes) {
        match outcome {
            Ok(Some(base)) => {
                shared.history.acknowledged(sending, base);
                placed.push(base);
            }
            Ok(None) => {}
            Err(failure) => note_unexpected(shared, key, &failure),
        }
    }
    shared.history.pipelined(key, &placed);
}

/// Writes one record until it is acknowledged.
pub(super) async fn touch(
    client: &mut Client,
    shared: &Shared,
    topic: &LiveTopic,
    key: &PartitionKey,
    deadline: Micros,
) -> Result<(), String> {
    let mut seed = Seed::new(now().0);
    let (mut sending, records) = shared.history.send(key, &[true_wall().0], topic.plan.value_bytes_max);
    let batch = crate::workload::batch::encode(&records);
    loop {
        match client.produce(topic, key.partition, -1, &batch).await {
            Ok(Some(base)) => {
                shared.history.acknowledged(&sending, base);
                return Ok(());
            }
            Ok(None) => return Err("no answer was asked for".to_owned()),
            Err(failure) if now() >= deadline => return Err(failure.to_string()),
            Err(failure) => note_unexpected(shared, key, &failure),
        }
        breathe(&mut seed, 100).await;
        shared.history.send_again(&mut sending);
    }
}

/// Not quite in order, as clients' clocks are.
pub(super) fn timestamps(seed: &mut Seed) -> Vec<i64> {
    let base = true_wall().0;
    let count = seed.between(1, BATCH_RECORDS_MAX);
    (0..count).map(|_| base - i64::try_from(seed.below(500)).unwrap_or(0)).collect()
}

/// Kafka's errors that a client of a healthy or troubled cluster may see for a good request. Anything else is a finding.
pub(super) fn note_unexpected(shared: &Shared, key: &PartitionKey, failure: &Failure) {
    if let Failure::Kafka(code) = failure
        && !super::client::RETRIABLE.contains(code)
    {
        shared.history.violation(format!("a good request about {key:?} was refused with error {code}"));
    }
}
