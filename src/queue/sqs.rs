//! Amazon SQS as the queue: a standard queue and, beside it, one for the dead letters.
//!
//! A body is the base64 of the envelope's wire form: SQS takes only XML's characters, mail is bytes. Everything that
//! speaks of the requester is in the body; the attributes hold only counts, words from closed vocabularies, and as
//! `MessageGroupId` the envelope's group, a keyed hash by which SQS is fair to all senders ("fair queues").
//! `ReceiveMessage` is bounded by a time-out a little over its long poll, because the SDK would wait for ever on a
//! connection that went silent. Every entry of a batch answer's `Failed` list becomes that message's error.

mod dead_letters;

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use aws_sdk_sqs::{
    Client,
    config::{retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
        QueueAttributeName, SendMessageBatchRequestEntry,
    },
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;

use super::{BATCH_MAX, Chosen, Delivery, Depth, Limits, Parked, PutPace, Queue, QueueError, RELEASE_DELAY_MAX, Receipt, Result, Settlement, Unpark};
use crate::{
    aws::{Aws, Fault, HttpStatus, fault},
    clock::UnixMillis,
    envelope::Envelope,
};

/// The longest long poll (SQS's limit).
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How much longer than its long poll a receive may take.
const RECEIVE_GRACE: Duration = Duration::from_secs(5);
/// Batches that are on their way at a time. SQS answers each in some ten milliseconds, and takes as many as one likes.
const PUTS_SIDE_BY_SIDE: usize = 8;

/// Attribute of a message that an operator brought back from the dead letters.
const REPLAYED: &str = "replyfleet-replayed";

type Attributes = HashMap<QueueAttributeName, String>;

/// An SQS queue with its dead-letter queue.
pub struct SqsQueue {
    client: Client,
    url: String,
    dead_letter_url: String,
    visibility: Duration,
    message_bytes_max: usize,
}

impl SqsQueue {
    /// The queue at `url`. Nothing is asked of it yet.
    pub fn new(aws: &Aws, url: &str, dead_letter_url: &str, visibility: Duration, message_bytes_max: usize) -> Self {
        Self { client: Client::new(aws.config()), url: url.to_owned(), dead_letter_url: dead_letter_url.to_owned(), visibility, message_bytes_max }
    }

    async fn attributes(&self, url: &str, names: &[QueueAttributeName]) -> Result<Attributes> {
        let call = self.client.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
        Ok(call.send().await.map_err(failed("sqs:GetQueueAttributes", url))?.attributes.unwrap_or_default())
    }

    /// A message as SQS gets it.
    fn outgoing(&self, index: usize, envelope: &Envelope) -> Result<Outgoing> {
        let body = BASE64_STANDARD.encode(envelope.encode());
        if body.len() > self.message_bytes_max {
            return Err(QueueError::TooBig { bytes: body.len(), max: self.message_bytes_max });
        }
        // On a standard queue a group makes it a fair queue: SQS delays who floods it, and not the others.
        let group = Some(envelope.facts.group.clone()).filter(|group| !group.is_empty());
        Ok(Outgoing { index, body, group })
    }

    async fn send(&self, message: Outgoing) -> Result<()> {
        let call = self.client.send_message().queue_url(&self.url).message_body(message.body).set_message_group_id(message.group);
        call.send().await.map(drop).map_err(failed("sqs:SendMessage", &self.url))
    }

    /// Sends a batch in one call, and sets what came of each of its messages.
    async fn send_batch(&self, mut batch: Batch, results: &mut [Result<()>]) {
        if let [_] = batch.messages[..] {
            for message in batch.messages.drain(..) {
                let index = message.index;
                results[index] = self.send(message).await;
            }
        }
        let indices: Vec<usize> = batch.messages.iter().map(|message| message.index).collect();
        if indices.is_empty() {
            return;
        }
        let entry = |message: Outgoing| {
            let entry = SendMessageBatchRequestEntry::builder().id(message.index.to_string()).message_body(message.body);
            entry.set_message_group_id(message.group).build()
        };
        let answer = match batch.messages.into_iter().map(entry).collect::<std::result::Result<Vec<_>, _>>() {
            Ok(entries) => {
                let call = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
                call.send().await.map_err(failed("sqs:SendMessage", &self.url))
            }
            Err(error) => Err(QueueError::Refused(error.to_string())),
        };
        match answer {
            Ok(output) => {
                let taken: Vec<&str> = output.successful().iter().map(|entry| entry.id()).collect();
                for (index, result) in indices.iter().zip(per_put(&indices, &taken, output.failed())) {
                    results[*index] = result;
                }
            }
            Err(error) => {
                for (index, result) in indices.iter().zip(per_entry(indices.len(), Err(error))) {
                    results[*index] = result;
                }
            }
        }
    }

    async fn change_visibility(&self, changes: &[(&Receipt, Duration)]) -> Vec<Result<()>> {
        let entry = |(index, (receipt, timeout)): (usize, &(&Receipt, Duration))| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(&receipt.0)
                .visibility_timeout(seconds(*timeout))
                .build()
        };
        let mut results = Vec::with_capacity(changes.len());
        for batch in changes.chunks(BATCH_MAX) {
            let entries = batch.iter().enumerate().map(entry).collect::<std::result::Result<_, _>>();
            let answer = match entries {
                Ok(entries) => {
                    let call = self.client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries));
                    call.send().await.map(|output| output.failed).map_err(failed("sqs:ChangeMessageVisibility", &self.url))
                }
                Err(error) => Err(QueueError::Refused(error.to_string())),
            };
            results.extend(per_entry(batch.len(), answer));
        }
        results
    }

    async fn delete(&self, receipts: &[&Receipt]) -> Vec<Result<()>> {
        let entry =
            |(index, receipt): (usize, &&Receipt)| DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(&receipt.0).build();
        let mut results = Vec::with_capacity(receipts.len());
        for batch in receipts.chunks(BATCH_MAX) {
            let entries = batch.iter().enumerate().map(entry).collect::<std::result::Result<_, _>>();
            let answer = match entries {
                Ok(entries) => {
                    let call = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
                    call.send().await.map(|output| output.failed).map_err(failed("sqs:DeleteMessage", &self.url))
                }
                Err(error) => Err(QueueError::Refused(error.to_string())),
            };
            results.extend(per_entry(batch.len(), answer));
        }
        results
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn put(&self, envelope: &Envelope) -> Result<()> {
        self.send(self.outgoing(0, envelope)?).await
    }

    async fn put_all(&self, envelopes: &[Envelope]) -> Vec<Result<()>> {
        // Each counts as failed until SQS says of it that it was taken.
        let mut results: Vec<Result<()>> = envelopes.iter().map(|_| Err(not_named())).collect();
        let mut batch = Batch::default();
        for (index, envelope) in envelopes.iter().enumerate() {
            let message = match self.outgoing(index, envelope) {
                Ok(message) => message,
                Err(error) => {
                    results[index] = Err(error);
                    continue;
                }
            };
            if batch.messages.len() == BATCH_MAX || batch.bytes + message.body.len() > self.message_bytes_max {
                self.send_batch(std::mem::take(&mut batch), &mut results).await;
            }
            batch.bytes += message.body.len();
            batch.messages.push(message);
        }
        self.send_batch(batch, &mut results).await;
        results
    }

    fn put_pace(&self) -> PutPace {
        PutPace { messages_max: BATCH_MAX, calls_max: PUTS_SIDE_BY_SIDE }
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let wait = wait.min(WAIT_MAX);
        let limits = TimeoutConfig::builder().operation_attempt_timeout(wait + RECEIVE_GRACE).build();
        let output = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(max.clamp(1, BATCH_MAX)).unwrap_or(1))
            .wait_time_seconds(seconds(wait))
            .visibility_timeout(seconds(self.visibility))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_attribute_names(REPLAYED)
            .customize()
            .config_override(aws_sdk_sqs::config::Config::builder().timeout_config(limits).retry_config(RetryConfig::disabled()))
            .send()
            .await
            .map_err(failed("sqs:ReceiveMessage", &self.url))?;
        Ok(output.messages.unwrap_or_default().iter().map(delivery).collect())
    }

    async fn extend(&self, receipts: &[Receipt]) -> Vec<Result<()>> {
        let changes: Vec<_> = receipts.iter().map(|receipt| (receipt, self.visibility)).collect();
        self.change_visibility(&changes).await
    }

    async fn settle(&self, settlements: &[(Delivery, Settlement)]) -> Vec<Result<()>> {
        let (mut deletes, mut releases) = (Vec::new(), Vec::new());
        let mut results: Vec<Result<()>> = Vec::with_capacity(settlements.len());
        for (index, (delivery, settlement)) in settlements.iter().enumerate() {
            let result = match settlement {
                Settlement::Delete => {
                    deletes.push((index, &delivery.receipt));
                    Ok(())
                }
                Settlement::Release(delay) => {
                    releases.push((index, (&delivery.receipt, (*delay).min(RELEASE_DELAY_MAX))));
                    Ok(())
                }
                Settlement::Park(reason) => self.park(delivery, reason).await,
            };
            results.push(result);
        }
        let (delete_indices, receipts): (Vec<_>, Vec<_>) = deletes.into_iter().unzip();
        let (release_indices, changes): (Vec<_>, Vec<_>) = releases.into_iter().unzip();
        let deleted = self.delete(&receipts).await;
        let released = self.change_visibility(&changes).await;
        let batched = delete_indices.into_iter().zip(deleted).chain(release_indices.into_iter().zip(released));
        for (index, result) in batched {
            results[index] = result;
        }
        results
    }

    async fn depth(&self) -> Result<Depth> {
        use QueueAttributeName::{
            ApproximateNumberOfMessages as Visible, ApproximateNumberOfMessagesDelayed as Delayed, ApproximateNumberOfMessagesNotVisible as Held,
        };
        let attributes = self.attributes(&self.url, &[Visible, Delayed, Held]).await?;
        let count = |name| attributes.get(&name).and_then(|value| value.parse().ok()).unwrap_or_default();
        // SQS tells the age of the oldest message only through CloudWatch (ApproximateAgeOfOldestMessage).
        Ok(Depth { visible: count(Visible), delayed: count(Delayed), in_flight: count(Held), ..Depth::default() })
    }

    async fn parked(&self, max: usize) -> Result<Vec<Parked>> {
        self.list_parked(max).await
    }

    async fn unpark(&self, chosen: &Chosen, what: Unpark, until: UnixMillis, max: usize) -> Result<Vec<Bytes>> {
        self.take_parked(&|parked| chosen.includes(parked, until), what, max).await
    }

    async fn limits(&self) -> Result<Limits> {
        use QueueAttributeName::{MaximumMessageSize, MessageRetentionPeriod, RedrivePolicy};
        let queue = self.attributes(&self.url, &[MaximumMessageSize, MessageRetentionPeriod, RedrivePolicy]).await?;
        let dead_letters = self.attributes(&self.dead_letter_url, &[MessageRetentionPeriod]).await?;
        let retention = |of: &Attributes| of.get(&MessageRetentionPeriod)?.parse().ok().map(Duration::from_secs);
        Ok(Limits {
            retention: retention(&queue),
            parked_retention: retention(&dead_letters),
            receives_max: queue.get(&RedrivePolicy).and_then(|policy| receives_max(policy)),
            message_bytes_max: queue.get(&MaximumMessageSize).and_then(|bytes| bytes.parse().ok()),
        })
    }

    fn visibility(&self) -> Duration {
        self.visibility
    }
}

