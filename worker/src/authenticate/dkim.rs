//! DKIM (RFC 6376, RFC 8463, RFC 8301), as far as it can prove the From domain.
//!
//! Only signatures whose d= could be aligned with From are verified, ten at most, those of From's very domain first, and
//! then in the order of the header: no other can count, and none costs a look-up. mail-auth canonicalizes, hashes and
//! verifies; before it sees a signature, rule 22 is asked here, where the tag list is read strictly ([`super::tags`]), and the keys are fetched and judged here
//! ([`key`]), so that mail-auth never asks DNS itself. A signature that is too old, or of which more is claimed than it
//! covers, does not count ([`replay`]).
//!
//! A signature that cannot be checked now is [`Outcome::Temporary`]; every other trouble is a reason why it does not count.

pub(super) mod key;
mod replay;

use std::collections::HashMap;

use futures_util::future::join_all;
use mail_auth::{
    AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt,
    common::{
        crypto::{Algorithm, HashAlgorithm},
        headers::Header,
        verify::VerifySignature,
    },
    dkim::{Canonicalization, Signature},
};
use tokio::time::Instant;

use self::replay::Header as Signed;
pub(super) use self::replay::ReplayKey;
use super::{
    alignment::may_align,
    dns::{Dns, within},
    fields::{Field, Mail},
    tags::Tags,
};

/// Signatures that are verified (rule 23).
const VERIFIED_MAX: usize = 10;
/// Signatures of which anything is said at all.
const NAMED_MAX: usize = 20;
/// Names in h=. Finding the fields takes time for each.
pub(super) const SIGNED_NAMES_MAX: usize = 250;
/// How far a signer's clock may be ahead of ours.
const CLOCK_SKEW_S: u64 = 3_600;

/// What became of one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It holds.
    Pass,
    /// It does not count: the word of RFC 8601 §2.7.1, and why.
    No(&'static str, &'static str),
    /// Its key cannot be had now.
    Temporary,
}

/// One signature and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// d=, an A-label in lower case; empty if it cannot be read.
    pub(super) domain: String,
    /// s=.
    pub(super) selector: String,
    /// Whether it holds.
    pub(super) outcome: Outcome,
    /// What makes two mails that it proves the same one. `None` if it does not hold.
    pub(super) replay_key: Option<ReplayKey>,
}

/// A signature that is worth a look-up.
struct Candidate<'m> {
    field: Field<'m>,
    signature: Signature,
    /// The domain of i=, if it is given.
    identity: Option<String>,
}

/// Judges the signatures of a mail. `arrived_s` is when the mail came, in seconds since 1970.
pub(super) async fn verify(dns: &Dns, mail: &Mail<'_>, from: &str, arrived_s: u64, deadline: Instant) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut candidates = Vec::new();
    let mut hashes = BodyHashes::new(mail.body());
    let signed = Signed::of(mail);
    for field in mail.named("DKIM-Signature") {
        match candidate(field, &signed, from, arrived_s) {
            Ok(candidate) if hashes.get(candidate.signature.cb) != candidate.signature.bh => {
                verdicts.push(candidate.verdict(Outcome::No("fail", "the body is not the one that was signed")));
            }
            Ok(candidate) => candidates.push(candidate),
            Err(verdict) => verdicts.push(verdict),
        }
    }
    // A signature of From's own domain is aligned under any policy. Sorting keeps the order of the rest.
    candidates.sort_by_key(|candidate| candidate.signature.d != from);
    candidates.truncate(VERIFIED_MAX);
    verdicts.truncate(NAMED_MAX);

    let names: Vec<String> = candidates.iter().map(|candidate| candidate.signature.domain_key()).collect();
    let keys = join_all(names.iter().map(|name| within(deadline, dns.txt(name)))).await;
    let authenticator = MessageAuthenticator(dns.resolver());
    let mut proven = Vec::new();
    for ((candidate, name), records) in candidates.iter().zip(names).zip(keys) {
        let outcome = match key::read(records) {
            key::Found::Temporary => Outcome::Temporary,
            key::Found::No(why) => Outcome::No("permerror", why),
            key::Found::Key(key) => match key.fault(&candidate.signature, candidate.identity.as_deref()) {
                Some(why) => Outcome::No("policy", why),
                None => candidate.verify(&authenticator, mail, &mut hashes, &Keys::with(name, key.into_txt())).await,
            },
        };
        let replay_key = (outcome == Outcome::Pass).then(|| signed.replay_key(&candidate.signature));
        proven.push(Verdict { replay_key, ..candidate.verdict(outcome) });
    }
    proven.append(&mut verdicts);
    proven
}

