//! What stands in the bucket for a log that was given up, `abandoned/<ring>` (docs/formats/abandoned.md, rule D-10), and how far an owner
//! may run ahead of the ledger, by which the offsets of such a log are passed over.
//!
//! Lines of text, so that a person can read them, with a checksum at the end. Lines that this version does not know are passed over.

use base::{NodeEpoch, NodeId, Offset, OffsetRange, StreamEpoch, StreamId, WalId, WalIndex, crc32c};
use std::fmt::Write;

/// An owner gives out no offset of a tenure at or beyond the tenure's committed end plus this (rule D-10): where its log is given up, the next
/// tenure begins there, and no offset is ever given out twice. A million records a second that nothing uploads reach it after 19 hours.
pub const UNCOMMITTED_OFFSETS_MAX: u64 = 1 << 36;

const TITLE: &str = "millstream abandoned log";
/// The version that this build writes, and the newest that it reads.
const VERSION: u32 = 1;

/// What is known of a ring that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    /// Of which cluster.
    pub cluster_id: u128,
    /// Which ring.
    pub ring_id: u128,
    /// Whose it was, where the ledger knew.
    pub broker: Option<NodeId>,
    /// When, in UTC: for people.
    pub when: String,
    /// By which command: for people.
    pub command: String,
    /// The logs in it that were not wholly committed, with their places as the ledger had them.
    pub logs: Vec<(WalId, String)>,
    /// What is lost, or may be.
    pub lost: Vec<LostPart>,
}

/// Offsets of a stream that only a log that is given up may have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostPart {
    /// The log.
    pub wal: WalId,
    /// The stream.
    pub stream: StreamId,
    /// The tenure.
    pub stream_epoch: StreamEpoch,
    /// From the tenure's committed end to its end, which of an open one is what its owner may have given out at the most.
    pub range: OffsetRange,
    /// Whether nobody knows how many of these offsets were given out.
    pub is_open: bool,
}

impl Abandoned {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Abandoned { cluster_id, ring_id, broker, when, command, logs, lost } = self;
        let mut text = format!("{TITLE}\nversion {VERSION}\ncluster {cluster_id:032x}\nring {ring_id:032x}\n");
        let mut line = |line: String| {
            text.push_str(&line.replace(['\n', '\r'], " "));
            text.push('\n');
        };
        if let Some(broker) = broker {
            line(format!("broker {broker}"));
        }
        line(format!("when {when}"));
        line(format!("by {command}"));
        for (wal, url) in logs {
            line(format!("log {wal} {url}"));
        }
        for LostPart { wal, stream, stream_epoch, range, is_open } in lost {
            let kind = if *is_open { "open" } else { "closed" };
            line(format!("lost {wal} {stream} {stream_epoch} {} {} {kind}", range.base, range.next));
        }
        let checksum = crc32c(text.as_bytes());
        // Writing to a string can't fail.
        let _infallible = writeln!(text, "crc32c {checksum:08x}");
        text.into_bytes()
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Abandoned, String> {
        let damaged = |why: &str| format!("it {why}");
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("is not text"))?;
        let (body, last) = text.trim_end().rsplit_once('\n').ok_or_else(|| damaged("is too short"))?;
        let written = last.strip_prefix("crc32c ").and_then(|hex| u32::from_str_radix(hex, 16).ok());
        if body.lines().next() != Some(TITLE) || written != Some(crc32c(&bytes[..=body.len()])) {
            return Err(damaged("is damaged"));
        }
        let field = |name: &str| body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let hex = |name: &str| field(name).and_then(|hex| u128::from_str_radix(hex, 16).ok());
        let version = field("version").and_then(|version| version.parse::<u32>().ok());
        match version {
            Some(VERSION) => {}
            Some(newer) => return Err(damaged(&format!("was written by a newer release (version {newer})"))),
            None => return Err(damaged("names no version")),
        }
        let (cluster_id, ring_id) = hex("cluster").zip(hex("ring")).ok_or_else(|| damaged("names no ring"))?;
        let lines = |name: &'static str| body.lines().filter_map(move |line| line.strip_prefix(name));
        let logs = lines("log ").map(|line| {
            let (wal, url) = line.split_once(' ')?;
            Some((wal_of(wal)?, url.to_owned()))
        });
        let logs = logs.collect::<Option<Vec<_>>>().ok_or_else(|| damaged("names a log wrongly"))?;
        let lost = lines("lost ").map(lost_of).collect::<Option<Vec<_>>>();
        Ok(Abandoned {
            cluster_id,
            ring_id,
            broker: field("broker").and_then(|id| id.parse().ok()).map(NodeId),
            when: field("when").unwrap_or_default().to_owned(),
            command: field("by").unwrap_or_default().to_owned(),
            logs,
            lost: lost.ok_or_else(|| damaged("names what is lost wrongly"))?,
        })
    }
}

