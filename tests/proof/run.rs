//! One run for all proofs: requests of every case through Postfix and the enqueuer, a real worker, and its replies as it
//! said them on the wire and as they arrived behind a Postfix.
//!
//! ```text
//! worker --SMTP--> tap.py 127.0.0.1:2527 --> Postfix 127.0.0.1:2525 --> sink
//! ```
//! The tap writes down every byte of the worker's. What it saw is a reply's `wire`; what the sink has, its `arrived`.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::{Child, Stdio},
    sync::LazyLock,
    time::Instant,
};

use replyfleet_tests::{
    repository, skipped,
    world::{Backing, Mail, Plan, World},
};

use crate::{
    cases::{CASES, Case, DOMAIN, Expected, GOOGLE_CUSTOMER, catalogue, contents, settings},
    program,
    signed::{KEYS, Key},
};

/// Where the tap listens, in the world's own network.
const TAP_PORT: u16 = 2527;

/// A reply.
pub(crate) struct Sent {
    pub(crate) case: &'static Case,
    /// Which of the case's replies.
    pub(crate) index: usize,
    /// The argument of MAIL FROM.
    pub(crate) mail_from: String,
    /// As the worker sent it, without the stuffed dots.
    pub(crate) wire: Vec<u8>,
    /// As the sink wrote it: with LF, and with the Received fields of Postfix and the sink on top.
    pub(crate) arrived: Vec<u8>,
}

impl Sent {
    /// What must be in it.
    pub(crate) fn expected(&self) -> &'static Expected {
        &self.case.replies[self.index]
    }

    /// What to call it in a failure and in a file name.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.case.name, self.index)
    }
}

/// All replies, in the order of the cases; `None`, said aloud, where there can be no world of real daemons.
pub(crate) fn replies() -> Option<&'static [Sent]> {
    // Lazy, not once: where it fails, it fails for all, and is not tried again by each test.
    static REPLIES: LazyLock<Option<Vec<Sent>>> = LazyLock::new(send_all);
    let replies = REPLIES.as_deref();
    if replies.is_none() {
        skipped("no replies to look at: there is no world to send them in");
    }
    replies
}

fn send_all() -> Option<Vec<Sent>> {
    let start = Instant::now();
    let google = [format!("--mx-host={GOOGLE_CUSTOMER},aspmx.l.google.com,10"), "--host-record=aspmx.l.google.com,192.0.2.26".into()];
    let world = World::start(&Plan { names: &google, authentication: "unproven = \"full\"", ..Plan::on(Backing::Embedded) })?;
    fs::write(world.path("store/files/catalogue.json"), catalogue()).unwrap();
    for (key, content) in contents() {
        fs::write(world.path("store/files").join(key), content).unwrap();
    }
    let change = |text: String, from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from:?} in the world's settings");
        text.replace(from, to)
    };
    let text = fs::read_to_string(world.path("replyfleet.toml")).unwrap();
    let text = change(text, "from_name = \"Responder\"", &settings());
    let text = change(text, "port = 2525", &format!("port = {TAP_PORT}"));
    fs::write(world.path("replyfleet.toml"), text + &signing(&world)).unwrap();
    let mut tap = start_tap(&world);
    for case in CASES.iter() {
        world.send(&Mail { from: &case.sender(), to: &case.asked(), content: case.request() });
    }
    world.wait_for_handover(CASES.len());
    let worker = world.start_worker();
    world.wait_until_settled();
    world.wait_until_postfix_is_empty();
    world.assert_nothing_bounced();
    let replies = collect(&world.path("tap"), &world.path("sink"));
    println!("{} replies to {} requests, collected within {:.1} s", replies.len(), CASES.len(), start.elapsed().as_secs_f64());
    drop((worker, world));
    tap.wait().unwrap();
    Some(replies)
}

/// Puts the keys into the world, readable for the worker's group; the settings that name them.
fn signing(world: &World) -> String {
    let entry = |key: &Key| {
        let path = world.path(&format!("{}.pem", key.selector));
        fs::write(&path, &key.pem).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let group = fs::metadata(world.path("secret")).unwrap().gid();
        chown(&path, None, Some(group)).unwrap();
        format!("[[signing.keys]]\ndomain = \"{DOMAIN}\"\nselector = \"{}\"\nkey = \"file:{}\"\n", key.selector, path.display())
    };
    KEYS.iter().map(entry).collect()
}

