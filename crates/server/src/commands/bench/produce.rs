//! `millstream bench produce`: from when a record was due to its acknowledgement.

use super::super::CommandError;
use super::super::cluster::connect;
use super::generator::{self, Schedule};
use super::report::{Latencies, Report};
use super::store;
use crate::args::client::Load;
use base::Micros;
use client::Delivery;
use std::sync::{Arc, Mutex};
use world::lock;

/// What acknowledgements tell.
struct Acknowledged {
    counted_from: Micros,
    last: Micros,
    latencies: Latencies,
}

pub(super) fn run(load: &Load) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&load.cluster)?;
    super::end_on_signal(&runtime, &cluster)?;
    let clock = cluster.world().clock.clone();
    let nothing = Acknowledged { counted_from: Micros(0), last: Micros(0), latencies: Latencies::new() };
    let acknowledged = Arc::new(Mutex::new(nothing));
    let counter = acknowledged.clone();
    let count = move |delivery: &Delivery<'_>| lock(&counter).count(delivery);
    let producer = generator::producer(&runtime, &cluster, load, Arc::new(count))?;

    let store = store::watch(&runtime, &cluster, load)?;
    let schedule = Schedule::new(clock.now(), load);
    lock(&acknowledged).counted_from = schedule.counted_from;
    let generated = generator::generate(&runtime, &cluster, &producer, load, &schedule, clock.random())?;
    let store = store.map(|before| before.until_now(&runtime, &cluster)).transpose()?;
    let acknowledged = lock(&acknowledged);
    let records = acknowledged.latencies.count();
    let report = Report {
        bench: "produce",
        topic: &load.topic,
        rate: load.rate,
        records,
        bytes: records * u64::from(load.size),
        took: acknowledged.last.since(schedule.counted_from),
        latencies: Some(acknowledged.latencies.clone()),
        late: Some(generated.late),
        store,
    };
    report.tell(load.cluster.json)
}

impl Acknowledged {
    fn count(&mut self, delivery: &Delivery<'_>) {
        self.last = delivery.at;
        for due in delivery.due.iter().filter(|due| **due >= self.counted_from) {
            self.latencies.record(delivery.at.since(*due));
        }
    }
}
