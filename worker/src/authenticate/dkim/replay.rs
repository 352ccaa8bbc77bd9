//! What somebody may do with a signed mail of somebody else that he has: nothing that makes it another mail, and nothing
//! at all after a while.
//!
//! A signature covers the fields that h= names, from the bottom of the header; one more at the top is not covered, and
//! readers differ on which one they take (RFC 6376 §8.15). So a signature does not count where a field of which there
//! may be one only (RFC 5322 §3.6) is there more often than it is signed. What is not signed at all may be changed: such
//! a signature counts, but what makes the mail the same one again is then the signature itself. Signers that name no
//! Message-ID are many, and no worse for proving who wrote.
//!
//! Nothing is looked up here. The same fault is found whatever the signature is worth.

use mail_auth::dkim::Signature;
use mail_parser::DateTime;
use replyfleet::keyed::{hex, sha256_hex};

use super::super::fields::Mail;

/// How long a signature proves something, in seconds: longer than any server tries to deliver (RFC 5321 §4.5.4.1: four to
/// five days), and than people's own devices are usually away from the net.
const AGE_MAX_S: u64 = 14 * 24 * 3_600;
/// How far Date may lie ahead of the arrival, in seconds: a clock set to the wrong time zone.
const DATE_AHEAD_MAX_S: u64 = 24 * 3_600;
/// Bytes of a Message-ID that tells mails apart; RFC 5322's line limit less the field's name.
const MESSAGE_ID_BYTES_MAX: usize = 900;

/// Fields that a mail has once at most, or that change how it is read. The first four tell what mail it is.
const SINGLE_FIELDS: [&str; 14] = [
    "From",
    "Date",
    "Subject",
    "Message-ID",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Auto-Submitted",
];
const TELLING_FIELDS: usize = 4;

/// What makes two mails the same one, whatever else was changed about them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::authenticate) enum ReplayKey {
    /// The signed Message-ID, hashed: also the same where a server signs anew at its second try.
    MessageId(String),
    /// Domain, selector and signature, hashed.
    Signature(String),
}

impl ReplayKey {
    /// 64 hexadecimal characters.
    pub(in crate::authenticate) fn into_hex(self) -> String {
        match self {
            Self::MessageId(hash) | Self::Signature(hash) => hash,
        }
    }
}

/// How often a field is there.
#[derive(Clone, Copy, Default)]
struct Count {
    /// Under exactly its name, in any case: as signers see it.
    exactly: usize,
    /// Also with white space before the colon, which some readers take for the same field (RFC 5322 §4.5).
    for_anybody: usize,
}

/// The part of a header that all its signatures are asked about, read once.
pub(super) struct Header {
    counts: [Count; SINGLE_FIELDS.len()],
    /// Each Date that can be read, in seconds since 1970.
    dates_s: Vec<i64>,
    /// The one Message-ID, without white space.
    message_id: Option<String>,
}

impl Header {
    pub(super) fn of(mail: &Mail<'_>) -> Self {
        let mut counts = [Count::default(); SINGLE_FIELDS.len()];
        for field in &mail.fields {
            let name = field.name.trim_ascii();
            if let Some(at) = SINGLE_FIELDS.iter().position(|single| name.eq_ignore_ascii_case(single.as_bytes())) {
                counts[at].for_anybody += 1;
                counts[at].exactly += usize::from(name.len() == field.name.len());
            }
        }
        let dates = mail.named("Date").filter_map(|field| DateTime::parse_rfc822(&String::from_utf8_lossy(field.value)));
        let dates_s = dates.filter(DateTime::is_valid).map(|date| date.to_timestamp()).collect();
        let mut ids = mail.named("Message-ID").map(|field| field.value);
        let message_id = match (ids.next(), ids.next()) {
            (Some(value), None) => message_id(value),
            _ => None,
        };
        Self { counts, dates_s, message_id }
    }

    /// Why a signature does not count for a mail that came at `arrived_s`. `signed_s` is its t=; both in seconds since 1970.
    ///
    /// Its age is told by t=, else by the Date that it signs. With neither it is taken for fresh: RFC 6376 asks for neither.
    pub(super) fn fault(&self, signature: &Signature, signed_s: Option<u64>, arrived_s: u64) -> Option<&'static str> {
        for (at, (name, count)) in SINGLE_FIELDS.iter().zip(&self.counts).enumerate() {
            let named = times_named(signature, name);
            let is_covered = count.for_anybody == count.exactly && count.exactly <= named;
            if named > 0 && !is_covered {
                return Some("a field that it signs is there once more, unsigned");
            }
            if at < TELLING_FIELDS && named == 0 && count.for_anybody > 1 {
                return Some("From, Date, Subject or Message-ID is there twice");
            }
        }
        if let Some(signed_s) = signed_s {
            return (signed_s.saturating_add(AGE_MAX_S) < arrived_s).then_some("it was made long before the mail came (t=)");
        }
        if times_named(signature, "Date") == 0 {
            return None;
        }
        let arrived_s = i64::try_from(arrived_s).unwrap_or(i64::MAX);
        let is_now = |date_s: &i64| (-(DATE_AHEAD_MAX_S as i64)..=AGE_MAX_S as i64).contains(&arrived_s.saturating_sub(*date_s));
        (!self.dates_s.iter().all(is_now)).then_some("it was made long before the mail came, or after it (Date)")
    }

    /// What stays the same, whatever is put around what this signature covers.
    pub(super) fn replay_key(&self, signature: &Signature) -> ReplayKey {
        match &self.message_id {
            Some(id) if times_named(signature, "Message-ID") > 0 => ReplayKey::MessageId(sha256_hex(format!("message-id\n{id}").as_bytes())),
            // The bytes of b=, for its text may be folded and spaced anew without breaking it.
            _ => ReplayKey::Signature(sha256_hex(format!("{}\n{}\n{}", signature.d, signature.s, hex(&signature.b)).as_bytes())),
        }
    }
}

fn times_named(signature: &Signature, name: &str) -> usize {
    signature.h.iter().filter(|signed| signed.eq_ignore_ascii_case(name)).count()
}

/// A Message-ID that tells mails apart, without its white space: relaxed canonicalization lets that change.
fn message_id(value: &[u8]) -> Option<String> {
    let id: String = String::from_utf8_lossy(value).split_ascii_whitespace().collect();
    let inside = id.strip_prefix('<')?.strip_suffix('>')?;
    let is_one = inside.len() <= MESSAGE_ID_BYTES_MAX && !inside.contains(['<', '>']);
    let (left, right) = inside.split_once('@')?;
    (is_one && !left.is_empty() && !right.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests;
