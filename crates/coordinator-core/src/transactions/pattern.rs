//! Which transactional ids a list is to have (KIP-1152): a regular expression that a whole id must match.

use crate::consumer::{ConsumerOptions, compile};
use crate::effects::GroupError;
use regex::Regex;

/// A pattern of transactional ids, compiled within the bounds of those of topics.
#[derive(Debug, Clone)]
pub struct IdPattern(Option<Regex>);

impl IdPattern {
    /// None, and the empty one, match all, as in Kafka.
    ///
    /// # Errors
    /// It is no regular expression, or too large.
    pub fn new(pattern: Option<&str>) -> Result<IdPattern, GroupError> {
        let pattern = pattern.filter(|pattern| !pattern.is_empty());
        pattern.map(|pattern| compile(pattern, &ConsumerOptions::default())).transpose().map(IdPattern)
    }

    /// Whether it matches the whole of this id.
    #[must_use]
    pub fn matches(&self, id: &str) -> bool {
        self.0.as_ref().is_none_or(|regex| regex.is_match(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_ids() {
        let matching = IdPattern::new(Some("a.c|b")).unwrap();
        let matched: Vec<bool> = ["abc", "b", "abcd", "xabc", ""].map(|id| matching.matches(id)).into();
        assert_eq!(matched, [true, true, false, false, false]);
        assert!(IdPattern::new(None).unwrap().matches("x") && IdPattern::new(Some("")).unwrap().matches("x"));
        assert_eq!(IdPattern::new(Some("(")).unwrap_err(), GroupError::InvalidRegex);
    }
}
