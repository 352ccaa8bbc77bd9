//! What an SMTP server answers, read from bytes that anybody may have sent (RFC 5321 §4.2).
//!
//! No I/O: bytes are put into [`Answers`] and whole answers come out. Lines and answers are bounded; what is no answer at
//! all is [`Garbled`], and the dialogue is over. Bytes beyond ASCII in a text are nobody's reason to lose a code.

use bytes::BytesMut;

/// The longest line that is read, in bytes; RFC 5321 §4.5.3.1.5 allows 512.
pub(super) const LINE_BYTES_MAX: usize = 4_096;
/// The longest answer, in bytes of all its lines. EHLO's are the longest, of a kilobyte.
pub(super) const ANSWER_BYTES_MAX: usize = 65_536;

/// What came is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbled;

/// One answer, of one or more lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// From 200 to 599.
    pub(super) code: u16,
    /// Its texts. They may quote addresses: nothing of them goes into logs or errors.
    pub(super) lines: Vec<String>,
}

impl Answer {
    /// 2yz: done.
    pub(super) fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 5yz: not now and not later.
    pub(super) fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The enhanced status code with which its text begins (RFC 2034 §4): class, subject, detail.
    fn enhanced(&self) -> Option<[u16; 3]> {
        let mut numbers = self.lines.first()?.split_ascii_whitespace().next()?.split('.').map(|number| number.parse().ok());
        let code = [numbers.next()??, numbers.next()??, numbers.next()??];
        (numbers.next().is_none() && code[0] == self.code / 100).then_some(code)
    }

    /// Whether it says that a mail is too big, for the system (RFC 3463 §3.4, X.3.4) or for a rule (§3.3, X.2.3).
    pub(super) fn is_of_size(&self) -> bool {
        matches!(self.enhanced(), Some([_, 3, 4] | [_, 2, 3]))
    }

    /// Whether it asks who we are: 530 and 535 (RFC 4954 §6), 538 (RFC 2554 §6).
    pub(super) fn is_of_authentication(&self) -> bool {
        matches!(self.code, 530 | 535 | 538)
    }

    /// Whether it is about security or policy (RFC 3463 §3.8, X.7.Z).
    pub(super) fn is_of_policy(&self) -> bool {
        matches!(self.enhanced(), Some([_, 7, _]))
    }

    /// How SES's SMTP interface says that mails come too fast: `454 Throttling failure: Maximum sending rate exceeded`.
    pub(super) fn is_throttling(&self) -> bool {
        self.code == 454 && self.lines.iter().any(|line| line.to_ascii_lowercase().contains("throttling"))
    }
}

/// Answers as they come in, one after another.
#[derive(Default)]
pub(super) struct Answers {
    buffer: BytesMut,
    /// The lines of the next answer that are here already, and their bytes.
    begun: Option<Answer>,
    begun_bytes: usize,
}

impl Answers {
    /// Where to put what comes, at its end.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether nothing is here that nobody asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.begun.is_none()
    }

    /// The next answer, if it is here as a whole.
    ///
    /// # Errors
    /// [`Garbled`]; then nothing that follows means anything.
    pub(super) fn take(&mut self) -> Result<Option<Answer>, Garbled> {
        while let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
            let line = self.buffer.split_to(end + 1);
            self.begun_bytes += line.len();
            if line.len() > LINE_BYTES_MAX || self.begun_bytes > ANSWER_BYTES_MAX {
                return Err(Garbled);
            }
            let (code, is_last, text) = parts(&line).ok_or(Garbled)?;
            let answer = self.begun.get_or_insert_with(|| Answer { code, lines: Vec::new() });
            // All lines must have one code (RFC 5321 §4.2.1): which would count?
            if answer.code != code {
                return Err(Garbled);
            }
            answer.lines.push(String::from_utf8_lossy(text).into_owned());
            if is_last {
                self.begun_bytes = 0;
                return Ok(self.begun.take());
            }
        }
        if self.buffer.len() > LINE_BYTES_MAX { Err(Garbled) } else { Ok(None) }
    }
}

/// Code, whether it is the last line, and text of `line`. A code alone is a line too (RFC 5321 §4.2: "SHOULD" be taken).
fn parts(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (digits, rest) = line.split_at_checked(3)?;
    let is_code = matches!(digits[0], b'2'..=b'5') && digits.iter().all(u8::is_ascii_digit);
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit.wrapping_sub(b'0')));
    match rest.split_first() {
        _ if !is_code => None,
        None => Some((code, true, rest)),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

/// What a server can do, as it said after EHLO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offers {
    /// Commands may be sent before the answers to earlier ones (RFC 2920).
    pub(super) has_pipelining: bool,
    /// TLS may begin (RFC 3207).
    pub(super) has_starttls: bool,
    /// Local parts may be beyond ASCII (RFC 6531).
    pub(super) has_smtputf8: bool,
    /// SIZE= is understood (RFC 1870).
    pub(super) has_size: bool,
    /// The largest mail in bytes; `None` if it does not say, or says that there is no limit.
    pub(super) message_bytes_max: Option<usize>,
    /// AUTH PLAIN (RFC 4616).
    pub(super) has_plain: bool,
    /// AUTH LOGIN, which has no RFC and which some relays have only.
    pub(super) has_login: bool,
}

impl Offers {
    /// What the answer to EHLO says; its first line is a greeting.
    pub(super) fn of(answer: &Answer) -> Self {
        let mut offers = Self::default();
        for line in answer.lines.iter().skip(1) {
            // "AUTH=LOGIN PLAIN" is how old servers write it.
            let line = line.to_ascii_uppercase().replacen("AUTH=", "AUTH ", 1);
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("PIPELINING") => offers.has_pipelining = true,
                Some("STARTTLS") => offers.has_starttls = true,
                Some("SMTPUTF8") => offers.has_smtputf8 = true,
                Some("SIZE") => {
                    offers.has_size = true;
                    offers.message_bytes_max = words.next().and_then(|word| word.parse().ok()).filter(|&bytes| bytes > 0);
                }
                Some("AUTH") => words.for_each(|mechanism| match mechanism {
                    "PLAIN" => offers.has_plain = true,
                    "LOGIN" => offers.has_login = true,
                    _ => {}
                }),
                _ => {}
            }
        }
        offers
    }
}

#[cfg(test)]
mod tests;
