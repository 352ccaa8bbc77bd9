//! Which database, and how it is spoken to: connections, their time limits, transactions, and what is worth another try.
//!
//! | `database.url` | TLS |
//! |---|---|
//! | `sqlite:FILE` | |
//! | `mysql://USER:PASSWORD@HOST/NAME`, `mariadb://` | `?ssl-mode=`, by default "preferred" |
//! | `postgres://USER:PASSWORD@HOST/NAME`, `postgresql://` | `?sslmode=`, by default "prefer" |
//!
//! The defaults encrypt where the server offers it, and do not verify its certificate: `verify_identity` or
//! `verify-full` does, against the public authorities or those in `ssl-ca` or `sslrootcert`.
//!
//! **Isolation.** All transactions are READ COMMITTED. MariaDB's own default, REPEATABLE READ, would count from a picture
//! taken before the row lock was had, and so without what was committed while waiting for it. Here each statement sees
//! all that was committed before it began.
//!
//! **Time.** A database that hangs costs a call [`ANSWER_TIMEOUT`], a lock three seconds. The server ends what a worker
//! that died has left open, so that its locks do not outlive it by long. A call that is given up may leave a statement under
//! way, or a transaction that began and that sqlx knows nothing of: what the next call writes would be lost with it. So each
//! connection is rolled back when it is given back, and closed if it does not answer to that.
//!
//! **Trying again.** Transactions and who shares them are in [`super::group`]. Deadlocks, lost races for a unique key and full lock queues roll the whole transaction back; it is run
//! again a few times. A broken connection is reported: whether a commit got through is not known, and the message that
//! comes again finds out.

use std::{borrow::Cow, time::Duration};

use sea_orm::{
    DatabaseConnection, DbBackend, DbErr, RuntimeErr, SqlxMySqlConnector, SqlxPostgresConnector, SqlxSqliteConnector, Statement, Value,
    sea_query::{self, Expr, IntoColumnRef},
    sqlx::{
        self, ConnectOptions, Connection, Executor, SqliteConnection,
        mysql::MySqlConnectOptions,
        pool::PoolOptions,
        postgres::PgConnectOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};

use super::LedgerError;

/// The longest that one call of the ledger takes.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest wait for a connection: for a new one, or for another call to give one back.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for another process's transaction on the same SQLite file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait for a sign of life from a connection.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that lay idle for longer is asked for a sign of life before it is used.
const IDLE_UNASKED: Duration = Duration::from_secs(1);
/// An idle connection is closed after that. The server would close it after a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections of one worker. Servers take 100 to 150 in all by default, and a call needs one for milliseconds.
const CONNECTIONS_MAX: u32 = 4;
/// How often a transaction that lost a race is run.
const TRIES_MAX: u32 = 8;

/// What a MariaDB or MySQL session begins with. A worker that vanished holds its locks for `wait_timeout` seconds at most;
/// without strict mode, a value that is too long would be cut and stored.
const MYSQL_SESSION: &str = "SET SESSION innodb_lock_wait_timeout = 3, wait_timeout = 60, sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')";
const MYSQL_ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
const MYSQL_READ_ONLY: &str = "SET SESSION TRANSACTION READ ONLY";
/// What a PostgreSQL session begins with. Not as options of the connection: proxies refuse those.
/// Without the warnings that there is nothing to roll back.
const POSTGRES_SESSION: &str = "SET client_min_messages = 'error'; SET statement_timeout = '5s'; SET lock_timeout = '3s'; SET idle_in_transaction_session_timeout = '10s'; \
    SET default_transaction_isolation = 'read committed'; \
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";
const POSTGRES_READ_ONLY: &str = "SET default_transaction_read_only = on";

const URL_EXPECTED: &str = "expected \"sqlite:FILE\", \"mysql://USER:PASSWORD@HOST/NAME\" or \"postgres://USER:PASSWORD@HOST/NAME\"";
/// The parameters that an URL may have. Others would be ignored without a word, such as a misspelt `ssl-mode`.
const MYSQL_PARAMETERS: [&str; 9] = ["ssl-mode", "sslmode", "ssl-ca", "sslca", "ssl-cert", "sslcert", "ssl-key", "sslkey", "socket"];
const POSTGRES_PARAMETERS: [&str; 11] =
    ["sslmode", "ssl-mode", "sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key", "host", "application_name"];

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Write, and make an SQLite file that is not there.
    Create,
    /// Write.
    Write,
    /// Only read.
    Read,
}

/// Connects to the database at `url`; fails if it does not answer.
pub(super) async fn connect(url: &str, access: Access) -> Result<DatabaseConnection, LedgerError> {
    let scheme = url.split(':').next().unwrap_or_default();
    let connecting = async {
        match scheme {
            "sqlite" => sqlite(url, access).await,
            "mysql" | "mariadb" => mysql(url, access).await,
            "postgres" | "postgresql" => postgres(url, access).await,
            _ => Err(LedgerError::Url(URL_EXPECTED.into())),
        }
    };
    tokio::time::timeout(ANSWER_TIMEOUT, connecting).await.unwrap_or(Err(LedgerError::TimedOut))
}

