//! What the harness's own next hops remember of a reply that they took.

use std::sync::{Mutex, PoisonError};

/// A mail that was accepted: from then on the far end would deliver it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Arrival {
    /// Every recipient of the envelope.
    pub to: Vec<String>,
    /// The Message-ID field.
    pub message_id: String,
    /// The In-Reply-To field.
    pub in_reply_to: String,
    /// The SES tag `reply`; empty by SMTP.
    pub tag: String,
    /// Bytes of the mail.
    pub bytes: usize,
}

impl Arrival {
    /// What there is to say of `mail`.
    pub(crate) fn new(to: Vec<String>, tag: String, mail: &[u8]) -> Self {
        Self { to, tag, message_id: field(mail, "message-id"), in_reply_to: field(mail, "in-reply-to"), bytes: mail.len() }
    }
}

/// All that was accepted, in order.
#[derive(Default)]
pub(crate) struct Arrivals(Mutex<Vec<Arrival>>);

impl Arrivals {
    pub(crate) fn add(&self, arrival: Arrival) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn all(&self) -> Vec<Arrival> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The first header field of this name (in lower case), unfolded; empty if there is none.
fn field(mail: &[u8], name: &str) -> String {
    let head = mail.windows(4).position(|window| window == b"\r\n\r\n").map_or(mail, |end| &mail[..end]);
    let head = String::from_utf8_lossy(head).replace("\r\n ", " ").replace("\r\n\t", " ");
    let is_it = |line: &&str| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
    head.split("\r\n").find(is_it).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}
