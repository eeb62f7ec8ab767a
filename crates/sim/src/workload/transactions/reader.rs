//! What consumers of decided records see: up to the last stable offset, without what was aborted, as Kafka's clients leave it out.

use super::client::{Offsets, Speaker};
use super::life::{name, number_of};
use super::{Parts, SOURCES};
use crate::workload::client::{Client, Failure, Fetched, Isolation, RETRIABLE};
use crate::workload::{Shared, batch, breathe};
use base::Seed;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Bytes of one answer, about; in a hurry.
const FETCH_BYTES: [u64; 3] = [1, 600, 4_000];
const MANY_BYTES: u64 = 16_000;

/// What a fetch of decided records brought.
#[derive(Debug, Clone, Default)]
pub(super) struct Read {
    /// Where it goes on.
    pub(super) next: i64,
    /// The records' numbers, in order.
    pub(super) numbers: Vec<u64>,
    /// There is nothing behind it, decided or not.
    pub(super) is_all: bool,
    /// There was nothing.
    pub(super) is_idle: bool,
}

/// Reads until the workload stops.
pub(super) async fn run(shared: Arc<Shared>, parts: Parts, mut seed: Seed, stopped: watch::Receiver<bool>) {
    let mut client = Client::new(&shared, seed.fork("client"));
    let mut speaker = Speaker::new(&shared, &parts, "transformer", seed.fork("speaker"));
    let mut positions = vec![0_i64; parts.len()];
    while !*stopped.borrow() {
        let partition = usize::try_from(seed.below(parts.len() as u64)).unwrap_or(0);
        if seed.chance(60) {
            let below = u64::try_from(positions[partition]).unwrap_or(0);
            positions[partition] = i64::try_from(seed.below(below + 1)).unwrap_or(0);
        }
        let at = (partition, positions[partition]);
        let limits = limits(&mut seed, 300);
        match read(&mut client, &shared, &parts, at, limits).await {
            Ok(read) => positions[partition] = read.next,
            // Only a stale broker knows of less.
            Err(Failure::Kafka(code)) if !RETRIABLE.contains(&code) => {
                let name = name(&parts, partition);
                shared.history.violation(format!("transactions: a fetch from {name} was refused with error {code}"));
            }
            Err(_) => {}
        }
        if seed.chance(150) {
            // Who is refused comes again some other time.
            let is_stable = seed.chance(500);
            let _told = offsets(&mut speaker, &shared, is_stable).await;
        }
        breathe(&mut seed, 700).await;
    }
}

/// How long a fetch waits at the most, and how many bytes it wants.
pub(super) fn limits(seed: &mut Seed, millis_max: u64) -> (Duration, u64) {
    let wait = Duration::from_millis(seed.below(millis_max));
    (wait, FETCH_BYTES[usize::try_from(seed.below(FETCH_BYTES.len() as u64)).unwrap_or(0)])
}

/// The same for who wants all of it.
pub(super) const IN_A_HURRY: (Duration, u64) = (Duration::from_millis(100), MANY_BYTES);

/// The group's offsets, and the checker is told.
pub(super) async fn offsets(speaker: &mut Speaker, shared: &Shared, is_stable: bool) -> Result<Offsets, Failure> {
    let asked = shared.transactions.asks();
    let offsets = speaker.offsets(&SOURCES, is_stable).await?;
    for (partition, found) in &offsets {
        shared.transactions.offset(asked, *partition, *found, is_stable);
    }
    Ok(offsets)
}

/// Fetches decided records once, and the checker is told.
pub(super) async fn read(
    client: &mut Client,
    shared: &Shared,
    parts: &Parts,
    (partition, position): (usize, i64),
    (wait, bytes_max): (Duration, u64),
) -> Result<Read, Failure> {
    let (topic, number) = &parts[partition];
    let fetched = client.fetch_as(Isolation::Decided, topic, (*number, position), wait, bytes_max).await?;
    let told = (fetched.last_stable, fetched.high_watermark);
    shared.transactions.stable(fetched.process, partition, fetched.asked, told);
    let (next, shown) = match decided(&fetched, position) {
        Ok(decided) => decided,
        Err(wrong) => {
            let name = name(parts, partition);
            shared.history.violation(format!("transactions: {name} read from {position}: {wrong}"));
            return Err(Failure::Empty { position, high_watermark: fetched.high_watermark });
        }
    };
    shared.transactions.reads(partition, (position, next), &shown);
    Ok(Read {
        next,
        numbers: shown.into_values().collect(),
        is_all: next >= fetched.high_watermark,
        is_idle: next == position,
    })
}

/// Where it goes on, and the numbers of the records that an application is shown.
fn decided(fetched: &Fetched, position: i64) -> Result<(i64, BTreeMap<i64, u64>), String> {
    let mut begin: Vec<(i64, i64)> = fetched.aborted.iter().map(|(producer, first)| (*first, *producer)).collect();
    begin.sort_unstable();
    let mut begin = begin.into_iter().peekable();
    let (mut aborted, mut shown, mut next) = (BTreeSet::new(), BTreeMap::new(), position);
    for batch in batch::decode(&fetched.records)? {
        let end = batch.base + i64::try_from(batch.records.len()).unwrap_or(0);
        let is_first = next == position;
        if batch.base > next || (batch.base < next && !is_first) || end <= next {
            return Err(format!("[{}, {end}) comes after {next}", batch.base));
        }
        if end > fetched.last_stable {
            return Err(format!("[{}, {end}) is above the last stable offset {}", batch.base, fetched.last_stable));
        }
        while let Some((_, producer)) = begin.next_if(|(first, _)| *first < end) {
            aborted.insert(producer);
        }
        if let Some(marker) = batch.marker {
            if !marker.commits {
                aborted.remove(&batch.producer.0);
            }
        } else if !batch.transactional || !aborted.contains(&batch.producer.0) {
            for (offset, record) in (batch.base..).zip(&batch.records).filter(|(offset, _)| *offset >= position) {
                shown.insert(offset, number_of(&record.value).ok_or("a record that nobody wrote")?);
            }
        }
        next = end;
    }
    Ok((next, shown))
}
