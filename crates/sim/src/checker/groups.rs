//! What consumer groups were told, checked while it happens (invariants 12 and 13).
//!
//! A committed offset is a register: each commit writes a number that no other commit of that partition of that group writes, so
//! a fetch tells which commit it saw. A fetch may see a commit only if no later one was over before the fetch was asked; *later*
//! is what was asked after the earlier one was over, and what a fetch has seen counts as over from then on, answered or not.
//!
//! A generation has one assignment: nobody is told another's partitions in it, or two different things, or what no leader said;
//! and once somebody was told of a generation, nothing of an older one is let through.

use crate::checker::History;
use crate::world::Trace;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Partitions of topics, as a group consumes them.
pub type Partitions = Vec<(String, i32)>;

/// A partition of a topic as one group has committed it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupPartition {
    /// The group's id.
    pub group: String,
    /// The topic's name.
    pub topic: String,
    /// Kafka's number.
    pub partition: i32,
}

/// One of the moments at which something was asked or answered, in their true order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// A commit that is under way.
#[derive(Debug, Clone)]
pub struct Committing {
    key: GroupPartition,
    /// The offset to commit.
    pub offset: i64,
    generation: Option<i32>,
    asked: Moment,
}

/// What the groups of one run did; clones share it.
#[derive(Clone)]
pub struct GroupHistory {
    inner: Arc<Mutex<Inner>>,
    history: History,
    trace: Trace,
}

#[derive(Default)]
struct Inner {
    now: u64,
    /// By the offset that each commits: they are numbered in the order in which they were asked for.
    commits: BTreeMap<GroupPartition, Vec<Commit>>,
    generations: BTreeMap<(String, i32), Generation>,
}

struct Commit {
    asked: Moment,
    /// It has surely taken effect by then; unknown where nobody was told so.
    over: Option<Moment>,
}

/// What is known of one generation of a group.
#[derive(Default)]
struct Generation {
    /// Somebody was told its part of it then, for the first time.
    told: Option<Moment>,
    /// What its leaders said, by owner: more than one where a coordinator was lost before it had stored the first.
    proposals: Vec<BTreeMap<String, Partitions>>,
    /// What its members were told. A member's name is its instance id, else its member id.
    assignments: BTreeMap<String, Partitions>,
}

impl GroupHistory {
    /// Nothing yet. Violations go to `history`.
    #[must_use]
    pub fn new(history: History, trace: Trace) -> GroupHistory {
        GroupHistory { inner: Arc::default(), history, trace }
    }

    /// The present moment: something is about to be asked.
    #[must_use]
    pub fn asks(&self) -> Moment {
        self.lock().moment()
    }

    /// A commit is about to be asked for, by a member of a generation or by somebody without one.
    #[must_use]
    pub fn commits(&self, key: &GroupPartition, generation: Option<i32>) -> Committing {
        let mut inner = self.lock();
        let asked = inner.moment();
        let commits = inner.commits.entry(key.clone()).or_default();
        let offset = i64::try_from(commits.len()).unwrap_or(i64::MAX);
        commits.push(Commit { asked, over: None });
        Committing { key: key.clone(), offset, generation, asked }
    }

    /// The answer said that it is committed.
    pub fn committed(&self, commit: &Committing) {
        let mut inner = self.lock();
        inner.is_over(&commit.key, commit.offset);
        let newer =
            commit.generation.and_then(|generation| inner.told_before(&commit.key.group, generation + 1, commit.asked));
        drop(inner);
        if let Some(newer) = newer {
            let Committing { key, offset, generation, .. } = commit;
            self.history.violation(format!(
                "generations: {key:?} took the commit of {offset} by generation {generation:?} after {newer} had begun"
            ));
        }
        self.trace.count("check.group_commit");
    }

    /// A fetch that was asked for at that moment found this offset; `None`: nothing was committed.
    pub fn fetched(&self, key: &GroupPartition, asked: Moment, found: Option<i64>) {
        let mut inner = self.lock();
        let commits = inner.commits.get(key).map(Vec::as_slice).unwrap_or_default();
        let seen = found.map(|offset| usize::try_from(offset).ok().and_then(|at| commits.get(at)));
        let seen_over = match seen {
            // Before everything else nothing was committed.
            None => Some(Moment(0)),
            Some(Some(commit)) => commit.over,
            Some(None) => {
                self.history.violation(format!("invented: {key:?} has {found:?}, which nobody has committed"));
                return;
            }
        };
        let is_later = |commit: &&Commit| seen_over.is_some_and(|over| over < commit.asked);
        let is_over = |commit: &&Commit| commit.over.is_some_and(|over| over < asked);
        let missed = commits.iter().rposition(|commit| is_later(&commit) && is_over(&commit));
        if let Some(missed) = missed {
            self.history.violation(format!(
                "went back: {key:?} has {found:?}, while {missed} was committed later, and before the question"
            ));
        }
        if let Some(offset) = found {
            inner.is_over(key, offset);
        }
        drop(inner);
        self.trace.count("check.group_fetch");
    }

