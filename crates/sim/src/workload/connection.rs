//! One client connection: frames out, frames in, each with a deadline.

use bytes::{BufMut, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{ClockExt, World};

/// Greatest answer that a client of this workload takes.
const FRAME_BYTES_MAX: usize = 4 << 20;

/// An open connection to one process of one broker.
pub(super) struct FrameConnection {
    stream: Box<dyn world::Connection>,
    /// Which life of a broker it leads to.
    pub(super) process: u64,
}

impl FrameConnection {
    /// Connects; `process_at` tells whose life listens there.
    pub(super) async fn open(
        world: &World,
        address: &str,
        process_at: impl Fn(&str) -> u64,
    ) -> io::Result<FrameConnection> {
        let stream = world.network.connect(address).await?;
        Ok(FrameConnection { stream, process: process_at(address) })
    }

    /// Sends a frame. After an error the connection is of no more use.
    pub(super) async fn send(&mut self, world: &World, frame: &[u8], limit: Duration) -> io::Result<()> {
        let mut out = BytesMut::with_capacity(frame.len() + 4);
        out.put_u32(u32::try_from(frame.len()).map_err(io::Error::other)?);
        out.put_slice(frame);
        let sent = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        world.clock.timeout(limit, sent).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Waits for a frame. After an error the connection is of no more use.
    pub(super) async fn receive(&mut self, world: &World, limit: Duration) -> io::Result<Bytes> {
        let received = async {
            let len = usize::try_from(self.stream.read_u32().await?).map_err(io::Error::other)?;
            if len > FRAME_BYTES_MAX {
                return Err(io::Error::other(format!("answer of {len} bytes")));
            }
            let mut frame = vec![0; len];
            self.stream.read_exact(&mut frame).await?;
            Ok(Bytes::from(frame))
        };
        world.clock.timeout(limit, received).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}
