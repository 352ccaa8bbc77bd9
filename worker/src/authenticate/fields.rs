//! A raw mail as its signers saw it: header fields byte for byte, and the body, with CRLF at the ends of lines.
//!
//! Postfix's pipe(8) hands mail over with bare LF; what was signed had CRLF. So each LF without a CR gets one back, also
//! in a mail that has both (RFC 6376 §5.3 has signers do the same). A header over the limits of [`crate::request`] is
//! not split: nothing is proven then.

use std::borrow::Cow;

use mail_auth::AuthenticatedMessage;

use crate::{
    address::Address,
    request::{FIELD_COUNT_MAX, HEADER_BYTES_MAX},
};

/// A header field.
#[derive(Clone, Copy)]
pub(super) struct Field<'m> {
    /// What is before the colon, as it is.
    pub(super) name: &'m [u8],
    /// What is after the colon, with the CRLF at its end.
    pub(super) value: &'m [u8],
}

/// A mail with CRLF line ends.
pub(super) struct Mail<'m> {
    /// All of it.
    pub(super) raw: &'m [u8],
    /// The header fields, top first.
    pub(super) fields: Vec<Field<'m>>,
    /// Where the body starts.
    pub(super) body_at: usize,
}

/// The mail with a CR before each LF.
pub(super) fn with_crlf(mail: &[u8]) -> Cow<'_, [u8]> {
    let bare = bare_lfs(mail);
    if bare == 0 {
        return Cow::Borrowed(mail);
    }
    let mut text = Vec::with_capacity(mail.len() + bare);
    for line in mail.split_inclusive(|&byte| byte == b'\n') {
        match line {
            [.., b'\r', b'\n'] => text.extend_from_slice(line),
            [start @ .., b'\n'] => {
                text.extend_from_slice(start);
                text.extend_from_slice(b"\r\n");
            }
            last => text.extend_from_slice(last),
        }
    }
    Cow::Owned(text)
}

fn bare_lfs(mail: &[u8]) -> usize {
    let starts_bare = usize::from(mail.first() == Some(&b'\n'));
    starts_bare + mail.windows(2).filter(|pair| pair[1] == b'\n' && pair[0] != b'\r').count()
}

impl<'m> Mail<'m> {
    /// Splits a mail with CRLF line ends; `None` if its header breaks a limit.
    pub(super) fn split(raw: &'m [u8]) -> Option<Self> {
        let mut fields = Vec::with_capacity(32);
        let mut at = 0;
        while at < raw.len() {
            let rest = &raw[at..];
            if rest.starts_with(b"\r\n") {
                return Some(Self { raw, fields, body_at: at + 2 });
            }
            let length = field_length(rest);
            at += length;
            // The limit was measured on bare LFs; a CR more for each line is no reason.
            if fields.len() == FIELD_COUNT_MAX || at > 2 * HEADER_BYTES_MAX {
                return None;
            }
            let field = &rest[..length];
            // A line without a colon is no field; it keeps its place and can be called by no name.
            let colon = field.iter().position(|&byte| byte == b':').unwrap_or(field.len());
            fields.push(Field { name: &field[..colon], value: field.get(colon + 1..).unwrap_or_default() });
        }
        Some(Self { raw, fields, body_at: raw.len() })
    }

    /// What follows the empty line.
    pub(super) fn body(&self) -> &'m [u8] {
        &self.raw[self.body_at..]
    }

    /// The fields of this name, top first.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Field<'m>> + 'a {
        self.fields.iter().copied().filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The value of the one From field. `None` if there is none, or any other that some reader could take for one: with
    /// white space before its colon (RFC 5322 §4.5.2). A line `From somebody Mon Nov 16 ...`, as mailboxes and pipe(8)'s
    /// flag F have it, is no field.
    fn one_from(&self) -> Option<&'m [u8]> {
        let mut candidates = self.fields.iter().filter(|field| field.name.trim_ascii().eq_ignore_ascii_case(b"from"));
        match (candidates.next(), candidates.next()) {
            (Some(field), None) if field.name.eq_ignore_ascii_case(b"from") => Some(field.value),
            _ => None,
        }
    }
}

/// Length of the first field with its continuation lines.
fn field_length(header: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match header[at..].iter().position(|&byte| byte == b'\n') {
            None => return header.len(),
            Some(end) => at += end + 1,
        }
        if !matches!(header.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
}

/// Whether the library that proves senders reads the one From field of `mail` as exactly `from`.
///
/// [`crate::request::read`] found the address that is answered. If a second reader finds another, or a second From field,
/// then whatever is proven is not proven of that address.
pub fn author_agrees(mail: &[u8], from: &Address) -> bool {
    Mail::split(&with_crlf(header_of(mail))).is_some_and(|mail| agrees(&mail, from))
}

/// [`author_agrees`] on a mail that is split already.
pub(super) fn agrees(mail: &Mail<'_>, from: &Address) -> bool {
    let Some(value) = mail.one_from() else { return false };
    let field = [b"From:", value, b"\r\n"].concat();
    AuthenticatedMessage::parse(&field).is_some_and(|parsed| parsed.froms() == [from.as_str().to_lowercase()])
}

/// The mail without its body, so that no more than needed is copied.
fn header_of(mail: &[u8]) -> &[u8] {
    let is_end = |at: &usize| mail[at + 1..].starts_with(b"\n") || mail[at + 1..].starts_with(b"\r\n");
    let mut line_ends = mail.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    line_ends.find(is_end).map_or(mail, |end| &mail[..=end])
}

#[cfg(test)]
mod tests;
