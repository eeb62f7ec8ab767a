//! Topics as the ledger's image knows them: looking them up, checking and creating new ones.
//!
//! Shared by the handlers of Metadata (creation on first use), CreateTopics, DeleteTopics, Produce and Fetch. Guarantees: a topic
//! exists for clients only once the ledger holds it. Placement is simple for now: the creating broker owns all partitions,
//! unless a manual assignment says who does, in the WAL that the topic's settings choose (`wals`). The replication factor is
//! kept as asked for and nothing acts on it: a partition has one replica.

use crate::error::Failure;
use crate::flat_names::FlatNames;
use crate::rights::Rights;
use crate::settings::Scope;
use crate::{Shared, requests, topic_name, topic_settings, uuid, wals};
use base::{NodeEpoch, NodeId, StreamId, TopicId, WalIndex};
use control_core::{Command, Image, Node, NodeState, Outcome, Refusal, StreamRecord, Topic};
use protocol::api::{Operation, Resource};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::{ClockExt, lock};

/// A topic's greatest batch.
pub(crate) const BATCH_BYTES_MAX: &str = "max.message.bytes";

/// Of a topic whose creator leaves it open: as many as each partition has, whatever `default.replication.factor` says.
const REPLICATION_FACTOR: i16 = 1;

/// A topic that somebody asks for.
#[derive(Debug, Clone)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    /// -1: the broker's default.
    pub(crate) partitions: i32,
    /// -1: one.
    pub(crate) replication_factor: i16,
    /// Who leads each partition, by number; empty: this broker leads all.
    pub(crate) leaders: Vec<NodeEpoch>,
    /// By Kafka's names.
    pub(crate) configs: BTreeMap<String, String>,
}

/// What a new topic that passed [`check`] will be, or after a request that only validates would.
#[derive(Debug, Clone)]
pub(crate) struct CheckedTopic {
    pub(crate) id: TopicId,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
}

/// Checks everything about a new topic that can be known without asking the ledger; fills in defaults. Of several things that are wrong
/// the first is told, in Kafka's order: the name, the settings, the numbers.
pub(crate) fn check(broker: &Shared, image: &Image, topic: &NewTopic) -> Result<CheckedTopic, Failure> {
    check_name(broker, image, &topic.name)?;
    check_settings(broker, image, &topic.configs)?;
    check_numbers(broker, image, topic)
}

/// Whether a topic of that name may be made.
pub(crate) fn check_name(broker: &Shared, image: &Image, name: &str) -> Result<(), Failure> {
    topic_name::check(name).map_err(Failure::InvalidTopic)?;
    if image.topic(name).is_some() {
        return Err(Failure::TopicExists(name.to_owned()));
    }
    broker.creating.check_collision(name, image)
}

/// Whether a new topic may have these settings, wherever it is.
pub(crate) fn check_settings(
    broker: &Shared,
    image: &Image,
    configs: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    for (name, value) in configs {
        let setting = Scope::Topic.find(name).ok_or_else(|| Failure::InvalidConfig(Scope::Topic.unknown(name)))?;
        setting.check(value).map_err(Failure::InvalidConfig)?;
        if name == BATCH_BYTES_MAX {
            check_batch_fits(broker, name, value).map_err(Failure::InvalidConfig)?;
        }
    }
    topic_settings::check_cleaning(configs, &broker.live.at(image)).map_err(Failure::InvalidConfig)
}

