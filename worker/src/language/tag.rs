//! Language tags (BCP 47, RFC 5646): read, written in their usual case, compared, and the direction of their script.
//!
//! Only what names a language for a reader is kept: language, script, region, variants. Whether a subtag is registered
//! is not asked: a tag that nobody offers matches nothing.

use std::fmt;

/// Characters of a tag.
const TAG_CHARS_MAX: usize = 35;

/// A language tag such as `fa`, `zh-Hans` or `pt-BR`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag(String);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which way a script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From left to right.
    LeftToRight,
    /// From right to left.
    RightToLeft,
}

impl Direction {
    /// The value of HTML's `dir`.
    pub fn word(self) -> &'static str {
        match self {
            Direction::LeftToRight => "ltr",
            Direction::RightToLeft => "rtl",
        }
    }
}

/// Scripts that run from right to left (ISO 15924).
const RIGHT_TO_LEFT_SCRIPTS: [&str; 11] = ["adlm", "arab", "aran", "hebr", "mand", "mend", "nkoo", "rohg", "samr", "syrc", "thaa"];

/// Languages that are written in one of these scripts unless the tag names another.
const RIGHT_TO_LEFT_LANGUAGES: [&str; 38] = [
    "acm", "aeb", "afb", "apc", "ar", "arc", "arq", "ary", "arz", "azb", "bal", "ckb", "dv", "fa", "glk", "haz", "he", "iw", "ji", "khw", "ks",
    "lrc", "luz", "mzn", "nqo", "pbt", "pes", "pnb", "prs", "ps", "rhg", "sd", "sdh", "skr", "syr", "ug", "ur", "yi",
];

/// Tags of one language: the one that is to be compared for the one that is given.
const SAME_LANGUAGE: [(&str, &str); 9] = [
    ("cmn", "zh"),
    ("ekk", "et"),
    ("in", "id"),
    ("iw", "he"),
    ("ji", "yi"),
    ("nb", "no"),
    ("pes", "fa"),
    ("prs", "fa"), // Dari: the same written language
    ("tl", "fil"),
];

impl Tag {
    /// Reads a tag; `None` if it is not well-formed, or has parts that name no language (extensions, private use).
    pub fn parse(text: &str) -> Option<Self> {
        Self::leading(text).filter(|tag| tag.0.eq_ignore_ascii_case(text))
    }

    /// Reads what others write: `_` for `-`, and the start of a tag up to the first part that [`Tag::parse`] refuses.
    pub fn leading(text: &str) -> Option<Self> {
        if text.len() > TAG_CHARS_MAX || !text.is_ascii() {
            return None;
        }
        let mut subtags = text.split(['-', '_']);
        let language = subtags.next().filter(|first| matches!(first.len(), 2..=3) && is_letters(first))?;
        let mut tag = language.to_ascii_lowercase();
        let mut place = Place::Script;
        for subtag in subtags {
            let Some((written, next)) = place.take(subtag) else { break };
            tag = format!("{tag}-{written}");
            place = next;
        }
        Some(Self(tag))
    }

    /// In its usual case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The direction of its script: the one that the tag names, else the usual one of the language.
    pub fn direction(&self) -> Direction {
        let script = self.0.split('-').nth(1).filter(|subtag| subtag.len() == 4 && is_letters(subtag));
        let is_right_to_left = match script {
            Some(script) => RIGHT_TO_LEFT_SCRIPTS.contains(&script.to_ascii_lowercase().as_str()),
            None => self.0.split('-').next().is_some_and(|language| RIGHT_TO_LEFT_LANGUAGES.contains(&language)),
        };
        if is_right_to_left { Direction::RightToLeft } else { Direction::LeftToRight }
    }

