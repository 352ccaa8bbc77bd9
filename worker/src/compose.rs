//! From a response to the bytes of one reply. No I/O, no clock: time and attachments are given.
//!
//! `multipart/mixed( multipart/alternative( text/plain, text/html ), attachments )`, only the parts that there are.
//! Nothing that the requester wrote is in a reply, but for the ids of its thread, which are checked before, and the
//! subject where the catalogue asks for it, which is stripped of everything that could act.

mod body;
mod canonical;
pub mod reply;

use std::sync::Arc;

use body::body;
use bytes::Bytes;
use mail_builder::{
    MessageBuilder,
    headers::{HeaderType, address::Address as HeaderAddress, date::Date, raw::Raw, text::Text},
};
use replyfleet::{clock::UnixMillis, keyed::Secret};

pub use reply::{Body, Reply, Segment};

use crate::{
    address::Address,
    catalogue::{Response, Subject, Translation},
    request::Request,
};

/// Code points of the request's subject that are taken over.
const SUBJECT_CHARS_MAX: usize = 256;
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
    /// Makes the token in the bounce address.
    pub secret: Secret,
}

/// Whom and what is answered.
pub struct Recipient<'a> {
    /// The request's From: the address that was checked.
    pub to: &'a Address,
    /// The request.
    pub request: &'a Request,
    /// Its key.
    pub request_key: &'a str,
}

/// Composes the reply number `index` of a request: `response`, after its `translation` if one was chosen. `attachments` are the contents of `response.attachments`, in order.
pub fn compose(
    letterhead: &Letterhead,
    recipient: &Recipient<'_>,
    index: usize,
    response: &Response,
    translation: Option<&Translation>,
    attachments: &[Bytes],
    now: UnixMillis,
) -> Reply {
    let id = format!("{}.{index}", &recipient.request_key[..recipient.request_key.len().min(32)]);
    let domain = response.address.rsplit_once('@').map_or("", |(_, domain)| domain);
    let token = letterhead.secret.hash("verp", &[recipient.request_key, &index.to_string()]);
    let to = recipient.to.for_transport();

    let from = HeaderAddress::new_address(Some(letterhead.from_name.as_str()).filter(|name| !name.is_empty()), response.address.as_str());
    // The local part may be UTF-8 (RFC 6532): written as it is, it is what was checked.
    let mut message = MessageBuilder::new()
        .header("From", from)
        .header("To", raw(&to))
        .header("Subject", Text::new(subject(letterhead, recipient.request, response, translation)));
    message =
        message.header("Date", Date::new(i64::try_from(now.0 / 1000).unwrap_or(i64::MAX))).header("Message-ID", raw(&format!("<{id}@{domain}>")));
    if let Some(in_reply_to) = &recipient.request.message_id {
        message = message.header("In-Reply-To", raw(in_reply_to)).header("References", raw(&references(recipient.request, in_reply_to)));
    }
    // RFC 3834 §5 and Exchange's own field; and our mark, by which we know a mail that was with us.
    message = message
        .header("Auto-Submitted", raw("auto-replied"))
        .header("X-Auto-Response-Suppress", raw("All"))
        .header("X-Loop", raw(&response.address))
        .header("MIME-Version", raw("1.0"))
        .body(body(response, translation, attachments));
    // Unwrap: writing to a Vec cannot fail.
    let mut head = message.write_to_vec().expect("a Vec takes every byte");
    // Unwrap: every mail has an empty line after its header.
    let end = head.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an empty line") + 4;
    let shared = head.split_off(end);
    Reply {
        mail_from: format!("{}+{}@{}", letterhead.bounce.local(), &token[..TOKEN_CHARS], letterhead.bounce.ascii_domain()),
        rcpt_to: to,
        id,
        head,
        body: Arc::new(Body::new(String::new(), vec![Arc::new(Segment::new(shared))])),
    }
}

fn raw(value: &str) -> HeaderType<'static> {
    HeaderType::Raw(Raw::new(value.to_owned()))
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
