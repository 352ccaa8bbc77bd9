//! Who gets an answer: the policy of `docs/answering.md`, rule by rule. The first that fires is the reason.
//!
//! Here, on the header and the envelope alone, in this order:
//!
//! ```text
//! sender      1 no MAIL FROM   2 a daemon or role   3 ourselves   4 not one clear From   6 an address nobody can mail
//!             7 the settings' block list, or a mail farm
//! recipient   9 mail for the operator   8 not an address of ours
//! header     11 Auto-Submitted  12 a list  13 Precedence  14 asks for no answer  15 an autoresponder  16 a report
//!            17 was here before  18 filtered  19 not text  20 too old
//! ```
//!
//! Then, in [`crate::judge`], what must be asked elsewhere:
//!
//! ```text
//! operator   29 switched off, or held; attachments given up while the queue is long
//! lists       7 the operator's block list, the suppression list
//! DNS         5 a domain that takes no mail   21-24 who really sent it: nobody, perhaps, or surely
//! ledger     10 another recipient of the same mail   27 the same mail again   25 the sender's allowance
//!            26 the caps of domain, network, address and fleet   28 what the allow list lifts
//! ```
//!
//! Rule 19's limits end in [`crate::request`], before any parser. What a requester cannot be blamed for, such as an empty
//! mail or one in the wrong words, is no reason. Names are compared without case, every occurrence of a field counts, and
//! a keyword is read up to its parameters and comments.
//!
//! Nothing here does I/O or reads a clock, so the same rules serve the worker and `replyfleet explain`.

use std::borrow::Cow;

use replyfleet::{
    clock::UnixMillis,
    envelope::Facts,
    settings::{ScreenSettings, Settings},
};

use crate::{
    address::{Address, is_within},
    catalogue::{Catalogue, Response, SendMethod},
    reason::Reason,
    request::Request,
    send,
};

/// `Received` fields of a mail that goes round in a circle.
const RECEIVED_MAX: usize = 25;
/// References of a thread that only machines can have written.
const REFERENCES_MAX: usize = 100;

/// What the rules see.
pub struct Seen<'a> {
    /// The envelope.
    pub facts: &'a Facts,
    /// The header.
    pub request: &'a Request,
    /// Who we are and what we answer with.
    pub catalogue: &'a Catalogue,
    /// What the settings add.
    pub policy: &'a Policy,
    /// The time.
    pub now: UnixMillis,
}

/// The part of the settings that the rules look at.
#[derive(Clone, Debug)]
pub struct Policy {
    screen: ScreenSettings,
    bounce: Address,
    /// The send methods that can reach a local part beyond ASCII.
    with_smtputf8: Vec<SendMethod>,
}

impl Policy {
    /// The policy in `settings`.
    ///
    /// # Errors
    /// A sentence, if the bounce address is not an address, or an entry of a list is neither address nor domain.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let bounce =
            Address::parse(&settings.reply.bounce_address).ok_or("reply.bounce_address: not an address that can be written without quotes")?;
        let mut screen = settings.screen.clone();
        for (key, list) in [("screen.block", &mut screen.block), ("screen.mail_farms", &mut screen.mail_farms)] {
            for entry in list {
                *entry = list_entry(entry)
                    .ok_or_else(|| format!("{key}: {entry:?} is neither an address nor a domain (without @ and *: sub-domains are covered)"))?;
            }
        }
        screen.filter_headers.iter_mut().for_each(|field| *field = field.trim().to_lowercase());
        Ok(Self { screen, bounce, with_smtputf8: send::with_smtputf8(settings) })
    }

    /// The address to which bounces of our replies come.
    pub fn bounce(&self) -> &Address {
        &self.bounce
    }
}

/// One rule: its number in `docs/answering.md`, what it looks for, and the check.
pub struct Rule {
    /// The number.
    pub number: u8,
    /// What it looks for, in a few words.
    pub looks_for: &'static str,
    /// Looks.
    pub check: fn(&Seen<'_>) -> Finding,
}

/// What a rule saw, which is for the operator's terminal only, and the reason if it fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it saw.
    pub saw: Cow<'static, str>,
    /// Why there is no answer; `None` if the rule lets the mail pass.
    pub reason: Option<Reason>,
}

