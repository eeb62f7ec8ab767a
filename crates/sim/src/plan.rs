//! What one run is made of, drawn from its seed: the cluster, its tiny bounds, its topics, the faults that will strike it.

use base::Seed;
use std::collections::BTreeSet;
use std::time::Duration;

/// Where the cluster keeps its data and its write-ahead logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Everything in the bucket; brokers have no disk that matters.
    ObjectWal,
    /// Data in the bucket, each broker's ring on its host's disk.
    RingWal,
    /// The same on a raw device of each host.
    DeviceWal,
    /// The same in files on a filer that all hosts mount, so that any broker can recover any ring.
    SharedWal,
    /// All brokers on one host, data in a folder of its disk, each broker's ring beside it.
    Folder,
    /// The same, with the write-ahead logs in the folder.
    FolderObjectWal,
}

impl Storage {
    /// Whether the bucket is a folder on the brokers' own host.
    #[must_use]
    pub fn is_folder(self) -> bool {
        matches!(self, Storage::Folder | Storage::FolderObjectWal)
    }
}

/// A second log of each broker, beside the one that [`Storage`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondLog {
    /// In the bucket.
    Objects,
    /// A ring in a file of the broker's host.
    Ring,
}

/// A kind of thing that the nemesis does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9`, now.
    Kill,
    /// `kill -9` at one of the next calls to a seam.
    Fuse,
    /// `kill -9` after its log has not answered for a while, so that nothing of what was decided meanwhile is there.
    SlowDeath,
    /// `kill -9` of all brokers; they start again at about the same time.
    Blackout,
    /// The host loses power.
    PowerLoss,
    /// SIGTERM.
    CleanStop,
    /// Killed, its host's disk lost, started on another host.
    MoveHost,
    /// Seconds.
    Pause,
    /// Longer than anything is kept.
    LongPause,
    /// Clients and a broker don't reach each other, in one or both directions.
    CutClients,
    /// A broker and the bucket don't reach each other, in one or both directions.
    CutBucket,
    /// Two brokers don't reach each other.
    CutBrokers,
    /// Connections are reset.
    Reset,
    /// The bucket refuses, answers too late, or does late what it said that it had not.
    StoreTrouble,
    /// The bucket is slow.
    StoreSlow,
    /// Writes and syncs fail.
    DiskTrouble,
    /// The disk is slow.
    DiskSlow,
    /// Now and then the disk does not answer for seconds.
    DiskStall,
    /// The disk is full for a while.
    DiskFull,
    /// The wall clock jumps.
    ClockStep,
}

impl Fault {
    /// What counts its strikes.
    #[must_use]
    pub fn counter(self) -> &'static str {
        match self {
            Fault::Kill => "nemesis.kill",
            Fault::Fuse => "nemesis.fuse",
            Fault::SlowDeath => "nemesis.slow_death",
            Fault::Blackout => "nemesis.blackout",
            Fault::PowerLoss => "nemesis.power_loss",
            Fault::CleanStop => "nemesis.clean_stop",
            Fault::MoveHost => "nemesis.move_host",
            Fault::Pause => "nemesis.pause",
            Fault::LongPause => "nemesis.long_pause",
            Fault::CutClients => "nemesis.cut_clients",
            Fault::CutBucket => "nemesis.cut_bucket",
            Fault::CutBrokers => "nemesis.cut_brokers",
            Fault::Reset => "nemesis.reset",
            Fault::StoreTrouble => "nemesis.store_trouble",
            Fault::StoreSlow => "nemesis.store_slow",
            Fault::DiskTrouble => "nemesis.disk_trouble",
            Fault::DiskSlow => "nemesis.disk_slow",
            Fault::DiskStall => "nemesis.disk_stall",
            Fault::DiskFull => "nemesis.disk_full",
            Fault::ClockStep => "nemesis.clock_step",
        }
    }
}

/// A topic that the workload keeps busy.
#[derive(Debug, Clone)]
pub struct TopicPlan {
    /// Kafka's name.
    pub name: String,
    /// How many.
    pub partitions: i32,
    /// `retention.bytes`.
    pub retention_bytes: Option<u64>,
    /// Further settings, by Kafka's names.
    pub settings: Vec<(String, String)>,
    /// Deleted and made anew again and again.
    pub recreated: bool,
    /// Its records are deleted again and again, in bursts of writing and silence.
    pub pruned: bool,
    /// Greatest value of its records, in bytes.
    pub value_bytes_max: u64,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where data and WALs are.
    pub storage: Storage,
    /// How many brokers.
    pub brokers: u8,
    /// How long faults strike.
    pub stormy: Duration,
    /// What may strike.
    pub faults: BTreeSet<Fault>,
    /// The topics.
    pub topics: Vec<TopicPlan>,
    /// A ring's size.
    pub ring_bytes: u64,
    /// Whether brokers with a ring are started with a log in the bucket now and then, and those with two logs with the first one only.
    pub switches: bool,
    /// Topics are moved between the first log and this one.
    pub second: Option<SecondLog>,
    /// Whether logs in the bucket pay for their puts, and send slow ones twice.
    pub paced: bool,
    /// Whether brokers watch one another and take over while they run, or only as they start.
    pub watches: bool,
    /// How long a dead object is kept for readers that still have it in their plan. Safety must not rest on it (rule R-3), so it
    /// is mostly shorter than a slow read.
    pub dead_object_grace: Duration,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn draw(seed: &mut Seed) -> Plan {
        let storage = match seed.below(15) {
            0..5 => Storage::ObjectWal,
            5..9 => Storage::RingWal,
            9..11 => Storage::Folder,
            11 => Storage::FolderObjectWal,
            12 => Storage::DeviceWal,
            _ => Storage::SharedWal,
        };
        // Beside the story, which has been the same for long.
        let mut logs = seed.clone().fork("logs");
        let mut watch = seed.clone().fork("watch");
        let brokers = [1, 2, 2, 3][usize::try_from(seed.below(4)).unwrap_or(0)];
        let stormy = Duration::from_secs(seed.between(60, 80));
        let faults = faults(seed, storage, brokers);
        Plan {
            storage,
            brokers,
            stormy,
            second: second_log(&mut logs, storage, &faults),
            faults,
            topics: topics(seed),
            ring_bytes: seed.between(24, 64) * 8192,
            switches: seed.chance(300),
            paced: seed.chance(600),
            watches: watch.chance(750),
            dead_object_grace: Duration::from_millis([0, 0, 300, 2_000][usize::try_from(seed.below(4)).unwrap_or(0)]),
        }
    }
}

