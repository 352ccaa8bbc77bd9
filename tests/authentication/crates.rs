//! What sender authentication brings into the worker, and only there: one TLS library, ring once, for verifying.

use replyfleet_tests::{linked_crates, versions_of};

#[test]
fn the_worker_links_one_tls_library_and_each_cryptography_once() {
    for package in ["replyfleet-worker", "replyfleet-operator"] {
        let crates = linked_crates(package);
        for once in ["rustls", "aws-lc-rs", "aws-lc-sys", "ring", "mail-auth", "mail-parser", "hickory-resolver", "psl"] {
            assert_eq!(versions_of(&crates, once), 1, "{once} in {package}");
        }
        for never in ["openssl", "openssl-sys", "native-tls", "reqwest", "rsa"] {
            assert_eq!(versions_of(&crates, never), 0, "{never} in {package}");
        }
    }
}

#[test]
fn the_enqueuer_knows_neither_dns_nor_ring() {
    let crates = linked_crates("replyfleet-enqueuer");
    for never in ["ring", "mail-auth", "hickory-resolver", "hickory-proto", "psl"] {
        assert_eq!(versions_of(&crates, never), 0, "{never}");
    }
}
