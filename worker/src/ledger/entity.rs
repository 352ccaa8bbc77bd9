//! The ledger's tables, as sea-orm sees them. What the rows mean is said in the modules that keep them, what the columns
//! are in [`super::migration`].

#![expect(unreachable_pub, reason = "sea-orm's derives ask for public types")]

/// A module for one table without relations.
macro_rules! table {
    ($(#[$about:meta])* $module:ident $name:literal { $($(#[$attribute:meta])* $column:ident: $type:ty,)+ }) => {
        $(#[$about])*
        pub(super) mod $module {
            use sea_orm::entity::prelude::*;

            #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
            #[sea_orm(table_name = $name)]
            pub struct Model {
                $($(#[$attribute])* pub $column: $type,)+
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}
        }
    };
}

table! {
    /// A request that was decided about.
    request "request" {
        #[sea_orm(primary_key, auto_increment = false)]
        request_key: String,
        /// The mail's key if this request is the one of the mail that is answered; unique.
        answered_mail: Option<String>,
        /// Hash of the sender under the day's key; empty if nobody is counted.
        sender: String,
        /// Hash of sender and identity (rule 27) under the day's key.
        identity: String,
        verdict: String,
        granted: String,
        has_attachments: bool,
        catalogue: String,
        created_ms: i64,
    }
}

table! {
    /// One reply to a request that is answered.
    reply "reply" {
        #[sea_orm(primary_key, auto_increment = false)]
        request_key: String,
        #[sea_orm(primary_key, auto_increment = false)]
        number: i32,
        /// The digest of the response that was promised.
        response: String,
        state: String,
        attempts: i32,
        ambiguous: i32,
        held_until_ms: i64,
        /// A random number that the last claimer took for its claim.
        holder: i64,
    }
}

table! {
    /// What a transaction holds while it decides about one of its senders.
    turn "turn" {
        #[sea_orm(primary_key, auto_increment = false)]
        number: i32,
        /// A random number of whoever took it last: a row must change, and tell nothing.
        taken: i64,
    }
}

table! {
    /// What a cap has counted.
    counter "counter" {
        #[sea_orm(primary_key, auto_increment = false)]
        name: String,
        #[sea_orm(column_type = "Text")]
        slots: String,
        touched_ms: i64,
    }
}

table! {
    /// The key of a day.
    day_key "day_key" {
        #[sea_orm(primary_key, auto_increment = false)]
        day: i64,
        key: String,
    }
}

table! {
    /// An entry of the block, allow or suppression list.
    list "list" {
        #[sea_orm(primary_key, auto_increment = false)]
        kind: String,
        #[sea_orm(primary_key, auto_increment = false)]
        entry: String,
        reason: String,
        created_ms: i64,
        expires_ms: Option<i64>,
    }
}

table! {
    /// A switch that the operator has set.
    switch "switch" {
        #[sea_orm(primary_key, auto_increment = false)]
        name: String,
        value: String,
        set_ms: i64,
    }
}

table! {
    /// A message that was in hand when a worker died.
    suspect "suspect" {
        #[sea_orm(primary_key, auto_increment = false)]
        request_key: String,
        /// Processes of its own that it has killed.
        deaths: i32,
        since_ms: i64,
    }
}

table! {
    /// A worker that has shown itself.
    worker "worker" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        started_ms: i64,
        seen_ms: i64,
        switches: String,
        is_shedding: bool,
        catalogue: String,
    }
}
