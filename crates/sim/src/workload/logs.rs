//! An operator: has topics change the write-ahead log that they are written to, while everybody goes on.

use crate::launch::SECOND_LOG;
use crate::workload::client::Client;
use crate::workload::{Shared, breathe};
use base::Seed;
use std::sync::{Arc, PoisonError};
use tokio::sync::watch;

/// The groups' topic, which is internal.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Changes topics until the workload stops.
pub(super) async fn run(shared: Arc<Shared>, mut seed: Seed, stopped: watch::Receiver<bool>) {
    let mut client = Client::new(&shared, seed.fork("client"));
    loop {
        breathe(&mut seed, 3_000).await;
        if *stopped.borrow() {
            return;
        }
        let mut names: Vec<String> =
            shared.topics.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        names.push(OFFSETS_TOPIC.to_owned());
        let name = &names[usize::try_from(seed.below(names.len() as u64)).unwrap_or(0)];
        let log = if seed.chance(600) { SECOND_LOG } else { "default" };
        // A topic that is not there yet, or a broker that was started without the log, refuses; the next try comes soon.
        if client.alter_topic(name, "millstream.wal", log).await.is_ok() {
            shared.cluster.universe().trace.count("workload.log_changed");
        }
    }
}
