//! The sticky assignor: even, sticky, and copies at other processes.

use crate::streams::assign::{Candidate, Work, assign};
use crate::{TaskSets, Tasks};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Members = Vec<(String, String)>;

fn assigned(
    members: &Members,
    before: &BTreeMap<String, TaskSets>,
    work: &BTreeMap<String, Work>,
    replicas: usize,
) -> BTreeMap<String, TaskSets> {
    let candidates = members
        .iter()
        .map(|(id, process)| (id.as_str(), Candidate { process_id: process.as_str(), before: before.get(id) }));
    assign(&candidates.collect(), work, replicas)
}

fn work(all: &[(&str, i32, bool)]) -> BTreeMap<String, Work> {
    all.iter()
        .map(|(id, tasks, is_stateful)| ((*id).to_owned(), Work { tasks: *tasks, is_stateful: *is_stateful }))
        .collect()
}

fn flat(tasks: &Tasks) -> BTreeSet<(String, i32)> {
    tasks.iter().flat_map(|(id, tasks)| tasks.iter().map(|task| (id.clone(), *task))).collect()
}

fn named(members: &[(&str, &str)]) -> Members {
    members.iter().map(|(id, process)| ((*id).to_owned(), (*process).to_owned())).collect()
}

#[test]
fn tasks_stay_as_far_as_that_is_even() {
    let work = work(&[("0", 4, false)]);
    let one = assigned(&named(&[("a", "p")]), &BTreeMap::new(), &work, 0);
    assert_eq!(flat(&one["a"].active).len(), 4);
    let members = named(&[("a", "p"), ("b", "q")]);
    let two = assigned(&members, &one, &work, 0);
    assert_eq!((flat(&two["a"].active).len(), flat(&two["b"].active).len()), (2, 2));
    assert_eq!(assigned(&members, &two, &work, 0), two, "nothing moves without a reason");
    let alone = assigned(&named(&[("b", "q")]), &two, &work, 0);
    assert!(flat(&alone["b"].active).is_superset(&flat(&two["b"].active)));
}

#[test]
fn who_has_a_copy_goes_on_with_the_task() {
    let work = work(&[("0", 3, true)]);
    let members = named(&[("a", "p"), ("b", "q"), ("c", "r")]);
    let three = assigned(&members, &BTreeMap::new(), &work, 1);
    let left = named(&[("a", "p"), ("b", "q")]);
    let two = assigned(&left, &three, &work, 1);
    for (id, _) in &left {
        assert!(flat(&two[id].active).is_superset(&flat(&three[id].active)));
    }
    let copied = flat(&three["c"].active).into_iter().next().unwrap();
    let holder = left.iter().find(|(id, _)| flat(&three[id].standby).contains(&copied)).unwrap();
    assert!(flat(&two[&holder.0].active).contains(&copied));
}

proptest! {
    #[test]
    fn each_task_is_active_once_and_no_process_has_a_task_twice(
        processes in proptest::collection::vec(0..4_u8, 1..7),
        tasks in proptest::collection::vec((0..6_i32, any::<bool>()), 1..4),
        replicas in 0..3_usize,
        gone in proptest::collection::vec(any::<bool>(), 7),
    ) {
        let members: Members =
            processes.iter().enumerate().map(|(place, process)| (format!("m{place}"), format!("p{process}"))).collect();
        let ids = ["0", "1", "2", "3"];
        let work: Vec<_> = tasks.iter().zip(ids).map(|((count, is_stateful), id)| (id, *count, *is_stateful)).collect();
        let all: BTreeSet<(String, i32)> =
            work.iter().flat_map(|(id, count, _)| (0..*count).map(|task| ((*id).to_owned(), task))).collect();
        let work = self::work(&work);
        let first = assigned(&members, &BTreeMap::new(), &work, replicas);
        let left: Members = members.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(it, _)| it.clone()).collect();
        for (members, before) in [(&members, &BTreeMap::new()), (&left, &first), (&members, &first)] {
            let result = assigned(members, before, &work, replicas);
            if members.is_empty() {
                continue;
            }
            let active: Vec<_> = result.values().flat_map(|sets| flat(&sets.active)).collect();
            prop_assert_eq!(active.iter().cloned().collect::<BTreeSet<_>>(), all.clone());
            prop_assert_eq!(active.len(), all.len());
            let mut by_process: BTreeMap<&str, Vec<(String, i32)>> = BTreeMap::new();
            for (id, process) in members {
                let sets = &result[id];
                by_process.entry(process).or_default().extend(flat(&sets.active).into_iter().chain(flat(&sets.standby)));
            }
            for tasks in by_process.values() {
                prop_assert_eq!(tasks.iter().collect::<BTreeSet<_>>().len(), tasks.len());
            }
            let copies = replicas.min(by_process.len() - 1);
            let stateful = all.iter().filter(|(id, _)| work[id].is_stateful).count();
            let standby: usize = result.values().map(|sets| flat(&sets.standby).len()).sum();
            prop_assert_eq!(standby, stateful * copies);
        }
    }
}
