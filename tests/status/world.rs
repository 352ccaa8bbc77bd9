//! A real worker that serves its page on a port of its own, and a client that asks it byte by byte.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use replyfleet_tests::{installation::Installation, program, wait_for};
use serde_json::Value;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// An installation whose worker serves its page, as `listen` says.
pub(crate) fn installation(listen: &str) -> Installation {
    let installation = Installation::new();
    installation.change("reply = ", |line| format!("{line}\nstatus = {{ listen = \"{listen}\" }}"));
    installation.change("worker = ", |line| line.replace(" }", ", slots = 4, probe_s = 1, stop_timeout_s = 20 }"));
    installation
}

/// A started worker, killed when it is dropped.
pub(crate) struct Worker {
    child: Child,
    log: PathBuf,
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// As it came, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Asks with these lines, and reads until the other side ends.
pub(crate) fn ask(address: SocketAddr, lines: &[&str]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text); // one that is refused may be cut off before it has said all
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

impl Worker {
    pub(crate) fn start(installation: &Installation) -> Self {
        let log = installation.path(&format!("{}.log", fs::read_dir(installation.path("")).unwrap().count()));
        let mut command = Command::new(program("replyfleet-worker"));
        command.arg("--config").arg(installation.path("replyfleet.toml")).stdin(Stdio::null());
        let child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        Self { child, log }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Where it serves its page, as its log says.
    pub(crate) fn address(&mut self) -> SocketAddr {
        wait_for("the page to be served", PATIENCE, || {
            assert!(self.child.try_wait().unwrap().is_none(), "the worker has ended: {}", self.log());
            let log = self.log();
            let line = log.lines().find(|line| line.contains("the status page is served"))?;
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line["address"].as_str()?.parse().unwrap())
        })
    }

    /// Asks for a path as a browser does.
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        ask(self.address(), &[&format!("GET {path} HTTP/1.1"), "Host: localhost"])
    }

    /// Waits until `/readyz` has this status, and returns what it says.
    pub(crate) fn wait_until_ready_says(&mut self, status: u16, words: &str) -> String {
        wait_for(&format!("/readyz to say {status} {words}"), PATIENCE, || {
            let answer = self.get("/readyz");
            (answer.status == status && answer.body.contains(words)).then_some(answer.body)
        })
    }

    /// `/status.json`.
    pub(crate) fn view(&mut self) -> Value {
        let answer = self.get("/status.json");
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).expect("JSON")
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "sh", signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the worker's end", PATIENCE, || self.child.try_wait().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the worker's log\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
