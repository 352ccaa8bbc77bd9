//! An SQS endpoint of a test's own, fast, and able to misbehave: AWS's JSON protocol over HTTP/1.1 on loopback.
//!
//! Where ministack imitates all of AWS slowly and well-mannered, this carries thousands of mails a second and does what
//! `Fault`s ask of it. The same contract suite checks both. It checks no credentials and stores nothing on disk; all
//! is gone with the value. Beside the usual answers it keeps to SQS's limits, digests and error codes; message
//! attributes have no digest, no message expires, and groups do not change the order.
//!
//! `queue` is one queue; `call` reads a call and writes its answer; here are the endpoint and its calls' faults.

mod call;
mod queue;

use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

pub use self::queue::Depth;
use self::{call::Refusal, queue::Queue};
use crate::{
    faults::{Faults, Transport},
    http::{Answer, Asked, Server, Service, hang},
};

/// The account number in queues' URLs and names.
pub const ACCOUNT: &str = "000000000000";

/// A running endpoint.
pub struct Endpoint {
    account: Arc<Account>,
    server: Server,
}

/// A message that lies in a queue.
#[derive(Clone, Debug)]
pub struct Stored {
    /// As its sender was told it.
    pub id: String,
    /// As it was sent.
    pub body: String,
    /// How often it was received.
    pub receives: u32,
    /// Message attributes that are texts.
    pub attributes: BTreeMap<String, String>,
}

/// The state behind the endpoint: one AWS account.
pub(crate) struct Account {
    address: Mutex<SocketAddr>,
    queues: Mutex<HashMap<String, Queue>>,
    /// Told whenever a message may have become visible, or visible earlier than known.
    arrived: Notify,
    faults: Faults,
    calls: Mutex<BTreeMap<String, u64>>,
    /// Of the next message.
    numbers: AtomicU64,
}

impl Endpoint {
    /// An endpoint on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// An endpoint at this address; port 0 is any free one.
    ///
    /// # Panics
    /// If it cannot listen there.
    pub fn start_at(address: SocketAddr) -> Self {
        let account = Arc::new(Account::new());
        let server = Server::start(address, Arc::clone(&account));
        *lock(&account.address) = server.address();
        Self { account, server }
    }

    /// What the SDK calls the endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Makes a queue, unless it is there, and returns its URL.
    pub fn create_queue(&self, name: &str) -> String {
        self.account.create_queue(name);
        self.queue_url(name)
    }

    /// The URL that a queue of this name has or would have.
    pub fn queue_url(&self, name: &str) -> String {
        format!("{}/{ACCOUNT}/{name}", self.endpoint())
    }

    /// Puts a message into a queue as `SendMessage` does, without the protocol: a million of them in seconds.
    ///
    /// # Panics
    /// If there is no such queue.
    pub fn put(&self, name: &str, body: &str) {
        let content = self.account.content(body);
        lock(&self.account.queues).get_mut(name).unwrap_or_else(|| panic!("no queue {name}")).put(content, Duration::ZERO);
        self.account.arrived.notify_waiters();
    }

    /// Removes all messages of a queue.
    ///
    /// # Panics
    /// If there is no such queue.
    pub fn purge(&self, name: &str) {
        lock(&self.account.queues).get_mut(name).unwrap_or_else(|| panic!("no queue {name}")).clear();
    }

    /// Sets an attribute of a queue as `SetQueueAttributes` does.
    ///
    /// # Panics
    /// If there is no such queue.
    pub fn set_attribute(&self, name: &str, attribute: &str, value: &str) {
        let mut queues = lock(&self.account.queues);
        let queue = queues.get_mut(name).unwrap_or_else(|| panic!("no queue {name}"));
        queue.attributes.insert(attribute.into(), value.into());
    }

