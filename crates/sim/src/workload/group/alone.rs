//! Those who are no members. Some commit for one group and ask, several at once and for the same partitions. Others only ask, about every group:
//! mostly whoever answered last, whatever became of it, else anybody, since who is not the coordinator any more and does not know must not
//! answer.

use crate::workload::group::client::{GroupClient, Membership};
use crate::workload::group::{ALONE_GROUP, commit, fetch, note_unexpected, partitions};
use crate::workload::{Shared, breathe};
use base::Seed;
use std::sync::Arc;
use tokio::sync::watch;

/// Commits and asks until the workload stops.
pub(super) async fn run(shared: Arc<Shared>, mut seed: Seed, stopped: watch::Receiver<bool>) {
    let mut client = GroupClient::new(&shared, ALONE_GROUP, seed.fork("client"));
    let nobody = Membership { member_id: String::new(), instance_id: None, generation: -1 };
    // Two partitions, so that those who commit meet.
    let mut wanted = partitions(shared.cluster.plan());
    wanted.truncate(2);
    while !*stopped.borrow() {
        let done = if seed.chance(500) {
            commit(&mut client, &shared.groups, &nobody, &wanted).await
        } else {
            fetch(&mut client, &shared.groups, &wanted).await
        };
        if let Err(failure) = done {
            note_unexpected(&shared, ALONE_GROUP, &failure, &[]);
        }
        breathe(&mut seed, 350).await;
    }
}

/// Only asks, until the workload stops.
pub(super) async fn ask(shared: Arc<Shared>, group: String, mut seed: Seed, stopped: watch::Receiver<bool>) {
    let mut client = GroupClient::new(&shared, &group, seed.fork("client"));
    let wanted = partitions(shared.cluster.plan());
    while !*stopped.borrow() {
        if seed.chance(500) {
            client.turn_to_anybody();
        }
        if let Err(failure) = fetch(&mut client, &shared.groups, &wanted).await {
            note_unexpected(&shared, &group, &failure, &[]);
        }
        breathe(&mut seed, 300).await;
    }
}
