//! A composed reply: a head of its own, and a body that it shares with all others of its kind.
//!
//! A body is rendered once and then only pointed to. What a sender needs of it beside its bytes is made once too and
//! kept with it: the form with stuffed dots for SMTP, base64 for SES, the hash that DKIM signs.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;

use super::canonical::RelaxedBody;

/// Base64 makes four characters of three bytes: only pieces of this size can be encoded by themselves and joined.
pub const BASE64_GROUP: usize = 3;

/// A run of whole lines, each ended by CRLF, in the forms that the senders need.
pub struct Segment {
    bytes: Bytes,
    /// With stuffed dots, where there are any to stuff.
    stuffed: Option<Bytes>,
    base64: OnceLock<Bytes>,
}

impl Segment {
    /// A segment of these lines.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { stuffed: stuffed(&bytes), bytes, base64: OnceLock::new() }
    }

    /// The lines.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The lines as they travel after DATA: one that begins with a dot begins with two (RFC 5321 §4.5.2).
    pub fn stuffed(&self) -> &Bytes {
        self.stuffed.as_ref().unwrap_or(&self.bytes)
    }

    /// In base64, on one line (RFC 4648 §4).
    pub fn base64(&self) -> &Bytes {
        self.base64.get_or_init(|| BASE64_STANDARD.encode(&self.bytes).into())
    }

    /// Whether [`Segment::base64`] has been made.
    #[cfg(test)]
    pub(crate) fn has_base64(&self) -> bool {
        self.base64.get().is_some()
    }

    /// Whether its base64 can be followed by other base64.
    fn is_in_groups(&self) -> bool {
        self.bytes.len().is_multiple_of(BASE64_GROUP)
    }
}

/// `None` if nothing is to be stuffed.
fn stuffed(lines: &[u8]) -> Option<Bytes> {
    let mut stuffed = Vec::new();
    let mut copied = 0;
    for (at, _) in lines.iter().enumerate().filter(|&(_, &byte)| byte == b'.') {
        if at == 0 || lines[..at].ends_with(b"\r\n") {
            stuffed.extend_from_slice(&lines[copied..at]);
            stuffed.push(b'.');
            copied = at;
        }
    }
    (!stuffed.is_empty()).then(|| {
        stuffed.extend_from_slice(&lines[copied..]);
        stuffed.into()
    })
}

/// All of a mail that does not depend on who gets it.
pub struct Body {
    fields: String,
    segments: Vec<Arc<Segment>>,
    len: usize,
    hash: [u8; 32],
}

impl Body {
    /// A body of these segments. `fields` are the header fields that belong to it, whole lines: Content-Type and what else
    /// says how it is to be read.
    pub fn new(fields: String, segments: Vec<Arc<Segment>>) -> Self {
        let mut relaxed = RelaxedBody::new(digest::Context::new(&digest::SHA256));
        for segment in &segments {
            relaxed.update(segment.bytes());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(relaxed.finish().finish().as_ref());
        Self { fields, len: segments.iter().map(|segment| segment.bytes().len()).sum(), segments, hash }
    }

    /// The header fields that belong to it.
    pub fn fields(&self) -> &str {
        &self.fields
    }

    /// Its lines.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// Its bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// SHA-256 of the body in relaxed canonicalization (RFC 6376 §3.4.4): what `bh=` says.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}

/// A composed reply.
#[derive(Clone)]
pub struct Reply {
    /// Unique and the same at every attempt: the left side of the Message-ID.
    pub id: String,
    /// MAIL FROM: a bounce address of our own with a token for this reply.
    pub mail_from: String,
    /// RCPT TO.
    pub rcpt_to: String,
    /// The header with its signatures, and the empty line after it.
    pub head: Vec<u8>,
    /// The rest.
    pub body: Arc<Body>,
}

impl Reply {
    /// The bytes of the whole mail.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Never: there is a header.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole mail, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.len());
        whole.extend_from_slice(&self.head);
        self.body.segments().iter().for_each(|segment| whole.extend_from_slice(segment.bytes()));
        whole
    }

    /// The whole mail in base64 on one line, in pieces. The body's are shared, and made once, if head and body come in
    /// groups of [`BASE64_GROUP`], as composed replies do; else all is encoded anew.
    pub fn base64(&self) -> Vec<Bytes> {
        let segments = self.body.segments();
        let is_shared = self.head.len().is_multiple_of(BASE64_GROUP)
            && segments.split_last().is_none_or(|(_, before)| before.iter().all(|segment| segment.is_in_groups()));
        if !is_shared {
            return vec![BASE64_STANDARD.encode(self.to_vec()).into()];
        }
        std::iter::once(BASE64_STANDARD.encode(&self.head).into()).chain(segments.iter().map(|segment| segment.base64().clone())).collect()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({}, {} bytes)", self.id, self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_at_the_start_of_a_line_travels_twice() {
        for (lines, want) in [("a\r\nb\r\n", "a\r\nb\r\n"), (".\r\n..a\r\nb.\r\n.", "..\r\n...a\r\nb.\r\n.."), ("a\n.b\r\n", "a\n.b\r\n"), ("", "")] {
            assert_eq!(Segment::new(lines.as_bytes().to_vec()).stuffed(), want.as_bytes(), "{lines:?}");
        }
    }

    #[test]
    fn base64_is_the_same_shared_or_not() {
        for (head, pieces) in
            [("abc", vec!["def\r\n\r\n..", "x\r\n"]), ("abcd", vec!["ef\r\n", "ghi\r\n"]), ("abc", vec!["d\r\n", "e\r\n"]), ("abc", vec![])]
        {
            let segments: Vec<_> = pieces.iter().map(|piece| Arc::new(Segment::new(piece.as_bytes().to_vec()))).collect();
            let body = Arc::new(Body::new(String::new(), segments));
            let reply = Reply { id: "1.0".into(), mail_from: String::new(), rcpt_to: String::new(), head: head.into(), body };
            assert_eq!(reply.base64().concat(), BASE64_STANDARD.encode(reply.to_vec()).into_bytes(), "{head} {pieces:?}");
        }
    }
}
