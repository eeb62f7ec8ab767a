//! What every [`ObjectStore`] must do, as one test that runs on each implementation, the simulated one included.
//!
//! It works under a prefix of its own and leaves nothing behind.

use crate::clock::Clock;
use crate::object_store::{GetRange, ObjectStore, PutOutcome, StoreError};
use bytes::Bytes;

/// Exercises a store.
///
/// # Panics
/// At the first thing that is not as the contract says.
pub async fn check(store: &dyn ObjectStore, clock: &dyn Clock) {
    let prefix = format!("conformance-{:016x}/", clock.random());
    puts_once(store, &prefix).await;
    reads_ranges(store, &prefix).await;
    lists_in_byte_order(store, &prefix).await;
    deletes(store, &prefix).await;
    races(store, &prefix).await;
    large_objects(store, &prefix).await;

    let left = store.list(&prefix, "", 1000).await.expect("list");
    assert_eq!(left, [], "something was left behind");
}

async fn puts_once(store: &dyn ObjectStore, prefix: &str) {
    let key = format!("{prefix}once");
    let parts = vec![Bytes::from_static(b"he"), Bytes::new(), Bytes::from_static(b"llo")];
    assert_eq!(store.put_if_absent(&key, parts).await.expect("put"), PutOutcome::Created);
    let again = store.put_if_absent(&key, vec![Bytes::from_static(b"other")]).await;
    assert_eq!(again.expect("second put"), PutOutcome::Exists);
    let found = store.get(&key, GetRange::All).await.expect("get");
    assert_eq!(found, (Bytes::from_static(b"hello"), 5), "a second put must change nothing");
    remove(store, &[key]).await;
}

async fn reads_ranges(store: &dyn ObjectStore, prefix: &str) {
    let key = format!("{prefix}ranges");
    create(store, &key, b"0123456789").await;
    let cases: [(GetRange, &[u8]); 9] = [
        (GetRange::All, b"0123456789"),
        (GetRange::Span { start: 0, end: 10 }, b"0123456789"),
        (GetRange::Span { start: 3, end: 5 }, b"34"),
        (GetRange::Span { start: 8, end: 100 }, b"89"),
        (GetRange::Span { start: 10, end: 12 }, b""),
        (GetRange::Span { start: 99, end: 100 }, b""),
        (GetRange::Span { start: 5, end: 5 }, b""),
        (GetRange::Suffix(4), b"6789"),
        (GetRange::Suffix(100), b"0123456789"),
    ];
    for (range, expected) in cases {
        let (bytes, size) = store.get(&key, range).await.unwrap_or_else(|error| panic!("{range:?}: {error}"));
        assert_eq!((&bytes[..], size), (expected, 10), "{range:?}");
    }
    let empty = format!("{prefix}empty");
    create(store, &empty, b"").await;
    for range in [GetRange::All, GetRange::Span { start: 0, end: 1 }, GetRange::Suffix(3), GetRange::Suffix(0)] {
        let found = store.get(&empty, range).await.unwrap_or_else(|error| panic!("{range:?}: {error}"));
        assert_eq!(found, (Bytes::new(), 0), "{range:?} of an empty object");
    }
    for range in [GetRange::All, GetRange::Span { start: 0, end: 1 }, GetRange::Suffix(3)] {
        let missing = store.get(&format!("{prefix}missing"), range).await;
        assert!(matches!(missing, Err(StoreError::NotFound(_))), "{range:?} of nothing: {missing:?}");
    }
    remove(store, &[key, empty]).await;
}

