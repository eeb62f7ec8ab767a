//! The persister of the small world, and what may happen to writes on their way.

use super::{Outcome, World};
use crate::share_partition::{DeliveryState, PersistedShare, ShareError, ShareStateBatch, ShareWrite};
use base::{Offset, OffsetRange};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Persister {
    leader_epoch: i32,
    start: Offset,
    kept: BTreeMap<u64, (DeliveryState, i16)>,
}

/// A write under way.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) leader: usize,
    pub(super) write: ShareWrite,
    /// Its leader does not wait any more.
    pub(super) is_given_up: bool,
}

#[derive(Debug)]
pub(super) struct Reply {
    leader: usize,
    id: u64,
    outcome: Result<(), ShareError>,
}

impl Persister {
    pub(super) fn read(&mut self, leader_epoch: i32) -> (Offset, PersistedShare) {
        self.leader_epoch = leader_epoch;
        let mut batches: Vec<ShareStateBatch> = Vec::new();
        for (&offset, &(state, delivery_count)) in self.kept.range(self.start.0..) {
            let range = OffsetRange::new(Offset(offset), Offset(offset + 1));
            crate::share_partition::fetched::push_state(&mut batches, ShareStateBatch { range, state, delivery_count });
        }
        (self.start, PersistedShare { state_epoch: 0, batches })
    }

    pub(super) fn is_done(&self, offset: u64) -> bool {
        offset < self.start.0 || self.kept.get(&offset).is_some_and(|(state, _)| state.is_done())
    }

    /// How often it was delivered, as far as is known.
    pub(super) fn count(&self, offset: u64) -> i16 {
        self.kept.get(&offset).map_or(0, |(_, count)| *count)
    }

    pub(super) fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    fn apply(&mut self, write: &ShareWrite) -> Outcome {
        if write.start < self.start {
            return Err("the start goes back");
        }
        self.start = write.start;
        for batch in &write.batches {
            for offset in batch.range.base.0..batch.range.next.0 {
                let before = self.kept.insert(offset, (batch.state, batch.delivery_count));
                if before.is_some_and(|(_, count)| count > batch.delivery_count) {
                    return Err("a record was delivered less often than before");
                }
            }
        }
        Ok(())
    }
}

impl World {
    pub(super) fn write_arrives(&mut self) -> Outcome {
        if self.sent.is_empty() {
            return Ok(());
        }
        let place = self.below(self.sent.len());
        let Sent { leader, write, is_given_up } = self.sent.remove(place);
        // What was given up does not arrive after a later one.
        self.sent.retain(|it| it.leader != leader || !it.is_given_up || it.write.id > write.id);
        let is_fenced = write.leader_epoch < self.persister.leader_epoch;
        if !is_fenced {
            self.persister.apply(&write)?;
        }
        if !is_given_up {
            let outcome = if is_fenced { Err(ShareError::NotLeader) } else { Ok(()) };
            self.replies.push(Reply { leader, id: write.id, outcome });
        }
        Ok(())
    }

    pub(super) fn write_fails(&mut self) -> Outcome {
        self.fail(true)
    }

    pub(super) fn write_is_given_up(&mut self) -> Outcome {
        self.fail(false)
    }

    fn fail(&mut self, for_good: bool) -> Outcome {
        if self.sent.is_empty() {
            return Ok(());
        }
        let place = self.below(self.sent.len());
        if self.sent[place].is_given_up {
            return Ok(());
        }
        let (leader, id) = (self.sent[place].leader, self.sent[place].write.id);
        if for_good {
            self.sent.remove(place);
        } else {
            self.sent[place].is_given_up = true;
        }
        self.tell(&Reply { leader, id, outcome: Err(ShareError::CoordinatorNotAvailable) }, for_good)
    }

    pub(super) fn reply_arrives(&mut self) -> Outcome {
        if self.replies.is_empty() {
            return Ok(());
        }
        let place = self.below(self.replies.len());
        let reply = self.replies.remove(place);
        self.tell(&reply, true)
    }

    fn tell(&mut self, reply: &Reply, for_good: bool) -> Outcome {
        let leader = &mut self.leaders[reply.leader];
        leader.share.wrote(self.now, reply.id, reply.outcome, &mut leader.fx);
        self.go_on(reply.leader, for_good)
    }
}
