//! What is given out, kept and let go, with a store that changes, is slow, or is away.

use std::{
    fs::{self, File},
    path::PathBuf,
    sync::{
        Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use replyfleet::{keyed::sha256_hex, store::dir::DirStore};

use super::*;
use crate::catalogue::SendMethod;

/// What an attachment with this content looks like in a mail.
async fn content_of(attachments: &Attachments, attachment: &Attachment) -> String {
    let content = attachments.get(attachment).await.expect("had");
    let lines = String::from_utf8(content.encoded.bytes().to_vec()).expect("base64");
    let bytes = BASE64_STANDARD.decode(lines.replace("\r\n", "")).expect("base64");
    assert_eq!(*content.sha256, sha256_hex(&bytes));
    String::from_utf8(bytes).expect("text")
}

async fn world() -> (tempfile::TempDir, Arc<DirStore>, Attachment, PathBuf) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let store = Arc::new(DirStore::open(&dir.path().join("store")).expect("store"));
    let object = ObjectName::new("files", "a.bin").expect("valid");
    store.put(&object, Bytes::from_static(b"one")).await.expect("put");
    let cache = dir.path().join("cache");
    std::fs::create_dir(&cache).expect("cache folder");
    (dir, store, Attachment { object, file_name: "a.bin".into(), sha256: None }, cache)
}

#[tokio::test]
async fn a_new_version_is_seen_after_the_refresh_interval_and_not_before() {
    let (_dir, store, file, cache) = world().await;
    let (lazy, eager) = (Attachments::new(store.clone(), &cache, Duration::from_secs(60)), Attachments::new(store.clone(), &cache, Duration::ZERO));
    assert_eq!(content_of(&lazy, &file).await, "one");
    assert_eq!(content_of(&eager, &file).await, "one");
    store.put(&file.object, Bytes::from_static(b"two")).await.expect("put");
    assert_eq!(content_of(&lazy, &file).await, "one");
    assert_eq!(content_of(&eager, &file).await, "two");
}

#[tokio::test]
async fn the_last_good_content_survives_the_store_and_a_restart() {
    let (_dir, store, file, cache) = world().await;
    Attachments::new(store.clone(), &cache, Duration::ZERO).get(&file).await.expect("fetched");
    store.delete(&file.object).await.expect("deleted");
    let restarted = Attachments::new(store.clone(), &cache, Duration::ZERO);
    assert_eq!(content_of(&restarted, &file).await, "one");
}

#[tokio::test]
async fn a_half_written_cache_file_is_fetched_again() {
    let (_dir, store, file, cache) = world().await;
    let attachments = Attachments::new(store.clone(), &cache, Duration::ZERO);
    attachments.get(&file).await.expect("fetched");
    std::fs::write(attachments.kept.paths(&key_of(&file)).0, b"on").expect("cut");
    assert_eq!(content_of(&Attachments::new(store, &cache, Duration::ZERO), &file).await, "one");
}

#[tokio::test]
async fn what_never_was_is_missing() {
    let (_dir, store, file, cache) = world().await;
    let other = Attachment { object: ObjectName::new("files", "b.bin").expect("valid"), ..file };
    Attachments::new(store, &cache, Duration::ZERO).get(&other).await.map(|content| content.sha256).expect_err("missing");
}

#[tokio::test]
async fn no_other_content_is_given_out_than_the_catalogue_says() {
    let (_dir, store, file, cache) = world().await;
    let of = |content: &str| Attachment { sha256: Some(sha256_hex(content.as_bytes())), ..file.clone() };
    let attachments = Attachments::new(store.clone(), &cache, Duration::ZERO);
    let error = attachments.get(&of("two")).await.map(|content| content.sha256).expect_err("not yet there").to_string();
    assert!(error.contains(&sha256_hex(b"one")) && error.contains(&sha256_hex(b"two")), "{error}");
    assert_eq!(content_of(&attachments, &of("one")).await, "one");
    store.put(&file.object, Bytes::from_static(b"two")).await.expect("put");
    assert_eq!(content_of(&attachments, &of("one")).await, "one", "whoever wants the old one keeps it");
    assert_eq!(content_of(&Attachments::new(store, &cache, Duration::ZERO), &of("two")).await, "two");
    let store = Arc::new(DirStore::open(&cache.join("empty")).expect("store"));
    assert_eq!(content_of(&Attachments::new(store, &cache, Duration::ZERO), &of("one")).await, "one", "a restart too");
}

/// A store in which every look for a new version waits until it is let go.
struct Slow(Arc<DirStore>, tokio::sync::Semaphore);

#[async_trait::async_trait]
impl Store for Slow {
    async fn get(&self, object: &ObjectName, known: Option<&Version>) -> replyfleet::store::Result<Fetched> {
        if known.is_some() {
            self.1.acquire().await.expect("open").forget();
        }
        self.0.get(object, known).await
    }
    async fn put(&self, object: &ObjectName, content: Bytes) -> replyfleet::store::Result<()> {
        self.0.put(object, content).await
    }
    async fn delete(&self, object: &ObjectName) -> replyfleet::store::Result<()> {
        self.0.delete(object).await
    }
    async fn expire(&self, bucket: &str, prefix: &str, age: Duration) -> replyfleet::store::Result<u64> {
        self.0.expire(bucket, prefix, age).await
    }
    async fn check(&self, bucket: &str) -> replyfleet::store::Result<()> {
        self.0.check(bucket).await
    }
}

#[tokio::test]
async fn while_a_new_version_is_fetched_the_old_one_goes_out() {
    let (_dir, store, file, cache) = world().await;
    let slow = Arc::new(Slow(store.clone(), tokio::sync::Semaphore::new(0)));
    let attachments = Arc::new(Attachments::new(slow.clone(), &cache, Duration::ZERO));
    assert_eq!(content_of(&attachments, &file).await, "one");
    store.put(&file.object, Bytes::from_static(b"two")).await.expect("put");
    let fetches = tokio::spawn({
        let (attachments, file) = (Arc::clone(&attachments), file.clone());
        async move { content_of(&attachments, &file).await }
    });
    while attachments.slots.get(&key_of(&file)).is_none_or(|slot| slot.fetching.try_lock().is_ok()) {
        tokio::task::yield_now().await;
    }
    assert_eq!(content_of(&attachments, &file).await, "one");
    slow.1.add_permits(1);
    assert_eq!(fetches.await.expect("fetched"), "two");
}

/// A store that counts what it is asked for.
struct Counting(Arc<DirStore>, AtomicU64);

#[async_trait::async_trait]
impl Store for Counting {
    async fn get(&self, object: &ObjectName, known: Option<&Version>) -> replyfleet::store::Result<Fetched> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.get(object, known).await
    }
    async fn put(&self, object: &ObjectName, content: Bytes) -> replyfleet::store::Result<()> {
        self.0.put(object, content).await
    }
    async fn delete(&self, object: &ObjectName) -> replyfleet::store::Result<()> {
        self.0.delete(object).await
    }
    async fn expire(&self, bucket: &str, prefix: &str, age: Duration) -> replyfleet::store::Result<u64> {
        self.0.expire(bucket, prefix, age).await
    }
    async fn check(&self, bucket: &str) -> replyfleet::store::Result<()> {
        self.0.check(bucket).await
    }
}