fn delivery(message: &Message) -> Delivery {
    let receive_count = message
        .attributes()
        .and_then(|attributes| attributes.get(&MessageSystemAttributeName::ApproximateReceiveCount))
        .and_then(|count| count.parse().ok())
        .unwrap_or(1);
    let is_replayed = message.message_attributes().is_some_and(|attributes| attributes.contains_key(REPLAYED));
    Delivery { wire: wire(message), receipt: Receipt(message.receipt_handle().unwrap_or_default().to_owned()), receive_count, is_replayed }
}

/// What travels in a message. What is not base64 is not ours: it travels on as it is, cannot be decoded, and is parked whole.
fn wire(message: &Message) -> Bytes {
    let body = message.body().unwrap_or_default();
    Bytes::from(BASE64_STANDARD.decode(body).unwrap_or_else(|_| body.as_bytes().to_vec()))
}

/// How often a queue lets a message be received before it moves it to the dead letters itself.
fn receives_max(redrive_policy: &str) -> Option<u32> {
    let policy: serde_json::Value = serde_json::from_str(redrive_policy).ok()?;
    let receives = &policy["maxReceiveCount"];
    // Both forms are about: CloudFormation writes a number, other tools a text.
    receives.as_u64().or_else(|| receives.as_str()?.parse().ok()).and_then(|receives| u32::try_from(receives).ok())
}

