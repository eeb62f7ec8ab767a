//! Kafka's rules one by one, then all of them over random histories against a model of what consumers must see.

use super::super::keys::Keys;
use super::super::transactions::tests::marker_batch;
use super::*;
use crate::options::Cleaning;
use base::Seed;
use protocol::record_batch::{BatchBuilder, Compression, KeyHasher, NewRecord};
use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

const RETENTION_MS: i64 = 1000;
const RECORDS_BYTES_MAX: usize = 1 << 20;

struct Free;

impl Pace for Free {
    async fn spent(&mut self, _: usize) {}
}

fn now<T>(work: impl Future<Output = T>) -> T {
    match std::pin::pin!(work).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("nothing is waited for"),
    }
}

/// A log, and how far it was cleaned.
#[derive(Default)]
struct Log {
    batches: Vec<RecordBatch>,
    next: i64,
    cleaned: Offset,
    /// Each producer's newest batch.
    newest: BTreeMap<i64, Offset>,
}

/// One cleaning's circumstances.
#[derive(Clone, Copy)]
struct When {
    time: i64,
    lag_min_ms: i64,
    map_bytes: usize,
}

fn at(time: i64) -> When {
    When { time, lag_min_ms: 0, map_bytes: 1 << 20 }
}

type Pair<'a> = (&'a str, Option<&'a str>);

impl Log {
    fn push(&mut self, builder: BatchBuilder, time: i64, records: &[Pair<'_>]) {
        let add = |builder: BatchBuilder, (key, value): &Pair<'_>| {
            let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
            builder.record(&NewRecord { timestamp: time, key, value, ..NewRecord::default() })
        };
        let batch = records.iter().fold(builder, add).build(self.next).unwrap();
        self.next = batch.last_offset() + 1;
        if batch.has_producer_id() {
            self.newest.insert(batch.producer_id(), Offset::from_kafka(batch.base_offset()).unwrap());
        }
        self.batches.push(batch);
    }

