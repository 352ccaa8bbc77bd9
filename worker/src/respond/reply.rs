//! One reply's way: may it still leave, what is in it, is it its turn, claim, compose, send, record.
//!
//! Each reply's failure is its own and leaves the other replies of the request alone; only a ledger that does not answer
//! stops them all. Everything that can be found out before the claim is: a claimed reply whose worker dies counts as one
//! that may have been sent.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use replyfleet::settings::ProviderSettings;

use super::{Account, Case, Responder, Stop};
use crate::{
    breaker::Pass,
    catalogue::{Response, SendMethod, Translation},
    compose::{Body, Recipient},
    composer::Hindrance,
    language,
    lease::Hold,
    ledger::{ANSWER_TIMEOUT, Attempt, Claim, LedgerError, Progress, ReplyState, Try, Withdrawn},
    outcome::{Outcome, Wait},
    pace::{Lane, Turn},
    send::{Accepted, SendError},
    switches::State,
};

/// How much longer than its own time a send may take before it is given up.
const SEND_GRACE: Duration = Duration::from_secs(5);
/// By how much the clocks of two workers may differ.
const CLOCK_GRACE: Duration = Duration::from_secs(5);
/// How long after a claim was asked for its send may begin. Later, whoever was stopped meanwhile, or whose database was slow,
/// gives the claim back: what is left of it is needed to send and to record.
const CLAIM_MAX: Duration = Duration::from_secs(5);
/// How much longer a claim holds than its send may take by itself: from the asking to the record.
const CLAIM_GRACE: Duration = Duration::from_secs(CLAIM_MAX.as_secs() + SEND_GRACE.as_secs() + ANSWER_TIMEOUT.as_secs() + CLOCK_GRACE.as_secs());
/// How much later than another worker's claim ends its reply is looked at again.
const HELD_GRACE: Duration = Duration::from_millis(100);
/// Tries to record what came of a send before the claim is left to run out.
const RECORD_TRIES_MAX: u32 = 5;
/// Between them.
const RECORD_PAUSE: Duration = Duration::from_millis(200);

/// Why a reply does not leave now.
enum NotNow {
    /// It waits.
    Wait(Wait),
    /// It is given up.
    Withdraw(Withdrawn),
}

/// A reply that is to leave.
struct Due<'a> {
    case: &'a Case<'a>,
    progress: &'a Progress,
    index: usize,
    response: &'a Response,
    translation: Option<&'a Translation>,
    /// By which sender: the response's own, or the one that stands in for it.
    method: SendMethod,
    turn: Turn,
}

impl Responder {
    /// Every reply that is not terminal yet, in order, as long as the message's lease is sure. `is_new` says that the request was not received before.
    pub(super) async fn reply_all(
        &self,
        case: &Case<'_>,
        progress: &Progress,
        hold: &Hold,
        is_new: bool,
        account: &mut Account,
    ) -> Result<Outcome, Stop> {
        let mut turn = if is_new { Turn::New } else { Turn::Back };
        // What has no time of its own comes before a place in the line, which would have it wait, too.
        let (mut waits_for, mut place, mut held) = (None, None, None);
        for index in 0..account.replies.len() {
            if account.replies[index].is_terminal() {
                continue;
            }
            match self.reply(case, (progress, index), hold, turn, account).await? {
                Ok(new) => {
                    account.replies[index] = new;
                    if new == ReplyState::Pending {
                        account.tries = account.tries.max(Some(progress.replies[index].attempts + 1));
                    }
                }
                Err(wait @ Wait::Pace(_)) => {
                    place = place.or(Some(wait));
                    turn = Turn::Waiting;
                }
                Err(wait @ Wait::Held(_)) => {
                    account.replies[index] = ReplyState::Claimed;
                    held = Some(wait);
                }
                Err(wait) => waits_for = Some(wait),
            }
        }
        let was_not_taken = account.tries.is_some();
        Ok(match waits_for.or(place.filter(|_| !was_not_taken)) {
            Some(wait) => Outcome::Retry(wait),
            None => match (Outcome::of_replies(&account.replies, false), held) {
                (Outcome::Retry(Wait::Claim), Some(held)) => Outcome::Retry(held),
                (outcome, _) => outcome,
            },
        })
    }

