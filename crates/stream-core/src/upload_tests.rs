//! Tests of the upload's decisions: examples, then random orders of uploads and commits.

use super::*;
use base::Seed;

fn limits() -> UploadLimits {
    UploadLimits {
        block_bytes: 1000,
        age: Duration::from_micros(500),
        blocks_in_flight_max: 2,
        stream_object_bytes: 600,
        object_bytes_max: 800,
    }
}

fn part(base: u64, next: u64, bytes: u64) -> BlockRange {
    BlockRange { stream_epoch: StreamEpoch(1), range: OffsetRange::new(Offset(base), Offset(next)), bytes }
}

#[test]
fn freezes_by_size_by_age_and_when_the_wal_is_filling() {
    let mut core = Uploader::new(limits(), WalPosition(0));
    assert!(!core.freeze_if_due(Micros(9000), true), "nothing to freeze");
    core.acknowledged(Micros(0), StreamId(1), part(0, 5, 400));
    core.group_ends(WalPosition(10));
    assert!(!core.freeze_if_due(Micros(499), false));
    assert!(core.freeze_if_due(Micros(500), false), "by age");
    core.acknowledged(Micros(500), StreamId(1), part(5, 6, 1000));
    core.group_ends(WalPosition(20));
    assert!(core.freeze_if_due(Micros(500), false), "by size");
    core.acknowledged(Micros(501), StreamId(1), part(6, 7, 1));
    core.group_ends(WalPosition(30));
    assert!(!core.freeze_if_due(Micros(501), true), "blocks wait already");
    let (first, second) = (core.next_upload().unwrap(), core.next_upload().unwrap());
    assert_eq!((first.trim, second.trim), (WalPosition(10), WalPosition(20)));
    for block in [first, second] {
        core.uploaded(block.number);
        assert_eq!(core.next_commit(), Some(block.number));
        core.committed(block.number);
    }
    assert!(core.freeze_if_due(Micros(501), true), "the WAL is filling and nothing else helps");
}

#[test]
fn a_block_holds_one_tenure_of_a_stream_that_was_in_another_log_meanwhile() {
    let mut core = Uploader::new(limits(), WalPosition(0));
    core.acknowledged(Micros(0), StreamId(1), part(0, 5, 10));
    core.group_ends(WalPosition(10));
    core.acknowledged(Micros(1), StreamId(2), part(0, 1, 10));
    core.acknowledged(Micros(1), StreamId(1), BlockRange { stream_epoch: StreamEpoch(3), ..part(9, 12, 10) });
    core.group_ends(WalPosition(20));
    assert_eq!(core.acknowledged_to(), WalPosition(20));
    core.freeze();
    let (first, second) = (core.next_upload().unwrap(), core.next_upload().unwrap());
    assert_eq!((first.ranges[&StreamId(1)], first.trim), (part(0, 5, 10), WalPosition(10)));
    assert!(first.ranges.contains_key(&StreamId(2)), "it may hold more than it says is committed with it");
    let later = second.ranges[&StreamId(1)];
    assert_eq!((later.stream_epoch, later.range.base, second.trim), (StreamEpoch(3), Offset(9), WalPosition(20)));
}

#[test]
fn a_later_block_waits_for_an_earlier_ones_commit_even_when_that_is_cut_anew() {
    let mut core = Uploader::new(limits(), WalPosition(0));
    for at in 0..2 {
        core.acknowledged(Micros(0), StreamId(1), part(at, at + 1, 10));
        core.acknowledged(Micros(0), StreamId(2), part(at, at + 1, 10));
        core.group_ends(WalPosition(at + 1));
        core.freeze();
    }
    let (first, second) = (core.next_upload().unwrap(), core.next_upload().unwrap());
    core.uploaded(second.number);
    assert_eq!(core.next_commit(), None);
    core.uploaded(first.number);
    assert_eq!(core.next_commit(), Some(first.number));
    core.cut_anew(first.number, BTreeMap::from([(StreamId(2), part(0, 1, 10))]));
    assert_eq!(core.next_commit(), None, "the first block's rest is not uploaded yet");
    let rest = core.next_upload().unwrap();
    assert_eq!((rest.number, rest.trim, rest.ranges.len()), (first.number, first.trim, 1));
    core.uploaded(rest.number);
    assert_eq!(core.next_commit(), Some(rest.number));
    core.committed(rest.number);
    assert_eq!(core.next_commit(), Some(second.number));
    core.committed(second.number);
    assert!(core.is_idle());
}

#[test]
fn long_runs_get_objects_of_their_own_and_the_rest_share() {
    let mut block = Block::default();
    for (stream, bytes) in [(1, 300), (2, 700), (3, 300), (4, 300)] {
        block.ranges.insert(StreamId(stream), part(0, 1, bytes));
    }
    let objects: Vec<Vec<u64>> = plan_objects(&block, &limits())
        .iter()
        .map(|object| object.iter().map(|(stream, _)| stream.0).collect())
        .collect();
    assert_eq!(objects, [vec![2], vec![1, 3], vec![4]]);
}

#[test]
fn a_refused_range_is_cut_by_what_the_image_says() {
    let refused = part(10, 20, 1);
    assert_eq!(recut(refused, None), None, "deleted");
    assert_eq!(recut(refused, Some((Offset(20), None))), None, "lifted by a trim");
    let from = |base, next| Some(OffsetRange::new(Offset(base), Offset(next)));
    assert_eq!(recut(refused, Some((Offset(5), None))), from(5, 20), "begins at the committed end");
    assert_eq!(recut(refused, Some((Offset(5), Some(Offset(15))))), from(5, 15), "ends with its tenure");
    assert_eq!(recut(refused, Some((Offset(8), Some(Offset(8))))), None);
}

/// Whatever order uploads end in: commits come in block order, their trim points rise, and every acknowledged offset is in exactly
/// one committed block below whose trim point its group lies.
#[test]
fn any_order_of_uploads_commits_in_wal_order() {
    for seed in 0..300 {
        let mut random = Seed::new(seed);
        let mut core = Uploader::new(limits(), WalPosition(0));
        let mut acknowledged = 0;
        let mut committed = 0;
        let mut trimmed = WalPosition(0);
        let mut flying: Vec<Block> = Vec::new();
        let mut blocks: BTreeMap<u64, Block> = BTreeMap::new();
        for now in 0..2000 {
            if random.chance(300) && acknowledged < 200 {
                core.acknowledged(Micros(now), StreamId(1), part(acknowledged, acknowledged + 1, random.below(700)));
                acknowledged += 1;
                core.group_ends(WalPosition(acknowledged * 10));
            }
            core.freeze_if_due(Micros(now), random.chance(10));
            if let Some(block) = core.next_upload() {
                assert!(flying.len() < 2);
                flying.push(block);
            }
            if !flying.is_empty() && random.chance(200) {
                let pick = usize::try_from(random.below(flying.len() as u64)).unwrap();
                let block = flying.swap_remove(pick);
                core.uploaded(block.number);
                blocks.insert(block.number, block);
            }
            if let Some(number) = core.next_commit() {
                let block = &blocks[&number];
                let range = block.ranges[&StreamId(1)].range;
                assert_eq!(range.base, Offset(committed), "seed {seed}");
                assert!(block.trim > trimmed && block.trim.0 == range.next.0 * 10);
                (committed, trimmed) = (range.next.0, block.trim);
                core.committed(number);
            }
        }
        assert!(committed > 0);
    }
}
