//! From the catalogue's text to responses, with the place of every fault.
//!
//! serde_json gives each value as the slice of the text that it was read from ([`RawValue`]); where that slice lies in
//! the text is the fault's line and column.

mod translations;

use std::fmt;

use replyfleet::{settings::Trust, store::ObjectName};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Attachment, CatalogueError, Response, SendMethod, Subject};
use crate::address::Address;

/// Entries in a catalogue.
const ENTRIES_MAX: usize = 10_000;
/// Attachments of one entry.
const ATTACHMENTS_MAX: usize = 50;
/// Characters of an attachment's name.
const FILE_NAME_CHARS_MAX: usize = 200;
/// Characters of a fixed Subject.
const SUBJECT_CHARS_MAX: usize = 256;

const FIELDS: &str = "email_addr, body, attachments, send_method, subject, subject_from_request, reply_to, trust, lang, translations";

/// The entries of `text`.
pub(super) fn responses(text: &str, available: &[SendMethod]) -> Result<Vec<Response>, CatalogueError> {
    let source = Source(text);
    let entries: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| source.json_error(text, &error, None, None))?;
    if entries.is_empty() {
        return Err(source.error(text, None, None, "has no entry: every request would be ignored"));
    }
    if entries.len() > ENTRIES_MAX {
        return Err(source.error(text, None, None, &format!("has more than {ENTRIES_MAX} entries")));
    }
    entries.iter().enumerate().map(|(index, entry)| Entry { source: &source, number: index + 1, raw: entry.get() }.read(available)).collect()
}

/// One entry on its way to a [`Response`].
struct Entry<'a> {
    source: &'a Source<'a>,
    number: usize,
    raw: &'a str,
}

impl Entry<'_> {
    fn read(&self, available: &[SendMethod]) -> Result<Response, CatalogueError> {
        let fields: Fields<'_> = serde_json::from_str(self.raw).map_err(|error| self.source.json_error(self.raw, &error, Some(self.number), None))?;
        let (mut address, mut body, mut attachments, mut send_method) = (None, None, Vec::new(), None);
        let (mut subject, mut is_from_request, mut needs) = (None, false, None);
        let (mut lang, mut translations, mut is_reply_to) = (None, None, false);
        for (index, (name, value)) in fields.0.iter().enumerate() {
            let value = Field { entry: self, name, raw: value.get() };
            if fields.0[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(value.error("is there twice"));
            }
            match name.as_str() {
                "email_addr" => address = Some(value.address()?),
                "body" => body = Some(value.body()?),
                "attachments" => attachments = value.attachments()?,
                "send_method" => send_method = Some(value.send_method(available)?),
                "subject" => subject = Some(value.subject()?),
                "trust" => needs = Some(value.trust()?),
                "subject_from_request" => is_from_request = value.parse("true or false")?,
                "reply_to" => is_reply_to = value.parse("true or false")?,
                "lang" => lang = Some(value.lang()?),
                "translations" => translations = Some(value),
                _ => return Err(value.error(&format!("is not a field of the catalogue; these are: {FIELDS}"))),
            }
        }
        let missing = |name: &str| self.source.error(self.raw, Some(self.number), Some(name), "is missing");
        let (plain, html) = body.ok_or_else(|| missing("body"))?;
        let subject = match (subject, is_from_request) {
            (Some(_), true) => {
                let text = "cannot be true beside a fixed subject; remove one of the two";
                return Err(self.source.error(self.raw, Some(self.number), Some("subject_from_request"), text));
            }
            (Some(text), false) => Subject::Fixed(text),
            (None, true) => Subject::FromRequest,
            (None, false) => Subject::Default,
        };
        // Megabytes for a forged kilobyte are what a reflector is made of.
        let needs = needs.unwrap_or(if attachments.is_empty() { Trust::Small } else { Trust::Full });
        let translations = match translations {
            None => Vec::new(),
            Some(field) => field.translations(&translations::Original { lang: lang.as_ref(), plain: &plain, html: &html, subject: &subject })?,
        };
        Ok(Response {
            address: address.ok_or_else(|| missing("email_addr"))?,
            plain,
            html,
            attachments,
            send_method: send_method.ok_or_else(|| missing("send_method"))?,
            subject,
            is_reply_to,
            needs,
            lang,
            translations,
            digest: String::new(), // the catalogue's, once the response is whole
        })
    }
}

/// One field's value on its way to what it means.
struct Field<'a> {
    entry: &'a Entry<'a>,
    name: &'a str,
    raw: &'a str,
}

