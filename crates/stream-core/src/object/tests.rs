use super::*;
use crate::producers::{Producers, Written, decode_section, encode_section};
use crate::testing_doc::{hex, hex_block};
use crate::{BatchBytes, BatchKind, Ending, Marker, NumberedBatch, ProducerDelta};
use base::{NodeEpoch, WalIndex};
use bytes::Bytes;
use proptest::prelude::*;

const DOCUMENT: &str = include_str!("../../../../docs/formats/object.md");

const OBJECT: ObjectId = ObjectId { node_epoch: NodeEpoch(7), counter: 12 };
const WAL: WalId = WalId { node_epoch: NodeEpoch(7), index: WalIndex(0) };

fn batch(base: u64, count: u64, bytes: &[u8], timestamp: i64) -> NumberedBatch {
    let (head, body) = bytes.split_at(bytes.len().min(2));
    NumberedBatch {
        range: OffsetRange::new(Offset(base), Offset(base + count)),
        bytes: BatchBytes { head: Bytes::copy_from_slice(head), body: Bytes::copy_from_slice(body) },
        records: u32::try_from(count).unwrap(),
        max_timestamp: UnixMillis(timestamp),
        producer: None,
        control: false,
        frame: None,
    }
}

fn golden() -> BuiltObject {
    let mut builder = ObjectBuilder::new(OBJECT, WAL, 16);
    builder.push(StreamId(3), StreamEpoch(1), &batch(10, 2, b"first batch", 1000));
    builder.push(StreamId(3), StreamEpoch(1), &batch(12, 1, b"2nd", 900));
    builder.push(StreamId(3), StreamEpoch(1), &batch(13, 1, b"third batch", 1100));
    builder.push(StreamId(4), StreamEpoch(0), &NumberedBatch { control: true, ..batch(0, 1, b"marker", 1200) });
    builder.push_state(
        StreamId(3),
        StreamEpoch(1),
        OffsetRange::new(Offset(0), Offset(14)),
        encode_section(&producers()),
    );
    builder.finish()
}

/// One producer with one batch, which is not of the example's records: state is independent of them.
fn producers() -> Producers {
    let delta = ProducerDelta {
        producer_id: 42,
        producer_epoch: 2,
        first_sequence: 7,
        last_sequence: 8,
        kind: BatchKind::Plain,
    };
    let mut producers = Producers::default();
    producers.fold(&written(delta, 10, 12), UnixMillis(1_700_000_000_000));
    producers
}

fn written(delta: ProducerDelta, base: u64, next: u64) -> Written {
    Written { delta, range: OffsetRange::new(Offset(base), Offset(next)), timestamp: UnixMillis(1000) }
}

/// One that has aborted a transaction and has another open, and one that a marker has ended that began before.
fn producers_with_transactions() -> Producers {
    let delta = |producer_id, producer_epoch, first_sequence| ProducerDelta {
        producer_id,
        producer_epoch,
        first_sequence,
        last_sequence: first_sequence,
        kind: BatchKind::Transactional,
    };
    let marker = |producer_id, producer_epoch, ending| {
        ProducerDelta::marker(producer_id, producer_epoch, Marker { ending, coordinator_epoch: 5 })
    };
    let mut producers = Producers::default();
    producers.fold(&written(delta(42, 2, 0), 10, 11), UnixMillis(1_700_000_000_000));
    producers.fold(&written(marker(43, 1, Ending::Commit), 11, 12), UnixMillis(1_700_000_000_000));
    producers.fold(&written(marker(42, 3, Ending::Abort), 12, 13), UnixMillis(1_700_000_000_000));
    producers.fold(&written(delta(42, 3, 0), 13, 14), UnixMillis(1_700_000_000_000));
    producers
}

/// The example of a section with transactions, and what one without them is: the same as ever.
#[test]
fn golden_sections_are_those_of_the_document() {
    let section = encode_section(&producers_with_transactions());
    assert_eq!(hex(&section), hex_block(DOCUMENT, "section"));
    assert_eq!(decode_section(&section), Ok(producers_with_transactions()));
    assert!(hex_block(DOCUMENT, "object").contains(&hex(&encode_section(&producers()))));
}

fn bytes_of(object: &BuiltObject) -> Vec<u8> {
    object.parts.concat()
}

#[test]
fn golden_bytes_are_those_of_the_document() {
    assert_eq!(hex(&bytes_of(&golden())), hex_block(DOCUMENT, "object"));
}

