//! `millstream consume`: records in, lines out.
//!
//! Without `--follow` it ends where the partitions ended when it began. A reader that has had enough (`| head`) and Ctrl-C end it
//! quietly. With `--group` it is a member of a consumer group (`group`).

mod group;

use super::cluster::{asked_to_end, connect, connect_on};
use super::progress::{self, Unit};
use super::time::When;
use super::{CommandError, no_such_partition};
use crate::args::client::Consume;
use bytes::Bytes;
use client::{AT_BEGINNING, AT_END, Cluster, Consumer, ConsumerOptions};
use indicatif::ProgressBar;
use protocol::record_batch::Record;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use world::Clock;

/// Runs until the end, `--max`, or until nobody wants more.
///
/// # Errors
/// There is no such topic or offset, or the cluster does not answer.
pub fn run(args: &Consume) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    let from = From::parse(&args.from, cluster.world().clock.as_ref())?;
    let outcome = match &args.group {
        None => runtime.block_on(read(&cluster, args, &from)),
        Some(group) => {
            let members = connect_on(&runtime, &args.cluster)?;
            runtime.block_on(group::read(&cluster, members, group, args, &from))
        }
    };
    // A fetch may be waiting at a broker; nobody waits for it.
    runtime.shutdown_background();
    outcome
}

/// Where to begin.
#[derive(Debug, PartialEq, Eq)]
enum From {
    /// At an offset, in every partition.
    Offset(i64),
    /// At a time in milliseconds, or at what stands for one.
    Time(i64),
}

impl From {
    fn parse(text: &str, clock: &dyn Clock) -> Result<From, CommandError> {
        match text {
            "beginning" | "earliest" => return Ok(From::Time(AT_BEGINNING)),
            "end" | "latest" => return Ok(From::Time(AT_END)),
            _ => {}
        }
        if let Ok(offset @ 0..) = text.parse() {
            return Ok(From::Offset(offset));
        }
        let ago = text.strip_prefix('-').and_then(|ago| When::ago(ago, clock));
        match ago.or_else(|| When::at(text)) {
            Some(time) => Ok(From::Time(time)),
            None => Err(CommandError::wrong(format!(
                "--from {text}: write beginning, end, an offset such as 1000, a time such as 2026-11-21T10:00:00Z, or -10m"
            ))),
        }
    }

    /// The first offset to read, partition by partition.
    async fn positions(&self, cluster: &Cluster, args: &Consume) -> Result<BTreeMap<i32, i64>, CommandError> {
        let offset = match *self {
            From::Time(time) => return chosen(cluster.offsets(&args.topic, time).await?, args),
            From::Offset(offset) => offset,
        };
        let begins = chosen(cluster.offsets(&args.topic, AT_BEGINNING).await?, args)?;
        let ends = chosen(cluster.offsets(&args.topic, AT_END).await?, args)?;
        if let Some(end) = ends.values().max().filter(|end| offset > **end) {
            return Err(CommandError::wrong(format!(
                "--from {offset}: topic {} has offsets up to {end} only; say --from end --follow to wait for more",
                args.topic
            )));
        }
        let clamp = |(index, begin): (i32, i64)| {
            let end = ends.get(&index).copied().unwrap_or(begin);
            (index, offset.clamp(begin, end.max(begin)))
        };
        Ok(begins.into_iter().map(clamp).collect())
    }
}

/// The partition that was asked for, or all.
fn chosen(mut offsets: BTreeMap<i32, i64>, args: &Consume) -> Result<BTreeMap<i32, i64>, CommandError> {
    let Some(wanted) = args.partition else { return Ok(offsets) };
    let count = offsets.len();
    offsets.retain(|index, _| *index == wanted);
    if offsets.is_empty() {
        return Err(no_such_partition(&format!("--partition {wanted}"), &args.topic, count));
    }
    Ok(offsets)
}

