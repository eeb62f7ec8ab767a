//! DescribeConfigs: settings of topics, brokers, groups and subscriptions, with where each comes from and what becomes of it here.
//!
//! What is told of them is decided in `settings`; here it gets Kafka's numbers, and what can't be told gets its reason. The answer's
//! memory is bounded whatever the question names.

use crate::Shared;
use crate::error::Failure;
use crate::rights::Rights;
use crate::settings::{self, Described, Kind, View};
use crate::topic_name;
use control_core::{Image, SettingsScope};
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::create_topics_response::CreatableTopicConfigs;
use protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use std::collections::{BTreeMap, BTreeSet};
use tracing::level_filters::LevelFilter;

/// Kafka's numbers of what has settings.
pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
pub(crate) const BROKER_LOGGER: i8 = 8;
pub(crate) const CLIENT_METRICS: i8 = 16;
pub(crate) const GROUP: i8 = 32;

/// What has settings.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Topic,
    Broker,
    BrokerLogger,
    ClientMetrics,
    Group,
}

impl Subject {
    fn of(kind: i8) -> Result<Subject, Failure> {
        match kind {
            TOPIC => Ok(Subject::Topic),
            BROKER => Ok(Subject::Broker),
            BROKER_LOGGER => Ok(Subject::BrokerLogger),
            CLIENT_METRICS => Ok(Subject::ClientMetrics),
            GROUP => Ok(Subject::Group),
            other => Err(Failure::InvalidRequest(format!("Unknown resource type {other}"))),
        }
    }
}

/// Where a log level comes from, and that it is of no type of settings.
const SOURCE_LOGGER: i8 = 6;
const KIND_UNKNOWN: i8 = 0;

/// From these versions on it is told where a value comes from, and of which type it is.
const SOURCE_VERSION: i16 = 1;
const KIND_VERSION: i16 = 3;
/// What stands for a source before.
const NO_SOURCE: i8 = -1;

/// What an answer may take as values; the rest of what is asked is refused.
pub(crate) const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a setting takes beyond its texts, roughly.
const ENTRY_BYTES: usize = 160;

pub(crate) async fn handle(
    broker: &Shared,
    request: DescribeConfigsRequest,
    version: i16,
    rights: &Rights,
) -> DescribeConfigsResponse {
    let image = broker.store.ledger().image();
    let options = broker.live.at(&image);
    let view = View { options: &options, image: &image, node_id: broker.store.node_id() };
    let tell = Tell { synonyms: request.include_synonyms, documentation: request.include_documentation, version };
    // As in Kafka, one that has no settings refuses them all.
    let refused = request.resources.iter().try_for_each(|it| Subject::of(it.resource_type).map(drop));
    let mut left = ANSWER_BYTES_MAX;
    let mut results = Vec::new();
    for resource in request.resources {
        let named = (resource.resource_type, resource.resource_name.as_str());
        let subject = refused.clone().and_then(|()| Subject::of(resource.resource_type));
        let told = subject.and_then(|subject| {
            check_allowed(rights, Operation::DescribeConfigs, named)?;
            if left == 0 { Err(Failure::too_much_for_one_answer()) } else { describe(&view, subject, &resource, tell) }
        });
        results.push(match told {
            Ok(configs) => {
                left = left.saturating_sub(configs.iter().map(bytes_of).sum());
                DescribeConfigsResult {
                    error_code: ErrorCode::None.number(),
                    error_message: None,
                    resource_type: resource.resource_type,
                    resource_name: resource.resource_name,
                    configs,
                }
            }
            Err(failure) => DescribeConfigsResult {
                error_code: failure.code().number(),
                error_message: Some(failure.to_string()),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                configs: Vec::new(),
            },
        });
    }
    DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() }
}

/// What CreateTopics tells of a topic's settings.
pub(crate) fn of_new_topic(broker: &Shared, configs: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let image = broker.store.ledger().image();
    let options = broker.live.at(&image);
    let view = View { options: &options, image: &image, node_id: broker.store.node_id() };
    let entry = |described: Described| CreatableTopicConfigs {
        name: described.setting.name.to_owned(),
        is_sensitive: described.setting.kind == Kind::Password,
        value: described.value,
        read_only: described.is_read_only,
        config_source: described.source as i8,
    };
    settings::describe_topic(&view, configs).into_iter().map(entry).collect()
}

/// What the question wants told of each setting.
#[derive(Debug, Clone, Copy)]
struct Tell {
    synonyms: bool,
    documentation: bool,
    version: i16,
}

