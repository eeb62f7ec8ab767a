//! How many partitions internal topics are to have: as the topology says, or as many as the topics have from which their records come; and
//! as many as those have that are joined with them.

use super::configure::sources;
use crate::consumer::Topics;
use protocol::messages::streams_group_heartbeat_request::{CopartitionGroup, Subtopology, Topology};
use std::collections::{BTreeMap, BTreeSet};

/// Why that can't be told.
pub(super) enum Problem {
    /// The topology is wrong whatever the topics are like.
    Topology(&'static str),
    /// Topics have other numbers of partitions than they are to have, in Kafka's words.
    Topics(String),
}

/// Numbers of partitions: of topics that are there, and those that were decided.
struct Counts<'a> {
    topology: &'a Topology,
    topics: &'a Topics<'a>,
    decided: BTreeMap<String, i32>,
}

/// The number of partitions that each internal topic is to have. All source topics that are not internal are there.
pub(super) fn decide(topology: &Topology, topics: &Topics<'_>) -> Result<BTreeMap<String, i32>, Problem> {
    let mut counts = Counts { topology, topics, decided: BTreeMap::new() };
    counts.repartition_topics()?;
    let read = Repartition::of(topology);
    for subtopology in &topology.subtopologies {
        for group in &subtopology.copartition_groups {
            counts.copartition(&read, &names_of(subtopology, group))?;
        }
    }
    counts.changelogs()?;
    Ok(counts.decided)
}

/// Repartition topics that are read.
struct Repartition<'a> {
    all: BTreeSet<&'a String>,
    /// Those of which the topology says how many partitions they have.
    fixed: BTreeSet<&'a String>,
}

impl Repartition<'_> {
    fn of(topology: &Topology) -> Repartition<'_> {
        let read = || topology.subtopologies.iter().flat_map(|it| &it.repartition_source_topics);
        Repartition {
            all: read().map(|topic| &topic.name).collect(),
            fixed: read().filter(|it| it.partitions != 0).map(|it| &it.name).collect(),
        }
    }
}

fn names_of<'a>(subtopology: &'a Subtopology, group: &CopartitionGroup) -> BTreeSet<&'a String> {
    let at = |index: &i16| usize::try_from(*index).ok();
    let sources = group.source_topics.iter().filter_map(|index| subtopology.source_topics.get(at(index)?));
    let repartition = group.repartition_source_topics.iter();
    let repartition = repartition.filter_map(|index| subtopology.repartition_source_topics.get(at(index)?));
    sources.chain(repartition.map(|topic| &topic.name)).collect()
}

impl Counts<'_> {
    fn of(&self, name: &String) -> Option<i32> {
        (self.topics.find)(name).map(|topic| topic.partitions).or_else(|| self.decided.get(name).copied())
    }

    /// Those that the topology says; of others, the most that any topic has of those that the subtopology reads which writes to them.
    ///
    /// As in Kafka's passes over the subtopologies one is decided when something is known that it reads, in the pass under way if it comes
    /// later there, else in the next one. Each is looked at when it can be decided, not in each pass: a topology may be a long chain that is
    /// told from its end.
    fn repartition_topics(&mut self) -> Result<(), Problem> {
        let topology = self.topology;
        let read = || topology.subtopologies.iter().flat_map(|it| &it.repartition_source_topics);
        for topic in read().filter(|topic| topic.partitions != 0) {
            self.decided.insert(topic.name.clone(), topic.partitions);
        }
        let mut readers = BTreeMap::<&str, Vec<usize>>::new();
        for (place, subtopology) in topology.subtopologies.iter().enumerate() {
            for topic in &subtopology.repartition_source_topics {
                readers.entry(&topic.name).or_default().push(place);
            }
        }
        let mut due: BTreeSet<(usize, usize)> = (0..topology.subtopologies.len()).map(|place| (0, place)).collect();
        while let Some((pass, place)) = due.pop_first() {
            let subtopology = &topology.subtopologies[place];
            let Some(most) = self.most_read(subtopology) else { continue };
            for sink in &subtopology.repartition_sink_topics {
                if !self.decided.contains_key(sink) {
                    self.decided.insert(sink.clone(), most);
                    let readers = readers.remove(sink.as_str()).unwrap_or_default().into_iter();
                    due.extend(readers.map(|reader| (pass + usize::from(reader <= place), reader)));
                }
            }
        }
        let mut written = topology.subtopologies.iter().flat_map(|it| &it.repartition_sink_topics);
        if written.any(|sink| !self.decided.contains_key(sink)) {
            return Err(Problem::Topology(
                "Failed to compute number of partitions for all repartition topics. There may be loops in the topology that cannot be resolved.",
            ));
        }
        if read().any(|topic| !self.decided.contains_key(&topic.name)) {
            return Err(Problem::Topology(
                "Failed to compute number of partitions for all repartition topics, because a repartition source topic is never used as a sink topic.",
            ));
        }
        Ok(())
    }

    fn most_read(&self, subtopology: &Subtopology) -> Option<i32> {
        let repartition = subtopology.repartition_source_topics.iter();
        let repartition = repartition.filter_map(|topic| self.decided.get(&topic.name).copied());
        let sources = subtopology.source_topics.iter().filter_map(|name| self.of(name));
        repartition.chain(sources).max()
    }

    /// Topics that are joined have the same number of partitions: that of those which are not internal, or of those for which the topology
    /// says it, or the most that any has.
    fn copartition(&mut self, read: &Repartition<'_>, group: &BTreeSet<&String>) -> Result<(), Problem> {
        let Repartition { all, fixed } = read;
        let counts = |names: &mut dyn Iterator<Item = &&String>| -> BTreeMap<String, i32> {
            names.filter_map(|name| Some(((*name).clone(), self.of(name)?))).collect()
        };
        let repartition = counts(&mut group.iter().filter(|name| all.contains(*name)));
        let external = counts(&mut group.iter().filter(|name| !all.contains(*name)));
        let of_fixed = counts(&mut group.iter().filter(|name| fixed.contains(*name)));
        let deciding = if external.is_empty() { &of_fixed } else { &external };
        let first = deciding.values().next().copied();
        if deciding.values().any(|count| Some(*count) != first) {
            let told = if external.is_empty() { &repartition } else { &external };
            let told: Vec<String> = told.iter().map(|(name, count)| format!("{name}={count}")).collect();
            let told = told.join(", ");
            return Err(Problem::Topics(format!(
                "Following topics do not have the same number of partitions: [{{{told}}}]"
            )));
        }
        let Some(number) = first.or(repartition.values().max().copied()) else { return Ok(()) };
        for (name, count) in repartition {
            if count != number && fixed.contains(&name) {
                return Err(Problem::Topics(format!(
                    "Number of partitions [{count}] of repartition topic [{name}] doesn't match number of partitions [{number}] of the source topic."
                )));
            }
            self.decided.insert(name, number);
        }
        Ok(())
    }

    /// A changelog has a partition for each task.
    fn changelogs(&mut self) -> Result<(), Problem> {
        for subtopology in &self.topology.subtopologies {
            let Some(most) = sources(subtopology).filter_map(|name| self.of(name)).max() else {
                return Err(Problem::Topology("A subtopology has no source topics."));
            };
            for topic in &subtopology.state_changelog_topics {
                self.decided.insert(topic.name.clone(), most);
            }
        }
        Ok(())
    }
}
