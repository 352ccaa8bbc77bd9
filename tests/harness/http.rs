//! A small HTTP/1.1 server for the harness's services: keep-alive, a handler for each request, and the two things that no
//! good server does: end the connection without an answer, or never answer.
//!
//! It runs on threads of its own, so that a test may block, and ends with its value. A connection that breaks is the
//! client's affair.

use std::{convert::Infallible, fmt, future::Future, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header::HeaderMap, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

/// Threads of a server.
const THREADS: usize = 2;

/// A request that came whole.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What is answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

impl Answer {
    /// 200 with JSON.
    pub(crate) fn json(value: &impl serde::Serialize) -> Self {
        Self::status(200, value)
    }

    /// JSON with another status.
    pub(crate) fn status(status: u16, value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("plain values");
        Self { status, headers: vec![("content-type", "application/json".into())], body: body.into() }
    }
}

/// What a service does with a request; `None` ends the connection without an answer.
pub(crate) trait Service: Send + Sync + 'static {
    fn answer(self: Arc<Self>, asked: Asked) -> impl Future<Output = Option<Answer>> + Send;
}

/// A running server.
pub(crate) struct Server {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

/// The connection is to end.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("cut on purpose")
    }
}

impl std::error::Error for Cut {}

impl Server {
    /// Listens at `address`; port 0 is any free one.
    ///
    /// # Panics
    /// If it cannot listen there.
    pub(crate) fn start<S: Service>(address: SocketAddr, service: Arc<S>) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap_or_else(|error| panic!("cannot listen at {address}: {error}"));
        let address = listener.local_addr().expect("a socket has an address");
        let runtime = runtime();
        runtime.spawn(accept(listener, service));
        Self { address, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // may be dropped by asynchronous code, which must not wait
        }
    }
}

/// Threads for a service of the harness.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().expect("threads")
}

async fn accept<S: Service>(listener: std::net::TcpListener, service: Arc<S>) {
    listener.set_nonblocking(true).expect("a socket");
    let listener = TcpListener::from_std(listener).expect("a socket");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true); // it may be gone already
        tokio::spawn(serve(stream, Arc::clone(&service)));
    }
}

async fn serve<S: Service>(stream: TcpStream, service: Arc<S>) {
    let handler = service_fn(move |request| handle(Arc::clone(&service), request));
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), handler);
    let _ = connection.await; // a client that goes away is its own affair
}

async fn handle<S: Service>(service: Arc<S>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let asked = Asked { method: head.method.to_string(), path: head.uri.path().to_owned(), headers: head.headers, body };
    let answer = service.answer(asked).await.ok_or(Cut)?;
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(answer.body)).expect("our own headers"))
}

/// Never comes back.
pub(crate) async fn hang() -> Infallible {
    std::future::pending().await
}
