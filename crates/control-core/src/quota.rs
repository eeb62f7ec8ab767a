//! Whose quotas there are, and what a quota is (KIP-546, KIP-612, KIP-599).

/// The clients that a quota is for: at least one of the three says which. A user's and a client id's may stand together; an address stands
/// alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct QuotaEntity {
    /// Those of a user.
    pub user: Option<QuotaName>,
    /// Those that call themselves so.
    pub client_id: Option<QuotaName>,
    /// Those that come from an address, as it was written.
    pub ip: Option<QuotaName>,
}

/// One of them, or all that have no quota of their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaName {
    /// Kafka's `<default>`.
    Default,
    /// The one of that name.
    Of(String),
}

/// A quota, a number of a second, kept by its bits: what compares equal has the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaValue(u64);

impl QuotaValue {
    /// Of any number.
    #[must_use]
    pub fn new(value: f64) -> QuotaValue {
        QuotaValue(value.to_bits())
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }

    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 8]) -> QuotaValue {
        QuotaValue(u64::from_le_bytes(bytes))
    }
}
