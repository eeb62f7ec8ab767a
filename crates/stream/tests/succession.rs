//! Brokers that watch one another, each in a runtime of its own, so that one dies with all its tasks while others go on.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::producers::{check_memory, from_producer, send_all};
use crate::recoverers::Gate;
use crate::support::layer::{Layer, Over};
use crate::support::{append, bucket, check_all, create, options};
use async_trait::async_trait;
use base::{NodeEpoch, StreamId};
use bytes::Bytes;
use control::LedgerOptions;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream::{Ask, Asked, Connects, NamedWal, Options, ReadError, StartRequest, Store, WalTarget, Watch, WatchTimes};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use world::{GetRange, Metered, ObjectMeta, ObjectStore, PutOutcome, StoreError, World};

const TIMES: WatchTimes = WatchTimes { interval: Duration::from_millis(50), timeout: Duration::from_millis(250) };

/// What is at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Answers,
    /// Its connections are taken, and nothing comes of them.
    HeldUp,
    /// It can't be found out: no route leads there.
    NoWay,
}

/// The addresses at which somebody is.
type Reachable = Arc<Mutex<BTreeMap<String, There>>>;

/// A broker with a runtime of its own.
struct Host {
    address: String,
    runtime: Runtime,
    store: Store,
    reachable: Reachable,
}

impl Host {
    fn start(
        address: &str,
        reachable: &Reachable,
        wal: WalTarget,
        over: impl AsyncFnOnce(&World) -> Arc<dyn ObjectStore>,
    ) -> Host {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let answers = reachable.clone();
        let there = move |address: &str| answers.lock().unwrap().get(address).copied();
        let (probe, taken) = (there.clone(), there.clone());
        let ask: Ask = Arc::new(move |address| {
            let asked = match there(&address) {
                Some(There::Answers) => Asked::Answered,
                Some(There::NoWay) => Asked::NoWay("network is unreachable".to_owned()),
                Some(There::HeldUp) | None => Asked::Silent,
            };
            Box::pin(async move { asked })
        });
        let connects: Connects = Arc::new(move |address| {
            let connects = matches!(taken(&address), Some(There::Answers | There::HeldUp));
            Box::pin(async move { connects })
        });
        let store = runtime.block_on(async {
            let world = World::system();
            let request = StartRequest {
                node_id: None,
                advertised: address.to_owned(),
                wals: vec![NamedWal::default_of(wal)],
                choice: |_, _| None,
                answers: Arc::new(move |address| {
                    let answers = probe(&address) == Some(There::Answers);
                    Box::pin(async move { answers })
                }),
                watch: Some(Watch { ask, connects, times: TIMES }),
                // What is not uploaded by itself is what others must recover.
                options: Options { upload_age: Duration::from_hours(1), ..options() },
                registered: Arc::default(),
                ledger_options: LedgerOptions {
                    follow_others: Some(Duration::from_millis(100)),
                    ..LedgerOptions::default()
                },
            };
            Store::start(&world, over(&world).await, request).await.unwrap()
        });
        reachable.lock().unwrap().insert(address.to_owned(), There::Answers);
        Host { address: address.to_owned(), runtime, store, reachable: reachable.clone() }
    }

