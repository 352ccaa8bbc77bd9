//! An AWS account of a test's own: ministack, an emulator from PyPI, on a loopback port.
//!
//! `tests/run` installs it into a Python environment ([`venv`]). It ends with the process that started it, however that
//! ends: it runs under a shell that waits for the end of its standard input, which the test holds open and a dead test
//! cannot. It listens on loopback only, keeps what it keeps in a temporary folder, and checks no credentials.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use replyfleet::{aws::Aws, settings::AwsSettings};

use crate::{NoWorld, wait_for};

/// Starts what follows and ends it when standard input ends.
const UNTIL_STDIN_ENDS: &str = r#""$@" </dev/null & child=$!; read -r _; kill -KILL "$child""#;
/// The emulator's account number, part of its queues' URLs.
const ACCOUNT: &str = "000000000000";
/// The region of all tests: the one in which a bucket is made without naming it.
pub const REGION: &str = "us-east-1";

/// A running emulator.
pub struct Ministack {
    port: u16,
    shell: Child,
    _dir: tempfile::TempDir,
}

/// Where `tests/run` installs Python's packages.
pub fn venv() -> PathBuf {
    std::env::var_os("REPLYFLEET_VENV").map_or_else(|| crate::repository().join("target/venv"), PathBuf::from)
}

/// The emulator's program, if it is installed.
pub fn program() -> Result<PathBuf, NoWorld> {
    let program = venv().join("bin/ministack");
    if program.exists() { Ok(program) } else { Err(NoWorld(format!("no ministack at {}; tests/run installs it", program.display()))) }
}

/// The settings of an emulator on `port`, as environment variables. All that it writes goes below `dir`.
pub fn environment(dir: &Path, port: u16) -> Vec<(&'static str, String)> {
    let below = |name: &str| dir.join(name).display().to_string();
    vec![
        ("BIND_HOST", "127.0.0.1".into()),
        ("GATEWAY_PORT", port.to_string()),
        ("HOME", dir.display().to_string()),
        ("TMPDIR", dir.display().to_string()),
        ("S3_DATA_DIR", below("s3")),
        ("STATE_DIR", below("state")),
        ("LOG_LEVEL", "WARNING".into()),
        ("SFTP_ENABLED", "0".into()),
        ("IOT_MTLS_ENABLED", "0".into()),
        ("MINISTACK_REGION", REGION.into()),
    ]
}

impl Ministack {
    /// The one that all tests of this process share.
    ///
    /// # Errors
    /// [`NoWorld`] if it is not installed.
    pub fn shared() -> Result<&'static Self, NoWorld> {
        static SHARED: OnceLock<Ministack> = OnceLock::new();
        program()?;
        Ok(SHARED.get_or_init(|| Self::start(&[])))
    }

    /// One of a test's own, in which nobody else makes anything.
    ///
    /// # Errors
    /// [`NoWorld`] if it is not installed.
    pub fn alone() -> Result<Self, NoWorld> {
        program()?;
        Ok(Self::start(&[]))
    }

    /// One of a test's own that asks IAM about every call: all is allowed to the access key `test` with the secret `test`, and to a role
    /// what its policies say.
    ///
    /// # Errors
    /// [`NoWorld`] if it is not installed.
    pub fn with_iam() -> Result<Self, NoWorld> {
        program()?;
        Ok(Self::start(&[("AUTH", "true")]))
    }

    /// # Panics
    /// If it does not start.
    fn start(more: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let port = free_port();
        let log = std::fs::File::create(dir.path().join("log")).expect("log file");
        let shell = Command::new("sh")
            .args(["-c", UNTIL_STDIN_ENDS, "sh"])
            .arg(program().unwrap())
            .envs(environment(dir.path(), port))
            .envs(more.iter().copied())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("sh starts");
        let ministack = Self { port, shell, _dir: dir };
        wait_for("ministack to answer", Duration::from_secs(30), || ministack.get("/_ministack/health"));
        ministack
    }

    /// What the SDK calls the endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The account, loaded as the programs load it.
    pub async fn aws(&self) -> Aws {
        load_aws(self.endpoint()).await
    }

    /// Makes a queue and returns its URL.
    ///
    /// # Panics
    /// If the emulator does not make it.
    pub async fn create_queue(&self, name: &str) -> String {
        let client = aws_sdk_sqs::Client::new(self.aws().await.config());
        client.create_queue().queue_name(name).send().await.expect("create queue");
        self.queue_url(name)
    }

    /// The URL that a queue of this name has or would have.
    pub fn queue_url(&self, name: &str) -> String {
        format!("{}/{ACCOUNT}/{name}", self.endpoint())
    }

    /// Makes a bucket.
    ///
    /// # Panics
    /// If the emulator does not make it.
    pub async fn create_bucket(&self, name: &str) {
        let config = aws_sdk_s3::config::Builder::from(self.aws().await.config()).force_path_style(true).build();
        aws_sdk_s3::Client::from_conf(config).create_bucket().bucket(name).send().await.expect("create bucket");
    }

    /// A GET of one of the emulator's own pages, `None` if there is no good answer.
    fn get(&self, path: &str) -> Option<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split_once(' ').is_some_and(|(_, rest)| rest.starts_with("200")).then_some(answer)
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        drop(self.shell.stdin.take()); // the shell kills the emulator now
        let _ = self.shell.wait();
    }
}

/// The AWS account at `endpoint`.
///
/// # Panics
/// Without the credentials that cargo gives the tests.
pub async fn load_aws(endpoint: String) -> Aws {
    assert!(std::env::var_os("AWS_ACCESS_KEY_ID").is_some(), "no test credentials; run the tests by cargo, which sets them (tests/build.rs)");
    let settings = AwsSettings { region: Some(REGION.into()), endpoint_url: Some(endpoint), ..AwsSettings::default() };
    Aws::load(&settings).await.expect("AWS configuration")
}

/// A loopback port on which nobody listens just now.
///
/// # Panics
/// If the system has none.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}
