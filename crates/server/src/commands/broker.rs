//! `millstream broker abandon`: gives up a dead broker's write-ahead logs that are gone for good, so that its partitions open again without
//! what only these logs had.
//!
//! Only shows what would be lost, unless it is told to `--execute`, and then asks whether the host is off: nothing can save what a process
//! that still runs there goes on acknowledging. Other brokers may run meanwhile, and get the partitions. A log that can still be had is refused.

use super::inspect::wal_id;
use super::wal::{TAKEN_LATER, by_its_url, partition_name, say_hello, sound_image, standing_told, standing_word};
use super::{CommandError, counted, dots, outside, say_all, say_json};
use crate::args::{Broker, BrokerAbandon};
use crate::node::answers;
use base::{NodeId, StreamId, WalId};
use control::LedgerOptions;
use control_core::{Image, WalState};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, IsTerminal, Write};
use std::time::{Duration, SystemTime};
use stream::wal::FoundRing;
use stream::{
    AbandonLogs, AbandonOutcome, DeadLog, LostPart, Options, abandon_logs, is_with_a_broker, logs_of_ring,
    logs_to_recover, lost_with,
};
use world::World;

/// What it may hold in memory, about.
const MEMORY_BYTES: u64 = 64 << 20;

/// Shows, or does.
///
/// # Errors
/// There is no such broker or log, it answers, its log can still be had, or nobody has said that its host is off.
pub fn run(what: &Broker) -> Result<(), CommandError> {
    match what {
        Broker::Abandon(args) => outside::runtime()?.block_on(abandon(args)),
    }
}

async fn abandon(args: &BrokerAbandon) -> Result<(), CommandError> {
    let world = World::system();
    let target = args.storage.target()?;
    let to_read = outside::existing_object_store(&world, &target).await?;
    let options = Options::for_memory(MEMORY_BYTES);
    let plan = plan(&world, sound_image(&to_read).await?, args, options.uncommitted_offsets_max).await?;
    if !args.execute || plan.logs.is_empty() {
        return match args.storage.json {
            true => say_json(&plan.json(&BTreeMap::new(), None)),
            false => say_all(plan.lines()),
        };
    }
    if !args.yes {
        let asked = if args.storage.json { Vec::new() } else { plan.lost_lines() };
        confirm(&asked, args.broker)?;
    }
    outside::log_to_stderr("warn")?;
    let wall = Duration::from_millis(u64::try_from(world.clock.wall().0).unwrap_or_default());
    let when = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + wall).to_string();
    let request = AbandonLogs {
        wals: plan.logs.iter().map(|log| log.log.wal).collect(),
        broker: Some(plan.broker),
        said: (when, format!("millstream broker abandon {}", plan.broker)),
        rings: plan.rings(),
        choice: broker::wal_choice,
        options,
        ledger_options: LedgerOptions::default(),
    };
    let store = outside::object_store(&world, &target).await?;
    let given_up = abandon_logs(&world, store, request).await;
    let (outcomes, handed_on) = given_up.map_err(|error| CommandError::failed(error.to_string()))?;
    if handed_on > 0 {
        say_hello(&world, &to_read).await;
    }
    match args.storage.json {
        true => say_json(&plan.json(&outcomes, Some(handed_on))),
        false => say_all(plan.outcome_lines(&outcomes, handed_on)),
    }
}

/// Whoever is asked types the broker's id.
fn confirm(lines: &[String], broker: i32) -> Result<(), CommandError> {
    if !std::io::stdin().is_terminal() {
        return Err(CommandError::wrong(format!(
            "make sure that the host of broker {broker} is off, and say --yes: a process that still runs there loses what it acknowledges"
        )));
    }
    let mut err = std::io::stderr();
    let mut ask = || -> std::io::Result<String> {
        for line in lines {
            writeln!(err, "{line}")?;
        }
        write!(err, "Is the host of broker {broker} off? Type the broker's id to go on: ")?;
        err.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer) if answer.trim() == broker.to_string() => Ok(()),
        Ok(_) => Err(CommandError::failed("nothing has changed")),
        Err(error) => Err(CommandError::failed(format!("ask: {error}"))),
    }
}

/// What there is to give up.
struct Plan {
    image: Image,
    broker: NodeId,
    logs: Vec<Planned>,
    /// Of logs that are not to be given up.
    notes: Vec<String>,
}

struct Planned {
    log: DeadLog,
    lost: Vec<LostPart>,
    /// Where its ring was found, though.
    ring: Option<FoundRing>,
}

