//! The cost meter: what the bucket was asked for since the start, in PUTs, in dollars, and against what was produced.
//!
//! Counters tell all since the start, for whoever keeps their history; the gauges beside them are the same divided, for whoever looks
//! once. A month is reckoned from the rate of the last minutes, as far as somebody has looked: the meter remembers what it was when it
//! was read, and runs by itself at no time.

use super::metrics::Page;
use crate::prices::Prices;
use base::Micros;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;
use world::{Ended, Operation, Purpose, StoreUse, lock};

/// The present rate is that of so long at the most,
const RATE_OVER_MAX: Duration = Duration::from_secs(600);
/// and of so long at the least, or the time since the start where that is less.
const RATE_OVER_MIN: Duration = Duration::from_secs(10);
/// A month, as providers reckon it.
const MONTH: Duration = Duration::from_secs(730 * 3600);

const GIB: f64 = (1_u64 << 30) as f64;

/// Names that `bench` reads the page by.
pub(crate) mod names {
    pub(crate) const REQUESTS: &str = "millstream_object_store_requests_total";
    pub(crate) const BYTES: &str = "millstream_object_store_bytes_total";
    pub(crate) const PUT_EQUIVALENTS: &str = "millstream_cost_put_equivalents_total";
    pub(crate) const DOLLARS: &str = "millstream_cost_dollars_total";
    pub(crate) const APPENDED: &str = "millstream_appended_bytes_total";
    pub(crate) const BEHIND: &str = "millstream_upload_behind_bytes";
    pub(crate) const PER_MONTH: &str = "millstream_cost_dollars_per_month";
}

/// See the head of this file.
pub(super) struct CostMeter {
    prices: Prices,
    began: Micros,
    /// What the requests had cost at earlier looks, oldest first, each at least [`RATE_OVER_MIN`] after the one before.
    looks: Mutex<VecDeque<(Micros, f64)>>,
}

impl CostMeter {
    pub(super) fn new(prices: Prices, began: Micros) -> CostMeter {
        CostMeter { prices, began, looks: Mutex::default() }
    }

    /// All that is known before the broker serves.
    pub(super) fn requests(&self, page: &mut Page, used: &StoreUse) {
        let name = names::REQUESTS;
        page.metric(name, "counter", "Requests to the bucket, by what they were for and how they ended.");
        for (operation, purpose, ended) in every_request() {
            let count = used.requests(operation, purpose, ended);
            if count > 0 || ended == Ended::Done {
                let (operation, purpose, ended) = (operation.name(), purpose.name(), ended.name());
                let labels = format!("{{operation=\"{operation}\",purpose=\"{purpose}\",outcome=\"{ended}\"}}");
                page.sample(name, &labels, count);
            }
        }
        let name = names::BYTES;
        page.metric(name, "counter", "Bytes put into the bucket and got from it.");
        for purpose in Purpose::ALL {
            for (operation, bytes) in [("put", used.up_bytes(purpose)), ("get", used.down_bytes(purpose))] {
                page.sample(name, &format!("{{operation=\"{operation}\",purpose=\"{}\"}}", purpose.name()), bytes);
            }
        }
        let name = "millstream_object_store_failures_total";
        page.metric(name, "counter", "Requests to the bucket that failed.");
        page.sample(name, "", used.failures());
        let name = names::PUT_EQUIVALENTS;
        page.metric(name, "counter", "Billed requests in PUTs: a LIST is one, a GET 0.08, a DELETE none.");
        by_purpose(page, name, |purpose| put_equivalents(used, purpose));
        let name = names::DOLLARS;
        page.metric(name, "counter", "What the requests cost by the prices of --prices.");
        by_purpose(page, name, |purpose| self.prices.dollars(used, purpose));
    }

    /// Against what producers were acknowledged, and by the month. `appended_bytes` is that, `stored_bytes` what the bucket keeps.
    pub(super) fn rates(&self, page: &mut Page, used: &StoreUse, now: Micros, appended_bytes: u64, stored_bytes: u64) {
        let name = names::APPENDED;
        page.metric(name, "counter", "Bytes of record batches acknowledged to producers.");
        page.sample(name, "", appended_bytes);
        if appended_bytes > 0 {
            self.per_gib(page, used, appended_bytes);
        }
        let name = names::PER_MONTH;
        page.metric(name, "gauge", "A month at the present rate of requests, and of keeping what is stored now.");
        page.sample_of(name, "{part=\"requests\"}", self.requests_by_the_month(used, now));
        page.sample_of(name, "{part=\"storage\"}", self.prices.dollars_to_keep(stored_bytes));
    }

    fn per_gib(&self, page: &mut Page, used: &StoreUse, appended_bytes: u64) {
        let gib = appended_bytes as f64 / GIB;
        let name = "millstream_cost_put_equivalents_per_gib";
        page.metric(name, "gauge", "PUT-equivalents since the start for each GiB acknowledged.");
        by_purpose(page, name, |purpose| put_equivalents(used, purpose) / gib);
        let data = [Purpose::Upload, Purpose::Compaction];
        let objects: u64 = data.iter().map(|it| used.requests(Operation::Put, *it, Ended::Done)).sum();
        let name = "millstream_cost_objects_per_gib";
        page.metric(name, "gauge", "Data objects put since the start for each GiB acknowledged.");
        page.sample_of(name, "", objects as f64 / gib);
        let written: u64 = data.iter().map(|it| used.up_bytes(*it)).sum();
        let name = "millstream_cost_write_amplification";
        page.metric(name, "gauge", "Bytes put to data objects, not to the log, for each byte acknowledged.");
        page.sample_of(name, "", written as f64 / appended_bytes as f64);
        let name = "millstream_cost_dollars_per_gib";
        page.metric(name, "gauge", "What the requests since the start cost for each GiB acknowledged.");
        by_purpose(page, name, |purpose| self.prices.dollars(used, purpose) / gib);
    }