impl Field<'_> {
    fn parse<'de, T: Deserialize<'de>>(&'de self, expected: &str) -> Result<T, CatalogueError> {
        serde_json::from_str(self.raw).map_err(|error| {
            let text = format!("must be {expected}");
            let mut fault = self.entry.source.json_error(self.raw, &error, Some(self.entry.number), Some(self.name));
            fault.text = text;
            fault
        })
    }

    fn error(&self, text: &str) -> CatalogueError {
        self.entry.source.error(self.raw, Some(self.entry.number), Some(self.name), text)
    }

    fn address(&self) -> Result<String, CatalogueError> {
        let text: String = self.parse("an e-mail address")?;
        if text.to_lowercase() != text {
            return Err(self.error(&format!("{text:?} must be in lower case: {:?}", text.to_lowercase())));
        }
        match Address::parse(&text) {
            Some(address) if text.is_ascii() && !address.local().contains('+') => Ok(text),
            _ => Err(self.error(&format!("{text:?} must be an address local@domain in ASCII without '+': a +tag reaches the address without it"))),
        }
    }

    fn body(&self) -> Result<(Option<String>, Option<String>), CatalogueError> {
        let expected = "a string, or a list of [\"plain\" or \"html\", text]";
        if self.raw.starts_with('"') {
            return Ok((Some(self.parse(expected)?), None));
        }
        let parts: Vec<(String, String)> = self.parse(expected)?;
        let (mut plain, mut html) = (None, None);
        for (kind, text) in parts {
            let part = match kind.as_str() {
                "plain" => &mut plain,
                "html" => &mut html,
                other => return Err(self.error(&format!("has a part of type {other:?}; it must be \"plain\" or \"html\""))),
            };
            if part.replace(text).is_some() {
                return Err(self.error(&format!("has two parts of type {kind:?}")));
            }
        }
        if plain.is_none() && html.is_none() {
            return Err(self.error("has no part"));
        }
        Ok((plain, html))
    }

    fn attachments(&self) -> Result<Vec<Attachment>, CatalogueError> {
        let expected = "null or a list of [bucket, key, file name] or [bucket, key, file name, SHA-256]";
        let list: Option<Vec<Vec<String>>> = self.parse(expected)?;
        let list = list.unwrap_or_default();
        if list.len() > ATTACHMENTS_MAX {
            return Err(self.error(&format!("has more than {ATTACHMENTS_MAX} attachments")));
        }
        let attachment = |words: Vec<String>| {
            let (bucket, key, file_name, sha256) = match words.as_slice() {
                [bucket, key, file_name] => (bucket, key, file_name, None),
                [bucket, key, file_name, sha256] => (bucket, key, file_name, Some(sha256)),
                _ => return Err(self.error(&format!("must be {expected}"))),
            };
            let object = ObjectName::new(bucket, key).map_err(|text| self.error(&text))?;
            let is_name = !file_name.is_empty() && file_name.chars().count() <= FILE_NAME_CHARS_MAX && !file_name.contains(is_unfit_for_name);
            if !is_name {
                return Err(self.error(&format!(
                    "{file_name:?} must be a file name of 1 to {FILE_NAME_CHARS_MAX} characters without / \\ \" and control characters"
                )));
            }
            let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if let Some(sha256) = sha256.filter(|text| !is_digest(text)) {
                return Err(self.error(&format!("{sha256:?} must be a SHA-256 as sha256sum prints it: 64 digits and letters from a to f")));
            }
            Ok(Attachment { object, file_name: file_name.clone(), sha256: sha256.cloned() })
        };
        list.into_iter().map(attachment).collect()
    }

    fn send_method(&self, available: &[SendMethod]) -> Result<SendMethod, CatalogueError> {
        let method: SendMethod = self.parse("\"SES\" or \"SMTP\"")?;
        if !available.contains(&method) {
            return Err(self.error(&format!("is \"{0}\", for which the settings have no sender: set [send.{0}]", method.word())));
        }
        Ok(method)
    }

    fn trust(&self) -> Result<Trust, CatalogueError> {
        match self.parse("\"small\" or \"full\"")? {
            Trust::None => Err(self.error("must be \"small\" or \"full\": nobody is answered without any trust")),
            needs => Ok(needs),
        }
    }

    fn subject(&self) -> Result<String, CatalogueError> {
        let text: String = self.parse("a string")?;
        if text.trim().is_empty() || text.chars().count() > SUBJECT_CHARS_MAX || text.contains(char::is_control) {
            return Err(self.error(&format!("must have 1 to {SUBJECT_CHARS_MAX} characters and no control characters")));
        }
        Ok(text)
    }
}

fn is_unfit_for_name(c: char) -> bool {
    c.is_control() || matches!(c, '/' | '\\' | '"' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The fields of an entry in their order, doubles included.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with email_addr, body, attachments and send_method")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// The whole text, to tell where a part of it lies.
struct Source<'a>(&'a str);

impl Source<'_> {
    /// A fault at the start of `part`, which is a slice of the text.
    fn error(&self, part: &str, entry: Option<usize>, field: Option<&str>, text: &str) -> CatalogueError {
        let (line, column) = self.place(self.offset(part));
        CatalogueError { line, column, entry, field: field.map(str::to_owned), text: text.to_owned() }
    }

    /// A fault that serde_json found while it read `part`.
    fn json_error(&self, part: &str, error: &serde_json::Error, entry: Option<usize>, field: Option<&str>) -> CatalogueError {
        // serde_json counts lines from 1 and columns in bytes, both from the start of what it was given.
        let line_start = part.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
        let offset = self.offset(part) + (line_start + error.column().saturating_sub(1)).min(part.len());
        let (line, column) = self.place(offset);
        let full = error.to_string();
        let text = full.rsplit_once(" at line ").map_or(full.as_str(), |(text, _)| text);
        CatalogueError { line, column, entry, field: field.map(str::to_owned), text: text.to_owned() }
    }

    fn offset(&self, part: &str) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.0.as_ptr() as usize).min(self.0.len())
    }

    fn place(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.0.len());
        while !self.0.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.0[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}
