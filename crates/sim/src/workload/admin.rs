//! An administrator: makes topics of names that nobody used before, wherever somebody lives, deletes most of them soon and leaves a
//! few that nobody writes to until the end.
//!
//! A name is used once, so the first answer tells whether a request was carried out once: it can't exist already.

use crate::checker::TopicKey;
use crate::plan::TopicPlan;
use crate::workload::client::{Client, Failure};
use crate::workload::topic::{LiveTopic, TOPIC_EXISTS, delete};
use crate::workload::{Shared, breathe};
use base::Seed;
use std::sync::{Arc, PoisonError};
use tokio::sync::watch;

/// Tries of one creation at the most.
const TRIES_MAX: u32 = 5;
/// Topics that stay.
const KEPT_MAX: usize = 6;

/// Makes and deletes topics until the workload stops.
pub(super) async fn run(shared: Arc<Shared>, mut seed: Seed, stopped: watch::Receiver<bool>) {
    let mut client = Client::new(&shared, seed.fork("client"));
    let brokers = shared.cluster.plan().brokers;
    let mut kept = 0;
    for number in 0.. {
        breathe(&mut seed, 700).await;
        if *stopped.borrow() {
            return;
        }
        let plan = TopicPlan {
            name: format!("brief-{number}"),
            partitions: i32::try_from(seed.between(1, 2)).unwrap_or(1),
            retention_bytes: None,
            settings: Vec::new(),
            recreated: false,
            pruned: false,
            value_bytes_max: 100,
        };
        let leaders: Vec<i32> = if seed.chance(600) {
            (0..plan.partitions).map(|_| i32::try_from(seed.below(brokers.into())).unwrap_or(0)).collect()
        } else {
            Vec::new()
        };
        let Some(id) = create(&mut client, &shared, &plan, leaders, &mut seed).await else { continue };
        shared.cluster.universe().trace.count("workload.topic_made");
        if kept < KEPT_MAX && seed.chance(150) {
            kept += 1;
            let key = TopicKey { name: plan.name.clone(), generation: 0 };
            let topic = LiveTopic { plan, key, id };
            let mut topics = shared.topics.lock().unwrap_or_else(PoisonError::into_inner);
            topics.insert(topic.plan.name.clone(), topic);
        } else {
            breathe(&mut seed, 500).await;
            delete(&mut client, id, &mut seed).await;
        }
    }
}

/// The new topic's id; `None` where it is not known whether there is one.
async fn create(
    client: &mut Client,
    shared: &Shared,
    plan: &TopicPlan,
    mut leaders: Vec<i32>,
    seed: &mut Seed,
) -> Option<u128> {
    for tries in 0..TRIES_MAX {
        match client.create_topic(plan, &leaders).await {
            Ok(id) => return Some(id),
            Err(Failure::Kafka(TOPIC_EXISTS)) if tries == 0 => {
                let name = &plan.name;
                shared.history.violation(format!("twice: {name} is new, and the first answer says that it exists"));
                return None;
            }
            Err(Failure::Kafka(TOPIC_EXISTS)) => return client.topic_id(&plan.name).await.ok(),
            // Perhaps a broker that should lead is not there.
            Err(_) => leaders.clear(),
        }
        breathe(seed, 300).await;
    }
    None
}
