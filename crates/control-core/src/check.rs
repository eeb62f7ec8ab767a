//! What must hold in every image, whatever the commands were: the oracle of `millstream fsck` and of the simulator.

use crate::{Image, NodeState, QuotaEntity, StreamRecord, WalState};
use base::{NodeEpoch, ObjectId, Offset, StreamId, WalId};
use std::collections::BTreeMap;

/// Every contradiction found, one sentence each; empty for a sound image.
#[must_use]
pub fn check(image: &Image) -> Vec<String> {
    let mut problems = Vec::new();
    let mut counted: BTreeMap<ObjectId, u32> = BTreeMap::new();
    for (id, stream) in &image.streams {
        let mut complain = |what: String| problems.push(format!("stream {id}: {what}"));
        if *id >= image.next_stream_id {
            complain("its id was never handed out".to_owned());
        }
        check_tenures(image, stream, &mut complain);
        check_references(stream, &mut complain);
        check_epochs(stream, &mut complain);
        if stream.cleaned > stream.committed() {
            complain(format!("it is cleaned up to {}, beyond its committed end", stream.cleaned));
        }
        check_producers(image, stream, &mut complain);
        let named = image
            .topics
            .get(&stream.topic)
            .and_then(|topic| usize::try_from(stream.partition).ok().and_then(|at| topic.partitions.get(at)));
        if named != Some(id) {
            complain("its topic does not name it".to_owned());
        }
        for reference in stream.references.values() {
            *counted.entry(reference.object).or_default() += 1;
        }
        for reference in &stream.producers {
            *counted.entry(reference.object).or_default() += 1;
        }
    }
    check_objects(image, &counted, &mut problems);
    check_topics(image, &mut problems);
    check_nodes(image, &mut problems);
    for (whose, quotas) in &image.quotas {
        if quotas.is_empty() || *whose == QuotaEntity::default() {
            problems.push(format!("the quotas of {whose:?} are none, or nobody's"));
        }
    }
    problems
}

fn check_tenures(image: &Image, stream: &StreamRecord, complain: &mut impl FnMut(String)) {
    if stream.tenures.is_empty() {
        complain("it has no tenure".to_owned());
    }
    for pair in stream.tenures.windows(2) {
        if pair[0].end.is_none_or(|end| end > pair[1].start) {
            complain(format!("the tenure of epoch {} overlaps the next", pair[0].stream_epoch));
        }
        if pair[0].stream_epoch >= pair[1].stream_epoch {
            complain(format!("epoch {} does not rise", pair[1].stream_epoch));
        }
        if pair[0].is_settled() {
            complain(format!("the settled tenure of epoch {} is still listed", pair[0].stream_epoch));
        }
    }
    for tenure in &stream.tenures {
        let epoch = tenure.stream_epoch;
        if tenure.committed < tenure.start || tenure.end.is_some_and(|end| end < tenure.committed) {
            complain(format!("the committed end {} of epoch {epoch} lies outside its tenure", tenure.committed));
        }
        if tenure.committed < tenure.end.map_or(stream.start, |end| end.min(stream.start)) {
            complain(format!(
                "the committed end {} of epoch {epoch} was not lifted to the start {}",
                tenure.committed, stream.start
            ));
        }
        let unsettled = !tenure.is_settled();
        match image.wals.get(&tenure.wal) {
            None if unsettled => complain(format!("write-ahead log {} of epoch {epoch} is forgotten", tenure.wal)),
            Some(wal) if tenure.end.is_none() && wal.state != WalState::Open => {
                complain(format!("epoch {epoch} is open in the sealed write-ahead log {}", tenure.wal));
            }
            _ => {}
        }
    }
    if let Some(last) = stream.tenures.last() {
        if last.stream_epoch != stream.epoch {
            complain(format!("its epoch {} is not its newest tenure's", stream.epoch));
        }
        if last.end.is_some_and(|end| stream.start > end) {
            complain(format!("it starts at {}, beyond its end", stream.start));
        }
    }
}

/// References cover exactly what is committed from the start on.
fn check_references(stream: &StreamRecord, complain: &mut impl FnMut(String)) {
    let mut committed: Vec<(Offset, Offset)> = Vec::new();
    let mut push = |base: Offset, next: Offset| {
        let base = base.max(stream.start);
        match committed.last_mut() {
            _ if base >= next => {}
            Some(last) if last.1 == base => last.1 = next,
            _ => committed.push((base, next)),
        }
    };
    push(stream.start, stream.tenures.first().map_or(stream.start, |tenure| tenure.start));
    let mut from = stream.tenures.first().map_or(stream.start, |tenure| tenure.start);
    for tenure in &stream.tenures {
        // What lies between two listed tenures belongs to settled ones.
        push(from, tenure.start);
        push(tenure.start, tenure.committed);
        from = tenure.end.unwrap_or(tenure.committed);
    }
    let mut covered: Vec<(Offset, Offset)> = Vec::new();
    let mut bytes = 0u64;
    for (base, reference) in &stream.references {
        bytes = bytes.saturating_add(reference.live_bytes(stream.start));
        if *base != reference.range.base || reference.range.is_empty() || reference.range.next <= stream.start {
            complain(format!("the reference at {base} covers {}", reference.range));
        }
        let base = reference.range.base.max(stream.start);
        match covered.last_mut() {
            Some(last) if last.1 > base => complain(format!("the reference at {base} overlaps the one before")),
            Some(last) if last.1 == base => last.1 = reference.range.next,
            _ => covered.push((base, reference.range.next)),
        }
    }
    if covered != committed {
        complain(format!("references cover {covered:?}, committed is {committed:?}"));
    }
    if bytes != stream.live_bytes {
        complain(format!("it counts {} live bytes, its references {bytes}", stream.live_bytes));
    }
}

