//! The demo's stand-in for an MX: a small SMTP listener that hands each mail to the enqueuer's own code.
//!
//! It speaks what `swaks` and `nc` need of RFC 5321, and no more. An MX it is not: Postfix is.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use replyfleet::{clock::UnixMillis, ground::Ground, keyed::Secret, settings::Settings};
use replyfleet_enqueuer::{Destination, Handover, enqueue, facts};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Sessions at a time.
const SESSIONS_MAX: usize = 20;
/// How long a client may think.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Bytes of a command line (RFC 5321 §4.5.3.1.4 asks for 512).
const COMMAND_BYTES_MAX: u64 = 2_000;
/// Bytes of a mail.
const MAIL_BYTES_MAX: usize = 20 << 20;
/// Recipients of a mail.
const RECIPIENTS_MAX: usize = 10;

pub(super) struct Listener {
    ground: Ground,
    secret: Secret,
    settings: Settings,
    sessions: Semaphore,
}

/// What a session has said so far.
#[derive(Default)]
struct Session {
    helo: String,
    sender: Option<String>,
    recipients: Vec<String>,
    client: String,
}

impl Listener {
    pub(super) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let (ground, secret) = (Ground::open(settings, false).await?, settings.secret()?);
        Ok(Self { ground, secret, settings: settings.clone(), sessions: Semaphore::new(SESSIONS_MAX) })
    }

    /// Serves until it is aborted.
    pub(super) async fn serve(self: Arc<Self>, socket: TcpListener) {
        while let Ok((stream, client)) = socket.accept().await {
            let listener = Arc::clone(&self);
            tokio::spawn(async move {
                // Closed: never; the semaphore lives as long as the listener.
                let Ok(_slot) = listener.sessions.acquire().await else { return };
                // A client that breaks off has lost nothing that it was told to be taken.
                let _ = listener.converse(stream, client.ip().to_string()).await;
            });
        }
    }

    async fn converse(&self, stream: TcpStream, client: String) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let mut session = Session { client, ..Session::default() };
        say(&mut stream, "220 demo ESMTP replyfleet").await?;
        loop {
            let line = match tokio::time::timeout(IDLE_MAX, read_line(&mut stream)).await {
                Ok(line) => line?,
                Err(_) => return say(&mut stream, "421 4.4.2 idle for too long").await,
            };
            let Some(line) = line else { return Ok(()) };
            let upper = line.to_ascii_uppercase();
            let answer = match upper.split([' ', ':']).next().unwrap_or_default() {
                "HELO" | "EHLO" => {
                    session.helo = line.split_once(' ').map(|(_, name)| name.trim().to_owned()).unwrap_or_default();
                    "250 demo".into()
                }
                "MAIL" => match path(&line, &upper, "MAIL FROM:") {
                    Some(sender) => {
                        (session.sender, session.recipients) = (Some(sender), Vec::new());
                        "250 2.1.0 ok".into()
                    }
                    None => "501 5.5.4 MAIL FROM:<address>".into(),
                },
                "RCPT" => match path(&line, &upper, "RCPT TO:") {
                    _ if session.sender.is_none() => "503 5.5.1 MAIL first".into(),
                    _ if session.recipients.len() >= RECIPIENTS_MAX => "452 4.5.3 too many recipients".into(),
                    Some(recipient) if !recipient.is_empty() => {
                        session.recipients.push(recipient);
                        "250 2.1.5 ok".into()
                    }
                    _ => "501 5.5.4 RCPT TO:<address>".into(),
                },
                "DATA" if session.recipients.is_empty() => "503 5.5.1 RCPT first".into(),
                "DATA" => {
                    say(&mut stream, "354 end with a dot").await?;
                    let mail = read_mail(&mut stream).await?;
                    self.take(&mut session, mail).await
                }
                "RSET" => {
                    (session.sender, session.recipients) = (None, Vec::new());
                    "250 2.0.0 ok".into()
                }
                "NOOP" => "250 2.0.0 ok".into(),
                "QUIT" => return say(&mut stream, "221 2.0.0 bye").await,
                _ => "502 5.5.2 not known here".into(),
            };
            say(&mut stream, &answer).await?;
        }
    }

    /// Enqueues the mail for each recipient; the answer ends with the last one's request key.
    async fn take(&self, session: &mut Session, mail: Option<Bytes>) -> String {
        let Some(mail) = mail else { return format!("552 5.3.4 more than {MAIL_BYTES_MAX} bytes") };
        let sender = session.sender.take().unwrap_or_default();
        let queue_id = replyfleet::keyed::sha256_hex(format!("{:?}", std::time::Instant::now()).as_bytes())[..12].to_uppercase();
        let destination = Destination {
            queue: self.ground.queue.as_ref(),
            store: self.ground.store.as_ref(),
            claim_check_bucket: &self.settings.store.claim_check_bucket,
            inline_bytes_max: self.settings.queue.inline_bytes_max.get(),
        };
        let mut last_key = String::new();
        for recipient in std::mem::take(&mut session.recipients) {
            let handover = Handover {
                sender: sender.clone(),
                original_recipient: recipient,
                client_address: session.client.clone(),
                client_helo: session.helo.clone(),
                client_protocol: "SMTP".into(),
                queue_id: queue_id.clone(),
                ..Handover::default()
            };
            let facts = facts(&self.secret, "demo", &handover, UnixMillis::now());
            last_key.clone_from(&facts.request_key);
            if let Err(error) = enqueue(&destination, facts, mail.clone()).await {
                return format!("451 4.3.0 {error}");
            }
        }
        format!("250 2.0.0 queued as {last_key}")
    }
}

