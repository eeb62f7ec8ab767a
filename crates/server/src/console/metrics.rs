//! What the broker counts, as Prometheus text.
//!
//! Names end in their unit; counters in `_total`. Everything is read when it is asked for: nothing here runs by itself.

use super::cost::{CostMeter, names};
use crate::node::Node;
use base::Micros;
use broker::{CleanerUse, TelemetryUse};
use control_core::{Image, NodeState};
use std::fmt::Write;
use std::time::Duration;
use stream::wal::PutCounts;
use stream::{CompactionUse, Gauges, WalGauges};
use world::StoreUse;

/// All metrics; those of the broker are absent until it serves.
pub(super) fn text(began: Micros, now: Micros, store: StoreUse, cost: &CostMeter, node: Option<&Node>) -> String {
    let mut page = Page::default();
    page.metric("millstream_ready", "gauge", "1 while Kafka clients are served.");
    page.sample("millstream_ready", "", u64::from(node.is_some()));
    page.metric("millstream_uptime_seconds", "gauge", "Since the process began.");
    page.sample("millstream_uptime_seconds", "", now.since(began).as_secs());
    page.metric("process_resident_memory_bytes", "gauge", "Memory of this process in RAM.");
    page.sample("process_resident_memory_bytes", "", resident_bytes());
    cost.requests(&mut page, &store);
    if let Some(node) = node {
        let (ledger, gauges) = (node.store().ledger().image(), node.store().gauges());
        image(&mut page, &ledger);
        streams(&mut page, &gauges);
        wals(&mut page, &gauges.wals);
        let stored = ledger.objects.values().map(|object| object.size).sum();
        cost.rates(&mut page, &store, now, gauges.appended_bytes, stored);
        compaction(&mut page, node.store().compaction());
        cleaner(&mut page, node.broker().cleaner());
        telemetry(&mut page, node.broker().telemetry());
        page.metric("millstream_connections", "gauge", "Open Kafka connections.");
        page.sample("millstream_connections", "", count(node.broker().connections()));
    }
    page.into_text()
}

fn image(page: &mut Page, image: &Image) {
    let alive = image.nodes.values().filter(|node| node.state == NodeState::Alive).count();
    // Nobody's yet, or a dead broker's whose log nobody has recovered.
    let offline = image.ownerless_streams().len() + image.offline_streams().count();
    let committed: u64 = image.streams.values().map(|stream| stream.live_bytes).sum();
    let mut gauge = |name: &str, help: &str, value: u64| {
        page.metric(name, "gauge", help);
        page.sample(name, "", value);
    };
    gauge("millstream_ledger_entry", "Number of the last ledger entry that this broker has seen.", image.seq.0);
    gauge("millstream_ledger_epoch", "Term of the ledger's leader.", image.leader.epoch.0);
    gauge("millstream_brokers_alive", "Brokers that the ledger calls alive.", count(alive));
    gauge("millstream_topics", "Topics.", count(image.topics.len()));
    gauge("millstream_partitions", "Partitions.", count(image.streams.len()));
    gauge("millstream_partitions_without_owner", "Partitions that no broker serves.", count(offline));
    gauge("millstream_wals", "Write-ahead logs that hold records not yet in objects, or may.", count(image.wals.len()));
    gauge("millstream_data_objects", "Data objects that partitions refer to.", count(image.objects.len()));
    gauge("millstream_dead_objects", "Data objects waiting to be deleted.", count(image.dead_objects.len()));
    gauge("millstream_committed_bytes", "Bytes of record batches in data objects.", committed);
}

fn streams(page: &mut Page, gauges: &Gauges) {
    let Gauges {
        log_cache_bytes,
        spilled_runs,
        appended_bytes: _,
        upload_behind_bytes,
        wals: _,
        recovering_wals,
        corrupt_reads,
    } = gauges;
    let mut gauge = |name: &str, help: &str, value: u64| {
        page.metric(name, "gauge", help);
        page.sample(name, "", value);
    };
    gauge("millstream_log_cache_bytes", "Memory of the log cache.", *log_cache_bytes);
    gauge("millstream_spilled_runs", "Runs of batches that only a write-ahead log holds.", count(*spilled_runs));
    gauge(names::BEHIND, "Bytes acknowledged and in no committed object yet.", *upload_behind_bytes);
    gauge(
        "millstream_recovering_wals",
        "Logs of dead starts whose records are still uploaded.",
        count(*recovering_wals),
    );
    let corrupt = "millstream_corrupt_reads_total";
    page.metric(corrupt, "counter", "Reads of records that are damaged or missing where they are stored.");
    page.sample(corrupt, "", *corrupt_reads);
}

