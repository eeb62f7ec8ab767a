//! StreamsGroupHeartbeat (KIP-1071): a member joins, is there, or leaves, and is told which tasks it is to run; answered when that is durable.
//! Topics that the application needs for itself are made with the heartbeat that finds them missing.

use crate::Shared;
use crate::checks::Steps;
use crate::coordinator::with_topics;
use crate::error::Failure;
use crate::handler::consumer_group_heartbeat::{not_a_member, not_served};
use crate::memory::COPIES;
use crate::rights::Rights;
use crate::settings;
use crate::topic_name;
use crate::topics::{self, NewTopic};
use control_core::SettingsScope;
use coordinator_core::{
    EndpointPartitions, EndpointsSize, GroupError, Groups, NewInternalTopic, ReportedOffsets, StreamsHeartbeatAnswer,
    StreamsHeartbeatRequest, StreamsStatus, StreamsStatusCode, StreamsTimes, TaskSets, Tasks,
};
use protocol::api::{Operation, Resource};
use protocol::messages::streams_group_heartbeat_request::{
    StreamsGroupHeartbeatRequest, TaskIds, TaskOffset, Topology,
};
use protocol::messages::streams_group_heartbeat_response::{
    Endpoint, EndpointToPartitions, Status, StreamsGroupHeartbeatResponse, TaskIds as AssignedIds, TopicPartition,
};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// What a task or a partition takes in an answer, as a value and as bytes, and what a subtopology or a topic does beside its name.
const NUMBER_BYTES: usize = COPIES * size_of::<i32>();
const NAME_BYTES: usize = COPIES * size_of::<TopicPartition>();

/// Clients of the version before have no use for how often they are to say how far their tasks are.
const TELLS_TASK_OFFSETS_FROM: i16 = 1;

/// How long the ledger has to take a topic. The member asks again anyway.
const CREATION_WAIT_MAX: Duration = Duration::from_secs(10);

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: StreamsGroupHeartbeatRequest,
    version: i16,
    client: (Option<String>, &Rights),
) -> (StreamsGroupHeartbeatResponse, Option<OwnedSemaphorePermit>) {
    let (group, member) = (request.group_id.clone(), request.member_id.clone());
    let rights = client.1;
    match beat(broker, request, client).await {
        Ok(mut answer) => {
            if version < TELLS_TASK_OFFSETS_FROM {
                answer.task_offset_interval_ms = 0;
            }
            match may_not_create(rights, &answer.create) {
                denied if denied.is_empty() => {
                    let failed = create(broker, &answer.create).await;
                    tell_failed(&mut answer.status, "Creation failed:", failed);
                }
                denied => tell_failed(&mut answer.status, "Unauthorized to CREATE on topics", denied),
            }
            // Who runs what may be very much: it is made when there is memory for it.
            let size = if answer.tells_endpoints { endpoints_size(broker, &group) } else { EndpointsSize::default() };
            let memory = broker.answer_memory.take_ahead(answer_bytes(&answer) + endpoints_bytes(size)).await;
            let endpoints = if answer.tells_endpoints { endpoints(broker, &group, size) } else { None };
            (told(answer, endpoints).await, memory)
        }
        Err(failure) => {
            let response = StreamsGroupHeartbeatResponse {
                error_code: failure.code().number(),
                error_message: words(&failure, &group, &member),
                ..StreamsGroupHeartbeatResponse::default()
            };
            (response, None)
        }
    }
}

async fn beat(
    broker: &Shared,
    request: StreamsGroupHeartbeatRequest,
    (client_id, rights): (Option<String>, &Rights),
) -> Result<StreamsHeartbeatAnswer, Failure> {
    if !settings::serves_streams_groups(&broker.options) {
        return Err(not_served());
    }
    rights.check(Operation::Read, Resource::Group, &request.group_id)?;
    check_topics(rights, request.topology.as_ref()).await?;
    let tags = request.client_tags.map(|tags| tags.into_iter().map(|tag| (tag.key, tag.value)).collect());
    let mut task_offsets = ReportedOffsets::default();
    task_offsets.offsets = offsets_of(request.task_offsets, &mut task_offsets.is_doubled).await;
    task_offsets.ends = offsets_of(request.task_end_offsets, &mut task_offsets.is_doubled).await;
    let request = StreamsHeartbeatRequest {
        times: Some(times_of(broker, &request.group_id)),
        group: request.group_id,
        member_id: request.member_id,
        member_epoch: request.member_epoch,
        endpoint_epoch: request.endpoint_information_epoch,
        instance_id: request.instance_id,
        rack_id: request.rack_id,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        client_id: client_id.unwrap_or_default(),
        client_host: format!("/{}", rights.caller.peer.address.ip()),
        topology: request.topology,
        active: tasks_of(request.active_tasks).await,
        standby: tasks_of(request.standby_tasks).await,
        warmup: tasks_of(request.warmup_tasks).await,
        process_id: request.process_id,
        endpoint: request.user_endpoint,
        tags,
        task_offsets,
        shuts_down: request.shutdown_application,
    };
    let shard = broker.coordinators.shard(broker, &request.group).await?;
    // Who waits for room in the log is not gone meanwhile.
    shard.apply(broker, |groups, now, _| groups.streams_is_there(now, &request));
    let decided = shard.run(broker, |groups, now, fx| {
        with_topics(broker, |topics| groups.streams_heartbeat(now, topics, &request, fx))
    });
    Ok(decided.await??)
}

