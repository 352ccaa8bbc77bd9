//! A CloudWatch endpoint of a test's own for `GetMetricData` (Smithy RPC v2 CBOR): it answers each call with the next of the
//! answers that the test laid ready, the last of them again and again. It checks no credentials and knows no metrics; what
//! the service makes of samples is the emulator's part, misbehaving is this one's.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::http::{Answer, Asked, Server, Service, hang};

/// One answer to one call.
#[derive(Clone, Debug)]
pub enum Reply {
    /// 200: the results, and whether there is another page.
    Page {
        /// The results.
        lines: Vec<Line>,
        /// The token of the page that follows.
        next: Option<&'static str>,
    },
    /// A status, and an error type such as `AccessDenied`.
    Error(u16, &'static str),
    /// The connection ends.
    Close,
    /// Nothing, for as long as anybody waits.
    Hang,
}

/// One result of a page.
#[derive(Clone, Debug)]
pub struct Line {
    /// The query's id.
    pub id: &'static str,
    /// `Complete`, `PartialData`, `InternalError` or `Forbidden`.
    pub status: &'static str,
    /// Seconds since 1970, and the figures.
    pub points: Vec<(u64, f64)>,
}

/// A running endpoint.
pub struct Endpoint {
    state: Arc<State>,
    server: Server,
}

struct State {
    replies: Mutex<VecDeque<Reply>>,
    calls: AtomicU64,
    bodies: Mutex<Vec<Vec<u8>>>,
}

impl Endpoint {
    /// An endpoint on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// Without a port.
    pub fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let state = Arc::new(State { replies: Mutex::new(replies.into_iter().collect()), calls: AtomicU64::new(0), bodies: Mutex::default() });
        Self { server: Server::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Arc::clone(&state)), state }
    }

    /// What the SDK calls the endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Lays other answers ready.
    ///
    /// # Panics
    /// After a panic of the server.
    pub fn set(&self, replies: impl IntoIterator<Item = Reply>) {
        *self.state.replies.lock().unwrap() = replies.into_iter().collect();
    }

    /// How often it was called.
    pub fn calls(&self) -> u64 {
        self.state.calls.load(Ordering::Relaxed)
    }

    /// Whether the latest call held this text, such as the token of a page.
    ///
    /// # Panics
    /// After a panic of the server.
    pub fn latest_has(&self, text: &str) -> bool {
        let bodies = self.state.bodies.lock().unwrap();
        bodies.last().is_some_and(|body| body.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}

impl Service for State {
    async fn answer(self: Arc<Self>, asked: Asked) -> Option<Answer> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bodies.lock().unwrap().push(asked.body.to_vec());
        let reply = {
            let mut replies = self.replies.lock().unwrap();
            if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() }
        };
        let (status, body) = match reply? {
            Reply::Close => return None,
            Reply::Hang => match hang().await {},
            Reply::Error(status, kind) => {
                let mut body = vec![0xa2];
                text(&mut body, "__type");
                text(&mut body, &format!("com.amazonaws.cloudwatch#{kind}"));
                text(&mut body, "message");
                text(&mut body, "as the test says");
                (status, body)
            }
            Reply::Page { lines, next } => (200, page(&lines, next)),
        };
        let headers = vec![("content-type", "application/cbor".into()), ("smithy-protocol", "rpc-v2-cbor".into())];
        Some(Answer { status, headers, body: body.into() })
    }
}

// CBOR (RFC 8949 section 3), as little of it as these answers take.

/// A head of this major type: 3 text, 4 array, 5 map, 6 tag.
fn head(out: &mut Vec<u8>, major: u8, number: u32) {
    out.push(major << 5 | 26);
    out.extend(number.to_be_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    head(out, 3, u32::try_from(text.len()).expect("short"));
    out.extend(text.as_bytes());
}

fn float(out: &mut Vec<u8>, value: f64) {
    out.push(0xfb);
    out.extend(value.to_be_bytes());
}

fn page(lines: &[Line], next: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    head(&mut out, 5, if next.is_some() { 2 } else { 1 });
    text(&mut out, "MetricDataResults");
    head(&mut out, 4, u32::try_from(lines.len()).expect("few"));
    for line in lines {
        let points = u32::try_from(line.points.len()).expect("few");
        head(&mut out, 5, 4);
        text(&mut out, "Id");
        text(&mut out, line.id);
        text(&mut out, "StatusCode");
        text(&mut out, line.status);
        text(&mut out, "Timestamps");
        head(&mut out, 4, points);
        for (second, _) in &line.points {
            head(&mut out, 6, 1); // a time, RFC 8949 section 3.4.2
            #[expect(clippy::cast_precision_loss, reason = "seconds of these centuries are exact")]
            float(&mut out, *second as f64);
        }
        text(&mut out, "Values");
        head(&mut out, 4, points);
        line.points.iter().for_each(|(_, value)| float(&mut out, *value));
    }
    if let Some(next) = next {
        text(&mut out, "NextToken");
        text(&mut out, next);
    }
    out
}
