//! `millstream restore`: whether the bucket's ledger folds, what is lost where it does not, and a new head for it from what is left.
//!
//! Only says what it found, unless it is told to `--execute`. Nothing is overwritten: into the bucket itself goes one snapshot above all
//! numbers that are there; with `--to` everything that is still referred to is copied besides. All brokers must be stopped.

use super::{CommandError, counted, dots, outside, say_all, say_json};
use crate::args::Restore;
use crate::config::StorageTarget;
use crate::node::answers;
use base::{OffsetRange, StreamId};
use control::Survey;
use control_core::{Command, Image};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use stream::wal::rings_at;
use stream::{LedgerLoss, RestorePlan, RestoreRequest, StreamTold, Verdict, plan_restore};
use world::World;

/// Partitions that are told one by one; beyond that only those that miss something.
const PARTITIONS_TOLD_MAX: usize = 50;

/// Topics that are named for one reason; beyond that only their number is told.
const TOPICS_TOLD_MAX: usize = 20;

/// Says what it found, and writes where it is told to.
///
/// # Errors
/// The bucket can't be read or written, brokers run, or there is nothing to restore from. Without `--execute` also, with code 1, where
/// something is lost.
pub fn run(args: &Restore) -> Result<(), CommandError> {
    outside::runtime()?.block_on(restore(args))
}

async fn restore(args: &Restore) -> Result<(), CommandError> {
    let world = World::system();
    let target = args.storage.target()?;
    let failed = |line: String| CommandError::failed(line);
    let store = outside::existing_object_store(&world, &target).await?;
    let mut request = RestoreRequest { ask_objects: args.ask_objects, ..RestoreRequest::default() };
    for place in &args.logs {
        let rings = rings_at(world.disk.as_ref(), place).await;
        let rings = rings.map_err(|error| failed(format!("--log {}: {error}", place.display())))?;
        request.rings.extend(rings);
    }
    for (name, streams) in &args.topics {
        broker::check_topic_name(name).map_err(|why| CommandError::wrong(format!("--topic {name}: {why}")))?;
        let streams = streams.iter().map(|id| StreamId(*id)).collect();
        request.topics.insert(name.clone(), (streams, broker::is_internal_topic(name)));
    }
    let plan = plan_restore(&world, &store, &request).await.map_err(|error| failed(error.to_string()))?;
    if plan.survey.highest().0 == 0 && plan.streams.is_empty() {
        return Err(failed(format!("--storage {target}: there is nothing of a cluster here")));
    }
    let to = args.to.as_deref().map(|url| crate::config::storage_url("--to", url)).transpose()?;
    let told = Told::of(&plan, &target, to.as_ref());
    if !args.execute {
        let wrong = what_is_wrong(&plan).map_or(Ok(()), |why| Err(failed(format!("--storage {target}: {why}"))));
        return wrong.and(told.say(args, None));
    }
    if plan.verdict == Verdict::Whole && to.is_none() {
        return told.say(args, Some(&plan.image));
    }
    nobody_answers(&world, &plan).await?;
    if !plan.logs_missing.is_empty() && !args.without_logs {
        let url = &plan.logs_missing[0].1;
        return Err(failed(format!(
            "the write-ahead log at {url} may hold records that are nowhere else: give the place where it is by --log, or say \
             --without-logs to do without it"
        )));
    }
    if plan.rings_unknown && !args.without_logs {
        let gone = match plan.loss {
            LedgerLoss::All => "the ledger is gone, and with it the place of each",
            LedgerLoss::Part => "a part of the ledger is gone, and with it may be the place of a",
            LedgerLoss::Nothing => "entries may be gone from the ledger's end, and with them the place of a",
        };
        return Err(failed(format!(
            "{gone} broker's write-ahead log that holds records which are nowhere else: give the place of every broker's log that is no \
             object store by --log, or say --without-logs to do without"
        )));
    }
    outside::log_to_stderr("warn")?;
    let (own, other) = match &to {
        // Only read.
        Some(to) => (store, Some(outside::object_store(&world, to).await?)),
        None => (outside::object_store(&world, &target).await?, None),
    };
    let written = plan.execute(&world, &own, other.as_ref()).await.map_err(|error| failed(error.to_string()))?;
    told.say(args, Some(&written))
}

