//! The heart: one delivery in, one outcome out. The steps are those of the message's way, in order; each is a small
//! function, and each failure says what follows from it ([`Stop`]).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use replyfleet::{
    clock::Clock,
    envelope::{ClaimMismatch, Envelope, Facts, Mail},
    queue::Delivery,
    store::{Fetched, Store, StoreError},
};

use crate::{
    address::Address,
    attachments::Attachments,
    catalogue::{Catalogue, Response, keeper::CatalogueKeeper},
    compose::{Letterhead, Recipient, compose},
    ledger::{Application, Claim, Ledger, LedgerError, Progress, ReplyState, Try, Verdict},
    metrics::Metrics,
    outcome::{Outcome, Park, Wait},
    reason::Reason,
    request::{self, Request},
    screen::{Policy, Seen, screen},
    send::{SendError, Senders},
};

/// Receives after which an object that is missing or cut is believed to stay so.
const FETCH_RECEIVES_MAX: u32 = 5;
/// How much longer a claim holds than its send may take: composing, and the record afterwards.
const CLAIM_GRACE: Duration = Duration::from_secs(10);
/// Tries to record what came of a send before the claim is left to run out.
const RECORD_TRIES_MAX: u32 = 5;
/// Between them.
const RECORD_PAUSE: Duration = Duration::from_millis(200);

/// Everything that answering needs.
pub(crate) struct Responder {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) catalogue: Arc<CatalogueKeeper>,
    pub(crate) attachments: Attachments,
    pub(crate) ledger: Ledger,
    pub(crate) senders: Senders,
    pub(crate) policy: Policy,
    pub(crate) letterhead: Letterhead,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) mail_bytes_max: usize,
    pub(crate) age_max: Duration,
    pub(crate) receives_max: u32,
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

impl Responder {
    /// Answers a delivery, or finds out why not. `envelope` is the delivery's, if it could be read. `replies` is where
    /// the replies' states are left for the log.
    pub(crate) async fn respond(&self, delivery: &Delivery, envelope: Option<&Envelope>, replies: &mut Vec<ReplyState>) -> Outcome {
        self.answer(delivery, envelope, replies).await.unwrap_or_else(Outcome::from)
    }

    async fn answer(&self, delivery: &Delivery, envelope: Option<&Envelope>, replies: &mut Vec<ReplyState>) -> Result<Outcome, Stop> {
        let envelope = self.open(delivery, envelope)?;
        let facts = &envelope.facts;
        if let Some(ended) = self.recall(facts, replies).await? {
            return Ok(ended);
        }
        let mail = self.fetch(envelope, delivery.receive_count).await?;
        let request = request::read(&mail, self.mail_bytes_max)?;
        drop(mail);
        let catalogue = self.catalogue.current();
        screen(&Seen { facts, request: &request, catalogue: &catalogue, policy: &self.policy, now: self.clock.now() })?;
        // The screen has seen that From is clear.
        let to = request.from.as_ref().map_err(|_| Reason::UnclearFrom)?;
        let case = Case { facts, request: &request, to, catalogue: &catalogue };
        *replies = self.admit(&case).await?.replies;
        for (index, state) in replies.iter_mut().enumerate() {
            if !state.is_terminal() {
                *state = self.reply(&case, index).await?;
            }
        }
        Ok(Outcome::of_replies(replies, false))
    }

