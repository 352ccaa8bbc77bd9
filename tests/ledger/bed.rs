//! A database of a test's own, and the requests that are made of the ledgers on it.

use std::time::{Duration, Instant};

use replyfleet::{
    clock::UnixMillis,
    keyed::Secret,
    settings::{AllowanceSettings, Trust},
};
use replyfleet_tests::{
    databases::{self, Kind, Server},
    skipped,
};
use replyfleet_worker::{
    address::Address,
    ledger::{Application, Ledger, LedgerError, Progress, Promise, Verdict},
    reason::Reason,
};
use sea_orm::DbErr;

/// 2026-09-21, 13:46:40 UTC.
pub(crate) const T0: UnixMillis = UnixMillis(1_790_000_000_000);
/// The end of that day.
pub(crate) const MIDNIGHT: UnixMillis = UnixMillis(1_790_035_200_000);
/// How many ask at once.
pub(crate) const MANY: usize = 64;
/// How many workers, each with connections of its own.
const WORKERS: usize = 4;
/// How long a database may be too busy.
const BUSY_MAX: Duration = Duration::from_secs(60);

pub(crate) const OVER: Verdict = Verdict::Ignore(Reason::OverAllowance);
pub(crate) const OVER_CAP: Verdict = Verdict::Ignore(Reason::OverCap);

pub(crate) struct Bed {
    pub(crate) url: String,
    _dir: Option<tempfile::TempDir>,
}

impl Bed {
    pub(crate) async fn sqlite() -> Option<Self> {
        let dir = tempfile::tempdir().expect("temporary folder");
        Some(Self { url: format!("sqlite:{}", dir.path().join("ledger.db").display()), _dir: Some(dir) })
    }

    pub(crate) async fn mariadb() -> Option<Self> {
        Self::on(Kind::MariaDb).await
    }

    pub(crate) async fn postgres() -> Option<Self> {
        Self::on(Kind::Postgres).await
    }

    async fn on(kind: Kind) -> Option<Self> {
        match Server::shared(kind) {
            Ok(server) => Some(Self { url: server.new_database().await, _dir: None }),
            Err(why) => {
                skipped(&why.0);
                None
            }
        }
    }

    /// A worker's ledger; `allowance` is the settings' part in JSON, over the defaults but for the caps, which are off.
    pub(crate) async fn ledger(&self, allowance: &str) -> Ledger {
        open(&self.url, allowance).await.expect("opened")
    }

    /// Several workers' ledgers.
    pub(crate) async fn workers(&self, allowance: &str) -> Vec<Ledger> {
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            workers.push(self.ledger(allowance).await);
        }
        workers
    }

    /// A connection beside the ledger's.
    pub(crate) async fn connection(&self) -> sea_orm::DatabaseConnection {
        sea_orm::Database::connect(&self.url).await.expect("connected")
    }

    /// All rows of all tables.
    pub(crate) async fn dump(&self) -> Vec<String> {
        databases::dump(&self.connection().await).await
    }
}

pub(crate) fn secret() -> Secret {
    Secret::from_text("0123456789abcdef0123456789abcdef").expect("long enough")
}

pub(crate) fn allowance(text: &str) -> AllowanceSettings {
    let caps = r#""per_domain": null, "per_network": null"#;
    let is_about_caps = text.contains("per_");
    let text = match (text.is_empty(), is_about_caps) {
        (true, _) => format!("{{{caps}}}"),
        (false, true) => format!("{{{text}}}"),
        (false, false) => format!("{{{text}, {caps}}}"),
    };
    serde_json::from_str(&text).expect("settings")
}

pub(crate) async fn open(url: &str, text: &str) -> Result<Ledger, LedgerError> {
    Ledger::open(url, secret(), allowance(text)).await
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).expect(text)
}

