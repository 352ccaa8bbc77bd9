//! What travels on the queue: one mail for one recipient, with what the MX knew about it.
//!
//! The wire form is one line of JSON (the envelope, with its version) and then the raw mail, byte for byte. It is the
//! same in a spool file and, as base64, in an SQS body. A mail too big for the queue is put in the store by the
//! enqueuer and travels as a pointer with length and SHA-256 (the "claim check").
//!
//! Decoding fails on what it does not understand; the worker then parks the message, it never guesses.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    clock::UnixMillis,
    keyed::{Secret, sha256_hex},
    store::ObjectName,
};

/// The wire version that this program writes and the only one it reads.
pub const ENVELOPE_VERSION: u32 = 1;

/// A mail for one recipient on its way to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the MX knew about the mail.
    pub facts: Facts,
    /// The mail, or where it lies.
    pub mail: Mail,
}

/// What the MX knew about a mail. Names follow RFC 5321 and Postfix's pipe(8) macros.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// HMAC of (host, queue id, recipient): the same for every retry of one delivery, different for every other.
    pub request_key: String,
    /// HMAC of (host, queue id): the same for every recipient of one mail, so that it is answered once.
    pub mail_key: String,
    /// HMAC of the sender, cut: who shares the queue's attention with the others ([`group`]); empty in envelopes of
    /// earlier enqueuers.
    #[serde(default)]
    pub group: String,
    /// MAIL FROM without brackets; empty for the null sender `<>`.
    pub mail_from: String,
    /// RCPT TO as the client gave it (before aliasing), without brackets.
    pub rcpt_to: String,
    /// The client's IP address, empty if unknown.
    pub client_address: String,
    /// The client's host name as the MX verified it, empty if unknown.
    pub client_name: String,
    /// HELO or EHLO argument.
    pub helo: String,
    /// `SMTP`, `ESMTP`, ...
    pub protocol: String,
    /// TLS version of the inbound session, empty if it was in clear or the MX does not say.
    pub tls: String,
    /// The MX's queue id.
    pub queue_id: String,
    /// The MX's host name.
    pub host: String,
    /// When the MX's enqueuer took the mail.
    pub arrived: UnixMillis,
}

impl std::fmt::Debug for Facts {
    /// Says nothing about the requester: panics and error chains end in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts").field("request_key", &self.request_key).finish_non_exhaustive()
    }
}

/// The raw mail, or the claim check for it.
#[derive(Clone, PartialEq, Eq)]
pub enum Mail {
    /// The bytes travel with the envelope.
    Inline(Bytes),
    /// The bytes lie in the store.
    Stored(ClaimCheck),
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Mail::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Mail::Stored(claim) => write!(f, "Stored({} bytes)", claim.bytes),
        }
    }
}

/// The folder of the claim-check bucket in which mails lie. Nothing else does, and what is old in it is removed.
pub const CLAIM_CHECK_PREFIX: &str = "mail";

/// A pointer to a mail in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimCheck {
    /// Where it lies.
    pub object: ObjectName,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
}

/// Why fetched bytes are not the ones that were stored.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimMismatch {
    /// A partial object, most likely.
    #[error("the stored mail has {found} bytes instead of {expected}")]
    Length {
        /// What lies in the store.
        found: u64,
        /// What the enqueuer put there.
        expected: u64,
    },
    /// Same length, other bytes: tampering or corruption.
    #[error("the stored mail's SHA-256 is not the one in the envelope")]
    Digest,
}

impl ClaimCheck {
    /// The claim check for `mail` at `object`.
    pub fn new(object: ObjectName, mail: &[u8]) -> Self {
        Self { object, bytes: mail.len() as u64, sha256: sha256_hex(mail) }
    }

    /// Whether `mail` is what was stored.
    ///
    /// # Errors
    /// [`ClaimMismatch`] says how it differs.
    pub fn verify(&self, mail: &[u8]) -> Result<(), ClaimMismatch> {
        if mail.len() as u64 != self.bytes {
            return Err(ClaimMismatch::Length { found: mail.len() as u64, expected: self.bytes });
        }
        if sha256_hex(mail) != self.sha256 {
            return Err(ClaimMismatch::Digest);
        }
        Ok(())
    }
}

/// The request key: the identity of one delivery to one recipient.
///
/// An SQS message id will not do in its place: a retried send or a delivery that Postfix runs again makes a second one.
pub fn request_key(secret: &Secret, host: &str, queue_id: &str, rcpt_to: &str) -> String {
    secret.hash("request", &[host, queue_id, &rcpt_to.to_lowercase()])
}

