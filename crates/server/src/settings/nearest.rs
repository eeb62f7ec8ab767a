//! The known name that a mistyped one probably meant.

/// The candidate with the fewest edits from `name`, if few enough that it may have been meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let edits_max = (name.len() / 3).clamp(1, 8);
    candidates
        .into_iter()
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements that turn `from` into `to` (Levenshtein), one row of the table at a time.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, a) in from.chars().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (column, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("log.retention.ms", "log.retention.ms"), 0);
    }

    #[test]
    fn finds_the_close_one_and_nothing_far() {
        let names = ["num.partitions", "num.io.threads", "log.dirs"];
        assert_eq!(nearest("num.partition", names), Some("num.partitions"));
        assert_eq!(nearest("colour", names), None);
    }
}
