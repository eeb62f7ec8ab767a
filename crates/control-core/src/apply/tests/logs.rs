//! Several logs of one start: sealed, trimmed and left each by itself.

use super::*;

/// A registration with a further log of that name.
pub(super) fn with(mut command: Command, name: &str) -> Command {
    let Command::Register { wals, .. } = &mut command else { panic!("{command:?} registers nobody") };
    let (url, start) = ("storage".to_owned(), WalPosition(0));
    wals.push(WalRegistration { url, ring_id: 0, start, in_storage: true, name: name.to_owned() });
    command
}

/// Somebody seals a log; now and then a living start its own.
pub(super) fn random_seal(seed: &mut Seed, image: &Image, start: u64, stream: StreamId, end: u64) -> (u64, Command) {
    let wal = image.wals.keys().nth(seed.below(image.wals.len() as u64) as usize).copied().unwrap_or(wal(1));
    let open_on = seed.chance(700).then_some(WalIndex(seed.below(2) as u16));
    let by = if seed.chance(50) { wal.node_epoch.0 } else { start };
    (by, recovered_of(wal, by, 90 + seed.below(9), &[(stream, end)], open_on))
}

pub(super) fn random_forget(seed: &mut Seed, start: u64) -> Command {
    Command::ForgetWal { wal: WalId { node_epoch: NodeEpoch(start), index: WalIndex(seed.below(2) as u16) } }
}

/// A stream moves, or its owner is too late.
pub(super) fn random_move(seed: &mut Seed, owner: u64, moved: (StreamId, StreamEpoch, Offset)) -> (u64, Command) {
    let (node_epoch, to) = (NodeEpoch(owner), WalIndex(seed.below(3) as u16));
    (owner, Command::MoveStreams { node_epoch, to, streams: vec![moved] })
}

pub(super) fn recovered_of(
    wal: WalId,
    by: u64,
    end: u64,
    ends: &[(StreamId, u64)],
    open_on: Option<WalIndex>,
) -> Command {
    let ends = ends.iter().map(|(stream, end)| (*stream, Offset(*end))).collect();
    Command::WalRecovered { wal, end: WalPosition(end), ends, recoverer: NodeEpoch(by), open_on }
}

pub(super) fn commit_of(
    wal: WalId,
    speaker: u64,
    counter: u64,
    trim: WalPosition,
    ranges: &[(StreamId, i32, u64, u64)],
) -> Command {
    let id = ObjectId { node_epoch: NodeEpoch(speaker), counter };
    let range = |&(stream, epoch, base, next): &(StreamId, i32, u64, u64)| CommitRange {
        stream,
        stream_epoch: StreamEpoch(epoch),
        range: OffsetRange::new(Offset(base), Offset(next)),
        bytes: 100 * (next - base),
        records: next - base,
        max_timestamp: UnixMillis(5),
        max_timestamp_offset: Offset(base),
    };
    let object = UploadedObject { id, size: 1000, ranges: ranges.iter().map(range).collect(), states: Vec::new() };
    Command::CommitObjects { speaker: NodeEpoch(speaker), wal, trim, min_counter: counter, objects: vec![object] }
}

const BULK: WalIndex = WalIndex(1);

/// The start 1 on node 0 with two logs, and 2 on node 1 with two as well.
fn two_logs() -> Story {
    let mut story = Story::new(0);
    for n in 1..=2u64 {
        let node_id = NodeId(n as i32 - 1);
        let command = register(Some(node_id), u128::from(n), &format!("host{n}:9092"), u128::from(n));
        assert_eq!(story.asks(0, with(command, "bulk")), Outcome::Registered { node_id, node_epoch: NodeEpoch(n) });
    }
    story
}

fn bulk(start: u64) -> WalId {
    WalId { node_epoch: NodeEpoch(start), index: BULK }
}

fn moves(story: &mut Story, stream: StreamId, epoch: i32, end: u64, to: WalIndex) -> Outcome {
    let streams = vec![(stream, StreamEpoch(epoch), Offset(end))];
    story.asks(1, Command::MoveStreams { node_epoch: NodeEpoch(1), to, streams })
}

fn owner(story: &Story, stream: StreamId) -> Option<(WalId, u64, i32)> {
    story.record(stream).owner().map(|tenure| (tenure.wal, tenure.start.0, tenure.stream_epoch.0))
}

#[test]
fn the_sealing_of_one_log_says_nothing_about_another() {
    let mut story = two_logs();
    let (hot, cold) = (story.stream("hot", 1), story.stream("cold", 1));
    assert_eq!(moves(&mut story, cold, 0, 0, BULK), Outcome::Done);
    story.die(1);
    assert_eq!(story.recover(1, 2, 50, &[(hot, 7)]), Outcome::Done);
    assert_eq!(owner(&story, hot), Some((wal(2), 7, 1)));
    assert_eq!(owner(&story, cold), Some((bulk(1), 0, 1)), "its log may still be written: W1");
    let unsealed: Vec<WalId> = story.image.unsealed_dead_wals().map(|(wal, _)| wal).collect();
    assert_eq!(unsealed, [bulk(1)]);
    assert_eq!(story.asks(2, recovered_of(bulk(1), 2, 1 << 32, &[(cold, 9)], Some(BULK))), Outcome::Done);
    assert_eq!(owner(&story, cold), Some((bulk(2), 9, 2)));
}

