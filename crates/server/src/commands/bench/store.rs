//! What the object store was asked for during a run, by the brokers' own account: their metrics before it, and after.
//!
//! The table's lines are the budget's: requests in PUTs, and dollars, for each GiB that producers were acknowledged. What a run leaves
//! to be uploaded is not in it, so its amount is told beside.

use super::super::CommandError;
use super::super::say;
use crate::args::client::Load;
use crate::console::names::{APPENDED, BEHIND, BYTES, DOLLARS, PER_MONTH, PUT_EQUIVALENTS, REQUESTS};
use client::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use world::{ClockExt, Operation, Purpose};

/// A console that does not answer in this time is none.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// No page of metrics is longer.
const PAGE_BYTES_MAX: u64 = 4 << 20;

const GIB: f64 = (1_u64 << 30) as f64;
const MIB: f64 = (1_u64 << 20) as f64;

/// The samples of all brokers, added up by name and labels.
#[derive(Debug, Clone, Default, PartialEq)]
struct Samples(BTreeMap<String, f64>);

/// The store before a run.
pub(super) struct Watched<'a> {
    consoles: &'a str,
    before: Samples,
}

/// Looks at the store before a run, where the brokers' consoles are given.
///
/// # Errors
/// One of them is no console of a broker that serves.
pub(super) fn watch<'a>(
    runtime: &Runtime,
    cluster: &Cluster,
    load: &'a Load,
) -> Result<Option<Watched<'a>>, CommandError> {
    let Some(consoles) = load.console.as_deref() else { return Ok(None) };
    let before = runtime.block_on(Samples::read(cluster, consoles))?;
    Ok(Some(Watched { consoles, before }))
}

impl Watched<'_> {
    /// What came since.
    ///
    /// # Errors
    /// A console does not answer any more.
    pub(super) fn until_now(self, runtime: &Runtime, cluster: &Cluster) -> Result<StoreDuringRun, CommandError> {
        let after = runtime.block_on(Samples::read(cluster, self.consoles))?;
        Ok(StoreDuringRun { before: self.before, after })
    }
}

/// What a run did to the store.
#[derive(Debug, Clone)]
pub(super) struct StoreDuringRun {
    before: Samples,
    after: Samples,
}

impl Samples {
    /// The metrics of the brokers at these consoles, `HOST:PORT` with commas between them.
    ///
    /// # Errors
    /// One of them is no console of a broker that serves.
    async fn read(cluster: &Cluster, consoles: &str) -> Result<Samples, CommandError> {
        let mut samples = Samples::default();
        for console in consoles.split(',').map(str::trim) {
            let page = cluster.world().clock.timeout(ANSWER_WITHIN, page(cluster, console)).await;
            let wrong = |why: String| CommandError::failed(format!("--console {console}: {why}"));
            let failed = |error| wrong(format!("{error}: give the address that the broker tells as console="));
            let text = page.ok_or_else(|| wrong("no answer".to_owned()))?.map_err(failed)?;
            if !text.contains(APPENDED) {
                return Err(wrong("no console of a broker that serves; see `millstream start --console`".to_owned()));
            }
            samples.add(&text);
        }
        Ok(samples)
    }

    fn add(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            *self.0.entry(name.to_owned()).or_default() += value;
        }
    }

    /// The sum of the samples of that name that have all these labels.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &str| labels.iter().all(|(label, value)| sample.contains(&format!("{label}=\"{value}\"")));
        let of_name = |sample: &str| sample.split('{').next() == Some(name);
        self.0.iter().filter(|(sample, _)| of_name(sample) && has(sample)).map(|(_, value)| value).sum()
    }
}

/// Nothing for nothing.
fn per(figure: f64, of: f64) -> f64 {
    if of > 0.0 { figure / of } else { 0.0 }
}

/// A sum of samples that are counts.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what does not fit becomes the nearest that does"
)]
fn whole(figure: f64) -> u64 {
    figure.round() as u64
}

