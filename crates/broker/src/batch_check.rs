//! Whether a produced batch may be stored, and its bytes once it has its offsets.
//!
//! Part of the `partition` step of the produce walk. Checked: exactly one batch of format 2, its length and checksum, the count of
//! its records, timestamps within the topic's bounds, and that it is no batch of a kind that clients may not send or that is not
//! served yet. Contents are not decompressed: nothing here depends on them. Pure.

use crate::error::Failure;
use crate::record_batch::{self, Compression, Header, TimestampType};
use crate::topic_settings::TopicSettings;
use base::{Offset, StreamEpoch, UnixMillis, crc32c};
use bytes::{BufMut, Bytes, BytesMut};
use protocol::wire::Records;
use stream::BatchBytes;

/// From this version on producers may compress with Zstandard.
const ZSTD_VERSION: i16 = 7;

/// A batch that may be stored.
#[derive(Debug, Clone)]
pub(crate) struct CheckedBatch {
    bytes: Bytes,
    header: Header,
    records: u32,
    /// The broker's time, where the topic wants it in place of the producer's.
    stamped: Option<UnixMillis>,
}

/// Checks the `records` field of one partition of a produce request in `version`; `now` is the broker's clock.
pub(crate) fn check(
    records: &Records,
    version: i16,
    settings: &TopicSettings,
    now: UnixMillis,
) -> Result<CheckedBatch, Failure> {
    let bytes = records.to_bytes();
    let header = Header::read(&bytes).map_err(|error| Failure::CorruptBatch(error.to_string()))?;
    check_bytes(&bytes, &header, settings)?;
    let records = check_count(&header)?;
    check_kind(&header, version)?;
    let stamped = settings.log_append_time.then_some(now);
    if stamped.is_none() {
        check_timestamps(&header, settings, now)?;
    }
    Ok(CheckedBatch { bytes, header, records, stamped })
}

fn check_bytes(bytes: &Bytes, header: &Header, settings: &TopicSettings) -> Result<(), Failure> {
    if header.total_bytes() < bytes.len() {
        return Err(Failure::InvalidRecord(
            "a produce request carries exactly one batch for each partition".to_owned(),
        ));
    }
    if header.total_bytes() > bytes.len() {
        return Err(Failure::CorruptBatch("the batch is cut short".to_owned()));
    }
    if bytes.len() > settings.batch_bytes_max {
        return Err(Failure::BatchTooLarge { bytes: bytes.len(), most: settings.batch_bytes_max });
    }
    if crc32c(&bytes[record_batch::CRC_FROM..]) != header.crc {
        return Err(Failure::CorruptBatch("the batch does not match its checksum".to_owned()));
    }
    Ok(())
}

fn check_count(header: &Header) -> Result<u32, Failure> {
    let count = u32::try_from(header.records).ok().filter(|count| *count > 0);
    let count = count.ok_or_else(|| Failure::InvalidRecord(format!("a batch of {} records", header.records)))?;
    if header.last_offset_delta != header.records - 1 {
        return Err(Failure::InvalidRecord(format!(
            "a batch of {count} records whose last offset is {} after the first",
            header.last_offset_delta
        )));
    }
    Ok(count)
}

fn check_kind(header: &Header, version: i16) -> Result<(), Failure> {
    if header.is_control() {
        return Err(Failure::InvalidRecord("clients can't write control batches".to_owned()));
    }
    if header.is_transactional() || header.producer_id >= 0 {
        // No client has an id from this cluster yet, and storing the batch without its duplicate check would be a false promise.
        return Err(Failure::InvalidRecord(
            "idempotent and transactional producers arrive in a later version; set enable.idempotence=false".to_owned(),
        ));
    }
    match header.compression() {
        None => Err(Failure::UnsupportedCompression("unknown compression type".to_owned())),
        Some(Compression::Zstd) if version < ZSTD_VERSION => {
            Err(Failure::UnsupportedCompression(format!("zstd needs Produce version {ZSTD_VERSION}")))
        }
        Some(_) => Ok(()),
    }
}

fn check_timestamps(header: &Header, settings: &TopicSettings, now: UnixMillis) -> Result<(), Failure> {
    if header.timestamp_type() == TimestampType::LogAppend {
        return Err(Failure::InvalidTimestamp("producers can't send batches with LogAppendTime".to_owned()));
    }
    let (least, greatest) = (header.base_timestamp.min(header.max_timestamp), header.max_timestamp);
    // -1 is a record without a timestamp.
    let too_old = least >= 0 && now.0.saturating_sub(least) > settings.timestamp_before_max_ms;
    let too_new = greatest.saturating_sub(now.0) > settings.timestamp_after_max_ms;
    if too_old || too_new {
        return Err(Failure::InvalidTimestamp(format!(
            "timestamps from {least} to {greatest} at {}, where the topic allows {} ms before and {} ms after \
             (message.timestamp.before.max.ms, message.timestamp.after.max.ms)",
            now.0, settings.timestamp_before_max_ms, settings.timestamp_after_max_ms
        )));
    }
    Ok(())
}

