//! What the fleet talks to: the SQS and SES endpoints, the SMTP sink, the database, each behind a proxy of its own; and the
//! mail host of all senders, where nothing must ever arrive: Postfix itself mails nobody.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use replyfleet_tests::{
    databases::{self, Kind},
    proxy::{Mode, Proxy},
    ses, smtp, sqs,
};

use super::{Arguments, Database, Queue};

/// The senders' mail host.
pub(crate) const SENDERS_MX: &str = "192.0.2.26:25";
/// Names of the queues.
pub(crate) const REQUESTS: &str = "requests";
pub(crate) const DEAD: &str = "dead";

/// A connection that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    EnqueuerToSqs,
    WorkersToSqs,
    WorkersToSes,
    WorkersToSmtp,
    WorkersToDatabase,
}

impl std::fmt::Display for Link {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Link::EnqueuerToSqs => "enqueuer - SQS",
            Link::WorkersToSqs => "workers - SQS",
            Link::WorkersToSes => "workers - SES",
            Link::WorkersToSmtp => "workers - SMTP",
            Link::WorkersToDatabase => "workers - database",
        })
    }
}

/// All of it.
pub(crate) struct Far {
    pub(crate) sqs: Option<sqs::Endpoint>,
    pub(crate) ses: ses::Endpoint,
    pub(crate) sink: smtp::Sink,
    pub(crate) senders_mx: smtp::Sink,
    database: Option<Mutex<databases::Server>>,
    /// Past the proxy.
    database_url: Option<String>,
    proxies: Vec<(Link, Proxy)>,
}

impl Far {
    /// Starts everything. The faults' chances are drawn from `seed`.
    pub(crate) fn start(arguments: &Arguments, seed: u64) -> Self {
        let sqs = (arguments.queue == Queue::Sqs).then(sqs::Endpoint::start);
        let (ses, sink) = (ses::Endpoint::start(), smtp::Sink::start());
        let senders_mx = smtp::Sink::start_at(SENDERS_MX.parse().unwrap());
        let mut proxies = vec![(Link::WorkersToSes, Proxy::start(ses.address())), (Link::WorkersToSmtp, Proxy::start(sink.address()))];
        if let Some(sqs) = &sqs {
            sqs.create_queue(REQUESTS);
            sqs.create_queue(DEAD);
            sqs.faults().seed(seed);
            proxies.extend([Link::EnqueuerToSqs, Link::WorkersToSqs].map(|link| (link, Proxy::start(sqs.address()))));
        }
        ses.faults().seed(seed + 1);
        sink.faults().seed(seed + 2);
        let kind = match arguments.database {
            Database::Sqlite => None,
            Database::Mariadb => Some(Kind::MariaDb),
            Database::Postgresql => Some(Kind::Postgres),
        };
        let database = kind.map(|kind| databases::Server::start(kind, true).unwrap_or_else(|why| panic!("{}", why.0)));
        let database_url = database.as_ref().map(|server| {
            proxies.push((Link::WorkersToDatabase, Proxy::start(SocketAddr::from(([127, 0, 0, 1], server.port())))));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(server.new_database())
        });
        Self { sqs, ses, sink, senders_mx, database: database.map(Mutex::new), database_url, proxies }
    }

    /// The proxy of a link; `None` where this drill has no such link.
    pub(crate) fn proxy(&self, link: Link) -> Option<&Proxy> {
        self.proxies.iter().find(|(name, _)| *name == link).map(|(_, proxy)| proxy)
    }

    /// The database's URL, by its proxy or past it; `None`: an SQLite file.
    pub(crate) fn database_url(&self, is_direct: bool) -> Option<String> {
        let url = self.database_url.as_ref()?;
        if is_direct {
            return Some(url.clone());
        }
        let port = self.proxy(Link::WorkersToDatabase)?.address().port();
        let (head, name) = url.rsplit_once('/')?;
        let (host, _) = head.rsplit_once(':')?;
        Some(format!("{host}:{port}/{name}"))
    }

    /// Ends the database as a crash does, and starts it again after `down`.
    pub(crate) fn crash_database(&self, down: impl FnOnce()) {
        let Some(server) = &self.database else { return };
        let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
        server.crash();
        down();
        server.start_again();
    }

    /// Ends every fault that is still there.
    pub(crate) fn calm(&self) {
        self.proxies.iter().for_each(|(_, proxy)| proxy.set(Mode::default()));
        self.sqs.iter().for_each(|sqs| sqs.faults().clear());
        self.ses.faults().clear();
        self.ses.set_account(ses::Account::default());
        self.sink.faults().clear();
    }
}
