//! Topics and their streams.

use super::{Applied, stream};
use crate::{Image, Outcome, Refusal, StreamRecord, Tenure, Topic};
use base::{LedgerSeq, NodeEpoch, Offset, StreamEpoch, StreamId, TopicId, WalId, WalIndex, planted};
use imbl::OrdMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names of deleted topics whose last epochs are remembered one by one; beyond that they share one floor.
pub const DELETED_EPOCHS_MAX: usize = 10_000;

/// The command's arguments, but for the owners.
pub(super) struct NewTopic<'a> {
    pub(super) id: TopicId,
    pub(super) name: &'a str,
    pub(super) replication_factor: i16,
    pub(super) configs: &'a BTreeMap<String, String>,
    pub(super) internal: bool,
}

pub(super) fn create(image: &mut Image, new: &NewTopic<'_>, owners: &[(NodeEpoch, WalIndex)]) -> Applied {
    if image.topic_names.contains_key(new.name) {
        return Err(Refusal::TopicExists);
    }
    if new.id == TopicId::default() || image.topics.contains_key(&new.id) {
        return Err(Refusal::Invalid("the topic's id is zero or taken".to_owned()));
    }
    if new.name.is_empty() || owners.is_empty() {
        return Err(Refusal::Invalid("a topic has a name and at least one partition".to_owned()));
    }
    let wals = open_wals(image, owners)?;
    // Not below what clients that know the topic by its name alone have seen; not above it either, as Kafka's is 0.
    let last = image.deleted_epochs.remove(new.name);
    let birth = Birth { epoch: last.unwrap_or(image.first_epoch), reborn: last.is_some() };
    let mut topic = Topic {
        id: new.id,
        name: new.name.to_owned(),
        partitions: Vec::new(),
        replication_factor: new.replication_factor,
        configs: new.configs.clone(),
        internal: new.internal,
    };
    add_partitions(image, &mut topic, &wals, birth);
    image.topic_names.insert(topic.name.clone(), topic.id);
    image.topics.insert(topic.id, Arc::new(topic));
    Ok(Outcome::Done)
}

pub(super) fn create_partitions(
    image: &mut Image,
    id: TopicId,
    first: i32,
    owners: &[(NodeEpoch, WalIndex)],
) -> Applied {
    let mut topic = known(image, id)?;
    // Two requests for the same count that cross each other must not add up.
    if usize::try_from(first) != Ok(topic.partitions.len()) {
        return Err(Refusal::Invalid(format!("the topic has {} partitions, not {first}", topic.partitions.len())));
    }
    let wals = open_wals(image, owners)?;
    // A deleted topic of this name may have had as many partitions, at epochs that clients remember: none of them lies
    // above those of the partitions that are there.
    let there: Vec<_> = topic.partitions.iter().filter_map(|stream| image.streams.get(stream)).collect();
    let birth = Birth {
        epoch: there.iter().map(|stream| stream.epoch).max().unwrap_or(image.first_epoch),
        reborn: there.iter().any(|stream| stream.reborn),
    };
    add_partitions(image, &mut topic, &wals, birth);
    image.topics.insert(id, Arc::new(topic));
    Ok(Outcome::Done)
}

pub(super) fn delete(image: &mut Image, seq: LedgerSeq, id: TopicId) -> Applied {
    let topic = known(image, id)?;
    let mut last = image.first_epoch;
    for stream_id in &topic.partitions {
        let Some(gone) = image.streams.remove(stream_id) else { continue };
        last = last.max(gone.epoch);
        let states = gone.producers.iter().map(|reference| reference.object);
        for object in gone.references.values().map(|reference| reference.object).chain(states) {
            stream::dereference(image, seq, object);
        }
    }
    if planted!("T7", false, true)
        && let Some(first) = topic.partitions.first()
    {
        image.next_stream_id = *first;
    }
    image.topics.remove(&id);
    image.topic_names.remove(&topic.name);
    image.deleted_epochs.insert(topic.name, last);
    forget_epochs(image);
    Ok(Outcome::Done)
}

pub(super) fn alter_configs(image: &mut Image, id: TopicId, changes: &BTreeMap<String, Option<String>>) -> Applied {
    let mut topic = known(image, id)?;
    for (name, value) in changes {
        match value {
            Some(value) => topic.configs.insert(name.clone(), value.clone()),
            None => topic.configs.remove(name),
        };
    }
    image.topics.insert(id, Arc::new(topic));
    Ok(Outcome::Done)
}

fn known(image: &Image, id: TopicId) -> Result<Topic, Refusal> {
    image.topics.get(&id).map(|topic| (**topic).clone()).ok_or_else(|| Refusal::Unknown("topic".to_owned()))
}

fn open_wals(image: &Image, owners: &[(NodeEpoch, WalIndex)]) -> Result<Vec<WalId>, Refusal> {
    owners.iter().map(|(node_epoch, index)| stream::open_wal(image, *node_epoch, *index)).collect()
}

/// What new partitions begin with.
#[derive(Clone, Copy)]
struct Birth {
    epoch: StreamEpoch,
    reborn: bool,
}

fn add_partitions(image: &mut Image, topic: &mut Topic, wals: &[WalId], Birth { epoch, reborn }: Birth) {
    for wal in wals {
        let id = image.next_stream_id.max(StreamId(1));
        let id = planted!("T7", id, (id.0..).map(StreamId).find(|id| !image.streams.contains_key(id)).unwrap_or(id));
        image.next_stream_id = StreamId(id.0 + 1);
        let tenure = Tenure { stream_epoch: epoch, wal: *wal, start: Offset(0), committed: Offset(0), end: None };
        let partition = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let record = StreamRecord {
            topic: topic.id,
            partition,
            epoch,
            start: Offset(0),
            tenures: vec![tenure],
            epochs: Vec::new(),
            references: OrdMap::new(),
            live_bytes: 0,
            producers: Vec::new(),
            unsaved: Vec::new(),
            reborn,
            cleaned: Offset(0),
        };
        topic.partitions.push(id);
        image.streams.insert(id, Arc::new(record));
    }
}

/// Keeps the memory of deleted names bounded: what is dropped raises the floor for all names.
fn forget_epochs(image: &mut Image) {
    while image.deleted_epochs.len() > DELETED_EPOCHS_MAX {
        let Some((name, last)) = image.deleted_epochs.get_min().cloned() else { return };
        image.deleted_epochs.remove(&name);
        image.first_epoch = image.first_epoch.max(last);
    }
}
