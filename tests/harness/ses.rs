//! An SES endpoint of a test's own (API v2, `SendEmail` with a raw message, and `GetAccount`), able to misbehave.
//!
//! What it accepts it remembers and sends nowhere. It checks no credentials and no identities. Beside the [`Faults`] of
//! its two calls, the account itself can be paused or out of quota ([`Endpoint::set_account`]): `GetAccount` says so too.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    arrivals::{Arrival, Arrivals},
    faults::{Faults, Transport},
    http::{Answer, Asked, Server, Service, hang},
};

/// How the account stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Otherwise every mail is refused by `SendingPausedException`.
    pub is_sending_enabled: bool,
    /// `MaxSendRate`, a second. It is told and not enforced.
    pub send_rate_max: f64,
    /// `Max24HourSend`. What is over it is refused by `LimitExceededException`.
    pub day_max: f64,
}

impl Default for Account {
    /// An account that bounds nothing.
    fn default() -> Self {
        Self { is_sending_enabled: true, send_rate_max: 1e6, day_max: 1e9 }
    }
}

/// A running endpoint.
pub struct Endpoint {
    state: Arc<State>,
    server: Server,
}

struct State {
    faults: Faults,
    account: Mutex<Account>,
    arrivals: Arrivals,
    /// Calls of `SendEmail`, refused ones and lost answers included.
    sends: AtomicU64,
    asks: AtomicU64,
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
        let state = Arc::new(State {
            faults: Faults::default(),
            account: Mutex::default(),
            arrivals: Arrivals::default(),
            sends: AtomicU64::new(0),
            asks: AtomicU64::new(0),
        });
        let server = Server::start(address, Arc::clone(&state));
        Self { state, server }
    }

    /// What the SDK calls the endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The knobs; the actions are `SendEmail` and `GetAccount`.
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// Changes how the account stands.
    pub fn set_account(&self, account: Account) {
        *self.state.account.lock().unwrap_or_else(PoisonError::into_inner) = account;
    }

    /// Every mail that was accepted, in order; also those whose answer was lost.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state.arrivals.all()
    }

    /// How often `SendEmail` was called, refused calls and lost answers included.
    pub fn sends(&self) -> u64 {
        self.state.sends.load(Ordering::Relaxed)
    }

    /// How often `GetAccount` was called.
    pub fn asks(&self) -> u64 {
        self.state.asks.load(Ordering::Relaxed)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendEmail {
    #[serde(default)]
    destination: Destination,
    content: Content,
    #[serde(default)]
    email_tags: Vec<Tag>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Destination {
    to_addresses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Content {
    raw: Raw,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Raw {
    data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    name: String,
    value: String,
}

impl State {
    fn send(&self, body: &[u8]) -> Answer {
        let account = *self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let bad = |text: String| refusal(400, "BadRequestException", &text);
        let request: SendEmail = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => return bad(error.to_string()),
        };
        if !account.is_sending_enabled {
            return refusal(400, "SendingPausedException", "Email sending is disabled for your account.");
        }
        let number = self.arrivals.count();
        if number as f64 >= account.day_max {
            return refusal(400, "LimitExceededException", "Daily message quota exceeded.");
        }
        let mail = match BASE64_STANDARD.decode(&request.content.raw.data) {
            Ok(mail) => mail,
            Err(error) => return bad(error.to_string()),
        };
        let tag = request.email_tags.into_iter().find(|tag| tag.name == "reply").map(|tag| tag.value).unwrap_or_default();
        self.arrivals.add(Arrival::new(request.destination.to_addresses, tag, &mail));
        Answer::json(&json!({"MessageId": format!("0100000000000000-{number:08x}-0000-4000-8000-000000000000-000000")}))
    }

    fn account(&self) -> Value {
        let account = *self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let quota = json!({"Max24HourSend": account.day_max, "MaxSendRate": account.send_rate_max, "SentLast24Hours": self.arrivals.count() as f64});
        let status = if account.is_sending_enabled { "HEALTHY" } else { "SHUTDOWN" };
        json!({
            "SendingEnabled": account.is_sending_enabled, "ProductionAccessEnabled": true, "EnforcementStatus": status, "SendQuota": quota,
        })
    }
}

impl Service for State {
    async fn answer(self: Arc<Self>, asked: Asked) -> Option<Answer> {
        let action = match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", "/v2/email/outbound-emails") => "SendEmail",
            ("GET", "/v2/email/account") => "GetAccount",
            _ => return Some(refusal(404, "NotFoundException", "not imitated here")),
        };
        if action == "SendEmail" { &self.sends } else { &self.asks }.fetch_add(1, Ordering::Relaxed);
        let transport = self.faults.transport(action).await;
        match transport {
            Transport::Refuse(status, code) => return Some(refusal(status, &code, "a fault of the test's")),
            Transport::Cut => return None,
            Transport::Hang => match hang().await {},
            Transport::Act | Transport::ActThenCut | Transport::ActThenHang => {}
        }
        let answer = if action == "SendEmail" { self.send(&asked.body) } else { Answer::json(&self.account()) };
        match transport {
            Transport::ActThenCut => None,
            Transport::ActThenHang => match hang().await {},
            _ => Some(answer),
        }
    }
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let mut answer = Answer::status(status, &json!({"message": message}));
    answer.headers.push(("x-amzn-errortype", code.to_owned()));
    answer
}
