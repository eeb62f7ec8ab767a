//! Terms of the ledger, starts of brokers, deaths.

use super::Applied;
use crate::{Entry, Image, Leader, Node, NodeState, Outcome, Refusal, WalRecord, WalRegistration, WalState};
use base::{LedgerEpoch, NodeEpoch, NodeId, WalId, WalIndex};
use imbl::OrdMap;
use std::sync::Arc;

/// Terms remembered.
pub const LEADER_HISTORY_MAX: usize = 32;

pub(super) fn become_leader(
    image: &mut Image,
    entry: &Entry,
    epoch: LedgerEpoch,
    node_id: NodeId,
    cluster_id: u128,
) -> Applied {
    if epoch.0 != image.leader.epoch.0 + 1 || entry.epoch != epoch {
        return Err(Refusal::NotNext);
    }
    if image.leader_history.is_empty() {
        image.cluster_id = cluster_id;
    }
    image.leader = Leader { epoch, node_id };
    image.leader_history.push((epoch, entry.seq, entry.nonce));
    let surplus = image.leader_history.len().saturating_sub(LEADER_HISTORY_MAX);
    image.leader_history.drain(..surplus);
    Ok(Outcome::Done)
}

pub(super) fn register(
    image: &mut Image,
    node_id: Option<NodeId>,
    advertised: &str,
    wals: &[WalRegistration],
    incarnation: u128,
) -> Applied {
    if let Some((epoch, node)) = image.nodes.iter().find(|(_, node)| node.incarnation == incarnation) {
        return match node.state {
            NodeState::Alive => Ok(Outcome::Registered { node_id: node.node_id, node_epoch: *epoch }),
            NodeState::Dead => Err(Refusal::Dead(*epoch)),
        };
    }
    if node_id.is_some_and(|id| id.0 < 0) {
        return Err(Refusal::Invalid("a node id is not negative".to_owned()));
    }
    if wals.is_empty() || wals.len() > usize::from(u16::MAX) {
        return Err(Refusal::Invalid("a start has between 1 and 65535 write-ahead logs".to_owned()));
    }
    let node_id = node_id.unwrap_or_else(|| choose_node_id(image, advertised, wals));
    let mut replaced: Vec<_> =
        image.living().filter(|(_, node)| node.node_id == node_id).map(|(epoch, _)| epoch).collect();
    replaced.extend(wals.iter().flat_map(|wal| image.living_on_ring(wal.ring_id)));
    for epoch in replaced {
        bury(image, epoch);
    }

    let node_epoch = image.next_node_epoch.max(NodeEpoch(1));
    image.next_node_epoch = NodeEpoch(node_epoch.0 + 1);
    let node = Node {
        node_id,
        state: NodeState::Alive,
        advertised: advertised.to_owned(),
        incarnation,
        min_counter: 0,
        answered: OrdMap::new(),
    };
    image.nodes.insert(node_epoch, Arc::new(node));
    for (index, wal) in (0u16..).zip(wals) {
        let record = WalRecord {
            url: wal.url.clone(),
            ring_id: wal.ring_id,
            in_storage: wal.in_storage,
            start: wal.start,
            trim: wal.start,
            state: WalState::Open,
            name: wal.name.clone(),
        };
        image.wals.insert(WalId { node_epoch, index: WalIndex(index) }, Arc::new(record));
    }
    forget_nodes(image);
    Ok(Outcome::Registered { node_id, node_epoch })
}

/// The same ring or the same address is the same broker; otherwise the lowest id that no start with a WAL has.
fn choose_node_id(image: &Image, advertised: &str, wals: &[WalRegistration]) -> NodeId {
    let on_ring = wals.iter().flat_map(|wal| image.wals_of_ring(wal.ring_id)).map(|(wal, _)| wal.node_epoch).max();
    if let Some(node) = on_ring.and_then(|epoch| image.nodes.get(&epoch)) {
        return node.node_id;
    }
    if let Some((_, node)) = image.nodes.iter().rev().find(|(_, node)| node.advertised == advertised) {
        return node.node_id;
    }
    let taken = |id: NodeId| image.nodes.iter().any(|(epoch, node)| node.node_id == id && has_wal(image, *epoch));
    (0..=i32::MAX).map(NodeId).find(|id| !taken(*id)).unwrap_or_default()
}

pub(super) fn declare_dead(image: &mut Image, node_epochs: &[NodeEpoch]) -> Applied {
    if let Some(unknown) = node_epochs.iter().find(|epoch| **epoch >= image.next_node_epoch || epoch.0 == 0) {
        return Err(Refusal::Unknown(format!("start {unknown}")));
    }
    for epoch in node_epochs {
        bury(image, *epoch);
    }
    forget_nodes(image);
    Ok(Outcome::Done)
}

/// Its id is free from here on, and its address finds no id again. What its starts have made stays: their epochs are never given again.
pub(super) fn unregister(image: &mut Image, node_id: NodeId) -> Applied {
    let starts: Vec<_> =
        image.nodes.iter().filter(|(_, node)| node.node_id == node_id && node.is_broker()).map(|(it, _)| *it).collect();
    if starts.is_empty() {
        return Err(Refusal::Unknown(format!("broker {node_id}")));
    }
    if starts.iter().any(|epoch| image.is_alive(*epoch)) {
        return Err(Refusal::Invalid(format!("broker {node_id} is there: stop it first")));
    }
    if starts.iter().any(|epoch| has_wal(image, *epoch)) {
        return Err(Refusal::Invalid(format!(
            "something of the write-ahead log of broker {node_id} is needed yet: any broker that can read it recovers it; where the log \
             is gone for good, give the broker up first (millstream broker)"
        )));
    }
    for epoch in starts {
        image.nodes.remove(&epoch);
    }
    Ok(Outcome::Done)
}

pub(super) fn probed(image: &mut Image, endpoint: &str) -> Applied {
    endpoint.clone_into(&mut image.probed);
    Ok(Outcome::Done)
}

/// From here on nothing of this start's is accepted; its streams stay its own until its WALs are sealed.
fn bury(image: &mut Image, node_epoch: NodeEpoch) {
    if let Some(node) = image.nodes.get_mut(&node_epoch) {
        let node = Arc::make_mut(node);
        node.state = NodeState::Dead;
        node.answered = OrdMap::new();
    }
}

/// Drops dead starts without a WAL, but for the newest of each node id, by which an address finds its id again.
pub(super) fn forget_nodes(image: &mut Image) {
    let newest = |id: NodeId| image.node(id).map(|(epoch, _)| epoch);
    let gone: Vec<_> = image
        .nodes
        .iter()
        .filter(|(epoch, node)| {
            node.state == NodeState::Dead && !has_wal(image, **epoch) && newest(node.node_id) != Some(**epoch)
        })
        .map(|(epoch, _)| *epoch)
        .collect();
    for epoch in gone {
        image.nodes.remove(&epoch);
    }
}

fn has_wal(image: &Image, node_epoch: NodeEpoch) -> bool {
    let first = WalId { node_epoch, index: WalIndex(0) };
    let last = WalId { node_epoch, index: WalIndex(u16::MAX) };
    image.wals.range(first..=last).next().is_some()
}
