//! Whether a broker still answers at an address: what a start asks before it declares an earlier start dead.
//!
//! A wrong *no* costs a living broker its life, never a record: fencing makes the mistake safe. A wrong *yes* leaves streams with
//! a dead owner until the next start asks again. So one request within one second decides.

use broker::START_CLIENT_ID;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use protocol::frame::{decode_response, encode_request};
use protocol::messages::api_versions_request::ApiVersionsRequest;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{ClockExt, World};

const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// The one request that every Kafka broker answers before anything else, in the form that none has dropped.
const VERSION: i16 = 0;
const CORRELATION_ID: i32 = 1;
/// An answer names some tens of APIs, in six bytes each.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The probe for one start that is about to serve at `own`. It listens there already, so whoever answered there before is gone:
/// asking would only reach this very process.
pub(crate) fn probe(world: World, own: String) -> Arc<dyn Fn(String) -> BoxFuture<'static, bool> + Send + Sync> {
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
    let request = ApiVersionsRequest::default();
    let request = encode_request(CORRELATION_ID, Some(START_CLIENT_ID), VERSION, &request).map_err(io::Error::other)?;
    let mut connection = world.network.connect(address).await?;
    connection.write_all(&request.into_bytes()).await?;
    connection.flush().await?;
    let length = usize::try_from(connection.read_i32().await?).unwrap_or(usize::MAX);
    if length > ANSWER_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; length];
    connection.read_exact(&mut answer).await?;
    let answer = decode_response::<ApiVersionsRequest>(Bytes::from(answer), VERSION);
    match answer {
        Ok((CORRELATION_ID, _)) => Ok(()),
        Ok(_) | Err(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}
