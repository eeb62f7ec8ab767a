//! A transformer: reads what is committed in the source partitions from where its group has come to, writes one record for each, and sends
//! its offsets with them. All of them have one transactional id, so the last one that began has fenced the others, and each record
//! is consumed once.

use super::client::Speaker;
use super::life::{Life, Over};
use super::{Parts, SINKS, SOURCES, reader, writer};
use crate::workload::{Shared, breathe};
use base::Seed;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Transactions of a life at the most.
const TRANSACTIONS_MAX: u64 = 20;

/// Commits after which it asks at once for the offsets that it has committed.
const LOOKS_PER_MILLE: u64 = 300;

/// Where it is in each source partition.
type Positions = BTreeMap<usize, i64>;

/// Lives one life after the other until the workload stops.
pub(super) async fn run(
    shared: Arc<Shared>,
    parts: Parts,
    mut speaker: Speaker,
    mut seed: Seed,
    stopped: watch::Receiver<bool>,
) {
    loop {
        let Some(mut life) = Life::begin(&shared, speaker, &mut seed, &stopped).await else { return };
        let mut positions = None;
        while positions.is_none() {
            if *stopped.borrow() {
                return;
            }
            let offsets = reader::offsets(&mut life.speaker, &shared, true).await.ok();
            positions = offsets.map(|offsets| {
                let position = |found: Option<(i64, usize)>| found.map_or(0, |(offset, _)| offset);
                offsets.into_iter().map(|(partition, found)| (partition, position(found))).collect::<Positions>()
            });
            breathe(&mut seed, 100).await;
        }
        let mut positions = positions.unwrap_or_default();
        for _ in 0..seed.between(1, TRANSACTIONS_MAX) {
            if *stopped.borrow() {
                return;
            }
            if transform(&mut life, (&shared, &parts), &mut positions, &mut seed).await.is_err() {
                break;
            }
            breathe(&mut seed, 1_000).await;
        }
        speaker = life.speaker;
        breathe(&mut seed, 3_000).await;
    }
}

/// Consumes what there is, in a transaction.
async fn transform(
    life: &mut Life,
    (shared, parts): (&Arc<Shared>, &Parts),
    positions: &mut Positions,
    seed: &mut Seed,
) -> Result<(), Over> {
    let mut consumed = BTreeMap::new();
    for partition in SOURCES {
        let position = positions.get(&partition).copied().unwrap_or(0);
        let limits = reader::limits(seed, 200);
        let mut found = reader::Read { next: position, ..reader::Read::default() };
        // Past what was aborted, to the next records.
        while found.numbers.is_empty() {
            let at = (partition, found.next);
            let Ok(read) = reader::read(life.speaker.client(), shared, parts, at, limits).await else { break };
            if read.is_idle {
                break;
            }
            found = read;
        }
        consumed.insert(partition, (position, found));
    }
    consumed.retain(|_, (position, found)| found.next > *position);
    let count: usize = consumed.values().map(|(_, read)| read.numbers.len()).sum();
    if count == 0 {
        // Were there aborted ones, it comes to them again.
        return Ok(());
    }
    let transaction = life.transaction();
    let mut ends = BTreeMap::new();
    for (partition, (from, read)) in &consumed {
        ends.insert(*partition, read.next);
        shared.transactions.consumes(transaction, *partition, (*from, read.next), read.numbers.clone());
    }
    match write(life, transaction, count, &ends, seed).await {
        Ok(true) => {
            life.end(transaction, true, seed).await?;
            positions.extend(ends);
            // What was told is so at once. Who is refused comes again some other time.
            if seed.chance(LOOKS_PER_MILLE) {
                let _told = reader::offsets(&mut life.speaker, shared, true).await;
            }
            shared.cluster.universe().trace.count("workload.txn_transformed");
            Ok(())
        }
        Ok(false) | Err(Over::Transaction) => life.end(transaction, false, seed).await,
        Err(Over::Life) => Err(Over::Life),
    }
}

async fn write(
    life: &mut Life,
    transaction: usize,
    count: usize,
    ends: &Positions,
    seed: &mut Seed,
) -> Result<bool, Over> {
    life.name(&SINKS, seed).await?;
    let first = count.div_ceil(2);
    life.write(transaction, &BTreeMap::from([(SINKS[0], first), (SINKS[1], count - first)]), seed).await?;
    writer::mishap(life.too_long_ms(), seed).await?;
    life.send_offsets(transaction, ends, seed).await?;
    writer::mishap(life.too_long_ms(), seed).await?;
    Ok(seed.chance(800))
}
