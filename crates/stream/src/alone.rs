//! A start that serves nobody: what works on dead starts' logs without a broker is one more start in the ledger, by the code of every start.
//!
//! It has no address, so that no client is sent to it, and no partition placed on it; its own log stays empty. Where it ends early, the next
//! start that looks finds it dead, and whatever it had sealed orphaned.
//!
//! The caller has made sure that nobody answers for a start that it declares dead.

use crate::log::Log;
use crate::options::Options;
use crate::shared::Shared;
use crate::store::{NamedWal, StartError, StartRequest, WalChoice, WalTarget};
use crate::wal::{ObjectWal, Wal};
use crate::{drain, follow, heirs, start};
use base::{NodeEpoch, NodeId, StreamId, WalId, WalIndex, WalPosition};
use control::{Ledger, LedgerOptions};
use control_core::{Command, Image, Outcome, WalRegistration};
use std::collections::BTreeSet;
use std::sync::Arc;
use world::{ObjectStore, Purpose, World, counted_as};

/// The highest id that no living start has. No broker's: it must not take the id, nor the memory of an address, of one that is away. Nor that
/// of another one of its kind, which would be dead by that and leave its work half done.
fn free_id(image: &Image) -> NodeId {
    let taken: BTreeSet<NodeId> = image.living().map(|(_, node)| node.node_id).collect();
    (0..=i32::MAX).rev().map(NodeId).find(|id| !taken.contains(id)).unwrap_or_default()
}

/// Registers it. Of two that choose their id at the same moment the later one is the other's death, as a start of a broker would be: what
/// that one had sealed is orphaned, and nothing is lost.
pub(crate) async fn register(
    world: &World,
    objects: &Arc<dyn ObjectStore>,
    ledger: &Ledger,
) -> Result<(NodeId, NodeEpoch), StartError> {
    let log = WalRegistration {
        url: objects.describe(),
        ring_id: 0,
        start: WalPosition(0),
        in_storage: true,
        name: String::new(),
    };
    let register = Command::Register {
        node_id: Some(free_id(&ledger.image())),
        advertised: String::new(),
        wals: vec![log],
        incarnation: u128::from(world.clock.random()) << 64 | u128::from(world.clock.random()),
    };
    let registered = ledger.register(register).await;
    registered.map_err(|error| StartError(error.to_string()))
}

/// Declares those dead that the ledger takes for alive.
pub(crate) async fn declare_dead(ledger: &Ledger, starts: impl Iterator<Item = NodeEpoch>) -> Result<(), StartError> {
    let image = ledger.image();
    let node_epochs: BTreeSet<NodeEpoch> = starts.filter(|start| image.is_alive(*start)).collect();
    let node_epochs: Vec<NodeEpoch> = node_epochs.into_iter().collect();
    if node_epochs.is_empty() {
        return Ok(());
    }
    tracing::info!(starts = ?node_epochs, "declares dead");
    let declared = ledger.submit(Command::DeclareDead { node_epochs }).await;
    declared.map(drop).map_err(|error| StartError(error.to_string()))
}

/// What uploads and commits need, as that start.
pub(crate) fn share(
    world: &World,
    objects: &Arc<dyn ObjectStore>,
    (options, ledger_options, choice): (&Options, &LedgerOptions, WalChoice),
    ledger: Ledger,
    (node_id, node_epoch): (NodeId, NodeEpoch),
) -> Arc<Shared> {
    let start = StartRequest {
        node_id: Some(node_id),
        advertised: String::new(),
        wals: vec![NamedWal::default_of(WalTarget::Storage)],
        choice,
        registered: Arc::default(),
        answers: Arc::new(|_| Box::pin(async { true })),
        watch: None,
        options: options.clone(),
        ledger_options: ledger_options.clone(),
    };
    let own = WalId { node_epoch, index: WalIndex(0) };
    let wal = Wal::Object(ObjectWal::begin(world, counted_as(objects, Purpose::Wal), own, &options.wal));
    let name = start.wals[0].name.clone();
    let log = Arc::new(Log::new(name, wal, WalPosition(0), world.clock.clone(), options));
    let shared = start::share_of(world, objects, ledger, &start, node_id, node_epoch, vec![log]);
    drop(world.clock.spawn("follow", Box::pin(follow::follow(shared.clone()))));
    shared
}

/// Its work is done: gives the streams to brokers that live, answers how many, and is no more.
pub(crate) async fn hand_on_and_leave(shared: &Shared, streams: &BTreeSet<StreamId>) -> Result<usize, StartError> {
    let handed_on = hand_on(shared, streams).await?;
    drain::leave(shared).await.map_err(|error| {
        StartError(format!(
            "all is done, but this start could not leave the cluster ({error}): the next start of a broker removes it"
        ))
    })?;
    Ok(handed_on)
}

/// Deals the streams to the brokers that live; where there are none, or what they have does not fit any more, others do, or the next one that
/// starts takes them.
async fn hand_on(shared: &Shared, streams: &BTreeSet<StreamId>) -> Result<usize, StartError> {
    let image = shared.ledger.refresh().await.map_err(|error| StartError(error.to_string()))?;
    let ownerless = image.ownerless_streams().into_iter().filter(|stream| streams.contains(stream));
    let shares = heirs::shares(&image, ownerless, shared.choice, &BTreeSet::new());
    let mut handed_on = 0;
    for (wal, streams) in shares {
        let count = streams.len();
        let open = Command::OpenStreams { streams, node_epoch: wal.node_epoch, wal_index: wal.index };
        match shared.ledger.submit(open).await.map_err(|error| StartError(error.to_string()))? {
            Outcome::Refused(refusal) => {
                tracing::info!(%wal, count, %refusal, "a broker does not take streams; the next one that starts does");
            }
            _ => handed_on += count,
        }
    }
    Ok(handed_on)
}
