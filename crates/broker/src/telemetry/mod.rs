//! Clients' metrics (KIP-714): who is asked for what, how often each may send, and the last value of each number that was sent.
//!
//! Behind the handlers of GetTelemetrySubscriptions and PushTelemetry. Rules and refusals are Kafka's; what Kafka hands to a plug-in is
//! kept here for the page of metrics (docs/adr/0181-clients-metrics-are-on-the-page-of-metrics.md). Guarantees: clients, numbers of each
//! and bytes of all are bounded; a client that is silent is forgotten. What it knows is this broker's alone, and of no other start.

mod otlp;
mod subscriptions;

pub(crate) use subscriptions::{Asked, ClientInfo, SUBSCRIPTIONS_MAX, compile, count};

use crate::error::Failure;
use base::Micros;
use bytes::Bytes;
use control_core::Image;
use otlp::{Malformed, Point};
use protocol::record_batch::Compression;
use protocol::wire::Uuid;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;
use subscriptions::Subscriptions;
use world::lock;

/// Clients at the most; then the one that would be forgotten first is.
const CLIENTS_MAX: usize = 16_384;

/// A client is forgotten after three of its intervals, or at least so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
const FORGOTTEN_AFTER_INTERVALS: u32 = 3;

/// Numbers of one client at the most.
const SERIES_OF_CLIENT_MAX: usize = 1000;

/// Bytes of all numbers at the most, with what each takes beyond its name.
const SERIES_BYTES_MAX: usize = 4 * 1024 * 1024;
const SERIES_BYTES: usize = 48;

/// What a push decompresses to at the most.
pub(crate) const DECOMPRESSED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Kafka's other number beside none that is nobody's id.
const RESERVED: Uuid = Uuid(1);

/// What clients have sent, for the page of metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TelemetryUse {
    /// Clients that are known.
    pub clients: usize,
    /// Pushes that were taken.
    pub taken: u64,
    /// Requests that came before their time.
    pub throttled: u64,
    /// Pushes that were refused for another reason.
    pub refused: u64,
    /// Numbers that there was no room for.
    pub dropped: u64,
    /// The last value of each number: client, name with attributes, value.
    pub series: Vec<(String, String, f64)>,
}

/// A push, but for its metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Push {
    pub(crate) subscription_id: i32,
    pub(crate) terminating: bool,
    pub(crate) compression: i8,
    pub(crate) bytes: usize,
    pub(crate) bytes_max: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Telemetry(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    subscriptions: Subscriptions,
    clients: BTreeMap<Uuid, Client>,
    /// When each of them is forgotten.
    ends: BTreeSet<(Micros, Uuid)>,
    series_bytes: usize,
    /// Its counters.
    used: TelemetryUse,
}

#[derive(Debug, Default)]
struct Client {
    subscription_id: i32,
    interval: Duration,
    /// Of the subscriptions that this was made of.
    version: u64,
    ends: Micros,
    last_get: Option<Micros>,
    last_push: Option<Micros>,
    terminating: bool,
    series: BTreeMap<String, f64>,
}

impl Telemetry {
    /// What a client is asked for. One that asks again before its interval is over is put off, unless subscriptions have changed.
    pub(crate) fn subscribe(&self, image: &Image, client: &ClientInfo<'_>, now: Micros) -> Result<Asked, Failure> {
        let mut state = lock(&self.0);
        let known = state.look(image, client, now);
        let last = known.last_get.max(known.last_push);
        if last.is_some_and(|last| now.since(last) < known.interval) {
            state.used.throttled += 1;
            return Err(Failure::TooSoon);
        }
        known.last_get = Some(now);
        Ok(state.subscriptions.asked_of(client))
    }

    /// Whether a push is taken, before its metrics are looked at.
    pub(crate) fn admit(&self, image: &Image, client: &ClientInfo<'_>, push: Push, now: Micros) -> Result<(), Failure> {
        let mut state = lock(&self.0);
        if client.id == Uuid::default() || client.id == RESERVED {
            state.used.refused += 1;
            return Err(Failure::InvalidRequest("no client's id".to_owned()));
        }
        let outcome = state.look(image, client, now).admit(push, now);
        match &outcome {
            Ok(()) => {}
            Err(Failure::TooSoon) => state.used.throttled += 1,
            Err(_) => state.used.refused += 1,
        }
        outcome
    }

    /// Keeps what a client has sent.
    pub(crate) fn take(&self, id: Uuid, compression: i8, metrics: Bytes) -> Result<(), Failure> {
        let read = read(compression, metrics);
        let mut state = lock(&self.0);
        match read {
            Ok((points, left_out)) => {
                state.used.taken += 1;
                state.used.dropped += left_out;
                state.keep(id, points);
                Ok(())
            }
            Err(failure) => {
                state.used.refused += 1;
                Err(failure)
            }
        }
    }