impl Finding {
    /// The rule lets the mail pass.
    pub fn passes(saw: impl Into<Cow<'static, str>>) -> Self {
        Self { saw: saw.into(), reason: None }
    }

    /// The rule fires.
    pub fn fires(reason: Reason, saw: impl Into<Cow<'static, str>>) -> Self {
        Self { saw: saw.into(), reason: Some(reason) }
    }

    fn fires_if(is_firing: bool, reason: Reason, saw: impl Into<Cow<'static, str>>) -> Self {
        Self { saw: saw.into(), reason: is_firing.then_some(reason) }
    }

    /// Fires with what was found, or passes because there is none of it.
    fn of(found: Option<(Reason, String)>, otherwise: &'static str) -> Self {
        found.map_or_else(|| Self::passes(otherwise), |(reason, saw)| Self::fires(reason, saw))
    }
}

/// The rules, in the order in which they are asked.
pub const RULES: [Rule; 18] = [
    Rule { number: 1, looks_for: "a null or unusable MAIL FROM", check: null_sender },
    Rule { number: 2, looks_for: "a daemon or role as sender", check: role_sender },
    Rule { number: 3, looks_for: "ourselves as sender", check: own_address },
    Rule { number: 4, looks_for: "anything but one clear mailbox in From", check: unclear_from },
    Rule { number: 6, looks_for: "an address that no sender of ours can reach", check: non_ascii_address },
    Rule { number: 7, looks_for: "the block list", check: blocked },
    Rule { number: 7, looks_for: "a mail farm", check: mail_farm },
    Rule { number: 9, looks_for: "mail for the operator", check: operator_mail },
    Rule { number: 8, looks_for: "a recipient that is not ours", check: unknown_recipient },
    Rule { number: 11, looks_for: "Auto-Submitted other than no", check: auto_submitted },
    Rule { number: 12, looks_for: "the fields of a mailing list", check: mailing_list },
    Rule { number: 13, looks_for: "Precedence bulk, list, junk or auto_reply", check: bulk_precedence },
    Rule { number: 14, looks_for: "a wish not to be answered", check: response_suppressed },
    Rule { number: 15, looks_for: "the marks of an autoresponder", check: autoresponder },
    Rule { number: 16, looks_for: "a report", check: report },
    Rule { number: 17, looks_for: "a mail that was here before", check: loop_mark },
    Rule { number: 18, looks_for: "our own filter's verdict", check: filtered },
    Rule { number: 19, looks_for: "a mail without text", check: not_text },
];

/// Rule 20, which is asked last: what is too old for every other reason too keeps the more telling reason.
pub const TOO_OLD: Rule = Rule { number: 20, looks_for: "a request too old to answer", check: too_old };

/// Asks the rules in order.
///
/// # Errors
/// The first reason not to answer.
pub fn screen(seen: &Seen<'_>) -> Result<(), Reason> {
    match RULES.iter().chain([&TOO_OLD]).find_map(|rule| (rule.check)(seen).reason) {
        Some(reason) => Err(reason),
        None => Ok(()),
    }
}

/// What the rules about From say where there is none; rule 4 has fired then.
const NO_FROM: &str = "no From to look at";

fn null_sender(seen: &Seen<'_>) -> Finding {
    let mail_from = &seen.facts.mail_from;
    Finding::fires_if(!mail_from.contains('@'), Reason::NullSender, format!("MAIL FROM:<{mail_from}>"))
}

/// Local parts of daemons and roles, with the address's +tag cut off.
const ROLES: [&str; 17] = [
    "mailer-daemon",
    "listserv",
    "listproc",
    "majordomo",
    "root",
    "daemon",
    "server",
    "nobody",
    "no-reply",
    "noreply",
    "do-not-reply",
    "donotreply",
    "bounce",
    "bounces",
    "complaints",
    "abuse",
    "postmaster",
];