    fn open<'a>(&self, delivery: &Delivery, envelope: Option<&'a Envelope>) -> Result<&'a Envelope, Stop> {
        let envelope = envelope.ok_or(Stop::Park(Park::UnreadableEnvelope))?;
        if delivery.receive_count > self.receives_max {
            return Err(Stop::Park(Park::ReceivedTooOften));
        }
        Ok(envelope)
    }

    /// What the ledger knows ends a message early: it was answered or refused before, or its time has run out meanwhile.
    async fn recall(&self, facts: &Facts, replies: &mut Vec<ReplyState>) -> Result<Option<Outcome>, Stop> {
        let Some(mut known) = self.ledger.recall(&facts.request_key).await? else { return Ok(None) };
        if let Verdict::Ignore(reason) = known.verdict {
            return Ok(Some(Outcome::Ignored(reason)));
        }
        let was_settled = known.is_settled();
        let now = self.clock.now();
        if !was_settled && now.since(facts.arrived) > self.age_max {
            known = self.ledger.expire(&facts.request_key, now).await?.unwrap_or(known);
            *replies = known.replies;
            return Ok(Some(Outcome::of_replies(replies, false)));
        }
        *replies = known.replies;
        Ok(was_settled.then(|| Outcome::of_replies(replies, true)))
    }

    /// The mail's bytes, from the envelope or by its claim check.
    async fn fetch(&self, envelope: &Envelope, receive_count: u32) -> Result<Bytes, Stop> {
        let claim = match &envelope.mail {
            Mail::Inline(mail) => return Ok(mail.clone()),
            Mail::Stored(claim) => claim,
        };
        let gone_for_good = |park| if receive_count < FETCH_RECEIVES_MAX { Stop::Retry(Wait::Store) } else { Stop::Park(park) };
        let mail = match self.store.get(&claim.object, None).await {
            Ok(Fetched::Changed(mail, _)) => mail,
            Ok(Fetched::Unchanged) | Err(StoreError::Missing(_)) => return Err(gone_for_good(Park::MailMissing)),
            Err(error @ (StoreError::Unavailable(_) | StoreError::Refused(_))) => {
                tracing::warn!(error = %error, "a mail cannot be fetched");
                return Err(Stop::Retry(Wait::Store));
            }
        };
        match claim.verify(&mail) {
            Ok(()) => Ok(mail),
            Err(ClaimMismatch::Length { .. }) => Err(gone_for_good(Park::MailDiffers)),
            Err(ClaimMismatch::Digest) => Err(Stop::Park(Park::MailDiffers)),
        }
    }

    /// The verdict, and the replies' states from earlier tries.
    async fn admit(&self, case: &Case<'_>) -> Result<Progress, Stop> {
        let application = Application {
            request_key: &case.facts.request_key,
            mail_key: &case.facts.mail_key,
            sender: case.to,
            replies: case.catalogue.responses_for(&case.facts.rcpt_to).len(),
            catalogue: case.catalogue.version(),
        };
        let progress = self.ledger.admit(&application, self.clock.now()).await?;
        match progress.verdict {
            Verdict::Answer => Ok(progress),
            Verdict::Ignore(reason) => Err(Stop::Ignore(reason)),
        }
    }

    /// One reply: prepare, claim, compose, send, record. Its failure is its own and leaves the other replies alone; only
    /// a ledger that does not answer stops them all.
    async fn reply(&self, case: &Case<'_>, index: usize) -> Result<ReplyState, Stop> {
        let key = &case.facts.request_key;
        let responses = case.catalogue.responses_for(&case.facts.rcpt_to);
        let Some(response) = responses.get(index) else {
            // Promised by an older catalogue, and withdrawn since.
            return Ok(self.ledger.record(key, index, Try::Refused).await?);
        };
        let Some(attachments) = self.prepare(response).await else { return Ok(ReplyState::Pending) };
        let Some(sender) = self.senders.get(&response.send_method) else { return Ok(ReplyState::Pending) };
        match self.ledger.claim(key, index, self.clock.now(), sender.timeout() + CLAIM_GRACE).await? {
            Claim::Granted => {}
            Claim::Settled(state) => return Ok(state),
            Claim::Held(_) => return Ok(ReplyState::Claimed),
        }
        let recipient = Recipient { to: case.to, request: case.request, request_key: key };
        let reply = compose(&self.letterhead, &recipient, index, response, &attachments, self.clock.now());
        let start = Instant::now();
        let sent = sender.send(&reply).await;
        self.metrics.tried(key, index, response.send_method.word(), sent.as_ref().err(), start.elapsed());
        let result = match sent {
            Ok(_) => Try::Sent,
            Err(SendError::Refused(_)) => Try::Refused,
            Err(SendError::NotSent(_)) => Try::NotSent,
            Err(SendError::Uncertain(_)) => Try::Ambiguous,
        };
        Ok(self.record(key, index, result).await?)
    }

    /// The attachments' contents; `None` if one cannot be had now, which delays this reply only.
    async fn prepare(&self, response: &Response) -> Option<Vec<Bytes>> {
        let mut contents = Vec::with_capacity(response.attachments.len());
        for attachment in &response.attachments {
            match self.attachments.get(&attachment.object).await {
                Ok(content) => contents.push(content),
                Err(error) => {
                    tracing::error!(object = %attachment.object, error = %error, "an attachment cannot be had; replies with it wait");
                    return None;
                }
            }
        }
        Some(contents)
    }

    /// Records a result, more than once if need be: a "sent" that is lost here may become a second copy.
    async fn record(&self, key: &str, index: usize, result: Try) -> Result<ReplyState, LedgerError> {
        let mut tries = 1;
        loop {
            match self.ledger.record(key, index, result).await {
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
