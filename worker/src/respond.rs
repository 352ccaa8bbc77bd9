//! The heart: one delivery in, one outcome out. The steps are those of the message's way, in order; each is a small
//! function, and each failure says what follows from it ([`Stop`]). The last ones, which each reply goes by itself, are in
//! [`reply`].

mod large;
mod reply;

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use replyfleet::{
    clock::Clock,
    envelope::{ClaimMismatch, Envelope, Facts, Mail},
    settings::Trust,
    store::{Fetched, Store, StoreError},
};
use tokio::sync::SemaphorePermit;

use crate::{
    address::Address,
    breaker::{Breakers, Part, ways},
    catalogue::{Catalogue, Response, SendMethod, keeper::CatalogueKeeper},
    composer::Composer,
    drain::Respond,
    judge::{End, Hearing, Judge, Judgement},
    lease::Hold,
    ledger::{Application, Ledger, LedgerError, Progress, ReplyState, Verdict},
    metrics::{Metrics, figures::Sends},
    outcome::{Outcome, Park, Wait},
    pace::Pace,
    reason::Reason,
    request::{self, Request},
    screen::Seen,
    send::Senders,
    switches::keeper::SwitchKeeper,
};

pub(crate) use large::LargeMails;

/// Receives after which an object that is missing or cut is believed to stay so.
const FETCH_RECEIVES_MAX: u32 = 5;

/// Everything that answering needs.
pub(crate) struct Responder {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) catalogue: Arc<CatalogueKeeper>,
    pub(crate) composer: Composer,
    pub(crate) pace: Arc<Pace>,
    pub(crate) ledger: Ledger,
    pub(crate) senders: Senders,
    /// By which other sender a method's replies leave while its own is away.
    pub(crate) fallbacks: HashMap<SendMethod, SendMethod>,
    /// The senders that can reach a local part beyond ASCII.
    pub(crate) with_smtputf8: Vec<SendMethod>,
    pub(crate) breakers: Arc<Breakers>,
    pub(crate) judge: Arc<Judge>,
    pub(crate) switches: Arc<SwitchKeeper>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) mail_bytes_max: usize,
    pub(crate) large_mails: LargeMails,
    pub(crate) age_max: Duration,
    pub(crate) receives_max: u32,
}

/// What is told of a message besides its outcome: words from closed lists.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Where its replies stand.
    pub(crate) replies: Vec<ReplyState>,
    /// What proved its sender; empty if nobody asked.
    pub(crate) proof: Cow<'static, str>,
    /// What the ledger granted; empty if it was not asked.
    pub(crate) granted: Cow<'static, str>,
    /// How many of its replies left without their files, which were too big.
    pub(crate) without_files: usize,
    /// How often a next hop would not take one of its replies, where that is what it waits for. How often the message was
    /// received says less: it may just have come for its turn.
    pub(crate) tries: Option<u32>,
    /// What a process of its own counted for it; nothing where this worker has counted by itself.
    pub(crate) sent_alone: Sends,
}

/// Why the way ends before its end.
enum Stop {
    Ignore(Reason),
    Retry(Wait),
    Park(Park),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Stop::Ignore(reason)
    }
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        match end {
            End::Ignore(reason) => Stop::Ignore(reason),
            End::Later(wait) => Stop::Retry(wait),
        }
    }
}

impl From<LedgerError> for Stop {
    fn from(error: LedgerError) -> Self {
        tracing::warn!(error = %error, "the ledger does not answer");
        Stop::Retry(Wait::Ledger)
    }
}

impl From<Stop> for Outcome {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Ignore(reason) => Outcome::Ignored(reason),
            Stop::Retry(wait) => Outcome::Retry(wait),
            Stop::Park(park) => Outcome::Parked(park),
        }
    }
}

/// A request on its way through the last steps.
struct Case<'a> {
    facts: &'a Facts,
    request: &'a Request,
    to: &'a Address,
    catalogue: &'a Catalogue,
}

impl<'a> Case<'a> {
    fn responses(&self) -> Vec<&'a Response> {
        self.catalogue.responses_for(&self.facts.rcpt_to)
    }

    /// The response that reply `index` was promised from, in today's catalogue: the same one wherever it stands now, or the
    /// one that took its place, or none. What takes its place must be one that the request was granted: no attachment
    /// where there was to be none, and full trust only where all there is was promised.
    fn promised(&self, progress: &Progress, index: usize) -> Option<&'a Response> {
        let responses = self.responses();
        let digest = &progress.replies[index].response;
        let same = responses.iter().find(|response| response.digest == *digest);
        let is_another_reply = |response: &Response| progress.replies.iter().any(|reply| reply.response == response.digest);
        let is_all_promised = progress.replies.len() >= responses.len();
        let is_granted = |response: &&&Response| {
            let may_attach = response.attachments.is_empty() || progress.granted == Trust::Full;
            may_attach && (response.needs <= Trust::Small || is_all_promised)
        };
        same.or_else(|| responses.iter().filter(is_granted).nth(index).filter(|response| !is_another_reply(response))).copied()
    }
}

