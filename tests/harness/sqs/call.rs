//! One call of SQS's API: read, done, answered, as the AWS JSON 1.0 protocol has it, with SQS's limits and error codes.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{ACCOUNT, Account, Queue, lock, queue::Content, queue::NotHeld, queue::Received};
use crate::{faults::Fault, http::Answer, ministack::REGION};

pub(super) const JSON: &str = "application/x-amz-json-1.0";
/// Entries of a batch.
const ENTRIES_MAX: usize = 10;
/// Bytes of all messages of a batch together.
const BATCH_BYTES_MAX: usize = 1 << 20;
const WAIT_MAX_S: u64 = 20;
const VISIBILITY_MAX_S: u64 = 43_200;

type Result<T> = std::result::Result<T, Refusal>;

/// An error of the API.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// Its name in the JSON protocol.
    pub(super) shape: String,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(shape: &str, message: &str) -> Self {
        Self { status: 400, shape: shape.into(), message: message.into() }
    }

    fn parameter(message: &str) -> Self {
        Self::new("InvalidParameterValueException", message)
    }

    /// Its name in the older protocol, which SQS still tells.
    fn code(&self) -> String {
        match self.shape.as_str() {
            "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue".into(),
            "InvalidParameterValueException" => "InvalidParameterValue".into(),
            "MessageNotInflight"
            | "BatchRequestTooLong"
            | "EmptyBatchRequest"
            | "TooManyEntriesInBatchRequest"
            | "BatchEntryIdsNotDistinct"
            | "InvalidBatchEntryId" => format!("AWS.SimpleQueueService.{}", self.shape),
            other => other.into(),
        }
    }

    fn is_senders(&self) -> bool {
        self.status < 500
    }

    pub(super) fn answer(&self) -> Answer {
        let body = json!({"__type": format!("com.amazonaws.sqs#{}", self.shape), "message": self.message});
        let side = if self.is_senders() { "Sender" } else { "Receiver" };
        let headers = vec![("content-type", JSON.to_owned()), ("x-amzn-query-error", format!("{};{side}", self.code()))];
        Answer { status: self.status, headers, body: body.to_string().into() }
    }

    fn entry(&self, id: &str) -> Value {
        json!({"Id": id, "SenderFault": self.is_senders(), "Code": self.code(), "Message": self.message})
    }
}

impl From<NotHeld> for Refusal {
    fn from(why: NotHeld) -> Self {
        match why {
            NotHeld::Malformed => Self::new("ReceiptHandleIsInvalid", "The input receipt handle is invalid."),
            NotHeld::Stale => Self::new("ReceiptHandleIsInvalid", "The receipt handle has expired."),
            NotHeld::Gone => {
                Self::parameter("The receipt handle is invalid. Reason: Message does not exist or is not available for visibility timeout change.")
            }
            NotHeld::Visible => Self::new("MessageNotInflight", "The message is not in flight."),
        }
    }
}

/// A message, or a message that is meant; alone or in a batch.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Entry<'a> {
    queue_url: String,
    id: String,
    #[serde(borrow)]
    message_body: Option<Cow<'a, str>>,
    delay_seconds: Option<u64>,
    message_attributes: Map<String, Value>,
    message_group_id: Option<String>,
    receipt_handle: String,
    visibility_timeout: Option<u64>,
}

/// Every other call.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Call<'a> {
    queue_url: String,
    queue_name: String,
    #[serde(borrow)]
    entries: Vec<Entry<'a>>,
    attributes: BTreeMap<String, String>,
    attribute_names: Vec<String>,
    message_system_attribute_names: Vec<String>,
    message_attribute_names: Vec<String>,
    max_number_of_messages: Option<usize>,
    wait_time_seconds: Option<u64>,
    visibility_timeout: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Message<'a> {
    message_id: &'a str,
    receipt_handle: &'a str,
    #[serde(rename = "MD5OfBody")]
    digest: &'a str,
    body: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    message_attributes: BTreeMap<&'a str, &'a Value>,
}

/// The resource name of a queue.
pub(super) fn arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