async fn page(cluster: &Cluster, console: &str) -> std::io::Result<String> {
    let mut connection = cluster.world().network.connect(console).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {console}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(PAGE_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

impl StoreDuringRun {
    fn more(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.after.sum(name, labels) - self.before.sum(name, labels)
    }

    fn produced_gib(&self) -> f64 {
        self.more(APPENDED, &[]) / GIB
    }

    /// Bytes put to data objects for each one acknowledged.
    fn amplification(&self) -> f64 {
        let put = |purpose: Purpose| self.more(BYTES, &[("operation", "put"), ("purpose", purpose.name())]);
        per(put(Purpose::Upload) + put(Purpose::Compaction), self.more(APPENDED, &[]))
    }

    fn objects_per_gib(&self) -> f64 {
        let done = |purpose: Purpose| [("operation", "put"), ("purpose", purpose.name()), ("outcome", "done")];
        let put = |purpose| self.more(REQUESTS, &done(purpose));
        per(put(Purpose::Upload) + put(Purpose::Compaction), self.produced_gib())
    }

    fn of_purpose(&self, name: &str, purpose: &str) -> f64 {
        self.more(name, &[("purpose", purpose)])
    }

    /// Of all but the reads: what consumers read is no cost of what is produced.
    fn produce(&self, name: &str) -> f64 {
        let written = Purpose::ALL.into_iter().filter(|purpose| *purpose != Purpose::Read);
        written.map(|purpose| self.of_purpose(name, purpose.name())).sum()
    }

    pub(super) fn json(&self) -> Value {
        let gib = self.produced_gib();
        let line = |purpose: &str| {
            let requests = Operation::ALL
                .map(Operation::name)
                .map(|it| (it, json!(whole(self.more(REQUESTS, &[("operation", it), ("purpose", purpose)])))))
                .into_iter();
            let mut line: serde_json::Map<String, Value> = requests.map(|(it, count)| (it.to_owned(), count)).collect();
            let bytes = |operation| json!(whole(self.more(BYTES, &[("operation", operation), ("purpose", purpose)])));
            line.insert("put_bytes".to_owned(), bytes("put"));
            line.insert("get_bytes".to_owned(), bytes("get"));
            let per_gib = |name| json!(per(self.of_purpose(name, purpose), gib));
            line.insert("put_equivalents_per_gib".to_owned(), per_gib(PUT_EQUIVALENTS));
            line.insert("dollars_per_gib".to_owned(), per_gib(DOLLARS));
            (purpose.to_owned(), Value::Object(line))
        };
        json!({
            "produced_gib": gib,
            "purposes": Purpose::ALL.map(|it| line(it.name())).into_iter().collect::<serde_json::Map<String, Value>>(),
            "put_equivalents_per_gib": per(self.produce(PUT_EQUIVALENTS), gib),
            "dollars_per_gib": per(self.produce(DOLLARS), gib),
            "dollars_per_month_at_this_rate": self.after.sum(PER_MONTH, &[("part", "requests")]),
            "objects_per_gib": self.objects_per_gib(),
            "write_amplification": self.amplification(),
            "not_uploaded_bytes": whole(self.after.sum(BEHIND, &[])),
        })
    }

    pub(super) fn tell(&self) -> Result<(), CommandError> {
        let gib = self.produced_gib();
        say(format!("the object store during the run, for {gib:.3} GiB of record batches:"))?;
        say(format!(
            "  {:<11}{:>8}{:>8}{:>8}{:>8}{:>10}{:>10}{:>14}{:>12}",
            "for", "PUTs", "GETs", "LISTs", "DELETEs", "MiB up", "MiB down", "PUTs eq./GiB", "$/GiB"
        ))?;
        for purpose in Purpose::ALL.map(Purpose::name) {
            let of = |it: Operation| self.more(REQUESTS, &[("operation", it.name()), ("purpose", purpose)]);
            let requests = Operation::ALL.map(of);
            let bytes = ["put", "get"].map(|it| self.more(BYTES, &[("operation", it), ("purpose", purpose)]) / MIB);
            let per_gib = |name| per(self.of_purpose(name, purpose), gib);
            if requests.iter().any(|count| *count > 0.0) {
                say(format!(
                    "  {purpose:<11}{:>8}{:>8}{:>8}{:>8}{:>10.1}{:>10.1}{:>14.1}{:>12.6}",
                    requests[0],
                    requests[1],
                    requests[2],
                    requests[3],
                    bytes[0],
                    bytes[1],
                    per_gib(PUT_EQUIVALENTS),
                    per_gib(DOLLARS)
                ))?;
            }
        }
        say(format!(
            "  in all, but for reads: {:.1} PUT-equivalents and ${:.6} a GiB, {:.1} data objects a GiB, {:.2} bytes put to them for each byte",
            per(self.produce(PUT_EQUIVALENTS), gib),
            per(self.produce(DOLLARS), gib),
            self.objects_per_gib(),
            self.amplification(),
        ))?;
        let behind = self.after.sum(BEHIND, &[]) / MIB;
        say(format!("  at the end {behind:.1} MiB were not uploaded yet"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(puts: u64, appended: u64) -> Samples {
        let mut samples = Samples::default();
        // Two brokers.
        for (puts, appended) in [(puts, appended), (10, 1 << 30)] {
            samples.add(&format!(
                "HTTP/1.1 200 OK\r\n\r\n# TYPE {REQUESTS} counter\n\
                 {REQUESTS}{{operation=\"put\",purpose=\"upload\",outcome=\"done\"}} {puts}\n\
                 {REQUESTS}{{operation=\"put\",purpose=\"upload\",outcome=\"trouble\"}} 1\n\
                 {BYTES}{{operation=\"put\",purpose=\"upload\"}} {appended}\n\
                 {BYTES}{{operation=\"get\",purpose=\"upload\"}} 7\n\
                 {PUT_EQUIVALENTS}{{purpose=\"upload\"}} {puts}.5\n{PUT_EQUIVALENTS}{{purpose=\"read\"}} {puts}\n\
                 {APPENDED} {appended}\n{APPENDED}_of_something_else 5\n{BEHIND} 100\n"
            ));
        }
        samples
    }

    #[test]
    fn a_run_is_the_difference_of_all_brokers() {
        let run = StoreDuringRun { before: samples(5, 1 << 30), after: samples(25, 3 << 30) };
        let told = run.json();
        let figure = |name: &str| told[name].as_f64().unwrap();
        assert!((figure("produced_gib") - 2.0).abs() < 1e-9);
        assert!((figure("put_equivalents_per_gib") - 10.0).abs() < 1e-9, "reads are no cost of producing");
        assert!((figure("objects_per_gib") - 10.0).abs() < 1e-9);
        assert!((figure("write_amplification") - 1.0).abs() < 1e-9);
        assert_eq!(told["purposes"]["upload"]["put"], json!(20));
        assert_eq!(told["purposes"]["wal"]["put"], json!(0));
        assert_eq!(told["not_uploaded_bytes"], json!(200));
    }

    #[test]
    fn nothing_produced_costs_nothing_by_the_gib() {
        let run = StoreDuringRun { before: samples(5, 1), after: samples(7, 1) };
        assert_eq!(run.json()["put_equivalents_per_gib"], json!(0.0));
    }
}