    fn on_folder(address: &str, reachable: &Reachable, root: &Path) -> Host {
        Host::start(address, reachable, WalTarget::Storage, async |world| bucket(world, root).await)
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn epoch(&self) -> NodeEpoch {
        self.store.node_epoch()
    }

    /// All of its tasks end at once; nobody answers there any more.
    fn dies(self) {
        self.reachable.lock().unwrap().remove(&self.address);
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }

    fn owners(&self, streams: &[StreamId]) -> Vec<Option<NodeEpoch>> {
        let image = self.store.ledger().image();
        let owner = |id| image.streams.get(id).and_then(|record| record.owner()).map(|owner| owner.node_epoch());
        streams.iter().map(owner).collect()
    }

    fn until(&self, what: &str, reached: impl Fn(&Host) -> bool) {
        for _ in 0..4000 {
            if reached(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("never: {what}");
    }
}

fn knows(host: &Host, others: usize) -> bool {
    host.store.ledger().image().living().count() == others + 1
}

/// Its process is there: it may be stopped or starved for a while. But not for ever.
#[test]
fn who_is_held_up_has_more_time_than_who_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let reachable = Reachable::default();
    let [held_up, other] = ["a:1", "b:1"].map(|address| Host::on_folder(address, &reachable, folder.path()));
    other.until("they know one another", |host| knows(host, 1));
    std::thread::sleep(TIMES.timeout);
    let clock = World::system().clock;
    let began = clock.now();
    reachable.lock().unwrap().insert(held_up.address.clone(), There::HeldUp);
    other.until("it is declared dead", |host| host.store.ledger().image().is_dead(held_up.epoch()));
    let took = clock.now().since(began);
    assert!(took >= TIMES.timeout * 4, "{took:?}");
}

/// Whoever has no network knows nothing of others; but a broker whose own network is gone is missed by those that reach one another.
#[test]
fn who_is_out_of_reach_is_missed_by_who_reaches_another() {
    let folder = tempfile::tempdir().unwrap();
    let reachable = Reachable::default();
    let hosts = ["a:1", "b:1", "c:1"].map(|address| Host::on_folder(address, &reachable, folder.path()));
    let [lost, other, third] = &hosts;
    other.until("they know one another", |host| knows(host, 2));
    std::thread::sleep(TIMES.timeout);
    for host in &hosts {
        reachable.lock().unwrap().insert(host.address.clone(), There::NoWay);
    }
    std::thread::sleep(TIMES.timeout * 6);
    assert!(knows(other, 2), "each may be the one that has no network");
    for host in [other, third] {
        reachable.lock().unwrap().insert(host.address.clone(), There::Answers);
    }
    other.until("it is declared dead", |host| host.store.ledger().image().is_dead(lost.epoch()));
    assert!(knows(other, 1), "who answers is not");
}

#[test]
fn the_living_share_what_a_dead_one_had() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let reachable = Reachable::default();
    let hosts = ["a:1", "b:1", "c:1"].map(|address| Host::on_folder(address, &reachable, root));
    let [dying, first, second] = hosts;
    first.until("they know one another", |host| knows(host, 2));
    let streams = dying.run(async {
        let streams = create(&dying.store, "a", 4).await;
        for id in &streams {
            send_all(&dying.store.stream(*id).unwrap(), 7, 0..8).await;
        }
        streams
    });
    // They have heard of one another before one falls silent.
    std::thread::sleep(TIMES.timeout);
    let dead = dying.epoch();
    dying.dies();
    let both = [&first, &second];
    for host in both {
        host.until("every stream has an owner that lives", |host| {
            host.owners(&streams).iter().all(|owner| owner.is_some_and(|owner| owner != dead))
        });
    }
    for host in both {
        let own = host.owners(&streams).iter().filter(|owner| **owner == Some(host.epoch())).count();
        assert_eq!(own, 2, "they share: {:?}", host.owners(&streams));
        for id in streams.iter().filter(|id| host.store.stream(**id).is_some()) {
            host.run(async {
                let stream = host.store.stream(*id).unwrap();
                check_memory(&stream, 7, 8).await;
                check_all(&stream, 300).await;
            });
        }
    }
    first.until("the dead log is forgotten", |host| {
        host.store.ledger().image().wals.keys().all(|wal| wal.node_epoch != dead)
    });
}

/// A bucket that nobody gets through to for a while.
struct Outage {
    bucket: Arc<dyn ObjectStore>,
    is_out: watch::Receiver<bool>,
}

impl Outage {
    async fn outlast(&self) {
        self.is_out.clone().wait_for(|is_out| !is_out).await.unwrap();
    }
}

#[async_trait]
impl Layer for Outage {
    fn bucket(&self) -> &Arc<dyn ObjectStore> {
        &self.bucket
    }
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        self.outlast().await;
        self.bucket.put_if_absent(key, parts).await
    }
    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        self.outlast().await;
        self.bucket.get(key, range).await
    }
    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        self.outlast().await;
        self.bucket.list(prefix, after, limit).await
    }
}

