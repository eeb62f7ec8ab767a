//! One memory budget, divided among everything that holds records.
//!
//! | part | share | holds | when it is full |
//! |---|---|---|---|
//! | streams | 65 % | appends not yet durable, the log cache, uploads, blocks read back; `stream::Options` divides it | producers wait, records are spilled to the write-ahead log, old blocks are dropped |
//! | requests | 13 % | frames being read or served | sockets are not read |
//! | answers | 13 % | record data on its way to clients | fetches wait |
//! | groups | 3 % | consumer groups: members and committed offsets | more of them are refused |
//! | transactions | 1 % | transactional ids and the partitions of their transactions | more of them are refused |
//! | share-partitions | 1 % | how far share groups have come in their partitions | more of them are refused |
//! | log compaction | 3 % | the keys of what is compacted, and a batch that is made anew | less is compacted at once |
//! | the rest | 1 % | the image, connections, buffers of the store's client | |
//!
//! Beside it, for as long as batches are heavy work: some 30 MiB for each of `broker::BrokerOptions::heavy_checks_max`, a codec's windows and tables
//! (docs/adr/0160-records-are-checked-in-slices.md).
//!
//! Memory is taken as it is needed, so an idle broker has next to none of it.

const MIB: u64 = 1024 * 1024;

/// The least that a broker runs with: the streams' part must be worth dividing.
pub const BUDGET_MIN: u64 = 128 * MIB;
/// A partition takes about 300 bytes in the image of every broker, and 800 while a start reads it: a fifth of this.
const BYTES_OF_A_PARTITION: u64 = 4096;
/// What it takes by default lies between these.
const DEFAULT_LOW: u64 = 256 * MIB;
const DEFAULT_HIGH: u64 = 8 * 1024 * MIB;

/// The bounds that follow from one budget, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    /// For `stream::Options::for_memory`.
    pub streams_bytes: u64,
    /// `broker::BrokerOptions::requests_bytes_max`.
    pub requests_bytes_max: u64,
    /// `broker::BrokerOptions::answers_bytes_max`.
    pub answers_bytes_max: u64,
    /// `broker::BrokerOptions::groups_bytes_max`.
    pub groups_bytes_max: u64,
    /// `broker::BrokerOptions::transactions_bytes_max`.
    pub transactions_bytes_max: u64,
    /// `broker::BrokerOptions::share_states_bytes_max`.
    pub share_states_bytes_max: u64,
    /// `broker::BrokerOptions::shares_bytes_max`.
    pub shares_bytes_max: u64,
    /// For `broker::CleanerOptions::for_memory`.
    pub cleaner_bytes: u64,
    /// `broker::BrokerOptions::cluster_partitions_max`.
    pub cluster_partitions_max: u64,
}

impl MemoryBudget {
    /// Divides `total` bytes.
    #[must_use]
    pub fn divide(total: u64) -> MemoryBudget {
        let percent = |share: u64| total / 100 * share;
        MemoryBudget {
            streams_bytes: percent(65),
            requests_bytes_max: percent(13),
            answers_bytes_max: percent(13),
            groups_bytes_max: percent(3),
            transactions_bytes_max: percent(1),
            share_states_bytes_max: percent(1),
            shares_bytes_max: percent(1),
            cleaner_bytes: percent(3),
            cluster_partitions_max: total / BYTES_OF_A_PARTITION,
        }
    }
}

/// A quarter of what this process may use, between 256 MiB and 8 GiB.
#[must_use]
pub fn default_budget() -> u64 {
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let cgroup = limits.iter().filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()).min();
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let usable = cgroup.into_iter().chain(machine).min().unwrap_or(0);
    (usable / 4).clamp(DEFAULT_LOW, DEFAULT_HIGH)
}

/// `MemTotal:       16384 kB`, in bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_never_exceed_the_whole() {
        for total in [0, BUDGET_MIN, 300_000_001, DEFAULT_HIGH] {
            let parts = MemoryBudget::divide(total);
            let sum = parts.streams_bytes + parts.requests_bytes_max + parts.answers_bytes_max;
            let coordinators = parts.groups_bytes_max + parts.transactions_bytes_max + parts.share_states_bytes_max;
            assert!(sum + coordinators + parts.shares_bytes_max + parts.cleaner_bytes <= total);
        }
    }

    #[test]
    fn reads_what_linux_says() {
        assert_eq!(total_of("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 * MIB));
        assert!((DEFAULT_LOW..=DEFAULT_HIGH).contains(&default_budget()));
    }
}
