//! Kafka's settings of brokers, topics, groups and subscriptions to clients' metrics: one table of all names, what becomes of each here, and its values. Pure.
//!
//! Nothing is accepted that silently does nothing. A setting is *honoured*, or *without object here* (what it tunes does not exist
//! in this architecture, or not yet: it is kept and shown, with one log line), or *refused* with the reason, unless it is given
//! Kafka's default, which changes nothing, with one log line too. Unknown names are refused with the nearest known one. `docs/configuration.md` is made from these
//! tables.
//!
//! `honoured` puts values where they act, `value` reads them, `live` is what acts at the moment, `describe` tells it, `change` says
//! what a request to change it comes to.

pub(crate) mod change;
mod consumer_times;
mod describe;
pub mod document;
mod group_check;
mod honoured;
mod honoured_groups;
mod honoured_line;
mod honoured_quotas;
mod honoured_security;
mod honoured_share_partitions;
mod honoured_shares;
mod honoured_streams;
mod jaas;
mod listener;
mod live;
mod metrics_check;
mod nearest;
mod shares;
mod streams_times;
mod table;
mod value;

pub(crate) use change::{Change, Changes, Operation, Wanted, Wrong};
pub use consumer_times::ConsumerBounds;
pub(crate) use consumer_times::{consumer_times, share_times};
pub(crate) use describe::{Described, Source, View, broker as describe_broker, cluster as describe_cluster};
pub(crate) use describe::{
    client_metrics as describe_client_metrics, group as describe_group, topic as describe_topic,
};
pub(crate) use group_check::check as check_group;
pub use honoured::apply;
pub(crate) use honoured::check_lags;
pub(crate) use honoured_groups::{serves_consumer_groups, serves_streams_groups};
pub use jaas::login_of;
pub use listener::ListenerSettings;
pub(crate) use live::Live;
pub(crate) use metrics_check::check as check_client_metrics;
pub use nearest::nearest;
pub use shares::ShareLimits;
pub(crate) use shares::{ShareSettings, share_settings};
pub use streams_times::StreamsBounds;
pub(crate) use streams_times::streams_times;
pub(crate) use value::list;

/// A value may be kept in the ledger for good, so it is no longer than this.
const VALUE_BYTES_MAX: usize = 32 * 1024;

/// One setting of Kafka's.
#[derive(Debug)]
pub struct Setting {
    /// Kafka's name.
    pub name: &'static str,
    /// Kafka's type.
    pub kind: Kind,
    /// Kafka's default as text. `None`: none.
    pub default: Option<&'static str>,
    /// Which values it may have.
    pub values: Values,
    /// When a change acts in Kafka.
    pub update: Update,
    /// Whether Kafka tells of it unasked.
    pub is_listed: bool,
    /// What becomes of it here.
    pub fate: Fate,
    /// What it says, in one sentence.
    pub about: &'static str,
}

/// Kafka's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "Kafka's words")]
pub enum Kind {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

/// Which values a setting may have, beyond its type.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// Any.
    Any,
    /// Any but the empty text.
    NotEmpty,
    /// Numbers from this one on.
    From(i64),
    /// Numbers from the first to the second.
    Within(i64, i64),
    /// The same for decimal numbers.
    Fraction(f64, f64),
    /// One of these; of a list, all elements.
    OneOf(&'static [&'static str]),
    /// The same, in capitals or not.
    OneOfAnyCase(&'static [&'static str]),
    /// From 1 to 9, or -1.
    GzipLevel,
    /// `partition:broker` pairs, or `*`.
    ThrottledReplicas,
    /// `latest`, `earliest` or `by_duration:` and a duration.
    OffsetReset,
}

/// When a change acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// With the next start.
    ReadOnly,
    /// At once, for one broker only.
    PerBroker,
    /// At once, for one broker or for all.
    ClusterWide,
    /// At once: a topic's or a group's.
    Always,
}

