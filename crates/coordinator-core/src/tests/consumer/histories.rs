//! Random histories of a few members, with lost answers and crashes: what nobody may ever see, and what comes of it when all is quiet.
//!
//! A client holds what it is told from the moment it is told, and gives up what it is no longer told when it gets round to it. A crash
//! leaves the records that were made so far; one in the middle of a decision, which nobody has heard of, some of them.

use super::bench::{Bench, GROUP, beats, joins, static_member};
use crate::{
    ConsumerState, CopyCursor, Effects, GroupError, HeartbeatAnswer, HeartbeatRequest, LEAVES, LEAVES_FOR_NOW,
    Partitions,
};
use base::TopicId;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const CLIENTS: usize = 5;
/// Two processes that take themselves for the same static member.
const STATIC: std::ops::Range<usize> = 0..2;

#[derive(Debug, Clone)]
enum Step {
    Beat {
        client: usize,
        is_lost: bool,
    },
    /// A heartbeat that says nothing of what the client holds.
    Murmur {
        client: usize,
    },
    GiveUp {
        client: usize,
    },
    Subscribe {
        client: usize,
        names: usize,
    },
    Leave {
        client: usize,
        for_now: bool,
    },
    Forget {
        client: usize,
    },
    Pass {
        seconds: u64,
    },
    Grow {
        topic: usize,
    },
    Delete {
        topic: usize,
    },
    Expire,
    Copy {
        bytes: usize,
    },
    Crash,
    /// In the middle of a heartbeat, with some of its records.
    CrashWithin {
        client: usize,
        kept: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    prop_oneof![
        16 => (client(), prop::bool::weighted(0.1)).prop_map(|(client, is_lost)| Step::Beat { client, is_lost }),
        3 => client().prop_map(|client| Step::Murmur { client }),
        8 => client().prop_map(|client| Step::GiveUp { client }),
        2 => (client(), 0..4_usize).prop_map(|(client, names)| Step::Subscribe { client, names }),
        2 => (client(), any::<bool>()).prop_map(|(client, for_now)| Step::Leave { client, for_now }),
        1 => client().prop_map(|client| Step::Forget { client }),
        6 => (0..12_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => (0..2_usize).prop_map(|topic| Step::Grow { topic }),
        1 => (0..2_usize).prop_map(|topic| Step::Delete { topic }),
        1 => Just(Step::Expire),
        2 => (1..600_usize).prop_map(|bytes| Step::Copy { bytes }),
        1 => Just(Step::Crash),
        1 => (client(), 0..12_usize).prop_map(|(client, kept)| Step::CrashWithin { client, kept }),
    ]
}

#[derive(Debug, Clone, Default)]
struct Client {
    /// Drawn anew whenever the process begins anew.
    member_id: String,
    is_in: bool,
    epoch: i32,
    names: usize,
    /// It says all that it can say next time: its subscription is another one, or an answer was lost.
    says_all: bool,
    owned: Partitions,
    told: Partitions,
}

struct World {
    bench: Bench,
    clients: Vec<Client>,
    draws: u64,
    /// Whom a partition was told to be given to, by the epoch that it was given at.
    given: BTreeMap<(i32, TopicId, i32), String>,
    copying: Option<(usize, CopyCursor)>,
}

const TOPICS: [&str; 2] = ["t", "u"];

fn names(number: usize) -> HeartbeatRequest {
    match number {
        0 => joins("", &["t"]),
        1 => joins("", &["u"]),
        2 => joins("", &["t", "u"]),
        _ => HeartbeatRequest { names: Some(vec![]), regex: Some("[tu]".to_owned()), ..joins("", &[]) },
    }
}

impl World {
    fn new() -> World {
        let clients = vec![Client::default(); CLIENTS];
        let mut world = World {
            bench: Bench::new(&[("t", 4), ("u", 3)]),
            clients,
            draws: 0,
            given: BTreeMap::new(),
            copying: None,
        };
        (0..CLIENTS).for_each(|client| world.begin(client));
        world
    }

    /// The process begins, knowing nothing of an earlier one.
    fn begin(&mut self, client: usize) {
        self.draws += 1;
        let names = self.clients[client].names;
        self.clients[client] = Client { member_id: format!("c{client}-{}", self.draws), names, ..Client::default() };
    }

    fn request(&self, client: usize) -> HeartbeatRequest {
        let Client { member_id, is_in, epoch, names: number, says_all, owned, .. } = &self.clients[client];
        let said = names(*number);
        let owned = Some(owned.clone());
        let member_id = member_id.clone();
        let request = if !is_in {
            // It says that it has no regular expression any more.
            HeartbeatRequest { member_id, regex: said.regex.clone().or_else(|| Some(String::new())), ..said }
        } else if *says_all {
            let regex = said.regex.clone().or_else(|| Some(String::new()));
            HeartbeatRequest { member_id, member_epoch: *epoch, regex, owned, ..said }
        } else {
            HeartbeatRequest { owned, ..beats(&member_id, *epoch) }
        };
        if STATIC.contains(&client) { static_member(request, "i") } else { request }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Beat { client, is_lost } => {
                let outcome = self.bench.beat(&self.request(client));
                if is_lost {
                    self.clients[client].says_all = true;
                } else {
                    self.hear(client, outcome);
                }
            }
            Step::Murmur { client } if self.clients[client].is_in && !self.clients[client].says_all => {
                let outcome = self.bench.beat(&HeartbeatRequest { owned: None, ..self.request(client) });
                self.hear(client, outcome);
            }
            Step::GiveUp { client } => self.clients[client].owned = self.clients[client].told.clone(),
            Step::Subscribe { client, names } => {
                (self.clients[client].names, self.clients[client].says_all) = (names, true);
            }
            Step::Leave { client, for_now } => self.leave(client, for_now),
            Step::Forget { client } => self.begin(client),
            Step::Pass { seconds } => self.bench.pass_seconds(seconds),
            Step::Grow { topic } => {
                let more = self.bench.topics.get(TOPICS[topic]).map_or(2, |topic| topic.partitions + 1);
                self.bench.make_topic(TOPICS[topic], more.min(8));
            }
            Step::Delete { topic } => self.bench.delete_topic(TOPICS[topic]),
            Step::Expire => {
                let mut fx = Effects::default();
                self.bench.groups.expire(self.bench.now.wall, &mut fx);
                self.bench.log.extend(fx.records);
            }
            Step::Copy { bytes } => self.copy(bytes),
            Step::Crash => self.crash(),
            Step::CrashWithin { client, kept } => {
                let before = self.bench.log.len();
                let _unheard = self.bench.beat(&self.request(client)).is_ok();
                self.bench.cut(before + kept);
                self.clients[client].says_all = true;
                self.copying = None;
                self.bench.restart();
            }
            Step::Murmur { .. } => {}
        }
        if self.bench.groups.find(GROUP).is_err() {
            // Another group of that name begins with its first epoch.
            self.given.clear();
        }
        self.check();
    }

    fn hear(&mut self, client: usize, outcome: Result<HeartbeatAnswer, GroupError>) {
        let answer = match outcome {
            Ok(answer) => answer,
            // Whatever it is, it gives up all that it holds, and joins when it is its turn.
            Err(_) => {
                let Client { member_id, names, .. } = std::mem::take(&mut self.clients[client]);
                self.clients[client] = Client { member_id, names, ..Client::default() };
                return;
            }
        };
        let it = &mut self.clients[client];
        if !it.is_in {
            (it.owned, it.told) = (Partitions::new(), Partitions::new());
        }
        (it.is_in, it.epoch, it.says_all) = (true, answer.member_epoch, false);
        if let Some(assignment) = answer.assignment {
            for (topic, partitions) in &assignment {
                it.owned.entry(*topic).or_default().extend(partitions);
            }
            it.told = assignment;
        }
        let member_id = it.member_id.clone();
        // Of the same static member only the last one is known, and may commit.
        let owner = if STATIC.contains(&client) { "i" } else { &member_id };
        let held = self.bench.consumer().members()[&member_id].current.assigned.clone();
        for (topic, partitions) in held {
            for (partition, epoch) in partitions.into_iter().filter(|(_, epoch)| *epoch != 0) {
                let before = self.given.insert((epoch, topic, partition), owner.to_owned());
                assert!(before.is_none_or(|before| before == owner), "given to two members at epoch {epoch}");
            }
        }
    }

    fn leave(&mut self, client: usize, for_now: bool) {
        let is_static = STATIC.contains(&client);
        let epoch = if for_now && is_static { LEAVES_FOR_NOW } else { LEAVES };
        let request = beats(&self.clients[client].member_id, epoch);
        let request = if is_static { static_member(request, "i") } else { request };
        let _was_in = self.bench.beat(&request).is_ok();
        self.begin(client);
    }

    fn crash(&mut self) {
        let lasting =
            |bench: &Bench| bench.groups.find(GROUP).ok().and_then(|it| Some(it.consumer.as_ref()?.lasting()));
        let before = lasting(&self.bench);
        self.copying = None;
        self.bench.restart();
        assert_eq!(before, lasting(&self.bench), "the records say all that was decided");
    }

    /// Copies a slice; what lies before a whole copy goes, and nothing is missing then.
    fn copy(&mut self, bytes: usize) {
        let (begin, mut cursor) = self.copying.take().unwrap_or((self.bench.log.len(), CopyCursor::default()));
        let mut fx = Effects::default();
        let is_whole = self.bench.groups.copy(&mut cursor, bytes, &mut fx);
        self.bench.log.extend(fx.records);
        if is_whole {
            self.bench.log.drain(..begin);
            self.crash();
        } else {
            self.copying = Some((begin, cursor));
        }
    }

    fn check(&self) {
        assert_eq!(self.bench.groups.bytes(), self.bench.groups.count(), "what is counted is what is there");
        let Some(consumer) = self.bench.groups.find(GROUP).ok().and_then(|group| group.consumer.as_ref()) else {
            return;
        };
        let mut holders = BTreeSet::new();
        // Of a static member that is away, and of the one that takes its place, a crash may leave both: neither is told anything then.
        let members = consumer.members().iter().filter(|(_, member)| member.current.epoch > 0);
        for current in members.map(|(_, member)| &member.current) {
            for (topic, partitions) in current.assigned.iter().chain(&current.revoking) {
                assert!(partitions.keys().all(|it| holders.insert((*topic, *it))), "two members hold a partition");
            }
        }
        let mut wanted = BTreeSet::new();
        // After a crash within a decision some may be of the next target, until it is made anew; held by one they are even so.
        let is_whole = consumer.epoch == consumer.target_epoch;
        let is_here = |id: &String| {
            let member = consumer.members().get(id);
            member.is_some_and(|member| member.current.epoch > 0)
        };
        let targets = consumer.targets().iter().filter(|(id, _)| is_whole && is_here(id));
        for (topic, partitions) in targets.flat_map(|(_, target)| target) {
            assert!(partitions.iter().all(|it| wanted.insert((*topic, *it))), "a partition is to be two members'");
        }
        let mut owners = BTreeMap::new();
        for client in self.clients.iter().filter(|client| consumer.members().contains_key(&client.member_id)) {
            for (topic, partitions) in &client.owned {
                for partition in partitions {
                    let other = owners.insert((*topic, *partition), &client.member_id);
                    assert_eq!(other, None, "{} has it as well", client.member_id);
                }
            }
        }
        let waits = self.bench.groups.next_deadline().is_some();
        assert!(consumer.members().is_empty() || waits, "members without a deadline stay for ever");
    }

    /// One heartbeat of each client, and time for the next target.
    fn quiet_round(&mut self) {
        for client in 0..CLIENTS {
            self.run(&Step::Beat { client, is_lost: false });
            self.run(&Step::GiveUp { client });
        }
        self.bench.pass_seconds(5);
    }

    /// Once those who are gone are fenced, everything comes to whom it is to be within a few heartbeats of each.
    fn settle(&mut self) {
        for _ in 0..14 {
            self.quiet_round();
        }
        for _ in 0..4 {
            self.quiet_round();
        }
        let consumer = self.bench.consumer();
        assert_eq!(consumer.members().len(), CLIENTS - 1, "all but one of the two that are the same static member");
        assert_eq!(consumer.state(), ConsumerState::Stable);
        assert_eq!(consumer.epoch, consumer.target_epoch);
        assert!(consumer.members().values().all(|member| member.current.epoch == consumer.epoch));
        let mut owned = Partitions::new();
        for client in self.clients.iter().filter(|client| client.is_in) {
            assert_eq!(&client.owned, &consumer.targets()[&client.member_id]);
            for (topic, partitions) in &client.owned {
                owned.entry(*topic).or_default().extend(partitions);
            }
        }
        for (name, topic) in self.bench.topics.iter().filter(|(name, _)| consumer.is_subscribed(name)) {
            let all: BTreeSet<i32> = (0..topic.partitions).collect();
            assert_eq!(owned.get(&topic.id), Some(&all), "all of {name} is somebody's");
        }
        let log = self.bench.log.len();
        self.quiet_round();
        assert_eq!(self.bench.log.len(), log, "and nothing more is appended");
        self.crash();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_partition_has_one_owner_and_everything_settles(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        world.settle();
    }
}

#[test]
fn members_that_come_at_once_are_served_within_three_heartbeats() {
    let mut bench = Bench::new(&[("t", 400)]);
    let ids: Vec<String> = (0..100).map(|number| format!("m{number:03}")).collect();
    let mut members: BTreeMap<&str, (i32, Partitions)> = BTreeMap::new();
    for id in &ids {
        let answer = bench.beat(&joins(id, &["t"])).unwrap();
        members.insert(id, (answer.member_epoch, answer.assignment.unwrap()));
    }
    for round in 1..=3 {
        bench.pass_seconds(5);
        for (id, (epoch, owned)) in &mut members {
            let answer = bench.beat(&super::bench::owns(id, *epoch, owned.clone())).unwrap();
            *epoch = answer.member_epoch;
            *owned = answer.assignment.unwrap_or_else(|| owned.clone());
        }
        let is_stable = bench.describe().unwrap().state == ConsumerState::Stable;
        assert!(is_stable || round < 3);
    }
    assert!(members.values().all(|(_, owned)| owned.values().map(BTreeSet::len).sum::<usize>() == 4));
}
