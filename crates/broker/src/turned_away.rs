//! Connections that a limit turns away: a broker's question whether this one lives is answered first; whatever else they bring, they are closed.
//!
//! A broker that clients fill would else be taken for dead by one that starts, or by those that watch it and have lost their connection.
//! Guarantees: the answer is this broker's own, not a guess from a port that takes connections; of those that are turned away few are
//! read at a time, of one address fewer, each for its first frame of a KiB and a moment. The rest are closed at once, unread.

use crate::Shared;
use crate::hello::{self, Asker};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::{ClockExt, Connection, lock};

/// So many are read at a time,
const READ_MAX: usize = 64;
/// and so many of one address, so that one client that makes connections and says nothing leaves room for brokers elsewhere.
const READ_OF_ADDRESS_MAX: usize = 16;
/// A broker asks as soon as it is connected, and waits for a second at the most.
const ASKS_WITHIN: Duration = Duration::from_millis(300);

/// How many of each address are being read.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway {
    reading: Mutex<BTreeMap<IpAddr, usize>>,
}

impl TurnedAway {
    fn enter(&self, address: IpAddr) -> bool {
        let mut reading = lock(&self.reading);
        if reading.values().sum::<usize>() >= READ_MAX {
            return false;
        }
        let of_address = reading.entry(address).or_default();
        let has_room = *of_address < READ_OF_ADDRESS_MAX;
        *of_address += usize::from(has_room);
        has_room
    }

    fn leave(&self, address: IpAddr) {
        let mut reading = lock(&self.reading);
        if let Some(of_address) = reading.get_mut(&address) {
            *of_address -= 1;
            if *of_address == 0 {
                reading.remove(&address);
            }
        }
    }
}

/// One that is being read; dropped at its end, however it comes.
struct Read {
    broker: Arc<Shared>,
    address: IpAddr,
}

impl Read {
    fn begin(broker: &Arc<Shared>, peer: SocketAddr) -> Option<Read> {
        let address = peer.ip().to_canonical();
        broker.turned_away.enter(address).then(|| Read { broker: broker.clone(), address })
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        self.broker.turned_away.leave(self.address);
    }
}

/// Closes a connection for which there is no room, behind the answer to a broker's question.
pub(crate) fn turn_away(
    broker: &Arc<Shared>,
    mut socket: Box<dyn Connection>,
    peer: SocketAddr,
    why: impl Display + Send + 'static,
) {
    // One client can cause as many of these as it likes.
    let complain = move |broker: &Shared| {
        broker.complaints.tell(broker.clock.now(), peer, format_args!("refused: {why}"));
    };
    let Some(read) = Read::begin(broker, peer) else { return complain(broker) };
    let work = async move {
        let broker = &read.broker;
        let answered = broker.clock.timeout(ASKS_WITHIN, answers(broker, socket.as_mut())).await;
        if answered != Some(true) {
            complain(broker);
        }
    };
    broker.clock.spawn("turned away", Box::pin(work));
}

/// Whether a broker asked, and has its answer.
pub(crate) async fn answers(broker: &Shared, socket: &mut dyn Connection) -> bool {
    let asker = hello::answer(socket, &[Asker::Start, Asker::Watcher]).await;
    if matches!(asker, Ok(Asker::Start)) {
        broker.said_hello.notify_one();
    }
    asker.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_room_for_others_and_all_have_a_bound() {
        let turned_away = TurnedAway::default();
        let entered = |last: u8| {
            let address = IpAddr::from([10, 0, 0, last]);
            (0..100).filter(|_| turned_away.enter(address)).count()
        };
        assert_eq!((1..=5).map(entered).collect::<Vec<_>>(), [16, 16, 16, 16, 0]);
        turned_away.leave(IpAddr::from([10, 0, 0, 1]));
        assert_eq!((entered(5), entered(1)), (1, 0));
        (0..16).for_each(|_| turned_away.leave(IpAddr::from([10, 0, 0, 2])));
        assert!(!lock(&turned_away.reading).contains_key(&IpAddr::from([10, 0, 0, 2])), "who is gone takes no memory");
    }
}
