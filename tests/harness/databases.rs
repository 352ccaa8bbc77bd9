//! MariaDB and PostgreSQL for tests: private servers in a temporary folder, on a loopback port, as an unprivileged user.
//!
//! The tests of one process share a server of each kind and have a database each; who needs to kill one starts its own. A
//! server runs under a shell that obeys the test's words and, at the end of its standard input, ends the server and removes
//! its folder. The test holds that open and a dead test cannot, so nothing outlives the test, however that ends.
//! Without the programs, which `tests/run` installs, a test is skipped.

use std::{
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

use crate::{NoWorld, ministack::free_port, wait_for};

/// `sh -c` this, with the folder, the signal that ends the server, and the server's command line.
const UNTIL_STDIN_ENDS: &str = r#"
    folder=$1 end=$2; shift 2
    while read -r word; do
        case $word in
        start) "$@" </dev/null >>"$folder/log" 2>&1 & server=$! ;;
        end) kill -s "$end" "$server"; wait "$server" ;;
        esac
    done
    kill -s "$end" "$server" && wait "$server"
    rm -rf "$folder""#;
/// How long a server may take to start.
const SOON: Duration = Duration::from_secs(30);
/// The user that servers run as when the tests are root's, whom PostgreSQL refuses.
const USER: &str = "nobody";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MariaDB, which stands for MySQL as well.
    MariaDb,
    /// PostgreSQL.
    Postgres,
}

/// A running server.
pub struct Server {
    kind: Kind,
    port: u16,
    folder: PathBuf,
    shell: Child,
    starts: usize,
}

impl Kind {
    fn programs(self) -> Result<PathBuf, NoWorld> {
        let (program, folders) = match self {
            Kind::MariaDb => ("mariadbd", vec![PathBuf::from("/usr/sbin")]),
            Kind::Postgres => ("postgres", versions(Path::new("/usr/lib/postgresql"))),
        };
        if !Path::new("/usr/bin/openssl").exists() {
            return Err(NoWorld("no openssl; tests/run installs it".into()));
        }
        let found = folders.into_iter().find(|folder| folder.join(program).exists());
        found.ok_or_else(|| NoWorld(format!("no {program}; tests/run installs it")))
    }
}

/// The folders `VERSION/bin`, newest first.
fn versions(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = entries.map(|entry| entry.path().join("bin")).collect();
    versions.sort_by(|one, other| other.cmp(one));
    versions
}

