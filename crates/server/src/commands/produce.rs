//! `millstream produce`: lines in, records out.
//!
//! Lines are read on the main thread, which may block as long as it likes; batches go out on the runtime's threads meanwhile. What
//! was read before a mistake in the input, its end or Ctrl-C is acknowledged before the command ends.

use super::cluster::{asked_to_end, connect};
use super::progress::{self, Unit};
use super::{CommandError, counted, say, say_json};
use crate::args::client::Produce;
use client::{Cluster, Delivery, OutRecord, Producer, ProducerOptions};
use indicatif::ProgressBar;
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
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
    let acknowledged = Arc::new(AtomicU64::new(0));
    let producer = Arc::new(start(&runtime, &cluster, args, acknowledged.clone())?);
    end_on_signal(&runtime, &cluster, producer.clone())?;

    let mut sent = Sent { records: 0, bytes: 0, bar: bytes.map(|bytes| progress::bar(bytes, Unit::Bytes)) };
    let read = send_lines(&runtime, &producer, &mut input, args, &mut sent);
    // What was read before a mistake counts all the same.
    let flushed = runtime.block_on(producer.flush()).map_err(CommandError::from);
    if let Some(bar) = &sent.bar {
        bar.finish_and_clear();
    }
    if let Err(mut error) = flushed.and(read) {
        let acknowledged = acknowledged.load(Ordering::Acquire);
        if sent.records > 0 {
            error
                .line
                .push_str(&format!("; {acknowledged} of {} were acknowledged before", counted(sent.records, "record")));
        }
        return Err(error);
    }
    if args.cluster.json {
        let seconds = cluster.world().clock.now().since(began).as_secs_f64();
        return say_json(&json!({
            "topic": args.topic, "records": sent.records, "bytes": sent.bytes, "seconds": seconds,
        }));
    }
    let (records, bytes) = (counted(sent.records, "record"), counted(sent.bytes, "byte"));
    say(format!("{records}, {bytes} written to {}", args.topic));
    Ok(())
}

/// What was taken from the input so far.
struct Sent {
    records: u64,
    /// Of keys and values.
    bytes: u64,
    bar: Option<ProgressBar>,
}

/// The input, and how much it is where that is known.
fn open(args: &Produce) -> Result<(Box<dyn BufRead>, Option<u64>), CommandError> {
    let Some(path) = &args.file else {
        if std::io::stdin().is_terminal() {
            eprintln!("each line becomes a record; Ctrl-D ends the input");
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

/// Reading blocks the main thread, so a task of the runtime ends the process.
fn end_on_signal(runtime: &Runtime, cluster: &Cluster, producer: Arc<Producer>) -> Result<(), CommandError> {
    let _entered = runtime.enter();
    let asked = asked_to_end()?;
    let clock = cluster.world().clock.clone();
    let ending = clock.clone();
    clock.spawn(
        "end-on-signal",
        Box::pin(async move {
            asked.await;
            let flushed = ending.timeout(END_WITHIN, producer.flush()).await;
            if let Some(Ok(())) = flushed {
                std::process::exit(0);
            }
            eprintln!("millstream: stopped before all that was read was acknowledged: look at the end of the topic");
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
    sent: &mut Sent,
) -> Result<(), CommandError> {
    let mut line = Vec::new();
    while next_line(input, &mut line, sent, args)? {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let (key, value) = match &args.key_separator {
            None => (None, text),
            Some(separator) => {
                let (key, value) = split(text, separator.as_bytes()).ok_or_else(|| {
                    CommandError::wrong(format!(
                        "line {} has no {separator:?} in it (--key-separator)",
                        sent.records + 1
                    ))
                })?;
                (Some(key), value)
            }
        };
        let record = OutRecord { key, value: Some(value), ..OutRecord::default() };
        runtime.block_on(producer.send(args.partition, &record))?;
        sent.records += 1;
        sent.bytes += u64::try_from(key.map_or(0, <[u8]>::len) + value.len()).unwrap_or(u64::MAX);
        if let Some(bar) = &sent.bar {
            bar.inc(u64::try_from(line.len()).unwrap_or(u64::MAX));
        }
    }
    Ok(())
}

/// The next line with its end, if there is one more. The last one may have no end.
fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>, sent: &Sent, args: &Produce) -> Result<bool, CommandError> {
    line.clear();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let from = || args.file.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let read = input.take(limit).read_until(b'\n', line);
    let read = read.map_err(|error| CommandError::failed(format!("read {}: {error}", from())))?;
    if read == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
        let number = sent.records + 1;
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
