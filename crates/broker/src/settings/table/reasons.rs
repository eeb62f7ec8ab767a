//! Why a setting is without object here, or refused: what a user is told, so each says how things are.

// Without object.
pub(crate) const FILES: &str = "there are no segment files or folders of logs: records lie in objects of the bucket";
pub(crate) const FLUSH: &str = "a record is durable before it is acknowledged, so there is nothing left to sync";
pub(crate) const CLEANER: &str =
    "there is one cleaner, which shares compaction's memory and requests; --memory bounds them";
pub(crate) const TIER: &str = "all data lies in object storage: there is no local tier and no remote one";
pub(crate) const LZ4: &str = "a broker that compresses with LZ4 does so at one level, the fast one";
pub(crate) const REPLICAS: &str = "object storage keeps the copies: no broker fetches from another";
pub(crate) const ONE_REPLICA: &str = "every partition has one replica, the broker that serves it, whoever makes the topic: object storage keeps the copies";
pub(crate) const INSYNC: &str =
    "an acknowledged record is durable in the write-ahead log, however many replicas are asked for";
pub(crate) const ELECTION: &str = "there are no replicas that can be behind, and none to elect";
pub(crate) const RACK: &str = "a partition has one place and no copies to spread";
pub(crate) const KRAFT: &str =
    "the metadata is a ledger in the bucket: there is no controller quorum, every broker can write it";
pub(crate) const THREADS: &str = "there are no thread pools of that kind: a few threads run all tasks";
pub(crate) const PURGATORY: &str = "a request that waits is woken and gone: there is no list to purge";
pub(crate) const QUEUE: &str = "requests are bounded by their bytes, queued.max.request.bytes, not by their number";
pub(crate) const SOCKET: &str = "the operating system's own values are used";
pub(crate) const LISTENER: &str = "there is one listener";
pub(crate) const INTER: &str = "what brokers tell one another goes through the bucket; they only ask each other whether they serve, as --watch-timeout says";
pub(crate) const METRICS: &str = "metrics are counters that the console shows as Prometheus text";
pub(crate) const UNSTABLE: &str = "nothing is served that is not final";
pub(crate) const LINGER: &str = "the write-ahead log puts appends together itself";
pub(crate) const LOADING: &str = "groups, transactions and share groups' state are read back in pieces of a fixed size";
pub(crate) const OWN_TOPICS: &str =
    "the broker's own topics lie in object storage like all others, and are written as they are";
pub(crate) const EXPIRY: &str = "a producer's state is looked at when it is used or kept";
pub(crate) const EXACT: &str = "a transaction is aborted when it has become too old, not when that is next looked for";
pub(crate) const OFFLOAD: &str = "a group's assignment is computed with the heartbeat that it is due with";
pub(crate) const REGEXES: &str = "a pattern is evaluated again when topics have changed, at most every ten seconds, and nothing else changes what it matches";
pub(crate) const SHARE: &str = "records that a share group gives up are not copied to another topic yet";
pub(crate) const SHARE_WAIT: &str =
    "a change of share groups' state waits as long as offsets.commit.timeout.ms says, as all that groups decide";
pub(crate) const SNAPSHOTS: &str =
    "the topic of share groups' state is copied to its end and cut when it has become long";
pub(crate) const STREAMS: &str =
    "tasks of streams groups are assigned in one way, Kafka's sticky one, without a look at tags";
pub(crate) const STREAMS_PLUGIN: &str =
    "the broker can't load Java classes; without one descriptions of topologies are not kept, as in Kafka";
pub(crate) const STREAMS_WARMUP: &str =
    "no task of a streams group is warmed up before it moves; Kafka 4.4 reads this and does none of it either";
pub(crate) const STREAMS_OFFLOAD: &str =
    "a streams group's assignment is computed with the heartbeat that it is due with";
/// In Kafka too these act on TLS listeners only; what would ask for one is refused.
pub(crate) const TLS: &str = "there is no TLS listener that it could act on";

// Refused.
pub(crate) const NO_AUTH: &str = "there is no TLS, Kerberos or OAuth yet, and no Java class can be loaded, so it would promise a protection that is not there: remove it";
pub(crate) const NO_DIRS: &str = "use --data DIR, or --storage and --wal";
pub(crate) const NO_NODE: &str = "use --node-id N";
pub(crate) const NO_PLUGIN: &str = "the broker can't load Java classes: remove it";
pub(crate) const NO_SHARE_ASSIGNOR: &str = "there is one assignor of share groups, simple: remove it";
pub(crate) const NO_POLICY: &str =
    "the broker can't load Java classes, and what the policy forbids would be allowed: remove it";
pub(crate) const NO_TIER: &str =
    "the broker can't load Java classes, and all data lies in object storage anyway: remove it";
pub(crate) const NO_TWO_PHASES: &str =
    "transactions can't be prepared and committed later by another system: remove it";
pub(crate) const NO_UNVERIFIED: &str =
    "a partition that is not known to its transaction would stay undecided for ever: remove it";
pub(crate) const NO_RATE: &str = "a rate is bounded for each address, by the quota connection_creation_rate of ips; bound the number of all by max.connections";
