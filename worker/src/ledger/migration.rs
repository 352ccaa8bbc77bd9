//! The ledger's schema, step by step. A step that was released is never changed; a change is a new step.
//!
//! Processes that start at once take turns: a lock on PostgreSQL and MariaDB, the right to write on SQLite. A step that was
//! cut off half-way, which only MariaDB leaves so, is taken up where it stopped. A database with steps that this program
//! does not know was changed by a newer one, and is refused.
//!
//! All texts are `varchar`, not `char`: PostgreSQL would not use an index on the latter. On MariaDB they are compared byte
//! by byte.

use std::time::Duration;

use sea_orm::{
    ActiveValue::Set, DatabaseConnection, DatabaseTransaction, DbBackend, EntityTrait, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
};
use sea_orm_migration::prelude::*;

use super::{
    LedgerError,
    admit::{TURNS, turn_mark},
    entity::turn,
};

/// The longest that bringing up a schema may take, with waiting for others who do so.
const TIMEOUT: Duration = Duration::from_secs(60);
/// PostgreSQL's locks have numbers.
const POSTGRES_LOCK: &str = "SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock(7237905421)";
/// MariaDB's have names of at most 64 characters, for the whole server.
const MYSQL_LOCK: &str = "SELECT GET_LOCK(SHA1(CONCAT('replyfleet ', DATABASE())), 60)";
const MYSQL_UNLOCK: &str = "SELECT RELEASE_LOCK(SHA1(CONCAT('replyfleet ', DATABASE())))";

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(RequestsAndReplies), Box::new(HoldersAndSuspects)]
    }
}

/// How many steps the database lacks. Changes nothing.
pub(super) async fn pending(database: &DatabaseConnection) -> Result<usize, LedgerError> {
    let asking = Migrator::get_pending_migrations_read_only(database);
    let steps = tokio::time::timeout(TIMEOUT, asking).await.map_err(|_| LedgerError::TimedOut)?;
    steps.map(|steps| steps.len()).map_err(schema)
}

/// Takes the steps that the database lacks.
pub(super) async fn bring_up(database: &DatabaseConnection) -> Result<(), LedgerError> {
    if pending(database).await? == 0 {
        return Ok(());
    }
    tokio::time::timeout(TIMEOUT, take_steps(database)).await.unwrap_or(Err(LedgerError::TimedOut))
}

async fn take_steps(database: &DatabaseConnection) -> Result<(), LedgerError> {
    let options = TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..TransactionOptions::default() };
    let transaction = database.begin_with_options(options).await?;
    match transaction.get_database_backend() {
        DbBackend::MySql => {
            // The transaction ends with the first table; the lock is the connection's, and holds.
            lock_mysql(&transaction).await?;
            let taken = Migrator::up(&transaction, None).await.map_err(schema);
            transaction.execute_unprepared(MYSQL_UNLOCK).await?;
            taken?;
        }
        DbBackend::Postgres => {
            transaction.execute_unprepared(POSTGRES_LOCK).await?;
            Migrator::up(&transaction, None).await.map_err(schema)?;
        }
        _ => Migrator::up(&transaction, None).await.map_err(schema)?,
    }
    Ok(transaction.commit().await?)
}

async fn lock_mysql(transaction: &DatabaseTransaction) -> Result<(), LedgerError> {
    let row = transaction.query_one_raw(Statement::from_string(DbBackend::MySql, MYSQL_LOCK)).await?;
    let is_locked = row.map_or(Ok(None), |row| row.try_get_by_index::<Option<i64>>(0))?;
    if is_locked == Some(1) { Ok(()) } else { Err(LedgerError::TimedOut) }
}

fn schema(error: DbErr) -> LedgerError {
    match error {
        DbErr::Custom(text) => LedgerError::Schema(text),
        error => LedgerError::Database(error),
    }
}

struct RequestsAndReplies;

