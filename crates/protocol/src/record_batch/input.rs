//! A batch's records as they are when decompressed, a window at a time.

use super::compression::{Decoder, refused};
use super::{BatchError, Compression, Pace};
use bytes::Bytes;
use std::io::Read;

/// Decompressed at a time.
pub(super) const WINDOW_BYTES: usize = 64 * 1024;

/// The decompressed bytes, of which a window is there.
pub(super) struct Input {
    /// None: `bytes` are the records as they are.
    decoder: Option<Decoder>,
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
        let decoder = codec.decoder(bytes.clone(), max)?;
        let (buffer, end) = match &decoder {
            Some(_) => (vec![0; WINDOW_BYTES], 0),
            None => (Vec::new(), bytes.len()),
        };
        Ok(Input { decoder, bytes, buffer, at: 0, end, decompressed: 0, max })
    }

    pub(super) fn window(&self) -> &[u8] {
        let all = if self.decoder.is_some() { &self.buffer } else { &self.bytes[..] };
        &all[self.at..self.end]
    }

    /// Replaces the used-up window by the next one; whether there is one.
    pub(super) async fn fill(&mut self, pace: &mut impl Pace) -> Result<bool, BatchError> {
        let Some(decoder) = &mut self.decoder else { return Ok(false) };
        let ahead = decoder.ahead();
        if let Some(bytes) = ahead {
            pace.spent(bytes).await;
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
