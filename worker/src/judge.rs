//! Judges a request before the ledger does: asks every rule in the order of [`crate::screen`]'s head, and says what the
//! request may get. The worker stops at the first rule that fires; `replyfleet explain` has them all asked, by this very
//! code, and shows each.
//!
//! Asked here are the operator's switches, the lists in the database, and DNS; the rules on header and envelope are in
//! [`crate::screen`], and what must be counted is the ledger's. A database or a name server that does not answer ends in
//! "later", never in a verdict.

use std::{sync::Arc, time::Duration};

use replyfleet::settings::{AuthenticationMode, AuthenticationSettings, Settings, Trust};

use crate::{
    address::Address,
    authenticate::{Authenticator, DomainFault, Evidence, MailHosts},
    catalogue::Response,
    ledger::{Ledger, LedgerError, Listed, Promise},
    outcome::Wait,
    reason::Reason,
    request::Request,
    screen::{Finding, Policy, RULES, Rule, Seen, TOO_OLD},
    switches::{State, Switches},
};

/// How long a sender who is proven a little waits for DNS to prove more. Who is not proven at all waits as long as a
/// request lives.
const FULL_PROOF_WITHIN: Duration = Duration::from_secs(15 * 60);

/// The number of the rule under which the sender's proof is told.
pub const PROOF: u8 = 21;

/// Asks the rules.
pub struct Judge {
    policy: Policy,
    proof: AuthenticationSettings,
    authenticator: Option<Authenticator>,
}

/// What a request may get, as far as is known before the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// How far its sender is trusted: which responses it may get.
    pub trust: Trust,
    /// Whether it may get those with attachments, as far as the operator and the queue's length say.
    pub has_attachments: bool,
    /// Whether its sender is proven, whatever the settings grant to others.
    pub is_proven: bool,
    /// Whether its sender is on the allow list (rule 28), and is who it says: From alone is anybody's to write.
    pub is_allowed: bool,
    /// What proved the sender: a word of [`Evidence::word`], or the empty text if it did not come to that.
    pub proof: &'static str,
    /// What makes two mails that a signature proved the same one ([`Evidence::replay_key`]).
    pub replay_key: Option<String>,
}

impl Judgement {
    /// What makes two mails of one sender the same request (rule 27): what the signature covers, since everything else can
    /// be changed by whoever holds a signed mail; without one, what the mail says.
    pub fn identity(&self, request: &Request, mail: &[u8]) -> String {
        self.replay_key.clone().unwrap_or_else(|| request.identity(mail))
    }

    /// What may be promised of these responses. To the ledger, trust is about attachments: it counts them, and grants less
    /// when there are no more to have.
    pub fn promises(&self, responses: &[&Response]) -> Vec<Promise> {
        let needs = |response: &Response| if response.attachments.is_empty() { Trust::Small } else { Trust::Full };
        let eligible = responses.iter().filter(|response| response.needs <= self.trust);
        eligible.map(|response| Promise { digest: response.digest.clone(), needs: needs(response) }).collect()
    }

    /// The most that the ledger may grant of these promises: full only if there is an attachment among them to grant.
    pub fn ceiling(&self, promises: &[Promise]) -> Trust {
        let has_any = promises.iter().any(|promise| promise.needs == Trust::Full);
        if self.has_attachments && has_any { Trust::Full } else { Trust::Small }
    }
}

/// Why the way ends before the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is no answer.
    Ignore(Reason),
    /// It is to be asked again later.
    Later(Wait),
}

/// One rule as it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number in `docs/answering.md`.
    pub number: u8,
    /// What it looks for.
    pub looks_for: &'static str,
    /// What it saw. For the operator's terminal only.
    pub saw: std::borrow::Cow<'static, str>,
    /// How it ended the way; `None` if the rule let the mail pass.
    pub end: Option<End>,
}

impl Step {
    fn of(rule: &Rule, finding: Finding) -> Self {
        Self { number: rule.number, looks_for: rule.looks_for, saw: finding.saw, end: finding.reason.map(End::Ignore) }
    }
}

/// Everything that one request is judged by.
pub struct Hearing<'a> {
    /// Envelope, header, catalogue, policy, time.
    pub seen: Seen<'a>,
    /// The mail's bytes.
    pub mail: &'a [u8],
    /// What the operator has switched.
    pub switches: Arc<Switches>,
    /// Whether attachments are given up because the queue is long.
    pub is_shedding: bool,
    /// Whether the request is asked about for the first time.
    pub is_first_look: bool,
}

impl Hearing<'_> {
    fn has_attachments(&self) -> bool {
        self.switches.has_attachments && !self.is_shedding
    }

    fn responses(&self) -> Vec<&Response> {
        self.seen.catalogue.responses_for(&self.seen.facts.rcpt_to)
    }
}

