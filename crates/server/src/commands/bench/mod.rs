//! `millstream bench`: a native load, in an open loop.
//!
//! With `--rate` every record has a time at which it is due, set before the run begins. Its latency counts from then, whether or
//! not the cluster, or this process, was busy with those before it: a stall is felt by every record that was due during it, so
//! nothing is omitted. How late the generator itself was is told beside it. Without `--rate` a record is due when it is taken.

mod consume;
mod e2e;
mod generator;
mod produce;
mod report;
mod store;

use super::cluster::asked_to_end;
use super::{CommandError, complain};
use crate::args::client::Bench;
use client::Cluster;
use tokio::runtime::Runtime;

/// Runs one of them.
///
/// # Errors
/// The cluster does not answer, or does not take the load's records.
pub fn run(what: Bench) -> Result<(), CommandError> {
    match what {
        Bench::Produce(load) => produce::run(&load),
        Bench::Consume(args) => consume::run(&args),
        Bench::E2e(load) => e2e::run(&load),
    }
}

/// A load that was broken off has no figures, and says so.
fn end_on_signal(runtime: &Runtime, cluster: &Cluster) -> Result<(), CommandError> {
    let _entered = runtime.enter();
    let asked = asked_to_end()?;
    let ending = Box::pin(async move {
        asked.await;
        complain("stopped: a load that is broken off has no figures");
        std::process::exit(0);
    });
    cluster.world().clock.spawn("end-on-signal", ending);
    Ok(())
}