    /// The form under which tags are compared: lower case, one name for each language, and Chinese with the script that
    /// its region writes.
    pub(super) fn key(&self) -> String {
        let lower = self.0.to_ascii_lowercase();
        let (language, rest) = lower.split_once('-').map_or((lower.as_str(), ""), |(language, rest)| (language, rest));
        let language = SAME_LANGUAGE.iter().find(|(given, _)| *given == language).map_or(language, |(_, compared)| compared);
        let script = match (language, rest) {
            ("zh", "cn" | "sg" | "my") => "hans",
            ("zh", "tw" | "hk" | "mo") => "hant",
            _ => "",
        };
        [language, script, rest].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
    }
}

/// What may stand next in a tag (RFC 5646 §2.1).
enum Place {
    Script,
    Region,
    Variant,
}

impl Place {
    /// The subtag as it is written, and what may stand after it.
    fn take(&self, subtag: &str) -> Option<(String, Place)> {
        let is_region = matches!(subtag.len(), 2) && is_letters(subtag) || subtag.len() == 3 && subtag.bytes().all(|byte| byte.is_ascii_digit());
        let is_variant = matches!(subtag.len(), 5..=8) || subtag.len() == 4 && subtag.as_bytes()[0].is_ascii_digit();
        if matches!(self, Place::Script) && subtag.len() == 4 && is_letters(subtag) {
            let title = subtag[..1].to_ascii_uppercase() + &subtag[1..].to_ascii_lowercase();
            return Some((title, Place::Region));
        }
        if !matches!(self, Place::Variant) && is_region {
            return Some((subtag.to_ascii_uppercase(), Place::Variant));
        }
        (is_variant && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| (subtag.to_ascii_lowercase(), Place::Variant))
    }
}

fn is_letters(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_and_written_in_its_usual_case() {
        for (given, want) in
            [("fa", "fa"), ("FA-ir", "fa-IR"), ("ZH-HANT-tw", "zh-Hant-TW"), ("es-419", "es-419"), ("de-1996", "de-1996"), ("ckb", "ckb")]
        {
            assert_eq!(Tag::parse(given).as_ref().map(Tag::as_str), Some(want), "{given}");
        }
        for bad in
            ["", "f", "farsi", "fa-", "-fa", "fa_IR", "zh-yue", "fa-x-a", "en-u-nu-latn", "fa-IR-Arab", "فا", "f1", "en-US-oxendict-waytoolong", "*"]
        {
            assert_eq!(Tag::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn of_what_others_write_the_start_is_read() {
        for (given, want) in [("fa_IR", "fa-IR"), ("zh-yue-HK", "zh"), ("en-US-x-hixie", "en-US"), ("zh-Hans-CN-u-nu-latn", "zh-Hans-CN")] {
            assert_eq!(Tag::leading(given).as_ref().map(Tag::as_str), Some(want), "{given}");
        }
        for bad in ["", "*", "x-klingon", "i-default", "english", &"a-".repeat(10_000)] {
            assert_eq!(Tag::leading(bad), None, "{bad:.10}");
        }
    }

    #[test]
    fn a_script_decides_the_direction_before_the_language_does() {
        for (tag, want) in [
            ("fa", "rtl"),
            ("ar-EG", "rtl"),
            ("he", "rtl"),
            ("ckb-IQ", "rtl"),
            ("ku", "ltr"),
            ("ku-Arab", "rtl"),
            ("az-Arab-IR", "rtl"),
            ("ur-Latn", "ltr"),
            ("uz", "ltr"),
            ("zh-Hant", "ltr"),
            ("en", "ltr"),
        ] {
            assert_eq!(Tag::parse(tag).expect(tag).direction().word(), want, "{tag}");
        }
    }

    #[test]
    fn tags_are_compared_by_language_and_by_the_script_that_a_region_writes() {
        for (tag, want) in
            [("zh-CN", "zh-hans-cn"), ("zh-HK", "zh-hant-hk"), ("zh", "zh"), ("zh-Hant-CN", "zh-hant-cn"), ("prs-AF", "fa-af"), ("iw", "he")]
        {
            assert_eq!(Tag::parse(tag).expect(tag).key(), want, "{tag}");
        }
    }
}
