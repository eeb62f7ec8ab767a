//! The seam Network: byte streams between hosts, with latency, cut links and resets.
//!
//! A link that is cut carries nothing: connections over it stall until it heals, as TCP does, and new ones time out. A
//! killed process' connections end; what it had written before still arrives. A paused process' listener takes connections
//! (its kernel does) and nobody answers. Writes may be split anywhere.

use crate::world::{HostId, Process, Trace, now, wait};
use async_trait::async_trait;
use base::{Micros, Seed, crc32c};
use bytes::{Buf, Bytes};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use world::{Connection, Listener, Network};

/// Bytes that a direction of a connection holds at the most; then its writer waits.
const WIRE_BYTES_MAX: usize = 64 << 10;
/// Connections that a listener holds before they are accepted.
const BACKLOG_MAX: usize = 64;
/// How long a connect over a cut link takes to fail.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Greatest one-way latency.
const LATENCY_MS_MAX: u64 = 3;

/// The network between all hosts; clones share it.
#[derive(Clone)]
pub struct Net {
    shared: Arc<Mutex<Shared>>,
    trace: Trace,
}

struct Shared {
    seed: Seed,
    cuts: BTreeSet<(HostId, HostId)>,
    listeners: BTreeMap<SocketAddr, Listening>,
    wires: Vec<Weak<Wire>>,
    next_port: u16,
    next_wire: u64,
}

struct Listening {
    process: u64,
    queue: mpsc::Sender<(SimConnection, SocketAddr)>,
}

impl Net {
    /// A network that connects everybody.
    #[must_use]
    pub fn new(seed: Seed, trace: Trace) -> Net {
        let shared = Shared {
            seed,
            cuts: BTreeSet::new(),
            listeners: BTreeMap::new(),
            wires: Vec::new(),
            next_port: 40_000,
            next_wire: 0,
        };
        Net { shared: Arc::new(Mutex::new(shared)), trace }
    }

    /// Cuts the link in this one direction.
    pub fn cut(&self, from: HostId, to: HostId) {
        self.trace.event("network", format_args!("cuts {} -> {}", from.0, to.0));
        self.trace.count("fault.link_cut");
        self.lock().cuts.insert((from, to));
    }

    /// Heals all links; stalled connections go on.
    pub fn heal(&self) {
        let wires = {
            let mut shared = self.lock();
            if shared.cuts.is_empty() {
                return;
            }
            shared.cuts.clear();
            shared.live_wires()
        };
        self.trace.event("network", format_args!("heals"));
        for wire in wires {
            wire.wake();
        }
    }

