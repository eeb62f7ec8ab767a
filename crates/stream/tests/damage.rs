//! Does one damaged record in a dead write-ahead log cost no more than itself? For both WAL kinds, on a real disk.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::*;

use base::Offset;
use std::path::{Path, PathBuf};
use stream::ReadError;
use stream_core::testing::batch_bytes;

/// The offset whose record is damaged, of how many, and the length that only its stream's records have.
const DAMAGED: u64 = 20;
const COUNT: u64 = 50;
const LEN: usize = 711;

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

/// Flips a bit of that record, wherever below `root` it lies.
fn damage(root: &Path) {
    let wanted = batch_bytes(DAMAGED, 1, LEN);
    let mut found = 0;
    for path in files_below(root) {
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(wanted.len()).position(|window| *window == wanted[..]) {
            bytes[at + wanted.len() / 2] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            found += 1;
        }
    }
    assert_eq!(found, 1, "the record lies in the log and nowhere else");
}

#[test]
fn a_damaged_record_holds_up_no_other_and_can_be_given_up() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let ids = life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            let ids = create(&store, "a", 2).await;
            // A group of the log for each: what is damaged is found out group by group.
            let stream = store.stream(ids[0]).unwrap();
            for count in [DAMAGED, 1, COUNT - DAMAGED - 1] {
                append(&stream, count, LEN).await;
            }
            append(&store.stream(ids[1]).unwrap(), COUNT, 700).await;
            ids
        });
        damage(root);
        let (damaged, whole) = (ids[0], ids[1]);
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            let committed = |id| store.ledger().image().streams[&id].committed();
            until("what is whole is committed", || {
                committed(whole) == Offset(COUNT) && committed(damaged) == Offset(DAMAGED)
            })
            .await;
            check_all(&store.stream(whole).unwrap(), 700).await;
            let stream = store.stream(damaged).unwrap();
            let before = stream.read(Offset(0), 1 << 20).await.unwrap();
            assert_eq!(before.next, Offset(DAMAGED), "{kind:?}");
            let told = stream.read(Offset(DAMAGED), 1000).await.unwrap_err();
            assert!(matches!(told, ReadError::Corrupt(_)), "{kind:?}: {told}");
            assert_eq!(stream.read(Offset(DAMAGED + 1), 1000).await.unwrap().pieces.len(), 1, "{kind:?}");
            append(&stream, 1, LEN).await;
            let image = store.ledger().image();
            assert_eq!(image.wals.len(), 2, "{kind:?}: the damaged log is kept");
            // An administrator gives up the records up to and with the damaged one.
            stream.trim(Offset(DAMAGED + 1)).await.unwrap();
        });
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            until("nothing is left of either log", || {
                store.gauges().recovering_wals == 0 && store.ledger().image().wals.len() == 1
            })
            .await;
            let stream = store.stream(damaged).unwrap();
            assert_eq!((stream.start(), stream.confirmed()), (Offset(DAMAGED + 1), Offset(COUNT + 1)), "{kind:?}");
            check_all(&stream, LEN).await;
            check_bucket(&world, root, &store).await;
        });
    }
}