/// Why a report ends with code 1.
fn what_is_wrong(plan: &RestorePlan) -> Option<String> {
    match (plan.verdict, plan.loss) {
        (Verdict::Whole, _) if !plan.lost.is_empty() => {
            let lost = counted(plan.lost.len() as u64, "data object");
            Some(format!("{lost} that the ledger refers to can't be read"))
        }
        (Verdict::Whole, _) => None,
        (Verdict::Folds, _) => Some("brokers can't read the ledger, and nothing of it is lost".to_owned()),
        (Verdict::Rebuilt, LedgerLoss::All) => Some("the ledger is lost".to_owned()),
        (Verdict::Rebuilt, LedgerLoss::Part) => Some("a part of the ledger is lost".to_owned()),
        (Verdict::Rebuilt, LedgerLoss::Nothing) if plan.survey.is_whole() => {
            let missing = plan.streams.values().filter(|stream| !stream.missing.is_empty()).count();
            (missing > 0).then(|| format!("records of {} are missing", counted(missing as u64, "partition")))
        }
        (Verdict::Rebuilt, LedgerLoss::Nothing) => {
            Some("brokers can't read the ledger, and nothing of it is known to be lost".to_owned())
        }
    }
}

/// What is said of the ledger as a whole, and what the rest of the report rests on.
fn verdict_line(plan: &RestorePlan) -> String {
    let base = plan.survey.image.seq;
    match (plan.verdict, plan.loss) {
        (Verdict::Whole, _) => "the ledger is whole: brokers read it as it is".to_owned(),
        (Verdict::Folds, _) => {
            "brokers can't read the ledger as it is, but all of it folds: nothing is lost".to_owned()
        }
        (Verdict::Rebuilt, LedgerLoss::All) => {
            "the ledger is lost: what follows is from what data objects say of themselves".to_owned()
        }
        (Verdict::Rebuilt, LedgerLoss::Part) => format!(
            "a part of the ledger is lost: what follows is from entry {base} and from what data objects say of themselves"
        ),
        (Verdict::Rebuilt, LedgerLoss::Nothing) => format!(
            "nothing of the ledger is known to be lost; as --ask-objects was said, what follows is from entry {base} and from what data \
             objects say of themselves"
        ),
    }
}

/// Who runs holds an image of its own, and goes on writing by it.
async fn nobody_answers(world: &World, plan: &RestorePlan) -> Result<(), CommandError> {
    let answers = answers::probe(world.clone(), String::new());
    for address in &plan.addresses {
        if answers(address.clone()).await {
            return Err(CommandError::failed(format!(
                "a broker answers at {address}: stop all brokers of this cluster first"
            )));
        }
    }
    Ok(())
}

/// What is told of a plan.
struct Told {
    lines: Vec<String>,
    json: Value,
    /// What is to be said where nothing is written.
    next: Option<String>,
    place: String,
}

impl Told {
    fn of(plan: &RestorePlan, target: &StorageTarget, to: Option<&StorageTarget>) -> Told {
        let mut lines = ledger_lines(&plan.survey);
        lines.push(verdict_line(plan));
        if plan.verdict == Verdict::Rebuilt {
            lines.extend(beyond_lines(&plan.survey));
        }
        lines.extend(data_lines(plan));
        lines.extend(stream_lines(&plan.streams));
        if plan.verdict == Verdict::Rebuilt {
            lines.extend(limits(plan));
        }
        let place = to.map_or_else(|| target.to_string(), ToString::to_string);
        let next = match (plan.verdict, to) {
            (Verdict::Whole, None) => None,
            (_, None) => Some(format!("would write ledger/snapshot/{:020} and overwrite nothing", plan.image.seq.0)),
            (_, Some(to)) => Some(format!("would copy {} bytes of objects and write a ledger to {to}", plan.bytes)),
        };
        Told { lines, json: json_of(plan), next, place }
    }

