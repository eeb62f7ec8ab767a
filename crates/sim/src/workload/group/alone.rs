//! Commits and asks without being a member: several at once, for the same partitions of one group. One of them only asks, and so
//! stays with a coordinator that answers, whatever became of it.

use crate::workload::group::client::{GroupClient, Membership};
use crate::workload::group::{ALONE_GROUP, commit, fetch, note_unexpected, partitions};
use crate::workload::{Shared, breathe};
use base::Seed;
use std::sync::Arc;
use tokio::sync::watch;

/// Goes on until the workload stops.
pub(super) async fn run(shared: Arc<Shared>, only_asks: bool, mut seed: Seed, stopped: watch::Receiver<bool>) {
    let mut client = GroupClient::new(&shared, ALONE_GROUP, seed.fork("client"));
    let nobody = Membership { member_id: String::new(), instance_id: None, generation: -1 };
    // Two partitions, so that those who commit meet.
    let mut wanted = partitions(shared.cluster.plan());
    wanted.truncate(2);
    while !*stopped.borrow() {
        let done = if !only_asks && seed.chance(500) {
            commit(&mut client, &shared.groups, &nobody, &wanted).await
        } else {
            fetch(&mut client, &shared.groups, &wanted).await
        };
        if let Err(failure) = done {
            note_unexpected(&shared, ALONE_GROUP, &failure, &[]);
        }
        breathe(&mut seed, if only_asks { 200 } else { 350 }).await;
    }
}