/// Of each write-ahead log of this broker, by its name.
fn wals(page: &mut Page, wals: &[WalGauges]) {
    let mut gauge = |name: &str, help: &str, value: fn(&WalGauges) -> u64| {
        page.metric(name, "gauge", help);
        for wal in wals {
            page.sample(name, &wal_label(wal), value(wal));
        }
    };
    let help = "Bytes of a write-ahead log that are still needed.";
    gauge("millstream_wal_used_bytes", help, |wal| wal.used_bytes);
    let help = "1: a write-ahead log has failed; its partitions are written to another one until the next start.";
    gauge("millstream_wal_failed", help, |wal| u64::from(wal.has_failed));
    gauge("millstream_wal_capacity_bytes", "Its size.", |wal| wal.capacity_bytes);
    gauge("millstream_append_bytes", "Bytes accepted and not acknowledged yet.", |wal| wal.append_bytes);
    let help = "Bytes acknowledged by a log and in no committed object yet.";
    gauge("millstream_wal_behind_bytes", help, |wal| wal.upload_behind_bytes);
    let mut seconds = |name: &str, help: &str, value: fn(&WalGauges) -> Duration| {
        page.metric(name, "gauge", help);
        for wal in wals {
            page.sample_of(name, &wal_label(wal), value(wal).as_secs_f64());
        }
    };
    let help = "How long the oldest bytes accepted and not acknowledged have waited.";
    seconds("millstream_append_age_seconds", help, |wal| wal.append_age);
    let help = "How long producers are asked to wait after an answer.";
    seconds("millstream_produce_throttle_seconds", help, |wal| wal.throttle);
    let name = "millstream_wal_appended_bytes_total";
    page.metric(name, "counter", "Bytes of record batches acknowledged by a log.");
    for wal in wals {
        page.sample(name, &wal_label(wal), wal.appended_bytes);
    }
    let name = "millstream_wal_puts_total";
    let help =
        "Puts of a write-ahead log in the bucket: groups, second copies of slow ones, further tries after trouble.";
    page.metric(name, "counter", help);
    for wal in wals {
        let PutCounts { first, copied, repeated } = wal.puts;
        for (of, puts) in [("first", first), ("copied", copied), ("repeated", repeated)] {
            page.sample(name, &format!("{{wal=\"{}\",try=\"{of}\"}}", wal.name), puts);
        }
    }
}

fn wal_label(wal: &WalGauges) -> String {
    format!("{{wal=\"{}\"}}", wal.name)
}

fn compaction(page: &mut Page, used: CompactionUse) {
    let CompactionUse {
        jobs,
        jobs_given_up,
        read_bytes,
        written_bytes,
        objects_in,
        objects_out,
        swaps,
        swaps_refused,
        uploaded_bytes,
    } = used;
    let outcomes = [("done", jobs), ("given_up", jobs_given_up)];
    let help = "Compactions carried out, and those given up.";
    page.counters("millstream_compaction_jobs_total", help, "outcome", &outcomes);
    let bytes = [("read", read_bytes), ("written", written_bytes)];
    let help = "Bytes of data objects that compaction has read and written.";
    page.counters("millstream_compaction_bytes_total", help, "operation", &bytes);
    let objects = [("read", objects_in), ("written", objects_out)];
    let help = "Data objects that compaction has read and written.";
    page.counters("millstream_compaction_objects_total", help, "operation", &objects);
    let outcomes = [("applied", swaps), ("refused", swaps_refused)];
    let help = "Runs of references that the ledger has replaced, or refused to, as something else came first.";
    page.counters("millstream_compaction_swaps_total", help, "outcome", &outcomes);
    let name = "millstream_uploaded_bytes_total";
    page.metric(
        name,
        "counter",
        "Bytes of data objects put by uploads; with those written by compaction, against these, the amplification.",
    );
    page.sample(name, "", uploaded_bytes);
}

