//! What every kind of WAL must do, whatever it is made of. Written once; `suite!` makes a module of tests for each kind.
//!
//! | case | says |
//! |---|---|
//! | order | groups written at once come back in the order of placing, byte for byte |
//! | torn_tail | a death in the middle of writes leaves a prefix that holds all that was acknowledged |
//! | wrap_around | a log that has been filled many times over is as good as a new one |
//! | spilled | an entry is read back as it was written or not at all, also from where another has been written since |
//! | trim | only what an image shows committed is freed, and nothing above it |
//! | fence | once recovered, a writer that still runs confirms nothing that the recovery does not hold |
//! | replay | a recovery may be repeated, and from any later trim point finds the same end |
//! | full | what has no room is refused with nothing placed, until there is room |
//! | slow | however slow the device, `Ok` means durable at that moment |
//! | failing | an error is never followed by an `Ok` that is not durable |
//! | damaged | what was durable and is not what was written is told, never cut off |
//! | lives | start after start on one device: kills, power losses, trims, all of it together |

use super::rig::{Kind, Rig};
use super::*;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use std::collections::VecDeque;

/// Bytes of most rigs: small, so that it is filled soon.
const CAPACITY: u64 = 4 * RING_BYTES_MIN;

macro_rules! suite {
    ($($module:ident: $kind:expr;)*) => {
        $(mod $module {
            use super::*;

            suite!(@cases $kind; order torn_tail wrap_around spilled trim fence replay full slow failing damaged lives);
        })*
    };
    (@cases $kind:expr; $($case:ident)*) => {
        $(#[tokio::test]
        async fn $case() {
            super::$case($kind).await;
        })*
    };
}

suite! {
    local_file: Kind::File;
    device: Kind::Device;
    shared_file: Kind::Shared;
    objects: Kind::Objects;
}

/// A group of a few small entries, placed.
fn place(rig: &mut Rig, wal: &mut Wal) -> Option<(Known, UnwrittenGroup)> {
    let entries = entries(&mut rig.random, 3, 3000);
    let (placed, group) = wal.place(&entries).ok()?;
    Some((Known::new(placed, &entries), group))
}

/// Writes groups one by one. Each is durable.
async fn write(rig: &mut Rig, wal: &mut Wal, count: usize) -> Vec<Known> {
    let mut known = Vec::new();
    for _ in 0..count {
        let (group, unwritten) = place(rig, wal).expect("room for it");
        wal.write(unwritten).await.unwrap();
        known.push(group);
    }
    known
}

/// Recovers a start and checks that it yields a prefix of what was placed with all that was acknowledged. Yields how many of the
/// known groups it holds.
async fn expect_recovered(rig: &mut Rig, id: WalId, known: &[Known], acknowledged: usize) -> usize {
    let recovered = rig.recover(id).await.unwrap();
    let count = expect_prefix(known, rig.from(id), &recovered, &rig.reader(id)).await;
    assert!(count >= acknowledged, "{:?}: {acknowledged} groups were acknowledged, {count} recovered", rig.kind);
    count
}

async fn order(kind: Kind) {
    let mut rig = Rig::new(kind, 1, CAPACITY);
    let mut wal = rig.begin().await;
    let (mut known, mut writing) = (Vec::new(), VecDeque::new());
    while known.len() < 20 {
        while writing.len() < in_flight_max(&wal) && known.len() + writing.len() < 20 {
            let (group, unwritten) = place(&mut rig, &mut wal).unwrap();
            writing.push_back((group, wal.write(unwritten)));
        }
        // The writes of a turn end in whatever order they like.
        let (groups, writes): (Vec<_>, Vec<_>) = writing.drain(..).unzip();
        let mut ended: Vec<_> = futures::future::join_all(writes.into_iter().rev()).await;
        ended.drain(..).for_each(|written| written.unwrap());
        known.extend(groups);
    }
    assert!(known.windows(2).all(|two| two[0].placed.end <= two[1].placed.position), "places follow one another");
    let id = wal.id();
    rig.die(wal);
    assert_eq!(expect_recovered(&mut rig, id, &known, 20).await, 20);
}

async fn torn_tail(kind: Kind) {
    let mut cut = 0;
    for seed in 0..150 {
        let mut rig = Rig::new(kind, seed, CAPACITY);
        let mut wal = rig.begin().await;
        let (id, mut known) = (wal.id(), write(&mut rig, &mut wal, 3).await);
        let mut writing: FuturesOrdered<_> = FuturesOrdered::new();
        for _ in 0..in_flight_max(&wal) {
            let (group, unwritten) = place(&mut rig, &mut wal).unwrap();
            known.push(group);
            writing.push_back(wal.write(unwritten));
        }
        let mut acknowledged = 3;
        for _ in 0..rig.random.below(20) {
            if let Some(Some(written)) = writing.next().now_or_never() {
                written.unwrap();
                acknowledged += 1;
            }
            tokio::task::yield_now().await;
        }
        drop(writing);
        rig.die(wal);
        rig.lose_power();
        let count = expect_recovered(&mut rig, id, &known, acknowledged).await;
        assert_eq!(expect_recovered(&mut rig, id, &known, count).await, count, "seed {seed}: the end stays");
        cut += usize::from(count < known.len());
    }
    assert!(cut > 20, "{kind:?}: only {cut} tails were cut");
}

