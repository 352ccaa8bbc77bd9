//! The text of a body, in one or two languages, as one part: plain, HTML, or both as alternatives.
//!
//! A translation comes first and the response's own text after it, so that who was taken for another reader finds his
//! own: one plain part with both, one HTML part with both, each in an element with its `lang` and `dir`. Plain text needs
//! no mark for its direction: programs take it from the first letters of each paragraph (UAX #9, rules P2 and P3). Where
//! the catalogue has only HTML, the plain text is taken from it, with its links.
//!
//! A response whose language the catalogue does not say goes out as it is, without a mark. So does HTML that is a whole
//! document, which has marks of its own; Content-Language says its language.

use std::borrow::Cow;

use mail_builder::{headers::content_type::ContentType, mime::MimePart};

use super::raw;
use crate::{
    catalogue::{Response, Translation, is_whole_document},
    language::Tag,
};

/// Between two languages in plain text. Not `-- `, which begins a signature (RFC 3676 §4.3).
const RULE: &str = "----------------------------------------";
/// Columns of plain text that is taken from HTML (RFC 5322 §2.1.1: at most 78 are recommended).
const PLAIN_COLUMNS: usize = 76;

/// The text of `response`, after its `translation` if one was chosen. `boundary` stands between alternatives.
pub(super) fn text<'a>(response: &'a Response, translation: Option<&'a Translation>, boundary: &'a str) -> MimePart<'a> {
    let plain = plain_of(response.plain.as_deref(), response.html.as_deref()).map(|own| {
        match translation.and_then(|other| plain_of(other.plain.as_deref(), other.html.as_deref())) {
            None => own,
            Some(chosen) => Cow::Owned(format!("{}\n\n{RULE}\n\n{own}", chosen.trim_end())),
        }
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
        let part = MimePart::new(ContentType::new(kind).attribute("charset", "utf-8"), in_lines(&text));
        // RFC 3282 §2: of the parts themselves, not of the mail around them.
        if languages.is_empty() { part } else { part.header("Content-Language", raw(&languages.join(", "))) }
    };
    let plain = part("text/plain", plain.unwrap_or_default());
    match html.map(|text| part("text/html", text)) {
        Some(html) => MimePart::new(ContentType::new("multipart/alternative").attribute("boundary", boundary), vec![plain, html]),
        None => plain,
    }
}

/// The plain text, taken from the HTML if there is no other.
fn plain_of<'a>(plain: Option<&'a str>, html: Option<&str>) -> Option<Cow<'a, str>> {
    plain.map(Cow::Borrowed).or_else(|| Some(Cow::Owned(from_html(html?))))
}

/// What HTML says, with its links as footnotes. What cannot be laid out is not told twice: the HTML goes out beside it.
fn from_html(html: &str) -> String {
    html2text::config::plain_no_decorate().link_footnotes(true).string_from_read(html.as_bytes(), PLAIN_COLUMNS).unwrap_or_default()
}

/// With CRLF as the only line end, and at the end. A CR or LF by itself would not survive every relay.
fn in_lines(text: &str) -> String {
    let mut lines = text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
    if !lines.is_empty() && !lines.ends_with("\r\n") {
        lines += "\r\n";
    }
    lines
}

/// HTML with its language and direction. A tag holds only letters, digits and hyphens: nothing to escape.
fn marked(lang: &Tag, html: &str) -> String {
    format!("<div lang=\"{lang}\" dir=\"{}\">\n{html}\n</div>", lang.direction().word())
}
