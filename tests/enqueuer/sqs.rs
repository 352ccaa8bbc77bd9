//! An HTTP server on loopback that is an SQS endpoint to the enqueuer, or a broken one.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use replyfleet::envelope::Envelope;
use replyfleet_tests as harness;

/// How the endpoint answers.
#[derive(Clone)]
pub(crate) enum Manner {
    /// Takes the message.
    Takes,
    /// Answers with a status and a body, and takes nothing.
    Answers(u16, String),
    /// Reads, and never answers.
    IsSilent,
    /// Takes the message and cuts the connection before it says so.
    TakesAndCuts,
}

/// The endpoint. Its threads end with the test process.
pub(crate) struct Sqs {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    manner: Mutex<Manner>,
    taken: Mutex<Vec<Bytes>>,
    served: AtomicUsize,
}

impl Sqs {
    /// Starts one.
    pub(crate) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { manner: Mutex::new(manner), taken: Mutex::default(), served: AtomicUsize::new(0) });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&for_thread);
                shared.served.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    // The client's end of a connection may vanish at any moment: that is what is tested.
                    let _ = shared.serve(connection);
                    shared.served.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it answers so.
    pub(crate) fn set_manner(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// The messages that were taken, once every connection that was made is served.
    ///
    /// # Panics
    /// If one is not a whole envelope in base64.
    pub(crate) fn taken(&self) -> Vec<Envelope> {
        // Connections are accepted in their order: once ours is answered, all before it are being served.
        let mut probe = TcpStream::connect(self.address).unwrap();
        probe.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        probe.read_to_end(&mut Vec::new()).unwrap();
        harness::wait_for("the endpoint to serve every connection", Duration::from_secs(10), || {
            (self.shared.served.load(Ordering::SeqCst) == 0).then_some(())
        });
        self.shared.taken.lock().unwrap().iter().map(|wire| Envelope::decode(wire).expect("a whole envelope")).collect()
    }
}

impl Shared {
    fn serve(&self, connection: TcpStream) -> std::io::Result<()> {
        connection.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut stream = BufReader::new(connection);
        // A client may send several requests on one connection.
        loop {
            let (mut length, mut target, mut lines) = (0, String::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line)? == 0 {
                    return Ok(()); // torn off: nothing was asked
                }
                lines += 1;
                let line = line.trim_end().to_ascii_lowercase();
                match line.split_once(": ") {
                    Some(("content-length", value)) => length = value.parse().unwrap(),
                    Some(("x-amz-target", value)) => target = value.to_owned(),
                    _ if line.is_empty() => break,
                    _ => {}
                }
            }
            if target.is_empty() && lines == 2 {
                return stream.get_mut().write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"); // the probe
            }
            assert_eq!(target, "amazonsqs.sendmessage", "the enqueuer asks for nothing else");
            let mut body = vec![0; length];
            stream.read_exact(&mut body)?;
            let manner = self.manner.lock().unwrap().clone();
            let (status, answer) = match manner {
                Manner::Takes => {
                    self.take(&body);
                    (200, r#"{"MD5OfMessageBody":"d41d8cd98f00b204e9800998ecf8427e","MessageId":"1"}"#.to_owned())
                }
                Manner::Answers(status, answer) => (status, answer),
                Manner::IsSilent => return stream.read_to_end(&mut Vec::new()).map(drop),
                Manner::TakesAndCuts => {
                    self.take(&body);
                    return Ok(());
                }
            };
            let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n", answer.len());
            stream.get_mut().write_all(format!("{head}{answer}").as_bytes())?;
        }
    }

    fn take(&self, request: &[u8]) {
        let request: serde_json::Value = serde_json::from_slice(request).expect("the request is JSON");
        let body = request["MessageBody"].as_str().expect("the request has a body");
        self.taken.lock().unwrap().push(BASE64_STANDARD.decode(body).expect("the body is base64").into());
    }
}
