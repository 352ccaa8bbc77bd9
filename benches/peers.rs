//! Those to whom replies go, on loopback: an SMTP server and SES's `SendEmail` over plain HTTP.
//!
//! They do as little as they can: read to the end of each message, count it, say yes. Their threads end with the process.
//! A connection that breaks ends its thread; the count then stays behind, and whoever waits for it says so.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, ensure};

/// What is read at a time by a peer in a hurry: a multiple of what loopback delivers.
const READ_BYTES: usize = 256 << 10;
/// What a slow peer reads at a time, and how long it rests in between.
const SLOW_BYTES: usize = 64 << 10;
const SLOW_REST: Duration = Duration::from_millis(3);
const END_OF_MESSAGE: &[u8] = b"\r\n.\r\n";
/// What SES answers to `GetAccount`: an account whose own rate bounds nothing here.
const ACCOUNT: &str =
    r#"{"SendingEnabled":true,"ProductionAccessEnabled":true,"SendQuota":{"Max24HourSend":1e9,"MaxSendRate":1e6,"SentLast24Hours":0.0}}"#;
const SENT: &str = r#"{"MessageId":"0102018f0e1d2c3b-00000000-0000-4000-8000-000000000000-000000"}"#;

/// What arrived so far.
#[derive(Clone, Default)]
pub(crate) struct Arrived {
    /// Messages by SMTP, and the bytes that the last one took after DATA.
    pub(crate) smtp: usize,
    pub(crate) smtp_bytes: usize,
    /// Messages by HTTP, and the last request, head and body.
    pub(crate) ses: usize,
    pub(crate) ses_request: Arc<[u8]>,
    /// Peers that have read DATA and hold still.
    held: usize,
    /// Whether SMTP peers hold still after DATA, and are slow afterwards.
    is_slow: bool,
    is_holding: bool,
}

/// Both peers.
#[derive(Clone)]
pub(crate) struct Peers {
    smtp: SocketAddr,
    http: SocketAddr,
    arrived: Arc<(Mutex<Arrived>, Condvar)>,
}

