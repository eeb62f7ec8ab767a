//! Each rule by a short story, then all of them under random commands.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test's numbers are small")]

use super::*;
use crate::{
    Acl, AclEntry, AclPattern, AclResource, CommitRange, CommitState, QuotaEntity, QuotaName, QuotaValue,
    ScramCredential, ScramUser, Secret, SettingsScope, Token, UploadedObject, WalRegistration, WalState, check, codec,
};
use base::{
    LedgerEpoch, LedgerSeq, NodeId, Nonce, ObjectId, Offset, OffsetRange, Seed, StreamEpoch, StreamId, TopicId,
    UnixMillis, WalId, WalIndex, WalPosition,
};
use std::collections::{BTreeMap, BTreeSet};

mod logs;
mod replace;

/// An image, and entries of one command each.
struct Story {
    image: Image,
    counter: u64,
}

const WAL: WalIndex = WalIndex(0);

impl Story {
    /// A cluster with one leader and so many starts, on nodes 0, 1, …
    fn new(starts: u64) -> Story {
        // A mutants build runs these tests with one planted bug awake: they must fail then.
        #[cfg(mutants)]
        if let Ok(name) = std::env::var("MUTANT") {
            base::mutant::wake(&name);
        }
        let mut story = Story { image: Image::default(), counter: 0 };
        let lead = Command::BecomeLeader { epoch: LedgerEpoch(1), node_id: NodeId(0), cluster_id: 77 };
        assert_eq!(story.put(LedgerEpoch(1), CommandId::default(), lead), Outcome::Done);
        for n in 1..=starts {
            let register = register(Some(NodeId(n as i32 - 1)), u128::from(n), &format!("host{n}:9092"), u128::from(n));
            let node_id = NodeId(n as i32 - 1);
            assert_eq!(story.asks(0, register), Outcome::Registered { node_id, node_epoch: NodeEpoch(n) });
        }
        story
    }

    fn put(&mut self, epoch: LedgerEpoch, id: CommandId, command: Command) -> Outcome {
        let seq = self.image.seq.next();
        let entry = Entry {
            seq,
            epoch,
            nonce: Nonce(u128::from(seq.0) * 3),
            written: UnixMillis(0),
            commands: vec![(id, command)],
        };
        // Decoding gives the very same entry, and so the same image.
        let entry = codec::decode_entry(&codec::encode_entry(&entry)).unwrap();
        let outcome = apply(&mut self.image, &entry).remove(0);
        assert_eq!(check(&self.image), Vec::<String>::new(), "after {entry:?}");
        outcome
    }

    /// `requester` (0: nobody yet) asks in the present term.
    fn asks(&mut self, requester: u64, command: Command) -> Outcome {
        self.counter += 1;
        let counter = if requester == 0 { 0 } else { self.counter };
        let id = CommandId { requester: NodeEpoch(requester), counter };
        self.put(self.image.leader.epoch, id, command)
    }

    /// A topic of one partition, owned by `owner`.
    fn stream(&mut self, name: &str, owner: u64) -> StreamId {
        assert_eq!(self.asks(owner, create(name, self.counter + 1000, &[owner])), Outcome::Done);
        self.image.topic(name).unwrap().partitions[0]
    }

    fn record(&self, stream: StreamId) -> &StreamRecordOf {
        self.image.streams.get(&stream).unwrap()
    }

    fn commit(&mut self, speaker: u64, wal: u64, counter: u64, ranges: &[(StreamId, i32, u64, u64)]) -> Outcome {
        self.asks(speaker, commit(speaker, wal, counter, WalPosition(0), ranges))
    }

    fn trim(&mut self, owner: u64, stream: StreamId, epoch: i32, start: u64) -> Outcome {
        let (node_epoch, stream_epoch, start) = (NodeEpoch(owner), StreamEpoch(epoch), Offset(start));
        self.asks(owner, Command::Trim { stream, node_epoch, stream_epoch, start })
    }

    fn cleaned(&mut self, owner: u64, stream: StreamId, epoch: i32, cleaned: u64) -> Outcome {
        let (node_epoch, stream_epoch, cleaned) = (NodeEpoch(owner), StreamEpoch(epoch), Offset(cleaned));
        self.asks(owner, Command::Cleaned { stream, node_epoch, stream_epoch, cleaned })
    }

    fn die(&mut self, start: u64) {
        assert_eq!(self.asks(0, Command::DeclareDead { node_epochs: vec![NodeEpoch(start)] }), Outcome::Done);
    }

    fn recover(&mut self, dead: u64, by: u64, end: u64, ends: &[(StreamId, u64)]) -> Outcome {
        self.asks(by, recovered(dead, by, end, ends, Some(WAL)))
    }
}

type StreamRecordOf = crate::StreamRecord;

fn wal(start: u64) -> WalId {
    WalId { node_epoch: NodeEpoch(start), index: WAL }
}

fn register(node_id: Option<NodeId>, ring_id: u128, advertised: &str, incarnation: u128) -> Command {
    let wal = WalRegistration {
        url: "file:///wal".to_owned(),
        ring_id,
        start: WalPosition(0),
        in_storage: false,
        name: String::new(),
    };
    Command::Register { node_id, advertised: advertised.to_owned(), wals: vec![wal], incarnation }
}

fn create(name: &str, id: u64, owners: &[u64]) -> Command {
    Command::CreateTopic {
        id: TopicId(u128::from(id)),
        name: name.to_owned(),
        partitions: owners.iter().map(|owner| (NodeEpoch(*owner), WAL)).collect(),
        replication_factor: 1,
        configs: BTreeMap::new(),
        internal: false,
    }
}

fn commit(speaker: u64, of: u64, counter: u64, trim: WalPosition, ranges: &[(StreamId, i32, u64, u64)]) -> Command {
    logs::commit_of(wal(of), speaker, counter, trim, ranges)
}

fn recovered(dead: u64, by: u64, end: u64, ends: &[(StreamId, u64)], open_on: Option<WalIndex>) -> Command {
    logs::recovered_of(wal(dead), by, end, ends, open_on)
}

fn committed(flags: &[bool]) -> Outcome {
    Outcome::Committed { ranges: flags.to_vec() }
}

