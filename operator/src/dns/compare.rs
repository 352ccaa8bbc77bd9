//! Holds what DNS says against what is expected. No I/O.
//!
//! Records of others at the same name do not matter, but a second one of the same kind does: verifiers then believe none.

use std::collections::BTreeSet;

use super::plan::{Entry, Expected, is_all};

/// What was found at one name.
pub(super) struct Finding {
    pub(super) state: State,
    /// Why it is so, short; empty if there is nothing to say.
    pub(super) why: String,
    /// The records of this kind that are there.
    pub(super) found: Vec<String>,
}

/// How what is there relates to what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    Missing,
    Differs,
    NoAnswer,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Differs => "differs",
            Self::NoAnswer => "DNS does not answer",
        }
    }
}

impl Finding {
    pub(super) fn is_good(&self) -> bool {
        self.state == State::Ok
    }
}

/// Judges the records at an entry's name, `None` if nobody answered.
pub(super) fn compare(entry: &Entry, records: Option<Vec<String>>) -> Finding {
    let Some(records) = records else { return Finding { state: State::NoAnswer, why: "try again".into(), found: Vec::new() } };
    let found: Vec<String> = records.into_iter().filter(|record| is_of_kind(&entry.expected, record)).collect();
    let (state, why) = match (&entry.expected, &found[..]) {
        (Expected::Mx(hosts), found) => mx(hosts, found),
        (Expected::Dkim { is_over: true, .. }, []) => (State::Ok, "removed, as it may be".into()),
        (_, []) => (State::Missing, String::new()),
        (expected, [record]) => match fault(expected, record) {
            Some(why) => (State::Differs, why),
            None if matches!(expected, Expected::Dkim { is_over: true, .. }) => (State::Ok, "may be removed".into()),
            None => (State::Ok, String::new()),
        },
        (_, several) => (State::Differs, format!("{} records where one may be", several.len())),
    };
    Finding { state, why, found }
}

/// Whether a record at the name is of the kind that is asked for.
fn is_of_kind(expected: &Expected, record: &str) -> bool {
    let version = match expected {
        Expected::Mx(_) => return true,
        // Not every key record has a version; nothing else belongs to its name.
        Expected::Dkim { .. } => return true,
        Expected::Spf(_) => return record.split(' ').next().is_some_and(|first| first.eq_ignore_ascii_case("v=spf1")),
        Expected::Dmarc { .. } | Expected::DmarcReports => "DMARC1",
        Expected::MtaSts { .. } => "STSv1",
        Expected::TlsReports { .. } => "TLSRPTv1",
    };
    tags(record).next() == Some(("v", version))
}

fn mx(hosts: &[String], found: &[String]) -> (State, String) {
    if found.is_empty() {
        return (State::Missing, String::new());
    }
    let (want, have): (BTreeSet<&String>, BTreeSet<&String>) = (hosts.iter().collect(), found.iter().collect());
    let only_in = |these: &BTreeSet<&String>, those: &BTreeSet<&String>| {
        let names = these.difference(those).map(|host| if host.is_empty() { "." } else { host.as_str() });
        names.collect::<Vec<_>>().join(", ")
    };
    let (lacking, strange) = (only_in(&want, &have), only_in(&have, &want));
    match (lacking.is_empty(), strange.is_empty()) {
        (true, true) => (State::Ok, String::new()),
        (false, true) => (State::Differs, format!("without {lacking}")),
        (true, false) => (State::Differs, format!("also {strange}")),
        (false, false) => (State::Differs, format!("{strange} in place of {lacking}")),
    }
}

