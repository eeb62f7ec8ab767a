//! `millstream wal recover`: brings what a dead start's log holds into the bucket, from wherever the log lies by now, without starting a
//! broker that serves.
//!
//! Only shows what it would do, unless it is told to `--execute`. Other brokers may run meanwhile: this is one more start in their ledger,
//! and they get the streams afterwards. A log whose broker answers is refused: it is in use.

use super::inspect::wal_id;
use super::{CommandError, counted, dots, outside, say_all, say_json};
use crate::args::{Wal, WalRecover};
use crate::node::answers;
use base::{NodeEpoch, NodeId, OffsetRange, StreamId, WalId};
use control::LedgerOptions;
use control_core::Image;
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use stream::wal::{FoundRing, RingsError, inspect_ring, ring_path, rings_at};
use stream::{
    DeadLog, LogFound, LogOutcome, Options, RecoverLogs, RingHolds, Standing, bucket_is_older, is_ahead_of, is_unbegun,
    log_objects, logs_left, older_told, recover_logs, why_older,
};
use stream_core::wal_group::GroupKind;
use world::{ObjectStore, World};

/// What becomes of partitions that were given to nobody: a broker that lives may have had no room for them at that moment.
pub(super) const TAKEN_LATER: &str =
    "a broker that lives takes the partitions within seconds; where there is none, the next one that starts does";

/// What it may hold in memory, about.
const MEMORY_BYTES: u64 = 256 << 20;

/// Shows, or does.
///
/// # Errors
/// There is no such log, its broker lives, it can't be read here, or not all of it could be recovered.
pub fn run(what: &Wal) -> Result<(), CommandError> {
    match what {
        Wal::Recover(args) => outside::runtime()?.block_on(recover(args)),
    }
}

async fn recover(args: &WalRecover) -> Result<(), CommandError> {
    let world = World::system();
    let target = args.storage.target()?;
    let to_read = outside::existing_object_store(&world, &target).await?;
    let plan = plan(&world, &to_read, args).await?;
    if !args.execute {
        let verdict = match plan.logs.iter().find_map(|log| log.why_not(args.older_too).filter(|_| args.is_choosy())) {
            Some(why) => Err(CommandError::failed(why.to_owned())),
            None => Ok(()),
        };
        let told = if args.storage.json { say_json(&plan.json(&BTreeMap::new(), None)) } else { say_all(plan.lines()) };
        return verdict.and(told);
    }
    outside::log_to_stderr("warn")?;
    let request = RecoverLogs {
        wals: plan.here().map(|log| log.log.wal).collect(),
        silent: plan.here().filter_map(|log| log.log.standing.recoverer()).collect(),
        rings: plan.rings(),
        older_too: args.older_too,
        choice: broker::wal_choice,
        options: Options::for_memory(MEMORY_BYTES),
        ledger_options: LedgerOptions::default(),
    };
    let (outcomes, handed_on) = if request.wals.is_empty() {
        (BTreeMap::new(), 0)
    } else {
        let store = outside::object_store(&world, &target).await?;
        let recovered = recover_logs(&world, store, request).await;
        let recovered = recovered.map_err(|error| CommandError::failed(error.to_string()))?;
        if recovered.1 > 0 {
            say_hello(&world, &to_read).await;
        }
        recovered
    };
    let left = left(&world, &to_read, args, &plan, &outcomes).await;
    let told = if args.storage.json {
        say_json(&plan.json(&outcomes, Some((handed_on, &left))))
    } else {
        say_all(plan.outcome_lines(&outcomes, handed_on, &left))
    };
    left.verdict().and(told)
}

/// What is left to do, by the ledger as it is afterwards.
struct Left {
    /// Of what was meant: why the command fails.
    meant: BTreeSet<WalId>,
    /// What waits as well.
    others: BTreeSet<WalId>,
    /// Why nobody knows.
    unknown: Option<String>,
}

