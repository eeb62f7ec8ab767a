//! Who waits for room in a write-ahead log stands in line: the first goes on first, and nobody passes those who stand there.
//!
//! Room comes in bursts, when groups become durable. Where all who waited were woken by each of them, those who ran first took it, and were
//! back before the others had looked. Each batch stands in line anew, so a request of many does not go before one of a few.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Of each log one.
#[derive(Debug)]
pub(crate) struct LogLines(Vec<Semaphore>);

/// The head of a log's line, as long as it lives.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    log: usize,
    _head: SemaphorePermit<'a>,
}

impl Place<'_> {
    /// In whose line it is.
    pub(crate) fn log(&self) -> usize {
        self.log
    }
}

impl LogLines {
    /// For so many logs.
    pub(crate) fn new(logs: usize) -> LogLines {
        LogLines((0..logs).map(|_| Semaphore::new(1)).collect())
    }

    /// Whether nobody stands there.
    pub(crate) fn is_empty(&self, log: usize) -> bool {
        self.0.get(log).is_none_or(|line| line.available_permits() > 0)
    }

    /// Waits behind those who stand there. None: there is no such log.
    pub(crate) async fn join(&self, log: usize) -> Option<Place<'_>> {
        let head = self.0.get(log)?.acquire().await.ok()?;
        Some(Place { log, _head: head })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn who_came_first_goes_on_first_and_other_logs_have_lines_of_their_own() {
        let lines = LogLines::new(2);
        assert!(lines.is_empty(0) && lines.is_empty(7) && lines.join(7).await.is_none());
        let first = lines.join(0).await.unwrap();
        let (mut second, mut third) = (Box::pin(lines.join(0)), Box::pin(lines.join(0)));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        assert!(!lines.is_empty(0) && lines.is_empty(1));
        drop(first);
        assert!(!lines.is_empty(0), "nobody passes those who wait, though none of them has run yet");
        assert!(third.as_mut().now_or_never().is_none());
        let second = second.now_or_never().flatten().unwrap();
        assert_eq!(second.log(), 0);
        drop(second);
        drop(third);
        assert!(lines.is_empty(0), "who is gone stands nowhere");
    }
}
