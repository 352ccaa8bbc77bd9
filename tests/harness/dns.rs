//! A DNS server of a test's own on a loopback port, UDP and TCP: zones from a table that a test may change while it runs,
//! and names at which it misbehaves.
//!
//! It answers with authority for every name: records, a CNAME and what it leads to, "no such record", or "no such name",
//! with an SOA that lets the latter two be remembered. It counts what it is asked. It ends with its test.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use hickory_resolver::proto::{
    op::{Message, OpCode, Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, MX, PTR, SOA, TXT},
    },
};

/// How long answers may be remembered, in seconds: longer than any test.
const TTL_S: u32 = 300;
/// Longer answers do not fit into a datagram.
const UDP_BYTES_MAX: usize = 1_232;
/// CNAMEs that one answer follows. A loop ends there, too.
const CNAMES_MAX: usize = 16;

/// What the server does at a name where it has no record of the kind that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SERVFAIL.
    Failure,
    /// No answer at all.
    Silence,
}

/// Names and their records.
#[derive(Clone, Default)]
pub struct Zone {
    records: HashMap<(String, RecordType), Vec<RData>>,
    faults: HashMap<String, Fault>,
    asked: HashMap<(String, RecordType), usize>,
}

impl Zone {
    /// A TXT record of one string, cut as DNS needs it.
    pub fn txt(&mut self, name: &str, text: impl AsRef<[u8]>) -> &mut Self {
        let text = text.as_ref();
        let parts = if text.is_empty() { vec![text] } else { text.chunks(255).collect() };
        self.txt_parts(name, &parts)
    }

    /// A TXT record of these strings.
    pub fn txt_parts(&mut self, name: &str, parts: &[&[u8]]) -> &mut Self {
        self.add(name, RecordType::TXT, RData::TXT(TXT::from_bytes(parts.to_vec())))
    }

    /// An A or AAAA record.
    pub fn address(&mut self, name: &str, address: impl Into<IpAddr>) -> &mut Self {
        match address.into() {
            IpAddr::V4(address) => self.add(name, RecordType::A, RData::A(A(address))),
            IpAddr::V6(address) => self.add(name, RecordType::AAAA, RData::AAAA(AAAA(address))),
        }
    }

    /// An MX record; the host `.` is a null MX.
    pub fn mx(&mut self, name: &str, preference: u16, host: &str) -> &mut Self {
        self.add(name, RecordType::MX, RData::MX(MX::new(preference, fqdn(host))))
    }

    /// The name of an address.
    pub fn ptr(&mut self, address: IpAddr, host: &str) -> &mut Self {
        let name = key(&Name::from(address));
        self.add(&name, RecordType::PTR, RData::PTR(PTR(fqdn(host))))
    }

    /// A PTR record at a name that is written out.
    pub fn ptr_at(&mut self, name: &str, host: &str) -> &mut Self {
        self.add(name, RecordType::PTR, RData::PTR(PTR(fqdn(host))))
    }

    /// Another name for `name`.
    pub fn cname(&mut self, name: &str, target: &str) -> &mut Self {
        self.add(name, RecordType::CNAME, RData::CNAME(CNAME(fqdn(target))))
    }

    /// Misbehaves at `name`, for kinds of which there is no record.
    pub fn fault(&mut self, name: &str, fault: Fault) -> &mut Self {
        self.faults.insert(key(&fqdn(name)), fault);
        self
    }

    /// Takes away what is at `name`, records and faults.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        let name = key(&fqdn(name));
        self.records.retain(|(at, _), _| *at != name);
        self.faults.remove(&name);
        self
    }

    fn add(&mut self, name: &str, kind: RecordType, data: RData) -> &mut Self {
        self.records.entry((key(&fqdn(name)), kind)).or_default().push(data);
        self
    }

    /// Whether there is anything at a name or below it.
    fn has(&self, name: &str) -> bool {
        self.records.keys().any(|(at, _)| at == name || at.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')))
    }

    fn answer(&mut self, request: &[u8]) -> Option<Message> {
        let request = Message::from_vec(request).ok()?;
        let query = request.queries.first()?.clone();
        *self.asked.entry((key(query.name()), query.query_type())).or_default() += 1;
        let mut response = Message::response(request.metadata.id, OpCode::Query);
        response.metadata.authoritative = true;
        response.metadata.recursion_available = true;
        response.add_query(query.clone());
        self.fill(&mut response, &query)?;
        Some(response)
    }

    /// `None` where the server is silent.
    fn fill(&self, response: &mut Message, query: &Query) -> Option<()> {
        let mut name = query.name().clone();
        for _ in 0..CNAMES_MAX {
            if let Some(found) = self.records.get(&(key(&name), query.query_type())) {
                response.add_answers(found.iter().map(|data| Record::from_rdata(name.clone(), TTL_S, data.clone())));
                return Some(());
            }
            match self.records.get(&(key(&name), RecordType::CNAME)).and_then(|found| found.first()) {
                Some(RData::CNAME(target)) => {
                    response.add_answer(Record::from_rdata(name.clone(), TTL_S, RData::CNAME(target.clone())));
                    name = target.0.clone();
                }
                _ => break,
            }
        }
        match self.faults.get(&key(&name)) {
            Some(Fault::Silence) => return None,
            Some(Fault::Failure) => {
                response.metadata.response_code = ResponseCode::ServFail;
                return Some(());
            }
            None => {}
        }
        if !self.has(&key(&name)) {
            response.metadata.response_code = ResponseCode::NXDomain;
        }
        let soa = SOA::new(fqdn("ns.invalid"), fqdn("hostmaster.invalid"), 1, 3_600, 600, 86_400, TTL_S);
        response.add_authority(Record::from_rdata(Name::root(), TTL_S, RData::SOA(soa)));
        Some(())
    }
}

