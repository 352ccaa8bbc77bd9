//! The dead letters of an SQS queue: a queue of their own, with the reason in an attribute.
//!
//! SQS has no list: to look is to receive, which hides what was seen for a moment. Every message that is moved is sent to
//! where it goes before it is deleted where it was: a crash between the two makes a second one, with the same request
//! key, and loses none.

use std::{collections::HashSet, time::Duration};

use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;

use super::{REPLAYED, SqsQueue, failed, seconds, wire};
use crate::{
    clock::UnixMillis,
    envelope::Envelope,
    queue::{BATCH_MAX, Delivery, Parked, QueueError, Result, Unpark},
};

/// Attribute of a parked message: why.
const REASON: &str = "replyfleet-reason";
/// Attribute of a parked message: how often it was received before.
const RECEIVES: &str = "replyfleet-receives";
/// What SQS's own redrive moved has no reason of ours.
const REDRIVEN: &str = "received_too_often";
/// Tries to delete a message whose dead letter is sent.
const PARK_DELETES_MAX: u32 = 3;
/// Between them.
const PARK_DELETE_PAUSE: Duration = Duration::from_millis(200);
/// For how long a look at the dead letters waits: a short poll asks only some of SQS's servers.
const LOOK_WAITS_S: i32 = 1;
/// For how long a look at the dead letters hides them from the next look.
const LOOK_HIDES_S: i32 = 2;
/// For how long taking some of them waits before it says that there are none: until those are seen again that a look just
/// before hid.
const TAKE_WAITS_S: i32 = LOOK_HIDES_S + 1;
/// For how long taking some of them hides all: longer than it takes to deal with a few hundred.
const TAKE_HIDES_S: i32 = 120;

/// Whether a dead letter is meant.
type Choice<'a> = dyn Fn(&Parked) -> bool + Sync + 'a;

impl SqsQueue {
    /// Makes sure that the message is still ours, sends the dead letter, and deletes after: a crash between the two makes
    /// a second dead letter, never none.
    pub(super) async fn park(&self, delivery: &Delivery, reason: &'static str) -> Result<()> {
        let held = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(&delivery.receipt.0);
        held.visibility_timeout(seconds(self.visibility)).send().await.map_err(failed("sqs:ChangeMessageVisibility", &self.url))?;
        self.client
            .send_message()
            .queue_url(&self.dead_letter_url)
            .message_body(BASE64_STANDARD.encode(&delivery.wire))
            .message_attributes(REASON, text_attribute(reason)?)
            .message_attributes(RECEIVES, text_attribute(&delivery.receive_count.to_string())?)
            .send()
            .await
            .map_err(failed("sqs:SendMessage", &self.dead_letter_url))?;
        for _ in 0..PARK_DELETES_MAX {
            match self.delete(&[&delivery.receipt]).await.pop() {
                Some(Err(QueueError::StaleReceipt)) | Some(Ok(())) | None => return Ok(()),
                Some(Err(error)) => tracing::error!(error = %error, "a parked message cannot be deleted"),
            }
            tokio::time::sleep(PARK_DELETE_PAUSE).await;
        }
        // It comes again and is parked again: a second dead letter. Failing here would send one for each try.
        Ok(())
    }

    /// Up to `max` dead letters, in no order.
    pub(super) async fn list_parked(&self, max: usize) -> Result<Vec<Parked>> {
        let mut found: Vec<Parked> = Vec::new();
        while found.len() < max {
            let messages = self.look(max - found.len(), LOOK_HIDES_S, LOOK_WAITS_S).await?;
            let seen_again = messages.iter().any(|message| found.iter().any(|parked| Some(parked.id.as_str()) == message.message_id()));
            if messages.is_empty() || seen_again {
                break;
            }
            found.extend(messages.iter().map(parked));
        }
        Ok(found)
    }

