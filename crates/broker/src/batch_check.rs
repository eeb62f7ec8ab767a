//! Whether a produced batch may be stored, and its bytes once it has its offsets.
//!
//! Called by `handler::produce`. Checked: what the protocol demands of a produced batch (exactly one, format 2,
//! length, checksum, counts), timestamps within the topic's bounds, that it is of no kind that only brokers write, and that its
//! records are there and are numbered from 0 on. Compressed ones are decompressed for that: a batch whose records are not what
//! its header says would be acknowledged, and no consumer would ever pass it. Where the topic has a `compression.type` of its own, the
//! records are then compressed like that. What clients from before Kafka 0.11 send becomes a batch first. How much of the worker all that takes is
//! left to `checks`, and the memory for what becomes greater to `growth`.

use crate::checks::{Checks, Work};
use crate::error::Failure;
use crate::growth::Growth;
use crate::topic_settings::TopicSettings;
use base::{Offset, StreamEpoch, UnixMillis};
use bytes::Bytes;
use protocol::record_batch::{
    self, BatchError, HEAD_BYTES, NO_TIMESTAMP, OldFormat, ProduceRules, RecompressBounds, RecordBatch, RecordHead,
    Upconvert,
};
use protocol::wire::Records;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use stream::{BatchBytes, BatchKind, FrameUse, ProducerDelta, last_sequence};
use world::{Clock, ClockExt};

/// From this version on there is one batch. Before it there is a message set; but clients that send a batch in these versions are served
/// too, as in Kafka.
const BATCH_VERSION: i16 = 3;

/// From this version on producers may compress with Zstandard.
const ZSTD_VERSION: i16 = 7;

/// What a batch's records may take when decompressed. The broker decompresses to check them and to find times, so what it
/// stores must be within its reach.
pub(crate) const DECOMPRESSED_BYTES_MAX: usize = 128 * 1024 * 1024;

/// So many refused records of a request are told to the producer, each in its own words.
pub(crate) const REFUSED_RECORDS_TOLD_MAX: usize = 1000;

/// A batch that may be stored.
#[derive(Debug, Clone)]
pub(crate) struct CheckedBatch {
    batch: RecordBatch,
    records: u32,
    /// The broker's time, where the topic wants it in place of the producer's.
    stamped: Option<UnixMillis>,
    /// When it came.
    arrived: UnixMillis,
    /// Its bytes are those that came, and not made anew.
    is_as_sent: bool,
    /// What its bytes are a part of.
    frame: Option<Arc<FrameUse>>,
}

/// What the checks of one request's batches share.
pub(crate) struct Checking<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) checks: &'a Checks,
    pub(crate) version: i16,
    pub(crate) work: Work,
    pub(crate) growth: Growth<'a>,
    /// Refused records of the request that may still be told.
    pub(crate) told_left: usize,
}

/// Checks the `records` field of one partition of a produce request; `now` is the broker's clock. All that is much work for it is done in
/// one place.
pub(crate) async fn check(
    checking: &mut Checking<'_>,
    records: &Records,
    settings: &TopicSettings,
    now: UnixMillis,
) -> Result<CheckedBatch, Failure> {
    let checked = checked(checking, records, settings, now).await;
    checking.work.leave_place();
    checked
}

async fn checked(
    checking: &mut Checking<'_>,
    records: &Records,
    settings: &TopicSettings,
    now: UnixMillis,
) -> Result<CheckedBatch, Failure> {
    let old = OldFormat::of(records).filter(|_| checking.version < BATCH_VERSION);
    let batch = match old {
        Some(format) => upconverted(checking, (&records.to_bytes(), format), settings).await?,
        None => produced_batch(checking, records, settings)?,
    };
    let stamped = settings.log_append_time.then_some(now);
    let timestamps = match stamped {
        Some(_) => i64::MIN..=i64::MAX,
        None => {
            now.0.saturating_sub(settings.timestamp_before_max_ms)
                ..=now.0.saturating_add(settings.timestamp_after_max_ms)
        }
    };
    check_kind(&batch)?;
    let greatest = check_records(checking, &batch, settings, &timestamps).await?;
    // Some clients are careless with it; retention and searches by time go by it.
    let batch = if batch.max_timestamp() == greatest { batch } else { batch.with_max_timestamp(greatest) };
    let batch = compressed_as_the_topic_wants(checking, batch, settings).await?;
    let is_as_sent = records.pieces().iter().any(|sent| sent.as_ptr_range().contains(&batch.bytes().as_ptr()));
    let count = batch.record_count();
    let records = u32::try_from(count).map_err(|_| BatchError::Count { records: count, last_offset_delta: count })?;
    Ok(CheckedBatch { batch, records, stamped, arrived: now, is_as_sent, frame: None })
}

