//! The pipe's side: hands its one mail to the service on this machine, so that the process that Postfix started need open
//! neither queue nor TLS, which is most of what it costs.
//!
//! `true` means that the service said 250 for the mail: the queue has it. Everything else (no socket, no answer, a 4xx, a
//! service that cannot do what is needed) means that the pipe goes to the queue itself. A mail that the service took and
//! could not say so is put twice, under one request key, and answered once.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

use super::xtext;
use crate::Handover;

/// For connection, greeting and offers: a service that lives answers at once.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// The longest reply that is read.
const REPLY_BYTES_MAX: u64 = 4 << 10;
/// What the service must be able to do.
const NEEDED: [&str; 3] = ["CHUNKING", "PIPELINING", "XFORWARD NAME ADDR PROTO HELO IDENT"];

/// Hands the mail to the service at `socket`, within `limit`. Whether the queue has it.
pub async fn hand_over(socket: &Path, handover: &Handover, mail: &Bytes, limit: Duration) -> bool {
    let Some(commands) = commands(handover, mail.len()) else { return false };
    let hand_over = async {
        let mut stream = timeout(ANSWERS_WITHIN, greet(socket)).await.ok()??;
        stream.write_all(commands.as_bytes()).await.ok()?;
        stream.write_all(mail).await.ok()?;
        // XFORWARD, MAIL, RCPT, and the mail for its one recipient.
        for _ in 0..4 {
            reply(&mut stream).await.filter(|lines| lines.iter().all(|line| line.starts_with("250")))?;
        }
        Some(())
    };
    timeout(limit, hand_over).await.ok().flatten().is_some()
}

/// Connects; the service has said what it can, and it is enough.
async fn greet(socket: &Path) -> Option<BufReader<UnixStream>> {
    let mut stream = BufReader::new(UnixStream::connect(socket).await.ok()?);
    reply(&mut stream).await.filter(|lines| lines[0].starts_with("220"))?;
    stream.write_all(b"LHLO pipe\r\n").await.ok()?;
    let offers = reply(&mut stream).await.filter(|lines| lines[0].starts_with("250"))?;
    NEEDED.iter().all(|needed| offers.iter().any(|offer| offer.get(4..).is_some_and(|offer| offer.starts_with(needed)))).then_some(stream)
}

/// All commands but the mail itself; `None` if an address cannot be told as it is.
fn commands(handover: &Handover, mail_bytes: usize) -> Option<String> {
    let (sender, recipient) = (&handover.sender, &handover.original_recipient);
    if !(sender.is_empty() || is_plain(sender)) || !is_plain(recipient) {
        return None;
    }
    let attribute = |name: &str, value: &str| if value.is_empty() { String::new() } else { format!(" {name}={}", xtext::encode(value)) };
    let client = [
        attribute("NAME", &handover.client_hostname),
        attribute("ADDR", &handover.client_address),
        attribute("PROTO", &handover.client_protocol),
        attribute("HELO", &handover.client_helo),
        attribute("IDENT", &handover.queue_id),
    ];
    let parameters = if sender.is_ascii() && recipient.is_ascii() { "" } else { " SMTPUTF8" };
    Some(format!("XFORWARD{}\r\nMAIL FROM:<{sender}>{parameters}\r\nRCPT TO:<{recipient}>\r\nBDAT {mail_bytes} LAST\r\n", client.concat()))
}

/// Whether an address can stand in brackets and comes out there as it went in.
fn is_plain(address: &str) -> bool {
    !address.is_empty() && address.chars().all(|c| !c.is_control() && !c.is_whitespace() && !"<>\\\"".contains(c))
}

/// A reply of one line or more.
async fn reply<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    let mut limited = stream.take(REPLY_BYTES_MAX);
    loop {
        let mut line = String::new();
        if limited.read_line(&mut line).await.ok()? == 0 || !line.ends_with('\n') {
            return None;
        }
        let is_last = line.as_bytes().get(3) != Some(&b'-');
        lines.push(line.trim_end().to_owned());
        if is_last {
            return Some(lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_postfix_told() {
        let handover = Handover {
            sender: "a@example.org".into(),
            original_recipient: "get+x@example.com".into(),
            client_address: "192.0.2.7".into(),
            client_helo: "a b".into(),
            queue_id: "4XyZ".into(),
            ..Handover::default()
        };
        let wanted = "XFORWARD ADDR=192.0.2.7 HELO=a+20b IDENT=4XyZ\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<get+x@example.com>\r\nBDAT 5 LAST\r\n";
        assert_eq!(commands(&handover, 5).as_deref(), Some(wanted));
    }

    #[test]
    fn an_address_that_would_not_arrive_as_it_is_is_not_told() {
        for address in ["", "a>b@c", "a b@c", "\"a\"@c", "a\\@c", "a\r\nRCPT TO:<x@y>@c", "a\0@c"] {
            assert_eq!(commands(&Handover { original_recipient: address.into(), ..Handover::default() }, 1), None, "{address:?}");
        }
        assert_eq!(commands(&Handover { sender: "a>b@c".into(), original_recipient: "x@y".into(), ..Handover::default() }, 1), None);
    }
}