    /// See [`crate::queue::Queue::unpark`]. What was looked at and not taken is visible again when it returns.
    pub(super) async fn take_parked(&self, is_chosen: &Choice<'_>, what: Unpark, max: usize) -> Result<Vec<Bytes>> {
        let (mut taken, mut others) = (Vec::new(), Vec::new());
        let result = self.take_into(&mut taken, &mut others, is_chosen, what, max).await;
        for receipt in others {
            // What cannot be shown again at once is so when its time has run out.
            let shown = self.client.change_message_visibility().queue_url(&self.dead_letter_url).receipt_handle(receipt).visibility_timeout(0);
            let _ = shown.send().await;
        }
        match result {
            Err(error) if taken.is_empty() => Err(error),
            Err(error) => {
                tracing::warn!(error = %error, taken = taken.len(), "not all dead letters could be taken");
                Ok(taken)
            }
            Ok(()) => Ok(taken),
        }
    }

    async fn take_into(&self, taken: &mut Vec<Bytes>, others: &mut Vec<String>, is_chosen: &Choice<'_>, what: Unpark, max: usize) -> Result<()> {
        let mut seen = HashSet::new();
        while taken.len() < max {
            let messages = self.look(BATCH_MAX, TAKE_HIDES_S, TAKE_WAITS_S).await?;
            let (mut is_any_new, mut result) = (false, Ok(()));
            for message in &messages {
                let is_new = seen.insert(message.message_id().unwrap_or_default().to_owned());
                is_any_new |= is_new;
                if result.is_ok() && taken.len() < max && is_new && is_chosen(&parked(message)) {
                    result = self.take(message, what).await.map(|wire| taken.push(wire));
                    if result.is_ok() {
                        continue;
                    }
                }
                others.extend(message.receipt_handle().map(str::to_owned));
            }
            result?;
            if !is_any_new {
                break;
            }
        }
        Ok(())
    }

    async fn take(&self, message: &Message, what: Unpark) -> Result<Bytes> {
        let wire = wire(message);
        if what == Unpark::Replay {
            let group = Envelope::decode(&wire).ok().map(|envelope| envelope.facts.group).filter(|group| !group.is_empty());
            let body = message.body().unwrap_or_default();
            let send = self.client.send_message().queue_url(&self.url).message_body(body).set_message_group_id(group);
            let send = send.message_attributes(REPLAYED, text_attribute("1")?);
            send.send().await.map_err(failed("sqs:SendMessage", &self.url))?;
        }
        let delete = self.client.delete_message().queue_url(&self.dead_letter_url).set_receipt_handle(message.receipt_handle.clone());
        delete.send().await.map_err(failed("sqs:DeleteMessage", &self.dead_letter_url))?;
        Ok(wire)
    }

    /// Receives up to ten dead letters.
    async fn look(&self, max: usize, hides_s: i32, waits_s: i32) -> Result<Vec<Message>> {
        let output = self
            .client
            .receive_message()
            .queue_url(&self.dead_letter_url)
            .max_number_of_messages(i32::try_from(max.min(BATCH_MAX)).unwrap_or(1))
            .wait_time_seconds(waits_s)
            .visibility_timeout(hides_s)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_attribute_names(REASON)
            .message_attribute_names(RECEIVES)
            .send()
            .await
            .map_err(failed("sqs:ReceiveMessage", &self.dead_letter_url))?;
        Ok(output.messages.unwrap_or_default())
    }
}

fn parked(message: &Message) -> Parked {
    let attribute = |name: &str| message.message_attributes().and_then(|all| all.get(name)).and_then(|value| value.string_value());
    let sent = message.attributes().and_then(|all| all.get(&MessageSystemAttributeName::SentTimestamp));
    Parked {
        id: message.message_id().unwrap_or_default().to_owned(),
        reason: attribute(REASON).unwrap_or(REDRIVEN).to_owned(),
        parked: sent.and_then(|millis| millis.parse().ok()).map(UnixMillis),
        bytes: message.body().unwrap_or_default().len() as u64,
        receive_count: attribute(RECEIVES).and_then(|count| count.parse().ok()).unwrap_or_default(),
    }
}

fn text_attribute(value: &str) -> Result<MessageAttributeValue> {
    let attribute = MessageAttributeValue::builder().data_type("String").string_value(value).build();
    attribute.map_err(|error| QueueError::Refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqs_itself_moved_has_a_reason_too() {
        let message = Message::builder().message_id("1").body("eA==").build();
        let listed = parked(&message);
        assert_eq!((listed.reason.as_str(), listed.bytes, listed.parked), (REDRIVEN, 4, None));
    }
}