fn describe(
    view: &View<'_>,
    subject: Subject,
    resource: &DescribeConfigsResource,
    tell: Tell,
) -> Result<Vec<DescribeConfigsResourceResult>, Failure> {
    let name = resource.resource_name.as_str();
    let described = match subject {
        Subject::Topic => settings::describe_topic(view, &topic_of(view.image, name)?),
        Subject::Broker if name.is_empty() => settings::describe_cluster(view),
        Subject::Broker => {
            check_own_id(view, name)?;
            settings::describe_broker(view)
        }
        Subject::BrokerLogger => {
            check_own_id(view, name)?;
            return Ok(vec![root_logger(tell)]);
        }
        Subject::Group if name.is_empty() => {
            return Err(Failure::InvalidRequest("Group name must not be empty".to_owned()));
        }
        Subject::Group => {
            let set = view.image.settings.get(&SettingsScope::Group(name.to_owned()));
            settings::describe_group(view, set.map(|set| &**set).unwrap_or(&BTreeMap::new()))
        }
        Subject::ClientMetrics if name.is_empty() => {
            return Err(Failure::InvalidRequest("Client metrics subscription name must not be empty".to_owned()));
        }
        Subject::ClientMetrics => {
            let set = view.image.settings.get(&SettingsScope::ClientMetrics(name.to_owned()));
            settings::describe_client_metrics(set.map(|set| &**set).unwrap_or(&BTreeMap::new()))
        }
    };
    let wanted: Option<BTreeSet<&str>> =
        resource.configuration_keys.as_ref().map(|names| names.iter().map(String::as_str).collect());
    let is_wanted = |described: &Described| {
        wanted.as_ref().is_none_or(|names| names.is_empty() || names.contains(described.setting.name))
    };
    Ok(described.into_iter().filter(is_wanted).map(|described| told(described, tell)).collect())
}

fn topic_of(image: &Image, name: &str) -> Result<BTreeMap<String, String>, Failure> {
    topic_name::check(name).map_err(Failure::InvalidTopic)?;
    image.topic(name).map(|topic| topic.configs.clone()).ok_or(Failure::UnknownPartition)
}

/// Whether the caller may do that with such a thing's settings. What brokers and subscriptions have is the cluster's.
pub(crate) fn check_allowed(rights: &Rights, operation: Operation, (kind, name): (i8, &str)) -> Result<(), Failure> {
    match kind {
        TOPIC => rights.check(operation, Resource::Topic, name),
        GROUP => rights.check(operation, Resource::Group, name),
        BROKER | BROKER_LOGGER | CLIENT_METRICS => rights.check_cluster(operation),
        // It is told what else is wrong with it.
        _ => Ok(()),
    }
}

/// Each broker speaks for itself only, as in Kafka: what it was started with is known to no other.
pub(crate) fn check_own_id(view: &View<'_>, name: &str) -> Result<(), Failure> {
    let own = view.node_id.0;
    match name.parse::<i32>() {
        Err(_) => Err(Failure::InvalidRequest(format!("Node id must be an integer, but it is: {name}"))),
        Ok(id) if id != own => {
            Err(Failure::InvalidRequest(format!("Unexpected broker id, expected {own}, but received {name}")))
        }
        Ok(_) => Ok(()),
    }
}

/// One level holds for all that is logged; it is chosen at the start.
fn root_logger(tell: Tell) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult {
        name: "root".to_owned(),
        value: Some(LevelFilter::current().to_string().to_uppercase()),
        read_only: true,
        config_source: since(tell, SOURCE_VERSION, SOURCE_LOGGER, NO_SOURCE),
        config_type: KIND_UNKNOWN,
        documentation: tell
            .documentation
            .then(|| "The level of the broker's log; MILLSTREAM_LOG says it at the start.".to_owned()),
        ..DescribeConfigsResourceResult::default()
    }
}

fn told(described: Described, tell: Tell) -> DescribeConfigsResourceResult {
    let synonyms = described.synonyms.iter().filter(|_| tell.synonyms).map(|synonym| DescribeConfigsSynonym {
        name: synonym.name.to_owned(),
        value: synonym.value.clone(),
        source: synonym.source as i8,
    });
    DescribeConfigsResourceResult {
        name: described.setting.name.to_owned(),
        read_only: described.is_read_only,
        // Sources came with version 1, and took the place of this flag.
        is_default: since(tell, SOURCE_VERSION, false, described.source == settings::Source::Default),
        config_source: since(tell, SOURCE_VERSION, described.source as i8, NO_SOURCE),
        is_sensitive: described.setting.kind == Kind::Password,
        synonyms: synonyms.collect(),
        config_type: since(tell, KIND_VERSION, number_of(described.setting.kind), KIND_UNKNOWN),
        documentation: tell.documentation.then(|| described.documentation()),
        value: described.value,
    }
}

/// What a field has from this version on, or else.
fn since<T>(tell: Tell, version: i16, value: T, before: T) -> T {
    if tell.version >= version { value } else { before }
}

fn number_of(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::String => 2,
        Kind::Int => 3,
        Kind::Short => 4,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
        Kind::Class => 8,
        Kind::Password => 9,
    }
}

fn bytes_of(entry: &DescribeConfigsResourceResult) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let synonyms = entry.synonyms.iter().map(|synonym| ENTRY_BYTES + synonym.name.len() + text(&synonym.value));
    ENTRY_BYTES + entry.name.len() + text(&entry.value) + text(&entry.documentation) + synonyms.sum::<usize>()
}
