//! From bytes to a [`Request`]: the header of a mail, read under limits that hold before any parser sees it.
//!
//! The body is never parsed: whom to answer, and whether, stands in the header, and a tree of nested parts is how a
//! parser is made to fall. So the header block is cut out first, measured, and only then given to mail-parser. Of the body
//! only the first letters are looked at, without a parser (`excerpt`): they may help to choose a language.
//! A mail that breaks a limit or has no header ends in a reason, never in an error.

mod excerpt;

use std::{fmt, sync::LazyLock};

use mail_parser::{Address as ParsedAddress, HeaderName, HeaderValue, MessageParser};

use replyfleet::keyed::sha256_hex;

use crate::{address::Address, reason::Reason};

/// Bytes of the header block. Real mail stays under a third of it.
pub const HEADER_BYTES_MAX: usize = 100 << 10;
/// Fields in the header block.
pub const FIELD_COUNT_MAX: usize = 1_000;
/// Bytes in one line of the header block.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// `@` in From fields: with more it is no person's From.
pub const FROM_ADDRESSES_MAX: usize = 100;
/// Characters of a Subject that are kept.
const SUBJECT_CHARS_MAX: usize = 1_024;
/// Bytes of a msg-id that is believed; RFC 5322's line limit less the field's name.
const MSG_ID_BYTES_MAX: usize = 900;

/// What the header of a mail says. Its `Debug` shows none of it.
pub struct Request {
    /// The one From mailbox, or why there is none.
    pub from: Result<Address, FromFault>,
    /// The decoded Subject, cut at 1,024 characters; empty if there is none.
    pub subject: String,
    /// The one valid Message-ID, with its angle brackets.
    pub message_id: Option<String>,
    /// The valid ids in References, with their angle brackets.
    pub references: Vec<String>,
    /// Type and subtype of the mail as a whole, in lower case; `text/plain` if it does not say (RFC 2045 §5.2).
    pub content_type: String,
    /// The beginning of the first text part, decoded, at most 2,048 characters; empty if there is none or it cannot be read.
    /// Only its letters mean anything.
    pub excerpt: String,
    /// Every field in the order of the mail: the name in lower case, the value unfolded.
    pub fields: Vec<(String, String)>,
    /// Length of the whole mail.
    pub bytes: usize,
    /// Length of its header, the empty line included.
    header_bytes: usize,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} fields, {} bytes)", self.fields.len(), self.bytes)
    }
}

/// Why a mail has no From that could be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromFault {
    /// No From field, or one without a mailbox.
    Missing,
    /// Several From fields (RFC 5322 §3.6 allows one).
    SeveralFields,
    /// Several mailboxes in it.
    SeveralMailboxes,
    /// A group (RFC 6854).
    Group,
    /// A mailbox with a second spelling, or one that the parser did not take over byte for byte.
    NotReproducible,
}

impl FromFault {
    /// For `replyfleet explain`.
    pub fn sentence(self) -> &'static str {
        match self {
            FromFault::Missing => "there is no mailbox in From",
            FromFault::SeveralFields => "there are several From fields",
            FromFault::SeveralMailboxes => "there are several mailboxes in From",
            FromFault::Group => "From is a group",
            FromFault::NotReproducible => "the From address could be read in two ways",
        }
    }
}

impl Request {
    /// What makes two mails of one sender the same request (rule 27): the Message-ID; where there is none, what the sender
    /// wrote. An empty mail with a Message-ID of its own is a new request, as often as it is sent. All of this can be changed
    /// by whoever has the mail, unless it is signed: where a signature proved the sender,
    /// [`crate::authenticate::Evidence::replay_key`] tells more.
    pub fn identity(&self, mail: &[u8]) -> String {
        if let Some(message_id) = &self.message_id {
            return message_id.clone();
        }
        let date = self.values("date").next().unwrap_or_default();
        let body = sha256_hex(mail.get(self.header_bytes..).unwrap_or_default());
        sha256_hex(format!("{date}\n{}\n{body}", self.subject).as_bytes())
    }