fn states(progress: &Progress) -> Vec<ReplyState> {
    progress.replies.iter().map(|reply| reply.state).collect()
}

/// What the ledger knows of a request.
enum Recalled {
    Nothing,
    Begun(Progress),
    Ended(Outcome),
}

#[async_trait]
impl Respond for Responder {
    async fn respond(&self, receive_count: u32, envelope: Option<&Envelope>, hold: &Hold, account: &mut Account) -> Outcome {
        let outcome = self.answer(receive_count, envelope, hold, account).await.unwrap_or_else(Outcome::from);
        match (&outcome, envelope) {
            (Outcome::Ignored(reason), Some(Envelope { facts, mail: Mail::Stored(_) })) => {
                self.note_ignored(facts, *reason).await.unwrap_or_else(Outcome::from)
            }
            _ => outcome,
        }
    }

    fn ways(&self) -> Vec<Vec<SendMethod>> {
        ways(&self.catalogue.current(), &self.fallbacks)
    }

    fn waited(&self, wait: Duration) {
        self.switches.received(wait);
    }

    fn asked(&self, rcpt_to: &str) -> Option<String> {
        let is_ours = !self.catalogue.current().responses_for(rcpt_to).is_empty();
        Address::parse(rcpt_to).filter(|_| is_ours).map(|address| address.without_tag())
    }
}

impl Responder {
    async fn answer(&self, receive_count: u32, envelope: Option<&Envelope>, hold: &Hold, account: &mut Account) -> Result<Outcome, Stop> {
        let envelope = envelope.ok_or(Stop::Park(Park::UnreadableEnvelope))?;
        let facts = &envelope.facts;
        let known = match self.recall(facts, &mut account.replies).await? {
            Recalled::Ended(outcome) => return Ok(outcome),
            Recalled::Begun(known) => Some(known),
            Recalled::Nothing => None,
        };
        if receive_count > self.receives_max {
            return Err(Stop::Park(Park::ReceivedTooOften));
        }
        let (mail, room) = self.fetch(envelope, receive_count).await?;
        let request = match request::read(&mail, self.mail_bytes_max) {
            Ok(request) => request,
            // A verdict stands: what can no longer be read, since a limit was lowered, is given up with a record.
            Err(_) if known.is_some() => return self.give_up(facts, &mut account.replies).await,
            Err(reason) => return Err(reason.into()),
        };
        let catalogue = self.catalogue.current();
        let judgement = match known {
            Some(_) => None,
            None => Some(self.judge(facts, &request, &catalogue, &mail, receive_count == 1, account).await?),
        };
        let case = Case { facts, request: &request, to: request.from.as_ref().map_err(|_| Reason::UnclearFrom)?, catalogue: &catalogue };
        let progress = match (known, judgement) {
            (None, Some(judgement)) => self.admit(&case, &mail, &judgement).await?,
            (Some(known), _) => known,
            (None, None) => unreachable!("what is not known is judged"),
        };
        drop((mail, room)); // replies may take long, and need nothing of it
        account.replies = states(&progress);
        account.granted = progress.granted.word().into();
        self.reply_all(&case, &progress, hold, receive_count == 1, account).await
    }

    /// What the ledger knows: the request has ended before, its time has run out meanwhile, or it has begun, and then its
    /// verdict stands.
    async fn recall(&self, facts: &Facts, replies: &mut Vec<ReplyState>) -> Result<Recalled, Stop> {
        let Some(known) = self.ledger.recall(&facts.request_key).await? else { return Ok(Recalled::Nothing) };
        *replies = states(&known);
        if let Verdict::Ignore(reason) = known.verdict {
            return Ok(Recalled::Ended(Outcome::Ignored(reason)));
        }
        if known.is_settled() {
            return Ok(Recalled::Ended(Outcome::of_replies(replies, true)));
        }
        let now = self.clock.now();
        if now.since(facts.arrived) <= self.age_max {
            return Ok(Recalled::Begun(known));
        }
        self.give_up(facts, replies).await.map(Recalled::Ended)
    }

