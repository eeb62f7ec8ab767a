//! `millstream topic`: topics are made, listed, described, changed and deleted.

mod notes;

use super::cluster::connect;
use super::several::{Done, each};
use super::{CommandError, counted, say, say_all, say_json};
use crate::args::client::{Topic, TopicAlter, TopicCreate, TopicDelete, TopicDescribe, TopicList};
use client::admin::{NewTopic, Setting, SettingChange};
use client::{AT_BEGINNING, AT_END, ClientError, Cluster};
use notes::notes;
use protocol::error_code::ErrorCode;
use serde_json::json;

/// Runs one of them.
///
/// # Errors
/// What was asked for can't be, or the cluster does not answer.
pub fn run(what: Topic) -> Result<(), CommandError> {
    match what {
        Topic::Create(args) => create(&args),
        Topic::List(args) => list(&args),
        Topic::Describe(args) => describe(&args),
        Topic::Delete(args) => delete(&args),
        Topic::Alter(args) => alter(&args),
    }
}

fn create(args: &TopicCreate) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    each("topic", &args.topics, args.cluster.json, |topic| runtime.block_on(make(&cluster, args, topic)))
}

async fn make(cluster: &Cluster, args: &TopicCreate, topic: &str) -> Result<Done, CommandError> {
    let TopicCreate { partitions, replication_factor, set, .. } = args;
    let new = NewTopic {
        name: topic.to_owned(),
        partitions: *partitions,
        replication_factor: *replication_factor,
        settings: set.clone(),
    };
    let is_new = match cluster.create_topic(&new).await {
        Err(error) if args.if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) => false,
        made => {
            made?;
            true
        }
    };
    // One that was there may have partitions that nobody leads.
    let made = cluster.look_up(topic).await?;
    let mut notes = if is_new { notes(cluster, topic, &names(set)).await } else { Vec::new() };
    if is_new && replication_factor.is_some_and(|factor| factor > 1) {
        notes.push(
            "--replication-factor acts on nothing here: what is acknowledged is in the bucket or its log".to_owned(),
        );
    }
    let count = made.partitions.len();
    let text = if is_new {
        with_notes(format!("created {topic} with {}", counted(count, "partition")), &notes)
    } else {
        format!("{topic} is there, with {}", counted(count, "partition"))
    };
    let json = json!({ "topic": topic, "partitions": count, "created": is_new, "notes": notes });
    Ok(Done { text, json })
}

fn names(settings: &[(String, String)]) -> Vec<String> {
    settings.iter().map(|(name, _)| name.clone()).collect()
}

fn with_notes(line: String, notes: &[String]) -> String {
    notes.iter().fold(line, |lines, note| format!("{lines}\nnote: {note}"))
}

fn list(args: &TopicList) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    let mut topics = runtime.block_on(cluster.topics())?;
    topics.retain(|topic| args.internal || !topic.is_internal);
    if args.cluster.json {
        let topics = topics.iter().map(
            |topic| json!({ "topic": topic.name, "partitions": topic.partitions.len(), "internal": topic.is_internal }),
        );
        return say_json(&topics.collect::<Vec<_>>());
    }
    let widest = topics.iter().map(|topic| topic.name.len()).max().unwrap_or(0);
    say_all(topics.iter().map(|it| format!("{:widest$}  {}", it.name, counted(it.partitions.len(), "partition"))))
}

fn describe(args: &TopicDescribe) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    let described = runtime.block_on(look(&cluster, args))?;
    if args.cluster.json {
        return say_json(&described.json());
    }
    say_all(described.lines())
}

/// What is told of a topic.
struct Described {
    topic: String,
    partitions: Vec<DescribedPartition>,
    /// `None` where the cluster does not tell them.
    settings: Option<Vec<Setting>>,
}

struct DescribedPartition {
    index: i32,
    leader: Option<i32>,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    begin: Option<i64>,
    end: Option<i64>,
}

