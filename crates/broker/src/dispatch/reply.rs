//! What an answer repeats of its request, and how it becomes bytes.

use super::Unserved;
use crate::answer::Held;
use crate::quota::Meter;
use protocol::api_key::ApiKey;
use protocol::frame::{self, RequestFrame, RequestHeader};
use protocol::wire::{Message, Request, Rope};
use tokio::sync::OwnedSemaphorePermit;

/// What an answer repeats of its request.
pub(super) struct Reply {
    pub(super) key: ApiKey,
    pub(super) version: i16,
    correlation_id: i32,
    pub(super) meter: Meter,
}

impl Reply {
    pub(super) fn to(header: &RequestHeader, meter: Meter) -> Reply {
        Reply { key: header.key, version: header.version, correlation_id: header.correlation_id, meter }
    }

    pub(super) fn body<R: Request>(&self, frame: RequestFrame) -> Result<R, Unserved> {
        frame.body().map_err(|error| Unserved::Body { key: self.key, version: self.version, error })
    }

    /// The same with the memory that was got for it.
    pub(super) fn encode_held<M: Message>(
        &self,
        (response, memory): (M, Option<OwnedSemaphorePermit>),
        held: &mut Held,
    ) -> Result<Rope, Unserved> {
        held.answer = memory;
        self.encode(&response)
    }

    pub(super) fn encode<M: Message>(&self, response: &M) -> Result<Rope, Unserved> {
        let throttle_time_ms = self.meter.settle();
        frame::encode_throttled(self.key, self.version, (self.correlation_id, throttle_time_ms), response)
            .map_err(|error| Unserved::Answer { key: self.key, error })
    }
}