/// What is wrong with the one record that is there.
fn fault(expected: &Expected, record: &str) -> Option<String> {
    let tag = |name: &str| tags(record).find(|(tag, _)| *tag == name).map(|(_, value)| value);
    match expected {
        Expected::Mx(_) | Expected::DmarcReports => None,
        Expected::Spf(terms) => {
            // What is behind `all` is never looked at.
            let believed: Vec<&str> = record.split_ascii_whitespace().take_while(|term| !is_all(term)).collect();
            let has = |term: &&String| believed.iter().any(|other| without_pass(other).eq_ignore_ascii_case(without_pass(term)));
            let lacking: Vec<&str> = terms.iter().filter(|term| !has(term)).map(String::as_str).collect();
            if lacking.is_empty() { spf_end(record) } else { Some(format!("without {}", lacking.join(" "))) }
        }
        Expected::Dkim { record: ours, .. } => {
            let key = |record: &str, name: &str| {
                tags(record).find(|(tag, _)| *tag == name).map(|(_, value)| value.split_ascii_whitespace().collect::<String>())
            };
            let algorithm = |record: &str| key(record, "k").unwrap_or_else(|| "rsa".into());
            match key(record, "p") {
                None => Some("no p= in it".into()),
                Some(public) if public.is_empty() => Some("revoked: its p= is empty".into()),
                Some(_) if tags(record).any(|(tag, value)| tag == "v" && value != "DKIM1") => Some("its v= is not DKIM1".into()),
                Some(public) if Some(&public) != key(ours, "p").as_ref() || algorithm(record) != algorithm(ours) => Some("another key".into()),
                Some(_) if tag("t").is_some_and(|flags| flags.split(':').any(|flag| flag.trim() == "y")) => {
                    Some("t=y: verifiers take it for a test".into())
                }
                Some(_) if tag("h").is_some_and(|hashes| !lists(hashes, &["sha256"])) => Some("h= does not allow sha256, by which we sign".into()),
                Some(_) if tag("s").is_some_and(|services| !lists(services, &["email", "*"])) => Some("s= does not allow email".into()),
                Some(_) => None,
            }
        }
        Expected::Dmarc { policy, report_uri } => {
            let strength = |word: &str| ["none", "quarantine", "reject"].iter().position(|known| word.eq_ignore_ascii_case(known));
            let (have, want) = (tag("p").and_then(strength), strength(policy.word()));
            if have.is_none() {
                return Some("no p= that is known".into());
            }
            if have < want {
                return Some(format!("weaker than p={}", policy.word()));
            }
            if let Some(part) = tag("pct").filter(|part| *part != "100" && want > Some(0)) {
                return Some(format!("for {part} % of the mail only (pct=)"));
            }
            let has = |uri: &String| tag("rua").is_some_and(|uris| reports_to(uris, uri));
            report_uri.as_ref().filter(|uri| !has(uri)).map(|_| "reports go elsewhere (rua=)".into())
        }
        Expected::MtaSts { id, .. } => (tag("id") != Some(id.as_str())).then(|| "of another policy, or with an id that was made elsewhere".into()),
        Expected::TlsReports { report_uri } => {
            let has = tag("rua").is_some_and(|uris| reports_to(uris, report_uri));
            (!has).then(|| "reports go elsewhere".into())
        }
    }
}

/// What is wrong with how an SPF record ends: the world must not be able to send (RFC 7208 §5.1, §6.1).
fn spf_end(record: &str) -> Option<String> {
    let mut terms = record.split_ascii_whitespace();
    match terms.find(|term| is_all(term)) {
        Some(all) if all.starts_with(['-', '~']) => None,
        Some(all) if all.starts_with('?') => Some(format!("{all} says nothing of those who may not send; end it with -all")),
        Some(all) => Some(format!("{all} lets the whole world send as it; end it with -all")),
        None if record.split_ascii_whitespace().any(|term| term.to_ascii_lowercase().starts_with("redirect=")) => None,
        None => Some("no all at its end: it says nothing of those who may not send; end it with -all".into()),
    }
}

/// Whether a list with colons has one of these words (RFC 6376 §3.6.1).
fn lists(list: &str, words: &[&str]) -> bool {
    list.split(':').any(|item| words.iter().any(|word| item.trim().eq_ignore_ascii_case(word)))
}

/// Whether a list of report addresses has this one. DMARC's may have a size behind them, as in `!10m` (RFC 7489 §6.2).
fn reports_to(uris: &str, ours: &str) -> bool {
    uris.split(',').any(|uri| uri.split('!').next().unwrap_or_default().trim().eq_ignore_ascii_case(ours))
}