async fn wrap_around(kind: Kind) {
    let mut rig = Rig::new(kind, 2, CAPACITY);
    let mut wal = rig.begin().await;
    let (id, mut known, mut written) = (wal.id(), VecDeque::new(), 0);
    while written < 8 * CAPACITY {
        match place(&mut rig, &mut wal) {
            Some((group, unwritten)) => {
                wal.write(unwritten).await.unwrap();
                written += group.contents.iter().map(|it| it.len() as u64).sum::<u64>();
                known.push_back(group);
            }
            None => {
                let committed: Known = known.pop_front().expect("something is there where there is no room");
                rig.commit(&mut wal, committed.placed.end);
            }
        }
    }
    rig.die(wal);
    rig.lose_power();
    let known: Vec<_> = known.into();
    assert_eq!(expect_recovered(&mut rig, id, &known, known.len()).await, known.len());
}

async fn spilled(kind: Kind) {
    let mut rig = Rig::new(kind, 3, CAPACITY);
    let mut wal = rig.begin().await;
    let (mut all, mut kept, mut gone) = (Vec::<Known>::new(), 0, 0);
    while all.len() < 300 {
        match place(&mut rig, &mut wal) {
            Some((group, unwritten)) => {
                wal.write(unwritten).await.unwrap();
                all.push(group);
            }
            None => {
                kept += 1;
                rig.commit(&mut wal, all[kept - 1].placed.end);
            }
        }
        let pick = usize::try_from(rig.random.below(all.len() as u64 + 1)).unwrap();
        let Some(group) = all.get(pick) else { continue };
        match wal.reader().read(group.placed.spans[0]).await {
            Ok(bytes) => assert_eq!(bytes[..], group.contents[0][..], "{kind:?}: other bytes than were written"),
            Err(error) => {
                assert!(pick < kept && matches!(error, WalReadError::Gone(_)), "{kind:?}: {pick} of {kept}: {error}");
                gone += 1;
            }
        }
    }
    assert!(gone > 20, "{kind:?}: only {gone} reads came too late");
}

async fn trim(kind: Kind) {
    let mut rig = Rig::new(kind, 4, CAPACITY);
    let mut wal = rig.begin().await;
    let (id, known) = (wal.id(), write(&mut rig, &mut wal, 10).await);
    let used = wal.used_bytes();
    wal.trim(wal.floor_in(&rig.image));
    assert_eq!(wal.used_bytes(), used, "what no image shows committed frees nothing");
    rig.commit(&mut wal, known[6].placed.end);
    let less = wal.used_bytes();
    assert!(0 < less && less < used);
    wal.trim(known[2].placed.end);
    assert_eq!(wal.used_bytes(), less, "a lower floor than before changes nothing");
    for group in &known[7..] {
        assert_eq!(wal.reader().read(group.placed.spans[0]).await.unwrap()[..], group.contents[0][..]);
    }
    // What frees in the background has its turns.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    rig.die(wal);
    let recovered = rig.recover(id).await.unwrap();
    assert_eq!(recovered.groups.len(), 3);
    assert_eq!(expect_recovered(&mut rig, id, &known, 10).await, 10);
}

