//! From a rendered body to one reply: the header block that is its own. No I/O, no clock: time and signatures are given.
//!
//! Nothing that the requester wrote is in a reply, but for the ids of its thread, which are checked before, and the
//! subject where the catalogue asks for it, which is stripped of everything that could act.

mod canonical;
pub mod file_name;
pub mod render;
pub mod reply;
mod text;

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use mail_builder::headers::{Header, HeaderType, address::Address as HeaderAddress, date::Date, raw::Raw, text::Text};
use replyfleet::{clock::UnixMillis, keyed::Secret};

pub use reply::{Body, Reply, Segment};

use crate::{
    address::Address,
    catalogue::{Response, Subject, Translation},
    request::Request,
};

/// Code points of the request's subject that are taken over.
const SUBJECT_CHARS_MAX: usize = 256;
/// Bytes that a header with a signature of each algorithm rarely exceeds.
const HEAD_BYTES: usize = 2_048;
const MIME_VERSION: &str = "1.0";
/// Bytes of text in one encoded word: a line that has one has at most 76 characters, the field's name included (RFC 2047 §2).
const ENCODED_WORD_BYTES: usize = 39;
/// Hexadecimal characters of a VERP token (96 bits: not to be guessed).
const TOKEN_CHARS: usize = 24;

/// What all replies have in common.
#[derive(Clone, Debug)]
pub struct Letterhead {
    /// The name beside From.
    pub from_name: String,
    /// The Subject where the catalogue has none.
    pub subject: String,
    /// Where bounces go.
    pub bounce: Address,
    /// Whether MAIL FROM is empty instead (RFC 3834 §3.3): no bounce comes back at all.
    pub is_null_sender: bool,
    /// Makes the token in the bounce address.
    pub secret: Secret,
}

/// Whom and what is answered.
pub struct Recipient<'a> {
    /// The request's From: the address that was checked.
    pub to: &'a Address,
    /// RCPT TO of the request: the address that was asked, with its +tag.
    pub asked: &'a str,
    /// The request.
    pub request: &'a Request,
    /// Its key.
    pub request_key: &'a str,
}

/// Composes the reply number `index` of a request: the header for `body`, which [`render::render`] made of `response`, after
/// its `translation` if one was chosen. `sign` is given the whole header, and returns the fields that sign it and the body.
pub fn compose(
    letterhead: &Letterhead,
    recipient: &Recipient<'_>,
    index: usize,
    (response, translation): (&Response, Option<&Translation>),
    body: Arc<Body>,
    now: UnixMillis,
    sign: impl FnOnce(&str, &[u8], &Body) -> Vec<u8>,
) -> Reply {
    let id = format!("{}.{index}", &recipient.request_key[..recipient.request_key.len().min(32)]);
    let domain = response.address.rsplit_once('@').map_or("", |(_, domain)| domain);
    let to = recipient.to.for_transport();

    let mut fields = Vec::with_capacity(HEAD_BYTES);
    let mut field = |name: &str, value: HeaderType<'_>| {
        fields.extend_from_slice(name.as_bytes());
        fields.extend_from_slice(b": ");
        value.write_header(&mut fields, name.len() + 2);
    };
    let from_name = Some(letterhead.from_name.as_str()).filter(|name| !name.is_empty());
    field("From", HeaderAddress::new_address(from_name, response.address.as_str()).into());
    // The local part may be UTF-8 (RFC 6532): written as it is, it is what was checked.
    field("To", raw(&to));
    if response.is_reply_to {
        // A +tag beyond ASCII would make a mail of a kind that not every server takes.
        let asked = Address::parse(recipient.asked).map(|asked| asked.for_transport()).filter(|asked| asked.is_ascii());
        let asked = asked.unwrap_or_else(|| response.address.clone());
        field("Reply-To", raw(&asked));
    }
    field("Subject", unstructured(&subject(letterhead, recipient.request, response, translation)));
    field("Date", Date::new(i64::try_from(now.0 / 1000).unwrap_or(i64::MAX)).into());
    field("Message-ID", raw(&format!("<{id}@{domain}>")));
    if let Some(in_reply_to) = &recipient.request.message_id {
        field("In-Reply-To", raw(in_reply_to));
        field("References", raw(&references(recipient.request, in_reply_to)));
    }
    // RFC 3834 §5 and Exchange's own field; and our mark, by which we know a mail that was with us.
    field("Auto-Submitted", raw("auto-replied"));
    field("X-Auto-Response-Suppress", raw("All"));
    field("X-Loop", raw(&response.address));
    field("MIME-Version", raw(MIME_VERSION));
    let version_at = fields.len() - MIME_VERSION.len() - 2;
    fields.extend_from_slice(body.fields().as_bytes());

    let mut head = sign(domain, &fields, &body);
    let version_at = head.len() + version_at;
    head.append(&mut fields);
    head.extend_from_slice(b"\r\n");
    // For who needs the mail in base64. White space before a value means nothing, in relaxed canonicalization either.
    while !head.len().is_multiple_of(reply::BASE64_GROUP) {
        head.insert(version_at, b' ');
    }
    Reply { mail_from: letterhead.mail_from(recipient.request_key, index), rcpt_to: to, id, head, body }
}

impl Letterhead {
    /// MAIL FROM of a reply: the bounce address with a token that only we can make, or nothing.
    fn mail_from(&self, request_key: &str, index: usize) -> String {
        if self.is_null_sender {
            return String::new();
        }
        let token = self.secret.hash("verp", &[request_key, &index.to_string()]);
        format!("{}+{}@{}", self.bounce.local(), &token[..TOKEN_CHARS], self.bounce.ascii_domain())
    }
}

fn raw(value: &str) -> HeaderType<'static> {
    HeaderType::Raw(Raw::new(value.to_owned()))
}

/// Text as a header field has it. What looks like an encoded word is encoded as well: a program would decode it, and what
/// comes out was looked at by nobody (RFC 2047 §5).
fn unstructured(text: &str) -> HeaderType<'_> {
    if !text.contains("=?") {
        return Text::new(text).into();
    }
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, more) = rest.split_at(rest.floor_char_boundary(ENCODED_WORD_BYTES));
        words.push(format!("=?utf-8?B?{}?=", BASE64_STANDARD.encode(word)));
        rest = more;
    }
    HeaderType::Raw(Raw::new(words.join(" ")))
}

fn subject(letterhead: &Letterhead, request: &Request, response: &Response, translation: Option<&Translation>) -> String {
    if let Some(text) = translation.and_then(|translation| translation.subject.as_ref()) {
        return text.clone();
    }
    match &response.subject {
        Subject::Default => letterhead.subject.clone(),
        Subject::Fixed(text) => text.clone(),
        Subject::FromRequest => {
            let harmless: String = request.subject.chars().filter(|&c| !acts(c)).take(SUBJECT_CHARS_MAX).collect();
            let original = harmless.trim();
            let is_reply = original.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("re:"));
            if is_reply { original.to_owned() } else { format!("Re: {original}").trim_end().to_owned() }
        }
    }
}

/// Control characters, and those that turn the direction of text or cannot be seen.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffd}')
}

/// The first and the last of the old ids, and the request's own (RFC 5322 §3.6.4, kept short).
fn references(request: &Request, message_id: &str) -> String {
    let old = &request.references;
    let mut ids: Vec<&str> = old.first().into_iter().chain(old.last()).map(String::as_str).chain([message_id]).collect();
    ids.dedup();
    ids.join(" ")
}

#[cfg(test)]
mod tests;
