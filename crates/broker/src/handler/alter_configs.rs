//! AlterConfigs and IncrementalAlterConfigs: each resource on its own, all or none of its settings.
//!
//! What a change comes to is decided in `settings::change`; here the resource is found, what only a running broker knows is checked,
//! and the ledger is asked. An answer without an error means that the ledger holds the change: from then on it acts here, and
//! elsewhere as soon as that broker has read so far. One change at a time is made by a broker, so that a list grows by every
//! addition; where two brokers change one list at once, the later one counts.

use crate::Shared;
use crate::answer_bounds::Reasons;
use crate::checks::in_steps;
use crate::error::Failure;
use crate::handler::describe_configs::{self, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::requests::{self, Named};
use crate::rights::Rights;
use crate::settings::{self, Change, Changes, Described, Operation, Scope, Update, View, Wanted, Wrong, change};
use crate::{telemetry, topic_name, topic_settings, topics, wals};
use base::{NodeEpoch, TopicId};
use control_core::{Command, Image, SettingsScope};
use futures::stream::StreamExt;
use protocol::messages::alter_configs_request::AlterConfigsRequest;
use protocol::messages::alter_configs_response::{AlterConfigsResourceResponse, AlterConfigsResponse};
use protocol::messages::incremental_alter_configs_request::IncrementalAlterConfigsRequest;
use protocol::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse as ChangedResource, IncrementalAlterConfigsResponse,
};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

/// The requests name no timeout of their own.
const ALTER_WAIT_MAX: Duration = Duration::from_secs(30);

/// What the ledger keeps of the name of a group or a subscription; many may have settings.
const NAME_BYTES_MAX: usize = 1024;

/// What has settings: its kind by Kafka's number, and its name.
type Resource = (i8, String);

/// Says all settings that a resource shall have.
pub(crate) async fn replace(broker: &Shared, request: AlterConfigsRequest, rights: &Rights) -> AlterConfigsResponse {
    let wanted = in_steps(request.resources).map(|resource| {
        let pairs = resource.configs.into_iter().map(|config| (config.name, config.value)).collect();
        ((resource.resource_type, resource.resource_name), Ok(Wanted::Exactly(pairs)))
    });
    let answer = |(resource_type, resource_name), (error_code, error_message)| AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type,
        resource_name,
    };
    let responses = alter((broker, rights), wanted.collect().await, request.validate_only, answer).await;
    AlterConfigsResponse { responses, ..AlterConfigsResponse::default() }
}

/// Says what changes.
pub(crate) async fn change(
    broker: &Shared,
    request: IncrementalAlterConfigsRequest,
    rights: &Rights,
) -> IncrementalAlterConfigsResponse {
    let wanted = in_steps(request.resources).map(|resource| {
        let change = |config: protocol::messages::incremental_alter_configs_request::AlterableConfig| {
            let unknown = || Failure::InvalidRequest(format!("Unknown operation {}", config.config_operation));
            let operation = Operation::of(config.config_operation).ok_or_else(unknown)?;
            Ok(Change { name: config.name, operation, value: config.value })
        };
        let changes: Result<Vec<Change>, Failure> = resource.configs.into_iter().map(change).collect();
        ((resource.resource_type, resource.resource_name), changes.map(Wanted::Changes))
    });
    let answer = |(resource_type, resource_name), (error_code, error_message)| ChangedResource {
        error_code,
        error_message,
        resource_type,
        resource_name,
    };
    let responses = alter((broker, rights), wanted.collect().await, request.validate_only, answer).await;
    IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }
}

/// `answer` is given each resource with what became of it: its code, and why in words.
async fn alter<A>(
    (broker, rights): (&Shared, &Rights),
    wanted: Vec<(Resource, Result<Wanted, Failure>)>,
    validate_only: bool,
    answer: impl Fn(Resource, (i16, Option<String>)) -> A,
) -> Vec<A> {
    let named = requests::named(wanted.iter().map(|(resource, _)| resource).collect()).await;
    let checked = requests::check_names(&named);
    let mut reasons = Reasons::default();
    let mut wanted = pin!(in_steps(wanted.into_iter().zip(named)));
    let mut answers = Vec::new();
    if checked.is_err() {
        while let Some(((resource, _), _)) = wanted.next().await {
            answers.push(answer(resource, reasons.of(&checked)));
        }
        return answers;
    }
    let _one_at_a_time = broker.altering.lock().await;
    let until = broker.clock.now().plus(ALTER_WAIT_MAX);
    let image = &broker.store.ledger().image();
    let mut outcomes = wanted
        .enumerate()
        .map(async |(place, ((resource, wanted), named))| {
            let asked = (resource.0, resource.1.as_str());
            let planned = if named == Named::Once {
                describe_configs::check_allowed(rights, protocol::api::Operation::AlterConfigs, asked)
                    .and(wanted)
                    .and_then(|wanted| plan(broker, image, &resource, wanted))
            } else {
                Err(Failure::InvalidRequest("Each resource must appear at most once.".to_owned()))
            };
            let outcome = match planned {
                Ok(command) if !validate_only => match requests::time_left(broker, until, place) {
                    Ok(left) => topics::submit(broker, command, left).await,
                    Err(failure) => Err(failure),
                },
                Ok(_) => Ok(()),
                Err(failure) => Err(failure),
            };
            (resource, outcome)
        })
        .buffered(requests::CHANGES_TOGETHER_MAX);
    while let Some((resource, outcome)) = outcomes.next().await {
        answers.push(answer(resource, reasons.of(&outcome)));
    }
    answers
}

