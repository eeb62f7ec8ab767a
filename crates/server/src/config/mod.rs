//! From what the operator wrote (flags over file over defaults) to values: parsed once, checked here, and nothing ignored.
//!
//! An error is one line that says what to change. What only the outside can tell (a port in use, a full disk, a bucket that
//! refuses) is found when the broker starts.

mod address;
mod file;
mod size;
mod url;
mod wals;
mod watch;

use crate::args::{StartArgs, StorageArgs};
use crate::memory::{BUDGET_MIN, MemoryBudget, default_budget};
use crate::prices::Prices;
use base::NodeId;
use broker::{BrokerOptions, CleanerOptions};
use std::collections::BTreeMap;
use std::path::PathBuf;
use stream::{Options, WatchTimes};

pub use url::{Puts, StorageTarget, WalChoice, storage as storage_url};
pub use wals::WalSpec;

const DATA_DEFAULT: &str = "./millstream-data";
const LISTEN_DEFAULT: &str = "127.0.0.1:9092";
const CONSOLE_DEFAULT: &str = "127.0.0.1:9644";

/// What is wrong with what the operator wrote, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// A start, wholly described.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bucket that is the cluster.
    pub storage: StorageTarget,
    /// The write-ahead logs; the first one is for topics that don't choose.
    pub wals: Vec<WalSpec>,
    /// Where Kafka clients connect.
    pub listen: String,
    /// Where the console listens.
    pub console: String,
    /// What clients are told; `None`: where it listens.
    pub advertise: Option<String>,
    /// Kafka's broker id, if chosen.
    pub node_id: Option<NodeId>,
    /// The memory budget's parts.
    pub memory: MemoryBudget,
    /// What the bucket's requests cost, for the console.
    pub prices: Prices,
    /// How other brokers are watched; `None`: not at all.
    pub watch: Option<WatchTimes>,
    /// The broker's bounds, with Kafka's settings and the budget in them.
    pub broker: BrokerOptions,
}

/// One source of options: the command line or the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Layer {
    data: Option<PathBuf>,
    storage: Option<String>,
    /// Empty: not said.
    wals: Vec<String>,
    listen: Option<String>,
    console: Option<String>,
    advertise: Option<String>,
    node_id: Option<String>,
    memory: Option<String>,
    prices: Option<String>,
    watch_timeout: Option<String>,
    watch_interval: Option<String>,
    allow_anonymous: Option<bool>,
    settings: BTreeMap<String, String>,
}

impl Config {
    /// Flags over file over defaults.
    ///
    /// # Errors
    /// One line that says which part is wrong and what to write.
    pub fn resolve(args: StartArgs) -> Result<Config, ConfigError> {
        let file = args.config.as_deref().map(file::read).transpose()?.unwrap_or_default();
        let told = WhoseSettings::new(&args, &file);
        let Layer {
            data,
            storage,
            wals,
            listen,
            console,
            advertise,
            node_id,
            memory,
            prices,
            watch_timeout,
            watch_interval,
            allow_anonymous,
            settings,
        } = Layer::of_args(args)?.over(file);

        let storage = storage_target(data.clone(), storage.as_deref())?;
        let wals = wals::wals(&wals, &data_folder(data)?, &storage)?;
        let total = match memory.as_deref() {
            Some(text) => size::parse("--memory", text)?,
            None => default_budget(),
        };
        if total < BUDGET_MIN {
            let said = memory.unwrap_or_else(|| total.to_string());
            return Err(ConfigError(format!("--memory {said} is too little: say at least {}MiB", BUDGET_MIN >> 20)));
        }
        let memory = MemoryBudget::divide(total);
        let broker = broker_options(&settings, memory, wals.len()).map_err(|error| told.with_its_file(error))?;
        // The options of the command line count before settings of Kafka's.
        let of_setting = |listener: &Option<(String, String)>| listener.as_ref().map(|(_, address)| address.clone());
        let listen = listen.or_else(|| of_setting(&broker.listener.listening));
        let advertise = advertise.or_else(|| of_setting(&broker.listener.advertised));
        let listen = listen.unwrap_or_else(|| LISTEN_DEFAULT.to_owned());
        let console = console.unwrap_or_else(|| CONSOLE_DEFAULT.to_owned());
        let anonymous = allow_anonymous.unwrap_or(false);
        address::check_listen("--listen", &listen, anonymous || broker.sasl.is_some())?;
        address::check_listen("--console", &console, anonymous)?;
        address::check_apart(&listen, &console)?;
        address::check_advertised(advertise.as_deref(), &listen)?;
        let node_id = node_id.as_deref().map(parse_node_id).transpose()?;
        let prices = match prices {
            Some(text) => Prices::parse(&text).map_err(|why| ConfigError(format!("--prices {text}: {why}")))?,
            None => Prices::suggested_by(&storage.url()),
        };
        let watch = watch::times(watch_timeout.as_deref(), watch_interval.as_deref())?;
        Ok(Config { storage, wals, listen, console, advertise, node_id, memory, prices, watch, broker })
    }
}

