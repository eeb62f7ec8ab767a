//! Sizes as people write them: `512MiB`, `2g`, `1048576`.

use super::ConfigError;

/// Bytes. Units are powers of 1024, with or without `iB` or `B`.
pub(super) fn parse(option: &str, text: &str) -> Result<u64, ConfigError> {
    let wrong = || ConfigError(format!("{option} {text}: write a size such as 512MiB or 2GiB"));
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower[digits.len()..].trim_end_matches('b').trim_end_matches('i');
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [("7", 7), ("1k", 1024), ("2MiB", 2 << 20), ("3 GB", 3 << 30), ("1Ti", 1 << 40)] {
            assert_eq!(parse("--memory", text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5g", "1x", "99999999999999999999", "18446744073709551615k", "bib"] {
            assert!(parse("--memory", text).is_err(), "{text}");
        }
    }
}
