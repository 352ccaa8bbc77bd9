//! Python's email package reads every reply without a complaint, and finds in it what the catalogue has.

use std::{
    fs,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;

use crate::{
    cases::{FROM_NAME, Plain},
    program,
    run::{Sent, replies},
};

/// Most characters of a line without its CRLF (RFC 5322 §2.1.1).
const LINE_MAX: usize = 998;
/// How far from now the Date of a reply may be, in seconds: a run takes less.
const DATE_TOLERANCE_S: f64 = 600.0;

/// A reply as Python reads it.
#[derive(Deserialize)]
pub(crate) struct Read {
    /// What the parser complains of, in any part or field.
    defects: Vec<String>,
    /// What it forgives, and should not be.
    faults: Vec<String>,
    fields: Vec<(String, String)>,
    from: Vec<(String, String)>,
    to: Vec<(String, String)>,
    /// Seconds since 1970.
    date: f64,
    body: Part,
}

/// A part of a reply.
#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    /// Its fields' names.
    names: Vec<String>,
    #[serde(default)]
    parts: Vec<Part>,
    /// What is before and after a multipart's parts.
    #[serde(default)]
    around: String,
    language: Option<String>,
    disposition: Option<String>,
    name: Option<String>,
    content: Option<String>,
    charset: Option<String>,
    text: Option<String>,
}

impl Read {
    /// The only value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let values: Vec<&str> = self.fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect();
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.first().copied()
    }

    /// The types of all parts, as `multipart/mixed(text/plain, application/octet-stream)`.
    pub(crate) fn tree(&self) -> String {
        self.body.tree()
    }

    /// The text of a type, with LF.
    pub(crate) fn text(&self, kind: &str) -> Option<String> {
        let mut found = self.body.leaves().into_iter().filter(|part| part.kind == kind && part.text.is_some());
        let text = found.next().and_then(|part| part.text.clone());
        assert!(found.next().is_none(), "two parts of {kind}");
        text.map(|text| text.replace("\r\n", "\n"))
    }
}

impl Part {
    /// The parts that hold something.
    fn leaves(&self) -> Vec<&Self> {
        if self.parts.is_empty() { vec![self] } else { self.parts.iter().flat_map(Self::leaves).collect() }
    }

    fn tree(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(Self::tree).collect();
        if parts.is_empty() { self.kind.clone() } else { format!("{}({})", self.kind, parts.join(", ")) }
    }
}

/// All replies, and what Python reads in each.
pub(crate) fn read_replies() -> Option<impl Iterator<Item = (&'static Sent, &'static Read)>> {
    static READ: OnceLock<Vec<Read>> = OnceLock::new();
    let replies = replies()?;
    let read = READ.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<_> = replies.iter().map(|reply| folder.path().join(reply.name())).collect();
        files.iter().zip(replies).for_each(|(file, reply)| fs::write(file, &reply.wire).unwrap());
        serde_json::from_value(program::script("read_reply.py", files)).unwrap()
    });
    assert_eq!(read.len(), replies.len());
    Some(replies.iter().zip(read))
}

