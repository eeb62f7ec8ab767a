//! What the clients did and saw, checked while it happens (invariants 1 to 7).
//!
//! Every record has an id and its bytes are a function of that id, so the history needs to keep no bytes: a record that is
//! read tells who it is, and must be exactly what was sent, to this partition of this topic. For each partition the history
//! knows what stands at which offset, by an acknowledgement or by a read, and nothing may ever contradict it.
//!
//! A produce whose answer was lost may be stored any number of times, that of an idempotent producer once, in its order;
//! an acknowledged one stands at its offset for as long as its topic does and retention leaves it.

use crate::workload::batch::Record;
use crate::world::{Trace, now};
use base::{Micros, Seed};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One life of a topic: a name may come back after a deletion.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicKey {
    /// Kafka's name.
    pub name: String,
    /// The how-manieth topic of that name.
    pub generation: u32,
}

/// A partition of a topic's life.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionKey {
    /// The topic.
    pub topic: TopicKey,
    /// Kafka's partition number.
    pub partition: i32,
}

/// A produce request that is under way.
#[derive(Debug)]
pub struct Sending {
    partition: PartitionKey,
    first_id: u64,
    count: u64,
    /// Everything acknowledged before it was sent stands below its offset.
    floor: i64,
}

/// The history of one run; clones share it.
#[derive(Clone)]
pub struct History {
    inner: Arc<Mutex<Inner>>,
    trace: Trace,
}

#[derive(Default)]
struct Inner {
    sent: Vec<Sent>,
    partitions: BTreeMap<PartitionKey, Partition>,
    watermarks: BTreeMap<(u64, PartitionKey), Watermarks>,
    violations: Vec<String>,
    /// Ids that were handed out to idempotent producers.
    producer_ids: BTreeSet<i64>,
}

/// What one life of one broker has named, oldest first: when the answer came, and the greatest so far.
type Watermarks = Vec<(Micros, i64, i64)>;

struct Sent {
    partition: PartitionKey,
    timestamp: i64,
    acknowledged: bool,
    /// The idempotent producer that sent it.
    producer: Option<i64>,
}

#[derive(Default)]
struct Partition {
    /// Where records of idempotent producers stand, by id.
    once: BTreeMap<u64, i64>,
    /// What stands at each offset, by acknowledgement or read.
    known: BTreeMap<i64, u64>,
    /// The offsets that were acknowledged.
    acknowledged: BTreeMap<i64, u64>,
    /// The end of what was acknowledged so far.
    acknowledged_end: i64,
    /// Records below were deleted, as an answer said.
    deleted: i64,
    /// Records below may be deleted: somebody asked for it.
    deletion_asked: i64,
}

/// A partition as read from end to end when all faults are over.
#[derive(Debug, Default)]
pub struct FinalScan {
    /// Log start and high watermark at the time.
    pub log_start: i64,
    /// See [`FinalScan::log_start`].
    pub high_watermark: i64,
    /// Ids by offset.
    pub records: BTreeMap<i64, u64>,
    /// Bytes of all batches.
    pub bytes: u64,
}

/// How long a value is at the least: its id and a mark.
const VALUE_BYTES_MIN: u64 = 16;

/// The bytes of a record's value: its id, and as much noise as its id says.
#[must_use]
pub fn value_of(id: u64, bytes_max: u64) -> Bytes {
    let mut seed = Seed::new(id);
    let len = seed.between(VALUE_BYTES_MIN, bytes_max.max(VALUE_BYTES_MIN));
    let mut value = Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 8);
    value.extend_from_slice(&id.to_be_bytes());
    value.extend_from_slice(&bytes_max.to_be_bytes());
    while (value.len() as u64) < len {
        value.extend_from_slice(&seed.next_u64().to_be_bytes());
    }
    Bytes::from(value)
}

impl History {
    /// An empty history.
    #[must_use]
    pub fn new(trace: Trace) -> History {
        History { inner: Arc::default(), trace }
    }