/// What all lose at once says nothing of any of them.
#[test]
fn brokers_that_lose_one_another_and_the_bucket_and_find_both_again_all_live() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let reachable = Reachable::default();
    let (out, is_out) = watch::channel(false);
    let behind = async |world: &World| {
        Arc::new(Over(Outage { bucket: bucket(world, root).await, is_out: is_out.clone() })) as Arc<dyn ObjectStore>
    };
    let hosts = ["a:1", "b:1", "c:1"].map(|address| Host::start(address, &reachable, WalTarget::Storage, behind));
    for host in &hosts {
        host.run(async { host.store.ledger().refresh().await.unwrap() });
        host.until("they know one another", |host| knows(host, 2));
    }
    std::thread::sleep(TIMES.timeout);
    let there = reachable.lock().unwrap().clone();
    reachable.lock().unwrap().clear();
    out.send(true).unwrap();
    // Long enough that all suspect all.
    std::thread::sleep(TIMES.timeout * 8);
    out.send(false).unwrap();
    reachable.lock().unwrap().extend(there);
    std::thread::sleep(TIMES.timeout * 4);
    for host in &hosts {
        let image = host.run(async { host.store.ledger().refresh().await.unwrap() });
        assert!(hosts.iter().all(|host| image.is_alive(host.epoch())), "all live");
    }
}

/// An heir has the stream at once, and says nothing of what it can't know yet.
#[test]
fn an_heir_waits_for_the_tail_that_another_uploads() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let reachable = Reachable::default();
    let gates: Mutex<Vec<_>> = Mutex::default();
    let gated = async |world: &World| -> Arc<dyn ObjectStore> {
        let gate = Gate::new(world, root, Semaphore::MAX_PERMITS, 0).await;
        gates.lock().unwrap().push(gate.clone());
        gate as Arc<dyn ObjectStore>
    };
    let dying = Host::on_folder("a:1", &reachable, root);
    let heirs = ["b:1", "c:1"].map(|address| Host::start(address, &reachable, WalTarget::Storage, gated));
    heirs[0].until("they know one another", |host| knows(host, 2));
    let streams = dying.run(async {
        let streams = create(&dying.store, "a", 4).await;
        for id in &streams {
            let stream = dying.store.stream(*id).unwrap();
            send_all(&stream, 7, 0..8).await;
        }
        streams
    });
    std::thread::sleep(TIMES.timeout);
    dying.dies();
    for host in &heirs {
        host.until("it is an heir", |host| host.owners(&streams).contains(&Some(host.epoch())));
    }
    let image = heirs[0].store.ledger().image();
    let dead = streams.iter().find_map(|id| image.streams[id].tenures.first()).unwrap().wal;
    let control_core::WalState::Sealed { recoverer, .. } = image.wals[&dead].state else { panic!("it is sealed") };
    let waits = heirs.iter().find(|host| host.epoch() != recoverer).unwrap();
    let id = *streams.iter().find(|id| waits.store.stream(**id).is_some()).unwrap();
    waits.run(async {
        let stream = waits.store.stream(id).unwrap();
        let tail_end = stream.confirmed();
        let read = stream.read(stream.start(), 1000).await;
        assert!(matches!(read, Err(ReadError::Trouble(_))), "it is on its way: {read:?}");
        let loads = tokio::time::timeout(Duration::from_millis(300), stream.load_producers()).await;
        assert!(loads.is_err(), "what producers wrote is not known here yet: {loads:?}");
        append(&stream, 3, 300).await;
        let read = stream.read(tail_end, 1000).await.unwrap();
        assert!(read.next > tail_end, "its own records are served meanwhile");
    });
    for gate in gates.lock().unwrap().iter() {
        gate.lets_data_pass();
    }
    waits.run(async {
        let stream = waits.store.stream(id).unwrap();
        check_all(&stream, 300).await;
        let repeat = stream.append(from_producer(7, stream.next(), 7));
        assert!(matches!(repeat, Err(stream::AppendError::ProducersAway)), "{repeat:?}");
        stream.load_producers().await.unwrap();
        let repeat = stream.append(from_producer(7, stream.next(), 7));
        assert!(matches!(repeat, Ok(stream::Appended::Repeat(_))), "{repeat:?}");
    });
}

#[test]
fn what_a_broker_leaves_that_stops_is_opened_by_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let reachable = Reachable::default();
    let hosts = ["a:1", "b:1"].map(|address| Host::on_folder(address, &reachable, root));
    let [stopping, stays] = hosts;
    stays.until("they know one another", |host| knows(host, 1));
    let streams = stopping.run(async {
        let streams = create(&stopping.store, "a", 3).await;
        append(&stopping.store.stream(streams[0]).unwrap(), 5, 300).await;
        stopping.store.drain(Duration::from_secs(20)).await;
        streams
    });
    stopping.dies();
    stays.until("it has all", |host| host.owners(&streams).iter().all(|owner| *owner == Some(host.epoch())));
    stays.run(async { check_all(&stays.store.stream(streams[0]).unwrap(), 300).await });
}