fn plan(broker: &Shared, image: &Image, resource: &Resource, wanted: Wanted) -> Result<Command, Failure> {
    let options = broker.live.at(image);
    let view = View { options: &options, image, node_id: broker.store.node_id() };
    let (kind, name) = (resource.0, resource.1.as_str());
    match kind {
        TOPIC => plan_topic(broker, &view, name, wanted),
        BROKER if name.is_empty() => plan_brokers(broker, &view, SettingsScope::Brokers, wanted),
        BROKER => {
            describe_configs::check_own_id(&view, name)?;
            plan_brokers(broker, &view, SettingsScope::Broker(view.node_id), wanted)
        }
        GROUP => plan_group(&view, name, wanted),
        BROKER_LOGGER => Err(Failure::InvalidRequest(
            "MILLSTREAM_LOG says at the start what is logged; it can't be changed while the broker runs".to_owned(),
        )),
        CLIENT_METRICS => plan_client_metrics(view.image, name, wanted),
        other => Err(Failure::InvalidRequest(format!("Unknown resource type {other}"))),
    }
}

fn plan_topic(broker: &Shared, view: &View<'_>, name: &str, wanted: Wanted) -> Result<Command, Failure> {
    let found = view.image.topic(name);
    let none = BTreeMap::new();
    let set = found.map_or(&none, |topic| &topic.configs);
    let defaults = || settings::describe_topic(view, &BTreeMap::new());
    let planned = change::plan(Scope::Topic, set, value_in(defaults), wanted);
    // As in Kafka: what can't be asked of any topic is told before the name is looked at, and that there is no such topic last.
    if !matches!(planned, Err(Wrong::Request(_))) {
        if name.is_empty() {
            return Err(Failure::InvalidRequest("Default topic resources are not allowed.".to_owned()));
        }
        topic_name::check(name).map_err(Failure::InvalidTopic)?;
    }
    let changes = planned.map_err(failure)?;
    let topic = found.ok_or_else(|| Failure::UnknownTopic(name.to_owned()))?;
    if let Some(Some(bytes)) = changes.get(topics::BATCH_BYTES_MAX) {
        topics::check_batch_fits(broker, topics::BATCH_BYTES_MAX, bytes).map_err(Failure::InvalidConfig)?;
    }
    topic_settings::check_cleaning(&after(&topic.configs, &changes), view.options).map_err(Failure::InvalidConfig)?;
    if matches!(changes.get(wals::WAL), Some(Some(_))) {
        let owners = view.image.streams_of(topic.id).filter_map(|(_, stream)| Some(stream.owner()?.node_epoch()));
        let alive: BTreeSet<NodeEpoch> = owners.filter(|owner| view.image.is_alive(*owner)).collect();
        wals::check(view.image, alive.into_iter(), &after(&topic.configs, &changes), &broker.store)?;
    }
    tell_caveats(Scope::Topic, name, &changes);
    let id: TopicId = topic.id;
    Ok(Command::AlterTopicConfigs { id, changes })
}

fn plan_brokers(broker: &Shared, view: &View<'_>, scope: SettingsScope, wanted: Wanted) -> Result<Command, Failure> {
    let set = view.image.settings.get(&scope).map(|set| (**set).clone()).unwrap_or_default();
    check_dynamic(&scope, &wanted)?;
    let defaults = || settings::describe_broker(view);
    let changes = change::plan(Scope::Broker, &set, value_in(defaults), wanted).map_err(|wrong| match wrong {
        // Kafka has the broad code for values of brokers, and takes any name.
        Wrong::UnknownName(why) => Failure::InvalidConfig(why),
        Wrong::Config(why) | Wrong::Request(why) => Failure::InvalidRequest(why),
    })?;
    let after = after(&set, &changes);
    let tried = broker.live.tried(&view.image.settings, &scope, after).map_err(Failure::InvalidRequest)?;
    settings::check_lags(&tried).map_err(Failure::InvalidConfig)?;
    if let Some(Some(bytes)) = changes.get("message.max.bytes") {
        topics::check_batch_fits(broker, "message.max.bytes", bytes).map_err(Failure::InvalidRequest)?;
    }
    tell_caveats(Scope::Broker, "brokers", &changes);
    Ok(Command::AlterSettings { scope, changes })
}

