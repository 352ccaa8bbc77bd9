//! The commands of LMTP as Postfix writes them (RFC 2033, RFC 5321 §4.1; XFORWARD_README): bytes of a line to a command.
//!
//! Only what is needed of a command is read: the parameters of MAIL are not, of RCPT's only ORCPT. Bytes that are no
//! UTF-8 become U+FFFD, as in the arguments of the pipe. What cannot be read is a [`Fault`] with the reply that says so;
//! nothing here can make Postfix bounce, since it never gets a 5xx to MAIL, RCPT, DATA or BDAT.

use super::xtext;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// LHLO.
    Lhlo,
    /// EHLO or HELO: who says so takes us for an SMTP server.
    Smtp,
    /// XFORWARD with the attributes that we know; a value is `None` where the MX has none.
    Xforward(Vec<(Attribute, Option<String>)>),
    /// MAIL with the sender, empty for `<>`.
    Mail(String),
    /// RCPT.
    Rcpt {
        /// RCPT TO.
        to: String,
        /// The address of ORCPT, if there is one that can be read.
        original: Option<String>,
    },
    /// DATA.
    Data,
    /// BDAT (RFC 3030 §2).
    Bdat {
        /// So many bytes follow.
        bytes: u64,
        /// They are the mail's last.
        is_last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
}

/// What XFORWARD can say of a mail, as far as it is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// The client's host name.
    Name,
    /// The client's address.
    Addr,
    /// SMTP or ESMTP.
    Proto,
    /// The client's HELO or EHLO argument.
    Helo,
    /// The queue id.
    Ident,
}

/// Why a line is no command: the reply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(pub &'static str);

const UNKNOWN: Fault = Fault("500 5.5.1 not a command that is known here");
const NO_ATTRIBUTE: Fault = Fault("501 5.5.4 not attributes in xtext");
const NO_SENDER: Fault = Fault("451 4.1.7 MAIL FROM has no address in brackets");
const NO_RECIPIENT: Fault = Fault("451 4.1.3 RCPT TO has no address in brackets");
const NO_SIZE: Fault = Fault("421 4.5.4 BDAT has no number of bytes, and where the next command begins is unknown");

impl Command {
    /// Reads a line, without its line end.
    ///
    /// # Errors
    /// [`Fault`], whose text is the reply.
    pub fn parse(line: &[u8]) -> Result<Self, Fault> {
        let line = line.trim_ascii_end();
        let verb_bytes = line.iter().position(|byte| *byte == b' ' || *byte == b'\t').unwrap_or(line.len());
        let (verb, rest) = (line[..verb_bytes].to_ascii_uppercase(), line[verb_bytes..].trim_ascii_start());
        Ok(match verb.as_slice() {
            b"MAIL" => Self::Mail(path(rest, b"FROM:").ok_or(NO_SENDER)?.0),
            b"RCPT" => {
                let (to, parameters) = path(rest, b"TO:").filter(|(to, _)| !to.is_empty()).ok_or(NO_RECIPIENT)?;
                Self::Rcpt { to, original: parameter(parameters, b"ORCPT=").and_then(xtext::original_recipient) }
            }
            b"DATA" => Self::Data,
            b"XFORWARD" => Self::Xforward(attributes(rest).ok_or(NO_ATTRIBUTE)?),
            b"BDAT" => bdat(rest).ok_or(NO_SIZE)?,
            b"RSET" => Self::Rset,
            b"QUIT" => Self::Quit,
            b"NOOP" => Self::Noop,
            b"LHLO" => Self::Lhlo,
            b"EHLO" | b"HELO" => Self::Smtp,
            _ => return Err(UNKNOWN),
        })
    }
}

/// The address in brackets behind `keyword`, and what follows it. A bracket within quotes is none (RFC 5321 §4.1.2).
fn path<'a>(rest: &'a [u8], keyword: &[u8]) -> Option<(String, &'a [u8])> {
    let (head, rest) = rest.split_at_checked(keyword.len())?;
    let rest = rest.trim_ascii_start();
    if !head.eq_ignore_ascii_case(keyword) || rest.first() != Some(&b'<') {
        return None;
    }
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, &byte) in rest.iter().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'>' if !is_quoted => return Some((String::from_utf8_lossy(&rest[1..at]).into_owned(), &rest[at + 1..])),
            _ => {}
        }
    }
    None
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// The value of the parameter that begins with `name`.
fn parameter<'a>(parameters: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    words(parameters).find_map(|word| word.split_at_checked(name.len()).filter(|(head, _)| head.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// NAME=value with a space between; names that we do not know are passed over.
fn attributes(text: &[u8]) -> Option<Vec<(Attribute, Option<String>)>> {
    let mut attributes = Vec::new();
    for word in words(text) {
        let equals = word.iter().position(|&byte| byte == b'=')?;
        let attribute = match word[..equals].to_ascii_uppercase().as_slice() {
            b"NAME" => Attribute::Name,
            b"ADDR" => Attribute::Addr,
            b"PROTO" => Attribute::Proto,
            b"HELO" => Attribute::Helo,
            b"IDENT" => Attribute::Ident,
            _ => continue,
        };
        attributes.push((attribute, xtext::attribute(&word[equals + 1..])?));
    }
    Some(attributes)
}

fn bdat(text: &[u8]) -> Option<Command> {
    let mut words = words(text);
    let digits = std::str::from_utf8(words.next()?).ok()?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = is_number.then(|| digits.parse().ok()).flatten()?;
    let is_last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Command::Bdat { bytes, is_last })
}

#[cfg(test)]
mod tests;
