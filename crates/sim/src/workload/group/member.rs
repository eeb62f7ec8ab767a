//! A member of a consumer group: joins, leads where it is told to, commits what is its own, asks, leaves, dies and comes back.
//!
//! One that dies says nothing more and is back before or after the others have noticed: a dynamic member as somebody new, a
//! static one under its old name.

use crate::checker::Partitions;
use crate::workload::client::Failure;
use crate::workload::group::client::{GroupClient, Membership, SESSION_MS, decode, encode};
use crate::workload::group::{
    FENCED_INSTANCE, ILLEGAL_GENERATION, MEMBER_ID_REQUIRED, REBALANCE, UNKNOWN_MEMBER, commit, fetch, note_unexpected,
    partitions,
};
use crate::workload::{Shared, breathe};
use base::Seed;
use bytes::Bytes;
use protocol::messages::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Requests of a member between two decisions whether to stay, at the most.
const DEEDS_MAX: u64 = 12;

pub(super) struct Member {
    shared: Arc<Shared>,
    client: GroupClient,
    me: Membership,
    seed: Seed,
}

impl Member {
    pub(super) fn new(shared: &Arc<Shared>, group: String, number: u64, mut seed: Seed) -> Member {
        let instance_id = (number == 0).then(|| format!("static-{number}"));
        let client = GroupClient::new(shared, &group, seed.fork("client"));
        let me = Membership { member_id: String::new(), instance_id, generation: -1 };
        Member { shared: Arc::clone(shared), client, me, seed }
    }

    /// Goes on until the workload stops.
    pub(super) async fn run(mut self, stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            let done = match self.join().await {
                Ok(mine) => self.consume(&mine, &stopped).await,
                Err(failure) => Err(failure),
            };
            match done {
                Err(failure) => self.heed(&failure),
                Ok(()) => self.perhaps_go().await,
            }
            breathe(&mut self.seed, 200).await;
        }
    }

    /// The name by which assignments know it.
    fn owner(&self) -> String {
        self.me.instance_id.clone().unwrap_or_else(|| self.me.member_id.clone())
    }

    /// Joins and syncs; what is its own in the generation.
    async fn join(&mut self) -> Result<Partitions, Failure> {
        let asked = self.shared.groups.asks();
        let answer = self.client.join(&self.me).await?;
        if answer.error_code == MEMBER_ID_REQUIRED {
            self.me.member_id = answer.member_id;
            return Err(Failure::Kafka(MEMBER_ID_REQUIRED));
        }
        crate::workload::client::kafka(answer.error_code)?;
        self.me.member_id = answer.member_id.clone();
        self.me.generation = answer.generation_id;
        let assignments = if answer.leader == answer.member_id && !answer.skip_assignment {
            self.assign(&answer)
        } else {
            BTreeMap::new()
        };
        let bytes = self.client.sync(&self.me, &assignments).await?;
        let group = &self.client.group;
        let Some(mine) = decode(&bytes) else {
            self.shared.history.violation(format!("altered: group {group} assigns {bytes:?}"));
            return Ok(Partitions::new());
        };
        self.shared.groups.assigned(group, self.me.generation, &self.owner(), asked, &mine);
        Ok(mine)
    }

    /// As the leader: deals all partitions out, as different as chance has it.
    fn assign(&mut self, answer: &JoinGroupResponse) -> BTreeMap<String, Bytes> {
        let mut shares: Vec<Partitions> = answer.members.iter().map(|_| Partitions::new()).collect();
        if !answer.members.iter().any(|member| member.member_id == answer.member_id) {
            let group = &self.client.group;
            self.shared.history.violation(format!("generations: the leader of {group} is not among its members"));
            return BTreeMap::new();
        }
        for partition in partitions(self.shared.cluster.plan()) {
            let to = usize::try_from(self.seed.below(shares.len() as u64)).unwrap_or(0);
            shares[to].push(partition);
        }
        let owner = |member: &JoinGroupResponseMember| match std::str::from_utf8(&member.metadata) {
            Ok("") | Err(_) => member.member_id.clone(),
            Ok(instance_id) => instance_id.to_owned(),
        };
        let said = answer.members.iter().map(owner).zip(shares.iter().cloned()).collect();
        self.shared.groups.proposes(&self.client.group, answer.generation_id, said);
        answer.members.iter().map(|member| member.member_id.clone()).zip(shares.iter().map(encode)).collect()
    }

    /// Works with what is its own, until it is told to join again or has done enough.
    async fn consume(&mut self, mine: &Partitions, stopped: &watch::Receiver<bool>) -> Result<(), Failure> {
        let groups = self.shared.groups.clone();
        for _ in 0..self.seed.between(1, DEEDS_MAX) {
            if *stopped.borrow() {
                return Ok(());
            }
            let some = self.some(mine);
            let done = match self.seed.below(10) {
                0..5 if !mine.is_empty() => commit(&mut self.client, &groups, &self.me, &some).await,
                0..7 if !mine.is_empty() => fetch(&mut self.client, &groups, mine).await,
                _ => self.client.heartbeat(&self.me).await,
            };
            match done {
                Err(Failure::Kafka(UNKNOWN_MEMBER | FENCED_INSTANCE | ILLEGAL_GENERATION | REBALANCE)) => return done,
                Err(failure) => self.heed(&failure),
                Ok(()) => {}
            }
            breathe(&mut self.seed, 500).await;
        }
        Ok(())
    }

    /// One or all of its partitions.
    fn some(&mut self, mine: &Partitions) -> Partitions {
        let one = usize::try_from(self.seed.below(mine.len() as u64 + 1)).unwrap_or(0);
        mine.get(one).map_or_else(|| mine.clone(), |partition| vec![partition.clone()])
    }

    /// What an error means for it.
    fn heed(&mut self, failure: &Failure) {
        let usual = [UNKNOWN_MEMBER, FENCED_INSTANCE, ILLEGAL_GENERATION, REBALANCE, MEMBER_ID_REQUIRED];
        note_unexpected(&self.shared, &self.client.group, failure, &usual);
        if let Failure::Kafka(UNKNOWN_MEMBER | FENCED_INSTANCE) = failure {
            self.me.member_id.clear();
            self.me.generation = -1;
        }
    }

    /// Stays, leaves, or dies.
    async fn perhaps_go(&mut self) {
        let trace = self.shared.cluster.universe().trace.clone();
        match self.seed.below(10) {
            0..2 => {
                trace.count("workload.member_left");
                if let Err(failure) = self.client.leave(&self.me).await {
                    self.heed(&failure);
                }
                breathe(&mut self.seed, 1_000).await;
            }
            2..4 => {
                trace.count("workload.member_died");
                breathe(&mut self.seed, SESSION_MS.unsigned_abs().into()).await;
            }
            _ => return,
        }
        self.me.member_id.clear();
        self.me.generation = -1;
    }
}