    fn plain(&mut self, records: &[Pair<'_>]) {
        self.push(BatchBuilder::new(), 0, records);
    }

    fn mark(&mut self, producer_id: i64, aborts: bool) {
        self.batches.push(marker_batch(self.next, producer_id, aborts));
        self.next += 1;
    }

    fn clean(&mut self, when: When) -> u64 {
        let mut markers = Markers::default();
        for batch in self.batches.iter().filter(|batch| batch.is_control()) {
            markers.add(batch).unwrap();
        }
        let cleaning = Cleaning {
            dirty_ratio_min: 0.0,
            lag_min_ms: when.lag_min_ms,
            little_wait_ms: 0,
            lag_max_ms: i64::MAX,
            delete_retention_ms: RETENTION_MS,
        };
        let map = OffsetMap::new(KeyHasher::new(3), when.map_bytes, 10_000);
        let mut keys = Keys::new(map, &markers, self.cleaned, (cleaning, UnixMillis(when.time)));
        let first = self.batches.partition_point(|batch| batch.last_offset() < self.cleaned.to_kafka());
        let _stopped = self.batches[first..].iter().all(|batch| now(keys.learn(batch, &mut Free)).unwrap());
        if keys.below <= self.cleaned {
            return 0;
        }
        let newest = self.newest.clone();
        let rules = Rules {
            map: &keys.map,
            markers: &markers,
            cleaned: self.cleaned,
            below: keys.below,
            now: UnixMillis(when.time),
            delete_retention_ms: RETENTION_MS,
            may_be_newest: &|producer_id, base| newest.get(&producer_id) == Some(&base),
        };
        let mut filter = Filter::new(rules);
        let mut kept = Vec::new();
        for batch in &self.batches {
            match now(filter.next(batch, &mut Free)).unwrap() {
                Fate::Stays => kept.push(batch.clone()),
                Fate::Becomes(other) => kept.push(other),
                Fate::Goes => {}
            }
        }
        let removed = filter.removed_records;
        self.cleaned = keys.below;
        self.batches = kept;
        for batch in &self.batches {
            batch.check().unwrap();
        }
        removed
    }

    /// Offset, key and value of every record that is no control record.
    fn records(&self) -> Vec<(i64, String, Option<String>)> {
        let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let data = self.batches.iter().filter(|batch| !batch.is_control());
        let records = data.flat_map(|batch| batch.records(RECORDS_BYTES_MAX).unwrap().map(Result::unwrap));
        records.map(|record| (record.offset, text(record.key.unwrap()), record.value.map(text))).collect()
    }

    fn offsets(&self) -> Vec<i64> {
        self.records().into_iter().map(|(offset, ..)| offset).collect()
    }

    fn bases(&self) -> Vec<i64> {
        self.batches.iter().map(RecordBatch::base_offset).collect()
    }
}

#[test]
fn the_last_record_of_each_key_stays_at_its_offset() {
    let mut log = Log::default();
    log.plain(&[("a", Some("1")), ("b", Some("1")), ("a", Some("2"))]);
    log.plain(&[("c", Some("1"))]);
    log.plain(&[("b", Some("2")), ("c", Some("2"))]);
    assert_eq!(log.clean(at(5)), 3);
    assert_eq!((log.offsets(), log.bases()), (vec![2, 4, 5], vec![0, 4]), "a batch without records goes");
    assert_eq!(log.cleaned, Offset(6));
    let untouched = log.batches[1].clone();
    log.plain(&[("a", Some("3"))]);
    log.clean(at(6));
    assert_eq!(log.offsets(), [4, 5, 6]);
    assert_eq!(log.batches[0].bytes(), untouched.bytes(), "what keeps all its records is not touched");
}

#[test]
fn the_last_batch_of_what_is_cleaned_stays_if_only_as_an_empty_one() {
    let mut log = Log::default();
    log.plain(&[("a", Some("1"))]);
    log.plain(&[("a", None)]);
    log.clean(at(10));
    assert_eq!(log.offsets(), [1]);
    log.clean(at(10 + RETENTION_MS));
    assert_eq!((log.offsets(), log.bases()), (vec![1], vec![1]), "nothing is new, so nothing is looked at");
    log.plain(&[("b", Some("1"))]);
    log.plain(&[("b", Some("2"))]);
    log.clean(at(10 + RETENTION_MS));
    assert_eq!((log.offsets(), log.bases()), (vec![3], vec![3]));
    log.push(BatchBuilder::new().producer(7, 0, 0).transactional(), 0, &[("c", Some("1"))]);
    log.mark(7, true);
    log.clean(at(20 + RETENTION_MS));
    assert_eq!(log.offsets(), [3]);
    assert_eq!(log.bases(), [3, 4, 5], "of the producer an empty batch stays, and the marker");
}

#[test]
fn a_deletion_mark_stays_until_its_horizon_and_then_goes_with_all_that_it_hid() {
    let mut log = Log::default();
    log.plain(&[("a", Some("1")), ("b", Some("1"))]);
    log.plain(&[("a", None)]);
    log.plain(&[("z", Some("1"))]);
    log.clean(at(100));
    assert_eq!(log.offsets(), [1, 2, 3]);
    assert_eq!(
        log.batches[1].delete_horizon(),
        Some(100 + RETENTION_MS),
        "from the first cleaning on, not from its own time"
    );
    for (time, stays) in [(100 + RETENTION_MS - 1, true), (100 + RETENTION_MS, false)] {
        log.plain(&[("z", Some("2"))]);
        log.clean(at(time));
        assert_eq!(log.offsets().contains(&2), stays, "at {time}");
    }
    assert_eq!(log.records().iter().filter(|(_, key, _)| key == "a").count(), 0);
}

#[test]
fn a_mark_that_shares_its_batch_gets_its_horizon_and_the_others_keep_their_times() {
    let mut log = Log::default();
    log.push(BatchBuilder::new().compression(Compression::Lz4), 77, &[("a", Some("1")), ("b", None), ("c", Some("1"))]);
    log.clean(at(100));
    let batch = &log.batches[0];
    assert_eq!(batch.delete_horizon(), Some(100 + RETENTION_MS));
    let times = batch.records(RECORDS_BYTES_MAX).unwrap().map(|record| record.unwrap().timestamp);
    assert_eq!(times.collect::<Vec<_>>(), [77, 77, 77]);
    log.plain(&[("z", Some("1"))]);
    log.clean(at(100 + RETENTION_MS));
    assert_eq!(log.offsets(), [0, 2, 3]);
}

#[test]
fn what_an_aborted_transaction_wrote_goes_and_hides_nothing() {
    let mut log = Log::default();
    log.plain(&[("a", Some("1")), ("b", Some("1"))]);
    log.push(BatchBuilder::new().producer(7, 0, 0).transactional(), 0, &[("a", Some("void"))]);
    log.push(BatchBuilder::new().producer(8, 0, 0).transactional(), 0, &[("b", Some("2"))]);
    log.mark(7, true);
    log.mark(8, false);
    log.push(BatchBuilder::new().producer(7, 0, 1).transactional(), 0, &[("c", Some("1"))]);
    log.mark(7, false);
    log.plain(&[("z", Some("1"))]);
    log.clean(at(100));
    assert_eq!(log.offsets(), [0, 3, 6, 8]);
    assert_eq!(log.bases(), [0, 3, 4, 5, 6, 7, 8], "markers stay while there was something of their transaction");
    log.plain(&[("z", Some("2"))]);
    log.clean(at(200));
    let control: Vec<_> = log.batches.iter().filter(|batch| batch.is_control()).collect();
    let horizons: Vec<_> = control.iter().map(|batch| (batch.base_offset(), batch.delete_horizon())).collect();
    assert_eq!(horizons, [(4, Some(200 + RETENTION_MS)), (5, None), (7, None)]);
    log.plain(&[("z", Some("3"))]);
    log.clean(at(200 + RETENTION_MS));
    assert_eq!(
        log.bases(),
        [0, 3, 5, 6, 7, 10],
        "the aborted one's marker has gone, those of records that are there have not"
    );
}

#[test]
fn an_open_transaction_and_what_lies_behind_it_wait() {
    let mut log = Log::default();
    log.plain(&[("a", Some("1"))]);
    log.plain(&[("a", Some("2"))]);
    log.push(BatchBuilder::new().producer(7, 0, 0).transactional(), 0, &[("a", Some("3"))]);
    log.plain(&[("a", Some("4"))]);
    log.clean(at(100));
    assert_eq!((log.cleaned, log.offsets()), (Offset(2), vec![1, 2, 3]));
    log.mark(7, false);
    log.clean(at(101));
    assert_eq!((log.cleaned, log.offsets()), (Offset(5), vec![3]));
}

#[test]
fn what_is_young_waits_and_what_does_not_fit_the_map_too() {
    let mut log = Log::default();
    log.push(BatchBuilder::new(), 10, &[("a", Some("1")), ("a", Some("2"))]);
    log.push(BatchBuilder::new(), 90, &[("a", Some("3"))]);
    log.clean(When { lag_min_ms: 50, ..at(100) });
    assert_eq!((log.cleaned, log.offsets()), (Offset(2), vec![1, 2]));

    let mut log = Log::default();
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    for _ in 0..3 {
        for key in &keys {
            log.plain(&[(key, Some("v"))]);
        }
    }
    let tight = When { map_bytes: 24 * 32, ..at(100) };
    log.clean(tight);
    assert_eq!(log.cleaned, Offset(24), "three quarters of 32 slots");
    while log.cleaned < Offset(300) {
        log.clean(tight);
    }
    assert_eq!(log.offsets(), (200..300).collect::<Vec<_>>());
}

/// What a consumer must see in the end, and what must be there.
struct Model {
    /// Every record ever: key, value, producer of its transaction.
    records: BTreeMap<i64, (String, Option<String>, Option<i64>)>,
    aborted: Vec<i64>,
    /// Where each transaction's marker stands, by the offsets of its records.
    marker_of: BTreeMap<i64, i64>,
    /// By producer: offsets of the open transaction.
    open: BTreeMap<i64, Vec<i64>>,
    /// The first cleaning that met a deletion mark.
    met: BTreeMap<i64, i64>,
}

impl Model {
    fn counts(&self, offset: i64) -> bool {
        !self.aborted.contains(&offset) && !self.open.values().any(|open| open.contains(&offset))
    }

