//! Which transactional ids a list is to have (KIP-1152): a regular expression that a whole id must match.

use crate::consumer::{ConsumerOptions, Matching, Pattern, compile};
use crate::effects::GroupError;

/// A pattern of transactional ids, compiled within the bounds of those of topics.
#[derive(Debug, Clone)]
pub struct IdPattern(Option<Pattern>);

/// Ids being held against a pattern.
#[derive(Debug)]
pub struct IdMatching<'a> {
    matching: Option<Matching<'a>>,
    /// It took too much to find out.
    is_given_up: bool,
}

impl IdPattern {
    /// None, and the empty one, match all, as in Kafka.
    ///
    /// # Errors
    /// It is no regular expression, or too large.
    pub fn new(pattern: Option<&str>) -> Result<IdPattern, GroupError> {
        let pattern = pattern.filter(|pattern| !pattern.is_empty());
        pattern.map(|pattern| compile(pattern, &ConsumerOptions::default())).transpose().map(IdPattern)
    }

    /// Begins to hold ids against it.
    #[must_use]
    pub fn matching(&self) -> IdMatching<'_> {
        IdMatching { matching: self.0.as_ref().map(Pattern::matching), is_given_up: false }
    }
}

impl IdMatching<'_> {
    /// Whether the pattern matches the whole of this id. None is matched any more once that took too much.
    #[must_use]
    pub fn matches(&mut self, id: &str) -> bool {
        let Some(matching) = &mut self.matching else { return true };
        if self.is_given_up {
            return false;
        }
        let matched = matching.matches(id);
        self.is_given_up = matched.is_err();
        matched.unwrap_or(false)
    }

    /// That it did not take too much.
    ///
    /// # Errors
    /// What was matched is not all there is.
    pub fn finish(self) -> Result<(), GroupError> {
        if self.is_given_up { Err(GroupError::InvalidRegex) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_ids() {
        let pattern = IdPattern::new(Some("a.c|b")).unwrap();
        let mut matching = pattern.matching();
        let matched: Vec<bool> = ["abc", "b", "abcd", "xabc", ""].map(|id| matching.matches(id)).into();
        assert_eq!((matched, matching.finish()), (vec![true, true, false, false, false], Ok(())));
        for all in [None, Some("")] {
            assert!(IdPattern::new(all).unwrap().matching().matches("x"));
        }
        assert_eq!(IdPattern::new(Some("(")).unwrap_err(), GroupError::InvalidRegex);
        let pattern = IdPattern::new(Some("[ab]*a[ab]{200}")).unwrap();
        let (mut matching, mut seed) = (pattern.matching(), base::Seed::new(7));
        for _ in 0..2_000 {
            let id: String = (0..220).map(|_| if seed.chance(500) { 'a' } else { 'b' }).collect();
            let _is_matched = matching.matches(&id);
        }
        assert_eq!(matching.finish(), Err(GroupError::InvalidRegex), "what is left out is not passed over in silence");
    }
}
