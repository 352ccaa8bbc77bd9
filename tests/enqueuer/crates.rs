//! What the enqueuer links: one TLS stack, and nothing that belongs to the worker. It starts once for every mail.

use replyfleet_tests::{linked_crates, versions_of};

fn linked() -> Vec<String> {
    linked_crates("replyfleet-enqueuer")
}

#[test]
fn the_enqueuer_links_no_database_dns_or_mime_crate() {
    let foreign = ["sea-orm", "sea-query", "sqlx", "rusqlite", "libsqlite3-sys", "hickory", "mail-", "lettre", "smtp-proto"];
    let crates = linked();
    assert!(crates.iter().any(|name| name.starts_with("aws-sdk-sqs ")), "the list is the enqueuer's: {crates:?}");
    let found: Vec<_> = crates.iter().filter(|name| foreign.iter().any(|prefix| name.starts_with(prefix))).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_enqueuer_links_one_tls_stack() {
    let crates = linked();
    let versions = |wanted: &str| versions_of(&crates, wanted);
    for once in ["rustls", "aws-lc-rs", "aws-lc-sys"] {
        assert_eq!(versions(once), 1, "{once}");
    }
    for never in ["ring", "openssl", "openssl-sys", "native-tls", "webpki-roots"] {
        assert_eq!(versions(never), 0, "{never}");
    }
}
