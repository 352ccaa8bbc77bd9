//! One session over a pair of sockets, with queue and store that do as they are told.

use std::{
    sync::{Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use async_trait::async_trait;
use replyfleet::{
    keyed::Secret,
    queue::spool::SpoolQueue,
    store::{Fetched, ObjectName, Result, Store, Version},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    super::memory::{FIRST_BYTES, Memory},
    *,
};
use crate::intake::Intake;

/// Keeps what it is given and never ends, as a disk does that hangs.
#[derive(Default)]
struct Hanging(Mutex<Vec<Bytes>>);

impl Hanging {
    fn let_go(&self) -> usize {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).len()
    }
}

#[async_trait]
impl Store for Hanging {
    async fn put(&self, _: &ObjectName, content: Bytes) -> Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(content);
        std::future::pending().await
    }

    async fn get(&self, _: &ObjectName, _: Option<&Version>) -> Result<Fetched> {
        unreachable!()
    }

    async fn delete(&self, _: &ObjectName) -> Result<()> {
        unreachable!()
    }

    async fn expire(&self, _: &str, _: &str, _: Duration) -> Result<u64> {
        unreachable!()
    }

    async fn check(&self, _: &str) -> Result<()> {
        unreachable!()
    }
}

#[tokio::test]
async fn a_mail_that_hangs_in_the_store_keeps_its_memory_after_its_client_was_sent_away() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let queue = SpoolQueue::open(dir.path(), Duration::from_secs(60)).expect("spool");
    let store = Arc::new(Hanging::default());
    let shared = Arc::new(Shared {
        intake: Intake::start(Arc::new(queue), Duration::ZERO),
        store: store.clone(),
        claim_check_bucket: "claims".into(),
        inline_bytes_max: 0,
        secret: Secret::from_text("0123456789abcdef0123456789abcdef").expect("long enough"),
        host: "mx1".into(),
        mail_bytes_max: FIRST_BYTES,
        deadline: Duration::from_millis(20),
        memory: Memory::new(FIRST_BYTES, FIRST_BYTES, Duration::ZERO),
        taken: AtomicU64::new(0),
    });
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let (_stop, stopping) = watch::channel(false);
    let session = tokio::spawn(Session::new(server, Arc::clone(&shared), stopping).run());
    let script = "LHLO mx\r\nXFORWARD IDENT=4XyZabcdz\r\nMAIL FROM:<>\r\nRCPT TO:<get@example.com>\r\nDATA\r\nhello\r\n.\r\nQUIT\r\n";
    client.write_all(script.as_bytes()).await.expect("written");
    let mut said = String::new();
    client.read_to_string(&mut said).await.expect("read");
    session.await.expect("ended");
    assert!(said.contains("\r\n451 4.3.0 deadline passed\r\n"), "{said}");
    assert!(shared.memory.begin().is_none(), "the bytes are still there");
    assert_eq!(store.let_go(), 1);
    assert!(shared.memory.begin().is_some());
}
