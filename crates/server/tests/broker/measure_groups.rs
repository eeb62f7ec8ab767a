//! Very large consumer groups of the newer protocol (KIP-848): `cargo xtask measure groups`, on the release binary, not in CI.
//!
//! `MILLSTREAM_MEMBERS` members (10,000 unless told otherwise) share twice as many partitions, and speak over 100 connections as clients do: a
//! heartbeat each interval, and at once when there is something to confirm.
//!
//! | what | promise |
//! |---|---|
//! | the slowest heartbeats while one more member comes; one of them computes the new target | 200 ms |
//! | from there until every member has what the target gives it | two heartbeat intervals and a second |
//!
//! The same is asked when it leaves.

use crate::support::client::Client;
use crate::support::process::{self, Broker};
use crate::support::{eventually, from_environment, now};
use protocol::messages::consumer_group_heartbeat_request::{ConsumerGroupHeartbeatRequest, TopicPartitions};
use protocol::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::wire::Uuid;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const HEARTBEAT: i16 = 1;
const CONNECTIONS: usize = 100;
const GROUP: &str = "large";
/// Of as many partitions each as there are members, so that one more of them has some to wait for.
const TOPICS: [&str; 2] = ["shared-0", "shared-1"];
/// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR.
const NOT_YET: [i16; 3] = [14, 15, 16];
const TARGET_MS: u64 = 200;
/// How many heartbeats of one connection are on their way at once.
const ON_THEIR_WAY: usize = 10;

/// A member, and what it knows.
struct Member {
    id: String,
    epoch: i32,
    owned: Vec<TopicPartitions>,
    /// It has been given something that it has not confirmed.
    owes: bool,
    due: Instant,
}

impl Member {
    fn new(id: usize) -> Member {
        Member { id: format!("member-{id:06}"), epoch: 0, owned: Vec::new(), owes: true, due: now() }
    }

    fn heartbeat(&self) -> ConsumerGroupHeartbeatRequest {
        let request = ConsumerGroupHeartbeatRequest {
            group_id: GROUP.to_owned(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            topic_partitions: self.owes.then(|| self.owned.clone()),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        if self.epoch != 0 {
            return request;
        }
        ConsumerGroupHeartbeatRequest {
            rebalance_timeout_ms: 300_000,
            subscribed_topic_names: Some(TOPICS.map(str::to_owned).to_vec()),
            ..request
        }
    }

    /// Takes the answer in; the interval after which it is to come back.
    fn told(&mut self, answer: ConsumerGroupHeartbeatResponse) {
        assert_eq!(answer.error_code, 0, "{}: {:?}", self.id, answer.error_message);
        self.epoch = answer.member_epoch;
        self.owes = answer.assignment.is_some();
        if let Some(assignment) = answer.assignment {
            let owned = assignment.topic_partitions.into_iter();
            self.owned = owned.map(|it| TopicPartitions { topic_id: it.topic_id, partitions: it.partitions }).collect();
        }
        let interval = if self.owes { 0 } else { answer.heartbeat_interval_ms };
        self.due = now() + Duration::from_millis(u64::try_from(interval).unwrap());
    }

    fn partitions(&self) -> impl Iterator<Item = (Uuid, i32)> {
        self.owned.iter().flat_map(|topic| topic.partitions.iter().map(|it| (topic.topic_id, *it)))
    }
}

/// How many members of a connection have confirmed what an epoch gives them, and how many partitions that is.
#[derive(Default, Clone, Copy)]
struct There {
    epoch: i32,
    members: usize,
    partitions: usize,
}

/// What the threads tell one another.
struct Group {
    /// The highest epoch that a member was told.
    epoch: AtomicI32,
    /// By connection.
    there: Vec<Mutex<There>>,
    slowest_us: AtomicUsize,
    is_over: AtomicBool,
}

/// Ends the threads when the test ends, also where it fails.
struct Ends<'a>(&'a Group);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

impl Group {
    /// How many members and partitions are where the present epoch wants them.
    fn there(&self) -> (usize, usize) {
        let epoch = self.epoch.load(Ordering::SeqCst);
        let there = self.there.iter().map(|there| *there.lock().unwrap()).filter(|there| there.epoch == epoch);
        there.fold((0, 0), |sum, there| (sum.0 + there.members, sum.1 + there.partitions))
    }

    /// Waits until all members are at one epoch, and have all partitions between them.
    fn reconciled(&self, limit: Duration) -> Duration {
        let began = now();
        eventually(limit, "the group is reconciled", || (self.there() == (members(), partitions())).then_some(()));
        began.elapsed()
    }
}

fn members() -> usize {
    usize::try_from(from_environment("MILLSTREAM_MEMBERS", 10_000)).unwrap()
}

fn partitions() -> usize {
    TOPICS.len() * members()
}

/// Whether the group has a coordinator that has loaded it; asking is what makes the coordinators' topic.
fn is_coordinated(client: &mut Client) -> bool {
    let find = FindCoordinatorRequest { key: GROUP.to_owned(), ..FindCoordinatorRequest::default() };
    let nobody = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..Member::new(0).heartbeat() };
    let is_found = client.call(&find, 1).unwrap().error_code == 0;
    is_found && !NOT_YET.contains(&client.call(&nobody, HEARTBEAT).unwrap().error_code)
}

