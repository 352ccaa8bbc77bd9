//! The file that names a machine's secrets (`secrets.env`). It holds no secret itself. Pure.
//!
//! Lines `KEY=VALUE`, with quotes around the value or without, empty lines, and comments that begin with `#`: what systemd's
//! `EnvironmentFile=` and a shell would read too. An unknown key is an error: a secret that is left out is missed later, elsewhere.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};

/// All keys.
const KEYS: [&str; 9] = [
    "SECRET_KEY_ARN",
    "MX_SECRET_ARN",
    "WORKER_SECRET_ARN",
    "DATABASE_SECRET_ARN",
    "DATABASE_ENGINE",
    "DATABASE_HOST",
    "DATABASE_PORT",
    "DATABASE_NAME",
    "DATABASE_ROOTS",
];

/// What the file names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The secret with the installation's secret key.
    pub(super) secret_key: Option<String>,
    /// The secret with what only an MX has.
    pub(super) mx: Option<String>,
    /// The secret with what only a worker has.
    pub(super) worker: Option<String>,
    /// The ledger's database.
    pub(super) database: Option<Database>,
}

/// A database, and the secret with its user and password.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Database {
    pub(super) secret: String,
    pub(super) engine: Engine,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) name: String,
    /// A PEM file with the only authorities to trust.
    pub(super) roots: Option<String>,
}

/// Which kind of database, by the words that RDS has for its engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Postgres,
    Mysql,
}

impl Engine {
    fn parse(word: &str) -> anyhow::Result<Self> {
        match word {
            "postgres" | "aurora-postgresql" => Ok(Self::Postgres),
            "mysql" | "mariadb" | "aurora-mysql" => Ok(Self::Mysql),
            other => bail!("DATABASE_ENGINE: {other:?}: expected postgres, mysql or mariadb"),
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Postgres => 5_432,
            Self::Mysql => 3_306,
        }
    }
}

impl Names {
    /// # Errors
    /// The line or the key, and what was expected.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut values = BTreeMap::new();
        for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').with_context(|| format!("line {number}: expected KEY=VALUE"))?;
            let key = key.trim();
            ensure!(KEYS.contains(&key), "line {number}: {key} is none of {}", KEYS.join(", "));
            let value = unquoted(value.trim()).with_context(|| format!("line {number}: {key}: a quote is not closed"))?;
            if !value.is_empty() {
                values.insert(key, value.to_owned());
            }
        }
        let mut take = |key: &str| values.remove(key);
        let (secret_key, mx, worker) = (take("SECRET_KEY_ARN"), take("MX_SECRET_ARN"), take("WORKER_SECRET_ARN"));
        let database = match take("DATABASE_SECRET_ARN") {
            Some(secret) => {
                let mut needed = |key: &str| take(key).with_context(|| format!("{key} is missing beside DATABASE_SECRET_ARN"));
                let engine = Engine::parse(&needed("DATABASE_ENGINE")?)?;
                let (host, name) = (needed("DATABASE_HOST")?, needed("DATABASE_NAME")?);
                let port = match take("DATABASE_PORT") {
                    Some(port) => port.parse().with_context(|| format!("DATABASE_PORT: {port:?}: expected a port number"))?,
                    None => engine.port(),
                };
                Some(Database { secret, engine, host, port, name, roots: take("DATABASE_ROOTS") })
            }
            None => None,
        };
        if let Some(key) = values.keys().next() {
            bail!("{key} without DATABASE_SECRET_ARN");
        }
        let names = Self { secret_key, mx, worker, database };
        ensure!(names != Self::default(), "it names no secret; a machine that has none does without this file");
        Ok(names)
    }

    /// The region of the first secret that is named by its ARN (`arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME`).
    pub(super) fn region(&self) -> Option<String> {
        let database = self.database.as_ref().map(|database| &database.secret);
        let named = [self.secret_key.as_ref(), self.mx.as_ref(), self.worker.as_ref(), database];
        named.into_iter().flatten().find_map(|arn| {
            let mut parts = arn.split(':');
            (parts.next() == Some("arn")).then(|| parts.nth(2).map(str::to_owned)).flatten()
        })
    }
}

/// A value without the quotes around it; none if only one is there.
fn unquoted(value: &str) -> Option<&str> {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.strip_suffix(quote);
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

    use super::*;

    #[test]
    fn a_workers_file_names_all_of_it_and_an_mx_the_key_and_its_own() {
        let text = "# who made it\n\nSECRET_KEY_ARN=arn:aws:secretsmanager:eu-west-1:1:secret:key-AbCdEf\nWORKER_SECRET_ARN='worker'\n\
                    DATABASE_SECRET_ARN=\"db\"\nDATABASE_ENGINE=mariadb\nDATABASE_HOST=db.example.com\nDATABASE_PORT=\nDATABASE_NAME=ledger\n";
        let names = Names::parse(text).unwrap();
        let database = names.database.as_ref().unwrap();
        assert_eq!((names.worker.as_deref(), database.secret.as_str(), database.engine), (Some("worker"), "db", Engine::Mysql));
        assert_eq!((database.port, database.roots.as_deref(), names.region().as_deref()), (3_306, None, Some("eu-west-1")));
        let names = Names::parse("SECRET_KEY_ARN=replyfleet/key\nMX_SECRET_ARN=replyfleet/mx\n").unwrap();
        assert_eq!((names.secret_key.as_deref(), names.database.is_none(), names.region()), (Some("replyfleet/key"), true, None));
        assert_eq!((names.mx.as_deref(), names.worker), (Some("replyfleet/mx"), None));
    }

    #[test]
    fn what_is_wrong_is_named_by_line_or_key() {
        for (text, named) in [
            ("SECRET_KEY=x\n", "line 1: SECRET_KEY is none of"),
            ("\nSECRET_KEY_ARN\n", "line 2"),
            ("SECRET_KEY_ARN=\"x\n", "not closed"),
            ("", "names no secret"),
            ("SECRET_KEY_ARN=\n", "names no secret"),
            ("DATABASE_SECRET_ARN=x\nDATABASE_HOST=h\nDATABASE_NAME=n\n", "DATABASE_ENGINE is missing"),
            ("DATABASE_SECRET_ARN=x\nDATABASE_ENGINE=oracle\nDATABASE_HOST=h\nDATABASE_NAME=n\n", "expected postgres"),
            ("DATABASE_SECRET_ARN=x\nDATABASE_ENGINE=postgres\nDATABASE_HOST=h\nDATABASE_NAME=n\nDATABASE_PORT=99999\n", "port number"),
            ("SECRET_KEY_ARN=x\nDATABASE_HOST=h\n", "DATABASE_HOST without DATABASE_SECRET_ARN"),
        ] {
            let error = format!("{:#}", Names::parse(text).unwrap_err());
            assert!(error.contains(named), "{text:?}: {error}");
        }
    }
}
