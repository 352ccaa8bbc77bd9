//! The judgement, from outside: what the injector got its 250 for, what arrived at the next hops, and what the ledger's
//! tables and the dead letters say of the rest. No program's word is taken for what it did itself; but that a mail which must
//! get no answer came as far as a worker, only the worker's log can say.
//!
//! Every accepted request is in exactly one class: answered (every reply arrived), recorded (a reply did not, and its row or a
//! dead letter says why), refused (a verdict says why not to answer), silent (a mail that must get no answer), or lost.

use std::collections::{BTreeMap, HashMap, HashSet};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use replyfleet::{
    envelope::{Envelope, request_key},
    keyed::Secret,
};
use replyfleet_worker::ledger::AMBIGUOUS_TRIES_MAX;
use sea_orm::{ConnectionTrait, Database, Statement};

use super::{
    Queue,
    far::{DEAD, Far},
    ground::{Ground, HOST, SECRET, files_below},
    injector::{Accepted, Injected},
};

/// The most copies of a reply that faults may make (delivery contract: at most two ambiguous tries).
pub(crate) const COPIES_MAX: usize = 2;
/// The verdict to answer.
const ANSWER: &str = "answer";
/// States of a reply after which nothing comes.
const TERMINAL: [&str; 5] = ["sent", "refused", "uncertain", "expired", "too_big"];

/// Where accepted requests ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Answered,
    Recorded,
    Refused,
    Silent,
    Lost,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) mails: usize,
    pub(crate) unknown: usize,
    pub(crate) tries: usize,
    pub(crate) requests: usize,
    pub(crate) classes: BTreeMap<Class, usize>,
    /// Replies by their state in the ledger.
    pub(crate) states: BTreeMap<String, usize>,
    /// Dead letters by their reason.
    pub(crate) parked: BTreeMap<String, usize>,
    /// Replies by their number of copies.
    pub(crate) copies: BTreeMap<usize, usize>,
    /// Rows of the ledger, and those that no accepted request explains.
    pub(crate) rows: usize,
    pub(crate) unexplained_rows: usize,
    /// Arrivals at somebody who asked for nothing.
    pub(crate) strangers: usize,
    /// Mails that Postfix itself sent to anybody, and bounces in its log.
    pub(crate) bounced: usize,
    pub(crate) left_in_postfix: usize,
    pub(crate) left_in_queue: usize,
    pub(crate) claim_checks: usize,
    /// Requests with the verdict to answer, and how many answers the caps were charged with.
    pub(crate) answer_rows: u64,
    pub(crate) charged: u64,
    /// What is wrong, in words that find it in the logs.
    pub(crate) faults: Vec<String>,
    /// Whether every reply had to come exactly once.
    pub(crate) is_strict: bool,
}

/// What the ledger's tables say.
struct Ledger {
    verdicts: HashMap<String, String>,
    /// State and tries that may have sent a copy, by request and number.
    replies: HashMap<(String, usize), (String, i32)>,
    /// What all counters of the caps have counted together.
    charges: u64,
}

/// All that one sender had accepted.
#[derive(Default)]
struct Sender {
    keys: Vec<(String, String)>,
    is_answerable: bool,
}

pub(crate) fn judge(ground: &Ground, far: &Far, injected: &Injected, is_strict: bool) -> Findings {
    let ledger = read_ledger(&ground.ledger_url(far));
    let parked = dead_letters(ground, far);
    let mut findings = Findings {
        mails: injected.accepted.len(),
        unknown: injected.unknown.len(),
        tries: injected.tries,
        rows: ledger.verdicts.len(),
        answer_rows: ledger.verdicts.values().filter(|verdict| *verdict == ANSWER).count() as u64,
        charged: ledger.charges,
        left_in_postfix: ground.mails_in_postfix(),
        left_in_queue: ground.messages(far),
        claim_checks: ground.claim_checks().len(),
        bounced: bounced(ground, far),
        is_strict,
        ..Findings::default()
    };
    parked.iter().for_each(|(_, reason)| *findings.parked.entry(reason.clone()).or_default() += 1);
    let parked: HashSet<&str> = parked.iter().map(|(key, _)| key.as_str()).collect();
    for key in ground.claim_checks() {
        if !ledger.verdicts.contains_key(&key) || parked.contains(key.as_str()) {
            findings.faults.push(format!("a mail is left in the store whose request {key} has not ended"));
        }
    }
    let senders = by_sender(&injected.accepted);
    let ignored = ignored(&ground.workers_logs());
    let unknown: HashSet<&str> = injected.unknown.iter().map(|mail| mail.from.as_str()).collect();
    let arrived = [by_recipient(&far.ses.arrivals()), by_recipient(&far.sink.arrivals())];
    for (name, sender) in &senders {
        let copies = [0, 1].map(|number: usize| arrived[number].get(name).copied().unwrap_or_default());
        Judged { ledger: &ledger, parked: &parked, ignored: &ignored, is_unknown: unknown.contains(name.as_str()), copies }.judge(
            name,
            sender,
            &mut findings,
        );
    }
    for arrivals in &arrived {
        for (to, count) in arrivals {
            let has_asked = senders.get(to).is_some_and(|sender| sender.is_answerable) || unknown.contains(to.as_str());
            findings.strangers += if has_asked { 0 } else { *count };
            if unknown.contains(to.as_str()) && *count > COPIES_MAX {
                findings.faults.push(format!("{to}, whose mail may have been accepted, got {count} copies"));
            }
        }
    }
    let keys: HashSet<&str> = senders.values().flat_map(|sender| sender.keys.iter().map(|(key, _)| key.as_str())).collect();
    findings.unexplained_rows = ledger.verdicts.keys().filter(|key| !keys.contains(key.as_str())).count();
    findings
}