/// An SPF term without the `+` that says nothing.
fn without_pass(term: &str) -> &str {
    term.strip_prefix('+').unwrap_or(term)
}

/// The tags of a record, without white space around names and values.
fn tags(record: &str) -> impl Iterator<Item = (&str, &str)> {
    record.split(';').filter_map(|tag| tag.split_once('=')).map(|(name, value)| (name.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use replyfleet::settings::DmarcPolicy;

    use super::*;

    fn state(expected: Expected, records: &[&str]) -> (State, String) {
        let entry = Entry { domain: String::new(), name: String::new(), expected, notes: Vec::new() };
        let finding = compare(&entry, Some(records.iter().map(|record| (*record).to_owned()).collect()));
        (finding.state, finding.why)
    }

    #[track_caller]
    fn says(expected: Expected, records: &[&str], state_wanted: State, words: &str) {
        let (state, why) = state(expected, records);
        assert!(state == state_wanted && why.contains(words) && (!words.is_empty() || why.is_empty()), "{records:?}: {state:?} {why}");
    }

    #[test]
    fn mail_hosts_are_compared_as_a_set() {
        let want = || Expected::Mx(vec!["a.example".into(), "b.example".into()]);
        says(want(), &["b.example", "a.example"], State::Ok, "");
        says(want(), &[], State::Missing, "");
        says(want(), &["a.example"], State::Differs, "without b.example");
        says(want(), &["a.example", "b.example", "c.example"], State::Differs, "also c.example");
        says(want(), &[""], State::Differs, ". in place of a.example, b.example");
    }

    #[test]
    fn spf_needs_our_terms_before_all_in_one_record() {
        let want = || Expected::Spf(vec!["include:a.example".into(), "ip4:192.0.2.1".into()]);
        says(want(), &["v=spf1 include:a.example ip4:192.0.2.1 -all"], State::Ok, "");
        says(want(), &["V=SPF1 mx +ip4:192.0.2.1 INCLUDE:a.example ~all", "other text"], State::Ok, "");
        says(want(), &["v=spf10 include:a.example ip4:192.0.2.1 -all", "v=spf"], State::Missing, "");
        says(want(), &["v=spf1 include:a.example -all"], State::Differs, "without ip4:192.0.2.1");
        says(want(), &["v=spf1 include:a.example -all ip4:192.0.2.1"], State::Differs, "without ip4:192.0.2.1");
        says(want(), &["v=spf1 include:a.example ?ip4:192.0.2.1"], State::Differs, "without ip4:192.0.2.1");
        says(want(), &["v=spf1 include:a.example ip4:192.0.2.1", "v=spf1 -all"], State::Differs, "2 records");
    }

    #[test]
    fn spf_must_not_let_the_world_send() {
        let want = || Expected::Spf(vec!["mx".into()]);
        for record in ["v=spf1 mx -all", "v=spf1 mx ~ALL", "v=spf1 mx redirect=_spf.example.org", "v=spf1 Redirect=a.example mx -all exp=b.example"] {
            says(want(), &[record], State::Ok, "");
        }
        says(want(), &["v=spf1 mx +all"], State::Differs, "+all lets the whole world send");
        says(want(), &["v=spf1 mx all -all"], State::Differs, "all lets the whole world send");
        says(want(), &["v=spf1 mx ?all redirect=a.example"], State::Differs, "?all says nothing");
        says(want(), &["v=spf1 mx"], State::Differs, "no all at its end");
        says(want(), &["v=spf1 mx include:all.example"], State::Differs, "no all at its end");
    }

    #[test]
    fn a_key_is_the_same_whatever_stands_around_it() {
        let want = |is_over| Expected::Dkim { record: "v=DKIM1; k=rsa; p=AbC=".into(), is_over };
        says(want(false), &["v=DKIM1; k=rsa; p=AbC="], State::Ok, "");
        says(want(false), &["p=Ab C=;n=note"], State::Ok, "");
        says(want(false), &[], State::Missing, "");
        says(want(false), &["v=DKIM1; p="], State::Differs, "revoked");
        says(want(false), &["v=DKIM1; p=abc="], State::Differs, "another key");
        says(want(false), &["v=DKIM1; k=ed25519; p=AbC="], State::Differs, "another key");
        says(want(false), &["v=DKIM2; p=AbC="], State::Differs, "v= is not DKIM1");
        says(want(false), &["v=DKIM1; t=s:y; p=AbC="], State::Differs, "test");
        says(want(false), &["h=sha1 : SHA256; s= * ; p=AbC="], State::Ok, "");
        says(want(false), &["s=tlsrpt:email; p=AbC="], State::Ok, "");
        says(want(false), &["h=sha1; p=AbC="], State::Differs, "sha256");
        says(want(false), &["s=tlsrpt; p=AbC="], State::Differs, "email");
        says(want(false), &["some text"], State::Differs, "no p=");
        says(want(false), &["p=AbC=", "p=AbC="], State::Differs, "2 records");
        says(want(true), &[], State::Ok, "removed");
        says(want(true), &["p=AbC="], State::Ok, "may be removed");
    }

    #[test]
    fn a_policy_may_be_stronger_than_ours_and_not_weaker() {
        let want = |policy| Expected::Dmarc { policy, report_uri: None };
        says(want(DmarcPolicy::Quarantine), &["v=DMARC1; p=quarantine"], State::Ok, "");
        says(want(DmarcPolicy::Quarantine), &["v=DMARC1;p=Reject; rua=mailto:a@example.org", "x"], State::Ok, "");
        says(want(DmarcPolicy::Quarantine), &["v=DMARC1; p=none"], State::Differs, "weaker than p=quarantine");
        says(want(DmarcPolicy::Reject), &["v=DMARC1; p=reject; pct=20"], State::Differs, "20 %");
        says(want(DmarcPolicy::None), &["v=DMARC1; p=none; pct=20"], State::Ok, "");
        says(want(DmarcPolicy::None), &["v=DMARC1; rua=mailto:a@example.org"], State::Differs, "no p=");
        says(want(DmarcPolicy::None), &["p=none"], State::Missing, "");
        says(Expected::DmarcReports, &["v=DMARC1"], State::Ok, "");
    }

    #[test]
    fn reports_on_forged_mail_go_where_we_want_them() {
        let want = || Expected::Dmarc { policy: DmarcPolicy::Reject, report_uri: Some("mailto:a@example.org".into()) };
        says(want(), &["v=DMARC1; p=reject; rua=mailto:b@example.org, MAILTO:a@example.org!10m"], State::Ok, "");
        for rua in ["", "; rua=mailto:b@example.org", "; rua=mailto:aa@example.org", "; ruf=mailto:a@example.org"] {
            says(want(), &[&format!("v=DMARC1; p=reject{rua}")], State::Differs, "reports go elsewhere (rua=)");
        }
    }

    #[test]
    fn reports_and_policies_of_tls_are_ours() {
        let want = || Expected::TlsReports { report_uri: "mailto:a@example.org".into() };
        says(want(), &["v=TLSRPTv1; rua=https://x.example/, mailto:a@example.org"], State::Ok, "");
        says(want(), &["v=TLSRPTv1; rua=https://x.example/"], State::Differs, "elsewhere");
        let want = || Expected::MtaSts { id: "abc".into(), policy: String::new() };
        says(want(), &["v=STSv1; id=abc;"], State::Ok, "");
        says(want(), &["v=STSv1; id=abd;"], State::Differs, "another policy");
        says(want(), &["v=STSv1; id=abc;", "v=STSv1; id=abc;"], State::Differs, "2 records");
    }

    #[test]
    fn silence_is_neither_there_nor_missing() {
        let entry = Entry { domain: String::new(), name: String::new(), expected: Expected::DmarcReports, notes: Vec::new() };
        let finding = compare(&entry, None);
        assert!(finding.state == State::NoAnswer && !finding.is_good());
    }
}
