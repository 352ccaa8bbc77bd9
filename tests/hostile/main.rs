//! Bombs: each thing that a mail may have too much of, at ten times its limit, given to all that reads a stranger's mail.
//! Each ends with a verdict within a second, and takes at most 64 MB of memory beyond the mail itself.
//!
//! One test, so that the process's peak of memory is that of one bomb.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it found")]
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use replyfleet::{clock::UnixMillis, envelope::Facts, settings::Settings};
use replyfleet_tests::repository;
use replyfleet_worker::{
    catalogue::{Catalogue, SendMethod},
    request::{self, FIELD_COUNT_MAX, FROM_ADDRESSES_MAX, HEADER_BYTES_MAX, LINE_BYTES_MAX},
    screen::{Policy, Seen, screen},
};

const MAIL_BYTES_MAX: usize = 10 << 20;
const TIME_MAX: Duration = Duration::from_secs(1);
const MEMORY_KB_MAX: u64 = 64 << 10;
const FROM: &str = "From: Some One <someone@example.org>\n";

/// Every bomb with its name.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let header = |line: &str, times: usize| format!("{FROM}{}\nplease\n", line.repeat(times)).into_bytes();
    let body = |head: &str, line: &str, times: usize| format!("{FROM}{head}\n\n{}", line.repeat(times)).into_bytes();
    let in_one_field =
        |name: &str, piece: &str, bytes: usize| format!("{FROM}{name}: {}\n\nplease\n", piece.repeat(bytes / piece.len() + 1)).into_bytes();
    let folded = |name: &str, line: &str, bytes: usize| format!("{FROM}{name}: x\n{}\nplease\n", line.repeat(bytes / line.len() + 1)).into_bytes();
    let nested = |kind: &str, levels: usize| {
        let parts: String = (0..levels).map(|level| format!("Content-Type: {kind}; boundary=b{level}\n\n--b{level}\n")).collect();
        format!("{FROM}{parts}").into_bytes()
    };
    vec![
        ("size", body("", "please answer\n", 10 * MAIL_BYTES_MAX / 14)),
        ("header bytes", header("X-Filler: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n", 10 * HEADER_BYTES_MAX / 75)),
        ("fields", header("X: y\n", 10 * FIELD_COUNT_MAX)),
        ("line", in_one_field("X", "y", 10 * LINE_BYTES_MAX)),
        ("line without an end", vec![b'y'; 10 * LINE_BYTES_MAX]),
        ("addresses in From", format!("From: {}a@b.org\n\n", "a@b.org, ".repeat(10 * FROM_ADDRESSES_MAX)).into_bytes()),
        ("addresses in To", folded("To", " a@b.org,\n", HEADER_BYTES_MAX - 5_000)),
        ("From fields", format!("{}\n", FROM.repeat(900)).into_bytes()),
        ("comments that nest", format!("From: a@b.org {}\n\n", "(".repeat(LINE_BYTES_MAX - 100)).into_bytes()),
        ("comments that nest, folded", format!("From: a@b.org\n{}\n", " ((((((((((((((((((((((((((((((\n".repeat(3_000)).into_bytes()),
        ("quotes", format!("From: {}<a@b.org>\n\n", "\"x\" ".repeat(15_000)).into_bytes()),
        ("groups", format!("From: {}\n\n", "g:a@b.org;".repeat(900)).into_bytes()),
        ("encoded words", folded("Subject", " =?utf-8?b?2LPZhNin2YU=?=\n", HEADER_BYTES_MAX - 5_000)),
        ("encoded words of a charset nobody has", folded("Subject", " =?x-none?q?=FF=FE?=\n", HEADER_BYTES_MAX - 5_000)),
        ("pieces of RFC 2231", {
            let pieces: String = (0..4_000).map(|number| format!(" x*{number}*=%41;\n")).collect();
            format!("{FROM}Content-Type: text/plain;\n{pieces}\n").into_bytes()
        }),
        ("references", folded("References", " <a@b.org>\n", HEADER_BYTES_MAX - 5_000)),
        ("angle brackets", in_one_field("References", "<", LINE_BYTES_MAX - 100)),
        ("languages", in_one_field("Accept-Language", "aa-Bb;q=0.5,", LINE_BYTES_MAX - 100)),
        ("tokens", in_one_field("Precedence", "a,", LINE_BYTES_MAX - 100)),
        ("signatures", header("DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=from; bh=AA==; b=AA==\n", 900)),
        ("tags of a signature", in_one_field("DKIM-Signature", "v=1;", LINE_BYTES_MAX - 100)),
        (
            "signed fields",
            in_one_field("DKIM-Signature", "v=1; a=rsa-sha256; d=example.org; s=s; bh=AA==; b=AA==; h=from:from:from:from", LINE_BYTES_MAX - 100),
        ),
        ("seals", header("ARC-Seal: i=1; a=rsa-sha256; d=example.org; s=s; cv=none; b=AA==\n", 900)),
        ("results", in_one_field("Authentication-Results", "mx; (((((((((((x)", LINE_BYTES_MAX - 100)),
        ("nested multiparts", nested("multipart/mixed", 200)),
        ("very nested multiparts", nested("multipart/alternative", 50_000)),
        ("nested messages", body("Content-Type: message/rfc822", "Content-Type: message/rfc822\n\n", 100_000)),
        ("parts", body("Content-Type: multipart/mixed; boundary=b", "--b\nContent-Type: text/plain\n\nx\n", 10_000)),
        ("boundaries and nothing else", body("Content-Type: multipart/mixed; boundary=b", "--b\n", 500_000)),
        ("a boundary that nearly is one", body("Content-Type: multipart/mixed; boundary=bbbbbbbbbbbbbbbbbbbb", "--bbbbbbbbbbbbbbbbbbbc\n", 400_000)),
        ("a body of one line", body("Content-Type: text/plain; charset=gb18030\nContent-Transfer-Encoding: base64", "xPq6w6Oh", 1_200_000)),
        ("quoted-printable without an end", body("Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable", "=\n", 4_000_000)),
        ("tags of HTML", body("Content-Type: text/html", "<<<<<<<<", 1_000_000)),
        ("white space", body("", " \t\r\n", 2_500_000)),
        ("NUL", vec![0; MAIL_BYTES_MAX]),
    ]
}

