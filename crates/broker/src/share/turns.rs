//! One question of a group's coordinator to the share coordinator at a time, and what nobody has answered.
//!
//! Deleting knows no epochs in Kafka's protocol, so a deletion and an initialisation of one share-partition must not overtake one another
//! (`docs/adr/0182-share-groups-are-decided-by-two-coordinators.md`). A question without an answer may be on its way still: it is asked again
//! until there is an answer, by the connection that it went by, before one of the other kind leaves.

use super::questions::{Delete, Initialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedMutexGuard;
use world::lock;

/// Of groups that something is asked about, or was without an answer.
#[derive(Default)]
pub(crate) struct Turns(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Unanswered>>>>);

/// What was asked about a group, by its coordinator of that epoch.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    pub(super) leader_epoch: i32,
    pub(super) initializations: Vec<Initialize>,
    pub(super) deletions: Vec<Delete>,
}

/// A group's turn.
pub(super) type Turn = OwnedMutexGuard<Unanswered>;

impl Turns {
    /// Waits for a group's turn. What an earlier coordinator did not hear of is the business of whoever was coordinator in between.
    pub(super) async fn of(&self, group: &str, leader_epoch: i32) -> Turn {
        let turn = lock(&self.0).entry(group.to_owned()).or_default().clone();
        let mut turn = turn.lock_owned().await;
        if turn.leader_epoch != leader_epoch {
            *turn = Unanswered { leader_epoch, ..Unanswered::default() };
        }
        turn
    }

    /// Ends it.
    pub(super) fn end(&self, group: &str, turn: Turn) {
        let is_over = turn.initializations.is_empty() && turn.deletions.is_empty();
        drop(turn);
        let mut turns = lock(&self.0);
        // Nobody else waits for it, and nobody can begin to meanwhile.
        if is_over && turns.get(group).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(group);
        }
    }
}