/// A message on its way to SQS.
struct Outgoing {
    /// Its place among those that are put together.
    index: usize,
    body: String,
    group: Option<String>,
}

/// What goes in one call: at most [`BATCH_MAX`] messages, and of all together no more bytes than of one alone.
#[derive(Default)]
struct Batch {
    messages: Vec<Outgoing>,
    bytes: usize,
}

/// What came of each message of a batch. Only one that the answer names as taken was taken.
fn per_put(indices: &[usize], taken: &[&str], failed: &[BatchResultErrorEntry]) -> Vec<Result<()>> {
    let of = |index: &usize| {
        let id = index.to_string();
        match failed.iter().find(|entry| entry.id() == id) {
            Some(entry) => Err(entry_error(entry)),
            None if taken.contains(&id.as_str()) => Ok(()),
            None => Err(not_named()),
        }
    };
    indices.iter().map(of).collect()
}

fn not_named() -> QueueError {
    QueueError::Unavailable("the answer to a batch does not name this message".into())
}

/// One result per entry of a batch call: an answer may fail some entries and do the others.
fn per_entry(count: usize, answer: Result<Vec<BatchResultErrorEntry>>) -> Vec<Result<()>> {
    match answer {
        Ok(failed) => (0..count)
            .map(|index| match failed.iter().find(|entry| entry.id() == index.to_string()) {
                None => Ok(()),
                Some(entry) => Err(entry_error(entry)),
            })
            .collect(),
        Err(error) => {
            let text = error.to_string();
            let again =
                || if matches!(error, QueueError::Refused(_)) { QueueError::Refused(text.clone()) } else { QueueError::Unavailable(text.clone()) };
            (0..count).map(|_| Err(again())).collect()
        }
    }
}

