//! A mail behind DATA becomes the bytes that pipe(8) would have given: dots unstuffed (RFC 5321 §4.5.2), each CRLF a LF.
//!
//! Only CRLF ends a line. A bare LF, a bare CR, NUL and bytes above 127 are the mail's own and pass; so a bare LF before a
//! dot neither ends the mail nor makes the dot a stuffed one ("SMTP smuggling").

/// Where the last byte left us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// At the start of a line.
    #[default]
    LineStart,
    /// Within a line.
    Line,
    /// After a CR within a line.
    Cr,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot at the start of a line, and a CR.
    DotCr,
}

/// Reads a mail piece by piece.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
}

impl Decoder {
    /// Reads a piece, and appends what is the mail's to `mail`. Returns how many bytes of the piece were read, and whether
    /// the mail's end was among them; what is behind it is not read.
    pub fn read(&mut self, piece: &[u8], mail: &mut Vec<u8>) -> (usize, bool) {
        let mut at = 0;
        while let Some(&byte) = piece.get(at) {
            at += 1;
            self.state = match (self.state, byte) {
                (State::LineStart, b'.') => State::Dot,
                (State::Dot, b'\r') => State::DotCr,
                (State::DotCr, b'\n') => return (at, true),
                // The dot was stuffed, and the CR is the line's.
                (State::DotCr, _) => {
                    mail.push(b'\r');
                    at -= 1;
                    State::Line
                }
                (State::Cr, b'\n') => {
                    mail.push(b'\n');
                    State::LineStart
                }
                (State::Cr, b'\r') => {
                    mail.push(b'\r');
                    State::Cr
                }
                (State::Cr, _) => {
                    mail.push(b'\r');
                    at -= 1;
                    State::Line
                }
                (_, b'\r') => State::Cr,
                (_, _) => {
                    // The rest of the line at once.
                    let start = at - 1;
                    at = piece[start..].iter().position(|&byte| byte == b'\r').map_or(piece.len(), |bytes| start + bytes);
                    mail.extend_from_slice(&piece[start..at]);
                    State::Line
                }
            };
        }
        (at, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `wire` in pieces of this size; the mail, and what was left behind its end.
    fn decode(wire: &[u8], piece_bytes: usize) -> Option<(Vec<u8>, usize)> {
        let (mut decoder, mut mail, mut read) = (Decoder::default(), Vec::new(), 0);
        for piece in wire.chunks(piece_bytes) {
            let (bytes, is_end) = decoder.read(piece, &mut mail);
            read += bytes;
            if is_end {
                return Some((mail, wire.len() - read));
            }
            assert_eq!(bytes, piece.len());
        }
        None
    }

    #[test]
    fn a_mail_has_the_bytes_that_the_pipe_gives() {
        for (wire, wanted) in [
            (&b".\r\n"[..], &b""[..]),
            (b"\r\n.\r\n", b"\n"),
            (b"a\r\nb\r\n.\r\n", b"a\nb\n"),
            (b"..\r\n...x\r\n.\r\n", b".\n..x\n"),
            (b".x\r\n.\r\n", b"x\n"),
            (b"a.\r\n.\r\n", b"a.\n"),
            (b"bare\rcr\r\n.\r\n", b"bare\rcr\n"),
            (b"bare\nlf\r\n.\r\n", b"bare\nlf\n"),
            (b"a\n.\nb\r\n.\r\n", b"a\n.\nb\n"),
            (b"a\n.\r\nb\r\n.\r\n", b"a\n.\nb\n"),
            (b"a\r.\r\nb\r\n.\r\n", b"a\r.\nb\n"),
            (b"a\r\r\n.\r\n", b"a\r\n"),
            (b"a\r\n.\rb\r\n.\r\n", b"a\n\rb\n"),
            (b"a\r\n.\r\rb\r\n.\r\n", b"a\n\r\rb\n"),
            (b"\0\xff\r\n.\r\n", b"\0\xff\n"),
        ] {
            for piece_bytes in 1..=wire.len() {
                assert_eq!(decode(wire, piece_bytes), Some((wanted.to_vec(), 0)), "{wire:?} in pieces of {piece_bytes}");
            }
        }
    }

    #[test]
    fn what_is_behind_the_end_is_not_read() {
        assert_eq!(decode(b"a\r\n.\r\nRSET\r\n", 100), Some((b"a\n".to_vec(), 6)));
        assert_eq!(decode(b".\r\n.\r\n", 100), Some((Vec::new(), 3)));
    }

    #[test]
    fn without_its_end_a_mail_does_not_end() {
        for wire in [&b"a\r\n.\n"[..], b"a\n.\r\n", b"a\r.\r\n", b".\r", b".", b"\r\n.", b"a.\r\n"] {
            assert_eq!(decode(wire, 100), None, "{wire:?}");
        }
    }
}
