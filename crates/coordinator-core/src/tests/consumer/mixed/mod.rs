//! Random histories of members that change their protocol, with lost answers and crashes: a group becomes one of consumers and a classic
//! one again, and nobody sees two owners of a partition, or an offset go back.

mod client;

use super::bench::{Bench, GROUP, membership};
use crate::{CopyCursor, Effects, GroupOptions, Migration};
use base::TopicId;
use client::{Client, Kind, TOPICS};
use proptest::prelude::*;
use std::collections::BTreeMap;

const CLIENTS: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Act {
        client: usize,
        is_lost: bool,
    },
    GiveUp {
        client: usize,
    },
    /// The process ends, having said so or not, and another one of either kind begins.
    Begin {
        client: usize,
        kind: Kind,
        leaves: bool,
    },
    Commit {
        client: usize,
    },
    Pass {
        seconds: u64,
    },
    Grow,
    Copy {
        bytes: usize,
    },
    Crash,
    /// In the middle of what a client causes, with some of its records.
    CrashWithin {
        client: usize,
        kept: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    let kind = prop_oneof![Just(Kind::Newer), Just(Kind::Classic)];
    prop_oneof![
        24 => (client(), prop::bool::weighted(0.05)).prop_map(|(client, is_lost)| Step::Act { client, is_lost }),
        6 => client().prop_map(|client| Step::GiveUp { client }),
        3 => (client(), kind, any::<bool>())
            .prop_map(|(client, kind, leaves)| Step::Begin { client, kind, leaves }),
        4 => client().prop_map(|client| Step::Commit { client }),
        6 => (0..7_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Grow),
        1 => (1..600_usize).prop_map(|bytes| Step::Copy { bytes }),
        1 => Just(Step::Crash),
        1 => (client(), 0..20_usize).prop_map(|(client, kept)| Step::CrashWithin { client, kept }),
    ]
}

struct World {
    bench: Bench,
    clients: Vec<Client>,
    draws: u64,
    committed: BTreeMap<(&'static str, i32), i64>,
    next_offset: i64,
    copying: Option<(usize, CopyCursor)>,
}

impl World {
    fn new(migration: Migration, is_cooperative: bool) -> World {
        let mut options = GroupOptions::default();
        options.consumer.migration = migration;
        let bench = Bench::with(options, &[("t", 3), ("u", 2)]);
        let client = |number: usize| Client {
            is_cooperative,
            instance_id: (number == 0).then(|| "i".to_owned()),
            ..Client::default()
        };
        let clients = (0..CLIENTS).map(client).collect();
        let mut world = World { bench, clients, draws: 0, committed: BTreeMap::new(), next_offset: 0, copying: None };
        for client in 0..CLIENTS {
            world.begin(client, if client % 2 == 0 { Kind::Classic } else { Kind::Newer });
        }
        world
    }

    fn begin(&mut self, client: usize, kind: Kind) {
        self.draws += 1;
        self.clients[client] = self.clients[client].begun(&format!("{client}-{}", self.draws), kind);
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Act { client, is_lost } => self.clients[client].act(&mut self.bench, is_lost),
            Step::GiveUp { client } => self.clients[client].give_up(),
            Step::Begin { client, kind, leaves } => {
                if leaves {
                    self.clients[client].leave(&mut self.bench);
                }
                self.begin(client, kind);
            }
            Step::Commit { client } => self.commit(client),
            Step::Pass { seconds } => self.bench.pass_seconds(seconds),
            Step::Grow => {
                let partitions = self.bench.topics["t"].partitions + 1;
                self.bench.make_topic("t", partitions.min(5));
            }
            Step::Copy { bytes } => self.copy(bytes),
            Step::Crash => self.crash(),
            Step::CrashWithin { client, kept } => {
                let before = self.bench.log.len();
                self.clients[client].act(&mut self.bench, true);
                self.bench.cut(before + kept);
                self.restart();
            }
        }
        for client in &mut self.clients {
            client.look(&mut self.bench);
        }
        self.check();
    }

    /// Whoever holds a partition commits an offset of it, and is heard where it is in.
    fn commit(&mut self, client: usize) {
        let Client { member_id, epoch, owned, is_in, .. } = &self.clients[client];
        let owned = owned.iter().find_map(|(topic, partitions)| Some((*topic, *partitions.first()?)));
        let Some((topic, partition)) = owned.filter(|_| *is_in) else { return };
        let Some(name) = TOPICS.into_iter().find(|name| self.bench.id(name) == topic) else { return };
        self.next_offset += 1;
        let member = membership(member_id, *epoch);
        if self.bench.commit_at(member, name, partition, self.next_offset).is_ok() {
            self.committed.insert((name, partition), self.next_offset);
        }
    }

    fn restart(&mut self) {
        self.copying = None;
        self.bench.restart();
        self.clients.iter_mut().for_each(Client::lose_answers);
    }

