//! Every message in every version: written and read back, cut short, damaged, and compared with Kafka's own bytes.
//!
//! Values are invented by the generated `read` functions themselves, which ask a [`Decoder`] that draws from a seed. That both
//! directions agree doesn't yet mean that they are right; that is what `testdata/messages.txt` is for.

use super::*;
use crate::messages::{self, every_message};
use base::Seed;
use bytes::BytesMut;
use std::fmt::Write as _;

const SEEDS: u64 = 12;

/// What the tests do with a message, as functions of bytes: so the loops around them are compiled once, not for each message.
struct Subject {
    name: &'static str,
    versions: RangeInclusive<i16>,
    /// Invents a message, writes it, and returns the bytes if reading them gives the same message.
    invent: fn(u64, i16) -> Result<Bytes, String>,
    /// Reads bytes and writes what was read.
    again: fn(Bytes, i16) -> Result<Result<Bytes, EncodeError>, DecodeError>,
}

fn invent<M: Message + PartialEq>(seed: u64, version: i16) -> Result<Bytes, String> {
    let mut decoder = Decoder::inventing(Seed::new(seed).fork(M::NAME));
    let message = M::decode_from(&mut decoder, version);
    let bytes = message.encode(version).map_err(|error| error.to_string())?.into_bytes();
    let read = M::decode(bytes.clone(), version).map_err(|error| error.to_string())?;
    if read == message { Ok(bytes) } else { Err("reads back as something else".to_owned()) }
}

fn again<M: Message>(bytes: Bytes, version: i16) -> Result<Result<Bytes, EncodeError>, DecodeError> {
    Ok(M::decode(bytes, version)?.encode(version).map(Rope::into_bytes))
}

macro_rules! subjects_of {
    ($($module:ident::$name:ident),+ $(,)?) => {
        [$(Subject {
            name: messages::$module::$name::NAME,
            versions: messages::$module::$name::VERSIONS,
            invent: invent::<messages::$module::$name>,
            again: again::<messages::$module::$name>,
        }),+]
    };
}

/// Every message in each of its versions.
fn subjects() -> impl Iterator<Item = (Subject, i16)> {
    let all = every_message!(subjects_of);
    all.into_iter().flat_map(|Subject { name, versions, invent, again }| {
        versions.clone().map(move |version| (Subject { name, versions: versions.clone(), invent, again }, version))
    })
}

impl Subject {
    fn bytes(&self, seed: u64, version: i16) -> Bytes {
        (self.invent)(seed, version).unwrap_or_else(|error| panic!("{} {version} of seed {seed}: {error}", self.name))
    }
}

#[test]
fn every_message_reads_back_what_it_wrote_in_every_version() {
    for (subject, version) in subjects() {
        for seed in 0..SEEDS {
            let bytes = subject.bytes(seed, version);
            let longer: Bytes = [&bytes[..], &[0]].concat().into();
            assert_eq!((subject.again)(longer, version), Err(DecodeError::Trailing(1)), "{} {version}", subject.name);
        }
        let unknown = subject.versions.end() + 1;
        assert!((subject.again)(Bytes::new(), unknown).is_err(), "{}", subject.name);
        assert!((subject.invent)(0, unknown).is_err(), "{}", subject.name);
    }
}

#[test]
fn damaged_bytes_are_an_error_or_another_message_but_never_a_panic() {
    for (subject, version) in subjects() {
        let bytes = subject.bytes(1, version);
        for end in 0..bytes.len() {
            assert!((subject.again)(bytes.slice(..end), version).is_err(), "{} {version} cut at {end}", subject.name);
        }
        let mut seed = Seed::new(2).fork(subject.name);
        for at in 0..bytes.len() {
            // The greatest lengths that each kind of length field can claim, and noise.
            for claim in
                [&[0x7f, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &seed.next_u64().to_le_bytes()]
            {
                let mut hostile = BytesMut::from(&bytes[..]);
                let end = (at + claim.len()).min(bytes.len());
                hostile[at..end].copy_from_slice(&claim[..end - at]);
                // Whether it can still be read is chance; but what is read can be written.
                if let Ok(written) = (subject.again)(hostile.freeze(), version) {
                    assert!(written.is_ok(), "{} {version}: {written:?}", subject.name);
                }
            }
        }
    }
}

/// Each line of `testdata/messages.txt` was read by the Java classes of that version's Kafka (4.4.0, else 3.9.1) and written back
/// byte for byte. `UPDATE_EXPECT=1` writes the file anew, after which it must be taken to the Java classes again.
#[test]
fn messages_are_byte_for_byte_what_kafkas_own_classes_write() {
    let mut ours = String::new();
    for (subject, version) in subjects() {
        let hex: String = subject.bytes(3, version).iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(ours, "{} {version} {hex}", subject.name).expect("a string takes it");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/messages.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &ours).expect("the file can be written");
    }
    let kafkas = std::fs::read_to_string(path).expect("the file is in the repository");
    for (ours, kafkas) in ours.lines().zip(kafkas.lines()) {
        assert_eq!(ours, kafkas);
    }
    assert_eq!(ours.lines().count(), kafkas.lines().count());
}