    pub(crate) fn used(&self, now: Micros) -> TelemetryUse {
        let mut state = lock(&self.0);
        state.forget(now);
        let series = state.clients.iter().flat_map(|(id, client)| {
            let id = id.to_string();
            client.series.iter().map(move |(name, value)| (id.clone(), name.clone(), *value))
        });
        TelemetryUse { clients: state.clients.len(), series: series.collect(), ..state.used.clone() }
    }
}

impl State {
    /// The client as it is known now, made where it is not, or where other subscriptions hold than when it was.
    fn look(&mut self, image: &Image, client: &ClientInfo<'_>, now: Micros) -> &mut Client {
        self.forget(now);
        self.subscriptions.follow(image);
        let version = self.subscriptions.version;
        let before = self.clients.remove(&client.id);
        if let Some(before) = &before {
            self.ends.remove(&(before.ends, client.id));
        } else if self.clients.len() >= CLIENTS_MAX
            && let Some((_, first)) = self.ends.pop_first()
        {
            self.drop_client(first);
        }
        let mut known = match before {
            Some(known) if known.version == version => known,
            before => {
                let Asked { id, interval_ms, metrics: _ } = self.subscriptions.asked_of(client);
                let interval = Duration::from_millis(u64::try_from(interval_ms).unwrap_or(0));
                let series = before.map(|before| before.series).unwrap_or_default();
                Client { subscription_id: id, interval, version, series, ..Client::default() }
            }
        };
        known.ends = now.plus(FORGOTTEN_AFTER.max(known.interval * FORGOTTEN_AFTER_INTERVALS));
        self.ends.insert((known.ends, client.id));
        self.clients.entry(client.id).or_insert(known)
    }

    fn forget(&mut self, now: Micros) {
        while let Some((ends, id)) = self.ends.first().copied()
            && ends <= now
        {
            self.ends.remove(&(ends, id));
            self.drop_client(id);
        }
    }

    fn drop_client(&mut self, id: Uuid) {
        let gone = self.clients.remove(&id);
        let names = gone.iter().flat_map(|client| client.series.keys());
        self.series_bytes -= names.map(|name| SERIES_BYTES + name.len()).sum::<usize>();
    }

    fn keep(&mut self, id: Uuid, points: Vec<Point>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        for Point { series, value, is_delta } in points {
            if let Some(there) = client.series.get_mut(&series) {
                *there = if is_delta { *there + value } else { value };
                continue;
            }
            let bytes = SERIES_BYTES + series.len();
            if client.series.len() >= SERIES_OF_CLIENT_MAX || self.series_bytes + bytes > SERIES_BYTES_MAX {
                self.used.dropped += 1;
                continue;
            }
            self.series_bytes += bytes;
            client.series.insert(series, value);
        }
    }
}

impl Client {
    fn admit(&mut self, push: Push, now: Micros) -> Result<(), Failure> {
        if self.terminating {
            return Err(Failure::InvalidRequest("the client has sent its last metrics already".to_owned()));
        }
        self.terminating = push.terminating;
        // Right after it was told what to send a client sends at a moment that it draws, so that not all do at once.
        let is_first = self.last_get > self.last_push;
        if !is_first && self.last_push.is_some_and(|last| now.since(last) < self.interval) && !push.terminating {
            return Err(Failure::TooSoon);
        }
        self.last_push = Some(now);
        if push.subscription_id != self.subscription_id {
            return Err(Failure::UnknownSubscription);
        }
        codec(push.compression)?;
        if push.bytes > push.bytes_max {
            return Err(Failure::MetricsTooLarge { most: push.bytes_max });
        }
        Ok(())
    }
}

fn codec(number: i8) -> Result<Compression, Failure> {
    let codec = u8::try_from(number).ok().and_then(|number| Compression::from_number(number).ok());
    codec.ok_or(Failure::UnsupportedCompression(number))
}

/// The first numbers, and how many more there are.
fn read(compression: i8, metrics: Bytes) -> Result<(Vec<Point>, u64), Failure> {
    let unreadable = |why: &str| Failure::UnreadableMetrics(why.to_owned());
    let metrics = codec(compression)?.decompress(metrics, DECOMPRESSED_BYTES_MAX);
    let metrics = metrics.map_err(|error| unreadable(&error.to_string()))?;
    let (mut points, mut left_out) = (Vec::new(), 0);
    let outcome = otlp::read(&metrics, &mut |point| {
        if points.len() < SERIES_OF_CLIENT_MAX { points.push(point) } else { left_out += 1 }
    });
    match outcome {
        Ok(()) => Ok((points, left_out)),
        Err(Malformed) => Err(unreadable("no MetricsData of OpenTelemetry")),
    }
}

#[cfg(test)]
mod tests;
