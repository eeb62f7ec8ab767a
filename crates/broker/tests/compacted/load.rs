//! Many updates of few keys, with deletions and transactions among them: what a fresh consumer sees, and at full size what cleaning costs.

use super::*;

/// How a load went.
struct Load {
    /// Of each produce, in microseconds, sorted.
    latencies: Vec<u128>,
    /// The last word on each key: offset and value.
    latest: BTreeMap<u64, (i64, Option<String>)>,
    end: i64,
}

/// What a load is made of.
#[derive(Clone, Copy)]
struct Size {
    updates: u64,
    keys: u64,
    /// Batches a second; none: as fast as it goes.
    rate: Option<u32>,
}

const BATCH_RECORDS: u64 = 500;

fn key_of(number: u64) -> String {
    format!("key-{number:08}")
}

/// Updates of random keys, one in fifty a deletion; and now and then a transaction, every other one aborted.
async fn load(running: &Running, topic: &str, size: Size) -> Load {
    let mut client = running.client().await;
    let mut seed = base::Seed::new(size.updates);
    let mut load = Load { latencies: Vec::new(), latest: BTreeMap::new(), end: 0 };
    let clock = running.world.clock.clone();
    let mut due = clock.now();
    for batch in 0..size.updates / BATCH_RECORDS {
        let words: Vec<(u64, Option<String>)> = (0..BATCH_RECORDS)
            .map(|n| {
                let value = (!seed.chance(20)).then(|| format!("value {batch}-{n} {}", "x".repeat(80)));
                (seed.below(size.keys), value)
            })
            .collect();
        let names: Vec<String> = words.iter().map(|(key, _)| key_of(*key)).collect();
        let pairs: Vec<Pair<'_>> =
            names.iter().zip(&words).map(|(name, (_, value))| (name.as_str(), value.as_deref())).collect();
        let codec = Compression::ALL[usize::try_from(batch % 5).unwrap()];
        let began = clock.now();
        let base = if batch % 40 == 39 {
            let (producer_id, aborts) = (i64::try_from(batch).unwrap(), batch % 80 == 79);
            let builder = BatchBuilder::new().compression(codec).producer(producer_id, 0, 0).transactional();
            let base = append(&running.store, topic, &keyed(builder, &pairs)).await;
            append(&running.store, topic, &marker(producer_id, !aborts)).await;
            if aborts {
                continue;
            }
            base
        } else {
            let base = produce(&mut client, topic, codec, &pairs).await;
            load.latencies.push(clock.now().since(began).as_micros());
            base
        };
        for (offset, (key, value)) in (base..).zip(words) {
            load.latest.insert(key, (offset, value));
        }
        load.end = base + i64::try_from(BATCH_RECORDS).unwrap();
        if let Some(rate) = size.rate {
            due = due.plus(Duration::from_secs(1) / rate);
            clock.sleep(due.since(clock.now())).await;
        }
    }
    // Behind every transaction, so that the log ends with a record.
    load.end = produce(&mut client, topic, Compression::None, &[(&key_of(0), Some("end"))]).await + 1;
    load.latest.insert(0, (load.end - 1, Some("end".to_owned())));
    load.latencies.sort_unstable();
    load
}

impl Load {
    fn percentile(&self, percent: usize) -> u128 {
        self.latencies[(self.latencies.len() * percent / 100).min(self.latencies.len() - 1)]
    }
}

/// A fresh consumer knows what was said last, and nothing else.
async fn check_latest(running: &Running, topic: &str, load: &Load) -> usize {
    let (batches, end) = consumed(&mut running.client().await, topic).await;
    assert_eq!(end, load.end);
    let records = records(&batches);
    let count = records.len();
    let mut seen: BTreeMap<String, (i64, Option<String>)> = BTreeMap::new();
    for (offset, key, value) in records {
        assert_eq!(seen.insert(key, (offset, value)), None, "one record for each key");
    }
    let expected: BTreeMap<String, (i64, Option<String>)> =
        load.latest.iter().map(|(key, word)| (key_of(*key), word.clone())).collect();
    assert!(seen == expected, "{} keys seen, {} expected", seen.len(), expected.len());
    count
}

/// Changes a setting of a topic.
pub(super) async fn set(client: &mut Client, topic: &str, name: &str, value: &str) {
    use protocol::messages::incremental_alter_configs_request as request;
    let config = request::AlterableConfig { name: name.to_owned(), config_operation: 0, value: Some(value.to_owned()) };
    let resource =
        request::AlterConfigsResource { resource_type: 2, resource_name: topic.to_owned(), configs: vec![config] };
    let request = request::IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(client.call(1, &request).await.responses[0].error_code, 0);
}

/// Loads a topic, with cleaning or without, and where there is cleaning tells what came of it.
async fn measured(size: Size, cleans: bool) -> Load {
    let period = Duration::from_millis(200);
    let cleaner = CleanerOptions { is_enabled: cleans, period, ..CleanerOptions::for_memory(8 << 20) };
    let running = start(BrokerOptions { cleaner, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &EAGER[..1]).await, 0);
    let load = load(&running, "t", size).await;
    if cleans {
        let during = running.broker.cleaner();
        set(&mut client, "t", "min.cleanable.dirty.ratio", "0").await;
        // What is new and little waits for no longer than this.
        set(&mut client, "t", "segment.ms", "1").await;
        cleaned_to(&running, "t", load.end).await;
        let seen = check_latest(&running, "t", &load).await;
        let (used, compaction) = (running.broker.cleaner(), running.store.compaction());
        let amplification = 1.0 + compaction.written_bytes as f64 / compaction.uploaded_bytes as f64;
        eprintln!(
            "{} updates of {} keys: {} passes ({} while it was loaded), {} records removed, {seen} seen by a fresh \
             consumer; {:.1} MiB uploaded, {:.1} MiB written by cleaning and compaction, amplification {amplification:.2}; {:.1} MiB read",
            size.updates,
            size.keys,
            used.passes,
            during.passes,
            used.removed_records,
            compaction.uploaded_bytes as f64 / 1048576.0,
            compaction.written_bytes as f64 / 1048576.0,
            compaction.read_bytes as f64 / 1048576.0,
        );
        assert!(amplification < 4.0, "{compaction:?}");
    }
    running.broker.stop().await;
    load
}

#[tokio::test(flavor = "multi_thread")]
async fn many_updates_of_few_keys_with_deletions_and_transactions_among_them() {
    measured(Size { updates: 20_000, keys: 400, rate: None }, true).await;
}

/// `cargo xtask measure compacted`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: cargo xtask measure compacted"]
async fn full_size() {
    let number = |name: &str, default: u64| std::env::var(name).ok().map_or(default, |text| text.parse().unwrap());
    let size = Size {
        updates: number("MILLSTREAM_UPDATES", 5_000_000),
        keys: number("MILLSTREAM_KEYS", 100_000),
        rate: Some(u32::try_from(number("MILLSTREAM_BATCHES_PER_SECOND", 150)).unwrap()),
    };
    let without = measured(size, false).await;
    let with = measured(size, true).await;
    for percent in [50, 99] {
        let (before, after) = (without.percentile(percent), with.percentile(percent));
        eprintln!("produce P{percent}: {before} µs without cleaning, {after} µs with it");
    }
}
