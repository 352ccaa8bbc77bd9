//! Asks a worker's own page: one GET over plain HTTP, for it listens on loopback only. What is too slow, too long or no
//! answer of ours is an error that names the address and what to look at.

use std::{str::FromStr, time::Duration};

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, Uri, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long the whole answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Six hours of minutes are a small part of this.
const BODY_BYTES_MAX: usize = 8 << 20;
const PATH: &str = "/status.json";

/// Where a worker's page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageUrl {
    /// Host and port.
    authority: String,
}

impl FromStr for PageUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no page of a worker: write http://HOST:PORT");
        let uri: Uri = if text.contains("://") { text.parse() } else { format!("http://{text}").parse() }.map_err(|_| wrong())?;
        let authority =
            uri.authority().filter(|authority| uri.scheme_str() == Some("http") && !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let has_bad_port = authority.port_u16().is_none() && authority.as_str() != authority.host();
        if has_bad_port || !["", "/", PATH].contains(&uri.path()) || uri.query().is_some() {
            return Err(wrong());
        }
        Ok(Self { authority: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)) })
    }
}

/// The page's `/status.json`.
///
/// # Errors
/// Nobody listens, or it is no such page.
pub(super) async fn fetch(url: &PageUrl) -> anyhow::Result<Bytes> {
    let at = format!("http://{}{PATH}", url.authority);
    let got = tokio::time::timeout(TIMEOUT, get(url)).await;
    match got {
        Ok(got) => got.with_context(|| format!("{at}: cannot be read; does the worker run, and is status.listen this address?")),
        Err(_) => bail!("{at}: no answer within {} s", TIMEOUT.as_secs()),
    }
}

async fn get(url: &PageUrl) -> anyhow::Result<Bytes> {
    let stream = TcpStream::connect(&url.authority).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(PATH).header(HOST, &url.authority).body(Empty::<Bytes>::new())?;
    let asking = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        ensure!(status.is_success(), "it answered {status}");
        match Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => bail!("its answer broke off or is too long: {error}"),
        }
    };
    // The connection has to be driven while the answer is waited for, and ends with it.
    tokio::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        ended = connection => {
            ended?;
            asking.await
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

    use super::*;

    #[test]
    fn a_page_is_an_address_with_or_without_the_rest() {
        for (text, authority) in [
            ("http://127.0.0.1:9125", "127.0.0.1:9125"),
            ("127.0.0.1:9125", "127.0.0.1:9125"),
            ("http://[::1]:9125/", "[::1]:9125"),
            ("http://localhost/status.json", "localhost:80"),
        ] {
            assert_eq!(text.parse(), Ok(PageUrl { authority: authority.into() }));
        }
        for text in
            ["", "https://127.0.0.1:9125", "http://127.0.0.1:9125/metrics", "http://a@127.0.0.1:1", "http://", "127.0.0.1:x", "http://127.0.0.1:1/?a"]
        {
            assert!(text.parse::<PageUrl>().unwrap_err().contains("http://HOST:PORT"), "{text}");
        }
    }
}
