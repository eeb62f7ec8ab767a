//! What a run is told as: one line of JSON, or a few lines of text.

use super::super::{CommandError, counted, say, say_json};
use super::store::StoreDuringRun;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::time::Duration;

/// Times up to this are told apart; longer ones count as this.
const LONGEST: Duration = Duration::from_secs(3600);
/// Decimal digits that are kept of a time.
const DIGITS: u8 = 3;

/// Times, in microseconds.
#[derive(Debug, Clone)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Latencies {
        let longest = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
        Latencies(Histogram::new_with_bounds(1, longest, DIGITS).expect("the bounds are sound"))
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// In milliseconds.
    fn at(&self, quantile: f64) -> f64 {
        millis(self.0.value_at_quantile(quantile))
    }

    fn json(&self) -> Value {
        json!({
            "p50": self.at(0.5), "p90": self.at(0.9), "p99": self.at(0.99), "p999": self.at(0.999),
            "max": millis(self.0.max()), "mean": rounded(self.0.mean() / 1000.0),
        })
    }
}

fn millis(micros: u64) -> f64 {
    rounded(Duration::from_micros(micros).as_secs_f64() * 1000.0)
}

/// To three places: in milliseconds those are what was measured, the rest is noise.
fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// A run's figures.
pub(super) struct Report<'a> {
    /// `produce`, `consume` or `e2e`.
    pub(super) bench: &'static str,
    pub(super) topic: &'a str,
    /// Records a second that were due, where that was fixed.
    pub(super) rate: Option<u32>,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) took: Duration,
    pub(super) latencies: Option<Latencies>,
    /// How late the generator was.
    pub(super) late: Option<Latencies>,
    /// What the object store was asked for.
    pub(super) store: Option<StoreDuringRun>,
}

impl Report<'_> {
    pub(super) fn tell(&self, as_json: bool) -> Result<(), CommandError> {
        let seconds = self.took.as_secs_f64().max(1e-6);
        let per_second = |count: u64| Duration::from_micros(count).as_secs_f64() * 1e6 / seconds;
        let mib_per_second = per_second(self.bytes) / f64::from(1 << 20);
        if as_json {
            return say_json(&json!({
                "bench": self.bench,
                "topic": self.topic,
                "open_loop": self.rate.is_some(),
                "rate": self.rate,
                "records": self.records,
                "bytes": self.bytes,
                "seconds": seconds,
                "records_per_second": rounded(per_second(self.records)),
                "mib_per_second": rounded(mib_per_second),
                "latency_ms": self.latencies.as_ref().map(Latencies::json),
                "generator_late_ms": self.late.as_ref().map(Latencies::json),
                "store": self.store.as_ref().map(StoreDuringRun::json),
            }));
        }
        let (records, bytes) = (counted(self.records, "record"), counted(self.bytes, "byte"));
        let records_per_second = per_second(self.records);
        say(format!(
            "{}: {records}, {bytes} in {seconds:.2} s: {records_per_second:.0} records/s, {mib_per_second:.1} MiB/s",
            self.bench
        ))?;
        if let Some(times) = &self.latencies {
            say(format!(
                "latency in ms: p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
                times.at(0.5),
                times.at(0.9),
                times.at(0.99),
                times.at(0.999),
                times.at(1.0),
            ))?;
        }
        match (self.rate, &self.late) {
            (Some(rate), Some(late)) => say(format!(
                "open loop: {} due each second; the generator was late by {:.2} ms (p99), {:.2} ms (max)",
                if rate == 1 { "1 record was".to_owned() } else { format!("{rate} records were") },
                late.at(0.99),
                late.at(1.0)
            ))?,
            (None, Some(_)) => say("no rate was given: latency counts from when a record was taken")?,
            (_, None) => {}
        }
        match &self.store {
            Some(store) => store.tell(),
            None if self.late.is_some() => {
                say("what the object store was asked for is not known: give the brokers' consoles, --console HOST:PORT")
            }
            None => Ok(()),
        }
    }
}
