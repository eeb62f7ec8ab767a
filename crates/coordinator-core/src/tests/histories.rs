//! Random histories of a few members, with crashes: what nobody may ever see.

use super::bench::{Bench, GROUP, joiner, membership};
use crate::{CoordinatorRecord, CopyCursor, Effects, GroupError, JoinRequest, Membership, State, SyncRequest, Ticket};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Step {
    Join { client: usize, topics: u8 },
    Sync { client: usize },
    Heartbeat { client: usize },
    Commit { client: usize },
    Leave { client: usize },
    Pass { seconds: u64 },
    Forget { client: usize },
    Expire,
    Copy { bytes: usize },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..4_usize;
    prop_oneof![
        6 => (client.clone(), 0..2_u8).prop_map(|(client, topics)| Step::Join { client, topics }),
        6 => client.clone().prop_map(|client| Step::Sync { client }),
        3 => client.clone().prop_map(|client| Step::Heartbeat { client }),
        4 => client.clone().prop_map(|client| Step::Commit { client }),
        1 => client.clone().prop_map(|client| Step::Leave { client }),
        4 => (1..12_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => client.prop_map(|client| Step::Forget { client }),
        1 => Just(Step::Expire),
        3 => (1..400_usize).prop_map(|bytes| Step::Copy { bytes }),
        1 => Just(Step::Crash),
    ]
}

#[derive(Debug, Clone, Default)]
struct Client {
    member_id: String,
    generation: i32,
    leads: bool,
    members: Vec<String>,
    joins: Option<Ticket>,
    syncs: Option<Ticket>,
}

struct World {
    bench: Bench,
    clients: Vec<Client>,
    /// What each member was told to own, by generation: told twice, it is the same.
    told: BTreeMap<(i32, String), Bytes>,
    committed: Option<i64>,
    draws: u64,
    /// A copy under way: where in the log it began, and how far it has come.
    copying: Option<(usize, CopyCursor)>,
}

impl World {
    fn request(&mut self, client: usize, topics: u8) -> JoinRequest {
        self.draws += 1;
        let topics: &[&str] = if topics == 0 { &["t"] } else { &["t", "u"] };
        JoinRequest {
            member_id: self.clients[client].member_id.clone(),
            // One of them is a static member, one is an old client.
            instance_id: (client == 0).then(|| "i".to_owned()),
            joins_in_two_steps: client != 1,
            may_skip_assignment: client != 2,
            protocols: vec![super::bench::protocol("range", topics)],
            unique: self.draws.to_string(),
            ..joiner(&format!("c{client}"))
        }
    }

    fn member(&self, client: usize) -> Membership {
        let Client { member_id, generation, .. } = &self.clients[client];
        Membership { instance_id: (client == 0).then(|| "i".to_owned()), ..membership(member_id, *generation) }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Join { client, topics } if self.clients[client].joins.is_none() => {
                let request = self.request(client, topics);
                self.clients[client].joins = Some(self.bench.join(&request));
            }
            Step::Sync { client } if self.clients[client].syncs.is_none() => {
                let assign = |id: &String| (id.clone(), Bytes::from(format!("{id} of {}", self.draws)));
                let assignments = self.clients[client].members.iter().map(assign).collect();
                self.draws += 1;
                let request = SyncRequest { member: self.member(client), assignments, ..SyncRequest::default() };
                self.clients[client].syncs = Some(self.bench.sync(&request));
            }
            Step::Heartbeat { client } => {
                let member = self.member(client);
                if matches!(self.bench.heartbeat(&member), Err(GroupError::UnknownMember | GroupError::FencedInstance))
                {
                    self.clients[client].member_id.clear();
                }
            }
            Step::Commit { client } => {
                self.draws += 1;
                let offset = i64::try_from(self.draws).unwrap();
                if self.bench.commit(self.member(client), "t", offset).is_ok() {
                    self.committed = Some(offset);
                }
            }
            Step::Leave { client } => {
                let _was_in = self.bench.leave(&self.clients[client].member_id.clone(), None).is_ok();
            }
            Step::Pass { seconds } => self.bench.pass(Duration::from_secs(seconds)),
            Step::Forget { client } => self.clients[client] = Client::default(),
            Step::Expire => {
                let mut fx = Effects::default();
                self.bench.groups.expire(self.bench.now.wall, &mut fx);
                self.bench.take(fx);
            }
            Step::Copy { bytes } => self.copy(bytes),
            Step::Crash => {
                self.copying = None;
                self.bench.restart();
                self.clients.iter_mut().for_each(|client| (client.joins, client.syncs) = (None, None));
            }
            Step::Join { .. } | Step::Sync { .. } => {}
        }
        self.hear();
        self.check();
    }

    /// Copies a slice; what lies before a whole copy goes, and nothing is missing then.
    fn copy(&mut self, bytes: usize) {
        let (begin, mut cursor) = self.copying.take().unwrap_or((self.bench.log.len(), CopyCursor::default()));
        let mut fx = Effects::default();
        let is_whole = self.bench.groups.copy(&mut cursor, bytes, &mut fx);
        self.bench.take(fx);
        if is_whole {
            let before = folded(&self.bench.log);
            self.bench.log.drain(..begin);
            assert_eq!(folded(&self.bench.log), before, "the copy and what follows it say what the log said");
        } else {
            self.copying = Some((begin, cursor));
        }
    }

    /// The clients read their answers.
    fn hear(&mut self) {
        for client in &mut self.clients {
            if let Some(answer) = client.joins.and_then(|ticket| self.bench.joined(ticket)) {
                client.joins = None;
                match answer.error {
                    None | Some(GroupError::MemberIdRequired) => client.member_id = answer.member_id.clone(),
                    Some(_) => client.member_id.clear(),
                }
                client.generation = answer.generation;
                client.leads = answer.error.is_none() && answer.leader == answer.member_id && !answer.skip_assignment;
                client.members = answer.members.into_iter().map(|member| member.member_id).collect();
            }
            if let Some(answer) = client.syncs.and_then(|ticket| self.bench.synced(ticket)) {
                client.syncs = None;
                if let Ok(answer) = answer {
                    let place = (client.generation, client.member_id.clone());
                    let before = self.told.insert(place.clone(), answer.assignment.clone());
                    assert!(before.is_none_or(|it| it == answer.assignment), "{place:?} is told two things");
                }
            }
        }
    }

    fn check(&mut self) {
        assert_eq!(self.bench.committed("t"), self.committed, "what was committed is what is there");
        assert_eq!(self.bench.groups.bytes(), self.bench.groups.count(), "what is counted is what is there");
        let Ok(group) = self.bench.groups.describe(GROUP) else { return };
        let waits = self.bench.groups.next_deadline().is_some();
        assert!(group.members.is_empty() || waits, "members without a deadline stay for ever");
        assert_eq!(group.state == State::Empty, group.members.is_empty() && group.state != State::PreparingRebalance);
    }
}

/// Each key with the value that is replayed last.
fn folded(records: &[CoordinatorRecord]) -> BTreeMap<Bytes, Bytes> {
    let mut folded = BTreeMap::new();
    for record in records {
        match &record.value {
            Some(value) => drop(folded.insert(record.key.clone(), value.clone())),
            None => drop(folded.remove(&record.key)),
        }
    }
    folded
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_member_is_told_one_thing_in_a_generation_and_commits_stay(steps in prop::collection::vec(step(), 1..120)) {
        let clients = vec![Client::default(); 4];
        let mut world =
            World { bench: Bench::new(), clients, told: BTreeMap::new(), committed: None, draws: 0, copying: None };
        for step in &steps {
            world.run(step);
        }
    }
}
