//! Whether a broker still answers at an address: what a start asks before it declares an earlier start dead.
//!
//! A wrong *no* costs a living broker its life, never a record: fencing makes the mistake safe. A wrong *yes* leaves streams with
//! a dead owner until the next start asks again. So one request within one second decides.

use futures::FutureExt;
use futures::future::BoxFuture;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{ClockExt, World};

const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// `ApiVersions` version 0, correlation id 1, client id `millstream`. The one request that every Kafka broker answers before
/// anything else, in a form that no version has changed.
const REQUEST: &[u8] = b"\x00\x00\x00\x14\x00\x12\x00\x00\x00\x00\x00\x01\x00\x0amillstream";
const CORRELATION_ID: [u8; 4] = [0, 0, 0, 1];

/// The probe for one start that is about to serve at `own`. It listens there already, so whoever answered there before is gone:
/// asking would only reach this very process.
pub(super) fn probe(world: World, own: String) -> Arc<dyn Fn(String) -> BoxFuture<'static, bool> + Send + Sync> {
    Arc::new(move |address| {
        let world = world.clone();
        let is_own = address == own;
        async move {
            if is_own {
                return false;
            }
            let asked = world.clock.timeout(ANSWER_WITHIN, ask(&world, &address)).await;
            matches!(asked, Some(Ok(())))
        }
        .boxed()
    })
}

async fn ask(world: &World, address: &str) -> io::Result<()> {
    let mut connection = world.network.connect(address).await?;
    connection.write_all(REQUEST).await?;
    connection.flush().await?;
    let mut head = [0; 8];
    connection.read_exact(&mut head).await?;
    if head[4..] == CORRELATION_ID { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
