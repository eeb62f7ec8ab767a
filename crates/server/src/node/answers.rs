//! Whether a broker still answers at an address: what a start asks before it declares an earlier start dead, and what brokers that run ask
//! one another.
//!
//! A wrong *no* costs a living broker its life, never a record: fencing makes the mistake safe. A wrong *yes* leaves streams with
//! a dead owner until somebody asks again. A start decides by one request within one second; who watches asks again and again, over a
//! connection that it keeps, so that a broker whose connections are all taken is not taken for dead.

use broker::{START_CLIENT_ID, WATCH_CLIENT_ID};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use protocol::frame::{decode_response, encode_request};
use protocol::messages::api_versions_request::ApiVersionsRequest;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream::{Ask, Asked, Connects};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{ClockExt, Connection, World, lock};

const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// The one request that every Kafka broker answers before anything else, in the form that none has dropped.
const VERSION: i16 = 0;
const CORRELATION_ID: i32 = 1;
/// An answer names some tens of APIs, in six bytes each.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Connections to others that are kept for the next question; more than brokers are watched.
const KEPT_MAX: usize = 16;

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
            let asked = async {
                let mut connection = world.network.connect(&address).await?;
                ask(connection.as_mut(), START_CLIENT_ID).await
            };
            matches!(world.clock.timeout(ANSWER_WITHIN, asked).await, Some(Ok(())))
        }
        .boxed()
    })
}

/// How a broker that runs asks others. Whoever asks bounds the time.
pub(super) fn watch(world: World) -> Ask {
    let kept = Arc::new(Mutex::new(BTreeMap::new()));
    Arc::new(move |address| {
        let (world, kept) = (world.clone(), kept.clone());
        async move {
            match ask_again(&world, &kept, &address).await {
                Ok(()) => Asked::Answered,
                Err(error) => unanswered(&error),
            }
        }
        .boxed()
    })
}

/// Whether something at an address takes connections.
pub(super) fn connects(world: World) -> Connects {
    Arc::new(move |address| {
        let network = world.network.clone();
        async move { network.connect(&address).await.is_ok() }.boxed()
    })
}

/// Over the connection that was kept, or a new one where that has ended.
async fn ask_again(
    world: &World,
    kept: &Mutex<BTreeMap<String, Box<dyn Connection>>>,
    address: &str,
) -> io::Result<()> {
    let before = lock(kept).remove(address);
    let mut answered = None;
    if let Some(mut connection) = before
        && ask(connection.as_mut(), WATCH_CLIENT_ID).await.is_ok()
    {
        answered = Some(connection);
    }
    let connection = match answered {
        Some(connection) => connection,
        None => {
            let mut connection = world.network.connect(address).await?;
            ask(connection.as_mut(), WATCH_CLIENT_ID).await?;
            connection
        }
    };
    let mut kept = lock(kept);
    // Of those that are watched no more.
    if kept.len() >= KEPT_MAX {
        kept.clear();
    }
    kept.insert(address.to_owned(), connection);
    Ok(())
}

/// What an error says: about this host alone, about the way, or that nobody answers.
fn unanswered(error: &io::Error) -> Asked {
    const OURS: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    // Linux says so where this host has no network, and where a router knows no way to the other one.
    const NO_WAY: [Errno; 3] = [Errno::ADDRNOTAVAIL, Errno::NETDOWN, Errno::NETUNREACH];
    match Errno::from_io_error(error) {
        Some(errno) if OURS.contains(&errno) => Asked::NotAsked(error.to_string()),
        Some(errno) if NO_WAY.contains(&errno) => Asked::NoWay(error.to_string()),
        Some(_) | None => Asked::Silent,
    }
}

async fn ask(connection: &mut dyn Connection, client: &str) -> io::Result<()> {
    let request = ApiVersionsRequest::default();
    let request = encode_request(CORRELATION_ID, Some(client), VERSION, &request).map_err(io::Error::other)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_here_or_on_the_way_is_told_from_silence() {
        let of = |errno: Errno| unanswered(&io::Error::from_raw_os_error(errno.raw_os_error()));
        assert!(matches!(of(Errno::MFILE), Asked::NotAsked(_)));
        assert!(matches!(of(Errno::NETUNREACH), Asked::NoWay(_)));
        assert_eq!([of(Errno::CONNREFUSED), of(Errno::HOSTUNREACH)], [Asked::Silent, Asked::Silent]);
        assert_eq!(unanswered(&io::ErrorKind::UnexpectedEof.into()), Asked::Silent);
    }
}