fn produced_batch(
    checking: &Checking<'_>,
    records: &Records,
    settings: &TopicSettings,
) -> Result<RecordBatch, Failure> {
    let batch = record_batch::only_batch(records)?;
    let zstd = checking.version >= ZSTD_VERSION;
    batch.check_produced(&ProduceRules { batch_bytes_max: settings.batch_bytes_max, zstd })?;
    Ok(batch)
}

/// The batch that a message set becomes, compressed as the topic wants it.
async fn upconverted(
    checking: &mut Checking<'_>,
    set: (&Bytes, OldFormat),
    settings: &TopicSettings,
) -> Result<RecordBatch, Failure> {
    let how = Upconvert { level: settings.compression, bounds: bounds(settings) };
    loop {
        let Checking { clock, checks, work, .. } = checking;
        let batch = checks.upconvert(*clock, work, set, how).await?;
        if let Some(batch) = checking.kept(batch, set.0.len()).await? {
            return Ok(batch);
        }
    }
}

impl Checking<'_> {
    /// The batch that was made of so many bytes, once its memory is counted. None: it is to be made anew, as there was no room for it.
    async fn kept(&mut self, batch: RecordBatch, of: usize) -> Result<Option<RecordBatch>, Failure> {
        let more = batch.bytes().len().saturating_sub(of);
        if self.growth.try_take(more) {
            return Ok(Some(batch));
        }
        drop(batch);
        self.work.leave_place();
        let left = self.work.left(self.clock);
        self.clock.timeout(left, self.growth.wait(more)).await.ok_or(Failure::TooMuchToCheck)??;
        Ok(None)
    }
}

fn bounds(settings: &TopicSettings) -> RecompressBounds {
    RecompressBounds { decompressed_max: settings.decompressed_bytes_max, batch_bytes_max: settings.batch_bytes_max }
}

async fn compressed_as_the_topic_wants(
    checking: &mut Checking<'_>,
    batch: RecordBatch,
    settings: &TopicSettings,
) -> Result<RecordBatch, Failure> {
    let Some(level) = settings.compression else { return Ok(batch) };
    if batch.compression()? == level.codec {
        return Ok(batch);
    }
    loop {
        let Checking { clock, checks, work, .. } = checking;
        let made = checks.recompress(*clock, work, &batch, level, bounds(settings)).await?;
        if let Some(made) = checking.kept(made, batch.bytes().len()).await? {
            return Ok(made);
        }
    }
}

fn check_kind(batch: &RecordBatch) -> Result<(), Failure> {
    if batch.is_log_append_time() {
        return Err(Failure::InvalidTimestamp("producers can't send batches with LogAppendTime".to_owned()));
    }
    Ok(())
}

/// What a walk over a batch's records has found so far.
#[derive(Default)]
struct Seen {
    next: i32,
    /// The greatest time of a record; none where no record has one.
    greatest: Option<i64>,
    /// The first of the records that are refused, each by its place in the batch.
    refused: Vec<(i32, String)>,
    count: usize,
    is_out_of_time: bool,
}

impl Seen {
    /// At most `told_max` are told by their words.
    fn refuse(&mut self, told_max: usize, why: impl FnOnce() -> String) {
        self.count += 1;
        if self.refused.len() < told_max {
            self.refused.push((self.next, why()));
        }
    }

    /// In Kafka's words: clients show them to their users.
    fn finish(self) -> Result<i64, Failure> {
        if self.count == 0 {
            return Ok(self.greatest.unwrap_or(NO_TIMESTAMP));
        }
        let message = if self.is_out_of_time {
            "One or more records have been rejected due to invalid timestamp".to_owned()
        } else {
            let (count, first) = (self.count, self.refused.iter().take(3).map(|(_, why)| why.as_str()));
            let first = first.collect::<Vec<_>>().join("; ");
            format!(
                "One or more records have been rejected due to {count} record errors in total, the first of them: {first}"
            )
        };
        Err(Failure::Records { is_out_of_time: self.is_out_of_time, message, records: self.refused })
    }
}

