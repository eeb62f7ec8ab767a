//! What the sender knows of one lane: the numbers of its batches, and which of them have to be sent again.
//!
//! Nothing behind a batch that failed counts before that batch does: from the first failure until all that is under way has come
//! back nothing is sent; then what was not taken goes once more, in its order, with the same numbers.

use crate::error::ClientError;
use crate::lane::{Collected, Lane};
use crate::shared::{Ready, Shared};
use std::collections::VecDeque;

/// Batches of one partition under way, where the cluster can tell their order: what Kafka's brokers remember.
const IN_FLIGHT_MAX: usize = 5;

/// One lane's way.
#[derive(Default)]
pub(crate) struct Track {
    /// Of the next record.
    sequence: i32,
    /// Of the next batch.
    ordinal: u64,
    /// A batch was acknowledged. Until then one goes at a time: a broker that knows nothing of a producer may take any sequence for its
    /// first, as Apache Kafka does (KIP-360), so a second batch behind a first one that was refused would shut that one out.
    has_begun: bool,
    in_flight: usize,
    /// The broker to which those in flight went last.
    leader: i32,
    /// What was not taken, in its order.
    again: VecDeque<Ready>,
    /// What went wrong first. Until there is news of the leaders nothing is sent.
    trouble: Option<ClientError>,
    /// Whether it stands in a leader's queue.
    pub(crate) is_queued: bool,
}

impl Track {
    /// Whether a batch may go to `leader` now. What is under way to another one has to come back first.
    pub(crate) fn may_send(&self, shared: &Shared, leader: i32) -> bool {
        let max = if self.has_begun && shared.id.is_some() { IN_FLIGHT_MAX } else { 1 };
        self.trouble.is_none() && self.in_flight < max && (self.in_flight == 0 || self.leader == leader)
    }

    /// Whether there is a batch that has to be sent again.
    pub(crate) fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// Whether it waits for nothing but news of the leaders.
    pub(crate) fn is_stuck(&self) -> bool {
        self.trouble.is_some() && self.in_flight == 0
    }

    /// The next batch for `leader`: one that has to go again, else what the lane has collected.
    pub(crate) fn next(&mut self, shared: &Shared, lane: &Lane, leader: i32) -> Result<Option<Ready>, ClientError> {
        let ready = match self.again.pop_front() {
            Some(again) => again,
            None => match lane.take() {
                Some(collected) => self.finish(shared, collected)?,
                None => return Ok(None),
            },
        };
        self.in_flight += 1;
        self.leader = leader;
        Ok(Some(ready))
    }

    fn finish(&mut self, shared: &Shared, collected: Collected) -> Result<Ready, ClientError> {
        let records = i32::try_from(collected.records()).unwrap_or(i32::MAX);
        let ready = collected.finish(shared, self.sequence, self.ordinal)?;
        // Sequences wrap round to 0 behind the greatest.
        self.sequence = self.sequence.wrapping_add(records) & i32::MAX;
        self.ordinal += 1;
        Ok(ready)
    }

    /// A batch was acknowledged.
    pub(crate) fn delivered(&mut self) {
        self.in_flight -= 1;
        self.has_begun = true;
    }

    /// A batch was not taken, and has to go again.
    pub(crate) fn failed(&mut self, ready: Ready, why: ClientError) {
        self.in_flight -= 1;
        let at = self.again.partition_point(|other| other.ordinal < ready.ordinal);
        self.again.insert(at, ready);
        self.trouble.get_or_insert(why);
    }

    /// Its partition has no leader. The next batch is taken in, so that its time runs.
    pub(crate) fn leaderless(&mut self, shared: &Shared, lane: &Lane, why: ClientError) -> Result<(), ClientError> {
        if self.again.is_empty()
            && self.in_flight == 0
            && let Some(collected) = lane.take()
        {
            let ready = self.finish(shared, collected)?;
            self.again.push_back(ready);
        }
        self.trouble.get_or_insert(why);
        Ok(())
    }

    /// There is news of the leaders: it goes on.
    pub(crate) fn recovered(&mut self) {
        self.trouble = None;
    }

    /// What went wrong, where its oldest batch has been tried for as long as records may take.
    pub(crate) fn too_late(&self, shared: &Shared) -> Option<&ClientError> {
        let oldest = self.again.front()?.first_sent;
        self.trouble.as_ref().filter(|_| shared.now().since(oldest) >= shared.options.delivery_within)
    }

    /// Whether something failed that those behind it may fail for.
    pub(crate) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }
}
