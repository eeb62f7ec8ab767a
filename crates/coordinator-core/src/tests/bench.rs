//! Groups with a hand on the clock and on the tickets, for the tests.

use crate::{
    Answer, CommitRequest, Committed, CoordinatorRecord, Effects, GroupError, GroupOptions, Groups, JoinAnswer,
    JoinRequest, LeavingMember, Membership, NewOffset, Now, Protocol, State, SyncAnswer, SyncRequest, Ticket, Topics,
};
use base::{Micros, UnixMillis};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) const GROUP: &str = "g";

pub(super) struct Bench {
    pub(super) groups: Groups,
    pub(super) now: Now,
    next_ticket: u64,
    answers: BTreeMap<Ticket, Answer>,
    pub(super) log: Vec<CoordinatorRecord>,
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench::with(GroupOptions::default())
    }

    pub(super) fn with(options: GroupOptions) -> Bench {
        let now = Now { at: Micros(1_000_000), wall: UnixMillis(1_700_000_000_000) };
        Bench { groups: Groups::new(options), now, next_ticket: 0, answers: BTreeMap::new(), log: Vec::new() }
    }

    /// What is left after a crash: the records.
    pub(super) fn restart(&mut self) {
        let mut groups = Groups::new(self.groups.options.clone());
        for record in &self.log {
            groups.replay(record).unwrap();
        }
        groups.loaded(self.now);
        self.groups = groups;
        self.answers.clear();
    }

    pub(super) fn take(&mut self, fx: Effects) {
        self.log.extend(fx.records);
        for (ticket, answer) in fx.answers {
            assert!(self.answers.insert(ticket, answer).is_none(), "{ticket:?} is answered twice");
        }
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.at.plus(time);
        while let Some(next) = self.groups.next_deadline().filter(|next| *next <= end) {
            self.step_to(next);
        }
        self.step_to(end);
    }

    /// Until the group has begun its first generation.
    pub(super) fn begin(&mut self) {
        while self.groups.describe(GROUP).unwrap().state != State::CompletingRebalance {
            self.pass(Duration::from_secs(1));
        }
    }

    fn step_to(&mut self, at: Micros) {
        let passed = i64::try_from(at.since(self.now.at).as_millis()).unwrap();
        self.now = Now { at: at.max(self.now.at), wall: UnixMillis(self.now.wall.0 + passed) };
        let mut fx = Effects::default();
        self.groups.tick(self.now, &Topics::NONE, &mut fx);
        self.take(fx);
    }

    pub(super) fn join(&mut self, request: &JoinRequest) -> Ticket {
        let ticket = self.ticket();
        let mut fx = Effects::default();
        self.groups.join(self.now, &Topics::NONE, ticket, request, &mut fx);
        self.take(fx);
        ticket
    }

    pub(super) fn sync(&mut self, request: &SyncRequest) -> Ticket {
        let ticket = self.ticket();
        let mut fx = Effects::default();
        self.groups.sync(self.now, &Topics::NONE, ticket, request, &mut fx);
        self.take(fx);
        ticket
    }

    pub(super) fn heartbeat(&mut self, member: &Membership) -> Result<(), GroupError> {
        let mut fx = Effects::default();
        let outcome = self.groups.heartbeat(self.now, &Topics::NONE, member, &mut fx);
        self.take(fx);
        outcome
    }

    pub(super) fn leave(&mut self, member_id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        let leaving = LeavingMember { member_id: member_id.to_owned(), instance_id: instance_id.map(str::to_owned) };
        let mut fx = Effects::default();
        let outcome = self.groups.leave(self.now, &Topics::NONE, GROUP, &[leaving], &mut fx);
        self.take(fx);
        outcome.unwrap()[0]
    }

    pub(super) fn commit(&mut self, member: Membership, topic: &str, offset: i64) -> Result<(), GroupError> {
        let committed = Committed { offset, leader_epoch: -1, committed_at: self.now.wall, ..Committed::default() };
        let offsets = vec![NewOffset { topic: topic.to_owned(), partition: 0, committed }];
        let mut fx = Effects::default();
        let outcome =
            self.groups.commit(self.now, CommitRequest { member, offsets, knows_member_epochs: true }, &mut fx);
        self.take(fx);
        outcome.and_then(|outcomes| outcomes[0])
    }

    pub(super) fn committed(&self, topic: &str) -> Option<i64> {
        let offsets = self.groups.committed(GROUP)?;
        offsets.get(topic)?.get(&0).map(|committed| committed.offset)
    }

    pub(super) fn joined(&mut self, ticket: Ticket) -> Option<JoinAnswer> {
        match self.answers.remove(&ticket)? {
            Answer::Join(answer) => Some(answer),
            Answer::Sync(answer) => panic!("a join is answered by {answer:?}"),
        }
    }

    pub(super) fn synced(&mut self, ticket: Ticket) -> Option<Result<SyncAnswer, GroupError>> {
        match self.answers.remove(&ticket)? {
            Answer::Sync(answer) => Some(answer),
            Answer::Join(answer) => panic!("a sync is answered by {answer:?}"),
        }
    }

    /// A generation of so many dynamic members, all of which have synced; their ids, the leader's first.
    pub(super) fn stable(&mut self, members: usize) -> Vec<String> {
        let tickets: Vec<Ticket> = (0..members).map(|i| self.join(&joiner(&format!("c{i}")))).collect();
        self.begin();
        let answers: Vec<JoinAnswer> = tickets.into_iter().map(|ticket| self.joined(ticket).unwrap()).collect();
        let mut ids: Vec<String> = answers.iter().map(|answer| answer.member_id.clone()).collect();
        ids.sort_by_key(|id| *id != answers[0].leader);
        let assignments = ids.iter().map(|id| (id.clone(), Bytes::from(format!("for {id}")))).collect();
        let generation = answers[0].generation;
        let leader = SyncRequest { member: membership(&ids[0], generation), assignments, ..SyncRequest::default() };
        let ticket = self.sync(&leader);
        assert!(self.synced(ticket).unwrap().is_ok());
        for id in &ids[1..] {
            let ticket = self.sync(&SyncRequest { member: membership(id, generation), ..SyncRequest::default() });
            assert_eq!(self.synced(ticket).unwrap().unwrap().assignment, format!("for {id}").as_bytes());
        }
        ids
    }
}

/// An old client's first request, which needs no second one.
pub(super) fn joiner(client_id: &str) -> JoinRequest {
    JoinRequest {
        group: GROUP.to_owned(),
        client_id: client_id.to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol("range", &["t"])],
        unique: format!("unique-{client_id}"),
        ..JoinRequest::default()
    }
}

/// A consumer's protocol with its topics.
pub(super) fn protocol(name: &str, topics: &[&str]) -> Protocol {
    let mut metadata = vec![0, 0, 0, 0, 0, u8::try_from(topics.len()).unwrap()];
    for topic in topics {
        metadata.extend([0, u8::try_from(topic.len()).unwrap()]);
        metadata.extend(topic.as_bytes());
    }
    metadata.extend([0xff; 4]);
    Protocol { name: name.to_owned(), metadata: metadata.into() }
}

pub(super) fn membership(member_id: &str, generation: i32) -> Membership {
    Membership { group: GROUP.to_owned(), member_id: member_id.to_owned(), instance_id: None, generation }
}

/// A client that manages its own members.
pub(super) fn nobody() -> Membership {
    membership("", -1)
}
