//! An HTTPS endpoint on loopback that says yes to SQS's `SendMessage`, as the JSON protocol has it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::certificates::Certificates;

/// What SQS answers; the digest is not the body's, and no client of ours looks at it.
const ANSWER: &str = r#"{"MD5OfMessageBody":"d41d8cd98f00b204e9800998ecf8427e","MessageId":"5fea7756-0ea4-451a-a703-a558b933e274"}"#;

/// The endpoint; its thread ends with the process.
pub(crate) struct Endpoint {
    url: String,
    accepted: Arc<AtomicUsize>,
}

impl Endpoint {
    pub(crate) fn start(certificates: &Certificates) -> anyhow::Result<Self> {
        let chain = CertificateDer::pem_file_iter(certificates.chain_pem())?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(certificates.server_key())?;
        let config = Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("https://{}", listener.local_addr()?);
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        // One client at a time: the programs take turns.
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // A connection that fails shows in the client's status and in the count.
                let _ = serve(connection, Arc::clone(&config), &count);
            }
        });
        Ok(Self { url, accepted })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many messages were taken.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Serves one request, and counts it if it is a whole `SendMessage`.
fn serve(connection: TcpStream, config: Arc<ServerConfig>, accepted: &AtomicUsize) -> anyhow::Result<()> {
    connection.set_nodelay(true)?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, connection));
    let (mut is_send, mut length) = (false, 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse()?,
            Some(("x-amz-target", target)) => is_send = target == "amazonsqs.sendmessage",
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    is_send &= body.ends_with(b"}") && body.windows(13).any(|window| window == b"\"MessageBody\"");
    if is_send {
        accepted.fetch_add(1, Ordering::SeqCst);
    }
    let status = if is_send { "200 OK" } else { "400 Bad Request" };
    let stream = stream.get_mut();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len())?;
    stream.flush().context("answer")
}
