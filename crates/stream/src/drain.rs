//! The clean stop: accept nothing more, acknowledge what was accepted, upload and commit all of it, give up the logs.
//!
//! Where everything is committed in time, this start seals its own logs and is declared dead by itself: nothing is left to recover,
//! and brokers that live, else the next start, open the streams at once, without those logs. Otherwise the logs keep the rest.
//!
//! After the WAL's own failure it is the same up to the seal: what it had confirmed is in memory, and its device may not give it back.

use crate::log::Log;
use crate::shared::Shared;
use crate::take_over;
use control_core::{Command, Outcome};
use std::sync::Arc;
use std::time::Duration;
use world::{ClockExt, lock};

/// How often the end of uploads is looked for. They wake nobody at their end, and a stop is rare.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// What [`crate::Store::stopped`] says after a clean stop.
const REASON: &str = "stopped by request";

/// See [`crate::Store::drain`].
pub(crate) async fn drain(shared: &Arc<Shared>, limit: Duration) {
    for log in &shared.logs {
        lock(&log.front).closed = true;
    }
    let clean = shared.world.clock.timeout(limit, give_up(shared)).await;
    let left: u64 = shared.logs.iter().map(|log| lock(&log.source.core).behind_bytes()).sum();
    match clean {
        Some(Ok(())) => tracing::info!("everything is committed to the bucket; the write-ahead log is given up"),
        Some(Err(error)) => {
            tracing::warn!(
                error,
                left_bytes = left,
                "stops; who can read the write-ahead log recovers it: brokers that live, or the next start"
            )
        }
        None => tracing::info!(
            left_bytes = left,
            "the time to stop is over before all is committed; who can read the write-ahead log recovers it: brokers that live, or the next start"
        ),
    }
    shared.end(REASON.to_owned());
}

async fn give_up(shared: &Arc<Shared>) -> Result<(), String> {
    let mut wal_failed = false;
    while !wal_failed && !is_acknowledged(shared) {
        wal_failed = shared.has_stopped();
        shared.world.clock.sleep(LOOK_PERIOD).await;
    }
    if shared.ledger.image().is_dead(shared.node_epoch) {
        return Err("this start was declared dead".to_owned());
    }
    for log in &shared.logs {
        log.source.freeze();
    }
    while !shared.logs.iter().all(|log| log.source.is_idle())
        || (*shared.dead.recovering.borrow() > 0 && !shared.has_stopped())
    {
        if shared.logs.iter().any(|log| log.source.has_ended() && !log.source.is_idle()) {
            return Err("uploads ended".to_owned());
        }
        shared.world.clock.sleep(LOOK_PERIOD).await;
    }
    if shared.has_stopped() {
        return Err("what was confirmed is in the bucket, and the write-ahead log was not given up".to_owned());
    }
    leave(shared).await
}

/// Nothing is left that only this start's logs hold: they are sealed and deleted, and this start is no more.
pub(crate) async fn leave(shared: &Shared) -> Result<(), String> {
    for log in shared.logs.iter().filter(|log| !log.has_failed()) {
        seal_own(shared, log).await?;
    }
    // Before this start hears of its own death.
    shared.end(REASON.to_owned());
    submit(shared, Command::DeclareDead { node_epochs: vec![shared.node_epoch] }).await
}

/// Whether all that was accepted is acknowledged. The appender alone does not tell: it is idle while the driver still brings its
/// last group to the log cache and the uploads, and a seal in between would cut off what is acknowledged right after.
fn is_acknowledged(shared: &Shared) -> bool {
    let idle = shared.logs.iter().all(|log| log.has_failed() || lock(&log.front).appender.is_idle());
    idle && lock(&shared.streams).values().all(|stream| stream.confirmed() == stream.next())
}

/// Nothing was accepted since the last commit, and nothing ever will be.
async fn seal_own(shared: &Shared, log: &Log) -> Result<(), String> {
    let streams = lock(&shared.streams).values().filter(|stream| stream.log.id == log.id).cloned().collect::<Vec<_>>();
    let ends = streams.iter().map(|stream| (stream.id, stream.confirmed())).collect();
    let end = lock(&log.wal).next_position();
    let seal = Command::WalRecovered { wal: log.id, end, ends, recoverer: shared.node_epoch, open_on: None };
    submit(shared, seal).await?;
    take_over::delete(&shared.world, &shared.objects.wals, &shared.ledger.image(), log.id).await?;
    submit(shared, Command::ForgetWal { wal: log.id }).await
}

async fn submit(shared: &Shared, command: Command) -> Result<(), String> {
    match shared.ledger.submit(command).await {
        Ok(Outcome::Refused(refusal)) => Err(refusal.to_string()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