    fn crash(&mut self) {
        let lasting =
            |bench: &Bench| bench.groups.find(GROUP).ok().and_then(|it| Some(it.consumer.as_ref()?.lasting()));
        let before = lasting(&self.bench);
        self.restart();
        assert_eq!(before, lasting(&self.bench), "the records say all that was decided");
    }

    fn copy(&mut self, bytes: usize) {
        let (begin, mut cursor) = self.copying.take().unwrap_or((self.bench.log.len(), CopyCursor::default()));
        let mut fx = Effects::default();
        let is_whole = self.bench.groups.copy(&mut cursor, bytes, &mut fx);
        self.bench.take(fx);
        if is_whole {
            self.bench.trim(begin);
            self.crash();
        } else {
            self.copying = Some((begin, cursor));
        }
    }

    fn is_member(&self, member_id: &str) -> bool {
        let Ok(group) = self.bench.groups.find(GROUP) else { return false };
        let consumer = group.consumer.as_ref();
        consumer.map_or(group.members.contains_key(member_id), |it| it.members().contains_key(member_id))
    }

    fn check(&self) {
        assert_eq!(self.bench.groups.bytes(), self.bench.groups.count(), "what is counted is what is there");
        let mut owners: BTreeMap<(TopicId, i32), &str> = BTreeMap::new();
        for client in self.clients.iter().filter(|client| self.is_member(&client.member_id)) {
            for (topic, partitions) in &client.owned {
                for partition in partitions {
                    let other = owners.insert((*topic, *partition), &client.member_id);
                    assert_eq!(other, None, "{} has {topic:?}-{partition} as well", client.member_id);
                }
            }
        }
        for ((topic, partition), offset) in &self.committed {
            let found = self.bench.groups.committed(GROUP).and_then(|it| it.get(*topic)?.get(partition));
            assert_eq!(found.map(|it| it.offset), Some(*offset), "the offset of {topic}-{partition}");
        }
        let group = self.bench.groups.find(GROUP).ok();
        let has_members =
            group.is_some_and(|group| !group.members.is_empty() || self.bench.groups.has_consumers(GROUP));
        assert!(
            !has_members || self.bench.groups.next_deadline().is_some(),
            "members without a deadline stay for ever"
        );
    }

    fn quiet_round(&mut self) {
        for client in 0..CLIENTS {
            // A heartbeat, and what it may have told the client to do.
            for _ in 0..4 {
                self.run(&Step::Act { client, is_lost: false });
            }
            self.run(&Step::GiveUp { client });
        }
        self.run(&Step::Pass { seconds: 3 });
    }

    /// Once those who are gone are fenced, everything comes to whom it is to be, whatever the members speak.
    fn settle(&mut self, last: &[Kind]) {
        for (client, kind) in last.iter().enumerate() {
            if self.clients[client].kind != *kind {
                self.run(&Step::Begin { client, kind: *kind, leaves: true });
            }
        }
        for _ in 0..40 {
            self.quiet_round();
        }
        let mut owned: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
        for client in &self.clients {
            let is_settled = client.kind == Kind::Newer || !client.waits() && !client.must_join;
            assert!(client.is_in && is_settled, "{client:?}");
            assert!(self.is_member(&client.member_id));
            assert_eq!(client.owned, client.told);
            for (topic, partitions) in &client.owned {
                owned.entry(*topic).or_default().extend(partitions);
            }
        }
        for topic in self.bench.topics.values() {
            let mut of_topic = owned.remove(&topic.id).unwrap_or_default();
            of_topic.sort_unstable();
            assert_eq!(of_topic, (0..topic.partitions).collect::<Vec<_>>(), "each partition is somebody's");
        }
        let log = self.bench.log.len();
        self.quiet_round();
        assert_eq!(self.bench.log.len(), log, "and nothing more is appended");
        let is_newer = last.contains(&Kind::Newer);
        assert!(!is_newer || self.bench.groups.has_consumers(GROUP));
        let goes_back = self.bench.groups.options.consumer.migration == Migration::Bidirectional;
        assert!(is_newer || !goes_back || !self.bench.groups.has_consumers(GROUP), "all of them are classic");
        self.crash();
    }
}

fn policy() -> impl Strategy<Value = Migration> {
    prop_oneof![
        4 => Just(Migration::Bidirectional),
        1 => Just(Migration::Upgrade),
        1 => Just(Migration::Downgrade),
    ]
}

fn last() -> impl Strategy<Value = [Kind; CLIENTS]> {
    let mixed = prop::array::uniform4(prop_oneof![Just(Kind::Newer), Just(Kind::Classic)]);
    prop_oneof![Just([Kind::Newer; CLIENTS]), Just([Kind::Classic; CLIENTS]), mixed]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_partition_has_one_owner_whatever_its_members_speak(
        policy in policy(),
        is_cooperative: bool,
        last in last(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(policy, is_cooperative);
        for step in &steps {
            world.run(step);
        }
        // Where a classic group stays one, no member of the newer protocol comes in.
        let last = if policy == Migration::Downgrade { [Kind::Classic; CLIENTS] } else { last };
        world.settle(&last);
    }
}
