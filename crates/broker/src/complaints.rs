//! Log lines that a peer can cause in any number: a few a second, and how many more there were.

use base::Micros;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;
use world::lock;

/// So many lines in each second.
const LINES_MAX: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// Counts the lines of the second that has begun last.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    second: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    began: Micros,
    said: u32,
    unsaid: u64,
}

impl Complaints {
    /// Says what became of a peer's connection, as a warning where a line may be written.
    pub(crate) fn tell(&self, now: Micros, peer: SocketAddr, what: impl Display) {
        match self.may_say(now) {
            Some(0) => tracing::warn!(%peer, "connection {what}"),
            Some(unsaid) => tracing::warn!(%peer, unsaid, "connection {what}"),
            None => tracing::debug!(%peer, "connection {what}"),
        }
    }

    /// Whether a line may be written now; if so, how many were left out since the last one that was.
    fn may_say(&self, now: Micros) -> Option<u64> {
        let mut lines = lock(&self.second);
        if now.since(lines.began) >= SECOND {
            (lines.began, lines.said) = (now, 0);
        }
        if lines.said >= LINES_MAX {
            lines.unsaid += 1;
            return None;
        }
        lines.said += 1;
        Some(std::mem::take(&mut lines.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_and_the_rest_is_counted() {
        let complaints = Complaints::default();
        let at = |ms: u64| Micros(0).plus(Duration::from_millis(5_000 + ms));
        let said: Vec<_> = (0..100).filter_map(|n| complaints.may_say(at(n))).collect();
        assert_eq!(said, [0; 10]);
        assert_eq!(complaints.may_say(at(1_000)), Some(90));
        assert_eq!(complaints.may_say(at(1_001)), Some(0));
    }
}