fn wal_of(text: &str) -> Option<WalId> {
    let (start, index) = text.split_once('/')?;
    Some(WalId { node_epoch: NodeEpoch(start.parse().ok()?), index: WalIndex(index.parse().ok()?) })
}

fn lost_of(line: &str) -> Option<LostPart> {
    let mut words = line.split(' ');
    let wal = wal_of(words.next()?)?;
    let stream = StreamId(words.next()?.parse().ok()?);
    let stream_epoch = StreamEpoch(words.next()?.parse().ok()?);
    let (base, next) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let is_open = match words.next()? {
        "open" => true,
        "closed" => false,
        _ => return None,
    };
    (base <= next && next <= Offset::MAX.0).then(|| LostPart {
        wal,
        stream,
        stream_epoch,
        range: OffsetRange::new(Offset(base), Offset(next)),
        is_open,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wal(start: u64, index: u16) -> WalId {
        WalId { node_epoch: NodeEpoch(start), index: WalIndex(index) }
    }

    fn example() -> Abandoned {
        let part = |wal, stream, epoch, base, next, is_open| LostPart {
            wal,
            stream: StreamId(stream),
            stream_epoch: StreamEpoch(epoch),
            range: OffsetRange::new(Offset(base), Offset(next)),
            is_open,
        };
        Abandoned {
            cluster_id: 0x0123_4567_89ab_cdef,
            ring_id: 0x0102_0304,
            broker: Some(NodeId(2)),
            when: "2026-11-28T04:20:00Z".to_owned(),
            command: "millstream broker abandon 2".to_owned(),
            logs: vec![(wal(3, 0), "file:///var/lib/millstream/wal/ring".to_owned())],
            lost: vec![
                part(wal(3, 0), 5, 7, 1200, 1200 + UNCOMMITTED_OFFSETS_MAX, true),
                part(wal(3, 0), 6, 1, 40, 90, false),
            ],
        }
    }

    #[test]
    fn golden_bytes_are_those_of_the_document() {
        let document = include_str!("../../../docs/formats/abandoned.md");
        let golden = document.split("```\n").nth(1).unwrap();
        assert_eq!(String::from_utf8(example().encode()).unwrap(), golden);
        assert_eq!(Abandoned::decode(golden.as_bytes()), Ok(example()));
    }

    #[test]
    fn whatever_is_damaged_or_newer_is_told() {
        let bytes = example().encode();
        for len in 0..bytes.len() - 1 {
            assert!(Abandoned::decode(&bytes[..len]).is_err(), "cut to {len} bytes");
        }
        for at in 0..bytes.len() - 1 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Abandoned::decode(&damaged).is_err(), "byte {at} changed");
        }
        let newer = String::from_utf8(bytes).unwrap().replace("version 1", "version 2");
        let (body, _) = newer.rsplit_once("crc32c").unwrap();
        let newer = format!("{body}crc32c {:08x}\n", crc32c(body.as_bytes()));
        assert!(Abandoned::decode(newer.as_bytes()).unwrap_err().contains("newer release"));
    }

    #[test]
    fn no_name_of_a_place_makes_a_line_of_its_own() {
        let logs = vec![(wal(3, 0), "file:///odd\nlost 3/0 5 7 0 9 open".to_owned())];
        let odd = Abandoned { logs, ..example() };
        assert_eq!(Abandoned::decode(&odd.encode()).unwrap().lost, odd.lost);
    }
}
