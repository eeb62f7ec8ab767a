//! Many consumer groups of the classic protocol that rebalance at once: part of `cargo xtask measure groups`, on the release binary, not in
//! CI.
//!
//! `MILLSTREAM_GROUPS` groups (1,000 unless told otherwise) of five members each rebalance ten times, all at once, while every member's
//! heartbeats go on from other connections. None of these may stall: the slowest of them is answered within 200 ms.
//!
//! A connection that waits in a JoinGroup answers nothing else meanwhile, so a group's members are on five connections; these have the
//! same groups, asked in the same order, so that nobody waits for who waits for him.

use crate::support::client::Client;
use crate::support::process::{self, Broker};
use crate::support::{eventually, from_environment, now};
use bytes::Bytes;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::heartbeat_request::HeartbeatRequest;
use protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// The last versions before a member must come twice to be let in, and those of their time.
const JOIN: i16 = 3;
const SYNC: i16 = 2;
const HEARTBEAT: i16 = 2;
const FIND: i16 = 1;
const MEMBERS: usize = 5;
const SHARDS: usize = 20;
const REBALANCES: u8 = 10;
const HEARTBEAT_MS: u64 = 200;
/// How many heartbeats of one connection are on their way at once.
const ON_THEIR_WAY: usize = 10;
/// What a heartbeat may be told: fine; the generation has passed; a rebalance is under way.
const ANSWERS: [i16; 3] = [0, 22, 27];

/// A member as its group knows it.
#[derive(Clone, Default)]
struct Member {
    group: String,
    id: String,
    generation: i32,
}

impl Member {
    /// Another subscription each time: who comes to a stable group with what it has already is answered without a rebalance.
    fn join(&self, turn: u8) -> JoinGroupRequest {
        let protocol = JoinGroupRequestProtocol { name: "range".to_owned(), metadata: Bytes::from(vec![turn; 32]) };
        JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: 120_000,
            rebalance_timeout_ms: 120_000,
            member_id: self.id.clone(),
            protocol_type: "consumer".to_owned(),
            protocols: vec![protocol],
            ..JoinGroupRequest::default()
        }
    }

    fn sync(&self, members: &[String]) -> SyncGroupRequest {
        let assignment = Bytes::from_static(&[7; 64]);
        let gives = |id: &String| SyncGroupRequestAssignment { member_id: id.clone(), assignment: assignment.clone() };
        SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            assignments: members.iter().map(gives).collect(),
            ..SyncGroupRequest::default()
        }
    }

    fn heartbeat(&self) -> HeartbeatRequest {
        HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            ..HeartbeatRequest::default()
        }
    }
}

/// Some groups, and the connections of their members.
struct Shard<'a> {
    connections: Vec<Client>,
    /// By group, its members; one for each connection.
    groups: &'a Mutex<Vec<Vec<Member>>>,
}

impl Shard<'_> {
    /// One rebalance of each of the groups in that range: all of them join, then all of them are given their parts.
    fn rebalance(&mut self, groups: std::ops::Range<usize>, turn: u8) {
        let mut known: Vec<Vec<Member>> = self.groups.lock().unwrap()[groups.clone()].to_vec();
        for members in &known {
            for (client, member) in self.connections.iter_mut().zip(members) {
                client.send(&member.join(turn), JOIN).unwrap();
            }
        }
        let mut led = vec![vec![Vec::new(); MEMBERS]; known.len()];
        for (group, members) in known.iter_mut().enumerate() {
            for (number, (client, member)) in self.connections.iter_mut().zip(members).enumerate() {
                let answer = client.receive::<JoinGroupRequest>(JOIN).unwrap();
                assert_eq!(answer.error_code, 0, "JoinGroup of {}", member.group);
                (member.id, member.generation) = (answer.member_id, answer.generation_id);
                led[group][number] = answer.members.into_iter().map(|it| it.member_id).collect();
            }
        }
        self.groups.lock().unwrap()[groups].clone_from_slice(&known);
        for (members, led) in known.iter().zip(&led) {
            for ((client, member), led) in self.connections.iter_mut().zip(members).zip(led) {
                client.send(&member.sync(led), SYNC).unwrap();
            }
        }
        for members in &known {
            for (client, member) in self.connections.iter_mut().zip(members) {
                let answer = client.receive::<SyncGroupRequest>(SYNC).unwrap();
                assert_eq!(answer.error_code, 0, "SyncGroup of {}", member.group);
                assert_eq!(answer.assignment.len(), 64, "what {} was given", member.group);
            }
        }
    }
}