/// Senders of complaints that carry no other mark (Microsoft's Junk Mail Reporting Program).
const REPORTERS: [&str; 1] = ["staff@hotmail.com"];

fn role_sender(seen: &Seen<'_>) -> Finding {
    let is_role = |local: &str| match local {
        "postmaster" => !seen.policy.screen.answer_postmaster,
        _ => ROLES.contains(&local) || local.starts_with("owner-") || local.ends_with("-owner") || local.ends_with("-request"),
    };
    let mail_from_local = seen.facts.mail_from.rsplit_once('@').map(|(local, _)| local.split('+').next().unwrap_or_default().to_lowercase());
    let from_local = seen.request.from.as_ref().ok().map(Address::base_local);
    let reporter = seen.request.from.as_ref().ok().map(Address::canonical).filter(|from| REPORTERS.contains(&from.as_str()));
    if let Some(reporter) = reporter {
        return Finding::fires(Reason::RoleSender, reporter);
    }
    let locals: Vec<String> = mail_from_local.into_iter().chain(from_local).collect();
    match locals.iter().find(|local| is_role(local)) {
        Some(role) => Finding::fires(Reason::RoleSender, format!("{role}@")),
        None => Finding::passes(locals.iter().map(|local| format!("{local}@")).collect::<Vec<_>>().join(", ")),
    }
}

fn own_address(seen: &Seen<'_>) -> Finding {
    let Ok(from) = &seen.request.from else { return Finding::passes(NO_FROM) };
    let domain = from.ascii_domain();
    let is_own = seen.catalogue.domains().any(|own| own == domain) || seen.policy.bounce.ascii_domain() == domain;
    Finding::fires_if(is_own, Reason::OwnAddress, format!("From is at {domain}"))
}

fn unclear_from(seen: &Seen<'_>) -> Finding {
    match &seen.request.from {
        Ok(from) => Finding::passes(format!("From is {}", from.as_str())),
        Err(fault) => Finding::fires(Reason::UnclearFrom, fault.sentence()),
    }
}

fn non_ascii_address(seen: &Seen<'_>) -> Finding {
    let Ok(from) = &seen.request.from else { return Finding::passes(NO_FROM) };
    let can = |response: &&Response| seen.policy.with_smtputf8.contains(&response.send_method);
    let has_way = seen.catalogue.responses_for(&seen.facts.rcpt_to).iter().all(can);
    match from.needs_smtputf8() {
        false => Finding::passes("the local part is ASCII"),
        true => Finding::fires_if(!has_way, Reason::NonAsciiAddress, "the local part is not ASCII"),
    }
}

fn blocked(seen: &Seen<'_>) -> Finding {
    let entry = listed(seen, &seen.policy.screen.block);
    Finding::of(entry.map(|entry| (Reason::Blocked, format!("screen.block has {entry}"))), "no entry of screen.block")
}

fn mail_farm(seen: &Seen<'_>) -> Finding {
    let entry = listed(seen, &seen.policy.screen.mail_farms);
    Finding::of(entry.map(|entry| (Reason::MailFarm, format!("screen.mail_farms has {entry}"))), "no entry of screen.mail_farms")
}

/// An entry in the form in which it is compared: a canonical address, or a domain as A-label.
fn list_entry(entry: &str) -> Option<String> {
    match Address::parse(entry.trim()) {
        Some(address) if address.local().contains('*') => None, // a pattern, which nobody is called
        Some(address) => Some(address.canonical()),
        None => Address::parse(&format!("x@{}", entry.trim())).map(|address| address.ascii_domain()),
    }
}

/// The entry that covers the From address or the envelope sender: the address itself, its domain, or a parent domain.
fn listed<'a>(seen: &'a Seen<'_>, list: &'a [String]) -> Option<&'a String> {
    let senders: Vec<Address> = seen.request.from.iter().cloned().chain(Address::parse(&seen.facts.mail_from)).collect();
    list.iter().find(|entry| senders.iter().any(|sender| sender.canonical() == **entry || is_within(&sender.ascii_domain(), entry)))
}