#[tokio::test]
async fn a_wrong_content_is_not_fetched_again_for_everybody_who_asks() {
    let (_dir, store, file, cache) = world().await;
    let store = Arc::new(Counting(store, AtomicU64::new(0)));
    let attachments = Attachments::new(store.clone(), &cache, Duration::ZERO);
    let wrong = Attachment { sha256: Some(sha256_hex(b"two")), ..file.clone() };
    for _ in 0..3 {
        let error = attachments.get(&wrong).await.map(|content| content.sha256).expect_err("another content");
        assert!(matches!(error, AttachmentError::Differs { .. }), "{error}");
    }
    assert_eq!(store.1.load(Ordering::Relaxed), 1);
    assert!(DIFFERENCE_STANDS > FAILURE_STANDS && fs::read_dir(&cache).expect("folder").next().is_none(), "nothing of it is kept");
}

/// Whether the cache lets go of this content before long.
fn is_let_go(attachments: &Attachments, content: &Weak<Segment>) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while content.strong_count() > 0 && Instant::now() < deadline {
        attachments.slots.run_pending_tasks();
        std::thread::yield_now();
    }
    content.strong_count() == 0
}

#[tokio::test]
async fn what_no_reply_asks_for_is_let_go_and_taken_from_disk_when_one_does() {
    let (_dir, store, file, cache) = world().await;
    let attachments = Attachments::with_bounds(store.clone(), &cache, Duration::ZERO, Duration::from_millis(1), BYTES_MAX);
    let held = Arc::downgrade(&attachments.get(&file).await.expect("had").encoded);
    store.delete(&file.object).await.expect("deleted");
    assert!(is_let_go(&attachments, &held));
    assert_eq!(content_of(&attachments, &file).await, "one");
}

