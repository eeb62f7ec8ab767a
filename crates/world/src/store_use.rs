//! What a store was asked for: requests by kind, by what they were for, and by how they ended; and bytes.
//!
//! The cost meter's raw figures. Counted by [`Metered`](crate::Metered); what they cost is the reader's to know.

/// Keys of one answer of a list, and of one request to delete, by S3's definition: what is billed as one request.
pub(crate) const REQUEST_KEYS_MAX: usize = 1000;

/// A GET costs so many per cent of a PUT at S3's standard prices; so do those of most others.
const GET_PERCENT: u64 = 8;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A put if absent: there is no other.
    Put,
    /// A get, of any range.
    Get,
    /// A page of a listing.
    List,
    /// A request to delete, of up to a thousand objects.
    Delete,
}

/// What a request is for. One line each of the table of costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A write-ahead log in the bucket: written, read back, recovered, trimmed.
    Wal,
    /// Data objects of what was acknowledged.
    Upload,
    /// Data objects read and written by compaction.
    Compaction,
    /// The ledger: entries, snapshots, confirming listings.
    Ledger,
    /// Data objects read for consumers.
    Read,
    /// Looking for, and deleting, what nothing refers to.
    Sweep,
    /// Trying out the store.
    Other,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With what was asked for.
    Done,
    /// A put found an object.
    Exists,
    /// A get found none.
    Missing,
    /// Timeout, 429, 5xx, reset.
    Trouble,
    /// Credentials, permission, no bucket.
    Refused,
    /// Whoever asked has given it up before its answer.
    Abandoned,
}

impl Operation {
    /// All.
    pub const ALL: [Operation; 4] = [Operation::Put, Operation::Get, Operation::List, Operation::Delete];

    /// For metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::List => "list",
            Operation::Delete => "delete",
        }
    }
}

impl Purpose {
    /// All, in the order of the table.
    pub const ALL: [Purpose; 7] = [
        Purpose::Wal,
        Purpose::Upload,
        Purpose::Compaction,
        Purpose::Ledger,
        Purpose::Sweep,
        Purpose::Other,
        Purpose::Read,
    ];

    /// For metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Wal => "wal",
            Purpose::Upload => "upload",
            Purpose::Compaction => "compaction",
            Purpose::Ledger => "ledger",
            Purpose::Read => "read",
            Purpose::Sweep => "sweep",
            Purpose::Other => "other",
        }
    }
}

impl Ended {
    /// All.
    pub const ALL: [Ended; 6] =
        [Ended::Done, Ended::Exists, Ended::Missing, Ended::Trouble, Ended::Refused, Ended::Abandoned];

    /// For metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ended::Done => "done",
            Ended::Exists => "exists",
            Ended::Missing => "missing",
            Ended::Trouble => "trouble",
            Ended::Refused => "refused",
            Ended::Abandoned => "abandoned",
        }
    }

    /// Whether providers bill it: what failed on their side they mostly do not.
    fn is_billed(self) -> bool {
        self != Ended::Trouble
    }
}

/// A count for each operation, purpose and end.
pub(crate) type Table<T> = [[[T; Ended::ALL.len()]; Purpose::ALL.len()]; Operation::ALL.len()];

/// What a store was asked for since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreUse {
    pub(crate) requests: Table<u64>,
    pub(crate) up_bytes: [u64; Purpose::ALL.len()],
    pub(crate) down_bytes: [u64; Purpose::ALL.len()],
}

impl StoreUse {
    /// Requests of that kind, for that, that ended so.
    #[must_use]
    pub fn requests(&self, operation: Operation, purpose: Purpose, ended: Ended) -> u64 {
        self.requests[operation as usize][purpose as usize][ended as usize]
    }

    /// Requests of that kind, for that, which are billed.
    #[must_use]
    pub fn billed(&self, operation: Operation, purpose: Purpose) -> u64 {
        let billed = Ended::ALL.into_iter().filter(|ended| ended.is_billed());
        billed.map(|ended| self.requests(operation, purpose, ended)).sum()
    }

    /// Billed requests in hundredths of a PUT: a listing is one, a GET eight hundredths, to delete is free.
    #[must_use]
    pub fn put_equivalents_percent(&self, purpose: Purpose) -> u64 {
        let of = |operation| self.billed(operation, purpose);
        (of(Operation::Put) + of(Operation::List)) * 100 + of(Operation::Get) * GET_PERCENT
    }

    /// Bytes of all puts, also of those that failed.
    #[must_use]
    pub fn up_bytes(&self, purpose: Purpose) -> u64 {
        self.up_bytes[purpose as usize]
    }

    /// Bytes that gets returned.
    #[must_use]
    pub fn down_bytes(&self, purpose: Purpose) -> u64 {
        self.down_bytes[purpose as usize]
    }

    /// Requests of any kind that ended in trouble or were refused.
    #[must_use]
    pub fn failures(&self) -> u64 {
        let failed = |ended: Ended| matches!(ended, Ended::Trouble | Ended::Refused);
        let of = |operation, purpose| {
            Ended::ALL.into_iter().filter(|it| failed(*it)).map(|it| self.requests(operation, purpose, it)).sum::<u64>()
        };
        Operation::ALL.into_iter().flat_map(|operation| Purpose::ALL.map(|purpose| of(operation, purpose))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_at_the_store_costs_nothing_and_a_get_is_a_small_part_of_a_put() {
        let mut used = StoreUse::default();
        let mut ask = |operation: Operation, ended: Ended, count| {
            used.requests[operation as usize][Purpose::Ledger as usize][ended as usize] += count;
        };
        ask(Operation::Put, Ended::Done, 2);
        ask(Operation::Put, Ended::Exists, 1);
        ask(Operation::Put, Ended::Trouble, 50);
        ask(Operation::List, Ended::Done, 4);
        ask(Operation::Get, Ended::Missing, 25);
        ask(Operation::Get, Ended::Refused, 1);
        ask(Operation::Delete, Ended::Done, 7);
        assert_eq!(used.billed(Operation::Put, Purpose::Ledger), 3);
        assert_eq!(used.put_equivalents_percent(Purpose::Ledger), 700 + 8 * 26);
        assert_eq!(used.put_equivalents_percent(Purpose::Wal), 0);
        assert_eq!(used.failures(), 51);
    }

    #[test]
    fn each_has_its_place() {
        let mut used = StoreUse::default();
        let mut next = 0;
        for operation in Operation::ALL {
            for purpose in Purpose::ALL {
                for ended in Ended::ALL {
                    next += 1;
                    used.requests[operation as usize][purpose as usize][ended as usize] += next;
                }
            }
        }
        assert_eq!(next, 4 * 7 * 6);
        assert_eq!(used.requests.iter().flatten().flatten().filter(|count| **count == 0).count(), 0);
    }
}