#[test]
fn the_cleaned_end_only_rises_and_is_its_owners_to_say() {
    let mut story = Story::new(2);
    let stream = story.stream("a", 1);
    assert_eq!(story.commit(1, 1, 1, &[(stream, 0, 0, 10)]), committed(&[true]));
    assert_eq!(story.cleaned(1, stream, 0, 8), Outcome::Done);
    assert_eq!(story.cleaned(1, stream, 0, 3), Outcome::Done);
    assert_eq!(story.record(stream).cleaned, Offset(8), "it never goes back");
    assert!(
        matches!(story.cleaned(1, stream, 0, 11), Outcome::Refused(Refusal::Invalid(_))),
        "beyond what is committed"
    );
    assert_eq!(story.cleaned(2, stream, 0, 9), Outcome::Refused(Refusal::StaleEpoch));
    assert_eq!(story.cleaned(1, stream, 1, 9), Outcome::Refused(Refusal::StaleEpoch));
    story.die(1);
    assert!(matches!(story.cleaned(1, stream, 0, 9), Outcome::Refused(Refusal::Dead(_))));
    story.recover(1, 2, 50, &[(stream, 10)]);
    assert_eq!(story.record(stream).cleaned, Offset(8), "whoever owns it next goes on from there");
    assert_eq!(story.cleaned(2, stream, 1, 10), Outcome::Done);
    assert_eq!(story.record(stream).cleaned, Offset(10));
}

#[test]
fn a_term_is_exactly_the_next_one_and_only_the_present_term_changes_anything() {
    let mut story = Story::new(1);
    let lead = |epoch| Command::BecomeLeader { epoch: LedgerEpoch(epoch), node_id: NodeId(5), cluster_id: 9 };
    for wrong in [1, 3] {
        assert_eq!(
            story.put(LedgerEpoch(wrong), CommandId::default(), lead(wrong)),
            Outcome::Refused(Refusal::NotNext)
        );
    }
    assert_eq!(story.put(LedgerEpoch(2), CommandId::default(), lead(2)), Outcome::Done);
    assert_eq!(story.image.cluster_id, 77, "only the first term makes the cluster");
    let old = Command::Probed { endpoint: "old".to_owned() };
    assert_eq!(story.put(LedgerEpoch(1), CommandId::default(), old), Outcome::Refused(Refusal::NotNext));
    assert_eq!(story.image.probed, "");
    for epoch in 3..100 {
        assert_eq!(story.put(LedgerEpoch(epoch), CommandId::default(), lead(epoch)), Outcome::Done);
    }
    assert_eq!(story.image.leader_history.len(), LEADER_HISTORY_MAX);
}

#[test]
fn the_same_command_asked_again_is_answered_and_not_applied() {
    let mut story = Story::new(1);
    let id = CommandId { requester: NodeEpoch(1), counter: 50 };
    let command = create("t", 9, &[1]);
    assert_eq!(story.put(LedgerEpoch(1), id, command.clone()), Outcome::Done);
    let before = story.image.streams.clone();
    assert_eq!(story.put(LedgerEpoch(1), id, command.clone()), Outcome::Done);
    assert_eq!(story.image.streams, before);
    let other = CommandId { counter: 51, ..id };
    assert_eq!(story.put(LedgerEpoch(1), other, command), Outcome::Refused(Refusal::TopicExists));

    story.counter = 1000;
    let nothing = Command::ObjectsDeleted { objects: Vec::new() };
    for _ in 0..100 {
        story.asks(1, nothing.clone());
    }
    let answered = |story: &Story| story.image.nodes.get(&NodeEpoch(1)).unwrap().answered.len();
    assert_eq!(answered(&story), ANSWERED_OLD_MAX);
    let id_of = |n: usize| CommandId { requester: NodeEpoch(1), counter: 5000 + n as u64 };
    let commands = (0..ANSWERED_MAX).map(|n| (id_of(n), nothing.clone())).collect();
    let (seq, epoch) = (story.image.seq.next(), LedgerEpoch(1));
    apply(&mut story.image, &Entry { seq, epoch, nonce: Nonce(0), written: UnixMillis(0), commands });
    assert_eq!(answered(&story), ANSWERED_MAX, "the last entry's, all of them");
    let late = story.put(LedgerEpoch(1), id, create("u", 10, &[1]));
    assert!(matches!(late, Outcome::Refused(Refusal::Invalid(_))), "{late:?}");
    assert!(story.image.topic("u").is_none());
}

#[test]
fn a_registration_finds_its_node_id_and_buries_what_it_replaces() {
    let mut story = Story::new(2);
    // The same incarnation is the same registration.
    let again = story.asks(0, register(None, 9, "elsewhere:1", 2));
    assert_eq!(again, Outcome::Registered { node_id: NodeId(1), node_epoch: NodeEpoch(2) });
    // The ring decides before the address, and its older start is dead.
    let third = story.asks(0, register(None, 2, "host1:9092", 33));
    assert_eq!(third, Outcome::Registered { node_id: NodeId(1), node_epoch: NodeEpoch(3) });
    assert!(story.image.is_dead(NodeEpoch(2)) && story.image.is_alive(NodeEpoch(1)));
    let fourth = story.asks(0, register(None, 0, "host1:9092", 34));
    assert_eq!(fourth, Outcome::Registered { node_id: NodeId(1), node_epoch: NodeEpoch(4) });
    assert!(story.image.is_dead(NodeEpoch(3)) && story.image.is_alive(NodeEpoch(1)));
    // A stranger gets the lowest free id.
    let fifth = story.asks(0, register(None, 0, "new:9092", 35));
    assert_eq!(fifth, Outcome::Registered { node_id: NodeId(2), node_epoch: NodeEpoch(5) });
    // The incarnation of a dead start is told so.
    assert_eq!(story.asks(0, register(None, 2, "host1:9092", 33)), Outcome::Refused(Refusal::Dead(NodeEpoch(3))));
    assert!(matches!(story.asks(0, register(Some(NodeId(-3)), 1, "x:1", 36)), Outcome::Refused(Refusal::Invalid(_))));
}

#[test]
fn the_dead_ask_in_vain() {
    let mut story = Story::new(2);
    let stream = story.stream("t", 1);
    story.die(1);
    let dead = Outcome::Refused(Refusal::Dead(NodeEpoch(1)));
    assert_eq!(story.commit(1, 1, 1, &[(stream, 0, 0, 5)]), dead);
    assert_eq!(story.trim(1, stream, 0, 1), dead);
    assert_eq!(story.asks(1, create("u", 5, &[1])), dead);
    assert_eq!(story.asks(2, create("u", 5, &[1])), dead);
    let open = Command::OpenStreams { streams: vec![stream], node_epoch: NodeEpoch(1), wal_index: WAL };
    assert_eq!(story.asks(2, open), dead);
    assert_eq!(story.recover(2, 1, 0, &[]), dead);
    assert!(story.image.nodes.get(&NodeEpoch(1)).unwrap().answered.is_empty());
}

