//! `millstream bench consume`: how fast what is there can be read, by one reader or by many that each read all of it.

use super::super::CommandError;
use super::super::cluster::{connect, connect_on};
use super::super::progress::{self, Unit};
use super::report::Report;
use crate::args::client::BenchConsume;
use base::Micros;
use client::{AT_BEGINNING, AT_END, ClientError, Cluster, Consumer, ConsumerOptions};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use world::{Clock, ClockExt, lock};

/// What all readers have read.
#[derive(Default)]
struct Counts {
    records: AtomicU64,
    /// Of keys and values.
    bytes: AtomicU64,
    failure: Mutex<Option<ClientError>>,
}

/// How fast all readers together may go: who has read waits until as much is due.
#[derive(Clone)]
struct Pace {
    clock: Arc<dyn Clock>,
    began: Micros,
    bytes_per_second: u64,
}

impl Pace {
    async fn wait_for(&self, bytes: u64) {
        let due_micros = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_second);
        let due = self.began.plus(Duration::from_micros(u64::try_from(due_micros).unwrap_or(u64::MAX)));
        self.clock.sleep(due.since(self.clock.now())).await;
    }
}

/// What there is to read: by partition, the first offset and the one behind the last. Partitions without records are left out.
struct Extent {
    begins: BTreeMap<i32, i64>,
    ends: BTreeMap<i32, i64>,
}

pub(super) fn run(args: &BenchConsume) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    super::end_on_signal(&runtime, &cluster)?;
    let clock = cluster.world().clock.clone();
    // Connections of their own: an answer on a shared one waits behind those of all other readers.
    let others: Result<Vec<Cluster>, CommandError> =
        (1..args.readers).map(|_| connect_on(&runtime, &args.cluster)).collect();
    let readers: Vec<Cluster> = std::iter::once(cluster.clone()).chain(others?).collect();
    let extent = Arc::new(runtime.block_on(Extent::of(&cluster, &args.topic))?);
    let began = clock.now();
    let (records, bytes) = read_all(&runtime, &readers, &extent, args)?;
    let took = clock.now().since(began);
    runtime.shutdown_background();
    if records == 0 {
        return Err(CommandError::failed(format!(
            "topic {} holds no records: write some with `millstream bench produce {}`",
            args.topic, args.topic
        )));
    }
    let report = Report {
        bench: "consume",
        topic: &args.topic,
        rate: None,
        records,
        bytes,
        took,
        latencies: None,
        late: None,
        store: None,
    };
    report.tell(args.cluster.json)
}

impl Extent {
    async fn of(cluster: &Cluster, topic: &str) -> Result<Extent, ClientError> {
        let mut begins = cluster.offsets(topic, AT_BEGINNING).await?;
        let mut ends = cluster.offsets(topic, AT_END).await?;
        ends.retain(|index, end| begins.get(index).is_some_and(|begin| begin < end));
        begins.retain(|index, _| ends.contains_key(index));
        Ok(Extent { begins, ends })
    }

    fn records(&self) -> u64 {
        let left = self.ends.values().sum::<i64>() - self.begins.values().sum::<i64>();
        u64::try_from(left).unwrap_or(0)
    }
}

/// Records and bytes that all readers have read, to the end or until the time is over.
fn read_all(
    runtime: &Runtime,
    readers: &[Cluster],
    extent: &Arc<Extent>,
    args: &BenchConsume,
) -> Result<(u64, u64), CommandError> {
    let counts = Arc::new(Counts::default());
    let max = args.max.unwrap_or(u64::MAX);
    let bar = progress::bar(extent.records().min(max) * u64::from(args.readers), Unit::Records);
    let clock = readers[0].world().clock.clone();
    let pace = args.rate.map(|rate| Pace {
        clock: clock.clone(),
        began: clock.now(),
        bytes_per_second: u64::from(rate) << 20,
    });
    let ended = runtime.block_on(async {
        let reads = readers.iter().map(|cluster| {
            let (reader, extent, counts, bar) = (cluster.clone(), extent.clone(), counts.clone(), bar.clone());
            let (topic, pace) = (args.topic.clone(), pace.clone());
            let reading = async move {
                let tell = || bar.set_position(counts.records.load(Ordering::Relaxed));
                if let Err(error) = read(reader, &topic, &extent, (max, pace.as_ref()), &counts, tell).await {
                    lock(&counts.failure).get_or_insert(error);
                }
            };
            clock.spawn("bench-read", Box::pin(reading)).join()
        });
        let all = join_all(reads.collect::<Vec<_>>());
        match args.duration {
            Some(seconds) => clock.timeout(Duration::from_secs(seconds), all).await.unwrap_or_default(),
            None => all.await,
        }
    });
    bar.finish_and_clear();
    if let Some(error) = ended.into_iter().find_map(Result::err) {
        return Err(CommandError::failed(format!("a reader ended early: {error}")));
    }
    if let Some(failure) = lock(&counts.failure).take() {
        return Err(failure.into());
    }
    Ok((counts.records.load(Ordering::Relaxed), counts.bytes.load(Ordering::Relaxed)))
}

/// One reader's way from the beginning to the end, or until it has `max` records, no faster than `pace`.
async fn read(
    cluster: Cluster,
    topic: &str,
    extent: &Extent,
    (max, pace): (u64, Option<&Pace>),
    counts: &Counts,
    tell: impl Fn(),
) -> Result<(), ClientError> {
    let mut ends = extent.ends.clone();
    let mut consumer = Consumer::new(cluster, topic, extent.begins.clone(), ConsumerOptions::default());
    let mut records = 0;
    while !ends.is_empty() && records < max {
        let fetched = consumer.next().await?;
        let end = ends.get(&fetched.partition).copied().unwrap_or(i64::MAX);
        let room = usize::try_from(max - records).unwrap_or(usize::MAX);
        let (mut read, mut bytes) = (0, 0);
        for record in fetched.records.iter().filter(|record| record.offset < end).take(room) {
            let len = |bytes: &Option<_>| bytes.as_ref().map_or(0, bytes::Bytes::len);
            read += 1;
            bytes += u64::try_from(len(&record.key) + len(&record.value)).unwrap_or(0);
        }
        records += read;
        counts.records.fetch_add(read, Ordering::Relaxed);
        let all_bytes = counts.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        tell();
        if let Some(pace) = pace {
            pace.wait_for(all_bytes).await;
        }
        if fetched.next_offset >= end {
            ends.remove(&fetched.partition);
            consumer.leave(fetched.partition);
        }
    }
    Ok(())
}
