//! What one request is charged with, and what comes of it.
//!
//! A handler charges what it knows of: bytes, partitions. When the answer is made the request's own time is charged as well, the answer says
//! how long the client is throttled, and from then on its connection is not read for so long (KIP-219). The time of a request is that which
//! it keeps a thread busy, not that which it waits. While nobody has a quota nothing is measured.

use super::Use;
use crate::Shared;
use crate::caller::Caller;
use crate::connection::Activity;
use crate::error::Failure;
use crate::hello::Asker;
use base::Micros;
use control_core::Image;
use futures::FutureExt;
use futures::future::BoxFuture;
use protocol::api_key::ApiKey;
use protocol::frame::RequestHeader;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use world::lock;

/// Microseconds in a hundredth of a second: a percentage is so many of them in a second.
const PERCENT_US: f64 = 10_000.0;

/// Whether changes of topics above the quota are refused, as newer clients understand (KIP-599), or the client throttled for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    Strict,
    Permissive,
}

impl Strictness {
    /// Of a request whose versions from this one on know the code.
    pub(crate) fn of(version: i16, strict_since: i16) -> Strictness {
        if version >= strict_since { Strictness::Strict } else { Strictness::Permissive }
    }
}

/// Of one request. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Meter(Option<Arc<Metered>>);

struct Metered {
    broker: Arc<Shared>,
    connection: Arc<Activity>,
    caller: Arc<Caller>,
    client_id: String,
    /// Its time counts for nobody.
    is_exempt: bool,
    /// What it has kept threads busy, in microseconds, before the turn that it has now;
    busy_us: AtomicU64,
    /// and when that has begun.
    turn_us: AtomicU64,
    charged: Mutex<Charged>,
}

#[derive(Default)]
struct Charged {
    /// For how long the client is throttled by its bytes.
    bytes_ms: u64,
    /// Until when by its changes of topics.
    mutations: Option<Micros>,
    /// How much of its time has been charged, in microseconds, and how long the client is throttled in all.
    settled: Option<(u64, u64)>,
}

impl Meter {
    /// Of a request that begins.
    pub(crate) fn of(
        broker: &Arc<Shared>,
        header: &RequestHeader,
        (connection, caller): (&Arc<Activity>, &Arc<Caller>),
    ) -> Meter {
        if broker.store.ledger().image().quotas.is_empty() {
            return Meter(None);
        }
        Meter(Some(Arc::new(Metered {
            broker: broker.clone(),
            connection: connection.clone(),
            caller: caller.clone(),
            client_id: header.client_id.clone().unwrap_or_default(),
            is_exempt: header.key == ApiKey::WriteTxnMarkers || Asker::of(header).is_some(),
            busy_us: AtomicU64::new(0),
            turn_us: AtomicU64::new(broker.clock.now().0),
            charged: Mutex::default(),
        })))
    }