/// Form, offsets, keys and times of the records; the greatest time.
async fn check_records(
    checking: &mut Checking<'_>,
    batch: &RecordBatch,
    settings: &TopicSettings,
    timestamps: &RangeInclusive<i64>,
) -> Result<i64, Failure> {
    let told_max = checking.told_left;
    let visit = |seen: &mut Seen, record: &RecordHead| {
        if record.offset_delta != seen.next {
            return Err(BatchError::Record(seen.next).into());
        }
        if settings.keys_needed && !record.has_key {
            // What has no key could never be replaced, nor kept for its key.
            seen.refuse(told_max, || "Compacted topic cannot accept message without key".to_owned());
        } else if record.timestamp != NO_TIMESTAMP && !timestamps.contains(&record.timestamp) {
            seen.is_out_of_time = true;
            seen.refuse(told_max, || out_of_range(record, timestamps));
        }
        if record.timestamp > seen.greatest.unwrap_or(NO_TIMESTAMP) {
            seen.greatest = Some(record.timestamp);
        }
        seen.next += 1;
        Ok(ControlFlow::Continue(()))
    };
    let Checking { clock, checks, work, .. } = checking;
    let seen = checks.walk(*clock, work, (batch, settings.decompressed_bytes_max), visit).await?;
    checking.told_left -= seen.refused.len().min(told_max);
    seen.finish()
}

fn out_of_range(record: &RecordHead, timestamps: &RangeInclusive<i64>) -> String {
    let (low, high) = (timestamps.start(), timestamps.end());
    let RecordHead { timestamp, offset_delta, .. } = record;
    format!(
        "Timestamp {timestamp} of message with offset {offset_delta} is out of range. The timestamp should be within [{low}, {high}]"
    )
}

impl CheckedBatch {
    /// A batch that this broker has made itself.
    pub(crate) fn own(batch: RecordBatch) -> CheckedBatch {
        let records = u32::try_from(batch.record_count()).expect("a built batch counts its records");
        CheckedBatch { batch, records, stamped: None, arrived: UnixMillis(0), is_as_sent: false, frame: None }
    }

    /// The same with the broker's time in place of its own, where there is one.
    pub(crate) fn stamped_with(self, stamped: Option<UnixMillis>) -> CheckedBatch {
        CheckedBatch { stamped, ..self }
    }

    /// How many offsets and records it has.
    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// What it changes in the partition's producer state, where an idempotent producer sent it.
    pub(crate) fn producer(&self) -> Option<ProducerDelta> {
        self.batch.has_producer_id().then(|| ProducerDelta {
            producer_id: self.batch.producer_id(),
            producer_epoch: self.batch.producer_epoch(),
            first_sequence: self.batch.base_sequence(),
            last_sequence: last_sequence(self.batch.base_sequence(), self.records),
            kind: if self.batch.is_transactional() { BatchKind::Transactional } else { BatchKind::Plain },
        })
    }

    /// The greatest timestamp that readers will see. Where they will see none, what stands for the time of arrival: retention goes by it.
    pub(crate) fn max_timestamp(&self) -> UnixMillis {
        let sent = UnixMillis(self.batch.max_timestamp());
        self.stamped.unwrap_or(if sent.0 >= 0 { sent } else { self.arrived.arrival() })
    }

    /// The broker's time, where the topic stamps batches with it.
    pub(crate) fn stamped(&self) -> Option<UnixMillis> {
        self.stamped
    }

    /// The same batch, which came in this frame. Stamped ones, and those that were made anew, have memory of their own: it may be more than
    /// the frame's.
    pub(crate) fn part_of(self, frame: &Arc<FrameUse>) -> CheckedBatch {
        let shares = self.is_as_sent && self.stamped.is_none();
        CheckedBatch { frame: shares.then(|| frame.clone()), ..self }
    }

    /// What its bytes are a part of; `None` where they have memory of their own.
    pub(crate) fn frame(&self) -> Option<&Arc<FrameUse>> {
        self.frame.as_ref()
    }

