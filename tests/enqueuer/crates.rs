//! What the enqueuer links: one TLS stack, and nothing that belongs to the worker. It starts once for every mail.

use std::process::Command;

use replyfleet_tests as harness;

/// The names and versions of all crates that the enqueuer links.
fn linked() -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--offline", "-p", "replyfleet-enqueuer", "-e", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(harness::repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // "name v1.2.3 (proc-macro)", "name v1.2.3 (*)"
    let mut crates: Vec<String> = text.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
    crates.sort_unstable();
    crates.dedup();
    crates
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
    let versions = |wanted: &str| crates.iter().filter(|name| name.split(' ').next() == Some(wanted)).count();
    for once in ["rustls", "aws-lc-rs", "aws-lc-sys"] {
        assert_eq!(versions(once), 1, "{once}");
    }
    for never in ["ring", "openssl", "openssl-sys", "native-tls", "webpki-roots"] {
        assert_eq!(versions(never), 0, "{never}");
    }
}
