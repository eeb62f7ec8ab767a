//! `millstream start`: a broker from its first line to its exit.
//!
//! On standard output stands one line, `ready kafka=HOST:PORT console=HOST:PORT in N ms`; everything else goes to standard error.

use super::{CommandError, outside, place};
use crate::args::StartArgs;
use crate::config::{Config, Puts, StorageTarget, WalChoice, WalSpec};
use crate::console::Console;
use crate::node::{Node, NodeConfig, cannot_listen};
use base::NodeEpoch;
use control::LedgerOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::{NamedWal, Options, StoreProbe, WalTarget};
use stream_core::pace::{PaceLimits, object_bytes_for};
use tokio::signal::unix::{SignalKind, signal};
use world::{ClockExt, Metered, Paced, World};

/// A stop takes no longer: what is not uploaded by then stays in the write-ahead log.
const STOP_MAX: Duration = Duration::from_secs(3);
/// The same where the write-ahead log has failed: what it confirmed is uploaded from memory, as its device may not give it back.
const STOP_FAILED_MAX: Duration = Duration::from_secs(30);
/// Of that, what requests in flight may take.
const STOP_REQUESTS_MAX: Duration = Duration::from_secs(1);
/// File descriptors kept for everything but Kafka connections: the log, the bucket's connections, the console.
const DESCRIPTORS_RESERVED: u64 = 256;
/// Fewer possible connections are worth a warning; more are rarely wanted.
const CONNECTIONS_EXPECTED: usize = 10_000;

