//! One connection as lines and bytes, in both directions, with limits of time and length.
//!
//! Replies are kept until the client waits for them: a client that sends its commands in one piece (RFC 2920) gets the
//! replies in one piece. Every end of a connection is a [`Gone`]; whatever was not yet answered Postfix delivers again.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// The longest command, with its line end. Postfix cuts what a client says at 2,048 bytes, and xtext may triple it.
pub const LINE_BYTES_MAX: usize = 16 << 10;
/// Between commands: longer than Postfix keeps a connection that it may use again (RFC 5321 §4.5.3.2.7 says 5 minutes).
const IDLE_MAX: Duration = Duration::from_secs(300);
/// For the next bytes of a mail (RFC 5321 §4.5.3.2.5 says 3 minutes).
const DATA_MAX: Duration = Duration::from_secs(180);
/// For a client to take our replies.
const WRITE_MAX: Duration = Duration::from_secs(60);
/// What one read has room for: most mails whole.
pub(super) const READ_BYTES: usize = 8 << 10;

/// The connection has ended, or has to: closed, broken, or silent for too long.
#[derive(Debug)]
pub struct Gone;

/// A line that came.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its line end.
    Text(Vec<u8>),
    /// One that was longer than [`LINE_BYTES_MAX`]; it was read to its end.
    TooLong,
}

/// A connection.
pub struct Wire<S> {
    stream: S,
    input: BytesMut,
    output: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Over this stream.
    pub fn new(stream: S) -> Self {
        Self { stream, input: BytesMut::new(), output: Vec::new() }
    }

    /// Keeps a reply, without its line end, to be sent when the client waits for it.
    pub fn reply(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    /// Whether the client has sent nothing that is not yet read.
    pub fn is_waiting(&self) -> bool {
        self.input.is_empty()
    }

    /// Sends what is kept.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn flush(&mut self) -> Result<(), Gone> {
        if !self.output.is_empty() {
            let sent = timeout(WRITE_MAX, self.stream.write_all(&self.output)).await;
            self.output.clear();
            sent.map_err(|_| Gone)?.map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Reads a line. May be dropped while it waits; nothing is lost then.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn line(&mut self) -> Result<Line, Gone> {
        let (mut searched, mut is_too_long) = (0, false);
        loop {
            if let Some(end) = self.input[searched..].iter().position(|&byte| byte == b'\n') {
                let end = searched + end;
                let text = self.input[..end].strip_suffix(b"\r").unwrap_or(&self.input[..end]).to_vec();
                self.input.advance(end + 1);
                return Ok(if is_too_long { Line::TooLong } else { Line::Text(text) });
            }
            searched = self.input.len();
            if searched >= LINE_BYTES_MAX {
                is_too_long = true;
                self.input.clear();
                searched = 0;
            }
            self.more(IDLE_MAX).await?;
        }
    }

    /// The bytes of a mail that have come, at least one; [`Wire::consume`] says how many were used.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn bytes(&mut self) -> Result<&[u8], Gone> {
        if self.input.is_empty() {
            self.more(DATA_MAX).await?;
        }
        Ok(&self.input)
    }

    /// Takes bytes off the front of what [`Wire::bytes`] showed.
    pub fn consume(&mut self, bytes: usize) {
        self.input.advance(bytes);
    }

    async fn more(&mut self, limit: Duration) -> Result<(), Gone> {
        self.flush().await?;
        self.input.reserve(READ_BYTES);
        match timeout(limit, self.stream.read_buf(&mut self.input)).await {
            Ok(Ok(bytes)) if bytes > 0 => Ok(()),
            _ => Err(Gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(sent: &[u8]) -> Wire<std::io::Cursor<Vec<u8>>> {
        Wire::new(std::io::Cursor::new(sent.to_vec()))
    }

    #[tokio::test]
    async fn lines_end_with_lf_with_or_without_cr() {
        let mut wire = wire(b"one\r\ntwo\n\r\nrest");
        for wanted in ["one", "two", ""] {
            assert_eq!(wire.line().await.expect("a line"), Line::Text(wanted.into()));
        }
        wire.line().await.expect_err("no whole line");
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_read_to_its_end_and_held_nowhere() {
        let sent = [vec![b'x'; 10 * LINE_BYTES_MAX], b"\r\nnext\r\n".to_vec()].concat();
        let mut wire = wire(&sent);
        assert_eq!(wire.line().await.expect("a line"), Line::TooLong);
        assert!(wire.input.capacity() < 4 * LINE_BYTES_MAX);
        assert_eq!(wire.line().await.expect("a line"), Line::Text(b"next".to_vec()));
    }
}