    /// The batch with its offsets: 16 new bytes before the producer's own, which Kafka's checksum leaves out for this very
    /// reason. A stamped batch is copied, as its timestamp and checksum change as well.
    pub(crate) fn numbered(&self, base: Offset, leader_epoch: StreamEpoch) -> BatchBytes {
        let (base, epoch) = (base.to_kafka(), leader_epoch.0);
        let head = self.batch.numbered_head(base, epoch);
        match self.stamped {
            Some(stamp) => BatchBytes::whole(self.batch.numbered_and_stamped(base, epoch, stamp.0).bytes().clone()),
            None => BatchBytes { head: Bytes::copy_from_slice(&head), body: self.batch.bytes().slice(HEAD_BYTES..) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BrokerOptions;
    use crate::memory::RequestMemory;
    use crate::test_batch::{batch, changed};
    use crate::test_clock::TestClock;
    use bytes::BytesMut;
    use protocol::error_code::ErrorCode;
    use protocol::record_batch::{BatchBuilder, Compression, HEADER_BYTES, Level, NewRecord};
    use std::collections::BTreeMap;
    use std::time::Duration;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    #[tokio::main(flavor = "current_thread")]
    async fn check(
        records: &Records,
        version: i16,
        settings: &TopicSettings,
        now: UnixMillis,
    ) -> Result<CheckedBatch, Failure> {
        let clock = TestClock::shared();
        let work = Work::of(records.len(), DECOMPRESSED_BYTES_MAX, clock.now());
        let checks = Checks::new(1);
        let memory = RequestMemory::new(8 << 20, 4 << 20, 1);
        let growth = Growth::new(&memory, records.len());
        let told_left = REFUSED_RECORDS_TOLD_MAX;
        let checking = &mut Checking { clock: clock.as_ref(), checks: &checks, version, work, growth, told_left };
        super::check(checking, records, settings, now).await
    }

    fn settings() -> TopicSettings {
        TopicSettings::of(&BTreeMap::new(), &BrokerOptions::default())
    }

    /// The beginning of a record with a value of 2 GiB: its length, attributes, time, offset, no key, the value's length.
    const VALUE_OF_MANY: [u8; 14] = [0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 0xe0, 0xff, 0xff, 0xff, 0x0f];

    type Change = fn(&mut [u8]);

    fn code_of(bytes: &Bytes) -> Option<ErrorCode> {
        check(&bytes.clone().into(), 9, &settings(), NOW).err().map(|failure| failure.code())
    }

    #[tokio::test]
    async fn a_batch_that_grows_waits_for_memory_and_is_then_made_anew() {
        let clock = TestClock::shared();
        let memory = RequestMemory::new(1 << 20, 1 << 20, 1);
        let checks = Checks::new(1);
        let (version, told_left) = (9, REFUSED_RECORDS_TOLD_MAX);
        let checking = || Checking {
            clock: clock.as_ref(),
            checks: &checks,
            version,
            work: Work::of(0, DECOMPRESSED_BYTES_MAX, clock.now().plus(Duration::from_secs(60))),
            growth: Growth::new(&memory, 1000),
            told_left,
        };
        let value = vec![0; 900_000];
        let record = NewRecord { timestamp: NOW.0, value: Some(&value), ..NewRecord::default() };
        let sent = BatchBuilder::new().compression(Compression::Gzip).record(&record).build(0).unwrap();
        let sent: Records = sent.bytes().clone().into();
        let level = Level { codec: Compression::None, level: None };
        let settings = TopicSettings { compression: Some(level), ..settings() };
        let (mut first, mut second) = (checking(), checking());
        let batch = super::check(&mut first, &sent, &settings, NOW).await.unwrap();
        assert!(batch.batch.bytes().len() > 900_000);
        let mut waiting = Box::pin(super::check(&mut second, &sent, &settings, NOW));
        let early = tokio::time::timeout(Duration::from_millis(200), waiting.as_mut()).await;
        assert!(early.is_err(), "there is memory for one");
        drop(first);
        assert!(waiting.await.is_ok());
    }

    #[test]
    fn a_good_batch_gets_offsets_without_a_change_to_what_its_checksum_covers() {
        let sent = batch(&[(NOW.0, "a"), (NOW.0 + 1, "b")]);
        let checked = check(&sent.clone().into(), 9, &settings(), NOW).unwrap();
        assert_eq!((checked.records(), checked.max_timestamp()), (2, UnixMillis(NOW.0 + 1)));
        let numbered = checked.numbered(Offset(7), StreamEpoch(3));
        assert_eq!(numbered.head[..], [&7_i64.to_be_bytes()[..], &sent[8..12], &3_i32.to_be_bytes()].concat());
        assert_eq!(numbered.body, sent[16..]);
    }

    #[test]
    fn a_batch_says_which_producer_sent_it() {
        let plain = batch(&[(NOW.0, "a"), (NOW.0, "b"), (NOW.0, "c")]);
        let checked = |bytes: &Bytes| check(&bytes.clone().into(), 9, &settings(), NOW).unwrap();
        assert_eq!(checked(&plain).producer(), None);
        for none in [-2, i64::MIN] {
            let odd = changed(&plain, |bytes| bytes[43..51].copy_from_slice(&none.to_be_bytes()));
            assert_eq!(checked(&odd).producer(), None, "{none} is no id, as in Kafka");
        }
        let sent = changed(&plain, |bytes| {
            bytes[43..51].copy_from_slice(&77_i64.to_be_bytes());
            bytes[51..53].copy_from_slice(&3_i16.to_be_bytes());
            bytes[53..57].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
        });
        let delta = checked(&sent).producer().unwrap();
        assert_eq!((delta.producer_id, delta.producer_epoch), (77, 3));
        assert_eq!((delta.first_sequence, delta.last_sequence), (i32::MAX - 1, 0), "sequences wrap");
    }

    #[test]
    fn log_append_time_replaces_the_greatest_timestamp_and_keeps_the_checksum_right() {
        let settings = TopicSettings { log_append_time: true, ..settings() };
        let sent = batch(&[(5, "a")]);
        let checked = check(&sent.clone().into(), 9, &settings, NOW).unwrap();
        let whole = checked.numbered(Offset(1), StreamEpoch(0));
        assert!(whole.head.is_empty());
        let expected = changed(&sent, |bytes| {
            bytes[..8].copy_from_slice(&1_i64.to_be_bytes());
            bytes[12..16].copy_from_slice(&0_i32.to_be_bytes());
            bytes[22] |= 8;
            bytes[35..43].copy_from_slice(&NOW.0.to_be_bytes());
        });
        assert_eq!(whole.body, expected);
        assert_eq!(checked.max_timestamp(), NOW);
    }

    #[test]
    fn a_compressed_batch_must_have_the_records_that_its_header_promises() {
        let plain = batch(&[(NOW.0, "a"), (NOW.0, "b")]);
        let (header, records) = plain.split_at(HEADER_BYTES);
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let with = |body: &[u8], count: u8| {
                let length = u32::try_from(HEADER_BYTES - 12 + body.len()).unwrap();
                changed(&[header, body].concat().into(), |bytes| {
                    bytes[8..12].copy_from_slice(&length.to_be_bytes());
                    bytes[22] |= codec.number();
                    bytes[26] = count - 1;
                    bytes[60] = count;
                })
            };
            let packed = codec.compress(records).unwrap();
            assert_eq!(code_of(&with(&packed, 2)), None, "{codec:?}");
            for count in [1, 3] {
                assert_eq!(
                    code_of(&with(&packed, count)),
                    Some(ErrorCode::InvalidRecord),
                    "{codec:?}, {count} claimed"
                );
            }
            assert_eq!(code_of(&with(&[0xff; 50], 2)), Some(ErrorCode::CorruptMessage), "{codec:?}, no such bytes");
            assert!(code_of(&with(&[], 2)).is_some(), "{codec:?}, nothing");
            let bomb = codec.compress(&[&VALUE_OF_MANY[..], &vec![0; DECOMPRESSED_BYTES_MAX + 1]].concat()).unwrap();
            let roomy = TopicSettings { batch_bytes_max: bomb.len() + HEADER_BYTES, ..settings() };
            let refused = check(&with(&bomb, 2).into(), 9, &roomy, NOW).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::MessageTooLarge, "{codec:?}");
        }
    }

    #[test]
    fn a_compacted_topic_takes_no_record_without_a_key() {
        let settings = TopicSettings { keys_needed: true, ..settings() };
        let refused = check(&batch(&[(NOW.0, "a")]).into(), 9, &settings, NOW).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidRecord);
        assert!(refused.to_string().contains("without key"), "{refused}");
    }

