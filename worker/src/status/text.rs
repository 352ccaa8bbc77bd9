//! Numbers, times and foreign text as the status page writes them. Nothing here fails: every value has a form.

use mail_parser::DateTime;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Text for HTML, in an element or between quotes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What HTML has no place for.
            character if character.is_control() => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

/// A count, its thousands apart.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let groups = tail.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    Some(head.to_owned()).filter(|head| !head.is_empty()).into_iter().chain(groups).collect::<Vec<_>>().join(",")
}

/// So many a minute: whole numbers, but for the small ones.
pub(super) fn rate(rate: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is not negative, and ends at the largest number")]
    match rate {
        rate if rate < 0.05 => "0".into(),
        rate if rate < 9.95 => format!("{rate:.1}").trim_end_matches(".0").to_owned(),
        rate => count(rate.round() as u64),
    }
}

/// A length of time: two units at most.
pub(super) fn span(millis: u64) -> String {
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match (millis / large, millis % large / small) {
        (of_large, 0) => format!("{of_large} {large_unit}"),
        (of_large, of_small) => format!("{of_large} {large_unit} {of_small} {small_unit}"),
    };
    match millis {
        0..SECOND_MS => format!("{millis} ms"),
        SECOND_MS..10_000 => format!("{}.{} s", millis / SECOND_MS, millis % SECOND_MS / 100),
        10_000..MINUTE_MS => format!("{} s", millis / SECOND_MS),
        MINUTE_MS..HOUR_MS => two(MINUTE_MS, "min", SECOND_MS, "s"),
        HOUR_MS..DAY_MS => two(HOUR_MS, "h", MINUTE_MS, "min"),
        _ => two(DAY_MS, "d", HOUR_MS, "h"),
    }
}

/// A length of time in whole seconds.
pub(super) fn span_s(seconds: u64) -> String {
    match seconds {
        0..10 => format!("{seconds} s"),
        _ => span(seconds.saturating_mul(SECOND_MS)),
    }
}

/// How long ago, and when: `3 min ago` with the time itself, on this day or another.
pub(super) fn ago(now_ms: u64, then_ms: u64) -> String {
    let ago = match now_ms.saturating_sub(then_ms) {
        0..SECOND_MS => "now".to_owned(),
        millis => format!("{} ago", round_span(millis)),
    };
    let when = if now_ms / DAY_MS == then_ms / DAY_MS { clock(then_ms) } else { date_and_clock(then_ms) };
    format!("<time datetime=\"{}\">{ago} <span class=\"quiet\">{when} UTC</span></time>", machine(then_ms))
}

/// A length of time for a glance: its first unit, and from an hour on two.
pub(super) fn round_span(millis: u64) -> String {
    match millis {
        0..MINUTE_MS => format!("{} s", millis / SECOND_MS),
        MINUTE_MS..HOUR_MS => format!("{} min", millis / MINUTE_MS),
        _ => span(millis),
    }
}

/// `HH:MM:SS`.
pub(super) fn clock(millis: u64) -> String {
    let time = date(millis);
    format!("{:02}:{:02}:{:02}", time.hour, time.minute, time.second)
}

/// `HH:MM`.
pub(super) fn hours(millis: u64) -> String {
    let time = date(millis);
    format!("{:02}:{:02}", time.hour, time.minute)
}

/// `2026-11-21 22:48:06`.
pub(super) fn date_and_clock(millis: u64) -> String {
    let time = date(millis);
    format!("{:04}-{:02}-{:02} {}", time.year, time.month, time.day, clock(millis))
}

/// As RFC 3339 §5.6 has it, in UTC.
pub(super) fn machine(millis: u64) -> String {
    format!("{}Z", date_and_clock(millis).replace(' ', "T"))
}

fn date(millis: u64) -> DateTime {
    DateTime::from_timestamp(i64::try_from(millis / SECOND_MS).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_written_ends_an_element_or_an_attribute() {
        assert_eq!(escape("<a href='x' title=\"&\">\u{7}"), "&lt;a href=&#39;x&#39; title=&quot;&amp;&quot;&gt;\u{fffd}");
        assert_eq!(escape("größer, 大"), "größer, 大");
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        assert_eq!([0, 7, 999, 1_000, 12_345, 1_234_567].map(count), ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!([0.0, 0.01, 0.25, 7.02, 9.94, 9.96, 1234.4].map(rate), ["0", "0", "0.2", "7", "9.9", "10", "1,234"]);
    }

    #[test]
    fn a_length_of_time_has_two_units_at_most() {
        let said = [0, 999, 1_000, 9_999, 59_999, 60_000, 72_000, 3_600_000, 3_661_000, 90_000_000].map(span);
        assert_eq!(said, ["0 ms", "999 ms", "1.0 s", "9.9 s", "59 s", "1 min", "1 min 12 s", "1 h", "1 h 1 min", "1 d 1 h"]);
        assert_eq!([0, 9, 75].map(span_s), ["0 s", "9 s", "1 min 15 s"]);
    }

    #[test]
    fn a_time_is_said_from_now_and_by_the_clock() {
        const NOW: u64 = 1_790_000_000_000; // 2026-09-21T14:13:20Z
        assert_eq!(date_and_clock(NOW), "2026-09-21 14:13:20");
        let text = ago(NOW, NOW - 200_000);
        assert_eq!(text, "<time datetime=\"2026-09-21T14:10:00Z\">3 min ago <span class=\"quiet\">14:10:00 UTC</span></time>");
        let text = ago(NOW, NOW - 86_400_000);
        assert!(text.contains(">1 d ago ") && text.contains(">2026-09-20 14:13:20 UTC<"), "{text}");
        assert!(ago(NOW, NOW + 5_000).contains(">now "), "another machine's clock may be ahead");
        assert!(!clock(u64::MAX).is_empty());
    }
}
