//! The words of SMTP over any stream of bytes: commands out, answers in, a mail and its dot.
//!
//! What an answer means for a mail is [`super::delivery`]'s business, how the stream came to be [`super::connection`]'s;
//! limits of time are their callers'. After an error the dialogue is over.

use std::io;

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter},
    time::Instant,
};

use super::{
    answer::{Answer, Answers, LINE_BYTES_MAX, Offers},
    route::Credentials,
};
use crate::compose::Reply;

/// A mail below this size, in bytes, leaves in one write; of a larger one, no more than this is copied.
const WRITE_BYTES: usize = 65_536;

/// The word for a dot that was not written because it was too late.
pub(super) const TOO_LATE: &str = "too late for the end";

/// How one exchange failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server gave another answer than was hoped for.
    Answered(Answer),
    /// It gave none.
    Broken(&'static str),
}

impl Failed {
    /// A code or a word of ours; nothing that the server wrote.
    pub(super) fn word(&self) -> String {
        match self {
            Self::Answered(answer) => answer.code.to_string(),
            Self::Broken(word) => (*word).to_owned(),
        }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Broken("no SMTP answer"),
            _ => Self::Broken("connection lost"),
        }
    }
}

/// A dialogue with a server.
pub(super) struct Dialogue<S> {
    stream: S,
    answers: Answers,
    offers: Offers,
    /// Commands that have been sent and not been answered yet; at first the greeting is awaited.
    unanswered: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<S> {
    /// Begins with the server's greeting and our EHLO.
    pub(super) async fn greeted(stream: S, ehlo: &str) -> Result<Self, Failed> {
        let mut dialogue = Self { stream, answers: Answers::default(), offers: Offers::default(), unanswered: 1 };
        dialogue.positive().await?;
        dialogue.hello(ehlo).await?;
        Ok(dialogue)
    }

    /// Begins anew over TLS, with our EHLO: what was offered in clear counts no more (RFC 3207 §4.2).
    pub(super) async fn resumed(stream: S, ehlo: &str) -> Result<Self, Failed> {
        let mut dialogue = Self { stream, answers: Answers::default(), offers: Offers::default(), unanswered: 0 };
        dialogue.hello(ehlo).await?;
        Ok(dialogue)
    }

    async fn hello(&mut self, ehlo: &str) -> Result<(), Failed> {
        self.write(ehlo, 1).await?;
        self.offers = Offers::of(&self.positive().await?);
        Ok(())
    }

    /// What the server can do.
    pub(super) fn offers(&self) -> &Offers {
        &self.offers
    }

    /// Whether all that was asked is answered, and all that came was asked for. What comes unasked is a farewell.
    pub(super) fn is_quiet(&self) -> bool {
        self.unanswered == 0 && self.answers.is_empty()
    }

    /// Whether commands are not answered yet.
    pub(super) fn has_unanswered(&self) -> bool {
        self.unanswered > 0
    }

    /// The stream, for TLS.
    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    /// Sends so many commands in one write.
    pub(super) async fn write(&mut self, commands: &str, count: usize) -> Result<(), Failed> {
        self.stream.write_all(commands.as_bytes()).await?;
        self.stream.flush().await?;
        self.unanswered += count;
        Ok(())
    }

    /// The next answer, whatever it says.
    pub(super) async fn answer(&mut self) -> Result<Answer, Failed> {
        loop {
            match self.answers.take() {
                Ok(Some(answer)) => {
                    self.unanswered = self.unanswered.saturating_sub(1);
                    return Ok(answer);
                }
                Ok(None) => {}
                Err(_) => return Err(Failed::Broken("no SMTP answer")),
            }
            let buffer = self.answers.buffer();
            buffer.reserve(LINE_BYTES_MAX);
            if self.stream.read_buf(buffer).await? == 0 {
                return Err(Failed::Broken("no SMTP answer"));
            }
        }
    }

    /// The next answer, if it is 2yz.
    pub(super) async fn positive(&mut self) -> Result<Answer, Failed> {
        let answer = self.answer().await?;
        if answer.is_positive() { Ok(answer) } else { Err(Failed::Answered(answer)) }
    }

    /// One command, and its answer if it is 2yz.
    pub(super) async fn ask(&mut self, command: &str) -> Result<Answer, Failed> {
        self.write(command, 1).await?;
        self.positive().await
    }

    /// Writes a mail and, if that is not after `dot_by`, the dot after it (RFC 5321 §4.1.1.4). Small ones go in one write. A large body's bytes go to the
    /// socket, or into TLS records, from where all replies share them.
    ///
    /// # Errors
    /// Then the dot has not left as a whole: nobody can have taken the mail.
    pub(super) async fn write_message(&mut self, reply: &Reply, dot_by: Instant) -> Result<(), Failed> {
        debug_assert!(!reply.head.starts_with(b".") && !reply.head.windows(2).any(|pair| pair == b"\n."), "no field begins with a dot");
        let segments = reply.body.segments();
        let last = segments.iter().rev().map(|segment| &segment.bytes()[..]).find(|bytes| !bytes.is_empty()).unwrap_or(&reply.head);
        let end: &[u8] = if last.ends_with(b"\r\n") { b".\r\n" } else { b"\r\n.\r\n" };
        let len = reply.head.len() + segments.iter().map(|segment| segment.stuffed().len()).sum::<usize>() + end.len();
        // Pieces of its own size and more go past the writer's buffer.
        let mut out = BufWriter::with_capacity((len + 1).min(WRITE_BYTES), &mut self.stream);
        out.write_all(&reply.head).await?;
        for segment in segments {
            out.write_all(segment.stuffed()).await?;
        }
        if Instant::now() > dot_by {
            return Err(Failed::Broken(TOO_LATE));
        }
        out.write_all(end).await?;
        out.flush().await?;
        self.unanswered += 1;
        Ok(())
    }

    /// AUTH (RFC 4954): PLAIN, or LOGIN where there is nothing else.
    ///
    /// # Errors
    /// A word.
    pub(super) async fn authenticate(&mut self, credentials: &Credentials) -> Result<(), String> {
        let Credentials { user, password } = credentials;
        let word = |failed: Failed| failed.word();
        if self.offers.has_plain {
            let response = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
            self.ask(&format!("AUTH PLAIN {response}\r\n")).await.map_err(word)?;
            return Ok(());
        }
        if !self.offers.has_login {
            return Err("the server offers neither PLAIN nor LOGIN".into());
        }
        // Its questions are always the same two, however servers word them.
        for line in ["AUTH LOGIN", &BASE64_STANDARD.encode(user)] {
            self.write(&format!("{line}\r\n"), 1).await.map_err(word)?;
            let answer = self.answer().await.map_err(word)?;
            if answer.code != 334 {
                return Err(answer.code.to_string());
            }
        }
        self.ask(&format!("{}\r\n", BASE64_STANDARD.encode(password))).await.map(drop).map_err(word)
    }
}
