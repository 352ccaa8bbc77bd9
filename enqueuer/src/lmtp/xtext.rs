//! How XFORWARD and ORCPT spell what may not stand in a command: xtext (RFC 3461 §4), and the spelling of addresses in
//! UTF-8 (RFC 6533 §3).
//!
//! What is decoded becomes text; bytes that are no UTF-8 become U+FFFD, as in the arguments of the pipe. Nothing here
//! fails but on a spelling that is none.

/// Postfix's words for "has none" and "cannot tell now" (XFORWARD_README).
const NONE: [&str; 2] = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"];

/// Decodes xtext: `+HH` is a byte. `None` if it is none.
pub fn decode(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'+' {
            let (high, low) = (hexadecimal(*after.first()?)?, hexadecimal(*after.get(1)?)?);
            bytes.push(high << 4 | low);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Encodes as xtext.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_graphic() && byte != b'+' && byte != b'=' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("+{byte:02X}"));
        }
    }
    encoded
}

/// The value of an XFORWARD attribute: `Some(None)` if the MX has none, `None` if it is no xtext.
pub fn attribute(value: &[u8]) -> Option<Option<String>> {
    let value = decode(value)?;
    let is_none = value.is_empty() || NONE.iter().any(|none| value.eq_ignore_ascii_case(none));
    Some((!is_none).then_some(value))
}

/// The address of an ORCPT parameter's value: `rfc822;xtext`, or `utf-8;` and the address with `\x{HEX}` for what may not
/// stand in a command. `None` if it is of another type, empty, or not spelt so.
pub fn original_recipient(value: &[u8]) -> Option<String> {
    let semicolon = value.iter().position(|&byte| byte == b';')?;
    let (kind, address) = (&value[..semicolon], &value[semicolon + 1..]);
    let address = if kind.eq_ignore_ascii_case(b"rfc822") {
        decode(address)?
    } else if kind.eq_ignore_ascii_case(b"utf-8") {
        decode_utf8_address(&String::from_utf8_lossy(address))?
    } else {
        return None;
    };
    (!address.is_empty()).then_some(address)
}

fn decode_utf8_address(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escaped)) = rest.split_once("\\x{") {
        decoded.push_str(before);
        let (digits, after) = escaped.split_once('}')?;
        let is_digits = (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        decoded.push(is_digits.then(|| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)).flatten()?);
        rest = after;
    }
    decoded.push_str(rest);
    Some(decoded)
}

fn hexadecimal(byte: u8) -> Option<u8> {
    u8::try_from(char::from(byte).to_digit(16)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_is_read_and_what_is_none_is_refused() {
        for (text, wanted) in [
            (&b"mail.example.org"[..], Some("mail.example.org")),
            (b"get+2Btag@example.com", Some("get+tag@example.com")),
            (b"+2b+3D+2B", Some("+=+")),
            (b"+C3+A9", Some("\u{e9}")),
            (b"+FF", Some("\u{fffd}")),
            (b"\xff", Some("\u{fffd}")),
            (b"", Some("")),
            (b"+", None),
            (b"+2", None),
            (b"+2G", None),
            (b"a+", None),
        ] {
            assert_eq!(decode(text).as_deref(), wanted, "{text:?}");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for text in ["", "a b", "get+tag@example.com", "\u{e9}\r\n\0=", "[UNAVAILABLE]"] {
            let encoded = encode(text);
            assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic()), "{encoded}");
            assert_eq!(decode(encoded.as_bytes()).as_deref(), Some(text));
        }
    }

    #[test]
    fn an_attribute_that_is_not_available_is_none() {
        for none in ["[UNAVAILABLE]", "[unavailable]", "[TEMPUNAVAIL]", ""] {
            assert_eq!(attribute(none.as_bytes()), Some(None));
        }
        assert_eq!(attribute(b"x"), Some(Some("x".into())));
        assert_eq!(attribute(b"+"), None);
    }

    #[test]
    fn an_original_recipient_is_read_in_both_spellings() {
        for (value, wanted) in [
            (&b"rfc822;get+2Btag@example.com"[..], Some("get+tag@example.com")),
            (b"RFC822;get@example.com", Some("get@example.com")),
            (b"utf-8;g\\x{E9}t@example.com", Some("g\u{e9}t@example.com")),
            ("UTF-8;g\u{e9}t\\x{2B}@example.com".as_bytes(), Some("g\u{e9}t+@example.com")),
            (b"rfc822;", None),
            (b"x400;/c=x", None),
            (b"get@example.com", None),
            (b"rfc822;+", None),
            (b"utf-8;\\x{}", None),
            (b"utf-8;\\x{D800}", None),
            (b"utf-8;\\x{+1}", None),
            (b"utf-8;\\x{41", None),
        ] {
            assert_eq!(original_recipient(value).as_deref(), wanted, "{value:?}");
        }
    }
}