/// What only a start can change is refused before anything else is looked at, all of it in one line; to delete it is no change.
fn check_dynamic(scope: &SettingsScope, wanted: &Wanted) -> Result<(), Failure> {
    let named: Vec<&str> = match wanted {
        Wanted::Exactly(pairs) => pairs.iter().map(|(name, _)| name.as_str()).collect(),
        Wanted::Changes(changes) => {
            let changes = changes.iter().filter(|change| change.operation != Operation::Delete);
            changes.map(|change| change.name.as_str()).collect()
        }
    };
    let read_only = |name: &&str| Scope::Broker.find(name).is_some_and(|it| it.update == Update::ReadOnly);
    let per_broker = |name: &&str| Scope::Broker.find(name).is_some_and(|it| it.update == Update::PerBroker);
    let fixed: Vec<&str> = named.iter().copied().filter(read_only).collect();
    let single: Vec<&str> = named.into_iter().filter(per_broker).collect();
    if fixed.is_empty() && *scope == SettingsScope::Brokers && !single.is_empty() {
        let single = single.join(", ");
        let wrong = format!("Cannot update these configs at default cluster level, only for a broker: [{single}]");
        return Err(Failure::InvalidRequest(wrong));
    }
    if fixed.is_empty() {
        return Ok(());
    }
    Err(Failure::InvalidRequest(format!("Cannot update these configs dynamically: [{}]", fixed.join(", "))))
}

fn plan_group(view: &View<'_>, name: &str, wanted: Wanted) -> Result<Command, Failure> {
    if name.is_empty() {
        return Err(Failure::InvalidRequest("Default group resources are not allowed.".to_owned()));
    }
    check_length("group", name)?;
    let scope = SettingsScope::Group(name.to_owned());
    let set = view.image.settings.get(&scope).map(|set| (**set).clone()).unwrap_or_default();
    let defaults = || settings::describe_group(view, &BTreeMap::new());
    let changes = change::plan(Scope::Group, &set, value_in(defaults), wanted).map_err(failure)?;
    settings::check_group(view, &changes).map_err(Failure::InvalidConfig)?;
    tell_caveats(Scope::Group, name, &changes);
    Ok(Command::AlterSettings { scope, changes })
}

fn plan_client_metrics(image: &Image, name: &str, wanted: Wanted) -> Result<Command, Failure> {
    if name.is_empty() {
        return Err(Failure::InvalidRequest("Subscription name can't be empty".to_owned()));
    }
    check_length("subscription", name)?;
    let scope = SettingsScope::ClientMetrics(name.to_owned());
    if !image.settings.contains_key(&scope) && telemetry::count(image) >= telemetry::SUBSCRIPTIONS_MAX {
        return Err(Failure::InvalidRequest(format!(
            "there are {} subscriptions already: delete one first",
            telemetry::SUBSCRIPTIONS_MAX
        )));
    }
    let set = image.settings.get(&scope).map(|set| (**set).clone()).unwrap_or_default();
    let defaults = || settings::describe_client_metrics(&BTreeMap::new());
    let changes = change::plan(Scope::ClientMetrics, &set, value_in(defaults), wanted);
    let changes = changes.and_then(|changes| settings::check_client_metrics(&changes).map(|()| changes));
    let changes = changes.map_err(|wrong| match wrong {
        Wrong::UnknownName(why) | Wrong::Request(why) => Failure::InvalidRequest(why),
        Wrong::Config(why) => Failure::InvalidConfig(why),
    })?;
    tell_caveats(Scope::ClientMetrics, name, &changes);
    Ok(Command::AlterSettings { scope, changes })
}

/// The settings once the changes are made.
fn after(set: &BTreeMap<String, String>, changes: &Changes) -> BTreeMap<String, String> {
    let mut after = set.clone();
    for (name, value) in changes {
        match value {
            Some(value) => after.insert(name.clone(), value.clone()),
            None => after.remove(name),
        };
    }
    after
}

fn check_length(what: &str, name: &str) -> Result<(), Failure> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let wrong = format!("a {what} that has settings of its own has a name of at most {NAME_BYTES_MAX} bytes");
    Err(Failure::InvalidRequest(wrong))
}

/// The value that counts where a resource has none of its own.
fn value_in(described: impl Fn() -> Vec<Described>) -> impl Fn(&str) -> Option<String> {
    move |name| described().into_iter().find(|it| it.setting.name == name).and_then(|it| it.value)
}

fn tell_caveats(scope: Scope, resource: &str, changes: &Changes) {
    for (name, value) in changes {
        let Some(value) = value else { continue };
        let Some(setting) = scope.find(name) else { continue };
        if let Some(caveat) = setting.caveat() {
            tracing::info!(resource, "{name}={} {caveat}", setting.printable(value));
        }
    }
}

fn failure(wrong: Wrong) -> Failure {
    match wrong {
        Wrong::Request(why) => Failure::InvalidRequest(why),
        Wrong::UnknownName(why) | Wrong::Config(why) => Failure::InvalidConfig(why),
    }
}
