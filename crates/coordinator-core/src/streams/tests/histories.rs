//! Random histories of a few members, with crashes: no task is ever active at two of them, and all are where they are to be in the end.

use super::bench::{Bench, beats, joins, reads, topology, with_state};
use crate::{GroupError, LEAVES, StreamsHeartbeatRequest, StreamsState, TaskSets, Tasks};
use proptest::prelude::*;
use protocol::messages::streams_group_heartbeat_request::Topology;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
enum Step {
    /// With the answer, or without: it is lost.
    Beat {
        member: usize,
        hears: bool,
    },
    /// It does what it was told.
    Obey {
        member: usize,
    },
    Leave {
        member: usize,
    },
    Forget {
        member: usize,
    },
    Pass {
        seconds: u64,
    },
    Topic {
        partitions: i32,
    },
    Replicas {
        count: usize,
    },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0..4_usize;
    prop_oneof![
        8 => (member.clone(), prop::bool::weighted(0.85)).prop_map(|(member, hears)| Step::Beat { member, hears }),
        8 => member.clone().prop_map(|member| Step::Obey { member }),
        1 => member.clone().prop_map(|member| Step::Leave { member }),
        1 => member.prop_map(|member| Step::Forget { member }),
        2 => (1..20_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => (0..4_i32).prop_map(|partitions| Step::Topic { partitions }),
        1 => (0..3_usize).prop_map(|count| Step::Replicas { count }),
        2 => Just(Step::Crash),
    ]
}

#[derive(Debug, Clone, Default)]
struct Client {
    /// Of this name it is the how manieth.
    life: u32,
    epoch: i32,
    /// What it runs.
    runs: TaskSets,
    /// What it was told to run.
    told: TaskSets,
}

struct World {
    bench: Bench,
    clients: Vec<Client>,
    replicas: usize,
    app: Topology,
}

impl World {
    fn new() -> World {
        let app = topology(vec![with_state(reads("0", &["t"]), "log"), reads("1", &["t", "u"])]);
        let bench = Bench::new(&[("t", 3), ("u", 2), ("log", 3)]);
        World { bench, clients: vec![Client::default(); 4], replicas: 1, app }
    }

    fn id(&self, member: usize) -> String {
        format!("m{member}-{}", self.clients[member].life)
    }

    fn request(&self, member: usize) -> StreamsHeartbeatRequest {
        let (client, id) = (&self.clients[member], self.id(member));
        let mut times = self.bench.groups.options.streams.times;
        times.standby_replicas = self.replicas;
        let request = if client.epoch == 0 {
            // Two of the members are of one process.
            StreamsHeartbeatRequest { process_id: Some(format!("p{}", member.min(2))), ..joins(&id, &self.app) }
        } else {
            // Who is on its way to what it was told says nothing of what it runs.
            let is_there = client.runs == client.told;
            StreamsHeartbeatRequest {
                active: is_there.then(|| client.runs.active.clone()),
                standby: is_there.then(|| client.runs.standby.clone()),
                warmup: is_there.then(Tasks::new),
                ..beats(&id, client.epoch)
            }
        };
        StreamsHeartbeatRequest { times: Some(times), ..request }
    }

    fn beat(&mut self, member: usize, hears: bool) {
        let answer = self.bench.beat(&self.request(member));
        if !hears {
            return;
        }
        match answer {
            Ok(answer) => {
                let client = &mut self.clients[member];
                client.epoch = answer.member_epoch;
                if let Some(told) = answer.tasks {
                    client.told = told;
                }
            }
            Err(
                GroupError::FencedMemberEpoch
                | GroupError::UnknownMember
                | GroupError::NotFound
                | GroupError::Invalid(_),
            ) => self.forget(member),
            Err(other) => panic!("{other}"),
        }
    }

    /// A client that knows that it is out runs nothing; it comes back as another.
    fn forget(&mut self, member: usize) {
        let life = self.clients[member].life + 1;
        self.clients[member] = Client { life, ..Client::default() };
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Beat { member, hears } => self.beat(member, hears),
            Step::Obey { member } => self.clients[member].runs = self.clients[member].told.clone(),
            Step::Leave { member } => {
                let _refused_or_not = self.bench.beat(&beats(&self.id(member), LEAVES));
                self.forget(member);
            }
            Step::Forget { member } => self.forget(member),
            Step::Pass { seconds } => self.bench.pass_seconds(seconds),
            Step::Topic { partitions: 0 } => self.bench.delete_topic("t"),
            Step::Topic { partitions } => {
                self.bench.make_topic("t", partitions);
                self.bench.make_topic("log", partitions);
            }
            Step::Replicas { count } => self.replicas = count,
            Step::Crash => self.bench.restart(),
        }
        self.check();
    }

    /// Members that the coordinator knows run no active task together: what one runs or was told, less what it was told to give up and did.
    fn check(&self) {
        let Some(streams) = self.bench.groups.list_streams().next().map(|_| self.bench.streams()) else { return };
        let mut active = BTreeSet::new();
        for member in 0..self.clients.len() {
            if !streams.members().contains_key(&self.id(member)) {
                continue;
            }
            let client = &self.clients[member];
            let mut all = BTreeSet::new();
            for (id, tasks) in client.runs.active.iter().chain(&client.told.active) {
                all.extend(tasks.iter().map(|task| (id.clone(), *task)));
            }
            for task in all {
                assert!(active.insert(task.clone()), "{task:?} is active twice");
            }
        }
        let lasting = format!("{:?}", streams.lasting());
        let replayed = self.bench.replayed();
        let again = replayed.find(super::bench::GROUP).unwrap().streams.as_ref().unwrap();
        assert_eq!(format!("{:?}", again.lasting()), lasting);
    }

    fn settle(&mut self) {
        self.bench.make_topic("t", 3);
        self.bench.make_topic("log", 3);
        for _ in 0..12 {
            for member in 0..4 {
                self.beat(member, true);
                self.clients[member].runs = self.clients[member].told.clone();
                self.check();
            }
            // Those that were forgotten are dropped.
            self.bench.pass_seconds(8);
        }
        let group = self.bench.describe();
        assert_eq!((group.state, group.members.len()), (StreamsState::Stable, 4));
        let count = |of: fn(&TaskSets) -> &Tasks| -> usize {
            self.clients.iter().flat_map(|client| of(&client.runs).values()).map(BTreeSet::len).sum()
        };
        assert_eq!(count(|sets| &sets.active), 6);
        assert_eq!(count(|sets| &sets.standby), 3 * self.replicas.min(2));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn no_task_is_active_twice_and_all_find_their_place(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.settle();
    }
}
