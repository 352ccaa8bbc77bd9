//! The ledger's two tables, as sea-orm sees them. What the columns mean is said in [`super`] and [`super::migration`].

#![expect(unreachable_pub, reason = "sea-orm's derives ask for public types")]

pub(super) mod request {
    use sea_orm::entity::prelude::*;

    /// A request that was decided about.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "request")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub request_key: String,
        /// The mail's key if this request is the one of the mail that is answered; unique.
        pub answered_mail: Option<String>,
        pub sender: String,
        pub verdict: String,
        pub catalogue: String,
        pub created_ms: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod reply {
    use sea_orm::entity::prelude::*;

    /// One reply to a request that is answered.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "reply")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub request_key: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub number: i32,
        /// The digest of the response that was promised.
        pub response: String,
        pub state: String,
        pub attempts: i32,
        pub ambiguous: i32,
        pub held_until_ms: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