/// A number of kilobytes from the kernel's account of this process.
fn kilobytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn no_bomb_takes_a_second_or_much_memory() {
    let text = std::fs::read_to_string(repository().join("docs/replyfleet.toml")).unwrap();
    let settings = Settings::parse(&text, "docs/replyfleet.toml", |_| None).unwrap();
    let policy = Policy::new(&settings).unwrap();
    let catalogue = Catalogue::parse(r#"[{"email_addr": "get@example.com", "body": "links", "send_method": "SES"}]"#, &[SendMethod::Ses]).unwrap();
    let now = UnixMillis(1_790_000_000_000);
    let facts = Facts { mail_from: "someone@example.org".into(), rcpt_to: "get@example.com".into(), arrived: now, ..Facts::default() };

    for (name, bomb) in bombs() {
        // 5: the peak begins anew, at what is in use now.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let (start, before) = (Instant::now(), kilobytes("VmRSS:"));
        let verdict = request::read(&bomb, MAIL_BYTES_MAX)
            .and_then(|request| screen(&Seen { facts: &facts, request: &request, catalogue: &catalogue, policy: &policy, now }));
        let (took, memory) = (start.elapsed(), kilobytes("VmHWM:").saturating_sub(before));
        println!("{name}: {} bytes, {verdict:?}, {took:?}, {memory} kB", bomb.len());
        assert!(took < TIME_MAX, "{name} took {took:?}");
        assert!(memory < MEMORY_KB_MAX, "{name} took {memory} kB");
    }
}