#[test]
fn ranges_are_decided_one_by_one() {
    let mut story = Story::new(2);
    let (a, b) = (story.stream("a", 1), story.stream("b", 2));
    // Accepted; a gap; another's stream; an unknown stream.
    let ranges = [(a, 0, 0, 10), (a, 0, 12, 14), (b, 0, 0, 3), (StreamId(99), 0, 0, 3)];
    assert_eq!(story.commit(1, 1, 1, &ranges), committed(&[true, false, false, false]));
    // Wholly below the committed end: nothing to do. Overlapping: counts from there on (T4).
    assert_eq!(story.commit(1, 1, 2, &[(a, 0, 4, 10), (a, 0, 5, 15)]), committed(&[true, true]));
    let record = story.record(a);
    assert_eq!((record.committed(), record.references.len(), record.live_bytes), (Offset(15), 2, 1500));
    let second = record.references.get(&Offset(10)).unwrap();
    assert_eq!((second.range, second.bytes, second.records), (OffsetRange::new(Offset(10), Offset(15)), 500, 5));
    assert_eq!(record.epochs, [(StreamEpoch(0), Offset(0))]);
    // Below the promised counter nothing is referenced (O-1), nor is an object committed twice.
    assert_eq!(story.commit(1, 1, 1, &[(a, 0, 15, 16)]), committed(&[false]));
    assert_eq!(story.commit(1, 1, 2, &[(a, 0, 15, 16)]), committed(&[false]));
    // Nobody speaks for another's living WAL.
    assert_eq!(story.commit(2, 1, 9, &[(a, 0, 15, 16)]), Outcome::Refused(Refusal::StaleEpoch));
}

#[test]
fn the_wal_is_trimmed_only_if_no_range_is_refused() {
    let mut story = Story::new(1);
    let stream = story.stream("t", 1);
    let trim_of = |story: &Story| story.image.wals.get(&wal(1)).unwrap().trim;
    let outcome = story.asks(1, commit(1, 1, 1, WalPosition(50), &[(stream, 0, 0, 5), (stream, 0, 6, 7)]));
    assert_eq!((outcome, trim_of(&story)), (committed(&[true, false]), WalPosition(0)));
    story.asks(1, commit(1, 1, 2, WalPosition(50), &[(stream, 0, 5, 7)]));
    assert_eq!(trim_of(&story), WalPosition(50));
    story.asks(1, commit(1, 1, 3, WalPosition(20), &[(stream, 0, 7, 8)]));
    assert_eq!(trim_of(&story), WalPosition(50), "it never goes back");
}

#[test]
fn a_trim_beyond_the_committed_end_lifts_it() {
    let mut story = Story::new(1);
    let stream = story.stream("t", 1);
    assert_eq!(story.commit(1, 1, 1, &[(stream, 0, 0, 10)]), committed(&[true]));
    assert_eq!(story.trim(1, stream, 0, 4), Outcome::Done);
    let record = story.record(stream);
    assert_eq!((record.references.len(), record.live_bytes, record.epochs[0].1), (1, 600, Offset(4)));
    assert_eq!(story.trim(1, stream, 0, 20), Outcome::Done);
    let record = story.record(stream);
    assert_eq!((record.committed(), record.references.len(), record.live_bytes), (Offset(20), 0, 0));
    let dead: Vec<_> = story.image.dead_objects.keys().copied().collect();
    assert_eq!(dead, [ObjectId { node_epoch: NodeEpoch(1), counter: 1 }], "it died with its last reference");
    // T4: what was uploaded meanwhile begins below.
    assert_eq!(story.commit(1, 1, 2, &[(stream, 0, 10, 25)]), committed(&[true]));
    assert_eq!(story.record(stream).live_bytes, 500);
    // It never goes back, and takes the right epochs.
    assert_eq!(story.trim(1, stream, 0, 3), Outcome::Done);
    assert_eq!(story.record(stream).start, Offset(20));
    assert_eq!(story.trim(1, stream, 1, 21), Outcome::Refused(Refusal::StaleEpoch));
    assert!(matches!(story.trim(1, StreamId(55), 0, 21), Outcome::Refused(Refusal::Unknown(_))));
}

#[test]
fn recovery_seals_once_and_the_next_tenure_begins_at_the_recovered_end() {
    let mut story = Story::new(3);
    let stream = story.stream("t", 1);
    story.commit(1, 1, 1, &[(stream, 0, 0, 10)]);
    let alive = story.recover(1, 2, 64, &[(stream, 15)]);
    assert!(matches!(alive, Outcome::Refused(Refusal::Invalid(_))), "{alive:?}");
    story.die(1);
    assert_eq!(story.image.offline_streams().collect::<Vec<_>>(), [(stream, wal(1))]);
    // D-6: nobody opens it before the end is known.
    let open = Command::OpenStreams { streams: vec![stream], node_epoch: NodeEpoch(3), wal_index: WAL };
    assert_eq!(story.asks(3, open), Outcome::Done);
    assert_eq!(story.record(stream).owner().unwrap().wal, wal(1));
    assert!(story.image.ownerless_streams().is_empty());

    assert_eq!(story.recover(1, 2, 64, &[(stream, 15)]), Outcome::Done);
    let owner = *story.record(stream).owner().unwrap();
    assert_eq!((owner.wal, owner.start, owner.stream_epoch), (wal(2), Offset(15), StreamEpoch(1)));
    // B-2: a second one adopts the end and closes nothing.
    assert_eq!(story.recover(1, 3, 32, &[(stream, 12)]), Outcome::Done);
    let sealed = WalState::Sealed { end: WalPosition(64), recoverer: NodeEpoch(2) };
    assert_eq!(story.image.wals.get(&wal(1)).unwrap().state, sealed);
    assert_eq!(*story.record(stream).owner().unwrap(), owner);

    // The tail is committed by the recoverer, its own records beside it, in any order (D-1).
    assert!(!story.image.can_delete_wal(wal(1)));
    assert!(matches!(story.asks(2, Command::ForgetWal { wal: wal(1) }), Outcome::Refused(Refusal::Invalid(_))));
    assert_eq!(story.commit(2, 2, 1, &[(stream, 1, 15, 20)]), committed(&[true]));
    assert_eq!(story.record(stream).committed(), Offset(10));
    assert!(story.image.needs_wal(wal(1), stream, StreamEpoch(0), OffsetRange::new(Offset(10), Offset(15))));
    assert_eq!(story.commit(3, 1, 1, &[(stream, 0, 10, 15)]), Outcome::Refused(Refusal::StaleEpoch));
    assert_eq!(story.commit(2, 1, 2, &[(stream, 0, 10, 16)]), committed(&[false]), "beyond the tenure's end");
    assert_eq!(story.commit(2, 1, 3, &[(stream, 0, 10, 15)]), committed(&[true]));
    assert!(!story.image.can_delete_wal(wal(1)), "what lies below its end may be producer state");
    assert_eq!(story.asks(2, commit(2, 1, 4, WalPosition(64), &[])), committed(&[]));
    let record = story.record(stream);
    assert_eq!((record.committed(), record.tenures.len(), record.references.len()), (Offset(20), 1, 3));
    assert_eq!(record.epochs, [(StreamEpoch(0), Offset(0)), (StreamEpoch(1), Offset(15))]);
    assert!(!story.image.needs_wal(wal(1), stream, StreamEpoch(0), OffsetRange::new(Offset(10), Offset(15))));
    // A repeat about a tenure that has left the list needs no commit.
    assert_eq!(story.commit(2, 1, 5, &[(stream, 0, 10, 15)]), committed(&[true]));
    assert_eq!(story.asks(2, Command::ForgetWal { wal: wal(1) }), Outcome::Done);
    assert!(!story.image.wals.contains_key(&wal(1)) && story.image.is_dead(NodeEpoch(1)));
}