async fn plan(world: &World, image: Image, args: &BrokerAbandon, ceiling: u64) -> Result<Plan, CommandError> {
    let broker = NodeId(args.broker);
    if image.node(broker).is_none() {
        return Err(CommandError::failed(format!(
            "the cluster knows no broker {broker}, or nothing of it is left: `millstream inspect ledger` shows whom it knows"
        )));
    }
    let (chosen, mut notes) = choose(&image, broker, args)?;
    let mut logs = Vec::new();
    let mut refused = BTreeSet::new();
    for log in chosen {
        let ring = match log.ring_id {
            Some(ring_id) => by_its_url(world, &log.url, ring_id).await.ok(),
            None => None,
        };
        let planned = Planned { lost: lost_with(&image, log.wal, ceiling), log, ring };
        match planned.why_not_lost(world, args).await {
            None => logs.push(planned),
            Some(why) if args.log.is_some() => return Err(CommandError::failed(why)),
            Some(why) => {
                refused.insert(planned.log.ring_id);
                notes.push(why);
            }
        }
    }
    // A ring is lost with all of its logs, or not at all.
    logs.retain(|planned| !refused.contains(&planned.log.ring_id));
    match notes.first() {
        Some(why) if logs.is_empty() => Err(CommandError::failed(why.clone())),
        _ => Ok(Plan { image, broker, logs, notes }),
    }
}

/// The logs that are meant, with all others in their rings; and what is to be said of the broker's others.
fn choose(image: &Image, broker: NodeId, args: &BrokerAbandon) -> Result<(Vec<DeadLog>, Vec<String>), CommandError> {
    let is_of_broker = |wal: WalId| image.nodes.get(&wal.node_epoch).is_some_and(|node| node.node_id == broker);
    let waiting = logs_to_recover(image);
    let mut meant: BTreeSet<WalId> = BTreeSet::new();
    let mut notes = Vec::new();
    match &args.log {
        Some(text) => {
            let wal = wal_id(text).ok_or_else(|| {
                CommandError::wrong(format!(
                    "--log {text}: write START/INDEX, such as 3/0, as `millstream inspect ledger` shows it"
                ))
            })?;
            if !is_of_broker(wal) {
                return Err(CommandError::failed(format!(
                    "the ledger knows no write-ahead log {wal} of broker {broker}"
                )));
            }
            if let Some(why) = why_not(image, wal, args) {
                return Err(CommandError::failed(why));
            }
            meant.insert(wal);
        }
        None => {
            let own = || image.wals.keys().copied().filter(|wal| is_of_broker(*wal));
            meant.extend(own().filter(|wal| why_not(image, *wal, args).is_none()));
            let is_dead = |wal: &WalId| image.is_dead(wal.node_epoch);
            notes.extend(own().filter(is_dead).filter_map(|wal| why_not(image, wal, args)));
        }
    }
    let rings = meant.iter().filter_map(|wal| image.wals.get(wal)).map(|record| record.ring_id);
    let together: BTreeSet<WalId> = rings.flat_map(|ring_id| logs_of_ring(image, ring_id)).collect();
    if let Some(why) = together.iter().find_map(|wal| why_not(image, *wal, args)) {
        return Err(CommandError::failed(format!("{why}; the logs in one ring are given up together")));
    }
    Ok((waiting.into_iter().filter(|log| together.contains(&log.wal)).collect(), notes))
}

/// Why a log is not to be given up, by the ledger.
fn why_not(image: &Image, wal: WalId, args: &BrokerAbandon) -> Option<String> {
    let Some(record) = image.wals.get(&wal) else {
        return Some(format!(
            "the ledger knows no write-ahead log {wal}: all that it held is in the bucket, or was given up, or it never was"
        ));
    };
    if record.in_storage {
        return Some(format!(
            "the write-ahead log {wal} is in the bucket, and can't be lost: a broker that lives, or the next one that starts, recovers it, or `millstream wal \
             recover {wal}{} --execute`",
            args.storage.repeated()
        ));
    }
    match record.state {
        WalState::Sealed { recoverer, .. } if is_with_a_broker(image, recoverer) => {
            let by = image.nodes.get(&recoverer).map(|node| node.node_id).unwrap_or_default();
            Some(format!(
                "the write-ahead log {wal} was recovered by start {recoverer} of broker {by}, which lives and uploads it; where that broker \
                 says that it is damaged, stop it first"
            ))
        }
        WalState::Sealed { .. } | WalState::Open => None,
    }
}

impl Plan {
    fn rings(&self) -> Vec<FoundRing> {
        let mut seen = BTreeSet::new();
        let rings = self.logs.iter().filter_map(|log| log.ring.clone());
        rings.filter(|ring| seen.insert(ring.header.ring_id)).collect()
    }