fn cleaner(page: &mut Page, used: CleanerUse) {
    let CleanerUse { passes, passes_given_up, bytes_read, bytes_kept, removed_records } = used;
    let outcomes = [("done", passes), ("given_up", passes_given_up)];
    let help = "Partitions of compacted topics that were cleaned, and those that could not be.";
    page.counters("millstream_cleaner_passes_total", help, "outcome", &outcomes);
    let bytes = [("read", bytes_read), ("kept", bytes_kept)];
    let help = "Bytes of record batches that cleaning has looked at, and those that stayed.";
    page.counters("millstream_cleaner_bytes_total", help, "operation", &bytes);
    let name = "millstream_cleaner_removed_records_total";
    page.metric(name, "counter", "Records that cleaning has removed.");
    page.sample(name, "", removed_records);
}

/// What clients tell of themselves (KIP-714).
fn telemetry(page: &mut Page, used: TelemetryUse) {
    let TelemetryUse { clients, taken, throttled, refused, dropped, series } = used;
    page.metric(
        "millstream_telemetry_clients",
        "gauge",
        "Clients that have asked which metrics to send, or sent some.",
    );
    page.sample("millstream_telemetry_clients", "", count(clients));
    let outcomes = [("taken", taken), ("throttled", throttled), ("refused", refused)];
    let help = "Pushes of clients' metrics that were taken, those refused, and requests that came too soon.";
    page.counters("millstream_telemetry_requests_total", help, "outcome", &outcomes);
    let name = "millstream_telemetry_dropped_total";
    page.metric(name, "counter", "Numbers of clients that there was no room for.");
    page.sample(name, "", dropped);
    let name = "millstream_client_metric";
    page.metric(name, "gauge", "The last value of each number that a client has sent, by its own name and attributes.");
    for (client, series, value) in series {
        page.sample_of(name, &format!("{{client=\"{client}\",metric=\"{}\"}}", escaped(&series)), value);
    }
}

/// A label's value: a client may send any text.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

/// `VmRSS` as Linux tells it; 0 elsewhere.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The text as it grows.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// A counter with a sample for each value of one label.
    fn counters(&mut self, name: &str, help: &str, label: &str, samples: &[(&str, u64)]) {
        self.metric(name, "counter", help);
        for (of, count) in samples {
            self.sample(name, &format!("{{{label}=\"{of}\"}}"), *count);
        }
    }

    pub(super) fn metric(&mut self, name: &str, kind: &str, help: &str) {
        write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n").expect("a String takes any text");
    }

    pub(super) fn sample(&mut self, name: &str, labels: &str, value: u64) {
        writeln!(self.0, "{name}{labels} {value}").expect("a String takes any text");
    }

    /// A figure that is no whole number.
    pub(super) fn sample_of(&mut self, name: &str, labels: &str, value: f64) {
        writeln!(self.0, "{name}{labels} {value}").expect("a String takes any text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prices::Prices;

    #[test]
    fn every_sample_has_its_help_and_type() {
        let cost = CostMeter::new(Prices::suggested_by("s3://bucket"), Micros(0));
        let mut page = Page(text(Micros(0), Micros(5_000_000), StoreUse::default(), &cost, None));
        cost.rates(&mut page, &StoreUse::default(), Micros(5_000_000), 1, 1);
        image(&mut page, &Image::default());
        compaction(&mut page, CompactionUse { swaps_refused: 2, ..CompactionUse::default() });
        cleaner(&mut page, CleanerUse { removed_records: 7, ..CleanerUse::default() });
        let series = vec![("id".to_owned(), "a{topic=\"\n\\}".to_owned(), 1.5)];
        telemetry(&mut page, TelemetryUse { series, ..TelemetryUse::default() });
        assert!(page.0.contains("millstream_client_metric{client=\"id\",metric=\"a{topic=\\\"\\n\\\\}\"} 1.5\n"));
        assert!(page.0.contains("millstream_cleaner_removed_records_total 7\n"));
        assert!(page.0.contains("millstream_compaction_swaps_total{outcome=\"refused\"} 2\n"));
        assert!(page.0.contains("millstream_uptime_seconds 5\n"));
        assert!(page.0.contains("millstream_ready 0\n"));
        for line in page.0.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(page.0.contains(&format!("# TYPE {name} ")), "{line}");
        }
    }
}
