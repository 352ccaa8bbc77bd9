//! What has to be in DNS, from settings, catalogue and keys. No I/O, no clock.
//!
//! For each domain: where its mail goes (MX), who may send for it (SPF), the keys of its signatures (DKIM), what others do
//! with forged mail (DMARC) and with a connection that cannot be trusted (MTA-STS), and where they report it (TLS-RPT).

use std::collections::BTreeSet;

use mail_parser::DateTime;
use replyfleet::{
    clock::UnixMillis,
    keyed::sha256_hex,
    settings::{DmarcPolicy, MtaStsMode, SenderSettings, Settings},
};
use replyfleet_worker::{
    address::{Address, is_within},
    sign::{PublishedKey, Signer},
};

/// How long others keep an MTA-STS policy, in seconds: a week, so that it outlives an attack on DNS (RFC 8461 §10.2).
const MTA_STS_MAX_AGE_S: u32 = 604_800;
/// Hexadecimal characters of an MTA-STS id; 32 are allowed (RFC 8461 §3.1).
const MTA_STS_ID_CHARS: usize = 20;
/// Between the preferences of two MXs, so that another fits in between.
const MX_PREFERENCE_STEP: u16 = 10;
const DAY_MS: u64 = 86_400_000;

/// All entries, domain by domain, and what the settings leave open.
pub(super) struct Plan {
    pub(super) entries: Vec<Entry>,
    pub(super) gaps: Vec<Gap>,
}

/// What is expected at one name.
pub(super) struct Entry {
    /// The domain that it serves, as A-labels in lower case.
    pub(super) domain: String,
    /// The name without the last dot.
    pub(super) name: String,
    pub(super) expected: Expected,
    /// What else a person has to know, one line each.
    pub(super) notes: Vec<String>,
}

/// What is expected, by kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Mail hosts, the preferred one first.
    Mx(Vec<String>),
    /// The terms between `v=spf1` and `-all`.
    Spf(Vec<String>),
    /// A key record. It need not be there any more if `is_over`.
    Dkim { record: String, is_over: bool },
    /// The policy, and where reports go.
    Dmarc { policy: DmarcPolicy, report_uri: Option<String> },
    /// That our report address takes reports on another domain (RFC 7489 §7.1).
    DmarcReports,
    /// The policy's id, and its text.
    MtaSts { id: String, policy: String },
    /// Where reports go.
    TlsReports { report_uri: String },
}

/// Something that cannot be said because a setting is missing.
pub(super) struct Gap {
    pub(super) domain: String,
    pub(super) what: &'static str,
    /// Which key, and what to set.
    pub(super) why: String,
}

impl Expected {
    /// The record's type.
    pub(super) fn kind(&self) -> &'static str {
        if matches!(self, Self::Mx(_)) { "MX" } else { "TXT" }
    }

    /// What the records hold: texts, or preference and host.
    pub(super) fn values(&self) -> Vec<String> {
        match self {
            Self::Mx(hosts) => {
                let preferences = (1..).map(|number: u16| number.saturating_mul(MX_PREFERENCE_STEP));
                hosts.iter().zip(preferences).map(|(host, preference)| format!("{preference} {host}.")).collect()
            }
            Self::Spf(terms) => vec![format!("v=spf1 {} -all", terms.join(" "))],
            Self::Dkim { record, .. } => vec![record.clone()],
            Self::Dmarc { policy, report_uri } => {
                let reports = report_uri.as_ref().map(|uri| format!("; rua={uri}")).unwrap_or_default();
                vec![format!("v=DMARC1; p={}{reports}", policy.word())]
            }
            Self::DmarcReports => vec!["v=DMARC1".into()],
            Self::MtaSts { id, .. } => vec![format!("v=STSv1; id={id};")],
            Self::TlsReports { report_uri } => vec![format!("v=TLSRPTv1; rua={report_uri}")],
        }
    }
}

impl Entry {
    /// What it is for, in a word.
    pub(super) fn purpose(&self) -> &'static str {
        match self.expected {
            Expected::Mx(_) => "MX",
            Expected::Spf(_) => "SPF",
            Expected::Dkim { .. } => "DKIM",
            Expected::Dmarc { .. } => "DMARC",
            Expected::DmarcReports => "DMARC reports",
            Expected::MtaSts { .. } => "MTA-STS",
            Expected::TlsReports { .. } => "TLS-RPT",
        }
    }
}

/// The settings of `[dns]` in the form in which records need them.
struct Records {
    mx_hosts: Vec<String>,
    spf: Vec<String>,
    dmarc: DmarcPolicy,
    mta_sts: MtaStsMode,
    report: Option<Address>,
}