/// Where settings were given, so that one that is wrong is told with the file that it stands in.
struct WhoseSettings {
    file: Option<PathBuf>,
    of_file: Vec<String>,
    /// `KEY=VALUE`, as the command line has them.
    of_flags: Vec<String>,
}

impl WhoseSettings {
    fn new(args: &StartArgs, file: &Layer) -> WhoseSettings {
        let of_file = file.settings.keys().cloned().collect();
        WhoseSettings { file: args.config.clone(), of_file, of_flags: args.set.clone() }
    }

    fn with_its_file(&self, error: ConfigError) -> ConfigError {
        // A name may be a part of another one: the longest is the one that is meant.
        let told = |names: &mut dyn Iterator<Item = &str>| {
            names.map(str::trim).filter(|name| error.0.contains(name)).map(str::len).max()
        };
        let by_a_flag =
            told(&mut self.of_flags.iter().map(|pair| pair.split_once('=').map_or(&**pair, |(name, _)| name)));
        let by_the_file = told(&mut self.of_file.iter().map(String::as_str));
        match &self.file {
            Some(file) if by_the_file > by_a_flag => ConfigError(format!("--config {}: {error}", file.display())),
            _ => error,
        }
    }
}

impl StorageArgs {
    /// The bucket to look at.
    ///
    /// # Errors
    /// One line that says what is wrong with the URL.
    pub fn target(&self) -> Result<StorageTarget, ConfigError> {
        storage_target(self.data.clone(), self.storage.as_deref())
    }
}

impl Layer {
    fn of_args(args: StartArgs) -> Result<Layer, ConfigError> {
        let StartArgs {
            data,
            storage,
            wal: wals,
            listen,
            console,
            advertise,
            node_id,
            memory,
            prices,
            watch_timeout,
            watch_interval,
            config: _,
            set,
            allow_anonymous,
        } = args;
        let mut settings = BTreeMap::new();
        for pair in set {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(ConfigError(format!("--set {pair}: write --set KEY=VALUE")));
            };
            settings.insert(name.trim().to_owned(), value.to_owned());
        }
        let allow_anonymous = allow_anonymous.then_some(true);
        Ok(Layer {
            data,
            storage,
            wals,
            listen,
            console,
            advertise,
            node_id,
            memory,
            prices,
            watch_timeout,
            watch_interval,
            allow_anonymous,
            settings,
        })
    }

    fn over(self, under: Layer) -> Layer {
        let mut settings = under.settings;
        settings.extend(self.settings);
        Layer {
            data: self.data.or(under.data),
            storage: self.storage.or(under.storage),
            wals: if self.wals.is_empty() { under.wals } else { self.wals },
            listen: self.listen.or(under.listen),
            console: self.console.or(under.console),
            advertise: self.advertise.or(under.advertise),
            node_id: self.node_id.or(under.node_id),
            memory: self.memory.or(under.memory),
            prices: self.prices.or(under.prices),
            watch_timeout: self.watch_timeout.or(under.watch_timeout),
            watch_interval: self.watch_interval.or(under.watch_interval),
            allow_anonymous: self.allow_anonymous.or(under.allow_anonymous),
            settings,
        }
    }
}

fn data_folder(data: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let data = data.unwrap_or_else(|| PathBuf::from(DATA_DEFAULT));
    std::path::absolute(&data).map_err(|error| ConfigError(format!("--data {}: {error}", data.display())))
}

fn storage_target(data: Option<PathBuf>, storage: Option<&str>) -> Result<StorageTarget, ConfigError> {
    match storage {
        Some(text) => url::storage("--storage", text),
        None => Ok(StorageTarget::Folder(data_folder(data)?.join("bucket"))),
    }
}

fn parse_node_id(text: &str) -> Result<NodeId, ConfigError> {
    let id = text.parse::<i32>().ok().filter(|id| *id >= 0);
    id.map(NodeId).ok_or_else(|| ConfigError(format!("--node-id {text}: say a whole number from 0 to {}", i32::MAX)))
}

