//! How a start of a broker comes to life, from top to bottom on one page.
//!
//! ```text
//! open the ledger ─▶ probe the bucket ─▶ lock the rings, none that was given up ─▶ lead and register ─▶ declare dead ─▶ recover, seal, open ─▶ serve
//! ```
//! Each step rests only on what the ledger shows for ever: a WAL is fenced and read after its start's death is in the ledger, from the
//! trim point of an image that contains that death (rule B-1); streams open by or after the sealing entry (B-2).

use crate::block_cache::BlockCache;
use crate::counters::Counters;
use crate::keys::{DATA_PREFIX, WAL_PREFIX};
use crate::log::Log;
use crate::objects::Objects;
use crate::options::{Options, StoreProbe};
use crate::producers::ProducerMemory;
use crate::read::ColdReads;
use crate::recover::{self, Recovery};
use crate::shared::{LogReader, Shared};
use crate::store::{NamedWal, StartError, StartRequest, WalTarget, index_of};
use crate::take_over::DeadWals;
use crate::wal::{self, ObjectWal, Patience, Recovered, RingFile, Wal, WalOpenError, WalOptions};
use crate::watch::Watch;
use crate::{compaction, driver, follow, housekeeping, moves, quarantine, take_over, upload};
use base::{NodeEpoch, StreamId, WalId, WalIndex, WalPosition, planted};
use control::Ledger;
use control_core::{Command, Image, WalRegistration};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use stream_core::cache::LogCache;
use stream_core::pace::PaceLimits;
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
    let rings = open_rings(world, &request.wals, &ledger.image()).await.map_err(|error| failed(&error))?;
    // Read after the locks were taken: until then another process may have trimmed a ring and written over what it trimmed.
    let opened = ledger.refresh().await.map_err(|error| failed(&error))?;
    refuse_a_lost_ledger(&objects, &ledger).await?;
    let wals = counted_as(&objects, Purpose::Wal);
    begin_anew_what_was_given_up(world, &wals, &rings).await?;
    let registrations = registrations(world, &objects, (&request.wals, &rings), &opened).await?;

    let (node_id, node_epoch) = ledger
        .register(Command::Register {
            node_id: request.node_id,
            advertised: request.advertised.clone(),
            wals: registrations.clone(),
            incarnation: u128::from(world.clock.random()) << 64 | u128::from(world.clock.random()),
        })
        .await
        .map_err(|error| failed(&error))?;
    request.registered.notify_one();
    refuse_what_is_given_up(world, &wals, &rings).await?;

    let own_rings: Vec<RingFile> = rings.iter().flatten().cloned().collect();
    let recovery = Recovery {
        world,
        objects: &wals,
        ledger: &ledger,
        node_epoch,
        wals: &request.wals,
        rings: &own_rings,
        other_rings: Mutex::default(),
        patience: Patience::new(world, request.options.wal.dead_ring_stalled_max),
        only: None,
        older_too: true,
    };
    tell_of_a_namesake(&opened, node_id, &request).await;
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
    open_ownerless(&ledger, node_epoch, &request).await.map_err(|error| failed(&error))?;
    warn_of_missing(&ledger.image(), node_epoch, &request);
    if let Some(endpoint) = probed {
        ledger.submit(Command::Probed { endpoint }).await.map_err(|error| failed(&error))?;
    }

    let share = request.options.share(request.wals.len());
    let mut logs = Vec::new();
    for (at, (named, ring)) in (0u16..).zip(request.wals.iter().zip(&rings)) {
        let wal_id = WalId { node_epoch, index: WalIndex(at) };
        let begun = begin(world, &wals, &ledger.image(), wal_id, ring.as_ref(), &wal_options(&share, named)).await;
        let start = registrations[usize::from(at)].start;
        let wal = begun.map_err(|error| failed(&error))?;
        logs.push(Arc::new(Log::new(named.name.clone(), wal, start, world.clock.clone(), &share)));
    }
    let shared = share_of(world, &objects, ledger, &request, node_id, node_epoch, logs);
    *world::lock(&shared.dead.offline) = outcomes.offline;
    for adopted in outcomes.adopted {
        take_over::take_over(&shared, adopted);
    }
    spawn_tasks(&shared, request.watch);
    Ok(shared)
}

/// A bucket with data in it and no start in its ledger has lost that ledger. A new one would hand out the names of objects that are there.
async fn refuse_a_lost_ledger(objects: &Arc<dyn ObjectStore>, ledger: &Ledger) -> Result<(), StartError> {
    let is_new = |image: &Image| image.next_node_epoch == Image::default().next_node_epoch;
    if !is_new(&ledger.image()) {
        return Ok(());
    }
    let store = counted_as(objects, Purpose::Ledger);
    for prefix in [DATA_PREFIX, WAL_PREFIX] {
        let listed = store.list(prefix, "", 1).await;
        let found = listed.map_err(|error| StartError(format!("can't look into {}: {error}", objects.describe())))?;
        // Another first start may have come before this one, and put it there.
        if found.is_empty() || !is_new(&*ledger.refresh().await.map_err(|error| StartError(error.to_string()))?) {
            continue;
        }
        return Err(StartError(format!(
            "the ledger of {} is lost: nothing is below ledger/, but there is data below {prefix}; put it back from a copy or an \
             earlier version, or have `millstream restore` make it anew from the data, or name an empty place",
            objects.describe()
        )));
    }
    Ok(())
}