async fn fence(kind: Kind) {
    let (mut cut_off, mut kept_out) = (0, 0);
    for seed in 0..100 {
        let mut rig = Rig::new(kind, seed, CAPACITY);
        let mut wal = rig.begin().await;
        let (id, wait) = (wal.id(), rig.random.below(25));
        let mut random = Seed::new(seed + 1000);
        let writer = async {
            let (mut known, mut acknowledged) = (Vec::new(), 0);
            for _ in 0..12 {
                let entries = entries(&mut random, 2, 1000);
                let (placed, unwritten) = wal.place(&entries).unwrap();
                known.push(Known::new(placed, &entries));
                match wal.write(unwritten).await {
                    Ok(()) => acknowledged += 1,
                    Err(error) => {
                        assert!(matches!(error, WalError::Fenced(_)), "{kind:?}: {error}");
                        break;
                    }
                }
            }
            (known, acknowledged, wal)
        };
        let recoverer = async {
            for _ in 0..wait {
                tokio::task::yield_now().await;
            }
            rig.recover_elsewhere(id).await
        };
        let ((known, acknowledged, mut wal), recovered) = futures::join!(writer, recoverer);
        let Ok(first) = recovered else {
            kept_out += 1;
            assert_eq!(acknowledged, 12, "{kind:?}: a recoverer that is kept out disturbs nobody");
            rig.die(wal);
            assert_eq!(expect_recovered(&mut rig, id, &known, 12).await, 12);
            continue;
        };
        // However often it tries again.
        for _ in 0..3 {
            let (_, unwritten) = place(&mut rig, &mut wal).unwrap();
            assert!(matches!(wal.write(unwritten).await, Err(WalError::Fenced(_))), "{kind:?}: it was fenced");
        }
        assert!(first.groups.len() >= acknowledged, "{kind:?}, seed {seed}: an acknowledged group lies behind the end");
        cut_off += usize::from(acknowledged < 12);
        rig.seal(id, first.end);
        rig.die(wal);
        let again = rig.recover(id).await.unwrap();
        let below: Vec<_> = again.groups.into_iter().take_while(|group| group.end <= first.end).collect();
        assert_eq!(below, first.groups, "{kind:?}, seed {seed}: below the sealed end everything stays");
    }
    assert!(kept_out == 100 || cut_off > 5, "{kind:?}: {kept_out} kept out, {cut_off} cut off");
}

async fn replay(kind: Kind) {
    let mut rig = Rig::new(kind, 5, CAPACITY);
    let mut wal = rig.begin().await;
    let (id, known) = (wal.id(), write(&mut rig, &mut wal, 12).await);
    rig.die(wal);
    let first = rig.recover(id).await.unwrap();
    assert_eq!(expect_recovered(&mut rig, id, &known, 12).await, 12);
    rig.lose_power();
    assert_eq!(rig.recover(id).await.unwrap(), first);
    for trimmed in [3, 7, 12] {
        change(&mut rig.image, id, |record| record.trim = known[trimmed - 1].placed.end);
        let later = rig.recover(id).await.unwrap();
        assert_eq!((later.end, later.groups.len()), (first.end, 12 - trimmed), "{kind:?}");
    }
}

async fn full(kind: Kind) {
    let mut rig = Rig::new(kind, 6, RING_BYTES_MIN);
    let mut wal = rig.begin().await;
    let (id, mut known) = (wal.id(), Vec::new());
    while let Some((group, unwritten)) = place(&mut rig, &mut wal) {
        wal.write(unwritten).await.unwrap();
        known.push(group);
    }
    let next = wal.next_position();
    let mut large = entries(&mut rig.random, 1, 1);
    large[0].batch.bytes.body = vec![7; 16_000].into();
    let refused = wal.place(&large);
    assert!(refused.is_err_and(|full| full.needed > full.free), "{kind:?}");
    assert_eq!(wal.next_position(), next, "{kind:?}: nothing was placed");
    assert!(known.len() > 3 && wal.used_bytes() <= wal.capacity_bytes());
    rig.commit(&mut wal, known[known.len() - 2].placed.end);
    let (group, unwritten) = place(&mut rig, &mut wal).expect("room again");
    wal.write(unwritten).await.unwrap();
    known.push(group);
    rig.die(wal);
    assert_eq!(expect_recovered(&mut rig, id, &known, known.len()).await, known.len());
}

async fn slow(kind: Kind) {
    for acknowledgements in 1..25 {
        let mut rig = Rig::new(kind, acknowledgements, CAPACITY);
        let mut wal = rig.begin().await;
        rig.set_slow(7);
        let (id, mut known, mut acknowledged, mut writing) = (wal.id(), Vec::new(), 0, FuturesOrdered::new());
        while acknowledged < acknowledgements {
            while writing.len() < in_flight_max(&wal)
                && let Some((group, unwritten)) = place(&mut rig, &mut wal)
            {
                known.push(group);
                writing.push_back(wal.write(unwritten));
            }
            writing.next().await.unwrap().unwrap();
            acknowledged += 1;
        }
        // At the very moment of the last acknowledgement.
        drop(writing);
        rig.die(wal);
        rig.lose_power();
        rig.set_slow(0);
        expect_recovered(&mut rig, id, &known, usize::try_from(acknowledged).unwrap()).await;
    }
}

