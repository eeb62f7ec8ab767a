//! The simulated world itself: processes stop when told to, requests outlive their senders, links carry what they should.

use super::*;
use ::world::{GetRange, ObjectStore, PutOutcome, StoreError};
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn run<F: Future<Output = ()>>(seed: u64, test: impl FnOnce(Universe) -> F) -> (u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let universe = Universe::new(&mut Seed::new(seed), Trace::new(None));
        test(universe.clone()).await;
        universe.end();
        universe.trace.hash()
    })
}

fn ticker(process: &Arc<Process>, world: &World) -> Arc<AtomicU64> {
    let ticks = Arc::new(AtomicU64::new(0));
    let (counted, clock) = (Arc::clone(&ticks), world.clock.clone());
    process.spawn(
        "ticker",
        Box::pin(async move {
            loop {
                clock.sleep(Duration::from_millis(10)).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }),
    );
    ticks
}

#[test]
fn a_paused_process_stands_still_and_goes_on_a_killed_one_never_does() {
    run(1, |universe| async move {
        let (process, world) = universe.process(HostId(1), "test");
        let ticks = ticker(&process, &world);
        wait(Duration::from_millis(105)).await;
        assert_eq!(ticks.load(Ordering::Relaxed), 10);
        process.pause();
        wait(Duration::from_secs(3600)).await;
        assert_eq!(ticks.load(Ordering::Relaxed), 10);
        process.resume();
        // The tick that came due meanwhile, and two more.
        wait(Duration::from_millis(25)).await;
        assert_eq!(ticks.load(Ordering::Relaxed), 13);
        process.kill("test");
        wait(Duration::from_millis(500)).await;
        assert_eq!(ticks.load(Ordering::Relaxed), 13);
        assert_eq!(Arc::strong_count(&ticks), 1, "the killed task was dropped");
    });
}

#[test]
fn a_fuse_kills_at_a_call_to_a_seam_and_the_caller_never_comes_back() {
    run(2, |universe| async move {
        let (process, world) = universe.process(HostId(1), "test");
        process.light_fuse(Some(Fuse { calls: 3, pause: None }));
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        process.spawn(
            "caller",
            Box::pin(async move {
                loop {
                    drop(world.disk.list(std::path::Path::new("/")).await);
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }),
        );
        process.ended().await;
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn a_panic_kills_the_process_and_is_remembered() {
    std::panic::set_hook(Box::new(|panic| process::note_panic(panic.to_string())));
    run(3, |universe| async move {
        let (process, _world) = universe.process(HostId(1), "test");
        process.spawn("bad", Box::pin(async { panic!("as it must") }));
        process.ended().await;
        assert!(universe.panicked().unwrap().contains("as it must"));
    });
}

#[test]
fn a_request_lands_although_its_sender_died() {
    run(4, |universe| async move {
        let (process, _world) = universe.process(HostId(1), "test");
        let store = SimStore::new(universe.bucket.clone(), Arc::clone(&process));
        process.spawn(
            "sender",
            Box::pin(async move { drop(store.put_if_absent("a", vec![Bytes::from_static(b"x")]).await) }),
        );
        tokio::task::yield_now().await;
        process.kill("test");
        wait(Duration::from_secs(1)).await;
        assert_eq!(universe.bucket.contents("").len(), 1);
    });
}

#[test]
fn a_late_put_lands_after_its_sender_was_told_that_it_failed_and_even_after_a_deletion() {
    run(5, |universe| async move {
        let (process, _world) = universe.process(HostId(1), "test");
        let store = SimStore::new(universe.bucket.clone(), process);
        let put = || store.put_if_absent("a", vec![Bytes::from_static(b"x")]);
        universe.bucket.set_weather(StoreWeather { late: 1000, late_ms_max: 20_000, ..StoreWeather::FAIR });
        assert!(matches!(put().await, Err(StoreError::Trouble(_))));
        universe.bucket.set_weather(StoreWeather::FAIR);
        assert_eq!(put().await.unwrap(), PutOutcome::Created);
        assert_eq!(put().await.unwrap(), PutOutcome::Exists);
        store.delete(&["a".to_owned()]).await.unwrap();
        assert!(matches!(store.get("a", GetRange::All).await, Err(StoreError::NotFound(_))));
        wait(Duration::from_secs(30)).await;
        assert_eq!(store.get("a", GetRange::All).await.unwrap().0, Bytes::from_static(b"x"));
    });
}

#[test]
fn a_lost_answer_hides_an_effect_and_a_refusal_has_none() {
    run(6, |universe| async move {
        let (process, _world) = universe.process(HostId(1), "test");
        let store = SimStore::new(universe.bucket.clone(), process);
        universe.bucket.set_weather(StoreWeather { refuse: 1000, ..StoreWeather::FAIR });
        assert!(store.put_if_absent("a", vec![]).await.is_err());
        assert!(universe.bucket.contents("").is_empty());
        universe.bucket.set_weather(StoreWeather { lose_answer: 1000, ..StoreWeather::FAIR });
        assert!(store.put_if_absent("a", vec![]).await.is_err());
        assert_eq!(universe.bucket.contents("").len(), 1);
    });
}

#[test]
fn listings_are_sorted_cut_and_continued() {
    run(7, |universe| async move {
        let (process, _world) = universe.process(HostId(1), "test");
        let store = SimStore::new(universe.bucket.clone(), process);
        for key in ["b/2", "a/1", "b/1", "b/3", "c/1"] {
            store.put_if_absent(key, vec![]).await.unwrap();
        }
        let names = |found: Vec<::world::ObjectMeta>| found.into_iter().map(|object| object.key).collect::<Vec<_>>();
        assert_eq!(names(store.list("b/", "", 2).await.unwrap()), ["b/1", "b/2"]);
        assert_eq!(names(store.list("b/", "b/2", 2).await.unwrap()), ["b/3"]);
    });
}

#[test]
fn bytes_arrive_whole_and_a_cut_link_only_delays_them() {
    run(8, |universe| async move {
        let (_a, server) = universe.process(HostId(1), "server");
        let (_b, client) = universe.process(HostId(2), "client");
        let listener = server.network.listen("0.0.0.0:9092").await.unwrap();
        let mut ours = client.network.connect("10.0.0.1:9092").await.unwrap();
        let (mut theirs, _) = listener.accept().await.unwrap();
        let sent: Vec<u8> = (0..200_000_u32).map(|n| n.to_be_bytes()[3]).collect();
        let expected = sent.clone();
        let writer = spawn(async move {
            ours.write_all(&sent).await.unwrap();
            ours.shutdown().await.unwrap();
        });
        universe.net.cut(HostId(2), HostId(1));
        let mut got = Vec::new();
        let early = tokio::time::timeout(Duration::from_secs(5), theirs.read_to_end(&mut got)).await;
        assert!(early.is_err() && got.is_empty());
        universe.net.heal();
        theirs.read_to_end(&mut got).await.unwrap();
        writer.await.unwrap();
        assert!(got == expected);
    });
}

#[test]
fn a_killed_process_resets_its_connections_and_frees_its_port() {
    run(9, |universe| async move {
        let (process, server) = universe.process(HostId(1), "server");
        let (_b, client) = universe.process(HostId(2), "client");
        let _listener = server.network.listen("10.0.0.1:9092").await.unwrap();
        let mut ours = client.network.connect("10.0.0.1:9092").await.unwrap();
        process.kill("test");
        let error = ours.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        let refused = client.network.connect("10.0.0.1:9092").await.err().unwrap();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let (_next, again) = universe.process(HostId(1), "again");
        again.network.listen("10.0.0.1:9092").await.unwrap();
    });
}

#[test]
fn the_same_seed_tells_the_same_story_and_another_one_another() {
    // Each in a thread of its own, as runs are.
    #[expect(clippy::disallowed_methods, reason = "as in sim::run")]
    let story = |seed| {
        let tell = move || {
            run(seed, |universe| async move {
                let (process, world) = universe.process(HostId(1), "test");
                universe.bucket.set_weather(StoreWeather { refuse: 300, lose_answer: 300, ..StoreWeather::FAIR });
                let store = SimStore::new(universe.bucket.clone(), process);
                for n in 0..50 {
                    drop(store.put_if_absent(&format!("{n}-{}", world.clock.random()), vec![]).await);
                }
            })
        };
        std::thread::spawn(tell).join().unwrap()
    };
    assert_eq!(story(10), story(10));
    assert_ne!(story(10), story(11));
}
