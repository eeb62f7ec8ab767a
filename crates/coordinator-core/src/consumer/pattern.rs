//! Subscriptions by regular expression: compiled within bounds, matched in linear time (as Kafka does with RE2), and kept as names of topics.
//!
//! Linear is not enough: what one byte costs grows with the expression, and a short one can stand for thousands of states, which would be gone
//! through for each byte of each name while the group's partition is held. So an expression is matched by an automaton alone that is made as
//! names need it, in memory that is filled a few times at the most. An honest one fills little of it, however many names there are.

use super::options::ConsumerOptions;
use super::state::Resolved;
use super::topics::Topics;
use crate::effects::GroupError;
use base::UnixMillis;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

/// What an automaton takes while names are held against it, and how often that is filled at the most.
const CACHE_BYTES: usize = 2 << 20;
const CACHE_FILLS_MAX: usize = 2;

/// A regular expression that a whole name must match.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(DFA);

/// Names being held against one.
#[derive(Debug)]
pub(crate) struct Matching<'a> {
    pattern: &'a Pattern,
    cache: Cache,
}

/// It takes too much to find out what an expression matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMuch;

/// A regular expression that a topic's whole name must match.
pub(crate) fn compile(regex: &str, options: &ConsumerOptions) -> Result<Pattern, GroupError> {
    if regex.len() > options.regex_bytes_max {
        return Err(GroupError::InvalidRegex);
    }
    // By itself first: with what is put around it, some that are wrong would be right.
    syntax::parse(regex).map_err(|_| GroupError::InvalidRegex)?;
    let automaton = DFA::config()
        .cache_capacity(CACHE_BYTES)
        .minimum_cache_clear_count(Some(CACHE_FILLS_MAX))
        // Names are ASCII.
        .unicode_word_boundary(true);
    let states = thompson::Config::new().nfa_size_limit(Some(options.regex_compiled_bytes_max));
    let built = DFA::builder().configure(automaton).thompson(states).build(&format!("^(?:{regex})$"));
    built.map(Pattern).map_err(|_| GroupError::InvalidRegex)
}

impl Pattern {
    pub(crate) fn matching(&self) -> Matching<'_> {
        Matching { pattern: self, cache: self.0.create_cache() }
    }
}

impl Matching<'_> {
    /// Whether this whole name matches.
    pub(crate) fn matches(&mut self, name: &str) -> Result<bool, TooMuch> {
        let input = Input::new(name).anchored(Anchored::Yes).earliest(true);
        let found = self.pattern.0.try_search_fwd(&mut self.cache, &input);
        found.map(|found| found.is_some()).map_err(|_| TooMuch)
    }
}

/// The topics that match now.
pub(crate) fn resolve(pattern: &Pattern, topics: &Topics<'_>, now: UnixMillis) -> Result<Resolved, TooMuch> {
    let mut resolved = Resolved { version: topics.version, at: now, ..Resolved::default() };
    let (mut matching, mut outcome) = (pattern.matching(), Ok(()));
    (topics.names)(&mut |name| {
        if outcome.is_err() {
            return;
        }
        match matching.matches(name) {
            Ok(true) => {
                resolved.topics.insert(name.to_owned());
            }
            Ok(false) => {}
            Err(too_much) => outcome = Err(too_much),
        }
    });
    outcome.map(|()| resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(regex: &str, names: &[&str]) -> Vec<bool> {
        let pattern = compile(regex, &ConsumerOptions::default()).unwrap();
        let mut matching = pattern.matching();
        names.iter().map(|name| matching.matches(name).unwrap()).collect()
    }

    #[test]
    fn whole_names_match() {
        assert_eq!(matched("a.c|b", &["abc", "b", "abcd", "xabc", ""]), [true, true, false, false, false]);
        assert_eq!(matched("(?i)T-\\d+", &["t-1", "T-12", "t-", "t-x"]), [true, true, false, false]);
        assert_eq!(matched("\\w+\\b.\\w*", &["a.b", "a"]), [true, false]);
        assert_eq!(matched("", &["", "a"]), [true, false]);
        for wrong in ["(", "a)|(b", "[", "(?:(?:a{1000}){1000}){1000}"] {
            assert_eq!(compile(wrong, &ConsumerOptions::default()).unwrap_err(), GroupError::InvalidRegex, "{wrong}");
        }
    }

    #[test]
    fn an_expression_of_very_many_states_is_given_up_and_one_of_very_many_names_is_not() {
        let mut seed = base::Seed::new(7);
        let mut name =
            |length: usize| -> String { (0..length).map(|_| if seed.chance(500) { 'a' } else { 'b' }).collect() };
        let names: Vec<String> = (0..2_000).map(|_| name(220)).collect();
        let topics = |each: &mut dyn FnMut(&str)| names.iter().for_each(|name| each(name));
        let topics = Topics { names: &topics, ..Topics::NONE };
        for regex in ["[ab]*a[ab]{200}", "(?:[ab]*a[ab]{100}|[ab]*b[ab]{70})x?"] {
            let pattern = compile(regex, &ConsumerOptions::default()).unwrap();
            assert_eq!(resolve(&pattern, &topics, UnixMillis(0)), Err(TooMuch), "{regex}");
        }
        // Of thousands of states in each of few: whatever comes of it, it comes soon.
        let pattern = compile("(?:a?b?){2000}", &ConsumerOptions::default()).unwrap();
        let _outcome = resolve(&pattern, &topics, UnixMillis(0));
        let all = names.join("|");
        let all = all.get(..8_000).unwrap();
        for (regex, count) in [("[ab]+", 2_000), (".*aab.*", 2_000), (all, 36)] {
            let pattern = compile(regex, &ConsumerOptions::default()).unwrap();
            assert_eq!(resolve(&pattern, &topics, UnixMillis(0)).unwrap().topics.len(), count);
        }
    }
}