/// A topology is of topics that there may be, and of all of them the caller must be allowed to know. Which of it is told first is as in Kafka.
async fn check_topics(rights: &Rights, topology: Option<&Topology>) -> Result<(), Failure> {
    let invalid = |why| Failure::Group(GroupError::InvalidTopology(why));
    let (mut wrong, mut denied) = (Ok(()), Ok(()));
    let mut steps = Steps::default();
    for name in topology.into_iter().flat_map(topics_of) {
        steps.next().await;
        if topic_name::is_internal(name) {
            return Err(invalid("Use of Kafka internal topics in a Kafka Streams topology is prohibited."));
        }
        if topic_name::check(name).is_err() {
            wrong = Err(invalid("A name in the topology is not a valid topic name."));
        }
        denied = denied.and_then(|()| rights.check(Operation::Describe, Resource::Topic, name));
    }
    wrong.and(denied)
}

/// All topics that a topology names.
pub(super) fn topics_of(topology: &Topology) -> impl Iterator<Item = &String> {
    topology.subtopologies.iter().flat_map(|it| {
        let of_its_own = it.repartition_source_topics.iter().chain(&it.state_changelog_topics).map(|topic| &topic.name);
        it.source_topics.iter().chain(&it.repartition_sink_topics).chain(of_its_own)
    })
}

/// What is told beside the code: Kafka's words where clients may look at them.
fn words(failure: &Failure, group: &str, member: &str) -> Option<String> {
    match failure {
        // Nothing is said of a protocol that is switched off.
        Failure::UnsupportedVersion(_) => None,
        Failure::Group(GroupError::NotFound) => Some(format!("Streams group {group} not found.")),
        Failure::Group(GroupError::UnknownMember) => Some(not_a_member(member, group)),
        Failure::Group(GroupError::NotStreams) => Some(format!("Group {group} is not a streams group.")),
        other => Some(other.to_string()),
    }
}

/// The periods of a group, of its own or of all.
fn times_of(broker: &Shared, group: &str) -> StreamsTimes {
    let image = broker.store.ledger().image();
    let set = image.settings.get(&SettingsScope::Group(group.to_owned()));
    settings::streams_times(&broker.live.at(&image), set.map(AsRef::as_ref))
}

/// Each task once; subtopologies without any are left out.
async fn tasks_of(ids: Option<Vec<TaskIds>>) -> Option<Tasks> {
    let (mut tasks, mut steps) = (Tasks::new(), Steps::default());
    for ids in ids?.into_iter().filter(|ids| !ids.partitions.is_empty()) {
        let of_subtopology = tasks.entry(ids.subtopology_id).or_default();
        for task in ids.partitions {
            steps.next().await;
            of_subtopology.insert(task);
        }
    }
    Some(tasks)
}

/// How far each task is, in order; whether one is named twice. As flat as they come: a map for each name would take ten times what was sent.
async fn offsets_of(said: Option<Vec<TaskOffset>>, is_doubled: &mut bool) -> Option<Vec<coordinator_core::TaskOffset>> {
    let said = said?;
    let (mut offsets, mut steps) = (Vec::with_capacity(said.len()), Steps::default());
    for TaskOffset { subtopology_id, partition, offset } in said {
        steps.next().await;
        offsets.push(coordinator_core::TaskOffset { subtopology_id, partition, offset });
    }
    let in_order = |one: &coordinator_core::TaskOffset, other: &coordinator_core::TaskOffset| {
        (&one.subtopology_id, one.partition).cmp(&(&other.subtopology_id, other.partition))
    };
    offsets.sort_unstable_by(in_order);
    *is_doubled |= offsets.array_windows().any(|[one, other]| in_order(one, other).is_eq());
    Some(offsets)
}

/// Makes the topics; which of them could not be made, and why. One that somebody else has made meanwhile is there.
async fn create(broker: &Shared, topics: &[NewInternalTopic]) -> Vec<String> {
    let mut failed = Vec::new();
    for topic in topics {
        let new = NewTopic {
            name: topic.name.clone(),
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            leaders: Vec::new(),
            configs: topic.configs.clone(),
        };
        let image = broker.store.ledger().image();
        let created = match topics::check(broker, &image, &new) {
            Ok(checked) => topics::create(broker, new, &checked, CREATION_WAIT_MAX).await,
            Err(failure) => Err(failure),
        };
        match created {
            // Also where the ledger is slow: the next heartbeat finds it.
            Ok(()) | Err(Failure::TopicExists(_) | Failure::TimedOut) => {}
            Err(failure) => failed.push(format!("{} ({failure})", topic.name)),
        }
    }
    failed
}

