//! One life of one broker: its real shell, started over its process' world with bounds so tiny that every edge is near.

use crate::plan::{Plan, SecondLog, Storage};
use crate::world::disk::SHARED_FOLDER;
use crate::world::{Process, SimStore, Universe};
use base::NodeId;
use broker::{BrokerOptions, CleanerOptions};
use control::LedgerOptions;
use coordinator_core::GroupOptions;
use server::node::{Node, NodeConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stream::wal::WalOptions;
use stream::{CompactionOptions, NamedWal, Options, Store, StoreProbe, WalTarget, WatchTimes};
use stream_core::pace::PaceLimits;
use tokio::sync::Notify;
use world::folder::FolderStore;
use world::{ObjectStore, World};

/// How long a broker that is told to stop has for what is under way.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// Where the bucket is on the disk of a host that keeps it in a folder.
pub const BUCKET_FOLDER: &str = "/bucket";

/// The device of a host that has one.
const DEVICE: &str = "/dev/wal";

/// Shorter than what most faults last.
const WATCH: WatchTimes = WatchTimes { interval: Duration::from_millis(100), timeout: Duration::from_millis(500) };

/// Partitions of `__consumer_offsets`.
pub const OFFSETS_PARTITIONS: i32 = 2;

/// Partitions of `__transaction_state`.
const TRANSACTION_PARTITIONS: i32 = 2;

/// Everything that one life needs.
pub struct Life {
    /// The simulation.
    pub universe: Universe,
    /// The run's plan.
    pub plan: Plan,
    /// The process that the broker lives in.
    pub process: Arc<Process>,
    /// Its seams.
    pub world: World,
    /// Its id in the cluster.
    pub node_id: NodeId,
    /// Where it listens, and what it tells clients.
    pub address: String,
    /// SIGTERM.
    pub stop: Arc<Notify>,
}

impl Life {
    /// Runs the broker until it ends by itself, and says why it did.
    pub async fn run(self, started: impl FnOnce(&Store)) -> String {
        let stop = Arc::clone(&self.stop);
        let stop_asked = stop.notified();
        let objects = match open_bucket(&self.universe, &self.plan, &self.process, &self.world).await {
            Ok(objects) => objects,
            Err(error) => return format!("did not start: {error}"),
        };
        if self.plan.storage == Storage::DeviceWal {
            // What the header slots take, and a last block that no ring uses.
            let bytes = self.plan.ring_bytes + 3 * 4096;
            self.universe.disk(self.process.host).add_device(Path::new(DEVICE), bytes);
        }
        let node = match Node::start(self.world.clone(), objects, self.config()).await {
            Ok(node) => node,
            Err(error) => return format!("did not start: {error}"),
        };
        self.universe.trace.count("cluster.starts");
        started(node.store());
        tokio::select! {
            biased;
            reason = node.stopped() => format!("stopped itself: {reason}"),
            () = stop_asked => {
                node.stop(DRAIN_MAX).await;
                "stopped when asked".to_owned()
            }
        }
    }

    fn config(&self) -> NodeConfig {
        // Every third life.
        let switched = self.plan.switches && self.process.id.is_multiple_of(3);
        let wal = match self.plan.storage {
            Storage::RingWal | Storage::Folder if switched => WalTarget::Storage,
            Storage::ObjectWal | Storage::FolderObjectWal => WalTarget::Storage,
            Storage::SharedWal => {
                WalTarget::Shared { dir: Path::new(SHARED_FOLDER).join("wal"), bytes: self.plan.ring_bytes }
            }
            Storage::DeviceWal => WalTarget::Device { path: PathBuf::from(DEVICE), give_up: None },
            Storage::RingWal | Storage::Folder => {
                WalTarget::File { dir: PathBuf::from(format!("/wal{}", self.node_id)), bytes: self.plan.ring_bytes }
            }
        };
        NodeConfig {
            listen: self.address.clone(),
            advertise: None,
            node_id: Some(self.node_id),
            wals: self.logs(wal),
            broker: BrokerOptions {
                auto_create_topics: false,
                retention_check_period: Duration::from_secs(1),
                connection_idle_max: Duration::from_secs(30),
                groups: group_options(),
                cleaner: cleaner(),
                groups_log_bytes_max: 4 << 10,
                groups_copy_slice_bytes: 300,
                offsets_topic_partitions: OFFSETS_PARTITIONS,
                transactions_topic_partitions: TRANSACTION_PARTITIONS,
                ..BrokerOptions::default()
            },
            stream: options(&self.plan),
            watch: self.plan.watches.then_some(WATCH),
            ledger: LedgerOptions {
                snapshot_entries: 7,
                follow_alone: Some(Duration::from_secs(5)),
                follow_others: Some(Duration::from_millis(500)),
                call_timeout: Duration::from_secs(3),
                backoff_max: Duration::from_millis(500),
                ..LedgerOptions::default()
            },
        }
    }
}

/// What topics choose the second log by.
pub const SECOND_LOG: &str = "second";

impl Life {
    fn logs(&self, first: WalTarget) -> Vec<NamedWal> {
        let mut logs = vec![NamedWal::default_of(first)];
        let left_out = self.plan.switches && self.process.id % 4 == 1;
        let target = match self.plan.second.filter(|_| !left_out) {
            None => return logs,
            Some(SecondLog::Objects) => WalTarget::Storage,
            Some(SecondLog::Ring) => {
                let dir = PathBuf::from(format!("/wal{}-second", self.node_id));
                WalTarget::File { dir, bytes: self.plan.ring_bytes }
            }
        };
        logs.push(NamedWal { name: SECOND_LOG.to_owned(), target, pace: None });
        logs
    }
}

/// The bucket as a process reaches it.
///
/// # Errors
/// The folder can't be used.
pub async fn open_bucket(
    universe: &Universe,
    plan: &Plan,
    process: &Arc<Process>,
    world: &World,
) -> Result<Arc<dyn ObjectStore>, String> {
    match plan.storage {
        Storage::ObjectWal | Storage::RingWal | Storage::DeviceWal | Storage::SharedWal => {
            Ok(Arc::new(SimStore::new(universe.bucket.clone(), Arc::clone(process))))
        }
        Storage::Folder | Storage::FolderObjectWal => {
            let (disk, clock) = (Arc::clone(&world.disk), Arc::clone(&world.clock));
            match FolderStore::open_with(disk, clock, PathBuf::from(BUCKET_FOLDER), DIRECT_BYTES_MIN).await {
                Ok(folder) => Ok(Arc::new(folder)),
                Err(error) => Err(error.to_string()),
            }
        }
    }
}

/// Of the objects here, some are larger and some are not.
const DIRECT_BYTES_MIN: usize = 4 << 10;

/// Eager, and with next to no memory.
fn cleaner() -> CleanerOptions {
    CleanerOptions {
        period: Duration::from_millis(600),
        little_bytes: 0,
        retry_max: Duration::from_millis(1_500),
        // Some 20 keys at once.
        ..CleanerOptions::for_memory(1100)
    }
}

fn group_options() -> GroupOptions {
    GroupOptions {
        session_timeout_min: Duration::from_millis(500),
        initial_rebalance_delay: Duration::from_millis(200),
        new_member_join_max: Duration::from_secs(5),
        ..GroupOptions::default()
    }
}

fn options(plan: &Plan) -> Options {
    Options {
        append_bytes_max: 64 << 10,
        uncommitted_offsets_max: 5_000,
        log_cache_bytes_max: 24 << 10,
        upload_block_bytes: 8 << 10,
        upload_age: Duration::from_millis(1_500),
        upload_blocks_max: 2,
        requests_max: 3,
        stream_object_bytes: 4 << 10,
        object_bytes_max: 16 << 10,
        data_block_bytes: 1 << 10,
        block_cache_bytes_max: 16 << 10,
        read_ahead_bytes_max: 8 << 10,
        producers_max: 100,
        producers_idle_max: 0,
        producer_silence_min: Duration::from_mins(15),
        dead_object_grace: plan.dead_object_grace,
        housekeeping_period: Duration::from_millis(300),
        sweep_period: Duration::from_millis(300),
        request_timeout: Duration::from_secs(3),
        probe: StoreProbe::Off,
        compaction: CompactionOptions {
            period: Duration::from_millis(400),
            fan: 3,
            object_bytes_max: 12 << 10,
            read_bytes: 1 << 10,
            part_bytes: 1 << 10,
            bytes_per_second: 4 << 20,
            dead_percent_max: 50,
            dead_age: Duration::from_millis(500),
            replace_bytes: 20 << 10,
            replace_swaps: 5,
            yield_max: Duration::from_millis(100),
        },
        wal: WalOptions {
            ring_group_bytes_max: 16 << 10,
            ring_linger: Duration::from_millis(5),
            ring_stalled_max: Duration::from_secs(3),
            object_pace: pace(plan),
            ..WalOptions::default()
        },
    }
}

/// A budget that is felt, and copies of whatever is not answered at once; in other runs puts are free.
fn pace(plan: &Plan) -> PaceLimits {
    let limits = PaceLimits {
        puts_per_second: 150,
        object_bytes: 4 << 10,
        object_bytes_max: 16 << 10,
        spacing_max: Duration::from_millis(30),
        linger_max: Duration::from_millis(5),
        in_flight_max: 16,
        copy_samples_min: Some(2),
        calm: Duration::ZERO,
    };
    if plan.paced { limits } else { limits.without_price() }
}