/// Everything that can be said of a signature without DNS and without the body.
fn candidate<'m>(field: Field<'m>, header: &Signed, from: &str, arrived_s: u64) -> Result<Candidate<'m>, Verdict> {
    let unread = |why| Verdict { domain: String::new(), selector: String::new(), outcome: Outcome::No("permerror", why), replay_key: None };
    let tags = Tags::parse(field.value).ok_or_else(|| unread("its tag list is malformed"))?;
    let mut signature = Signature::parse(field.value).map_err(|_| unread("it is malformed, or of a kind that is not known"))?;
    let domain = idna::domain_to_ascii(&signature.d).map_err(|_| unread("d= is no domain"))?;
    let no = |word, why| Verdict { domain: domain.clone(), selector: signature.s.clone(), outcome: Outcome::No(word, why), replay_key: None };

    if tags.get("v") != Some("1") {
        return Err(no("permerror", "v= is not 1"));
    }
    if !may_align(&domain, from) {
        return Err(no("neutral", "not verified: d= is not aligned with From"));
    }
    if tags.has("l") {
        return Err(no("policy", "l= leaves a part of the body unsigned"));
    }
    if signature.a == Algorithm::RsaSha1 {
        return Err(no("policy", "rsa-sha1 proves nothing"));
    }
    let (Ok(signed_s), Ok(expires_s)) = (tags.seconds("t"), tags.seconds("x")) else {
        return Err(no("permerror", "t= or x= is no time"));
    };
    // RFC 6376 §3.5: measured when the mail came in, not when its turn came.
    if expires_s.is_some_and(|expires_s| expires_s < arrived_s || signed_s.is_some_and(|signed_s| expires_s < signed_s)) {
        return Err(no("policy", "past x="));
    }
    if signed_s.is_some_and(|signed_s| signed_s > arrived_s.saturating_add(CLOCK_SKEW_S)) {
        return Err(no("policy", "t= is in the future"));
    }
    if signature.h.len() > SIGNED_NAMES_MAX {
        return Err(no("policy", "h= names too many fields"));
    }
    if !signature.h.iter().any(|name| name.eq_ignore_ascii_case("from")) {
        return Err(no("policy", "it does not sign From"));
    }
    if let Some(why) = header.fault(&signature, signed_s, arrived_s) {
        return Err(no("policy", why));
    }
    let methods = tags.parts("q").unwrap_or_else(|| vec!["dns/txt".into()]);
    if !methods.iter().any(|method| method == "dns/txt" || method == "dns") {
        return Err(no("permerror", "q= names no way to a key"));
    }
    let identity = match signature.i.rsplit_once('@') {
        None if signature.i.is_empty() => None,
        Some((_, at)) => Some(idna::domain_to_ascii(at).unwrap_or_default()),
        None => Some(String::new()),
    };
    if identity.as_deref().is_some_and(|identity| !crate::address::is_within(identity, &domain)) {
        return Err(no("permerror", "i= is not within d="));
    }
    // All said above; mail-auth would measure by the clock, and ask DNS for reports and for third parties.
    (signature.x, signature.t, signature.r, signature.atps) = (0, 0, false, None);
    signature.d = domain;
    Ok(Candidate { field, signature, identity })
}

impl Candidate<'_> {
    fn verdict(&self, outcome: Outcome) -> Verdict {
        Verdict { domain: self.signature.d.clone(), selector: self.signature.s.clone(), outcome, replay_key: None }
    }

    async fn verify(&self, authenticator: &MessageAuthenticator, mail: &Mail<'_>, hashes: &mut BodyHashes<'_>, keys: &Keys) -> Outcome {
        // i= is judged (above, and t=s by the key); an IDN in it would only be read once more, and differently.
        let signature = Signature { i: String::new(), ..self.signature.clone() };
        let body_hash = hashes.get(signature.cb).to_vec();
        let message = AuthenticatedMessage {
            headers: mail.fields.iter().map(|field| (field.name, field.value)).collect(),
            raw_message: mail.raw,
            body_hashes: vec![(signature.cb, HashAlgorithm::Sha256, signature.l, body_hash)],
            dkim_headers: vec![Header::new(self.field.name, self.field.value, signature)],
            ..AuthenticatedMessage::default()
        };
        let outputs = authenticator.verify_dkim(Parameters::new(&message).with_txt_cache(keys)).await;
        match outputs.first().map(mail_auth::DkimOutput::result) {
            Some(DkimResult::Pass) => Outcome::Pass,
            Some(DkimResult::TempError(_)) => Outcome::Temporary,
            _ => Outcome::No("fail", "the signature is not of this header and this key"),
        }
    }
}

/// SHA-256 of the body in its two canonical forms, each computed when it is first asked for.
pub(super) struct BodyHashes<'m> {
    body: &'m [u8],
    relaxed: Option<Vec<u8>>,
    simple: Option<Vec<u8>>,
}

impl<'m> BodyHashes<'m> {
    pub(super) fn new(body: &'m [u8]) -> Self {
        Self { body, relaxed: None, simple: None }
    }

    pub(super) fn get(&mut self, form: Canonicalization) -> &[u8] {
        let slot = match form {
            Canonicalization::Relaxed => &mut self.relaxed,
            Canonicalization::Simple => &mut self.simple,
        };
        slot.get_or_insert_with(|| {
            // Within: a mail may have hundreds of signatures, and finding the end of a blank body means reading it.
            let body = if form == Canonicalization::Relaxed { without_blank_end(self.body) } else { self.body };
            HashAlgorithm::Sha256.hash(form.canonical_body(body, 0)).as_ref().to_vec()
        })
    }
}

/// The body without lines of white space at its end: relaxed canonicalization makes them empty and then drops them
/// (RFC 6376 §3.4.4), and mail-auth 0.13 only drops those that are empty from the start (its issue 62, mended in 0.15).
fn without_blank_end(body: &[u8]) -> &[u8] {
    let end = body.iter().rposition(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    let Some(end) = end else { return &[] };
    let line_end = body[end..].iter().position(|&byte| byte == b'\n').map_or(body.len(), |at| end + at + 1);
    &body[..line_end]
}

/// The keys of one verification, in the place where mail-auth looks before it asks DNS.
pub(super) struct Keys(HashMap<Box<str>, Txt>);

impl Keys {
    /// One key, under the name at which it was found.
    pub(super) fn with(name: String, key: Txt) -> Self {
        Self::from_iter([(name, key)])
    }
}

impl FromIterator<(String, Txt)> for Keys {
    fn from_iter<T: IntoIterator<Item = (String, Txt)>>(keys: T) -> Self {
        Self(keys.into_iter().map(|(name, key)| (name.to_lowercase().into_boxed_str(), key)).collect())
    }
}

impl ResolverCache<Box<str>, Txt> for Keys {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        self.0.get(name).cloned()
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: std::time::Instant) {}
}

#[cfg(test)]
mod tests;
