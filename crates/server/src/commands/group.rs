//! `millstream group`: consumer groups are listed, described, deleted, and their offsets set.
//!
//! `reset` only shows what it would do, unless it is told to `--execute`, as Kafka's own tool does.

use super::cluster::connect;
use super::several::{Done, each, told_all};
use super::time::When;
use super::{CommandError, counted, no_such_partition, say, say_all, say_json};
use crate::args::client::{Group, GroupDelete, GroupDescribe, GroupList, GroupReset};
use client::{AT_BEGINNING, AT_END, ClientError, Cluster, GroupDescription, GroupMember, GroupOffsets};
use protocol::error_code::ErrorCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The state of a group that nobody is in.
const EMPTY: &str = "Empty";

/// Runs one of them.
///
/// # Errors
/// What was asked for can't be, or the cluster does not answer.
pub fn run(what: Group) -> Result<(), CommandError> {
    match what {
        Group::List(args) => list(&args),
        Group::Describe(args) => describe(&args),
        Group::Delete(args) => delete(&args),
        Group::Reset(args) => reset(&args),
    }
}

fn list(args: &GroupList) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    let groups = runtime.block_on(cluster.groups())?;
    if args.cluster.json {
        let groups =
            groups.iter().map(|it| json!({ "group": it.group, "protocol_type": it.protocol_type, "state": it.state }));
        return say_json(&groups.collect::<Vec<_>>());
    }
    let widest = groups.iter().map(|it| it.group.len()).max().unwrap_or(0);
    say_all(groups.iter().map(|it| format!("{:widest$}  {}", it.group, it.state.as_deref().unwrap_or("?"))))
}

/// How far a group has come in one partition.
struct Progress {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    /// `None` where the partition is gone.
    end: Option<i64>,
    /// Who consumes it.
    member: Option<GroupMember>,
}

impl Progress {
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }

    fn json(&self) -> Value {
        json!({
            "topic": self.topic,
            "partition": self.partition,
            "committed": self.committed,
            "end": self.end,
            "lag": self.lag(),
            "member": self.member.as_ref().map(|member| &member.member_id),
        })
    }

    fn line(&self) -> String {
        let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let by = self.member.as_ref().map_or(String::new(), |member| format!(", member {}", member.member_id));
        let (topic, partition) = (&self.topic, self.partition);
        let (committed, end, lag) = (number(self.committed), number(self.end), number(self.lag()));
        format!("  topic {topic}, partition {partition}: committed {committed}, end {end}, lag {lag}{by}")
    }
}

fn describe(args: &GroupDescribe) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    let looked = args.groups.iter().map(|group| (group, runtime.block_on(look(&cluster, group))));
    let looked: Vec<_> = looked.collect();
    let told = if args.cluster.json {
        let groups = looked.iter().map(|(name, outcome)| match outcome {
            Ok((group, progress)) => described_json(group, progress),
            Err(error) => json!({ "group": name, "error": error.line }),
        });
        say_json(&groups.collect::<Vec<_>>())
    } else {
        let mut found = looked.iter().filter_map(|(_, outcome)| outcome.as_ref().ok());
        found.try_for_each(|(group, progress)| say_described(group, progress))
    };
    let failed = looked.into_iter().filter_map(|(_, outcome)| outcome.err()).collect();
    told_all("group", args.groups.len(), failed, told)
}

fn described_json(group: &GroupDescription, progress: &[Progress]) -> Value {
    let members = group.members.iter().map(member_json);
    json!({
        "group": group.group,
        "state": group.state,
        "protocol_type": group.protocol_type,
        "assignor": group.assignor,
        "members": members.collect::<Vec<_>>(),
        "partitions": progress.iter().map(Progress::json).collect::<Vec<_>>(),
    })
}

