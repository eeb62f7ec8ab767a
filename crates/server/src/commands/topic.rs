//! `millstream topic`: topics are made, listed, described, changed and deleted.

use super::cluster::connect;
use super::{CommandError, counted, say, say_json};
use crate::args::client::{Topic, TopicAlter, TopicCreate, TopicDelete, TopicDescribe, TopicList};
use client::admin::{NewTopic, Setting, SettingChange};
use client::{AT_BEGINNING, AT_END, ClientError, Cluster};
use serde_json::json;

/// Runs one of them.
///
/// # Errors
/// What was asked for can't be, or the cluster does not answer.
pub fn run(what: Topic) -> Result<(), CommandError> {
    match what {
        Topic::Create(args) => create(args),
        Topic::List(args) => list(&args),
        Topic::Describe(args) => describe(&args),
        Topic::Delete(args) => delete(&args),
        Topic::Alter(args) => alter(&args),
    }
}

fn create(args: TopicCreate) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    let TopicCreate { topic, partitions, replication_factor, set, cluster: common } = args;
    let new = NewTopic { name: topic, partitions, replication_factor, settings: set };
    runtime.block_on(cluster.create_topic(&new))?;
    let made = runtime.block_on(cluster.topic(&new.name))?;
    if common.json {
        return say_json(&json!({ "topic": made.name, "partitions": made.partitions.len() }));
    }
    say(format!("created {} with {}", made.name, counted(made.partitions.len(), "partition")));
    Ok(())
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
    for topic in topics {
        say(format!("{:widest$}  {}", topic.name, counted(topic.partitions.len(), "partition")));
    }
    Ok(())
}

fn describe(args: &TopicDescribe) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    let described = runtime.block_on(look(&cluster, args))?;
    if args.cluster.json {
        return say_json(&described.json());
    }
    described.lines().iter().for_each(say);
    Ok(())
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
    for topic in &args.topics {
        runtime.block_on(cluster.delete_topic(topic))?;
        if args.cluster.json {
            say_json(&json!({ "topic": topic, "deleted": true }))?;
        } else {
            say(format!("deleted {topic}"));
        }
    }
    Ok(())
}

fn alter(args: &TopicAlter) -> Result<(), CommandError> {
    let (runtime, cluster) = connect(&args.cluster)?;
    let set = args.set.iter().cloned().map(|(name, value)| SettingChange::Set(name, value));
    let unset = args.unset.iter().cloned().map(SettingChange::Unset);
    let changes: Vec<SettingChange> = set.chain(unset).collect();
    runtime.block_on(async {
        // Settings first: they are refused as a whole, and then nothing has changed.
        if !changes.is_empty() {
            cluster.alter_topic(&args.topic, &changes).await?;
        }
        match args.partitions {
            Some(count) => cluster.grow_topic(&args.topic, count).await,
            None => Ok(()),
        }
    })?;
    if args.cluster.json {
        let settings = changes.len();
        return say_json(&json!({ "topic": args.topic, "settings": settings, "partitions": args.partitions }));
    }
    say(format!("changed {}", args.topic));
    Ok(())
}
