//! The beginning of a mail's first text part, for its letters.
//!
//! No tree is built and nothing is nested: one pass over the lines of at most the first 64 KiB of the body finds where
//! parts begin, whatever is inside what. Of a part only its own short header is given to mail-parser. What cannot be read,
//! or lies behind a limit, is an empty excerpt, never an error: the excerpt only helps to choose a language.

use std::{borrow::Cow, sync::LazyLock};

use mail_parser::{
    ContentType, HeaderName, HeaderValue, MessageParser,
    decoders::{base64::base64_decode, charsets::map::charset_decoder, html::html_to_text},
};

/// Bytes of the body that are looked at.
const SCANNED_BYTES_MAX: usize = 64 << 10;
/// Bytes of a part's header. A part with more ends the search.
const PART_HEADER_BYTES_MAX: usize = 8 << 10;
/// Multiparts that are looked into.
const MULTIPARTS_MAX: usize = 4;
/// Parts whose header is read.
const PARTS_MAX: usize = 64;
/// Bytes of a plain text that are decoded.
const PLAIN_BYTES_MAX: usize = 4 << 10;
/// Bytes of an HTML text that are decoded: much of its beginning is markup.
const HTML_BYTES_MAX: usize = 16 << 10;
/// Characters of an excerpt.
const EXCERPT_CHARS_MAX: usize = 2 << 10;

/// The excerpt of a `body` of this type and Content-Transfer-Encoding; empty if it has no text.
pub(super) fn excerpt(content_type: Option<&ContentType<'_>>, encoding: &str, body: &[u8]) -> String {
    let body = &body[..body.len().min(SCANNED_BYTES_MAX)];
    match Part::new(content_type, encoding) {
        Part::Text(text) => text.decode(body),
        Part::Multipart(boundary) => first_text(body, boundary),
        Part::Other => String::new(),
    }
}

/// The first text that has a letter, in the parts of a multipart and of those in it.
fn first_text(body: &[u8], boundary: String) -> String {
    let mut boundaries = vec![boundary];
    let (mut at, mut parts) = (0, 0);
    while let Some(delimiter) = next_delimiter(body, at, &boundaries) {
        at = delimiter.end;
        if delimiter.is_last {
            continue;
        }
        parts += 1;
        let Some(header) = part_header(&body[at..]).filter(|_| parts <= PARTS_MAX) else { break };
        at += header.len();
        match read_part(header) {
            Part::Multipart(boundary) if boundaries.len() < MULTIPARTS_MAX => boundaries.push(boundary),
            Part::Text(text) => {
                let end = next_delimiter(body, at, &boundaries).map_or(body.len(), |next| next.start);
                let excerpt = text.decode(&body[at..end]);
                if excerpt.contains(char::is_alphabetic) {
                    return excerpt;
                }
                at = end;
            }
            Part::Multipart(_) | Part::Other => {}
        }
    }
    String::new()
}

/// A line that begins or ends a part (RFC 2046 §5.1.1).
struct Delimiter {
    start: usize,
    end: usize,
    is_last: bool,
}

/// The next line from `at` on, a line's start, that is a delimiter of one of the multiparts.
fn next_delimiter(body: &[u8], at: usize, boundaries: &[String]) -> Option<Delimiter> {
    let mut start = at;
    for line in body[at..].split_inclusive(|&byte| byte == b'\n') {
        let end = start + line.len();
        if let Some(rest) = line.strip_prefix(b"--") {
            let rest = rest.trim_ascii_end();
            for boundary in boundaries {
                match rest.strip_prefix(boundary.as_bytes()) {
                    Some(b"") => return Some(Delimiter { start, end, is_last: false }),
                    Some(b"--") => return Some(Delimiter { start, end, is_last: true }),
                    _ => {}
                }
            }
        }
        start = end;
    }
    None
}

/// A part's header with the empty line that ends it.
fn part_header(part: &[u8]) -> Option<&[u8]> {
    let window = &part[..part.len().min(PART_HEADER_BYTES_MAX)];
    let mut end = 0;
    for line in window.split_inclusive(|&byte| byte == b'\n') {
        end += line.len();
        if matches!(line, b"\n" | b"\r\n") {
            return Some(&window[..end]);
        }
    }
    None
}

/// What a part is.
enum Part {
    Text(Text),
    /// With its boundary.
    Multipart(String),
    Other,
}