#[test]
fn an_object_round_trips() {
    let object = golden();
    let bytes = bytes_of(&object);
    assert_eq!(object.size, bytes.len() as u64);
    let ObjectTail::Whole(footer, index) = decode_tail(&bytes, object.size).unwrap() else {
        panic!("all of it was given")
    };
    assert_eq!((footer.object, footer.wal, footer.states_position), (OBJECT, WAL, 31));
    assert_eq!(index, object.index);
    let ObjectIndex { blocks, states } = index;
    let [state] = states[..] else { panic!("one section") };
    let start = usize::try_from(state.position).unwrap();
    let section = &bytes[start..start + usize::try_from(state.len).unwrap()];
    state.verify(section).unwrap();
    assert!(state.verify(&section[1..]).is_err());
    assert_eq!(decode_section(section), Ok(producers()));
    let ranges: Vec<_> = blocks.iter().map(|block| (block.stream.0, block.range.base.0, block.range.next.0)).collect();
    assert_eq!(ranges, [(3, 10, 13), (3, 13, 14), (4, 0, 1)]);
    assert_eq!(
        (blocks[0].max_timestamp, blocks[0].max_timestamp_offset, blocks[0].records),
        (UnixMillis(1000), Offset(10), 3)
    );
    assert!(blocks[2].control && !blocks[1].control);
    for block in &blocks {
        let start = usize::try_from(block.position).unwrap();
        let data = &bytes[start..start + usize::try_from(block.len).unwrap()];
        block.verify(data).unwrap();
        assert!(block.verify(&data[1..]).is_err());
    }
    let commit: Vec<_> = object.ranges.iter().map(|range| (range.stream.0, range.range.len(), range.bytes)).collect();
    assert_eq!(commit, [(3, 4, 25), (4, 1, 6)]);
    assert_eq!(object.ranges[0].max_timestamp_offset, Offset(13));
}

#[test]
fn a_short_tail_says_where_the_index_is() {
    let object = golden();
    let bytes = bytes_of(&object);
    let tail = &bytes[bytes.len() - FOOTER_BYTES - 10..];
    let ObjectTail::IndexAt(footer) = decode_tail(tail, object.size).unwrap() else { panic!("the index is not in it") };
    let start = usize::try_from(footer.index_position).unwrap();
    let index = &bytes[start..start + usize::try_from(footer.index_len).unwrap()];
    assert_eq!(decode_index(index, &footer).unwrap(), object.index);
}

#[test]
fn a_gap_or_a_new_tenure_begins_a_range() {
    let mut builder = ObjectBuilder::new(OBJECT, WAL, 1 << 20);
    builder.push(StreamId(1), StreamEpoch(0), &batch(0, 1, b"abc", 1));
    builder.push(StreamId(1), StreamEpoch(0), &batch(5, 1, b"abc", 1));
    builder.push(StreamId(1), StreamEpoch(2), &batch(6, 1, b"abc", 1));
    let object = builder.finish();
    let ranges: Vec<_> = object.ranges.iter().map(|range| (range.stream_epoch.0, range.range.base.0)).collect();
    assert_eq!(ranges, [(0, 0), (0, 5), (2, 6)]);
    assert_eq!(object.index.blocks.len(), 3);
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let object = golden();
    let mut bytes = bytes_of(&object);
    let at = bytes.len() - FOOTER_BYTES + 8;
    bytes[at] = 4;
    assert_eq!(decode_footer(&bytes, object.size), Err(ObjectError::Newer(4)));
}

/// What earlier releases wrote: the document's first version, without state sections.
#[test]
fn version_1_is_read() {
    let printed = hex_block(DOCUMENT, "version-1");
    let bytes: Vec<u8> =
        (0..printed.len()).step_by(2).map(|at| u8::from_str_radix(&printed[at..at + 2], 16).unwrap()).collect();
    let ObjectTail::Whole(footer, index) = decode_tail(&bytes, bytes.len() as u64).unwrap() else {
        panic!("all of it was given")
    };
    assert_eq!((footer.object, footer.states), (OBJECT, 0));
    assert_eq!((index.blocks[0].range.base, index.blocks.len(), index.states.len()), (Offset(0), 1, 0));
    index.blocks[0].verify(b"marker").unwrap();
}

/// The second version differs by nothing that a reader looks at: its blocks cover what their batches do.
#[test]
fn version_2_is_read() {
    let object = golden();
    let mut bytes = bytes_of(&object);
    let footer = bytes.len() - FOOTER_BYTES;
    bytes[footer + 8] = 2;
    let crc = base::crc32c(&bytes[footer..bytes.len() - 4]);
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&crc.to_le_bytes());
    let ObjectTail::Whole(_, index) = decode_tail(&bytes, object.size).unwrap() else { panic!("all of it was given") };
    assert_eq!(index, object.index);
}