/// What becomes of a setting here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The broker acts on it.
    Honoured,
    /// What it tunes does not exist, for that reason.
    WithoutObject(&'static str),
    /// Accepting it would break a promise; the text says what to do. Kafka's default may be given, as files made for Kafka do: it changes
    /// nothing.
    Refused(&'static str),
}

/// Whose settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Brokers'.
    Broker,
    /// Topics'.
    Topic,
    /// Groups'.
    Group,
    /// Subscriptions' to clients' metrics.
    ClientMetrics,
}

impl Scope {
    /// All of them.
    pub fn settings(self) -> impl Iterator<Item = &'static Setting> {
        let tables: &[(&str, &[Setting])] = match self {
            Scope::Broker => &table::BROKER,
            Scope::Topic => &TOPIC,
            Scope::Group => &GROUP,
            Scope::ClientMetrics => &CLIENT_METRICS,
        };
        tables.iter().flat_map(|(_, settings)| settings.iter())
    }

    /// The one of this name.
    #[must_use]
    pub fn find(self, name: &str) -> Option<&'static Setting> {
        self.settings().find(|setting| setting.name == name)
    }

    /// What is said of a name that is none. Scripts know how it begins in Kafka.
    #[must_use]
    pub fn unknown(self, name: &str) -> String {
        let word = match self {
            Scope::Broker => "broker",
            Scope::Topic => "topic",
            Scope::Group => "group",
            Scope::ClientMetrics => return format!("Unknown client metrics configuration: {name}"),
        };
        let meant = self.counterpart(name).or_else(|| nearest(name, self.settings().map(|setting| setting.name)));
        match meant {
            Some(close) => format!("Unknown {word} config name: {name}; did you mean {close}?"),
            None => format!("Unknown {word} config name: {name}; docs/configuration.md names all"),
        }
    }

    /// The setting that says the same here as one of that name does elsewhere: a topic's for one of brokers that holds where topics do not
    /// say, and the other way round; and so for groups.
    fn counterpart(self, name: &str) -> Option<&'static str> {
        match self {
            Scope::Topic => {
                let mut names = self.settings().map(|setting| setting.name);
                names.find(|topic| describe::topic_synonyms(topic).contains(&name))
            }
            Scope::Broker => {
                let of_groups = || {
                    Scope::Group.find(name)?;
                    self.find(&format!("group.{name}")).map(|setting| setting.name)
                };
                describe::topic_synonyms(name).first().copied().or_else(of_groups)
            }
            Scope::Group => name.strip_prefix("group.").and_then(|name| self.find(name)).map(|setting| setting.name),
            Scope::ClientMetrics => None,
        }
    }
}

static TOPIC: [(&str, &[Setting]); 1] = [("Topics", table::TOPIC)];
static GROUP: [(&str, &[Setting]); 1] = [("Groups", table::GROUP)];
static CLIENT_METRICS: [(&str, &[Setting]); 1] = [("Clients' metrics", table::CLIENT_METRICS)];

impl Setting {
    /// Whether it may have this value here: what becomes of it, or why not.
    ///
    /// # Errors
    /// The text is no value of its type, or not one that it may have, or the setting is refused.
    pub fn check(&self, text: &str) -> Result<Fate, String> {
        if text.len() > VALUE_BYTES_MAX {
            return Err(format!("{} is longer than {VALUE_BYTES_MAX} bytes", self.name));
        }
        value::check(self, text)?;
        match self.fate {
            Fate::Refused(_) if Some(text.trim()) == self.default => Ok(self.fate),
            Fate::Refused(reason) => Err(format!("{} can't be {}: {reason}", self.name, self.printable(text))),
            fate => Ok(fate),
        }
    }

    /// The value as logs and messages may have it, passwords in Kafka's word for them.
    #[must_use]
    pub fn printable<'a>(&self, text: &'a str) -> &'a str {
        if self.kind == Kind::Password { "[hidden]" } else { text }
    }

    /// That it does not act, and why: for a log line.
    #[must_use]
    pub fn caveat(&self) -> Option<String> {
        match self.fate {
            Fate::WithoutObject(reason) => Some(format!("is kept and shown, but is without object here: {reason}")),
            Fate::Refused(reason) => Some(format!("is Kafka's default and changes nothing here: {reason}")),
            Fate::Honoured => None,
        }
    }
}

#[cfg(test)]
mod tests;
