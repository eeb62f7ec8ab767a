//! `millstream bench e2e`: from when a record was due to when a consumer has it. Both ends are in this process, on one clock.

use super::super::CommandError;
use super::super::cluster::{connect, connect_on};
use super::generator::{self, Schedule, due_of};
use super::report::{Latencies, Report};
use super::store;
use crate::args::client::Load;
use base::Micros;
use client::{AT_END, ClientError, Cluster, Consumer, ConsumerOptions};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::{Clock, ClockExt, lock};

/// What the consumer has seen of this run.
#[derive(Debug)]
struct Received {
    records: u64,
    last: Micros,
    latencies: Latencies,
    failure: Option<ClientError>,
}

pub(super) fn run(load: &Load) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&load.cluster)?;
    super::end_on_signal(&runtime, &cluster)?;
    let clock = cluster.world().clock.clone();
    let run_id = clock.random();
    let producer = generator::producer(&runtime, &cluster, load, Arc::new(|_: &_| {}))?;
    let ends = runtime.block_on(cluster.offsets(&load.topic, AT_END))?;
    // Connections of its own: on a shared one each acknowledgement would wait behind a fetch that waits for records.
    let reader = connect_on(&runtime, &load.cluster)?;
    let consumer = Consumer::new(reader, &load.topic, ends, ConsumerOptions::default());

    let store = store::watch(&runtime, &cluster, load)?;
    let schedule = Schedule::new(clock.now(), load);
    let nothing = Received { records: 0, last: schedule.begin, latencies: Latencies::new(), failure: None };
    let received = Arc::new(Mutex::new(nothing));
    let reading = read(clock.clone(), consumer, run_id, schedule, received.clone());
    {
        let _entered = runtime.enter();
        clock.spawn("bench-read", Box::pin(reading));
    }
    let generated = generator::generate(&runtime, &cluster, &producer, load, &schedule, run_id)?;
    let within = Duration::from_secs(load.cluster.timeout);
    let all =
        runtime.block_on(async { clock.timeout(within, all_received(&cluster, &received, generated.records)).await });
    let store = store.map(|before| before.until_now(&runtime, &cluster)).transpose()?;
    let received = lock(&received);
    if let Some(failure) = received.failure.clone() {
        return Err(failure.into());
    }
    if all.is_none() {
        let (seen, sent) = (received.records, generated.records);
        return Err(CommandError::failed(format!("{seen} of {sent} acknowledged records came back within {within:?}")));
    }
    let records = received.latencies.count();
    let report = Report {
        bench: "e2e",
        topic: &load.topic,
        rate: load.rate,
        records,
        bytes: records * u64::from(load.size),
        took: received.last.since(schedule.counted_from),
        latencies: Some(received.latencies.clone()),
        late: Some(generated.late),
        store,
    };
    report.tell(load.cluster.json)
}

/// By the generator's clock: another one begins to count at another moment.
async fn read(
    clock: Arc<dyn Clock>,
    mut consumer: Consumer,
    run_id: u64,
    schedule: Schedule,
    received: Arc<Mutex<Received>>,
) {
    loop {
        let fetched = match consumer.next().await {
            Ok(fetched) => fetched,
            Err(error) => {
                lock(&received).failure = Some(error);
                return;
            }
        };
        let now = clock.now();
        let mut received = lock(&received);
        let values = fetched.records.iter().filter_map(|record| record.value.as_deref());
        for due in values.filter_map(|value| due_of(value, run_id)) {
            received.records += 1;
            received.last = now;
            if schedule.counts(due) {
                received.latencies.record(now.since(due));
            }
        }
    }
}

/// Looks now and then; the times themselves are taken where records arrive.
async fn all_received(cluster: &Cluster, received: &Mutex<Received>, sent: u64) {
    loop {
        {
            let received = lock(received);
            if received.records >= sent || received.failure.is_some() {
                return;
            }
        }
        cluster.world().clock.sleep(Duration::from_millis(20)).await;
    }
}
