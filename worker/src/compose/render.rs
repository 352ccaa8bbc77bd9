//! From a response to its body: rendered once, and then shared by all replies of its kind.
//!
//! `multipart/mixed( multipart/alternative( text/plain, text/html ), attachments )`, only the parts that there are.
//! An attachment is encoded once for all bodies ([`encoded`]); a body only points to it. Everything comes in groups of three
//! bytes, for a sender that needs base64 of the whole mail ([`super::reply::BASE64_GROUP`]): what is missing is made up by
//! empty lines where they mean nothing, in front of a multipart's first boundary and at the end of base64.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use replyfleet::keyed::sha256_hex;

use super::{
    file_name,
    reply::{BASE64_GROUP, Body, Segment},
    text,
};
use crate::catalogue::{Response, Translation};

/// Bytes that make one line of 76 characters in base64 (RFC 2045 §6.8).
const LINE_BYTES: usize = 57;
/// Characters of a boundary. It begins with `=_`, which neither quoted-printable nor base64 can hold.
const BOUNDARY_CHARS: usize = 32;

/// A file, ready for a body.
#[derive(Clone)]
pub struct File {
    /// What it is called in the mail.
    pub name: String,
    /// Its content, by [`encoded`].
    pub content: Arc<Segment>,
}

/// The content of a file in base64, with lines of 76 characters.
pub fn encoded(content: &[u8]) -> Segment {
    let mut lines = String::with_capacity(content.len().div_ceil(LINE_BYTES) * 78 + 4);
    for line in content.chunks(LINE_BYTES) {
        BASE64_STANDARD.encode_string(line, &mut lines);
        lines.push_str("\r\n");
    }
    while !lines.len().is_multiple_of(BASE64_GROUP) {
        lines.push_str("\r\n");
    }
    Segment::new(lines)
}

/// The body of a reply of `response`, after its `translation` if one was chosen, with `files`.
pub fn render(response: &Response, translation: Option<&Translation>, files: &[File]) -> Body {
    let language = translation.map(|translation| translation.lang.as_str()).unwrap_or_default();
    let boundary = |of: &str| {
        // The same on all workers, and none that a text could foresee: the digest covers the text.
        let hash = sha256_hex(format!("{}\n{language}\n{of}", response.digest).as_bytes());
        format!("=_{}", &hash[..BOUNDARY_CHARS])
    };
    let between_alternatives = boundary("alternatives");
    let mut text_part = Vec::new();
    text::text(response, translation, &between_alternatives).write_part(&mut text_part);
    if !text_part.ends_with(b"\r\n") {
        text_part.extend_from_slice(b"\r\n");
    }
    if files.is_empty() {
        // Unwrap: a part has a header, an empty line, and text.
        let end = text_part.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an empty line") + 2;
        let fields = String::from_utf8_lossy(&text_part[..end]).into_owned();
        return Body::new(fields, vec![Arc::new(Segment::new(text_part.split_off(end + 2)))]);
    }
    let boundary = boundary("files");
    let mut segments = Vec::with_capacity(2 * files.len() + 1);
    let mut lines = format!("--{boundary}\r\n").into_bytes();
    lines.append(&mut text_part);
    for file in files {
        lines.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        lines.append(&mut file_name::fields(&file.name));
        lines.extend_from_slice(b"\r\n");
        segments.push(Arc::new(Segment::new(in_groups(std::mem::take(&mut lines)))));
        segments.push(Arc::clone(&file.content));
    }
    segments.push(Arc::new(Segment::new(format!("--{boundary}--\r\n"))));
    Body::new(format!("Content-Type: multipart/mixed;\r\n\tboundary=\"{boundary}\"\r\n"), segments)
}

/// With empty lines in front, as many as it takes. Before a first boundary they are the preamble, before another one they
/// are lines of the base64 in front of it.
fn in_groups(lines: Vec<u8>) -> Vec<u8> {
    let mut grouped = lines;
    while !grouped.len().is_multiple_of(BASE64_GROUP) {
        grouped.splice(0..0, *b"\r\n");
    }
    grouped
}
