//! A batch whose records are compressed otherwise than its producer did: what a topic with a `compression.type` of its own keeps.
//!
//! The records pass from the one codec to the other through a small window; what comes out is bounded, whatever they are. They stay
//! as they are to the byte, and of the header only the codec, the length and the checksum change.

use super::encoder::{Encoder, Level};
use super::input::Input;
use super::{ATTRIBUTES_AT, BatchError, HEADER_BYTES, Pace, RecordBatch};

/// Compressed at a time, where the records come uncompressed and whole.
const PIECE_BYTES: usize = 16 * 1024;

/// Where the codec stands in the attributes.
const CODEC_MASK: i16 = 7;

/// What neither side of a recompressed batch may exceed.
#[derive(Debug, Clone, Copy)]
pub struct RecompressBounds {
    /// Bytes of its records when they are decompressed.
    pub decompressed_max: usize,
    /// Bytes of the new batch.
    pub batch_bytes_max: usize,
}

/// The same batch with its records compressed like this.
///
/// # Errors
/// The records can't be decompressed, or a bound is exceeded.
pub async fn recompressed(
    batch: &RecordBatch,
    level: Level,
    bounds: RecompressBounds,
    pace: &mut impl Pace,
) -> Result<RecordBatch, BatchError> {
    let records = batch.bytes.slice(HEADER_BYTES..);
    let mut input = Input::new(batch.compression()?, records, bounds.decompressed_max)?;
    let failed = |_| BatchError::Decompress;
    let mut encoder = Encoder::begin(level, pace).await?;
    loop {
        while !input.window().is_empty() {
            let piece = input.window().len().min(PIECE_BYTES);
            encoder.write(&input.window()[..piece]).map_err(failed)?;
            input.at += piece;
            check_size(HEADER_BYTES + encoder.written(), bounds.batch_bytes_max)?;
            pace.spent(piece.saturating_mul(level.cost())).await;
        }
        if !input.fill(pace).await? {
            break;
        }
    }
    let records = encoder.finish().map_err(failed)?;
    check_size(HEADER_BYTES + records.len(), bounds.batch_bytes_max)?;
    let attributes = batch.attributes() & !CODEC_MASK | i16::from(level.codec.number());
    batch.with_records(&records, |header| {
        header[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    })
}

fn check_size(bytes: usize, max: usize) -> Result<(), BatchError> {
    if bytes > max { Err(BatchError::TooLarge { bytes, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, Compression, NewRecord};
    use super::*;
    use futures::FutureExt;

    struct Free(usize);

    impl Pace for Free {
        async fn spent(&mut self, cost: usize) {
            self.0 += cost;
        }
    }

    fn batch(codec: Compression, value: &[u8], records: usize) -> RecordBatch {
        let record = NewRecord { timestamp: 7, key: Some(b"k"), value: Some(value), ..NewRecord::default() };
        let builder = BatchBuilder::new().compression(codec).producer(77, 3, 5);
        (0..records).fold(builder, |builder, _| builder.record(&record)).build(9).unwrap()
    }

    fn run(batch: &RecordBatch, level: Level, bounds: RecompressBounds) -> Result<(RecordBatch, usize), BatchError> {
        let mut pace = Free(0);
        let done = recompressed(batch, level, bounds, &mut pace).now_or_never().unwrap();
        done.map(|batch| (batch, pace.0))
    }

    const ROOMY: RecompressBounds = RecompressBounds { decompressed_max: 1 << 24, batch_bytes_max: 1 << 24 };

    #[test]
    fn every_codec_becomes_every_other_and_nothing_else_changes() {
        let value: Vec<u8> = (0..40_000_u32).flat_map(|n| (n % 251).to_be_bytes()).collect();
        for from in Compression::ALL {
            let sent = batch(from, &value, 3);
            for codec in Compression::ALL {
                let (kept, _) = run(&sent, Level { codec, level: None }, ROOMY).unwrap();
                kept.check().unwrap();
                kept.check_records(1 << 24).unwrap();
                assert_eq!(kept.compression().unwrap(), codec);
                let records = |batch: &RecordBatch| {
                    batch.compression().unwrap().decompress(batch.bytes.slice(HEADER_BYTES..), 1 << 24).unwrap()
                };
                assert_eq!(records(&kept), records(&sent), "{from:?} to {codec:?}");
                let mut header = kept.bytes[..HEADER_BYTES].to_vec();
                header[8..12].copy_from_slice(&sent.bytes[8..12]);
                header[17..23].copy_from_slice(&sent.bytes[17..23]);
                assert_eq!(header, sent.bytes[..HEADER_BYTES], "{from:?} to {codec:?}");
            }
        }
    }

    #[test]
    fn harder_levels_make_less_and_cost_more() {
        let value: Vec<u8> =
            (0..60_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_string().into_bytes()).collect();
        let sent = batch(Compression::Snappy, &value, 1);
        for (codec, low, high) in [(Compression::Gzip, 1, 9), (Compression::Zstd, -5, 19)] {
            let of = |level| run(&sent, Level { codec, level: Some(level) }, ROOMY).unwrap();
            let ((fast, cheap), (small, dear)) = (of(low), of(high));
            assert!(small.bytes.len() < fast.bytes.len(), "{codec:?}: {} and {}", small.bytes.len(), fast.bytes.len());
            assert!(cheap <= dear);
            small.check_records(1 << 24).unwrap();
        }
    }

    #[test]
    fn both_sides_are_bounded() {
        let sent = batch(Compression::Zstd, &vec![0; 1 << 20], 1);
        let plain = Level { codec: Compression::None, level: None };
        let small = RecompressBounds { batch_bytes_max: 100_000, ..ROOMY };
        assert!(matches!(
            run(&sent, plain, small),
            Err(BatchError::TooLarge { bytes: 100_000..120_000, max: 100_000 })
        ));
        let few = RecompressBounds { decompressed_max: 1 << 19, ..ROOMY };
        assert_eq!(run(&sent, plain, few).unwrap_err(), BatchError::DecompressedSize(1 << 19));
    }
}
