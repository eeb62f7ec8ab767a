//! Walks all states of a model, breadth first, and tells the shortest way to the first bad one.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What happened: a name and what it was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step(pub &'static str, pub [i8; 3]);

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step(name, [first, second, third]) = self;
        write!(formatter, "{name}({first},{second},{third})")
    }
}

/// A protocol with its clients and its faults.
pub trait Model {
    type State: Clone + Hash;

    fn first(&self) -> Self::State;

    /// All that may happen next.
    fn next(&self, state: &Self::State) -> Vec<(Step, Self::State)>;

    /// What must never be, if it is.
    fn bad(&self, state: &Self::State) -> Option<&'static str>;
}

/// What came of it.
#[derive(Debug)]
pub struct Explored {
    pub states: usize,
    /// Whether every state was seen, or else the search ended with its bound or with what it found.
    pub whole: bool,
    /// What was found first, and the steps that lead there.
    pub found: Option<(&'static str, Vec<Step>)>,
}

/// Sixty-four bits stand for a state: with a million of them two are taken for one with a chance of 1 in 37 million.
fn fingerprint<S: Hash>(state: &S) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Walks the model, about `states_max` states of it at the most.
pub fn explore<M: Model>(model: &M, states_max: usize) -> Explored {
    let first = model.first();
    let start = fingerprint(&first);
    // Each state with the one that it was reached from first.
    let mut seen = BTreeMap::from([(start, start)]);
    let mut frontier = vec![first];
    while !frontier.is_empty() && seen.len() <= states_max {
        let mut further = Vec::new();
        for state in &frontier {
            let from = fingerprint(state);
            for (_, next) in model.next(state) {
                let to = fingerprint(&next);
                if seen.contains_key(&to) {
                    continue;
                }
                seen.insert(to, from);
                if let Some(what) = model.bad(&next) {
                    let found = Some((what, way(model, &seen, to)));
                    return Explored { states: seen.len(), whole: false, found };
                }
                further.push(next);
            }
        }
        frontier = further;
    }
    Explored { states: seen.len(), whole: frontier.is_empty(), found: None }
}

/// The steps from the first state to that one, by taking them again.
fn way<M: Model>(model: &M, seen: &BTreeMap<u64, u64>, end: u64) -> Vec<Step> {
    let mut state = model.first();
    let start = fingerprint(&state);
    let mut prints = vec![end];
    let mut at = end;
    while at != start {
        at = seen[&at];
        prints.push(at);
    }
    let mut steps = Vec::new();
    for print in prints.iter().rev().skip(1) {
        let found = model.next(&state).into_iter().find(|(_, next)| fingerprint(next) == *print);
        let Some((step, next)) = found else { break };
        steps.push(step);
        state = next;
    }
    steps
}