    /// One reply; the error is what it waits for.
    async fn reply(
        &self,
        case: &Case<'_>,
        (progress, index): (&Progress, usize),
        lease: &Hold,
        turn: Turn,
        account: &mut Account,
    ) -> Result<Result<ReplyState, Wait>, Stop> {
        let key = &case.facts.request_key;
        let now = self.clock.now();
        let Some(response) = case.promised(progress, index) else {
            return Ok(Ok(self.ledger.withdraw(key, index, Withdrawn::Refused, now).await?));
        };
        let (method, pass) = match self.way_out(response, case) {
            Ok(way_out) => way_out,
            Err(wait) => return Ok(Err(wait)),
        };
        let Some(sender) = self.senders.get(&method) else { return Ok(Err(Wait::Sender)) };
        let translation = language::choose(response, &case.facts.rcpt_to, case.request);
        let due = Due { case, progress, index, response, translation, method, turn };
        let body = match self.prepare(&due, sender.message_bytes_max(case.to), account).await {
            Ok(body) => body,
            Err(NotNow::Wait(wait)) => return Ok(Err(wait)),
            Err(NotNow::Withdraw(why)) => return Ok(Ok(self.ledger.withdraw(key, index, why, now).await?)),
        };
        let recipient = Recipient { to: case.to, asked: &case.facts.rcpt_to, request: case.request, request_key: key };
        let reply = self.composer.compose(&recipient, index, (response, translation), body, method, self.clock.now());
        if !lease.is_sure() {
            return Ok(Err(Wait::Lease)); // whoever has the message now goes on
        }
        let _sending = lease.sending();
        let (asked, now, hold) = (Instant::now(), self.clock.now(), sender.timeout() + CLAIM_GRACE);
        let attempt = match self.ledger.claim(key, index, now, hold).await {
            Ok(Claim::Granted(attempt)) => attempt,
            Ok(Claim::Settled(state)) => return Ok(Ok(state)),
            Ok(Claim::Held(until)) => return Ok(Err(Wait::Held(until.since(now) + HELD_GRACE))),
            // Perhaps it was granted, and only its answer was lost: the ledger takes it back then.
            Err(error) => return Err(error.into()),
        };
        if asked.elapsed() > CLAIM_MAX {
            tracing::warn!("a claim was had too late to send under it, and is given back");
            return Ok(Ok(self.record(key, index, attempt, Try::NotSent).await?));
        }
        let start = Instant::now();
        // The senders keep their own time; this one is for a disk that hangs. What comes after it is not known.
        let sent = tokio::time::timeout(sender.timeout() + SEND_GRACE, sender.send(&reply)).await;
        let sent = sent.unwrap_or_else(|_| Err(SendError::Uncertain("time-out".into())));
        self.metrics.tried(key, index, method.word(), sent.as_ref().err(), start.elapsed());
        learn(pass, &sent, key);
        let result = match sent {
            Ok(_) => Try::Sent,
            Err(SendError::Refused(_)) => Try::Refused,
            // The sender knows the limit now: next time the files stay here. If there are none to leave out, that is the end.
            Err(SendError::TooBig(_)) if reply.body.len() <= self.composer.text(response, translation).len() => Try::Refused,
            Err(SendError::TooBig(_) | SendError::NotSent(_) | SendError::Away(_)) => Try::NotSent,
            Err(SendError::Throttled(_)) => {
                self.pace.throttled(&Lane::Sender(method), Instant::now());
                Try::NotSent
            }
            Err(SendError::Uncertain(_)) => Try::Ambiguous,
        };
        Ok(Ok(self.record(key, index, attempt, result).await?))
    }

    /// By which sender a reply leaves: its own, unless that is away and another may stand in for it.
    fn way_out(&self, response: &Response, case: &Case<'_>) -> Result<(SendMethod, Pass), Wait> {
        let own = response.send_method;
        self.breakers.pass(own).map(|pass| (own, pass)).or_else(|wait| {
            let can_reach = |method: &SendMethod| case.to.as_str().is_ascii() || self.with_smtputf8.contains(method);
            let other = self.fallbacks.get(&own).copied().filter(can_reach).ok_or(wait)?;
            self.breakers.pass(other).map(|pass| (other, pass))
        })
    }

    /// What is in the reply, if it may leave now.
    async fn prepare(&self, due: &Due<'_>, message_bytes_max: Option<usize>, account: &mut Account) -> Result<Arc<Body>, NotNow> {
        let provider = self.provider(due).await?;
        let body = self.body(due, provider, message_bytes_max, account).await?;
        self.turn(due, provider)?;
        Ok(body)
    }

