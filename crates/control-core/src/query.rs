//! Questions that shells ask of an image.
//!
//! What may be built upon outside the ledger are answers that no later image takes back: dead, deleted, sealed, committed,
//! trimmed, orphaned. An answer such as "alive" or "ownerless" is a hint for what to ask the ledger next.

use crate::{Image, Node, NodeState, StreamRecord, Tenure, Topic, TopicNames, WalRecord, WalState};
use base::{NodeEpoch, NodeId, ObjectId, OffsetRange, StreamEpoch, StreamId, TopicId, WalId, planted};
use imbl::ordmap::DiffItem;
use std::sync::Arc;

impl Image {
    /// Whether this start is registered and not declared dead.
    #[must_use]
    pub fn is_alive(&self, node_epoch: NodeEpoch) -> bool {
        self.nodes.get(&node_epoch).is_some_and(|node| node.state == NodeState::Alive)
    }

    /// Whether this start was declared dead, be it that its record is gone since. For ever.
    #[must_use]
    pub fn is_dead(&self, node_epoch: NodeEpoch) -> bool {
        node_epoch < self.next_node_epoch && !self.is_alive(node_epoch)
    }

    /// The living starts, oldest first.
    pub fn living(&self) -> impl Iterator<Item = (NodeEpoch, &Arc<Node>)> {
        self.nodes.iter().filter(|(_, node)| node.state == NodeState::Alive).map(|(epoch, node)| (*epoch, node))
    }

    /// The newest start of a broker, alive or dead.
    #[must_use]
    pub fn node(&self, node_id: NodeId) -> Option<(NodeEpoch, &Arc<Node>)> {
        self.nodes.iter().rev().find(|(_, node)| node.node_id == node_id).map(|(epoch, node)| (*epoch, node))
    }

    /// Living starts that wrote this ring: whoever holds its lock knows them dead.
    #[must_use]
    pub fn living_on_ring(&self, ring_id: u128) -> Vec<NodeEpoch> {
        let mut starts: Vec<_> = self.wals_of_ring(ring_id).map(|(wal, _)| wal.node_epoch).collect();
        starts.retain(|start| self.is_alive(*start));
        starts.dedup();
        starts
    }

    /// The WALs in this ring that are not forgotten, oldest first. From trim to end each is still needed. None for id 0.
    pub fn wals_of_ring(&self, ring_id: u128) -> impl Iterator<Item = (WalId, &Arc<WalRecord>)> {
        self.wals.iter().filter(move |(_, wal)| ring_id != 0 && wal.ring_id == ring_id).map(|(id, wal)| (*id, wal))
    }

    /// WALs of dead starts that have no end yet: what recovery has to do.
    pub fn unsealed_dead_wals(&self) -> impl Iterator<Item = (WalId, &Arc<WalRecord>)> {
        self.wals
            .iter()
            .filter(|(id, wal)| wal.state == WalState::Open && self.is_dead(id.node_epoch))
            .map(|(id, wal)| (*id, wal))
    }

    /// Sealed WALs whose recoverer has died before all was committed: to be adopted.
    pub fn orphaned_wals(&self) -> impl Iterator<Item = (WalId, &Arc<WalRecord>)> {
        self.wals
            .iter()
            .filter(|(_, wal)| matches!(wal.state, WalState::Sealed { recoverer, .. } if self.is_dead(recoverer)))
            .map(|(id, wal)| (*id, wal))
    }

    /// Whether this start speaks for this WAL in commits: its own living start, or the living recoverer once it is sealed.
    #[must_use]
    pub fn speaks_for(&self, speaker: NodeEpoch, wal: WalId) -> bool {
        let Some(record) = self.wals.get(&wal) else { return false };
        self.is_alive(speaker)
            && match record.state {
                WalState::Open => speaker == wal.node_epoch,
                WalState::Sealed { recoverer, .. } => speaker == recoverer,
            }
    }

    /// Whether everything in this dead WAL needs no commit any more, records and producer state, so that its bytes may be deleted
    /// (D-2). An unknown WAL was
    /// forgotten, or never was: the answer is no, the fence is what keeps it out.
    #[must_use]
    pub fn can_delete_wal(&self, wal: WalId) -> bool {
        let Some(record) = self.wals.get(&wal) else { return false };
        let sealed = matches!(record.state, WalState::Sealed { .. });
        let committed =
            || self.streams.values().flat_map(|stream| &stream.tenures).all(|it| it.wal != wal || it.is_settled());
        let saved = || self.streams.values().all(|stream| !stream.unsaved.contains(&wal));
        sealed && planted!("D3", committed() && saved(), true)
    }

