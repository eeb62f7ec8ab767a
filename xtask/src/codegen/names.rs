//! Kafka's names as Rust's.

/// `ThrottleTimeMs` as `throttle_time_ms`, usable as an identifier.
pub(super) fn field(name: &str) -> String {
    let snake = snake(name);
    if matches!(snake.as_str(), "type" | "match" | "ref" | "use") { format!("r#{snake}") } else { snake }
}

/// `ThrottleTimeMs` as `throttle_time_ms`.
pub(super) fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let after_small = at > 0 && !letters[at - 1].is_uppercase();
        let before_small = at > 0 && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (after_small || before_small) {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_at_capitals() {
        assert_eq!(snake("ThrottleTimeMs"), "throttle_time_ms");
        assert_eq!(snake("isKRaftController"), "is_k_raft_controller");
        assert_eq!(snake("V0Host"), "v0_host");
        assert_eq!(field("Type"), "r#type");
    }
}