impl Server {
    /// The server that all tests of this process share. It forgets what a power cut takes.
    ///
    /// # Errors
    /// [`NoWorld`] if it is not installed.
    pub fn shared(kind: Kind) -> Result<&'static Self, NoWorld> {
        static MARIADB: OnceLock<Server> = OnceLock::new();
        static POSTGRES: OnceLock<Server> = OnceLock::new();
        kind.programs()?;
        let shared = match kind {
            Kind::MariaDb => &MARIADB,
            Kind::Postgres => &POSTGRES,
        };
        Ok(shared.get_or_init(|| Self::start(kind, false).unwrap()))
    }

    /// A server of the test's own; a durable one keeps what it has confirmed.
    ///
    /// # Errors
    /// [`NoWorld`] if it is not installed.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(kind: Kind, is_durable: bool) -> Result<Self, NoWorld> {
        let programs = kind.programs()?;
        let folder = tempfile::Builder::new().prefix("replyfleet-database-").tempdir().expect("temporary folder").keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap(); // the server's user must get through
        let (data, tls) = (folder.join("data"), folder.join("tls"));
        fs::create_dir(&data).unwrap();
        make_certificates(&tls);
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        if is_root {
            assert!(Command::new("chown").arg("-R").arg(USER).args([&data, &tls]).status().expect("chown starts").success());
        }
        let as_user = |program: PathBuf| {
            let mut line: Vec<String> = Vec::new();
            if is_root {
                line.extend(["setpriv", "--reuid", USER, "--regid", "nogroup", "--clear-groups"].map(str::to_owned));
            }
            line.push(program.display().to_string());
            line
        };
        let port = free_port();
        let mut prepare = as_user(match kind {
            Kind::MariaDb => programs.join("mariadbd"),
            Kind::Postgres => programs.join("initdb"),
        });
        let words: &[&str] = match kind {
            Kind::MariaDb => &["--no-defaults", "--bootstrap", "--datadir"],
            Kind::Postgres => &["--auth=trust", "--username=root", "--no-sync", "--encoding=UTF8", "--locale=C", "--pgdata"],
        };
        prepare.extend(words.iter().copied().map(str::to_owned));
        prepare.push(data.display().to_string());
        // MariaDB makes what it needs when it starts, but could not recover that from a crash.
        if kind == Kind::Postgres || is_durable {
            let made = Command::new(&prepare[0]).args(&prepare[1..]).current_dir("/").stdin(Stdio::null()).output().expect("it starts");
            assert!(made.status.success(), "{prepare:?}: {}", String::from_utf8_lossy(&made.stderr));
        }
        let mut line = as_user(match kind {
            Kind::MariaDb => programs.join("mariadbd"),
            Kind::Postgres => programs.join("postgres"),
        });
        line.extend(options(kind, &data, &tls, port, is_durable));
        let end = match kind {
            Kind::MariaDb => "KILL",
            Kind::Postgres => "QUIT", // at once, as a crash does, but with all its processes
        };
        let shell = Command::new("sh")
            .args(["-c", UNTIL_STDIN_ENDS, "sh"])
            .arg(&folder)
            .arg(end)
            .args(line)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let mut server = Self { kind, port, folder, shell, starts: 0 };
        server.start_again();
        Ok(server)
    }

    fn say(&mut self, word: &str) {
        writeln!(self.shell.stdin.as_mut().unwrap(), "{word}").expect("the shell listens");
    }

    /// Starts it after [`Server::crash`], and waits until it is ready.
    ///
    /// # Panics
    /// If it does not get ready.
    pub fn start_again(&mut self) {
        self.say("start");
        self.starts += 1;
        let ready = match self.kind {
            Kind::MariaDb => "ready for connections",
            Kind::Postgres => "ready to accept connections",
        };
        let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        wait_for(&format!("{:?} to be ready", self.kind), SOON, || (log().matches(ready).count() >= self.starts).then_some(()));
    }

    /// Ends it without any time to tidy up, and waits until nobody answers at its port.
    pub fn crash(&mut self) {
        self.say("end");
        wait_for("the server to be gone", SOON, || std::net::TcpStream::connect(("127.0.0.1", self.port)).err());
    }

    /// The file with the authority behind its certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("tls/authority.pem")
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database there, at another port if a proxy stands before it.
    pub fn url(&self, database: &str, port: u16) -> String {
        let scheme = match self.kind {
            Kind::MariaDb => "mysql",
            Kind::Postgres => "postgres",
        };
        format!("{scheme}://root@127.0.0.1:{port}/{database}")
    }

    /// Makes a database of a name of its own and returns its URL.
    ///
    /// # Panics
    /// If the server does not.
    pub async fn new_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ledger{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let any = match self.kind {
            Kind::MariaDb => "information_schema",
            Kind::Postgres => "postgres",
        };
        let connection = Database::connect(self.url(any, self.port)).await.expect("the server answers");
        connection.execute_unprepared(&format!("CREATE DATABASE {name}")).await.expect("it makes a database");
        connection.close().await.expect("closed");
        self.url(&name, self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take()); // the shell ends the server now
        let _ = self.shell.wait();
    }
}

/// An authority, and a certificate of it for 127.0.0.1.
fn make_certificates(folder: &Path) {
    let script = r#"
        mkdir "$1" && cd "$1"
        openssl req -x509 -days 30 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout authority.key -out authority.pem \
            -subj '/CN=replyfleet test authority'
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.request -subj /CN=server
        echo 'subjectAltName=IP:127.0.0.1' >extensions
        openssl x509 -req -days 30 -in server.request -CA authority.pem -CAkey authority.key -CAcreateserial -out server.pem \
            -extfile extensions"#;
    let made = Command::new("sh").args(["-euc", script, "sh"]).arg(folder).stdin(Stdio::null()).output().expect("sh starts");
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}

