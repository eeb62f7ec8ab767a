//! `millstream produce`: lines in, records out.
//!
//! Lines are read on the main thread, which may block as long as it likes; batches go out on the runtime's threads meanwhile. What
//! was read before a mistake in the input, its end or Ctrl-C is acknowledged before the command ends.

use super::cluster::{asked_to_end, connect};
use super::progress::{self, Unit};
use super::{CommandError, complain, counted, no_such_partition, say, say_json};
use crate::args::client::Produce;
use base::Micros;
use client::{Cluster, Delivery, OutRecord, Producer, ProducerOptions};
use indicatif::ProgressBar;
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use world::ClockExt;

/// A longer line is refused: it would have to be in memory whole, and no broker would take it.
const LINE_BYTES_MAX: usize = 64 << 20;
/// Read from the input at once.
const READ_BYTES: usize = 1 << 20;
/// After Ctrl-C what was read is acknowledged within this time, or given up.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Runs until the input ends.
///
/// # Errors
/// The input can't be read, or a record was not taken by the cluster.
pub fn run(args: &Produce) -> Result<(), CommandError> {
    let (mut input, bytes) = open(args)?;
    let (runtime, cluster) = connect(&args.cluster)?;
    let began = cluster.world().clock.now();
    runtime.block_on(check_partition(&cluster, args))?;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let producer = Arc::new(start(&runtime, &cluster, args, acknowledged.clone())?);
    let bar = bytes.map(|bytes| progress::bar(bytes, Unit::Bytes));
    let sent = Sent { began, records: 0, bytes: 0, bar };
    let shared = Arc::new(Mutex::new(sent));
    end_on_signal(&runtime, &cluster, args, &producer, &shared)?;

    let read = send_lines(&runtime, &producer, &mut input, args, &shared);
    // To the end: who asks for it now comes too late to say anything of its own.
    let sent = runtime.block_on(shared.lock());
    // What was read before a mistake counts all the same.
    let flushed = runtime.block_on(producer.flush()).map_err(CommandError::from);
    if let Some(bar) = &sent.bar {
        bar.finish_and_clear();
    }
    if let Err(mut error) = flushed.and(read) {
        if sent.records > 0 {
            error.line.push_str(&acknowledged_before(acknowledged.load(Ordering::Acquire), sent.records));
        }
        return Err(error);
    }
    sent.tell(&cluster, args)
}

/// What was taken from the input so far. Locked while a record is handed over: whoever holds it knows that no more is sent.
struct Sent {
    began: Micros,
    records: u64,
    /// Of keys and values.
    bytes: u64,
    bar: Option<ProgressBar>,
}

impl Sent {
    /// Of a command whose every record was acknowledged.
    fn tell(&self, cluster: &Cluster, args: &Produce) -> Result<(), CommandError> {
        if args.cluster.json {
            let seconds = cluster.world().clock.now().since(self.began).as_secs_f64();
            return say_json(&json!({
                "topic": args.topic, "records": self.records, "bytes": self.bytes, "seconds": seconds,
            }));
        }
        let (records, bytes) = (counted(self.records, "record"), counted(self.bytes, "byte"));
        say(format!("{records}, {bytes} written to {}", args.topic))
    }
}

fn acknowledged_before(acknowledged: u64, records: u64) -> String {
    let were = if records == 1 { "was" } else { "were" };
    format!("; {acknowledged} of {} {were} acknowledged before", counted(records, "record"))
}

/// Before any line is read: the first record would tell it too late.
async fn check_partition(cluster: &Cluster, args: &Produce) -> Result<(), CommandError> {
    let Some(wanted) = args.partition else { return Ok(()) };
    let topic = cluster.topic(&args.topic).await?;
    match topic.partition(wanted) {
        Some(_) => Ok(()),
        None => Err(no_such_partition(&format!("--partition {wanted}"), &args.topic, topic.partitions.len())),
    }
}