impl Plan {
    /// What has to be published for the domains that are `served` and that of the bounce address. Those `to_sign` are signed by
    /// us; the mail of the others is, if at all, by SES or a relay.
    ///
    /// # Errors
    /// The key of `[dns]` whose value cannot be in a record, and what to write.
    pub(super) fn new<'c>(
        settings: &Settings,
        served: impl Iterator<Item = &'c str>,
        to_sign: &BTreeSet<&str>,
        signer: &Signer,
        now: UnixMillis,
    ) -> Result<Self, String> {
        let records = Records::new(settings)?;
        let bounce = settings.reply.bounce_address.rsplit_once('@').map_or("", |(_, domain)| domain);
        let ascii = |domain: &str| Address::parse(&format!("x@{domain}")).map(|address| address.ascii_domain());
        let bounce = ascii(bounce).ok_or("reply.bounce_address: its domain is none; write LOCAL@DOMAIN")?;
        let from: BTreeSet<String> = served.filter_map(ascii).collect();
        let keys: Vec<PublishedKey<'_>> = signer.published().collect();
        let unused = keys.iter().map(|key| key.domain.to_owned()).filter(|domain| !from.contains(domain) && *domain != bounce);
        let others: BTreeSet<String> = unused.collect();

        let mut plan = Self { entries: Vec::new(), gaps: Vec::new() };
        for domain in from.iter().chain((!from.contains(&bounce)).then_some(&bounce)) {
            plan.mx(domain, &records);
            plan.spf(domain, &records);
            plan.dkim(domain, &keys, settings, from.contains(domain), now);
            // Nothing is From a domain that is not of the catalogue: nothing of ours can fail there.
            let is_ours_to_sign = to_sign.iter().filter_map(|domain| ascii(domain)).any(|to_sign| to_sign == *domain);
            plan.dmarc(domain, &records, !is_ours_to_sign || signer.signs_for(domain, now));
            plan.mta_sts(domain, &records);
            plan.tls_reports(domain, &records);
        }
        for domain in others {
            plan.dkim(&domain, &keys, settings, false, now);
        }
        Ok(plan)
    }

    fn add(&mut self, domain: &str, name: String, expected: Expected, notes: Vec<String>) {
        self.entries.push(Entry { domain: domain.to_owned(), name, expected, notes });
    }

    fn gap(&mut self, domain: &str, what: &'static str, why: &str) {
        self.gaps.push(Gap { domain: domain.to_owned(), what, why: why.to_owned() });
    }

    fn mx(&mut self, domain: &str, records: &Records) {
        if records.mx_hosts.is_empty() {
            return self.gap(domain, "MX", "dns.mx_hosts is not set: the names of the MXs");
        }
        self.add(domain, domain.to_owned(), Expected::Mx(records.mx_hosts.clone()), vec!["where its mail is taken".into()]);
    }

    fn spf(&mut self, domain: &str, records: &Records) {
        if records.spf.is_empty() {
            return self.gap(domain, "SPF", "dns.spf is not set: what may send for it, such as include:amazonses.com");
        }
        let notes = vec!["who may send for it; a domain has one such record only".into(), holds_for_all(domain)];
        self.add(domain, domain.to_owned(), Expected::Spf(records.spf.clone()), notes);
    }

    fn dkim(&mut self, domain: &str, keys: &[PublishedKey<'_>], settings: &Settings, is_from: bool, now: UnixMillis) {
        let mut keys = keys.iter().filter(|key| key.domain == domain).peekable();
        if keys.peek().is_none() && is_from {
            let is_ses = [&settings.send.ses, &settings.send.smtp].into_iter().flatten().any(|sender| matches!(sender, SenderSettings::Ses(_)));
            let ses = if is_ses { "; the records of SES's own keys are in its console" } else { "" };
            return self.gap(domain, "DKIM", &format!("signing.keys has no key for it{ses}"));
        }
        for key in keys {
            let removable = key.sign_until.map(|until| removable(until, settings));
            let mut note = format!("what verifies signatures with selector {}, which ", key.selector);
            note += &match (key.sign_from, key.sign_until) {
                (_, Some(until)) if until <= now => format!("has not signed since {}", day(until)),
                (Some(from), Some(until)) if from > now => format!("signs from {} to {}", day(from), day(until)),
                (Some(from), None) if from > now => format!("signs from {} on", day(from)),
                (_, Some(until)) => format!("signs until {}", day(until)),
                (_, None) => "signs now".into(),
            };
            let mut notes = vec![note];
            notes.extend(removable.map(|removable| format!("to be removed on {} or later, not before", day(removable))));
            if !is_from {
                notes.push("no address of the catalogue is at this domain".into());
            }
            let is_over = removable.is_some_and(|removable| removable <= now);
            let expected = Expected::Dkim { record: key.record.to_owned(), is_over };
            self.add(domain, format!("{}._domainkey.{domain}", key.selector), expected, notes);
        }
    }

    fn dmarc(&mut self, domain: &str, records: &Records, is_signed: bool) {
        if records.report.is_none() {
            self.gap(domain, "reports (DMARC, TLS-RPT)", "dns.report_address is not set");
        }
        let mut notes = vec!["what others do with mail that only claims to be from it".into(), holds_for_all(domain)];
        let mut policy = records.dmarc;
        if !is_signed && policy != DmarcPolicy::None {
            notes.extend([
                format!("p=none and not p={}: no key of signing.keys signs for it today, and others would refuse our own mail.", policy.word()),
                format!("Publish p={} once one does, or if your relay signs for it.", policy.word()),
            ]);
            policy = DmarcPolicy::None;
        }
        let expected = Expected::Dmarc { policy, report_uri: records.report.as_ref().map(mailto) };
        self.add(domain, format!("_dmarc.{domain}"), expected, notes);
        // Reports on other domains are sent only where they are asked for (RFC 7489 §7.1).
        if let Some(to) = records.report.as_ref().map(Address::ascii_domain).filter(|to| !is_within(to, domain) && !is_within(domain, to)) {
            let notes = vec![format!("that {to} takes reports on {domain}; in the zone of {to}")];
            self.add(domain, format!("{domain}._report._dmarc.{to}"), Expected::DmarcReports, notes);
        }
    }

    fn mta_sts(&mut self, domain: &str, records: &Records) {
        if records.mta_sts == MtaStsMode::None {
            return self.gap(domain, "MTA-STS", "dns.mta_sts is \"none\"");
        }
        if records.mx_hosts.is_empty() {
            return self.gap(domain, "MTA-STS", "dns.mx_hosts is not set: the names of the MXs");
        }
        let hosts: String = records.mx_hosts.iter().map(|host| format!("mx: {host}\r\n")).collect();
        let policy = format!("version: STSv1\r\nmode: {}\r\n{hosts}max_age: {MTA_STS_MAX_AGE_S}\r\n", records.mta_sts.word());
        let id = sha256_hex(policy.as_bytes())[..MTA_STS_ID_CHARS].to_owned();
        let mut notes = vec![
            "that its MXs are reached by verified TLS only; the id changes with the policy, which has to be".into(),
            format!("the file https://mta-sts.{domain}/.well-known/mta-sts.txt, served first, with these lines:"),
        ];
        notes.extend(policy.lines().map(|line| format!("  {line}")));
        self.add(domain, format!("_mta-sts.{domain}"), Expected::MtaSts { id, policy }, notes);
    }

    fn tls_reports(&mut self, domain: &str, records: &Records) {
        if let Some(report) = &records.report {
            let expected = Expected::TlsReports { report_uri: mailto(report) };
            self.add(domain, format!("_smtp._tls.{domain}"), expected, vec!["where others report that TLS to its MXs failed".into()]);
        }
    }
}

