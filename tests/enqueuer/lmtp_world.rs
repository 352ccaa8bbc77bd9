//! The enqueuer as a service in a world of its own, and a client that speaks LMTP as Postfix does.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::{net::UnixStream, process::ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use replyfleet_tests as harness;

use crate::world::World;

/// How long anything may take that should be quick; longer than any deadline of the settings here.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Envelope of [`World::run`](crate::world::World::run), as XFORWARD says it.
pub(crate) const XFORWARD: &str = "XFORWARD NAME=mail.example.org ADDR=192.0.2.7 PROTO=ESMTP HELO=mail.example.org IDENT=4XyZ SOURCE=REMOTE";

impl World {
    /// The service's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("lmtp.sock")
    }

    /// With a socket for the service in the settings, and these keys beside it.
    pub(crate) fn with_service(self, keys: &str) -> Self {
        self.change_settings("host = \"mx1\"", &format!("host = \"mx1\"\nlmtp = [\"unix:{}\"]\n{keys}", self.socket().display()));
        self
    }
}

/// A running service; killed at its end.
pub(crate) struct Service {
    child: Child,
}

impl Service {
    /// Starts it, and waits until it answers.
    pub(crate) fn start(world: &World) -> Self {
        Self::start_by::<OsString>(world, [], &[])
    }

    /// The same by another program, whose words come before its own, and with more in its environment.
    pub(crate) fn start_by<W: Into<OsString>>(world: &World, wrapper: impl IntoIterator<Item = W>, environment: &[(&str, String)]) -> Self {
        let mut service = Self::spawn(world, wrapper, environment);
        harness::wait_for("the service to answer", SOON, || {
            assert!(service.child.try_wait().unwrap().is_none(), "the service ended; its log says why");
            Client::try_connect(world).map(drop)
        });
        service
    }

    /// Starts it.
    pub(crate) fn spawn<W: Into<OsString>>(world: &World, wrapper: impl IntoIterator<Item = W>, environment: &[(&str, String)]) -> Self {
        let words: Vec<OsString> = wrapper.into_iter().map(Into::into).chain([harness::program("replyfleet-enqueue").into()]).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("--lmtp").arg("--config").arg(&world.config).env_clear();
        command.envs([("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]);
        command.envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
        let log = std::fs::File::create(world.path("service.log")).unwrap();
        Self { child: command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap() }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal (`TERM`, `KILL`, `STOP`).
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "sh", signal, &self.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end: its status, or minus the signal that ended it.
    pub(crate) fn end(mut self) -> i32 {
        let status = harness::wait_for("the service to end", SOON, || self.child.try_wait().unwrap());
        status.code().unwrap_or_else(|| -status.signal().unwrap())
    }

    /// The most memory that it had, in bytes.
    pub(crate) fn memory_peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }
}

impl Drop for Service {
    /// What it was started by may let it live on.
    fn drop(&mut self) {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.id())).unwrap_or_default();
        for child in children.split_whitespace() {
            let _ = Command::new("sh").args(["-c", r#"kill -s KILL "$1""#, "sh", child]).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A client.
pub(crate) struct Client(BufReader<Box<dyn Stream>>);

impl Client {
    fn try_connect(world: &World) -> Option<Self> {
        let stream = UnixStream::connect(world.socket()).ok()?;
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        let mut client = Self(BufReader::new(Box::new(stream)));
        assert!(client.line().starts_with("220 mx1 LMTP"));
        Some(client)
    }

    /// Connected, greeted, and LHLO said.
    pub(crate) fn connect(world: &World) -> Self {
        let mut client = Self::try_connect(world).expect("the service answers");
        client.hello();
        client
    }

    /// The same over TCP.
    pub(crate) fn connect_tcp(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut client = Self(BufReader::new(Box::new(stream)));
        assert!(client.line().starts_with("220 mx1 LMTP"));
        client.hello();
        client
    }

    /// Connected; the greeting is the test's to read.
    pub(crate) fn connect_silently(world: &World) -> Self {
        let stream = UnixStream::connect(world.socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self(BufReader::new(Box::new(stream)))
    }

    /// Connected, and nothing is waited for longer than a moment.
    pub(crate) fn connect_impatiently(world: &World) -> Self {
        let stream = UnixStream::connect(world.socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut client = Self(BufReader::new(Box::new(stream)));
        assert!(client.line().starts_with("220 "));
        client
    }

    /// Whether the service took these bytes in a moment.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.0.get_mut().write_all(bytes).is_ok()
    }

    fn hello(&mut self) {
        self.send("LHLO mx1\r\n");
        while !self.line().starts_with("250 ") {}
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// The next line of a reply; empty at the connection's end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => String::new(),
            read => {
                read.unwrap();
                line.trim_end().to_owned()
            }
        }
    }

    /// Sends a line and reads the reply to it.
    pub(crate) fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.line()
    }

    /// Begins a mail with this queue id from the usual sender to these recipients; all is accepted.
    pub(crate) fn begin(&mut self, queue_id: &str, recipients: &[&str]) {
        let mut commands = vec![XFORWARD.replace("4XyZ", queue_id), "MAIL FROM:<someone@example.org>".to_owned()];
        commands.extend(recipients.iter().map(|recipient| format!("RCPT TO:<{recipient}>")));
        for command in commands {
            let reply = self.say(&command);
            assert!(reply.starts_with("250 "), "{command}: {reply}");
        }
    }

    /// Sends a mail by DATA; the replies for its recipients.
    pub(crate) fn data(&mut self, mail: &[u8], recipients: usize) -> Vec<String> {
        let reply = self.say("DATA");
        assert!(reply.starts_with("354 "), "{reply}");
        self.send(as_data(mail));
        (0..recipients).map(|_| self.line()).collect()
    }

    /// Sends a mail by BDAT; the reply for its one recipient.
    pub(crate) fn bdat(&mut self, mail: &[u8]) -> String {
        self.send([format!("BDAT {} LAST\r\n", mail.len()).as_bytes(), mail].concat());
        self.line()
    }

    /// A whole mail to the usual recipient; the reply for it.
    pub(crate) fn mail(&mut self, queue_id: &str, mail: &[u8]) -> String {
        self.begin(queue_id, &["get@example.com"]);
        self.data(mail, 1).remove(0)
    }
}

/// As Postfix's lmtp(8) sends a mail of LF lines: CRLF, dots stuffed, and a dot.
pub(crate) fn as_data(mail: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(mail.len() + 64);
    for line in mail.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            data.push(b'.');
        }
        data.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        data.extend_from_slice(b"\r\n");
    }
    data.extend_from_slice(b".\r\n");
    data
}
