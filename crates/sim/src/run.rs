//! One run: a seed's cluster, workload and faults, then peace, then everything that must be true in the end.
//!
//! A run has its own thread, its own runtime and its own virtual time, so runs don't disturb each other.

use crate::checker::{History, ImageWatch, quiet};
use crate::cluster::Cluster;
use crate::nemesis;
use crate::plan::{Fault, Plan};
use crate::workload::Workload;
use crate::world::{DiskWeather, StoreWeather, Trace, Universe, now, process, spawn, wait};
use base::Seed;
use std::collections::BTreeMap;
use std::time::Duration;

/// What became of a seed.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was violated; empty for a green run.
    pub violations: Vec<String>,
    /// What a green run must have done and did not.
    pub uncovered: Vec<String>,
    /// Everything that was counted.
    pub counts: BTreeMap<&'static str, u64>,
    /// Hash of the trace, and how many events it had.
    pub trace: (u64, u64),
    /// Virtual time that passed.
    pub simulated: Duration,
    /// What the run was made of.
    pub plan: Plan,
}

impl Report {
    /// Whether nothing was violated and everything exercised.
    #[must_use]
    pub fn is_green(&self) -> bool {
        self.violations.is_empty() && self.uncovered.is_empty()
    }
}

/// After the last fault, brokers are back and every partition takes records within this time: 10 s from when everything is
/// healed, and a broker that was killed last may be away for another few.
const LIVELY_WITHIN: Duration = Duration::from_secs(20);
/// After that, everything is uploaded, trimmed and swept within this time.
const QUIET_WITHIN: Duration = Duration::from_secs(90);
/// A run that takes longer than this hangs.
const RUN_MAX: Duration = Duration::from_secs(1_000);
/// Records that a run acknowledges at the least.
const ACKNOWLEDGED_MIN: u64 = 2_000;
/// Seconds that a run is prolonged at the most to get there.
const EXTRA_SECONDS_MAX: u64 = 120;
/// Commits, fetched offsets and assignments of groups that a run checks at the least, of each.
const GROUP_ANSWERS_MIN: u64 = 10;
/// Transactions that a run sees committed at the least.
const COMMITTED: (&str, u64) = ("check.txn_commit", 10);
/// What a run does with transactions at the least.
const TRANSACTIONS_MIN: [(&str, u64); 8] = [
    COMMITTED,
    ("check.txn_fence", 5),
    ("check.txn_read", 30),
    ("check.txn_offset", 10),
    ("check.txn_exactly_once", 2),
    ("workload.txn_transformed", 1),
    ("workload.txn_copied", 1),
    ("workload.txn_late_marker", 5),
];
/// Crashes of a run at the least.
const CRASHES_MIN: u64 = 3;

/// Runs a seed.
///
/// # Panics
/// Where no thread can be made.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "each run owns a thread, as a process owns its first one")]
pub fn run(seed: u64, sink: Option<Box<dyn std::io::Write + Send>>) -> Report {
    std::thread::spawn(move || run_here(seed, sink)).join().expect("the runner itself does not panic")
}

fn run_here(seed: u64, sink: Option<Box<dyn std::io::Write + Send>>) -> Report {
    // A panic is a finding and comes into the report; on stderr it would only be noise among other seeds' findings.
    std::panic::set_hook(Box::new(|panic| process::note_panic(panic.to_string())));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can always be built");
    let report = runtime.block_on(async {
        let trace = Trace::new(sink);
        let mut draw = Seed::new(seed);
        let plan = Plan::draw(&mut draw);
        let history = History::new(trace.clone());
        let universe = Universe::new(&mut draw, trace.clone());
        let (told, teller) = (history.clone(), (universe.clone(), history.clone(), plan.clone()));
        let story = spawn(async move {
            let (universe, history, plan) = teller;
            tell(&universe, &history, &plan, draw).await;
        });
        match tokio::time::timeout(RUN_MAX, story).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => told.violation(format!("the runner panicked: {error}")),
            Err(_) => told.violation(format!("the run did not end within {RUN_MAX:?} of virtual time")),
        }
        if let Some(panic) = universe.panicked() {
            history.violation(format!("panic: {panic}"));
        }
        universe.end();
        trace.finish();
        let counts = trace.counts();
        Report {
            seed,
            violations: history.violations(),
            uncovered: uncovered(&plan, &counts),
            trace: trace.hash(),
            simulated: Duration::from_micros(now().0),
            counts,
            plan,
        }
    });
    // Tasks of the world that still wait for something go with the runtime.
    drop(runtime);
    report
}