#[test]
fn the_recovered_end_is_never_below_the_start_offset() {
    let mut story = Story::new(2);
    let stream = story.stream("t", 1);
    story.commit(1, 1, 1, &[(stream, 0, 0, 2)]);
    story.trim(1, stream, 0, 7);
    story.die(1);
    // The WAL held nothing any more (T2, T3).
    assert_eq!(story.recover(1, 2, 64, &[]), Outcome::Done);
    let record = story.record(stream);
    assert_eq!((record.owner().unwrap().start, record.committed(), record.tenures.len()), (Offset(7), Offset(7), 1));
    assert_eq!(record.unsaved, [wal(1)], "the producers of what was trimmed are in no object");
    assert_eq!(story.asks(2, commit(2, 1, 1, WalPosition(64), &[])), committed(&[]));
    assert!(story.image.can_delete_wal(wal(1)) && story.record(stream).unsaved.is_empty());
}

fn state(stream: StreamId, epoch: i32, base: u64, next: u64) -> CommitState {
    let range = OffsetRange::new(Offset(base), Offset(next));
    CommitState { stream, stream_epoch: StreamEpoch(epoch), range, position: 0, len: 64, crc: 7 }
}

/// A commit of one object that holds states alone.
fn save(speaker: u64, of: u64, counter: u64, states: &[CommitState]) -> Command {
    let Command::CommitObjects { speaker, wal, min_counter, mut objects, .. } =
        commit(speaker, of, counter, WalPosition(0), &[])
    else {
        unreachable!()
    };
    objects[0].states = states.to_vec();
    Command::CommitObjects { speaker, wal, trim: WalPosition(10 * counter), min_counter, objects }
}

fn held(story: &Story, stream: StreamId) -> Vec<(u64, u64, u64)> {
    let references = story.record(stream).producers.iter();
    references.map(|it| (it.range.base.0, it.range.next.0, it.object.counter)).collect()
}

#[test]
fn producer_state_outlives_the_records_and_never_goes_back() {
    let mut story = Story::new(1);
    let (a, b) = (story.stream("a", 1), story.stream("b", 1));
    assert_eq!(story.asks(1, save(1, 1, 1, &[state(a, 0, 0, 5), state(b, 0, 0, 3)])), committed(&[true, true]));
    assert_eq!(story.trim(1, a, 0, 50), Outcome::Done);
    let object = |counter| ObjectId { node_epoch: NodeEpoch(1), counter };
    assert_eq!(held(&story, a), [(0, 5, 1)], "all records are trimmed");
    // Of an upload that was overtaken.
    assert_eq!(story.asks(1, save(1, 1, 2, &[state(a, 0, 0, 4)])), committed(&[true]));
    assert_eq!((held(&story, a), story.image.objects.contains_key(&object(2))), (vec![(0, 5, 1)], false));
    assert_eq!(story.asks(1, save(1, 1, 3, &[state(a, 0, 0, 60)])), committed(&[true]));
    assert_eq!(held(&story, a), [(0, 60, 3)]);
    assert!(story.image.objects.contains_key(&object(1)), "the other stream's state is in it");
    assert_eq!(story.asks(1, save(1, 1, 4, &[state(b, 0, 0, 4)])), committed(&[true]));
    assert!(story.image.dead_objects.contains_key(&object(1)));
    // Nothing is referenced below the promised counter, and a log is not trimmed by a commit that saved less than it should.
    assert_eq!(story.asks(1, save(1, 1, 2, &[state(a, 0, 0, 61)])), committed(&[false]));
    assert_eq!(story.image.wals.get(&wal(1)).unwrap().trim, WalPosition(40));
    assert_eq!(story.asks(1, save(1, 1, 5, &[state(StreamId(77), 0, 0, 1)])), committed(&[false]));
    let id = story.image.topic("a").unwrap().id;
    assert_eq!(story.asks(1, Command::DeleteTopic { id }), Outcome::Done);
    assert!(story.image.dead_objects.contains_key(&object(3)));
    assert_eq!(story.asks(1, save(1, 1, 6, &[state(a, 0, 0, 99)])), committed(&[true]), "deleted: needs none");
}

#[test]
fn parts_of_dead_logs_stand_beside_the_whole_until_it_speaks_for_them() {
    let mut story = Story::new(3);
    let stream = story.stream("t", 1);
    assert_eq!(story.asks(1, save(1, 1, 1, &[state(stream, 0, 0, 10)])), committed(&[true]));
    story.die(1);
    assert_eq!(story.recover(1, 2, 64, &[(stream, 15)]), Outcome::Done);
    story.die(2);
    assert_eq!(story.recover(2, 3, 64, &[(stream, 20)]), Outcome::Done);
    assert_eq!(story.record(stream).unsaved, [wal(1), wal(2)]);
    assert_eq!(story.asks(3, save(3, 2, 1, &[state(stream, 1, 15, 21)])), committed(&[false]), "beyond its end");
    assert_eq!(story.asks(3, save(3, 2, 2, &[state(stream, 1, 15, 20)])), committed(&[true]));
    // The older log's recoverer comes later (D-1).
    assert_eq!(story.recover(1, 3, 64, &[]), Outcome::Done);
    assert_eq!(story.asks(3, save(3, 1, 3, &[state(stream, 0, 10, 15)])), committed(&[true]));
    assert_eq!(held(&story, stream), [(0, 10, 1), (10, 15, 3), (15, 20, 2)]);
    assert_eq!(story.asks(3, commit(3, 1, 4, WalPosition(64), &[(stream, 0, 0, 15)])), committed(&[true]));
    assert_eq!(story.record(stream).unsaved, [wal(2)]);
    assert_eq!(story.asks(3, save(3, 3, 5, &[state(stream, 2, 0, 22)])), committed(&[true]));
    assert_eq!(held(&story, stream), [(0, 22, 5)]);
}

