//! Ids, epochs, offsets and positions. Each is a type of its own, because two `u64` arguments will be swapped one day.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number! {
    /// A stream: one per Kafka partition, for ever. Never reused, not even after its topic is deleted (rule T7).
    StreamId(u64)
}
number! {
    /// Kafka's broker id. Survives restarts; see [`NodeEpoch`].
    NodeId(i32)
}
number! {
    /// One start of one broker, unique in the cluster, handed out by the ledger in rising order. Zero is never handed out.
    NodeEpoch(u64)
}
number! {
    /// Which of its WALs a broker means, from 0.
    WalIndex(u16)
}
number! {
    /// Kafka's leader epoch: rises by at least one with each owner of a stream.
    StreamEpoch(i32)
}
number! {
    /// An offset in a stream, which is Kafka's offset. At most `i64::MAX`.
    Offset(u64)
}
number! {
    /// The number of a ledger entry. The first entry is 1.
    LedgerSeq(u64)
}
number! {
    /// One term of one ledger leader.
    LedgerEpoch(u64)
}
number! {
    /// A place in one WAL. Ordered, otherwise opaque outside the WAL kinds.
    WalPosition(u64)
}

impl Offset {
    /// The greatest offset that Kafka's signed 64-bit field can carry.
    pub const MAX: Offset = Offset(i64::MAX as u64);

    /// This offset plus `count` records; saturates at [`Offset::MAX`].
    #[must_use]
    pub const fn plus(self, count: u64) -> Offset {
        let sum = self.0.saturating_add(count);
        if sum > Offset::MAX.0 { Offset::MAX } else { Offset(sum) }
    }

    /// From Kafka's signed field; `None` where it is negative.
    #[must_use]
    pub fn from_kafka(value: i64) -> Option<Offset> {
        u64::try_from(value).ok().map(Offset)
    }

    /// As Kafka's signed field.
    #[must_use]
    pub fn to_kafka(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl LedgerSeq {
    /// The next entry's number.
    #[must_use]
    pub const fn next(self) -> LedgerSeq {
        LedgerSeq(self.0 + 1)
    }
}

/// The identity of a write-ahead log: (node epoch, WAL index).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WalId {
    /// The start that writes it.
    pub node_epoch: NodeEpoch,
    /// Which of that start's WALs.
    pub index: WalIndex,
}

impl fmt::Display for WalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node_epoch, self.index)
    }
}

/// A data object. Made by its writer (node epoch, counter), so that no prepare step is needed; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ObjectId {
    /// The start that made it.
    pub node_epoch: NodeEpoch,
    /// Rises by one with each object of that start.
    pub counter: u64,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.node_epoch, self.counter)
    }
}

/// Kafka's topic id (a UUID's 16 bytes, KIP-516). Zero means none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TopicId(pub u128);

/// A number drawn from the operating system for each put, by which its writer recognises its own object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Nonce(pub u128);