fn entry_error(entry: &BatchResultErrorEntry) -> QueueError {
    if is_stale(entry.code(), entry.message()) {
        return QueueError::StaleReceipt;
    }
    QueueError::Unavailable(format!("{} ({})", entry.code(), entry.message().unwrap_or("no message")))
}

/// SQS has several ways to say that a message is no longer ours.
fn is_stale(code: &str, message: Option<&str>) -> bool {
    let about_receipt = || message.is_some_and(|text| text.contains("eceipt") || text.contains("not available for visibility"));
    match code {
        "ReceiptHandleIsInvalid" | "MessageNotInflight" | "AWS.SimpleQueueService.MessageNotInflight" => true,
        "InvalidParameterValue" => about_receipt(),
        _ => false,
    }
}

/// What a failed call means; `action` is what was asked of the queue at `url`, by its name in IAM.
fn failed<'a, E, R>(action: &'a str, url: &'a str) -> impl Fn(SdkError<E, R>) -> QueueError + 'a
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + HttpStatus + 'static,
{
    move |error| queue_error(&error, action, url)
}

fn queue_error<E, R>(error: &SdkError<E, R>, action: &str, url: &str) -> QueueError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + HttpStatus + 'static,
{
    if let SdkError::ServiceError(service) = error
        && is_stale(service.err().code().unwrap_or_default(), service.err().message())
    {
        return QueueError::StaleReceipt;
    }
    match fault(error) {
        (Fault::Refused, text) if text.starts_with("AccessDenied") => QueueError::Refused(format!("{text}; it takes {action} on {url}")),
        (Fault::Refused, text) => QueueError::Refused(text),
        // A repeated put makes a second message with the same request key, which the ledger absorbs.
        (Fault::NotDone | Fault::Ambiguous, text) => QueueError::Unavailable(text),
    }
}

fn seconds(duration: Duration) -> i32 {
    // Upwards: a release "in 300 ms" must not become "at once".
    i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failed_entry_is_its_own_messages_error() {
        let entry = |id: &str, code: &str| BatchResultErrorEntry::builder().id(id).sender_fault(true).code(code).build().expect("complete");
        let results = per_entry(3, Ok(vec![entry("1", "InternalError"), entry("2", "ReceiptHandleIsInvalid")]));
        assert!(results[0].is_ok());
        assert!(matches!(results[1], Err(QueueError::Unavailable(_))));
        assert!(matches!(results[2], Err(QueueError::StaleReceipt)));
    }

    #[test]
    fn of_a_batch_only_what_the_answer_names_as_taken_was_put() {
        let failed = BatchResultErrorEntry::builder().id("4").sender_fault(false).code("InternalError").build().expect("complete");
        let results = per_put(&[3, 4, 5], &["3"], &[failed]);
        assert!(results[0].is_ok());
        assert!(matches!(&results[1], Err(QueueError::Unavailable(text)) if text.starts_with("InternalError")));
        assert!(matches!(&results[2], Err(QueueError::Unavailable(text)) if text.contains("does not name")));
    }

    #[test]
    fn a_refused_batch_refuses_every_entry() {
        let results = per_entry(2, Err(QueueError::Refused("AccessDenied".into())));
        assert!(results.iter().all(|result| matches!(result, Err(QueueError::Refused(text)) if text == "the queue refuses: AccessDenied")));
    }

    #[test]
    fn how_often_a_message_may_be_received_is_read_in_both_forms() {
        for (policy, want) in [
            (r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:1:dead","maxReceiveCount":"1000"}"#, Some(1_000)),
            (r#"{"maxReceiveCount":7}"#, Some(7)),
            (r#"{"maxReceiveCount":"many"}"#, None),
            ("", None),
        ] {
            assert_eq!(receives_max(policy), want, "{policy}");
        }
    }

    #[test]
    fn a_short_delay_is_rounded_up_to_a_second() {
        for (millis, want) in [(0, 0), (1, 1), (300, 1), (1000, 1), (1001, 2)] {
            assert_eq!(seconds(Duration::from_millis(millis)), want);
        }
    }
}
