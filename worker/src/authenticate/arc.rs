//! ARC (RFC 8617): what a forwarder saw before it changed a mail, if the settings trust all that sealed it.
//!
//! A chain is worth no more than those who sealed it: anybody can seal anything. So nothing is looked up unless every
//! seal is by a domain in `trusted_sealers`. mail-auth verifies the chain; keys are fetched and judged here as for DKIM.
//!
//! Of a valid chain, the results of instance 1 count. All its sealers are trusted, so each result is; the first was
//! written before anything was changed, while at a later hop SPF and DKIM may be broken already. A sealer that vouches
//! for what it forwards has also seen that the chain before it was whole (cv=pass).

use futures_util::future::join_all;
use mail_auth::{
    AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters,
    arc::{Results as Instance, Seal, Signature},
    common::{
        crypto::{Algorithm, HashAlgorithm},
        headers::Header,
        verify::VerifySignature,
    },
};
use tokio::time::Instant;

use super::{
    dkim::{BodyHashes, Keys, SIGNED_NAMES_MAX, key},
    dns::{Dns, within},
    fields::Mail,
    results::{self, Results},
    tags::Tags,
};
use crate::address::is_within;

/// Sets of a chain that are verified. RFC 8617 allows 50; each costs a key and a signature.
const SETS_MAX: usize = 10;

/// What became of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// There is none.
    None,
    /// It is whole, and this is what its first sealer saw.
    Pass(Results),
    /// It does not count: the word of RFC 8601 §2.7.2, and why.
    No(&'static str, &'static str),
    /// A key cannot be had now.
    Temporary,
}

/// Judges the chain of a mail. `trusted` are the domains of `trusted_sealers`, as A-labels in lower case.
pub(super) async fn verify(dns: &Dns, mail: &Mail<'_>, trusted: &[String], arrived_s: u64, deadline: Instant) -> Chain {
    let mut message = match collect(mail, trusted, arrived_s) {
        Ok(Some(message)) => message,
        Ok(None) => return Chain::None,
        Err((word, why)) => return Chain::No(word, why),
    };
    // Unwrap: collect() returns as many signatures as seals, and at least one.
    let last = &message.ams_headers.last().expect("a chain has a last set").header;
    let body_hash = BodyHashes::new(mail.body()).get(last.cb).to_vec();
    message.body_hashes = vec![(last.cb, HashAlgorithm::Sha256, last.l, body_hash)];

    let seals = message.as_headers.iter().map(|seal| (seal.header.domain_key(), seal.header.a));
    let mut names: Vec<(String, Algorithm)> = seals.chain([(last.domain_key(), last.a)]).collect();
    names.sort_by(|one, other| one.0.cmp(&other.0));
    names.dedup_by(|one, other| one.0 == other.0);
    let records = join_all(names.iter().map(|(name, _)| within(deadline, dns.txt(name)))).await;
    let mut keys = Vec::new();
    for ((name, algorithm), records) in names.into_iter().zip(records) {
        match key::read(records) {
            key::Found::Temporary => return Chain::Temporary,
            key::Found::No(why) => return Chain::No("permerror", why),
            key::Found::Key(key) => match key.mismatch(algorithm) {
                Some(why) => return Chain::No("policy", why),
                None => keys.push((name, key.into_txt())),
            },
        }
    }
    let keys: Keys = keys.into_iter().collect();
    let output = MessageAuthenticator(dns.resolver()).verify_arc(Parameters::new(&message).with_txt_cache(&keys)).await;
    match output.result() {
        DkimResult::Pass => {}
        DkimResult::TempError(_) => return Chain::Temporary,
        _ => return Chain::No("fail", "the chain is broken"),
    }
    let first = message.aar_headers.first().and_then(|first| std::str::from_utf8(first.value).ok());
    match first.and_then(results::instance).and_then(|(_, rest)| results::parse(rest)) {
        Some(results) => Chain::Pass(results),
        None => Chain::No("policy", "the results of its first set are malformed"),
    }
}

type Refusal = (&'static str, &'static str);

/// The chain's fields, in order of their instances, as mail-auth takes them; `None` if there are none.
fn collect<'m>(mail: &Mail<'m>, trusted: &[String], arrived_s: u64) -> Result<Option<AuthenticatedMessage<'m>>, Refusal> {
    const MALFORMED: Refusal = ("permerror", "a field of the chain is malformed");
    let is_trusted = |domain: &str| trusted.iter().any(|sealer| is_within(domain, sealer));
    let mut message = AuthenticatedMessage { raw_message: mail.raw, ..AuthenticatedMessage::default() };

    for field in mail.named("ARC-Seal") {
        Tags::parse(field.value).ok_or(MALFORMED)?;
        let seal = Seal::parse(field.value).map_err(|_| MALFORMED)?;
        if !is_trusted(&seal.d) {
            return Err(("policy", "a seal is by a domain that is not in trusted_sealers"));
        }
        if seal.a == Algorithm::RsaSha1 {
            return Err(("policy", "rsa-sha1 proves nothing"));
        }
        message.as_headers.push(Header::new(field.name, field.value, seal));
        if message.as_headers.len() > SETS_MAX {
            return Err(("policy", "the chain is too long"));
        }
    }
    for field in mail.named("ARC-Message-Signature") {
        let tags = Tags::parse(field.value).ok_or(MALFORMED)?;
        let mut signature = Signature::parse(field.value).map_err(|_| MALFORMED)?;
        if message.ams_headers.len() == message.as_headers.len() {
            return Err(MALFORMED);
        }
        if !is_trusted(&signature.d) {
            return Err(("policy", "a signature of the chain is by a domain that is not in trusted_sealers"));
        }
        let signs_from = signature.h.iter().any(|name| name.eq_ignore_ascii_case("from")) && signature.h.len() <= SIGNED_NAMES_MAX;
        if tags.has("l") || signature.a == Algorithm::RsaSha1 || !signs_from {
            return Err(("policy", "a signature of the chain has l=, is rsa-sha1, or does not sign From"));
        }
        if tags.seconds("x").map_err(|()| MALFORMED)?.is_some_and(|expires_s| expires_s < arrived_s) {
            return Err(("policy", "a signature of the chain is past x="));
        }
        (signature.x, signature.t) = (0, 0); // said above, by the time of arrival
        message.ams_headers.push(Header::new(field.name, field.value, signature));
    }
    for field in mail.named("ARC-Authentication-Results") {
        if message.aar_headers.len() == message.as_headers.len() {
            return Err(MALFORMED);
        }
        let instance = std::str::from_utf8(field.value).ok().and_then(results::instance).ok_or(MALFORMED)?.0;
        message.aar_headers.push(Header::new(field.name, field.value, Instance { i: instance }));
    }
    if message.as_headers.is_empty() {
        return Ok(None);
    }
    if message.ams_headers.len() != message.as_headers.len() || message.aar_headers.len() != message.as_headers.len() {
        return Err(("fail", "the chain has gaps"));
    }
    message.as_headers.sort_by_key(|field| field.header.i);
    message.ams_headers.sort_by_key(|field| field.header.i);
    message.aar_headers.sort_by_key(|field| field.header.i);
    message.headers = mail.fields.iter().map(|field| (field.name, field.value)).collect();
    Ok(Some(message))
}
