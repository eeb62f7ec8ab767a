//! One connection to one broker, pipelined: requests go out as they come, answers are told to whoever asked.
//!
//! Two tasks serve it. The writer sends frames in the order in which they were queued and tells the reader who waits; the reader
//! takes answers in that same order, which is Kafka's promise, and compares the correlation id. Whatever goes wrong ends the
//! connection for everybody: an answer that is not read would be taken for the next one's.

use crate::error::{ClientError, in_seconds};
use crate::options::{ClientOptions, Login};
use crate::versions::Versions;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use protocol::api_key::ApiKey;
use protocol::error_code::ErrorCode;
use protocol::frame::{decode_response, encode_request, next_frame};
use protocol::messages::api_versions_request::ApiVersionsRequest;
use protocol::messages::api_versions_response::ApiVersionsResponse;
use protocol::messages::sasl_authenticate_request::SaslAuthenticateRequest;
use protocol::messages::sasl_handshake_request::SaslHandshakeRequest;
use protocol::wire::Request;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use world::{ClockExt, World, lock};

/// Requests that may wait for their answers.
const IN_FLIGHT_MAX: usize = 256;
/// Greatest answer: above what [`crate::ConsumerOptions`] asks for, with room for one batch of any size in use.
const FRAME_BYTES_MAX: usize = 128 << 20;
/// Room that is made for an answer's bytes before they come.
const READ_BYTES: usize = 256 << 10;
/// The newest version that every broker since 2.4 reads; an older one answers it with error 35.
const API_VERSIONS: i16 = 3;

/// The mechanism that a login is made by.
const PLAIN: &str = "PLAIN";

/// Why a connection is of no use whose other end is a web server.
pub const SPEAKS_HTTP: &str = "what answers there speaks HTTP, not Kafka's protocol";
/// Why a connection is of no use whose other end wants TLS.
pub const SPEAKS_TLS: &str = "what answers there speaks TLS";
/// How an alert begins that TLS answers with to anything else: its kind, and the major version (RFC 8446, 5.1).
const TLS_ALERT: &[u8] = &[21, 3];
/// What a web server says first, also to rubbish: as the length of an answer it would be more than we take.
const HTTP: &[u8] = b"HTTP";

type Stream = Box<dyn world::Connection>;

/// An answer that is under way.
pub(crate) type Pending<R> = BoxFuture<'static, Result<<R as Request>::Response, ClientError>>;

/// An open connection to one broker, for those who know which one to ask.
pub struct Connection {
    world: World,
    client_id: String,
    versions: Versions,
    next_id: AtomicI32,
    requests: mpsc::Sender<Outgoing>,
    life: Arc<Life>,
}

/// What both tasks and all callers know of it.
struct Life {
    address: String,
    /// Why it is of no more use.
    ended: Mutex<Option<End>>,
    /// Whether the broker takes whoever is at this end: a login was good, or anything was answered but what every connection begins with.
    has_served: AtomicBool,
}

/// Why a connection is of no more use.
#[derive(Clone)]
enum End {
    /// The broker closed it, as the operating system words it.
    Closed(String),
    /// Anything else.
    Other(String),
}

impl From<String> for End {
    fn from(reason: String) -> End {
        End::Other(reason)
    }
}

struct Outgoing {
    frame: Bytes,
    waiting: Waiting,
}

struct Waiting {
    correlation_id: i32,
    reply: oneshot::Sender<Bytes>,
}

impl Life {
    /// The first reason is the one that is told.
    fn end(&self, reason: impl Into<End>) {
        lock(&self.ended).get_or_insert_with(|| reason.into());
    }

    fn lost(&self) -> ClientError {
        let address = self.address.clone();
        match lock(&self.ended).clone() {
            Some(End::Closed(_)) if !self.has_served.load(Ordering::Relaxed) => ClientError::TurnedAway { address },
            Some(End::Closed(reason) | End::Other(reason)) => ClientError::Lost { address, reason },
            None => ClientError::Lost { address, reason: "it is closed".to_owned() },
        }
    }
}

