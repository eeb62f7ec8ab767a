//! Consumer groups: members that share a group's partitions, and a group without members that several commit to at once.
//!
//! [`member`] joins, syncs, commits, asks and leaves; [`alone`] commits and asks; [`client`] finds the coordinator and speaks to it.
//! What they commit is no place in a topic but a number that only that commit has, so that every answer tells what it saw.

mod alone;
mod client;
mod member;

use crate::checker::{GroupHistory, GroupPartition, Partitions, TopicKey};
use crate::launch::OFFSETS_PARTITIONS;
use crate::plan::{Plan, TopicPlan};
use crate::workload::client::{Client, Failure, RETRIABLE, Seek};
use crate::workload::topic::LiveTopic;
use crate::workload::{Shared, breathe};
use crate::world::{now, spawn};
use base::{Micros, Seed};
use client::GroupClient;
use std::sync::Arc;
use tokio::sync::watch;

/// Groups with members.
const GROUPS: u64 = 2;
/// Members of such a group; the first of each is a static one.
const MEMBERS_MAX: u64 = 3;
/// Those who commit for the group without members, and ask.
const ALONE: u64 = 2;
/// The group without members.
const ALONE_GROUP: &str = "alone";

/// Kafka's errors of groups that say *ask again, perhaps elsewhere*: loading, not available, not coordinator.
const COORDINATOR_MOVES: [i16; 3] = [14, 15, 16];
/// The group goes on without this member: unknown member, fenced instance id.
const UNKNOWN_MEMBER: i16 = 25;
const FENCED_INSTANCE: i16 = 82;
/// The member joins again: illegal generation, rebalance in progress.
const ILLEGAL_GENERATION: i16 = 22;
const REBALANCE: i16 = 27;
/// It joins again with the id that came with the error.
const MEMBER_ID_REQUIRED: i16 = 79;

/// Starts everybody.
pub(super) fn start(
    shared: &Arc<Shared>,
    seed: &mut Seed,
    stopped: &watch::Receiver<bool>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let mut actors = Vec::new();
    for group in 0..GROUPS {
        for number in 0..seed.between(2, MEMBERS_MAX) {
            let member = member::Member::new(shared, group_name(group), number, seed.fork("member"));
            actors.push(spawn(member.run(stopped.clone())));
        }
    }
    for _ in 0..ALONE {
        actors.push(spawn(alone::run(Arc::clone(shared), seed.fork("alone"), stopped.clone())));
    }
    for group in group_names() {
        actors.push(spawn(alone::ask(Arc::clone(shared), group, seed.fork("asks"), stopped.clone())));
    }
    actors
}

fn group_name(number: u64) -> String {
    format!("group-{number}")
}

/// All of them.
fn group_names() -> impl Iterator<Item = String> {
    (0..GROUPS).map(group_name).chain([ALONE_GROUP.to_owned()])
}

/// What groups consume: partitions of topics that stay.
fn partitions(plan: &Plan) -> Partitions {
    let topics = plan.topics.iter().filter(|topic| !topic.recreated);
    topics.flat_map(|topic| (0..topic.partitions).map(|partition| (topic.name.clone(), partition))).collect()
}

fn key(group: &str, (topic, partition): &(String, i32)) -> GroupPartition {
    GroupPartition { group: group.to_owned(), topic: topic.clone(), partition: *partition }
}

/// Asks every group for all that it has committed, until each has answered within `limit`.
pub(super) async fn fetch_all(shared: &Arc<Shared>, seed: &mut Seed, deadline: Micros) {
    for group in group_names() {
        let mut client = GroupClient::new(shared, &group, seed.fork("client"));
        let wanted = partitions(shared.cluster.plan());
        while let Err(failure) = fetch(&mut client, &shared.groups, &wanted).await {
            note_unexpected(shared, &group, &failure, &[]);
            if now() >= deadline {
                shared.history.violation(format!("liveness: group {group} is not served; last answer: {failure}"));
                break;
            }
            breathe(seed, 100).await;
        }
        shared.cluster.universe().trace.count("check.liveness");
    }
    for partition in 0..OFFSETS_PARTITIONS {
        if log_start(shared, partition, seed).await > 0 {
            shared.cluster.universe().trace.count("check.group_log_cut");
        }
    }
}

/// Where a partition of the topic that groups live in begins, as far as somebody says: it is cut when it has become long.
async fn log_start(shared: &Arc<Shared>, partition: i32, seed: &mut Seed) -> i64 {
    let mut client = Client::new(shared, seed.fork("client"));
    let start = client.seek(&topic(), partition, Seek::Earliest).await;
    start.map_or(0, |(offset, _)| offset)
}

/// The topic that groups live in.
pub(super) fn topic() -> LiveTopic {
    let plan = TopicPlan {
        name: "__consumer_offsets".to_owned(),
        partitions: OFFSETS_PARTITIONS,
        retention_bytes: None,
        settings: Vec::new(),
        recreated: false,
        pruned: false,
        value_bytes_max: 0,
    };
    let key = TopicKey { name: plan.name.clone(), generation: 0 };
    LiveTopic { plan, key, id: 0 }
}

/// Fetches, and tells the history what came.
async fn fetch(client: &mut GroupClient, groups: &GroupHistory, wanted: &Partitions) -> Result<(), Failure> {
    let asked = groups.asks();
    for (partition, offset) in client.fetch(wanted).await? {
        groups.fetched(&key(&client.group, &partition), asked, offset);
    }
    Ok(())
}

/// Commits, and tells the history what came. Offsets that were refused or lost are left as they are: their fate is unknown.
async fn commit(
    client: &mut GroupClient,
    groups: &GroupHistory,
    member: &client::Membership,
    wanted: &Partitions,
) -> Result<(), Failure> {
    let generation = (member.generation >= 0).then_some(member.generation);
    let commits: Vec<_> = wanted.iter().map(|it| groups.commits(&key(&client.group, it), generation)).collect();
    let offsets: Vec<_> = wanted.iter().cloned().zip(commits.iter().map(|commit| commit.offset)).collect();
    let mut last = Ok(());
    for (commit, outcome) in commits.iter().zip(client.commit(member, &offsets).await?) {
        match outcome {
            Ok(()) => groups.committed(commit),
            Err(failure) => last = Err(failure),
        }
    }
    last
}

/// A good request of a group may fail in few ways, and in those that the caller names. Anything else is a finding.
fn note_unexpected(shared: &Shared, group: &str, failure: &Failure, also: &[i16]) {
    if let Failure::Kafka(code) = failure
        && !RETRIABLE.contains(code)
        && !COORDINATOR_MOVES.contains(code)
        && !also.contains(code)
    {
        shared.history.violation(format!("a good request about group {group} was refused with error {code}"));
    }
}
