//! What the record of a member of the classic protocol says beside, in a tagged field.

use super::state::Classic;
use crate::group::Protocol;
use bytes::Bytes;
use protocol::wire::{Decoder, Encoder, Wire};

/// What a member of the classic protocol says beside, where it is there.
#[derive(Default)]
pub(super) struct StoredClassic(pub(super) Classic);

impl Wire for StoredClassic {
    const LEAST: usize = 6;

    fn read(decoder: &mut Decoder, version: i16) -> StoredClassic {
        let session_timeout_ms = decoder.get(version);
        let protocols = decoder.get::<Vec<StoredProtocol>>(version).into_iter().map(|it| it.0).collect();
        decoder.skip_tags();
        StoredClassic(Classic { session_timeout_ms, protocols })
    }

    fn write(&self, encoder: &mut Encoder, version: i16) {
        encoder.put(&1_i8, version);
        encoder.put(&self.0.session_timeout_ms, version);
        encoder.put(&self.0.protocols.iter().cloned().map(StoredProtocol).collect::<Vec<_>>(), version);
        encoder.tags();
    }
}

#[derive(Default)]
struct StoredProtocol(Protocol);

impl Wire for StoredProtocol {
    const LEAST: usize = 3;

    fn read(decoder: &mut Decoder, version: i16) -> StoredProtocol {
        let (name, metadata): (String, Bytes) = (decoder.get(version), decoder.get(version));
        decoder.skip_tags();
        // Of its own, as a group outlives the batch that it was read from.
        StoredProtocol(Protocol { name, metadata: Bytes::copy_from_slice(&metadata) })
    }

    fn write(&self, encoder: &mut Encoder, version: i16) {
        encoder.put(&self.0.name, version);
        encoder.put(&self.0.metadata, version);
        encoder.tags();
    }
}
