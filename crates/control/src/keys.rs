//! The names of the ledger's objects. Numbers are padded, so that the order of names is the order of numbers.

use base::LedgerSeq;

pub(crate) const FORMAT: &str = "format";
pub(crate) const ENTRIES: &str = "ledger/entry/";
pub(crate) const SNAPSHOTS: &str = "ledger/snapshot/";

pub(crate) fn entry(seq: LedgerSeq) -> String {
    format!("{ENTRIES}{seq:020}", seq = seq.0)
}

pub(crate) fn snapshot(seq: LedgerSeq) -> String {
    format!("{SNAPSHOTS}{seq:020}", seq = seq.0)
}

/// The number in a name under `prefix`; `None` for what no broker has written.
pub(crate) fn number(prefix: &str, key: &str) -> Option<LedgerSeq> {
    let digits = key.strip_prefix(prefix)?;
    let written = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if written { digits.parse().ok().map(LedgerSeq) } else { None }
}
