//! A batch's records as they are when decompressed, a window at a time.

use super::compression::{Decoder, HELD_BYTES_MAX, Limits, refused};
use super::{BatchError, Compression, Pace};
use bytes::Bytes;
use std::io::Read;

/// Decompressed at a time, at most and at least.
pub(super) const WINDOW_BYTES: usize = 64 * 1024;
const WINDOW_BYTES_MIN: usize = 4 * 1024;
/// Between them the window has so many bytes for each that is compressed: small batches need no large one.
const WINDOW_RATIO: usize = 8;

/// The decompressed bytes, of which a window is there.
pub(super) struct Input {
    /// None: `bytes` are the records as they are.
    decoder: Option<Decoder>,
    /// What the decoder costs, until that is told.
    decoder_cost: usize,
    bytes: Bytes,
    buffer: Vec<u8>,
    /// Where the window begins; whoever uses it up moves it on.
    pub(super) at: usize,
    end: usize,
    /// Bytes decompressed so far; 0 where there is no decoder.
    pub(super) decompressed: usize,
    max: usize,
}

impl Input {
    pub(super) fn new(codec: Compression, bytes: Bytes, max: usize) -> Result<Input, BatchError> {
        let decoder = codec.decoder(bytes.clone(), Limits { max, held: HELD_BYTES_MAX })?;
        let window = bytes.len().saturating_mul(WINDOW_RATIO).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES);
        let (buffer, end) = match &decoder {
            Some(_) => (vec![0; window], 0),
            None => (Vec::new(), bytes.len()),
        };
        Ok(Input { decoder, decoder_cost: codec.decoder_cost(), bytes, buffer, at: 0, end, decompressed: 0, max })
    }

    pub(super) fn window(&self) -> &[u8] {
        let all = if self.decoder.is_some() { &self.buffer } else { &self.bytes[..] };
        &all[self.at..self.end]
    }

    /// The next byte; none at the end.
    pub(super) async fn byte(&mut self, pace: &mut impl Pace) -> Result<Option<u8>, BatchError> {
        if self.window().is_empty() && !self.fill(pace).await? {
            return Ok(None);
        }
        let byte = self.window()[0];
        self.at += 1;
        Ok(Some(byte))
    }

    /// The next `N` bytes; none where there are fewer.
    pub(super) async fn array<const N: usize>(&mut self, pace: &mut impl Pace) -> Result<Option<[u8; N]>, BatchError> {
        if let Some(bytes) = self.window().first_chunk() {
            let bytes = *bytes;
            self.at += N;
            return Ok(Some(bytes));
        }
        let mut bytes = [0; N];
        for byte in &mut bytes {
            let Some(next) = self.byte(pace).await? else { return Ok(None) };
            *byte = next;
        }
        Ok(Some(bytes))
    }

    /// A variable-length integer and how many bytes it took. None where it does not end within `bytes_max`, or is too large.
    pub(super) async fn varlong(
        &mut self,
        bytes_max: usize,
        pace: &mut impl Pace,
    ) -> Result<Option<(i64, usize)>, BatchError> {
        let mut varlong = Varlong::default();
        for bytes in 1..=bytes_max {
            let Some(byte) = self.byte(pace).await? else { return Ok(None) };
            match varlong.push(byte) {
                None => return Ok(None),
                Some(Some(value)) => return Ok(Some((value, bytes))),
                Some(None) => {}
            }
        }
        Ok(None)
    }

    /// Replaces the used-up window by the next one; whether there is one.
    pub(super) async fn fill(&mut self, pace: &mut impl Pace) -> Result<bool, BatchError> {
        let Some(decoder) = &mut self.decoder else { return Ok(false) };
        let ahead = decoder.ahead();
        let cost = std::mem::take(&mut self.decoder_cost) + ahead.unwrap_or(0);
        if cost > 0 {
            pace.spent(cost).await;
        }
        let read = decoder.read(&mut self.buffer).map_err(|error| refused(&error, self.max))?;
        (self.at, self.end) = (0, read);
        self.decompressed += read;
        if self.decompressed > self.max {
            return Err(BatchError::DecompressedSize(self.max));
        }
        if ahead.is_none() {
            pace.spent(read).await;
        }
        Ok(read > 0)
    }
}

/// A variable-length integer as its bytes come: seven bits a byte, least first, the sign in the lowest bit.
#[derive(Default)]
pub(super) struct Varlong {
    value: u64,
    shift: u32,
}

impl Varlong {
    /// Takes the next byte: the value with the last one. `None`: it is longer than ten bytes, or greater than 64 bits.
    pub(super) fn push(&mut self, byte: u8) -> Option<Option<i64>> {
        let part = u64::from(byte & 0x7f);
        if self.shift > 63 || (self.shift == 63 && part > 1) {
            return None;
        }
        self.value |= part << self.shift;
        self.shift += 7;
        let is_last = byte & 0x80 == 0;
        Some(is_last.then_some((self.value >> 1).cast_signed() ^ -(self.value & 1).cast_signed()))
    }
}
