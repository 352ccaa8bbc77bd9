//! Who sent a mail (rules 5 and 21 to 24): SPF, DKIM, DMARC alignment, and where the settings trust somebody, ARC and
//! our own MX's Authentication-Results.
//!
//! An [`Authenticator`] is opened once and shared; its DNS cache serves all mails. For one mail everything is asked at
//! once, and all of it ends at one deadline: what is proven by then stays proven. [`Authenticator::authenticate`] never
//! fails; trouble stands in the [`Evidence`]. What the trust buys is decided by the caller and the catalogue.
//!
//! Parts: `fields` splits the mail, `dns` asks, `dkim`, `spf`, `arc` and `results` find, `alignment` tells for whom a
//! finding speaks, `evidence` weighs. mail-auth's types are seen below this module only.

mod alignment;
mod arc;
mod dkim;
pub(crate) mod dns;
mod evidence;
mod fields;
mod hosts;
pub mod results;
mod spf;
mod tags;

use std::sync::Arc;

use replyfleet::{
    clock::UnixMillis,
    envelope::Facts,
    settings::{AuthenticationMode, AuthenticationSettings},
};
use tokio::time::Instant;

use self::{
    dkim::Outcome,
    dns::{Dns, within},
    evidence::{Findings, SpfFinding},
    fields::Mail,
    results::Results,
    spf::Session,
};
pub use self::{
    evidence::{Evidence, EvidenceLine},
    fields::author_agrees,
    hosts::{DomainFault, MailHosts},
    spf::SpfResult,
};
use crate::address::Address;

/// Finds out who sent mails. A clone shares settings, resolver and cache.
#[derive(Clone)]
pub struct Authenticator {
    shared: Arc<Shared>,
    /// Of the one mail that this clone is for.
    deadline: Option<Instant>,
}

struct Shared {
    settings: AuthenticationSettings,
    /// `trusted_sealers` as A-labels in lower case.
    sealers: Vec<String>,
    /// `authserv_id` without white space around it.
    authserv_id: Option<String>,
    dns: Dns,
}

impl Authenticator {
    /// Opens the resolver that the settings name, else the system's.
    ///
    /// # Errors
    /// A sentence with the settings' key: no resolver, a trusted sealer that is no domain, or an authserv-id that no field
    /// could have.
    pub fn open(settings: &AuthenticationSettings) -> Result<Self, String> {
        crate::crypto::install();
        let sealer = |entry: &String| {
            let domain = Address::parse(&format!("x@{}", entry.trim())).map(|address| address.ascii_domain());
            domain.ok_or_else(|| format!("authentication.trusted_sealers: {entry:?} is not a domain (without @ and *: sub-domains are covered)"))
        };
        let sealers = settings.trusted_sealers.iter().map(sealer).collect::<Result<_, _>>()?;
        let authserv_id = settings.authserv_id.as_deref().map(|id| id.trim().to_owned());
        if let Some(id) = authserv_id.as_deref().filter(|id| !results::is_one_token(id)) {
            return Err(format!(
                "authentication.authserv_id: {id:?} is not one word as in Authentication-Results, such as mx.example.com; \
                 leave the key out if no MX of yours writes that field"
            ));
        }
        let dns = Dns::open(settings.resolver, settings.cache_entries.get(), settings.timeout_s.duration())?;
        Ok(Self { shared: Arc::new(Shared { settings: settings.clone(), sealers, authserv_id, dns }), deadline: None })
    }