/// It would speak for the log, and not end before all of it is uploaded.
#[test]
fn a_broker_that_is_about_to_stop_begins_no_recovery() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let reachable = Reachable::default();
    let dying = Host::on_folder("a:1", &reachable, root);
    let gated = async |world: &World| Gate::new(world, root, Semaphore::MAX_PERMITS, 0).await as Arc<dyn ObjectStore>;
    let stopping = Host::start("b:1", &reachable, WalTarget::Storage, gated);
    stopping.until("they know one another", |host| knows(host, 1));
    for host in [&dying, &stopping] {
        host.run(async {
            let streams = create(&host.store, &host.address, 1).await;
            append(&host.store.stream(streams[0]).unwrap(), 5, 300).await;
        });
    }
    std::thread::sleep(TIMES.timeout);
    let store = stopping.store.clone();
    // What it has can't be uploaded, so that the stop lasts.
    let stops = stopping.runtime.spawn(async move { store.drain(Duration::from_mins(5)).await });
    let dead = dying.epoch();
    dying.dies();
    stopping.until("it is declared dead", |host| host.store.ledger().image().is_dead(dead));
    std::thread::sleep(TIMES.timeout * 4);
    let image = stopping.run(async { stopping.store.ledger().refresh().await.unwrap() });
    let mut left = image.wals.iter().filter(|(wal, _)| wal.node_epoch == dead);
    assert!(left.all(|(_, record)| record.state == control_core::WalState::Open), "nobody speaks for it");
    assert!(!stops.is_finished());
    stopping.dies();
    let next = Host::on_folder("c:1", &reachable, root);
    let image = next.store.ledger().image();
    assert!(image.streams.values().all(|record| record.owner().is_some_and(|own| own.node_epoch() == next.epoch())));
}

#[test]
fn a_log_on_one_host_is_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let reachable = Reachable::default();
    let ring = WalTarget::File { dir: root.join("wal"), bytes: 16 << 20 };
    let local = Host::start("a:1", &reachable, ring.clone(), async |world| bucket(world, root).await);
    let other = Host::on_folder("b:1", &reachable, root);
    other.until("they know one another", |host| knows(host, 1));
    let id = local.run(async {
        let id = create(&local.store, "a", 1).await[0];
        append(&local.store.stream(id).unwrap(), 5, 300).await;
        id
    });
    other.until("it knows the topic", |host| host.store.ledger().image().streams.contains_key(&id));
    std::thread::sleep(TIMES.timeout);
    let dead = local.epoch();
    local.dies();
    other.until("it is dead", |host| host.store.ledger().image().is_dead(dead));
    std::thread::sleep(TIMES.timeout * 4);
    assert_eq!(other.owners(&[id]), [Some(dead)], "nobody has it");
    let why = other.store.offline_reason(id).expect("it is offline");
    assert!(why.contains("waits to be recovered") && why.contains("/wal"), "{why}");
    let back = Host::start("a:1", &reachable, ring, async |world| bucket(world, root).await);
    back.run(async { check_all(&back.store.stream(id).unwrap(), 300).await });
}

#[test]
fn who_is_alone_makes_no_request_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let metered: Mutex<Option<Arc<Metered>>> = Mutex::default();
    let host = Host::start("a:1", &Reachable::default(), WalTarget::Storage, async |world| {
        let counted = Arc::new(Metered::new(bucket(world, root).await));
        *metered.lock().unwrap() = Some(counted.clone());
        counted as Arc<dyn ObjectStore>
    });
    // The sweeps of these tests are quick; the ledger is not read.
    let of_ledger = || {
        let used = metered.lock().unwrap().as_ref().unwrap().used();
        world::Operation::ALL.map(|operation| used.billed(operation, world::Purpose::Ledger))
    };
    let before = of_ledger();
    std::thread::sleep(TIMES.timeout * 4);
    assert_eq!(of_ledger(), before);
    drop(host);
}
