//! How a start of a broker comes to life, from top to bottom on one page.
//!
//! ```text
//! open the ledger ─▶ probe the bucket ─▶ lock the ring ─▶ lead and register ─▶ declare dead ─▶ recover, seal, open ─▶ serve
//! ```
//! Each step rests only on what the ledger shows for ever: a WAL is fenced and read after its start's death is in the ledger, from the
//! trim point of an image that contains that death (rule B-1); streams open by or after the sealing entry (B-2).

use crate::block_cache::BlockCache;
use crate::counters::Counters;
use crate::front::Front;
use crate::objects::Objects;
use crate::options::StoreProbe;
use crate::producers::ProducerMemory;
use crate::read::ColdReads;
use crate::recover::{self, Recovery};
use crate::shared::Shared;
use crate::store::{StartError, StartRequest, WalTarget};
use crate::take_over::DeadWals;
use crate::wal::{self, ObjectWal, Recovered, RingFile, Wal, WalOpenError};
use crate::{compaction, driver, follow, housekeeping, take_over, upload};
use base::{NodeEpoch, WalId, WalIndex, WalPosition, planted};
use control::Ledger;
use control_core::{Command, Image, WalRegistration};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use stream_core::cache::LogCache;
use tokio::sync::{Notify, Semaphore, watch};
use world::probe::{ProbeDepth, ProbeError, probe};
use world::retry::Backoff;
use world::{ObjectStore, Purpose, StoreError, World, counted_as};

/// See [`crate::Store::start`].
pub(crate) async fn start(
    world: &World,
    objects: Arc<dyn ObjectStore>,
    request: StartRequest,
) -> Result<Arc<Shared>, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError(error.to_string());

    let ledger = Ledger::open(world, counted_as(&objects, Purpose::Ledger), request.ledger_options.clone())
        .await
        .map_err(|error| StartError(format!("can't read the cluster in {}: {error}", objects.describe())))?;
    let probed = probe_store(world, &objects, &ledger.image().probed, request.options.probe).await?;
    let ring = open_ring(world, &request.wal, &ledger.image()).await.map_err(|error| failed(&error))?;
    // Read after the lock was taken: until then another process may have trimmed the ring and written over what it trimmed.
    let opened = ledger.refresh().await.map_err(|error| failed(&error))?;
    let registration = registration(world, &objects, ring.as_ref(), &opened).await?;
    let begin_at = registration.start;

    let (node_id, node_epoch) = ledger
        .register(Command::Register {
            node_id: request.node_id,
            advertised: request.advertised.clone(),
            wals: vec![registration],
            incarnation: u128::from(world.clock.random()) << 64 | u128::from(world.clock.random()),
        })
        .await
        .map_err(|error| failed(&error))?;

    let wal_options = &request.options.wal;
    let wals = counted_as(&objects, Purpose::Wal);
    let recovery = Recovery {
        world,
        objects: &wals,
        ledger: &ledger,
        node_epoch,
        ring: ring.as_ref(),
        other_rings: Mutex::default(),
    };
    let doomed = starts_without_a_life(&ledger.image(), node_epoch, &request).await;
    let early = planted!("B3", BTreeMap::new(), walk_the_living(&recovery, &opened).await);
    if !doomed.is_empty() {
        tracing::info!(starts = ?doomed, "declares dead");
        let declare = Command::DeclareDead { node_epochs: doomed };
        ledger.submit(declare).await.map_err(|error| failed(&error))?;
    }
    let holds_deaths = ledger.image();
    let trims = planted!("B2", holds_deaths.clone(), opened.clone());
    let recovered = recover::recover_dead(&recovery, &holds_deaths, &trims, early).await;
    let outcomes = recovered.map_err(|error| failed(&error))?;
    open_ownerless(&ledger, node_epoch).await.map_err(|error| failed(&error))?;
    if let Some(endpoint) = probed {
        ledger.submit(Command::Probed { endpoint }).await.map_err(|error| failed(&error))?;
    }

    let wal_id = WalId { node_epoch, index: WalIndex(0) };
    let wal = match &ring {
        Some(ring) => {
            let begun = ring.begin(&ledger.image(), wal_id, wal_options).await;
            Wal::Ring(begun.map_err(|error| failed(&error))?)
        }
        None => Wal::Object(ObjectWal::begin(world, wals.clone(), wal_id, wal_options)),
    };
    let shared = share(world, &objects, ledger, &request, node_id, wal, begin_at);
    *world::lock(&shared.dead.offline) = outcomes.offline;
    for adopted in outcomes.adopted {
        take_over::take_over(&shared, adopted);
    }
    spawn_tasks(&shared);
    Ok(shared)
}

/// The ring that this start will write to, locked or its own; `None` where its log is not a ring.
async fn open_ring(world: &World, target: &WalTarget, image: &Image) -> Result<Option<RingFile>, WalOpenError> {
    Ok(match target {
        WalTarget::File { dir, bytes } => Some(RingFile::open(world, dir, *bytes).await?),
        WalTarget::Device { path, give_up } => Some(RingFile::open_device(world, path, give_up.as_deref()).await?),
        WalTarget::Shared { dir, bytes } => {
            wal::sweep_unbegun(world, dir, image).await;
            Some(RingFile::create_shared(world, dir, *bytes).await?)
        }
        WalTarget::Storage => None,
    })
}