    /// The last record of each key, of those that count.
    fn last(&self) -> BTreeMap<&str, (i64, Option<&str>)> {
        let counted = self.records.iter().filter(|(offset, _)| self.counts(**offset));
        counted.map(|(offset, (key, value, _))| (key.as_str(), (*offset, value.as_deref()))).collect()
    }

    fn check(&mut self, log: &Log, time: i64) {
        let present: BTreeMap<i64, (String, Option<String>)> =
            log.records().into_iter().map(|(offset, key, value)| (offset, (key, value))).collect();
        for (offset, (key, value)) in &present {
            let (was_key, was_value, _) = &self.records[offset];
            assert_eq!((key, value), (was_key, was_value), "offset {offset} is what it was");
            assert!(*offset >= log.cleaned.to_kafka() || !self.aborted.contains(offset), "offset {offset} was aborted");
            if let Some(marker) = self.marker_of.get(offset) {
                assert!(log.bases().contains(marker), "the marker at {marker} of the record at {offset} is gone");
            }
        }
        let newly_met: Vec<i64> = {
            let last = self.last();
            // What consumers see in the end, whatever else they see on the way.
            let mut seen: BTreeMap<&str, Option<&str>> = BTreeMap::new();
            for (offset, (key, value)) in present.iter().filter(|(offset, _)| self.counts(**offset)) {
                assert!(last[key.as_str()].0 >= *offset);
                seen.insert(key, value.as_deref());
            }
            seen.retain(|_, value| value.is_some());
            let mut expected: BTreeMap<&str, Option<&str>> =
                last.iter().map(|(key, (_, value))| (*key, *value)).collect();
            expected.retain(|_, value| value.is_some());
            assert_eq!(seen, expected, "at {time}");
            for (offset, value) in last.values() {
                let is_kept = value.is_some() || self.met.get(offset).is_none_or(|met| time < met + RETENTION_MS);
                assert!(!is_kept || present.contains_key(offset), "the record at {offset} is gone at {time}");
            }
            let marks = self.records.iter().filter(|(_, (_, value, _))| value.is_none()).map(|(offset, _)| *offset);
            marks.filter(|offset| *offset < log.cleaned.to_kafka()).collect()
        };
        for offset in newly_met {
            self.met.entry(offset).or_insert(time);
        }
    }
}

fn story(seed: &mut Seed) -> (Log, Model, i64) {
    let mut log = Log::default();
    let mut model = Model {
        records: BTreeMap::new(),
        aborted: Vec::new(),
        marker_of: BTreeMap::new(),
        open: BTreeMap::new(),
        met: BTreeMap::new(),
    };
    let mut time = 0;
    let mut removed = 0;
    for _ in 0..seed.between(20, 120) {
        time += i64::try_from(seed.below(200)).unwrap();
        match seed.below(10) {
            0..=5 => {
                let producer = [None, Some(7), Some(8), Some(9)][usize::try_from(seed.below(4)).unwrap()];
                let codec = Compression::ALL[usize::try_from(seed.below(5)).unwrap()];
                let mut builder = BatchBuilder::new().compression(codec);
                if let Some(producer) = producer {
                    builder = builder.producer(producer, 0, 0).transactional();
                }
                let texts: Vec<(String, Option<String>)> = (0..seed.between(1, 4))
                    .map(|_| (format!("k{}", seed.below(6)), seed.chance(700).then(|| format!("v{}", seed.below(100)))))
                    .collect();
                for (offset, (key, value)) in (log.next..).zip(&texts) {
                    model.records.insert(offset, (key.clone(), value.clone(), producer));
                    if let Some(producer) = producer {
                        model.open.entry(producer).or_default().push(offset);
                    }
                }
                let pairs: Vec<Pair<'_>> = texts.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
                log.push(builder, time, &pairs);
            }
            6 | 7 => {
                let producer = [7, 8, 9][usize::try_from(seed.below(3)).unwrap()];
                let Some(offsets) = model.open.remove(&producer) else { continue };
                let aborts = seed.chance(400);
                for offset in offsets {
                    model.marker_of.insert(offset, log.next);
                    if aborts {
                        model.aborted.push(offset);
                    }
                }
                log.mark(producer, aborts);
            }
            _ => {
                let lag_min_ms = if seed.chance(300) { 300 } else { 0 };
                let map_bytes = if seed.chance(300) { 24 * 16 } else { 1 << 20 };
                removed += log.clean(When { lag_min_ms, map_bytes, ..at(time) });
                model.check(&log, time);
            }
        }
    }
    assert!(log.batches.windows(2).all(|pair| pair[0].last_offset() < pair[1].base_offset()));
    (log, model, i64::try_from(removed).unwrap())
}

#[test]
fn consumers_of_random_histories_see_what_they_must() {
    #[cfg(mutants)]
    if let Ok(name) = std::env::var("MUTANT") {
        base::mutant::wake(&name);
    }
    let mut seed = Seed::new(4242);
    let mut removed = 0;
    for _ in 0..400 {
        removed += story(&mut seed).2;
    }
    assert!(removed > 2000, "{removed} records were removed");
}

#[test]
fn what_comes_to_rest_is_one_record_for_each_key() {
    let mut seed = Seed::new(77);
    for _ in 0..100 {
        let (mut log, mut model, _) = story(&mut seed);
        for producer in [7, 8, 9] {
            for offset in model.open.remove(&producer).unwrap_or_default() {
                model.marker_of.insert(offset, log.next);
            }
            log.mark(producer, false);
        }
        // Each cleaning needs something new to be looked at.
        for round in 1..=4 {
            let time = 1_000_000 + round * RETENTION_MS;
            model.records.insert(log.next, ("z".to_owned(), Some("v".to_owned()), None));
            log.push(BatchBuilder::new(), time, &[("z", Some("v"))]);
            log.clean(at(time));
            model.check(&log, time);
        }
        let expected: Vec<i64> = {
            let last = model.last();
            let mut offsets: Vec<i64> = last.values().filter(|it| it.1.is_some()).map(|(offset, _)| *offset).collect();
            offsets.sort_unstable();
            offsets
        };
        assert_eq!(log.offsets(), expected);
        let markers = log.batches.iter().filter(|batch| batch.is_control()).map(RecordBatch::base_offset);
        for marker in markers.collect::<Vec<_>>() {
            assert!(log.offsets().iter().any(|offset| model.marker_of.get(offset) == Some(&marker)), "marker {marker}");
        }
    }
}
