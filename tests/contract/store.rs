//! What a [`Store`] promises.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use replyfleet::store::{Fetched, ObjectName, Store, StoreError, Version, dir::DirStore, s3::S3Store};
use replyfleet_tests::{
    ministack::{Ministack, free_port, load_aws},
    skipped,
};

/// A store with one bucket.
struct Bed {
    store: Arc<dyn Store>,
    bucket: String,
    _dir: Option<tempfile::TempDir>,
}

async fn dir() -> Option<Bed> {
    let dir = tempfile::tempdir().expect("temporary folder");
    fs::create_dir(dir.path().join("bucket")).expect("create");
    let store = Arc::new(DirStore::open(dir.path()).expect("store"));
    Some(Bed { store, bucket: "bucket".into(), _dir: Some(dir) })
}

async fn s3() -> Option<Bed> {
    use std::sync::atomic::AtomicUsize;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let ministack = Ministack::shared().map_err(|why| skipped(&why.0)).ok()?;
    let bucket = format!("contract-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    ministack.create_bucket(&bucket).await;
    Some(Bed { store: Arc::new(S3Store::new(&ministack.aws().await, true)), bucket, _dir: None })
}

contract! {
    dir by super::dir, s3 by super::s3;
    any_bytes_come_back,
    an_object_is_fetched_again_only_when_it_changed,
    a_missing_object_is_missing,
    deleting_twice_is_deleting,
    a_bucket_that_is_not_there_is_refused,
}

impl Bed {
    fn object(&self, key: &str) -> ObjectName {
        ObjectName::new(&self.bucket, key).expect("valid name")
    }

    async fn put(&self, key: &str, content: &[u8]) {
        self.store.put(&self.object(key), Bytes::copy_from_slice(content)).await.expect("put");
    }

    async fn fetch(&self, key: &str, known: Option<&Version>) -> (Bytes, Version) {
        match self.store.get(&self.object(key), known).await.expect("get") {
            Fetched::Changed(content, version) => (content, version),
            Fetched::Unchanged => panic!("{key} counts as unchanged"),
        }
    }
}

async fn any_bytes_come_back(bed: &Bed) {
    let all_bytes: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    for (key, content) in [("empty", &b""[..]), ("mail/0aff", b"\0\xff\r\n.\r\n"), ("Names with spaces, ümläuts & +.apk", b"x"), ("big", &all_bytes)]
    {
        bed.put(key, content).await;
        assert!(bed.fetch(key, None).await.0 == content, "{key} differs");
    }
}

async fn an_object_is_fetched_again_only_when_it_changed(bed: &Bed) {
    bed.put("catalogue.json", b"[1]").await;
    let (_, first) = bed.fetch("catalogue.json", None).await;
    let again = bed.store.get(&bed.object("catalogue.json"), Some(&first)).await.expect("get");
    assert_eq!(again, Fetched::Unchanged);
    // Of the same length and within one tick of a coarse clock.
    bed.put("catalogue.json", b"[2]").await;
    let (content, second) = bed.fetch("catalogue.json", Some(&first)).await;
    assert_eq!(content.as_ref(), b"[2]");
    assert_ne!(first, second);
}

async fn a_missing_object_is_missing(bed: &Bed) {
    for known in [None, Some(Version("\"00\"".into()))] {
        let result = bed.store.get(&bed.object("no/such.apk"), known.as_ref()).await;
        assert!(matches!(&result, Err(StoreError::Missing(object)) if object.key() == "no/such.apk"), "{result:?}");
    }
}

async fn deleting_twice_is_deleting(bed: &Bed) {
    bed.put("mail/1", b"x").await;
    for _ in 0..2 {
        bed.store.delete(&bed.object("mail/1")).await.expect("deleted");
    }
    let result = bed.store.get(&bed.object("mail/1"), None).await;
    assert!(matches!(result, Err(StoreError::Missing(_))), "{result:?}");
}

async fn a_bucket_that_is_not_there_is_refused(bed: &Bed) {
    bed.store.check(&bed.bucket).await.expect("this one is there");
    let result = bed.store.check("nobody-made-this").await;
    assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_a_folder_never_sees_a_half_written_object() {
    let bed = dir().await.expect("a folder");
    let contents = [vec![b'a'; 1 << 20], vec![b'b'; 1 << 19]];
    bed.put("object", &contents[0]).await;
    let is_done = AtomicBool::new(false);
    let write = async {
        for round in 0..40 {
            bed.put("object", &contents[round % 2]).await;
        }
        is_done.store(true, Ordering::Relaxed);
    };
    let read = async {
        let mut reads = 0;
        while !is_done.load(Ordering::Relaxed) {
            let (content, _) = bed.fetch("object", None).await;
            assert!(contents.iter().any(|whole| content == whole[..]), "half an object of {} bytes", content.len());
            reads += 1;
        }
        assert!(reads > 0, "nothing was read meanwhile");
    };
    tokio::join!(write, read);
}

#[tokio::test]
async fn a_store_that_is_away_is_unavailable() {
    let store = S3Store::new(&load_aws(format!("http://127.0.0.1:{}", free_port())).await, true);
    let object = ObjectName::new("bucket", "key").expect("valid name");
    let results =
        [store.get(&object, None).await.map(drop), store.put(&object, Bytes::new()).await, store.delete(&object).await, store.check("bucket").await];
    for result in results {
        assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
    }
}