impl Judge {
    /// A judge by these settings.
    ///
    /// # Errors
    /// A sentence with the key that cannot be used.
    pub fn open(settings: &Settings) -> Result<Self, String> {
        let proof = settings.authentication.clone();
        let authenticator = match proof.mode {
            AuthenticationMode::On => Some(Authenticator::open(&proof)?),
            AuthenticationMode::Off => None,
        };
        Ok(Self { policy: Policy::new(settings)?, proof, authenticator })
    }

    /// The part of the settings that the first rules look at.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The hosts that take mail for a recipient, the most preferred first; none where no name server is asked or his domain
    /// has none. `None` as long as DNS does not say.
    pub async fn mail_hosts(&self, to: &Address) -> Option<Vec<String>> {
        let Some(authenticator) = &self.authenticator else { return Some(Vec::new()) };
        match authenticator.mail_hosts(&to.ascii_domain()).await {
            Ok(found) => Some(found.hosts),
            Err(DomainFault::CannotTakeMail(_)) => Some(Vec::new()),
            Err(DomainFault::Temporary) => None,
        }
    }

    /// Whether the name server answers, for `replyfleet check`. `domain` is one that we know.
    ///
    /// # Errors
    /// A sentence.
    pub async fn check(&self, domain: &str) -> Result<&'static str, String> {
        let Some(authenticator) = &self.authenticator else { return Ok("off: nobody is authenticated, and no name server is asked") };
        match authenticator.mail_hosts(domain).await {
            Err(DomainFault::Temporary) => Err(format!("does not say by which hosts {domain} takes mail; set authentication.resolver?")),
            Ok(_) | Err(DomainFault::CannotTakeMail(_)) => Ok("answers"),
        }
    }

    /// Whether the name server answers now, whatever it says of `domain`; the cache is not asked. True where none is needed.
    pub async fn is_dns_there(&self, domain: &str) -> bool {
        match &self.authenticator {
            Some(authenticator) => authenticator.is_dns_there(domain).await,
            None => true,
        }
    }

    /// Judges, and stops at the first rule that ends the way; that end, if there is one, is told beside what was found out
    /// until then.
    pub async fn judge(&self, hearing: &Hearing<'_>, ledger: Option<&Ledger>) -> (Judgement, Option<End>) {
        let mut end = None;
        let judgement = self
            .ask(hearing, ledger, &mut |step| {
                end = end.or(step.end);
                end.is_none()
            })
            .await;
        (judgement, end)
    }

    /// Asks the rules in order and hands each to `each`, for as long as that returns true. Without a ledger the lists
    /// are left out, as are those that need a From where there is none.
    pub async fn ask(&self, hearing: &Hearing<'_>, ledger: Option<&Ledger>, each: &mut (dyn FnMut(Step) -> bool + Send)) -> Judgement {
        let mut judgement = Judgement {
            trust: Trust::None,
            has_attachments: hearing.has_attachments(),
            is_proven: false,
            is_allowed: false,
            proof: "",
            replay_key: None,
        };
        let seen = &hearing.seen;
        for rule in RULES.iter().chain([&TOO_OLD]) {
            if !each(Step::of(rule, (rule.check)(seen))) {
                return judgement;
            }
        }
        if !each(switched(hearing)) {
            return judgement;
        }
        let Ok(from) = &seen.request.from else { return judgement };
        if let Some(ledger) = ledger {
            let listed = listed(ledger, seen, from).await;
            judgement.is_allowed = listed.as_ref().is_ok_and(|listed| listed.is_allowed);
            if !each(lists_step(&listed)) {
                return judgement;
            }
        }
        let mut evidence = None;
        if let Some(authenticator) = self.authenticator.as_ref().map(Authenticator::for_one_mail) {
            let hosts = authenticator.mail_hosts(&from.ascii_domain()).await;
            if !each(domain_step(&hosts)) || !each(provider_step(hearing, from, &hosts)) {
                return judgement;
            }
            evidence = Some(authenticator.authenticate(hearing.mail, from, seen.facts).await);
        } else if !each(provider_step(hearing, from, &Ok(MailHosts { hosts: Vec::new() }))) {
            return judgement;
        }
        let proven = evidence.as_ref().map_or(self.proof.unproven, |evidence| evidence.trust(&self.proof));
        judgement.is_proven = proven == Trust::Full && evidence.as_ref().is_some_and(Evidence::is_full);
        judgement.proof = evidence.as_ref().map_or("off", Evidence::word);
        judgement.replay_key = evidence.as_ref().and_then(Evidence::replay_key).map(str::to_owned);
        judgement.is_allowed &= judgement.is_proven || evidence.is_none();
        if !each(self.proof_step(hearing, proven, evidence.as_ref())) {
            return judgement;
        }
        judgement.trust = proven;
        each(attachments_step(hearing, proven));
        judgement
    }

    /// Rules 21 to 24: is the sender proven far enough for anything that the address has?
    fn proof_step(&self, hearing: &Hearing<'_>, proven: Trust, evidence: Option<&Evidence>) -> Step {
        let age = hearing.seen.now.since(hearing.seen.facts.arrived);
        let buys_something = proven > Trust::None && hearing.responses().iter().any(|response| response.needs <= proven);
        let is_worth_waiting = !buys_something || hearing.is_first_look || age < FULL_PROOF_WITHIN;
        let end = match evidence.is_some_and(Evidence::waits) && is_worth_waiting {
            true => Some(End::Later(Wait::Dns)),
            false => (!buys_something).then_some(End::Ignore(Reason::Unproven)),
        };
        let saw = evidence.map_or_else(
            || "authentication is off".to_owned(),
            |evidence| evidence.lines().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        );
        Step { number: PROOF, looks_for: "proof of who sent it", saw: format!("trust {}\n{saw}", proven.word()).into(), end }
    }
}

