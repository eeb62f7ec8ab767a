//! One member's way to the target, step by step, one step for each of its heartbeats; as in consumer groups, but for tasks of three kinds: nothing
//! of a process runs twice there, whatever its kind.

use super::state::{Current, Held, HeldTasks, MemberState, TaskSets, Tasks};
use std::collections::{BTreeMap, BTreeSet};

/// Who holds a task, in either list of what members have.
#[derive(Debug, Default)]
pub(super) struct Holders<'a> {
    /// Tasks that are active anywhere.
    pub(super) active: BTreeSet<(&'a str, i32)>,
    /// Tasks that the member's own process has, of any kind.
    pub(super) at_process: BTreeSet<(&'a str, i32)>,
}

/// What decides about the next step.
pub(super) struct Step<'a> {
    pub(super) current: &'a Current,
    pub(super) target_epoch: i32,
    pub(super) target: &'a TaskSets,
    /// What the member runs by its own account, where it says so.
    pub(super) owned: Option<&'a TaskSets>,
    pub(super) holders: &'a Holders<'a>,
}

impl Step<'_> {
    /// What the member may run from now on.
    pub(super) fn next(&self) -> Current {
        let Current { epoch, state, revoking, .. } = self.current;
        match state {
            MemberState::Stable if *epoch == self.target_epoch => self.current.clone(),
            MemberState::Unrevoked if self.still_owns(revoking) => self.current.clone(),
            MemberState::Stable | MemberState::Unreleased => self.towards_target(*epoch),
            MemberState::Unrevoked => self.towards_target(epoch.saturating_add(1)),
            // It was told to begin anew, and runs nothing by its own account.
            MemberState::Unknown => self.towards_target(self.target_epoch),
        }
    }

    /// A member that does not say what it runs may run anything.
    fn still_owns(&self, revoked: &Held) -> bool {
        let Some(owned) = self.owned else { return true };
        let revoked = revoked.sets();
        let kinds =
            [(&owned.active, &revoked.active), (&owned.standby, &revoked.standby), (&owned.warmup, &revoked.warmup)];
        kinds.into_iter().any(|(owned, revoked)| {
            owned.iter().any(|(id, tasks)| revoked.get(id).is_some_and(|revoked| !revoked.is_disjoint(tasks)))
        })
    }

    fn towards_target(&self, epoch: i32) -> Current {
        let Current { assigned, .. } = self.current;
        let before = assigned.sets();
        let is_taken = |id: &str, task: i32| self.holders.at_process.contains(&(id, task));
        let is_active = |id: &str, task: i32| self.holders.active.contains(&(id, task)) || is_taken(id, task);
        let active = Difference::of(&before.active, &self.target.active, is_active);
        let standby = Difference::of(&before.standby, &self.target.standby, is_taken);
        let warmup = Difference::of(&before.warmup, &self.target.warmup, is_taken);
        let is_incomplete = active.is_incomplete || standby.is_incomplete || warmup.is_incomplete;
        let revoking = Held {
            active: with_epochs(&active.revoked, &assigned.active, 0),
            standby: standby.revoked,
            warmup: warmup.revoked,
        };
        let kept =
            Held { active: with_epochs(&active.kept, &assigned.active, 0), standby: standby.kept, warmup: warmup.kept };
        if !revoking.is_empty() && self.still_owns(&revoking) {
            return self.at(epoch, MemberState::Unrevoked, kept, revoking);
        }
        let mut next = kept;
        for (id, tasks) in with_epochs(&active.added, &HeldTasks::new(), self.target_epoch) {
            next.active.entry(id).or_default().extend(tasks);
        }
        for (id, tasks) in standby.added {
            next.standby.entry(id).or_default().extend(tasks);
        }
        for (id, tasks) in warmup.added {
            next.warmup.entry(id).or_default().extend(tasks);
        }
        let state = if is_incomplete { MemberState::Unreleased } else { MemberState::Stable };
        self.at(self.target_epoch, state, next, Held::default())
    }

    fn at(&self, epoch: i32, state: MemberState, assigned: Held, revoking: Held) -> Current {
        // The one before also where the epoch stays, as in Kafka: who comes with it has lost an answer.
        let before = self.current.epoch;
        Current { epoch, previous_epoch: before, state, assigned, revoking }
    }
}

/// What becomes of tasks of one kind.
#[derive(Default)]
struct Difference {
    kept: Tasks,
    revoked: Tasks,
    added: Tasks,
    /// Some of the target are not free.
    is_incomplete: bool,
}

impl Difference {
    fn of(before: &Tasks, target: &Tasks, is_taken: impl Fn(&str, i32) -> bool) -> Difference {
        let (nothing, mut difference) = (BTreeSet::new(), Difference::default());
        for (id, tasks) in before {
            let wanted = target.get(id).unwrap_or(&nothing);
            put(&mut difference.kept, id, tasks.intersection(wanted));
            put(&mut difference.revoked, id, tasks.difference(wanted));
        }
        for (id, tasks) in target {
            let missing = tasks.difference(before.get(id).unwrap_or(&nothing));
            let (taken, free): (Vec<&i32>, Vec<&i32>) = missing.partition(|task| is_taken(id, **task));
            difference.is_incomplete |= !taken.is_empty();
            put(&mut difference.added, id, free.into_iter());
        }
        difference
    }
}

fn put<'a>(tasks: &mut Tasks, id: &str, more: impl Iterator<Item = &'a i32>) {
    let more: BTreeSet<i32> = more.copied().collect();
    if !more.is_empty() {
        tasks.entry(id.to_owned()).or_default().extend(more);
    }
}

/// With the epochs that they were given at.
fn with_epochs(tasks: &Tasks, known: &HeldTasks, epoch: i32) -> HeldTasks {
    let of = |(id, tasks): (&String, &BTreeSet<i32>)| {
        let given = |task: &i32| known.get(id).and_then(|known| known.get(task)).copied().unwrap_or(epoch);
        let tasks: BTreeMap<i32, i32> = tasks.iter().map(|task| (*task, given(task))).collect();
        (id.clone(), tasks)
    };
    tasks.iter().map(of).collect()
}
