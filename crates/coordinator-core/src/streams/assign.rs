//! Kafka's *sticky* assignor: tasks stay where they were as far as that is even; what is left goes where least is.
//!
//! Members of one process share its disk, so a task's copies are spread over processes. Load is counted by process, in tasks for each of its members.

use super::state::TaskSets;
use std::collections::{BTreeMap, BTreeSet};

/// A subtopology and the task's number in it.
type TaskId = (String, i32);

/// A member that is to be assigned to.
pub(super) struct Candidate<'a> {
    pub(super) process_id: &'a str,
    /// Its part of the target before.
    pub(super) before: Option<&'a TaskSets>,
}

/// What there is to assign of a subtopology.
pub(super) struct Work {
    pub(super) tasks: i32,
    /// Its tasks have state, of which there are copies.
    pub(super) is_stateful: bool,
}

/// What each member is to run.
pub(super) fn assign(
    members: &BTreeMap<&str, Candidate<'_>>,
    work: &BTreeMap<String, Work>,
    standby_replicas: usize,
) -> BTreeMap<String, TaskSets> {
    if members.is_empty() {
        return BTreeMap::new();
    }
    let of = |(id, work): (&String, &Work)| (0..work.tasks).map(|task| (id.clone(), task)).collect::<Vec<_>>();
    let active: Vec<TaskId> = work.iter().flat_map(of).collect();
    let stateful: Vec<TaskId> = work.iter().filter(|(_, work)| work.is_stateful).flat_map(of).collect();
    let all = active.len() + stateful.len() * standby_replicas;
    let mut sharing = Sharing::new(members, active.len(), all);
    sharing.assign_active(active);
    if standby_replicas > 0 {
        sharing.assign_standby(stateful, standby_replicas);
    }
    sharing.assigned
}

/// How many tasks each of those that have room is to have. Who has that many has no room any more, and counts no longer.
struct Quota {
    tasks: usize,
    members: usize,
    each: usize,
}

impl Quota {
    fn new(tasks: usize, members: usize) -> Quota {
        Quota { tasks, members, each: if members == 0 { 0 } else { tasks.div_ceil(members) } }
    }

    fn given(&mut self, count: usize) {
        if count == self.each {
            *self = Quota::new(self.tasks.saturating_sub(count), self.members.saturating_sub(1));
        }
    }
}

/// A process with its members.
#[derive(Default)]
struct Process {
    /// By how many tasks of both kinds they have.
    members: BTreeSet<(usize, String)>,
    count: usize,
    tasks: BTreeSet<TaskId>,
}

struct Sharing<'a> {
    processes: BTreeMap<&'a str, Process>,
    /// Processes by their load: tasks for each member, in millionths.
    by_load: BTreeSet<(usize, &'a str)>,
    process_of: BTreeMap<&'a str, &'a str>,
    counts: BTreeMap<&'a str, usize>,
    was_active: BTreeMap<TaskId, &'a str>,
    /// As standby or to become active.
    was_standby: BTreeMap<TaskId, Vec<&'a str>>,
    active_quota: Quota,
    quota: Quota,
    assigned: BTreeMap<String, TaskSets>,
}