/// How many partitions and replicas there will be, and whether who leads them has the log that they are to be written to.
pub(crate) fn check_numbers(broker: &Shared, image: &Image, topic: &NewTopic) -> Result<CheckedTopic, Failure> {
    // The order is Kafka's.
    let replication_factor = if topic.replication_factor == -1 { REPLICATION_FACTOR } else { topic.replication_factor };
    if replication_factor < 1 {
        return Err(Failure::InvalidReplicationFactor(format!(
            "the replication factor must be at least 1, not {replication_factor}"
        )));
    }
    let partitions = if topic.partitions == -1 { broker.options.num_partitions } else { topic.partitions };
    if partitions < 1 {
        return Err(Failure::InvalidPartitions(format!("a topic has at least 1 partition, not {partitions}")));
    }
    requests::check_partitions([i64::from(partitions)].into_iter(), broker.options.topic_partitions_max)?;
    broker.creating.check_room(broker, image, count(partitions))?;
    let own = [broker.store.node_epoch()];
    let leaders = if topic.leaders.is_empty() { &own[..] } else { &topic.leaders };
    wals::check(image, leaders.iter().copied(), &topic.configs, &broker.store)?;
    let id = uuid::random(|| broker.clock.random()).into();
    Ok(CheckedTopic { id, partitions, replication_factor })
}

/// A batch must fit a request, and the write-ahead log with the memory before it: what could never be produced is not promised.
pub(crate) fn check_batch_fits(broker: &Shared, name: &str, value: &str) -> Result<(), String> {
    let fits = broker.options.request_bytes_max.min(broker.store.batch_bytes_max());
    match value.trim().parse::<usize>() {
        Ok(bytes) if bytes > fits => Err(format!(
            "{name}={bytes} does not fit: requests and the write-ahead log of this broker take {fits} bytes"
        )),
        _ => Ok(()),
    }
}

pub(crate) fn count(partitions: i32) -> usize {
    usize::try_from(partitions).unwrap_or(0)
}

fn collides(name: &str, other: &str) -> Failure {
    Failure::InvalidTopic(format!(
        "'{name}' collides with the topic '{other}': '.' and '_' are the same in metric names"
    ))
}

/// What this broker is creating just now: no image shows it yet.
#[derive(Debug, Default)]
pub(crate) struct Creating {
    /// Names, by what they are in metric names.
    names: Mutex<BTreeMap<String, String>>,
    /// Those that an image shows.
    present: FlatNames,
    /// Partitions.
    partitions: Mutex<usize>,
}

/// While it lives, so many partitions are counted as there.
struct Room<'a> {
    creating: &'a Creating,
    partitions: usize,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        *lock(&self.creating.partitions) -= self.partitions;
    }
}

/// While it lives, nothing is created under a name that collides with its own.
struct Claim<'a> {
    creating: &'a Creating,
    flat: String,
}

impl Creating {
    fn check_collision(&self, name: &str, image: &Image) -> Result<(), Failure> {
        self.present.collision(name, image).map_or(Ok(()), |other| Err(collides(name, &other)))
    }

    /// Whether the cluster may have so many more partitions. What others are creating counts only for [`Creating::take_room`].
    pub(crate) fn check_room(&self, broker: &Shared, image: &Image, asked: usize) -> Result<(), Failure> {
        let (present, most) = (image.streams.len(), broker.options.cluster_partitions_max);
        if present.saturating_add(asked) > most {
            return Err(Failure::ClusterFull { present, asked, most });
        }
        Ok(())
    }

    /// The same, and counts them from now on.
    fn take_room(&self, broker: &Shared, asked: usize) -> Result<Room<'_>, Failure> {
        let mut creating = lock(&self.partitions);
        self.check_room(broker, &broker.store.ledger().image(), asked + *creating)?;
        *creating += asked;
        Ok(Room { creating: self, partitions: asked })
    }

    /// None where the same name is being created already: then the ledger says who comes second.
    fn claim(&self, name: &str) -> Result<Option<Claim<'_>>, Failure> {
        let flat = topic_name::flat(name);
        match lock(&self.names).entry(flat.clone()) {
            Entry::Occupied(held) if held.get() == name => Ok(None),
            Entry::Occupied(held) => Err(collides(name, held.get())),
            Entry::Vacant(free) => {
                free.insert(name.to_owned());
                Ok(Some(Claim { creating: self, flat }))
            }
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        lock(&self.creating.names).remove(&self.flat);
    }
}