impl CheckedBatch {
    /// How many offsets and records it has.
    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// The greatest timestamp that readers will see.
    pub(crate) fn max_timestamp(&self) -> UnixMillis {
        self.stamped.unwrap_or(UnixMillis(self.header.max_timestamp))
    }

    /// The broker's time, where the topic stamps batches with it.
    pub(crate) fn stamped(&self) -> Option<UnixMillis> {
        self.stamped
    }

    /// The same batch in memory of its own.
    pub(crate) fn detached(self) -> CheckedBatch {
        CheckedBatch { bytes: Bytes::copy_from_slice(&self.bytes), ..self }
    }

    /// The batch with its offsets: 16 new bytes before the producer's own, which Kafka's checksum leaves out for this very
    /// reason. A stamped batch is copied, as its timestamp and checksum change as well.
    pub(crate) fn numbered(&self, base: Offset, leader_epoch: StreamEpoch) -> BatchBytes {
        let mut head = BytesMut::with_capacity(record_batch::MAGIC_AT);
        head.put_i64(base.to_kafka());
        head.put_slice(&self.bytes[record_batch::LENGTH_AT..record_batch::LEADER_EPOCH_AT]);
        head.put_i32(leader_epoch.0);
        match self.stamped {
            None => BatchBytes { head: head.freeze(), body: self.bytes.slice(record_batch::MAGIC_AT..) },
            Some(stamp) => BatchBytes::whole(self.stamped_bytes(head, stamp)),
        }
    }

    fn stamped_bytes(&self, head: BytesMut, stamp: UnixMillis) -> Bytes {
        let mut covered = BytesMut::with_capacity(self.bytes.len());
        covered.put_i16(self.header.attributes | record_batch::LOG_APPEND_TIME);
        covered.put_slice(&self.bytes[record_batch::LAST_OFFSET_DELTA_AT..record_batch::MAX_TIMESTAMP_AT]);
        covered.put_i64(stamp.0);
        covered.put_slice(&self.bytes[record_batch::PRODUCER_ID_AT..]);
        let mut whole = head;
        whole.reserve(self.bytes.len());
        whole.put_slice(&self.bytes[record_batch::MAGIC_AT..record_batch::CRC_AT]);
        whole.put_u32(crc32c(&covered));
        whole.put_slice(&covered);
        whole.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BrokerOptions;
    use crate::test_batch::{batch, changed};
    use protocol::error_code::ErrorCode;
    use std::collections::BTreeMap;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn settings() -> TopicSettings {
        TopicSettings::of(&BTreeMap::new(), &BrokerOptions::default())
    }

    fn code_of(bytes: &Bytes) -> Option<ErrorCode> {
        check(&bytes.clone().into(), 9, &settings(), NOW).err().map(|failure| failure.code())
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
    fn bytes_that_are_no_batch_or_do_not_match_their_checksum_are_corrupt() {
        let good = batch(&[(NOW.0, "value")]);
        for length in [0, 1, 16, 60, good.len() - 1] {
            assert_eq!(code_of(&good.slice(..length)), Some(ErrorCode::CorruptMessage), "{length} bytes");
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
        let cases: [(&str, ErrorCode, fn(&mut [u8])); 8] = [
            ("control", ErrorCode::InvalidRecord, |bytes| bytes[22] |= 0x20),
            ("transactional", ErrorCode::InvalidRecord, |bytes| bytes[22] |= 0x10),
            ("producer id", ErrorCode::InvalidRecord, |bytes| bytes[43..51].fill(0)),
            ("unknown compression", ErrorCode::UnsupportedCompressionType, |bytes| bytes[22] |= 7),
            ("last offset delta", ErrorCode::InvalidRecord, |bytes| bytes[26] = 9),
            ("negative count", ErrorCode::InvalidRecord, |bytes| bytes[57..61].fill(0xff)),
            ("log append time", ErrorCode::InvalidTimestamp, |bytes| bytes[22] |= 8),
            ("far future", ErrorCode::InvalidTimestamp, |bytes| bytes[35] = 0x7f),
        ];
        for (what, code, change) in cases {
            assert_eq!(code_of(&changed(&good, change)), Some(code), "{what}");
        }
        let small = TopicSettings { batch_bytes_max: good.len() - 1, ..settings() };
        let refused = check(&good.clone().into(), 9, &small, NOW).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::MessageTooLarge);
        let zstd = changed(&good, |bytes| bytes[22] |= 4);
        assert_eq!(code_of(&zstd), None);
        let old = check(&zstd.into(), 6, &settings(), NOW).unwrap_err();
        assert_eq!(old.code(), ErrorCode::UnsupportedCompressionType);
    }
}