    /// A leader is about to say who has what.
    pub fn proposes(&self, group: &str, generation: i32, assignments: BTreeMap<String, Partitions>) {
        self.lock().generation(group, generation).proposals.push(assignments);
    }

    /// A member was told its part of a generation that it asked for at that moment.
    pub fn assigned(&self, group: &str, generation: i32, owner: &str, asked: Moment, partitions: &Partitions) {
        let mut inner = self.lock();
        let newer = inner.told_before(group, generation + 1, asked);
        let told = inner.moment();
        let of = inner.generation(group, generation);
        let mut wrong = Vec::new();
        if let Some(newer) = newer {
            wrong.push(format!("was told after {newer} had begun"));
        }
        for partition in partitions {
            let others = of.assignments.iter().filter(|(other, theirs)| *other != owner && theirs.contains(partition));
            wrong.extend(others.map(|(other, _)| format!("gives {partition:?} to {owner} and to {other}")));
        }
        let before = of.assignments.insert(owner.to_owned(), partitions.clone());
        if before.as_ref().is_some_and(|before| before != partitions) {
            wrong.push(format!("tells {owner} {before:?}, then {partitions:?}"));
        }
        let nothing = Partitions::new();
        let is_said = |said: &BTreeMap<String, Partitions>| said.get(owner).unwrap_or(&nothing) == partitions;
        if !of.proposals.iter().any(is_said) {
            wrong.push(format!("tells {owner} {partitions:?}, which no leader said"));
        }
        of.told.get_or_insert(told);
        drop(inner);
        for wrong in wrong {
            self.history.violation(format!("generations: generation {generation} of {group} {wrong}"));
        }
        self.trace.count("check.group_assignment");
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn moment(&mut self) -> Moment {
        self.now += 1;
        Moment(self.now)
    }

    fn is_over(&mut self, key: &GroupPartition, offset: i64) {
        let now = self.moment();
        let commit = usize::try_from(offset).ok().and_then(|at| self.commits.get_mut(key)?.get_mut(at));
        if let Some(commit) = commit {
            commit.over.get_or_insert(now);
        }
    }

    fn generation(&mut self, group: &str, number: i32) -> &mut Generation {
        self.generations.entry((group.to_owned(), number)).or_default()
    }

    /// A generation from this number on that somebody had been told of at that moment.
    fn told_before(&self, group: &str, first: i32, moment: Moment) -> Option<i32> {
        let mut later = self.generations.range((group.to_owned(), first)..=(group.to_owned(), i32::MAX));
        later.find(|(_, it)| it.told.is_some_and(|told| told < moment)).map(|((_, number), _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> (GroupHistory, History) {
        let trace = Trace::new(None);
        let history = History::new(trace.clone());
        (GroupHistory::new(history.clone(), trace), history)
    }

    fn key() -> GroupPartition {
        GroupPartition { group: "g".to_owned(), topic: "t".to_owned(), partition: 0 }
    }

    #[test]
    fn a_fetch_may_see_what_was_answered_or_is_under_way_and_nothing_older() {
        let (groups, history) = history();
        groups.fetched(&key(), groups.asks(), None);
        let first = groups.commits(&key(), None);
        let early = groups.asks();
        groups.committed(&first);
        let lost = groups.commits(&key(), None);
        groups.fetched(&key(), early, None);
        groups.fetched(&key(), groups.asks(), Some(first.offset));
        groups.fetched(&key(), groups.asks(), Some(lost.offset));
        assert_eq!(history.violations(), Vec::<String>::new());
        groups.fetched(&key(), groups.asks(), Some(first.offset));
        groups.fetched(&key(), groups.asks(), None);
        groups.fetched(&key(), groups.asks(), Some(99));
        let kinds: Vec<String> = history.violations().iter().map(|it| it[..9].to_owned()).collect();
        assert_eq!(kinds, ["went back", "went back", "invented:"]);
    }

    #[test]
    fn a_generation_has_one_assignment_and_ends_the_one_before() {
        let (groups, history) = history();
        let parts = |numbers: &[i32]| numbers.iter().map(|number| ("t".to_owned(), *number)).collect::<Partitions>();
        let said = BTreeMap::from([("a".to_owned(), parts(&[0])), ("b".to_owned(), parts(&[1]))]);
        groups.proposes("g", 1, said);
        let early = groups.commits(&key(), Some(0));
        groups.assigned("g", 1, "a", groups.asks(), &parts(&[0]));
        groups.assigned("g", 1, "b", groups.asks(), &parts(&[1]));
        groups.committed(&early);
        assert_eq!(history.violations(), Vec::<String>::new());
        groups.committed(&groups.commits(&key(), Some(0)));
        groups.assigned("g", 1, "c", groups.asks(), &parts(&[1]));
        assert_eq!(history.violations().len(), 3, "{:?}", history.violations());
    }
}
