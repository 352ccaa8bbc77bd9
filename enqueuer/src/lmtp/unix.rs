//! A connection over a Unix socket that is woken for what it waits for only.
//!
//! Tokio's own watches every socket for reading and for writing. A Unix socket reports "can be written" whenever its peer has read
//! a reply, full or not (unix(7) keeps the bytes with their sender until then): for each reply a service that waits for the
//! next command would be woken once for nothing, which costs more than the reply. Here writing is watched from the first time that
//! a reply does not fit into the socket. Errors are the system's, and end the connection.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

/// One that came.
pub(crate) struct UnixConnection {
    /// `None` only if the system could not watch it any more.
    socket: Option<AsyncFd<UnixStream>>,
    is_writing_watched: bool,
}

impl UnixConnection {
    /// Watches a socket, which must not block.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        Ok(Self { socket: Some(watched(stream, Interest::READABLE)?), is_writing_watched: false })
    }

    fn socket(&self) -> io::Result<&AsyncFd<UnixStream>> {
        self.socket.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Watches writing, too, from now on. What waits to read must ask again, as whoever writes does.
    fn watch_writing(&mut self) -> io::Result<()> {
        if !self.is_writing_watched {
            let stream = self.socket.take().ok_or(io::ErrorKind::NotConnected)?.into_inner();
            self.socket = Some(watched(stream, Interest::READABLE | Interest::WRITABLE)?);
            self.is_writing_watched = true;
        }
        Ok(())
    }
}

#[expect(deprecated, reason = "what replaces it is unsafe, for types whose descriptor can change; a socket's cannot")]
fn watched(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(stream, interest)
}

impl AsyncRead for UnixConnection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.socket()?;
        loop {
            let mut ready = ready!(socket.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            match socket.get_ref().read(room) {
                Ok(bytes) => {
                    // Less than there was room for: all that had come. To ask again would only say so.
                    if bytes > 0 && bytes < room.len() {
                        ready.clear_ready();
                    }
                    buffer.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for UnixConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.socket()?.get_ref().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.watch_writing()?;
                    ready!(self.socket()?.poll_write_ready(context))?.clear_ready();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket()?.get_ref().shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (UnixConnection, tokio::net::UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).expect("not blocking");
        }
        (UnixConnection::new(ours).expect("watched"), tokio::net::UnixStream::from_std(theirs).expect("watched"))
    }

    #[tokio::test]
    async fn what_comes_is_read_and_the_end_is_seen_whether_it_comes_with_bytes_or_alone() {
        for is_with_bytes in [true, false] {
            let (mut ours, mut theirs) = pair();
            theirs.write_all(b"one").await.expect("sent");
            let mut bytes = [0; 100];
            if !is_with_bytes {
                assert_eq!(ours.read(&mut bytes).await.expect("read"), 3);
                theirs.write_all(b"two").await.expect("sent");
            }
            drop(theirs);
            assert_eq!(ours.read(&mut bytes).await.expect("read"), 3);
            assert_eq!(ours.read(&mut bytes).await.expect("the end"), 0);
        }
    }

    #[tokio::test]
    async fn more_than_the_socket_holds_is_written_as_the_peer_reads_and_reading_goes_on() {
        let (mut ours, mut theirs) = pair();
        let sent: Vec<u8> = (0..4 << 20).map(|n: u32| n as u8).collect();
        let mut read = vec![0; sent.len()];
        let (written, _) = tokio::join!(ours.write_all(&sent), theirs.read_exact(&mut read));
        written.expect("written");
        assert!(read == sent && ours.is_writing_watched);
        let answer = async {
            tokio::task::yield_now().await;
            theirs.write_all(b"next").await
        };
        let (count, _) = tokio::join!(ours.read(&mut read), answer);
        assert_eq!(count.expect("read"), 4);
    }

    #[tokio::test]
    async fn a_peer_that_reads_a_reply_does_not_wake_who_waits_for_a_command() {
        let (mut ours, mut theirs) = pair();
        ours.write_all(b"250 ok\r\n").await.expect("sent");
        theirs.read_exact(&mut [0; 8]).await.expect("read");
        let socket = ours.socket.take().expect("watched");
        let reported = std::future::poll_fn(|context| socket.poll_write_ready(context).map(drop));
        tokio::time::timeout(Duration::from_millis(50), reported).await.expect_err("nothing is reported");
    }

    #[tokio::test]
    async fn what_the_peer_has_closed_cannot_be_written() {
        let (mut ours, theirs) = pair();
        drop(theirs);
        ours.write_all(b"x").await.expect_err("closed");
    }
}