struct Judged<'a> {
    ledger: &'a Ledger,
    parked: &'a HashSet<&'a str>,
    /// Queue ids of mails that a worker ignored.
    ignored: &'a HashSet<String>,
    /// Whether another mail of this sender may or may not have been accepted.
    is_unknown: bool,
    /// Of each reply.
    copies: [usize; 2],
}

impl Judged<'_> {
    fn judge(&self, name: &str, sender: &Sender, findings: &mut Findings) {
        findings.requests += sender.keys.len();
        let verdict = |key: &str| self.ledger.verdicts.get(key).map(String::as_str);
        let answered: Vec<_> = sender.keys.iter().filter(|(key, _)| verdict(key) == Some(ANSWER)).collect();
        let has_parked = sender.keys.iter().any(|(key, _)| self.parked.contains(key.as_str()));
        let is_excused = has_parked || self.is_unknown;
        if sender.is_answerable && answered.len() != 1 && !is_excused {
            let requests: Vec<&str> = sender.keys.iter().map(|(_, id)| id.as_str()).collect();
            findings.faults.push(format!("{} of the requests of {name} ({requests:?}) are answered, not one", answered.len()));
        }
        for (key, queue_id) in &sender.keys {
            let class = match verdict(key) {
                Some(ANSWER) => self.judge_replies(key, queue_id, findings),
                Some(_) if sender.is_answerable => Class::Refused,
                _ if !sender.is_answerable && self.ignored.contains(queue_id) => Class::Silent,
                _ if !sender.is_answerable => {
                    findings.faults.push(format!("{queue_id}: must get no answer, but no worker ever ignored it"));
                    Class::Lost
                }
                _ if self.parked.contains(key.as_str()) => Class::Recorded,
                _ => {
                    findings.faults.push(format!("{queue_id}: no row, no dead letter"));
                    Class::Lost
                }
            };
            *findings.classes.entry(class).or_default() += 1;
        }
    }

    fn judge_replies(&self, key: &str, queue_id: &str, findings: &mut Findings) -> Class {
        let mut class = Class::Answered;
        for (number, &copies) in self.copies.iter().enumerate() {
            *findings.copies.entry(copies).or_default() += 1;
            let row = self.ledger.replies.get(&(key.to_owned(), number));
            let (state, ambiguous) = row.map_or(("no row", 0), |(state, ambiguous)| (state.as_str(), *ambiguous));
            // Nothing here is refused or grows old, so only two tries whose end nobody knows give a reply up.
            if state == "uncertain" && ambiguous != AMBIGUOUS_TRIES_MAX {
                findings.faults.push(format!("{queue_id}: reply {number} is uncertain after {ambiguous} tries in doubt"));
            }
            *findings.states.entry(state.to_owned()).or_default() += 1;
            let has_record = (TERMINAL.contains(&state) && state != "sent") || self.parked.contains(key);
            if copies == 0 && !has_record {
                findings.faults.push(format!("{queue_id}: reply {number} did not arrive, and is {state}"));
                class = Class::Lost;
            } else if copies == 0 && class == Class::Answered {
                class = Class::Recorded;
            }
            if !TERMINAL.contains(&state) && !self.parked.contains(key) {
                findings.faults.push(format!("{queue_id}: reply {number} is {state} at the end"));
            }
            let most = if findings.is_strict { 1 } else { COPIES_MAX };
            if copies > most {
                findings.faults.push(format!("{queue_id}: {copies} copies of reply {number}"));
            }
            if findings.is_strict && (copies != 1 || state != "sent") {
                findings.faults.push(format!("{queue_id}: without any fault, reply {number} came {copies} times and is {state}"));
            }
        }
        class
    }
}