/// A running server.
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    is_stopped: Arc<AtomicBool>,
}

impl Dns {
    /// Starts a server with what `fill` puts into its zone.
    ///
    /// # Panics
    /// If loopback has no port for it.
    pub fn start(fill: impl FnOnce(&mut Zone)) -> Self {
        let (udp, tcp) = same_port();
        let mut zone = Zone::default();
        fill(&mut zone);
        let dns = Self { address: udp.local_addr().expect("it is bound"), zone: Arc::new(Mutex::new(zone)), is_stopped: Arc::default() };
        let (zone, is_stopped) = (Arc::clone(&dns.zone), Arc::clone(&dns.is_stopped));
        thread::spawn(move || serve_udp(&udp, &zone, &is_stopped));
        let (zone, is_stopped) = (Arc::clone(&dns.zone), Arc::clone(&dns.is_stopped));
        thread::spawn(move || serve_tcp(&tcp, &zone, &is_stopped));
        dns
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it answers from now on.
    pub fn change(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut lock(&self.zone));
    }

    /// How often it was asked for a record type (`"TXT"`) at a name.
    ///
    /// # Panics
    /// If there is no such type.
    pub fn asked(&self, name: &str, kind: &str) -> usize {
        let kind: RecordType = kind.parse().expect("a record type");
        lock(&self.zone).asked.get(&(key(&fqdn(name)), kind)).copied().unwrap_or_default()
    }

    /// How often it was asked anything.
    pub fn asked_in_all(&self) -> usize {
        lock(&self.zone).asked.values().sum()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // Each thread waits for a next question: this is the last.
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(b"", self.address);
        }
        let _ = TcpStream::connect(self.address);
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn same_port() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("it is bound")) {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

fn serve_udp(socket: &UdpSocket, zone: &Mutex<Zone>, is_stopped: &AtomicBool) {
    let mut buffer = [0; 4_096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        if is_stopped.load(Ordering::Relaxed) {
            return;
        }
        let Some(response) = lock(zone).answer(&buffer[..length]) else { continue };
        let mut bytes = response.to_vec().expect("an answer is encoded");
        if bytes.len() > UDP_BYTES_MAX {
            bytes = response.truncate().to_vec().expect("an answer is encoded");
        }
        let _ = socket.send_to(&bytes, client);
    }
}

fn serve_tcp(listener: &TcpListener, zone: &Arc<Mutex<Zone>>, is_stopped: &AtomicBool) {
    for stream in listener.incoming() {
        if is_stopped.load(Ordering::Relaxed) {
            return;
        }
        let (Ok(stream), zone) = (stream, Arc::clone(zone)) else { return };
        thread::spawn(move || serve_connection(stream, &zone));
    }
}

/// Answers until the client has no more questions.
fn serve_connection(mut stream: TcpStream, zone: &Mutex<Zone>) -> Option<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut request = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut request).ok()?;
        let Some(response) = lock(zone).answer(&request) else { continue };
        let bytes = response.to_vec().expect("an answer is encoded");
        let length = u16::try_from(bytes.len()).expect("it fits into 64 KiB").to_be_bytes();
        stream.write_all(&[&length[..], &bytes].concat()).ok()?;
    }
}

fn fqdn(name: &str) -> Name {
    let labels = name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
    let mut name = Name::from_labels(labels).expect("a name");
    name.set_fqdn(true);
    name
}

/// Names are compared without regard to case; their bytes may be any.
fn key(name: &Name) -> String {
    let labels: Vec<String> = name.iter().map(|label| String::from_utf8_lossy(label).to_lowercase()).collect();
    labels.join(".")
}