impl Connection {
    /// Connects and asks which versions the broker serves.
    ///
    /// # Errors
    /// It can't be reached within [`ClientOptions::connect_within`], or does not speak Kafka's protocol.
    pub async fn open(world: &World, options: &ClientOptions, address: &str) -> Result<Connection, ClientError> {
        let connecting = world.clock.timeout(options.connect_within, world.network.connect(address)).await;
        let lost = |reason: String| ClientError::Lost { address: address.to_owned(), reason };
        let stream = match connecting {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => return Err(lost(error.to_string())),
            None => {
                return Err(lost(format!(
                    "cannot connect to {address} within {} s",
                    in_seconds(options.connect_within)
                )));
            }
        };
        let life =
            Arc::new(Life { address: address.to_owned(), ended: Mutex::new(None), has_served: AtomicBool::new(false) });
        let (requests, outgoing) = mpsc::channel(IN_FLIGHT_MAX);
        let (waiting, waiters) = mpsc::channel(IN_FLIGHT_MAX);
        let (read, write) = tokio::io::split(stream);
        world.clock.spawn("client-write", Box::pin(write_frames(write, outgoing, waiting, life.clone())));
        world.clock.spawn("client-read", Box::pin(read_frames(read, waiters, life.clone())));
        let mut connection = Connection {
            world: world.clone(),
            client_id: options.client_id.clone(),
            versions: Versions::default(),
            next_id: AtomicI32::new(0),
            requests,
            life,
        };
        connection.versions = Versions::new(&connection.ask_versions(options.connect_within).await?);
        if let Some(login) = &options.login {
            connection.log_in(login, options.connect_within).await?;
        }
        Ok(connection)
    }

    /// Shows whose it is (KIP-152).
    async fn log_in(&self, login: &Login, within: Duration) -> Result<(), ClientError> {
        let what = || format!("log in at {} as {}", self.address(), login.user);
        let answer = self.call(&SaslHandshakeRequest { mechanism: PLAIN.to_owned() }, within).await?;
        ClientError::check(answer.error_code, None, what)?;
        let token = format!("\0{}\0{}", login.user, login.password);
        let answer = self.call(&SaslAuthenticateRequest { auth_bytes: token.into() }, within).await?;
        ClientError::check(answer.error_code, answer.error_message.as_deref(), what)?;
        self.life.has_served.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether it can still be used.
    #[must_use]
    pub fn is_open(&self) -> bool {
        lock(&self.life.ended).is_none() && !self.requests.is_closed()
    }

    /// The broker's address.
    pub(crate) fn address(&self) -> &str {
        &self.life.address
    }

    /// Whether the broker serves `R` in a version that we speak.
    pub(crate) fn serves<R: Request>(&self) -> bool {
        self.versions.pick::<R>().is_some()
    }

    /// Sends a request in the newest version that both sides speak, and waits for its answer: behind those to earlier requests.
    ///
    /// # Errors
    /// It was not sent, or there is no answer `within` that time; in the second case it is not known whether it was carried out.
    pub async fn call<R: Request>(&self, request: &R, within: Duration) -> Result<R::Response, ClientError> {
        self.begin(request, within).await?.await
    }

    /// Queues a request, behind those queued before. What comes back is its answer, which need not be waited for at once.
    pub(crate) async fn begin<R: Request>(&self, request: &R, within: Duration) -> Result<Pending<R>, ClientError> {
        let unserved = || ClientError::Unserved { address: self.address().to_owned(), api: R::KEY.name() };
        let version = self.versions.pick::<R>().ok_or_else(unserved)?;
        let answer = self.send(request, version).await?;
        let (life, clock) = (self.life.clone(), self.world.clock.clone());
        Ok(Box::pin(async move {
            let frame = match clock.timeout(within, answer).await {
                Some(frame) => frame.map_err(|_| life.lost())?,
                None => {
                    let late = ClientError::TimedOut { address: life.address.clone(), api: R::KEY.name(), within };
                    // Answers come in order: whatever is behind this one is late as well.
                    life.end(late.to_string());
                    return Err(late);
                }
            };
            if !matches!(R::KEY, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate) {
                life.has_served.store(true, Ordering::Relaxed);
            }
            let decoded = decode_response::<R>(frame, version);
            decoded.map(|(_, body)| body).map_err(|error| malformed::<R>(&life, &error))
        }))
    }

    async fn send<R: Request>(&self, request: &R, version: i16) -> Result<oneshot::Receiver<Bytes>, ClientError> {
        let correlation_id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = encode_request(correlation_id, Some(&self.client_id), version, request).map_err(|error| {
            ClientError::Impossible(format!(
                "the broker at {} takes {} in version {version} at most, which cannot say this: {error}",
                self.address(),
                R::KEY.name()
            ))
        })?;
        let (reply, answer) = oneshot::channel();
        let outgoing = Outgoing { frame: frame.into_bytes(), waiting: Waiting { correlation_id, reply } };
        self.requests.send(outgoing).await.map_err(|_| self.life.lost())?;
        Ok(answer)
    }

    /// The newest form first; a broker that does not know it says so in the oldest.
    async fn ask_versions(&self, within: Duration) -> Result<ApiVersionsResponse, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: "millstream".to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ApiVersionsRequest::default()
        };
        let frame = self.versions_frame(&request, API_VERSIONS, within).await?;
        let unknown = ErrorCode::UnsupportedVersion.number().to_be_bytes();
        let (frame, version) = if frame.get(4..6) == Some(&unknown) {
            (self.versions_frame(&ApiVersionsRequest::default(), 0, within).await?, 0)
        } else {
            (frame, API_VERSIONS)
        };
        let decoded = decode_response::<ApiVersionsRequest>(frame, version);
        let (_, answer) = decoded.map_err(|error| malformed::<ApiVersionsRequest>(&self.life, &error))?;
        ClientError::check(answer.error_code, None, || format!("ask {} for its versions", self.address()))?;
        Ok(answer)
    }

    async fn versions_frame(
        &self,
        request: &ApiVersionsRequest,
        version: i16,
        within: Duration,
    ) -> Result<Bytes, ClientError> {
        let answer = self.send(request, version).await?;
        match self.world.clock.timeout(within, answer).await {
            Some(frame) => frame.map_err(|_| self.life.lost()),
            None => Err(ClientError::TimedOut { address: self.address().to_owned(), api: "ApiVersions", within }),
        }
    }
}