impl MigrationName for RequestsAndReplies {
    fn name(&self) -> &str {
        "0001_requests_and_replies"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for RequestsAndReplies {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            create(manager, table).await?;
        }
        for (name, columns) in [("request_by_sender", &["sender", "created_ms"][..]), ("request_by_time", &["created_ms"])] {
            if !manager.has_index("request", name).await? {
                let mut index = Index::create();
                index.name(name).table("request");
                for &column in columns {
                    index.col(column);
                }
                manager.create_index(index.take()).await?;
            }
        }
        turn::Entity::delete_many().exec(manager.get_connection()).await?;
        let mark = || turn_mark().map_err(|error| DbErr::Migration(error.to_string()));
        let turns = (0..TURNS).map(|number| Ok(turn::ActiveModel { number: Set(number), taken: Set(mark()?) }));
        turn::Entity::insert_many(turns.collect::<Result<Vec<_>, DbErr>>()?).exec_without_returning(manager.get_connection()).await?;
        Ok(())
    }
}

struct HoldersAndSuspects;

impl MigrationName for HoldersAndSuspects {
    fn name(&self) -> &str {
        "0002_holders_and_suspects"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for HoldersAndSuspects {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let word = |name: &'static str| ColumnDef::new(name).string_len(64).not_null().take();
        let time = |name: &'static str| ColumnDef::new(name).big_integer().not_null().take();
        if !manager.has_column("reply", "holder").await? {
            // With a default: a worker of the version before goes on while the fleet is renewed.
            manager.alter_table(Table::alter().table("reply").add_column(time("holder").default(0)).take()).await?;
        }
        let mut suspect = Table::create();
        suspect.table("suspect").col(word("request_key").primary_key()).col(ColumnDef::new("deaths").integer().not_null()).col(time("since_ms"));
        create(manager, suspect).await
    }
}

async fn create(manager: &SchemaManager<'_>, mut table: TableCreateStatement) -> Result<(), DbErr> {
    table.if_not_exists();
    if manager.get_database_backend() == DbBackend::MySql {
        table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
    }
    manager.create_table(table).await
}

fn tables() -> Vec<TableCreateStatement> {
    let key = |name: &'static str| ColumnDef::new(name).string_len(64).not_null().take();
    let word = |name: &'static str, length: u32| ColumnDef::new(name).string_len(length).not_null().take();
    let number = |name: &'static str| ColumnDef::new(name).integer().not_null().take();
    let time = |name: &'static str| ColumnDef::new(name).big_integer().not_null().take();
    let flag = |name: &'static str| ColumnDef::new(name).boolean().not_null().take();

    let mut request = Table::create();
    request.table("request");
    request.col(key("request_key").primary_key()).col(ColumnDef::new("answered_mail").string_len(64).null().unique_key());
    request.col(key("sender")).col(key("identity")).col(word("verdict", 32)).col(word("granted", 8)).col(flag("has_attachments"));
    request.col(word("catalogue", 16)).col(time("created_ms"));

    let mut reply = Table::create();
    reply.table("reply");
    reply.col(key("request_key")).col(number("number")).col(word("response", 16)).col(word("state", 16));
    reply.col(number("attempts")).col(number("ambiguous")).col(time("held_until_ms"));
    reply.primary_key(Index::create().col("request_key").col("number"));

    let mut turn = Table::create();
    turn.table("turn").col(number("number").primary_key()).col(time("taken"));

    let mut counter = Table::create();
    counter.table("counter").col(key("name").primary_key()).col(ColumnDef::new("slots").text().not_null()).col(time("touched_ms"));

    let mut day_key = Table::create();
    day_key.table("day_key").col(time("day").primary_key()).col(key("key"));

    let mut list = Table::create();
    list.table("list").col(word("kind", 16)).col(key("entry")).col(word("reason", 32)).col(time("created_ms"));
    list.col(ColumnDef::new("expires_ms").big_integer().null()).primary_key(Index::create().col("kind").col("entry"));

    let mut switch = Table::create();
    switch.table("switch").col(word("name", 400).primary_key()).col(word("value", 32)).col(time("set_ms"));

    let mut worker = Table::create();
    worker.table("worker").col(key("id").primary_key()).col(time("started_ms")).col(time("seen_ms")).col(word("switches", 16));
    worker.col(flag("is_shedding")).col(word("catalogue", 16));

    vec![request, reply, turn, counter, day_key, list, switch, worker]
}