async fn tell(universe: &Universe, history: &History, plan: &Plan, mut seed: Seed) {
    let watch = ImageWatch::new(history.clone(), universe.trace.clone());
    let cluster = Cluster::new(universe.clone(), plan.clone(), watch.clone(), seed.fork("cluster"));
    cluster.start();
    for broker in 0..usize::from(plan.brokers) {
        let (watch, cluster, seed) = (watch.clone(), cluster.clone(), seed.fork("refresh"));
        drop(spawn(async move { watch.ask(cluster, broker, seed).await }));
    }
    let mut workload = Workload::start(&cluster, history, seed.fork("workload"));
    nemesis::storm(&cluster, seed.fork("nemesis")).await;
    enough(&cluster).await;

    workload.touch_all(LIVELY_WITHIN).await;
    workload.stop().await;
    workload.scan_all(LIVELY_WITHIN).await;
    if !history.violations().is_empty() || universe.panicked().is_some() {
        return;
    }
    // Once more from cold: all brokers die at once, in the middle of whatever they were uploading.
    for broker in 0..usize::from(plan.brokers) {
        cluster.kill(broker, Duration::ZERO, "all brokers at once");
    }
    wait(Duration::from_secs(1)).await;
    workload.touch_all(LIVELY_WITHIN).await;
    workload.scan_all(LIVELY_WITHIN).await;
    quiet::settle(&cluster, &watch, history, QUIET_WITHIN).await;
    workload.scan_all(LIVELY_WITHIN).await;
    cluster.end();
}

/// A slow bucket makes few records and transactions in the time of the storm, and few calls that trouble could meet: lets the clients go
/// on until there was enough of all, within bounds.
async fn enough(cluster: &Cluster) {
    let (universe, plan) = (cluster.universe(), cluster.plan());
    for _ in 0..EXTRA_SECONDS_MAX {
        let counts = universe.trace.counts();
        let count = |what: &str| counts.get(what).copied().unwrap_or(0);
        let met = |fault, what| count(what) > 0 || !plan.faults.contains(&fault);
        let refused = met(Fault::StoreTrouble, "fault.store_refused");
        let failed = met(Fault::DiskTrouble, "fault.disk_error");
        let has_records = count("records.acknowledged") >= ACKNOWLEDGED_MIN;
        let has_transactions = count(COMMITTED.0) >= COMMITTED.1;
        if refused && failed && has_records && has_transactions {
            break;
        }
        if !refused {
            universe.bucket.set_weather(StoreWeather { refuse: 500, ..StoreWeather::FAIR });
        }
        set_disks(cluster, if failed { DiskWeather::FAIR } else { DiskWeather { fail: 300, ..DiskWeather::FAIR } });
        wait(Duration::from_secs(1)).await;
    }
    universe.bucket.set_weather(StoreWeather::FAIR);
    set_disks(cluster, DiskWeather::FAIR);
}

fn set_disks(cluster: &Cluster, weather: DiskWeather) {
    for broker in 0..usize::from(cluster.plan().brokers) {
        cluster.universe().disk(cluster.host(broker)).set_weather(weather);
    }
}

/// What this run should have done and did not.
fn uncovered(plan: &Plan, counts: &BTreeMap<&'static str, u64>) -> Vec<String> {
    let count = |what: &str| counts.get(what).copied().unwrap_or(0);
    let mut needs: Vec<(&str, u64)> = plan.faults.iter().map(|fault| (fault.counter(), 1)).collect();
    needs.extend([
        ("records.acknowledged", ACKNOWLEDGED_MIN),
        ("records.read", ACKNOWLEDGED_MIN / 2),
        ("cluster.deaths", CRASHES_MIN),
        ("check.watermarks", 1),
        ("check.seek", 1),
        ("check.group_commit", GROUP_ANSWERS_MIN),
        ("check.group_fetch", GROUP_ANSWERS_MIN),
        ("check.group_assignment", GROUP_ANSWERS_MIN),
        ("check.group_log_cut", 1),
        ("workload.member_died", 1),
        ("workload.member_left", 1),
        ("check.image", 1),
        ("check.refresh", 10),
        ("check.deleted", 1),
        ("check.pipelined", 5),
        ("check.repeats", 1),
        ("workload.idempotent", 20),
        ("check.fsck", 1),
        ("workload.topic_made", 3),
        ("check.final_scan", 1),
        ("check.liveness", 1),
        ("check.rebuilt", 1),
        ("check.objects", 1),
        ("workload.topic_deleted", 1),
        ("workload.compacted", 20),
        ("check.compacted_read", 3),
        ("check.compacted_removed", 1),
        ("compaction.applied", 1),
    ]);
    needs.extend(TRANSACTIONS_MIN);
    if plan.faults.contains(&Fault::StoreTrouble) {
        needs.extend([("fault.store_refused", 1)]);
    }
    if plan.second.is_some() {
        needs.push(("workload.log_changed", 3));
    }
    if plan.faults.contains(&Fault::DiskTrouble) {
        needs.push(("fault.disk_error", 1));
    }
    needs
        .into_iter()
        .filter(|(what, least)| count(what) < *least)
        .map(|(what, least)| format!("{what}: {} of {least}", count(what)))
        .collect()
}

/// Shows what brokers log, with virtual time and the process' name in front, on stderr.
pub fn show_logs() {
    struct Prefix;

    impl tracing_subscriber::fmt::time::FormatTime for Prefix {
        fn format_time(&self, out: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
            write!(out, "{:>12} {}", now().0, crate::world::process::current_name())
        }
    }

    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("debug"));
    tracing_subscriber::fmt().with_timer(Prefix).with_env_filter(filter).with_writer(std::io::stderr).init();
}