fn second_log(seed: &mut Seed, storage: Storage, faults: &BTreeSet<Fault>) -> Option<SecondLog> {
    if !seed.chance(350) {
        return None;
    }
    let either = if seed.chance(500) { SecondLog::Objects } else { SecondLog::Ring };
    Some(match storage {
        // A ring would be lost with its host.
        Storage::ObjectWal | Storage::SharedWal if faults.contains(&Fault::MoveHost) => SecondLog::Objects,
        Storage::ObjectWal | Storage::FolderObjectWal => SecondLog::Ring,
        Storage::RingWal | Storage::DeviceWal | Storage::SharedWal | Storage::Folder => either,
    })
}

fn faults(seed: &mut Seed, storage: Storage, brokers: u8) -> BTreeSet<Fault> {
    let mut faults = BTreeSet::from([Fault::Kill, Fault::Fuse, Fault::SlowDeath]);
    let mut maybe =
        vec![Fault::CleanStop, Fault::Pause, Fault::CutClients, Fault::Reset, Fault::ClockStep, Fault::PowerLoss];
    match storage {
        Storage::ObjectWal => {
            maybe.extend([
                Fault::MoveHost,
                Fault::CutBucket,
                Fault::StoreTrouble,
                Fault::StoreTrouble,
                Fault::StoreSlow,
            ]);
        }
        Storage::SharedWal => maybe.extend([
            Fault::MoveHost,
            Fault::CutBucket,
            Fault::StoreTrouble,
            Fault::StoreSlow,
            Fault::DiskTrouble,
            Fault::DiskSlow,
            Fault::DiskStall,
        ]),
        Storage::RingWal | Storage::DeviceWal => maybe.extend([
            Fault::CutBucket,
            Fault::StoreTrouble,
            Fault::StoreTrouble,
            Fault::StoreSlow,
            Fault::PowerLoss,
            Fault::DiskTrouble,
            Fault::DiskSlow,
            Fault::DiskStall,
        ]),
        Storage::Folder | Storage::FolderObjectWal => {
            maybe.extend([Fault::PowerLoss, Fault::PowerLoss, Fault::DiskTrouble, Fault::DiskSlow, Fault::DiskFull])
        }
    }
    if brokers > 1 {
        let silent = [Fault::CutBrokers, Fault::LongPause, Fault::Pause];
        faults.insert(silent[usize::try_from(seed.below(3)).unwrap_or(0)]);
        maybe.extend(silent);
        maybe.extend([Fault::Blackout, Fault::Blackout]);
    }
    // Not every run has everything: some trouble shows only where other trouble does not drown it.
    let wanted = seed.between(2, 6);
    for _ in 0..wanted {
        let pick = usize::try_from(seed.below(maybe.len() as u64)).unwrap_or(0);
        faults.insert(maybe[pick]);
    }
    faults
}

fn topics(seed: &mut Seed) -> Vec<TopicPlan> {
    let count = seed.between(2, 4);
    let mut topics: Vec<_> = (0..count)
        .map(|n| TopicPlan {
            name: format!("steady-{n}"),
            partitions: i32::try_from(seed.between(1, 3)).unwrap_or(1),
            retention_bytes: None,
            settings: Vec::new(),
            recreated: false,
            pruned: false,
            value_bytes_max: if seed.chance(300) { 2000 } else { 200 },
        })
        .collect();
    topics.push(TopicPlan {
        name: "short".to_owned(),
        partitions: i32::try_from(seed.between(1, 2)).unwrap_or(1),
        retention_bytes: Some(seed.between(2, 12) * 1024),
        settings: Vec::new(),
        recreated: false,
        pruned: false,
        value_bytes_max: 600,
    });
    topics.push(TopicPlan {
        name: "again".to_owned(),
        partitions: i32::try_from(seed.between(1, 2)).unwrap_or(1),
        retention_bytes: seed.chance(300).then_some(4096),
        settings: Vec::new(),
        recreated: true,
        pruned: false,
        value_bytes_max: 300,
    });
    topics.push(TopicPlan {
        name: "pruned".to_owned(),
        partitions: i32::try_from(seed.between(1, 2)).unwrap_or(1),
        retention_bytes: None,
        settings: Vec::new(),
        recreated: false,
        pruned: true,
        value_bytes_max: if seed.chance(500) { 2000 } else { 200 },
    });
    topics
}
