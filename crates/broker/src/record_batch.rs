//! temporary
use bytes::Bytes;
pub(crate) const LENGTH_AT: usize = 8;
pub(crate) const LEADER_EPOCH_AT: usize = 12;
pub(crate) const MAGIC_AT: usize = 16;
pub(crate) const CRC_AT: usize = 17;
pub(crate) const CRC_FROM: usize = 21;
pub(crate) const LAST_OFFSET_DELTA_AT: usize = 23;
pub(crate) const MAX_TIMESTAMP_AT: usize = 35;
pub(crate) const PRODUCER_ID_AT: usize = 43;
pub(crate) const LOG_APPEND_TIME: i16 = 8;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimestampType {
    Create,
    LogAppend,
}
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub base_offset: i64,
    pub batch_length: i32,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub records: i32,
}
impl Header {
    pub(crate) fn read(b: &Bytes) -> Result<Header, String> {
        if b.len() < 61 {
            return Err("shorter than a batch's header".into());
        }
        let h = Header {
            base_offset: i64::from_be_bytes(b[0..8].try_into().unwrap()),
            batch_length: i32::from_be_bytes(b[8..12].try_into().unwrap()),
            crc: u32::from_be_bytes(b[17..21].try_into().unwrap()),
            attributes: i16::from_be_bytes(b[21..23].try_into().unwrap()),
            last_offset_delta: i32::from_be_bytes(b[23..27].try_into().unwrap()),
            base_timestamp: i64::from_be_bytes(b[27..35].try_into().unwrap()),
            max_timestamp: i64::from_be_bytes(b[35..43].try_into().unwrap()),
            producer_id: i64::from_be_bytes(b[43..51].try_into().unwrap()),
            records: i32::from_be_bytes(b[57..61].try_into().unwrap()),
        };
        if b[16] != 2 {
            return Err("magic".into());
        }
        if h.batch_length < 49 {
            return Err("batch length".into());
        }
        Ok(h)
    }
    pub(crate) fn total_bytes(&self) -> usize {
        usize::try_from(self.batch_length).unwrap() + 12
    }
    pub(crate) fn is_control(&self) -> bool {
        self.attributes & 32 != 0
    }
    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & 16 != 0
    }
    pub(crate) fn timestamp_type(&self) -> TimestampType {
        if self.attributes & 8 != 0 { TimestampType::LogAppend } else { TimestampType::Create }
    }
    pub(crate) fn compression(&self) -> Option<Compression> {
        match self.attributes & 7 {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }
}