/// Refuses a store that lacks what everything rests on; waits for one that is in trouble. Answers the endpoint, where it was tried
/// out in full.
async fn probe_store(
    world: &World,
    objects: &Arc<dyn ObjectStore>,
    probed_before: &str,
    choice: StoreProbe,
) -> Result<Option<String>, StartError> {
    let endpoint = objects.describe();
    let depth = match choice {
        StoreProbe::Off => return Ok(None),
        StoreProbe::Thorough if probed_before != endpoint => ProbeDepth::Full,
        StoreProbe::Light | StoreProbe::Thorough => ProbeDepth::Cheap,
    };
    let mut backoff = Backoff::new();
    loop {
        match probe(objects.as_ref(), world.clock.as_ref(), depth).await {
            Ok(_) => return Ok((depth == ProbeDepth::Full).then_some(endpoint)),
            Err(ProbeError::Store(error @ StoreError::Trouble(_))) => {
                if backoff.is_worth_a_line() {
                    tracing::warn!(%endpoint, %error, "can't try out the object store; tries again");
                }
            }
            Err(error) => return Err(StartError(error.to_string())),
        }
        backoff.wait(world.clock.as_ref()).await;
    }
}

/// What the ledger is told of this start's WAL.
async fn registration(
    world: &World,
    objects: &Arc<dyn ObjectStore>,
    ring: Option<&RingFile>,
    opened: &Image,
) -> Result<WalRegistration, StartError> {
    Ok(match ring {
        Some(ring) => WalRegistration {
            url: ring.url(),
            ring_id: ring.id(),
            start: ring.next_start(world, opened).await.map_err(|error| StartError(error.to_string()))?,
            in_storage: false,
        },
        None => WalRegistration { url: objects.describe(), ring_id: 0, start: WalPosition(0), in_storage: true },
    })
}

/// Living starts of other brokers that nobody can reach under their address. The registration itself has replaced this broker's
/// own previous start, and whoever wrote the ring that this process holds locked.
async fn starts_without_a_life(image: &Image, own: NodeEpoch, request: &StartRequest) -> Vec<NodeEpoch> {
    let others: Vec<(NodeEpoch, String)> = image
        .living()
        .filter(|(epoch, _)| *epoch != own)
        .map(|(epoch, node)| (epoch, node.advertised.clone()))
        .collect();
    let asked = others.into_iter().map(async |(epoch, advertised)| {
        // Clients reach this process under that address now, so nobody else.
        let answers = advertised != request.advertised && (request.answers)(advertised).await;
        (!answers).then_some(epoch)
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Only a planted bug fences before the death is in the ledger.
#[cfg_attr(not(mutants), expect(dead_code, reason = "called by the planted bug B3 alone"))]
async fn walk_the_living(recovery: &Recovery<'_>, image: &Image) -> BTreeMap<WalId, Recovered> {
    let mut walked = BTreeMap::new();
    for (wal, record) in &image.wals {
        if let Ok(found) = recover::walk(recovery, *wal, record).await {
            walked.insert(*wal, found);
        }
    }
    walked
}

/// Streams that nobody owns: their last owner stopped cleanly, or died as its WAL was recovered.
async fn open_ownerless(ledger: &Ledger, node_epoch: NodeEpoch) -> Result<(), control::LedgerError> {
    let streams = ledger.image().ownerless_streams();
    if !streams.is_empty() {
        ledger.submit(Command::OpenStreams { streams, node_epoch, wal_index: WalIndex(0) }).await?;
    }
    Ok(())
}

fn share(
    world: &World,
    objects: &Arc<dyn ObjectStore>,
    ledger: Ledger,
    request: &StartRequest,
    node_id: base::NodeId,
    wal: Wal,
    begin_at: WalPosition,
) -> Arc<Shared> {
    let options = request.options.clone();
    let wal_id = wal.id();
    let limits = options.append_limits(&wal);
    Arc::new(Shared {
        world: world.clone(),
        objects: Objects::of(objects),
        ledger,
        node_id,
        node_epoch: wal_id.node_epoch,
        wal_id,
        batch_bytes_max: wal.group_bytes_max(),
        readers: Mutex::new(BTreeMap::from([(wal_id, wal.reader())])),
        wal: Mutex::new(wal),
        front: Mutex::new(Front::new(limits)),
        appended_bytes: AtomicU64::new(0),
        driver_wakes: Notify::new(),
        room: Notify::new(),
        wal_is_full: AtomicBool::new(false),
        wal_permille: AtomicU64::new(0),
        oldest_append: AtomicU64::new(0),
        cache: Mutex::new(LogCache::new(options.log_cache_bytes_max)),
        streams: Mutex::new(BTreeMap::new()),
        own: upload::source(&options, wal_id, begin_at),
        dead: DeadWals::new(),
        counters: Mutex::new(Counters::default()),
        blocks: BlockCache::new(options.block_cache_bytes_max),
        cold: ColdReads::new(&options),
        puts: Semaphore::new(options.requests_max.max(1)),
        producers: ProducerMemory::new(),
        compaction: compaction::Counts::default(),
        compaction_turn: tokio::sync::Mutex::new(()),
        stopped: watch::Sender::new(None),
        options,
    })
}

fn spawn_tasks(shared: &Arc<Shared>) {
    let clock = &shared.world.clock;
    drop(clock.spawn("append", Box::pin(driver::drive(shared.clone()))));
    drop(clock.spawn("follow", Box::pin(follow::follow(shared.clone()))));
    drop(clock.spawn("housekeeping", Box::pin(housekeeping::keep(shared.clone()))));
    drop(clock.spawn("compaction", Box::pin(compaction::keep(shared.clone()))));
    let task = shared.clone();
    let upload = async move {
        if let Err(error) = upload::run(&task, &task.own).await {
            task.stop(error.to_string());
        }
        task.own.end();
    };
    drop(clock.spawn("upload", Box::pin(upload)));
}