    fn requests_by_the_month(&self, used: &StoreUse, now: Micros) -> f64 {
        let dollars: f64 = Purpose::ALL.into_iter().map(|purpose| self.prices.dollars(used, purpose)).sum();
        let mut looks = lock(&self.looks);
        while looks.front().is_some_and(|(at, _)| now.since(*at) > RATE_OVER_MAX) {
            looks.pop_front();
        }
        let first = looks.front().copied().filter(|(at, _)| now.since(*at) >= RATE_OVER_MIN);
        if looks.back().is_none_or(|(at, _)| now.since(*at) >= RATE_OVER_MIN) {
            looks.push_back((now, dollars));
        }
        let (since, before) = first.unwrap_or((self.began, 0.0));
        let took = now.since(since).as_secs_f64();
        if took > 0.0 { (dollars - before) / took * MONTH.as_secs_f64() } else { 0.0 }
    }
}

fn every_request() -> impl Iterator<Item = (Operation, Purpose, Ended)> {
    let of = |operation| Purpose::ALL.into_iter().flat_map(move |it| Ended::ALL.map(|ended| (operation, it, ended)));
    Operation::ALL.into_iter().flat_map(of)
}

fn put_equivalents(used: &StoreUse, purpose: Purpose) -> f64 {
    used.put_equivalents_percent(purpose) as f64 / 100.0
}

fn by_purpose(page: &mut Page, name: &str, value: impl Fn(Purpose) -> f64) {
    for purpose in Purpose::ALL {
        page.sample_of(name, &format!("{{purpose=\"{}\"}}", purpose.name()), value(purpose));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use world::{FolderStore, Metered, ObjectStore, OsDisk, SystemClock, counted_as};

    /// Puts so many objects of so many bytes for uploads, and one of four bytes for the log.
    async fn uploads(count: usize, bytes: usize) -> (tempfile::TempDir, StoreUse) {
        let root = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::new());
        let folder = FolderStore::open(Arc::new(OsDisk::new()), clock, root.path().to_owned()).await.unwrap();
        let metered = Arc::new(Metered::new(Arc::new(folder)));
        let store: Arc<dyn ObjectStore> = metered.clone();
        let put = async |purpose, key: String, bytes: usize| {
            counted_as(&store, purpose).put_if_absent(&key, vec![vec![0; bytes].into()]).await.unwrap()
        };
        for n in 0..count {
            put(Purpose::Upload, format!("data/{n}"), bytes).await;
        }
        put(Purpose::Wal, "wal/0".to_owned(), 4).await;
        let used = metered.used();
        (root, used)
    }

    #[tokio::test]
    async fn tells_what_a_gib_costs() {
        let (_root, used) = uploads(10, 100).await;
        let meter = CostMeter::new(Prices::parse("s3").unwrap(), Micros(0));
        let mut page = Page::default();
        meter.requests(&mut page, &used);
        meter.rates(&mut page, &used, Micros(1_000_000), 1 << 29, 100 << 30);
        let text = page.into_text();
        for line in [
            "millstream_object_store_requests_total{operation=\"put\",purpose=\"upload\",outcome=\"done\"} 10",
            "millstream_object_store_requests_total{operation=\"get\",purpose=\"read\",outcome=\"done\"} 0",
            "millstream_object_store_bytes_total{operation=\"put\",purpose=\"upload\"} 1000",
            "millstream_appended_bytes_total 536870912",
            "millstream_cost_put_equivalents_per_gib{purpose=\"upload\"} 20",
            "millstream_cost_put_equivalents_per_gib{purpose=\"wal\"} 2",
            "millstream_cost_objects_per_gib 20",
            "millstream_cost_dollars_per_gib{purpose=\"upload\"} 0.0001",
            "millstream_cost_dollars_per_month{part=\"storage\"} 2.3",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    }

    #[tokio::test]
    async fn a_month_goes_by_the_last_minutes() {
        let meter = CostMeter::new(Prices::parse("minio,put=1000").unwrap(), Micros(0));
        let second = |n: u64| Micros(n * 1_000_000);
        let month = MONTH.as_secs_f64();
        let (_root, used) = uploads(9, 1).await;
        // Ten dollars in twenty seconds, then nothing.
        assert!((meter.requests_by_the_month(&used, second(20)) - month / 2.0).abs() < 1e-3);
        assert!(
            (meter.requests_by_the_month(&used, second(25)) - month * 10.0 / 25.0).abs() < 1e-3,
            "too soon to tell"
        );
        assert!(meter.requests_by_the_month(&used, second(40)).abs() < 1e-9);
        assert!((meter.requests_by_the_month(&used, second(2000)) - month / 200.0).abs() < 1e-3, "nobody has looked");
        for n in 0..1000 {
            meter.requests_by_the_month(&used, second(3000 + n));
        }
        assert!(lock(&meter.looks).len() <= 61);
    }
}
