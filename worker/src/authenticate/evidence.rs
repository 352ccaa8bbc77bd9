//! What was found out about the sender of one mail, and what that buys (rules 21 to 24).
//!
//! Nothing is looked up here. What could not be asked now is kept apart from what was denied: it never raises the trust,
//! and never lowers it, but tells the caller to come again.

use replyfleet::settings::{AuthenticationSettings, Trust};

use super::{
    alignment::{Mode, Policy, may_align},
    arc::Chain,
    dkim::{Outcome, ReplayKey, Verdict},
    results::Results,
    spf::SpfResult,
};

/// One finding, for `replyfleet explain`. It names domains: it is for the operator's terminal, never for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceLine {
    /// The rule in `docs/answering.md`.
    pub rule: u8,
    /// `dkim`, `spf`, `dmarc`, `arc`, `authentication-results`, `from` or `off`.
    pub method: &'static str,
    /// The word of RFC 8601 §2.7.
    pub result: &'static str,
    /// Which domain and selector, and why it does not count.
    pub detail: String,
}

impl std::fmt::Display for EvidenceLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={} {}", self.method, self.result, self.detail)
    }
}

/// How far the sender is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Proof {
    Nothing,
    /// Aligned SPF, at a domain without a DMARC record.
    SpfOnly,
    Full,
}

impl Proof {
    fn trust(self, settings: &AuthenticationSettings) -> Trust {
        match self {
            Proof::Nothing => settings.unproven,
            Proof::SpfOnly => settings.spf_only.max(settings.unproven),
            Proof::Full => Trust::Full,
        }
    }
}

/// What was found out about the sender of one mail. Its `Debug` names no domain.
#[derive(Clone, PartialEq, Eq)]
pub struct Evidence {
    proof: Proof,
    by: &'static str,
    waits: bool,
    lines: Vec<EvidenceLine>,
    replay_key: Option<String>,
}

impl std::fmt::Debug for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Evidence({:?} by {}, waits: {}, {} lines)", self.proof, self.by, self.waits, self.lines.len())
    }
}

impl Evidence {
    /// What the sender may be sent (rule 21).
    pub fn trust(&self, settings: &AuthenticationSettings) -> Trust {
        self.proof.trust(settings)
    }

    /// Whether the sender is proven in full, whatever the settings grant to others.
    pub fn is_full(&self) -> bool {
        self.proof == Proof::Full
    }

    /// Whether something that could not be asked now could still raise the trust: come again later (rule 23).
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// Every finding, in the order of asking.
    pub fn lines(&self) -> Vec<EvidenceLine> {
        self.lines.clone()
    }

    /// What carried the proof, for log and metric: `dmarc`, `dkim`, `arc`, `results`, `spf`, `nothing` or `off`.
    pub fn word(&self) -> &'static str {
        self.by
    }

    /// What makes two mails that DKIM proved the same one, whatever was changed about them that is not signed: 64
    /// hexadecimal characters, not keyed. It is the SHA-256 of the signed Message-ID, else of d=, s= and the bytes of b= of
    /// the aligned signature that holds; of several the smallest. `None` where no such signature counted.
    ///
    /// Who has somebody's signed mail can send it again with another Message-ID, where the signature does not cover that:
    /// this stays. Of two signatures one can be taken away, so one mail may have as many of these as it has signatures.
    pub fn replay_key(&self) -> Option<&str> {
        self.replay_key.as_deref()
    }

    /// Nothing was asked.
    pub(super) fn off() -> Self {
        let line = EvidenceLine { rule: 21, method: "off", result: "none", detail: "senders are not authenticated (authentication.mode)".into() };
        Self { proof: Proof::Nothing, by: "off", waits: false, lines: vec![line], replay_key: None }
    }

    /// Nothing can be proven of this mail, for a reason that lies in its From.
    pub(super) fn unusable_from(why: &str) -> Self {
        let line = EvidenceLine { rule: 4, method: "from", result: "permerror", detail: why.to_owned() };
        Self { proof: Proof::Nothing, by: "nothing", waits: false, lines: vec![line], replay_key: None }
    }
}

/// What SPF found.
pub(super) enum SpfFinding {
    /// Not asked, for DKIM proves more.
    NotNeeded,
    /// Not asked, for this sender cannot speak for From: a MAIL FROM of another organisation, or an empty one (HELO speaks
    /// for nobody's From).
    NotAligned(String),
    /// What was found of the domain of MAIL FROM.
    Asked(String, SpfResult),
}