/// Mailboxes that a mail domain must have, and ours for bounces; people read these.
const OPERATOR_LOCALS: [&str; 3] = ["abuse", "postmaster", "complaints"];

fn operator_mail(seen: &Seen<'_>) -> Finding {
    let Some(recipient) = Address::parse(&seen.facts.rcpt_to) else { return Finding::passes("RCPT TO is no address") };
    let local = recipient.base_local();
    let is_bounce = local == seen.policy.bounce.base_local() && recipient.ascii_domain() == seen.policy.bounce.ascii_domain();
    Finding::fires_if(is_bounce || OPERATOR_LOCALS.contains(&local.as_str()), Reason::OperatorMail, format!("RCPT TO is {local}@"))
}

fn unknown_recipient(seen: &Seen<'_>) -> Finding {
    let responses = seen.catalogue.responses_for(&seen.facts.rcpt_to).len();
    Finding::fires_if(responses == 0, Reason::UnknownRecipient, format!("{responses} responses for {}", seen.facts.rcpt_to))
}

fn auto_submitted(seen: &Seen<'_>) -> Finding {
    // RFC 3834 §5: any keyword but "no", known or not.
    let found = seen.request.values("auto-submitted").map(keyword).find(|word| word != "no");
    Finding::of(found.map(|word| (Reason::AutoSubmitted, format!("Auto-Submitted: {word}"))), "absent, or no")
}

/// RFC 2369, RFC 2919, RFC 8058, and what came before them (X-MLServer is fml's mark, on its alerts too).
const LIST_FIELDS: [&str; 12] = [
    "list-id",
    "list-help",
    "list-subscribe",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-post",
    "list-owner",
    "list-archive",
    "mailing-list",
    "x-mailing-list",
    "x-ml-name",
    "x-mlserver",
];

fn mailing_list(seen: &Seen<'_>) -> Finding {
    Finding::of(has_any(seen, &LIST_FIELDS).map(|field| (Reason::MailingList, field.to_owned())), "none of these fields")
}

fn bulk_precedence(seen: &Seen<'_>) -> Finding {
    let values = seen.request.values("precedence").chain(seen.request.values("x-precedence"));
    let found = values
        .flat_map(|value| value.split(','))
        .map(keyword)
        .find(|word| matches!(word.as_str(), "bulk" | "list" | "junk" | "auto_reply" | "auto-reply"));
    Finding::of(found.map(|word| (Reason::BulkPrecedence, format!("Precedence: {word}"))), "absent, or another")
}

fn response_suppressed(seen: &Seen<'_>) -> Finding {
    // Exchange knows All, AutoReply, OOF and more; each but None is a wish that no machine answers.
    let mut tokens = seen.request.values("x-auto-response-suppress").flat_map(|value| value.split(',')).map(keyword);
    let found = tokens.find(|token| !token.is_empty() && token != "none");
    Finding::of(found.map(|token| (Reason::ResponseSuppressed, format!("X-Auto-Response-Suppress: {token}"))), "absent, or none")
}

/// Fields whose mere presence marks an autoresponder.
const RESPONDER_FIELDS: [&str; 7] =
    ["x-autoreply", "x-autorespond", "x-autoresponder", "x-autogenerated", "x-autoreply-from", "x-mail-autoreply", "feedback-id"];
/// Fields that mark one by what they say.
const RESPONDER_VALUES: [(&str, &str); 4] =
    [("x-fc-machinegenerated", "true"), ("preference", "auto_reply"), ("x-apple-action", "vacation"), ("x-mimeole-autoreply", "true")];

