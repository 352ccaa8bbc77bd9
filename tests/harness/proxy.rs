//! A TCP proxy that stands before anything and makes the network bad: late, cut, silent, reset, closed on one side, refused.
//!
//! What it does is one [`Mode`], changed while it runs; connections that stand follow at once. It looks into nothing.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    runtime::Runtime,
    sync::watch,
    time::Instant,
};

use crate::http::runtime;

/// What is read at a time.
const BUFFER_BYTES: usize = 16 << 10;

/// How the network is.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Mode {
    /// Every piece arrives so much later, in each direction.
    pub latency: Duration,
    /// Nothing arrives; connections stand, and new ones too. What was under way arrives when this is over.
    pub is_black_hole: bool,
    /// New connections are refused: nobody listens.
    pub is_refusing: bool,
    /// A connection is reset once the client has sent so many bytes.
    pub reset_after_sent: Option<usize>,
    /// A connection is reset once the client was sent so many bytes.
    pub reset_after_answered: Option<usize>,
    /// Once the client was sent so many bytes, it is told that there will be no more; what it sends still arrives.
    pub close_after_answered: Option<usize>,
}

#[derive(Clone, Default)]
struct State {
    mode: Mode,
    /// How often all connections were to be reset.
    resets: u64,
}

/// A running proxy.
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    listening: watch::Receiver<bool>,
    connections: Arc<AtomicU64>,
    runtime: Option<Runtime>,
}

impl Proxy {
    /// A proxy before `target`, on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start(target: SocketAddr) -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), target)
    }

    /// A proxy before `target` at this address; port 0 is any free one.
    ///
    /// # Panics
    /// If it cannot listen there.
    pub fn start_at(address: SocketAddr, target: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap_or_else(|error| panic!("cannot listen at {address}: {error}"));
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("a socket has an address");
        let (state, states) = watch::channel(State::default());
        let (tell, listening) = watch::channel(true);
        let connections = Arc::new(AtomicU64::new(0));
        let runtime = runtime();
        let count = Arc::clone(&connections);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            listen(listener, target, states, tell, count).await;
        });
        Self { address, state, listening, connections, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how the network is. When this returns, it is so for new connections.
    ///
    /// # Panics
    /// If the proxy has died.
    pub fn set(&self, mode: Mode) {
        let wants_listening = !mode.is_refusing;
        self.state.send_modify(|state| state.mode = mode);
        let is_so = || *self.listening.borrow() == wants_listening;
        crate::wait_for("the proxy to listen, or not", Duration::from_secs(10), || is_so().then_some(()));
    }

    /// Resets every connection that stands now.
    pub fn reset_all(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }

    /// How many connections were taken so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn listen(
    mut listener: TcpListener,
    target: SocketAddr,
    mut states: watch::Receiver<State>,
    tell: watch::Sender<bool>,
    connections: Arc<AtomicU64>,
) {
    let address = listener.local_addr().expect("a socket has an address");
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted.ok(),
            changed = states.changed() => match changed {
                Ok(()) => None,
                Err(_) => return,
            },
        };
        if let Some((client, _)) = accepted {
            connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(client, target, states.clone()));
        }
        if states.borrow_and_update().mode.is_refusing {
            drop(listener);
            let _ = tell.send(false); // nobody may be interested
            if states.wait_for(|state| !state.mode.is_refusing).await.is_err() {
                return;
            }
            listener = TcpListener::bind(address).await.expect("the port is still ours");
        }
        let _ = tell.send(true);
    }
}

/// How one direction of a connection ended.
enum End {
    /// It is to be reset.
    Reset,
    /// One side closed, and the other was told.
    Closed,
}

async fn serve(client: TcpStream, target: SocketAddr, mut states: watch::Receiver<State>) {
    let resets = states.borrow_and_update().resets;
    // Who connects into a black hole has a connection: the system makes it.
    if states.wait_for(|state| !state.mode.is_black_hole || state.resets != resets).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        let _ = client.set_zero_linger(); // it may be gone already
        return;
    };
    let (mut client, mut server) = (client, server);
    let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    let end = {
        let ((client_in, client_out), (server_in, server_out)) = (client.split(), server.split());
        let sent = pump(client_in, server_out, states.clone(), resets, |mode| (mode.reset_after_sent, None));
        let answered = pump(server_in, client_out, states, resets, |mode| (mode.reset_after_answered, mode.close_after_answered));
        tokio::pin!(sent, answered);
        // A side that closed leaves the other its say; a reset ends both.
        tokio::select! {
            end = &mut sent => if matches!(end, End::Reset) { end } else { answered.await },
            end = &mut answered => if matches!(end, End::Reset) { end } else { sent.await },
        }
    };
    if matches!(end, End::Reset) {
        let _ = client.set_zero_linger().and_then(|()| server.set_zero_linger());
    }
}

/// Moves bytes one way. `limits` says after how many to reset, and to close.
async fn pump(
    mut from: tcp::ReadHalf<'_>,
    mut to: tcp::WriteHalf<'_>,
    mut states: watch::Receiver<State>,
    resets: u64,
    limits: fn(&Mode) -> (Option<usize>, Option<usize>),
) -> End {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut passed = 0;
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            changed = states.changed() => {
                if changed.is_err() || states.borrow_and_update().resets != resets {
                    return End::Reset;
                }
                continue;
            }
        };
        // What was read in a black hole stays in it until it is over.
        let state = match states.wait_for(|state| !state.mode.is_black_hole || state.resets != resets).await {
            Ok(state) => state.clone(),
            Err(_) => return End::Reset,
        };
        if state.resets != resets {
            return End::Reset;
        }
        let Ok(read) = read else { return End::Reset };
        if read == 0 {
            let _ = to.shutdown().await; // it may be gone already
            return End::Closed;
        }
        if !state.mode.latency.is_zero() {
            tokio::time::sleep_until(Instant::now() + state.mode.latency).await;
        }
        let (reset_after, close_after) = limits(&state.mode);
        let left = |limit: Option<usize>| limit.map_or(read, |limit| limit.saturating_sub(passed).min(read));
        let (until_reset, until_close) = (left(reset_after), left(close_after));
        let written = to.write_all(&buffer[..until_reset.min(until_close)]).await;
        if written.is_err() || until_reset < read {
            return End::Reset;
        }
        if until_close < read {
            let _ = to.shutdown().await;
            return End::Closed;
        }
        passed += read;
    }
}