async fn failing(kind: Kind) {
    for seed in 0..40 {
        let mut rig = Rig::new(kind, seed, CAPACITY);
        let mut wal = rig.begin().await;
        let (id, mut known) = (wal.id(), write(&mut rig, &mut wal, 3).await);
        let mut acknowledged = 3;
        rig.set_failing(true);
        let mut writing = FuturesOrdered::new();
        for _ in 0..2 {
            let (group, unwritten) = place(&mut rig, &mut wal).unwrap();
            known.push(group);
            writing.push_back(wal.write(unwritten));
        }
        let mut failed = false;
        for turn in 0..400 {
            if turn == 200 {
                rig.set_failing(false);
            }
            match writing.next().now_or_never().flatten() {
                Some(Ok(())) => {
                    assert!(
                        turn >= 200 && !failed,
                        "{kind:?}: nothing succeeds on a device that fails, nor after it failed"
                    );
                    acknowledged += 1;
                }
                Some(Err(error)) => {
                    assert!(matches!(error, WalError::Failed(_)), "{kind:?}: {error}");
                    failed = true;
                }
                None => tokio::task::yield_now().await,
            }
        }
        assert!(writing.is_empty(), "{kind:?}: a write waits for ever");
        let (group, unwritten) = place(&mut rig, &mut wal).unwrap();
        known.push(group);
        let next = wal.write(unwritten).await;
        assert_eq!(next.is_err(), failed, "{kind:?}: trouble either passes or ends the log for good");
        acknowledged += usize::from(next.is_ok());
        rig.die(wal);
        rig.lose_power();
        expect_recovered(&mut rig, id, &known, acknowledged).await;
    }
}

async fn damaged(kind: Kind) {
    let mut rig = Rig::new(kind, 7, CAPACITY);
    let mut wal = rig.begin().await;
    let (id, known) = (wal.id(), write(&mut rig, &mut wal, 10).await);
    rig.die(wal);
    rig.damage(&known[4]).await;
    for _ in 0..2 {
        let damaged = rig.recover(id).await.unwrap_err();
        let at = known[4].placed.position;
        assert!(matches!(damaged, RecoverError::Damaged { position, .. } if position == at), "{kind:?}: {damaged}");
    }
}

async fn lives(kind: Kind) {
    let mut story = Story::default();
    for seed in 0..200 {
        let capacity = RING_BYTES_MIN * (1 + seed % 4);
        let mut rig = Rig::new(kind, seed, capacity);
        let mut older: Vec<(WalId, Vec<Known>, usize)> = Vec::new();
        for _ in 0..rig.random.between(2, 6) {
            let mut wal = rig.begin().await;
            for (id, known, acknowledged) in &older {
                expect_older(&mut rig, *id, known, *acknowledged, &mut story).await;
            }
            if rig.random.chance(500) {
                older.drain(..).for_each(|(id, ..)| rig.forget(id));
            }
            let (known, acknowledged) = live(&mut rig, &mut wal, &mut story).await;
            older.push((wal.id(), known, acknowledged));
            rig.die(wal);
            if rig.random.chance(500) {
                rig.lose_power();
            }
        }
    }
    // The stories told were worth telling.
    assert!(story.full > 50 && story.cut > 50 && story.unacknowledged_kept > 5, "{kind:?}: {story:?}");
}

#[derive(Default, Debug)]
struct Story {
    full: usize,
    cut: usize,
    unacknowledged_kept: usize,
}

async fn expect_older(rig: &mut Rig, id: WalId, known: &[Known], acknowledged: usize, story: &mut Story) {
    let recovered = rig.recover(id).await.unwrap();
    let count = expect_prefix(known, rig.from(id), &recovered, &rig.reader(id)).await;
    assert!(count >= acknowledged, "{:?}: {acknowledged} were acknowledged, {count} recovered", rig.kind);
    match rig.image.wals[&id].state {
        WalState::Sealed { end, .. } => assert_eq!(recovered.end, end, "{:?}: once sealed, the end stays", rig.kind),
        WalState::Open => {
            story.cut += usize::from(count < known.len());
            story.unacknowledged_kept += usize::from(count > acknowledged);
            rig.seal(id, recovered.end);
        }
    }
}

/// One start's life. Yields what it placed and how many of those groups it acknowledged.
async fn live(rig: &mut Rig, wal: &mut Wal, story: &mut Story) -> (Vec<Known>, usize) {
    let (mut known, mut acknowledged, mut writing) = (Vec::<Known>::new(), 0, FuturesOrdered::new());
    for _ in 0..rig.random.between(1, 60) {
        match place(rig, wal) {
            Some((group, unwritten)) => {
                writing.push_back(wal.write(unwritten));
                known.push(group);
            }
            None => {
                story.full += 1;
                if acknowledged > 0 {
                    rig.commit(wal, known[acknowledged - 1].placed.end);
                }
            }
        }
        while writing.len() >= in_flight_max(wal) || rig.random.chance(300) {
            let Some(written) = writing.next().await else { break };
            written.unwrap();
            acknowledged += 1;
        }
    }
    // The rest is cut off somewhere in the middle.
    for _ in 0..rig.random.below(6) {
        if let Some(Some(written)) = writing.next().now_or_never() {
            written.unwrap();
            acknowledged += 1;
        }
    }
    (known, acknowledged)
}
