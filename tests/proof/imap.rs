//! A real IMAP server, Dovecot, over Maildirs with requests and their replies: it sees each reply's parts as they should
//! be, decodes the files byte for byte, and puts each reply under its request.
//!
//! Dovecot's `imap` speaks on standard input and output as a user that is signed in already (PREAUTH): no port, no password
//! and no other process of its. It runs as an unprivileged user, which it insists on.

use std::{fs, path::Path, process::Command};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;

use crate::{
    cases::CASES,
    program,
    python::{Read, read_replies},
    run::Sent,
};

const DOVECOT: &str = "/usr/lib/dovecot/imap";
const USER: &str = "nobody";

/// A message as Dovecot shows it.
#[derive(Deserialize)]
struct Message {
    id: Option<String>,
    /// The id of the message that it stands under.
    under: Option<String>,
    tree: String,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    charset: Option<String>,
    disposition: Option<String>,
    name: Option<String>,
    language: Option<String>,
    content: String,
}

impl Part {
    fn content(&self) -> Vec<u8> {
        BASE64_STANDARD.decode(&self.content).unwrap()
    }
}

/// A mailbox for each case, which holds the request and the replies.
fn mailboxes(folder: &Path, replies: &[(&Sent, &Read)]) {
    for case in CASES.iter() {
        // Maildir++: a folder begins with a dot.
        let mailbox = folder.join(format!("mail/.{}", case.name));
        for part in ["cur", "new", "tmp"] {
            fs::create_dir_all(mailbox.join(part)).unwrap();
        }
        fs::write(mailbox.join("new/1.request"), case.request()).unwrap();
        for (reply, _) in replies.iter().filter(|(reply, _)| reply.case.name == case.name) {
            fs::write(mailbox.join(format!("new/2.{}", reply.index)), &reply.arrived).unwrap();
        }
    }
}

/// What Dovecot says of each case's mailbox.
fn read_by_imap(replies: &[(&Sent, &Read)]) -> Vec<Vec<Message>> {
    let folder = tempfile::tempdir().unwrap();
    let w = folder.path().display();
    mailboxes(folder.path(), replies);
    let settings = format!("base_dir = {w}/run\nstate_dir = {w}/state\nlog_path = {w}/log\nmail_location = maildir:{w}/mail\n");
    fs::write(folder.path().join("dovecot.conf"), settings).unwrap();
    program::said(Command::new("chown").args(["-R", USER]).arg(folder.path()));
    let as_user = format!("setpriv --reuid={USER} --regid=nogroup --clear-groups");
    let command = format!("exec {as_user} env -i HOME={w} USER={USER} {DOVECOT} -c {w}/dovecot.conf 2>/dev/null");
    serde_json::from_value(program::script("read_mailboxes.py", [command.as_str()].into_iter().chain(CASES.iter().map(|case| case.name)))).unwrap()
}

#[test]
fn dovecot_shows_every_reply_under_its_request_with_its_parts_and_files() {
    if !program::is_there(DOVECOT) {
        return;
    }
    let Some(replies) = read_replies() else { return };
    let replies: Vec<_> = replies.collect();
    let mailboxes = read_by_imap(&replies);
    assert_eq!(mailboxes.len(), CASES.len());
    let mut found = 0;
    for (case, mailbox) in CASES.iter().zip(&mailboxes) {
        assert_eq!(mailbox.len(), 1 + case.replies.len(), "messages in the mailbox of {}", case.name);
        for &(sent, read) in replies.iter().filter(|(reply, _)| reply.case.name == case.name) {
            let message = mailbox.iter().find(|message| message.id.as_deref() == read.field("message-id")).expect("it is there");
            assert_eq!(message.under, sent.expected().in_reply_to, "what {} stands under", sent.name());
            assert_is_whole(message, sent, read);
            found += 1;
        }
    }
    assert_eq!(found, replies.len());
}

/// The parts are as Python sees them, and hold what the catalogue has.
#[track_caller]
fn assert_is_whole(message: &Message, sent: &Sent, read: &Read) {
    let (name, expected) = (sent.name(), sent.expected());
    assert_eq!(message.tree, read.tree(), "structure of {name}");
    let (files, texts): (Vec<_>, Vec<_>) = message.parts.iter().partition(|part| part.disposition.as_deref() == Some("attachment"));
    for text in &texts {
        assert_eq!(text.charset.as_deref(), Some("utf-8"), "{} of {name}", text.kind);
        assert_eq!(text.language.as_deref(), expected.languages, "language of {} of {name}", text.kind);
        let content = String::from_utf8(text.content()).unwrap().replace("\r\n", "\n");
        assert_eq!(Some(content), read.text(&text.kind), "{} of {name}", text.kind);
    }
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|part| (part.name.as_deref().unwrap(), part.content())).collect();
    let names = |files: &[(&str, Vec<u8>)]| files.iter().map(|(name, content)| format!("{name} ({} bytes)", content.len())).collect::<Vec<_>>();
    assert_eq!(names(&files), names(&expected.files), "files of {name}");
    assert!(files == expected.files, "a file of {name} differs");
}