/// Kafka's settings, within what the memory budget allows: a default gives way to a small budget, a given value that needs
/// more is refused.
fn broker_options(
    given: &BTreeMap<String, String>,
    memory: MemoryBudget,
    wals: usize,
) -> Result<BrokerOptions, ConfigError> {
    let bytes = |part: u64| usize::try_from(part).unwrap_or(usize::MAX);
    let requests = bytes(memory.requests_bytes_max);
    let defaults = BrokerOptions::default();
    let mut options = BrokerOptions {
        requests_bytes_max: requests,
        answers_bytes_max: bytes(memory.answers_bytes_max),
        groups_bytes_max: bytes(memory.groups_bytes_max),
        transactions_bytes_max: bytes(memory.transactions_bytes_max),
        share_states_bytes_max: bytes(memory.share_states_bytes_max),
        shares_bytes_max: bytes(memory.shares_bytes_max),
        cleaner: CleanerOptions::for_memory(bytes(memory.cleaner_bytes)),
        cluster_partitions_max: bytes(memory.cluster_partitions_max),
        request_bytes_max: defaults.request_bytes_max.min(requests / 2),
        fetch_bytes_max: defaults.fetch_bytes_max.min(bytes(memory.answers_bytes_max)),
        pipeline_bytes_max: defaults.pipeline_bytes_max.min(requests / 2),
        ..defaults
    };
    broker::settings::apply(given, &mut options).map_err(ConfigError)?;
    let appends = bytes(Options::for_memory(memory.streams_bytes).append_bytes_max) / wals.max(1);
    give_way(given, &mut options, appends);
    check_fits(given, &options, requests, appends)?;
    if options.fetch_bytes_max > options.answers_bytes_max {
        // Kafka's own tests give the greatest number there is, for "no bound".
        let (value, bound) = (options.fetch_bytes_max, options.answers_bytes_max);
        tracing::warn!(
            "fetch.max.bytes={value} is more than the memory for answers ({bound} bytes), which bounds them first"
        );
    }
    Ok(options)
}

const QUEUED: &str = "queued.max.request.bytes";
const REQUEST: &str = "socket.request.max.bytes";
const BATCH: &str = "message.max.bytes";
/// The least that is left for a request: every API must be served.
const REQUEST_BYTES_MIN: usize = 64 * 1024;

/// What was not given becomes as small as what was given wants it.
fn give_way(given: &BTreeMap<String, String>, options: &mut BrokerOptions, appends: usize) {
    let half = options.requests_bytes_max / 2;
    options.pipeline_bytes_max = options.pipeline_bytes_max.min(half);
    if !given.contains_key(REQUEST) {
        options.request_bytes_max = options.request_bytes_max.min(half);
        options.defaults.insert(REQUEST, options.request_bytes_max.to_string());
    }
    if !given.contains_key(BATCH) {
        options.batch_bytes_max = options.batch_bytes_max.min(options.request_bytes_max).min(appends);
        options.defaults.insert(BATCH, options.batch_bytes_max.to_string());
    }
}

/// Whether what was given fits what bounds it, which is named: another setting, whoever said it, or a part of the memory.
fn check_fits(
    given: &BTreeMap<String, String>,
    options: &BrokerOptions,
    requests: usize,
    appends: usize,
) -> Result<(), ConfigError> {
    let fits = |name: &str, value: usize, bound: usize, of: &dyn Fn() -> String, raise: &str| {
        if value <= bound {
            return Ok(());
        }
        Err(ConfigError(format!("{name}={value} does not fit {}: lower it or raise {raise}", of())))
    };
    let said = |name: &str, value: usize| {
        let by_default = if given.contains_key(name) { "" } else { " (the default)" };
        format!("{name}={value}{by_default}")
    };
    let (queued, request, batch) = (options.requests_bytes_max, options.request_bytes_max, options.batch_bytes_max);
    let part = |what: &str, bytes: usize| format!("{what} ({bytes} bytes)");
    fits(QUEUED, queued, requests, &|| part("the memory for requests", requests), "--memory")?;
    let raise = if given.contains_key(QUEUED) { QUEUED } else { "--memory" };
    fits(REQUEST, request, queued / 2, &|| format!("half of {}", said(QUEUED, queued)), raise)?;
    if queued / 2 < REQUEST_BYTES_MIN {
        let least = 2 * REQUEST_BYTES_MIN;
        return Err(ConfigError(format!("{QUEUED}={queued} is too little: say at least {least}, or -1 for no limit")));
    }
    // By default it is as great as it can be, but for Kafka's own default.
    let raise = if given.contains_key(REQUEST) || batch <= queued / 2 { REQUEST } else { raise };
    fits(BATCH, batch, request, &|| said(REQUEST, request), raise)?;
    let of = || part("a write-ahead log's part of the memory for appends", appends);
    fits(BATCH, batch, appends, &of, "--memory")
}

#[cfg(test)]
mod tests;