    /// Lets messages that were received `receives_max` times go to the queue `dead`.
    ///
    /// # Panics
    /// If there is no such queue.
    pub fn redrive(&self, name: &str, dead: &str, receives_max: u32) {
        let policy = serde_json::json!({"deadLetterTargetArn": call::arn(dead), "maxReceiveCount": receives_max});
        self.set_attribute(name, "RedrivePolicy", &policy.to_string());
    }

    /// Shows every message at once that would stay hidden for longer than `longest`: what was released with a delay. What is
    /// held stays so, if `longest` is the receivers' visibility time-out or more.
    pub fn hurry(&self, name: &str, longest: Duration) {
        let is_any = lock(&self.account.queues).get_mut(name).is_some_and(|queue| queue.hurry(Instant::now(), longest));
        if is_any {
            self.account.arrived.notify_waiters();
        }
    }

    /// How many messages a queue has; none if there is no such queue.
    pub fn depth(&self, name: &str) -> Depth {
        self.account.depth(name)
    }

    /// The bodies of all messages of a queue, seen or not, in the order of their arrival.
    pub fn messages(&self, name: &str) -> Vec<String> {
        self.stored(name).into_iter().map(|stored| stored.body).collect()
    }

    /// All messages of a queue, seen or not, in the order of their arrival.
    pub fn stored(&self, name: &str) -> Vec<Stored> {
        self.account.stored(name)
    }

    /// How often this API action was called, refused calls and lost answers included.
    pub fn calls(&self, action: &str) -> u64 {
        lock(&self.account.calls).get(action).copied().unwrap_or_default()
    }

    /// The knobs. Actions are called as the API calls them: `SendMessageBatch`, `ReceiveMessage`.
    pub fn faults(&self) -> &Faults {
        &self.account.faults
    }
}

impl Account {
    fn new() -> Self {
        Self {
            address: Mutex::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            queues: Mutex::default(),
            arrived: Notify::new(),
            faults: Faults::default(),
            calls: Mutex::default(),
            numbers: AtomicU64::new(1),
        }
    }

    pub(crate) fn create_queue(&self, name: &str) {
        lock(&self.queues).entry(name.to_owned()).or_insert_with(Queue::new);
    }

    pub(crate) fn depth(&self, name: &str) -> Depth {
        let mut queues = lock(&self.queues);
        let Some(queue) = queues.get_mut(name) else { return Depth::default() };
        queue.wake(Instant::now());
        queue.depth()
    }

    pub(crate) fn stored(&self, name: &str) -> Vec<Stored> {
        let queues = lock(&self.queues);
        let contents = queues.get(name).map(Queue::contents).unwrap_or_default();
        let text = |value: &serde_json::Value| value["StringValue"].as_str().unwrap_or_default().to_owned();
        let stored = contents.into_iter().map(|(content, receives)| Stored {
            id: content.id.to_string(),
            body: content.body.to_string(),
            receives,
            attributes: content.attributes.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        });
        stored.collect()
    }
}

impl Service for Account {
    async fn answer(self: Arc<Self>, asked: Asked) -> Option<Answer> {
        let target = asked.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let Some(action) = target.and_then(|target| target.strip_prefix("AmazonSQS.")).map(str::to_owned) else {
            return Some(Refusal::new("InvalidAction", "this endpoint speaks SQS by the AWS JSON protocol only").answer());
        };
        *lock(&self.calls).entry(action.clone()).or_default() += 1;
        let transport = self.faults.transport(&action).await;
        match transport {
            Transport::Refuse(status, code) => return Some(Refusal { status, ..Refusal::new(&code, "a fault of the test's") }.answer()),
            Transport::Cut => return None,
            Transport::Hang => match hang().await {},
            Transport::Act | Transport::ActThenCut | Transport::ActThenHang => {}
        }
        let answer = match self.call(&action, &asked.body).await {
            Ok(body) => Answer { status: 200, headers: vec![("content-type", call::JSON.into())], body },
            Err(refusal) => refusal.answer(),
        };
        match transport {
            Transport::ActThenCut => None,
            Transport::ActThenHang => match hang().await {},
            _ => Some(answer),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
