//! The languages that a header field asks for or names: Accept-Language (RFC 9110 §12.5.4, which RFC 3282 gives to mail)
//! and Content-Language (RFC 3282), best first. What cannot be read is passed over; it is never an error.

use super::tag::Tag;

/// Characters of a field that are read. Browsers and mail programs stay under a hundred.
const FIELD_CHARS_MAX: usize = 1_000;
/// Languages that are taken from a field.
const LANGUAGES_MAX: usize = 32;

/// The languages in a field's value, those of higher weight first, and in their order among equals. `*` and what has the
/// weight 0 are left out.
pub(super) fn languages(value: &str) -> Vec<Tag> {
    let read = &value[..value.floor_char_boundary(FIELD_CHARS_MAX)];
    let mut wanted: Vec<(u32, Tag)> = read.split(',').filter_map(weighed).take(LANGUAGES_MAX).collect();
    wanted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight)); // stable
    wanted.into_iter().map(|(_, tag)| tag).collect()
}

/// One language with its weight in thousandths, if it is wanted at all.
fn weighed(item: &str) -> Option<(u32, Tag)> {
    // RFC 3282 allows a comment.
    let item = item.split('(').next().unwrap_or_default();
    let mut parts = item.split(';').map(str::trim);
    let tag = Tag::leading(parts.next()?)?;
    let weight = match parts.find_map(|part| part.strip_prefix(['q', 'Q'])) {
        None => 1_000,
        Some(rest) => thousandths(rest.trim_start().strip_prefix('=')?.trim())?,
    };
    (weight > 0).then_some((weight, tag))
}

/// `0`, `1`, `0.5`, `1.000`: at most three digits after the point (RFC 9110 §12.4.2).
fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = matches!(whole, "0" | "1") && fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let value = || format!("{whole}{fraction:0<3}").parse().ok();
    is_number.then(value).flatten().filter(|value| *value <= 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_language_is_first_and_what_cannot_be_read_is_passed_over() {
        for (value, want) in [
            ("fa", &["fa"][..]),
            ("da, en-gb;q=0.8, en;q=0.7", &["da", "en-GB", "en"]),
            ("en;q=0.5,fa-IR,fa;q=0.9", &["fa-IR", "fa", "en"]),
            ("en ; Q = 0.1 , zh_CN", &["zh-CN", "en"]),
            ("fa;q=0, en;q=0.001", &["en"]),
            ("en;q=1.001, de;q=0.1234, fr;q=x, it;q, es;level=1;q=0.3", &["es"]),
            ("*, fa;q=0.5", &["fa"]),
            ("fa (Persian), en (English; q=9)", &["fa", "en"]),
            ("", &[]),
            (",,;q=1,-,\u{202e}", &[]),
        ] {
            assert_eq!(languages(value).iter().map(Tag::as_str).collect::<Vec<_>>(), want, "{value}");
        }
    }

    #[test]
    fn a_field_of_any_length_is_read_in_bounds() {
        assert_eq!(languages(&"fa,".repeat(100_000)).len(), LANGUAGES_MAX);
        assert_eq!(languages(&"ä".repeat(100_000)), []);
        assert_eq!(languages(&format!("{}fa", " ".repeat(60_000))), []);
    }
}