    /// Ends the replies that are not sent yet, but for those that another worker is sending.
    async fn give_up(&self, facts: &Facts, replies: &mut Vec<ReplyState>) -> Result<Outcome, Stop> {
        if let Some(expired) = self.ledger.expire(&facts.request_key, self.clock.now()).await? {
            *replies = states(&expired);
        }
        Ok(Outcome::of_replies(replies, false))
    }

    /// A claim-checked mail is gone once it is ignored; its message may come again all the same.
    async fn note_ignored(&self, facts: &Facts, reason: Reason) -> Result<Outcome, Stop> {
        match self.ledger.ignore(&facts.request_key, reason, self.clock.now()).await? {
            Verdict::Ignore(reason) => Ok(Outcome::Ignored(reason)),
            // Another worker has admitted it meanwhile, and needs the mail: the next receipt finds out how it went.
            Verdict::Answer => Err(Stop::Retry(Wait::Claim)),
        }
    }

    /// The mail's bytes, from the envelope, or by its claim check and then with the memory that it may take.
    async fn fetch(&self, envelope: &Envelope, receive_count: u32) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Stop> {
        let claim = match &envelope.mail {
            Mail::Inline(mail) => return Ok((mail.clone(), None)),
            Mail::Stored(claim) => claim,
        };
        if let Some(wait) = self.breakers.wait(Part::Store) {
            return Err(Stop::Retry(wait));
        }
        let gone_for_good = |park| if receive_count < FETCH_RECEIVES_MAX { Stop::Retry(Wait::Store) } else { Stop::Park(park) };
        let room = self.large_mails.room_for(claim.bytes).await;
        let mail = match self.store.get(&claim.object, None).await {
            Ok(Fetched::Changed(mail, _)) => {
                self.breakers.succeeded(Part::Store);
                mail
            }
            Ok(Fetched::Unchanged) | Err(StoreError::Missing(_)) => return Err(gone_for_good(Park::MailMissing)),
            Err(StoreError::TooBig(_)) => return Err(Stop::Park(Park::MailDiffers)),
            Err(error @ (StoreError::Unavailable(_) | StoreError::Full(_) | StoreError::Refused(_))) => {
                tracing::warn!(error = %error, "a mail cannot be fetched");
                self.breakers.failed(Part::Store, &envelope.facts.request_key);
                return Err(Stop::Retry(Wait::Store));
            }
        };
        match claim.verify(&mail) {
            Ok(()) => Ok((mail, room)),
            Err(ClaimMismatch::Length { .. }) => Err(gone_for_good(Park::MailDiffers)),
            Err(ClaimMismatch::Digest) => Err(Stop::Park(Park::MailDiffers)),
        }
    }

    /// Every rule but those that must be counted.
    async fn judge(
        &self,
        facts: &Facts,
        request: &Request,
        catalogue: &Catalogue,
        mail: &[u8],
        is_first_look: bool,
        account: &mut Account,
    ) -> Result<Judgement, Stop> {
        let seen = Seen { facts, request, catalogue, policy: self.judge.policy(), now: self.clock.now() };
        let hearing = Hearing { seen, mail, switches: self.switches.current(), is_shedding: self.switches.is_shedding(), is_first_look };
        let (judgement, end) = self.judge.judge(&hearing, Some(&self.ledger)).await;
        account.proof = judgement.proof.into();
        end.map_or(Ok(judgement), |end| Err(end.into()))
    }

    /// The verdict, and a row for each reply.
    async fn admit(&self, case: &Case<'_>, mail: &[u8], judgement: &Judgement) -> Result<Progress, Stop> {
        let responses = judgement.promises(&case.responses());
        let asked = Address::parse(&case.facts.rcpt_to).map(|address| address.without_tag()).unwrap_or_default();
        let application = Application {
            request_key: &case.facts.request_key,
            mail_key: &case.facts.mail_key,
            sender: case.to,
            client_address: &case.facts.client_address,
            responder: &asked,
            identity: &judgement.identity(case.request, mail),
            trust: judgement.ceiling(&responses),
            responses: &responses,
            is_allowed: judgement.is_allowed,
            is_proven: judgement.is_proven,
            catalogue: case.catalogue.version(),
        };
        let progress = self.ledger.admit(&application, self.clock.now()).await?;
        match progress.verdict {
            Verdict::Answer => Ok(progress),
            Verdict::Ignore(reason) => Err(Stop::Ignore(reason)),
        }
    }
}

#[cfg(test)]
mod tests;
