//! The loop on the embedded seams, with senders that misbehave.

use std::{
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use replyfleet::{
    clock::UnixMillis,
    envelope::{Facts, mail_key, request_key},
    ground::Ground,
    settings::Settings,
    store::ObjectName,
};

use super::*;
use crate::{
    Worker,
    catalogue::SendMethod,
    compose::Reply,
    ledger::Ledger,
    metrics::Ended as EndedMail,
    outcome::Park,
    reason::Reason,
    send::{Accepted, SendError, Sender, Senders},
    switches::Setting,
};

const DEADLINE: Duration = Duration::from_secs(20);
const CATALOGUE: &str = r#"[
  {"email_addr": "get@example.com", "body": "links", "send_method": "SES", "lang": "en", "translations": {"fa": {"body": "x"}}},
  {"email_addr": "get@example.com", "body": "files", "attachments": [["files", "a.bin", "a.bin"]], "send_method": "SMTP"}
]"#;
const SETTINGS: &str = r#"
secret_key_file = "DIR/secret.key"
authentication = { mode = "off", unproven = "full" }
queue = { url = "spool:DIR/spool", visibility_s = 2, inline_bytes_max = 1000 }
store = { url = "dir:DIR/store" }
catalogue = { bucket = "catalogue", key = "catalogue.json", refresh_s = 1 }
worker = { cache_dir = "DIR/cache", slots = 4, receives_max = 8 }
database = { url = "sqlite:DIR/ledger.db" }
allowance = { answers_per_sender = 1000, attachments_per_sender = 1000 }
reply = { bounce_address = "bounces@example.com" }
# The catalogue may use the methods that have a sender here; the scripted ones stand in for them.
send.SES = { kind = "maildir", dir = "DIR/unused" }
send.SMTP = { kind = "maildir", dir = "DIR/unused" }
"#;

/// What a scripted sender does with a reply.
type Act = Box<dyn Fn(&Reply) -> Result<Accepted, SendError> + Send + Sync>;

struct Scripted {
    act: Act,
    takes: Duration,
    sent: Mutex<Vec<String>>,
    in_hand: AtomicUsize,
    in_hand_max: AtomicUsize,
}

impl Scripted {
    fn new(takes: Duration, act: impl Fn(&Reply) -> Result<Accepted, SendError> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { act: Box::new(act), takes, sent: Mutex::default(), in_hand: AtomicUsize::new(0), in_hand_max: AtomicUsize::new(0) })
    }

    fn good() -> Arc<Self> {
        Self::new(Duration::ZERO, |_| Ok(Accepted))
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().expect("no panic while it was held").clone()
    }
}

#[async_trait]
impl Sender for Scripted {
    async fn send(&self, reply: &Reply) -> Result<Accepted, SendError> {
        let in_hand = self.in_hand.fetch_add(1, Ordering::SeqCst) + 1;
        self.in_hand_max.fetch_max(in_hand, Ordering::SeqCst);
        // It takes its time, as a slow next hop does.
        let _ = tokio::time::timeout(self.takes, std::future::pending::<()>()).await;
        self.in_hand.fetch_sub(1, Ordering::SeqCst);
        let result = (self.act)(reply);
        if result.is_ok() {
            self.sent.lock().expect("no panic while it was held").push(reply.rcpt_to.clone());
        }
        result
    }
    async fn check(&self) -> Result<(), String> {
        Ok(())
    }
    fn timeout(&self) -> Duration {
        Duration::from_secs(30)
    }
}

struct World {
    dir: tempfile::TempDir,
    ground: Ground,
    settings: Settings,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<bool>,
    ended: tokio::sync::broadcast::Receiver<EndedMail>,
    metrics: Arc<Metrics>,
}

impl World {
    async fn start(ses: Arc<Scripted>, smtp: Arc<Scripted>) -> Self {
        Self::start_on(ses, smtp, |queue| queue).await
    }

