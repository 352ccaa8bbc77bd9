//! A request body made of pieces that replies share: nothing is joined, and nothing is copied but by the socket.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use aws_lc_rs::digest::{self, SHA256};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use replyfleet::keyed::hex;

/// The largest frame, in bytes: some transports copy a frame as a whole.
const FRAME_BYTES_MAX: usize = 65_536;

/// A body's last frame: either the transport gets it, or whoever gave up the request keeps it back. A transport may go on
/// for a moment after that.
#[derive(Debug, Default)]
pub(super) struct LastFrame(AtomicU8);

impl LastFrame {
    const HERE: u8 = 0;
    const HANDED_OUT: u8 = 1;
    const KEPT_BACK: u8 = 2;

    /// Keeps it back for ever; `false` if it has been handed out already.
    pub(super) fn keep_back(&self) -> bool {
        self.change(Self::KEPT_BACK)
    }

    fn hand_out(&self) -> bool {
        self.change(Self::HANDED_OUT)
    }

    fn change(&self, to: u8) -> bool {
        self.0.compare_exchange(Self::HERE, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The last frame is kept back: the request ends without it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request was given up")]
pub(super) struct KeptBack;

/// The pieces, one after another.
#[derive(Debug)]
pub(super) struct Streamed {
    pieces: Vec<Bytes>,
    /// The piece whose turn it is.
    next: usize,
    last_frame: Arc<LastFrame>,
}

impl Streamed {
    /// Of these pieces. Until the transport has been given the last frame, nobody can have had the whole.
    pub(super) fn new(pieces: Vec<Bytes>, last_frame: Arc<LastFrame>) -> Self {
        Self { pieces, next: 0, last_frame }
    }

    /// What is left of it, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.pieces.iter().skip(self.next).map(|piece| piece.len() as u64).sum()
    }

    /// SHA-256 of what is left, in lower-case hexadecimal.
    pub(super) fn sha256(&self) -> String {
        let mut context = digest::Context::new(&SHA256);
        self.pieces.iter().skip(self.next).for_each(|piece| context.update(piece));
        hex(context.finish().as_ref())
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = KeptBack;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, KeptBack>>> {
        let this = &mut *self;
        while let Some(piece) = this.pieces.get_mut(this.next) {
            if piece.is_empty() {
                this.next += 1;
                continue;
            }
            let frame = piece.split_to(piece.len().min(FRAME_BYTES_MAX));
            if this.len() == 0 && !this.last_frame.hand_out() {
                return Poll::Ready(Some(Err(KeptBack)));
            }
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: Vec<Bytes>) -> Streamed {
        Streamed::new(pieces, Arc::default())
    }

    fn read(mut body: Streamed) -> Vec<Bytes> {
        let mut frames = Vec::new();
        let mut context = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) {
            frames.push(frame.into_data().expect("data"));
        }
        assert!(body.is_end_stream());
        frames
    }

    #[test]
    fn the_pieces_follow_each_other_in_small_frames_that_are_not_copies() {
        let big = Bytes::from(vec![b'x'; 2 * FRAME_BYTES_MAX + 1]);
        let body = of(vec![Bytes::from_static(b"a"), Bytes::new(), big.clone(), Bytes::from_static(b"z")]);
        assert_eq!((body.len(), body.size_hint().exact()), (big.len() as u64 + 2, Some(big.len() as u64 + 2)));
        let frames = read(body);
        assert!(frames.iter().all(|frame| !frame.is_empty() && frame.len() <= FRAME_BYTES_MAX));
        assert_eq!(frames.concat(), [b"a", &big[..], b"z"].concat());
        assert_eq!(frames[1].as_ptr(), big.as_ptr(), "a copy");
    }

    #[test]
    fn the_last_frame_is_handed_out_or_kept_back() {
        let pieces = || vec![Bytes::from(vec![b'x'; FRAME_BYTES_MAX + 1]), Bytes::from_static(b"z"), Bytes::new()];
        let mut context = Context::from_waker(std::task::Waker::noop());
        for given_up_after in 0..=3 {
            let last_frame = Arc::new(LastFrame::default());
            let mut body = Streamed::new(pieces(), Arc::clone(&last_frame));
            let mut poll = || Pin::new(&mut body).poll_frame(&mut context);
            for _ in 0..given_up_after {
                assert!(matches!(poll(), Poll::Ready(Some(Ok(_)))));
            }
            assert_eq!(last_frame.keep_back(), given_up_after < 3, "{given_up_after} of 3");
            for _ in given_up_after..2 {
                assert!(matches!(poll(), Poll::Ready(Some(Ok(_)))));
            }
            let is_kept_back = matches!(poll(), Poll::Ready(Some(Err(KeptBack))));
            assert_eq!(is_kept_back, given_up_after < 3, "{given_up_after} of 3");
        }
    }

    #[test]
    fn its_hash_is_that_of_the_whole() {
        let want = digest::digest(&SHA256, b"abc").as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let body = of(vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")]);
        assert_eq!((body.sha256(), want.starts_with("ba7816bf")), (want, true)); // FIPS 180-2, B.1
    }

    #[test]
    fn a_body_of_nothing_ends_at_once() {
        for pieces in [vec![], vec![Bytes::new(), Bytes::new()]] {
            let body = of(pieces);
            assert!(body.is_end_stream());
            assert_eq!(read(body), Vec::<Bytes>::new());
        }
    }
}