/// The rings that this start will write to, locked or its own, by the logs' indexes; `None` where a log is not a ring.
async fn open_rings(world: &World, wals: &[NamedWal], image: &Image) -> Result<Vec<Option<RingFile>>, WalOpenError> {
    // All of them before the first ring is made, or one of this start's would be taken for another's that was left.
    for named in wals {
        if let WalTarget::Shared { dir, .. } = &named.target {
            let what = format!("looking into {}", dir.display());
            wal::told_while_waiting(world.clock.as_ref(), &what, wal::sweep_unbegun(world, dir, image)).await;
        }
    }
    let mut rings = Vec::new();
    for named in wals {
        let what = format!("opening write-ahead log '{}'", named.name);
        rings.push(wal::told_while_waiting(world.clock.as_ref(), &what, open_ring(world, &named.target)).await?);
    }
    Ok(rings)
}

async fn open_ring(world: &World, target: &WalTarget) -> Result<Option<RingFile>, WalOpenError> {
    Ok(match target {
        WalTarget::File { dir, bytes } => Some(RingFile::open(world, dir, *bytes).await?),
        WalTarget::Device { path, give_up } => Some(RingFile::open_device(world, path, give_up.as_deref()).await?),
        WalTarget::Shared { dir, bytes } => Some(RingFile::create_shared(world, dir, *bytes).await?),
        WalTarget::Storage => None,
    })
}

/// A ring that was given up is not used again (rule D-10); on a device it is made anew where the device's operator says so. Before this start
/// registers, by which it would replace an earlier one.
async fn begin_anew_what_was_given_up(
    world: &World,
    objects: &Arc<dyn ObjectStore>,
    rings: &[Option<RingFile>],
) -> Result<(), StartError> {
    for ring in rings.iter().flatten().filter(|ring| !ring.is_new()) {
        let found = quarantine::find(world.clock.as_ref(), objects.as_ref(), ring.id()).await;
        if let Some(marker) = found.map_err(StartError)? {
            let begun = ring.start_anew(world, &quarantine::told(&marker), "move the file away").await;
            begun.map_err(|error| StartError(error.to_string()))?;
        }
    }
    Ok(())
}

/// Once more, now that who gives a ring up sees that this start has it.
async fn refuse_what_is_given_up(
    world: &World,
    objects: &Arc<dyn ObjectStore>,
    rings: &[Option<RingFile>],
) -> Result<(), StartError> {
    for ring in rings.iter().flatten().filter(|ring| !ring.is_new()) {
        let asked = quarantine::refuse(world.clock.as_ref(), objects.as_ref(), ring.id(), &ring.url()).await;
        asked.map_err(StartError)?;
    }
    Ok(())
}

fn wal_options(share: &Options, named: &NamedWal) -> WalOptions {
    let mut options = share.wal.clone();
    if let Some(pace) = &named.pace {
        let object_bytes_max = pace.object_bytes_max.min(options.object_pace.object_bytes_max);
        options.object_pace = PaceLimits { object_bytes_max, ..pace.clone() };
    }
    options
}