/// Creates a topic that passed [`check`]; answers once the ledger holds it.
pub(crate) async fn create(
    broker: &Shared,
    topic: NewTopic,
    checked: &CheckedTopic,
    limit: Duration,
) -> Result<(), Failure> {
    let _claim = broker.creating.claim(&topic.name)?;
    let _room = broker.creating.take_room(broker, count(checked.partitions))?;
    // What has been created between the check and the claim is in the image now.
    broker.creating.check_collision(&topic.name, &broker.store.ledger().image())?;
    for (name, value) in &topic.configs {
        if let Some(caveat) = Scope::Topic.find(name).and_then(|setting| setting.caveat()) {
            tracing::info!(topic = %topic.name, "{name}={value} {caveat}");
        }
    }
    let (partitions, replication_factor) = (checked.partitions, checked.replication_factor);
    create_unchecked(broker, NewTopic { partitions, replication_factor, ..topic }, checked.id, limit).await
}

/// Creates a topic whose numbers are no defaults any more; answers once the ledger holds it. Only the broker itself calls this for
/// its own topics without [`create`]'s checks: nothing that clients made may stand in their way.
pub(crate) async fn create_unchecked(
    broker: &Shared,
    topic: NewTopic,
    id: TopicId,
    limit: Duration,
) -> Result<(), Failure> {
    let leaders =
        if topic.leaders.is_empty() { vec![broker.store.node_epoch(); count(topic.partitions)] } else { topic.leaders };
    let partitions = owners(&broker.store.ledger().image(), leaders, &topic.configs);
    let command = Command::CreateTopic {
        id,
        name: topic.name.clone(),
        partitions,
        replication_factor: topic.replication_factor,
        configs: topic.configs,
        // An administrator may make them ahead of their first use, with a number of partitions of their own choice, as in Kafka.
        internal: topic_name::is_internal(&topic.name),
    };
    match submit(broker, command, limit).await {
        Err(Failure::Refused(Refusal::TopicExists)) => Err(Failure::TopicExists(topic.name)),
        other => other,
    }
}

/// Each leader with the log that a topic of these settings is written to.
fn owners(image: &Image, leaders: Vec<NodeEpoch>, configs: &BTreeMap<String, String>) -> Vec<(NodeEpoch, WalIndex)> {
    leaders.into_iter().map(|leader| (leader, wals::index(image, leader, configs))).collect()
}

/// Gives a topic more partitions behind its first `first`, led by these; answers once the ledger holds them. False where the topic
/// has another number of partitions by now.
pub(crate) async fn grow(
    broker: &Shared,
    id: TopicId,
    first: i32,
    leaders: Vec<NodeEpoch>,
    limit: Duration,
) -> Result<bool, Failure> {
    let _room = broker.creating.take_room(broker, leaders.len())?;
    let image = broker.store.ledger().image();
    let partitions = match image.topics.get(&id) {
        Some(topic) => owners(&image, leaders, &topic.configs),
        None => return Err(Failure::UnknownTopicId),
    };
    match submit(broker, Command::CreatePartitions { id, first, partitions }, limit).await {
        Ok(()) => Ok(true),
        Err(Failure::Refused(Refusal::Invalid(_))) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Deletes a topic; answers once the ledger no longer holds it.
pub(crate) async fn delete(broker: &Shared, id: TopicId, limit: Duration) -> Result<(), Failure> {
    submit(broker, Command::DeleteTopic { id }, limit).await
}

/// Asks the ledger for a change; answers once the ledger holds it.
pub(crate) async fn submit(broker: &Shared, command: Command, limit: Duration) -> Result<(), Failure> {
    match broker.clock.timeout(limit, broker.store.ledger().submit(command)).await {
        None => Err(Failure::TimedOut),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(Outcome::Done)) => Ok(()),
        Some(Ok(Outcome::Refused(refusal))) => Err(refusal.into()),
        Some(Ok(
            other @ (Outcome::Registered { .. }
            | Outcome::Committed { .. }
            | Outcome::Replaced { .. }
            | Outcome::ProducerIds { .. }),
        )) => Err(Failure::Unexpected(format!("the ledger answered {other:?}"))),
    }
}

/// How a request names a topic: newer versions by id, older ones by name.
pub(crate) fn find<'a>(image: &'a Image, name: &str, id: TopicId) -> Result<&'a Arc<Topic>, Failure> {
    if id == TopicId::default() {
        image.topic(name).ok_or(Failure::UnknownPartition)
    } else {
        image.topics.get(&id).ok_or(Failure::UnknownTopicId)
    }
}