fn state_end(state: State) -> Option<End> {
    match state {
        State::On => None,
        State::Off => Some(End::Ignore(Reason::SwitchedOff)),
        State::Hold => Some(End::Later(Wait::Switch)),
    }
}

/// Rule 29 for everything, and for the address that was asked.
fn switched(hearing: &Hearing<'_>) -> Step {
    let all = hearing.switches.all;
    let address = Address::parse(&hearing.seen.facts.rcpt_to).map(|address| hearing.switches.address(&address)).unwrap_or_default();
    let saw = format!("all {}, the address {}", all.word(), address.word());
    Step { number: 29, looks_for: "the service or the address switched off", saw: saw.into(), end: state_end(all.max(address)) }
}

/// Rule 29 for the provider that the answer would go to: its domain, or that of its mail hosts.
fn provider_step(hearing: &Hearing<'_>, from: &Address, hosts: &Result<MailHosts, DomainFault>) -> Step {
    let hosts = hosts.as_ref().map(|found| found.hosts.as_slice()).unwrap_or_default();
    let state = hearing.switches.provider(&from.ascii_domain(), hosts);
    Step { number: 29, looks_for: "the provider switched off", saw: format!("the provider {}", state.word()).into(), end: state_end(state) }
}

/// Rule 29: attachments switched off or given up; it ends the way of those who would get nothing else.
fn attachments_step(hearing: &Hearing<'_>, proven: Trust) -> Step {
    let saw = match (hearing.switches.has_attachments, hearing.is_shedding) {
        (false, _) => "attachments are off",
        (true, true) => "attachments are given up, the queue is long",
        (true, false) => "attachments are on",
    };
    let eligible: Vec<_> = hearing.responses().into_iter().filter(|response| response.needs <= proven).collect();
    let has_something = hearing.has_attachments() || eligible.iter().any(|response| response.attachments.is_empty());
    let is_end = !has_something && !eligible.is_empty(); // who may get nothing at all has been told so before
    Step { number: 29, looks_for: "attachments switched off", saw: saw.into(), end: is_end.then_some(End::Ignore(Reason::SwitchedOff)) }
}

async fn listed(ledger: &Ledger, seen: &Seen<'_>, from: &Address) -> Result<Listed, LedgerError> {
    let mail_from = Address::parse(&seen.facts.mail_from);
    let senders: Vec<&Address> = std::iter::once(from).chain(&mail_from).collect();
    ledger.listed(&senders, seen.now).await
}

fn lists_step(listed: &Result<Listed, LedgerError>) -> Step {
    let (saw, end) = match listed {
        Err(error) => {
            tracing::warn!(error = %error, "the lists cannot be asked");
            (error.to_string().into(), Some(End::Later(Wait::Ledger)))
        }
        Ok(Listed { is_blocked: true, .. }) => ("on the block list".into(), Some(End::Ignore(Reason::Blocked))),
        Ok(Listed { is_suppressed: true, .. }) => ("on the suppression list".into(), Some(End::Ignore(Reason::Suppressed))),
        Ok(Listed { is_allowed: true, .. }) => ("on the allow list".into(), None),
        Ok(_) => ("on no list".into(), None),
    };
    Step { number: 7, looks_for: "the operator's lists", saw, end }
}

/// Rule 5.
fn domain_step(hosts: &Result<MailHosts, DomainFault>) -> Step {
    let (saw, end) = match hosts {
        Ok(found) => (format!("mail for it goes to {}", found.hosts.join(", ")), None),
        Err(DomainFault::CannotTakeMail(why)) => ((*why).to_owned(), Some(End::Ignore(Reason::CannotTakeMail))),
        Err(DomainFault::Temporary) => ("DNS does not say now".to_owned(), Some(End::Later(Wait::Dns))),
    };
    Step { number: 5, looks_for: "a domain that takes no mail", saw: saw.into(), end }
}

#[cfg(test)]
mod tests;