async fn lists_in_byte_order(store: &dyn ObjectStore, prefix: &str) {
    let names = ["a-b", "a.b", "a/-", "a/b", "a/b.c", "a/b0/x", "a/b0/y", "a0", "a0-/z", "ab/c", "b"];
    let keys: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
    assert!(keys.is_sorted());
    for key in keys.iter().rev() {
        create(store, key, key.as_bytes()).await;
    }
    // Every start, every page size.
    for after in std::iter::once("").chain(keys.iter().map(String::as_str)) {
        for limit in [1, 2, 3, keys.len(), 1000] {
            let expected: Vec<&String> = keys.iter().filter(|key| key.as_str() > after).take(limit).collect();
            let found = store.list(prefix, after, limit).await.expect("list");
            assert_eq!(found.iter().map(|object| &object.key).collect::<Vec<_>>(), expected, "{after:?} {limit}");
            assert!(found.iter().all(|object| object.size == object.key.len() as u64), "sizes: {found:?}");
        }
    }
    // Prefixes that end within a name, at a folder, at a whole key and at nothing.
    for part in ["a", "a/", "a/b", "a/b0/", "a0", "a-", "ab", "b", "c", "a/b0/x"] {
        let wanted = format!("{prefix}{part}");
        let expected: Vec<&String> = keys.iter().filter(|key| key.starts_with(&wanted)).collect();
        let found = store.list(&wanted, "", 1000).await.expect("list");
        assert_eq!(found.iter().map(|object| &object.key).collect::<Vec<_>>(), expected, "prefix {part}");
    }
    let between = store.list(prefix, &format!("{prefix}a/b/nothing"), 2).await.expect("list");
    assert_eq!(between.iter().map(|object| &object.key).collect::<Vec<_>>(), [&keys[5], &keys[6]]);
    let other_prefix = store.list(&format!("{prefix}a/"), &format!("{prefix}a0"), 10).await.expect("list");
    assert_eq!(other_prefix, []);
    remove(store, &keys).await;
}

async fn deletes(store: &dyn ObjectStore, prefix: &str) {
    let keys: Vec<String> = (0..5).map(|n| format!("{prefix}deleted/{n}")).collect();
    for key in &keys {
        create(store, key, b"x").await;
    }
    // Nothing is wrong with deleting what is not there, among others and alone.
    let mut request = keys[..4].to_vec();
    request.insert(2, format!("{prefix}deleted/missing"));
    store.delete(&request).await.expect("delete");
    store.delete(&request).await.expect("delete again");
    store.delete(&[]).await.expect("delete nothing");
    let left = store.list(&format!("{prefix}deleted/"), "", 10).await.expect("list");
    assert_eq!(left.iter().map(|object| &object.key).collect::<Vec<_>>(), [&keys[4]]);
    assert!(matches!(store.get(&keys[0], GetRange::All).await, Err(StoreError::NotFound(_))));
    // A name that was deleted is free.
    create(store, &keys[0], b"new").await;
    assert_eq!(store.get(&keys[0], GetRange::All).await.expect("get").0, "new");
    remove(store, &[keys[0].clone(), keys[4].clone()]).await;
}

async fn races(store: &dyn ObjectStore, prefix: &str) {
    for round in 0..4 {
        let key = format!("{prefix}race/{round}");
        let puts = (0..8u8).map(|writer| store.put_if_absent(&key, vec![Bytes::from(vec![writer; 1000])]));
        let outcomes: Vec<PutOutcome> = futures::future::join_all(puts)
            .await
            .into_iter()
            .enumerate()
            .map(|(writer, outcome)| outcome.unwrap_or_else(|error| panic!("writer {writer}: {error}")))
            .collect();
        let winners: Vec<usize> = (0..8).filter(|&writer| outcomes[writer] == PutOutcome::Created).collect();
        assert_eq!(winners.len(), 1, "exactly one must create: {outcomes:?}");
        let (bytes, _) = store.get(&key, GetRange::All).await.expect("get");
        assert!(bytes.iter().all(|&byte| usize::from(byte) == winners[0]), "the winner's bytes must be there");
        remove(store, &[key]).await;
    }
}

async fn large_objects(store: &dyn ObjectStore, prefix: &str) {
    let key = format!("{prefix}large");
    let parts: Vec<Bytes> = (0..9u8).map(|n| Bytes::from(vec![n; 1_000_003])).collect();
    let whole = parts.concat();
    assert_eq!(store.put_if_absent(&key, parts).await.expect("put"), PutOutcome::Created);
    let (bytes, size) = store.get(&key, GetRange::All).await.expect("get");
    assert!(bytes == whole && size == whole.len() as u64, "a large object came back different");
    let middle = store.get(&key, GetRange::Span { start: 1_000_000, end: 8_000_000 }).await.expect("get");
    assert!(middle.0 == whole[1_000_000..8_000_000], "a large range came back different");
    remove(store, &[key]).await;
}

async fn create(store: &dyn ObjectStore, key: &str, bytes: &[u8]) {
    let outcome = store.put_if_absent(key, vec![Bytes::copy_from_slice(bytes)]).await;
    assert_eq!(outcome.unwrap_or_else(|error| panic!("put {key}: {error}")), PutOutcome::Created, "{key}");
}

async fn remove(store: &dyn ObjectStore, keys: &[String]) {
    store.delete(keys).await.unwrap_or_else(|error| panic!("delete {keys:?}: {error}"));
}