impl<'a> Sharing<'a> {
    fn new(members: &BTreeMap<&'a str, Candidate<'a>>, active: usize, all: usize) -> Sharing<'a> {
        let mut sharing = Sharing {
            processes: BTreeMap::new(),
            by_load: BTreeSet::new(),
            process_of: BTreeMap::new(),
            counts: BTreeMap::new(),
            was_active: BTreeMap::new(),
            was_standby: BTreeMap::new(),
            active_quota: Quota::new(active, members.len()),
            quota: Quota::new(all, members.len()),
            assigned: BTreeMap::new(),
        };
        for (id, Candidate { process_id, before }) in members {
            let process = sharing.processes.entry(process_id).or_default();
            process.members.insert((0, (*id).to_owned()));
            sharing.process_of.insert(id, process_id);
            sharing.counts.insert(id, 0);
            sharing.assigned.insert((*id).to_owned(), TaskSets::default());
            let Some(before) = before else { continue };
            for task in each(&before.active) {
                sharing.was_active.insert(task, id);
            }
            for task in each(&before.standby).chain(each(&before.warmup)) {
                sharing.was_standby.entry(task).or_default().push(id);
            }
        }
        sharing.by_load = sharing.processes.keys().map(|id| (0, *id)).collect();
        sharing
    }

    fn load(&self, process_id: &str) -> usize {
        self.processes.get(process_id).map_or(0, |process| process.count * 1_000_000 / process.members.len().max(1))
    }

    fn count(&self, member: &str) -> usize {
        self.counts.get(member).copied().unwrap_or(0)
    }

    fn has(&self, process_id: &str, task: &TaskId) -> bool {
        self.processes.get(process_id).is_some_and(|process| process.tasks.contains(task))
    }

    fn give(&mut self, member: &'a str, (subtopology, task): &TaskId, is_active: bool) {
        let process_id = self.process_of[member];
        let before = self.load(process_id);
        let Some(count) = self.counts.get_mut(member) else { return };
        let Some(process) = self.processes.get_mut(process_id) else { return };
        process.members.remove(&(*count, member.to_owned()));
        *count += 1;
        let count = *count;
        process.members.insert((count, member.to_owned()));
        process.count += 1;
        process.tasks.insert((subtopology.clone(), *task));
        self.by_load.remove(&(before, process_id));
        self.by_load.insert((self.load(process_id), process_id));
        if let Some(assigned) = self.assigned.get_mut(member) {
            let tasks = if is_active { &mut assigned.active } else { &mut assigned.standby };
            tasks.entry(subtopology.clone()).or_default().insert(*task);
        }
        if is_active {
            self.active_quota.given(count);
        }
        self.quota.given(count);
    }

    fn assign_active(&mut self, mut tasks: Vec<TaskId>) {
        // The same tasks of all subtopologies together, as they often read from the same topics.
        tasks.sort_by(|one, other| (one.1, &one.0).cmp(&(other.1, &other.0)));
        tasks.retain(|task| {
            let member = self.was_active.get(task).copied();
            !self.give_active(member, task)
        });
        tasks.retain(|task| {
            let member = self.least_of_standby(task, false);
            !self.give_active(member, task)
        });
        tasks.sort();
        for task in tasks {
            if let Some((_, process_id)) = self.by_load.first().copied() {
                self.give_least_of(process_id, &task, true);
            }
        }
    }

    /// Whether that member has room for it.
    fn give_active(&mut self, member: Option<&'a str>, task: &TaskId) -> bool {
        let Some(member) = member.filter(|member| self.count(member) < self.active_quota.each) else { return false };
        self.give(member, task, true);
        true
    }

    fn give_least_of(&mut self, process_id: &'a str, task: &TaskId, is_active: bool) {
        let least = self.processes.get(process_id).and_then(|process| process.members.first());
        let least = least.and_then(|(_, member)| self.process_of.get_key_value(member.as_str()));
        if let Some((member, _)) = least.map(|(member, process)| (*member, *process)) {
            self.give(member, task, is_active);
        }
    }

    /// Of the members that had it as standby, one of the process with the least load; of none that has it in any way, where that counts.
    fn least_of_standby(&self, task: &TaskId, must_lack: bool) -> Option<&'a str> {
        let members = self.was_standby.get(task)?;
        let lacks = |member: &&&str| !must_lack || !self.has(self.process_of[**member], task);
        members.iter().filter(lacks).min_by_key(|it| (self.load(self.process_of[**it]), self.count(it))).copied()
    }

    fn assign_standby(&mut self, mut tasks: Vec<TaskId>, replicas: usize) {
        // From the other end, so that copies don't pile up where the active tasks of the first subtopologies are.
        tasks.sort_by(|one, other| other.cmp(one));
        let mut left = Vec::new();
        for task in tasks {
            let mut missing = replicas;
            while missing > 0 {
                let was_active = self.was_active.get(&task).copied();
                let was_active = was_active.filter(|member| !self.has(self.process_of[member], &task));
                let member = was_active.filter(|member| self.count(member) < self.quota.each);
                let was_standby = || {
                    let member = self.least_of_standby(&task, true);
                    member.filter(|member| self.count(member) < self.quota.each)
                };
                let Some(member) = member.or_else(was_standby) else { break };
                self.give(member, &task, false);
                missing -= 1;
            }
            left.push((task, missing));
        }
        for (task, missing) in left {
            for _ in 0..missing {
                let process_id = self.by_load.iter().map(|(_, id)| *id).find(|id| !self.has(id, &task));
                // More copies than processes: there is nowhere left to put one.
                let Some(process_id) = process_id else { break };
                self.give_least_of(process_id, &task, false);
            }
        }
    }
}

fn each(tasks: &super::state::Tasks) -> impl Iterator<Item = TaskId> {
    tasks.iter().flat_map(|(subtopology, tasks)| tasks.iter().map(|task| (subtopology.clone(), *task)))
}