async fn sqlite(url: &str, access: Access) -> Result<DatabaseConnection, LedgerError> {
    let file = url.strip_prefix("sqlite:").filter(|file| !file.is_empty()).ok_or_else(|| LedgerError::Url(URL_EXPECTED.into()))?;
    let mut options = SqliteConnectOptions::new().filename(file).busy_timeout(BUSY_TIMEOUT).disable_statement_logging();
    options = match access {
        Access::Read => options.read_only(true),
        // FULL: a commit that was reported survives a power cut; "sent" must not be forgotten. What is deleted is overwritten.
        Access::Create | Access::Write => options
            .create_if_missing(access == Access::Create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("secure_delete", "ON"),
    };
    // SQLite has one writer: more connections would only wait for each other. It is asked for a sign of life when it is given
    // back; once more before it is used would cost as much as a statement.
    let pool = PoolOptions::new().max_connections(1).acquire_timeout(ANSWER_TIMEOUT).test_before_acquire(false).after_release(
        |connection: &mut SqliteConnection, _| {
            // Where there is no room, SQLite takes a transaction back by itself, and sqlx counts one that is not there: each later
            // commit would be that of a savepoint, reported, and lost. A connection in such a state is closed.
            Box::pin(async move {
                if connection.is_in_transaction() {
                    connection.ping().await?; // after it, a rollback that was on its way is done
                }
                Ok(!connection.is_in_transaction())
            })
        },
    );
    // Who opens a new file turns it to WAL, and finds it locked if another does just that: SQLite does not wait then.
    let pool = retried(async || pool.clone().connect_with(options.clone()).await.map_err(connection_error)).await?;
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

async fn mysql(url: &str, access: Access) -> Result<DatabaseConnection, LedgerError> {
    check_parameters(url, &MYSQL_PARAMETERS)?;
    let options: MySqlConnectOptions = url.parse().map_err(|error| unreadable(&error))?;
    options.get_database().ok_or_else(|| LedgerError::Url("names no database; put its name behind the host: /NAME".into()))?;
    let session: &[&str] = match access {
        Access::Read => &[MYSQL_SESSION, MYSQL_ISOLATION, MYSQL_READ_ONLY],
        Access::Create | Access::Write => &[MYSQL_SESSION, MYSQL_ISOLATION],
    };
    let pool = pool(session).connect_with(options.disable_statement_logging()).await.map_err(connection_error)?;
    Ok(SqlxMySqlConnector::from_sqlx_mysql_pool(pool))
}

async fn postgres(url: &str, access: Access) -> Result<DatabaseConnection, LedgerError> {
    check_parameters(url, &POSTGRES_PARAMETERS)?;
    let options: PgConnectOptions = url.parse().map_err(|error| unreadable(&error))?;
    options.get_database().ok_or_else(|| LedgerError::Url("names no database; put its name behind the host: /NAME".into()))?;
    let session: &[&str] = match access {
        Access::Read => &[POSTGRES_SESSION, POSTGRES_READ_ONLY],
        Access::Create | Access::Write => &[POSTGRES_SESSION],
    };
    let pool = pool(session).connect_with(options.disable_statement_logging()).await.map_err(connection_error)?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// A pool of connections to a server, each of which begins with `session`.
fn pool<DB: sqlx::Database>(session: &'static [&'static str]) -> PoolOptions<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    PoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(CONNECTION_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .test_before_acquire(false)
        .after_connect(move |connection: &mut DB::Connection, _| {
            Box::pin(async move {
                for &statement in session {
                    connection.execute(statement).await?;
                }
                Ok(())
            })
        })
        .before_acquire(|connection: &mut DB::Connection, seen| {
            Box::pin(async move { if seen.idle_for < IDLE_UNASKED { Ok(true) } else { in_order(connection.ping()).await } })
        })
        .after_release(|connection: &mut DB::Connection, _| Box::pin(in_order(connection.execute("ROLLBACK"))))
}

/// Waits for a connection's answer, but not for long: one that hangs must not stay in the pool.
async fn in_order<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(PING_TIMEOUT, answer).await {
        Ok(answer) => answer.map(|_| true),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

fn check_parameters(url: &str, known: &[&str]) -> Result<(), LedgerError> {
    let parameters = url.split_once('?').map(|(_, parameters)| parameters.split('&')).into_iter().flatten();
    for name in parameters.map(|parameter| parameter.split('=').next().unwrap_or_default()) {
        if !known.contains(&name) {
            return Err(LedgerError::Url(format!("unknown parameter {name:?}; those known are {}", known.join(", "))));
        }
    }
    Ok(())
}

/// The reader's own words are about a part of the URL, and so not for a log.
fn unreadable(_: &sqlx::Error) -> LedgerError {
    LedgerError::Url(format!("cannot be read; {URL_EXPECTED}, with special characters of the password as %XX"))
}

fn connection_error(error: sqlx::Error) -> LedgerError {
    LedgerError::Database(DbErr::Conn(RuntimeErr::SqlxError(error.into())))
}

/// Says so if the server may lose what it has confirmed: a power cut could then make us send a reply twice.
pub(super) async fn warn_if_not_durable(database: &DatabaseConnection) -> Result<(), LedgerError> {
    use sea_orm::ConnectionTrait;
    let (question, remedy) = match database.get_database_backend() {
        DbBackend::MySql => (
            "SELECT COUNT(*) FROM (SELECT 1 AS one) AS this WHERE @@GLOBAL.innodb_flush_log_at_trx_commit <> 1",
            "set innodb_flush_log_at_trx_commit = 1",
        ),
        DbBackend::Postgres => ("SELECT COUNT(*) FROM pg_settings WHERE name = 'fsync' AND setting = 'off'", "set fsync = on"),
        _ => return Ok(()),
    };
    let row = database.query_one_raw(Statement::from_string(database.get_database_backend(), question)).await?;
    let count: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0))?;
    if count > 0 {
        tracing::warn!(remedy, "the database may lose commits in a power cut; replies could then be sent twice");
    }
    Ok(())
}

/// Runs one call of the ledger: again if it lost a race, and not for longer than [`ANSWER_TIMEOUT`].
pub(super) async fn retried<T, F: Future<Output = Result<T, LedgerError>>>(try_once: impl Fn() -> F) -> Result<T, LedgerError> {
    let trying = async {
        let mut tries = 1;
        loop {
            match try_once().await {
                Err(LedgerError::Database(error)) if tries < TRIES_MAX && is_lost_race(&error) => {
                    tracing::debug!(tries, error = %error, "a transaction lost a race and is run again");
                    tokio::time::sleep(pause(tries)).await;
                    tries += 1;
                }
                Err(LedgerError::Undone) if tries < TRIES_MAX => {
                    tracing::debug!(tries, "a transaction was undone with another's and is run again");
                    tokio::time::sleep(pause(tries)).await;
                    tries += 1;
                }
                result => return result,
            }
        }
    };
    tokio::time::timeout(ANSWER_TIMEOUT, trying).await.unwrap_or(Err(LedgerError::TimedOut))
}

/// Longer from try to try, and not the same for those who lost the same race.
fn pause(tries: u32) -> Duration {
    let mut chance = [0_u8];
    let _ = aws_lc_rs::rand::fill(&mut chance); // without chance they meet again, and lose a try
    Duration::from_millis(5 << tries.min(5)).mul_f64(0.5 + f64::from(chance[0]) / 255.0)
}

/// The one row that a statement gives at most. `one()` would bind a LIMIT, and SQLite compiles a statement with one anew each
/// time: its plan could depend on the number.
pub(super) fn only<T>(rows: Vec<T>) -> Option<T> {
    rows.into_iter().next()
}

/// Whether a column has a value of ours, which is written out in the statement. SQLite compiles a statement anew at each use if
/// one of its conditions, beside those of the index, compares with a bound value: its plan could depend on it.
pub(super) fn is_exactly(column: impl IntoColumnRef, value: impl Into<Value>) -> Expr {
    sea_query::ExprTrait::eq(Expr::col(column), Expr::Constant(value.into()))
}

/// Whether the database, or who we are to it, must be changed by someone before it can be used: wrong names, passwords and
/// certificates. Everything else may pass by itself.
pub(super) fn is_refusal(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) | DbErr::Conn(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    let error = match error.as_ref() {
        sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => return true,
        // What the handshake says of the server's certificate comes as an error of the connection.
        sqlx::Error::Io(error) => {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return matches!(tls, Some(rustls::Error::InvalidCertificate(_)));
        }
        sqlx::Error::Database(error) => error,
        _ => return false,
    };
    if let Some(mysql) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        // Access denied to the database, for the user, to a table; no such database; not this host; no such plugin.
        return matches!(mysql.number(), 1044 | 1045 | 1049 | 1130 | 1142 | 1698);
    }
    // PostgreSQL: who we are (class 28), no such database, no privilege. SQLite: no permission, read only, cannot be opened, no database.
    match error.code().unwrap_or(Cow::Borrowed("")).as_ref() {
        "3D000" | "42501" => true,
        code if code.len() == 5 => code.starts_with("28"),
        code => {
            let low_byte = code.parse().map(|code: u32| code & 0xff);
            error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() && matches!(low_byte, Ok(3 | 8 | 14 | 26))
        }
    }
}

/// Whether the transaction was rolled back for another's sake, and may do better when it is run again.
pub(super) fn is_lost_race(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) | DbErr::Conn(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    let sqlx::Error::Database(error) = error.as_ref() else { return false };
    if error.is_unique_violation() {
        return true;
    }
    if let Some(mysql) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        // Lock wait time-out, deadlock; MariaDB's "record has changed since last read".
        return matches!(mysql.number(), 1205 | 1213 | 1020);
    }
    // PostgreSQL: serialization failure, deadlock, lock time-out. SQLite: busy, locked; in the low byte of the code.
    match error.code().unwrap_or(Cow::Borrowed("")).as_ref() {
        "40001" | "40P01" | "55P03" => true,
        code => error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() && code.parse().is_ok_and(|code: u32| matches!(code & 0xff, 5 | 6)),
    }
}
