//! How other brokers of the bucket are watched: `--watch-timeout` and `--watch-interval`.

use super::ConfigError;
use std::time::Duration;
use stream::WatchTimes;

/// Below that a process that is merely busy would be taken for dead.
const TIMEOUT_MIN: Duration = Duration::from_millis(200);
/// Above that nobody watches.
const TIMEOUT_MAX: Duration = Duration::from_hours(1);
/// A broker is asked so often at the least before it is taken for dead.
const QUESTIONS_MIN: u32 = 3;
/// And as often where it is not said.
const QUESTIONS: u32 = 5;
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// `None`: nobody is watched.
pub(super) fn times(timeout: Option<&str>, interval: Option<&str>) -> Result<Option<WatchTimes>, ConfigError> {
    if timeout == Some("off") {
        return match interval {
            None => Ok(None),
            Some(interval) => {
                Err(ConfigError(format!("--watch-interval {interval}: nobody is watched with --watch-timeout off")))
            }
        };
    }
    let said = timeout.unwrap_or_default();
    let timeout = match timeout {
        Some(text) => parse("--watch-timeout", text, ", or off")?,
        None => WatchTimes::default().timeout,
    };
    if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout) {
        return Err(ConfigError(format!("--watch-timeout {said}: say between 200ms and 1h, or off")));
    }
    let Some(said) = interval else { return Ok(Some(WatchTimes { interval: timeout / QUESTIONS, timeout })) };
    let interval = parse("--watch-interval", said, "")?;
    if interval < INTERVAL_MIN || interval * QUESTIONS_MIN > timeout {
        return Err(ConfigError(format!(
            "--watch-interval {said}: say between 10ms and a third of the timeout of {timeout:?}"
        )));
    }
    Ok(Some(WatchTimes { interval, timeout }))
}

fn parse(option: &str, text: &str, otherwise: &str) -> Result<Duration, ConfigError> {
    humantime::parse_duration(text)
        .map_err(|_| ConfigError(format!("{option} {text}: write a time such as 1s or 200ms{otherwise}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_follows_from_what_is() {
        assert_eq!(times(None, None).unwrap(), Some(WatchTimes::default()));
        assert_eq!(times(Some("off"), None).unwrap(), None);
        let millis = |timeout, interval| {
            Some(WatchTimes { timeout: Duration::from_millis(timeout), interval: Duration::from_millis(interval) })
        };
        assert_eq!(times(Some("2s"), None).unwrap(), millis(2000, 400));
        assert_eq!(times(Some("2s"), Some("100ms")).unwrap(), millis(2000, 100));
        assert_eq!(times(None, Some("50ms")).unwrap(), millis(1000, 50));
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_line() {
        for (timeout, interval, words) in [
            (Some("1"), None, "such as 1s or 200ms, or off"),
            (Some("0"), None, "--watch-timeout 0: say between"),
            (None, Some("0"), "--watch-interval 0: say between"),
            (Some("100ms"), None, "between 200ms and 1h"),
            (Some("2h"), None, "between 200ms and 1h"),
            (Some("1s"), Some("400ms"), "a third of the timeout of 1s"),
            (None, Some("1ms"), "between 10ms"),
            (Some("off"), Some("1s"), "nobody is watched"),
        ] {
            let refused = times(timeout, interval).unwrap_err().0;
            assert!(refused.contains(words) && !refused.contains('\n'), "{refused}");
        }
    }
}
