//! An image from what is left: the ledger as far as it folds, and what objects say of themselves.
//!
//! Where the two differ the ledger is believed for what can't be undone (a stream deleted, a start offset, an end that was fixed), the
//! objects for what is there. No log is left in the image: their tails are in objects by then. All starts are dead in it.
//!
//! Pure; what comes out must pass [`control_core::check`].

use super::NUMBERS_SKIPPED;
use super::cover::{Cover, Part, cover, nothing_at};
use super::find::{Found, FoundObject};
use base::{
    LedgerEpoch, LedgerSeq, NodeEpoch, NodeId, Nonce, ObjectId, Offset, OffsetRange, StreamEpoch, StreamId, TopicId,
    WalId, WalIndex,
};
use control_core::{
    Image, LEADER_HISTORY_MAX, Leader, Node, NodeState, ObjectRecord, Reference, StateReference, StreamRecord, Tenure,
    Topic,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stream_core::object::StateEntry;

/// Stream epochs that are passed over: far more rises than entries can have been lost with, and restores enough are left.
const EPOCHS_SKIPPED: i32 = 1_000_000;

/// What the image is made with, beside what was found.
pub(super) struct Frame {
    /// The image's number: above all that are there.
    pub(super) seq: LedgerSeq,
    pub(super) nonce: Nonce,
    pub(super) cluster_id: u128,
    /// Above every term that is known.
    pub(super) term: LedgerEpoch,
    /// This restore as a start: above every start that is known.
    pub(super) start: NodeEpoch,
    pub(super) next_producer_id: i64,
    /// Topics of streams that the ledger does not know, by name.
    pub(super) named: BTreeMap<String, NamedTopic>,
}

/// A topic that the operator knows.
pub(super) struct NamedTopic {
    pub(super) id: TopicId,
    pub(super) partitions: Vec<StreamId>,
    /// The broker's own.
    pub(super) internal: bool,
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamTold {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Whether topic and partition are what the ledger called them.
    pub named_by_ledger: bool,
    /// First offset that can be read.
    pub start: Offset,
    /// The next record gets this offset.
    pub end: Offset,
    /// Records.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Offsets that the ledger or other records say were given out, and that nothing has.
    pub missing: Vec<OffsetRange>,
}

/// The image, and what became of each stream.
pub(super) fn assemble(
    base: &Image,
    found: &Found,
    tails: &BTreeMap<ObjectId, FoundObject>,
    frame: &Frame,
) -> (Image, BTreeMap<StreamId, StreamTold>) {
    let mut image = frame.head(base);
    let objects = || found.objects.iter().chain(tails);
    let mut parts: BTreeMap<StreamId, Vec<Part>> = BTreeMap::new();
    let mut states: BTreeMap<StreamId, Vec<(ObjectId, StateEntry)>> = BTreeMap::new();
    for (id, object) in objects() {
        for (stream, part) in object.parts.iter().filter(|(stream, _)| !base.is_deleted(*stream)) {
            parts.entry(*stream).or_default().push(part.clone());
        }
        for state in object.states.iter().filter(|state| !base.is_deleted(state.stream)) {
            states.entry(state.stream).or_default().push((*id, *state));
        }
    }
    let mut streams: BTreeSet<StreamId> = base.streams.keys().copied().collect();
    streams.extend(parts.keys());
    streams.extend(states.keys());
    streams.extend(frame.named.values().flat_map(|topic| &topic.partitions));
    let mut given_up = found.given_up_by_stream();
    let lost = given_up.keys().next_back().map(|stream| StreamId(stream.0.saturating_add(1)));
    image.next_stream_id = lost.unwrap_or_default().max(image.next_stream_id);
    let unknown = streams.iter().copied().filter(|stream| !base.streams.contains_key(stream));
    let places = frame.name(&mut image, unknown);
    let mut told = BTreeMap::new();
    for id in streams {
        let known = base.streams.get(&id).map(Arc::as_ref);
        let of_it = parts.remove(&id).unwrap_or_default();
        let maker = StreamMaker { known, given_up: given_up.remove(&id).unwrap_or_default(), frame };
        let (mut record, missing) = maker.make(of_it, &states.remove(&id).unwrap_or_default());
        if let Some((topic, partition)) = places.get(&id) {
            (record.topic, record.partition) = (*topic, *partition);
        }
        let topic = image.topics.get(&record.topic).map(|topic| topic.name.clone()).unwrap_or_default();
        let records = record.references.values().map(|reference| reference.records).sum();
        told.insert(
            id,
            StreamTold {
                topic,
                partition: record.partition,
                named_by_ledger: known.is_some(),
                start: record.start,
                end: record.committed(),
                records,
                bytes: record.live_bytes,
                missing,
            },
        );
        image.streams.insert(id, Arc::new(record));
    }
    if base.seq == LedgerSeq(0) {
        image.first_epoch = image.streams.values().map(|stream| stream.epoch).max().unwrap_or_default();
    }
    count_objects(&mut image, objects());
    (image, told)
}

fn count_objects<'a>(image: &mut Image, objects: impl Iterator<Item = (&'a ObjectId, &'a FoundObject)>) {
    let mut references: BTreeMap<ObjectId, u32> = BTreeMap::new();
    for stream in image.streams.values() {
        let states = stream.producers.iter().map(|state| state.object);
        for object in stream.references.values().map(|reference| reference.object).chain(states) {
            *references.entry(object).or_default() += 1;
        }
    }
    for (id, object) in objects {
        if let Some(references) = references.get(id) {
            let record = ObjectRecord { size: object.size, references: *references, data_bytes: object.data_bytes };
            image.objects.insert(*id, record);
            image.dead_objects.remove(id);
        }
    }
}

impl Frame {
    /// Everything but streams and objects.
    fn head(&self, base: &Image) -> Image {
        let mut image = base.clone();
        image.seq = self.seq;
        image.nonce = self.nonce;
        image.cluster_id = self.cluster_id;
        image.leader = Leader { epoch: self.term, node_id: NodeId(-1) };
        image.leader_history.push((self.term, self.seq, self.nonce));
        let surplus = image.leader_history.len().saturating_sub(LEADER_HISTORY_MAX);
        image.leader_history.drain(..surplus);
        image.next_node_epoch = NodeEpoch(self.start.0.saturating_add(1));
        image.next_producer_id = self.next_producer_id;
        image.wals = Default::default();
        image.nodes = buried(base).into_iter().collect();
        image.streams = Default::default();
        image.objects = Default::default();
        image
    }

    /// Topics for streams that have none: as they were told to be called, else by their ids. Answers topic and partition of each.
    fn name(&self, image: &mut Image, streams: impl Iterator<Item = StreamId>) -> BTreeMap<StreamId, (TopicId, i32)> {
        let named: BTreeSet<StreamId> =
            self.named.values().flat_map(|topic| topic.partitions.iter().copied()).collect();
        let topic = |name: &str, id, partitions: &[StreamId], internal| Topic {
            id,
            name: name.to_owned(),
            partitions: partitions.to_vec(),
            replication_factor: 1,
            configs: settings(internal),
            internal,
        };
        let given = self.named.iter().map(|(name, it)| topic(name, it.id, &it.partitions, it.internal));
        let mut topics: Vec<Topic> = given.collect();
        for stream in streams {
            image.next_stream_id = image.next_stream_id.max(StreamId(stream.0.saturating_add(1)));
            if !named.contains(&stream) {
                let mut name = format!("recovered-stream-{stream}");
                while image.topic_names.contains_key(&name) || self.named.contains_key(&name) {
                    name.push_str("-again");
                }
                // As good as drawn: no other topic has this number, and none will.
                let id = TopicId(self.nonce.0 ^ (u128::from(stream.0) << 64));
                topics.push(topic(&name, id, &[stream], false));
            }
        }
        image.next_stream_id = StreamId(image.next_stream_id.0.saturating_add(NUMBERS_SKIPPED));
        let mut places = BTreeMap::new();
        for topic in topics {
            let id = topic.id;
            places.extend(topic.partitions.iter().zip(0..).map(|(stream, partition)| (*stream, (id, partition))));
            image.topic_names.insert(topic.name.clone(), id);
            image.topics.insert(id, Arc::new(topic));
        }
        places
    }
}

/// Settings of a topic whose own are lost. By the defaults a broker would delete what is older than a week as soon as it starts, so nothing
/// is deleted until its operator has set them again. The brokers' own topics have Kafka's.
fn settings(internal: bool) -> BTreeMap<String, String> {
    let settings: &[(&str, &str)] = match internal {
        true => &[("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "104857600")],
        false => &[("retention.bytes", "-1"), ("retention.ms", "-1")],
    };
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// All starts dead, and of each broker the newest alone: by it an address finds its id again.
fn buried(base: &Image) -> BTreeMap<NodeEpoch, Arc<Node>> {
    let mut newest: BTreeMap<NodeId, (NodeEpoch, Node)> = BTreeMap::new();
    for (epoch, node) in &base.nodes {
        let dead = Node { state: NodeState::Dead, answered: Default::default(), ..Node::clone(node) };
        newest.insert(node.node_id, (*epoch, dead));
    }
    newest.into_values().map(|(epoch, node)| (epoch, Arc::new(node))).collect()
}

/// The same of an image that is whole, for a copy of it: whoever wrote the original writes no copy.
pub(super) fn copied(base: &Image) -> Image {
    let mut image = base.clone();
    let dead = |(epoch, node): (&NodeEpoch, &Arc<Node>)| {
        (*epoch, Arc::new(Node { state: NodeState::Dead, answered: Default::default(), ..Node::clone(node) }))
    };
    image.nodes = base.nodes.iter().map(dead).collect();
    image.probed = String::new();
    image
}

struct StreamMaker<'a> {
    known: Option<&'a StreamRecord>,
    /// What was in logs that were given up, or may have been.
    given_up: Vec<OffsetRange>,
    frame: &'a Frame,
}

impl StreamMaker<'_> {
    /// The stream, and what of it is missing.
    fn make(&self, mut parts: Vec<Part>, states: &[(ObjectId, StateEntry)]) -> (StreamRecord, Vec<OffsetRange>) {
        let known_start = self.known.map(|known| known.start);
        if let Some(known) = self.known {
            let referenced: BTreeSet<ObjectId> = known.references.values().map(|reference| reference.object).collect();
            for part in &mut parts {
                part.rank.referenced = referenced.contains(&part.object);
            }
        }
        let epoch = self.epoch(&parts);
        let Cover { references, epochs } = cover(&parts, known_start.unwrap_or_default());
        let held_from = references.first().map(|first| first.range.base);
        let held_to = references.last().map(|last| last.range.next);
        // What is saved of producers rests on confirmed batches, though their object may never have got there.
        let told = states.iter().map(|(_, state)| state.range.next).max().unwrap_or_default();
        let end = self.known_end().max(held_to.unwrap_or_default()).max(told);
        let start = held_from.unwrap_or(end);
        let holes = Cover { references: references.clone(), epochs: Vec::new() }.holes();
        let mut missing = Vec::new();
        let first = known_start.filter(|known_start| *known_start < start);
        missing.extend(first.map(|first| OffsetRange::new(first, start)));
        missing.extend(&holes);
        let mut by_base: BTreeMap<Offset, Reference> = references.iter().map(|it| (it.range.base, *it)).collect();
        let mut beside = references.iter().peekable();
        for hole in holes {
            while beside.next_if(|it| it.range.next < hole.base).is_some() {}
            if let Some(neighbour) = beside.peek() {
                by_base.insert(hole.base, nothing_at(hole, neighbour));
            }
        }
        if let Some(last) = references.last().filter(|last| last.range.next < end) {
            let hole = OffsetRange::new(last.range.next, end);
            by_base.insert(hole.base, nothing_at(hole, last));
            missing.push(hole);
        }
        missing.retain(|hole| !self.was_empty(*hole));
        let live_bytes = by_base.values().map(|reference| reference.live_bytes(start)).sum();
        let wal = WalId { node_epoch: self.frame.start, index: WalIndex(0) };
        let tenure = Tenure { stream_epoch: epoch, wal, start: end, committed: end, end: Some(end) };
        let record = StreamRecord {
            topic: self.known.map(|known| known.topic).unwrap_or_default(),
            partition: self.known.map(|known| known.partition).unwrap_or_default(),
            epoch,
            start,
            tenures: vec![tenure],
            epochs,
            references: by_base.into_iter().collect(),
            live_bytes,
            producers: producers(states, end),
            unsaved: Vec::new(),
            // What some of them have written may be gone.
            reborn: true,
            cleaned: self.known.map_or(Offset(0), |known| known.cleaned.min(end)),
        };
        (record, missing)
    }

    /// Far above whatever the stream's epoch can have been.
    fn epoch(&self, parts: &[Part]) -> StreamEpoch {
        let seen = parts.iter().flat_map(|part| &part.blocks).map(|block| block.stream_epoch).max();
        let newest = self.known.map(|known| known.epoch).max(seen).unwrap_or_default();
        StreamEpoch(newest.0.saturating_add(EPOCHS_SKIPPED))
    }

    /// The greatest offset that the ledger shows was given out, or trimmed; or that may have been where a log was given up, of which the
    /// ledger that is left need not know.
    fn known_end(&self) -> Offset {
        let given_up = self.given_up.iter().map(|range| range.next).max().unwrap_or_default();
        let Some(known) = self.known else { return given_up };
        let ends = known.tenures.iter().map(|it| it.end.unwrap_or(it.committed).max(it.committed).max(it.start));
        ends.max().unwrap_or_default().max(known.start).max(given_up)
    }

    /// Whether it is known that there are no batches at these offsets: they were removed by Kafka's log compaction, or given up.
    fn was_empty(&self, hole: OffsetRange) -> bool {
        let references = self.known.map(|known| known.references.values()).into_iter().flatten();
        let mut empty: Vec<OffsetRange> = references.filter(|it| it.bytes == 0).map(|it| it.range).collect();
        empty.extend(&self.given_up);
        empty.sort_by_key(|range| range.base);
        let mut next = hole.base;
        for range in empty.iter().filter(|range| range.next > hole.base) {
            if range.base > next {
                break;
            }
            next = next.max(range.next);
        }
        next >= hole.next
    }
}

/// The newest whole state, and what speaks for more; none for what is beyond the end, which will be given out again.
fn producers(states: &[(ObjectId, StateEntry)], end: Offset) -> Vec<StateReference> {
    let mut usable: Vec<&(ObjectId, StateEntry)> = states.iter().filter(|(_, state)| state.range.next <= end).collect();
    // The longest first, of equals the newest.
    usable.sort_by_key(|(object, state)| std::cmp::Reverse((state.range.len(), *object)));
    let mut kept: Vec<StateReference> = Vec::new();
    for (object, state) in usable {
        if !kept.iter().any(|it| it.range.covers(state.range)) {
            let StateEntry { range, position, len, crc, .. } = *state;
            kept.push(StateReference { object: *object, range, position, len, crc });
        }
    }
    kept.sort_by_key(|it| it.range.next);
    kept
}