fn say_described(group: &GroupDescription, progress: &[Progress]) -> Result<(), CommandError> {
    say(format!("{}: {}, {}", group.group, group.state, counted(group.members.len(), "member")))?;
    for member in &group.members {
        let instance = member.instance_id.as_ref().map_or(String::new(), |id| format!(", instance {id}"));
        say(format!(
            "  member {}{instance}, client {} at {}: {}",
            member.member_id,
            member.client_id,
            member.host,
            counted(member.partitions.len(), "partition")
        ))?;
    }
    say_all(progress.iter().map(Progress::line))
}

fn member_json(member: &GroupMember) -> Value {
    let partitions = member.partitions.iter().map(|(topic, it)| json!({ "topic": topic, "partition": it }));
    json!({
        "member": member.member_id,
        "instance": member.instance_id,
        "client": member.client_id,
        "host": member.host,
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

async fn look(cluster: &Cluster, group: &str) -> Result<(GroupDescription, Vec<Progress>), CommandError> {
    let described = cluster.group(group).await?;
    let committed = cluster.committed(group).await?;
    let mut partitions: BTreeMap<(String, i32), Progress> = BTreeMap::new();
    let nothing = |(topic, partition): &(String, i32)| Progress {
        topic: topic.clone(),
        partition: *partition,
        committed: None,
        end: None,
        member: None,
    };
    for (key, offset) in &committed {
        partitions.entry(key.clone()).or_insert_with(|| nothing(key)).committed = Some(*offset);
    }
    for member in &described.members {
        for key in &member.partitions {
            partitions.entry(key.clone()).or_insert_with(|| nothing(key)).member = Some(member.clone());
        }
    }
    let ends = offsets_of(cluster, partitions.keys(), AT_END).await?;
    for (key, progress) in &mut partitions {
        progress.end = ends.get(key).copied();
    }
    Ok((described, partitions.into_values().collect()))
}

/// The offsets of a time in the partitions that are still there.
async fn offsets_of<'a>(
    cluster: &Cluster,
    keys: impl Iterator<Item = &'a (String, i32)>,
    time: i64,
) -> Result<GroupOffsets, CommandError> {
    let mut by_topic: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
    let mut found = GroupOffsets::new();
    for (topic, partition) in keys {
        if !by_topic.contains_key(topic.as_str()) {
            let offsets = match cluster.offsets(topic, time).await {
                Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => BTreeMap::new(),
                offsets => offsets?,
            };
            by_topic.insert(topic, offsets);
        }
        if let Some(offset) = by_topic.get(topic.as_str()).and_then(|it| it.get(partition)) {
            found.insert((topic.clone(), *partition), *offset);
        }
    }
    Ok(found)
}

fn delete(args: &GroupDelete) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    each("group", &args.groups, args.cluster.json, |group| {
        runtime.block_on(cluster.delete_group(group))?;
        Ok(Done { text: format!("deleted {group}"), json: json!({ "group": group, "deleted": true }) })
    })
}

fn reset(args: &GroupReset) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    let (before, after) = runtime.block_on(async {
        let before = cluster.committed(&args.group).await?;
        nobody_is_in(&cluster, &args.group).await?;
        let wanted = wanted(&cluster, args, &before).await?;
        let after = target(&cluster, args, &before, &wanted).await?;
        if args.execute {
            cluster.set_offsets(&args.group, &after).await?;
        }
        Ok::<_, CommandError>((before, after))
    })?;
    if args.cluster.json {
        let partitions = after.iter().map(
            |(key, offset)| json!({ "topic": key.0, "partition": key.1, "before": before.get(key), "after": offset }),
        );
        return say_json(&json!({
            "group": args.group,
            "executed": args.execute,
            "partitions": partitions.collect::<Vec<_>>(),
        }));
    }
    for (key, offset) in &after {
        let (topic, partition) = key;
        let was = before.get(key).map_or_else(|| "nothing".to_owned(), i64::to_string);
        say(format!("topic {topic}, partition {partition}: from {was} to {offset}"))?;
    }
    if !args.execute {
        say("nothing has changed yet: say it again with --execute")?;
    }
    Ok(())
}