/// Runs until a signal, or until the broker must not go on.
///
/// # Errors
/// What the operator wrote is wrong (code 2), it can't start, or it had to stop (code 1).
pub fn run(args: StartArgs) -> Result<(), CommandError> {
    // First, as settings without effect are told of while they are read.
    outside::log_to_stderr("info")?;
    let mut config = Config::resolve(args)?;
    config.broker.connections_possible = connections_possible(config.broker.connections_max);
    config.broker.connections_max = config.broker.connections_max.min(config.broker.connections_possible);
    let runtime = outside::runtime()?;
    let outcome = runtime.block_on(serve(config));
    // Not waited for: a call to the file system or a name server that hangs must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn serve(config: Config) -> Result<(), CommandError> {
    let world = World::system();
    let began = world.clock.now();
    // Asked for before anything is made, so that no signal is missed.
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| CommandError::failed(format!("watch SIGTERM: {error}")))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|error| CommandError::failed(format!("watch SIGINT: {error}")))?;

    place::check(&world, &config.storage).await?;
    let metered = Arc::new(Metered::new(outside::object_store(&world, &config.storage).await?));
    let objects = Arc::new(Paced::new(metered.clone(), world.clock.clone()));
    let wals = tokio::select! {
        biased;
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
        wals = named_wals(&world, &config) => wals?,
    };
    let refused = |error| cannot_listen("--console", &config.console, &error);
    let listener = world.network.listen(&config.console).await.map_err(refused)?;
    let console_addr = listener.local_addr().map_err(refused)?;
    let console = Console::start(&world, listener, metered, config.prices.clone());

    let (bucket, logs) = (config.storage.to_string(), told(&config.wals));
    let starting = Node::start(world.clone(), objects, node_config(config, wals));
    let node = tokio::select! {
        biased;
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
        node = starting => Arc::new(node?),
    };
    console.serves(node.clone());
    tell_of_the_cluster(&node, &bucket, &logs);
    announce(&node, console_addr, world.clock.now().since(began));

    let failed = tokio::select! {
        biased;
        reason = node.stopped() => Some(reason),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    tracing::info!("stopping");
    let Some(reason) = failed else {
        stop(&world, &node, STOP_MAX).await;
        return Ok(());
    };
    tokio::select! {
        biased;
        () = stop(&world, &node, STOP_FAILED_MAX) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Err(CommandError::failed(reason))
}

/// Within `max`, whatever the bucket does.
async fn stop(world: &World, node: &Node, max: Duration) {
    let limit = max.saturating_sub(STOP_REQUESTS_MAX);
    if world.clock.timeout(max, node.stop(limit)).await.is_none() {
        tracing::warn!("did not end in {} s: the rest stays in the write-ahead log", max.as_secs());
    }
}

/// The logs by name, as `--wal` has them.
fn told(wals: &[WalSpec]) -> String {
    wals.iter().map(|wal| format!("{}={}", wal.name, wal.choice)).collect::<Vec<_>>().join(" ")
}

/// Which cluster this is and where it lies, so that a mistaken folder is seen at once: it is a new cluster without topics.
fn tell_of_the_cluster(node: &Node, bucket: &str, logs: &str) {
    let (store, version) = (node.store(), env!("CARGO_PKG_VERSION"));
    let image = store.ledger().image();
    let (cluster, topics) = (format!("{:032x}", image.cluster_id), image.topics.len());
    let what = if store.node_epoch() == NodeEpoch(1) { "has made a new cluster" } else { "has joined its cluster" };
    tracing::info!(version, cluster, topics, broker = store.node_id().0, bucket, logs, "{what}");
}

/// The one line that scripts wait for.
fn announce(node: &Node, console: std::net::SocketAddr, took: Duration) {
    let line = format!("ready kafka={} console={console} in {} ms", node.kafka_addr(), took.as_millis());
    if let Err(error) = writeln!(std::io::stdout(), "{line}") {
        tracing::warn!("nobody reads standard output ({error}): {line}");
    }
}

fn node_config(config: Config, wals: Vec<NamedWal>) -> NodeConfig {
    let Config { storage, wals: _, listen, console: _, advertise, node_id, memory, prices: _, watch, mut broker } =
        config;
    broker.stop_wait_max = STOP_REQUESTS_MAX;
    // Half of the workers always serve everybody else.
    broker.heavy_checks_max = (outside::workers() / 2).max(1);
    broker.long_writes_max = (outside::workers() - 1).max(1);
    let probe = if matches!(storage, StorageTarget::Cloud(_)) { StoreProbe::Thorough } else { StoreProbe::Light };
    let stream = Options { probe, ..Options::for_memory(memory.streams_bytes) };
    NodeConfig { listen, advertise, node_id, wals, broker, stream, watch, ledger: LedgerOptions::default() }
}

/// How a log in the bucket spends its puts.
fn pace(storage: &StorageTarget, puts: Puts, default: PaceLimits) -> PaceLimits {
    if matches!(storage, StorageTarget::Folder(_)) {
        return default.without_price();
    }
    PaceLimits {
        puts_per_second: puts.per_second.unwrap_or(default.puts_per_second),
        object_bytes: puts.per_gib.map_or(default.object_bytes, object_bytes_for),
        ..default
    }
}

async fn named_wals(world: &World, config: &Config) -> Result<Vec<NamedWal>, CommandError> {
    let default = Options::for_memory(config.memory.streams_bytes).wal.object_pace;
    let mut named = Vec::new();
    for WalSpec { name, choice } in &config.wals {
        let pace = match choice {
            WalChoice::Storage(puts) => Some(pace(&config.storage, *puts, default.clone())),
            _ => None,
        };
        let what = format!("looking at write-ahead log '{name}'");
        let target = wal_target(world, choice.clone(), config);
        let target = stream::wal::told_while_waiting(world.clock.as_ref(), &what, target).await?;
        named.push(NamedWal { name: name.clone(), target, pace });
    }
    Ok(named)
}

/// The log's place and, for a ring, its size: the one it has, the one asked for, or a share of what is free.
async fn wal_target(world: &World, choice: WalChoice, config: &Config) -> Result<WalTarget, CommandError> {
    let batch_bytes_max = config.broker.batch_bytes_max;
    if let WalChoice::File { dir, .. } | WalChoice::Shared { dir, .. } = &choice {
        place::check_log(world, (&choice, dir), &config.storage).await?;
    }
    let (dir, bytes) = match choice {
        WalChoice::File { dir, bytes } => (dir, bytes),
        WalChoice::Device { path, give_up } => {
            // Where it can't be read, its opener says why.
            if let Some(bytes) = stream::wal::device_ring_bytes(world.disk.as_ref(), &path).await {
                batch_fits(batch_bytes_max, bytes, "or give a larger device")?;
            }
            return Ok(WalTarget::Device { path, give_up });
        }
        WalChoice::Shared { dir, bytes } => {
            // Every start makes a ring of its own.
            let bytes = match bytes {
                Some(bytes) => size_fits(batch_bytes_max, bytes)?,
                None => default_bytes(world, batch_bytes_max, (&dir, "shared&size=SIZE")).await?,
            };
            return Ok(WalTarget::Shared { dir, bytes });
        }
        WalChoice::Storage(_) => return Ok(WalTarget::Storage),
    };
    let bytes = match (stream::wal::existing_ring_bytes(world.disk.as_ref(), &dir).await, bytes) {
        (Some(existing), wanted) => {
            batch_fits(batch_bytes_max, existing, "or give another place by --wal")?;
            if wanted.is_some_and(|wanted| wanted != existing) {
                tracing::warn!("the write-ahead log in {} keeps its size of {existing} bytes", dir.display());
            }
            existing
        }
        (None, Some(wanted)) => size_fits(batch_bytes_max, wanted)?,
        (None, None) => default_bytes(world, batch_bytes_max, (&dir, "size=SIZE")).await?,
    };
    Ok(WalTarget::File { dir, bytes })
}

/// The size that a ring has where none is asked for, by what is free; the largest batch fits it.
async fn default_bytes(
    world: &World,
    batch_bytes_max: usize,
    (dir, parameters): (&Path, &str),
) -> Result<u64, CommandError> {
    let free = free_bytes(world, dir).await?;
    let bytes = stream::wal::default_ring_bytes(free);
    let advice =
        format!("free some disk, or say how much of it to take with --wal 'file://{}?{parameters}'", dir.display());
    batch_fits(batch_bytes_max, bytes, &advice).map_err(|error| {
        CommandError::failed(format!("{free} bytes are free where {} is to be: {}", dir.display(), error.line))
    })?;
    Ok(bytes)
}

/// A size that was asked for, where the largest batch fits it.
fn size_fits(batch_bytes_max: usize, ring_bytes: u64) -> Result<u64, CommandError> {
    let least_mib = u64::try_from(batch_bytes_max).unwrap_or(u64::MAX).saturating_mul(4).div_ceil(1 << 20);
    let advice = format!("or say at least --wal '…size={least_mib}MiB'");
    batch_fits(batch_bytes_max, ring_bytes, &advice).map_err(|error| CommandError::wrong(error.line))?;
    Ok(ring_bytes)
}

/// The largest batch must fit a quarter of a ring.
fn batch_fits(batch_bytes_max: usize, ring_bytes: u64, otherwise: &str) -> Result<(), CommandError> {
    let batch = u64::try_from(batch_bytes_max).unwrap_or(u64::MAX);
    if batch <= ring_bytes / 4 {
        return Ok(());
    }
    Err(CommandError::failed(format!(
        "message.max.bytes={batch} does not fit a quarter of the write-ahead log of {ring_bytes} bytes: lower it, {otherwise}"
    )))
}

/// Of the file system that `dir` is on, or will be.
async fn free_bytes(world: &World, dir: &Path) -> Result<u64, CommandError> {
    let free = world.disk.free_bytes(place::nearest(dir).unwrap_or(dir)).await;
    free.map_err(|error| CommandError::failed(format!("look for free space: {error}")))
}

/// Raises the soft limit of open files to the hard one, and answers how many connections fit below it; a line is
/// logged where fewer than wanted do.
fn connections_possible(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let open = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let Some(open) = open else { return usize::MAX };
    let possible = usize::try_from(open.saturating_sub(DESCRIPTORS_RESERVED).max(1)).unwrap_or(usize::MAX);
    if possible < wanted.min(CONNECTIONS_EXPECTED) {
        tracing::warn!(
            "connections are limited to {possible}, not {wanted}: the limit of open files is {open} (ulimit -n)"
        );
    }
    possible
}
