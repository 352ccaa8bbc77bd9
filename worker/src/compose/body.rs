//! The body of a reply: its text in one or two languages, and its files.
//!
//! A translation comes first and the response's own text after it, so that who was taken for another reader finds his
//! own: one plain part with both, one HTML part with both, each in an element with its `lang` and `dir`. Plain text needs
//! no mark for its direction: programs take it from the first letters of each paragraph (UAX #9, rules P2 and P3).
//!
//! A response whose language the catalogue does not say goes out as it is, without a mark. So does HTML that is a whole
//! document, which has marks of its own; Content-Language says its language.

use std::borrow::Cow;

use bytes::Bytes;
use mail_builder::mime::MimePart;

use super::raw;
use crate::{
    catalogue::{Response, Translation, is_whole_document},
    language::Tag,
};

/// Between two languages in plain text. Not `-- `, which begins a signature (RFC 3676 §4.3).
const RULE: &str = "----------------------------------------";

/// The body of a reply of `response` in the language of `translation`, if there is one. `attachments` are the contents of
/// the response's, in order.
pub(super) fn body<'a>(response: &'a Response, translation: Option<&'a Translation>, attachments: &'a [Bytes]) -> MimePart<'a> {
    let plain = response.plain.as_deref().map(|own| match translation.and_then(|other| other.plain.as_deref()) {
        None => Cow::Borrowed(own),
        Some(chosen) => Cow::Owned(format!("{}\n\n{RULE}\n\n{own}", chosen.trim_end())),
    });
    let html = response.html.as_deref().map(|own| {
        let own = match &response.lang {
            Some(lang) if !is_whole_document(own) => Cow::Owned(marked(lang, own)),
            _ => Cow::Borrowed(own),
        };
        match translation.and_then(|other| Some((&other.lang, other.html.as_deref()?))) {
            None => own,
            Some((lang, chosen)) => Cow::Owned(format!("{}\n<hr>\n{own}", marked(lang, chosen))),
        }
    });
    let languages: Vec<&str> = translation.map(|other| &other.lang).into_iter().chain(&response.lang).map(Tag::as_str).collect();
    let part = |kind: &'static str, text: Cow<'a, str>| {
        let part = MimePart::new(kind, text);
        // RFC 3282 §2: of the parts themselves, not of the mail around them.
        if languages.is_empty() { part } else { part.header("Content-Language", raw(&languages.join(", "))) }
    };
    let text = match (plain.map(|text| part("text/plain", text)), html.map(|text| part("text/html", text))) {
        (Some(plain), Some(html)) => MimePart::new("multipart/alternative", vec![plain, html]),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => part("text/plain", Cow::Borrowed("")),
    };
    if attachments.is_empty() {
        return text;
    }
    let files = response.attachments.iter().zip(attachments);
    let files = files.map(|(file, content)| MimePart::new("application/octet-stream", content.as_ref()).attachment(file.file_name.as_str()));
    MimePart::new("multipart/mixed", std::iter::once(text).chain(files).collect::<Vec<_>>())
}

/// HTML with its language and direction. A tag holds only letters, digits and hyphens: nothing to escape.
fn marked(lang: &Tag, html: &str) -> String {
    format!("<div lang=\"{lang}\" dir=\"{}\">\n{html}\n</div>", lang.direction().word())
}
