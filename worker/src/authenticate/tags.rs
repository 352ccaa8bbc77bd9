//! The tag=value lists of DKIM and ARC (RFC 6376 §3.2), read strictly.
//!
//! mail-auth reads them leniently: it takes the last of two equal tags, ignores the case of names, and skips white space
//! inside them. Two readers that differ can be played against each other, so a list that could be read in two ways is
//! no list here. Every value that counts is then the same for both.

/// Tags of one list. RFC 6376 defines 17 for a signature.
const TAGS_MAX: usize = 64;

/// A tag=value list.
pub(super) struct Tags<'t>(Vec<(&'t str, &'t str)>);

impl<'t> Tags<'t> {
    /// Reads a list; `None` if it is not one, has a name twice (in any case), or too many.
    pub(super) fn parse(list: &'t [u8]) -> Option<Self> {
        let list = std::str::from_utf8(list).ok()?.trim_matches(is_space);
        let list = list.strip_suffix(';').unwrap_or(list);
        let mut tags: Vec<(&str, &str)> = Vec::new();
        for tag in list.split(';') {
            let (name, value) = tag.split_once('=')?;
            let (name, value) = (name.trim_matches(is_space), value.trim_matches(is_space));
            let is_name =
                name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let is_known = tags.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
            if !is_name || is_known || tags.len() == TAGS_MAX {
                return None;
            }
            tags.push((name, value));
        }
        Some(Self(tags))
    }

    /// The value of a tag, without the white space around it.
    pub(super) fn get(&self, name: &str) -> Option<&'t str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// Whether a tag is there, whatever the case of its name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// The parts of a colon-separated value in lower case, without white space (RFC 6376 §3.5 h=, §3.6.1).
    pub(super) fn parts(&self, name: &str) -> Option<Vec<String>> {
        let value = self.get(name)?;
        Some(value.split(':').map(|part| part.trim_matches(is_space).to_ascii_lowercase()).collect())
    }

    /// A time in seconds since 1970. `Ok(None)` if the tag is not there.
    ///
    /// # Errors
    /// If it is there and not a number (RFC 6376 §3.5: up to twelve digits).
    pub(super) fn seconds(&self, name: &str) -> Result<Option<u64>, ()> {
        match self.get(name) {
            None => Ok(None),
            Some(digits) if digits.len() <= 12 && digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map(Some).map_err(drop),
            Some(_) => Err(()),
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_only_if_there_is_one_way_to_read_it() {
        let tags = Tags::parse(b" v=1; a = rsa-sha256;\r\n\th=From : To:\r\n Date; x=12; ").expect("valid");
        assert_eq!((tags.get("v"), tags.get("a"), tags.get("q")), (Some("1"), Some("rsa-sha256"), None));
        assert_eq!(tags.parts("h").expect("valid"), ["from", "to", "date"]);
        assert_eq!((tags.seconds("x"), tags.seconds("t")), (Ok(Some(12)), Ok(None)));
        for bad in ["", ";", "v", "v=1;;a=b", "d=a.org; d=b.org", "d=a.org; D=b.org", "d d=a.org", "=1", "1=1", "d.=1", "\u{e4}=1"] {
            assert!(Tags::parse(bad.as_bytes()).is_none(), "{bad:?}");
        }
        assert!(Tags::parse(b"v=\xff").is_none());
        let long = (0..65).map(|n| format!("t{n}=1")).collect::<Vec<_>>().join(";");
        assert!(Tags::parse(long.as_bytes()).is_none(), "bounded");
    }

    #[test]
    fn a_time_is_digits_and_nothing_else() {
        for (value, expected) in [("1", Ok(Some(1))), ("", Err(())), ("1 2", Err(())), ("-1", Err(())), ("1234567890123", Err(()))] {
            let list = format!("x={value}");
            assert_eq!(Tags::parse(list.as_bytes()).expect("valid").seconds("x"), expected, "{value:?}");
        }
    }
}
