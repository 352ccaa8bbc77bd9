//! The catalogue: which address answers with which responses. One JSON file in the store.
//!
//! ```json
//! [ { "email_addr": "get@example.com",
//!     "body": [["plain", "text"], ["html", "<p>text</p>"]],
//!     "attachments": [["bucket", "key", "name.apk"]],
//!     "send_method": "SMTP" } ]
//! ```
//! `body` may also be one string; `attachments` may be null or left out, and each may have its content's SHA-256 as a fourth
//! element: no other content is sent then. Several entries for one address are sent in their order. Fields that may be
//! added: `subject` (a fixed text), `subject_from_request` (true: `Re: ` and the request's own subject, sanitised),
//! `reply_to` (true: answers to the reply go to the address that was asked, with its +tag), `trust` (`"small"` or `"full"`: how far a sender must be proven to get it; with attachments
//! `"full"` if it does not say), `lang` (the language of the body, BCP 47), and `translations`:
//!
//! ```json
//! "lang": "en",
//! "translations": { "fa": { "body": [["plain", "متن"], ["html", "<p>متن</p>"]], "subject": "پاسخ" } }
//! ```
//! A translation has the parts that the body has, since both go out together ([`crate::language`] chooses it).
//!
//! A catalogue is taken whole or refused whole; the error names entry, field, line and column. [`keeper`] fetches it,
//! keeps the last good one across restarts, and is the only one that replaces it.

pub mod keeper;
mod read;

use std::collections::HashMap;

use replyfleet::{keyed::sha256_hex, settings::Trust, store::ObjectName};
use serde::Deserialize;

use crate::{address::Address, language::Tag};

/// Which of the settings' senders a response goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum SendMethod {
    /// `send.SES`.
    #[serde(rename = "SES")]
    Ses,
    /// `send.SMTP`.
    #[serde(rename = "SMTP")]
    Smtp,
}

impl SendMethod {
    /// As the catalogue writes it.
    pub fn word(self) -> &'static str {
        match self {
            SendMethod::Ses => "SES",
            SendMethod::Smtp => "SMTP",
        }
    }
}

/// One reply that an address gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The address that gives it, in lower case; also the reply's From.
    pub address: String,
    /// The text/plain body, if there is one.
    pub plain: Option<String>,
    /// The text/html body, if there is one.
    pub html: Option<String>,
    /// What is attached, in order.
    pub attachments: Vec<Attachment>,
    /// How it leaves.
    pub send_method: SendMethod,
    /// The Subject.
    pub subject: Subject,
    /// Whether answers to the reply go to the address that was asked, with its +tag, rather than to `address`.
    pub is_reply_to: bool,
    /// How far a sender must be proven to get it: [`Trust::Small`] or [`Trust::Full`].
    pub needs: Trust,
    /// The language of the body, if the catalogue says it.
    pub lang: Option<Tag>,
    /// The body in other languages, in the order of the file; only where `lang` is said.
    pub translations: Vec<Translation>,
    /// The start of a SHA-256 over all of the above, made once when the catalogue is read: which response was promised,
    /// whatever place it has in a later catalogue.
    pub digest: String,
}

/// A response's body in another language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Which.
    pub lang: Tag,
    /// The text/plain body; there is one if the response has one.
    pub plain: Option<String>,
    /// The text/html body, not a whole document; there is one if the response has one.
    pub html: Option<String>,
    /// The Subject in its place, if there is one.
    pub subject: Option<String>,
}

/// Whether `html` is a document with a head or body element of its own, which cannot stand inside another.
pub fn is_whole_document(html: &str) -> bool {
    let html = html.to_ascii_lowercase();
    let begins_element =
        |name: &str| html.match_indices(name).any(|(at, _)| !html[at + name.len()..].starts_with(|c: char| c.is_ascii_alphanumeric()));
    html.contains("<!doctype") || ["<html", "<head", "<body"].into_iter().any(begins_element)
}

/// The Subject of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The settings' own.
    Default,
    /// This text.
    Fixed(String),
    /// `Re: ` and what the request has, sanitised.
    FromRequest,
}

/// A file that is attached to a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Where it lies.
    pub object: ObjectName,
    /// What it is called in the mail, unless its provider wants another name.
    pub file_name: String,
    /// The SHA-256 that its content must have, in lower-case hexadecimal, if the catalogue says so.
    pub sha256: Option<String>,
}

/// All responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    version: String,
    responses: Vec<Response>,
    by_address: HashMap<String, Vec<usize>>,
}

/// Why a catalogue is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}{}: {text}", place(self.entry, self.field.as_deref()))]
pub struct CatalogueError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Which entry, from 1.
    pub entry: Option<usize>,
    /// Which field of it.
    pub field: Option<String>,
    /// What is wrong, and the remedy.
    pub text: String,
}

fn place(entry: Option<usize>, field: Option<&str>) -> String {
    let entry = entry.map(|number| format!(", entry {number}")).unwrap_or_default();
    let field = field.map(|name| format!(", field \"{name}\"")).unwrap_or_default();
    entry + &field
}

impl Catalogue {
    /// Reads a catalogue whose responses may use the send methods in `available`.
    ///
    /// # Errors
    /// The first fault, with its place.
    pub fn parse(text: &str, available: &[SendMethod]) -> Result<Self, CatalogueError> {
        let mut responses = read::responses(text, available)?;
        for response in &mut responses {
            // Debug writes every field, and texts in quotes: two responses that differ cannot read alike.
            response.digest = sha256_hex(format!("{response:?}").as_bytes())[..16].to_owned();
        }
        let mut by_address: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, response) in responses.iter().enumerate() {
            by_address.entry(response.address.clone()).or_default().push(index);
        }
        Ok(Self { version: sha256_hex(text.as_bytes())[..12].to_owned(), responses, by_address })
    }

    /// The responses for a recipient, in order: its address without +tag and in lower case must be in the catalogue.
    pub fn responses_for(&self, recipient: &str) -> Vec<&Response> {
        let Some(address) = Address::parse(recipient) else { return Vec::new() };
        self.by_address.get(&address.without_tag()).into_iter().flatten().map(|&index| &self.responses[index]).collect()
    }

    /// All responses, in the order of the file.
    pub fn responses(&self) -> &[Response] {
        &self.responses
    }

    /// The addresses that answer.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.by_address.keys().map(String::as_str)
    }

    /// The domains that we serve, some of them more than once.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.addresses().filter_map(|address| address.rsplit_once('@')).map(|(_, domain)| domain)
    }

    /// The first twelve characters of the file's SHA-256.
    pub fn version(&self) -> &str {
        &self.version
    }
}

#[cfg(test)]
mod tests;