/// Small, quick to start, and no more durable than it must be.
fn options(kind: Kind, data: &Path, tls: &Path, port: u16, is_durable: bool) -> Vec<String> {
    let (data, tls) = (data.display(), tls.display());
    match kind {
        // Without grant tables it needs no preparation: an empty folder will do.
        Kind::MariaDb => vec![
            "--no-defaults".into(),
            format!("--datadir={data}"),
            format!("--socket={data}/socket"),
            format!("--pid-file={data}/pid"),
            "--bind-address=127.0.0.1".into(),
            format!("--port={port}"),
            "--skip-grant-tables".into(),
            format!("--ssl-cert={tls}/server.pem"),
            format!("--ssl-key={tls}/server.key"),
            "--skip-networking=0".into(),
            "--max-connections=300".into(),
            "--innodb-log-file-size=16M".into(),
            "--innodb-buffer-pool-size=64M".into(),
            "--innodb-fast-shutdown=2".into(),
            format!("--innodb-flush-log-at-trx-commit={}", if is_durable { 1 } else { 0 }),
            format!("--innodb-flush-method={}", if is_durable { "fsync" } else { "nosync" }),
        ],
        Kind::Postgres => {
            let off = if is_durable { "on" } else { "off" };
            let mut options = vec!["-D".into(), data.to_string(), "-p".into(), port.to_string()];
            for setting in [
                "listen_addresses=127.0.0.1".to_owned(),
                format!("unix_socket_directories={data}"),
                "max_connections=300".into(),
                "ssl=on".into(),
                format!("ssl_cert_file={tls}/server.pem"),
                format!("ssl_key_file={tls}/server.key"),
                format!("fsync={off}"),
                format!("full_page_writes={off}"),
            ] {
                options.extend(["-c".to_owned(), setting]);
            }
            options
        }
    }
}

/// All that a database holds: a line for each row of each table, its values separated by `|`.
///
/// # Panics
/// If it cannot be read.
pub async fn dump(connection: &DatabaseConnection) -> Vec<String> {
    let backend = connection.get_database_backend();
    let texts = async |query: String| {
        let rows = connection.query_all_raw(Statement::from_string(backend, query)).await.expect("it can be asked");
        rows.iter().map(|row| row.try_get_by_index::<Option<String>>(0).expect("a text").unwrap_or_default()).collect::<Vec<_>>()
    };
    let tables = texts(match backend {
        DbBackend::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'".into(),
        DbBackend::MySql => "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema = DATABASE()".into(),
        _ => "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'".into(),
    });
    let mut lines = Vec::new();
    for table in tables.await {
        let columns = texts(match backend {
            DbBackend::Sqlite => format!("SELECT name FROM pragma_table_info('{table}')"),
            DbBackend::MySql => {
                format!("SELECT CAST(column_name AS CHAR) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = '{table}'")
            }
            _ => format!("SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'public' AND table_name = '{table}'"),
        });
        let quote = if backend == DbBackend::MySql { '`' } else { '"' };
        let text = |column: &String| match backend {
            DbBackend::MySql => format!("COALESCE(CAST({quote}{column}{quote} AS CHAR), '')"),
            _ => format!("COALESCE(CAST({quote}{column}{quote} AS TEXT), '')"),
        };
        let all: Vec<String> = columns.await.iter().map(text).collect();
        let row = match backend {
            DbBackend::MySql => format!("CONCAT_WS('|', {})", all.join(", ")),
            _ => all.join(" || '|' || "),
        };
        lines.extend(texts(format!("SELECT {row} FROM {quote}{table}{quote}")).await.into_iter().map(|row| format!("{table}|{row}")));
    }
    lines
}
