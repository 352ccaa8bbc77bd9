//! The services that misbehave behind one control path, for a test that is not in their process or not in their network:
//! HTTP at a unix socket, which reaches through network namespaces.
//!
//! | request below `/control` | what |
//! |---|---|
//! | `POST sqs/faults`, `ses/faults`, `smtp/faults` | adds the [`Rule`] in the body; its number |
//! | `DELETE` the same | takes all rules away |
//! | `GET sqs/figures` | depths of all queues, and what happened |
//! | `GET sqs/messages/QUEUE` | bodies |
//! | `GET ses/figures`, `smtp/figures` | what arrived, and what happened |
//! | `PUT ses/account` | how the account stands |
//! | `PUT proxy/NAME` | the [`Mode`] in the body |
//! | `POST proxy/NAME/reset` | resets every connection |
//!
//! A request that makes no sense is answered 400 with the reason.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    faults::{Faults, Rule},
    http::{Answer, Asked, Server, Service},
    proxy::{Mode, Proxy},
    ses, smtp, sqs,
};

/// Longest wait for an answer of the control path.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be there, and where.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// SQS's address.
    pub sqs: Option<SocketAddr>,
    /// Queues that are there from the start.
    pub queues: Vec<String>,
    /// SES's address.
    pub ses: Option<SocketAddr>,
    /// The SMTP sink's address.
    pub smtp: Option<SocketAddr>,
    /// Proxies: name, where they listen, what they stand before.
    pub proxies: Vec<(String, SocketAddr, SocketAddr)>,
}

/// All that was asked for, running.
pub struct Fake {
    _control: Server,
}

struct State {
    sqs: Option<sqs::Endpoint>,
    queues: Vec<String>,
    ses: Option<ses::Endpoint>,
    smtp: Option<smtp::Sink>,
    proxies: Vec<(String, Proxy)>,
}

impl Fake {
    /// Starts everything, and the control path last: who can reach it can reach all.
    ///
    /// # Panics
    /// If one cannot listen.
    pub fn start(control: &Path, services: Services) -> Self {
        let state = State {
            sqs: services.sqs.map(sqs::Endpoint::start_at),
            ses: services.ses.map(ses::Endpoint::start_at),
            smtp: services.smtp.map(smtp::Sink::start_at),
            proxies: services.proxies.into_iter().map(|(name, listen, target)| (name, Proxy::start_at(listen, target))).collect(),
            queues: services.queues,
        };
        for queue in &state.queues {
            state.sqs.iter().for_each(|sqs| drop(sqs.create_queue(queue)));
        }
        Self { _control: Server::start_unix(control, Arc::new(state)) }
    }
}

impl Service for State {
    async fn answer(self: Arc<Self>, asked: Asked) -> Option<Answer> {
        Some(match self.control(&asked) {
            Ok(value) => Answer::json(&value),
            Err(why) => Answer::status(400, &json!({"error": why})),
        })
    }
}

impl State {
    fn control(&self, asked: &Asked) -> Result<Value, String> {
        let path = asked.path.strip_prefix("/control/").ok_or("not below /control")?;
        let parts: Vec<&str> = path.split('/').collect();
        match (asked.method.as_str(), parts.as_slice()) {
            ("POST", [service, "faults"]) => Ok(json!({"id": self.faults(service)?.add(read::<Rule>(asked)?)})),
            ("DELETE", [service, "faults"]) => {
                self.faults(service)?.clear();
                Ok(json!({}))
            }
            ("GET", ["sqs", "figures"]) => {
                let sqs = self.sqs.as_ref().ok_or("no SQS here")?;
                let depths: serde_json::Map<_, _> = self.queues.iter().map(|name| (name.clone(), json!(sqs.depth(name)))).collect();
                Ok(json!({"queues": depths, "happened": sqs.faults().happened()}))
            }
            ("GET", ["sqs", "messages", name]) => Ok(json!(self.sqs.as_ref().ok_or("no SQS here")?.messages(name))),
            ("GET", ["ses", "figures"]) => {
                let ses = self.ses.as_ref().ok_or("no SES here")?;
                Ok(json!({"arrivals": ses.arrivals(), "sends": ses.sends(), "asks": ses.asks(), "happened": ses.faults().happened()}))
            }
            ("GET", ["smtp", "figures"]) => {
                let sink = self.smtp.as_ref().ok_or("no SMTP sink here")?;
                Ok(json!({"arrivals": sink.arrivals(), "happened": sink.faults().happened()}))
            }
            ("PUT", ["ses", "account"]) => {
                self.ses.as_ref().ok_or("no SES here")?.set_account(read(asked)?);
                Ok(json!({}))
            }
            ("PUT", ["proxy", name]) => {
                // It waits until the listener has followed, on another thread's work.
                let (proxy, mode) = (self.proxy(name)?, read::<Mode>(asked)?);
                tokio::task::block_in_place(|| proxy.set(mode));
                Ok(json!({}))
            }
            ("POST", ["proxy", name, "reset"]) => {
                self.proxy(name)?.reset_all();
                Ok(json!({}))
            }
            (method, _) => Err(format!("nothing is done for {method} {path}")),
        }
    }

    fn faults(&self, service: &str) -> Result<&Faults, String> {
        let faults = match service {
            "sqs" => self.sqs.as_ref().map(sqs::Endpoint::faults),
            "ses" => self.ses.as_ref().map(ses::Endpoint::faults),
            "smtp" => self.smtp.as_ref().map(smtp::Sink::faults),
            _ => None,
        };
        faults.ok_or_else(|| format!("no {service} here"))
    }

    fn proxy(&self, name: &str) -> Result<&Proxy, String> {
        self.proxies.iter().find(|(other, _)| other == name).map(|(_, proxy)| proxy).ok_or_else(|| format!("no proxy {name}"))
    }
}

fn read<T: serde::de::DeserializeOwned>(asked: &Asked) -> Result<T, String> {
    serde_json::from_slice(&asked.body).map_err(|error| error.to_string())
}

/// The control path of a [`Fake`] in another process.
#[derive(Clone, Debug)]
pub struct Control {
    socket: PathBuf,
}

impl Control {
    /// Waits until the fake is there.
    ///
    /// # Panics
    /// If it does not come.
    pub fn at(socket: &Path) -> Self {
        crate::wait_for("the fake's control path", PATIENCE, || UnixStream::connect(socket).ok());
        Self { socket: socket.to_owned() }
    }

    /// One request; `path` is what follows `/control/`.
    ///
    /// # Panics
    /// If it is not answered 200.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = UnixStream::connect(&self.socket).expect("the fake is there");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = body.to_string();
        let head = format!("{method} /control/{path} HTTP/1.1\r\nHost: fake\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).expect("the fake listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the fake answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        serde_json::from_str(body).expect("the fake answers JSON")
    }

    /// Adds a rule to `sqs`, `ses` or `smtp`.
    ///
    /// # Panics
    /// If there is no such service.
    pub fn add(&self, service: &str, rule: &Rule) {
        self.ask("POST", &format!("{service}/faults"), &json!(rule));
    }

    /// Takes all rules of `sqs`, `ses` or `smtp` away.
    ///
    /// # Panics
    /// If there is no such service.
    pub fn clear(&self, service: &str) {
        self.ask("DELETE", &format!("{service}/faults"), &json!({}));
    }

    /// Changes the network behind a proxy.
    ///
    /// # Panics
    /// If there is no such proxy.
    pub fn set(&self, proxy: &str, mode: &Mode) {
        self.ask("PUT", &format!("proxy/{proxy}"), &json!(mode));
    }
}
