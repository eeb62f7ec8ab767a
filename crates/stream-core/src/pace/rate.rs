//! Bytes a second, of about the last second: what came since its latest full second, and so much of the one before as is not yet
//! a second ago.

use base::Micros;

const SECOND_US: u64 = 1_000_000;

/// How many bytes come.
#[derive(Debug, Default)]
pub(super) struct Rate {
    second: u64,
    bytes: u64,
    bytes_before: u64,
}

impl Rate {
    /// So many came now.
    pub(super) fn add(&mut self, now: Micros, bytes: usize) {
        let second = now.0 / SECOND_US;
        if second != self.second {
            self.bytes_before = if second == self.second + 1 { self.bytes } else { 0 };
            (self.second, self.bytes) = (second, 0);
        }
        self.bytes += bytes as u64;
    }

    /// Now.
    pub(super) fn bytes_per_second(&self, now: Micros) -> u64 {
        let (second, into) = (now.0 / SECOND_US, now.0 % SECOND_US);
        let weigh =
            |bytes: u64| u64::try_from(u128::from(bytes) * u128::from(SECOND_US - into) / u128::from(SECOND_US));
        match second.saturating_sub(self.second) {
            0 => self.bytes + weigh(self.bytes_before).unwrap_or(u64::MAX),
            1 => weigh(self.bytes).unwrap_or(u64::MAX),
            _ => 0,
        }
    }
}