/// A request: by default for a small and a full response, from a sender who is trusted in full and proven by nobody.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) key: String,
    pub(crate) mail: String,
    pub(crate) sender: String,
    pub(crate) client: String,
    pub(crate) responder: String,
    pub(crate) identity: String,
    pub(crate) trust: Trust,
    pub(crate) responses: Vec<Promise>,
    pub(crate) is_allowed: bool,
    pub(crate) is_proven: bool,
}

pub(crate) fn promise(digest: &str, needs: Trust) -> Promise {
    Promise { digest: digest.into(), needs }
}

impl Ask {
    /// Request `number`, a mail of its own.
    pub(crate) fn new(number: impl std::fmt::Display, sender: &str) -> Self {
        Self {
            key: format!("k{number}"),
            mail: format!("m{number}"),
            sender: sender.into(),
            client: "192.0.2.7".into(),
            responder: "get@example.com".into(),
            identity: format!("<{number}@id.example>"),
            trust: Trust::Full,
            responses: vec![promise("small", Trust::Small), promise("full", Trust::Full)],
            is_allowed: false,
            is_proven: false,
        }
    }

    fn application<'a>(&'a self, sender: &'a Address) -> Application<'a> {
        Application {
            request_key: &self.key,
            mail_key: &self.mail,
            sender,
            client_address: &self.client,
            responder: &self.responder,
            identity: &self.identity,
            trust: self.trust,
            responses: &self.responses,
            is_allowed: self.is_allowed,
            is_proven: self.is_proven,
            catalogue: "c",
        }
    }

    pub(crate) async fn try_admit(&self, ledger: &Ledger, now: UnixMillis) -> Result<Progress, LedgerError> {
        ledger.admit(&self.application(&address(&self.sender)), now).await
    }

    pub(crate) async fn rehearse(&self, ledger: &Ledger, now: UnixMillis) -> Progress {
        ledger.rehearse(&self.application(&address(&self.sender)), now).await.expect("rehearsed")
    }

    /// As a worker whose message comes again when the database is too busy to be asked, which other tests on this machine can bring about.
    pub(crate) async fn admit(&self, ledger: &Ledger, now: UnixMillis) -> Progress {
        let deadline = Instant::now() + BUSY_MAX;
        loop {
            match self.try_admit(ledger, now).await {
                Err(LedgerError::TimedOut | LedgerError::Database(DbErr::ConnectionAcquire(_))) if Instant::now() < deadline => {}
                admitted => return admitted.expect("admitted"),
            }
        }
    }

    pub(crate) async fn verdict(&self, ledger: &Ledger, now: UnixMillis) -> Verdict {
        self.admit(ledger, now).await.verdict
    }
}

/// All of them at once, spread over the workers.
pub(crate) async fn at_once(workers: &[Ledger], asks: impl IntoIterator<Item = Ask>, now: UnixMillis) -> Vec<Progress> {
    at_once_by_their_clocks(workers, asks, &[now]).await
}

/// All of them at once, spread over the workers, who take the times of their clocks from `nows` in turn.
pub(crate) async fn at_once_by_their_clocks(workers: &[Ledger], asks: impl IntoIterator<Item = Ask>, nows: &[UnixMillis]) -> Vec<Progress> {
    let asking = asks.into_iter().enumerate().map(|(index, ask)| {
        let worker = index % workers.len();
        let (ledger, now) = (workers[worker].clone(), nows[worker % nows.len()]);
        tokio::spawn(async move { ask.admit(&ledger, now).await })
    });
    let mut progress = Vec::new();
    for asked in asking.collect::<Vec<_>>() {
        progress.push(asked.await.expect("no panic"));
    }
    progress
}

/// How many are answered, and how many of them in full.
pub(crate) fn answered(progress: &[Progress]) -> (usize, usize) {
    let of = |granted: &[Trust]| progress.iter().filter(|one| one.verdict == Verdict::Answer && granted.contains(&one.granted)).count();
    (of(&[Trust::Small, Trust::Full]), of(&[Trust::Full]))
}
