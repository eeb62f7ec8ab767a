//! One member's way to the target, step by step, one step for each of its heartbeats.
//!
//! ```text
//!            something of it is no longer its own
//! Stable ───────────────────────────────────────▶ Unrevoked ──it says that it gave that up──┐
//!   ▲  ▲                                                                                     │
//!   │  └──all that the target gives it is free────────────────────────────────────────────────┤
//!   └─────others have given up the rest────────── Unreleased ◀──others hold some of it still──┘
//! ```
//!
//! Before a member has given up what it must, it stays at its epoch; after that it is at the target's.

use super::state::{Current, Held, MemberState, Partitions};
use base::TopicId;
use std::collections::{BTreeMap, BTreeSet};

/// What decides about the next step.
pub(crate) struct Step<'a> {
    pub(crate) current: &'a Current,
    pub(crate) target_epoch: i32,
    pub(crate) target: &'a Partitions,
    /// Topics that the member subscribes to now; the target may be older.
    pub(crate) subscribed: &'a BTreeMap<TopicId, i32>,
    /// With this heartbeat the member subscribes to something else than before.
    pub(crate) resubscribes: bool,
    /// What the member holds by its own account, where it says so.
    pub(crate) owned: Option<&'a Partitions>,
    /// Whether any member holds a partition.
    pub(crate) is_held: &'a dyn Fn(TopicId, i32) -> bool,
}

impl Step<'_> {
    /// What the member may hold from now on.
    pub(crate) fn next(&self) -> Current {
        match self.current.state {
            MemberState::Stable if self.current.epoch != self.target_epoch => self.towards_target(),
            MemberState::Unrevoked if !self.still_owns(&self.current.revoking) => self.towards_target(),
            MemberState::Stable | MemberState::Unrevoked if self.resubscribes => self.without_unsubscribed(),
            MemberState::Stable | MemberState::Unrevoked => self.current.clone(),
            MemberState::Unreleased => self.towards_target(),
            // It was told to begin anew, and holds nothing by its own account.
            MemberState::Unknown => {
                let anew = Current { epoch: self.target_epoch, ..self.current.clone() };
                Step { current: &anew, ..*self }.towards_target()
            }
        }
    }

    /// A member that does not say what it holds may hold anything.
    fn still_owns(&self, revoked: &Held) -> bool {
        let owns = |topic: &TopicId, partitions: &BTreeMap<i32, i32>| {
            let owned = self.owned.and_then(|owned| owned.get(topic));
            owned.is_some_and(|owned| owned.iter().any(|partition| partitions.contains_key(partition)))
        };
        self.owned.is_none() || revoked.iter().any(|(topic, partitions)| owns(topic, partitions))
    }

    /// A partition of the target is free for this member where nobody holds it, or only this member, which gives it up right now.
    fn is_free(&self, topic: TopicId, partition: i32) -> bool {
        let gives_up = self.current.revoking.get(&topic).is_some_and(|partitions| partitions.contains_key(&partition));
        gives_up || !(self.is_held)(topic, partition)
    }

    fn towards_target(&self) -> Current {
        let nothing = BTreeSet::new();
        let mut assigned = Held::new();
        let mut revoking = Held::new();
        let mut is_incomplete = false;
        let mut added = Vec::new();
        let subscribed = |topic: &TopicId| self.subscribed.contains_key(topic);
        for (topic, partitions) in &self.current.assigned {
            let target = self.target.get(topic).filter(|_| subscribed(topic)).unwrap_or(&nothing);
            for (partition, epoch) in partitions {
                let kept = if target.contains(partition) { &mut assigned } else { &mut revoking };
                kept.entry(*topic).or_default().insert(*partition, *epoch);
            }
        }
        for (topic, partitions) in self.target.iter().filter(|(topic, _)| subscribed(topic)) {
            let kept = assigned.get(topic);
            let missing = partitions.iter().filter(|it| kept.is_none_or(|kept| !kept.contains_key(it)));
            for partition in missing {
                if self.is_free(*topic, *partition) {
                    added.push((*topic, *partition));
                } else {
                    is_incomplete = true;
                }
            }
        }
        if !revoking.is_empty() && self.still_owns(&revoking) {
            return self.at(self.current.epoch, MemberState::Unrevoked, assigned, revoking);
        }
        for (topic, partition) in added {
            assigned.entry(topic).or_default().insert(partition, self.target_epoch);
        }
        let state = if is_incomplete { MemberState::Unreleased } else { MemberState::Stable };
        self.at(self.target_epoch, state, assigned, Held::new())
    }

    /// Gives up what the member has unsubscribed from, without waiting for the next target.
    fn without_unsubscribed(&self) -> Current {
        let mut assigned = self.current.assigned.clone();
        let mut revoking = self.current.revoking.clone();
        assigned.retain(|topic, partitions| {
            let stays = self.subscribed.contains_key(topic);
            if !stays {
                revoking.entry(*topic).or_default().append(partitions);
            }
            stays
        });
        if assigned == self.current.assigned {
            return self.current.clone();
        }
        if self.still_owns(&revoking) {
            self.at(self.current.epoch, MemberState::Unrevoked, assigned, revoking)
        } else {
            self.at(self.current.epoch, self.current.state, assigned, self.current.revoking.clone())
        }
    }

    fn at(&self, epoch: i32, state: MemberState, assigned: Held, revoking: Held) -> Current {
        Current { epoch, previous_epoch: self.current.epoch, state, assigned, revoking }
    }
}