#[test]
fn what_is_merged_covers_gaps_and_goes_on_over_tenures() {
    let run = |base, next, bytes: &'static [u8]| Run {
        range: OffsetRange::new(Offset(base), Offset(next)),
        bytes: BatchBytes::whole(Bytes::from_static(bytes)),
        records: 2,
        max_timestamp: UnixMillis(5),
        max_timestamp_offset: Offset(base + 1),
        control: false,
    };
    let mut builder = ObjectBuilder::merged(OBJECT, 1 << 20);
    builder.push_run(StreamId(1), StreamEpoch(0), &run(0, 50, b"abc"));
    builder.push_run(StreamId(1), StreamEpoch(0), &run(50, 60, b"de"));
    builder.push_run(StreamId(1), StreamEpoch(2), &run(60, 61, b"f"));
    let object = builder.finish();
    let blocks: Vec<_> = object.index.blocks.iter().map(|it| (it.stream_epoch.0, it.range.next.0, it.len)).collect();
    assert_eq!(blocks, [(0, 60, 5), (2, 61, 1)], "a block is of one tenure");
    assert_eq!(object.index.blocks[0].max_timestamp_offset, Offset(1));
    let [range] = object.ranges[..] else { panic!("one range") };
    assert_eq!((range.range.len(), range.bytes, range.records), (61, 6, 6));
    let ObjectTail::Whole(footer, index) = decode_tail(&bytes_of(&object), object.size).unwrap() else {
        panic!("all of it was given")
    };
    assert_eq!((footer.wal, index), (MERGED, object.index));
}

#[test]
fn an_object_may_hold_states_alone() {
    let mut builder = ObjectBuilder::new(OBJECT, WAL, 16);
    assert!(builder.is_empty());
    builder.push_state(
        StreamId(9),
        StreamEpoch(0),
        OffsetRange::new(Offset(0), Offset(5)),
        encode_section(&producers()),
    );
    assert!(!builder.is_empty());
    let object = builder.finish();
    let ObjectTail::Whole(_, index) = decode_tail(&bytes_of(&object), object.size).unwrap() else { panic!("whole") };
    assert_eq!((index.blocks.len(), index.states[0].position), (0, 0));
}

#[test]
fn the_size_is_part_of_the_proof() {
    let object = golden();
    assert!(decode_footer(&bytes_of(&object), object.size + 1).is_err());
}

proptest! {
    #[test]
    fn any_object_round_trips(batches in proptest::collection::vec((0..4u64, 1..9u64, 0..300usize, 0..2000i64), 1..60), block in 1..700usize) {
        let mut sorted: Vec<_> = batches.iter().enumerate().map(|(at, it)| (it.0, at, it)).collect();
        sorted.sort();
        let mut builder = ObjectBuilder::new(OBJECT, WAL, block);
        let mut next = std::collections::BTreeMap::new();
        let mut want = Vec::new();
        for (stream, _, (_, count, len, timestamp)) in sorted {
            let base = next.entry(stream).or_insert(0);
            let bytes = vec![u8::try_from(stream).unwrap(); *len];
            builder.push(StreamId(stream), StreamEpoch(0), &batch(*base, *count, &bytes, *timestamp));
            *base += count;
            want.extend(bytes);
        }
        let object = builder.finish();
        let bytes = bytes_of(&object);
        prop_assert_eq!(&bytes[..want.len()], &want[..]);
        let ObjectTail::Whole(footer, index) = decode_tail(&bytes, object.size).unwrap() else { panic!("all of it was given") };
        prop_assert_eq!(footer.index_position, want.len() as u64);
        prop_assert_eq!(&index, &object.index);
        let blocks = index.blocks;
        for (stream, end) in next {
            let mut covered = 0;
            for entry in blocks.iter().filter(|entry| entry.stream.0 == stream) {
                prop_assert_eq!(entry.range.base.0, covered);
                covered = entry.range.next.0;
            }
            prop_assert_eq!(covered, end);
        }
    }

    #[test]
    fn a_changed_or_missing_byte_is_noticed(at in 0.0..1.0f64, flip in 1..=255u8) {
        let object = golden();
        let mut bytes = bytes_of(&object);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a fraction of a small length")]
        let at = (bytes.len() as f64 * at) as usize;
        prop_assert!(decode_tail(&bytes[..at], at as u64).is_err());
        bytes[at] ^= flip;
        let whole = match decode_tail(&bytes, object.size) {
            Ok(ObjectTail::Whole(_, index)) => {
                let span = |position: u64, len: u32| {
                    let start = usize::try_from(position).unwrap();
                    &bytes[start..start + usize::try_from(len).unwrap()]
                };
                index.blocks.iter().all(|block| block.verify(span(block.position, block.len)).is_ok())
                    && index.states.iter().all(|state| state.verify(span(state.position, state.len)).is_ok())
            }
            _ => false,
        };
        prop_assert!(!whole);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), shaped in any::<bool>()) {
        if let (true, Some(start)) = (shaped, bytes.len().checked_sub(FOOTER_BYTES)) {
            bytes[start..start + 8].copy_from_slice(&MAGIC);
            bytes[start + 8..start + 10].copy_from_slice(&VERSION.to_le_bytes());
            let crc = base::crc32c(&bytes[start..start + FOOTER_BYTES - 4]);
            let end = bytes.len();
            bytes[end - 4..].copy_from_slice(&crc.to_le_bytes());
        }
        let _decoded = decode_tail(&bytes, bytes.len() as u64);
    }
}