impl Part {
    /// Without a type it is plain text (RFC 2045 §5.2).
    fn new(content_type: Option<&ContentType<'_>>, encoding: &str) -> Self {
        let attribute = |name: &str| content_type.and_then(|value| value.attribute(name)).unwrap_or_default();
        let (kind, subtype) = content_type.map_or(("text", "plain"), |value| (value.ctype(), value.subtype().unwrap_or_default()));
        let is_html = subtype.eq_ignore_ascii_case("html");
        if kind.eq_ignore_ascii_case("text") && (is_html || subtype.eq_ignore_ascii_case("plain")) {
            return Part::Text(Text { encoding: encoding.trim().to_ascii_lowercase(), charset: attribute("charset").to_owned(), is_html });
        }
        let boundary = attribute("boundary").trim_end();
        if kind.eq_ignore_ascii_case("multipart") && !boundary.is_empty() {
            return Part::Multipart(boundary.to_owned());
        }
        Part::Other
    }
}

fn read_part(header: &[u8]) -> Part {
    static PARSER: LazyLock<MessageParser> = LazyLock::new(|| {
        MessageParser::new()
            .default_header_ignore()
            .header_content_type(HeaderName::ContentType)
            .header_content_type(HeaderName::ContentDisposition)
            .header_text(HeaderName::ContentTransferEncoding)
    });
    let Some(parsed) = PARSER.parse_headers(header) else { return Part::new(None, "") };
    let (mut content_type, mut encoding) = (None, "");
    for field in parsed.headers() {
        match (&field.name, &field.value) {
            (HeaderName::ContentType, HeaderValue::ContentType(value)) if content_type.is_none() => content_type = Some(value),
            (HeaderName::ContentTransferEncoding, HeaderValue::Text(value)) => encoding = value,
            (HeaderName::ContentDisposition, HeaderValue::ContentType(value)) if value.ctype().eq_ignore_ascii_case("attachment") => {
                return Part::Other;
            }
            _ => {}
        }
    }
    Part::new(content_type, encoding)
}

/// How a text is written.
struct Text {
    encoding: String,
    charset: String,
    is_html: bool,
}

impl Text {
    fn decode(&self, raw: &[u8]) -> String {
        let bytes_max = if self.is_html { HTML_BYTES_MAX } else { PLAIN_BYTES_MAX };
        let bytes = match self.encoding.as_str() {
            "base64" => Cow::Owned(base64(raw, bytes_max)),
            "quoted-printable" => Cow::Owned(quoted_printable(raw, bytes_max)),
            _ => Cow::Borrowed(&raw[..raw.len().min(bytes_max)]),
        };
        // What calls itself ASCII or Latin and holds other letters is UTF-8, if anything.
        let is_named = !["", "us-ascii", "ascii", "iso-8859-1", "utf-8", "utf8"].contains(&self.charset.to_ascii_lowercase().as_str());
        let text = match charset_decoder(self.charset.as_bytes()).filter(|_| is_named) {
            Some(decode) => Cow::Owned(decode(&bytes)),
            None => String::from_utf8_lossy(&bytes),
        };
        if self.is_html {
            return html_to_text(&text).chars().take(EXCERPT_CHARS_MAX).collect();
        }
        // Quoted lines are another's words.
        let lines = text.split_inclusive('\n').filter(|line| !line.starts_with('>'));
        lines.flat_map(str::chars).take(EXCERPT_CHARS_MAX).collect()
    }
}

/// At most `bytes_max` bytes of a base64 text, what does not belong to it left out (RFC 2045 §6.8).
fn base64(raw: &[u8], bytes_max: usize) -> Vec<u8> {
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits: Vec<u8> = raw.iter().copied().filter(is_of_it).take(bytes_max / 3 * 4).collect();
    base64_decode(&digits).unwrap_or_default()
}

/// At most `bytes_max` bytes of a quoted-printable text; a `=` that begins nothing stands for itself (RFC 2045 §6.7).
fn quoted_printable(raw: &[u8], bytes_max: usize) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(bytes_max.min(raw.len()));
    let mut rest = raw;
    while let Some((&byte, behind)) = rest.split_first().filter(|_| bytes.len() < bytes_max) {
        rest = behind;
        match (byte, behind) {
            (b'=', [b'\r', b'\n', after @ ..] | [b'\n', after @ ..]) => rest = after,
            (b'=', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(byte),
            },
            _ => bytes.push(byte),
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
