//! `millstream bench consume`: how fast what is there can be read.

use super::super::CommandError;
use super::super::cluster::connect;
use super::super::progress::{self, Unit};
use super::report::Report;
use crate::args::client::BenchConsume;
use client::{AT_BEGINNING, AT_END, ClientError, Cluster, Consumer, ConsumerOptions};
use std::collections::BTreeMap;

pub(super) fn run(args: &BenchConsume) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    super::end_on_signal(&runtime, &cluster)?;
    let clock = cluster.world().clock.clone();
    let began = clock.now();
    let (records, bytes) = runtime.block_on(read(&cluster, args))?;
    let took = clock.now().since(began);
    runtime.shutdown_background();
    if records == 0 {
        return Err(CommandError::failed(format!(
            "topic {} holds no records: write some with `millstream bench produce {}`",
            args.topic, args.topic
        )));
    }
    let report = Report {
        bench: "consume",
        topic: &args.topic,
        rate: None,
        records,
        bytes,
        took,
        latencies: None,
        late: None,
        store: None,
    };
    report.tell(args.cluster.json)
}

/// Records, and bytes of their keys and values.
async fn read(cluster: &Cluster, args: &BenchConsume) -> Result<(u64, u64), ClientError> {
    let begins = cluster.offsets(&args.topic, AT_BEGINNING).await?;
    let mut ends = cluster.offsets(&args.topic, AT_END).await?;
    ends.retain(|index, end| begins.get(index).is_some_and(|begin| begin < end));
    let positions: BTreeMap<i32, i64> = begins.into_iter().filter(|(index, _)| ends.contains_key(index)).collect();
    let left = ends.values().sum::<i64>() - positions.values().sum::<i64>();
    let left = u64::try_from(left).unwrap_or(0);
    let max = args.max.unwrap_or(u64::MAX);
    let bar = progress::bar(left.min(max), Unit::Records);
    let mut consumer = Consumer::new(cluster.clone(), &args.topic, positions, ConsumerOptions::default());
    let (mut records, mut bytes) = (0, 0);
    while !ends.is_empty() && records < max {
        let fetched = consumer.next().await?;
        let end = ends.get(&fetched.partition).copied().unwrap_or(i64::MAX);
        for record in fetched.records.iter().filter(|record| record.offset < end) {
            let len = |bytes: &Option<_>| bytes.as_ref().map_or(0, bytes::Bytes::len);
            records += 1;
            bytes += u64::try_from(len(&record.key) + len(&record.value)).unwrap_or(0);
            if records == max {
                break;
            }
        }
        bar.set_position(records);
        if fetched.next_offset >= end {
            ends.remove(&fetched.partition);
            consumer.leave(fetched.partition);
        }
    }
    bar.finish_and_clear();
    Ok((records, bytes))
}