    #[test]
    fn records_out_of_time_are_named_one_by_one() {
        let settings = TopicSettings { timestamp_after_max_ms: 10, timestamp_before_max_ms: 10, ..settings() };
        let sent = batch(&[(NOW.0 + 11, "late"), (NOW.0, "good"), (NOW.0 - 11, "early"), (NOW.0 + 10, "good")]);
        let refused = check(&sent.into(), 9, &settings, NOW).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidTimestamp);
        let Failure::Records { message, records, .. } = refused else { panic!("{refused}") };
        assert_eq!(message, "One or more records have been rejected due to invalid timestamp");
        assert_eq!(records.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2]);
        assert!(records[1].1.contains("message with offset 2 is out of range"), "{}", records[1].1);
        let many = batch(&vec![(NOW.0 + 11, ""); REFUSED_RECORDS_TOLD_MAX + 1]);
        let Failure::Records { records, .. } = check(&many.into(), 9, &settings, NOW).unwrap_err() else { panic!() };
        assert_eq!(records.len(), REFUSED_RECORDS_TOLD_MAX);
    }

    #[test]
    fn the_greatest_time_is_the_records_whatever_the_header_says() {
        let right = batch(&[(NOW.0, "a"), (NOW.0 + 5, "b"), (NOW.0 + 2, "c")]);
        for said in [NO_TIMESTAMP, 0, NOW.0 + 4, NOW.0 + 6, i64::MAX] {
            let careless = changed(&right, |bytes| bytes[35..43].copy_from_slice(&said.to_be_bytes()));
            let checked = check(&careless.into(), 9, &settings(), NOW).unwrap();
            assert_eq!(checked.max_timestamp(), UnixMillis(NOW.0 + 5), "{said}");
            assert_eq!(checked.batch.bytes(), &right, "{said}");
        }
        let timeless = batch(&[(NO_TIMESTAMP, "a"), (NO_TIMESTAMP, "b")]);
        let checked = check(&timeless.clone().into(), 9, &settings(), NOW).unwrap();
        assert_eq!((checked.max_timestamp().ages_from(), checked.batch.bytes()), (Some(NOW), &timeless));
    }

    #[test]
    fn bytes_that_are_no_batch_or_do_not_match_their_checksum_are_refused() {
        let good = batch(&[(NOW.0, "value")]);
        for length in [1, 16, 60, good.len() - 1] {
            assert_eq!(code_of(&good.slice(..length)), Some(ErrorCode::InvalidRecord), "{length} bytes");
        }
        for at in 17..good.len() {
            let mut bytes = BytesMut::from(&good[..]);
            bytes[at] ^= 1;
            assert!(code_of(&bytes.freeze()).is_some(), "byte {at}");
        }
    }

    #[test]
    fn batches_that_clients_may_not_send_are_told_apart() {
        let good = batch(&[(NOW.0, "a"), (NOW.0, "b")]);
        assert_eq!(code_of(&good), None);
        let twice = Bytes::from([&good[..], &good[..]].concat());
        assert_eq!(code_of(&twice), Some(ErrorCode::InvalidRecord), "two batches");
        let cases: [(&str, ErrorCode, Change); 9] = [
            ("control", ErrorCode::InvalidRecord, |bytes| bytes[22] |= 0x20),
            ("transactional", ErrorCode::InvalidRecord, |bytes| bytes[22] |= 0x10),
            ("delete horizon", ErrorCode::InvalidRecord, |bytes| bytes[22] |= 0x40),
            ("producer id", ErrorCode::InvalidRecord, |bytes| bytes[43..51].fill(0)),
            ("unknown compression", ErrorCode::UnsupportedCompressionType, |bytes| bytes[22] |= 7),
            ("last offset delta", ErrorCode::InvalidRecord, |bytes| bytes[26] = 9),
            ("negative count", ErrorCode::InvalidRecord, |bytes| bytes[57..61].fill(0xff)),
            ("too many records", ErrorCode::InvalidRecord, |bytes| {
                bytes[26] = 2;
                bytes[60] = 3;
            }),
            ("log append time", ErrorCode::InvalidTimestamp, |bytes| bytes[22] |= 8),
        ];
        for (what, code, change) in cases {
            assert_eq!(code_of(&changed(&good, change)), Some(code), "{what}");
        }
        let small = TopicSettings { batch_bytes_max: good.len() - 1, ..settings() };
        let refused = check(&good.clone().into(), 9, &small, NOW).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::MessageTooLarge);
        let zstd = changed(&good, |bytes| bytes[22] |= 4);
        assert_eq!(code_of(&zstd), Some(ErrorCode::CorruptMessage), "plain records that claim to be compressed");
        let old = check(&zstd.into(), 6, &settings(), NOW).unwrap_err();
        assert_eq!(old.code(), ErrorCode::UnsupportedCompressionType);
    }
}
