//! From a frame to its handler, and from the handler's answer to bytes. Second stop of every walk.
//!
//! What is served stands in the protocol's one table; each of its rows has a line in `table`, which says who answers it. A request that is not
//! served, or not a request at all, closes its connection with one log line, as its sender could not read an answer either; only ApiVersions
//! answers a version that it does not know, in version 0, because that is how clients find out.

mod reply;
mod table;

use self::reply::Reply;
use crate::Shared;
use crate::answer::{Answer, Held};
use crate::caller::Caller;
use crate::connection::Activity;
use crate::error::Failure;
use crate::frame::Frame;
use crate::handler::{describe_configs, fetch, produce};
use crate::memory::{self, FrameMemory, SMALL_ANSWER_BYTES_MAX};
use crate::quota::Meter;
use crate::rights::Rights;
use bytes::Bytes;
use futures::future::BoxFuture;
use protocol::api;
use protocol::api_key::ApiKey;
use protocol::frame::{self, RequestFrame, RequestHeader};
use protocol::wire::{DecodeError, EncodeError};
use std::sync::Arc;
use std::time::Duration;

/// Only produce requests carry bulk data. Any other frame above this is refused, because what it decodes to takes more memory
/// than its bytes.
const PLAIN_REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What naming something that has settings takes at least, and what an answer about it takes at the most, roughly.
const RESOURCE_BYTES_MIN: usize = 8;
const RESOURCE_ANSWER_BYTES: usize = 128 * 1024;

/// A started request: resolves to its answer, or to none where the client wants none.
pub(crate) type Running = BoxFuture<'static, Result<Option<Answer>, Unserved>>;

/// A request with its header read.
pub(crate) struct Request {
    frame: RequestFrame,
    frame_bytes: usize,
    memory: FrameMemory,
    /// The connection's.
    connection: u64,
    caller: Arc<Caller>,
}

/// Why a connection must be closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unserved {
    #[error("{0}")]
    Header(#[from] frame::FrameError),
    /// Its login has failed, or it has asked for something before it.
    #[error("{0}")]
    Login(String),
    #[error("{} is not served yet", .0.name())]
    Api(ApiKey),
    #[error("{} version {version} is not served", key.name())]
    Version { key: ApiKey, version: i16 },
    #[error("{} of {bytes} bytes; only produce requests may be greater than {PLAIN_REQUEST_BYTES_MAX}", key.name())]
    TooLarge { key: ApiKey, bytes: usize },
    #[error("{} version {version}: {error}", key.name())]
    Body { key: ApiKey, version: i16, error: DecodeError },
    /// The client asked for no answer and has no other way to learn of an error.
    #[error("{0}")]
    Unanswered(Failure),
    /// A handler's answer has no form in the version that was asked for: a programmer's error.
    #[error("answer to {}: {error}; this is a bug", key.name())]
    Answer { key: ApiKey, error: EncodeError },
}

impl Request {
    pub(crate) fn is_produce(&self) -> bool {
        self.frame.header.key == ApiKey::Produce
    }

    /// Whether it is dropped when its peer sends no more: what old consumers ask for may be much work, what a member of a share group is given
    /// is kept from others, and none of them closes a half of its connection only.
    pub(crate) fn ends_with_peer(&self) -> bool {
        let (key, version) = (self.frame.header.key, self.frame.header.version);
        key == ApiKey::ShareFetch || (key == ApiKey::Fetch && fetch::needs_conversion(version))
    }

    pub(crate) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }
}

/// Reads a frame's header and checks that the request is served.
pub(crate) fn parse(frame: Frame, caller: Arc<Caller>, connection: u64) -> Result<Request, Unserved> {
    let frame_bytes = frame.bytes.len();
    let request = RequestFrame::decode(frame.bytes)?;
    let RequestHeader { key, version, .. } = request.header;
    let api = api::served(key).ok_or(Unserved::Api(key))?;
    if !api.serves(version) && key != ApiKey::ApiVersions {
        return Err(Unserved::Version { key, version });
    }
    if key != ApiKey::Produce && frame_bytes > PLAIN_REQUEST_BYTES_MAX {
        return Err(Unserved::TooLarge { key, bytes: frame_bytes });
    }
    Ok(Request { frame: request, frame_bytes, memory: frame.memory, caller, connection })
}