/// Nothing of it was written before.
async fn begin(
    world: &World,
    objects: &Arc<dyn ObjectStore>,
    image: &Image,
    wal: WalId,
    ring: Option<&RingFile>,
    options: &WalOptions,
) -> Result<Wal, WalOpenError> {
    Ok(match ring {
        Some(ring) => Wal::Ring(ring.begin(image, wal, options).await?),
        None => Wal::Object(ObjectWal::begin(world, objects.clone(), wal, options)),
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

/// What the ledger is told of this start's WALs.
async fn registrations(
    world: &World,
    objects: &Arc<dyn ObjectStore>,
    (wals, rings): (&[NamedWal], &[Option<RingFile>]),
    opened: &Image,
) -> Result<Vec<WalRegistration>, StartError> {
    let mut registrations = Vec::<WalRegistration>::new();
    for (named, ring) in wals.iter().zip(rings) {
        let same = ring.as_ref().and_then(|ring| registrations.iter().position(|it| it.ring_id == ring.id()));
        if let Some(same) = same {
            return Err(StartError(format!(
                "the write-ahead logs {} and {} are one and the same ring: give each a place of its own",
                wals[same].name, named.name
            )));
        }
        let name = named.ledger_name().to_owned();
        registrations.push(match ring {
            Some(ring) => WalRegistration {
                url: ring.url(),
                ring_id: ring.id(),
                start: ring.prepare_start(world, opened).await.map_err(|error| StartError(error.to_string()))?,
                in_storage: false,
                name,
            },
            None => {
                let (url, start) = (objects.describe(), WalPosition(0));
                WalRegistration { url, ring_id: 0, start, in_storage: true, name }
            }
        });
    }
    Ok(registrations)
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

/// The registration has replaced a start of the same broker id. Where that one lives, under another address, two brokers were given one
/// id: it is told of here, and the question is what makes it look at the ledger and end.
async fn tell_of_a_namesake(opened: &Image, node_id: base::NodeId, request: &StartRequest) {
    let replaced = opened.living().find(|(_, node)| node.node_id == node_id && node.advertised != request.advertised);
    let Some((_, node)) = replaced else { return };
    let address = node.advertised.clone();
    if (request.answers)(address.clone()).await {
        tracing::warn!(
            "broker {node_id} ran at {address} and ends now: give each broker a --node-id of its own, or none"
        );
    }
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

/// Streams that nobody owns: their last owner stopped cleanly, or died as its WAL was recovered. Each in the log that it wants.
async fn open_ownerless(
    ledger: &Ledger,
    node_epoch: NodeEpoch,
    request: &StartRequest,
) -> Result<(), control::LedgerError> {
    let image = ledger.image();
    let mut wanted: BTreeMap<WalIndex, Vec<StreamId>> = BTreeMap::new();
    for stream in image.ownerless_streams() {
        let index = index_of(&request.wals, (request.choice)(&image, stream));
        wanted.entry(index).or_default().push(stream);
    }
    for (wal_index, streams) in wanted {
        ledger.submit(Command::OpenStreams { streams, node_epoch, wal_index }).await?;
    }
    Ok(())
}

/// A topic's setting is obeyed or told.
fn warn_of_missing(image: &Image, node_epoch: NodeEpoch, request: &StartRequest) {
    let own = image.streams.iter().filter(|(_, it)| it.owner().is_some_and(|owner| owner.node_epoch() == node_epoch));
    let chosen = own.filter_map(|(stream, _)| (request.choice)(image, *stream));
    let missing: BTreeSet<&str> =
        chosen.filter(|name| request.wals.iter().all(|wal| wal.name != *name && wal.ledger_name() != *name)).collect();
    if !missing.is_empty() {
        let first = &request.wals[0].name;
        tracing::warn!(
            ?missing,
            "topics choose write-ahead logs that this broker was started without: they are written to {first}"
        );
    }
}

pub(crate) fn share_of(
    world: &World,
    objects: &Arc<dyn ObjectStore>,
    ledger: Ledger,
    request: &StartRequest,
    node_id: base::NodeId,
    node_epoch: NodeEpoch,
    logs: Vec<Arc<Log>>,
) -> Arc<Shared> {
    let options = request.options.clone();
    let readers = logs.iter().map(|log| (log.id, LogReader::of(world::lock(&log.wal).reader()))).collect();
    Arc::new(Shared {
        world: world.clone(),
        objects: Objects::of(objects),
        ledger,
        node_id,
        node_epoch,
        logs,
        choice: request.choice,
        moved: watch::Sender::new(0),
        readers: Mutex::new(readers),
        room: Notify::new(),
        cache: Mutex::new(LogCache::new(options.log_cache_bytes_max)),
        streams: Mutex::new(BTreeMap::new()),
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

fn spawn_tasks(shared: &Arc<Shared>, others: Option<Watch>) {
    let clock = &shared.world.clock;
    for log in &shared.logs {
        drop(clock.spawn("append", Box::pin(driver::drive(shared.clone(), log.clone()))));
    }
    drop(clock.spawn("follow", Box::pin(follow::follow(shared.clone()))));
    if let Some(others) = others {
        drop(clock.spawn("watch", Box::pin(crate::watch::watch(shared.clone(), others))));
    }
    if shared.logs.len() > 1 {
        drop(clock.spawn("moves", Box::pin(moves::keep(shared.clone()))));
    }
    drop(clock.spawn("housekeeping", Box::pin(housekeeping::keep(shared.clone()))));
    drop(clock.spawn("compaction", Box::pin(compaction::keep(shared.clone()))));
    for log in &shared.logs {
        let (task, log) = (shared.clone(), log.clone());
        let upload = async move {
            let mut done = upload::run(&task, &log.source).await;
            log.source.end();
            if done.is_ok() && log.has_failed() {
                done = moves::forget_failed(&task, &log).await.map_err(upload::UploadEnd::Ledger);
            }
            if let Err(error) = done {
                task.stop(error.to_string());
            }
        };
        drop(clock.spawn("upload", Box::pin(upload)));
    }
}