#[test]
fn a_producer_id_is_handed_out_once() {
    let mut story = Story::new(2);
    let take = |count| Command::TakeProducerIds { count };
    assert_eq!(story.asks(1, take(1000)), Outcome::ProducerIds { first: 0 });
    assert_eq!(story.asks(2, take(10)), Outcome::ProducerIds { first: 1000 });
    let id = CommandId { requester: NodeEpoch(1), counter: 500 };
    for _ in 0..2 {
        let again = story.put(LedgerEpoch(1), id, take(5));
        assert_eq!(again, Outcome::ProducerIds { first: 1010 }, "the same request");
    }
    story.counter = 1000;
    story.image.next_producer_id = i64::MAX - 3;
    assert!(matches!(story.asks(1, take(4)), Outcome::Refused(Refusal::Invalid(_))));
    assert_eq!(story.asks(1, take(3)), Outcome::ProducerIds { first: i64::MAX - 3 });
}

#[test]
fn a_recoverer_that_died_leaves_the_end_and_another_adopts_it() {
    let mut story = Story::new(3);
    let stream = story.stream("t", 1);
    story.die(1);
    assert_eq!(story.recover(1, 2, 64, &[(stream, 5)]), Outcome::Done);
    story.die(2);
    assert_eq!(story.image.orphaned_wals().map(|(id, _)| id).collect::<Vec<_>>(), [wal(1)]);
    assert_eq!(story.recover(1, 3, 99, &[(stream, 9)]), Outcome::Done);
    let sealed = WalState::Sealed { end: WalPosition(64), recoverer: NodeEpoch(3) };
    assert_eq!(story.image.wals.get(&wal(1)).unwrap().state, sealed);
    assert_eq!(story.record(stream).owner().unwrap().wal, wal(2), "its tenure waits for the end of that WAL");
    assert_eq!(story.commit(3, 1, 1, &[(stream, 0, 0, 5)]), committed(&[true]));
    assert_eq!(story.recover(2, 3, 8, &[]), Outcome::Done);
    assert_eq!(story.record(stream).owner().unwrap().start, Offset(5));
}

#[test]
fn no_stream_is_opened_in_a_sealed_wal() {
    let mut story = Story::new(2);
    let stream = story.stream("t", 1);
    // A clean stop seals one's own WAL.
    assert_eq!(story.asks(1, recovered(1, 1, 64, &[(stream, 3)], None)), Outcome::Done);
    assert_eq!(story.image.ownerless_streams(), [stream]);
    let open = |node: u64| Command::OpenStreams { streams: vec![stream], node_epoch: NodeEpoch(node), wal_index: WAL };
    assert!(matches!(story.asks(1, open(1)), Outcome::Refused(Refusal::Invalid(_))));
    // As one that stops while it recovers another's.
    let other = story.stream("u", 2);
    story.die(2);
    assert_eq!(story.recover(2, 1, 64, &[(other, 3)]), Outcome::Done);
    assert_eq!(story.image.ownerless_streams(), [stream, other]);
}

#[test]
fn a_deleted_topic_takes_its_objects_and_leaves_its_epoch_and_its_ids() {
    let mut story = Story::new(1);
    let (a, b) = (story.stream("a", 1), story.stream("b", 1));
    story.commit(1, 1, 1, &[(a, 0, 0, 5), (b, 0, 0, 5)]);
    let object = ObjectId { node_epoch: NodeEpoch(1), counter: 1 };
    let id = story.image.topic("a").unwrap().id;
    assert_eq!(story.asks(1, Command::DeleteTopic { id }), Outcome::Done);
    assert!(story.image.objects.contains_key(&object), "the other stream still refers to it");
    // Its ranges in flight need no commit; its id is never given out again (T7).
    assert_eq!(story.commit(1, 1, 2, &[(a, 0, 5, 9)]), committed(&[true]));
    let again = story.stream("a", 1);
    assert!(again > b && story.image.is_deleted(a));
    let (record, of_b) = (story.record(again), story.record(b));
    assert_eq!((record.epoch, record.reborn), (StreamEpoch(0), true), "the deleted topic's last");
    assert!(!of_b.reborn);
    assert!(matches!(story.asks(1, Command::DeleteTopic { id }), Outcome::Refused(Refusal::Unknown(_))));

    let id = story.image.topic("b").unwrap().id;
    assert!(matches!(
        story.asks(1, Command::ObjectsDeleted { objects: vec![object] }),
        Outcome::Refused(Refusal::Invalid(_))
    ));
    assert_eq!(story.asks(1, Command::DeleteTopic { id }), Outcome::Done);
    assert!(story.image.dead_objects.contains_key(&object) && story.image.objects.is_empty());
    assert_eq!(story.asks(1, Command::ObjectsDeleted { objects: vec![object] }), Outcome::Done);
    assert!(story.image.dead_objects.is_empty(), "its writer has promised counter 2");
}

#[test]
fn topics_change_as_asked() {
    let mut story = Story::new(2);
    story.stream("t", 1);
    let id = story.image.topic("t").unwrap().id;
    let more = Command::CreatePartitions { id, first: 1, partitions: vec![(NodeEpoch(2), WAL)] };
    assert_eq!(story.asks(1, more.clone()), Outcome::Done);
    assert!(matches!(story.asks(2, more), Outcome::Refused(Refusal::Invalid(_))), "who looked before that asks again");
    let owners: Vec<_> = story.image.streams_of(id).map(|(_, stream)| stream.owner().unwrap().node_epoch().0).collect();
    assert_eq!(owners, [1, 2]);
    let set = |value: Option<&str>| Command::AlterTopicConfigs {
        id,
        changes: BTreeMap::from([("retention.ms".to_owned(), value.map(str::to_owned))]),
    };
    assert_eq!(story.asks(1, set(Some("5"))), Outcome::Done);
    assert_eq!(story.image.topic("t").unwrap().configs["retention.ms"], "5");
    assert_eq!(story.asks(1, set(None)), Outcome::Done);
    assert!(story.image.topic("t").unwrap().configs.is_empty());
    assert_eq!(story.asks(1, create("t", 999, &[1])), Outcome::Refused(Refusal::TopicExists));
}

