//! One queue of the SQS endpoint: its messages, who sees them when, and which receipt holds which.
//!
//! It knows no protocol and never waits: whoever wants a message later is told when to look again. Nothing is on disk.
//! Messages do not expire (`MessageRetentionPeriod` is only kept), and fair queues' order is not imitated.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

/// A message as its sender gave it.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) id: Arc<str>,
    pub(super) body: Arc<str>,
    pub(super) digest: Arc<str>,
    /// As the protocol has them; empty if there are none.
    pub(super) attributes: Arc<Map<String, Value>>,
    pub(super) group: Option<Arc<str>>,
    pub(super) sent_ms: u64,
}

/// A message that was received.
pub(super) struct Received {
    pub(super) content: Content,
    pub(super) receipt: String,
    pub(super) receives: u32,
    pub(super) first_received_ms: u64,
}

struct Stored {
    content: Content,
    receives: u32,
    first_received_ms: u64,
    /// `None`: visible.
    hidden_until: Option<Instant>,
    /// Hidden since it was sent, not since it was received.
    is_delayed: bool,
    /// Of the last receive.
    receipt: Option<u64>,
}

/// Why a receipt is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotHeld {
    /// It was never one of ours.
    Malformed,
    /// The message was deleted.
    Gone,
    /// Another receive has taken its place.
    Stale,
    /// The time-out is over, and nobody has received it since.
    Visible,
}

/// How many messages there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Depth {
    /// Can be received now.
    pub visible: usize,
    /// Received, and hidden for now.
    pub in_flight: usize,
    /// Sent with a delay that is not over.
    pub delayed: usize,
}

/// A queue.
pub(super) struct Queue {
    /// The attributes that were set, and the defaults.
    pub(super) attributes: BTreeMap<String, String>,
    messages: HashMap<u64, Stored>,
    ready: VecDeque<u64>,
    hidden: BTreeSet<(Instant, u64)>,
    next: u64,
}

impl Queue {
    pub(super) fn new() -> Self {
        let defaults = [("VisibilityTimeout", "30"), ("MaximumMessageSize", "1048576"), ("MessageRetentionPeriod", "345600"), ("DelaySeconds", "0")];
        Self {
            attributes: defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            messages: HashMap::new(),
            ready: VecDeque::new(),
            hidden: BTreeSet::new(),
            next: 1,
        }
    }

    /// An attribute that is a number.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.attributes.get(name).and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// The name of the dead-letter queue, and after how many receives a message goes there.
    pub(super) fn redrive(&self) -> Option<(String, u32)> {
        let policy: Value = serde_json::from_str(self.attributes.get("RedrivePolicy")?).ok()?;
        let name = policy["deadLetterTargetArn"].as_str()?.rsplit(':').next()?.to_owned();
        // The console writes a number, others a text.
        let count = policy["maxReceiveCount"].as_u64().or_else(|| policy["maxReceiveCount"].as_str()?.parse().ok())?;
        Some((name, u32::try_from(count).unwrap_or(u32::MAX)))
    }

    pub(super) fn put(&mut self, content: Content, delay: Duration) {
        let hidden_until = (!delay.is_zero()).then(|| Instant::now() + delay);
        self.insert(Stored { content, receives: 0, first_received_ms: 0, hidden_until, is_delayed: hidden_until.is_some(), receipt: None });
    }

    fn insert(&mut self, stored: Stored) {
        let key = self.next;
        self.next += 1;
        match stored.hidden_until {
            None => self.ready.push_back(key),
            Some(until) => drop(self.hidden.insert((until, key))),
        }
        self.messages.insert(key, stored);
    }

    /// Makes visible what is due, and returns when the next is.
    pub(super) fn wake(&mut self, now: Instant) -> Option<Instant> {
        while let Some(&(until, key)) = self.hidden.first() {
            if until > now {
                return Some(until);
            }
            self.hidden.pop_first();
            if let Some(stored) = self.messages.get_mut(&key) {
                (stored.hidden_until, stored.is_delayed) = (None, false);
                self.ready.push_back(key);
            }
        }
        None
    }

