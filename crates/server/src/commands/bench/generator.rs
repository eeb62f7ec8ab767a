//! Gives records to a producer when they are due. Runs on the main thread, which sleeps more exactly than a runtime's timer.

use super::super::CommandError;
use super::super::cluster::wants_a_key;
use super::super::progress::{self, Unit};
use super::report::Latencies;
use crate::args::client::Load;
use base::{Micros, Seed};
use client::{ClientError, Cluster, OnDelivery, OutRecord, Producer, ProducerOptions};
use std::time::Duration;
use tokio::runtime::Runtime;
use world::ClockExt;

/// In each value: whose it is, and when it was due.
pub(super) const STAMP_BYTES: usize = 16;
/// Values are cut from this many random bytes, so that compressing them gains nothing.
const POOL_BYTES: usize = 4 << 20;
/// Without `--rate` the clock is looked at once for so many records.
const LOOK_EVERY: u64 = 16;

/// When what happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    pub(super) begin: Micros,
    /// From here on records count.
    pub(super) counted_from: Micros,
    pub(super) end: Micros,
    rate: Option<u32>,
}

impl Schedule {
    pub(super) fn new(now: Micros, load: &Load) -> Schedule {
        let counted_from = now.plus(Duration::from_secs(load.warmup));
        let end = counted_from.plus(Duration::from_secs(load.duration));
        Schedule { begin: now, counted_from, end, rate: load.rate }
    }

    /// Whether a record that is due then counts.
    pub(super) fn counts(&self, due: Micros) -> bool {
        due >= self.counted_from
    }

    /// When record `n` is due; `None` where it is due as soon as it is taken.
    fn due(&self, n: u64) -> Option<Micros> {
        let rate = u128::from(self.rate?);
        let after = u128::from(n) * 1_000_000 / rate;
        Some(self.begin.plus(Duration::from_micros(u64::try_from(after).unwrap_or(u64::MAX))))
    }
}

/// What the generator did.
#[derive(Debug)]
pub(super) struct Generated {
    /// Records given to the producer.
    pub(super) records: u64,
    /// How long after they were due, of those that count.
    pub(super) late: Latencies,
}

/// The producer that `load` describes.
pub(super) fn producer(
    runtime: &Runtime,
    cluster: &Cluster,
    load: &Load,
    on_delivery: OnDelivery,
) -> Result<Producer, CommandError> {
    let options = ProducerOptions {
        batch_bytes: usize::try_from(load.batch_size).unwrap_or(usize::MAX),
        linger: Duration::from_millis(load.linger),
        compression: load.compression.into(),
        delivery_within: Duration::from_secs(load.cluster.timeout),
        ..ProducerOptions::default()
    };
    Ok(runtime.block_on(Producer::start(cluster.clone(), &load.topic, options, on_delivery))?)
}

/// Generates the whole load and waits until it is acknowledged. `run_id` stands in each value.
pub(super) fn generate(
    runtime: &Runtime,
    cluster: &Cluster,
    producer: &Producer,
    load: &Load,
    schedule: &Schedule,
    run_id: u64,
) -> Result<Generated, CommandError> {
    let clock = &cluster.world().clock;
    let size = usize::try_from(load.size).unwrap_or(usize::MAX);
    let mut values = Values::new(run_id, size);
    let partitions = u64::try_from(producer.partitions()).unwrap_or(1);
    let bar = progress::bar(load.warmup + load.duration, Unit::Seconds);
    let mut generated = Generated { records: 0, late: Latencies::new() };
    let mut now = clock.now();
    loop {
        let n = generated.records;
        let due = match schedule.due(n) {
            None => {
                if n.is_multiple_of(LOOK_EVERY) {
                    now = clock.now();
                }
                now
            }
            Some(due) => {
                now = clock.now();
                if due > now {
                    std::thread::sleep(due.since(now));
                    now = clock.now();
                }
                due
            }
        };
        if due >= schedule.end {
            break;
        }
        if schedule.counts(due) {
            generated.late.record(now.since(due));
        }
        let partition = i32::try_from(n % partitions).unwrap_or(0);
        let record = OutRecord { key: None, value: Some(values.next(due)), due };
        runtime.block_on(producer.send(Some(partition), &record)).map_err(refused)?;
        generated.records += 1;
        bar.set_position(now.since(schedule.begin).as_secs());
    }
    let within = Duration::from_secs(load.cluster.timeout) * 2;
    let flushed = runtime.block_on(async { clock.timeout(within, producer.flush()).await });
    bar.finish_and_clear();
    match flushed {
        Some(flushed) => flushed.map_err(refused)?,
        None => return Err(CommandError::failed(format!("not everything was acknowledged {within:?} after the end"))),
    }
    Ok(generated)
}

/// What `millstream produce` is advised to do can't be done here.
fn refused(error: ClientError) -> CommandError {
    if wants_a_key(&error) {
        let advice = "the topic is compacted, and bench writes no keys: use a topic without compact";
        return CommandError::failed(format!("{error}: {advice}"));
    }
    error.into()
}

/// Values of one size, each with its stamp.
struct Values {
    pool: Vec<u8>,
    run_id: u64,
    size: usize,
    at: usize,
    value: Vec<u8>,
}

impl Values {
    fn new(run_id: u64, size: usize) -> Values {
        let mut seed = Seed::new(run_id);
        let pool = (0..(POOL_BYTES + size) / 8 + 1).flat_map(|_| seed.next_u64().to_le_bytes()).collect();
        Values { pool, run_id, size, at: 0, value: vec![0; size] }
    }

    fn next(&mut self, due: Micros) -> &[u8] {
        self.at = (self.at + self.size) % POOL_BYTES;
        self.value.copy_from_slice(&self.pool[self.at..self.at + self.size]);
        self.value[..8].copy_from_slice(&self.run_id.to_be_bytes());
        self.value[8..STAMP_BYTES].copy_from_slice(&due.0.to_be_bytes());
        &self.value
    }
}

/// When the record with this value was due, if it is one of this run.
pub(super) fn due_of(value: &[u8], run_id: u64) -> Option<Micros> {
    let (id, rest) = value.split_first_chunk::<8>()?;
    let due = rest.first_chunk::<8>()?;
    (u64::from_be_bytes(*id) == run_id).then(|| Micros(u64::from_be_bytes(*due)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_due_evenly_whatever_happens() {
        let second = |n: u64| Micros(n * 1_000_000);
        let mut schedule = Schedule { begin: second(5), counted_from: second(6), end: second(9), rate: Some(3) };
        let due = [0, 1, 2, 3].map(|n| schedule.due(n).unwrap().0);
        assert_eq!(due, [5_000_000, 5_333_333, 5_666_666, 6_000_000]);
        // Years later, still without an error that has added up.
        assert_eq!(schedule.due(3_000_000_000), Some(second(1_000_000_005)));
        assert_eq!(due.map(|due| schedule.counts(Micros(due))), [false, false, false, true]);
        schedule.rate = None;
        assert_eq!(schedule.due(7), None);
    }

    #[test]
    fn a_value_tells_when_it_was_due_and_whose_it_is() {
        let mut values = Values::new(9, 100);
        let first = values.next(Micros(77)).to_vec();
        assert_eq!((first.len(), due_of(&first, 9), due_of(&first, 8)), (100, Some(Micros(77)), None));
        assert_ne!(first[STAMP_BYTES..], values.next(Micros(77))[STAMP_BYTES..]);
        assert_eq!(due_of(b"short", 9), None);
    }
}
