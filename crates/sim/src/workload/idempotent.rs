//! An idempotent producer, as real clients are: an id from the cluster, sequences for each partition, the same batch again and again
//! until its fate is known. One that gives up never speaks under that id again, since nobody could tell what comes next.
//!
//! A broker may never refuse a batch as out of order here, but where an earlier one of the same burst has failed: whatever has become
//! of brokers, records and logs meanwhile, the cluster knows what it has acknowledged (invariant 7).

use crate::checker::{PartitionKey, Sending};
use crate::workload::batch::{self, Stamp};
use crate::workload::client::{Client, Failure, RETRIABLE};
use crate::workload::producer::{note_unexpected, timestamps};
use crate::workload::topic::LiveTopic;
use crate::workload::{Shared, breathe};
use base::Seed;
use bytes::Bytes;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// Tries of one batch before its producer gives up.
const TRIES_MAX: u32 = 25;
/// Batches under way over one connection at the most: as many as a broker remembers.
const PIPELINED_MAX: u64 = 5;

/// Kafka's errors that say that there is no id yet: the coordinator loads, is not available, is another one.
const NO_ID_YET: [i16; 3] = [14, 15, 16];
/// Out of order sequence number.
const OUT_OF_ORDER: i16 = 45;

/// A producer and where it is in each partition.
#[derive(Default)]
pub(super) struct Idempotent {
    id: Option<i64>,
    /// Next sequence by partition.
    next: BTreeMap<i32, i32>,
}

/// How many answers the client loses by itself.
const LOST_ANSWERS_PER_MILLE: u64 = 50;

/// A batch under way.
struct Flight {
    sending: Sending,
    bytes: Bytes,
}

impl Idempotent {
    /// Sends a batch, or a few one behind the other, until the fate of all is known or it is time to give up.
    pub(super) async fn send(
        &mut self,
        client: &mut Client,
        shared: &Shared,
        topic: &LiveTopic,
        key: &PartitionKey,
        seed: &mut Seed,
        closing: &watch::Receiver<bool>,
    ) {
        let Some(id) = self.id(client, shared, seed, closing).await else { return };
        let count = if seed.chance(300) { seed.between(2, PIPELINED_MAX) } else { 1 };
        let mut flights = (0..count).map(|_| self.next_flight(id, shared, topic, key, seed)).collect::<Vec<_>>();
        if flights.len() > 1 {
            burst(client, shared, topic, key, &mut flights).await;
        }
        for flight in &flights {
            if !until_known(client, shared, topic, key, flight, seed, closing).await {
                *self = Idempotent::default();
                return;
            }
        }
        shared.cluster.universe().trace.count("workload.idempotent");
    }

    async fn id(
        &mut self,
        client: &mut Client,
        shared: &Shared,
        seed: &mut Seed,
        closing: &watch::Receiver<bool>,
    ) -> Option<i64> {
        while self.id.is_none() && !*closing.borrow() {
            match client.init_producer_id().await {
                Ok(id) => {
                    shared.history.producer_id(id);
                    self.id = Some(id);
                }
                Err(Failure::Kafka(code)) if !RETRIABLE.contains(&code) && !NO_ID_YET.contains(&code) => {
                    shared.history.violation(format!("a request for a producer id was refused with error {code}"));
                }
                Err(_) => {}
            }
            breathe(seed, 100).await;
        }
        self.id
    }

    fn next_flight(
        &mut self,
        id: i64,
        shared: &Shared,
        topic: &LiveTopic,
        key: &PartitionKey,
        seed: &mut Seed,
    ) -> Flight {
        let first_sequence = self.next.entry(key.partition).or_default();
        let times = timestamps(seed);
        let (sending, records) = shared.history.send_once(key, &times, topic.plan.value_bytes_max, id);
        let bytes = batch::encode_stamped(
            &records,
            &Stamp { id, epoch: 0, first_sequence: *first_sequence, transactional: false },
        );
        *first_sequence += i32::try_from(records.len()).unwrap_or(0);
        Flight { sending, bytes }
    }
}

/// Sends all one behind the other; those whose fate is known then leave the list.
async fn burst(client: &mut Client, shared: &Shared, topic: &LiveTopic, key: &PartitionKey, flights: &mut Vec<Flight>) {
    let batches: Vec<Bytes> = flights.iter().map(|flight| flight.bytes.clone()).collect();
    let outcomes = client.produce_all(topic, key.partition, -1, &batches).await;
    let mut placed = Vec::new();
    let mut failed = false;
    let mut left = Vec::new();
    for (flight, outcome) in flights.drain(..).zip(outcomes) {
        match outcome {
            Ok(Some(base)) => {
                shared.history.acknowledged(&flight.sending, base);
                placed.push(base);
                continue;
            }
            Ok(None) => {}
            Err(Failure::Kafka(OUT_OF_ORDER)) if failed => {}
            Err(failure) => note_unexpected(shared, key, &failure),
        }
        failed = true;
        left.push(flight);
    }
    *flights = left;
    shared.history.pipelined(key, &placed);
}

/// Repeats a batch until it is acknowledged. False: given up.
async fn until_known(
    client: &mut Client,
    shared: &Shared,
    topic: &LiveTopic,
    key: &PartitionKey,
    flight: &Flight,
    seed: &mut Seed,
    closing: &watch::Receiver<bool>,
) -> bool {
    let mut loses_answer = seed.chance(LOST_ANSWERS_PER_MILLE);
    for tries in 0..TRIES_MAX {
        match client.produce(topic, key.partition, -1, &flight.bytes).await {
            // Not every run has a fault that makes a client repeat what was stored.
            Ok(Some(_)) if loses_answer => loses_answer = false,
            Ok(Some(base)) => {
                // The original may stand below what others were told meanwhile, so the floor is that of the first try.
                shared.history.acknowledged(&flight.sending, base);
                if tries > 0 {
                    shared.cluster.universe().trace.count("check.repeats");
                }
                return true;
            }
            Ok(None) => return false,
            // On a topic made anew a later batch of the burst may have been stored before this one, as in Kafka
            // (`docs/adr/0102-strangers-begin-at-0.md`, what was given up): it never will be.
            Err(Failure::Kafka(OUT_OF_ORDER)) if key.topic.generation > 0 => return false,
            Err(failure) => note_unexpected(shared, key, &failure),
        }
        if *closing.borrow() {
            return false;
        }
        breathe(seed, 250).await;
    }
    false
}