/// The answer to a step of a login, and whether the connection ends behind it, late, and why.
pub(crate) fn answered(bytes: Option<Bytes>, memory: FrameMemory, ends: Option<(Arc<Shared>, String)>) -> Vec<Running> {
    let answer = bytes.map(|bytes| Answer::new(vec![bytes], Held { frame: memory, ..Held::default() }));
    let Some((broker, why)) = ends else {
        let at_once: Running = Box::pin(std::future::ready(Ok(answer)));
        return vec![at_once];
    };
    let late: Running = Box::pin(async move {
        let delay = broker.options.sasl.as_ref().map_or(Duration::ZERO, |sasl| sasl.failure_delay);
        broker.clock.sleep(delay).await;
        Ok(answer)
    });
    let end: Running = Box::pin(std::future::ready(Err(Unserved::Login(why))));
    vec![late, end]
}

/// Starts a request. Resolves when the connection may start its next one beside it, should the rule for both allow that.
pub(crate) fn start(
    broker: Arc<Shared>,
    request: Request,
    connection: &Arc<Activity>,
) -> BoxFuture<'static, Result<Running, Unserved>> {
    let meter = Meter::of(&broker, &request.frame.header, (connection, &request.caller));
    if request.is_produce() {
        meter.timed(Box::pin(start_produce(broker, request, meter.clone())))
    } else {
        let metered = meter.clone();
        let running = Box::pin(async move { answer(&broker, request, metered).await.map(Some) });
        Box::pin(std::future::ready(Ok(meter.timed(running))))
    }
}

async fn start_produce(broker: Arc<Shared>, request: Request, meter: Meter) -> Result<Running, Unserved> {
    let Request { frame, frame_bytes, memory, caller, .. } = request;
    let rights = Rights::of(&broker, &caller);
    let reply = Reply::to(&frame.header, meter.clone());
    let body = reply.body(frame)?;
    let version = reply.version;
    let waiting = produce::start(broker, body, version, (frame_bytes, rights)).await;
    let running = Box::pin(async move {
        let outcome = waiting.await;
        reply.meter.charge_produce(frame_bytes, matches!(outcome, Ok(Some(_))));
        match outcome {
            Ok(Some(response)) => {
                let rope = reply.encode(&response)?;
                Ok(Some(Answer::new(rope.into_pieces(), Held { frame: memory, ..Held::default() })))
            }
            Ok(None) => {
                reply.meter.settle();
                Ok(None)
            }
            Err(failure) => Err(Unserved::Unanswered(failure)),
        }
    });
    Ok(meter.timed(running))
}

/// Answers a request, and counts the answer's memory until it is written. A fetch counts its own.
async fn answer(broker: &Shared, request: Request, meter: Meter) -> Result<Answer, Unserved> {
    let (key, frame_bytes) = (request.frame.header.key, request.frame_bytes);
    let ahead = match expected_bytes(key, frame_bytes) {
        0 => None,
        expected => Some(broker.answer_memory.take(expected).await),
    };
    let mut answer = table::handle(broker, request, meter).await?;
    if matches!(key, ApiKey::Fetch | ApiKey::ShareFetch) {
        return Ok(answer);
    }
    // The request's own memory is held as long, but for those that have waited for others.
    let frame_bytes = if matches!(key, ApiKey::JoinGroup | ApiKey::SyncGroup) { 0 } else { frame_bytes };
    let beyond = answer.len().saturating_sub(frame_bytes);
    let ahead = ahead.or_else(|| answer.held());
    answer.hold(match ahead {
        Some(mut ahead) => {
            memory::keep_only(&mut ahead, beyond);
            Some(ahead)
        }
        None if beyond <= SMALL_ANSWER_BYTES_MAX => broker.answer_memory.try_take(beyond),
        None => Some(broker.answer_memory.take(beyond).await),
    });
    Ok(answer)
}

/// What an answer that may be much greater than its question takes while it is made. Those about topics and groups, and about what
/// was created, take theirs when it is known of how much they tell. Others are counted when they are there: they are in
/// proportion to their requests, which are counted.
fn expected_bytes(key: ApiKey, frame_bytes: usize) -> usize {
    match key {
        // A few bytes name a broker with all its settings.
        ApiKey::DescribeConfigs => {
            let named = frame_bytes / RESOURCE_BYTES_MIN;
            named.saturating_mul(RESOURCE_ANSWER_BYTES).min(describe_configs::ANSWER_BYTES_MAX)
        }
        _ => 0,
    }
}
