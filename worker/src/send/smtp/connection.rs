//! One connection to a relay, from the socket to where a mail may begin: greeting, EHLO, TLS, AUTH.
//!
//! Where TLS is asked for, nothing but EHLO and STARTTLS goes out in clear. Limits of time are the caller's, but for the one
//! of each of a host's addresses: one that is dead must not hide another.

use std::{io, net::SocketAddr, time::Duration};

use replyfleet::settings::SmtpTls;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    sync::OwnedSemaphorePermit,
    time::timeout,
};

use super::{
    dialogue::{Dialogue, Failed},
    route::Way,
    tls::Tls,
};

/// How long one address of a host may take to accept a connection. The kernel would try for two minutes.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may take to say goodbye.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes both ways, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection on which a mail may begin.
pub(super) struct Connection {
    /// What goes over it.
    pub(super) dialogue: Dialogue<Box<dyn Stream>>,
    /// Its place among all that may stand at a time.
    place: OwnedSemaphorePermit,
}

impl Connection {
    /// Connects, and goes on to where a mail may begin. `hello` is our name; `None` for an address literal
    /// (RFC 5321 §4.1.4).
    ///
    /// # Errors
    /// A word.
    pub(super) async fn open(way: &Way, hello: Option<&str>, place: OwnedSemaphorePermit) -> Result<Self, String> {
        let kind = |error: io::Error| error.kind().to_string();
        let word = |failed: Failed| failed.word();
        let addresses = lookup_host((way.host.as_str(), way.port)).await.map_err(kind)?;
        let tcp = connect(addresses, ADDRESS_TIMEOUT).await?;
        // Else the end of a mail waits for the acknowledgement of what was before it: 40 ms a mail.
        tcp.set_nodelay(true).map_err(kind)?;
        let ehlo = format!("EHLO {}\r\n", hello.map_or_else(|| literal(tcp.local_addr().ok()), str::to_owned));
        let mut dialogue = match &way.tls {
            None => Dialogue::greeted(boxed(tcp), &ehlo).await.map_err(word)?,
            Some(tls) if way.protection == SmtpTls::Implicit => {
                let stream = tls.handshake(tcp).await.map_err(tls_word)?;
                Dialogue::greeted(boxed(stream), &ehlo).await.map_err(word)?
            }
            Some(tls) => starttls(tcp, tls, &ehlo).await?,
        };
        way.learn(dialogue.offers().message_bytes_max);
        if let Some(credentials) = &way.credentials {
            dialogue.authenticate(credentials).await.map_err(|text| format!("AUTH: {text}"))?;
        }
        Ok(Self { dialogue, place })
    }

    /// Gives its place to another, and says QUIT without waiting for an answer.
    pub(super) async fn make_room(mut self) -> OwnedSemaphorePermit {
        let _ = timeout(QUIT_TIMEOUT, self.dialogue.write("QUIT\r\n", 1)).await; // whatever comes of it, it is over
        self.place
    }

    /// Says QUIT, and waits but a moment for a server that may be the one that fell silent. `is_recipient_refused` if the
    /// server may all the same wait for a message: an empty one then ends that (RFC 2920 §3.1).
    pub(super) async fn part(mut self, is_recipient_refused: bool) {
        let farewell = async {
            while self.dialogue.has_unanswered() {
                if self.dialogue.answer().await?.code == 354 {
                    if !is_recipient_refused {
                        return Ok(()); // anything more would be a message
                    }
                    self.dialogue.write(".\r\n", 1).await?;
                }
            }
            self.dialogue.ask("QUIT\r\n").await.map(drop)
        };
        let _: Result<Result<(), Failed>, _> = timeout(QUIT_TIMEOUT, farewell).await; // whatever it says, it is over
    }
}

/// The first of these addresses that accepts a connection in time; the error is the last one's word.
async fn connect(addresses: impl Iterator<Item = SocketAddr>, time: Duration) -> Result<TcpStream, String> {
    let mut word = "no address".to_owned();
    for address in addresses {
        match timeout(time, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => word = error.kind().to_string(),
            Err(_) => word = "time-out".into(),
        }
    }
    Err(word)
}

/// STARTTLS (RFC 3207), a handshake, and EHLO again.
async fn starttls(tcp: TcpStream, tls: &Tls, ehlo: &str) -> Result<Dialogue<Box<dyn Stream>>, String> {
    let mut clear = Dialogue::greeted(tcp, ehlo).await.map_err(|failed| failed.word())?;
    if !clear.offers().has_starttls {
        return Err("STARTTLS: not offered".into());
    }
    clear.ask("STARTTLS\r\n").await.map_err(|failed| format!("STARTTLS: {}", failed.word()))?;
    // Answers that came in clear would be taken for answers that came by TLS (CVE-2021-38371 and its like).
    if !clear.is_quiet() {
        return Err("STARTTLS: more came than its answer".into());
    }
    let stream = tls.handshake(clear.into_stream()).await.map_err(tls_word)?;
    Dialogue::resumed(boxed(stream), ehlo).await.map_err(|failed| failed.word())
}

fn boxed(stream: impl Stream + 'static) -> Box<dyn Stream> {
    Box::new(stream)
}

fn tls_word(word: &str) -> String {
    format!("TLS: {word}")
}

/// RFC 5321 §4.1.3.
fn literal(address: Option<SocketAddr>) -> String {
    match address {
        Some(SocketAddr::V4(address)) => format!("[{}]", address.ip()),
        Some(SocketAddr::V6(address)) => format!("[IPv6:{}]", address.ip()),
        None => "[127.0.0.1]".into(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const TIME: Duration = Duration::from_millis(300);

    /// A listener whose queue is full, so that it answers nobody, and what fills it.
    async fn silent() -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let listener = socket.listen(1).expect("listening");
        let address = listener.local_addr().expect("bound");
        let mut waiting = Vec::new();
        while let Ok(stream) = timeout(TIME, TcpStream::connect(address)).await {
            waiting.push(stream.expect("in the queue"));
        }
        (listener, waiting)
    }

    #[tokio::test]
    async fn an_address_that_is_silent_or_closed_does_not_hide_the_next() {
        let good = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let (listener, _waiting) = silent().await;
        let closed = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port").local_addr().expect("bound");
        let (good, silent) = (good.local_addr().expect("bound"), listener.local_addr().expect("bound"));
        for (addresses, want) in [
            (vec![good], Ok(good)),
            (vec![silent, closed, good], Ok(good)),
            (vec![closed, silent], Err("time-out")),
            (vec![silent, closed], Err("connection refused")),
            (vec![], Err("no address")),
        ] {
            let connected = connect(addresses.iter().copied(), TIME).await.map(|stream| stream.peer_addr().expect("connected"));
            assert_eq!(connected, want.map_err(str::to_owned), "{addresses:?}");
        }
    }
}
