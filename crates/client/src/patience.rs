//! Trouble that may pass, and for how long it is borne: as long as a call may take.
//!
//! Used by whoever works on for long, and by calls that are tried again.

use crate::cluster::{Cluster, RETRY_WAIT_MAX};
use crate::error::ClientError;
use base::Micros;
use std::time::Duration;
use world::Backoff;

/// What one piece of work can bear.
pub(crate) struct Patience {
    cluster: Cluster,
    backoff: Backoff,
    /// Since when nothing but trouble comes.
    failing_since: Option<Micros>,
}

impl Patience {
    /// The time begins with the first trouble.
    pub(crate) fn new(cluster: &Cluster) -> Patience {
        Patience { cluster: cluster.clone(), backoff: Backoff::up_to(RETRY_WAIT_MAX), failing_since: None }
    }

    /// The time has begun: all of the call takes no longer.
    pub(crate) fn of_call(cluster: &Cluster) -> Patience {
        Patience { failing_since: Some(cluster.world().clock.now()), ..Patience::new(cluster) }
    }

    /// How long trouble may still be borne.
    pub(crate) fn left(&self) -> Duration {
        let now = self.cluster.world().clock.now();
        let since = self.failing_since.unwrap_or(now);
        self.cluster.options().call_within.saturating_sub(now.since(since))
    }

    /// Waits a little before the next try.
    ///
    /// # Errors
    /// It will not pass, or has gone on for too long.
    pub(crate) async fn bear(&mut self, error: ClientError) -> Result<(), ClientError> {
        let now = self.cluster.world().clock.now();
        let since = *self.failing_since.get_or_insert(now);
        if !error.is_retriable() || now.since(since) >= self.cluster.options().call_within {
            return Err(error);
        }
        self.pause().await;
        Ok(())
    }

    /// Waits, longer from time to time.
    pub(crate) async fn pause(&mut self) {
        self.backoff.wait(self.cluster.world().clock.as_ref()).await;
    }

    /// Something has gone well.
    pub(crate) fn renew(&mut self) {
        self.failing_since = None;
        self.backoff.reset();
    }
}
