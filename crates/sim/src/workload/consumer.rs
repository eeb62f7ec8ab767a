//! Consumers: followers of the tail and readers from anywhere, each checking that what it gets has no hole.

use crate::checker::{FinalScan, PartitionKey};
use crate::workload::client::{Client, Failure, Fetched, RETRIABLE, Seek};
use crate::workload::topic::LiveTopic;
use crate::workload::{Shared, batch, breathe};
use crate::world::{now, true_wall};
use base::{Micros, Seed};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Kafka's *offset out of range*.
const OUT_OF_RANGE: i16 = 1;

/// Reads until the topic closes.
pub(super) async fn run(
    shared: Arc<Shared>,
    topic: LiveTopic,
    number: u64,
    mut seed: Seed,
    closing: watch::Receiver<bool>,
) {
    let mut client = Client::new(&shared, seed.fork("client"));
    let mut positions = vec![0_i64; usize::try_from(topic.plan.partitions).unwrap_or(0)];
    while !*closing.borrow() {
        let at = usize::try_from(seed.below(positions.len() as u64)).unwrap_or(0);
        let partition = i32::try_from(at).unwrap_or(0);
        let key = PartitionKey { topic: topic.key.clone(), partition };
        if number > 0 || seed.chance(100) {
            // A reader that jumps: to the end, to a time, or just somewhere.
            positions[at] = jump(&mut client, &shared, &topic, &key, &mut seed).await.unwrap_or(positions[at]);
        }
        let wait = Duration::from_millis(seed.below(600));
        let bytes_max = if seed.chance(300) { 1 } else { seed.between(500, 20_000) };
        match client.fetch(&topic, partition, positions[at], wait, bytes_max).await {
            Ok(fetched) => {
                if let Some(next) = take(&shared, &key, positions[at], &fetched, None) {
                    positions[at] = next;
                }
            }
            Err(Failure::Kafka(OUT_OF_RANGE)) => {
                positions[at] = client.seek(&topic, partition, Seek::Earliest).await.map_or(0, |(offset, _)| offset);
            }
            Err(Failure::Kafka(code)) if !RETRIABLE.contains(&code) => {
                shared.history.violation(format!("fetch from {key:?} was refused with error {code}"));
            }
            Err(_) => {}
        }
        breathe(&mut seed, 400).await;
    }
}

async fn jump(
    client: &mut Client,
    shared: &Shared,
    topic: &LiveTopic,
    key: &PartitionKey,
    seed: &mut Seed,
) -> Option<i64> {
    let (earliest, _) = client.seek(topic, key.partition, Seek::Earliest).await.ok()?;
    // By name, a broker that was asleep may speak of the topic's last life.
    if seed.chance(300) && !topic.plan.recreated {
        let target = true_wall().0 - i64::try_from(seed.below(20_000)).unwrap_or(0);
        let (offset, timestamp) = client.seek(topic, key.partition, Seek::Time(target)).await.ok()?;
        if offset < 0 {
            return Some(earliest);
        }
        // What retention has removed by now is not held against the answer.
        let (earliest, _) = client.seek(topic, key.partition, Seek::Earliest).await.ok()?;
        shared.history.seek(key, target, (offset, timestamp), earliest);
        return Some(offset);
    }
    // Records that are about to be deleted are where a reader's plan is about to be overtaken.
    if (topic.plan.pruned || topic.plan.retention_bytes.is_some()) && seed.chance(600) {
        return Some(earliest);
    }
    let (latest, _) = client.seek(topic, key.partition, Seek::Latest).await.ok()?;
    let span = u64::try_from(latest - earliest).unwrap_or(0);
    Some(earliest + i64::try_from(seed.below(span + 1)).unwrap_or(0))
}

/// Checks an answer and returns where to go on, where it holds anything.
fn take(
    shared: &Shared,
    key: &PartitionKey,
    position: i64,
    fetched: &Fetched,
    mut into: Option<&mut FinalScan>,
) -> Option<i64> {
    let history = &shared.history;
    history.watermark(fetched.process, key, fetched.asked, fetched.high_watermark, fetched.log_start);
    let batches = match batch::decode(&fetched.records) {
        Ok(batches) => batches,
        Err(problem) => {
            history.violation(format!("altered: {key:?} read from {position}: {problem}"));
            return None;
        }
    };
    let mut next = None;
    for batch in batches {
        let end = batch.base + i64::try_from(batch.records.len()).unwrap_or(0);
        let expected = next.unwrap_or(position);
        if next.is_some_and(|next| batch.base != next) || batch.base > position && next.is_none() || end <= expected {
            history.violation(format!("hole: {key:?} asked for {expected}, got [{}, {end})", batch.base));
        }
        if end > fetched.high_watermark {
            history.violation(format!(
                "ahead: {key:?} gave [{}, {end}) at high watermark {}",
                batch.base, fetched.high_watermark
            ));
        }
        for (offset, record) in (batch.base..).zip(&batch.records) {
            let id = history.read(key, offset, record);
            if let (Some(scan), Some(id)) = (into.as_deref_mut(), id) {
                scan.records.insert(offset, id);
            }
        }
        if let Some(scan) = into.as_deref_mut() {
            scan.bytes += batch.bytes as u64;
        }
        next = Some(end);
    }
    next
}

/// Reads a partition from its first record to its high watermark.
pub(super) async fn scan(
    client: &mut Client,
    shared: &Shared,
    topic: &LiveTopic,
    key: &PartitionKey,
    deadline: Micros,
) -> Result<FinalScan, String> {
    let mut seed = Seed::new(now().0);
    loop {
        match scan_once(client, shared, topic, key).await {
            Ok(scan) => return Ok(scan),
            Err(failure) if now() >= deadline => return Err(failure.to_string()),
            Err(_) => breathe(&mut seed, 100).await,
        }
    }
}

async fn scan_once(
    client: &mut Client,
    shared: &Shared,
    topic: &LiveTopic,
    key: &PartitionKey,
) -> Result<FinalScan, Failure> {
    let (log_start, _) = client.seek(topic, key.partition, Seek::Earliest).await?;
    let (high_watermark, _) = client.seek(topic, key.partition, Seek::Latest).await?;
    let mut scan = FinalScan { log_start, high_watermark, ..FinalScan::default() };
    let mut position = log_start;
    while position < high_watermark {
        let fetched = client.fetch(topic, key.partition, position, Duration::from_millis(100), 16_000).await?;
        let Some(next) = take(shared, key, position, &fetched, Some(&mut scan)) else {
            return Err(Failure::Empty { position, high_watermark });
        };
        position = next;
    }
    Ok(scan)
}