    /// This authenticator for one mail: `timeout_s` begins now, for all that is asked through it together.
    pub fn for_one_mail(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), deadline: Some(self.deadline()) }
    }

    /// The hosts that take mail for `domain`, an A-label (rule 5).
    ///
    /// # Errors
    /// [`DomainFault`]: it takes none, or DNS did not say within `timeout_s`.
    pub async fn mail_hosts(&self, domain: &str) -> Result<MailHosts, DomainFault> {
        within(self.deadline(), hosts::mail_hosts(&self.shared.dns, domain)).await.unwrap_or(Err(DomainFault::Temporary))
    }

    /// Whether the name server answers now, whatever it says of `domain`; the cache is not asked.
    pub async fn is_dns_there(&self, domain: &str) -> bool {
        within(self.deadline(), self.shared.dns.is_there(domain)).await.unwrap_or(false)
    }

    /// Whether the client of a mail may send for its MAIL FROM, else for its HELO (RFC 7208).
    pub async fn spf(&self, facts: &Facts) -> SpfResult {
        self.spf_until(facts, self.deadline()).await.1
    }

    /// What can be found out about the sender of `mail`, whose one From address is `from`.
    pub async fn authenticate(&self, mail: &[u8], from: &Address, facts: &Facts) -> Evidence {
        let Shared { settings, sealers, authserv_id, dns } = &*self.shared;
        if settings.mode == AuthenticationMode::Off {
            return Evidence::off();
        }
        let crlf = fields::with_crlf(mail);
        let Some(mail) = Mail::split(&crlf) else {
            return Evidence::unusable_from("the header is over the limits");
        };
        if !fields::agrees(&mail, from) {
            return Evidence::unusable_from("two readers of the header do not find the same From");
        }
        let deadline = self.deadline();
        let from_domain = from.ascii_domain();
        let arrived_s = if facts.arrived == UnixMillis::default() { UnixMillis::now() } else { facts.arrived }.0 / 1_000;

        let proofs = async {
            tokio::join!(
                within(deadline, alignment::discover(dns, &from_domain)),
                dkim::verify(dns, &mail, &from_domain, arrived_s, deadline),
                async { if sealers.is_empty() { None } else { Some(arc::verify(dns, &mail, sealers, arrived_s, deadline).await) } }
            )
        };
        let spf = async {
            // HELO speaks for nobody's From, nor does another organisation: neither is worth a look-up.
            let domain = spf::mail_from_domain(&facts.mail_from);
            if alignment::may_align(&domain, &from_domain) {
                let (domain, result) = self.spf_until(facts, deadline).await;
                SpfFinding::Asked(domain, result)
            } else {
                SpfFinding::NotAligned(if domain.is_empty() { "<>".into() } else { domain })
            }
        };
        tokio::pin!(proofs, spf);
        let mut spf_finding = None;
        let (policy, dkim, arc) = loop {
            tokio::select! {
                biased;
                found = &mut proofs => break found,
                found = &mut spf, if spf_finding.is_none() => spf_finding = Some(found),
            }
        };
        let policy = policy.and_then(Result::ok);
        // A DKIM signature by From's very domain is all there is to have; SPF need not be waited for.
        let is_needed = !dkim.iter().any(|verdict| verdict.outcome == Outcome::Pass && verdict.domain == from_domain);
        let spf = match spf_finding {
            Some(finding) => finding,
            None if is_needed => spf.await,
            None => SpfFinding::NotNeeded,
        };
        let results = authserv_id.as_deref().map(|id| our_results(&mail, id));
        Findings { from: &from_domain, policy, dkim, spf, arc, results }.weigh(settings)
    }

    /// The domain that was asked about, and the result.
    async fn spf_until(&self, facts: &Facts, deadline: Instant) -> (String, SpfResult) {
        let Some(client) = spf::client_address(&facts.client_address) else { return ("client address unknown".into(), SpfResult::None) };
        let session = Session { client, helo: &facts.helo, mail_from: &facts.mail_from };
        let result = within(deadline, spf::check(&self.shared.dns, &session)).await.unwrap_or(SpfResult::TempError);
        (session.domain(), result)
    }

    fn deadline(&self) -> Instant {
        self.deadline.unwrap_or_else(|| Instant::now() + self.shared.settings.timeout_s.duration())
    }
}

/// The topmost field that our own MX wrote (rule 24). If that one is malformed, none is believed: those below it are older,
/// or not ours.
fn our_results(mail: &Mail<'_>, authserv_id: &str) -> Option<Results> {
    let is_ours = |value: &&[u8]| results::authserv_id(&String::from_utf8_lossy(value)).is_some_and(|id| id.eq_ignore_ascii_case(authserv_id));
    let topmost = mail.named("Authentication-Results").map(|field| field.value).find(is_ours)?;
    results::parse(std::str::from_utf8(topmost).ok()?)
}

#[cfg(test)]
mod tests;