#[test]
fn a_move_closes_the_tenure_at_the_end_and_leaves_the_tail_to_its_log() {
    let mut story = two_logs();
    let stream = story.stream("a", 1);
    assert_eq!(story.commit(1, 1, 1, &[(stream, 0, 0, 4)]), committed(&[true]));
    assert_eq!(moves(&mut story, stream, 0, 10, BULK), Outcome::Done);
    assert_eq!(owner(&story, stream), Some((bulk(1), 10, 1)));
    assert_eq!(story.record(stream).committed(), Offset(4), "what is not committed waits in the first log");
    assert_eq!(story.record(stream).unsaved, [wal(1)], "and so may state of its producers");
    // Each log commits its own, in any order; neither speaks for the other's.
    let of_bulk = commit_of(bulk(1), 1, 2, WalPosition(0), &[(stream, 1, 10, 15)]);
    assert_eq!(story.asks(1, of_bulk), committed(&[true]));
    assert_eq!(story.commit(1, 1, 3, &[(stream, 1, 15, 16)]), committed(&[false]));
    assert_eq!(story.commit(1, 1, 4, &[(stream, 0, 4, 11)]), committed(&[false]), "beyond its tenure's end");
    assert_eq!(story.commit(1, 1, 5, &[(stream, 0, 4, 10)]), committed(&[true]));
    assert_eq!(story.record(stream).committed(), Offset(15));
    assert_eq!(story.record(stream).tenures.len(), 1);
}

#[test]
fn a_move_is_refused_where_it_would_shorten_or_is_late() {
    let mut story = two_logs();
    let stream = story.stream("a", 1);
    assert_eq!(story.commit(1, 1, 1, &[(stream, 0, 0, 4)]), committed(&[true]));
    let before = story.record(stream).clone();
    assert_eq!(moves(&mut story, stream, 0, 3, BULK), Outcome::Done);
    assert_eq!(moves(&mut story, stream, 1, 4, BULK), Outcome::Done);
    assert_eq!(moves(&mut story, stream, 0, 4, WAL), Outcome::Done);
    assert_eq!(*story.record(stream), before, "too low, of another epoch, to where it is");
    assert!(matches!(moves(&mut story, stream, 0, 4, WalIndex(2)), Outcome::Refused(Refusal::Unknown(_))));
    assert_eq!(moves(&mut story, stream, 0, 4, BULK), Outcome::Done);
    assert_eq!(moves(&mut story, stream, 0, 4, BULK), Outcome::Done, "asked again");
    assert_eq!(owner(&story, stream), Some((bulk(1), 4, 1)));
    story.die(1);
    assert_eq!(moves(&mut story, stream, 1, 9, WAL), Outcome::Refused(Refusal::Dead(NodeEpoch(1))));
}

#[test]
fn state_in_a_log_that_was_left_is_waited_for_until_that_log_is_saved() {
    let mut story = two_logs();
    let stream = story.stream("a", 1);
    assert_eq!(moves(&mut story, stream, 0, 10, BULK), Outcome::Done);
    // Nothing of it needs a commit any more, but the state of its producers is in no object.
    assert_eq!(story.trim(1, stream, 1, 10), Outcome::Done);
    story.die(1);
    assert_eq!(story.asks(2, recovered_of(bulk(1), 2, 1 << 32, &[], Some(WAL))), Outcome::Done);
    assert_eq!(story.recover(1, 2, 50, &[]), Outcome::Done);
    assert_eq!(story.record(stream).unsaved, [wal(1), bulk(1)]);
    assert!(!story.image.can_delete_wal(wal(1)));
    assert_eq!(story.asks(2, commit_of(wal(1), 2, 1, WalPosition(50), &[])), committed(&[]));
    assert_eq!(story.record(stream).unsaved, [bulk(1)]);
    assert!(story.image.can_delete_wal(wal(1)));
}

#[test]
fn a_living_start_closes_a_log_that_failed_and_goes_on_in_another() {
    let mut story = two_logs();
    let (hot, cold) = (story.stream("hot", 1), story.stream("cold", 1));
    assert_eq!(moves(&mut story, cold, 0, 0, BULK), Outcome::Done);
    assert_eq!(story.asks(1, recovered_of(wal(1), 1, 40, &[(hot, 6)], Some(BULK))), Outcome::Done);
    assert_eq!(owner(&story, hot), Some((bulk(1), 6, 1)));
    assert_eq!(owner(&story, cold), Some((bulk(1), 0, 1)));
    assert_eq!(story.record(hot).unsaved, [wal(1)]);
    // It still speaks for what the failed log had confirmed.
    let rest = commit_of(wal(1), 1, 1, WalPosition(40), &[(hot, 0, 0, 6)]);
    assert_eq!(story.asks(1, rest), committed(&[true]));
    assert!(story.record(hot).unsaved.is_empty() && story.image.can_delete_wal(wal(1)));
    assert_eq!(story.asks(1, Command::ForgetWal { wal: wal(1) }), Outcome::Done);
    // A clean stop has saved everything, and leaves nothing to wait for.
    assert_eq!(story.asks(1, recovered_of(bulk(1), 1, 3 << 32, &[(hot, 6)], None)), Outcome::Done);
    assert!(story.record(cold).unsaved.is_empty());
}