async fn left(
    world: &World,
    store: &Arc<dyn ObjectStore>,
    args: &WalRecover,
    plan: &Plan,
    outcomes: &BTreeMap<WalId, LogOutcome>,
) -> Left {
    let is_left = |log: &&Planned| !is_done(outcomes.get(&log.log.wal));
    let meant = plan.logs.iter().filter(is_left).map(|log| log.log.wal).collect();
    let mut left = Left { meant, others: BTreeSet::new(), unknown: None };
    let image = match sound_image(store).await {
        Ok(image) => image,
        Err(error) => {
            left.unknown = Some(format!("can't read the ledger again, to see what is left: {}", error.line));
            return left;
        }
    };
    let logs = logs_left(&image);
    let answering = answering(world, &logs).await;
    for log in logs.iter().filter(|log| !log.standing.address().is_some_and(|address| answering.contains(address))) {
        let is_meant = !args.is_choosy() || plan.logs.iter().any(|planned| planned.log.wal == log.wal);
        let among = if is_meant { &mut left.meant } else { &mut left.others };
        among.insert(log.wal);
    }
    left
}

impl Left {
    fn verdict(&self) -> Result<(), CommandError> {
        if let Some(why) = &self.unknown {
            return Err(CommandError::failed(why.clone()));
        }
        match self.meant.len() as u64 {
            0 => Ok(()),
            count => Err(CommandError::failed(format!(
                "{} not wholly recovered: {}",
                counted(count, "write-ahead log"),
                listed(&self.meant)
            ))),
        }
    }
}

fn listed(wals: &BTreeSet<WalId>) -> String {
    texts(wals).join(", ")
}

fn texts(wals: &BTreeSet<WalId>) -> Vec<String> {
    wals.iter().map(ToString::to_string).collect()
}

