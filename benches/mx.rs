//! A Postfix of the bench's own, with a recipient for each way to deliver, and the sink.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::ensure;

use crate::{Beside, MAIL_BYTES, wait_until};

/// The recipient, and the way, that ends in a sink which stores nothing.
pub(crate) const SINK: &str = "sink";
const LISTEN: &str = "127.0.0.1:2525";
/// Connections of smtp-source.
const SESSIONS: &str = "20";

/// Type, private, unprivileged, chroot, wake-up, limit, program.
const SERVICES: &str = "
127.0.0.1:2525 inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
lmtp unix - - n - - lmtp
discard unix - - n - - discard
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

/// A running Postfix and its sink.
pub(crate) struct Mx {
    log: PathBuf,
    _daemons: [Beside; 2],
}

impl Mx {
    /// Starts both. Each way is a recipient and the socket to which its mail goes by LMTP.
    pub(crate) fn start(folder: &Path, ways: &[(&str, &Path)]) -> anyhow::Result<Self> {
        let at = |name: &str| folder.join("postfix").join(name);
        for name in ["etc", "queue", "data"] {
            fs::create_dir_all(at(name))?;
        }
        ensure!(Command::new("chown").arg("postfix").arg(at("data")).status()?.success(), "chown");
        let sink = (SINK, at("data/sink.sock"));
        let ways = ways.iter().map(|(name, socket)| (*name, socket.to_path_buf())).chain([sink]);
        let transports: Vec<String> = ways.map(|(name, socket)| format!("{{{name}@bench.test=lmtp:unix:{}}}", socket.display())).collect();
        let main = format!(
            "compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
maillog_file_prefixes = {folder}
maillog_file = {log}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.bench.test
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = bench.test
virtual_transport = discard:
transport_maps = inline:{{ {transports} }}
lmtp_send_xforward_command = yes
lmtp_destination_recipient_limit = 1
lmtp_line_length_limit = 0
enable_long_queue_ids = yes
smtpd_discard_ehlo_keywords = dsn, silent-discard
smtpd_client_connection_count_limit = 0
",
            queue = at("queue").display(),
            data = at("data").display(),
            folder = at("").display(),
            log = at("mail.log").display(),
            transports = transports.join(", "),
        );
        fs::write(at("etc/main.cf"), main)?;
        fs::write(at("etc/master.cf"), SERVICES)?;
        // In a folder of Postfix's user, as whom it runs.
        let socket = at("data/sink.sock");
        let listen = format!("unix:{}", socket.display());
        let sink = Beside::start(Command::new("smtp-sink").args(["-u", "postfix", "-L", &listen, "256"]).stderr(File::create(at("sink.log"))?))?;
        wait_until("the sink", || socket.exists())?;
        let quiet = File::create(at("daemons.log"))?;
        let postfix = Beside::start(Command::new("postfix").arg("-c").arg(at("etc")).arg("start-fg").stdout(quiet.try_clone()?).stderr(quiet))?;
        wait_until("Postfix", || std::net::TcpStream::connect(LISTEN).is_ok())?;
        Ok(Self { log: at("mail.log"), _daemons: [sink, postfix] })
    }

    /// Mails a second: from the first that is given to the last that is delivered.
    pub(crate) fn rate(&self, way: &str, mails: usize) -> anyhow::Result<f64> {
        let mut log = File::open(&self.log)?;
        std::io::Seek::seek(&mut log, std::io::SeekFrom::End(0))?;
        let start = Instant::now();
        let mut source = Command::new("smtp-source")
            .args(["-s", SESSIONS, "-m", &mails.to_string(), "-l", &MAIL_BYTES.to_string()])
            .args(["-f", "someone@bench.test", "-t", &format!("{way}@bench.test"), LISTEN])
            .stdin(Stdio::null())
            .spawn()?;
        let (mut sent, mut end, mut rest) = (0, start, String::new());
        let sought = format!("to=<{way}@bench.test>");
        wait_until(&format!("{mails} mails by {way}"), || {
            let _ = log.read_to_string(&mut rest); // half a character at the end comes whole with the next look
            let whole = rest.rfind('\n').map_or(0, |at| at + 1);
            let found = rest[..whole].lines().filter(|line| line.contains(&sought) && line.contains("status=sent")).count();
            rest.drain(..whole);
            if found > 0 {
                (sent, end) = (sent + found, Instant::now());
            }
            sent >= mails
        })?;
        ensure!(source.wait()?.success(), "smtp-source failed");
        Ok(mails as f64 / (end - start).as_secs_f64())
    }
}
