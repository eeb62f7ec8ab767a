//! Kafka's rules for topic names. Pure.

/// Topics that belong to the broker. It makes them on first use, unless an administrator made them before.
const INTERNAL: [&str; 3] = ["__consumer_offsets", "__share_group_state", "__transaction_state"];

/// Longest name in bytes (Kafka's, from file names of 255 with a partition suffix).
const NAME_BYTES_MAX: usize = 249;

/// Whether a topic of that name may exist; otherwise what is wrong with it.
///
/// # Errors
/// What is wrong with it.
pub fn check(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a topic name can't be empty".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("a topic can't be named '{name}'"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("a topic name has at most {NAME_BYTES_MAX} bytes, this one has {}", name.len()));
    }
    match name.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-')) {
        Some(odd) => Err(format!("a topic name has only ASCII letters, digits, '.', '_' and '-', not {odd:?}")),
        None => Ok(()),
    }
}

/// Where Apache Kafka keeps the cluster's metadata: nobody may make a topic of that name.
pub(crate) const METADATA: &str = "__cluster_metadata";

/// Whether a topic of that name is the broker's own.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// Whether another name may be the same in metric names.
pub(crate) fn can_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}

/// What becomes of a name in metric names, where '.' and '_' are the same: names that become the same collide.
pub(crate) fn flat(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "A-1_b.c", "...", &"x".repeat(249)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a\0", &"x".repeat(250)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
