//! The ledger's schema, step by step. A step that was released is never changed; a change is a new step.
//! A database with steps that this program does not know was changed by a newer one, and is refused.

use sea_orm_migration::prelude::*;

pub(super) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(RequestsAndReplies)]
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
        let mut request = Table::create();
        request.table("request");
        request.col(ColumnDef::new("request_key").char_len(64).not_null().primary_key());
        request.col(ColumnDef::new("answered_mail").char_len(64).null().unique_key());
        request.col(ColumnDef::new("sender").char_len(64).not_null());
        request.col(ColumnDef::new("verdict").string_len(32).not_null());
        request.col(ColumnDef::new("catalogue").string_len(16).not_null());
        request.col(ColumnDef::new("created_ms").big_integer().not_null());
        manager.create_table(request).await?;

        let mut reply = Table::create();
        reply.table("reply");
        reply.col(ColumnDef::new("request_key").char_len(64).not_null());
        reply.col(ColumnDef::new("number").integer().not_null());
        reply.col(ColumnDef::new("response").char_len(16).not_null());
        reply.col(ColumnDef::new("state").string_len(16).not_null());
        reply.col(ColumnDef::new("attempts").integer().not_null());
        reply.col(ColumnDef::new("ambiguous").integer().not_null());
        reply.col(ColumnDef::new("held_until_ms").big_integer().not_null());
        reply.primary_key(Index::create().col("request_key").col("number"));
        manager.create_table(reply).await?;

        let index = |name: &str, columns: &[&'static str]| {
            let mut index = Index::create();
            index.name(name).table("request");
            for &column in columns {
                index.col(column);
            }
            index.take()
        };
        manager.create_index(index("request_by_sender", &["sender", "created_ms"])).await?;
        manager.create_index(index("request_by_time", &["created_ms"])).await
    }
}