impl Account {
    /// Does what a call asks for; the answer's body.
    pub(super) async fn call(&self, action: &str, body: &[u8]) -> Result<Bytes> {
        match action {
            "SendMessage" => self.one(&read(body)?, Self::send).map(|sent| sent.to_string().into()),
            "SendMessageBatch" => self.batch(action, &read(body)?, Self::send),
            "DeleteMessage" => self.one(&read(body)?, Self::delete).map(|_| empty()),
            "DeleteMessageBatch" => self.batch(action, &read(body)?, Self::delete),
            "ChangeMessageVisibility" => self.one(&read(body)?, Self::change).map(|_| empty()),
            "ChangeMessageVisibilityBatch" => self.batch(action, &read(body)?, Self::change),
            "ReceiveMessage" => self.receive(&read(body)?).await,
            "GetQueueAttributes" => self.get_attributes(&read(body)?),
            "SetQueueAttributes" => self.set_attributes(&read(body)?),
            "CreateQueue" => self.create(&read(body)?),
            "GetQueueUrl" => self.url(&read(body)?),
            "PurgeQueue" => self.have(&read::<Call>(body)?.queue_url, Queue::clear).map(|()| empty()),
            other => Err(Refusal::new("UnsupportedOperation", &format!("{other} is not imitated here"))),
        }
    }

    fn with<T>(&self, url: &str, act: impl FnOnce(&mut Queue) -> Result<T>) -> Result<T> {
        let name = url.rsplit('/').next().unwrap_or_default();
        let mut queues = lock(&self.queues);
        let queue = queues.get_mut(name).ok_or_else(|| Refusal::new("QueueDoesNotExist", "The specified queue does not exist."))?;
        queue.wake(Instant::now());
        act(queue)
    }

    /// [`Account::with`] for what cannot fail.
    fn have(&self, url: &str, act: impl FnOnce(&mut Queue)) -> Result<()> {
        self.with(url, |queue| {
            act(queue);
            Ok(())
        })
    }

    fn one(&self, entry: &Entry, act: fn(&Self, &str, &Entry) -> Result<Value>) -> Result<Value> {
        act(self, &entry.queue_url, entry)
    }

    fn send(&self, url: &str, entry: &Entry) -> Result<Value> {
        let body = entry.message_body.as_deref().filter(|body| !body.is_empty());
        let body = body.ok_or_else(|| Refusal::new("MissingParameter", "The request must contain the parameter MessageBody."))?;
        if !body.chars().all(is_allowed) {
            return Err(Refusal::new("InvalidMessageContents", "Invalid binary character in the message body."));
        }
        let attributes = Arc::new(entry.message_attributes.clone());
        let content = Content { attributes, group: entry.message_group_id.as_deref().map(Into::into), ..self.content(body) };
        let (id, digest) = (Arc::clone(&content.id), Arc::clone(&content.digest));
        self.with(url, |queue| {
            let max = queue.number("MaximumMessageSize");
            if bytes(entry) as u64 > max {
                let message = format!("One or more parameters are invalid. Reason: Message must be shorter than {max} bytes.");
                return Err(Refusal::parameter(&message));
            }
            let delay = entry.delay_seconds.unwrap_or_else(|| queue.number("DelaySeconds"));
            queue.put(content, Duration::from_secs(delay));
            Ok(())
        })?;
        self.arrived.notify_waiters();
        Ok(json!({"Id": entry.id, "MessageId": *id, "MD5OfMessageBody": *digest}))
    }

    fn delete(&self, url: &str, entry: &Entry) -> Result<Value> {
        let receipt = entry.receipt_handle.as_str();
        if let Some(Fault::Replay { ms }) = self.faults.draw("DeleteMessage", |fault| matches!(fault, Fault::Replay { .. })) {
            self.have(url, |queue| queue.copy(receipt, Duration::from_millis(ms)))?;
            self.arrived.notify_waiters();
        }
        match self.with(url, |queue| queue.delete(receipt).map_err(|why| if why == NotHeld::Gone { gone() } else { why.into() })) {
            Err(refusal) if refusal.shape == GONE => Ok(json!({"Id": entry.id})), // Amazon's own answer to a second delete
            Err(refusal) => match self.faults.draw("DeleteMessage", |fault| *fault == Fault::SilentStaleDelete) {
                Some(_) => Ok(json!({"Id": entry.id})),
                None => Err(refusal),
            },
            Ok(()) => Ok(json!({"Id": entry.id})),
        }
    }

    fn change(&self, url: &str, entry: &Entry) -> Result<Value> {
        let time = entry.visibility_timeout.unwrap_or_default();
        check_visibility(time)?;
        self.with(url, |queue| Ok(queue.change_visibility(&entry.receipt_handle, Instant::now(), Duration::from_secs(time))?))?;
        self.arrived.notify_waiters();
        Ok(json!({"Id": entry.id}))
    }