    fn lines(&self) -> Vec<String> {
        if self.logs.is_empty() {
            let none = format!("no write-ahead log of broker {} is to be given up", self.broker);
            return std::iter::once(none).chain(self.notes.iter().cloned()).collect();
        }
        let mut lines = self.lost_lines();
        let partitions: BTreeSet<StreamId> =
            self.logs.iter().flat_map(|log| &log.lost).map(|part| part.stream).collect();
        lines.push(format!(
            "would declare its broker dead where the ledger takes it for alive, give up {}, and open {} again without what is lost",
            counted(self.logs.len() as u64, "log"),
            counted(partitions.len() as u64, "partition"),
        ));
        lines.push("nothing has changed yet: say it again with --execute".to_owned());
        lines
    }

    fn lost_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for planned in &self.logs {
            lines.push(planned.line(&self.image));
            lines.extend(planned.lost.iter().map(|part| self.lost_line(part)));
        }
        lines.extend(self.notes.iter().cloned());
        lines.push(
            "a process that still runs there goes on acknowledging, and all of that is lost as well: its host must be off, or be without the \
             disk"
                .to_owned(),
        );
        lines
    }

    fn lost_line(&self, part: &LostPart) -> String {
        let name = partition_name(&self.image, part.stream);
        let LostPart { range, .. } = part;
        if part.is_open {
            return format!(
                "  {name}: acknowledged records from offset {} on are lost; the next record gets offset {}",
                range.base, range.next
            );
        }
        format!("  {name}: the records at offsets {} are lost", dots(*range))
    }

    fn outcome_lines(&self, outcomes: &BTreeMap<WalId, AbandonOutcome>, handed_on: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for (wal, outcome) in outcomes {
            match outcome {
                AbandonOutcome::GivenUp(lost) => {
                    lines.push(format!("write-ahead log {wal}: given up; what comes back of it is refused"));
                    lines.extend(lost.iter().map(|part| self.lost_line(part)));
                }
                AbandonOutcome::Others => {
                    lines.push(format!(
                        "write-ahead log {wal}: another broker was faster, and has it: nothing of it is lost"
                    ));
                }
            }
        }
        lines.push(match handed_on {
            0 => TAKEN_LATER.to_owned(),
            count => format!("brokers that run have taken {}", counted(count as u64, "partition")),
        });
        lines
    }

    fn json(&self, outcomes: &BTreeMap<WalId, AbandonOutcome>, handed_on: Option<usize>) -> Value {
        let part = |part: &LostPart| {
            json!({
                "partition": partition_name(&self.image, part.stream),
                "offsets": [part.range.base.0, part.range.next.0],
                "open": part.is_open,
            })
        };
        let log = |planned: &Planned| {
            let outcome = outcomes.get(&planned.log.wal);
            let lost = match outcome {
                Some(AbandonOutcome::GivenUp(lost)) => lost,
                Some(AbandonOutcome::Others) | None => &planned.lost,
            };
            json!({
                "wal": planned.log.wal.to_string(),
                "url": planned.log.url,
                "standing": standing_word(&planned.log.standing),
                "place": planned.ring.as_ref().map(|ring| ring.path.display().to_string()),
                "lost": lost.iter().map(part).collect::<Vec<_>>(),
                "outcome": outcome.map(|outcome| match outcome {
                    AbandonOutcome::GivenUp(_) => "given up",
                    AbandonOutcome::Others => "others",
                }),
            })
        };
        json!({
            "executed": handed_on.is_some(),
            "handed_on": handed_on,
            "broker": self.broker.0,
            "notes": self.notes,
            "logs": self.logs.iter().map(log).collect::<Vec<_>>(),
        })
    }
}

impl Planned {
    /// Why the log is not lost: its broker answers, or it is here.
    async fn why_not_lost(&self, world: &World, args: &BrokerAbandon) -> Option<String> {
        let wal = self.log.wal;
        if let Some(address) = self.log.standing.address()
            && answers::probe(world.clone(), String::new())(address.to_owned()).await
        {
            return Some(format!(
                "the write-ahead log {wal} is in use: its broker answers at {address}; stop it first, and it leaves nothing behind that must \
                 be given up"
            ));
        }
        let ring = self.ring.as_ref().filter(|_| !args.readable_too)?;
        Some(format!(
            "the write-ahead log {wal} is not lost: it can be read here, at {}; `millstream wal recover {wal}{} --execute` brings in what it \
             holds; only where that leaves it, as it is damaged, give up the rest by --readable-too",
            ring.path.display(),
            args.storage.repeated()
        ))
    }

    fn line(&self, image: &Image) -> String {
        let DeadLog { wal, url, standing, from, .. } = &self.log;
        let broker = image.nodes.get(&wal.node_epoch).map(|node| node.node_id).unwrap_or_default();
        let why = standing_told(standing);
        format!(
            "write-ahead log {wal} of broker {broker} at {url}: {why}; what it holds from position {from} on is lost"
        )
    }
}
