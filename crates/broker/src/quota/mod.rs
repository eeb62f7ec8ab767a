//! Quotas of clients: how much of what each may use, and how long it is throttled where it uses more.
//!
//! | file | |
//! |---|---|
//! | `entity` | whose quotas there can be, and which values they may have; what of them is asked for |
//! | `limits` | which of them counts for a client |
//! | `window` | rates as Kafka measures them, and its bucket of tokens |
//! | `sensors` | what clients have used, of those that use something now |
//! | `meter` | what one request is charged with, and what comes of it |
//!
//! All brokers know the quotas, from the ledger; each measures what it serves, as in Kafka. Who has none is not measured. Nothing here waits:
//! a request that is over a quota is answered with the time that its connection is not read afterwards (KIP-219).

pub(crate) mod entity;
mod limits;
mod meter;
mod sensors;
mod window;

pub(crate) use self::meter::{Meter, Strictness};
pub use self::window::QuotaWindows;

use self::limits::{Kind, Limits};
use self::sensors::Sensors;
use self::window::{Bucket, Rate};
use crate::BrokerOptions;
use base::Micros;
use control_core::Image;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::lock;

/// The quotas that there are, as a broker enforces them.
#[derive(Debug)]
pub(crate) struct Quotas {
    windows: QuotaWindows,
    /// Those of changes of topics.
    controller_windows: QuotaWindows,
    /// As of the image that was seen last.
    limits: Mutex<(control_core::Quotas, Arc<Limits>)>,
    produced: Mutex<Sensors<Client, Rate>>,
    fetched: Mutex<Sensors<Client, Rate>>,
    requests: Mutex<Sensors<Client, Rate>>,
    mutations: Mutex<Sensors<Client, Bucket>>,
    connections: Mutex<Sensors<IpAddr, Rate>>,
}

/// Those who use something together: a user, or a client id, or both; what is not asked for is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Client {
    user: String,
    client_id: String,
}

/// What a quota measures in windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Produced,
    Fetched,
    Requests,
}

impl Use {
    fn kind(self) -> Kind {
        match self {
            Use::Produced => Kind::Produced,
            Use::Fetched => Kind::Fetched,
            Use::Requests => Kind::Requests,
        }
    }
}

impl Quotas {
    pub(crate) fn new(options: &BrokerOptions) -> Quotas {
        let (windows, controller_windows) = (options.quota_windows, options.controller_quota_windows);
        let rates = || Mutex::new(Sensors::new(windows));
        Quotas {
            windows,
            controller_windows,
            limits: Mutex::default(),
            produced: rates(),
            fetched: rates(),
            requests: rates(),
            mutations: Mutex::new(Sensors::new(controller_windows)),
            connections: Mutex::new(Sensors::new(windows)),
        }
    }

    fn limits(&self, image: &Image) -> Arc<Limits> {
        let mut seen = lock(&self.limits);
        if !seen.0.ptr_eq(&image.quotas) {
            *seen = (image.quotas.clone(), Arc::new(Limits::of(&image.quotas)));
        }
        seen.1.clone()
    }

    /// The quota of a client, and with whom it shares it. `None`: it has none.
    fn limit(&self, image: &Image, kind: Kind, user: &str, client_id: &str) -> Option<(f64, Client)> {
        if image.quotas.is_empty() {
            return None;
        }
        let limits = self.limits(image);
        let (limit, shared) = limits.of_client(kind, user, client_id)?;
        let part = |counts: bool, name: &str| if counts { name.to_owned() } else { String::new() };
        Some((limit, Client { user: part(shared.user, user), client_id: part(shared.client_id, client_id) }))
    }

    fn sensors(&self, of: Use) -> &Mutex<Sensors<Client, Rate>> {
        match of {
            Use::Produced => &self.produced,
            Use::Fetched => &self.fetched,
            Use::Requests => &self.requests,
        }
    }

    /// Counts a use, and says for how many milliseconds the client has to wait to be within its quota again: 0 where it is. A negative one
    /// takes back another of the same moment.
    fn record(&self, image: &Image, of: Use, (user, client_id): (&str, &str), value: f64, now: Micros) -> u64 {
        let Some((limit, client)) = self.limit(image, of.kind(), user, client_id) else { return 0 };
        let mut sensors = lock(self.sensors(of));
        let rate = sensors.of(client, millis(now), Rate::default);
        rate.record(self.windows, value, millis(now));
        let wait = rate.excess_ms(self.windows, limit, millis(now));
        if of == Use::Requests { wait.min(self.windows.length_ms()) } else { wait }
    }

    /// Counts a change of topics by how many partitions come or go.
    ///
    /// # Errors
    /// For how many milliseconds the client has to wait to be within its quota again. Nothing was counted where the quota is strict: then it
    /// must have been within it before.
    fn record_mutation(
        &self,
        image: &Image,
        (user, client_id): (&str, &str),
        (partitions, strictness): (usize, Strictness),
        now: Micros,
    ) -> Result<(), u64> {
        let Some((limit, client)) = self.limit(image, Kind::Mutations, user, client_id) else { return Ok(()) };
        let (windows, now) = (self.controller_windows, millis(now));
        let mut sensors = lock(&self.mutations);
        let bucket = sensors.of(client, now, || Bucket::full(windows, limit, now));
        let value = partitions as f64;
        match strictness {
            Strictness::Strict => match bucket.excess_ms(windows, limit, now) {
                0 => bucket.take(windows, limit, value, now),
                wait => return Err(wait),
            },
            Strictness::Permissive => {
                bucket.take(windows, limit, value, now);
                match bucket.excess_ms(windows, limit, now) {
                    0 => {}
                    wait => return Err(wait),
                }
            }
        }
        Ok(())
    }

    /// The most that a fetch may bring without being throttled for that alone (Kafka's `maxValueInQuotaWindow`).
    fn fetch_bytes_max(&self, image: &Image, user: &str, client_id: &str) -> usize {
        match self.limit(image, Kind::Fetched, user, client_id) {
            None => usize::MAX,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a conversion saturates")]
            Some((limit, _)) => (limit * self.windows.whole_seconds()) as usize,
        }
    }

    /// Counts a connection (KIP-612). Where its address has made too many, how long to wait before it is closed; it does not count then.
    pub(crate) fn record_connection(&self, image: &Image, address: IpAddr, now: Micros) -> Option<Duration> {
        if image.quotas.is_empty() {
            return None;
        }
        let address = address.to_canonical();
        let limit = self.limits(image).of_address(address)?;
        let mut sensors = lock(&self.connections);
        let rate = sensors.of(address, millis(now), Rate::default);
        rate.record(self.windows, 1.0, millis(now));
        let wait = rate.excess_ms(self.windows, limit, millis(now)).min(self.windows.length_ms());
        if wait == 0 {
            return None;
        }
        rate.record(self.windows, -1.0, millis(now));
        Some(Duration::from_millis(wait))
    }
}

fn millis(now: Micros) -> u64 {
    now.0 / 1000
}

#[cfg(test)]
mod tests;
