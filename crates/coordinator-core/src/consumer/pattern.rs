//! Subscriptions by regular expression: compiled within bounds, matched in linear time (as Kafka does with RE2), and kept as names of topics.

use super::options::ConsumerOptions;
use super::state::Resolved;
use super::topics::Topics;
use crate::effects::GroupError;
use base::UnixMillis;
use regex::{Regex, RegexBuilder};

/// A regular expression that a topic's whole name must match.
pub(crate) fn compile(regex: &str, options: &ConsumerOptions) -> Result<Regex, GroupError> {
    if regex.len() > options.regex_bytes_max {
        return Err(GroupError::InvalidRegex);
    }
    // By itself first: with what is put around it, some that are wrong would be right.
    let bounded = |pattern: &str| RegexBuilder::new(pattern).size_limit(options.regex_compiled_bytes_max).build();
    bounded(regex).and_then(|_| bounded(&format!("^(?:{regex})$"))).map_err(|_| GroupError::InvalidRegex)
}

/// The topics that match now.
pub(crate) fn resolve(regex: &Regex, topics: &Topics<'_>, now: UnixMillis) -> Resolved {
    let mut resolved = Resolved { version: topics.version, at: now, ..Resolved::default() };
    (topics.names)(&mut |name| {
        if regex.is_match(name) {
            resolved.topics.insert(name.to_owned());
        }
    });
    resolved
}
