//! The enqueuer's service, what it costs, and the pipe beside it; and an SQS endpoint that takes everything at once.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context;

use crate::{Beside, wait_until};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Ticks of /proc/PID/stat: USER_HZ is 100 on every Linux that we run on.
const MS_A_TICK: f64 = 10.0;

/// A running service.
pub(crate) struct Service {
    program: PathBuf,
    /// Settings of the pipe, which hands over to nobody.
    pipe_config: PathBuf,
    socket: PathBuf,
    spool: PathBuf,
    process: Beside,
}

impl Service {
    /// Starts the service `name` on a queue, in Postfix's group.
    pub(crate) fn start(folder: &Path, name: &str, program: &Path, queue: &str, aws: &str) -> anyhow::Result<Self> {
        let at = |suffix: &str| folder.join(format!("{name}{suffix}"));
        let (socket, config, pipe_config) = (at(".sock"), at(".toml"), at("-pipe.toml"));
        let settings = |lmtp: &str| {
            format!(
                r#"authentication = {{ mode = "off", unproven = "full" }}
[log]
level = "warn"
[queue]
{queue}
[store]
url = "dir:{place}/store"
[catalogue]
bucket = "config"
key = "catalogue.json"
[aws]
{aws}
[enqueuer]
host = "mx1"
{lmtp}
[worker]
cache_dir = "{place}/cache"
[database]
url = "sqlite:{place}/ledger.sqlite"
[reply]
bounce_address = "bounce@example.com"
[send]
"#,
                place = folder.display()
            )
        };
        fs::write(&pipe_config, settings(""))?;
        fs::write(&config, settings(&format!("lmtp = [\"unix:{}\"]", socket.display())))?;
        let mut command = Command::new("setpriv");
        command.args(["--regid=postfix", "--clear-groups", "--"]).arg(program).arg("--lmtp").arg("--config").arg(&config);
        let process = Beside::start(environment(&mut command).stderr(File::create(at(".log"))?))?;
        wait_until("the service", || socket.exists())?;
        Ok(Self { program: program.to_owned(), pipe_config, socket, spool: folder.join("spool"), process })
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What `run` measures while so many mails come, and the CPU of the service for each, in milliseconds.
    pub(crate) fn cost_of(&self, mails: usize, run: impl FnOnce() -> anyhow::Result<f64>) -> anyhow::Result<(f64, f64)> {
        let before = self.cpu_ms()?;
        let rate = run()?;
        Ok((rate, (self.cpu_ms()? - before) / mails as f64))
    }

    /// User and system time of all its threads.
    fn cpu_ms(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields: Vec<&str> = stat.rsplit_once(')').context("a name in brackets")?.1.split_whitespace().collect();
        Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) * MS_A_TICK)
    }

    /// The pipe for one mail on the same queue, as pipe(8) runs it; but without MAIL_CONFIG, by which it would know that its
    /// parent, this namespace's first process, cannot be pipe(8).
    pub(crate) fn pipe(&self) -> Command {
        let mut command = Command::new(&self.program);
        environment(&mut command).arg(format!("--config={}", self.pipe_config.display()));
        command.args(["--sender=someone@example.org", "--original-recipient=get@example.com", "--client-address=192.0.2.7"]);
        command.args(["--client-hostname=mail.example.org", "--client-helo=mail.example.org", "--client-protocol=ESMTP", "--queue-id=4XyZ"]);
        command
    }

    /// How many mails lie in the spool. None is removed while we measure: ext4 passes over the inodes that were deleted in the
    /// last minutes one by one, which would cost each new file more than all else.
    pub(crate) fn spooled(&self) -> anyhow::Result<usize> {
        Ok(fs::read_dir(self.spool.join("new"))?.count())
    }
}

fn environment(command: &mut Command) -> &mut Command {
    command.env_clear().envs([("LANG", "C"), ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("REPLYFLEET_SECRET_KEY", SECRET)]);
    command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
}

/// An HTTP server on loopback that says yes to SendMessage and SendMessageBatch, and keeps nothing.
pub(crate) struct Endpoint {
    address: SocketAddr,
    taken: Arc<AtomicUsize>,
}

impl Endpoint {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, taken) = (listener.local_addr()?, Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&taken);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                // A connection that breaks shows in the count.
                std::thread::spawn(move || serve(connection, &counter));
            }
        });
        Ok(Self { address, taken })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many messages were taken since the last time.
    pub(crate) fn empty(&self) -> usize {
        self.taken.swap(0, Ordering::SeqCst)
    }
}

fn serve(connection: TcpStream, taken: &AtomicUsize) -> anyhow::Result<()> {
    connection.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(256 << 10, connection);
    let mut body = Vec::new();
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse()?,
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
        const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";
        let text = std::str::from_utf8(&body)?;
        let ids: Vec<&str> = text.split("\"Id\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let answer = if ids.is_empty() {
            format!(r#"{{"MD5OfMessageBody":"{MD5}","MessageId":"1"}}"#)
        } else {
            let entries: Vec<String> = ids.iter().map(|id| format!(r#"{{"Id":"{id}","MessageId":"1","MD5OfMessageBody":"{MD5}"}}"#)).collect();
            format!(r#"{{"Successful":[{}],"Failed":[]}}"#, entries.join(","))
        };
        taken.fetch_add(ids.len().max(1), Ordering::SeqCst);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n", answer.len());
        stream.get_mut().write_all(format!("{head}{answer}").as_bytes())?;
    }
}
