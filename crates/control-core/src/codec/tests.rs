//! Golden bytes, round trips, and bytes that nobody wrote.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test's numbers are small")]

use super::*;
use crate::{
    AclEntry, AclPattern, AclResource, CommitRange, CommitState, NewObject, Node, NodeState, ObjectRecord, Outcome,
    QuotaEntity, QuotaName, QuotaValue, Reference, Refusal, ScramCredential, ScramUser, Secret, SettingsScope,
    StreamRecord, Swap, Tenure, Token, UploadedObject, WalRegistration,
};
use base::{
    LedgerEpoch, LedgerSeq, NodeEpoch, NodeId, Nonce, ObjectId, Offset, OffsetRange, Seed, StreamEpoch, StreamId,
    TopicId, UnixMillis, WalId, WalIndex, WalPosition,
};
use std::collections::BTreeMap;
use std::sync::Arc;

fn small_entry() -> Entry {
    Entry {
        seq: LedgerSeq(300),
        epoch: LedgerEpoch(2),
        nonce: Nonce(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        written: UnixMillis(-1),
        commands: vec![
            (CommandId::default(), Command::BecomeLeader { epoch: LedgerEpoch(2), node_id: NodeId(7), cluster_id: 1 }),
            (
                CommandId { requester: NodeEpoch(3), counter: 128 },
                Command::Trim {
                    stream: StreamId(5),
                    node_epoch: NodeEpoch(3),
                    stream_epoch: StreamEpoch(1),
                    start: Offset(1000),
                },
            ),
        ],
    }
}

fn a_state() -> CommitState {
    CommitState {
        stream: StreamId(6),
        stream_epoch: StreamEpoch(4),
        range: OffsetRange::new(Offset(0), Offset(300)),
        position: 1 << 33,
        len: 700,
        crc: 0x0102_0304,
    }
}

fn a_reference(object: ObjectId) -> Reference {
    Reference {
        object,
        range: OffsetRange::new(Offset(10), Offset(30)),
        bytes: 12000,
        records: 18,
        max_timestamp: UnixMillis(1_700_000_000_000),
        max_timestamp_offset: Offset(12),
    }
}

fn a_cleaned_end() -> Command {
    let (stream, node_epoch, stream_epoch) = (StreamId(5), NodeEpoch(3), StreamEpoch(4));
    Command::Cleaned { stream, node_epoch, stream_epoch, cleaned: Offset(20) }
}

fn a_stream() -> StreamRecord {
    let wal = WalId { node_epoch: NodeEpoch(3), index: WalIndex(0) };
    let (start, committed) = (Offset(12), Offset(30));
    let reference = a_reference(ObjectId { node_epoch: NodeEpoch(3), counter: 17 });
    StreamRecord {
        topic: TopicId(4),
        partition: 2,
        epoch: StreamEpoch(4),
        start,
        tenures: vec![Tenure { stream_epoch: StreamEpoch(4), wal, start: Offset(0), committed, end: None }],
        epochs: vec![(StreamEpoch(4), start)],
        references: [(reference.range.base, reference)].into_iter().collect(),
        live_bytes: reference.live_bytes(start),
        producers: Vec::new(),
        unsaved: vec![wal],
        reborn: true,
        cleaned: Offset(25),
    }
}

fn a_replacement(id: ObjectId) -> Command {
    Command::Replace {
        writer: NodeEpoch(3),
        min_counter: 17,
        objects: vec![NewObject { id, size: 1 << 30, data_bytes: 12000 }],
        swaps: vec![Swap { stream: StreamId(5), old: vec![(id, a_reference(id).range)], new: vec![a_reference(id)] }],
    }
}

fn a_registration() -> WalRegistration {
    let (url, start, name) = ("file:///w".into(), WalPosition(u64::MAX), String::new());
    WalRegistration { url, ring_id: u128::MAX, start, in_storage: true, name }
}

/// Every kind of command that version 6 has, with something in every field.
fn every_command() -> Entry {
    let wal = WalId { node_epoch: NodeEpoch(3), index: WalIndex(2) };
    let range = CommitRange {
        stream: StreamId(5),
        stream_epoch: StreamEpoch(4),
        range: OffsetRange::new(Offset(10), Offset(30)),
        bytes: 12345,
        records: 19,
        max_timestamp: UnixMillis(1_700_000_000_000),
        max_timestamp_offset: Offset(12),
    };
    let id = ObjectId { node_epoch: NodeEpoch(3), counter: 17 };
    let commands = vec![
        Command::BecomeLeader { epoch: LedgerEpoch(9), node_id: NodeId(-1), cluster_id: 99 },
        Command::Register {
            node_id: Some(NodeId(3)),
            advertised: "h:1".into(),
            wals: vec![a_registration()],
            incarnation: 5,
        },
        Command::DeclareDead { node_epochs: vec![NodeEpoch(1), NodeEpoch(2)] },
        Command::WalRecovered {
            wal,
            end: WalPosition(9),
            ends: vec![(StreamId(1), Offset::MAX)],
            recoverer: NodeEpoch(4),
            open_on: Some(WalIndex(0)),
        },
        Command::OpenStreams { streams: vec![StreamId(1)], node_epoch: NodeEpoch(4), wal_index: WalIndex(1) },
        Command::CreateTopic {
            id: TopicId(4),
            name: "täglich".into(),
            partitions: vec![(NodeEpoch(4), WalIndex(0))],
            replication_factor: -1,
            configs: BTreeMap::from([("a".into(), "b".into())]),
            internal: true,
        },
        Command::DeleteTopic { id: TopicId(4) },
        Command::CreatePartitions { id: TopicId(4), first: 3, partitions: vec![(NodeEpoch(4), WalIndex(0))] },
        Command::AlterTopicConfigs {
            id: TopicId(4),
            changes: BTreeMap::from([("a".into(), None), ("b".into(), Some("c".into()))]),
        },
        Command::CommitObjects {
            speaker: NodeEpoch(3),
            wal,
            trim: WalPosition(7),
            min_counter: 16,
            objects: vec![UploadedObject { id, size: 1 << 40, ranges: vec![range], states: vec![a_state()] }],
        },
        Command::Trim {
            stream: StreamId(1),
            node_epoch: NodeEpoch(2),
            stream_epoch: StreamEpoch(-1),
            start: Offset(8),
        },
        Command::ObjectsDeleted { objects: vec![id] },
        Command::Probed { endpoint: "s3".into() },
        Command::ForgetWal { wal },
        Command::AlterSettings {
            scope: SettingsScope::Broker(NodeId(3)),
            changes: BTreeMap::from([("a".into(), None), ("b".into(), Some("c".into()))]),
        },
        Command::TakeProducerIds { count: 1000 },
        a_replacement(id),
        a_cleaned_end(),
    ];
    let ids = (1..).map(|counter| CommandId { requester: NodeEpoch(3), counter });
    Entry { commands: ids.zip(commands).collect(), ..small_entry() }
}

fn snapshot() -> Image {
    let mut image = Image { seq: LedgerSeq(0), ..Image::default() };
    let lead = Command::BecomeLeader { epoch: LedgerEpoch(1), node_id: NodeId(1), cluster_id: 3 };
    let wals = vec![WalRegistration {
        url: "storage".into(),
        ring_id: 0,
        start: WalPosition(0),
        in_storage: true,
        name: String::new(),
    }];
    let register = Command::Register { node_id: None, advertised: "h:1".into(), wals, incarnation: 8 };
    let commands = vec![(CommandId::default(), lead), (CommandId::default(), register)];
    crate::apply(&mut image, &Entry { seq: LedgerSeq(1), epoch: LedgerEpoch(1), commands, ..small_entry() });
    let answered = [
        (1u64, Outcome::Done),
        (2, Outcome::Committed { ranges: vec![true, false] }),
        (3, Outcome::Registered { node_id: NodeId(1), node_epoch: NodeEpoch(2) }),
        (4, Outcome::Refused(Refusal::Dead(NodeEpoch(1)))),
        (5, Outcome::Refused(Refusal::StaleEpoch)),
        (6, Outcome::Refused(Refusal::TopicExists)),
        (7, Outcome::Refused(Refusal::Unknown("x".into()))),
        (8, Outcome::Refused(Refusal::NotNext)),
        (9, Outcome::Refused(Refusal::Invalid("y".into()))),
        (10, Outcome::ProducerIds { first: 5000 }),
        (11, Outcome::Replaced { swaps: vec![true, false] }),
    ];
    let node = Node {
        node_id: NodeId(2),
        state: NodeState::Dead,
        advertised: "old:1".into(),
        incarnation: 9,
        min_counter: 4,
        answered: answered.into_iter().map(|(counter, outcome)| (counter, (LedgerSeq(6), outcome))).collect(),
    };
    image.nodes.insert(NodeEpoch(7), Arc::new(node));
    let scopes = [
        SettingsScope::Brokers,
        SettingsScope::Broker(NodeId(1)),
        SettingsScope::Group("g".into()),
        SettingsScope::ClientMetrics("m".into()),
    ];
    for scope in scopes {
        image.settings.insert(scope, Arc::new(BTreeMap::from([("a".into(), "b".into())])));
    }
    image
}

/// The example in docs/formats/ledger.md, byte by byte. A change there is a change of the format: raise the version.
#[test]
fn the_documents_example_is_what_is_written() {
    let document = include_str!("../../../../docs/formats/ledger.md");
    let (_, example) = document.split_once("### An example").unwrap();
    let block = example.split("```").nth(1).unwrap();
    // Bytes stand on the left, words on the right of at least two spaces.
    let golden: String = block.lines().filter_map(|line| line.split("  ").next()).collect::<String>().replace(' ', "");
    let bytes = encode_entry(&small_entry());
    assert_eq!(hex(&bytes), golden);
    assert_eq!(decode_entry(&bytes).unwrap(), small_entry());
}

#[test]
fn golden_checksums_of_everything_else() {
    // What is too long to print is pinned by its length and checksum.
    let pinned = |bytes: &Bytes| (bytes.len(), base::crc32c(&bytes[..bytes.len() - 4]));
    assert_eq!(pinned(&encode_entry(&every_command())), GOLDEN_EVERY_COMMAND);
    assert_eq!(pinned(&encode_snapshot(&snapshot())), GOLDEN_SNAPSHOT);
}

const GOLDEN_EVERY_COMMAND: (usize, u32) = (392, 3_370_128_676);
const GOLDEN_SNAPSHOT: (usize, u32) = (243, 2_925_781_418);

#[test]
fn what_is_written_is_read() {
    let entry = every_command();
    assert_eq!(decode_entry(&encode_entry(&entry)).unwrap(), entry);
    let image = snapshot();
    assert_eq!(decode_snapshot(&encode_snapshot(&image)).unwrap(), image);
    let (id, command) = &entry.commands[9];
    assert!(command_bytes(*id, command) > 20);
}

/// Whoever does not use several logs can go back to a program that does not know them.
#[test]
fn only_what_needs_version_7_is_written_in_it() {
    assert_eq!(encode_entry(&every_command())[4..6], [6, 0]);
    let name = "bulk".to_owned();
    let bulk = WalRegistration { url: "storage".into(), ring_id: 0, start: WalPosition(0), in_storage: true, name };
    let register = Command::Register { node_id: None, advertised: "h:1".into(), wals: vec![bulk], incarnation: 10 };
    let moves = Command::MoveStreams {
        node_epoch: NodeEpoch(3),
        to: WalIndex(1),
        streams: vec![(StreamId(5), StreamEpoch(4), Offset(30))],
    };
    for command in [register.clone(), moves] {
        let entry = Entry { commands: vec![(CommandId::default(), command)], ..small_entry() };
        let bytes = encode_entry(&entry);
        assert_eq!(bytes[4..6], [7, 0]);
        assert_eq!(decode_entry(&bytes).unwrap(), entry);
    }
    let mut image = snapshot();
    let entry = Entry {
        seq: LedgerSeq(2),
        epoch: LedgerEpoch(1),
        commands: vec![(CommandId::default(), register)],
        ..small_entry()
    };
    crate::apply(&mut image, &entry);
    let bytes = encode_snapshot(&image);
    assert_eq!((&bytes[4..6], decode_snapshot(&bytes).unwrap()), (&[7, 0][..], image));
    let mut needless = encode_entry(&small_entry())[..].to_vec();
    needless[4] = 7;
    let body = needless.len() - 4;
    let checksum = base::crc32c(&needless[..body]).to_le_bytes();
    needless[body..].copy_from_slice(&checksum);
    assert!(matches!(decode_entry(&needless), Err(CodecError::Damaged { .. })), "one value, one form");
}

#[test]
fn quotas_and_forgotten_brokers_need_version_8() {
    let entity = QuotaEntity { user: Some(QuotaName::Default), client_id: Some(QuotaName::Of("c".into())), ip: None };
    let changes = BTreeMap::from([
        ("consumer_byte_rate".to_owned(), None),
        ("producer_byte_rate".to_owned(), Some(QuotaValue::new(1024.0))),
    ]);
    let command = Command::AlterQuotas { entity, changes };
    let entry = Entry {
        seq: LedgerSeq(2),
        epoch: LedgerEpoch(1),
        commands: vec![(CommandId::default(), command)],
        ..small_entry()
    };
    let bytes = encode_entry(&entry);
    assert_eq!(bytes[4..6], [8, 0]);
    assert_eq!(decode_entry(&bytes).unwrap(), entry);
    let mut image = snapshot();
    crate::apply(&mut image, &entry);
    let bytes = encode_snapshot(&image);
    assert_eq!((&bytes[4..6], decode_snapshot(&bytes).unwrap()), (&[8, 0][..], image.clone()));
    let pinned = |bytes: &Bytes| (bytes.len(), base::crc32c(&bytes[..bytes.len() - 4]));
    assert_eq!([pinned(&encode_entry(&entry)), pinned(&bytes)], GOLDEN_QUOTAS);
    let commands = vec![(CommandId::default(), Command::Unregister { node_id: NodeId(7) })];
    let unregister = Entry { commands, ..small_entry() };
    let bytes = encode_entry(&unregister);
    assert_eq!((&bytes[4..6], decode_entry(&bytes).unwrap()), (&[8, 0][..], unregister));
    image.quotas = Default::default();
    assert_eq!(encode_snapshot(&image)[4..6], [6, 0], "without them nothing of it is left");
}

const GOLDEN_QUOTAS: [(usize, u32); 2] = [(89, 122_950_418), (280, 48_714_003)];

/// And what has nothing to do with who may do what, by one that does not know that.
#[test]
fn credentials_and_access_control_lists_need_version_9() {
    let secret = |text: &str| Secret(text.as_bytes().to_vec());
    let user = |mechanism| ScramUser { name: "alice".into(), mechanism };
    let credential =
        ScramCredential { salt: secret("s"), stored_key: secret("k"), server_key: secret("v"), iterations: 4096 };
    let acl = |pattern| {
        let resource = AclResource { kind: 2, pattern, name: "orders".into() };
        let entry = AclEntry { principal: "User:alice".into(), host: "*".into(), operation: 3, is_deny: true };
        (resource, entry)
    };
    let credentials =
        Command::AlterScram { changes: BTreeMap::from([(user(1), Some(credential.clone())), (user(2), None)]) };
    let lists = Command::AlterAcls { removed: vec![acl(AclPattern::Literal)], added: vec![acl(AclPattern::Prefixed)] };
    let pinned = |bytes: &Bytes| (bytes.len(), base::crc32c(&bytes[..bytes.len() - 4]));
    let mut found = Vec::new();
    for command in [credentials, lists] {
        let entry = Entry { commands: vec![(CommandId::default(), command)], ..small_entry() };
        let bytes = encode_entry(&entry);
        found.push(pinned(&bytes));
        assert_eq!((&bytes[4..6], decode_entry(&bytes).unwrap()), (&[9, 0][..], entry));
    }
    let mut image = snapshot();
    let (resource, entry) = acl(AclPattern::Prefixed);
    image.acls.insert(resource, Arc::new([entry].into()));
    let bytes = encode_snapshot(&image);
    assert_eq!((&bytes[4..6], decode_snapshot(&bytes).unwrap()), (&[9, 0][..], image.clone()));
    image.scram.insert(user(1), Arc::new(credential));
    let bytes = encode_snapshot(&image);
    found.push(pinned(&bytes));
    assert_eq!(decode_snapshot(&bytes).unwrap(), image);
    assert_eq!(found, GOLDEN_SECURITY);
    image.acls = Default::default();
    image.scram = Default::default();
    assert_eq!(encode_snapshot(&image)[4..6], [6, 0], "what is gone is not told of");
}

const GOLDEN_SECURITY: [(usize, u32); 3] = [(59, 3_044_774_442), (84, 2_746_590_723), (287, 1_624_483_586)];

/// Nor are tokens told to a program that does not know them, where there are none.
#[test]
fn delegation_tokens_need_version_10() {
    let token = Token {
        owner: "User:alice".into(),
        requester: "User:admin".into(),
        renewers: vec!["User:bob".into()],
        issued: UnixMillis(1_700_000_000_000),
        expiry: UnixMillis(1_700_086_400_000),
        last: UnixMillis(1_700_604_800_000),
    };
    let id = || "K5fzBPWdRzuqPuVVxQgEdw".to_owned();
    let pinned = |bytes: &Bytes| (bytes.len(), base::crc32c(&bytes[..bytes.len() - 4]));
    let mut found = Vec::new();
    let mut image = snapshot();
    for (seq, command) in (2..).zip([
        Command::SweepTokens { now: UnixMillis(1_700_000_000_000) },
        Command::IssueToken { id: id(), token: token.clone() },
        Command::ExpireToken { id: id(), expiry: Some(UnixMillis(1_700_000_000_001)) },
    ]) {
        let commands = vec![(CommandId::default(), command)];
        let entry = Entry { seq: LedgerSeq(seq), epoch: LedgerEpoch(1), commands, ..small_entry() };
        let bytes = encode_entry(&entry);
        found.push(pinned(&bytes));
        assert_eq!((&bytes[4..6], decode_entry(&bytes).unwrap()), (&[10, 0][..], entry.clone()));
        crate::apply(&mut image, &entry);
    }
    let expected = Token { expiry: UnixMillis(1_700_000_000_001), ..token };
    assert_eq!(image.tokens[&id()].as_ref(), &expected);
    let bytes = encode_snapshot(&image);
    found.push(pinned(&bytes));
    assert_eq!((&bytes[4..6], decode_snapshot(&bytes).unwrap()), (&[10, 0][..], image.clone()));
    assert_eq!(found, GOLDEN_TOKENS);
    image.tokens = Default::default();
    assert_eq!(encode_snapshot(&image)[4..6], [6, 0], "what is gone is not told of");
}

const GOLDEN_TOKENS: [(usize, u32); 4] =
    [(39, 7_961_831), (106, 4_078_216_807), (63, 3_213_259_389), (321, 4_151_306_171)];

/// Earlier versions lack what later ones have added at the end of some structs.
#[test]
fn earlier_versions_are_read() {
    let reframed = |bytes: &[u8], dropped: usize, version: u16| {
        let mut old = bytes[..bytes.len() - 4 - dropped].to_vec();
        old[4..6].copy_from_slice(&version.to_le_bytes());
        let checksum = base::crc32c(&old).to_le_bytes();
        old.extend_from_slice(&checksum);
        Bytes::from(old)
    };
    let pinned = |bytes: &Bytes| (bytes.len(), base::crc32c(&bytes[..bytes.len() - 4]));
    let mut image = snapshot();
    let fifth = reframed(&encode_snapshot(&image), 0, 5);
    assert_eq!(pinned(&fifth), (243, 85_176_087), "these are the bytes that version 5 wrote");
    assert_eq!(decode_snapshot(&fifth).unwrap(), image);
    image.settings.remove(&SettingsScope::ClientMetrics("m".into()));
    let fourth = reframed(&encode_snapshot(&image), 0, 4);
    assert_eq!(pinned(&fourth), (235, 1_164_280_746), "these are the bytes that version 4 wrote");
    assert_eq!(decode_snapshot(&fourth).unwrap(), image);
    image.nodes.get_mut(&NodeEpoch(7)).map(|node| Arc::make_mut(node).answered.remove(&11));
    let third = reframed(&encode_snapshot(&image), 0, 3);
    assert_eq!(pinned(&third), (229, 2_296_059_824), "these are the bytes that version 3 wrote");
    assert_eq!(decode_snapshot(&third).unwrap(), image);
    image.nodes.get_mut(&NodeEpoch(7)).map(|node| Arc::make_mut(node).answered.remove(&10));
    let second = reframed(&encode_snapshot(&image), 1, 2);
    assert_eq!(pinned(&second), (223, 2_023_364_907), "these are the bytes that version 2 wrote");
    assert_eq!(decode_snapshot(&second).unwrap(), image);
    image.settings = Default::default();
    let first = reframed(&encode_snapshot(&image), 2, 1);
    assert_eq!(pinned(&first), (201, 593_912_729), "these are the bytes that version 1 wrote");
    assert_eq!(decode_snapshot(&first).unwrap(), image);
    assert_eq!(decode_entry(&reframed(&encode_entry(&small_entry()), 0, 1)).unwrap(), small_entry());

    let object = UploadedObject { id: ObjectId::default(), size: 9, ranges: Vec::new(), states: Vec::new() };
    let mut out = Out::new(VERSION);
    object.write(&mut out);
    let mut old = Reader::new(&out.bytes[..out.bytes.len() - 1], 2);
    assert_eq!((UploadedObject::read(&mut old).unwrap(), old.left()), (object, 0));

    let record = ObjectRecord { size: 9, references: 2, data_bytes: 0 };
    let mut out = Out::new(VERSION);
    record.write(&mut out);
    let mut old = Reader::new(&out.bytes[..out.bytes.len() - 1], 3);
    assert_eq!((ObjectRecord::read(&mut old).unwrap(), old.left()), (record, 0));

    let stream = a_stream();
    let mut out = Out::new(VERSION);
    stream.write(&mut out);
    assert_eq!(StreamRecord::read(&mut Reader::new(&out.bytes, VERSION)).unwrap(), stream);
    let mut old = Reader::new(&out.bytes[..out.bytes.len() - 1], 5);
    let before = StreamRecord { cleaned: Offset(0), ..stream };
    assert_eq!((StreamRecord::read(&mut old).unwrap(), old.left()), (before.clone(), 0));
    let mut old = Reader::new(&out.bytes[..out.bytes.len() - 2], 4);
    let before = StreamRecord { reborn: false, ..before };
    assert_eq!((StreamRecord::read(&mut old).unwrap(), old.left()), (before, 0));
}

#[test]
fn numbers_have_one_form() {
    let numbers = [0, 1, 127, 128, 16383, 16384, u64::MAX - 1, u64::MAX];
    for number in numbers {
        let mut out = Out::new(VERSION);
        number.write(&mut out);
        let mut reader = Reader::new(&out.bytes, VERSION);
        assert_eq!(u64::read(&mut reader).unwrap(), number);
        assert_eq!(reader.left(), 0);
    }
    for number in [0, -1, 1, i64::MIN, i64::MAX] {
        let mut out = Out::new(VERSION);
        number.write(&mut out);
        assert_eq!(i64::read(&mut Reader::new(&out.bytes, VERSION)).unwrap(), number);
    }
    for bad in [&[0x80, 0x00][..], &[0xff; 11], &[0xff; 9], &[0x80; 10]] {
        assert!(u64::read(&mut Reader::new(bad, VERSION)).is_err(), "{bad:?}");
    }
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let mut bytes = encode_entry(&small_entry()).to_vec();
    bytes[4..6].copy_from_slice(&(VERSION + 1).to_le_bytes());
    let body = bytes.len() - 4;
    let checksum = base::crc32c(&bytes[..body]).to_le_bytes();
    bytes[body..].copy_from_slice(&checksum);
    let error = decode_entry(&bytes).unwrap_err();
    assert_eq!(error, CodecError::Newer { what: "ledger entry", found: VERSION + 1 });
    assert!(matches!(decode_snapshot(&encode_entry(&small_entry())), Err(CodecError::Damaged { .. })));
}

#[test]
fn damaged_bytes_are_refused() {
    let bytes = encode_entry(&every_command());
    for len in 0..bytes.len() {
        assert!(decode_entry(&bytes[..len]).is_err(), "cut to {len}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x10;
        assert!(matches!(decode_entry(&damaged), Err(CodecError::Damaged { .. })), "byte {at}");
    }
}

/// Behind a right checksum anything may stand: the decoder answers, and what it accepts is in the one form that encoders write.
#[test]
fn any_bytes_are_answered() {
    let (entry, image) = (encode_entry(&every_command()), encode_snapshot(&snapshot()));
    let mut accepted = 0;
    for seed in 0..20_000 {
        let mut seed = Seed::new(seed);
        let source = if seed.chance(500) { &entry } else { &image };
        let mut bytes = source[..source.len() - 4].to_vec();
        for _ in 0..=seed.below(3) {
            let at = 6 + seed.below(bytes.len() as u64 - 6) as usize;
            bytes[at] = if seed.chance(300) { 0xff } else { seed.next_u64() as u8 };
        }
        bytes.truncate(bytes.len() - seed.below(3) as usize);
        let checksum = base::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        if let Ok(entry) = decode_entry(&bytes) {
            assert_eq!(encode_entry(&entry), bytes);
            accepted += 1;
        }
        if let Ok(image) = decode_snapshot(&bytes) {
            assert_eq!(encode_snapshot(&image), bytes);
            accepted += 1;
        }
    }
    assert!(accepted > 100, "some changes are only of a value");
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let mut bytes = Out::new(4);
    bytes.extend_from_slice(b"MsLe\x04\x00");
    for number in [1, 1] {
        number.write(&mut bytes);
    }
    1u128.write(&mut bytes);
    0i64.write(&mut bytes);
    u64::MAX.write(&mut bytes);
    let checksum = base::crc32c(&bytes.bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    let error = decode_entry(&bytes.bytes).unwrap_err().to_string();
    assert!(error.contains("claims more"), "{error}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