/// The input, and how much it is where that is known.
fn open(args: &Produce) -> Result<(Box<dyn BufRead>, Option<u64>), CommandError> {
    let Some(path) = &args.file else {
        if std::io::stdin().is_terminal() {
            writeln!(std::io::stderr(), "each line becomes a record; Ctrl-D ends the input").ok();
        }
        return Ok((Box::new(BufReader::with_capacity(READ_BYTES, std::io::stdin())), None));
    };
    let failed = |error| CommandError::failed(format!("--file {}: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    Ok((Box::new(BufReader::with_capacity(READ_BYTES, file)), Some(bytes)))
}

fn start(
    runtime: &Runtime,
    cluster: &Cluster,
    args: &Produce,
    acknowledged: Arc<AtomicU64>,
) -> Result<Producer, CommandError> {
    let options = ProducerOptions {
        linger: Duration::from_millis(args.linger),
        compression: args.compression.into(),
        delivery_within: Duration::from_secs(args.cluster.timeout),
        ..ProducerOptions::default()
    };
    let count = move |delivery: &Delivery<'_>| {
        let records = u64::try_from(delivery.due.len()).unwrap_or(u64::MAX);
        acknowledged.fetch_add(records, Ordering::AcqRel);
    };
    Ok(runtime.block_on(Producer::start(cluster.clone(), &args.topic, options, Arc::new(count)))?)
}

/// Reading blocks the main thread, so a task of the runtime tells what was written and ends the process.
fn end_on_signal(
    runtime: &Runtime,
    cluster: &Cluster,
    args: &Produce,
    producer: &Arc<Producer>,
    sent: &Arc<Mutex<Sent>>,
) -> Result<(), CommandError> {
    let _entered = runtime.enter();
    let asked = asked_to_end()?;
    let (cluster, args, producer, sent) = (cluster.clone(), args.clone(), producer.clone(), sent.clone());
    let clock = cluster.world().clock.clone();
    let ending = clock.clone();
    clock.spawn(
        "end-on-signal",
        Box::pin(async move {
            asked.await;
            let all = async {
                let sent = sent.lock().await;
                producer.flush().await.map(|()| sent)
            };
            if let Some(Ok(sent)) = ending.timeout(END_WITHIN, all).await {
                if let Some(bar) = &sent.bar {
                    bar.finish_and_clear();
                }
                let told = sent.tell(&cluster, &args);
                std::process::exit(told.map_or_else(|error| i32::from(error.report()), |()| 0));
            }
            complain("stopped before all that was read was acknowledged: look at the end of the topic");
            std::process::exit(1);
        }),
    );
    Ok(())
}

fn send_lines(
    runtime: &Runtime,
    producer: &Producer,
    input: &mut dyn BufRead,
    args: &Produce,
    sent: &Mutex<Sent>,
) -> Result<(), CommandError> {
    let mut line = Vec::new();
    for number in 1.. {
        if !next_line(input, &mut line, number, args)? {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let (key, value) = match &args.key_separator {
            None => (None, text),
            Some(separator) => {
                let (key, value) = split(text, separator.as_bytes()).ok_or_else(|| {
                    CommandError::wrong(format!("line {number} has no {separator:?} in it (--key-separator)"))
                })?;
                (Some(key), value)
            }
        };
        let record = OutRecord { key, value: Some(value), ..OutRecord::default() };
        runtime.block_on(async {
            let mut sent = sent.lock().await;
            producer.send(args.partition, &record).await?;
            sent.records += 1;
            sent.bytes += u64::try_from(key.map_or(0, <[u8]>::len) + value.len()).unwrap_or(u64::MAX);
            if let Some(bar) = &sent.bar {
                bar.inc(u64::try_from(line.len()).unwrap_or(u64::MAX));
            }
            Ok::<_, CommandError>(())
        })?;
    }
    Ok(())
}

/// The next line with its end, if there is one more. The last one may have no end.
fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>, number: u64, args: &Produce) -> Result<bool, CommandError> {
    line.clear();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let from = || args.file.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let read = input.take(limit).read_until(b'\n', line);
    let read = read.map_err(|error| CommandError::failed(format!("read {}: {error}", from())))?;
    if read == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
        return Err(CommandError::wrong(format!("line {number} of {} is longer than {LINE_BYTES_MAX} bytes", from())));
    }
    Ok(read > 0)
}

/// The parts before and behind the first `separator`.
fn split<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line.windows(separator.len()).position(|window| window == separator)?;
    Some((&line[..at], &line[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        assert_eq!(split(b"a:b:c", b":"), Some((&b"a"[..], &b"b:c"[..])));
        assert_eq!(split(b"a=>", b"=>"), Some((&b"a"[..], &b""[..])));
        assert_eq!(split(b"a", b"=>"), None);
    }
}