    /// Notes that records are about to be sent, and makes them.
    #[must_use]
    pub fn send(&self, partition: &PartitionKey, timestamps: &[i64], value_bytes_max: u64) -> (Sending, Vec<Record>) {
        self.note_send(partition, timestamps, value_bytes_max, None)
    }

    /// The same for an idempotent producer: they are stored once at the most, behind all that it sent there before.
    #[must_use]
    pub fn send_once(
        &self,
        partition: &PartitionKey,
        timestamps: &[i64],
        value_bytes_max: u64,
        producer: i64,
    ) -> (Sending, Vec<Record>) {
        self.note_send(partition, timestamps, value_bytes_max, Some(producer))
    }

    /// The cluster has handed out this producer id.
    pub fn producer_id(&self, id: i64) {
        if !self.lock().producer_ids.insert(id) {
            self.violation(format!("producer id {id} was handed out twice"));
        }
    }

    fn note_send(
        &self,
        partition: &PartitionKey,
        timestamps: &[i64],
        value_bytes_max: u64,
        producer: Option<i64>,
    ) -> (Sending, Vec<Record>) {
        let mut inner = self.lock();
        let first_id = inner.sent.len() as u64;
        let mut records = Vec::with_capacity(timestamps.len());
        for (id, timestamp) in (first_id..).zip(timestamps) {
            inner.sent.push(Sent {
                partition: partition.clone(),
                timestamp: *timestamp,
                acknowledged: false,
                producer,
            });
            records.push(Record { timestamp: *timestamp, value: value_of(id, value_bytes_max) });
        }
        let floor = inner.partitions.entry(partition.clone()).or_default().acknowledged_end;
        (Sending { partition: partition.clone(), first_id, count: timestamps.len() as u64, floor }, records)
    }

    /// The floor of a repeat of the same request: what was acknowledged meanwhile stands below it too.
    pub fn send_again(&self, sending: &mut Sending) {
        sending.floor = self.lock().partitions.entry(sending.partition.clone()).or_default().acknowledged_end;
    }

    /// The broker acknowledged the request at this base offset.
    pub fn acknowledged(&self, sending: &Sending, base: i64) {
        let mut inner = self.lock();
        let Inner { sent, partitions, violations, .. } = &mut *inner;
        let key = &sending.partition;
        let partition = partitions.entry(key.clone()).or_default();
        if base < sending.floor {
            violations.push(format!(
                "order: {key:?} acknowledged {base} for a request sent after {} had been acknowledged",
                sending.floor
            ));
        }
        for (offset, id) in (base..).zip(sending.first_id..sending.first_id + sending.count) {
            partition.put(key, offset, id, "acknowledged", sent, violations);
            partition.acknowledged.insert(offset, id);
            partition.acknowledged_end = partition.acknowledged_end.max(offset + 1);
            if let Some(sent) = usize::try_from(id).ok().and_then(|id| sent.get_mut(id)) {
                sent.acknowledged = true;
            }
        }
        drop(inner);
        self.trace.count_by("records.acknowledged", sending.count);
    }

    /// Requests that were sent in this order over one connection were acknowledged at these base offsets.
    pub fn pipelined(&self, key: &PartitionKey, bases: &[i64]) {
        if !bases.is_sorted_by(|before, after| before < after) {
            self.violation(format!("order: {key:?} acknowledged what one connection sent in order at {bases:?}"));
        }
        self.trace.count("check.pipelined");
    }

    /// Asks to delete everything below a random offset, all that was acknowledged most of the time. Returns that offset.
    pub fn delete(&self, key: &PartitionKey, seed: &mut Seed) -> i64 {
        let mut inner = self.lock();
        let partition = inner.partitions.entry(key.clone()).or_default();
        let end = partition.acknowledged_end;
        let offset =
            if seed.chance(500) { end } else { i64::try_from(seed.below(end.unsigned_abs() + 1)).unwrap_or(0) };
        partition.deletion_asked = partition.deletion_asked.max(offset);
        offset
    }

