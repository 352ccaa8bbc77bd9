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
use serde_json::json;

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
    /// Takes the message and never says so.
    TakesAndIsSilent,
    /// Takes a message; of a batch all but the first.
    TakesAllButTheFirst,
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
    /// Messages in each batch.
    batches: Mutex<Vec<usize>>,
}

impl Sqs {
    /// Starts one.
    pub(crate) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { manner: Mutex::new(manner), taken: Mutex::default(), served: AtomicUsize::new(0), batches: Mutex::default() });
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
        self.taken_so_far()
    }

    /// The messages that were taken, whoever is still being served.
    ///
    /// # Panics
    /// If one is not a whole envelope in base64.
    pub(crate) fn taken_so_far(&self) -> Vec<Envelope> {
        self.shared.taken.lock().unwrap().iter().map(|wire| Envelope::decode(wire).expect("a whole envelope")).collect()
    }

    /// How many messages each batch had that came.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.shared.batches.lock().unwrap().clone()
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
            let is_batch = target == "amazonsqs.sendmessagebatch";
            assert!(is_batch || target == "amazonsqs.sendmessage", "the enqueuer asks for nothing else: {target}");
            let mut body = vec![0; length];
            stream.read_exact(&mut body)?;
            let manner = self.manner.lock().unwrap().clone();
            let request: serde_json::Value = serde_json::from_slice(&body).expect("the request is JSON");
            let answer = match manner {
                Manner::Takes => (200, self.take(&request, is_batch, 0)),
                Manner::TakesAllButTheFirst => (200, self.take(&request, is_batch, 1)),
                Manner::Answers(status, answer) => (status, answer),
                Manner::IsSilent => return stream.read_to_end(&mut Vec::new()).map(drop),
                Manner::TakesAndIsSilent => {
                    self.take(&request, is_batch, 0);
                    return stream.read_to_end(&mut Vec::new()).map(drop);
                }
                Manner::TakesAndCuts => {
                    self.take(&request, is_batch, 0);
                    return Ok(());
                }
            };
            let (status, answer) = answer;
            let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n", answer.len());
            stream.get_mut().write_all(format!("{head}{answer}").as_bytes())?;
        }
    }

    /// Takes a message, or a batch but for its first `refused`; the answer to it.
    fn take(&self, request: &serde_json::Value, is_batch: bool, refused: usize) -> String {
        const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";
        let keep = |body: &serde_json::Value| {
            let body = body.as_str().expect("the request has a body");
            self.taken.lock().unwrap().push(BASE64_STANDARD.decode(body).expect("the body is base64").into());
        };
        if !is_batch {
            keep(&request["MessageBody"]);
            return json!({ "MD5OfMessageBody": MD5, "MessageId": "1" }).to_string();
        }
        let entries = request["Entries"].as_array().expect("a batch has entries");
        self.batches.lock().unwrap().push(entries.len());
        let (failed, taken) = entries.split_at(refused);
        taken.iter().for_each(|entry| keep(&entry["MessageBody"]));
        let taken: Vec<_> = taken.iter().map(|entry| json!({ "Id": entry["Id"], "MessageId": "1", "MD5OfMessageBody": MD5 })).collect();
        let failed: Vec<_> = failed.iter().map(|entry| json!({ "Id": entry["Id"], "Code": "InternalError", "SenderFault": false })).collect();
        json!({ "Successful": taken, "Failed": failed }).to_string()
    }
}
