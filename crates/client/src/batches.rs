//! From a fetch answer's bytes to records.

use bytes::Bytes;
use protocol::record_batch::{BatchError, Record, batches};

/// Greatest size of one batch's records, decompressed.
const DECOMPRESSED_MAX: usize = 256 << 20;

/// What one answer holds for one partition.
pub(crate) struct Decoded {
    /// At or above the offset that was asked for.
    pub(crate) records: Vec<Record>,
    /// Where to go on; `None` where there was no whole batch.
    pub(crate) next_offset: Option<i64>,
}

/// Reads whole batches; one that is cut off at the end is left for the next fetch. Control batches hold nothing for a reader, but
/// their offsets are passed over.
pub(crate) fn decode(records: Bytes, from: i64) -> Result<Decoded, BatchError> {
    let mut decoded = Decoded { records: Vec::new(), next_offset: None };
    for batch in batches(records) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(BatchError::Truncated { .. }) => break,
            Err(error) => return Err(error),
        };
        if !batch.is_control() {
            for record in batch.records(DECOMPRESSED_MAX)? {
                let record = record?;
                if record.offset >= from {
                    decoded.records.push(record);
                }
            }
        }
        decoded.next_offset = Some(batch.last_offset().saturating_add(1));
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::record_batch::{BatchBuilder, NewRecord};

    fn batch(base: i64, values: &[&[u8]]) -> Bytes {
        let mut builder = BatchBuilder::new();
        for value in values {
            builder = builder.record(&NewRecord { value: Some(value), ..NewRecord::default() });
        }
        builder.build(base).unwrap().bytes().clone()
    }

    #[test]
    fn what_lies_below_the_offset_and_behind_a_cut_is_left_out() {
        let mut bytes = batch(10, &[b"a", b"b"]).to_vec();
        bytes.extend_from_slice(&batch(12, &[b"c"]));
        let whole = bytes.len();
        bytes.extend_from_slice(&batch(13, &[b"d"]));
        for end in [whole, whole + 5, bytes.len() - 1] {
            let decoded = decode(Bytes::copy_from_slice(&bytes[..end]), 11).unwrap();
            let offsets: Vec<i64> = decoded.records.iter().map(|record| record.offset).collect();
            assert_eq!((offsets, decoded.next_offset), (vec![11, 12], Some(13)), "cut at {end}");
        }
        assert_eq!(decode(Bytes::new(), 3).unwrap().next_offset, None);
    }

    #[test]
    fn rubbish_is_an_error() {
        assert!(decode(Bytes::from(vec![9; 100]), 0).is_err());
    }
}
