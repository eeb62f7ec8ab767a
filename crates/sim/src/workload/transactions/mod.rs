//! Transactions: writers that write to several partitions at once, and consumers that read what is committed, transform it and send their
//! offsets with what they write; of both several that take a transactional id over from one another.
//!
//! [`life`] is a producer from InitProducerId until it is fenced, gives up or dies in the middle; [`writer`] and [`transformer`] are what
//! lives do; [`reader`] sees what consumers see; [`late`] sends markers once more; [`client`] speaks to coordinators and leaders.
//! What is evidence of what stands in `crate::checker::transactions`.

mod client;
mod late;
mod life;
mod reader;
mod transformer;
mod writer;

use crate::checker::TopicKey;
use crate::plan::TopicPlan;
use crate::workload::client::{Client, Failure};
use crate::workload::topic::{LiveTopic, TOPIC_EXISTS};
use crate::workload::{Shared, breathe};
use crate::world::{now, spawn, wait};
use base::{Micros, Seed};
use client::Speaker;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Partitions that are consumed, and those that the results go to, by their places in [`Parts`].
const SOURCES: [usize; 2] = [0, 1];
const SINKS: [usize; 2] = [2, 3];

/// The transactional ids.
const IDS: [&str; 3] = ["writer", "alone", "transformer"];
/// How long transactions may take of who begins last, in milliseconds.
const NEW_TIMEOUT_MS: i32 = 1_000;

/// The group that consumes.
const TOPICS_OF_GROUP: &str = "transformers";

/// The partitions that transactions write to.
pub(super) type Parts = Arc<Vec<(LiveTopic, i32)>>;

/// As which version of transactions a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Makes the topics and then goes on until the workload stops.
pub(super) async fn run(shared: Arc<Shared>, mut seed: Seed, stopped: watch::Receiver<bool>) {
    let mut client = Client::new(&shared, seed.fork("client"));
    let mut parts = Vec::new();
    for name in ["source", "sink"] {
        let Some(topic) = create(&mut client, &shared, name, &mut seed, &stopped).await else { return };
        parts.extend((0..topic.plan.partitions).map(|partition| (topic.clone(), partition)));
    }
    let parts: Parts = Arc::new(parts);
    *shared.transactional.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&parts));
    let mut actors = Vec::new();
    // Two of one name, one that is alone, some that never come back, and two that transform.
    for id in ["writer", "writer", "alone"] {
        let speaker = Speaker::new(&shared, &parts, id, seed.fork("writer"));
        let (shared, seed, stopped) = (Arc::clone(&shared), seed.fork(id), stopped.clone());
        actors.push(spawn(async move { writer::run(shared, speaker, seed, stopped).await }));
    }
    for _ in 0..2 {
        let speaker = Speaker::new(&shared, &parts, "transformer", seed.fork("transformer"));
        let (shared, parts, seed, stopped) =
            (Arc::clone(&shared), Arc::clone(&parts), seed.fork("transforms"), stopped.clone());
        actors.push(spawn(async move { transformer::run(shared, parts, speaker, seed, stopped).await }));
    }
    let (orphans, orphan_parts, orphan_seed) = (Arc::clone(&shared), Arc::clone(&parts), seed.fork("orphans"));
    let orphan_stopped = stopped.clone();
    actors.push(spawn(async move { writer::orphans(orphans, orphan_parts, orphan_seed, orphan_stopped).await }));
    let (reads, of_reader, reader_seed, reader_stopped) =
        (Arc::clone(&shared), Arc::clone(&parts), seed.fork("reader"), stopped.clone());
    actors.push(spawn(async move { reader::run(reads, of_reader, reader_seed, reader_stopped).await }));
    let (late, late_parts, late_seed) = (Arc::clone(&shared), Arc::clone(&parts), seed.fork("late"));
    actors.push(spawn(async move { late::run(late, late_parts, late_seed, stopped).await }));
    for actor in actors {
        if let Err(error) = actor.await {
            shared.history.violation(format!("a transactional client panicked: {error}"));
        }
    }
}

/// Nobody writes any more: every transaction comes to its end, and all of it is read once more from the start.
pub(super) async fn scan(shared: &Arc<Shared>, mut seed: Seed, deadline: Micros) {
    let parts = shared.transactional.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(parts) = parts else { return };
    let mut client = Client::new(shared, seed.fork("client"));
    for partition in 0..parts.len() {
        let mut position = 0;
        loop {
            let step = reader::read(&mut client, shared, &parts, (partition, position), reader::IN_A_HURRY).await;
            if let Ok(read) = &step {
                position = read.next;
                if read.is_all && position >= shared.transactions.end(partition) {
                    break;
                }
            }
            if now() >= deadline {
                shared.history.violation(format!(
                    "hanging: {partition} of transactions is read up to {position}, of {}: {step:?}",
                    shared.transactions.end(partition)
                ));
                return;
            }
            if step.map_or(true, |read| read.is_idle) {
                wait(Duration::from_millis(100)).await;
            }
        }
    }
    let mut speaker = Speaker::new(shared, &parts, "transformer", seed.fork("speaker"));
    let offsets = loop {
        match reader::offsets(&mut speaker, shared, true).await {
            Ok(offsets) => break offsets,
            Err(failure) if now() >= deadline => {
                return shared.history.violation(format!("hanging: no stable offsets; last answer: {failure}"));
            }
            Err(_) => breathe(&mut seed, 100).await,
        }
    };
    for (partition, found) in offsets {
        shared.transactions.finish(partition, found.map_or(0, |(offset, _)| offset));
    }
    for id in IDS {
        begin(shared, Speaker::new(shared, &parts, id, seed.fork(id)), seed.fork("begin"), deadline).await;
    }
}

/// Whatever the last producer of an id has left, there may be another one.
async fn begin(shared: &Shared, mut speaker: Speaker, mut seed: Seed, deadline: Micros) {
    loop {
        match speaker.init(NEW_TIMEOUT_MS, None).await {
            Ok(producer) => {
                shared.transactions.took_over(&speaker.id, producer);
                return shared.transactions.told(shared.transactions.lives(), producer);
            }
            Err(failure) if now() >= deadline => {
                let id = &speaker.id;
                return shared
                    .history
                    .violation(format!("hanging: nobody becomes the producer of {id}; last answer: {failure}"));
            }
            Err(_) => breathe(&mut seed, 100).await,
        }
    }
}

/// A topic with two partitions, which different brokers lead where there are several.
async fn create(
    client: &mut Client,
    shared: &Shared,
    name: &str,
    seed: &mut Seed,
    stopped: &watch::Receiver<bool>,
) -> Option<LiveTopic> {
    let plan = TopicPlan {
        name: name.to_owned(),
        partitions: 2,
        retention_bytes: None,
        settings: Vec::new(),
        recreated: false,
        pruned: false,
        value_bytes_max: 0,
    };
    let brokers = u64::from(shared.cluster.plan().brokers);
    while !*stopped.borrow() {
        let leaders: Vec<i32> = (0..2).map(|_| i32::try_from(seed.below(brokers)).unwrap_or(0)).collect();
        let id = match client.create_topic(&plan, if seed.chance(700) { &leaders } else { &[] }).await {
            Ok(id) => Some(id),
            Err(Failure::Kafka(TOPIC_EXISTS)) => client.topic_id(name).await.ok(),
            Err(_) => None,
        };
        if let Some(id) = id {
            return Some(LiveTopic { key: TopicKey { name: name.to_owned(), generation: 0 }, plan, id });
        }
        breathe(seed, 300).await;
    }
    None
}