    /// Whether nothing gets from `from` to `to`.
    #[must_use]
    pub fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.lock().cuts.contains(&(from, to))
    }

    /// Resets the connections of a host, each with this chance per mille.
    pub fn reset(&self, host: HostId, chance: u64) {
        let victims: Vec<_> = {
            let mut shared = self.lock();
            let mut connections = BTreeSet::new();
            let wires = shared.live_wires();
            for wire in wires.iter().filter(|wire| wire.from == host || wire.to == host) {
                if shared.seed.chance(chance) {
                    connections.insert(wire.connection);
                }
            }
            wires.into_iter().filter(|wire| connections.contains(&wire.connection)).collect()
        };
        self.trace.event("network", format_args!("resets {} wires of {}", victims.len(), host.0));
        self.trace.count_by("fault.connection_reset", victims.len() as u64);
        for wire in victims {
            wire.reset();
        }
    }

    /// Which process listens there; 0 where none does.
    #[must_use]
    pub fn process_at(&self, address: &str) -> u64 {
        let Ok(address) = parse(address) else { return 0 };
        self.lock().listeners.get(&address).map_or(0, |listening| listening.process)
    }

    fn process_died(&self, process: u64) {
        let wires: Vec<_> = {
            let mut shared = self.lock();
            shared.listeners.retain(|_, listening| listening.process != process);
            shared.live_wires().into_iter().filter(|wire| wire.writer == process || wire.reader == process).collect()
        };
        for wire in wires {
            wire.end(End::Reset);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

impl Shared {
    fn live_wires(&mut self) -> Vec<Arc<Wire>> {
        self.wires.retain(|wire| wire.strong_count() > 0);
        self.wires.iter().filter_map(Weak::upgrade).collect()
    }

    fn port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(20_000);
        self.next_port
    }
}

/// One process' way to the network.
pub struct SimNetwork {
    net: Net,
    process: Arc<Process>,
}

impl SimNetwork {
    /// The network as `process` reaches it. Its sockets end with it.
    #[must_use]
    pub fn new(net: Net, process: Arc<Process>) -> SimNetwork {
        let (at_death, id) = (net.clone(), process.id);
        process.on_death(move || at_death.process_died(id));
        SimNetwork { net, process }
    }

    fn dial(&self, target: SocketAddr) -> io::Result<SimConnection> {
        let mut shared = self.net.lock();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let (queue, peer) = match shared.listeners.get(&target) {
            Some(listening) => (listening.queue.clone(), listening.process),
            None => return Err(refused()),
        };
        let local = SocketAddr::new(IpAddr::V4(self.process.host.ip()), shared.port());
        let remote = host_of(target);
        let (me, connection) = (self.process.host, shared.next_wire);
        shared.next_wire += 1;
        let there = Wire::new(connection, me, remote, self.process.id, peer);
        let back = Wire::new(connection, remote, me, peer, self.process.id);
        shared.wires.push(Arc::downgrade(&there));
        shared.wires.push(Arc::downgrade(&back));
        drop(shared);
        let theirs = SimConnection::new(self.net.clone(), Arc::clone(&there), Arc::clone(&back));
        let ours = SimConnection::new(self.net.clone(), back, there);
        queue.try_send((theirs, local)).map_err(|_| refused())?;
        Ok(ours)
    }
}

#[async_trait]
impl Network for SimNetwork {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.process.seam().await;
        let mut local = parse(address)?;
        local.set_ip(IpAddr::V4(self.process.host.ip()));
        let mut shared = self.net.lock();
        if local.port() == 0 {
            local.set_port(shared.port());
        }
        if shared.listeners.contains_key(&local) {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        let (queue, incoming) = mpsc::channel(BACKLOG_MAX);
        shared.listeners.insert(local, Listening { process: self.process.id, queue });
        drop(shared);
        self.net.trace.event(&self.process.name, format_args!("listens at {local}"));
        Ok(Box::new(SimListener {
            local,
            incoming: tokio::sync::Mutex::new(incoming),
            process: Arc::clone(&self.process),
            net: self.net.clone(),
        }))
    }

    async fn connect(&self, address: &str) -> io::Result<Box<dyn Connection>> {
        self.process.seam().await;
        let target = parse(address)?;
        let latency = self.net.lock().seed.below(2 * LATENCY_MS_MAX + 1);
        wait(Duration::from_millis(latency)).await;
        let (me, remote) = (self.process.host, host_of(target));
        let connected = if self.net.is_cut(me, remote) || self.net.is_cut(remote, me) {
            wait(CONNECT_TIMEOUT).await;
            Err(io::Error::from(io::ErrorKind::TimedOut))
        } else {
            self.dial(target)
        };
        let answer = connected.as_ref().map_or_else(ToString::to_string, |_| "ok".to_owned());
        self.net.trace.event(&self.process.name, format_args!("connect {target} -> {answer}"));
        Ok(Box::new(connected?))
    }
}

struct SimListener {
    local: SocketAddr,
    incoming: tokio::sync::Mutex<mpsc::Receiver<(SimConnection, SocketAddr)>>,
    process: Arc<Process>,
    net: Net,
}

#[async_trait]
impl Listener for SimListener {
    async fn accept(&self) -> io::Result<(Box<dyn Connection>, SocketAddr)> {
        match self.incoming.lock().await.recv().await {
            Some((connection, peer)) => {
                self.net.trace.event(&self.process.name, format_args!("accepts {peer}"));
                Ok((Box::new(connection), peer))
            }
            None => Err(io::Error::from(io::ErrorKind::NotConnected)),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut shared = self.net.lock();
        if shared.listeners.get(&self.local).is_some_and(|listening| listening.process == self.process.id) {
            shared.listeners.remove(&self.local);
        }
    }
}

/// One direction of a connection.
struct Wire {
    connection: u64,
    from: HostId,
    to: HostId,
    writer: u64,
    reader: u64,
    state: Mutex<WireState>,
}

#[derive(Default)]
struct WireState {
    chunks: VecDeque<(Micros, Bytes)>,
    bytes: usize,
    newest: Micros,
    end: Option<End>,
    /// The reader is gone: writes fail.
    deaf: bool,
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
}

/// How a direction ended, seen after the bytes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

impl Wire {
    fn new(connection: u64, from: HostId, to: HostId, writer: u64, reader: u64) -> Arc<Wire> {
        Arc::new(Wire { connection, from, to, writer, reader, state: Mutex::default() })
    }

    fn end(&self, end: End) {
        let mut state = lock(&self.state);
        state.end.get_or_insert(end);
        if end == End::Reset {
            state.deaf = true;
        }
        drop(state);
        self.wake();
    }

    fn reset(&self) {
        let mut state = lock(&self.state);
        state.chunks.clear();
        state.bytes = 0;
        state.end = Some(End::Reset);
        state.deaf = true;
        drop(state);
        self.wake();
    }

    fn wake(&self) {
        let mut state = lock(&self.state);
        let wakers = [state.read_waker.take(), state.write_waker.take()];
        drop(state);
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }
}

/// One end of a connection.
struct SimConnection {
    net: Net,
    incoming: Arc<Wire>,
    outgoing: Arc<Wire>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl SimConnection {
    fn new(net: Net, incoming: Arc<Wire>, outgoing: Arc<Wire>) -> SimConnection {
        SimConnection { net, incoming, outgoing, timer: None }
    }
}

impl Drop for SimConnection {
    fn drop(&mut self) {
        lock(&self.incoming.state).deaf = true;
        self.incoming.wake();
        self.outgoing.end(End::Closed);
    }
}

impl AsyncRead for SimConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let cut = this.net.is_cut(this.incoming.from, this.incoming.to);
            let mut state = lock(&this.incoming.state);
            let Some((due, _)) = state.chunks.front() else {
                return match state.end {
                    Some(End::Closed) => Poll::Ready(Ok(())),
                    Some(End::Reset) => Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset))),
                    None => {
                        state.read_waker = Some(cx.waker().clone());
                        Poll::Pending
                    }
                };
            };
            let due = *due;
            if cut {
                state.read_waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if due > now() {
                state.read_waker = Some(cx.waker().clone());
                drop(state);
                let timer = this.timer.insert(Box::pin(tokio::time::sleep(due.since(now()))));
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                continue;
            }
            let (_, chunk) = state.chunks.front_mut().expect("looked at above");
            let taken = chunk.len().min(buf.remaining());
            buf.put_slice(&chunk[..taken]);
            chunk.advance(taken);
            if chunk.is_empty() {
                state.chunks.pop_front();
            }
            state.bytes -= taken;
            let waker = state.write_waker.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for SimConnection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = &self.outgoing;
        let (latency, split) = {
            let mut shared = self.net.lock();
            (shared.seed.below(LATENCY_MS_MAX + 1), shared.seed.chance(50))
        };
        let mut state = lock(&wire.state);
        if state.deaf || state.end.is_some() {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::BrokenPipe)));
        }
        let room = WIRE_BYTES_MAX - state.bytes;
        if room == 0 {
            state.write_waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut taken = bytes.len().min(room);
        if split && taken > 1 {
            taken /= 2;
        }
        let due = Micros(now().0 + latency * 1000).max(state.newest);
        state.newest = due;
        state.bytes += taken;
        state.chunks.push_back((due, Bytes::copy_from_slice(&bytes[..taken])));
        let waker = state.read_waker.take();
        drop(state);
        let (from, to, crc) = (wire.from.0, wire.to.0, crc32c(&bytes[..taken]));
        self.net.trace.event("network", format_args!("wire {} {from} -> {to} {taken} {crc:08x}", wire.connection));
        if let Some(waker) = waker {
            waker.wake();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.end(End::Closed);
        Poll::Ready(Ok(()))
    }
}

fn parse(address: &str) -> io::Result<SocketAddr> {
    address.parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{address}: not an address of the simulation"))
    })
}

fn host_of(address: SocketAddr) -> HostId {
    match address.ip() {
        IpAddr::V4(ip) => HostId(ip.octets()[3]),
        IpAddr::V6(_) => HostId(0),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
