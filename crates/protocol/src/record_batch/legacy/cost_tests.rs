//! What conversions tell of the work that they are, where it is little to the eye.

use super::tests::{Free, ROOMY, all_of, message};
use super::*;
use crate::record_batch::{BatchBuilder, Compression, Level, NewRecord};
use bytes::Bytes;
use futures::FutureExt;

/// What one message more costs than its bytes, at least, where it begins a codec anew.
const ANEW: usize = 5_000;

#[test]
fn what_a_codec_costs_to_begin_is_told_however_little_there_is() {
    let one: Bytes = message(0, OldFormat::V1, 0, 5, (b"k", b"v")).into();
    let cost_up = |level| {
        let mut pace = Free(0);
        let how = Upconvert { level: Some(level), ..ROOMY };
        let (batch, _) =
            upconverted(&one, OldFormat::V1, how, &mut pace).now_or_never().expect("nothing is waited for");
        batch.expect("it is right");
        pace.0
    };
    let of = |codec, level| cost_up(Level { codec, level });
    assert!(of(Compression::None, None) < 100);
    for (codec, level) in [(Compression::Gzip, None), (Compression::Zstd, None), (Compression::Zstd, Some(22))] {
        assert!(of(codec, level) > ANEW, "{codec:?} {level:?}: {}", of(codec, level));
    }
    // Many small batches: each is walked twice at the same time, and begins a wrapper.
    let record = NewRecord { timestamp: 7, value: Some(b"v"), ..NewRecord::default() };
    for codec in [Compression::Gzip, Compression::Lz4] {
        let batch = |at| BatchBuilder::new().compression(codec).record(&record).build(at).expect("it can be built");
        let stored: Vec<u8> = (0..50).flat_map(|at| batch(at).bytes().to_vec()).collect();
        let mut pace = Free(0);
        let done = downconverted(&stored.into(), all_of(OldFormat::V1), &mut pace).now_or_never();
        assert_eq!(done.expect("nothing is waited for").expect("it is right").next, 50);
        assert!(pace.0 > 50 * ANEW, "{codec:?}: {}", pace.0);
    }
}

#[test]
fn what_is_written_beside_keys_and_values_is_told() {
    const RECORDS: usize = 1000;
    let gzip = Level { codec: Compression::Gzip, level: None };
    let set = message(0, OldFormat::V1, 0, 5, (b"", b"")).repeat(RECORDS);
    let mut pace = Free(0);
    let how = Upconvert { level: Some(gzip), ..ROOMY };
    let (batch, _) =
        upconverted(&set.into(), OldFormat::V1, how, &mut pace).now_or_never().expect("nothing is waited for");
    let batch = batch.expect("it is right");
    // Seven or eight bytes a record.
    assert!(pace.0 > RECORDS * 7 * 32, "{}", pace.0);
    let mut pace = Free(0);
    let done = downconverted(batch.bytes(), all_of(OldFormat::V1), &mut pace).now_or_never();
    assert_eq!(done.expect("nothing is waited for").expect("it is right").next, 1000);
    // 34 bytes a message.
    assert!(pace.0 > RECORDS * 34 * 32, "{}", pace.0);
}