/// Sends what is due, a few at a time, and takes the answers in.
fn round(client: &mut Client, members: &mut [Member], group: &Group) {
    let at = now();
    let mut due: Vec<&mut Member> = members.iter_mut().filter(|member| member.due <= at).collect();
    for few in due.chunks_mut(ON_THEIR_WAY) {
        let sent = now();
        for member in few.iter() {
            client.send(&member.heartbeat(), HEARTBEAT).unwrap();
        }
        for member in few {
            member.told(client.receive::<ConsumerGroupHeartbeatRequest>(HEARTBEAT).unwrap());
            group.epoch.fetch_max(member.epoch, Ordering::SeqCst);
        }
        let took = usize::try_from(sent.elapsed().as_micros()).unwrap();
        group.slowest_us.fetch_max(took, Ordering::SeqCst);
    }
}

fn drive(broker: &Broker, group: &Group, connection: usize, mut members: Vec<Member>) -> Vec<Member> {
    let mut client = Client::connect(broker.kafka).unwrap();
    while !group.is_over.load(Ordering::SeqCst) {
        round(&mut client, &mut members, group);
        let epoch = group.epoch.load(Ordering::SeqCst);
        let there: Vec<&Member> = members.iter().filter(|it| it.epoch == epoch && !it.owes).collect();
        let partitions = there.iter().map(|it| it.partitions().count()).sum();
        *group.there[connection].lock().unwrap() = There { epoch, members: there.len(), partitions };
        std::thread::sleep(Duration::from_millis(5));
    }
    members
}

fn check_each_once<'a>(members: impl Iterator<Item = &'a Member>) {
    let mut seen = BTreeSet::new();
    for member in members {
        for partition in member.partitions() {
            assert!(seen.insert(partition), "partition {partition:?} is at two members");
        }
    }
    assert_eq!(seen.len(), partitions(), "partitions without a member");
}

fn report(what: &str, took: Duration, promised: Duration) {
    eprintln!("{what}: {} ms, promised {} ms", took.as_millis(), promised.as_millis());
    assert!(took <= promised, "{what}: longer than promised");
}

#[test]
#[ignore = "a measurement: cargo xtask measure groups"]
fn one_group() {
    let folder = TempDir::new().unwrap();
    let broker = process::start_in(folder.path(), &[]);
    let mut client = Client::connect(broker.kafka).unwrap();
    for topic in TOPICS {
        client.create_topic(topic, i32::try_from(members()).unwrap()).unwrap();
    }
    eventually(Duration::from_secs(30), "a coordinator", || is_coordinated(&mut client).then_some(()));
    let group = Group {
        epoch: AtomicI32::new(0),
        there: (0..CONNECTIONS).map(|_| Mutex::default()).collect(),
        slowest_us: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let drivers: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let ids = (connection..members()).step_by(CONNECTIONS);
                let (broker, group) = (&broker, &group);
                scope.spawn(move || drive(broker, group, connection, ids.map(Member::new).collect()))
            })
            .collect();
        let ends = Ends(&group);
        let took = group.reconciled(Duration::from_secs(900));
        eprintln!("{} members have joined and are reconciled after {:.1} s", members(), took.as_secs_f64());
        group.slowest_us.store(0, Ordering::SeqCst);

        let mut late = vec![Member::new(members())];
        let before = group.epoch.load(Ordering::SeqCst);
        let began = now();
        round(&mut client, &mut late, &group);
        let answered = began.elapsed();
        let is_whole = |late: &Member| {
            let (others, theirs) = group.there();
            let is_there = late.epoch > before && late.epoch == group.epoch.load(Ordering::SeqCst) && !late.owes;
            is_there
                && others == members()
                && theirs + late.partitions().count() == partitions()
                && theirs < partitions()
        };
        while !is_whole(&late[0]) {
            assert!(began.elapsed() < Duration::from_secs(120), "one more member: not reconciled");
            round(&mut client, &mut late, &group);
            std::thread::sleep(Duration::from_millis(5));
        }
        let interval = late[0].due.saturating_duration_since(now()).max(Duration::from_secs(5));
        let within = 2 * interval + Duration::from_secs(1);
        let reconciled = began.elapsed();
        let slowest = Duration::from_micros(group.slowest_us.load(Ordering::SeqCst).try_into().unwrap());

        late[0].epoch = -1;
        client.call(&late[0].heartbeat(), HEARTBEAT).unwrap();
        let again = group.reconciled(Duration::from_secs(120));
        drop(ends);
        let all: Vec<Member> = drivers.into_iter().flat_map(|driver| driver.join().unwrap()).collect();
        check_each_once(all.iter());
        report("the first answer to one more member", answered, Duration::from_millis(TARGET_MS));
        report("the slowest ten heartbeats meanwhile", slowest, Duration::from_millis(TARGET_MS));
        report("reconciled after one more member", reconciled, within);
        report("reconciled after it left", again, within);
    });
}
