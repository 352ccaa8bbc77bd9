//! What it costs to read, screen and authenticate one mail, with a warm DNS cache, beside the floors that bound it.
//!
//! Prints JSON lines as `replyfleet-bench` does. CPU is user and system time of this process, whose one thread does all of
//! it, the resolver's work included; the DNS server for the first answers is another thread's, and idle by then. The cases
//! and the floor take turns, a few mails each, so that a busy moment of the machine touches all of them.
//!
//! ```text
//! replyfleet-bench-judge [ROUNDS]
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its figures are its output")]

use anyhow::{Context, ensure};
use aws_lc_rs::{
    digest, rand,
    rsa::{KeyPair, KeySize},
    signature::{self, KeyPair as _},
};
use nix::sys::resource::{UsageWho, getrusage};
use replyfleet::{clock::UnixMillis, envelope::Facts, settings::Settings};
use replyfleet_tests::dns::Dns;
use replyfleet_worker::{
    catalogue::{Catalogue, SendMethod},
    judge::{End, Hearing, Judge},
    reason::Reason,
    request,
    screen::Seen,
    switches::Switches,
};

const ROUNDS: usize = 200;
/// Mails of one case in one round: enough for a clock of microseconds.
const MAILS: usize = 20;
/// 8 KB, signed with relaxed/relaxed rsa-sha256 by a key of 2,048 bits.
const SIGNED: &[u8] = include_bytes!("fixtures/signed.eml");
const KEY: &str = include_str!("fixtures/key.txt");
const CATALOGUE: &str = r#"[{"email_addr": "get@example.com", "body": "links", "send_method": "SES", "trust": "full"}]"#;
/// Nine hours after the signature was made: it proves something for two weeks.
const NOW: UnixMillis = UnixMillis(1_795_300_000_000);

/// What is measured: a mail, and how it must end.
struct Case {
    name: &'static str,
    mail: Vec<u8>,
    end: Option<End>,
    /// The most CPU that it may take, in milliseconds.
    goal: f64,
}

fn main() -> anyhow::Result<()> {
    let rounds = match std::env::args().nth(1) {
        None => ROUNDS,
        Some(rounds) => rounds.parse().context("usage: replyfleet-bench-judge [ROUNDS]")?,
    };
    let dns = Dns::start(|zone| {
        zone.txt("s1._domainkey.example.org", KEY.trim()).mx("example.org", 10, "mail.example.org").address("mail.example.org", [192, 0, 2, 9]);
        zone.txt("example.org", "v=spf1 ip4:198.51.100.0/24 -all").txt("_dmarc.example.org", "v=DMARC1; p=none");
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bench = Bench::new(&dns)?;
    let unsigned = after_signature();
    let cases = [
        Case {
            name: "judge_refused_header_cpu",
            mail: [b"Auto-Submitted: auto-replied\r\n", unsigned].concat(),
            end: Some(End::Ignore(Reason::AutoSubmitted)),
            goal: 0.25,
        },
        Case { name: "judge_refused_unproven_cpu", mail: unsigned.to_vec(), end: Some(End::Ignore(Reason::Unproven)), goal: 0.25 },
        Case { name: "judge_signed_cpu", mail: SIGNED.to_vec(), end: None, goal: 0.5 },
    ];
    let floor = Floor::new()?;
    let mut taken: [Vec<f64>; 3] = Default::default();
    let mut of_floor = Vec::new();
    // The first round fills the caches and does not count.
    for round in 0..=rounds {
        for (case, taken) in cases.iter().zip(&mut taken) {
            let cpu_ms = runtime.block_on(bench.run(case))?;
            taken.extend((round > 0).then_some(cpu_ms));
        }
        let cpu_ms = floor.run()?;
        of_floor.extend((round > 0).then_some(cpu_ms));
    }
    let floor = median(&mut of_floor);
    for (case, taken) in cases.iter().zip(&mut taken) {
        let value = median(taken);
        print(&format!("{}/goal", case.name), value, case.goal);
        print(&format!("{}/rsa_verify_and_body_hash", case.name), value, floor);
    }
    Ok(())
}

fn after_signature() -> &'static [u8] {
    let start = SIGNED.windows(10).position(|window| window == b"\r\nReceived").map_or(0, |at| at + 2);
    &SIGNED[start..]
}

struct Bench {
    judge: Judge,
    catalogue: Catalogue,
    facts: Facts,
    switches: std::sync::Arc<Switches>,
}

impl Bench {
    fn new(dns: &Dns) -> anyhow::Result<Self> {
        let text = include_str!("../docs/replyfleet.toml").replace("# resolver = \"127.0.0.1:53\"", &format!("resolver = \"{}\"", dns.address()));
        let settings = Settings::parse(&text, "docs/replyfleet.toml", |_| None)?;
        let facts = Facts {
            mail_from: "someone@example.org".into(),
            rcpt_to: "get@example.com".into(),
            client_address: "192.0.2.7".into(),
            helo: "mail.example.org".into(),
            arrived: NOW,
            ..Facts::default()
        };
        Ok(Self {
            judge: Judge::open(&settings).map_err(anyhow::Error::msg)?,
            catalogue: Catalogue::parse(CATALOGUE, &[SendMethod::Ses])?,
            facts,
            switches: Switches::default().into(),
        })
    }

    /// CPU of one mail in milliseconds, the mean of a few.
    async fn run(&self, case: &Case) -> anyhow::Result<f64> {
        let start = cpu_ms()?;
        for _ in 0..MAILS {
            let request = request::read(&case.mail, 10 << 20).map_err(|reason| anyhow::anyhow!(reason.word()))?;
            let seen = Seen { facts: &self.facts, request: &request, catalogue: &self.catalogue, policy: self.judge.policy(), now: NOW };
            let hearing = Hearing { seen, mail: &case.mail, switches: self.switches.clone(), is_shedding: false, is_first_look: true };
            let (_, end) = self.judge.judge(&hearing, None).await;
            ensure!(end == case.end, "{}: {end:?} instead of {:?}", case.name, case.end);
        }
        Ok((cpu_ms()? - start) / MAILS as f64)
    }
}

/// What no program can do without: the hash of the body, and one RSA-2048 signature to verify.
struct Floor {
    public_key: Vec<u8>,
    signature: Vec<u8>,
}

impl Floor {
    fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate(KeySize::Rsa2048)?;
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&signature::RSA_PKCS1_SHA256, &rand::SystemRandom::new(), SIGNED, &mut signature)?;
        Ok(Self { public_key: key.public_key().as_ref().to_vec(), signature })
    }

    fn run(&self) -> anyhow::Result<f64> {
        let start = cpu_ms()?;
        for _ in 0..MAILS {
            std::hint::black_box(digest::digest(&digest::SHA256, SIGNED));
            let key = signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, &self.public_key);
            key.verify(SIGNED, &self.signature)?;
        }
        Ok((cpu_ms()? - start) / MAILS as f64)
    }
}

fn cpu_ms() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let ms = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
    Ok(ms(usage.user_time()) + ms(usage.system_time()))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(name: &str, value: f64, floor: f64) {
    println!(r#"{{"name":"{name}","value":{value:.4},"unit":"ms","floor":{floor:.4},"ratio":{:.3}}}"#, value / floor);
}