    /// Whose customer the recipient is, if the operator's switches let the reply leave at all. DNS is asked only where that
    /// matters.
    async fn provider(&self, due: &Due<'_>) -> Result<Option<&ProviderSettings>, NotNow> {
        let switches = self.switches.current();
        let providers = self.composer.providers();
        let has_files = !due.response.attachments.is_empty();
        let is_asked = !switches.providers.is_empty() || has_files || providers.rates().next().is_some();
        let hosts = if is_asked { self.judge.mail_hosts(due.case.to).await } else { Some(Vec::new()) };
        let domain = due.case.to.ascii_domain();
        match switches.of_answer(&due.case.facts.rcpt_to, &domain, hosts.as_deref()) {
            State::Hold => return Err(NotNow::Wait(Wait::Switch)),
            State::On if switches.has_attachments || !has_files => {}
            State::On | State::Off => return Err(NotNow::Withdraw(Withdrawn::Refused)),
        }
        match hosts {
            Some(hosts) => Ok(providers.of(&domain, &hosts)),
            // A file under a name that its provider refuses helps nobody.
            None if has_files => Err(NotNow::Wait(Wait::Dns)),
            None => Ok(None),
        }
    }

    /// The body. Files that are too big stay here: then the replies without files are the answer, or, where the address has
    /// none, the text alone.
    async fn body(
        &self,
        due: &Due<'_>,
        provider: Option<&ProviderSettings>,
        message_bytes_max: Option<usize>,
        account: &mut Account,
    ) -> Result<Arc<Body>, NotNow> {
        match self.composer.body((due.response, due.translation), provider, message_bytes_max, due.method).await {
            Ok(body) => Ok(body),
            Err(Hindrance::Store) => Err(NotNow::Wait(Wait::Store)),
            // A text that is too big is tried all the same: nothing smaller is there.
            Err(Hindrance::TooBig) if due.response.attachments.is_empty() => Ok(self.composer.text(due.response, due.translation)),
            Err(Hindrance::TooBig) => {
                let is_small = |other: usize| due.case.promised(due.progress, other).is_some_and(|response| response.attachments.is_empty());
                let has_small_reply = (0..due.progress.replies.len()).any(|other| other != due.index && is_small(other));
                if has_small_reply {
                    return Err(NotNow::Withdraw(Withdrawn::TooBig));
                }
                account.without_files += 1;
                Ok(self.composer.text(due.response, due.translation))
            }
        }
    }

    /// Whether it is the reply's turn by every rate that it falls under.
    fn turn(&self, due: &Due<'_>, provider: Option<&ProviderSettings>) -> Result<(), NotNow> {
        let domain = due.response.address.rsplit_once('@').map_or("", |(_, domain)| domain);
        let mut lanes = vec![Lane::Sender(due.method), Lane::Domain(domain.to_owned())];
        lanes.extend(provider.map(|provider| Lane::Provider(provider.name.clone())));
        self.pace.take(&lanes, due.turn, Instant::now()).map_err(|away| {
            self.metrics.sent_away(away);
            NotNow::Wait(Wait::Pace(away))
        })
    }

    /// Records a result, more than once if need be: a "sent" that is lost here may become a second copy.
    async fn record(&self, key: &str, index: usize, attempt: Attempt, result: Try) -> Result<ReplyState, LedgerError> {
        let mut tries = 1;
        loop {
            match self.ledger.record(key, index, attempt, result).await {
                Err(error) if tries < RECORD_TRIES_MAX => {
                    tracing::warn!(error = %error, tries, "a result cannot be recorded yet");
                    tokio::time::sleep(RECORD_PAUSE * 2_u32.pow(tries)).await;
                    tries += 1;
                }
                recorded => return recorded,
            }
        }
    }
}

/// What came of a send says something of the sender, too.
fn learn(pass: Pass, sent: &Result<Accepted, SendError>, request_key: &str) {
    match sent {
        Ok(_) | Err(SendError::Refused(_) | SendError::TooBig(_)) => pass.succeeded(),
        Err(SendError::Away(reason)) => pass.say_away(reason),
        Err(SendError::NotSent(_) | SendError::Uncertain(_)) => pass.failed(request_key),
        Err(SendError::Throttled(_)) => {} // it answers, and takes others' replies
    }
}
