//! The known name that a mistyped one probably meant.

/// The candidate with the fewest edits from `name`, if few enough that it may have been meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No name of ours is longer, and comparing takes the product of both lengths.
    const NAME_BYTES_MAX: usize = 128;
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let edits_max = (name.len() / 3).clamp(1, 8);
    candidates
        .into_iter()
        .map(|candidate| (strsim::levenshtein(name, candidate), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_close_one_and_nothing_far() {
        let names = ["num.partitions", "num.io.threads", "log.dirs"];
        assert_eq!(nearest("num.partition", names), Some("num.partitions"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest(&"x".repeat(100_000), names), None);
    }
}