/// Which topics the caller may not have made: then none is, as in Kafka.
fn may_not_create(rights: &Rights, topics: &[NewInternalTopic]) -> Vec<String> {
    if topics.is_empty() || rights.allow_cluster(Operation::Create) {
        return Vec::new();
    }
    let names = topics.iter().map(|topic| topic.name.clone());
    names.filter(|name| !rights.allow(Operation::Create, Resource::Topic, name)).collect()
}

fn tell_failed(status: &mut [StreamsStatus], what: &str, failed: Vec<String>) {
    let missing = status.iter_mut().find(|status| status.code == StreamsStatusCode::MissingInternalTopics);
    if let Some(missing) = missing.filter(|_| !failed.is_empty()) {
        missing.detail = format!("{}; {what} {}.", missing.detail, failed.join(", "));
    }
}

fn answer_bytes(answer: &StreamsHeartbeatAnswer) -> usize {
    let of_tasks = |tasks: &Tasks| -> usize {
        tasks.iter().map(|(id, tasks)| NAME_BYTES + COPIES * id.len() + tasks.len() * NUMBER_BYTES).sum()
    };
    let of_sets = |sets: &TaskSets| of_tasks(&sets.active) + of_tasks(&sets.standby) + of_tasks(&sets.warmup);
    let status = answer.status.iter().map(|status| NAME_BYTES + COPIES * status.detail.len()).sum::<usize>();
    answer.tasks.as_ref().map_or(0, of_sets) + status
}

/// What becomes of who runs what in an answer.
fn endpoints_bytes(EndpointsSize { entries, name_bytes, partitions }: EndpointsSize) -> usize {
    entries * NAME_BYTES + name_bytes * COPIES + partitions * NUMBER_BYTES
}

fn endpoints_size(broker: &Shared, group: &str) -> EndpointsSize {
    broker.coordinators.look(broker, group, |groups| groups.streams_endpoints_size(group)).unwrap_or_default()
}

/// Who runs what by now, and as of which epoch; none where that has become more than there is memory for, or is more than all that there is.
fn endpoints(broker: &Shared, group: &str, size: EndpointsSize) -> Option<(i32, Vec<EndpointPartitions>)> {
    let bytes = endpoints_bytes(size);
    let read = |groups: &Groups| {
        let now = endpoints_bytes(groups.streams_endpoints_size(group));
        let fits = now <= bytes && now <= broker.answer_memory.total();
        fits.then(|| with_topics(broker, |topics| groups.streams_endpoints(group, topics))).flatten()
    };
    broker.coordinators.look(broker, group, read).flatten()
}

async fn told(
    answer: StreamsHeartbeatAnswer,
    told: Option<(i32, Vec<EndpointPartitions>)>,
) -> StreamsGroupHeartbeatResponse {
    let status = answer.status.into_iter();
    let status: Vec<Status> =
        status.map(|it| Status { status_code: it.code.number(), status_detail: it.detail }).collect();
    let (endpoint_epoch, told) = match told {
        Some((epoch, told)) => (epoch, Some(told)),
        // It is to ask again: it knows of another epoch.
        None if answer.tells_endpoints => (answer.endpoint_epoch.wrapping_sub(1), None),
        None => (answer.endpoint_epoch, None),
    };
    let (mut endpoints, mut steps) = (told.as_ref().map(|_| Vec::new()), Steps::default());
    for endpoint in told.into_iter().flatten() {
        steps.next().await;
        endpoints.get_or_insert_default().push(told_endpoint(endpoint));
    }
    let (mut active, mut standby, mut warmup) = (None, None, None);
    if let Some(sets) = answer.tasks {
        (active, standby, warmup) = (Some(ids(sets.active)), Some(ids(sets.standby)), Some(ids(sets.warmup)));
    }
    StreamsGroupHeartbeatResponse {
        member_id: answer.member_id,
        member_epoch: answer.member_epoch,
        heartbeat_interval_ms: answer.heartbeat_interval_ms,
        task_offset_interval_ms: answer.task_offset_interval_ms,
        acceptable_recovery_lag: answer.acceptable_recovery_lag,
        status: Some(status),
        active_tasks: active,
        standby_tasks: standby,
        warmup_tasks: warmup,
        endpoint_information_epoch: endpoint_epoch,
        partitions_by_user_endpoint: endpoints,
        ..StreamsGroupHeartbeatResponse::default()
    }
}

fn ids(tasks: Tasks) -> Vec<AssignedIds> {
    let of = |(subtopology_id, tasks): (String, std::collections::BTreeSet<i32>)| AssignedIds {
        subtopology_id,
        partitions: tasks.into_iter().collect(),
    };
    tasks.into_iter().map(of).collect()
}

fn told_endpoint(EndpointPartitions { endpoint, active, standby }: EndpointPartitions) -> EndpointToPartitions {
    let partitions = |all: Vec<(String, Vec<i32>)>| {
        all.into_iter().map(|(topic, partitions)| TopicPartition { topic, partitions }).collect()
    };
    EndpointToPartitions {
        user_endpoint: Endpoint { host: endpoint.host, port: endpoint.port },
        active_partitions: partitions(active),
        standby_partitions: partitions(standby),
    }
}
