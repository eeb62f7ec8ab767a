use super::*;
use crate::{BatchBytes, BatchKind, Ending, Marker, NO_SEQUENCE};
use base::{NodeEpoch, Offset, WalIndex};
use bytes::Bytes;
use proptest::prelude::*;

fn place(position: u64) -> GroupPlace {
    GroupPlace {
        wal: WalId { node_epoch: NodeEpoch(7), index: WalIndex(1) },
        position: WalPosition(position),
        durable: WalPosition(4096.min(position)),
        tag: 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100,
    }
}

fn entry(stream: u64, base: u64, count: u64, head: &[u8], body: &[u8], producer: Option<ProducerDelta>) -> WalEntry {
    WalEntry {
        stream: StreamId(stream),
        stream_epoch: StreamEpoch(3),
        batch: NumberedBatch {
            range: OffsetRange::new(Offset(base), Offset(base + count)),
            bytes: BatchBytes { head: Bytes::copy_from_slice(head), body: Bytes::copy_from_slice(body) },
            records: u32::try_from(count).unwrap(),
            max_timestamp: UnixMillis(1_700_000_000_000),
            producer,
            control: count == 1 && producer.is_none_or(|delta| delta.kind == MARKER.kind),
            frame: None,
        },
    }
}

const PRODUCER: ProducerDelta = ProducerDelta {
    producer_id: 42,
    producer_epoch: 2,
    first_sequence: 10,
    last_sequence: 14,
    kind: BatchKind::Transactional,
};

const MARKER: ProducerDelta = ProducerDelta {
    producer_id: 42,
    producer_epoch: 3,
    first_sequence: NO_SEQUENCE,
    last_sequence: NO_SEQUENCE,
    kind: BatchKind::Marker(Marker { ending: Ending::Commit, coordinator_epoch: 7 }),
};

/// The whole group's bytes, as a WAL kind lays them out.
fn assemble(encoded: &EncodedGroup, entries: &[WalEntry]) -> Vec<u8> {
    let mut bytes = encoded.head.to_vec();
    for entry in entries {
        bytes.extend(&entry.batch.bytes.head);
        bytes.extend(&entry.batch.bytes.body);
    }
    bytes.resize(encoded.size.total, 0);
    bytes
}

fn golden_entries() -> Vec<WalEntry> {
    vec![entry(5, 100, 5, b"head", b"-and-body", Some(PRODUCER)), entry(5, 105, 1, b"", b"control", Some(MARKER))]
}

/// The example of docs/formats/wal.md: what is printed there is read from the document and must be what this build writes.
#[test]
fn golden_bytes_are_those_of_the_document() {
    let entries = golden_entries();
    let group = assemble(&encode_group(place(8192), &entries, 1), &entries);
    assert_eq!(hex(&group), crate::testing_doc::hex_block(DOCUMENT, "data group"));
    assert_eq!(hex(&encode_pad(place(8192), 12288)), crate::testing_doc::hex_block(DOCUMENT, "pad"));
    let fence = GroupPlace { position: WalPosition(3 << 32), durable: WalPosition(3 << 32), ..place(0) };
    assert_eq!(hex(&encode_fence(fence)), crate::testing_doc::hex_block(DOCUMENT, "fence"));
}

const DOCUMENT: &str = include_str!("../../../../docs/formats/wal.md");

fn hex(bytes: &[u8]) -> String {
    crate::testing_doc::hex(bytes)
}

#[test]
fn a_group_round_trips() {
    let entries = golden_entries();
    let encoded = encode_group(place(8192), &entries, 4096);
    let bytes = assemble(&encoded, &entries);
    assert_eq!(bytes.len(), 4096);
    let group = decode_group(&bytes).unwrap();
    assert_eq!((group.header.kind, group.header.place, group.header.total_len), (GroupKind::Data, place(8192), 4096));
    assert_eq!(group.header.end(), WalPosition(12288));
    assert_eq!(group.entries, encoded.directory);
    assert_eq!(group.entries[0].range, entries[0].batch.range);
    assert_eq!(group.entries[0].producer, Some(PRODUCER));
    assert_eq!((group.entries[1].control, group.entries[1].producer), (true, Some(MARKER)));
    group.verify_payload(&bytes).unwrap();
    // The directory alone is enough for everything but the payload.
    assert_eq!(decode_group(&bytes[..group.header.head_len]).unwrap(), group);
}

#[test]
fn a_pad_and_a_fence_round_trip() {
    let pad = decode_group(&encode_pad(place(8192), 12288)).unwrap();
    assert_eq!((pad.header.kind, pad.header.total_len, pad.entries.len()), (GroupKind::Pad, 12288, 0));
    let fence = decode_group(&encode_fence(place(8192))).unwrap();
    assert_eq!((fence.header.kind, fence.header.place), (GroupKind::Fence, place(8192)));
}

#[test]
fn a_newer_version_and_a_link_are_refused_by_name() {
    let entries = golden_entries();
    let mut head = encode_group(place(8192), &entries, 1).head.to_vec();
    head[8] = 2;
    assert_eq!(decode_group(&head), Err(GroupError::Newer(2)));
    head[8] = 1;
    head[HEADER_BYTES] = 1;
    reseal(&mut head);
    let GroupError::Corrupt(reason) = decode_group(&head).unwrap_err() else { panic!("a link is no torn write") };
    assert!(reason.contains("newer release"), "{reason}");
}