/// Addresses of those whom the ledger takes for alive that somebody answers at.
async fn answering(world: &World, logs: &[DeadLog]) -> BTreeSet<String> {
    let answers = answers::probe(world.clone(), String::new());
    let addresses: BTreeSet<&str> = logs.iter().filter_map(|log| log.standing.address()).collect();
    let asked = addresses.into_iter().map(async |address| {
        let address = address.to_owned();
        answers(address.clone()).await.then_some(address)
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Brokers look at the ledger when a start says hello: so those that have got partitions hear of it now, and not when they look again.
pub(super) async fn say_hello(world: &World, store: &Arc<dyn ObjectStore>) {
    let answers = answers::probe(world.clone(), String::new());
    match control::read_all(store.as_ref()).await {
        Ok(dump) => {
            let addresses: Vec<String> = dump.image.living().map(|(_, node)| node.advertised.clone()).collect();
            for address in addresses {
                let _is_heard = answers(address).await;
            }
        }
        Err(error) => tracing::warn!(%error, "brokers hear of their partitions when they look at the ledger again"),
    }
}

fn is_done(outcome: Option<&LogOutcome>) -> bool {
    matches!(outcome, Some(LogOutcome::Recovered(_) | LogOutcome::Others))
}

impl WalRecover {
    /// Whether some logs are meant, not all that there are.
    fn is_choosy(&self) -> bool {
        self.wal.is_some() || self.at.is_some()
    }
}

/// What there is to recover.
struct Plan {
    image: Image,
    logs: Vec<Planned>,
    older_too: bool,
}

struct Planned {
    log: DeadLog,
    broker: Option<NodeId>,
    /// Where its ring was found.
    ring: Option<FoundRing>,
    /// Why it can't be read here.
    away: Option<String>,
    /// Why what can be read here is not the newest.
    older: Option<String>,
    /// What lies in it from there on, as it is now.
    holds: Holds,
}

#[derive(Default)]
struct Holds {
    groups: u64,
    /// `None`: nobody has looked into the objects.
    records: Option<u64>,
    bytes: u64,
}

/// What the ledger comes to, where it can be relied on.
pub(super) async fn sound_image(store: &Arc<dyn ObjectStore>) -> Result<Image, CommandError> {
    let failed = |line: String| CommandError::failed(line);
    let dump = control::read_all(store.as_ref()).await.map_err(|error| failed(error.to_string()))?;
    if dump.format.is_none() {
        return Err(failed("there is no cluster here: give its --data or --storage".to_owned()));
    }
    match dump.problems.first() {
        Some(problem) => Err(failed(format!("the ledger can't be relied on: {problem}; see `millstream restore`"))),
        None => Ok(dump.image),
    }
}

async fn plan(world: &World, store: &Arc<dyn ObjectStore>, args: &WalRecover) -> Result<Plan, CommandError> {
    let failed = |line: String| CommandError::failed(line);
    let image = sound_image(store).await?;
    let at = match &args.at {
        Some(place) => rings_at(world.disk.as_ref(), place).await.map_err(|error| match error {
            RingsError::NoLog(why) => CommandError::wrong(format!(
                "--at {}: {why}; give the folder, the file or the device where the log's ring is now",
                place.display()
            )),
            RingsError::Unreadable(why) => failed(format!("--at {}: {why}", place.display())),
        })?,
        None => Vec::new(),
    };
    if let Some(other) = at.iter().find(|ring| ![0, image.cluster_id].contains(&ring.header.cluster_id)) {
        return Err(failed(format!("{} belongs to another cluster: give that one's --storage", other.path.display())));
    }
    let mut logs = logs_left(&image);
    choose(&mut logs, args, &at)?;
    let answering = answering(world, &logs).await;
    let mut planned = Vec::new();
    for log in logs {
        if let Some(address) = log.standing.address().filter(|address| answering.contains(*address)) {
            if args.is_choosy() {
                return Err(failed(used_told(&image, &log, address)));
            }
            continue;
        }
        planned.push(look_at(world, store, &image, log, &at).await?);
    }
    let rings = || planned.iter().filter_map(|planned: &Planned| planned.ring.as_ref());
    // A broker may have started since the ledger was read.
    if rings().any(|ring| is_ahead_of(&ring.header, &image)) {
        let newer = sound_image(store).await?;
        if let Some(ahead) = rings().find(|ring| is_ahead_of(&ring.header, &newer)) {
            return Err(failed(bucket_is_older(ahead)));
        }
    }
    Ok(Plan { image, logs: planned, older_too: args.older_too })
}

/// Why a log is not to be recovered: somebody has it.
fn used_told(image: &Image, log: &DeadLog, address: &str) -> String {
    let wal = log.wal;
    match log.standing.recoverer() {
        Some(recoverer) => format!(
            "the write-ahead log {wal} is being uploaded by start {recoverer}{}, which answers at {address}; where that broker says that it is \
             damaged, see \"A damaged log\" in docs/operating.md",
            of_broker(image, recoverer)
        ),
        None => format!(
            "the write-ahead log {wal} is in use: its broker answers at {address}; stop it, and it recovers its log itself when it starts \
             again"
        ),
    }
}

fn of_broker(image: &Image, start: NodeEpoch) -> String {
    image.nodes.get(&start).map_or_else(String::new, |node| format!(" of broker {}", node.node_id))
}

/// Keeps those that are meant; with a log that another recovery has sealed and left, that one's own.
fn choose(logs: &mut Vec<DeadLog>, args: &WalRecover, at: &[FoundRing]) -> Result<(), CommandError> {
    let all = logs.clone();
    if let Some(text) = &args.wal {
        let wal = wal_id(text);
        let wal = wal.ok_or_else(|| {
            CommandError::wrong(format!(
                "{text}: write START/INDEX, such as 3/0, as `millstream inspect ledger` shows it"
            ))
        })?;
        logs.retain(|log| log.wal == wal);
        if logs.is_empty() {
            return Err(CommandError::failed(format!(
                "the ledger knows no write-ahead log {wal}: all that it held is in the bucket, or was given up, or it never was"
            )));
        }
    }
    if let Some(place) = &args.at {
        logs.retain(|log| at.iter().any(|ring| Some(ring.header.ring_id) == log.ring_id));
        if logs.is_empty() {
            return Err(CommandError::failed(format!(
                "no write-ahead log at {} waits to be recovered: all that it held is in the bucket, or was given up (millstream broker \
                 abandon), or it is not this cluster's",
                place.display()
            )));
        }
    }
    let alone: BTreeSet<NodeEpoch> = logs.iter().filter_map(|log| log.standing.recoverer()).collect();
    let chosen: BTreeSet<WalId> = logs.iter().map(|log| log.wal).collect();
    let is_own = |log: &DeadLog| log.standing == Standing::Alive(String::new()) && alone.contains(&log.wal.node_epoch);
    logs.extend(all.into_iter().filter(|log| is_own(log) && !chosen.contains(&log.wal)));
    Ok(())
}

async fn look_at(
    world: &World,
    store: &Arc<dyn ObjectStore>,
    image: &Image,
    log: DeadLog,
    at: &[FoundRing],
) -> Result<Planned, CommandError> {
    let broker = image.nodes.get(&log.wal.node_epoch).map(|node| node.node_id);
    let Some(ring_id) = log.ring_id else {
        let held = log_objects(store.as_ref(), log.wal, log.from).await;
        let (groups, bytes) = held.map_err(|error| CommandError::failed(error.to_string()))?;
        let holds = Holds { groups, records: None, bytes };
        return Ok(Planned { log, broker, ring: None, away: None, older: None, holds });
    };
    let is_it = |ring: &&FoundRing| ring.header.ring_id == ring_id;
    let ring = match at.iter().find(is_it) {
        Some(ring) => Ok(ring.clone()),
        None => by_its_url(world, &log.url, ring_id).await,
    };
    let described = match &ring {
        Ok(ring) => inspect_ring(world.disk.as_ref(), &ring.path).await.map_err(|error| error.to_string()),
        Err(why) => Err(why.clone()),
    };
    let mut holds = Holds { records: Some(0), ..Holds::default() };
    let mut older = None;
    let away = match described {
        Ok(described) => {
            if let Ok(ring) = &ring {
                let held = RingHolds::of_ring(image, log.wal, &described);
                older = why_older(image, log.wal, &ring.header, &held).map(|why| older_told(&ring.path, &why));
            }
            let of_it = described.groups.iter().filter(|group| {
                group.place.wal == log.wal && group.place.position >= log.from && group.kind == GroupKind::Data
            });
            for group in of_it {
                holds.groups += 1;
                holds.bytes += group.entries.iter().map(|entry| u64::from(entry.payload_len)).sum::<u64>();
                holds.records = holds
                    .records
                    .map(|sum| sum + group.entries.iter().map(|entry| u64::from(entry.records)).sum::<u64>());
            }
            None
        }
        Err(why) => Some(format!(
            "the write-ahead log {} can't be read here: {why}; give the place where it is now by --at",
            log.wal
        )),
    };
    Ok(Planned { log, broker, ring: ring.ok().filter(|_| away.is_none()), away, older, holds })
}

/// The ring where the ledger says that it is, on this host.
pub(super) async fn by_its_url(world: &World, url: &str, ring_id: u128) -> Result<FoundRing, String> {
    let path: PathBuf = ring_path(url).ok_or_else(|| format!("{url} is no place of a ring"))?;
    let rings = rings_at(world.disk.as_ref(), &path).await.map_err(|error| error.to_string())?;
    let found = rings.into_iter().find(|ring| ring.header.ring_id == ring_id);
    found.ok_or_else(|| format!("{} is another write-ahead log", path.display()))
}

impl Plan {
    fn here(&self) -> impl Iterator<Item = &Planned> {
        self.logs.iter().filter(|log| log.why_not(self.older_too).is_none())
    }

    /// Several logs may lie in one ring.
    fn rings(&self) -> Vec<FoundRing> {
        let mut seen = BTreeSet::new();
        let rings = self.here().filter_map(|log| log.ring.clone());
        rings.filter(|ring| seen.insert(ring.header.ring_id)).collect()
    }

    fn lines(&self) -> Vec<String> {
        if self.logs.is_empty() {
            return vec!["no write-ahead log waits to be recovered".to_owned()];
        }
        let mut lines = Vec::new();
        for planned in &self.logs {
            lines.push(planned.line());
            lines.extend(planned.log.streams.iter().map(|stream| format!("  {}", self.name(*stream))));
            if let Some(ring) = &planned.ring {
                lines.extend(planned.ring_lines(ring));
            }
        }
        let open = self.here().count();
        if open > 0 {
            lines.push(format!(
                "would declare {} dead where the ledger takes {} for alive, fence, read and seal {}, upload what is in no object, and \
                 hand the partitions on",
                if open == 1 { "its start" } else { "their starts" },
                if open == 1 { "it" } else { "them" },
                counted(open, "log"),
            ));
            lines.push("nothing has changed yet: say it again with --execute".to_owned());
        }
        lines
    }

    fn outcome_lines(&self, outcomes: &BTreeMap<WalId, LogOutcome>, handed_on: usize, left: &Left) -> Vec<String> {
        if self.logs.is_empty() {
            return self.lines();
        }
        let mut lines = self.log_lines(outcomes);
        match handed_on {
            0 if outcomes.values().all(|it| matches!(it, LogOutcome::Left(_))) => {}
            0 => lines.push(TAKEN_LATER.to_owned()),
            count => lines.push(format!("brokers that run have taken {}", counted(count as u64, "partition"))),
        }
        if !left.others.is_empty() {
            lines.push(format!("what waits to be recovered as well: {}", listed(&left.others)));
        }
        lines
    }

    fn log_lines(&self, outcomes: &BTreeMap<WalId, LogOutcome>) -> Vec<String> {
        let mut lines = Vec::new();
        for planned in &self.logs {
            let wal = planned.log.wal;
            let found = match outcomes.get(&wal) {
                Some(LogOutcome::Recovered(found)) => {
                    lines.push(format!("write-ahead log {wal}: recovered; {}", told(found)));
                    found
                }
                Some(LogOutcome::Damaged(found)) => {
                    lines.push(format!(
                        "write-ahead log {wal}: some of its records are damaged, and it is kept; all others are in the bucket; {}; see \"A \
                         damaged log\" in docs/operating.md",
                        told(found)
                    ));
                    found
                }
                Some(LogOutcome::Others) => {
                    lines.push(format!("write-ahead log {wal}: another broker was faster, and has it"));
                    continue;
                }
                Some(LogOutcome::Left(why)) => {
                    lines.push(format!("PROBLEM: write-ahead log {wal} is as it was: {why}"));
                    continue;
                }
                None => {
                    let why = planned.why_not(self.older_too).unwrap_or("nothing was tried");
                    lines.push(format!("PROBLEM: {why}"));
                    continue;
                }
            };
            let offsets = |(stream, range): (&StreamId, &OffsetRange)| {
                format!("  {}: offsets {}", self.name(*stream), dots(*range))
            };
            lines.extend(found.streams.iter().map(offsets));
            let gap = |(stream, range): &(StreamId, OffsetRange)| {
                format!("  {}: no batch has the offsets {}", self.name(*stream), dots(*range))
            };
            lines.extend(found.gaps.iter().map(gap));
        }
        lines
    }

    fn json(&self, outcomes: &BTreeMap<WalId, LogOutcome>, done: Option<(usize, &Left)>) -> Value {
        let log = |planned: &Planned| {
            let outcome = outcomes.get(&planned.log.wal);
            let mut told = json!({
                "wal": planned.log.wal.to_string(),
                "broker": planned.broker.map(|id| id.0),
                "url": planned.log.url,
                "standing": standing_word(&planned.log.standing),
                "place": planned.ring.as_ref().map(|ring| ring.path.display().to_string()),
                "problem": planned.why_not(self.older_too),
                "older_copy": planned.older.is_some(),
                "from": planned.log.from.0,
                "groups": planned.holds.groups,
                "records": planned.holds.records,
                "bytes": planned.holds.bytes,
                "partitions": planned.log.streams.iter().map(|stream| self.name(*stream)).collect::<Vec<_>>(),
            });
            let outcome = match outcome {
                Some(LogOutcome::Recovered(found)) => self.found_json("recovered", found),
                Some(LogOutcome::Damaged(found)) => self.found_json("damaged", found),
                Some(LogOutcome::Others) => json!({ "outcome": "others" }),
                Some(LogOutcome::Left(why)) => json!({ "outcome": "left", "problem": why }),
                None => json!({}),
            };
            if let (Value::Object(told), Value::Object(outcome)) = (&mut told, outcome) {
                told.extend(outcome);
            }
            told
        };
        json!({
            "executed": done.is_some(),
            "handed_on": done.map(|(handed_on, _)| handed_on),
            "left": done.map(|(_, left)| texts(&left.meant)),
            "others_left": done.map(|(_, left)| texts(&left.others)),
            "logs": self.logs.iter().map(log).collect::<Vec<_>>(),
        })
    }

    fn found_json(&self, outcome: &str, found: &LogFound) -> Value {
        let range = |(stream, range): (StreamId, OffsetRange)| json!({ "partition": self.name(stream), "offsets": [range.base.0, range.next.0] });
        json!({
            "outcome": outcome,
            "end": found.end.0,
            "groups": found.groups,
            "records": found.records,
            "bytes": found.bytes,
            "offsets": found.streams.iter().map(|(stream, it)| range((*stream, *it))).collect::<Vec<_>>(),
            "gaps": found.gaps.iter().copied().map(range).collect::<Vec<_>>(),
        })
    }

    fn name(&self, stream: StreamId) -> String {
        partition_name(&self.image, stream)
    }
}

/// `orders-3`, as Kafka's tools write it.
pub(super) fn partition_name(image: &Image, stream: StreamId) -> String {
    let record = image.streams.get(&stream);
    let topic = record.and_then(|record| image.topics.get(&record.topic));
    match (record, topic) {
        (Some(record), Some(topic)) => format!("{}-{}", topic.name, record.partition),
        _ => format!("stream {stream}, which is deleted"),
    }
}

/// How a log's standing is called in JSON.
pub(super) fn standing_word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Alive(_) => "silent",
        Standing::Dead => "dead",
        Standing::Orphaned => "orphaned",
        Standing::Recovering(_) => "recovering",
        Standing::Uploading(..) => "uploading",
    }
}

/// The same in a sentence about its broker.
pub(super) fn standing_told(standing: &Standing) -> String {
    match standing {
        Standing::Alive(address) if address.is_empty() => {
            "it is the empty log of a recovery that was cut short, or is still at work and ends by this".to_owned()
        }
        Standing::Alive(address) => format!("it was not stopped, and nobody answers at {address}"),
        Standing::Dead => "it is dead".to_owned(),
        Standing::Orphaned => "it is dead, and so is who recovered the log".to_owned(),
        Standing::Recovering(start) => format!(
            "it is dead; a recovery, start {start}, has sealed the log and was cut short, or is still at work and ends by this"
        ),
        Standing::Uploading(start, address) => format!(
            "it is dead; start {start} has sealed the log and had yet to upload it, and nobody answers for that start at {address}: it is \
             declared dead by this, and its own logs are then to be recovered too"
        ),
    }
}

impl Planned {
    /// Why it is left as it is.
    fn why_not(&self, older_too: bool) -> Option<&str> {
        self.away.as_deref().or_else(|| self.older.as_deref().filter(|_| !older_too))
    }

    /// What nobody but the operator knows of a ring.
    fn ring_lines(&self, ring: &FoundRing) -> Vec<String> {
        let mut lines = Vec::new();
        if !ring.header.has_control {
            lines.push(
                "  only a lock on this very file or device keeps its broker from acknowledging more: make sure that no other host still has it, \
                 and that it is no copy of one that is in use"
                    .to_owned(),
            );
        }
        let start = self.log.wal.node_epoch;
        if !matches!(self.log.standing, Standing::Alive(_) | Standing::Dead) {
            // Its end is fixed: a ring that does not reach it is refused.
            return lines;
        }
        lines.push(match &self.older {
            Some(why) => format!("  {why}"),
            None if is_unbegun(&ring.header, self.log.wal) => format!(
                "  start {start} has not begun this ring: it was cut short before it wrote anything, or this is a copy from before; nothing here \
                 tells which: make sure that it is no copy"
            ),
            None => "  it lacks nothing that the ledger knows of, which does not prove that it is the newest: only the newest has what was \
                     acknowledged since the last upload; make sure that it is no older copy, such as a snapshot"
                .to_owned(),
        });
        lines
    }

    fn line(&self) -> String {
        let DeadLog { wal, url, standing, from, .. } = &self.log;
        let broker =
            self.broker.map_or_else(|| "a broker that is forgotten".to_owned(), |id| format!("broker {}", id.0));
        let why = standing_told(standing);
        if let Some(away) = &self.away {
            return format!("write-ahead log {wal} of {broker} at {url}: {why}; {away}");
        }
        let place = self.ring.as_ref().map_or_else(|| url.clone(), |ring| ring.path.display().to_string());
        let holds = match self.holds.records {
            Some(records) => format!("{} with {}", counted(self.holds.groups, "group"), counted(records, "record")),
            None => counted(self.holds.groups, "object"),
        };
        format!(
            "write-ahead log {wal} of {broker} at {place}: {why}; from position {from} on {holds}, {} bytes",
            self.holds.bytes
        )
    }
}

fn told(found: &LogFound) -> String {
    format!(
        "{}, {} and {} bytes of {}, up to position {}",
        counted(found.groups, "group"),
        counted(found.records, "record"),
        found.bytes,
        counted(found.streams.len() as u64, "partition"),
        found.end
    )
}