/// The requests of each sender: key and queue id.
fn by_sender(accepted: &[Accepted]) -> HashMap<String, Sender> {
    let secret = Secret::from_text(SECRET).expect("long enough");
    let mut senders: HashMap<String, Sender> = HashMap::new();
    for Accepted { mail, queue_id } in accepted {
        let sender = senders.entry(mail.from.clone()).or_default();
        sender.is_answerable |= mail.is_answerable();
        let recipients: HashSet<&str> = mail.recipients.iter().copied().collect();
        sender.keys.extend(recipients.iter().map(|recipient| (request_key(&secret, HOST, queue_id, recipient), queue_id.clone())));
    }
    senders
}

fn by_recipient(arrivals: &[replyfleet_tests::arrivals::Arrival]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    arrivals.iter().flat_map(|arrival| &arrival.to).for_each(|to| *counts.entry(to.to_lowercase()).or_default() += 1);
    counts
}

/// Mails that Postfix sent by itself: to the senders' mail host, or tried to.
fn bounced(ground: &Ground, far: &Far) -> usize {
    let log = ground.postfix_log();
    let is_bounce = |line: &&str| line.contains("status=bounced") || line.contains("non-delivery notification");
    far.senders_mx.arrivals().len() + log.lines().filter(is_bounce).count()
}

/// The queue ids of mails that workers say they ignored. A worker says so before it deletes the message.
fn ignored(logs: &[String]) -> HashSet<String> {
    let lines = logs.iter().flat_map(|log| log.lines()).filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line["outcome"] == "ignored").filter_map(|line| line["queue_id"].as_str().map(str::to_owned)).collect()
}

/// The answers of a counter: `BEGIN:ANSWERS:ATTACHMENTS`, separated by spaces.
fn answers(slots: &str) -> u64 {
    slots.split_whitespace().map(|slot| slot.split(':').nth(1).and_then(|count| count.parse::<u64>().ok()).expect("a slot has answers")).sum()
}

/// Request key and reason of every dead letter.
fn dead_letters(ground: &Ground, far: &Far) -> Vec<(String, String)> {
    let key = |wire: Vec<u8>| Envelope::decode(&Bytes::from(wire)).map_or_else(|_| "unreadable".into(), |envelope| envelope.facts.request_key);
    match (ground.queue(), &far.sqs) {
        (Queue::Sqs, Some(sqs)) => {
            let letters = sqs.stored(DEAD).into_iter().map(|letter| {
                let reason = letter.attributes.get("replyfleet-reason").cloned().unwrap_or_else(|| "no reason".into());
                (key(BASE64_STANDARD.decode(&letter.body).unwrap_or_default()), reason)
            });
            letters.collect()
        }
        _ => {
            let letters = files_below(&ground.path("spool/parked")).into_iter().map(|path| {
                let reason = path.extension().map(|reason| reason.to_string_lossy().into_owned()).unwrap_or_default();
                (key(std::fs::read(&path).unwrap_or_default()), reason)
            });
            letters.collect()
        }
    }
}

fn read_ledger(url: &str) -> Ledger {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = Database::connect(url).await.expect("the ledger can be read");
        let backend = database.get_database_backend();
        let rows = async |query: &str| database.query_all_raw(Statement::from_string(backend, query)).await.expect("the ledger's tables");
        let text = |row: &sea_orm::QueryResult, at: usize| row.try_get_by_index::<String>(at).expect("a text");
        let verdicts = rows("SELECT request_key, verdict FROM request").await;
        let replies = rows("SELECT request_key, number, state, ambiguous FROM reply").await;
        let slots = rows("SELECT slots FROM counter").await;
        let number = |row: &sea_orm::QueryResult| usize::try_from(row.try_get_by_index::<i32>(1).expect("a number")).unwrap();
        let ambiguous = |row: &sea_orm::QueryResult| row.try_get_by_index::<i32>(3).expect("a number");
        Ledger {
            verdicts: verdicts.iter().map(|row| (text(row, 0), text(row, 1))).collect(),
            replies: replies.iter().map(|row| ((text(row, 0), number(row)), (text(row, 2), ambiguous(row)))).collect(),
            charges: slots.iter().map(|row| answers(&text(row, 0))).sum(),
        }
    })
}
