//! Whether a text is a value of a setting. The words of the refusals are Kafka's, which its users and scripts know.

use super::{Kind, Setting, Values};
use std::time::Duration;

pub(super) fn check(setting: &Setting, text: &str) -> Result<(), String> {
    check_text(setting, text)
        .map_err(|wrong| format!("Invalid value {text} for configuration {}: {wrong}", setting.name))
}

/// A list's elements. An empty text is an empty list.
pub(crate) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|element| !element.is_empty())
}

fn check_text(setting: &Setting, text: &str) -> Result<(), String> {
    let trimmed = text.trim();
    match setting.kind {
        Kind::Boolean if trimmed.eq_ignore_ascii_case("true") || trimmed.eq_ignore_ascii_case("false") => Ok(()),
        Kind::Boolean => Err("Expected value to be either true or false".to_owned()),
        Kind::Int => whole(setting.values, trimmed, "INT", i64::from(i32::MIN)..=i64::from(i32::MAX)),
        Kind::Short => whole(setting.values, trimmed, "SHORT", i64::from(i16::MIN)..=i64::from(i16::MAX)),
        Kind::Long => whole(setting.values, trimmed, "LONG", i64::MIN..=i64::MAX),
        Kind::Double => decimal(setting.values, trimmed),
        Kind::List => list(trimmed).try_for_each(|element| word(setting, element)),
        Kind::String | Kind::Class | Kind::Password => word(setting, trimmed),
    }
}

fn whole(values: Values, text: &str, kind: &str, range: std::ops::RangeInclusive<i64>) -> Result<(), String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    let number: i64 = number.ok_or_else(|| format!("Not a number of type {kind}"))?;
    match values {
        Values::From(low) | Values::Within(low, _) if number < low => Err(format!("Value must be at least {low}")),
        Values::Within(_, high) if number > high => Err(format!("Value must be no more than {high}")),
        Values::GzipLevel if number != -1 && !(1..=9).contains(&number) => {
            Err("Value must be between 1 and 9 or equal to -1".to_owned())
        }
        _ => Ok(()),
    }
}

fn decimal(values: Values, text: &str) -> Result<(), String> {
    let number: f64 = text.parse().map_err(|_| "Not a number of type DOUBLE".to_owned())?;
    match values {
        Values::Fraction(low, _) if number < low => Err(format!("Value must be at least {low}")),
        Values::Fraction(_, high) if number > high => Err(format!("Value must be no more than {high}")),
        _ if number.is_nan() => Err("Not a number of type DOUBLE".to_owned()),
        _ => Ok(()),
    }
}

fn word(setting: &Setting, text: &str) -> Result<(), String> {
    let one_of = |names: &[&str]| Err(format!("String must be one of: {}", names.join(", ")));
    match setting.values {
        Values::OneOf(names) if !names.contains(&text) => one_of(names),
        Values::OneOfAnyCase(names) if !names.iter().any(|name| name.eq_ignore_ascii_case(text)) => one_of(names),
        Values::NotEmpty if text.is_empty() => Err("String must be non-empty".to_owned()),
        Values::ThrottledReplicas if text != "*" && !is_replica(text) => Err(format!(
            "{} must be the literal '*' or a list of replicas in the following format: \
             [partitionId]:[brokerId],[partitionId]:[brokerId],...",
            setting.name
        )),
        Values::OffsetReset if !is_offset_reset(text) => one_of(&["latest", "earliest", "by_duration:PnDTnHnMn.nS"]),
        _ => Ok(()),
    }
}

fn is_replica(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once(':').is_some_and(|(partition, broker)| number(partition) && number(broker))
}

/// How old `by_duration:` and a duration allow records to be.
pub(super) fn age(text: &str) -> Option<Duration> {
    let text = text.strip_prefix("by_duration:").filter(|text| is_duration(text))?;
    let mut seconds = 0.0;
    let mut number = String::new();
    for letter in text.chars().filter(|letter| !matches!(letter, 'P' | 'T')) {
        let unit = match letter {
            'D' => 86_400.0,
            'H' => 3600.0,
            'M' => 60.0,
            'S' => 1.0,
            digit => {
                number.push(digit);
                continue;
            }
        };
        seconds += std::mem::take(&mut number).parse::<f64>().ok()? * unit;
    }
    // What is older than time itself is as old as can be said.
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

fn is_offset_reset(text: &str) -> bool {
    matches!(text, "latest" | "earliest") || text.strip_prefix("by_duration:").is_some_and(is_duration)
}

/// A duration of ISO 8601 in days, hours, minutes and seconds that is not negative: `P3DT12H30M5.5S`.
fn is_duration(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('P') else { return false };
    let (days, time) = rest.split_once('T').map_or((rest, None), |(days, time)| (days, Some(time)));
    let has_days = !days.is_empty();
    if has_days && days.strip_suffix('D').is_none_or(|count| count.parse::<u32>().is_err()) {
        return false;
    }
    match time {
        None => has_days,
        Some(time) => is_time(time),
    }
}

/// Hours, minutes and seconds, each at most once, in this order, at least one.
fn is_time(mut rest: &str) -> bool {
    let mut found = false;
    for unit in ['H', 'M', 'S'] {
        let Some((count, after)) = rest.split_once(unit) else { continue };
        let whole = count.bytes().all(|byte| byte.is_ascii_digit()) && !count.is_empty();
        let seconds = unit == 'S' && count.parse::<f64>().is_ok_and(|count| count >= 0.0 && count.is_finite());
        if !whole && !seconds {
            return false;
        }
        (rest, found) = (after, true);
    }
    found && rest.is_empty()
}