    /// With a queue before the queue.
    async fn start_on(ses: Arc<Scripted>, smtp: Arc<Scripted>, queue: impl FnOnce(Arc<dyn Queue>) -> Arc<dyn Queue>) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let root = dir.path().to_str().expect("UTF-8");
        let env = |name: &str| (name == replyfleet::settings::ENV_SECRET_KEY).then(|| "0123456789abcdef0123456789abcdef".to_owned());
        let settings = Settings::parse(&SETTINGS.replace("DIR", root), "test", env).expect("valid");
        let mut ground = Ground::open(&settings, false).await.expect("opened");
        ground.queue = queue(ground.queue);
        let put = async |bucket, key, content: &'static [u8]| {
            ground.store.put(&ObjectName::new(bucket, key).expect("valid"), Bytes::from_static(content)).await.expect("put")
        };
        put("catalogue", "catalogue.json", CATALOGUE.as_bytes()).await;
        put("files", "a.bin", b"content").await;
        let senders = Senders::from([(SendMethod::Ses, ses as Arc<dyn Sender>), (SendMethod::Smtp, smtp as Arc<dyn Sender>)]);
        let mut worker = Worker::assemble(&settings, ground.clone(), senders).await.expect("assembled");
        worker.look_every = Duration::from_millis(50);
        let metrics = worker.metrics();
        let ended = metrics.watch();
        let (stop, stopped) = watch::channel(false);
        Self { dir, ground, settings, stop, running: tokio::spawn(worker.run(stopped)), ended, metrics }
    }

    async fn put(&self, sender: &str, queue_id: &str) {
        self.put_mail(sender, queue_id, Mail::Inline(Bytes::from(format!("From: {sender}\n\n")))).await;
    }

    async fn put_mail(&self, sender: &str, queue_id: &str, mail: Mail) {
        self.put_mail_of(UnixMillis::now(), sender, queue_id, mail).await;
    }

    async fn put_mail_of(&self, arrived: UnixMillis, sender: &str, queue_id: &str, mail: Mail) {
        let secret = self.settings.secret().expect("set");
        let facts = Facts {
            request_key: request_key(&secret, "mx", queue_id, "get@example.com"),
            mail_key: mail_key(&secret, "mx", queue_id),
            mail_from: sender.into(),
            rcpt_to: "get@example.com".into(),
            queue_id: queue_id.into(),
            host: "mx".into(),
            arrived,
            ..Facts::default()
        };
        self.ground.queue.put(&Envelope { facts, mail }).await.expect("put");
    }

    /// Brings a request back from the dead letters.
    async fn replay(&self, arrived: UnixMillis, sender: &str, queue_id: &str) {
        let secret = self.settings.secret().expect("set");
        let facts = Facts {
            request_key: request_key(&secret, "mx", queue_id, "get@example.com"),
            mail_key: mail_key(&secret, "mx", queue_id),
            mail_from: sender.into(),
            rcpt_to: "get@example.com".into(),
            queue_id: queue_id.into(),
            host: "mx".into(),
            arrived,
            ..Facts::default()
        };
        let mail = Mail::Inline(Bytes::from(format!("From: {sender}\n\n")));
        let dead = self.path("spool/parked/1790000000000-1790000000000_00000000000000ff.9.poison");
        std::fs::write(&dead, Envelope { facts, mail }.encode()).expect("written");
        let chosen = replyfleet::queue::Chosen::All;
        let replayed = self.ground.queue.unpark(&chosen, replyfleet::queue::Unpark::Replay, UnixMillis(u64::MAX), 10).await;
        assert_eq!(replayed.expect("replayed").len(), 1);
    }

    /// Sets a switch beside the running worker, and waits until it follows.
    async fn switch(&self, name: &str, value: &str) {
        let (url, secret) = (self.settings.database_url().expect("set"), self.settings.secret().expect("set"));
        let ledger = Ledger::join(url, secret, self.settings.allowance.clone()).await.expect("joined");
        let setting = Setting::parse(name, value).expect("a switch");
        ledger.set_switch(&setting, UnixMillis::now()).await.expect("set");
        let (deadline, shown) = (tokio::time::Instant::now() + DEADLINE, format!("{name}={value}"));
        let wanted = (!setting.is_default()).then_some(&shown);
        while self.metrics.current_switches().settings.iter().find(|set| set.starts_with(&format!("{name}="))) != wanted {
            assert!(tokio::time::Instant::now() < deadline, "the worker follows {shown}");
            tokio::task::yield_now().await;
        }
    }

    async fn end(&mut self) -> Outcome {
        tokio::time::timeout(DEADLINE, self.ended.recv()).await.expect("in time").expect("no line lost").outcome
    }

    async fn ends(&mut self, count: usize) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for _ in 0..count {
            outcomes.push(self.end().await);
        }
        outcomes
    }

    /// Stops the worker and looks at what is left.
    async fn stop(self) -> (bool, usize, Vec<replyfleet::queue::Parked>) {
        self.stop.send(true).expect("it runs");
        let is_finished = tokio::time::timeout(DEADLINE, self.running).await.expect("in time").expect("no panic");
        let depth = self.ground.queue.depth().await.expect("depth");
        let left = usize::try_from(depth.visible + depth.delayed + depth.in_flight).expect("few");
        (is_finished, left, self.ground.queue.parked(100).await.expect("parked"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

#[tokio::test]
async fn a_request_gets_every_reply_and_leaves_the_queue() {
    let (ses, smtp) = (Scripted::good(), Scripted::good());
    let mut world = World::start(ses.clone(), smtp.clone()).await;
    world.put("a@example.org", "1").await;
    assert_eq!(world.end().await, Outcome::Answered);
    assert_eq!((world.stop().await.1, ses.sent(), smtp.sent()), (0, vec!["a@example.org".into()], vec!["a@example.org".into()]));
}

#[tokio::test]
async fn a_request_is_answered_in_its_language_where_the_catalogue_has_it() {
    let (mark, marks) = std::sync::mpsc::channel();
    let ses = Scripted::new(Duration::ZERO, move |reply| {
        let whole = reply.to_vec();
        let message = String::from_utf8_lossy(&whole);
        let _ = mark.send(message.lines().find(|line| line.starts_with("Content-Language")).map(str::to_owned));
        Ok(Accepted)
    });
    let mut world = World::start(ses, Scripted::good()).await;
    for (number, (header, want)) in [("Accept-Language: fa-IR\n", "fa, en"), ("Subject: سلام\n", "fa, en"), ("", "en")].into_iter().enumerate() {
        let mail = Bytes::from(format!("From: a{number}@example.org\n{header}\n"));
        world.put_mail(&format!("a{number}@example.org"), &number.to_string(), Mail::Inline(mail)).await;
        assert_eq!(world.end().await, Outcome::Answered);
        assert_eq!(marks.try_recv().expect("sent"), Some(format!("Content-Language: {want}")), "{header}");
    }
}

#[tokio::test]
async fn a_message_that_comes_twice_is_answered_once() {
    let (ses, smtp) = (Scripted::new(Duration::from_millis(300), |_| Ok(Accepted)), Scripted::good());
    let mut world = World::start(ses.clone(), smtp.clone()).await;
    for _ in 0..3 {
        world.put("a@example.org", "1").await;
    }
    while !(world.end().await == Outcome::Answered) {}
    let (_, _, parked) = world.stop().await;
    assert!(parked.is_empty());
    assert_eq!((ses.sent().len(), smtp.sent().len()), (1, 1));
}

#[tokio::test]
async fn a_panic_in_one_message_parks_it_and_leaves_the_others_alone() {
    let ses = Scripted::new(Duration::ZERO, |reply| if reply.rcpt_to.starts_with("poison@") { panic!("on purpose") } else { Ok(Accepted) });
    let mut world = World::start(ses.clone(), Scripted::good()).await;
    world.put("poison@example.org", "0").await;
    for number in 1..10 {
        world.put(&format!("a{number}@example.org"), &number.to_string()).await;
    }
    let outcomes = world.ends(10).await;
    assert_eq!(outcomes.iter().filter(|&outcome| *outcome == Outcome::Answered).count(), 9);
    assert_eq!(outcomes.iter().filter(|&outcome| *outcome == Outcome::Parked(Park::Panicked)).count(), 1);
    let (is_finished, left, parked) = world.stop().await;
    assert!(is_finished && left == 0);
    assert_eq!(parked.iter().map(|message| message.reason.as_str()).collect::<Vec<_>>(), ["panicked"]);
    assert_eq!(ses.sent().len(), 9);
}

#[tokio::test]
async fn no_more_messages_are_in_hand_than_there_are_slots() {
    let ses = Scripted::new(Duration::from_millis(50), |_| Ok(Accepted));
    let mut world = World::start(ses.clone(), Scripted::good()).await;
    for number in 0..12 {
        world.put(&format!("a{number}@example.org"), &number.to_string()).await;
    }
    world.ends(12).await;
    assert!(ses.in_hand_max.load(Ordering::SeqCst) <= 4);
}

#[tokio::test]
async fn a_slow_send_keeps_its_message_invisible() {
    // Twice the visibility time-out: without extension the message would come again meanwhile.
    let ses = Scripted::new(Duration::from_secs(5), |_| Ok(Accepted));
    let mut world = World::start(ses.clone(), Scripted::good()).await;
    world.put("a@example.org", "1").await;
    let ended = tokio::time::timeout(DEADLINE, world.ended.recv()).await.expect("in time").expect("one line");
    assert_eq!(ended.outcome, Outcome::Answered);
    assert!(world.ended.try_recv().is_err(), "nobody else had it");
    assert_eq!((world.stop().await.1, ses.sent().len()), (0, 1));
}

#[tokio::test]
async fn a_reply_that_fails_leaves_the_other_alone_and_is_tried_again() {
    let failures = AtomicUsize::new(0);
    let ses = Scripted::new(Duration::ZERO, move |_| match failures.fetch_add(1, Ordering::SeqCst) {
        0 => Err(SendError::NotSent("450".into())),
        1 => Err(SendError::Throttled("429".into())),
        _ => Ok(Accepted),
    });
    let smtp = Scripted::good();
    let mut world = World::start(ses.clone(), smtp.clone()).await;
    world.put("a@example.org", "1").await;
    assert_eq!(world.end().await, Outcome::Retry(Wait::Sender));
    assert_eq!(smtp.sent().len(), 1, "the second reply went although the first failed");
    assert_eq!(world.end().await, Outcome::Retry(Wait::Sender));
    assert_eq!(world.end().await, Outcome::Answered);
    assert_eq!((ses.sent().len(), smtp.sent().len()), (1, 1));
}

#[tokio::test]
async fn a_refused_reply_is_terminal_and_an_uncertain_one_is_tried_twice() {
    let ses = Scripted::new(Duration::ZERO, |_| Err(SendError::Refused("550".into())));
    let smtp = Scripted::new(Duration::ZERO, |_| Err(SendError::Uncertain("time-out".into())));
    let mut world = World::start(ses, smtp.clone()).await;
    world.put("a@example.org", "1").await;
    assert_eq!(world.ends(2).await, [Outcome::Retry(Wait::Sender), Outcome::Unanswered]);
    assert_eq!(smtp.in_hand_max.load(Ordering::SeqCst), 1);
    assert_eq!(world.stop().await.1, 0);
}

#[tokio::test]
async fn a_reply_that_is_too_big_comes_again_only_if_there_are_files_to_leave_out() {
    let ses = Scripted::new(Duration::ZERO, |_| Err(SendError::TooBig("552".into())));
    let failures = AtomicUsize::new(0);
    let smtp =
        Scripted::new(
            Duration::ZERO,
            move |_| if failures.fetch_add(1, Ordering::SeqCst) == 0 { Err(SendError::TooBig("552".into())) } else { Ok(Accepted) },
        );
    let mut world = World::start(ses, smtp.clone()).await;
    world.put("a@example.org", "1").await;
    assert_eq!(world.ends(2).await, [Outcome::Retry(Wait::Sender), Outcome::Answered]);
    assert_eq!(smtp.sent().len(), 1, "the reply with a file");
    assert_eq!(world.stop().await.1, 0);
}

#[tokio::test]
async fn a_missing_attachment_delays_only_its_own_reply() {
    let (ses, smtp) = (Scripted::good(), Scripted::good());
    let mut world = World::start(ses.clone(), smtp.clone()).await;
    let file = world.path("store/files/a.bin");
    std::fs::rename(&file, world.path("away")).expect("moved away");
    world.put("a@example.org", "1").await;
    assert_eq!(world.end().await, Outcome::Retry(Wait::Store));
    assert_eq!((ses.sent().len(), smtp.sent().len()), (1, 0));
    std::fs::rename(world.path("away"), &file).expect("moved back");
    while world.end().await != Outcome::Answered {}
    assert_eq!((ses.sent().len(), smtp.sent().len()), (1, 1));
}

#[tokio::test]
async fn a_claim_check_is_fetched_verified_and_removed() {
    use replyfleet::envelope::ClaimCheck;
    let mut world = World::start(Scripted::good(), Scripted::good()).await;
    let stored = async |key: &str, content: &'static [u8], claimed: &[u8]| {
        let object = ObjectName::new("claim-check", key).expect("valid");
        world.ground.store.put(&object, Bytes::from_static(content)).await.expect("put");
        Mail::Stored(ClaimCheck::new(object, claimed))
    };
    let good = stored("mail/1", b"From: a@example.org\n\n", b"From: a@example.org\n\n").await;
    let tampered = stored("mail/2", b"From: evil@example.org\n\n", b"From: good@example.org\n\n").await;
    world.put_mail("a@example.org", "1", good).await;
    assert_eq!(world.end().await, Outcome::Answered);
    world.put_mail("good@example.org", "2", tampered).await;
    assert_eq!(world.end().await, Outcome::Parked(Park::MailDiffers));
    let (answered, parked) = (world.path("store/claim-check/mail/1"), world.path("store/claim-check/mail/2"));
    let missing = Mail::Stored(ClaimCheck::new(ObjectName::new("claim-check", "mail/3").expect("valid"), b"x"));
    world.put_mail("a@example.org", "3", missing).await;
    assert_eq!(world.end().await, Outcome::Retry(Wait::Store), "it may yet appear");
    let dir = world.dir.path().to_owned();
    world.stop.send(true).expect("it runs");
    world.running.await.expect("no panic");
    assert!(dir.exists() && !answered.exists() && parked.exists(), "what is parked keeps its mail");
}

#[tokio::test]
async fn stopping_finishes_what_is_in_hand_and_gives_back_the_rest() {
    let ses = Scripted::new(Duration::from_secs(1), |_| Ok(Accepted));
    let world = World::start(ses.clone(), Scripted::good()).await;
    for number in 0..8 {
        world.put(&format!("a{number}@example.org"), &number.to_string()).await;
    }
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while ses.in_hand.load(Ordering::SeqCst) < 4 {
        assert!(tokio::time::Instant::now() < deadline, "four are in hand by now");
        tokio::task::yield_now().await;
    }
    let (is_finished, left, parked) = world.stop().await;
    assert!(is_finished && parked.is_empty());
    assert_eq!((ses.sent().len(), left), (4, 4), "four were finished, four wait");
}

#[tokio::test]
async fn what_is_no_envelope_is_parked_whole() {
    let mut world = World::start(Scripted::good(), Scripted::good()).await;
    std::fs::write(world.path("spool/new/1790000000000-1790000000000_x.0"), b"not one of ours").expect("written");
    assert_eq!(world.end().await, Outcome::Parked(Park::UnreadableEnvelope));
    let (_, left, parked) = world.stop().await;
    assert_eq!((left, parked.len(), parked[0].bytes), (0, 1, 15));
}

#[tokio::test]
async fn a_new_catalogue_is_used_and_a_broken_one_is_not() {
    let (ses, smtp) = (Scripted::good(), Scripted::good());
    let mut world = World::start(ses.clone(), smtp.clone()).await;
    let object = ObjectName::new("catalogue", "catalogue.json").expect("valid");
    world.ground.store.put(&object, Bytes::from_static(b"[{\"email_addr\": ")).await.expect("put");
    world.put("a@example.org", "1").await;
    assert_eq!(world.end().await, Outcome::Answered, "the last good one is in force");
    let one = r#"[{"email_addr": "get@example.com", "body": "links", "send_method": "SES"}]"#;
    world.ground.store.put(&object, Bytes::from_static(one.as_bytes())).await.expect("put");
    let mut number = 2;
    loop {
        let before = smtp.sent().len();
        world.put(&format!("a{number}@example.org"), &number.to_string()).await;
        assert_eq!(world.end().await, Outcome::Answered);
        if smtp.sent().len() == before {
            break; // one reply only: the new catalogue is in force
        }
        number += 1;
        assert!(number < 1_000, "the catalogue is looked at every second");
    }
}

#[tokio::test]
async fn a_reply_is_what_was_promised_wherever_the_catalogue_has_it_by_then() {
    let failures = AtomicUsize::new(0);
    let smtp = Scripted::new(Duration::ZERO, move |_| {
        if failures.fetch_add(1, Ordering::SeqCst) == 0 { Err(SendError::NotSent("450".into())) } else { Ok(Accepted) }
    });
    let ses = Scripted::good();
    let mut world = World::start(ses.clone(), smtp.clone()).await;
    world.put("a@example.org", "1").await;
    assert_eq!(world.end().await, Outcome::Retry(Wait::Sender), "links are sent, files wait");
    // A new first entry: by its place alone, the second reply would now be the links again.
    let shifted = CATALOGUE.replacen('[', r#"[{"email_addr": "get@example.com", "body": "news", "send_method": "SES"}, "#, 1);
    let object = ObjectName::new("catalogue", "catalogue.json").expect("valid");
    world.ground.store.put(&object, Bytes::from(shifted)).await.expect("put");
    // The retry comes after five seconds, the catalogue within one.
    assert_eq!(world.end().await, Outcome::Answered);
    assert_eq!((ses.sent().len(), smtp.sent().len()), (1, 1));
}

#[tokio::test]
async fn a_big_mail_that_is_ignored_and_comes_twice_is_ignored_twice() {
    use replyfleet::envelope::ClaimCheck;
    let mut world = World::start(Scripted::good(), Scripted::good()).await;
    let content = b"From: a@example.org\nList-Id: <x>\n\n";
    let object = ObjectName::new("claim-check", "mail/1").expect("valid");
    world.ground.store.put(&object, Bytes::from_static(content)).await.expect("put");
    let mail = || Mail::Stored(ClaimCheck::new(object.clone(), content));
    world.put_mail("a@example.org", "1", mail()).await;
    assert_eq!(world.end().await, Outcome::Ignored(Reason::MailingList));
    let file = world.path("store/claim-check/mail/1");
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while file.exists() {
        assert!(tokio::time::Instant::now() < deadline, "the object goes with its message");
        tokio::task::yield_now().await;
    }
    world.put_mail("a@example.org", "1", mail()).await;
    assert_eq!(world.end().await, Outcome::Ignored(Reason::MailingList));
}

#[tokio::test]
async fn a_verdict_stands_even_if_the_rules_have_changed_since() {
    let failures = AtomicUsize::new(0);
    let ses = Scripted::new(Duration::ZERO, move |_| {
        if failures.fetch_add(1, Ordering::SeqCst) == 0 { Err(SendError::NotSent("450".into())) } else { Ok(Accepted) }
    });
    let mut world = World::start(ses.clone(), Scripted::good()).await;
    world.put("a@example.org", "1").await;
    assert_eq!(world.end().await, Outcome::Retry(Wait::Sender));
    // The address has gone from the catalogue: the reply that waits is withdrawn, the request is not "unknown recipient".
    let other = r#"[{"email_addr": "other@example.com", "body": "x", "send_method": "SES"}]"#;
    let object = ObjectName::new("catalogue", "catalogue.json").expect("valid");
    world.ground.store.put(&object, Bytes::from_static(other.as_bytes())).await.expect("put");
    assert_eq!(world.end().await, Outcome::Answered);
    assert!(ses.sent().is_empty());
}

#[tokio::test]
async fn what_is_held_waits_and_is_answered_once_it_is_let_go() {
    let (ses, smtp) = (Scripted::good(), Scripted::good());
    let mut world = World::start(ses.clone(), smtp.clone()).await;
    for name in ["all", "address:get@example.com", "provider:example.org"] {
        world.switch(name, "hold").await;
    }
    world.put("a@example.org", "1").await;
    assert_eq!(world.end().await, Outcome::Retry(Wait::Switch));
    for name in ["all", "address:get@example.com", "provider:example.org"] {
        world.switch(name, "on").await;
    }
    assert_eq!(world.end().await, Outcome::Answered);
    assert_eq!((world.stop().await.1, ses.sent().len(), smtp.sent().len()), (0, 1, 1));
}

#[tokio::test]
async fn what_is_off_is_ignored_and_the_rest_is_answered() {
    let (ses, smtp) = (Scripted::good(), Scripted::good());
    let mut world = World::start(ses.clone(), smtp.clone()).await;
    world.switch("attachments", "off").await;
    world.put("a@example.org", "1").await;
    assert_eq!(world.end().await, Outcome::Answered);
    assert_eq!((ses.sent().len(), smtp.sent().len()), (1, 0), "the reply with an attachment stays");
    world.switch("provider:example.org", "off").await;
    world.put("b@mail.example.org", "2").await;
    assert_eq!(world.end().await, Outcome::Ignored(Reason::SwitchedOff));
    world.put("c@example.net", "3").await;
    assert_eq!(world.end().await, Outcome::Answered, "another provider's");
    for name in ["address:get@example.com", "all"] {
        world.switch(name, "off").await;
        world.put("d@example.net", name).await;
        assert_eq!(world.end().await, Outcome::Ignored(Reason::SwitchedOff), "{name}");
        world.switch(name, "on").await;
    }
    world.switch("attachments", "on").await;
    world.put("d@example.net", "6").await;
    assert_eq!(world.end().await, Outcome::Answered);
    assert_eq!((ses.sent().len(), smtp.sent().len()), (3, 1));
}

/// A next hop that takes nothing until it is told to.
fn closed() -> (Arc<Scripted>, Arc<std::sync::atomic::AtomicBool>) {
    let is_open = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = Arc::clone(&is_open);
    let act = move |_: &Reply| if seen.load(Ordering::SeqCst) { Ok(Accepted) } else { Err(SendError::NotSent("450".into())) };
    (Scripted::new(Duration::ZERO, act), is_open)
}

#[tokio::test]
async fn what_was_admitted_before_stops_when_it_is_switched() {
    let ((ses, ses_is_open), (smtp, smtp_is_open)) = (closed(), closed());
    let mut world = World::start(ses.clone(), smtp.clone()).await;
    world.put("a@example.org", "1").await;
    assert_eq!(world.end().await, Outcome::Retry(Wait::Sender), "admitted, and not sent");
    world.switch("all", "hold").await;
    for is_open in [&ses_is_open, &smtp_is_open] {
        is_open.store(true, Ordering::SeqCst);
    }
    assert_eq!(world.end().await, Outcome::Retry(Wait::Switch));
    assert!(ses.sent().is_empty() && smtp.sent().is_empty());
    world.switch("attachments", "off").await;
    world.switch("all", "on").await;
    assert_eq!(world.end().await, Outcome::Answered);
    assert_eq!((world.stop().await.1, ses.sent().len(), smtp.sent().len()), (0, 1, 0), "links, and not the file");
}

/// A queue that extends nothing.
struct Unextended(Arc<dyn Queue>);

#[async_trait]
impl Queue for Unextended {
    async fn put(&self, envelope: &Envelope) -> replyfleet::queue::Result<()> {
        self.0.put(envelope).await
    }
    async fn receive(&self, max: usize, wait: Duration) -> replyfleet::queue::Result<Vec<Delivery>> {
        self.0.receive(max, wait).await
    }
    async fn extend(&self, receipts: &[replyfleet::queue::Receipt]) -> Vec<replyfleet::queue::Result<()>> {
        receipts.iter().map(|_| Err(replyfleet::queue::QueueError::Unavailable("cut".into()))).collect()
    }
    async fn settle(&self, settlements: &[(Delivery, replyfleet::queue::Settlement)]) -> Vec<replyfleet::queue::Result<()>> {
        self.0.settle(settlements).await
    }
    async fn depth(&self) -> replyfleet::queue::Result<replyfleet::queue::Depth> {
        self.0.depth().await
    }
    async fn parked(&self, max: usize) -> replyfleet::queue::Result<Vec<replyfleet::queue::Parked>> {
        self.0.parked(max).await
    }
    async fn unpark(
        &self,
        chosen: &replyfleet::queue::Chosen,
        what: replyfleet::queue::Unpark,
        until: replyfleet::clock::UnixMillis,
        max: usize,
    ) -> replyfleet::queue::Result<Vec<Bytes>> {
        self.0.unpark(chosen, what, until, max).await
    }
    async fn limits(&self) -> replyfleet::queue::Result<replyfleet::queue::Limits> {
        self.0.limits().await
    }
    fn visibility(&self) -> Duration {
        self.0.visibility()
    }
}

#[tokio::test]
async fn nothing_new_is_begun_for_a_message_whose_lease_could_not_be_extended() {
    // The first reply takes longer than the lease; then the second must not begin: another worker may have the message.
    let (ses, smtp) = (Scripted::new(Duration::from_secs(3), |_| Ok(Accepted)), Scripted::good());
    let mut world = World::start_on(ses.clone(), smtp.clone(), |queue| Arc::new(Unextended(queue))).await;
    world.put("a@example.org", "1").await;
    // Whoever has it next finds the first reply claimed, and waits for that; the second is his.
    let outcomes = world.ends(2).await;
    assert!(matches!(outcomes[0], Outcome::Retry(Wait::Held(_))), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Retry(Wait::Lease));
    assert_eq!((ses.sent().len(), smtp.sent().len()), (1, 1));
}

#[tokio::test]
async fn replies_of_a_sender_that_is_away_wait_while_the_others_leave_and_need_no_claim() {
    let is_paused = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let seen = Arc::clone(&is_paused);
    let tries = Arc::new(AtomicUsize::new(0));
    let tried = Arc::clone(&tries);
    let ses = Scripted::new(Duration::ZERO, move |_| {
        tried.fetch_add(1, Ordering::SeqCst);
        if seen.load(Ordering::SeqCst) { Err(SendError::Away("paused")) } else { Ok(Accepted) }
    });
    let smtp = Scripted::good();
    let mut world = World::start(ses.clone(), smtp.clone()).await;
    world.put("a0@example.org", "0").await;
    assert_eq!(world.end().await, Outcome::Retry(Wait::Sender));
    let open = world.metrics.breakers();
    assert_eq!(open.iter().map(|open| (open.name, open.reason)).collect::<Vec<_>>(), [("send.SES", "paused")]);
    for number in 1..6 {
        world.put(&format!("a{number}@example.org"), &number.to_string()).await;
        assert!(matches!(world.end().await, Outcome::Retry(Wait::Breaker(_))));
    }
    assert_eq!((smtp.sent().len(), tries.load(Ordering::SeqCst)), (6, 1), "only the first was tried");
}

fn counts(metrics: &Metrics) -> [u64; 4] {
    let figures = metrics.figures();
    [figures.processing_time.count(), figures.processing_time_stale.count(), figures.queue_wait.count(), figures.received]
}

#[tokio::test]
async fn what_is_old_or_was_replayed_says_nothing_of_how_fast_the_fleet_is() {
    let mut world = World::start(Scripted::good(), Scripted::good()).await;
    let mail = |sender: &str| Mail::Inline(Bytes::from(format!("From: {sender}\n\n")));
    world.put("a@example.org", "1").await;
    assert_eq!(world.end().await, Outcome::Answered);
    assert_eq!(counts(&world.metrics), [1, 0, 1, 1]);
    world.put_mail_of(UnixMillis::now() - Duration::from_secs(3_601), "b@example.org", "2", mail("b@example.org")).await;
    assert_eq!(world.end().await, Outcome::Answered);
    assert_eq!(counts(&world.metrics), [1, 1, 2, 2], "it did wait in the queue");
    world.put_mail_of(UnixMillis::now() + Duration::from_secs(60), "c@example.org", "3", mail("c@example.org")).await;
    assert_eq!(world.end().await, Outcome::Answered);
    assert_eq!((counts(&world.metrics), world.metrics.figures().processing_time.per_mille(0)), ([2, 1, 3, 3], Some(0)), "an MX whose clock is fast");

    world.replay(UnixMillis::now(), "d@example.org", "5").await;
    assert_eq!(world.end().await, Outcome::Answered);
    assert_eq!(counts(&world.metrics), [2, 2, 3, 4], "counted as received, and its wait is not the queue's");
}

#[tokio::test]
async fn what_was_replayed_makes_nobody_give_up_attachments() {
    let (ses, smtp) = (Scripted::good(), Scripted::good());
    let mut world = World::start(ses.clone(), smtp.clone()).await;
    world.switch("shedding", "60").await;
    let two_hours_ago = UnixMillis::now() - Duration::from_secs(7_200);
    world.replay(two_hours_ago, "a@example.org", "1").await;
    assert_eq!(world.end().await, Outcome::Answered);
    assert_eq!((ses.sent().len(), smtp.sent().len()), (1, 1), "with the file");
    let mail = Mail::Inline(Bytes::from_static(b"From: b@example.org\n\n"));
    world.put_mail_of(two_hours_ago, "b@example.org", "2", mail).await;
    assert_eq!(world.end().await, Outcome::Answered);
    assert_eq!((ses.sent().len(), smtp.sent().len()), (2, 1), "this one did wait in the queue");
}

#[tokio::test]
async fn a_message_counts_once_however_often_it_was_received() {
    let tries = AtomicUsize::new(0);
    let ses = Scripted::new(Duration::ZERO, move |_| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => Err(SendError::NotSent("451".into())),
        _ => Ok(Accepted),
    });
    let mut world = World::start(ses, Scripted::good()).await;
    world.put("a@example.org", "1").await;
    assert_eq!([world.end().await, world.end().await], [Outcome::Retry(Wait::Sender), Outcome::Answered]);
    assert_eq!(counts(&world.metrics), [1, 0, 1, 1]);
    let figures = world.metrics.figures();
    assert!(figures.handling_time.count() >= 2, "once for each receipt");
    assert_eq!(figures.responses_sent.values().sum::<u64>(), 2);
}