#[tokio::test]
async fn what_is_held_is_bounded_in_bytes_and_the_newest_stays() {
    let (_dir, store, file, cache) = world().await;
    let bytes = vec![b'x'; 3_000];
    let attachments = Attachments::with_bounds(store.clone(), &cache, Duration::from_secs(60), UNUSED_FOR, 10_000);
    let mut contents = Vec::new();
    for number in 0..5 {
        let object = ObjectName::new("files", &format!("{number}.bin")).expect("valid");
        store.put(&object, bytes.clone().into()).await.expect("put");
        let file = Attachment { object, ..file.clone() };
        contents.push(Arc::downgrade(&attachments.get(&file).await.expect("had").encoded));
        attachments.slots.run_pending_tasks();
    }
    assert!(contents[..3].iter().all(|content| is_let_go(&attachments, content)) && attachments.slots.weighted_size() <= 10_000);
    assert_eq!(contents[4].strong_count(), 1);
}

/// A catalogue with one response that has these attachments.
fn catalogue(attachments: &[&Attachment]) -> Catalogue {
    let attachments: Vec<_> = attachments
        .iter()
        .map(|file| match &file.sha256 {
            None => serde_json::json!([file.object.bucket(), file.object.key(), file.file_name]),
            Some(sha256) => serde_json::json!([file.object.bucket(), file.object.key(), file.file_name, sha256]),
        })
        .collect();
    let entry = serde_json::json!([{ "email_addr": "get@example.com", "body": "x", "attachments": attachments, "send_method": "SES" }]);
    Catalogue::parse(&entry.to_string(), &[SendMethod::Ses]).expect("valid")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_the_catalogue_does_not_name_goes_from_memory_at_once_and_from_disk_after_a_day() {
    let (_dir, store, file, cache) = world().await;
    let attachments = Attachments::new(store.clone(), &cache, Duration::from_secs(60));
    let pinned = Attachment { sha256: Some(sha256_hex(b"one")), ..file.clone() };
    let old = Arc::downgrade(&attachments.get(&pinned).await.expect("had").encoded);
    let current = Arc::downgrade(&attachments.get(&file).await.expect("had").encoded);
    let half = attachments.kept.paths(&key_of(&file)).0.with_extension("tmp-1-0");
    for strange in [&half, &cache.join("catalogue.json"), &cache.join("notes.bin")] {
        fs::write(strange, "x").expect("written");
    }
    let before = names(&cache);
    attachments.keep_only(&catalogue(&[&file])).await;
    assert!(is_let_go(&attachments, &old) && current.strong_count() == 1);
    assert_eq!(names(&cache), before, "another worker may just have written them");
    for name in &before {
        let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 86_400);
        File::options().write(true).open(cache.join(name)).expect("opened").set_modified(two_days_ago).expect("set");
    }
    attachments.keep_only(&catalogue(&[&file])).await;
    let (content, label) = attachments.kept.paths(&key_of(&file));
    let mut want: Vec<_> = [content, label].iter().map(|path| path.file_name().expect("name").to_str().expect("text").to_owned()).collect();
    want.extend(["catalogue.json".into(), "notes.bin".into()]);
    want.sort();
    assert_eq!(names(&cache), want);
}