/// The same, where the caller may do that with it. Of one that is named nothing is told to whoever may not, not even whether it is there.
pub(crate) fn find_allowed<'a>(
    image: &'a Image,
    (name, id): (&str, TopicId),
    rights: &Rights,
    operation: Operation,
) -> Result<&'a Arc<Topic>, Failure> {
    if id == TopicId::default() {
        rights.check(operation, Resource::Topic, name)?;
        return find(image, name, id);
    }
    let topic = find(image, name, id)?;
    rights.check(operation, Resource::Topic, &topic.name)?;
    Ok(topic)
}

/// The stream of a partition.
pub(crate) fn stream_of(topic: &Topic, partition: i32) -> Result<StreamId, Failure> {
    let index = usize::try_from(partition).map_err(|_| Failure::UnknownPartition)?;
    topic.partitions.get(index).copied().ok_or(Failure::UnknownPartition)
}

/// Who serves a stream.
pub(crate) fn owner<'a>(image: &'a Image, stream: &StreamRecord) -> Option<&'a Arc<Node>> {
    let node_epoch = stream.owner()?.node_epoch();
    image.nodes.get(&node_epoch).filter(|node| node.state == NodeState::Alive)
}

/// Who last had a stream, dead or alive.
pub(crate) fn last_owner(image: &Image, stream: &StreamRecord) -> Option<NodeId> {
    let node_epoch = stream.tenures.last()?.node_epoch();
    image.nodes.get(&node_epoch).map(|node| node.node_id)
}

/// Where a partition is, as clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    /// -1: nobody leads it now.
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
    /// Who has it, or had it last.
    pub(crate) replicas: Vec<i32>,
    pub(crate) in_sync: Vec<i32>,
    /// Those of the replicas that are not there.
    pub(crate) offline: Vec<i32>,
}

/// Where a stream is. One whose owner is dead, or that nobody can recover now, has no leader, and its last owner is an offline replica.
pub(crate) fn placement(image: &Image, stream: &StreamRecord) -> Placement {
    let leader_epoch = stream.epoch.0;
    match owner(image, stream) {
        Some(node) => {
            let id = node.node_id.0;
            Placement { leader: id, leader_epoch, replicas: vec![id], in_sync: vec![id], offline: Vec::new() }
        }
        None => {
            let last: Vec<i32> = last_owner(image, stream).into_iter().map(|id| id.0).collect();
            Placement { leader: -1, leader_epoch, replicas: last.clone(), in_sync: Vec::new(), offline: last }
        }
    }
}

/// Host and port of a broker, as clients are told.
pub(crate) fn endpoint(advertised: &str) -> (String, i32) {
    let (host, port) = advertised.rsplit_once(':').unwrap_or((advertised, ""));
    (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port.parse().unwrap_or(0))
}

/// Who is told to be the controller: the ledger's leader; this broker where that one is not there. Changes can be asked of any broker.
pub(crate) fn controller(broker: &Shared, image: &Image) -> NodeId {
    if living(image).contains_key(&image.leader.node_id) { image.leader.node_id } else { broker.store.node_id() }
}

/// The living brokers: one start for each id, the newest.
pub(crate) fn living(image: &Image) -> BTreeMap<NodeId, (NodeEpoch, &Arc<Node>)> {
    image.living().filter(|(_, node)| node.is_broker()).map(|(epoch, node)| (node.node_id, (epoch, node))).collect()
}