    /// Whether records of this tenure still need their WAL (D-7): their stream exists, and some of their offsets are neither below
    /// the tenure's committed end nor at or beyond a closed tenure's end.
    #[must_use]
    pub fn needs_wal(&self, wal: WalId, stream: StreamId, epoch: StreamEpoch, range: OffsetRange) -> bool {
        let Some(record) = self.streams.get(&stream) else {
            return !self.is_deleted(stream);
        };
        if planted!("T2", false, range.next <= record.start) {
            return false;
        }
        match record.tenure(wal, epoch) {
            Some(tenure) => {
                range.next > tenure.committed && tenure.end.is_none_or(|end| tenure.committed < end && range.base < end)
            }
            // A settled tenure leaves the list; one of a later epoch is not in this image yet.
            None => epoch > record.epoch,
        }
    }

    /// Whether this stream existed and is gone. For ever: ids are not reused (T7).
    #[must_use]
    pub fn is_deleted(&self, stream: StreamId) -> bool {
        stream < self.next_stream_id && !self.streams.contains_key(&stream)
    }

    /// The topic of that name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topic_names.get(name).and_then(|id| self.topics.get(id))
    }

    /// What names of topics have come (true) and gone (false) since `before`. Costs what has changed, not what there is.
    pub fn changed_names<'a>(&'a self, before: &'a TopicNames) -> impl Iterator<Item = (&'a String, bool)> {
        before.diff(&self.topic_names).filter_map(|change| match change {
            DiffItem::Add(name, _) => Some((name, true)),
            DiffItem::Remove(name, _) => Some((name, false)),
            DiffItem::Update { .. } => None,
        })
    }

    /// A topic's streams by partition number; empty for an unknown topic.
    pub fn streams_of(&self, topic: TopicId) -> impl Iterator<Item = (StreamId, &Arc<StreamRecord>)> {
        let ids = self.topics.get(&topic).map_or(&[][..], |topic| &topic.partitions);
        ids.iter().filter_map(|id| self.streams.get(id).map(|stream| (*id, stream)))
    }

    /// Streams without an open tenure: any living start may ask for them by `OpenStreams`.
    #[must_use]
    pub fn ownerless_streams(&self) -> Vec<StreamId> {
        self.streams.iter().filter(|(_, stream)| self.may_open(stream)).map(|(id, _)| *id).collect()
    }

    /// Whether a next tenure may be opened: the last one is closed. A dead owner's stays open until its WAL is sealed (D-6).
    pub(crate) fn may_open(&self, stream: &StreamRecord) -> bool {
        stream.owner().is_none()
            || planted!("D6", false, stream.owner().is_some_and(|owner| self.is_dead(owner.node_epoch())))
    }

    /// Streams whose owner is dead and whose WAL has no end yet, with that WAL: offline until somebody recovers it.
    pub fn offline_streams(&self) -> impl Iterator<Item = (StreamId, WalId)> {
        self.streams.iter().filter_map(|(id, stream)| {
            stream.owner().filter(|owner| self.is_dead(owner.node_epoch())).map(|owner| (*id, owner.wal))
        })
    }

    /// Whether an object that is in the bucket will never be referenced (rule O-1): the image neither references it nor has it
    /// among the dead, and its writer is dead or has promised by `min_counter` never to commit it.
    #[must_use]
    pub fn is_orphan(&self, object: ObjectId) -> bool {
        let is_live = self.objects.get(&object).is_some_and(|record| {
            planted!("sweep deletes a shared object", true, record.references < 2) && record.references > 0
        });
        if is_live || self.dead_objects.contains_key(&object) {
            return false;
        }
        self.is_decided(object)
            || planted!("O2", false, {
                let last = ObjectId { node_epoch: object.node_epoch, counter: u64::MAX };
                self.objects.range(object..=last).next().is_some()
            })
    }

    /// Whether nothing will ever be committed under this id from here on: its writer is dead, or has promised so.
    #[must_use]
    pub fn is_decided(&self, object: ObjectId) -> bool {
        let start = object.node_epoch;
        self.is_dead(start) || self.nodes.get(&start).is_some_and(|node| object.counter < node.min_counter)
    }
}

impl StreamRecord {
    /// The tenure of that epoch in that WAL, while it is listed.
    #[must_use]
    pub fn tenure(&self, wal: WalId, epoch: StreamEpoch) -> Option<&Tenure> {
        self.tenures.iter().find(|tenure| tenure.stream_epoch == epoch && tenure.wal == wal)
    }
}
