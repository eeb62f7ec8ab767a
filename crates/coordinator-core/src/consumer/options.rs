//! Bounds and periods of consumer groups, with Kafka's names where Kafka has them.

use super::assign::Assignor;
use std::time::Duration;

/// Which groups may change their protocol while they run (`group.consumer.migration.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Migration {
    /// None.
    Disabled,
    /// Consumer groups may become classic ones.
    Downgrade,
    /// Classic groups may become consumer groups.
    Upgrade,
    /// Either.
    #[default]
    Bidirectional,
}

impl Migration {
    /// All of them.
    pub const ALL: [Migration; 4] =
        [Migration::Disabled, Migration::Downgrade, Migration::Upgrade, Migration::Bidirectional];

    /// Kafka's name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Migration::Disabled => "disabled",
            Migration::Downgrade => "downgrade",
            Migration::Upgrade => "upgrade",
            Migration::Bidirectional => "bidirectional",
        }
    }

    pub(super) fn upgrades(self) -> bool {
        matches!(self, Migration::Upgrade | Migration::Bidirectional)
    }

    pub(super) fn downgrades(self) -> bool {
        matches!(self, Migration::Downgrade | Migration::Bidirectional)
    }
}

/// See each.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Where the group has none of its own.
    pub times: ConsumerTimes,
    /// Members of a group (`group.consumer.max.size`).
    pub members_max: usize,
    /// What members may ask for (`group.consumer.assignors`); the first is taken where none does.
    pub assignors: Vec<Assignor>,
    /// Which groups may change their protocol while they have members.
    pub migration: Migration,
    /// The epoch of a group whose first member names topics; of one that does not, as with a regular expression alone, it is 1.
    pub first_epoch: i32,
    /// Bytes of a regular expression.
    pub regex_bytes_max: usize,
    /// Bytes that a regular expression takes when it is compiled.
    pub regex_compiled_bytes_max: usize,
    /// Different regular expressions that the members of a group subscribe to.
    pub regexes_max: usize,
    /// Between two looks at all topics on behalf of a group, where topics have changed.
    pub regex_refresh_interval: Duration,
}

/// Periods that a group may have of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerTimes {
    /// A member that is not heard of for so long is fenced (`group.consumer.session.timeout.ms`).
    pub session_timeout: Duration,
    /// What members are told to wait between heartbeats (`group.consumer.heartbeat.interval.ms`).
    pub heartbeat_interval: Duration,
    /// Between two target assignments of a group, so that members that come together are assigned to together
    /// (`group.consumer.assignment.interval.ms`, KIP-1263).
    pub assignment_interval: Duration,
}

impl Default for ConsumerTimes {
    /// Kafka's defaults.
    fn default() -> Self {
        ConsumerTimes {
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
            assignment_interval: Duration::from_secs(1),
        }
    }
}

impl Default for ConsumerOptions {
    /// Kafka's defaults; where Kafka has no bound, one that no honest client meets.
    fn default() -> Self {
        ConsumerOptions {
            times: ConsumerTimes::default(),
            members_max: 50_000,
            assignors: vec![Assignor::Uniform, Assignor::Range],
            migration: Migration::default(),
            // That of Kafka 4.3, whose groups are at 1 before anybody subscribes.
            first_epoch: 2,
            regex_bytes_max: 8 << 10,
            regex_compiled_bytes_max: 1 << 20,
            regexes_max: 100,
            regex_refresh_interval: Duration::from_secs(10),
        }
    }
}

impl ConsumerOptions {
    /// What is assigned by where no member asks for anything.
    pub(super) fn default_assignor(&self) -> Assignor {
        self.assignors.first().copied().unwrap_or_default()
    }

    /// Whether members may ask for the assignor of this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        Assignor::of_name(name).is_some_and(|assignor| self.assignors.contains(&assignor))
    }
}