impl Records {
    fn new(settings: &Settings) -> Result<Self, String> {
        let dns = &settings.dns;
        let host = |text: &String| {
            let name = text.strip_suffix('.').unwrap_or(text);
            let name = Address::parse(&format!("x@{name}")).map(|address| address.ascii_domain());
            name.ok_or_else(|| format!("dns.mx_hosts: {text:?} is no name of a host; write it like mx1.example.com"))
        };
        for term in &dns.spf {
            let is_word = !term.is_empty() && term.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
            let is_ours = term.eq_ignore_ascii_case("v=spf1") || is_all(term);
            if !is_word || is_ours || term.to_ascii_lowercase().starts_with("redirect=") {
                return Err(format!("dns.spf: {term:?} is no term between \"v=spf1\" and \"-all\"; write each by itself, like ip4:192.0.2.10"));
            }
        }
        let report = match &dns.report_address {
            Some(text) => Some(Address::parse(text).filter(|address| address.local().is_ascii()).ok_or("dns.report_address: is no address")?),
            None => None,
        };
        Ok(Self {
            mx_hosts: dns.mx_hosts.iter().map(host).collect::<Result<_, _>>()?,
            spf: dns.spf.clone(),
            dmarc: dns.dmarc_policy,
            mta_sts: dns.mta_sts,
            report,
        })
    }
}

fn holds_for_all(domain: &str) -> String {
    format!("it holds for everybody's mail of {domain}, not only for ours")
}

/// Whether an SPF term is the mechanism `all`, with any qualifier.
pub(super) fn is_all(term: &str) -> bool {
    term.trim_start_matches(['+', '-', '~', '?']).eq_ignore_ascii_case("all")
}

/// When nobody verifies a key's signatures any more. What was signed last may be sent as late as a request may be
/// answered, and is delivered within a day.
fn removable(until: UnixMillis, settings: &Settings) -> UnixMillis {
    let sent = until + settings.screen.age_max_s.duration();
    // Whole days are what is said.
    UnixMillis((sent.0 + DAY_MS).next_multiple_of(DAY_MS))
}

/// The day at UTC, as `2026-12-01`.
fn day(time: UnixMillis) -> String {
    let day = DateTime::from_timestamp(i64::try_from(time.0 / 1_000).unwrap_or(i64::MAX));
    format!("{:04}-{:02}-{:02}", day.year, day.month, day.day)
}

/// The address as a URI in which the marks of DMARC and TLS-RPT are escaped (RFC 7489 §6.2, RFC 6068 §2).
fn mailto(address: &Address) -> String {
    let escaped = |c: char| if c.is_ascii_alphanumeric() || "-._~+'*".contains(c) { c.to_string() } else { format!("%{:02X}", u32::from(c)) };
    format!("mailto:{}@{}", address.local().chars().map(escaped).collect::<String>(), address.ascii_domain())
}

#[cfg(test)]
mod tests;