    fn say(mut self, args: &Restore, written: Option<&Image>) -> Result<(), CommandError> {
        if args.storage.json {
            if let Value::Object(told) = &mut self.json {
                told.insert("executed".to_owned(), (written.is_some() && self.next.is_some()).into());
            }
            return say_json(&self.json);
        }
        match (self.next, written) {
            (None, _) => {}
            (Some(_), Some(image)) => self.lines.push(format!(
                "written to {}: ledger snapshot {}; start a broker, then `millstream fsck`",
                self.place, image.seq
            )),
            (Some(next), None) => {
                self.lines.push(next);
                self.lines
                    .push("nothing has changed yet: stop all brokers, and say it again with --execute".to_owned());
            }
        }
        say_all(self.lines)
    }
}

fn ledger_lines(survey: &Survey) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(match (&survey.format, &survey.format_problem) {
        (Some(format), _) => format!("cluster {:032x}", format.cluster_id),
        (None, Some(problem)) => format!("PROBLEM: {problem}"),
        (None, None) => "PROBLEM: the object \"format\" is not there".to_owned(),
    });
    let bounds = |numbers: Vec<u64>| match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) => format!(", {first} to {last}"),
        _ => String::new(),
    };
    let snapshots: Vec<u64> = survey.snapshots.keys().map(|seq| seq.0).collect();
    let entries: Vec<u64> = survey.entries.keys().map(|seq| seq.0).collect();
    lines.push(format!(
        "{}{}; {}{}",
        counted(snapshots.len() as u64, "ledger snapshot"),
        bounds(snapshots),
        if entries.len() == 1 { "1 entry".to_owned() } else { format!("{} entries", entries.len()) },
        bounds(entries)
    ));
    let problems = |what: &str, found: &BTreeMap<base::LedgerSeq, Option<String>>| {
        let damaged = found.iter().filter_map(|(seq, problem)| Some((seq, problem.as_ref()?)));
        damaged.map(|(seq, problem)| format!("PROBLEM: {what} {seq}: {problem}")).collect::<Vec<_>>()
    };
    lines.extend(problems("snapshot", &survey.snapshots));
    lines.extend(problems("entry", &survey.entries));
    for (first, last) in survey.gaps() {
        let which = if first == last { format!("entry {first}") } else { format!("entries {first} to {last}") };
        lines.push(format!("PROBLEM: {which} can't be read or is not there"));
    }
    let rests = survey.base.map_or_else(|| "the first entry".to_owned(), |seq| format!("snapshot {seq}"));
    if survey.image.seq.0 > 0 {
        lines.push(format!(
            "from {rests} it folds up to entry {}: {} with {}",
            survey.image.seq,
            counted(survey.image.topics.len() as u64, "topic"),
            counted(survey.image.streams.len() as u64, "partition")
        ));
    }
    lines
}

/// What the entries say that can be read and not folded.
fn beyond_lines(survey: &Survey) -> Vec<String> {
    let commands = || survey.beyond.iter().flat_map(|entry| &entry.commands).map(|(_, command)| command);
    let name = |id: &base::TopicId| survey.image.topics.get(id).map(|topic| topic.name.clone());
    let mut lines = Vec::new();
    let mut note = |what: &str, names: Vec<String>| {
        if !names.is_empty() {
            lines.push(format!("entries beyond {what}: {}", names.join(", ")));
        }
    };
    let created = commands().filter_map(|command| match command {
        Command::CreateTopic { name, partitions, .. } => {
            Some(format!("{name} ({})", counted(partitions.len() as u64, "partition")))
        }
        _ => None,
    });
    note("create topics, whose streams may be among the recovered ones (see --topic)", created.collect());
    let deleted = commands().filter_map(|command| match command {
        Command::DeleteTopic { id } => name(id),
        _ => None,
    });
    note("delete topics, which are back", deleted.collect());
    let altered = commands().filter_map(|command| match command {
        Command::AlterTopicConfigs { id, .. } => name(id),
        _ => None,
    });
    note("change settings of topics, which are as before", altered.collect());
    let who = commands().filter_map(|command| match command {
        Command::AlterScram { changes } => Some(counted(changes.len() as u64, "credential")),
        Command::AlterAcls { removed, added } => {
            Some(counted((removed.len() + added.len()) as u64, "access control list"))
        }
        Command::IssueToken { .. } | Command::ExpireToken { .. } => Some(counted(1, "delegation token")),
        _ => None,
    });
    note(
        "change who may log in or who may do what, which is as before: look at it before others reach the brokers",
        who.collect(),
    );
    lines
}