    pub(super) fn has_visible(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next visible message if it was received so often that it is to go to the dead letters; it is taken out.
    pub(super) fn take_dead(&mut self, receives_max: u32) -> Option<Content> {
        let &key = self.ready.front()?;
        if self.messages.get(&key).is_some_and(|stored| stored.receives < receives_max) {
            return None;
        }
        self.ready.pop_front();
        self.messages.remove(&key).map(|stored| stored.content)
    }

    /// Gives the next visible message to a receiver. `has_stale_receipt`: with a receipt that holds nothing.
    pub(super) fn receive(&mut self, now: Instant, now_ms: u64, visibility: Duration, has_stale_receipt: bool) -> Option<Received> {
        let key = self.ready.pop_front()?;
        let serial = self.next;
        self.next += 1;
        let stored = self.messages.get_mut(&key)?;
        stored.receives += 1;
        if stored.receives == 1 {
            stored.first_received_ms = now_ms;
        }
        stored.receipt = Some(if has_stale_receipt { 0 } else { serial });
        let (content, receives, first_received_ms) = (stored.content.clone(), stored.receives, stored.first_received_ms);
        self.hide(key, now, visibility);
        Some(Received { content, receipt: format!("receipt-{key}-{serial}"), receives, first_received_ms })
    }

    fn hide(&mut self, key: u64, now: Instant, time: Duration) {
        let Some(stored) = self.messages.get_mut(&key) else { return };
        if let Some(until) = stored.hidden_until.take() {
            self.hidden.remove(&(until, key));
        }
        if time.is_zero() {
            self.ready.push_back(key);
        } else {
            stored.hidden_until = Some(now + time);
            self.hidden.insert((now + time, key));
        }
    }

    fn held(&self, receipt: &str) -> Result<u64, NotHeld> {
        let parts = receipt.strip_prefix("receipt-").and_then(|rest| rest.split_once('-'));
        let (key, serial) = parts.and_then(|(key, serial)| Some((key.parse().ok()?, serial.parse().ok()?))).ok_or(NotHeld::Malformed)?;
        let stored: &Stored = self.messages.get(&key).ok_or(NotHeld::Gone)?;
        if stored.receipt == Some(serial) { Ok(key) } else { Err(NotHeld::Stale) }
    }

    /// Hides a held message for `time` from now, or shows it.
    pub(super) fn change_visibility(&mut self, receipt: &str, now: Instant, time: Duration) -> Result<(), NotHeld> {
        let key = self.held(receipt)?;
        if self.messages.get(&key).is_some_and(|stored| stored.hidden_until.is_none()) {
            return Err(NotHeld::Visible);
        }
        self.hide(key, now, time);
        Ok(())
    }

    /// Deletes the message that `receipt` is of, even if it is visible again: nobody has received it since.
    pub(super) fn delete(&mut self, receipt: &str) -> Result<(), NotHeld> {
        let key = self.held(receipt)?;
        if let Some(stored) = self.messages.remove(&key) {
            match stored.hidden_until {
                Some(until) => drop(self.hidden.remove(&(until, key))),
                None => self.ready.retain(|&other| other != key),
            }
        }
        Ok(())
    }

    /// Makes a second message of the one that `receipt` is of, which comes after `delay`; both can be received and deleted.
    pub(super) fn copy(&mut self, receipt: &str, delay: Duration) {
        if let Ok(key) = self.held(receipt)
            && let Some(stored) = self.messages.get(&key)
        {
            let hidden_until = (!delay.is_zero()).then(|| Instant::now() + delay);
            let copy = Stored { content: stored.content.clone(), hidden_until, is_delayed: false, receipt: None, ..*stored };
            self.insert(copy);
        }
    }

    pub(super) fn depth(&self) -> Depth {
        let is_delayed = |key| self.messages.get(key).is_some_and(|stored: &Stored| stored.is_delayed);
        let delayed = self.hidden.iter().filter(|(_, key)| is_delayed(key)).count();
        Depth { visible: self.ready.len(), in_flight: self.hidden.len() - delayed, delayed }
    }

    /// Shows at once what would stay hidden for longer than `longest`; returns whether there was any.
    pub(super) fn hurry(&mut self, now: Instant, longest: Duration) -> bool {
        let late: Vec<u64> = self.hidden.iter().filter(|(until, _)| *until > now + longest).map(|(_, key)| *key).collect();
        late.iter().for_each(|&key| self.hide(key, now, Duration::ZERO));
        !late.is_empty()
    }

    /// Every message, in the order of arrival, with the number of its receives.
    pub(super) fn contents(&self) -> Vec<(Content, u32)> {
        let mut keys: Vec<_> = self.messages.keys().copied().collect();
        keys.sort_unstable();
        keys.iter().map(|key| (self.messages[key].content.clone(), self.messages[key].receives)).collect()
    }

    pub(super) fn clear(&mut self) {
        self.messages.clear();
        self.ready.clear();
        self.hidden.clear();
    }
}