async fn look(cluster: &Cluster, args: &TopicDescribe) -> Result<Described, CommandError> {
    let topic = cluster.look_up(&args.topic).await?;
    let (begins, ends) = if topic.partitions.iter().all(|partition| partition.leader.is_some()) {
        (cluster.offsets(&args.topic, AT_BEGINNING).await?, cluster.offsets(&args.topic, AT_END).await?)
    } else {
        // The others' offsets and who has no leader are what somebody wants to see now, not a wait for a leader.
        (cluster.offsets_where_led(&topic, AT_BEGINNING).await?, cluster.offsets_where_led(&topic, AT_END).await?)
    };
    let settings = match cluster.topic_settings(&args.topic).await {
        Ok(mut settings) => {
            settings.retain(|setting| args.all || setting.is_own);
            Some(settings)
        }
        Err(ClientError::Unserved { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let partition = |partition: &client::Partition| DescribedPartition {
        index: partition.index,
        leader: partition.leader,
        replicas: partition.replicas.clone(),
        in_sync: partition.in_sync.clone(),
        begin: begins.get(&partition.index).copied(),
        end: ends.get(&partition.index).copied(),
    };
    let partitions = topic.partitions.iter().map(partition).collect();
    Ok(Described { topic: topic.name.clone(), partitions, settings })
}

impl Described {
    fn json(&self) -> serde_json::Value {
        let partitions = self.partitions.iter().map(|partition| {
            json!({
                "partition": partition.index,
                "leader": partition.leader,
                "replicas": partition.replicas,
                "in_sync": partition.in_sync,
                "begin": partition.begin,
                "end": partition.end,
            })
        });
        let setting = |setting: &Setting| {
            let source = if setting.is_own { "topic" } else { "cluster" };
            json!({ "name": setting.name, "value": setting.value, "source": source })
        };
        let settings = self.settings.as_ref().map(|settings| settings.iter().map(setting).collect::<Vec<_>>());
        json!({
            "topic": self.topic,
            "partitions": partitions.collect::<Vec<_>>(),
            "settings": settings,
        })
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{}: {}", self.topic, counted(self.partitions.len(), "partition"))];
        let offset = |offset: Option<i64>| offset.map_or_else(|| "?".to_owned(), |offset| offset.to_string());
        let leader = |leader: Option<i32>| leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
        for partition in &self.partitions {
            lines.push(format!(
                "  partition {}: offsets {} to {}, leader {}, replicas {:?}, in sync {:?}",
                partition.index,
                offset(partition.begin),
                offset(partition.end),
                leader(partition.leader),
                partition.replicas,
                partition.in_sync,
            ));
        }
        if self.settings.is_none() {
            lines.push("  settings: this cluster does not tell them".to_owned());
        }
        for setting in self.settings.iter().flatten() {
            let source = if setting.is_own { "" } else { " (the cluster's)" };
            lines.push(format!("  {}={}{source}", setting.name, setting.value.as_deref().unwrap_or("(secret)")));
        }
        lines
    }
}

fn delete(args: &TopicDelete) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    each("topic", &args.topics, args.cluster.json, |topic| runtime.block_on(remove(&cluster, args, topic)))
}

async fn remove(cluster: &Cluster, args: &TopicDelete, topic: &str) -> Result<Done, CommandError> {
    let done = |text: String, deleted: bool| Done { text, json: json!({ "topic": topic, "deleted": deleted }) };
    let is_absent = |error: &ClientError| error.code() == Some(ErrorCode::UnknownTopicOrPartition);
    let is_internal = match cluster.look_up(topic).await {
        // One that was made a moment ago may not be known to the broker that was asked: whoever deletes it knows.
        Err(error) if is_absent(&error) => false,
        found => found?.is_internal,
    };
    if is_internal && !args.internal {
        return Err(CommandError::wrong(format!(
            "topic {topic} is the cluster's own, and what it keeps there would be gone: say --internal to delete it all the same"
        )));
    }
    match cluster.delete_topic(topic).await {
        Err(error) if args.if_exists && is_absent(&error) => Ok(done(format!("{topic} is not there"), false)),
        Err(error) if is_absent(&error) => {
            // Kafka's words for it speak of a server that does not host a partition.
            let code = ErrorCode::UnknownTopicOrPartition;
            let message = Some("there is no such topic".to_owned());
            Err(ClientError::Refused { what: format!("delete topic {topic}"), code, message }.into())
        }
        deleted => {
            deleted?;
            Ok(done(format!("deleted {topic}"), true))
        }
    }
}

fn alter(args: &TopicAlter) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    let set = args.set.iter().cloned().map(|(name, value)| SettingChange::Set(name, value));
    let unset = args.unset.iter().cloned().map(SettingChange::Unset);
    let changes: Vec<SettingChange> = set.chain(unset).collect();
    let notes = runtime.block_on(async {
        change(&cluster, args, &changes).await?;
        Ok::<_, CommandError>(notes(&cluster, &args.topic, &names(&args.set)).await)
    })?;
    if args.cluster.json {
        let settings = changes.len();
        let partitions = args.partitions;
        return say_json(
            &json!({ "topic": args.topic, "settings": settings, "partitions": partitions, "notes": notes }),
        );
    }
    say(with_notes(format!("changed {}", args.topic), &notes))
}

/// All of it or nothing, as far as can be known before.
async fn change(cluster: &Cluster, args: &TopicAlter, changes: &[SettingChange]) -> Result<(), CommandError> {
    check_names(cluster, args).await?;
    if let Some(count) = args.partitions.filter(|_| !changes.is_empty()) {
        cluster.check_growth(&args.topic, count).await?;
    }
    if !changes.is_empty() {
        cluster.alter_topic(&args.topic, changes).await?;
    }
    let Some(count) = args.partitions else { return Ok(()) };
    cluster.grow_topic(&args.topic, count).await.map_err(|error| {
        let mut error = CommandError::from(error);
        if !changes.is_empty() {
            error.line.push_str("; the settings have been changed");
        }
        error
    })
}

/// Brokers unset names that no setting has, as Kafka's do: a name that is misspelt would seem to be unset.
async fn check_names(cluster: &Cluster, args: &TopicAlter) -> Result<(), CommandError> {
    if args.unset.is_empty() {
        return Ok(());
    }
    let known = match cluster.topic_settings(&args.topic).await {
        Err(ClientError::Unserved { .. }) => return Ok(()),
        known => known?,
    };
    match args.unset.iter().find(|name| known.iter().all(|setting| setting.name != **name)) {
        None => Ok(()),
        Some(name) => Err(CommandError::wrong(format!(
            "--unset {name}: topics have no such setting; `millstream topic describe {} --all` shows those they have",
            args.topic
        ))),
    }
}
