//! Keeps one topic: makes it, runs its clients, and, where the plan says so, deletes it and makes it anew.
//!
//! A topic that is made anew is spoken of by its id alone, since a name may mean the old topic to a broker that was asleep.

use crate::checker::TopicKey;
use crate::plan::TopicPlan;
use crate::workload::client::{Client, Failure};
use crate::workload::{Shared, breathe, consumer, producer, pruner};
use crate::world::spawn;
use base::Seed;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Kafka's error codes that say what became of a topic.
const UNKNOWN_TOPIC: i16 = 3;
pub(super) const TOPIC_EXISTS: i16 = 36;
const UNKNOWN_TOPIC_ID: i16 = 100;

/// A topic that is there.
#[derive(Debug, Clone)]
pub(super) struct LiveTopic {
    /// Its plan.
    pub(super) plan: TopicPlan,
    /// Name and generation, for the history.
    pub(super) key: TopicKey,
    /// Kafka's id.
    pub(super) id: u128,
}

/// Runs a topic until the workload stops.
pub(super) async fn keep(shared: Arc<Shared>, plan: TopicPlan, mut seed: Seed, mut stopped: watch::Receiver<bool>) {
    let mut client = Client::new(&shared, seed.fork("admin"));
    let mut buried = BTreeSet::new();
    for generation in 0.. {
        let id = create(&mut client, &plan, &buried, &mut seed).await;
        let key = TopicKey { name: plan.name.clone(), generation };
        let topic = LiveTopic { plan: plan.clone(), key, id };
        shared.topics.lock().unwrap_or_else(PoisonError::into_inner).insert(plan.name.clone(), topic.clone());
        let (close, closing) = watch::channel(false);
        let mut actors = Vec::new();
        for n in 0..seed.between(1, 2) {
            let (shared, topic, closing) = (Arc::clone(&shared), topic.clone(), closing.clone());
            let seed = seed.fork("producer");
            actors.push(spawn(async move {
                if topic.plan.pruned {
                    pruner::run(shared, topic, seed, closing).await;
                } else {
                    producer::run(shared, topic, n, seed, closing).await;
                }
            }));
        }
        for n in 0..seed.between(1, 2) {
            let (shared, topic, closing) = (Arc::clone(&shared), topic.clone(), closing.clone());
            let seed = seed.fork("consumer");
            actors.push(spawn(async move { consumer::run(shared, topic, n, seed, closing).await }));
        }
        let life = Duration::from_millis(seed.between(3_000, 9_000));
        let stop = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => true,
            () = crate::world::wait(life), if plan.recreated => false,
        };
        close.send_replace(true);
        for actor in actors {
            if let Err(error) = actor.await {
                shared.history.violation(format!("a client panicked: {error}"));
            }
        }
        if stop {
            return;
        }
        shared.topics.lock().unwrap_or_else(PoisonError::into_inner).remove(&plan.name);
        delete(&mut client, id, &mut seed).await;
        shared.cluster.universe().trace.count("workload.topic_deleted");
        buried.insert(id);
    }
}

/// Makes the topic and finds its id. One that was deleted does not count, whoever still knows it.
async fn create(client: &mut Client, plan: &TopicPlan, buried: &BTreeSet<u128>, seed: &mut Seed) -> u128 {
    loop {
        match client.create_topic(plan, &[]).await {
            Ok(id) => return id,
            Err(Failure::Kafka(TOPIC_EXISTS)) => {
                // Made by an earlier try whose answer was lost; or an old one that a slow broker took for deleted.
                if let Ok(id) = client.topic_id(&plan.name).await {
                    if !buried.contains(&id) {
                        return id;
                    }
                    delete(client, id, seed).await;
                }
            }
            Err(_) => {}
        }
        breathe(seed, 300).await;
    }
}

pub(super) async fn delete(client: &mut Client, id: u128, seed: &mut Seed) {
    loop {
        match client.delete_topic(id).await {
            Ok(()) | Err(Failure::Kafka(UNKNOWN_TOPIC | UNKNOWN_TOPIC_ID)) => return,
            Err(_) => breathe(seed, 300).await,
        }
    }
}