#[test]
fn settings_belong_to_brokers_and_groups_up_to_a_bound() {
    let mut story = Story::new(1);
    let set = |scope: SettingsScope, value: Option<&str>| Command::AlterSettings {
        scope,
        changes: BTreeMap::from([("message.max.bytes".to_owned(), value.map(str::to_owned))]),
    };
    let one = SettingsScope::Broker(NodeId(1));
    assert_eq!(story.asks(1, set(one.clone(), Some("5"))), Outcome::Done);
    assert_eq!(story.asks(1, set(SettingsScope::Brokers, Some("6"))), Outcome::Done);
    assert_eq!(story.image.settings[&one]["message.max.bytes"], "5");
    assert_eq!(story.asks(1, set(one.clone(), None)), Outcome::Done);
    assert!(!story.image.settings.contains_key(&one), "nothing is left of it");

    let filler = Arc::new(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    for number in 1..SETTINGS_SCOPES_MAX {
        story.image.settings.insert(SettingsScope::Group(format!("g{number}")), filler.clone());
    }
    let refused = story.asks(1, set(one, Some("5")));
    assert!(matches!(refused, Outcome::Refused(Refusal::Invalid(_))), "{refused:?}");
    assert_eq!(story.asks(1, set(SettingsScope::Brokers, Some("7"))), Outcome::Done, "it has some already");
}

#[test]
fn a_broker_is_forgotten_when_it_is_dead_and_nothing_of_its_log_is_needed() {
    let mut story = Story::new(2);
    let unregister = |node_id: i32| Command::Unregister { node_id: NodeId(node_id) };
    let node_id = story.image.nodes[&NodeEpoch(2)].node_id.0;
    assert!(matches!(story.asks(1, unregister(77)), Outcome::Refused(Refusal::Unknown(_))));
    assert!(matches!(story.asks(1, unregister(node_id)), Outcome::Refused(Refusal::Invalid(_))), "it lives");
    assert_eq!(story.asks(1, Command::DeclareDead { node_epochs: vec![NodeEpoch(2)] }), Outcome::Done);
    assert!(
        matches!(story.asks(1, unregister(node_id)), Outcome::Refused(Refusal::Invalid(_))),
        "its log is not sealed"
    );
    let wals: Vec<_> = story.image.wals.keys().copied().filter(|wal| wal.node_epoch == NodeEpoch(2)).collect();
    for wal in wals {
        story.image.wals.remove(&wal);
    }
    assert_eq!(story.asks(1, unregister(node_id)), Outcome::Done);
    assert!(!story.image.nodes.contains_key(&NodeEpoch(2)));
    assert!(story.image.is_dead(NodeEpoch(2)), "for ever");
}

#[test]
fn quotas_belong_to_somebody_up_to_a_bound() {
    let mut story = Story::new(1);
    let of = |user: &str| QuotaEntity { user: Some(QuotaName::Of(user.to_owned())), ..QuotaEntity::default() };
    let set = |entity: QuotaEntity, name: &str, value: Option<f64>| Command::AlterQuotas {
        entity,
        changes: BTreeMap::from([(name.to_owned(), value.map(QuotaValue::new))]),
    };
    assert_eq!(story.asks(1, set(of("a"), "producer_byte_rate", Some(5.0))), Outcome::Done);
    assert_eq!(story.asks(1, set(of("a"), "request_percentage", Some(0.5))), Outcome::Done);
    assert_eq!(story.asks(1, set(of("a"), "producer_byte_rate", Some(6.0))), Outcome::Done);
    let kept: Vec<_> = story.image.quotas[&of("a")].iter().map(|(name, value)| (name.as_str(), value.get())).collect();
    assert_eq!(kept, [("producer_byte_rate", 6.0), ("request_percentage", 0.5)]);
    assert_eq!(story.asks(1, set(of("a"), "producer_byte_rate", None)), Outcome::Done);
    assert_eq!(story.asks(1, set(of("a"), "request_percentage", None)), Outcome::Done);
    assert!(story.image.quotas.is_empty(), "nothing is left of it");
    let nobody = story.asks(1, set(QuotaEntity::default(), "producer_byte_rate", Some(5.0)));
    assert!(matches!(nobody, Outcome::Refused(Refusal::Invalid(_))), "{nobody:?}");

    let filler = Arc::new(BTreeMap::from([("producer_byte_rate".to_owned(), QuotaValue::new(1.0))]));
    for number in 0..QUOTA_ENTITIES_MAX {
        story.image.quotas.insert(of(&number.to_string()), filler.clone());
    }
    let refused = story.asks(1, set(of("one more"), "producer_byte_rate", Some(5.0)));
    assert!(matches!(refused, Outcome::Refused(Refusal::Invalid(_))), "{refused:?}");
    assert_eq!(story.asks(1, set(of("7"), "producer_byte_rate", Some(5.0))), Outcome::Done, "it has some already");
}

#[test]
fn credentials_and_access_control_lists_are_bounded() {
    let mut story = Story::new(1);
    let user = |name: &str| ScramUser { name: name.to_owned(), mechanism: 1 };
    let secret = || Secret(vec![1]);
    let credential = ScramCredential { salt: secret(), stored_key: secret(), server_key: secret(), iterations: 4096 };
    let set = |name: &str, to: Option<&ScramCredential>| Command::AlterScram {
        changes: BTreeMap::from([(user(name), to.cloned())]),
    };
    assert_eq!(story.asks(1, set("a", Some(&credential))), Outcome::Done);
    for number in 1..SCRAM_CREDENTIALS_MAX {
        story.image.scram.insert(user(&format!("u{number}")), Arc::new(credential.clone()));
    }
    assert!(matches!(story.asks(1, set("b", Some(&credential))), Outcome::Refused(Refusal::Invalid(_))));
    assert_eq!(story.asks(1, set("a", Some(&credential))), Outcome::Done, "it is there already");
    assert_eq!(story.asks(1, set("a", None)), Outcome::Done);
    assert!(!story.image.scram.contains_key(&user("a")));

    let acl = |number: usize| {
        let resource = AclResource { kind: 2, pattern: AclPattern::Literal, name: "t".to_owned() };
        let principal = format!("User:{number}");
        (resource, AclEntry { principal, host: "*".to_owned(), operation: 3, is_deny: false })
    };
    let alter = |removed: Vec<Acl>, added: Vec<Acl>| Command::AlterAcls { removed, added };
    assert_eq!(story.asks(1, alter(vec![acl(7)], vec![acl(1), acl(1), acl(2)])), Outcome::Done);
    assert_eq!(story.image.acls[&acl(1).0].len(), 2);
    let many = (1..=ACLS_MAX + 1).map(acl).collect();
    assert!(matches!(story.asks(1, alter(Vec::new(), many)), Outcome::Refused(Refusal::Invalid(_))));
    assert_eq!(story.image.acls[&acl(1).0].len(), 2, "all or nothing");
    assert_eq!(story.asks(1, alter(vec![acl(1), acl(2)], Vec::new())), Outcome::Done);
    assert!(story.image.acls.is_empty(), "nothing is left of it");
}

#[test]
fn delegation_tokens_end_and_do_not_come_back() {
    let mut story = Story::new(1);
    let user = |name: &str| format!("User:{name}");
    let token = |expiry: i64, renewers: usize| Token {
        owner: user("a"),
        requester: user("b"),
        renewers: (0..renewers).map(|number| user(&number.to_string())).collect(),
        issued: UnixMillis(1),
        expiry: UnixMillis(expiry),
        last: UnixMillis(9),
    };
    let issue = |id: &str, token: Token| Command::IssueToken { id: id.to_owned(), token };
    let expire =
        |id: &str, expiry: Option<i64>| Command::ExpireToken { id: id.to_owned(), expiry: expiry.map(UnixMillis) };
    assert_eq!(story.asks(1, issue("x", token(3, 1))), Outcome::Done);
    assert!(matches!(story.asks(1, issue("x", token(4, 1))), Outcome::Refused(Refusal::Invalid(_))));
    assert_eq!(story.asks(1, issue("y", token(5, 0))), Outcome::Done);
    assert_eq!(story.asks(1, expire("x", Some(4))), Outcome::Done);
    let sweep = |now: i64| Command::SweepTokens { now: UnixMillis(now) };
    assert_eq!(story.asks(1, sweep(4)), Outcome::Done);
    assert_eq!(story.image.tokens.len(), 2, "the one ends behind that time, the other was renewed");
    assert_eq!(story.asks(1, sweep(5)), Outcome::Done);
    assert_eq!(story.image.tokens.keys().collect::<Vec<_>>(), ["y"]);
    let late = story.asks(1, expire("x", Some(8)));
    assert!(matches!(late, Outcome::Refused(Refusal::Unknown(_))), "{late:?}");
    assert_eq!(story.asks(1, expire("y", None)), Outcome::Done);
    assert!(story.image.tokens.is_empty());
}

#[test]
fn delegation_tokens_have_a_bound_and_no_owner_has_more_than_a_tenth_of_it() {
    const PART: usize = TOKENS_OF_OWNER_BYTES_MAX;
    let mut story = Story::new(1);
    let token = |owner: usize, bytes: usize| {
        let mut token = Token {
            owner: format!("User:{owner:02}"),
            requester: "User:x".to_owned(),
            renewers: vec![String::new()],
            issued: UnixMillis(1),
            expiry: UnixMillis(9),
            last: UnixMillis(9),
        };
        token.renewers[0] = "x".repeat(bytes - token.bytes());
        assert_eq!(token.bytes(), bytes);
        token
    };
    let issue = |id: String, token: Token| Command::IssueToken { id, token };
    let words = |outcome: Outcome| match outcome {
        Outcome::Refused(Refusal::Invalid(words)) => words,
        other => panic!("{other:?}"),
    };
    for owner in 0..10 {
        assert_eq!(story.asks(1, issue(format!("{owner}"), token(owner, PART - 1000))), Outcome::Done);
        let refused = words(story.asks(1, issue(format!("{owner}-more"), token(owner, 1001))));
        assert!(refused.contains(&format!("tokens of User:{owner:02} may")) && refused.contains("expire some"));
        assert_eq!(story.asks(1, issue(format!("{owner}-last"), token(owner, 1000))), Outcome::Done);
    }
    let refused = words(story.asks(1, issue("all".to_owned(), token(10, 1000))));
    assert!(refused.starts_with("all delegation tokens"), "{refused}");
    assert_eq!(story.asks(1, Command::ExpireToken { id: "3-last".to_owned(), expiry: None }), Outcome::Done);
    assert_eq!(story.asks(1, issue("all".to_owned(), token(10, 1000))), Outcome::Done);
}

#[test]
fn an_orphan_is_what_its_writer_can_never_commit() {
    let mut story = Story::new(2);
    let stream = story.stream("t", 1);
    let object = |counter| ObjectId { node_epoch: NodeEpoch(1), counter };
    // Object 3 is committed while 2 is in flight: 2 is none (O2).
    let Command::CommitObjects { speaker, wal, trim, objects, .. } =
        commit(1, 1, 3, WalPosition(0), &[(stream, 0, 0, 5)])
    else {
        unreachable!()
    };
    story.asks(1, Command::CommitObjects { speaker, wal, trim, min_counter: 2, objects });
    let orphans = |story: &Story| (1..6).filter(|counter| story.image.is_orphan(object(*counter))).collect::<Vec<_>>();
    assert_eq!(orphans(&story), [1]);
    story.die(1);
    assert_eq!(orphans(&story), [1, 2, 4, 5]);
    assert!(!story.image.is_orphan(ObjectId { node_epoch: NodeEpoch(9), counter: 1 }), "a start of a newer image");
}

/// What random commands must never do, whatever `check` says of each image by itself.
#[derive(Default)]
struct Watch {
    starts: BTreeMap<StreamId, (Offset, Offset)>,
    ends: BTreeMap<WalId, WalPosition>,
    dead_objects: BTreeSet<ObjectId>,
    tenures: BTreeMap<(StreamId, StreamEpoch), Offset>,
    gone: BTreeSet<StreamId>,
    saved: BTreeMap<StreamId, Offset>,
}

impl Watch {
    fn look(&mut self, image: &Image) {
        for (id, stream) in &image.streams {
            assert!(!self.gone.contains(id), "stream {id} came back");
            let (start, committed) = self.starts.get(id).copied().unwrap_or_default();
            assert!(stream.start >= start && stream.committed() >= committed, "stream {id} went back");
            self.starts.insert(*id, (stream.start, stream.committed()));
            let whole = stream.producers.iter().filter(|it| it.range.base == Offset(0)).map(|it| it.range.next).max();
            let saved = self.saved.entry(*id).or_default();
            assert!(whole.unwrap_or_default() >= *saved, "the producer state of stream {id} went back");
            *saved = whole.unwrap_or_default();
            for tenure in &stream.tenures {
                let first = self.tenures.entry((*id, tenure.stream_epoch)).or_insert(tenure.start);
                assert_eq!(*first, tenure.start, "a tenure's start moved");
            }
        }
        let gone = self.starts.keys().filter(|id| !image.streams.contains_key(*id)).copied();
        self.gone.extend(gone.collect::<Vec<_>>());
        for (id, wal) in &image.wals {
            if let WalState::Sealed { end, .. } = wal.state {
                assert_eq!(*self.ends.entry(*id).or_insert(end), end, "the end of {id} moved");
            }
        }
        self.dead_objects.extend(image.dead_objects.keys());
        assert!(!image.objects.keys().any(|id| self.dead_objects.contains(id)), "a dead object came back");
    }
}

#[test]
fn random_commands_keep_every_invariant() {
    let (mut accepted, mut sealed, mut swapped) = (0, 0, 0);
    for seed in 0..60 {
        let mut seed = Seed::new(seed);
        let mut story = Story::new(3);
        let mut watch = Watch::default();
        let mut counters: BTreeMap<u64, u64> = BTreeMap::new();
        for step in 0..400 {
            let (requester, command) = random_command(&mut seed, &story.image, &mut counters, step);
            let before = story.image.clone();
            let outcome = story.asks(requester, command.clone());
            if let Outcome::Refused(_) = outcome {
                let mut after = story.image.clone();
                (after.seq, after.nonce, after.nodes) = (before.seq, before.nonce, before.nodes.clone());
                assert_eq!(after, before, "{command:?} was refused and changed something");
            }
            accepted += usize::from(matches!(&outcome, Outcome::Committed { ranges } if ranges.contains(&true)));
            swapped += usize::from(matches!(&outcome, Outcome::Replaced { swaps } if swaps.contains(&true)));
            watch.look(&story.image);
            if step % 50 == 0 {
                let decoded = codec::decode_snapshot(&codec::encode_snapshot(&story.image)).unwrap();
                assert_eq!(decoded, story.image, "a snapshot is the image");
                story.image = decoded;
            }
        }
        sealed += watch.ends.len();
    }
    assert!(accepted > 1000 && sealed > 60, "the stories committed {accepted} times and sealed {sealed} WALs");
    assert!(swapped > 100, "the stories replaced references {swapped} times");
}

fn random_command(seed: &mut Seed, image: &Image, counters: &mut BTreeMap<u64, u64>, step: u128) -> (u64, Command) {
    let start = seed.between(1, image.next_node_epoch.0 - 1);
    let ids: Vec<StreamId> = image.streams.keys().copied().collect();
    let stream = ids.get(seed.below(ids.len() as u64) as usize).copied().unwrap_or(StreamId(1));
    let record = image.streams.get(&stream);
    let tenures = record.map_or(0, |record| record.tenures.len() as u64);
    let tenure = record.map(|record| record.tenures[seed.below(tenures) as usize]);
    let near = |seed: &mut Seed, offset: Offset| (offset.0 + seed.below(4)).saturating_sub(seed.below(3));
    let command = match seed.below(15) {
        0 => create(&format!("topic{}", seed.below(5)), seed.next_u64(), &[start, start]),
        1 if seed.chance(200) => Command::DeleteTopic { id: record.map(|record| record.topic).unwrap_or_default() },
        2 if seed.chance(300) => Command::DeclareDead { node_epochs: vec![NodeEpoch(start)] },
        3 if seed.chance(500) => {
            let (node, ring) = (NodeId(seed.below(4) as i32), u128::from(seed.below(4)));
            let node_id = seed.chance(500).then_some(node);
            let command = register(node_id, ring, &format!("h{}:1", seed.below(4)), 1000 + step);
            return (0, if seed.chance(600) { logs::with(command, "bulk") } else { command });
        }
        4 | 5 => {
            let end = record.map_or(0, |record| near(seed, record.committed()));
            return logs::random_seal(seed, image, start, stream, end);
        }
        6 => Command::OpenStreams { streams: ids, node_epoch: NodeEpoch(start), wal_index: WAL },
        7 => {
            let owner = tenure.map_or(start, |tenure| tenure.node_epoch().0);
            let offset = record.map_or(0, |record| near(seed, record.committed()));
            let (node_epoch, stream_epoch) =
                (NodeEpoch(owner), tenure.map(|tenure| tenure.stream_epoch).unwrap_or_default());
            // The owner never trims beyond what it has confirmed, and so not beyond a closed end.
            return (owner, Command::Trim { stream, node_epoch, stream_epoch, start: Offset(offset) });
        }
        12 => {
            let owner = tenure.map_or(start, |tenure| tenure.node_epoch().0);
            let offset = record.map_or(0, |record| near(seed, record.committed()));
            let (node_epoch, stream_epoch) =
                (NodeEpoch(owner), tenure.map(|tenure| tenure.stream_epoch).unwrap_or_default());
            return (owner, Command::Cleaned { stream, node_epoch, stream_epoch, cleaned: Offset(offset) });
        }
        13 => {
            let end = record.map_or(0, |record| near(seed, record.committed()));
            let owner = tenure.map_or(start, |tenure| tenure.node_epoch().0);
            let epoch = tenure.map(|tenure| tenure.stream_epoch).unwrap_or_default();
            return logs::random_move(seed, owner, (stream, epoch, Offset(end)));
        }
        8 if seed.chance(300) => logs::random_forget(seed, start),
        10 | 11 => return replace::random(seed, image, counters, start, stream),
        9 if seed.chance(300) => Command::ObjectsDeleted { objects: image.dead_objects.keys().copied().collect() },
        _ => {
            let of = tenure.map_or(wal(start), |tenure| tenure.wal);
            let speaker = match image.wals.get(&of).map(|wal| wal.state) {
                Some(WalState::Sealed { recoverer, .. }) if seed.chance(900) => recoverer.0,
                _ => of.node_epoch.0,
            };
            let counter = counters.entry(speaker).or_default();
            *counter += seed.below(2);
            let epoch = tenure.map_or(0, |tenure| tenure.stream_epoch.0);
            let base = tenure.map_or(0, |tenure| near(seed, tenure.committed));
            let ranges = [(stream, epoch, base, base + seed.below(4))];
            let trim = WalPosition(seed.below(99));
            let mut command = logs::commit_of(of, speaker, *counter, trim, &ranges);
            if let Command::CommitObjects { objects, .. } = &mut command
                && seed.chance(400)
            {
                let from = if seed.chance(600) { 0 } else { base };
                objects[0].states = vec![state(stream, epoch, from, base + seed.below(4))];
            }
            return (speaker, command);
        }
    };
    (start, command)
}

#[test]
fn the_memory_of_deleted_names_is_bounded_and_no_epoch_is_forgotten() {
    let mut story = Story::new(1);
    let mut image = story.image.clone();
    for n in 0..DELETED_EPOCHS_MAX {
        image.deleted_epochs.insert(format!("name{n:06}"), StreamEpoch(3));
    }
    story.image = image;
    story.stream("zz", 1);
    let id = story.image.topic("zz").unwrap().id;
    assert_eq!(story.asks(1, Command::DeleteTopic { id }), Outcome::Done);
    assert_eq!(story.image.deleted_epochs.len(), DELETED_EPOCHS_MAX);
    let reborn = story.stream("name000000", 1);
    assert_eq!(story.record(reborn).epoch, StreamEpoch(3), "not below what clients have seen of the name");
}

#[test]
#[should_panic(expected = "in order")]
fn an_entry_that_is_not_the_next_is_a_programmers_error() {
    let entry =
        Entry { seq: LedgerSeq(5), epoch: LedgerEpoch(1), nonce: Nonce(1), written: UnixMillis(0), commands: vec![] };
    apply(&mut Image::default(), &entry);
}