/// The mail key: the identity of one mail, whatever its recipients.
pub fn mail_key(secret: &Secret, host: &str, queue_id: &str) -> String {
    secret.hash("mail", &[host, queue_id])
}

/// Characters of a group: 128 bits.
const GROUP_CHARS: usize = 32;

/// The group: the queue serves the groups in turn, so that one who floods it delays only himself.
///
/// It is a keyed hash of MAIL FROM in lower case, without a +tag and without the changing part that BATV puts before it
/// (`prvs=0123abcdef=local@domain`), or of the client's address where MAIL FROM is empty. A flooder who invents a sender
/// for each mail is in as many groups: that is for the allowances to stop.
pub fn group(secret: &Secret, mail_from: &str, client_address: &str) -> String {
    let sender = mail_from.to_lowercase();
    let (local, domain) = sender.rsplit_once('@').unwrap_or((&sender, ""));
    let local = local.strip_prefix("prvs=").and_then(|rest| rest.split_once('=')).map_or(local, |(_, local)| local);
    let local = local.split('+').next().unwrap_or_default();
    let parts = if sender.is_empty() { ["", client_address] } else { [local, domain] };
    let mut hash = secret.hash("group", &parts);
    hash.truncate(GROUP_CHARS);
    hash
}

/// Why a queue message is not an envelope.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No line feed: not ours, or cut.
    #[error("no envelope line")]
    NoEnvelopeLine,
    /// The line is not the JSON that it should be.
    #[error("the envelope line is not valid: {0}")]
    Invalid(String),
    /// Written by a newer or older enqueuer.
    #[error("envelope version {0}, this program reads version {ENVELOPE_VERSION}")]
    Version(u32),
    /// Both a claim check and a mail.
    #[error("a claim check with {0} bytes of mail behind it")]
    ClaimWithMail(usize),
}

/// Room for the line of most envelopes, and its line feed.
const LINE_BYTES_USUAL: usize = 1 << 10;

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

#[derive(Serialize, Deserialize)]
struct Line<F> {
    v: u32,
    #[serde(flatten)]
    facts: F,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<ClaimCheck>,
}