async fn read(cluster: &Cluster, args: &Consume, from: &From) -> Result<(), CommandError> {
    let mut asked = std::pin::pin!(asked_to_end()?);
    let positions = from.positions(cluster, args).await?;
    let mut left = args.max.unwrap_or(u64::MAX);
    let mut ends = BTreeMap::new();
    if !args.follow {
        ends = chosen(cluster.offsets(&args.topic, AT_END).await?, args)?;
        ends.retain(|index, end| positions.get(index).is_some_and(|position| position < end));
    }
    let bar = bar(&positions, &ends, left);
    let reads = |index: &i32| args.follow || ends.contains_key(index);
    let positions: BTreeMap<i32, i64> = positions.into_iter().filter(|(index, _)| reads(index)).collect();
    let mut consumer = Consumer::new(cluster.clone(), &args.topic, positions, ConsumerOptions::default());
    while left > 0 && (args.follow || !ends.is_empty()) {
        let fetched = tokio::select! {
            biased;
            () = &mut asked => break,
            fetched = consumer.next() => fetched?,
        };
        let end = ends.get(&fetched.partition).copied().unwrap_or(i64::MAX);
        let wanted = fetched.records.iter().filter(|record| record.offset < end);
        let wanted: Vec<&Record> = wanted.take(usize::try_from(left).unwrap_or(usize::MAX)).collect();
        if !write(&wanted, fetched.partition, args)? {
            break;
        }
        let count = u64::try_from(wanted.len()).unwrap_or(u64::MAX);
        left -= count;
        bar.inc(count);
        if !args.follow && fetched.next_offset >= end {
            ends.remove(&fetched.partition);
            consumer.leave(fetched.partition);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Drawn where it does not stand between the records.
fn bar(positions: &BTreeMap<i32, i64>, ends: &BTreeMap<i32, i64>, max: u64) -> ProgressBar {
    if ends.is_empty() || std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let records = |(index, end): (&i32, &i64)| end - positions.get(index).copied().unwrap_or(*end);
    let total = u64::try_from(ends.iter().map(records).sum::<i64>()).unwrap_or(0);
    progress::bar(total.min(max), Unit::Records)
}

/// Whether anybody still reads them.
fn write(records: &[&Record], partition: i32, args: &Consume) -> Result<bool, CommandError> {
    let mut lines = Vec::new();
    for record in records {
        if args.cluster.json {
            lines.extend_from_slice(as_json(record, partition, &args.topic).to_string().as_bytes());
            lines.push(b'\n');
            continue;
        }
        if let Some(separator) = &args.key_separator {
            lines.extend_from_slice(record.key.as_deref().unwrap_or_default());
            lines.extend_from_slice(separator.as_bytes());
        }
        lines.extend_from_slice(record.value.as_deref().unwrap_or_default());
        lines.push(b'\n');
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(&lines).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CommandError::unwritten(&error)),
    }
}

fn as_json(record: &Record, partition: i32, topic: &str) -> Value {
    let header = |header: protocol::record_batch::Header| json!({ "key": text(Some(&header.key)), "value": text(header.value.as_ref()) });
    json!({
        "topic": topic,
        "partition": partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text(record.key.as_ref()),
        "value": text(record.value.as_ref()),
        "headers": record.headers.iter().map(header).collect::<Vec<_>>(),
    })
}

/// A string where the bytes are UTF-8, else `{"hex": "…"}`.
fn text(bytes: Option<&Bytes>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use world::SystemClock;

    #[test]
    fn every_way_to_say_where_to_begin() {
        let clock = SystemClock::new();
        let parse = |text| From::parse(text, &clock);
        assert_eq!(parse("beginning").unwrap(), From::Time(AT_BEGINNING));
        assert_eq!(parse("end").unwrap(), From::Time(AT_END));
        assert_eq!(parse("17").unwrap(), From::Offset(17));
        assert_eq!(parse("1970-01-01T00:00:01Z").unwrap(), From::Time(1000));
        let From::Time(ago) = parse("-10m").unwrap() else { panic!("that is a time") };
        assert!((clock.wall().0 - ago - 600_000).abs() < 60_000);
        for wrong in ["", "-", "-5", "soon", "1.5", "1969-01-01T00:00:00Z"] {
            let error = parse(wrong).unwrap_err();
            assert!(error.code == 2 && error.line.contains("beginning, end"), "{wrong}: {}", error.line);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_told_in_hex() {
        assert_eq!(text(None), Value::Null);
        assert_eq!(text(Some(&Bytes::from_static(b"a"))), json!("a"));
        assert_eq!(text(Some(&Bytes::from_static(b"\xff\x00"))), json!({ "hex": "ff00" }));
    }
}
