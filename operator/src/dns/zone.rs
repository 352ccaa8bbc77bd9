//! Writes a plan in the syntax of zone files (RFC 1035 §5.1): absolute names, so that it fits into any zone file. No I/O.

use std::fmt::Write;

use super::plan::{Entry, Expected, Plan};

/// The longest string of a TXT record (RFC 1035 §3.3).
const STRING_BYTES_MAX: usize = 255;
/// How long others may remember a record, in seconds: an hour.
const TTL_S: u32 = 3_600;

/// The whole plan; the domains one after the other.
pub(super) fn text(plan: &Plan) -> String {
    let mut text = String::from("; What replyfleet needs in DNS. `replyfleet dns --check` tells whether it is there.\n");
    let mut domains: Vec<&str> = plan.entries.iter().map(|entry| entry.domain.as_str()).collect();
    domains.dedup();
    for domain in domains {
        line(&mut text, format_args!("\n; ---- {domain}"));
        for gap in plan.gaps.iter().filter(|gap| gap.domain == domain) {
            line(&mut text, format_args!("; No {}: {}", gap.what, gap.why));
        }
        plan.entries.iter().filter(|entry| entry.domain == domain).for_each(|entry| group(&mut text, entry));
    }
    text
}

fn group(text: &mut String, entry: &Entry) {
    for (number, note) in entry.notes.iter().enumerate() {
        if number == 0 {
            line(text, format_args!("; {}: {note}", entry.purpose()));
        } else {
            line(text, format_args!(";   {note}"));
        }
    }
    for value in entry.expected.values() {
        let value = if matches!(entry.expected, Expected::Mx(_)) { value } else { strings(&value) };
        line(text, format_args!("{}. {TTL_S} IN {} {value}", entry.name, entry.expected.kind()));
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{line}"); // writing to a String cannot fail
}

/// A text as quoted strings that are short enough. It is ASCII: plans hold nothing else.
fn strings(text: &str) -> String {
    let quoted = |chunk: &[u8]| format!("\"{}\"", String::from_utf8_lossy(chunk).replace('\\', "\\\\").replace('"', "\\\""));
    text.as_bytes().chunks(STRING_BYTES_MAX).map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_what_would_end_a_string_is_escaped() {
        assert_eq!(strings("v=DMARC1; p=none"), "\"v=DMARC1; p=none\"");
        assert_eq!(strings("a\"b\\c"), "\"a\\\"b\\\\c\"");
        let long = strings(&"x".repeat(600));
        let lengths: Vec<_> = long.split(' ').map(str::len).collect();
        assert_eq!(lengths, [257, 257, 92]);
    }
}