/// Everything found, before it is weighed.
pub(super) struct Findings<'f> {
    /// The From domain, an A-label in lower case.
    pub(super) from: &'f str,
    /// `None`: it cannot be asked for now.
    pub(super) policy: Option<Policy>,
    pub(super) dkim: Vec<Verdict>,
    pub(super) spf: SpfFinding,
    /// `None`: no sealer is trusted.
    pub(super) arc: Option<Chain>,
    /// `None`: no authserv-id is set. `Some(None)`: no field of ours, or a malformed one.
    pub(super) results: Option<Option<Results>>,
}

/// Weighs findings: the proof so far, the best that could come, and the lines.
struct Scale<'f> {
    from: &'f str,
    policy: Option<&'f Policy>,
    proof: Proof,
    by: &'static str,
    best: Proof,
    lines: Vec<EvidenceLine>,
    replay_key: Option<ReplayKey>,
}

impl Findings<'_> {
    /// Weighs everything. `settings` tell whether what is missing could change anything.
    pub(super) fn weigh(self, settings: &AuthenticationSettings) -> Evidence {
        let mut scale = Scale {
            from: self.from,
            policy: self.policy.as_ref(),
            proof: Proof::Nothing,
            by: "nothing",
            best: Proof::Nothing,
            lines: Vec::new(),
            replay_key: None,
        };
        scale.dkim(&self.dkim);
        scale.spf(&self.spf);
        scale.dmarc();
        match self.arc {
            Some(Chain::Pass(results)) => scale.believed(&results, "arc", "arc"),
            Some(Chain::Temporary) => {
                scale.best = Proof::Full;
                scale.line(23, "arc", "temperror", "a key of the chain cannot be had now".into());
            }
            Some(Chain::No(word, why)) => scale.line(21, "arc", word, why.into()),
            Some(Chain::None) | None => {}
        }
        match self.results {
            Some(Some(results)) => scale.believed(&results, "results", "authentication-results"),
            Some(None) => scale.line(24, "authentication-results", "none", "no well-formed field with our authserv-id".into()),
            None => {}
        }
        let waits = scale.best.trust(settings) > scale.proof.trust(settings);
        let replay_key = scale.replay_key.map(ReplayKey::into_hex);
        Evidence { proof: scale.proof, by: scale.by, waits, lines: scale.lines, replay_key }
    }
}

/// Whether an identifier speaks for From.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aligned {
    Yes,
    No,
    /// It depends on a DMARC record that cannot be had now.
    Perhaps,
}