    fn batch(&self, action: &str, call: &Call, act: fn(&Self, &str, &Entry) -> Result<Value>) -> Result<Bytes> {
        self.with(&call.queue_url, |_| Ok(()))?;
        check_entries(&call.entries)?;
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        let failing = self.faults.draw(action, |fault| matches!(fault, Fault::FailEntries { .. }));
        for (index, entry) in call.entries.iter().enumerate() {
            let fails = matches!(failing, Some(Fault::FailEntries { every }) if (index + 1) % every.max(1) == 0);
            let result = if fails {
                Err(Refusal { status: 500, ..Refusal::new("InternalError", "a fault of the test's") })
            } else {
                act(self, &call.queue_url, entry)
            };
            match result {
                Ok(done) => successful.push(done),
                Err(refusal) => failed.push(refusal.entry(&entry.id)),
            }
        }
        Ok(json!({"Successful": successful, "Failed": failed}).to_string().into())
    }

    async fn receive(&self, call: &Call<'_>) -> Result<Bytes> {
        let max = call.max_number_of_messages.unwrap_or(1);
        let wait_s = call.wait_time_seconds.unwrap_or_default();
        if !(1..=ENTRIES_MAX).contains(&max) || wait_s > WAIT_MAX_S {
            return Err(Refusal::parameter("Reason: must be between 1 and 10 messages and between 0 and 20 seconds."));
        }
        check_visibility(call.visibility_timeout.unwrap_or_default())?;
        let deadline = Instant::now() + Duration::from_secs(wait_s);
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable(); // before looking, so that nothing comes unseen in between
            let (received, due) = self.take(call, max)?;
            if !received.is_empty() || Instant::now() >= deadline {
                return Ok(written(call, &received));
            }
            let until = due.map_or(deadline, |due| due.min(deadline));
            tokio::select! {
                () = arrived => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// Up to `max` messages that are visible now, and when the next will be.
    fn take(&self, call: &Call, max: usize) -> Result<(Vec<Received>, Option<Instant>)> {
        let now = Instant::now();
        let (received, dead, due) = self.with(&call.queue_url, |queue| {
            let visibility = Duration::from_secs(call.visibility_timeout.unwrap_or_else(|| queue.number("VisibilityTimeout")));
            let redrive = queue.redrive();
            let (mut received, mut dead, mut twice) = (Vec::new(), Vec::new(), Vec::new());
            while received.len() < max && queue.has_visible() {
                if let Some((name, receives_max)) = &redrive
                    && let Some(content) = queue.take_dead(*receives_max)
                {
                    dead.push((name.clone(), content));
                    continue;
                }
                let wants = |wanted: Fault| self.faults.draw("ReceiveMessage", |fault| *fault == wanted).is_some();
                let Some(one) = queue.receive(now, now_ms(), visibility, wants(Fault::StaleReceipt)) else { continue };
                if wants(Fault::Duplicate) {
                    twice.push(one.receipt.clone());
                }
                received.push(one);
            }
            twice.iter().for_each(|receipt| queue.copy(receipt, Duration::ZERO));
            if !twice.is_empty() {
                self.arrived.notify_waiters();
            }
            Ok((received, dead, queue.wake(now)))
        })?;
        for (name, content) in dead {
            // Without a dead-letter queue SQS would keep it; a test without one has made a mistake.
            self.have(&name, |queue| queue.put(content, Duration::ZERO))?;
            self.arrived.notify_waiters();
        }
        Ok((received, due))
    }

    fn get_attributes(&self, call: &Call) -> Result<Bytes> {
        let name = call.queue_url.rsplit('/').next().unwrap_or_default();
        let attributes = self.with(&call.queue_url, |queue| {
            let depth = queue.depth();
            let mut attributes = queue.attributes.clone();
            for (name, count) in [
                ("ApproximateNumberOfMessages", depth.visible),
                ("ApproximateNumberOfMessagesNotVisible", depth.in_flight),
                ("ApproximateNumberOfMessagesDelayed", depth.delayed),
            ] {
                attributes.insert(name.into(), count.to_string());
            }
            attributes.insert("QueueArn".into(), arn(name));
            Ok(attributes)
        })?;
        let is_wanted = |name: &String| call.attribute_names.iter().any(|wanted| wanted == "All" || wanted == name);
        let wanted: BTreeMap<_, _> = attributes.into_iter().filter(|(name, _)| is_wanted(name)).collect();
        Ok(json!({"Attributes": wanted}).to_string().into())
    }

    fn set_attributes(&self, call: &Call) -> Result<Bytes> {
        self.have(&call.queue_url, |queue| queue.attributes.extend(call.attributes.clone()))?;
        Ok(empty())
    }

    fn create(&self, call: &Call) -> Result<Bytes> {
        self.create_queue(&call.queue_name);
        self.have(&call.queue_name, |queue| queue.attributes.extend(call.attributes.clone()))?;
        self.url(call)
    }

    fn url(&self, call: &Call) -> Result<Bytes> {
        self.with(&call.queue_name, |_| Ok(()))?;
        let address = *lock(&self.address);
        Ok(json!({"QueueUrl": format!("http://{address}/{ACCOUNT}/{}", call.queue_name)}).to_string().into())
    }

    /// A message of a new id, with nothing but a body.
    pub(super) fn content(&self, body: &str) -> Content {
        Content {
            id: self.new_id().into(),
            body: body.into(),
            digest: hex(&Md5::digest(body.as_bytes())).into(),
            attributes: Arc::default(),
            group: None,
            sent_ms: now_ms(),
        }
    }

    /// An id as SQS's look.
    fn new_id(&self) -> String {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        format!("5fea7756-0ea4-451a-a703-{number:012x}")
    }
}

/// Stands for "it is gone already", which is no error of a delete.
const GONE: &str = "Gone";

fn gone() -> Refusal {
    Refusal::new(GONE, "")
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| Refusal::new("SerializationException", &error.to_string()))
}

fn empty() -> Bytes {
    Bytes::from_static(b"{}")
}

fn check_visibility(seconds: u64) -> Result<()> {
    if seconds > VISIBILITY_MAX_S {
        return Err(Refusal::parameter("VisibilityTimeout is invalid. Reason: must be between 0 and 43200."));
    }
    Ok(())
}

fn check_entries(entries: &[Entry]) -> Result<()> {
    let ids: HashSet<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    let is_id = |id: &str| (1..=80).contains(&id.len()) && id.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
    let refusal = if entries.is_empty() {
        Refusal::new("EmptyBatchRequest", "There should be at least one entry in the request.")
    } else if entries.len() > ENTRIES_MAX {
        Refusal::new("TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10.")
    } else if ids.len() < entries.len() {
        Refusal::new("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")
    } else if !ids.iter().all(|id| is_id(id)) {
        Refusal::new("InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and underscores.")
    } else if entries.iter().map(bytes).sum::<usize>() > BATCH_BYTES_MAX {
        Refusal::new("BatchRequestTooLong", "Batch requests cannot be longer than 1048576 bytes.")
    } else {
        return Ok(());
    };
    Err(refusal)
}

/// What counts against the limits: the body, and names, types and values of attributes.
fn bytes(entry: &Entry) -> usize {
    let text = |value: &Value| value.as_object().map_or(0, |fields| fields.values().filter_map(Value::as_str).map(str::len).sum());
    let attributes: usize = entry.message_attributes.iter().map(|(name, value)| name.len() + text(value)).sum();
    entry.message_body.as_deref().map_or(0, str::len) + attributes
}

fn is_allowed(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn written(call: &Call, received: &[Received]) -> Bytes {
    let wants = |name: &str| call.attribute_names.iter().chain(&call.message_system_attribute_names).any(|wanted| wanted == "All" || wanted == name);
    let wants_attribute = |name: &str| {
        let is_it = |wanted: &String| {
            wanted == "All" || wanted == name || wanted.strip_suffix('*').is_some_and(|start| name.starts_with(start.trim_end_matches('.')))
        };
        call.message_attribute_names.iter().any(is_it)
    };
    let message = |received: &'_ Received| {
        let content = &received.content;
        let system = [
            ("ApproximateReceiveCount", Some(received.receives.to_string())),
            ("SentTimestamp", Some(content.sent_ms.to_string())),
            ("ApproximateFirstReceiveTimestamp", Some(received.first_received_ms.to_string())),
            ("SenderId", Some(ACCOUNT.to_owned())),
            ("MessageGroupId", content.group.as_deref().map(str::to_owned)),
        ];
        let attributes: BTreeMap<_, _> =
            system.into_iter().filter(|(name, _)| wants(name)).filter_map(|(name, value)| Some((name, value?))).collect();
        let message_attributes: BTreeMap<_, _> =
            content.attributes.iter().filter(|(name, _)| wants_attribute(name)).map(|(name, value)| (name.as_str(), value)).collect();
        let message = Message {
            message_id: &content.id,
            receipt_handle: &received.receipt,
            digest: &content.digest,
            body: &content.body,
            attributes,
            message_attributes,
        };
        serde_json::to_string(&message).expect("plain values")
    };
    // As SQS: no field at all if there is nothing.
    let messages: Vec<String> = received.iter().map(message).collect();
    if messages.is_empty() { empty() } else { format!("{{\"Messages\":[{}]}}", messages.join(",")).into() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_millis()).expect("it is before 500,000,000")
}