/// Fails with all that `look` finds, by reply.
#[track_caller]
fn none(look: impl Fn(&Sent, &Read) -> Vec<String>) {
    let Some(replies) = read_replies() else { return };
    let found: Vec<String> =
        replies.flat_map(|(sent, read)| look(sent, read).into_iter().map(|text| format!("{}: {text}", sent.name())).collect::<Vec<_>>()).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// What differs, in words.
fn differing<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Option<String> {
    (found != wanted).then(|| format!("{what}: {found:?} instead of {wanted:?}"))
}

#[test]
fn no_part_and_no_field_has_a_defect() {
    none(|_, read| read.defects.clone());
}

#[test]
fn encoded_text_and_encoded_words_are_as_mime_wants_them() {
    none(|_, read| read.faults.clone());
}

#[test]
fn on_the_wire_there_is_only_ascii_in_short_lines_that_end_with_crlf() {
    none(|sent, _| {
        let mut faults = Vec::new();
        for line in sent.wire.split_inclusive(|&byte| byte == b'\n') {
            let text = line.strip_suffix(b"\r\n").unwrap_or_default();
            let is_fine = line.ends_with(b"\r\n") && text.len() <= LINE_MAX && text.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
            if !is_fine {
                faults.push(format!("{:?}", String::from_utf8_lossy(line)));
            }
        }
        // A relay that trims lines would take such a one for the header's end.
        let header = sent.wire.split_inclusive(|&byte| byte == b'\n').take_while(|line| *line != b"\r\n");
        faults.extend(header.filter(|line| line.trim_ascii().is_empty()).map(|line| format!("blank: {:?}", String::from_utf8_lossy(line))));
        faults
    });
}

#[test]
fn the_fields_that_say_that_a_machine_wrote_it_stand_there_in_plain_ascii() {
    none(|sent, _| {
        let end = sent.wire.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let header = [b"\r\n", &sent.wire[..end + 2]].concat();
        let wanted = ["Auto-Submitted: auto-replied".into(), "X-Auto-Response-Suppress: All".into(), format!("X-Loop: {}", sent.case.address())];
        // White space in front of a value is none of it.
        let squeezed = String::from_utf8(header).unwrap().replace("  ", " ");
        let is_missing = |field: &String| squeezed.matches(&format!("\r\n{field}\r\n")).count() != 1;
        wanted.into_iter().filter(is_missing).map(|field| format!("not once there: {field:?}")).collect()
    });
}

#[test]
fn every_reply_is_addressed_titled_dated_and_threaded_as_it_should_be() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    none(|sent, read| {
        let (case, expected) = (sent.case, sent.expected());
        let mut faults: Vec<String> = [
            differing("From", read.from.clone(), vec![(FROM_NAME.to_owned(), case.address())]),
            differing("To", read.to.clone(), vec![(String::new(), case.sender())]),
            differing("Subject", read.field("subject"), Some(expected.subject.as_str())),
            differing("In-Reply-To", read.field("in-reply-to"), expected.in_reply_to.as_deref()),
            differing("References", read.field("references"), expected.references.as_deref()),
            differing("Reply-To", read.field("reply-to"), expected.reply_to.as_deref()),
            differing("MIME-Version", read.field("mime-version"), Some("1.0")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if (read.date - now).abs() > DATE_TOLERANCE_S {
            faults.push(format!("Date is {:.0} s off", read.date - now));
        }
        for name in ["cc", "bcc", "sender", "return-path"] {
            faults.extend(read.field(name).map(|value| format!("{name}: {value}")));
        }
        let is_bounce = sent.mail_from.strip_prefix("bounce+").is_some_and(|rest| rest.ends_with("@responder.test"));
        faults.extend((!is_bounce).then(|| format!("MAIL FROM is {}", sent.mail_from)));
        faults
    });
}

#[test]
fn no_two_replies_share_a_message_id_or_a_bounce_address() {
    let Some(replies) = read_replies() else { return };
    let (ids, bounces): (std::collections::HashSet<_>, std::collections::HashSet<_>) =
        replies.map(|(sent, read)| (read.field("message-id").unwrap(), &sent.mail_from)).unzip();
    let count = self::replies().unwrap().len();
    assert_eq!((ids.len(), bounces.len()), (count, count));
}

#[test]
fn each_body_has_the_parts_that_there_are_and_no_others() {
    none(|sent, read| {
        let expected = sent.expected();
        let text = if expected.html.is_some() { "multipart/alternative(text/plain, text/html)" } else { "text/plain" };
        let files = ", application/octet-stream".repeat(expected.files.len());
        let wanted = if files.is_empty() { text.to_owned() } else { format!("multipart/mixed({text}{files})") };
        let mut faults: Vec<String> = differing("structure", read.tree(), wanted).into_iter().collect();
        let leaves = read.body.leaves();
        faults.extend(leaves.iter().filter(|part| part.text.is_some()).flat_map(|part| {
            let kind = &part.kind;
            [
                differing(&format!("charset of {kind}"), part.charset.as_deref(), Some("utf-8")),
                differing(&format!("language of {kind}"), part.language.as_deref(), expected.languages),
                differing(&format!("disposition of {kind}"), part.disposition.as_deref().unwrap_or("inline"), "inline"),
            ]
            .into_iter()
            .flatten()
        }));
        faults.extend(differing("around the parts", read.body.around.as_str(), ""));
        let inner = read.body.parts.iter().flat_map(|part| part.names.iter().chain(part.parts.iter().flat_map(|part| &part.names)));
        faults.extend(inner.filter(|name| !name.starts_with("content-")).map(|name| format!("a part has a field {name}")));
        faults
    });
}

#[test]
fn texts_come_back_as_they_are_in_the_catalogue() {
    none(|sent, read| {
        let expected = sent.expected();
        // The end of the last line belongs to the line, or to the boundary after it.
        let trimmed = |text: Option<String>| text.map(|text| text.strip_suffix('\n').unwrap_or(&text).to_owned());
        let plain = trimmed(read.text("text/plain"));
        let mut faults: Vec<String> = differing("HTML", trimmed(read.text("text/html")), trimmed(expected.html.clone())).into_iter().collect();
        match &expected.plain {
            Plain::Text(text) => faults.extend(differing("plain text", plain, trimmed(Some(text.clone())))),
            Plain::Derived(words) => {
                let plain = plain.unwrap_or_default();
                faults.extend(words.iter().filter(|&&word| !plain.contains(word)).map(|word| format!("no {word:?} in the plain text {plain:?}")));
            }
        }
        faults
    });
}

#[test]
fn attachments_come_back_by_name_and_byte_for_byte() {
    none(|sent, read| {
        let leaves = read.body.leaves();
        let found = leaves.iter().filter_map(|part| Some((part.name.as_deref()?, BASE64_STANDARD.decode(part.content.as_ref()?).unwrap())));
        let found: Vec<(&str, Vec<u8>)> = found.collect();
        let names = |files: &[(&str, Vec<u8>)]| files.iter().map(|(name, content)| format!("{name} ({} bytes)", content.len())).collect::<Vec<_>>();
        let wanted = &sent.expected().files;
        if found == *wanted { Vec::new() } else { vec![format!("{:?} instead of {:?}", names(&found), names(wanted))] }
    });
}
