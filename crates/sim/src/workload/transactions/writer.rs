//! A writer: some records to one or both source partitions in a transaction, which is committed or aborted; or left alone, or for too long.

use super::client::Speaker;
use super::life::{Life, Over};
use super::{Parts, SOURCES};
use crate::workload::{Shared, breathe};
use crate::world::wait;
use base::Seed;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Rounds of batches of one transaction, and records of one batch, at the most.
const ROUNDS_MAX: u64 = 3;
const RECORDS_MAX: u64 = 3;
/// How long an abort waits for what is under way at the most, in milliseconds.
const BESIDE_MS_MAX: u64 = 30;
/// Chances for one more producer that never comes back: each holds readers up for as long as its transaction may take.
const ORPHANS_PER_MILLE: u64 = 200;
/// Transactions of a life at the most.
const TRANSACTIONS_MAX: u64 = 25;

/// Lives one life after the other until the workload stops.
pub(super) async fn run(shared: Arc<Shared>, mut speaker: Speaker, mut seed: Seed, stopped: watch::Receiver<bool>) {
    loop {
        let Some(mut life) = Life::begin(&shared, speaker, &mut seed, &stopped).await else { return };
        for _ in 0..seed.between(1, TRANSACTIONS_MAX) {
            if *stopped.borrow() {
                return;
            }
            if transaction(&mut life, &mut seed).await.is_err() {
                break;
            }
            breathe(&mut seed, 1_000).await;
        }
        speaker = life.speaker;
        breathe(&mut seed, 2_500).await;
    }
}

/// Producers under ids of their own that write, die and never come back: nobody but a transaction's age ends what they have begun.
pub(super) async fn orphans(shared: Arc<Shared>, parts: Parts, mut seed: Seed, stopped: watch::Receiver<bool>) {
    let mut number = 0;
    while !*stopped.borrow() {
        breathe(&mut seed, 2_500).await;
        if !seed.chance(ORPHANS_PER_MILLE) {
            continue;
        }
        number += 1;
        let speaker = Speaker::new(&shared, &parts, &format!("orphan-{number}"), seed.fork("orphan"));
        let Some(mut life) = Life::begin(&shared, speaker, &mut seed, &stopped).await else { return };
        let transaction = life.transaction();
        if write(&mut life, transaction, &mut seed).await.is_ok() {
            shared.cluster.universe().trace.count("workload.txn_orphan");
        }
    }
}

async fn transaction(life: &mut Life, seed: &mut Seed) -> Result<(), Over> {
    let transaction = life.transaction();
    match write(life, transaction, seed).await {
        Ok(true) => life.end(transaction, true, seed).await,
        Ok(false) | Err(Over::Transaction) => {
            if seed.chance(500) {
                let partition = SOURCES[usize::from(seed.chance(500))];
                life.throw(transaction, partition, seed).await;
                breathe(seed, BESIDE_MS_MAX).await;
            }
            life.end(transaction, false, seed).await
        }
        Err(Over::Life) => Err(Over::Life),
    }
}

/// Whether it is to be committed.
async fn write(life: &mut Life, transaction: usize, seed: &mut Seed) -> Result<bool, Over> {
    let partitions: Vec<usize> = match seed.below(4) {
        0 => vec![SOURCES[0]],
        1 => vec![SOURCES[1]],
        _ => SOURCES.to_vec(),
    };
    life.name(&partitions, seed).await?;
    for _ in 0..seed.between(1, ROUNDS_MAX) {
        let records = |_: &usize| usize::try_from(seed.between(0, RECORDS_MAX)).unwrap_or(0);
        let counts: Vec<usize> = partitions.iter().map(records).collect();
        let counts: BTreeMap<usize, usize> = partitions.iter().copied().zip(counts).collect();
        life.write(transaction, &counts, seed).await?;
        mishap(life.too_long_ms(), seed).await?;
    }
    // A commit of nothing is refused under version 2.
    life.write(transaction, &BTreeMap::from([(partitions[0], 1)]), seed).await?;
    Ok(seed.chance(750))
}

/// What befalls a client in the middle: it dies, or it sleeps longer than its transaction may take.
pub(super) async fn mishap(too_long_ms: u64, seed: &mut Seed) -> Result<(), Over> {
    match seed.below(100) {
        0..4 => Err(Over::Life),
        4..7 => {
            wait(Duration::from_millis(too_long_ms)).await;
            Ok(())
        }
        7..30 => {
            breathe(seed, 400).await;
            Ok(())
        }
        _ => Ok(()),
    }
}