fn check_epochs(stream: &StreamRecord, complain: &mut impl FnMut(String)) {
    if stream.epochs.windows(2).any(|pair| pair[0].0 >= pair[1].0 || pair[0].1 >= pair[1].1) {
        complain(format!("its epoch history {:?} does not rise", stream.epochs));
    }
    if stream.epochs.iter().any(|(epoch, first)| *epoch > stream.epoch || *first < stream.start) {
        complain(format!("its epoch history {:?} leaves its bounds", stream.epochs));
    }
}

/// No reference speaks for what another speaks for as well, and only WALs that are not saved to their end are waited for: open ones are left
/// by a move.
fn check_producers(image: &Image, stream: &StreamRecord, complain: &mut impl FnMut(String)) {
    for (at, reference) in stream.producers.iter().enumerate() {
        let mut others = stream.producers.iter().enumerate().filter(|(other, _)| *other != at);
        if others.any(|(_, other)| other.range.covers(reference.range)) {
            complain(format!("the state reference {} is spoken for by another", reference.range));
        }
    }
    if stream.producers.windows(2).any(|pair| pair[0].range.next > pair[1].range.next) {
        complain("its state references are out of order".to_owned());
    }
    for wal in &stream.unsaved {
        if image.wals.get(wal).is_none_or(|record| record.is_spent()) {
            complain(format!("it waits for the producer state of write-ahead log {wal}, which has none left"));
        }
    }
}

fn check_objects(image: &Image, counted: &BTreeMap<ObjectId, u32>, problems: &mut Vec<String>) {
    for (id, count) in counted {
        if !image.objects.contains_key(id) {
            problems.push(format!("object {id} is referenced {count} times and unknown"));
        }
    }
    for (id, record) in &image.objects {
        let count = counted.get(id).copied().unwrap_or_default();
        if record.references != count || count == 0 {
            problems.push(format!("object {id} counts {} references and has {count}", record.references));
        }
        if image.dead_objects.contains_key(id) {
            problems.push(format!("object {id} is both live and dead"));
        }
        if id.node_epoch >= image.next_node_epoch {
            problems.push(format!("object {id} was made by a start that never was"));
        }
    }
}

fn check_topics(image: &Image, problems: &mut Vec<String>) {
    for (id, topic) in &image.topics {
        if topic.id != *id || image.topic_names.get(&topic.name) != Some(id) {
            problems.push(format!("topic {:?} is not found by its name", topic.name));
        }
        let missing = |stream: &&StreamId| image.streams.get(*stream).is_none_or(|record| record.topic != *id);
        if let Some(stream) = topic.partitions.iter().find(missing) {
            problems.push(format!("topic {:?} names stream {stream}, which is not its own", topic.name));
        }
    }
    if image.topic_names.len() != image.topics.len() {
        problems.push("there are more topic names than topics".to_owned());
    }
}

fn check_nodes(image: &Image, problems: &mut Vec<String>) {
    let mut living = BTreeMap::new();
    for (epoch, node) in &image.nodes {
        if *epoch >= image.next_node_epoch || *epoch == NodeEpoch(0) {
            problems.push(format!("start {epoch} was never handed out"));
        }
        if node.state == NodeState::Alive && living.insert(node.node_id, *epoch).is_some() {
            problems.push(format!("broker {} has two living starts", node.node_id));
        }
    }
    for (id, wal) in &image.wals {
        check_wal(image, *id, wal, problems);
    }
}

fn check_wal(image: &Image, id: WalId, wal: &crate::WalRecord, problems: &mut Vec<String>) {
    if !image.nodes.contains_key(&id.node_epoch) {
        problems.push(format!("write-ahead log {id} belongs to no known start"));
    }
    if wal.trim < wal.start {
        problems.push(format!("write-ahead log {id} is trimmed to {}, below its start {}", wal.trim, wal.start));
    }
    if let WalState::Sealed { end, recoverer } = wal.state {
        if image.is_alive(id.node_epoch) && recoverer != id.node_epoch {
            problems.push(format!("write-ahead log {id} of a living start was sealed by {recoverer}"));
        }
        if wal.trim > end || recoverer >= image.next_node_epoch {
            problems
                .push(format!("write-ahead log {id} is sealed at {end} by {recoverer} and trimmed to {}", wal.trim));
        }
    }
}
