//! Requests on their way in, and replies as they arrived at the sink.

use std::{collections::HashMap, fs, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;

use super::{World, fleet::TWO_REPLIES};
use crate::{ministack, wait_for};

/// The address that requests come from unless they say otherwise.
pub const SENDER: &str = "someone@example.org";
/// The client's address.
pub const CLIENT: &str = "198.51.100.7";
/// How long a request may take to its last reply.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A mail to send.
pub struct Mail<'a> {
    /// MAIL FROM; empty for the null sender.
    pub from: &'a str,
    /// RCPT TO.
    pub to: &'a str,
    /// The mail itself, with lines that end in LF or CRLF.
    pub content: Vec<u8>,
}

impl<'a> Mail<'a> {
    /// A request with this Message-ID.
    pub fn request(message_id: &str) -> Self {
        Self::with_fields(&format!("Message-ID: <{message_id}>\n"))
    }

    /// A request with these header fields beside From, To, Subject and Date.
    pub fn with_fields(fields: &str) -> Self {
        let content = format!("From: Some One <{SENDER}>\nTo: {TWO_REPLIES}\nSubject: please\nDate: {}\n{fields}\nplease\n", date());
        Self { from: SENDER, to: TWO_REPLIES, content: content.into_bytes() }
    }

    /// With this content.
    pub fn of(content: Vec<u8>) -> Self {
        Self { from: SENDER, to: TWO_REPLIES, content }
    }
}

/// Now, as a Date field says it.
pub fn date() -> String {
    let output = std::process::Command::new("date").arg("-R").env("LC_ALL", "C").output().expect("date runs");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A mail that arrived at the sink, as Python's `email` reads it.
#[derive(Clone, Debug, Deserialize)]
pub struct Reply {
    /// The argument of MAIL FROM.
    pub mail_from: String,
    /// The argument of RCPT TO.
    pub rcpt_to: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Text by its type.
    pub texts: HashMap<String, String>,
    /// Name and content in base64.
    attachments: Vec<(String, String)>,
    /// What the parser found wrong in any part or field.
    pub defects: Vec<String>,
    is_whole: bool,
}

impl Reply {
    /// The only value of a header field.
    ///
    /// # Panics
    /// If there is none, or more than one.
    pub fn header(&self, name: &str) -> &str {
        let values: Vec<&str> = self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect();
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        values[0]
    }

    /// The attachments by name.
    pub fn attachments(&self) -> Vec<(String, Vec<u8>)> {
        self.attachments.iter().map(|(name, content)| (name.clone(), BASE64_STANDARD.decode(content).expect("base64"))).collect()
    }
}

impl World {
    /// Sends a mail to the MX, byte for byte, as a client at [`CLIENT`].
    pub fn send(&self, mail: &Mail) {
        let mut command = self.command("swaks");
        let from = if mail.from.is_empty() { "<>" } else { mail.from };
        command.args(["--silent", "2", "--no-data-fixup", "--data", "-", "--local-interface", CLIENT, "--ehlo", "client.example.org"]);
        command.args(["--server", "192.0.2.25:25", "--from", from, "--to", mail.to]);
        self.run_with_input(&mut command, &as_smtp_data(&mail.content));
    }

    /// Waits until `count` mails are at the sink, and returns them in the order of their names.
    ///
    /// # Panics
    /// If there are not so many soon, or more.
    pub fn replies(&self, count: usize) -> Vec<Reply> {
        let replies = wait_for(&format!("{count} mails at the sink"), ANSWER_LIMIT, || Some(self.at_the_sink()).filter(|all| all.len() >= count));
        assert_eq!(replies.len(), count, "mails at the sink");
        replies
    }

    /// The mails that arrived at the sink whole.
    pub fn at_the_sink(&self) -> Vec<Reply> {
        let mut files: Vec<_> = fs::read_dir(self.path("sink")).expect("sink").map(|entry| entry.unwrap().path()).collect();
        files.sort_unstable();
        if files.is_empty() {
            return Vec::new();
        }
        let script = crate::repository().join("tests/harness/world/read_mail.py");
        let json = self.run(self.command(python()).arg(script).args(files));
        let mut replies: Vec<Reply> = serde_json::from_slice(&json).expect("read_mail.py prints JSON");
        replies.retain(|reply| reply.is_whole);
        replies
    }
}

fn python() -> std::path::PathBuf {
    Some(ministack::venv().join("bin/python3")).filter(|python| python.exists()).unwrap_or_else(|| "python3".into())
}

/// CRLF line ends, dots stuffed, ended by a dot: swaks sends what it is given.
fn as_smtp_data(content: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(content.len() + content.len() / 40);
    for line in content.strip_suffix(b"\n").unwrap_or(content).split(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            data.push(b'.');
        }
        data.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        data.extend_from_slice(b"\r\n");
    }
    data.extend_from_slice(b".");
    data
}