#[test]
fn a_right_checksum_over_contradictions_is_corrupt_not_torn() {
    let entries = golden_entries();
    let whole = encode_group(place(8192), &entries, 1).head.to_vec();
    // Offsets out of order; payload not contiguous; unknown flags; more entries than directory; durable mark beyond.
    for (at, value) in
        [(HEADER_BYTES + 23, 0x7f), (HEADER_BYTES + 32, 0xee), (HEADER_BYTES + 1, 0x10), (12, 200), (62, 255)]
    {
        let mut head = whole.clone();
        head[at] = value;
        reseal(&mut head);
        assert!(matches!(decode_group(&head), Err(GroupError::Corrupt(_))), "byte {at}: {:?}", decode_group(&head));
    }
}

/// The first release takes bit 4 for what it has no use for, and refuses bit 8: one alone is of no release. A marker says how it ends.
#[test]
fn what_is_of_a_transaction_is_refused_by_who_knows_of_none() {
    let entries = golden_entries();
    let whole = encode_group(place(8192), &entries, 1).head.to_vec();
    let second = HEADER_BYTES + ENTRY_BYTES_MAX;
    assert_eq!((whole[HEADER_BYTES + 1], whole[second + 1]), (0x0e, 0x0f));
    for (at, value) in [(HEADER_BYTES + 1, 0x06), (HEADER_BYTES + 1, 0x0a), (second + 1, 0x0d), (second + 78, 2)] {
        let mut head = whole.clone();
        head[at] = value;
        reseal(&mut head);
        assert!(matches!(decode_group(&head), Err(GroupError::Corrupt(_))), "byte {at}: {:?}", decode_group(&head));
    }
}

/// A directory without transactions is byte by byte what the first release writes, and is read as ever.
#[test]
fn a_plain_producers_entry_has_the_flags_that_it_always_had() {
    let plain = ProducerDelta { kind: BatchKind::Plain, ..PRODUCER };
    let entries = vec![entry(5, 100, 5, b"head", b"-and-body", Some(plain)), entry(6, 0, 1, b"", b"control", None)];
    let group = encode_group(place(8192), &entries, 1);
    assert_eq!(group.head[HEADER_BYTES + 1], 2);
    assert_eq!(group.head[HEADER_BYTES + ENTRY_BYTES + 18..HEADER_BYTES + ENTRY_BYTES_MAX], [0; 6]);
    let decoded = decode_group(&group.head).unwrap();
    assert_eq!((decoded.entries[0].producer, decoded.entries[1].control), (Some(plain), true));
}

fn reseal(head: &mut [u8]) {
    let crc = decode::head_crc(head);
    head[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

fn entries_strategy() -> impl Strategy<Value = Vec<WalEntry>> {
    let one = (0..5u64, 0..1000u64, 1..20u64, 0..20usize, 0..600usize, 0..4u8);
    proptest::collection::vec(one, 1..20).prop_map(|list| {
        let from = |(stream, base, count, head, body, producer): (u64, u64, u64, usize, usize, u8)| {
            let plain = ProducerDelta { kind: BatchKind::Plain, ..PRODUCER };
            let (count, producer) = [(count, None), (count, Some(plain)), (count, Some(PRODUCER)), (1, Some(MARKER))]
                [usize::from(producer)];
            entry(stream, base, count, &vec![7; head], &vec![0x5a; body], producer)
        };
        list.into_iter().map(from).collect()
    })
}

proptest! {
    #[test]
    fn any_group_round_trips(entries in entries_strategy()) {
        let encoded = encode_group(place(8192), &entries, 512);
        let bytes = assemble(&encoded, &entries);
        let group = decode_group(&bytes).unwrap();
        prop_assert_eq!(&group.entries, &encoded.directory);
        prop_assert!(group.verify_payload(&bytes).is_ok());
        for (found, put) in group.entries.iter().zip(&entries) {
            let start = usize::try_from(found.payload_position).unwrap();
            let len = usize::try_from(found.payload_len).unwrap();
            let want = [&put.batch.bytes.head[..], &put.batch.bytes.body[..]].concat();
            prop_assert_eq!(&bytes[start..start + len], &want[..]);
        }
    }

    #[test]
    fn a_group_cut_anywhere_is_never_whole(entries in entries_strategy(), cut in 0.0..1.0f64) {
        let bytes = assemble(&encode_group(place(8192), &entries, 1), &entries);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a fraction of a small length")]
        let cut = (bytes.len() as f64 * cut) as usize;
        let whole = decode_group(&bytes[..cut]).and_then(|group| group.verify_payload(&bytes[..cut]));
        // Cutting after the last entry's byte is the only cut that may pass.
        prop_assert!(whole.is_err(), "cut at {cut} of {}", bytes.len());
    }

    #[test]
    fn a_sector_that_did_not_survive_is_noticed(entries in entries_strategy(), sector in 0usize..24, old in any::<u8>()) {
        let mut bytes = assemble(&encode_group(place(8192), &entries, 512), &entries);
        let sectors = bytes.len() / 512;
        let at = sector % sectors * 512;
        let before = bytes.clone();
        bytes[at..at + 512].fill(old);
        let whole = decode_group(&bytes).and_then(|group| group.verify_payload(&bytes));
        let used = usize::try_from(decode_header(&before).unwrap().payload_len).unwrap() + decode_header(&before).unwrap().head_len;
        let same = bytes[..used] == before[..used];
        prop_assert_eq!(whole.is_ok(), same);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), shaped in any::<bool>(), sealed in any::<bool>()) {
        if shaped && bytes.len() >= 10 {
            bytes[..8].copy_from_slice(&MAGIC);
            bytes[8..10].copy_from_slice(&1u16.to_le_bytes());
        }
        if sealed && bytes.len() >= HEADER_BYTES {
            reseal(&mut bytes);
        }
        if let Ok(group) = decode_group(&bytes) {
            let _checked = group.verify_payload(&bytes);
        }
    }
}
