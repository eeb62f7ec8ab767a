//! Share-partitions' state as what a shard of `crate::coordinator` hosts.

use crate::coordinator::{Coordinators, Core, OwnTopic, SHARE_STATE};
use crate::{BrokerOptions, Shared};
use base::{Micros, Offset};
use control_core::Image;
use coordinator_core::{
    CoordinatorRecord, Now, ShareStateCursor, ShareStateEffects, ShareStateOptions, ShareStates,
    share_state_record_of_nothing,
};
use std::time::Duration;

/// Nothing expires by itself.
const EXPIRY_PERIOD: Duration = Duration::from_secs(24 * 3600);

impl Core for ShareStates {
    type Effects = ShareStateEffects;
    type Cursor = ShareStateCursor;
    type Outgoing = ();

    const WHAT: &'static str = "share-partitions";
    const TOPIC: &'static OwnTopic = &SHARE_STATE;

    fn all(broker: &Shared) -> &Coordinators<ShareStates> {
        &broker.share_states
    }

    fn new(options: &BrokerOptions, record_bytes_max: usize) -> ShareStates {
        let record_bytes_max = options.share_states.record_bytes_max.min(record_bytes_max);
        ShareStates::new(ShareStateOptions { record_bytes_max, ..options.share_states.clone() })
    }

    fn bytes_max(options: &BrokerOptions) -> usize {
        options.share_states_bytes_max
    }

    fn expiry_period(_options: &BrokerOptions) -> Duration {
        EXPIRY_PERIOD
    }

    fn replay(&mut self, record: &CoordinatorRecord) -> Result<(), String> {
        ShareStates::replay(self, record).map_err(|error| error.to_string())
    }

    fn loaded(&mut self, _broker: &Shared, image: &Image, _now: Now, fx: &mut ShareStateEffects) {
        self.topics_gone(image, fx);
    }

    fn topics_gone(&mut self, image: &Image, fx: &mut ShareStateEffects) {
        self.forget_topics(|topic| !image.topics.contains_key(&topic), fx);
    }

    fn expire(&mut self, _now: Now, _fx: &mut ShareStateEffects) {}

    fn next_deadline(&self) -> Option<Micros> {
        None
    }

    fn tick(&mut self, _broker: &Shared, _now: Now, _fx: &mut ShareStateEffects) {}

    fn count(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> usize {
        ShareStates::bytes(self)
    }

    fn set_room(&mut self, bytes: usize) {
        ShareStates::set_room(self, bytes);
    }

    fn are_all_there_is(&self) -> bool {
        ShareStates::are_all_there_is(self)
    }

    fn copy(&self, cursor: &mut ShareStateCursor, bytes_max: usize, fx: &mut ShareStateEffects) -> bool {
        ShareStates::copy(self, cursor, bytes_max, fx)
    }

    fn nothing() -> CoordinatorRecord {
        share_state_record_of_nothing()
    }

    fn records(fx: &mut ShareStateEffects) -> &mut Vec<CoordinatorRecord> {
        &mut fx.records
    }

    fn hand_on(&self, _outgoing: &mut (), _fx: ShareStateEffects, _after: Offset) -> bool {
        false
    }
}
