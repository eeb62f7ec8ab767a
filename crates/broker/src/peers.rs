//! What this broker asks others: kinds of questions, and connections to ask them by.
//!
//! One connection for each kind of question to each broker (or some, where questions that do not go together would wait for one another), with
//! one request under way; what is to be asked meanwhile waits, and goes together in the next one. So a peer appends once for all of it, and a
//! peer that hangs holds up only what is meant for it. Whoever gets no answer does not know whether it was done.

use crate::peer_login::{Refusal, Refusals};
use client::{ClientError, ClientOptions, Connection, Login};
use futures::FutureExt;
use protocol::wire::Request;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use world::{World, lock};

/// The name that other brokers see.
const CLIENT_ID: &str = "millstream-broker";

/// One request takes no longer.
const CALL_MAX: Duration = Duration::from_secs(10);

/// Questions in one request at the most.
const TOGETHER_MAX: usize = 512;

/// Questions that wait for a peer at the most; whoever comes then gets no answer, and comes again.
const WAITING_MAX: usize = 65_536;

/// So many lanes are remembered, but for those that are in use.
const IDLE_MAX: usize = 64;

/// A kind of question, of which many go in one request.
pub(crate) trait Question: Sized + Send + 'static {
    type Asks: Request + Send + Sync;
    type Answer: Send + 'static;
    /// What waits where nothing of it is answered.
    const WAITS: &'static str;

    fn ask(questions: Vec<Self>) -> Self::Asks;
    /// The answers by the questions' places; none where the peer has not said.
    fn told(asked: &Self::Asks, answer: <Self::Asks as Request>::Response) -> Vec<Option<Self::Answer>>;
    /// Whether the answer is that this broker may not ask it; none where answers of this kind, or this one, do not tell.
    fn is_forbidden(_answer: &<Self::Asks as Request>::Response) -> Option<bool> {
        None
    }
    /// The same of the answer to one question.
    fn is_refused(_answer: &Self::Answer) -> Option<bool> {
        None
    }
    /// Which of a broker's lanes it goes by.
    fn lane(&self) -> u32 {
        0
    }
    /// Whether it may go in one request with this one.
    fn goes_with(&self, _first: &Self) -> bool {
        true
    }
}

/// How this broker gets at others.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) world: World,
    /// As whom it logs in at them, where callers do.
    pub(crate) login: Option<Login>,
    /// Those that do not let it in.
    pub(crate) refusals: Arc<Refusals>,
}

impl Reach {
    fn user(&self) -> Option<&str> {
        self.login.as_ref().map(|login| login.user.as_str())
    }
}

type ByPlace<Q> = BTreeMap<(String, u32), Arc<Lane<Q>>>;

/// The connections for one kind of question, by address and number.
pub(crate) struct Lanes<Q: Question> {
    reach: Reach,
    lanes: Mutex<ByPlace<Q>>,
}

/// What is to be asked of one broker.
struct Lane<Q: Question> {
    reach: Reach,
    address: String,
    waiting: Mutex<Waiting<Q>>,
    /// Used by whoever carries the questions out.
    connection: tokio::sync::Mutex<Option<Connection>>,
}

struct Waiting<Q: Question> {
    questions: VecDeque<(Q, oneshot::Sender<Q::Answer>)>,
    /// Somebody carries them out.
    is_served: bool,
}

impl<Q: Question> Lanes<Q> {
    pub(crate) fn new(reach: Reach) -> Lanes<Q> {
        Lanes { reach, lanes: Mutex::default() }
    }

    /// Asks the broker at that address; none where it has not answered.
    pub(crate) async fn ask(&self, address: &str, question: Q) -> Option<Q::Answer> {
        self.lane(address, question.lane()).ask(question).await
    }

    fn lane(&self, address: &str, number: u32) -> Arc<Lane<Q>> {
        let mut lanes = lock(&self.lanes);
        if lanes.len() >= IDLE_MAX {
            // Most are of brokers that are gone.
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        let lane = lanes.entry((address.to_owned(), number)).or_insert_with(|| {
            let waiting = Mutex::new(Waiting { questions: VecDeque::new(), is_served: false });
            let connection = tokio::sync::Mutex::default();
            Arc::new(Lane { reach: self.reach.clone(), address: address.to_owned(), waiting, connection })
        });
        lane.clone()
    }
}

impl<Q: Question> Lane<Q> {
    async fn ask(self: Arc<Self>, question: Q) -> Option<Q::Answer> {
        let (sender, answer) = oneshot::channel();
        let begins = {
            let mut waiting = lock(&self.waiting);
            if waiting.questions.len() >= WAITING_MAX {
                return None;
            }
            waiting.questions.push_back((question, sender));
            !std::mem::replace(&mut waiting.is_served, true)
        };
        if begins {
            // Not within this call, which may be given up while others wait.
            self.reach.world.clock.spawn("ask a peer", self.clone().serve().boxed());
        }
        answer.await.ok()
    }

    /// Asks until nothing waits.
    async fn serve(self: Arc<Self>) {
        loop {
            let (questions, askers): (Vec<_>, Vec<_>) = {
                let mut waiting = lock(&self.waiting);
                let first = waiting.questions.front().map(|(first, _)| first);
                let goes = |it: &&(Q, _)| first.is_some_and(|first| it.0.goes_with(first));
                let count = waiting.questions.iter().take(TOGETHER_MAX).take_while(goes).count();
                waiting.is_served = count > 0;
                waiting.questions.drain(..count).unzip()
            };
            if questions.is_empty() {
                return;
            }
            let asks = Q::ask(questions);
            match self.call(&asks).await {
                Ok(answer) => {
                    let is_forbidden = Q::is_forbidden(&answer);
                    let told = Q::told(&asks, answer);
                    self.heard(is_forbidden.or_else(|| told.iter().flatten().find_map(Q::is_refused)));
                    for (asker, answer) in askers.into_iter().zip(told) {
                        // Whoever asked may have gone.
                        let _is_heard = answer.map(|answer| asker.send(answer));
                    }
                }
                // They come again; a broker that is gone is no news.
                Err(error) => {
                    tracing::debug!("ask another broker: {error}");
                    if let Some(refusal) = Refusal::of(&error, self.reach.user()) {
                        self.reach.refusals.tell(&self.address, &refusal, Q::WAITS);
                    }
                }
            }
        }
    }

    fn heard(&self, is_forbidden: Option<bool>) {
        match is_forbidden {
            Some(true) => {
                let refusal = Refusal::Rights { user: self.reach.user().map(str::to_owned) };
                self.reach.refusals.tell(&self.address, &refusal, Q::WAITS);
            }
            Some(false) => self.reach.refusals.forget(&self.address),
            None => {}
        }
    }

    async fn call(&self, asks: &Q::Asks) -> Result<<Q::Asks as Request>::Response, ClientError> {
        let mut held = self.connection.lock().await;
        let connection = match held.take().filter(Connection::is_open) {
            Some(connection) => connection,
            None => {
                let (client_id, login) = (CLIENT_ID.to_owned(), self.reach.login.clone());
                let options = ClientOptions { client_id, login, ..ClientOptions::new("") };
                Connection::open(&self.reach.world, &options, &self.address).await?
            }
        };
        let answer = connection.call(asks, CALL_MAX).await;
        *held = Some(connection);
        answer
    }
}