fn malformed<R: Request>(life: &Life, error: &dyn std::fmt::Display) -> ClientError {
    ClientError::Malformed {
        address: life.address.clone(),
        what: <R::Response as protocol::wire::Message>::NAME,
        reason: error.to_string(),
    }
}

async fn write_frames(
    mut write: WriteHalf<Stream>,
    mut outgoing: mpsc::Receiver<Outgoing>,
    waiting: mpsc::Sender<Waiting>,
    life: Arc<Life>,
) {
    while let Some(Outgoing { frame, waiting: waiter }) = outgoing.recv().await {
        // The reader has ended where nobody takes this; it has said why.
        if waiting.send(waiter).await.is_err() {
            return;
        }
        let sent = async {
            write.write_all(&frame).await?;
            write.flush().await
        };
        if let Err(error) = sent.await {
            life.end(error.to_string());
            return;
        }
    }
}

async fn read_frames(mut read: ReadHalf<Stream>, mut waiters: mpsc::Receiver<Waiting>, life: Arc<Life>) {
    let mut received = BytesMut::new();
    while let Some(waiter) = waiters.recv().await {
        let answer = read_frame(&mut read, &mut received).await;
        let answer = answer.and_then(|frame| match frame.first_chunk() {
            Some(id) if i32::from_be_bytes(*id) == waiter.correlation_id => Ok(frame),
            _ => Err(End::Other("an answer to another request".to_owned())),
        });
        match answer {
            Ok(frame) => {
                // Whoever asked may have gone.
                let _is_heard = waiter.reply.send(frame);
            }
            Err(reason) => {
                life.end(reason);
                return;
            }
        }
    }
}

async fn read_frame(read: &mut ReadHalf<Stream>, received: &mut BytesMut) -> Result<Bytes, End> {
    loop {
        if received.starts_with(HTTP) {
            return Err(End::Other(SPEAKS_HTTP.to_owned()));
        }
        if received.starts_with(TLS_ALERT) {
            return Err(End::Other(SPEAKS_TLS.to_owned()));
        }
        if let Some(frame) = next_frame(received, FRAME_BYTES_MAX).map_err(|error| error.to_string())? {
            return Ok(frame);
        }
        received.reserve(READ_BYTES);
        match read.read_buf(received).await {
            Ok(0) => return Err(End::Closed("the broker closed it".to_owned())),
            Ok(_) => {}
            // So it is told where what we sent had not been read.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(End::Closed(error.to_string())),
            Err(error) => return Err(End::Other(error.to_string())),
        }
    }
}