    /// The same work, whose turns are measured.
    pub(crate) fn timed<T: Send + 'static>(&self, work: BoxFuture<'static, T>) -> BoxFuture<'static, T> {
        match &self.0 {
            None => work,
            Some(metered) => Box::pin(Timed { work, metered: metered.clone() }),
        }
    }

    /// What a fetch may bring at the most, so that it is not throttled for that alone.
    pub(crate) fn fetch_bytes_max(&self) -> usize {
        self.0
            .as_ref()
            .map_or(usize::MAX, |it| it.broker.quotas.fetch_bytes_max(&it.image(), it.caller.user(), &it.client_id))
    }

    /// Charges what a fetch would bring. True: it must bring nothing, and does not count but for its time.
    pub(crate) fn throttles_fetch(&self, bytes: usize) -> bool {
        let Some(it) = &self.0 else { return false };
        let now = it.broker.clock.now();
        let request_ms = it.settle_time(&mut lock(&it.charged), now);
        let wait = it.record(Use::Fetched, bytes_of(bytes), now);
        let is_throttled = wait.max(request_ms) > 0;
        if is_throttled {
            it.record(Use::Fetched, -bytes_of(bytes), now);
        }
        lock(&it.charged).bytes_ms = wait;
        is_throttled
    }

    /// Charges what a member of a share group was given. It is answered all the same, where Kafka empties the answer: what it brings has been
    /// acquired, and would else lie locked until the lock's time is over.
    pub(crate) fn charge_share_fetch(&self, bytes: usize) {
        let Some(it) = &self.0 else { return };
        let wait = it.record(Use::Fetched, bytes_of(bytes), it.broker.clock.now());
        lock(&it.charged).bytes_ms = wait;
    }

    /// Charges what a produce request has brought. One that is not answered has no time: its client could not be told.
    pub(crate) fn charge_produce(&self, bytes: usize, is_answered: bool) {
        let Some(it) = &self.0 else { return };
        let wait = it.record(Use::Produced, bytes_of(bytes), it.broker.clock.now());
        let mut charged = lock(&it.charged);
        charged.bytes_ms = wait;
        if !is_answered {
            charged.settled.get_or_insert((u64::MAX, 0));
        }
    }

    /// Charges a change of topics by the partitions that come or go.
    ///
    /// # Errors
    /// It must not happen now.
    pub(crate) fn charge_mutation(&self, partitions: usize, strictness: Strictness) -> Result<(), Failure> {
        let Some(it) = &self.0 else { return Ok(()) };
        let now = it.broker.clock.now();
        let Err(wait) = it.record_mutation(partitions, strictness, now) else { return Ok(()) };
        lock(&it.charged).mutations = Some(now.plus(Duration::from_millis(wait)));
        match strictness {
            Strictness::Strict => Err(Failure::QuotaExceeded),
            Strictness::Permissive => Ok(()),
        }
    }

    /// Charges a topic that is made on first use, where the client may have it made now. It is not throttled where it may not: as in Kafka it
    /// is told that there is none, and asks again.
    pub(crate) fn may_create(&self, partitions: usize) -> bool {
        let Some(it) = &self.0 else { return true };
        it.record_mutation(partitions, Strictness::Strict, it.broker.clock.now()).is_ok()
    }

    /// Charges the time of a request whose answer is being made. For how many milliseconds the client is throttled, by whatever quota says
    /// most; its connection is not read for so long from now on.
    pub(crate) fn settle(&self) -> i32 {
        let Some(it) = &self.0 else { return 0 };
        let (mut charged, now) = (lock(&it.charged), it.broker.clock.now());
        let request_ms = it.settle_time(&mut charged, now);
        let left = charged.mutations.map_or(Duration::ZERO, |until| until.since(now));
        let mutations_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let throttle_ms = request_ms.max(charged.bytes_ms).max(mutations_ms);
        if throttle_ms > 0 {
            it.connection.mute(now.plus(Duration::from_millis(throttle_ms)));
        }
        i32::try_from(throttle_ms).unwrap_or(i32::MAX)
    }
}

impl Metered {
    fn image(&self) -> Arc<Image> {
        self.broker.store.ledger().image()
    }

    fn record(&self, of: Use, value: f64, now: Micros) -> u64 {
        let client = (self.caller.user(), self.client_id.as_str());
        self.broker.quotas.record(&self.image(), of, client, value, now)
    }

    fn record_mutation(&self, partitions: usize, strictness: Strictness, now: Micros) -> Result<(), u64> {
        let client = (self.caller.user(), self.client_id.as_str());
        self.broker.quotas.record_mutation(&self.image(), client, (partitions, strictness), now)
    }

    /// Charges the time so far, once.
    fn settle_time(&self, charged: &mut Charged, now: Micros) -> u64 {
        if let Some((_, throttle_ms)) = charged.settled {
            return throttle_ms;
        }
        let turn_us = now.since(Micros(self.turn_us.load(Ordering::Relaxed))).as_micros();
        let busy_us = self.busy_us.load(Ordering::Relaxed) + u64::try_from(turn_us).unwrap_or(u64::MAX);
        let throttle_ms = if self.is_exempt { 0 } else { self.record(Use::Requests, percent(busy_us), now) };
        charged.settled = Some((busy_us, throttle_ms));
        throttle_ms
    }

    /// What it took after that counts when the client comes again, as in Kafka.
    fn settle_rest(&self) {
        let Some((charged_us, _)) = lock(&self.charged).settled else { return };
        let rest_us = self.busy_us.load(Ordering::Relaxed).saturating_sub(charged_us);
        if rest_us > 0 && !self.is_exempt {
            self.record(Use::Requests, percent(rest_us), self.broker.clock.now());
        }
    }
}

fn bytes_of(bytes: usize) -> f64 {
    u32::try_from(bytes).map_or(f64::from(u32::MAX), f64::from)
}

fn percent(microseconds: u64) -> f64 {
    microseconds as f64 / PERCENT_US
}

/// Work whose turns are measured.
struct Timed<T> {
    work: BoxFuture<'static, T>,
    metered: Arc<Metered>,
}

impl<T> Future for Timed<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let began = self.metered.broker.clock.now();
        self.metered.turn_us.store(began.0, Ordering::Relaxed);
        let polled = self.work.poll_unpin(context);
        let took = self.metered.broker.clock.now().since(began).as_micros();
        self.metered.busy_us.fetch_add(u64::try_from(took).unwrap_or(u64::MAX), Ordering::Relaxed);
        if polled.is_ready() {
            self.metered.settle_rest();
        }
        polled
    }
}
