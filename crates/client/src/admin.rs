//! Topics: made, changed, described, deleted.

use crate::cluster::Cluster;
use crate::error::ClientError;
use protocol::error_code::ErrorCode;
use protocol::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use protocol::messages::delete_topics_request::DeleteTopicsRequest;
use protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

/// Kafka's number for a topic among the things that have settings.
const TOPIC_RESOURCE: i8 = 2;
/// Where a setting's value comes from: the topic itself.
const SOURCE_TOPIC: i8 = 1;
const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;

/// A topic to be made. What is absent is the cluster's default.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: Option<i32>,
    /// How many replicas of each.
    pub replication_factor: Option<i16>,
    /// Names and values.
    pub settings: Vec<(String, String)>,
}

/// A setting of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Kafka's name.
    pub name: String,
    /// Its value; absent where it is secret.
    pub value: Option<String>,
    /// Whether it was set for this topic, not for the whole cluster or by nobody.
    pub is_own: bool,
    /// What the cluster says about it in words, where it was asked to.
    pub documentation: Option<String>,
}

/// What a change does to a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingChange {
    /// It gets this value.
    Set(String, String),
    /// It gets the cluster's value again.
    Unset(String),
}

impl Cluster {
    /// Makes a topic. Where a try was not answered, a topic that is there at the next one is taken for that try's.
    ///
    /// # Errors
    /// It exists, its name or a setting is not valid, or no broker answers in time.
    pub async fn create_topic(&self, new: &NewTopic) -> Result<(), ClientError> {
        let setting =
            |(name, value): &(String, String)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) };
        let topic = CreatableTopic {
            name: new.name.clone(),
            num_partitions: new.partitions.unwrap_or(-1),
            replication_factor: new.replication_factor.unwrap_or(-1),
            configs: new.settings.iter().map(setting).collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: self.broker_ms(), validate_only: false };
        let (answer, is_repeat) = self.call_repeated(&request).await?;
        for topic in &answer.topics {
            let about = || format!("create topic {}", new.name);
            let outcome = ClientError::check(topic.error_code, topic.error_message.as_deref(), about);
            done_if(outcome, |code| is_repeat && code == ErrorCode::TopicAlreadyExists)?;
        }
        // Whoever writes to it next finds leaders.
        self.topic(&new.name).await.map(drop)
    }

    /// Deletes a topic with all its records. Where a try was not answered, a topic that is gone at the next one was deleted by it.
    ///
    /// # Errors
    /// It does not exist, or no broker answers in time.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let request = DeleteTopicsRequest {
            topic_names: vec![name.to_owned()],
            timeout_ms: self.broker_ms(),
            ..DeleteTopicsRequest::default()
        };
        let (answer, is_repeat) = self.call_repeated(&request).await?;
        for topic in &answer.responses {
            let about = || format!("delete topic {name}");
            let outcome = ClientError::check(topic.error_code, topic.error_message.as_deref(), about);
            done_if(outcome, |code| is_repeat && code == ErrorCode::UnknownTopicOrPartition)?;
        }
        Ok(())
    }

    /// Gives a topic more partitions: `count` in all. Where a try was not answered, so many at the next one are that try's.
    ///
    /// # Errors
    /// It has as many or more, it does not exist, or no broker answers in time.
    pub async fn grow_topic(&self, name: &str, count: i32) -> Result<(), ClientError> {
        self.growth(name, count, false).await
    }

    /// Whether [`Cluster::grow_topic`] would be refused. Nothing changes.
    ///
    /// # Errors
    /// Those that it would have.
    pub async fn check_growth(&self, name: &str, count: i32) -> Result<(), ClientError> {
        self.growth(name, count, true).await
    }

    async fn growth(&self, name: &str, count: i32, validate_only: bool) -> Result<(), ClientError> {
        let topic = CreatePartitionsTopic { name: name.to_owned(), count, assignments: None };
        let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: self.broker_ms(), validate_only };
        let (answer, is_repeat) = self.call_repeated(&request).await?;
        for topic in &answer.results {
            let partitions = if count == 1 { "partition" } else { "partitions" };
            let about = || format!("give topic {name} {count} {partitions}");
            let outcome = ClientError::check(topic.error_code, topic.error_message.as_deref(), about);
            let may_be_done = is_repeat && !validate_only && topic.error_code == ErrorCode::InvalidPartitions.number();
            let is_done =
                may_be_done && self.look_up(name).await?.partitions.len() == usize::try_from(count).unwrap_or(0);
            done_if(outcome, |_| is_done)?;
        }
        Ok(())
    }

    /// The topic's settings, all of them, in the order of their names.
    ///
    /// # Errors
    /// It does not exist, or no broker answers in time.
    pub async fn topic_settings(&self, name: &str) -> Result<Vec<Setting>, ClientError> {
        self.settings(name, None).await
    }

    /// Those of the topic's settings that have these names, with what the cluster says about them.
    ///
    /// # Errors
    /// As for [`Cluster::topic_settings`].
    pub async fn explained_settings(&self, name: &str, settings: &[String]) -> Result<Vec<Setting>, ClientError> {
        self.settings(name, Some(settings)).await
    }

    async fn settings(&self, name: &str, explained: Option<&[String]>) -> Result<Vec<Setting>, ClientError> {
        let resource = DescribeConfigsResource {
            resource_type: TOPIC_RESOURCE,
            resource_name: name.to_owned(),
            configuration_keys: explained.map(<[String]>::to_vec),
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            include_documentation: explained.is_some(),
            ..DescribeConfigsRequest::default()
        };
        let answer = self.call_any(&request).await?;
        let mut settings = Vec::new();
        for result in answer.results {
            let about = || format!("settings of topic {name}");
            ClientError::check(result.error_code, result.error_message.as_deref(), about)?;
            settings.extend(result.configs.into_iter().map(|config| Setting {
                is_own: config.config_source == SOURCE_TOPIC,
                name: config.name,
                value: config.value,
                documentation: config.documentation,
            }));
        }
        settings.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(settings)
    }

    /// Changes settings of a topic, all or none.
    ///
    /// # Errors
    /// A name or value is not valid, the topic does not exist, or no broker answers in time.
    pub async fn alter_topic(&self, name: &str, changes: &[SettingChange]) -> Result<(), ClientError> {
        let change = |change: &SettingChange| match change.clone() {
            SettingChange::Set(name, value) => {
                AlterableConfig { name, config_operation: OPERATION_SET, value: Some(value) }
            }
            SettingChange::Unset(name) => AlterableConfig { name, config_operation: OPERATION_DELETE, value: None },
        };
        let resource = AlterConfigsResource {
            resource_type: TOPIC_RESOURCE,
            resource_name: name.to_owned(),
            configs: changes.iter().map(change).collect(),
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let answer = self.call_any(&request).await?;
        for result in &answer.responses {
            let about = || format!("change topic {name}");
            ClientError::check(result.error_code, result.error_message.as_deref(), about)?;
        }
        Ok(())
    }

    /// What a broker is given for a change: less than we wait ourselves, so that its own answer comes first.
    fn broker_ms(&self) -> i32 {
        let half = self.options().call_within / 2;
        i32::try_from(half.as_millis()).unwrap_or(i32::MAX)
    }
}

/// No error where the code says that what was asked for is so already, and it may be so by our own doing.
fn done_if(outcome: Result<(), ClientError>, is_done: impl FnOnce(ErrorCode) -> bool) -> Result<(), ClientError> {
    match outcome {
        Err(error) if error.code().is_some_and(is_done) => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
