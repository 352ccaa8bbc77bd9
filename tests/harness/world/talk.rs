//! SMTP word for word, for what no honest client does.

use serde::Serialize;

use super::{CLIENT, World};

/// What a client says, and where.
#[derive(Clone, Debug, Serialize)]
pub struct Talk {
    server: &'static str,
    port: u16,
    client: &'static str,
    at_once: String,
    says: Vec<Step>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Step {
    Text(String),
    Tls { tls: &'static str },
}

impl Talk {
    /// With the MX, from [`CLIENT`].
    pub fn with_the_mx() -> Self {
        Self { server: "192.0.2.25", port: 25, client: CLIENT, at_once: String::new(), says: Vec::new() }
    }

    /// With what sends replies, from this machine.
    pub fn with_the_sender() -> Self {
        Self { server: "127.0.0.1", port: 2525, client: "127.0.0.1", ..Self::with_the_mx() }
    }

    /// From this address, which the world has.
    pub fn from(self, client: &'static str) -> Self {
        Self { client, ..self }
    }

    /// Says this before the greeting has come; every character is a byte.
    pub fn at_once(self, text: &str) -> Self {
        Self { at_once: text.to_owned(), ..self }
    }

    /// Says this, with a line end, and waits for the answer.
    pub fn say(self, line: &str) -> Self {
        self.raw(&format!("{line}\r\n"))
    }

    /// Says this as it is, and waits for the answer.
    pub fn raw(mut self, text: &str) -> Self {
        self.says.push(Step::Text(text.to_owned()));
        self
    }

    /// Begins TLS of this version, as Python names it; the answer is what came of it.
    pub fn tls(mut self, version: &'static str) -> Self {
        self.says.push(Step::Tls { tls: version });
        self
    }

    /// EHLO, MAIL FROM a domain that exists, and RCPT TO.
    pub fn until_recipient(self, to: &str) -> Self {
        self.say("EHLO client.example.org").say("MAIL FROM:<someone@example.org>").say(&format!("RCPT TO:<{to}>"))
    }
}

impl World {
    /// Has these talks, all at once; returns what each was answered: the greeting, and an answer for each thing that it said, until
    /// the connection ended.
    ///
    /// # Panics
    /// If they cannot be had.
    pub fn talk(&self, talks: &[&Talk]) -> Vec<Vec<String>> {
        let script = crate::repository().join("tests/harness/world/talk.py");
        let said = self.run_with_input(self.command("python3").arg(script), &serde_json::to_vec(talks).expect("JSON"));
        serde_json::from_slice(&said).expect("talk.py prints JSON")
    }
}