/// Members would commit over what is set here.
async fn nobody_is_in(cluster: &Cluster, group: &str) -> Result<(), CommandError> {
    match cluster.group(group).await {
        Ok(found) if found.state == EMPTY => Ok(()),
        Ok(found) => Err(CommandError::failed(format!(
            "group {group} is {} and has {}: stop its consumers first",
            found.state,
            counted(found.members.len(), "member")
        ))),
        // It comes into being with its first offset.
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The partitions to set: those of the topics that are named, else all that the group has committed.
async fn wanted(
    cluster: &Cluster,
    args: &GroupReset,
    committed: &GroupOffsets,
) -> Result<Vec<(String, i32)>, CommandError> {
    let mut wanted: Vec<(String, i32)> = Vec::new();
    for (topic, partitions) in &args.topics {
        let known = cluster.topic(topic).await?;
        if let Some(missing) = partitions.iter().find(|index| known.partition(**index).is_none()) {
            let option = format!("--topic {topic}:{missing}");
            return Err(no_such_partition(&option, topic, known.partitions.len()));
        }
        let named = partitions.iter().copied();
        let all = known.partitions.iter().map(|partition| partition.index).filter(|_| partitions.is_empty());
        wanted.extend(named.chain(all).map(|partition| (topic.clone(), partition)));
    }
    if args.topics.is_empty() {
        wanted.extend(committed.keys().cloned());
    }
    if wanted.is_empty() {
        return Err(CommandError::wrong(format!(
            "group {} has committed nothing: say which topic with --topic TOPIC",
            args.group
        )));
    }
    Ok(wanted)
}

/// Where each partition is to go on: within what there is of it.
async fn target(
    cluster: &Cluster,
    args: &GroupReset,
    committed: &GroupOffsets,
    wanted: &[(String, i32)],
) -> Result<GroupOffsets, CommandError> {
    let begins = offsets_of(cluster, wanted.iter(), AT_BEGINNING).await?;
    let ends = offsets_of(cluster, wanted.iter(), AT_END).await?;
    let time = args.time(cluster.world().clock.as_ref())?;
    let at_time = match time {
        Some(time) => offsets_of(cluster, wanted.iter(), time).await?,
        None => GroupOffsets::new(),
    };
    let mut after = GroupOffsets::new();
    for key in wanted {
        let (Some(begin), Some(end)) = (begins.get(key).copied(), ends.get(key).copied()) else {
            return Err(ClientError::Refused {
                what: format!("topic {}", key.0),
                code: ErrorCode::UnknownTopicOrPartition,
                message: None,
            }
            .into());
        };
        let offset = match (args.to_offset, args.shift_by) {
            (Some(offset), _) => offset,
            (None, Some(by)) => match committed.get(key) {
                Some(offset) => offset.saturating_add(by),
                None => {
                    let (topic, partition) = key;
                    return Err(CommandError::wrong(format!(
                        "--shift-by: group {} has committed nothing in topic {topic}, partition {partition}",
                        args.group
                    )));
                }
            },
            (None, None) => at_time.get(key).copied().unwrap_or(end),
        };
        after.insert(key.clone(), offset.clamp(begin, end.max(begin)));
    }
    Ok(after)
}

impl GroupReset {
    /// The time that stands for where to go, unless an offset does.
    fn time(&self, clock: &dyn world::Clock) -> Result<Option<i64>, CommandError> {
        if self.to_earliest {
            return Ok(Some(AT_BEGINNING));
        }
        if self.to_latest {
            return Ok(Some(AT_END));
        }
        let wrong =
            |option: &str, text: &str, like: &str| CommandError::wrong(format!("{option} {text}: write {like}"));
        if let Some(text) = &self.to_datetime {
            let time =
                When::at(text).ok_or_else(|| wrong("--to-datetime", text, "a time such as 2026-11-21T10:00:00Z"))?;
            return Ok(Some(time));
        }
        if let Some(text) = &self.by_duration {
            let time = When::ago(text, clock)
                .ok_or_else(|| wrong("--by-duration", text, "a duration such as 10m or 2h30m"))?;
            return Ok(Some(time));
        }
        Ok(None)
    }
}
