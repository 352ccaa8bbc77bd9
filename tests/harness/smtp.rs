//! An SMTP server that takes mail and remembers it, able to misbehave at every stage (RFC 5321, with PIPELINING).
//!
//! The stages, as [`Faults`] know them: `CONNECT`, `EHLO`, `MAIL`, `RCPT`, `DATA` (the command, and [`Fault::CutAfter`] within
//! the message), `DOT` (the message is there whole; acting is accepting it). It delivers nothing and speaks no TLS.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

use crate::{
    arrivals::{Arrival, Arrivals},
    faults::{Fault, Faults, Transport},
    http::{hang, runtime},
};

/// What EHLO is answered.
const EXTENSIONS: &str = "250-sink.example.net\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n";

/// A running sink.
pub struct Sink {
    address: SocketAddr,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

struct State {
    faults: Faults,
    arrivals: Arrivals,
}

/// The connection is to end.
struct End;

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        End // a client that goes away is its own affair
    }
}

impl Sink {
    /// A sink on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// A sink at this address; port 0 is any free one.
    ///
    /// # Panics
    /// If it cannot listen there.
    pub fn start_at(address: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap_or_else(|error| panic!("cannot listen at {address}: {error}"));
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("a socket has an address");
        let state = Arc::new(State { faults: Faults::default(), arrivals: Arrivals::default() });
        let runtime = runtime();
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    let state = Arc::clone(&shared);
                    tokio::spawn(async move { drop(serve(&state, stream).await) });
                }
            }
        });
        Self { address, state, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The knobs; the actions are the stages.
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// Every mail that was accepted, in order; also those whose answer was lost.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state.arrivals.all()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(state: &State, stream: TcpStream) -> Result<(), End> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let (mut recipients, mut line) = (Vec::new(), Vec::new());
    stage(state, &mut stream, "CONNECT", || "220 sink.example.net ESMTP\r\n".into()).await?;
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        match text.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => stage(state, &mut stream, "EHLO", || EXTENSIONS.into()).await?,
            "MAIL" => {
                recipients.clear();
                stage(state, &mut stream, "MAIL", || "250 ok\r\n".into()).await?;
            }
            "RCPT" => stage(state, &mut stream, "RCPT", || taken_recipient(&mut recipients, &text)).await?,
            "DATA" if recipients.is_empty() => stream.write_all(b"503 no recipients\r\n").await?,
            "DATA" => data(state, &mut stream, std::mem::take(&mut recipients)).await?,
            "RSET" | "NOOP" => stream.write_all(b"250 ok\r\n").await?,
            "QUIT" => return Ok(stream.write_all(b"221 bye\r\n").await?),
            _ => stream.write_all(b"500 what\r\n").await?,
        }
    }
}

fn taken_recipient(recipients: &mut Vec<String>, line: &str) -> String {
    let address = line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(address, _)| address.to_owned());
    match address {
        Some(address) => {
            recipients.push(address);
            "250 ok\r\n".into()
        }
        None => "501 no address\r\n".into(),
    }
}

async fn data(state: &State, stream: &mut BufReader<TcpStream>, recipients: Vec<String>) -> Result<(), End> {
    let mut is_on = false;
    stage(state, stream, "DATA", || {
        is_on = true;
        "354 go on\r\n".into()
    })
    .await?;
    if !is_on {
        return Ok(());
    }
    let cut = state.faults.draw("DATA", |fault| matches!(fault, Fault::CutAfter { .. }));
    if let Some(Fault::CutAfter { bytes }) = cut {
        stream.read_exact(&mut vec![0; bytes]).await?; // a shorter mail waits here for its answer, and in vain
        return Err(End);
    }
    let (mut mail, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(End);
        }
        if line == b".\r\n" {
            break;
        }
        mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
    stage(state, stream, "DOT", || {
        state.arrivals.add(Arrival::new(recipients, String::new(), &mail));
        "250 taken\r\n".into()
    })
    .await
}

/// Does what a stage does, unless a fault is wanted there.
async fn stage(state: &State, stream: &mut BufReader<TcpStream>, name: &str, act: impl FnOnce() -> String) -> Result<(), End> {
    match state.faults.transport(name).await {
        Transport::Act => stream.write_all(act().as_bytes()).await?,
        Transport::Refuse(status, text) => stream.write_all(format!("{status} {text}\r\n").as_bytes()).await?,
        Transport::Cut => return Err(End),
        Transport::ActThenCut => {
            act();
            return Err(End);
        }
        Transport::Hang => match hang().await {},
        Transport::ActThenHang => {
            act();
            match hang().await {}
        }
    }
    Ok(())
}
