//! Bounds: the cache in bytes, answers by their time to live, silent zones, against a name server of its own.

use std::{
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;

#[test]
fn a_name_may_hold_any_bytes_but_no_empty_and_no_overlong_label() {
    assert_eq!(fqdn("Mail.Example.org").map(|name| host(&name)).as_deref(), Some("mail.example.org"));
    assert_eq!(fqdn("example.org."), fqdn("example.org"));
    assert!(fqdn("sel._domainkey.example.org").is_some() && fqdn("a b%.example.org").is_some());
    for bad in ["", ".", "a..example.org", &format!("{}.org", "a".repeat(64)), &format!("{}org", "abc.".repeat(64))] {
        assert!(fqdn(bad).is_none(), "{bad}");
    }
}

/// A name server that is silent for names that begin with `silent`, as long as it is told so, and answers all others
/// with TXT records of one letter. It ends with the process.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    is_silent: Arc<AtomicBool>,
}

impl Server {
    /// With this many records in each answer; more than a few come by TCP.
    fn start(records: usize) -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("it is bound")) {
                break (udp, tcp);
            }
        };
        let server = Self { address: udp.local_addr().expect("it is bound"), asked: Arc::default(), is_silent: Arc::new(true.into()) };
        let (asked, is_silent) = (Arc::clone(&server.asked), Arc::clone(&server.is_silent));
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok((length, client)) = udp.recv_from(&mut buffer) {
                asked.fetch_add(1, Ordering::Relaxed);
                let is_named_silent = buffer[..length].windows(6).any(|window| window.eq_ignore_ascii_case(b"silent"));
                if !(is_named_silent && is_silent.load(Ordering::Relaxed)) {
                    let _ = udp.send_to(&response(&buffer[..length], records, 40), client);
                }
            }
        });
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                std::thread::spawn(move || -> Option<()> {
                    loop {
                        let mut length = [0; 2];
                        stream.read_exact(&mut length).ok()?;
                        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                        stream.read_exact(&mut question).ok()?;
                        let response = response(&question, records, usize::MAX);
                        let length = u16::try_from(response.len()).expect("under 64 KB").to_be_bytes();
                        stream.write_all(&[&length[..], &response].concat()).ok()?;
                    }
                });
            }
        });
        server
    }

    fn dns(&self, entries: usize, timeout: Duration) -> Dns {
        crate::crypto::install();
        Dns::open(Some(self.address), entries, timeout).expect("it opens without asking anything")
    }
}

/// The question with `records` answers, or cut off without any if there are more than `records_max`.
fn response(question: &[u8], records: usize, records_max: usize) -> Vec<u8> {
    let name_end = 12 + question[12..].iter().position(|&byte| byte == 0).expect("a name ends");
    let mut response = question[..name_end + 5].to_vec();
    let is_cut = records > records_max;
    let count = if is_cut { 0 } else { u16::try_from(records).expect("few enough") };
    response[2..12].copy_from_slice(&[0x84 | (u8::from(is_cut) << 1), 0x80, 0, 1, (count >> 8) as u8, count as u8, 0, 0, 0, 0]);
    for _ in 0..count {
        // The name above, TXT, IN, 300 s, two bytes: a string of one letter.
        response.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1, 0, 0, 1, 44, 0, 2, 1, b'x']);
    }
    response
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() << 10
}

/// A hostile zone: each name has 64 KB of tiny records, which take about a megabyte when they are decoded.
#[tokio::test]
async fn a_zone_of_floods_fills_no_memory() {
    const NAMES: u64 = 100;
    // Measured in a process of its own: beside it, other tests take memory.
    if !std::env::args().any(|argument| argument == "--exact") {
        let test = ["--exact", "authenticate::dns::tests::a_zone_of_floods_fills_no_memory"];
        let program = std::env::current_exe().expect("a program");
        let ended = std::process::Command::new(program).args(test).output().expect("it starts");
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let dns = Server::start(4_600).dns(20_000, Duration::from_secs(30));
    let before = resident_bytes();
    for n in 0..NAMES {
        let texts = dns.txt(&format!("flood{n}.example.org")).await.expect("it answers");
        assert_eq!(texts.len(), 100, "bounded");
    }
    let (entries, bytes) = dns.cache.size();
    let grown = resident_bytes().saturating_sub(before);
    assert_eq!(entries, NAMES);
    assert!(bytes < 8_000 * NAMES, "{bytes} bytes for {entries} entries");
    // hickory's cache made it 100 MB and more.
    assert!(grown < 60 << 20, "the process has grown by {grown} bytes");
}

#[tokio::test]
async fn what_is_known_is_not_asked_again_however_it_is_spelled() {
    let server = Server::start(1);
    let dns = server.dns(100, Duration::from_secs(30));
    for name in ["example.org", "EXAMPLE.org", "example.org."] {
        assert_eq!(dns.txt(name).await, Ok(vec![b"x".to_vec()]));
    }
    assert_eq!(server.asked.load(Ordering::Relaxed), 1);
    assert_eq!(dns.mx("example.org").await, Err(Missing::Record), "another kind is another question");
    assert!(server.asked.load(Ordering::Relaxed) > 1);
    let without = server.dns(0, Duration::from_secs(30));
    let before = server.asked.load(Ordering::Relaxed);
    for _ in 0..2 {
        assert!(without.txt("example.org").await.is_ok());
    }
    assert_eq!(server.asked.load(Ordering::Relaxed) - before, 2, "cache_entries = 0 remembers nothing");
}

#[tokio::test]
async fn a_silent_organisation_costs_few_time_outs_and_nobody_else_anything() {
    let server = Server::start(1);
    let mut dns = server.dns(1_000, Duration::from_millis(900));
    dns.silences = Arc::new(Silences::new(Duration::from_secs(3)));
    assert!(dns.txt("known.example.org").await.is_ok());

    let ask = |n: u32| {
        let dns = dns.clone();
        async move { dns.txt(&format!("silent{n}.mail.example.org")).await }
    };
    let mut costly = 0;
    for n in 0..200 {
        let asked = server.asked.load(Ordering::Relaxed);
        assert_eq!(ask(n).await, Err(Missing::Temporary));
        costly += usize::from(server.asked.load(Ordering::Relaxed) > asked);
    }
    assert!((1..=4).contains(&costly), "{costly} of 200 waited");
    assert!(dns.txt("known.example.org").await.is_ok(), "what is known is no question");
    assert!(dns.txt("other.example.net").await.is_ok(), "another organisation is asked");
    assert_eq!(dns.txt("unknown.example.org").await, Err(Missing::Temporary), "sub-domains share the entry");

    // It recovers, and is asked again when its time is over.
    server.is_silent.store(false, Ordering::Relaxed);
    let end = Instant::now() + Duration::from_secs(20);
    while ask(0).await.is_err() {
        assert!(Instant::now() < end, "it is never asked again");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nobody_waits_for_the_end_and_it_is_a_silence_even_so() {
    let server = Server::start(1);
    let dns = server.dns(1_000, Duration::from_millis(600));
    for n in 0..3 {
        let asked = Instant::now();
        let name = format!("silent{n}.example.org");
        assert_eq!(within(asked + Duration::from_millis(250), dns.txt(&name)).await, None);
    }
    assert!(dns.silences.is_silent("example.org", Instant::now()));
    // Given up before a server's time was over: that tells nothing.
    for n in 0..20 {
        let name = format!("silent{n}.example.net");
        assert_eq!(within(Instant::now() + Duration::from_millis(5), dns.txt(&name)).await, None);
    }
    assert!(!dns.silences.is_silent("example.net", Instant::now()));
}
