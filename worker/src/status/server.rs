//! Serves the status page on loopback: `/`, `/status.json`, `/healthz`, `/readyz`, `/metrics`.
//!
//! Everybody on the machine may ask, so nothing that is served tells of a requester, and nothing can be changed here. A web page
//! elsewhere that has its own name point at this machine (DNS rebinding) is told by the name it asks for. Connections, their
//! time and the size of a header are bounded; who asks for too much is left waiting, and the worker's messages are not.
//! What fails in here ends a connection, and is nobody else's affair.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use replyfleet::settings::StatusListen;
use tokio::{net::TcpListener, sync::Semaphore};

use super::{
    Readiness, Status,
    page::{self, Wish},
    view::State,
};
use crate::metrics::prometheus;

/// Connections at a time. One more waits until another ends, which it does within [`CONNECTION_MAX`].
const CONNECTIONS_MAX: usize = 16;
/// The longest that a connection lasts: one question and its answer.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// The longest that a header takes to come.
const HEADER_MAX: Duration = Duration::from_secs(5);
/// Bytes of a request that are read; hyper takes no less.
const REQUEST_BYTES_MAX: usize = 8_192;
/// Fields of a header; more are refused with 431.
const FIELDS_MAX: usize = 64;
/// How long a listener that cannot accept is left alone: most often there are no more file descriptors.
const PAUSE: Duration = Duration::from_secs(1);
/// The names by which a browser on this machine, or behind `ssh -L`, asks for us.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// For every answer: it is as of now, it is what it says, and no other page shows or reads it.
const EVERY_ANSWER: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CONNECTION, "close"),
];

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// Begins to serve, if the settings say where; says in the log where that is, or why not.
pub async fn begin(listen: StatusListen, status: &Arc<Status>) {
    let StatusListen::At(address) = listen else { return };
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%address, error = %error, "the status page is not served; status.listen may name another port, or off");
            return;
        }
    };
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(%address, "the status page is served");
    tokio::spawn(accept(listener, Arc::clone(status)));
}

async fn accept(listener: TcpListener, status: Arc<Status>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let status = Arc::clone(&status);
        tokio::spawn(async move {
            let answering = service_fn(move |request| {
                let status = Arc::clone(&status);
                async move { Ok::<_, Infallible>(respond(request, &status)) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEADER_MAX).max_buf_size(REQUEST_BYTES_MAX).max_headers(FIELDS_MAX).keep_alive(false);
            // Late or broken, it is the client's affair.
            let _ = tokio::time::timeout(CONNECTION_MAX, server.serve_connection(TokioIo::new(stream), answering)).await;
            drop(place);
        });
    }
}

/// An answer before it is one.
struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: String,
    more: Vec<(HeaderName, String)>,
}

impl Answer {
    fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, kind: TEXT, body: body.into() + "\n", more: Vec::new() }
    }
}

fn respond(request: Request<Incoming>, status: &Status) -> Response<Full<Bytes>> {
    let (asked, _) = request.into_parts(); // no body is read
    let Answer { status, kind, body, more } = answer(&asked, status);
    let length = body.len();
    let body = if asked.method == Method::HEAD { Bytes::new() } else { body.into() };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.extend(EVERY_ANSWER.map(|(name, value)| (name, HeaderValue::from_static(value))));
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    fields.extend(more.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))));
    response
}

fn answer(asked: &Parts, status: &Status) -> Answer {
    if !is_for_us(asked) {
        return Answer::text(StatusCode::MISDIRECTED_REQUEST, "ask for localhost, 127.0.0.1 or [::1]");
    }
    if asked.method != Method::GET && asked.method != Method::HEAD {
        let mut refused = Answer::text(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here; use GET");
        refused.more.push((header::ALLOW, "GET, HEAD".into()));
        return refused;
    }
    match asked.uri.path() {
        "/" => page(asked, status),
        "/status.json" => match serde_json::to_string(&status.view()) {
            Ok(body) => Answer { status: StatusCode::OK, kind: JSON, body, more: Vec::new() },
            Err(error) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        "/healthz" if status.is_alive() => Answer::text(StatusCode::OK, "ok"),
        "/healthz" => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "the loop does not move"),
        "/readyz" => ready(status.readiness()),
        "/metrics" => metrics(status),
        _ => Answer::text(StatusCode::NOT_FOUND, "there are /, /status.json, /metrics, /healthz and /readyz"),
    }
}

fn page(asked: &Parts, status: &Status) -> Answer {
    let wish = asked.uri.query().map(Wish::read).unwrap_or_default();
    let body = page::render(&status.view(), wish);
    let mut more = vec![(header::CONTENT_SECURITY_POLICY, page::policy().to_owned())];
    more.extend(wish.every_s.map(|seconds| (header::REFRESH, seconds.to_string())));
    Answer { status: StatusCode::OK, kind: HTML, body, more }
}

fn ready(readiness: Readiness) -> Answer {
    let away = |text: String| Answer::text(StatusCode::SERVICE_UNAVAILABLE, text);
    match (readiness.state, readiness.waits_for) {
        (State::Answering, _) => Answer::text(StatusCode::OK, "ok"),
        (State::Starting, Some(what)) => away(format!("starting: waiting for {what}")),
        (State::Starting, None) => away("starting".into()),
        (State::Blocked, _) => away("nothing can be answered: what everything needs is away".into()),
        (State::Stopping, _) => away("stopping".into()),
    }
}

/// The Prometheus text format, version 0.0.4.
fn metrics(status: &Status) -> Answer {
    let Some(metrics) = status.metrics() else { return Answer::text(StatusCode::SERVICE_UNAVAILABLE, "starting: nothing is counted yet") };
    let body = prometheus::render(&metrics.figures(), &metrics.gauges(), &metrics.breakers());
    Answer { status: StatusCode::OK, kind: prometheus::CONTENT_TYPE, body, more: Vec::new() }
}

/// Whether a request names this machine as the one it is for (RFC 9112 §3.2), once.
fn is_for_us(asked: &Parts) -> bool {
    let mut hosts = asked.headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let is_ours = |host: &str| {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        HOSTS.iter().any(|ours| name.eq_ignore_ascii_case(ours))
    };
    host.to_str().is_ok_and(is_ours) && asked.uri.authority().is_none_or(|authority| is_ours(authority.as_str()))
}