impl Envelope {
    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        let (claim, mail) = match &self.mail {
            Mail::Inline(bytes) => (None, bytes.as_ref()),
            Mail::Stored(claim) => (Some(claim.clone()), &[][..]),
        };
        let line = Line { v: ENVELOPE_VERSION, facts: &self.facts, claim };
        let mut wire = Vec::with_capacity(LINE_BYTES_USUAL + mail.len());
        // Unwrap: strings and numbers under string keys always serialise, and a vector takes all.
        serde_json::to_writer(&mut wire, &line).expect("an envelope always serialises");
        wire.push(b'\n');
        wire.extend_from_slice(mail);
        wire
    }

    /// Reads the wire form; the mail's bytes are shared, not copied.
    ///
    /// # Errors
    /// [`DecodeError`]; such a message is parked.
    pub fn decode(wire: &Bytes) -> Result<Self, DecodeError> {
        let end = wire.iter().position(|&byte| byte == b'\n').ok_or(DecodeError::NoEnvelopeLine)?;
        // serde_json's text could quote a field's value, which may be an address: only its place and kind are kept.
        let invalid = |error: serde_json::Error| DecodeError::Invalid(format!("{:?} error at column {}", error.classify(), error.column()));
        let version: VersionOnly = serde_json::from_slice(&wire[..end]).map_err(invalid)?;
        if version.v != ENVELOPE_VERSION {
            return Err(DecodeError::Version(version.v));
        }
        let line: Line<Facts> = serde_json::from_slice(&wire[..end]).map_err(invalid)?;
        let rest = wire.slice(end + 1..);
        let mail = match line.claim {
            None => Mail::Inline(rest),
            Some(_) if !rest.is_empty() => return Err(DecodeError::ClaimWithMail(rest.len())),
            Some(claim) => Mail::Stored(claim),
        };
        Ok(Self { facts: line.facts, mail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            request_key: "ab".repeat(32),
            mail_key: "cd".repeat(32),
            group: "ef".repeat(16),
            mail_from: "someone@example.org".into(),
            rcpt_to: "get+fa@example.com".into(),
            client_address: "192.0.2.7".into(),
            client_name: String::new(),
            helo: "mail.example.org".into(),
            protocol: "ESMTP".into(),
            tls: String::new(),
            queue_id: "4XyZ".into(),
            host: "mx1.example.com".into(),
            arrived: UnixMillis(1_790_000_000_000),
        }
    }

    #[test]
    fn any_bytes_survive_the_wire() {
        let mails: [&[u8]; 5] = [b"", b"Subject: x\n\n\xff\xfe\0bare\rcr", b"\n", b"{\"v\":1}\n", &[0, 10, 13, 255]];
        for mail in mails {
            let envelope = Envelope { facts: facts(), mail: Mail::Inline(Bytes::copy_from_slice(mail)) };
            let decoded = Envelope::decode(&Bytes::from(envelope.encode())).expect("decodes");
            assert_eq!(decoded, envelope);
        }
    }

    #[test]
    fn a_claim_check_survives_the_wire_and_verifies_only_its_own_mail() {
        let object = ObjectName::new("claims", "mail/1").expect("valid name");
        let claim = ClaimCheck::new(object, b"the mail");
        let envelope = Envelope { facts: facts(), mail: Mail::Stored(claim.clone()) };
        assert_eq!(Envelope::decode(&Bytes::from(envelope.encode())).expect("decodes"), envelope);
        assert_eq!(claim.verify(b"the mail"), Ok(()));
        assert_eq!(claim.verify(b"the mai"), Err(ClaimMismatch::Length { found: 7, expected: 8 }));
        assert_eq!(claim.verify(b"the mail".map(|b| b ^ 1).as_slice()), Err(ClaimMismatch::Digest));
    }

    #[test]
    fn what_is_not_an_envelope_is_refused_without_quoting_it() {
        let valid = Envelope { facts: facts(), mail: Mail::Inline(Bytes::new()) }.encode();
        let newer = String::from_utf8(valid).expect("text").replace("\"v\":1", "\"v\":2");
        assert!(matches!(Envelope::decode(&Bytes::from(newer)), Err(DecodeError::Version(2))));
        assert!(matches!(Envelope::decode(&Bytes::from_static(b"no line")), Err(DecodeError::NoEnvelopeLine)));
        let error = Envelope::decode(&Bytes::from_static(b"{\"v\":1,\"mail_from\":\"secret@example.org\",\"arrived\":\"x\"}\n"));
        let text = error.expect_err("wrong type").to_string();
        assert!(!text.contains("secret@example.org"), "{text}");
    }

    #[test]
    fn unknown_fields_of_the_same_version_are_read_past() {
        let wire = Envelope { facts: facts(), mail: Mail::Inline(Bytes::new()) }.encode();
        let extended = String::from_utf8(wire).expect("text").replacen('{', "{\"later\":[1],", 1);
        Envelope::decode(&Bytes::from(extended)).expect("an older worker reads a newer enqueuer's envelope");
    }

    #[test]
    fn an_earlier_enqueuers_envelope_has_no_group() {
        let wire = String::from_utf8(Envelope { facts: facts(), mail: Mail::Inline(Bytes::new()) }.encode()).expect("text");
        let earlier = wire.replace(&format!("\"group\":\"{}\",", "ef".repeat(16)), "");
        assert_ne!(wire, earlier);
        assert_eq!(Envelope::decode(&Bytes::from(earlier)).expect("decodes").facts.group, "");
    }

    #[test]
    fn spellings_of_one_sender_are_one_group_and_other_senders_are_others() {
        let secret = Secret::from_text("0123456789abcdef0123456789abcdef").expect("long enough");
        let of = |mail_from: &str| group(&secret, mail_from, "192.0.2.7");
        assert_eq!(of("someone@example.org").len(), GROUP_CHARS);
        for same in ["Someone@EXAMPLE.org", "someone+tag@example.org", "prvs=4812abcdef=someone@example.org"] {
            assert_eq!(of(same), of("someone@example.org"), "{same}");
        }
        for other in ["someone@example.net", "other@example.org", "", "someone", "x@example.org"] {
            assert_ne!(of(other), of("someone@example.org"), "{other}");
        }
        assert_ne!(of(""), group(&secret, "", "192.0.2.8"), "without a sender the client counts");
        assert_eq!(of("a@b.org"), group(&secret, "a@b.org", "192.0.2.8"));
    }

    #[test]
    fn keys_tell_deliveries_apart() {
        let secret = Secret::from_text("0123456789abcdef0123456789abcdef").expect("long enough");
        let key = request_key(&secret, "mx1", "4XyZ", "get@example.com");
        assert_eq!(key, request_key(&secret, "mx1", "4XyZ", "GET@example.com"));
        for (host, id, rcpt) in [("mx2", "4XyZ", "get@example.com"), ("mx1", "4XyA", "get@example.com"), ("mx1", "4XyZ", "win@example.com")] {
            assert_ne!(key, request_key(&secret, host, id, rcpt));
        }
        assert_ne!(key, mail_key(&secret, "mx1", "4XyZ"));
    }
}
