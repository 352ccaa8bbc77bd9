//! Bombs: each thing that a mail may have too much of, at ten times its limit, given to all that reads a stranger's mail:
//! the reader of its header, the rules, and, where there is one From, authentication with every key and sealer there is.
//! Each ends with a verdict within a second, and takes at most 64 MB of memory beyond the mail itself.
//!
//! One test, so that the process's peak of memory is that of one bomb.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it found")]
#![forbid(unsafe_code)]

use std::time::Duration;

use replyfleet::{clock::UnixMillis, envelope::Facts, settings::Settings};
use replyfleet_tests::{dkim::Signer, dns::Dns, repository};
use replyfleet_worker::{
    authenticate::Authenticator,
    catalogue::{Catalogue, SendMethod},
    request::{self, FIELD_COUNT_MAX, FROM_ADDRESSES_MAX, HEADER_BYTES_MAX, LINE_BYTES_MAX},
    screen::{Policy, Seen, screen},
};

const MAIL_BYTES_MAX: usize = 10 << 20;
/// Of CPU.
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
    let by_selector = |select: fn(usize) -> String| (0..900).map(|number| signature(&select(number))).collect::<String>();
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
        ("signatures with a selector each", format!("{FROM}{}\nplease\n", by_selector(|number| format!("s{number}"))).into_bytes()),
        ("signatures over a body of white space", format!("{FROM}{}\n{}", by_selector(|_| "s".into()), " \t\r\n".repeat(2_500_000)).into_bytes()),
        ("signatures over a body of empty lines", format!("{FROM}{}\n{}", by_selector(|_| "s".into()), "\r\n".repeat(4_000_000)).into_bytes()),
        ("sets of ARC", {
            let sets: String = (1..=50).map(arc_set).collect();
            format!("{FROM}{sets}\n{}", "please answer\n".repeat(500_000)).into_bytes()
        }),
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

/// Names in h=; with a few more, a signature is not looked at.
const SIGNED_NAMES: usize = 240;

/// A signature of From's domain; all but its hashes is as it should be.
fn signature(selector: &str) -> String {
    format!("DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.org; s={selector}; h=from; bh=AA==; b=AA==\n")
}

/// The three fields that a sealer adds.
fn arc_set(instance: usize) -> String {
    let cv = if instance == 1 { "none" } else { "pass" };
    format!(
        "ARC-Seal: i={instance}; a=rsa-sha256; d=example.org; s=s; cv={cv}; b=AA==\n\
         ARC-Message-Signature: i={instance}; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=s; h=from; bh=AA==; b=AA==\n\
         ARC-Authentication-Results: i={instance}; mx; dkim=pass header.d=example.org\n"
    )
}

/// Whoever has a key can be right about the body; then the header is hashed as well, as often as there are signatures.
fn many_signed_fields(signer: &Signer) -> Vec<u8> {
    let fields: String = (0..800).map(|number| format!("X: {number} yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n")).collect();
    let signed = String::from_utf8(signer.sign(format!("{FROM}{fields}\nplease\n").as_bytes(), "example.org")).unwrap();
    let (signature, mail) = signed.split_at(signed.find("From: ").unwrap());
    let greedy = signature.replace("h=From", &format!("h={}From", "X:".repeat(SIGNED_NAMES))).replace("simple/simple", "relaxed/simple");
    (greedy.repeat(10) + mail).into_bytes()
}

/// A number of kilobytes from the kernel's account of this process.
/// Of this process, all threads, since its start; wall time would be the machine's load.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = stat.rsplit(") ").next().unwrap().split(' ').skip(11).take(2);
    // proc(5): in hundredths of a second (USER_HZ).
    Duration::from_millis(ticks.map(|ticks| 10 * ticks.parse::<u64>().unwrap()).sum())
}

fn kilobytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The settings, with everybody trusted who can be, so that all of authentication reads.
fn settings(dns: &Dns) -> Settings {
    let text = std::fs::read_to_string(repository().join("docs/replyfleet.toml")).unwrap();
    let text = text
        .replace("# resolver = \"127.0.0.1:53\"", &format!("resolver = \"{}\"", dns.address()))
        .replace("# trusted_sealers = []", "trusted_sealers = [\"example.org\"]")
        .replace("# authserv_id = \"mx1.example.com\"", "authserv_id = \"mx\"");
    let settings = Settings::parse(&text, "docs/replyfleet.toml", |_| None).unwrap();
    let read = &settings.authentication;
    assert!(read.resolver.is_some() && read.authserv_id.is_some() && !read.trusted_sealers.is_empty(), "the document's lines have changed");
    settings
}

#[tokio::test]
async fn no_bomb_takes_a_second_or_much_memory() {
    let signer = Signer::new("s");
    let dns = Dns::start(|zone| {
        for domain in ["example.org", "b.org"] {
            zone.mx(domain, 10, "mx.example.org").txt(domain, "v=spf1 mx -all");
            signer.publish(zone, domain);
        }
    });
    let settings = settings(&dns);
    let authenticator = Authenticator::open(&settings.authentication).unwrap();
    let policy = Policy::new(&settings).unwrap();
    let catalogue = Catalogue::parse(r#"[{"email_addr": "get@example.com", "body": "links", "send_method": "SES"}]"#, &[SendMethod::Ses]).unwrap();
    let now = UnixMillis(1_790_000_000_000);
    let facts = Facts {
        mail_from: "someone@example.org".into(),
        rcpt_to: "get@example.com".into(),
        client_address: "192.0.2.1".into(),
        arrived: now,
        ..Facts::default()
    };

    let mut authenticated = 0;
    let mut bombs = bombs();
    let largest = format!("{FROM}\n{}", "please answer\n".repeat(600_000));
    bombs.push(("a good signature of the largest mail", signer.sign(largest.as_bytes(), "example.org")));
    bombs.push(("ten signatures that are right about the body, over many fields", many_signed_fields(&signer)));
    for (name, bomb) in bombs {
        // 5: the peak begins anew, at what is in use now.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let (start, before) = (cpu_time(), kilobytes("VmRSS:"));
        let request = request::read(&bomb, MAIL_BYTES_MAX);
        let verdict = request
            .as_ref()
            .map(|request| screen(&Seen { facts: &facts, request, catalogue: &catalogue, policy: &policy, now }))
            .map_err(|reason| *reason);
        let proof = match request.as_ref().map(|request| &request.from) {
            Ok(Ok(from)) => {
                authenticated += 1;
                authenticator.authenticate(&bomb, from, &facts).await.word()
            }
            _ => "not asked",
        };
        let (took, memory) = (cpu_time() - start, kilobytes("VmHWM:").saturating_sub(before));
        println!("{name}: {} bytes, {verdict:?}, proof {proof}, {took:?}, {memory} kB", bomb.len());
        assert!(took < TIME_MAX, "{name} took {took:?}");
        assert!(memory < MEMORY_KB_MAX, "{name} took {memory} kB");
        assert_eq!(proof == "dkim", name.starts_with("a good signature"), "{name}: proof {proof}");
    }
    assert!(authenticated > 20, "most bombs come as far as authentication: {authenticated}");
}