    /// An answer said that everything below `offset` is deleted, and that the partition begins at `low_watermark`.
    pub fn deleted(&self, key: &PartitionKey, offset: i64, low_watermark: i64) {
        let mut inner = self.lock();
        let Inner { partitions, violations, .. } = &mut *inner;
        let partition = partitions.entry(key.clone()).or_default();
        if low_watermark < offset || low_watermark > partition.deletion_asked {
            violations.push(format!("{key:?} begins at {low_watermark} after a deletion up to {offset}"));
        }
        partition.deleted = partition.deleted.max(offset);
        drop(inner);
        self.trace.count("check.deleted");
    }

    /// A client read this record at this offset. Returns its id.
    pub fn read(&self, key: &PartitionKey, offset: i64, record: &Record) -> Option<u64> {
        self.trace.count("records.read");
        let mut inner = self.lock();
        let Inner { sent, partitions, violations, .. } = &mut *inner;
        let Some(id) = identify(record, key, sent) else {
            violations.push(format!("invented: {key:?} offset {offset} holds bytes that were never sent there"));
            return None;
        };
        partitions.entry(key.clone()).or_default().put(key, offset, id, "read", sent, violations);
        Some(id)
    }

    /// A broker process named its high watermark and log start. `process` is one life of one broker, `asked` when it was asked:
    /// answers that were under way at the same time may overtake each other.
    pub fn watermark(&self, process: u64, key: &PartitionKey, asked: Micros, high_watermark: i64, log_start: i64) {
        let mut inner = self.lock();
        let Inner { watermarks, violations, .. } = &mut *inner;
        let seen = watermarks.entry((process, key.clone())).or_default();
        let before = seen.iter().rev().find(|(answered, ..)| *answered < asked);
        let (_, watermark_before, start_before) = before.copied().unwrap_or_default();
        if high_watermark < watermark_before {
            violations.push(format!("high watermark of {key:?} went back from {watermark_before} to {high_watermark}"));
        }
        if log_start < start_before {
            violations.push(format!("log start of {key:?} went back from {start_before} to {log_start}"));
        }
        if log_start > high_watermark {
            violations.push(format!("{key:?} starts at {log_start}, beyond its high watermark {high_watermark}"));
        }
        let (_, greatest_watermark, greatest_start) = seen.last().copied().unwrap_or_default();
        seen.push((now(), high_watermark.max(greatest_watermark), log_start.max(greatest_start)));
        drop(inner);
        self.trace.count("check.watermarks");
    }

    /// A broker answered which record (offset and timestamp) is the first at or after a time. `log_start` was asked for later.
    pub fn seek(&self, key: &PartitionKey, target: i64, (offset, timestamp): (i64, i64), log_start: i64) {
        let mut inner = self.lock();
        let Inner { sent, partitions, violations, .. } = &mut *inner;
        let partition = partitions.entry(key.clone()).or_default();
        if timestamp < target {
            violations.push(format!("seek: {key:?} answered {timestamp} for time {target}"));
        }
        let time_of = |id: u64| usize::try_from(id).ok().and_then(|id| sent.get(id)).map_or(0, |sent| sent.timestamp);
        if let Some(id) = partition.known.get(&offset)
            && time_of(*id) != timestamp
        {
            violations.push(format!("seek: {key:?} says {timestamp} of offset {offset}, sent was {}", time_of(*id)));
        }
        let earlier = partition.known.range(log_start.min(offset)..offset);
        if let Some((better, _)) = earlier.clone().find(|(_, id)| time_of(**id) >= target) {
            violations.push(format!("seek: {key:?} answered {offset} for time {target}, but {better} comes first"));
        }
        drop(inner);
        self.trace.count("check.seek");
    }

