//! A day of very many partitions: one broker's storage library, with its defaults, over the simulated world in fair weather.
//!
//! The other stories of this crate ask whether anything is lost in storms, with tiny bounds; this one asks what an ordinary day of a
//! large cluster leaves in the bucket, and what it costs, with the bounds that users get. [`DayPlan`] says how the partitions are
//! written, [`Sample`] what is looked at each hour, [`budget`] what it may be.

mod budget;
mod load;
mod plot;
mod sample;

use crate::world::{HostId, Process, SimStore, Trace, Universe, wait};
use base::Seed;
use clap::ValueEnum;
use std::sync::Arc;
use std::time::Duration;
use stream::{NamedWal, Options, StartRequest, Store, StoreProbe, WalTarget, fsck_of};
use world::{Metered, ObjectStore, World};

pub use plot::plot;
pub use sample::Sample;

/// How the partitions are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Load {
    /// 10,000 partitions, all alike, that keep two hours: 200 kB/s.
    Even,
    /// 100,000 partitions, each of which gets a record every ten minutes, and keeps the day.
    Trickle,
}

/// What a day is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct DayPlan {
    /// Which of the two.
    pub load: Load,
    /// Partitions.
    pub partitions: usize,
    /// Simulated hours.
    pub hours: u64,
    /// A partition gets a batch of one record every so many seconds.
    pub every_seconds: usize,
    /// Bytes of a batch.
    pub batch_bytes: usize,
    /// Each hour all but the newest so many hours are trimmed. `None`: nothing is.
    pub keep_hours: Option<u64>,
}

impl DayPlan {
    /// The plan of issue and README.
    #[must_use]
    pub fn of(load: Load) -> DayPlan {
        let (partitions, every_seconds, batch_bytes, keep_hours) = match load {
            Load::Even => (10_000, 100, 2_000, Some(2)),
            Load::Trickle => (100_000, 600, 200, None),
        };
        DayPlan { load, partitions, hours: 24, every_seconds, batch_bytes, keep_hours }
    }

    /// Bytes produced in an hour.
    #[must_use]
    pub fn bytes_per_hour(&self) -> u64 {
        (self.partitions * self.batch_bytes) as u64 * 3600 / self.every_seconds as u64
    }

    /// Bytes of a merged object at the least, but for a merge's last.
    fn merged_object_bytes() -> u64 {
        options().compaction.object_bytes_max / 5 * 2
    }

    /// Bytes that live at the most: what was produced since the oldest trim.
    fn live_bytes_max(&self) -> u64 {
        self.bytes_per_hour() * self.keep_hours.map_or(self.hours, |hours| (hours + 1).min(self.hours))
    }
}

/// What a day came to.
#[derive(Debug, Clone, Default)]
pub struct Day {
    /// One each hour; the last two are of the bucket after all topics are gone.
    pub samples: Vec<Sample>,
    /// Budgets that were broken, damage that was found.
    pub broken: Vec<String>,
}

/// Within this time of the deletion of all topics the bucket is as small as an empty cluster's: the grace of dead objects, and two of
/// the periods in which what nothing refers to is looked for.
const EMPTY_WITHIN: Duration = Duration::from_mins(45);

impl Day {
    /// Lives it through, and tells each sample as it is taken.
    ///
    /// # Panics
    /// Where a runtime can't be built.
    #[must_use]
    pub fn live(plan: &DayPlan, mut tell: impl FnMut(String)) -> Day {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without I/O can always be built");
        runtime.block_on(async {
            let universe = Universe::new(&mut Seed::new(1), Trace::new(None));
            let mut day = Day::default();
            tell(Sample::heading());
            if let Err(error) = day.run(&universe, plan, &mut tell).await {
                day.broken.push(error);
            }
            day.broken.extend(universe.panicked().map(|panic| format!("panic: {panic}")));
            universe.end();
            day
        })
    }

    async fn run(&mut self, universe: &Universe, plan: &DayPlan, tell: &mut impl FnMut(String)) -> Result<(), String> {
        let broker = Broker::start(universe).await?;
        let streams = load::create(&broker.store, plan.partitions).await?;
        let mut last = broker.sample(universe, 0, None);
        for hour in 1..=plan.hours {
            load::hour(plan, &streams).await?;
            if let Some(keep) = plan.keep_hours {
                load::trim(plan, &streams, hour, keep).await?;
            }
            self.note(broker.sample(universe, hour, Some(&last)), &mut last, tell);
            self.broken.extend(budget::broken(plan, &self.samples));
        }
        let report = fsck_of(&broker.objects, broker.store.ledger()).await.map_err(|error| error.to_string())?;
        self.broken.extend(report.problems.into_iter().chain(report.strangers).take(10));
        load::delete(&broker.store).await?;
        for hour in plan.hours + 1..=plan.hours + 2 {
            wait(EMPTY_WITHIN).await;
            self.note(broker.sample(universe, hour, Some(&last)), &mut last, tell);
            self.broken.extend(budget::not_empty(&last));
        }
        Ok(())
    }

    fn note(&mut self, sample: Sample, last: &mut Sample, tell: &mut impl FnMut(String)) {
        tell(sample.line());
        last.clone_from(&sample);
        self.samples.push(sample);
    }
}

/// The broker under test, below its Kafka face.
struct Broker {
    store: Store,
    objects: Arc<dyn ObjectStore>,
    metered: Arc<Metered>,
    /// Its tasks live as long as it.
    _process: Arc<Process>,
}

impl Broker {
    async fn start(universe: &Universe) -> Result<Broker, String> {
        let (process, world) = universe.process(HostId(1), "broker");
        let (send, receive) = tokio::sync::oneshot::channel();
        let metered = Arc::new(Metered::new(Arc::new(SimStore::new(universe.bucket.clone(), Arc::clone(&process)))));
        let objects: Arc<dyn ObjectStore> = metered.clone();
        let bucket = objects.clone();
        process.spawn(
            "main",
            Box::pin(async move {
                // Nobody waits any more: the day has been given up.
                drop(send.send(start(&world, bucket).await));
                std::future::pending::<()>().await;
            }),
        );
        let store = receive.await.map_err(|_| "the broker died while it started".to_owned())??;
        Ok(Broker { store, objects, metered, _process: process })
    }

    fn sample(&self, universe: &Universe, hour: u64, before: Option<&Sample>) -> Sample {
        Sample::take(hour, &self.store, &universe.bucket, self.metered.used(), before)
    }
}

/// What users get.
fn options() -> Options {
    Options { probe: StoreProbe::Off, ..Options::default() }
}

async fn start(world: &World, objects: Arc<dyn ObjectStore>) -> Result<Store, String> {
    let request = StartRequest {
        node_id: None,
        advertised: "10.0.0.1:9092".to_owned(),
        wals: vec![NamedWal::default_of(WalTarget::File { dir: "/wal".into(), bytes: 48 << 20 })],
        choice: |_, _| None,
        answers: Arc::new(|_| Box::pin(async { false })),
        watch: None,
        registered: Arc::default(),
        options: options(),
        ledger_options: control::LedgerOptions::default(),
    };
    Store::start(world, objects, request).await.map_err(|error| error.to_string())
}