fn data_lines(plan: &RestorePlan) -> Vec<String> {
    let mut lines = Vec::new();
    let mut note = |count: usize, text: String| {
        if count > 0 {
            lines.push(text);
        }
    };
    let objects = plan.image.objects.len();
    note(1, format!("{} with {} bytes", counted(objects as u64, "data object"), plan.bytes));
    note(
        plan.unreferenced,
        format!(
            "{} that nothing refers to, which brokers delete in time",
            counted(plan.unreferenced as u64, "data object")
        ),
    );
    note(
        plan.newer_than_ledger,
        format!(
            "{} of starts that the ledger does not know: its end is missing",
            counted(plan.newer_than_ledger as u64, "data object")
        ),
    );
    if plan.newer_logs > 0 {
        lines.push(format!(
            "write-ahead logs of {} that the ledger does not know: its end is missing",
            counted(plan.newer_logs as u64, "start")
        ));
    }
    let lost = plan.lost.iter().filter(|id| !plan.unreadable.iter().any(|(it, _)| it == *id));
    lines.extend(lost.map(|id| format!("PROBLEM: data object {id} is referred to and not in the bucket")));
    lines.extend(plan.unreadable.iter().map(|(id, why)| format!("PROBLEM: data object {id}: {why}")));
    for (wal, problems) in &plan.logs {
        lines.push(format!("write-ahead log {wal} was looked into"));
        lines.extend(problems.iter().map(|problem| format!("PROBLEM: write-ahead log {wal}: {problem}")));
    }
    if plan.tail_records > 0 {
        lines.push(format!(
            "{} only in write-ahead logs, which will be put into objects",
            counted(plan.tail_records, "record")
        ));
    }
    for (wal, url) in &plan.logs_missing {
        let wal = wal.map(|wal| format!("{wal} ")).unwrap_or_default();
        lines.push(format!("PROBLEM: the write-ahead log {wal}at {url} was not looked into: give its place by --log"));
    }
    lines
}

fn stream_lines(streams: &BTreeMap<StreamId, StreamTold>) -> Vec<String> {
    let mut lines = Vec::new();
    let all = streams.len() <= PARTITIONS_TOLD_MAX;
    for (id, stream) in streams.iter().filter(|(_, stream)| all || !stream.missing.is_empty()) {
        let name = format!("{}-{}", stream.topic, stream.partition);
        let unknown = if stream.named_by_ledger { String::new() } else { format!(" (stream {id})") };
        lines.push(format!(
            "  {name}{unknown}: offsets {}..{}, {}",
            stream.start,
            stream.end,
            counted(stream.records, "record")
        ));
        lines.extend(stream.missing.iter().map(|range| format!("    nothing has the offsets {}", dots(*range))));
    }
    if !all {
        lines.push(format!(
            "  {} in all; those that miss something are named above",
            counted(streams.len() as u64, "partition")
        ));
    }
    lines
}

