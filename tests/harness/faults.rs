//! Knobs of the services that misbehave on purpose: which fault, at which action, how likely and how often.
//!
//! A service asks for each of its actions whether a rule wants a fault there ([`Faults::draw`]) and does what it says. What
//! is drawn comes from a seed, so that a run can be had again. Rules are added and taken away while the service runs;
//! they are also JSON, for a service in another process. Without rules nothing ever goes wrong.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing is done; the answer is this status with this error code (HTTP), or this code and text (SMTP).
    Answer {
        /// HTTP status or SMTP reply code.
        status: u16,
        /// The service's error code, or the text of an SMTP reply.
        code: String,
    },
    /// Everything is right, but only after so many milliseconds.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// Nothing is done, and the connection ends without an answer.
    CutBefore,
    /// The action is done, and the connection ends without an answer.
    ActThenCut,
    /// Nothing is done, and nothing is said: the connection stays silent.
    BlackHole,
    /// The action is done, and nothing is said: the connection stays silent.
    ActThenHang,
    /// SMTP, in DATA: the connection ends after so many bytes of the message.
    CutAfter {
        /// Bytes.
        bytes: usize,
    },
    /// SQS, at a receive: the message is given, and at once to the next receiver too.
    Duplicate,
    /// SQS, at a receive: the receipt is stale from the first moment, as if another had received the message since.
    StaleReceipt,
    /// SQS, at a delete: the answer is yes, and the message comes again after so many milliseconds.
    Replay {
        /// Milliseconds.
        ms: u64,
    },
    /// SQS, at a batch: of so many entries one fails with InternalError and is not done.
    FailEntries {
        /// 1: all of them.
        every: usize,
    },
    /// SQS, at a delete with a stale receipt: the answer is yes although nothing was deleted, as Amazon's own may be.
    SilentStaleDelete,
}

/// A fault, and where and how often it happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The action: an API call (`SendMessage`), an SMTP stage (`RCPT`); `SendMessage*` is every action that begins so.
    pub on: String,
    /// What happens.
    pub fault: Fault,
    /// How likely, from 0 to 1.
    #[serde(default = "always")]
    pub chance: f64,
    /// How often at most; `None`: without end.
    #[serde(default)]
    pub times: Option<u64>,
}

fn always() -> f64 {
    1.0
}

impl Rule {
    /// This fault at every such action.
    pub fn new(on: &str, fault: Fault) -> Self {
        Self { on: on.into(), fault, chance: 1.0, times: None }
    }

    /// The same, but so often at most.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// The same, but only this likely.
    #[must_use]
    pub fn chance(self, chance: f64) -> Self {
        Self { chance, ..self }
    }

    fn is_about(&self, action: &str) -> bool {
        match self.on.strip_suffix('*') {
            Some(start) => action.starts_with(start),
            None => action == self.on,
        }
    }
}

/// The rules of a service.
pub struct Faults {
    inner: Mutex<Inner>,
}

struct Inner {
    /// Number, rule, and how often it happened.
    rules: Vec<(u64, Rule, u64)>,
    next: u64,
    random: Random,
    /// How often each fault happened, by action and fault.
    happened: BTreeMap<String, u64>,
}

impl Default for Faults {
    /// No rules, and seed 0.
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { rules: Vec::new(), next: 1, random: Random::new(0), happened: BTreeMap::new() }) }
    }
}

impl Faults {
    /// From now on chances are drawn from `seed`.
    pub fn seed(&self, seed: u64) {
        self.lock().random = Random::new(seed);
    }

    /// Adds a rule, behind the others, and returns its number.
    pub fn add(&self, rule: Rule) -> u64 {
        let mut inner = self.lock();
        let id = inner.next;
        inner.next += 1;
        inner.rules.push((id, rule, 0));
        id
    }

    /// Takes a rule away, and returns how often it happened; one that is not there stays away.
    pub fn remove(&self, id: u64) -> u64 {
        let mut inner = self.lock();
        let at = inner.rules.iter().position(|(number, ..)| *number == id);
        at.map_or(0, |at| inner.rules.remove(at).2)
    }

    /// Takes all rules away.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// How often each fault happened, by `ACTION fault`.
    pub fn happened(&self) -> BTreeMap<String, u64> {
        self.lock().happened.clone()
    }

    /// The fault that is to happen now at `action`, among those that `is_wanted` asks for.
    pub fn draw(&self, action: &str, is_wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        for (_, rule, hits) in &mut inner.rules {
            let may = rule.is_about(action) && is_wanted(&rule.fault) && rule.times != Some(0);
            if may && inner.random.happens(rule.chance) {
                rule.times = rule.times.map(|times| times - 1);
                *hits += 1;
                let name = format!("{action} {}", name(&rule.fault));
                *inner.happened.entry(name).or_default() += 1;
                return Some(rule.fault.clone());
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(fault: &Fault) -> String {
    match fault {
        Fault::Answer { status, code } => format!("{status} {code}"),
        other => format!("{other:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
    }
}

/// What happens to the connection in place of, or beside, an action of an HTTP service.
pub(crate) enum Transport {
    /// The action is done and answered.
    Act,
    /// The action is done, and the connection cut.
    ActThenCut,
    /// The action is done, and the connection silent.
    ActThenHang,
    /// Not done: cut.
    Cut,
    /// Not done: silent.
    Hang,
    /// Not done: this status and error code.
    Refuse(u16, String),
}

impl Faults {
    /// Waits if a rule wants a delay, and says what is to happen to a call.
    pub(crate) async fn transport(&self, action: &str) -> Transport {
        if let Some(Fault::Delay { ms }) = self.draw(action, |fault| matches!(fault, Fault::Delay { .. })) {
            tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(ms)).await;
        }
        let is_wanted =
            |fault: &Fault| matches!(fault, Fault::Answer { .. } | Fault::CutBefore | Fault::ActThenCut | Fault::ActThenHang | Fault::BlackHole);
        match self.draw(action, is_wanted) {
            Some(Fault::Answer { status, code }) => Transport::Refuse(status, code),
            Some(Fault::CutBefore) => Transport::Cut,
            Some(Fault::ActThenCut) => Transport::ActThenCut,
            Some(Fault::ActThenHang) => Transport::ActThenHang,
            Some(Fault::BlackHole) => Transport::Hang,
            _ => Transport::Act,
        }
    }
}

/// Numbers that look random and are the same for the same seed, on every machine and with every version of anything:
/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next of them.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, and without, `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number().checked_rem(end).unwrap_or(0)
    }

    /// Whether something happens that is this likely, from 0 to 1.
    pub fn happens(&mut self, chance: f64) -> bool {
        // 2^53 steps: what a double tells apart.
        let part = (self.number() >> 11) as f64 / (1_u64 << 53) as f64;
        part < chance
    }
}
