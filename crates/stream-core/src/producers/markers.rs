//! Whether a marker ends a transaction here, or has done so before.

use super::{Producers, SequenceError, Verdict};
use crate::{Marker, ProducerDelta};
use base::planted;

/// By which epochs markers are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerRule {
    /// The marker has its transaction's epoch, so a late copy can't be told from the next transaction's marker: Kafka's rule.
    V1,
    /// The coordinator has raised the epoch for the marker (KIP-890), so each is the only one of its epoch.
    V2,
}

impl Producers {
    /// Whether a marker is to be appended. Under [`MarkerRule::V2`] it is if it raises the producer's epoch here, also where nothing is open:
    /// what a client has sent with the old epoch is refused from then on. Else it is a repeat, and answered with success once everything
    /// below the original's end is confirmed (rule F-2).
    ///
    /// # Errors
    /// [`SequenceError::StaleEpoch`], under [`MarkerRule::V1`] only, and [`SequenceError::StaleCoordinator`].
    pub fn check_marker(
        &self,
        delta: &ProducerDelta,
        marker: Marker,
        rule: MarkerRule,
    ) -> Result<Verdict, SequenceError> {
        let ProducerDelta { producer_id, producer_epoch, .. } = *delta;
        let known = self.by_id.get(&producer_id);
        let is_needed = planted!("F13", true, known.is_some_and(|producer| producer.open.is_some()));
        if !is_needed {
            return Ok(Verdict::Repeat(self.newest(producer_id).unwrap_or_default()));
        }
        let Some(producer) = known else { return Ok(Verdict::New) };
        let newest = producer.epoch();
        let is_new = match rule {
            MarkerRule::V2 => planted!("F5", producer_epoch > newest, producer_epoch >= newest),
            MarkerRule::V1 => producer_epoch >= newest,
        };
        planted!("crash at a late marker", (), assert!(is_new, "a marker of epoch {producer_epoch} behind {newest}"));
        match rule {
            _ if planted!("F6", is_new, true) => {}
            MarkerRule::V1 => return Err(SequenceError::StaleEpoch { producer_id, found: producer_epoch, newest }),
            MarkerRule::V2 => return Ok(Verdict::Repeat(producer.raised_to(producer_epoch))),
        }
        let (found, newest) = (marker.coordinator_epoch, producer.coordinator_epoch());
        if found < newest {
            return Err(SequenceError::StaleCoordinator { producer_id, found, newest });
        }
        Ok(Verdict::New)
    }
}