fn autoresponder(seen: &Seen<'_>) -> Finding {
    let by_value = || {
        let says = |(field, word): &(&'static str, &str)| seen.request.values(field).any(|value| keyword(value) == *word);
        RESPONDER_VALUES.iter().find(|mark| says(mark)).map(|(field, _)| *field)
    };
    let by_class = || {
        let mut classes = seen.request.values("x-post-messageclass");
        classes.any(|class| class.to_lowercase().contains("autoresponder")).then_some("x-post-messageclass")
    };
    let field = has_any(seen, &RESPONDER_FIELDS).or_else(by_value).or_else(by_class);
    Finding::of(field.map(|field| (Reason::Autoresponder, field.to_owned())), "none of these fields")
}

/// Types of a mail as a whole that only mail systems write (RFC 6522, 3464, 6533, 8098, 5965).
const REPORT_TYPES: [&str; 5] =
    ["multipart/report", "message/delivery-status", "message/global-delivery-status", "message/disposition-notification", "message/feedback-report"];

fn report(seen: &Seen<'_>) -> Finding {
    let found = seen.request.values("content-type").map(keyword).find(|kind| REPORT_TYPES.contains(&kind.as_str()));
    Finding::fires_if(found.is_some(), Reason::Report, format!("Content-Type: {}", found.unwrap_or_else(|| seen.request.content_type.clone())))
}

fn loop_mark(seen: &Seen<'_>) -> Finding {
    let is_ours = |text: &str| {
        Address::parse(text.trim().trim_matches(['<', '>'])).is_some_and(|address| !seen.catalogue.responses_for(address.as_str()).is_empty())
    };
    let request = seen.request;
    let seen_mark = if request.values("x-loop").any(is_ours) {
        "X-Loop is ours".into()
    } else if request.values("delivered-to").any(is_ours) {
        "Delivered-To is ours".into()
    } else if request.values("message-id").any(|ids| seen.catalogue.domains().any(|own| ids.to_lowercase().contains(&format!("@{own}>")))) {
        "Message-ID is at a domain of ours".into()
    } else if request.values("received").count() > RECEIVED_MAX {
        format!("more than {RECEIVED_MAX} Received")
    } else if request.values("references").map(|ids| ids.matches('<').count()).sum::<usize>() > REFERENCES_MAX {
        format!("more than {REFERENCES_MAX} References")
    } else {
        return Finding::passes("no mark of ours");
    };
    Finding::fires(Reason::Loop, seen_mark)
}

fn filtered(seen: &Seen<'_>) -> Finding {
    // Only fields that the settings name, and of each only the topmost: our own MX put it there.
    let field = seen.policy.screen.filter_headers.iter().find(|field| {
        let topmost = seen.request.values(field).next().map(keyword);
        topmost.is_some_and(|word| matches!(word.trim_end_matches(','), "yes" | "true" | "spam" | "infected"))
    });
    Finding::of(field.map(|field| (Reason::Filtered, field.clone())), "none of screen.filter_headers says yes")
}

fn not_text(seen: &Seen<'_>) -> Finding {
    let content_type = seen.request.content_type.as_str();
    let is_not_text = matches!(content_type, "text/calendar" | "application/pkcs7-mime" | "application/x-pkcs7-mime" | "application/ics");
    Finding::fires_if(is_not_text, Reason::NotText, format!("Content-Type: {content_type}"))
}

fn too_old(seen: &Seen<'_>) -> Finding {
    let age = seen.now.since(seen.facts.arrived);
    let age_max = seen.policy.screen.age_max_s.duration();
    Finding::fires_if(age > age_max, Reason::TooOld, format!("{} s old, at most {} s", age.as_secs(), age_max.as_secs()))
}

fn has_any(seen: &Seen<'_>, names: &[&'static str]) -> Option<&'static str> {
    names.iter().copied().find(|name| seen.request.values(name).next().is_some())
}

/// The first word of a value in lower case, without comments and parameters (RFC 2045 §5.1 in small).
fn keyword(value: &str) -> String {
    let mut depth = 0_u32;
    let without_comments: String = value
        .chars()
        .filter(|&c| {
            match c {
                '(' => depth += 1,
                ')' if depth > 0 => {
                    depth -= 1;
                    return false;
                }
                _ => {}
            }
            depth == 0
        })
        .collect();
    let word = without_comments.split(';').next().unwrap_or_default().split_whitespace().next().unwrap_or_default();
    word.trim_matches('"').to_lowercase()
}

#[cfg(test)]
mod tests;