async fn say(stream: &mut BufReader<TcpStream>, line: &str) -> std::io::Result<()> {
    stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await
}

async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    let read = stream.take(COMMAND_BYTES_MAX).read_until(b'\n', &mut line).await?;
    Ok((read > 0).then(|| String::from_utf8_lossy(&line).trim_end().to_owned()))
}

/// The mail up to the line with a dot, with LF line ends as Postfix's pipe gives it; `None` if it is too large.
async fn read_mail(stream: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Bytes>> {
    let (mut mail, mut line, mut is_too_large) = (Vec::new(), Vec::new(), false);
    loop {
        line.clear();
        let read = tokio::time::timeout(IDLE_MAX, (&mut *stream).take(MAIL_BYTES_MAX as u64).read_until(b'\n', &mut line)).await??;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\n")).unwrap_or(&line);
        if text == b"." {
            return Ok((!is_too_large).then(|| Bytes::from(mail)));
        }
        is_too_large |= mail.len() + text.len() > MAIL_BYTES_MAX;
        if !is_too_large {
            mail.extend_from_slice(text.strip_prefix(b".").unwrap_or(text));
            mail.push(b'\n');
        }
    }
}

/// The path of MAIL or RCPT, without its brackets and parameters.
fn path(line: &str, upper: &str, command: &str) -> Option<String> {
    let rest = line.get(command.len()..).filter(|_| upper.starts_with(command))?.trim_start();
    let (path, _parameters) = rest.strip_prefix('<')?.split_once('>')?;
    Some(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_stands_in_the_brackets() {
        let parse = |line: &str| path(line, &line.to_ascii_uppercase(), "MAIL FROM:");
        assert_eq!(parse("MAIL FROM:<A@b.org> SIZE=3").as_deref(), Some("A@b.org"));
        assert_eq!(parse("mail from: <>").as_deref(), Some(""));
        assert_eq!(parse("MAIL FROM: a@b.org"), None);
        assert_eq!(parse("MAIL"), None);
    }

    #[tokio::test]
    async fn dots_are_taken_off_and_the_end_is_found() {
        let mut input = &b"a\r\n..b\r\n\r\n.\r\nrest"[..];
        assert_eq!(read_mail(&mut input).await.expect("read").as_deref(), Some(&b"a\n.b\n\n"[..]));
    }
}