    /// The values of all fields called `name` (in lower case), top first.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a mail of at most `bytes_max` bytes.
///
/// # Errors
/// The reason why it cannot be read.
pub fn read(mail: &[u8], bytes_max: usize) -> Result<Request, Reason> {
    if mail.len() > bytes_max {
        return Err(Reason::OverLimits);
    }
    let header = header_block(mail)?;
    static PARSER: LazyLock<MessageParser> = LazyLock::new(|| {
        MessageParser::new()
            .default_header_raw()
            .header_address(HeaderName::From)
            .header_text(HeaderName::Subject)
            .header_content_type(HeaderName::ContentType)
    });
    let parsed = PARSER.parse_headers(header).ok_or(Reason::Unreadable)?;

    let raw = |start: u32, end: u32| String::from_utf8_lossy(header.get(start as usize..end as usize).unwrap_or_default());
    let mut fields = Vec::with_capacity(parsed.headers().len());
    let mut from_fields = Vec::new();
    let (mut subject, mut content_type) = (String::new(), None);
    for field in parsed.headers() {
        let text = unfold(&raw(field.offset_start(), field.offset_end()));
        match (&field.name, &field.value) {
            (HeaderName::From, value) => from_fields.push((value, text.clone())),
            (HeaderName::Subject, HeaderValue::Text(decoded)) if subject.is_empty() => subject = decoded.chars().take(SUBJECT_CHARS_MAX).collect(),
            (HeaderName::ContentType, HeaderValue::ContentType(value)) if content_type.is_none() => content_type = Some(value),
            _ => {}
        }
        fields.push((field.name().to_lowercase(), text));
    }
    if fields.is_empty() {
        return Err(Reason::Unreadable);
    }
    let values = |name: &str| fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>();
    let message_id = match values("message-id").as_slice() {
        [one] => msg_ids(one).pop().filter(|id| id == one.trim()),
        _ => None,
    };
    let references = values("references").into_iter().flat_map(msg_ids).collect();
    let from = match from_fields.as_slice() {
        [] => Err(FromFault::Missing),
        [(value, text)] => from_address(value, text),
        _ => Err(FromFault::SeveralFields),
    };
    let encoding = values("content-transfer-encoding").first().copied().unwrap_or_default();
    let excerpt = excerpt::excerpt(content_type, encoding, &mail[header.len()..]);
    let content_type = content_type.map(|value| format!("{}/{}", value.ctype(), value.subtype().unwrap_or("")).to_lowercase());
    let content_type = content_type.unwrap_or_else(|| "text/plain".into());
    Ok(Request { from, subject, message_id, references, content_type, excerpt, fields, bytes: mail.len(), header_bytes: header.len() })
}

/// The header with the empty line that ends it. A mail that ends within its header, at a line end, is a mail without a
/// body, and valid (RFC 5322 §3.5).
fn header_block(mail: &[u8]) -> Result<&[u8], Reason> {
    let (mut end, mut fields, mut at_signs_in_from) = (0, 0, 0);
    let mut is_from = false;
    loop {
        let rest = &mail[end..];
        let window = &rest[..rest.len().min(LINE_BYTES_MAX + 1)];
        let Some(length) = window.iter().position(|&byte| byte == b'\n').map(|at| at + 1) else {
            return match rest.len() {
                0 if end > 0 => Ok(mail),
                0..=LINE_BYTES_MAX => Err(Reason::Unreadable),
                _ => Err(Reason::OverLimits),
            };
        };
        let line = &rest[..length];
        end += length;
        if end > HEADER_BYTES_MAX {
            return Err(Reason::OverLimits);
        }
        if matches!(line, b"\n" | b"\r\n") {
            return if end == length { Err(Reason::Unreadable) } else { Ok(&mail[..end]) };
        }
        if !matches!(line[0], b' ' | b'\t') {
            fields += 1;
            is_from = line.len() >= 5 && line[..4].eq_ignore_ascii_case(b"from");
        }
        if is_from {
            at_signs_in_from += line.iter().filter(|&&byte| byte == b'@').count();
        }
        if fields > FIELD_COUNT_MAX || at_signs_in_from > FROM_ADDRESSES_MAX {
            return Err(Reason::OverLimits);
        }
    }
}

/// The one mailbox of a From field, if there is no other way to read it.
///
/// RFC 5322 lets comments and white space stand inside an address (`a.(x)b@c.org` is `a.b@c.org`), and parsers differ
/// there. So what mail-parser found must also be all that is left when comments and quoted strings are taken out: the
/// whole field, or all that stands in its one pair of angle brackets.
fn from_address(value: &HeaderValue<'_>, text: &str) -> Result<Address, FromFault> {
    let list = match value {
        HeaderValue::Address(ParsedAddress::List(list)) => list,
        HeaderValue::Address(ParsedAddress::Group(_)) => return Err(FromFault::Group),
        _ => return Err(FromFault::Missing),
    };
    let mailbox = match list.as_slice() {
        [] => return Err(FromFault::Missing),
        [one] => one,
        _ => return Err(FromFault::SeveralMailboxes),
    };
    let found = mailbox.address().ok_or(FromFault::Missing)?;
    let address = Address::parse(found).ok_or(FromFault::NotReproducible)?;
    let bare = without_comments_and_quotes(text).ok_or(FromFault::NotReproducible)?;
    let left = match bare.split_once('<') {
        None => bare.trim(),
        Some((_, rest)) => match rest.split_once('>') {
            Some((inside, behind)) if behind.trim().is_empty() => inside.trim(),
            _ => "",
        },
    };
    if left == address.as_str() { Ok(address) } else { Err(FromFault::NotReproducible) }
}

/// The text with a space in the place of each comment (they nest) and quoted string. `None` if one is never closed, or if
/// a quoted string touches a word, of which it could then be a part.
fn without_comments_and_quotes(text: &str) -> Option<String> {
    let mut bare = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !matches!(c, '(' | '"') {
            bare.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let end = closed(rest)?;
        let touches = |neighbour: Option<char>| neighbour.is_some_and(|n| !n.is_whitespace() && !matches!(n, '<' | '(' | ')'));
        if c == '"' && (touches(bare.chars().next_back()) || touches(rest[end..].chars().next())) {
            return None;
        }
        bare.push(' ');
        rest = &rest[end..];
    }
    Some(bare)
}

/// The length of the comment or quoted string at the start of `text`, if it is closed.
fn closed(text: &str) -> Option<usize> {
    let is_quote = text.starts_with('"');
    let (mut depth, mut is_escaped) = (0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' if is_quote && at > 0 => return Some(at + 1),
            '(' if !is_quote => depth += 1,
            ')' if !is_quote => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The msg-ids in `text` that can be written back without harm: `<left@right>` in visible ASCII (RFC 5322 §3.6.4).
fn msg_ids(text: &str) -> Vec<String> {
    let is_id = |id: &str| {
        let is_visible = id.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'(' | b')' | b',' | b'"' | b'\\'));
        let has_two_sides = id.split_once('@').is_some_and(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains('@'));
        is_visible && has_two_sides && id.len() <= MSG_ID_BYTES_MAX
    };
    let candidates = text.split('<').skip(1).filter_map(|rest| rest.split_once('>').map(|(id, _)| id));
    candidates.filter(|id| is_id(id)).map(|id| format!("<{id}>")).collect()
}

/// A folded value as one line (RFC 5322 §2.2.3), without white space around it.
fn unfold(raw: &str) -> String {
    raw.trim().replace("\r\n", "").replace(['\n', '\0'], "")
}

#[cfg(test)]
mod tests;