/// Starts the tap in the world; it ends with the world.
fn start_tap(world: &World) -> Child {
    fs::create_dir(world.path("tap")).unwrap();
    let mut command = world.command(program::python());
    command.arg(repository().join("tests/proof/tap.py")).args([&TAP_PORT.to_string(), "2525"]).arg(world.path("tap"));
    let mut tap = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(tap.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "ready\n", "the tap");
    tap
}

fn collect(tap: &Path, sink: &Path) -> Vec<Sent> {
    let read = |folder: &Path| -> Vec<Vec<u8>> { fs::read_dir(folder).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect() };
    let spoken: Vec<Spoken> = read(tap).iter().flat_map(|stream| mails(stream)).collect();
    let arrived: Vec<Vec<u8>> = read(sink).into_iter().map(without_notes).collect();
    let mut replies = Vec::new();
    for case in CASES.iter() {
        let mut of_case: Vec<&Spoken> = spoken.iter().filter(|spoken| spoken.rcpt_to == case.sender()).collect();
        of_case.sort_by_key(|spoken| id(&spoken.mail));
        assert_eq!(of_case.len(), case.replies.len(), "replies to {}", case.name);
        for (index, spoken) in of_case.into_iter().enumerate() {
            let id = id(&spoken.mail);
            assert!(id.ends_with(&format!(".{index}@{DOMAIN}")), "{}.{index} has the id {id}", case.name);
            let mut same = arrived.iter().filter(|mail| self::id(mail) == id);
            let (Some(found), None) = (same.next(), same.next()) else { panic!("{}.{index} is not at the sink once", case.name) };
            replies.push(Sent { case, index, mail_from: spoken.mail_from.clone(), wire: spoken.mail.clone(), arrived: found.clone() });
        }
    }
    assert_eq!((spoken.len(), arrived.len()), (replies.len(), replies.len()), "mails that nobody asked for");
    replies
}

/// A mail in an SMTP dialogue.
struct Spoken {
    mail_from: String,
    rcpt_to: String,
    mail: Vec<u8>,
}

/// The mails that a client sent over one connection, without the stuffed dots (RFC 5321 §4.5.2).
fn mails(stream: &[u8]) -> Vec<Spoken> {
    let (mut mails, mut in_data) = (Vec::new(), None::<Vec<u8>>);
    let (mut mail_from, mut rcpt_to) = (String::new(), String::new());
    for line in stream.split_inclusive(|&byte| byte == b'\n') {
        match &mut in_data {
            Some(mail) if line == b".\r\n" => {
                mails.push(Spoken { mail_from: mail_from.clone(), rcpt_to: rcpt_to.clone(), mail: std::mem::take(mail) });
                in_data = None;
            }
            Some(mail) => mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(line)),
            None => {
                let command = String::from_utf8_lossy(line).trim_end().to_owned();
                let argument = || command.split(['<', '>']).nth(1).unwrap().to_owned();
                match command.to_ascii_uppercase().get(..4).unwrap_or_default() {
                    "MAIL" => mail_from = argument(),
                    "RCPT" => rcpt_to = argument(),
                    "DATA" => in_data = Some(Vec::new()),
                    "BDAT" => panic!("the worker sends chunks, which this does not read"),
                    _ => {}
                }
            }
        }
    }
    mails
}

/// Without the lines that the sink puts before a mail, and the empty one after it.
fn without_notes(file: Vec<u8>) -> Vec<u8> {
    let lines = file.split_inclusive(|&byte| byte == b'\n');
    let notes: usize = lines.take_while(|line| line.starts_with(b"X-")).map(<[u8]>::len).sum();
    file[notes..].strip_suffix(b"\n").expect("a sink that ends a mail with an empty line").to_vec()
}

/// The Message-ID without its brackets.
fn id(mail: &[u8]) -> String {
    let header = mail.split(|&byte| byte == b'\n').take_while(|line| !line.trim_ascii().is_empty());
    let mut ids = header.filter_map(|line| line.strip_prefix(b"Message-ID:"));
    let (Some(id), None) = (ids.next(), ids.next()) else { panic!("no reply has two Message-IDs, or none") };
    String::from_utf8_lossy(id).trim().trim_matches(['<', '>']).to_owned()
}