impl Scale<'_> {
    fn line(&mut self, rule: u8, method: &'static str, result: &'static str, detail: String) {
        self.lines.push(EvidenceLine { rule, method, result, detail });
    }

    fn proves(&mut self, proof: Proof, by: &'static str) {
        if proof > self.proof {
            (self.proof, self.by) = (proof, by);
        }
        self.best = self.best.max(proof);
    }

    fn aligned(&self, domain: &str, mode: fn(&Policy) -> Mode) -> Aligned {
        match self.policy {
            Some(policy) if policy.is_aligned(domain, self.from, mode(policy)) => Aligned::Yes,
            None if domain == self.from => Aligned::Yes,
            None if may_align(domain, self.from) => Aligned::Perhaps,
            _ => Aligned::No,
        }
    }

    fn dkim_aligned(&self, domain: &str) -> Aligned {
        self.aligned(domain, |policy| policy.dkim)
    }

    fn spf_aligned(&self, domain: &str) -> Aligned {
        self.aligned(domain, |policy| policy.spf)
    }

    fn has_record(&self) -> Option<bool> {
        self.policy.map(|policy| policy.record_at.is_some())
    }

    fn dkim(&mut self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            let who = format!("d={} s={}", verdict.domain, verdict.selector);
            match (&verdict.outcome, self.dkim_aligned(&verdict.domain)) {
                (Outcome::No(word, why), _) => self.line(22, "dkim", word, format!("{who}: {why}")),
                (Outcome::Pass, Aligned::Yes) => {
                    self.proves(Proof::Full, if self.has_record() == Some(true) { "dmarc" } else { "dkim" });
                    self.line(21, "dkim", "pass", format!("{who}: aligned with From"));
                    let keys = [self.replay_key.take(), verdict.replay_key.clone()];
                    self.replay_key = keys.into_iter().flatten().min();
                }
                (Outcome::Pass, Aligned::Perhaps) => {
                    self.best = Proof::Full;
                    self.line(23, "dkim", "pass", format!("{who}: whether it is aligned depends on a DMARC record that cannot be had now"));
                }
                (Outcome::Pass, Aligned::No) => self.line(21, "dkim", "pass", format!("{who}: not as closely aligned as the DMARC record asks")),
                (Outcome::Temporary, Aligned::No) => self.line(23, "dkim", "temperror", format!("{who}: not aligned, and so not waited for")),
                (Outcome::Temporary, _) => {
                    self.best = Proof::Full;
                    self.line(23, "dkim", "temperror", format!("{who}: its key cannot be had now"));
                }
            }
        }
        if verdicts.is_empty() {
            self.line(21, "dkim", "none", "not signed".into());
        }
    }

    fn spf(&mut self, finding: &SpfFinding) {
        let (domain, result) = match finding {
            SpfFinding::NotNeeded => return self.line(21, "spf", "none", "not asked: DKIM proves more".into()),
            SpfFinding::NotAligned(sender) => return self.line(21, "spf", "none", format!("{sender}: not asked: not aligned with From")),
            SpfFinding::Asked(domain, result) => (domain, *result),
        };
        let aligned = self.spf_aligned(domain);
        let proof = match self.has_record() {
            Some(false) => Proof::SpfOnly,
            Some(true) | None => Proof::Full,
        };
        let note = match (result, aligned) {
            (SpfResult::Pass, Aligned::Yes) => {
                // Without an answer about DMARC this much is sure; a record would make it more.
                let sure = if self.has_record() == Some(true) { proof } else { Proof::SpfOnly };
                self.proves(sure, if sure == Proof::Full { "dmarc" } else { "spf" });
                self.best = self.best.max(proof);
                "aligned with From"
            }
            (SpfResult::Pass, Aligned::Perhaps) => {
                self.best = Proof::Full;
                "whether it is aligned depends on a DMARC record that cannot be had now"
            }
            (SpfResult::TempError, Aligned::Yes | Aligned::Perhaps) => {
                self.best = self.best.max(proof);
                "DNS did not say"
            }
            (_, Aligned::No) => "not aligned with From",
            _ => "aligned with From, and proves nothing",
        };
        let rule = if result == SpfResult::TempError { 23 } else { 21 };
        self.line(rule, "spf", result.word(), format!("{domain}: {note}"));
    }

    fn dmarc(&mut self) {
        let result = if self.proof == Proof::Full { "pass" } else { "fail" };
        match self.policy {
            None => self.line(23, "dmarc", "temperror", format!("{}: DNS did not say whether there is a record", self.from)),
            Some(Policy { record_at: Some(at), dkim, spf, .. }) => {
                let detail = format!("{}: record at {at}, adkim={} aspf={}", self.from, dkim.word(), spf.word());
                self.line(21, "dmarc", if result == "fail" && self.best > self.proof { "temperror" } else { result }, detail);
            }
            Some(_) => self.line(21, "dmarc", "none", format!("{}: no record", self.from)),
        }
    }

    /// Results that somebody whom we trust wrote down: our own MX, or the first of trusted sealers.
    fn believed(&mut self, results: &Results, by: &'static str, method: &'static str) {
        let rule = if by == "arc" { 21 } else { 24 };
        let mut counted = false;
        for result in &results.results {
            let Some((proof, domain)) = self.counts(result) else { continue };
            counted = true;
            match proof {
                Some(proof) => {
                    self.proves(proof, by);
                    self.line(rule, method, "pass", format!("{}={} for {domain}", result.method, result.result));
                }
                None => {
                    self.best = Proof::Full;
                    self.line(23, method, "pass", format!("{}={} for {domain}: alignment cannot be had now", result.method, result.result));
                }
            }
        }
        if !counted {
            self.line(rule, method, "neutral", format!("{}: nothing in it is aligned with From", results.authserv_id));
        }
    }

    /// What a believed result buys, and for which domain. `None`: nothing. `Some(None)`: it depends on DMARC.
    fn counts(&self, result: &super::results::MethodResult) -> Option<(Option<Proof>, String)> {
        if result.result != "pass" {
            return None;
        }
        let domain_of = |value: &str| {
            let domain = value.rsplit_once('@').map_or(value, |(_, domain)| domain);
            idna::domain_to_ascii(domain).ok().filter(|domain| !domain.is_empty())
        };
        let weigh = |proof: Proof, aligned: Aligned, domain: String| match aligned {
            Aligned::Yes => Some((Some(proof), domain)),
            Aligned::Perhaps => Some((None, domain)),
            Aligned::No => None,
        };
        match result.method.as_str() {
            "dmarc" => {
                let domain = domain_of(result.property("header", "from")?)?;
                (domain == self.from).then_some((Some(Proof::Full), domain))
            }
            "dkim" => {
                if result.property("header", "a").is_some_and(|algorithm| algorithm.eq_ignore_ascii_case("rsa-sha1")) {
                    return None;
                }
                // d= is who signed; i= alone will do, for it must be within d=.
                let domain = domain_of(result.property("header", "d").or_else(|| result.property("header", "i"))?)?;
                weigh(Proof::Full, self.dkim_aligned(&domain), domain)
            }
            "spf" => {
                let domain = domain_of(result.property("smtp", "mailfrom")?)?;
                weigh(Proof::SpfOnly, self.spf_aligned(&domain), domain)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