/// What nobody can know without the ledger.
fn limits(plan: &RestorePlan) -> Vec<String> {
    let mut lines = Vec::new();
    if plan.streams.values().any(|stream| !stream.named_by_ledger) {
        lines.push("names, partitions and settings of topics stand in the ledger alone: name them by --topic, and set them again; until then retention deletes nothing of them (retention.ms=-1, retention.bytes=-1)".to_owned());
    }
    lines.extend(offsets_line(plan));
    if plan.loss == LedgerLoss::All {
        lines.push("credentials of users, access control lists, quotas and settings of brokers stand in the ledger alone, and are gone: start brokers with authorizer.class.name given, so that nothing is open to everybody meanwhile, and make them anew".to_owned());
    }
    if plan.deleted_streams > 0 {
        lines.push(format!("{} of deleted topics are left out", counted(plan.deleted_streams as u64, "partition")));
    }
    lines.push(
        "records that were deleted since (retention, DeleteRecords, topics, log compaction) may be back; records that were in a log which \
         was not looked into are missing at the end, and their offsets will be given out again"
            .to_owned(),
    );
    lines
}

/// A topic is another one under a new id, also where its name is the old one: brokers drop what groups have committed of one that is gone.
fn offsets_line(plan: &RestorePlan) -> Option<String> {
    let topics = &plan.topics_anew;
    if topics.is_empty() {
        return None;
    }
    let more = match topics.len().saturating_sub(TOPICS_TOLD_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = topics.iter().take(TOPICS_TOLD_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    Some(format!(
        "topics get new ids, so offsets that groups have committed of them are dropped, and their consumers begin where \
         auto.offset.reset says unless `millstream group reset` says where: {named}{more}"
    ))
}

fn json_of(plan: &RestorePlan) -> Value {
    let survey = &plan.survey;
    let numbered = |found: &BTreeMap<base::LedgerSeq, Option<String>>| {
        found.iter().map(|(seq, problem)| json!({ "number": seq.0, "problem": problem })).collect::<Vec<_>>()
    };
    let range = |range: &OffsetRange| json!([range.base.0, range.next.0]);
    let stream = |(id, told): (&StreamId, &StreamTold)| {
        json!({
            "stream": id.0, "topic": told.topic, "partition": told.partition, "named_by_ledger": told.named_by_ledger,
            "offsets": [told.start.0, told.end.0], "records": told.records, "bytes": told.bytes,
            "missing": told.missing.iter().map(range).collect::<Vec<_>>(),
        })
    };
    json!({
        "verdict": match plan.verdict { Verdict::Whole => "whole", Verdict::Folds => "folds", Verdict::Rebuilt => "rebuilt" },
        "ledger_lost": match plan.loss { LedgerLoss::Nothing => "nothing", LedgerLoss::Part => "part", LedgerLoss::All => "all" },
        "cluster": format!("{:032x}", plan.image.cluster_id),
        "format_problem": survey.format_problem,
        "snapshots": numbered(&survey.snapshots),
        "entries": numbered(&survey.entries),
        "folds_up_to": survey.image.seq.0,
        "gaps": survey.gaps().iter().map(|(first, last)| json!([first.0, last.0])).collect::<Vec<_>>(),
        "snapshot_to_write": (plan.verdict != Verdict::Whole).then_some(plan.image.seq.0),
        "topics": plan.image.topics.len(),
        "partitions": plan.image.streams.len(),
        "objects": plan.image.objects.len(),
        "bytes": plan.bytes,
        "unreferenced_objects": plan.unreferenced,
        "newer_than_ledger": plan.newer_than_ledger,
        "newer_logs": plan.newer_logs,
        "unreadable_objects": plan.unreadable.iter().map(|(id, why)| json!({ "object": id.to_string(), "problem": why })).collect::<Vec<_>>(),
        "lost_objects": plan.lost.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "rings_unknown": plan.rings_unknown,
        "logs": plan.logs.iter().map(|(wal, problems)| json!({ "wal": wal.to_string(), "problems": problems })).collect::<Vec<_>>(),
        "logs_missing": plan.logs_missing.iter().map(|(wal, url)| json!({ "wal": wal.map(|wal| wal.to_string()), "url": url })).collect::<Vec<_>>(),
        "tail_records": plan.tail_records,
        "group_offsets_dropped_of": plan.topics_anew,
        "streams": plan.streams.iter().map(stream).collect::<Vec<_>>(),
    })
}