impl Peers {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (smtp, http) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let peers = Self { smtp: smtp.local_addr()?, http: http.local_addr()?, arrived: Arc::default() };
        peers.listen(smtp, Self::serve_smtp);
        peers.listen(http, Self::serve_http);
        Ok(peers)
    }

    pub(crate) fn smtp(&self) -> SocketAddr {
        self.smtp
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// Begins to count anew. `is_slow`: SMTP peers hold still once they have read DATA, until [`Peers::go_on`].
    pub(crate) fn reset(&self, is_slow: bool) {
        *self.lock() = Arrived { is_slow, is_holding: is_slow, ..Arrived::default() };
    }

    /// Waits until what arrived is enough, and returns it.
    pub(crate) fn wait_for(&self, limit: Duration, is_enough: impl Fn(&Arrived) -> bool) -> anyhow::Result<Arrived> {
        let waiting = self.arrived.1.wait_timeout_while(self.lock(), limit, |arrived| !is_enough(arrived));
        let (arrived, timed_out) = waiting.unwrap_or_else(PoisonError::into_inner);
        ensure!(!timed_out.timed_out(), "{} replies by SMTP and {} by SES arrived within {limit:?}", arrived.smtp, arrived.ses);
        Ok(arrived.clone())
    }

    /// Waits until so many peers hold still, or no more come; returns how many do.
    pub(crate) fn wait_for_held(&self, wanted: usize, limit: Duration) -> usize {
        let waiting = self.arrived.1.wait_timeout_while(self.lock(), limit, |arrived| arrived.held < wanted);
        waiting.unwrap_or_else(PoisonError::into_inner).0.held
    }

    /// Lets those who hold still go on, slowly.
    pub(crate) fn go_on(&self) {
        self.lock().is_holding = false;
        self.arrived.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut Arrived)) {
        change(&mut self.lock());
        self.arrived.1.notify_all();
    }

    fn listen(&self, listener: TcpListener, serve: fn(&Self, TcpStream) -> anyhow::Result<()>) {
        let peers = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let peers = peers.clone();
                std::thread::spawn(move || serve(&peers, stream));
            }
        });
    }

    /// RFC 5321 as far as a client needs it that makes no mistakes.
    fn serve_smtp(&self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::with_capacity(READ_BYTES, stream);
        let mut answers = b"220 sink.example.net ESMTP\r\n".to_vec();
        let mut line = Vec::new();
        loop {
            // Pipelined commands are answered together (RFC 2920 §3.2).
            if stream.buffer().is_empty() {
                stream.get_mut().write_all(&answers)?;
                answers.clear();
            }
            line.clear();
            if stream.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let verb = line.get(..4).map(<[u8]>::to_ascii_uppercase).unwrap_or_default();
            let answer: &[u8] = match verb.as_slice() {
                b"EHLO" => b"250-sink.example.net\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
                b"DATA" => {
                    answers.extend(b"354 go on\r\n");
                    stream.get_mut().write_all(&answers)?;
                    answers.clear();
                    let bytes = self.read_message(&mut stream)?;
                    self.note(|arrived| (arrived.smtp, arrived.smtp_bytes) = (arrived.smtp + 1, bytes));
                    b"250 taken\r\n"
                }
                b"QUIT" => return Ok(stream.get_mut().write_all(b"221 bye\r\n")?),
                _ => b"250 ok\r\n",
            };
            answers.extend(answer);
        }
    }

    /// Reads to the end of the message. Only the end of what was read is looked at: no client of ours sends anything behind
    /// a message before it was answered.
    fn read_message(&self, stream: &mut BufReader<TcpStream>) -> anyhow::Result<usize> {
        let is_slow = self.hold();
        let mut end = [0; END_OF_MESSAGE.len()];
        let mut total = 0;
        while end != *END_OF_MESSAGE {
            let found = stream.fill_buf()?;
            let read = if is_slow { found.len().min(SLOW_BYTES) } else { found.len() };
            ensure!(read > 0, "the connection ended within a message");
            let kept = read.min(end.len());
            end.rotate_left(kept);
            let at = end.len() - kept;
            end[at..].copy_from_slice(&found[read - kept..read]);
            stream.consume(read);
            total += read;
            if is_slow {
                std::thread::park_timeout(SLOW_REST);
            }
        }
        Ok(total)
    }

    /// Holds still if that is asked for; returns whether to be slow.
    fn hold(&self) -> bool {
        let mut arrived = self.lock();
        if arrived.is_holding {
            arrived.held += 1;
            self.arrived.1.notify_all();
            arrived = self.arrived.1.wait_while(arrived, |arrived| arrived.is_holding).unwrap_or_else(PoisonError::into_inner);
        }
        arrived.is_slow
    }

    fn serve_http(&self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::with_capacity(READ_BYTES, stream);
        let mut request = Vec::new();
        loop {
            request.clear();
            let mut length = 0;
            let head = loop {
                let start = request.len();
                if stream.read_until(b'\n', &mut request)? == 0 {
                    return Ok(());
                }
                match &request[start..] {
                    b"\r\n" => break request.len(),
                    line => length = content_length(line)?.unwrap_or(length),
                }
            };
            request.resize(head + length, 0);
            stream.read_exact(&mut request[head..])?;
            let is_send = request.starts_with(b"POST ");
            answer(stream.get_mut(), if is_send { SENT } else { ACCOUNT })?;
            if is_send {
                self.note(|arrived| (arrived.ses, arrived.ses_request) = (arrived.ses + 1, request.as_slice().into()));
            }
        }
    }
}

fn content_length(line: &[u8]) -> anyhow::Result<Option<usize>> {
    let line = std::str::from_utf8(line)?;
    let length = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.map(|(_, length)| length.trim().parse().context("content-length")).transpose()
}

fn answer(stream: &mut TcpStream, body: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all([head.as_str(), body].concat().as_bytes())
}