/// Heartbeats of all members of a shard, over and over, on a connection of their own.
fn beat(broker: &Broker, groups: &Mutex<Vec<Vec<Member>>>, told: &Told) {
    let mut client = Client::connect(broker.kafka).unwrap();
    while !told.is_over.load(Ordering::SeqCst) {
        let members: Vec<Member> = groups.lock().unwrap().concat();
        for few in members.chunks(ON_THEIR_WAY) {
            let sent = now();
            for member in few {
                client.send(&member.heartbeat(), HEARTBEAT).unwrap();
            }
            for member in few {
                let error = client.receive::<HeartbeatRequest>(HEARTBEAT).unwrap().error_code;
                assert!(ANSWERS.contains(&error), "a heartbeat of {} was answered {error}", member.group);
            }
            let took = usize::try_from(sent.elapsed().as_micros()).unwrap();
            told.slowest_us.fetch_max(took, Ordering::SeqCst);
            told.heartbeats.fetch_add(few.len(), Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What the threads tell one another.
#[derive(Default)]
struct Told {
    slowest_us: AtomicUsize,
    heartbeats: AtomicUsize,
    is_over: AtomicBool,
}

/// Ends the heartbeats when the test ends, also where it fails.
struct Ends<'a>(&'a Told);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

fn is_coordinated(client: &mut Client) -> bool {
    let find = FindCoordinatorRequest { key: "any".to_owned(), ..FindCoordinatorRequest::default() };
    let nobody = Member { group: "any".to_owned(), id: "nobody".to_owned(), generation: 1 };
    let is_found = client.call(&find, FIND).unwrap().error_code == 0;
    // UNKNOWN_MEMBER_ID is what a coordinator that has loaded its groups says.
    is_found && client.call(&nobody.heartbeat(), HEARTBEAT).unwrap().error_code == 25
}

#[test]
#[ignore = "a measurement: cargo xtask measure groups"]
fn many_groups() {
    let folder = TempDir::new().unwrap();
    // The members of a group come within this time of one another, or the group would begin without some of them.
    let broker = process::start_in(folder.path(), &["--set", "group.initial.rebalance.delay.ms=500"]);
    let mut client = Client::connect(broker.kafka).unwrap();
    eventually(Duration::from_secs(30), "a coordinator", || is_coordinated(&mut client).then_some(()));
    let groups = usize::try_from(from_environment("MILLSTREAM_GROUPS", 1000)).unwrap();
    let of_shard = |shard: usize| {
        let names = (shard..groups).step_by(SHARDS).map(|number| format!("group-{number:04}"));
        Mutex::new(names.map(|group| vec![Member { group, ..Member::default() }; MEMBERS]).collect::<Vec<_>>())
    };
    let known: Vec<_> = (0..SHARDS).map(of_shard).collect();
    let connect = |_| Client::connect(broker.kafka).unwrap();
    let shard = |groups| Shard { connections: (0..MEMBERS).map(connect).collect(), groups };
    let mut shards: Vec<Shard<'_>> = known.iter().map(shard).collect();
    std::thread::scope(|scope| {
        for shard in &mut shards {
            scope.spawn(|| {
                let groups = shard.groups.lock().unwrap().len();
                (0..groups).for_each(|group| shard.rebalance(group..group + 1, 0));
            });
        }
    });
    eprintln!("{groups} groups of {MEMBERS} members are there");

    let told = Told::default();
    let took = std::thread::scope(|scope| {
        let ends = Ends(&told);
        for groups in &known {
            scope.spawn(|| beat(&broker, groups, &told));
        }
        let began = now();
        let rebalances: Vec<_> = shards
            .iter_mut()
            .map(|shard| {
                scope.spawn(|| {
                    let groups = shard.groups.lock().unwrap().len();
                    (1..=REBALANCES).for_each(|turn| shard.rebalance(0..groups, turn));
                })
            })
            .collect();
        rebalances.into_iter().for_each(|thread| thread.join().unwrap());
        let took = began.elapsed();
        drop(ends);
        took
    });
    let slowest = told.slowest_us.load(Ordering::SeqCst) / 1000;
    let heartbeats = told.heartbeats.load(Ordering::SeqCst);
    eprintln!("{REBALANCES} rebalances of each: {} ms; {heartbeats} heartbeats meanwhile", took.as_millis());
    eprintln!("the slowest ten heartbeats: {slowest} ms, promised {HEARTBEAT_MS} ms");
    assert!(heartbeats > groups * MEMBERS / 10, "too few heartbeats to tell");
    assert!(slowest <= usize::try_from(HEARTBEAT_MS).unwrap(), "a heartbeat stalled");
}