    /// Compares a partition's final contents with everything known of it.
    pub fn finish(&self, key: &PartitionKey, scan: &FinalScan, retention_bytes: Option<u64>) {
        let mut inner = self.lock();
        let Inner { sent, partitions, violations, .. } = &mut *inner;
        let partition = partitions.entry(key.clone()).or_default();
        let mut last: BTreeMap<i64, u64> = BTreeMap::new();
        for (offset, id) in &scan.records {
            let Some(producer) = producer_of(sent, *id) else { continue };
            if let Some(before) = last.insert(producer, *id).filter(|before| before >= id) {
                violations.push(format!(
                    "order: {key:?} has record {id} of producer {producer} at {offset}, behind its record {before}"
                ));
            }
        }
        if partition.acknowledged_end > scan.high_watermark {
            violations.push(format!(
                "lost: {key:?} ends at {}, acknowledged was up to {}",
                scan.high_watermark, partition.acknowledged_end
            ));
        }
        for offset in scan.log_start..scan.high_watermark {
            if !scan.records.contains_key(&offset) {
                let kind = if partition.acknowledged.contains_key(&offset) { "lost" } else { "hole" };
                violations.push(format!("{kind}: {key:?} has nothing at {offset}"));
                break;
            }
        }
        if scan.log_start < partition.deleted {
            violations.push(format!(
                "{key:?} starts at {}, what lies below {} was deleted",
                scan.log_start, partition.deleted
            ));
        }
        match retention_bytes {
            None if scan.log_start > partition.deletion_asked => {
                violations.push(format!("lost: {key:?} has no retention and starts at {}", scan.log_start));
            }
            Some(kept) if scan.log_start > 0 && scan.bytes < kept => violations.push(format!(
                "lost: {key:?} must keep {kept} bytes, starts at {} and holds {}",
                scan.log_start, scan.bytes
            )),
            Some(_) | None => {}
        }
        drop(inner);
        self.trace.count("check.final_scan");
    }

    /// Notes a violation that another checker found.
    pub fn violation(&self, what: String) {
        self.lock().violations.push(what);
    }

    /// What was found wrong so far.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Partition {
    fn put(
        &mut self,
        key: &PartitionKey,
        offset: i64,
        id: u64,
        how: &str,
        sent: &[Sent],
        violations: &mut Vec<String>,
    ) {
        if producer_of(sent, id).is_some() {
            let place = *self.once.entry(id).or_insert(offset);
            if place != offset {
                violations
                    .push(format!("twice: {key:?} {how} record {id} at {offset}, which stands at {place} as well"));
            }
        }
        let known = *self.known.entry(offset).or_insert(id);
        if known != id {
            violations
                .push(format!("offset reused: {key:?} {how} record {id} at {offset}, where record {known} stood"));
        }
    }
}

/// The idempotent producer of a record.
fn producer_of(sent: &[Sent], id: u64) -> Option<i64> {
    usize::try_from(id).ok().and_then(|id| sent.get(id))?.producer
}

/// Which record of this partition these bytes are. A request whose fate is unknown may have arrived after its topic was made
/// anew, so it may stand in a later topic of the same name; an acknowledged record may not.
fn identify(record: &Record, key: &PartitionKey, sent: &[Sent]) -> Option<u64> {
    let id = u64::from_be_bytes(record.value.get(..8)?.try_into().ok()?);
    let bytes_max = u64::from_be_bytes(record.value.get(8..16)?.try_into().ok()?);
    let original = sent.get(usize::try_from(id).ok()?)?;
    let theirs = &original.partition;
    let here = theirs == key
        || theirs.topic.name == key.topic.name
            && theirs.partition == key.partition
            && theirs.topic.generation < key.topic.generation
            && !original.acknowledged;
    (here && original.timestamp == record.timestamp && bytes_max < 1 << 20 && value_of(id, bytes_max) == record.value)
        .then_some(id)
}
