//! The `format` object: which layout the bucket has, who may read it, and the cluster's id. Put once, by the first broker.

use crate::LedgerError;
use crate::keys;
use crate::patient::Patient;
use base::crc32c;
use bytes::Bytes;
use std::fmt::Write;
use world::{GetRange, PutOutcome, StoreError};

/// The layout that this program writes.
const LAYOUT: u32 = 1;
/// The newest layout that this program reads: a bucket says which reader it needs at the least.
const READER: u32 = 1;

const TITLE: &str = "millstream bucket";

/// What the object says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// The layout's version.
    pub layout: u32,
    /// The version that a program must read at the least.
    pub reader: u32,
    /// Drawn by the first broker.
    pub cluster_id: u128,
}

impl Format {
    /// Its bytes: lines of text, so that a person can read them, with a checksum at the end.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Format { layout, reader, cluster_id } = self;
        let mut text = format!("{TITLE}\nlayout {layout}\nreader {reader}\ncluster {cluster_id:032x}\n");
        let checksum = crc32c(text.as_bytes());
        // Writing to a string can't fail.
        let _infallible = writeln!(text, "crc32c {checksum:08x}");
        Bytes::from(text)
    }

    /// The object in `bytes`. Lines that this version does not know are passed over.
    ///
    /// # Errors
    /// The bytes are something else or damaged, or the bucket needs a newer program.
    pub fn decode(bytes: &[u8]) -> Result<Format, LedgerError> {
        let unreadable = |why: &str| LedgerError::Unreadable(format!("the object {:?} {why}", keys::FORMAT));
        let text = std::str::from_utf8(bytes).map_err(|_| unreadable("is not text: this is no Millstream bucket"))?;
        let (body, last) =
            text.trim_end().rsplit_once('\n').ok_or_else(|| unreadable("is damaged: it is too short"))?;
        if body.lines().next() != Some(TITLE) {
            return Err(unreadable("does not begin as it should: this is no Millstream bucket"));
        }
        let written = last.strip_prefix("crc32c ").and_then(|hex| u32::from_str_radix(hex, 16).ok());
        if written != Some(crc32c(&bytes[..=body.len()])) {
            return Err(unreadable("is damaged: its checksum does not match"));
        }
        let field = |name: &str| body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let number = |name: &str| field(name).and_then(|value| value.parse::<u32>().ok());
        let (layout, reader) = number("layout").zip(number("reader")).ok_or_else(|| unreadable("names no layout"))?;
        if reader > READER {
            return Err(LedgerError::Unreadable(format!(
                "this bucket has layout {layout}, written by a newer Millstream; this one reads up to layout {READER}: start the newer version"
            )));
        }
        let cluster_id = field("cluster").and_then(|hex| u128::from_str_radix(hex, 16).ok());
        let cluster_id = cluster_id.ok_or_else(|| unreadable("names no cluster"))?;
        Ok(Format { layout, reader, cluster_id })
    }
}

/// What this program writes into a bucket of that cluster.
pub(crate) fn of_cluster(cluster_id: u128) -> Format {
    Format { layout: LAYOUT, reader: READER, cluster_id }
}

/// The bucket's format, where it has one.
pub(crate) async fn read(patient: &Patient) -> Result<Option<Format>, LedgerError> {
    match patient.get(keys::FORMAT, GetRange::All).await {
        Ok(bytes) => Format::decode(&bytes).map(Some),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The bucket's format; makes it where there is none.
pub(crate) async fn read_or_create(patient: &Patient, cluster_id: u128) -> Result<Format, LedgerError> {
    let mine = of_cluster(cluster_id);
    loop {
        // Put first: *exists* says that it is durable, which in a folder a read does not.
        if patient.put_if_absent(keys::FORMAT, mine.encode()).await? == PutOutcome::Created {
            return Ok(mine);
        }
        if let Some(format) = read(patient).await? {
            return Ok(format);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let format = Format { layout: 1, reader: 1, cluster_id: 0x0123_4567_89ab_cdef };
        let bytes = format.encode();
        // The example in docs/formats/ledger.md.
        let document = include_str!("../../../docs/formats/ledger.md");
        let golden = document.split("```\n").nth(1).unwrap();
        assert_eq!(bytes, golden.as_bytes());
        assert_eq!(Format::decode(&bytes).unwrap(), format);
    }

    #[test]
    fn refuses_a_newer_layout_and_anything_else() {
        let newer = Format { layout: 7, reader: 2, cluster_id: 1 };
        let message = Format::decode(&newer.encode()).unwrap_err().to_string();
        assert!(message.contains("layout 7") && message.contains("newer"), "{message}");
        let readable = Format { layout: 7, reader: 1, cluster_id: 1 };
        assert_eq!(Format::decode(&readable.encode()).unwrap(), readable);

        let bytes = readable.encode();
        for len in 0..bytes.len() - 1 {
            assert!(Format::decode(&bytes[..len]).is_err(), "cut to {len} bytes");
        }
        for at in 0..bytes.len() - 1 {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert!(Format::decode(&damaged).is_err(), "byte {at} changed");
        }
        assert!(Format::decode(b"<html>\nnot found\n").is_err());
    }
}
