//! One breaker's course, what the breakers of a worker together say, and the drain loop through hours without something that
//! it needs. Time stands still unless it is moved.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use replyfleet::{
    clock::SystemClock,
    envelope::{DecodeError, Envelope, Facts, Mail},
    queue::{Chosen, Delivery, Depth, Limits, Parked, Queue, Receipt, Settlement, Unpark},
    store::dir::DirStore,
};
use tokio::sync::watch;

use super::{
    probe::{Probe, Probes, keep_asking},
    state::FAILURES_MAX,
    *,
};
use crate::{
    drain::{Drain, Respond, Slot},
    isolation::Isolation,
    lease::Hold,
    outcome::Park,
    pace::Pace,
    pulse::Pulse,
    reason::Reason,
    respond::Account,
    timer::tests::TestTimer,
};

const SES: Part = Part::Sender(SendMethod::Ses);
const SMTP: Part = Part::Sender(SendMethod::Smtp);
const MINUTE: Duration = Duration::from_secs(60);

fn breakers() -> (Arc<Breakers>, Arc<TestTimer>) {
    let (parts, timer) = ([Part::Ledger, Part::Dns, Part::Store, SES, SMTP], Arc::new(TestTimer::default()));
    let breakers = Breakers::new(parts, MINUTE, Arc::default(), Arc::new(SystemClock), Arc::clone(&timer) as _);
    (Arc::new(breakers), timer)
}

/// Replies leave by SES or by SMTP, and none by the other's sender.
fn both() -> Vec<Vec<SendMethod>> {
    vec![vec![SendMethod::Ses], vec![SendMethod::Smtp]]
}

/// What may be received: everything, one or nobody.
fn admitted(breakers: &Breakers) -> &'static str {
    match breakers.admit(both) {
        Admission::All => "all",
        Admission::One(_) => "one",
        Admission::Nobody => "nobody",
    }
}

fn open_names(breakers: &Breakers) -> Vec<(&'static str, &'static str)> {
    breakers.metrics.breakers().into_iter().map(|open| (open.name, open.reason)).collect()
}

#[test]
fn a_ledger_is_away_after_five_failures_in_a_row_of_different_messages() {
    let (breakers, _) = breakers();
    let fail = |key: &str| breakers.learn(&Outcome::Retry(Wait::Ledger), key, false);
    (0..20).for_each(|_| fail("the same"));
    assert_eq!(admitted(&breakers), "all", "one message may be one that nobody can work on");
    breakers.learn(&Outcome::Answered, "another", true);
    (1..FAILURES_MAX).for_each(|number| fail(&number.to_string()));
    assert_eq!(admitted(&breakers), "all");
    fail("the fifth");
    assert_eq!((admitted(&breakers), open_names(&breakers)), ("nobody", vec![("ledger", "no_answer")]));
    assert!(matches!(breakers.blocking(both), Some(Wait::Breaker(away)) if away == MINUTE));
}

#[test]
fn a_good_probe_lets_one_message_go_first_and_its_failure_opens_again_for_longer() {
    let (breakers, timer) = breakers();
    (0..FAILURES_MAX).for_each(|number| breakers.learn(&Outcome::Retry(Wait::Ledger), &number.to_string(), false));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let at = breakers.next_probe().expect("it is asked");
        pauses.push((at - timer.now()).as_secs());
        timer.advance(at - timer.now());
        assert_eq!(breakers.due(timer.now()), [Part::Ledger]);
        breakers.probed(Part::Ledger, Ok(()));
        assert_eq!(open_names(&breakers), []);
        let Admission::One(first) = breakers.admit(both) else { panic!("one goes first") };
        assert_eq!(admitted(&breakers), "nobody", "until that one has ended");
        drop(first);
        breakers.learn(&Outcome::Retry(Wait::Ledger), "first", false);
        assert_eq!(admitted(&breakers), "nobody");
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60], "it answers reads, and nothing else");
    timer.advance(MINUTE);
    breakers.probed(Part::Ledger, Ok(()));
    breakers.learn(&Outcome::Answered, "first", true);
    assert_eq!(admitted(&breakers), "all");
}

/// Breakers of which the ledger's has had its good probe.
fn on_trial() -> Arc<Breakers> {
    let (breakers, timer) = breakers();
    (0..FAILURES_MAX).for_each(|number| breakers.learn(&Outcome::Retry(Wait::Ledger), &number.to_string(), false));
    timer.advance(MINUTE);
    breakers.probed(Part::Ledger, Ok(()));
    breakers
}

#[test]
fn a_suspect_that_goes_first_ends_the_trial_and_keeps_nobody_back_while_it_is_in_the_lane() {
    let breakers = on_trial();
    let places = Arc::new(Semaphore::new(2));
    let place = || Arc::clone(&places).try_acquire_owned().expect("a place");
    let Admission::One(first) = breakers.admit(both) else { panic!("one goes first") };
    let mut slot = Slot::new(place(), Some(breakers.going_first(first)));
    assert_eq!(admitted(&breakers), "nobody");
    slot.exchange(place());
    assert_eq!(admitted(&breakers), "one", "it may be in the lane for long");
    assert_eq!(places.available_permits(), 1);
    breakers.learn(&Outcome::Retry(Wait::Quarantine), "first", false);
    assert_eq!(admitted(&breakers), "all", "the ledger has said that it is a suspect");
}

#[test]
fn a_name_server_is_asked_before_it_is_taken_for_away() {
    let (breakers, timer) = breakers();
    let fail = || (0..FAILURES_MAX).for_each(|number| breakers.learn(&Outcome::Retry(Wait::Dns), &number.to_string(), false));
    fail();
    assert_eq!((admitted(&breakers), breakers.due(timer.now())), ("all", vec![Part::Dns]));
    breakers.probed(Part::Dns, Ok(()));
    assert_eq!((admitted(&breakers), breakers.due(timer.now())), ("all", vec![]), "it was the requesters' own name servers");
    fail();
    breakers.probed(Part::Dns, Err("no_answer"));
    assert_eq!((admitted(&breakers), open_names(&breakers)), ("nobody", vec![("dns", "no_answer")]));
    breakers.probed(Part::Dns, Ok(()));
    assert_eq!(admitted(&breakers), "all");
}

#[test]
fn a_sender_that_says_that_it_is_away_stops_its_own_replies_and_all_if_there_is_no_other() {
    let (breakers, _) = breakers();
    breakers.say_away(SES, "paused");
    assert_eq!((admitted(&breakers), open_names(&breakers)), ("all", vec![("send.SES", "paused")]));
    assert_eq!(breakers.pass(SendMethod::Ses).err(), Some(Wait::Breaker(MINUTE)));
    breakers.pass(SendMethod::Smtp).expect("another sender's").succeeded();
    breakers.say_away(SMTP, "no_answer");
    assert_eq!(admitted(&breakers), "nobody");
    breakers.probed(SMTP, Ok(()));
    breakers.pass(SendMethod::Smtp).expect("the first").succeeded();
    assert!(matches!(breakers.admit(|| vec![vec![SendMethod::Ses, SendMethod::Smtp]]), Admission::All), "the other stands in");
    assert!(matches!(breakers.admit(|| vec![vec![SendMethod::Ses]]), Admission::Nobody));
}

#[test]
fn one_reply_a_minute_tries_a_sender_that_its_probe_finds_good() {
    let (breakers, timer) = breakers();
    breakers.say_away(SES, "paused");
    let mut tried = 0;
    for _ in 0..10 {
        let at = breakers.next_probe().expect("it is asked");
        assert_eq!(at - timer.now(), MINUTE);
        timer.advance(MINUTE);
        breakers.probed(SES, Ok(()));
        let pass = breakers.pass(SendMethod::Ses).expect("one may");
        assert!(breakers.pass(SendMethod::Ses).is_err(), "and no other");
        drop(pass); // it had to wait for its turn
        breakers.pass(SendMethod::Ses).expect("another").say_away("paused");
        tried += 1;
    }
    assert_eq!((tried, open_names(&breakers)), (10, vec![("send.SES", "paused")]));
}

#[test]
fn a_message_waits_as_long_again_as_the_thing_has_been_away() {
    let (breakers, timer) = breakers();
    breakers.say_away(SES, "quota");
    let mut waits = Vec::new();
    for _ in 0..12 {
        let Err(Wait::Breaker(away)) = breakers.pass(SendMethod::Ses) else { panic!("open") };
        waits.push(away.as_secs() / 60);
        timer.advance(away);
    }
    assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]);
}

#[test]
fn failures_between_successes_are_the_messages_own() {
    let (breakers, _) = breakers();
    for number in 0..50 {
        let key = number.to_string();
        breakers.pass(SendMethod::Smtp).expect("closed").failed(&key);
        breakers.learn(&Outcome::Retry(Wait::Dns), &key, false);
        if number % 4 == 3 {
            breakers.pass(SendMethod::Smtp).expect("closed").succeeded();
            breakers.learn(&Outcome::Ignored(Reason::Unproven), &key, true);
        }
    }
    assert_eq!((admitted(&breakers), breakers.next_probe()), ("all", None));
}

/// A message of [`TestQueue`].
struct Message {
    wire: Bytes,
    visible_at: Duration,
    receives: u32,
    is_in_hand: bool,
}

/// A queue in the test's time, that counts how often it gave out each message.
struct TestQueue {
    timer: Arc<TestTimer>,
    messages: Mutex<Vec<Option<Message>>>,
    receives_max: AtomicUsize,
    parked: AtomicUsize,
}

impl TestQueue {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<Option<Message>>) -> T) -> T {
        work(&mut self.messages.lock().expect("no panic while it was held"))
    }

    /// When each message that is left becomes visible, and how often it was received.
    fn left(&self) -> Vec<(Duration, u32)> {
        self.with(|messages| messages.iter().flatten().map(|message| (message.visible_at, message.receives)).collect())
    }

    fn is_anything_in_hand(&self) -> bool {
        self.with(|messages| messages.iter().flatten().any(|message| message.is_in_hand))
    }

    fn take(&self, max: usize) -> Vec<Delivery> {
        let now = self.timer.passed();
        self.with(|messages| {
            let visible = messages.iter_mut().enumerate().filter_map(|(index, message)| Some((index, message.as_mut()?)));
            let mut visible: Vec<_> = visible.filter(|(_, message)| !message.is_in_hand && message.visible_at <= now).collect();
            visible.sort_by_key(|(_, message)| message.visible_at);
            visible
                .into_iter()
                .take(max)
                .map(|(index, message)| {
                    (message.receives, message.is_in_hand) = (message.receives + 1, true);
                    self.receives_max.fetch_max(message.receives as usize, Ordering::SeqCst);
                    Delivery { wire: message.wire.clone(), receipt: receipt(index), receive_count: message.receives, is_replayed: false }
                })
                .collect()
        })
    }
}

fn receipt(index: usize) -> Receipt {
    Receipt::of_text(&index.to_string())
}

#[async_trait]
impl Queue for TestQueue {
    async fn put(&self, envelope: &Envelope) -> replyfleet::queue::Result<()> {
        let message = Message { wire: Bytes::from(envelope.encode()), visible_at: self.timer.passed(), receives: 0, is_in_hand: false };
        self.with(|messages| messages.push(Some(message)));
        Ok(())
    }
    async fn receive(&self, max: usize, wait: Duration) -> replyfleet::queue::Result<Vec<Delivery>> {
        let found = self.take(max);
        if !found.is_empty() {
            return Ok(found);
        }
        self.timer.wait(wait).await;
        Ok(self.take(max))
    }
    async fn extend(&self, receipts: &[Receipt]) -> Vec<replyfleet::queue::Result<()>> {
        receipts.iter().map(|_| Ok(())).collect()
    }
    async fn settle(&self, settlements: &[(Delivery, Settlement)]) -> Vec<replyfleet::queue::Result<()>> {
        let now = self.timer.passed();
        self.with(|messages| {
            for (delivery, settlement) in settlements {
                let index = (0..messages.len()).find(|index| receipt(*index) == delivery.receipt).expect("it was given out");
                match (settlement, &mut messages[index]) {
                    (Settlement::Release(delay), Some(message)) => (message.visible_at, message.is_in_hand) = (now + *delay, false),
                    (Settlement::Park(_), message) => {
                        self.parked.fetch_add(1, Ordering::SeqCst);
                        *message = None;
                    }
                    (_, message) => *message = None,
                }
            }
        });
        settlements.iter().map(|_| Ok(())).collect()
    }
    async fn depth(&self) -> replyfleet::queue::Result<Depth> {
        Ok(Depth::default())
    }
    async fn parked(&self, _max: usize) -> replyfleet::queue::Result<Vec<Parked>> {
        Ok(Vec::new())
    }
    async fn unpark(&self, _: &Chosen, _: Unpark, _: replyfleet::clock::UnixMillis, _: usize) -> replyfleet::queue::Result<Vec<Bytes>> {
        Ok(Vec::new())
    }
    async fn limits(&self) -> replyfleet::queue::Result<Limits> {
        Ok(Limits::default())
    }
    fn visibility(&self) -> Duration {
        Duration::from_secs(36_000)
    }
}

/// Answers by SES, and needs ledger and name server before. What is away says nothing or, of SES, that it is paused.
struct Answers {
    breakers: Arc<Breakers>,
    away: Arc<Mutex<Option<Part>>>,
    answered: AtomicUsize,
}

#[async_trait]
impl Respond for Answers {
    async fn respond(&self, _: u32, _: Option<&Envelope>, _: &Hold, account: &mut Account) -> Outcome {
        let away = *self.away.lock().expect("no panic while it was held");
        match away {
            Some(Part::Ledger) => return Outcome::Retry(Wait::Ledger),
            Some(Part::Dns) => return Outcome::Retry(Wait::Dns),
            _ => account.proof = "dkim".into(),
        }
        match self.breakers.pass(SendMethod::Ses) {
            Err(wait) => Outcome::Retry(wait),
            Ok(pass) if away == Some(SES) => {
                pass.say_away("paused");
                Outcome::Retry(Wait::Sender)
            }
            Ok(pass) => {
                pass.succeeded();
                self.answered.fetch_add(1, Ordering::SeqCst);
                Outcome::Answered
            }
        }
    }
    fn ways(&self) -> Vec<Vec<SendMethod>> {
        vec![vec![SendMethod::Ses]]
    }
}

/// Says what is so; or always that all is well, as SES does that lets one ask while it lets nobody send.
struct Says(Part, Arc<Mutex<Option<Part>>>, bool);

#[async_trait]
impl Probe for Says {
    async fn ask(&self) -> Result<(), &'static str> {
        let is_away = *self.1.lock().expect("no panic while it was held") == Some(self.0);
        if is_away && !self.2 { Err("no_answer") } else { Ok(()) }
    }
}

/// Six hours without `part`, with mail in the queue and more coming, through the drain loop itself. Returns how often a message
/// was received at most.
async fn six_hours_without(part: Part, is_probe_wrong: bool) -> usize {
    const HOURS: Duration = Duration::from_secs(6 * 3_600);
    const LATER: Duration = Duration::from_secs(1_800);
    let dir = tempfile::tempdir().expect("temporary folder");
    let (breakers, timer) = breakers();
    let away = Arc::new(Mutex::new(Some(part)));
    let queue =
        Arc::new(TestQueue { timer: Arc::clone(&timer), messages: Mutex::default(), receives_max: AtomicUsize::new(0), parked: AtomicUsize::new(0) });
    let mut mails = 0;
    let mut put = async || {
        let facts = Facts { request_key: format!("k{mails}"), ..Facts::default() };
        mails += 1;
        queue.put(&Envelope { facts, mail: Mail::Inline(Bytes::from_static(b"x")) }).await.expect("put");
    };
    for _ in 0..200 {
        put().await;
    }
    let probes: Probes = [Part::Ledger, Part::Dns, SES]
        .into_iter()
        .map(|asked| (asked, Arc::new(Says(asked, Arc::clone(&away), is_probe_wrong)) as Arc<dyn Probe>))
        .collect();
    let asking = tokio::spawn(keep_asking(Arc::clone(&breakers), probes));
    let answers = Arc::new(Answers { breakers: Arc::clone(&breakers), away: Arc::clone(&away), answered: AtomicUsize::new(0) });
    let drain = Drain {
        queue: Arc::clone(&queue) as _,
        pace: Arc::new(Pace::new([])),
        store: Arc::new(DirStore::open(dir.path()).expect("store")),
        responder: Arc::clone(&answers) as _,
        metrics: Arc::clone(&breakers.metrics),
        decode: Envelope::decode,
        isolation: Isolation::default(),
        breakers,
        pulse: Arc::new(Pulse::new(HOURS)),
        clock: Arc::new(SystemClock),
        slots: 32,
        long_poll: Duration::from_secs(1),
        stop_timeout: Duration::from_secs(5),
    };
    let (stop, is_stopping) = watch::channel(false);
    let running = tokio::spawn(drain.run(is_stopping));
    let mut next_mail = Duration::ZERO;
    while timer.passed() < HOURS + LATER {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        if timer.passed() >= HOURS {
            away.lock().expect("no panic while it was held").take();
        } else if timer.passed() >= next_mail {
            put().await;
            next_mail += MINUTE;
        }
        if !queue.is_anything_in_hand() {
            timer.skip();
        }
    }
    stop.send_replace(true);
    timer.skip();
    assert!(running.await.expect("no panic"));
    asking.abort();
    let ends = (queue.left(), queue.parked.load(Ordering::SeqCst), answers.answered.load(Ordering::SeqCst));
    assert_eq!(ends, (Vec::new(), 0, mails), "{part:?}, {is_probe_wrong}: at {:?}", timer.passed());
    queue.receives_max.load(Ordering::SeqCst)
}

#[tokio::test]
async fn six_hours_without_database_name_server_or_ses_burn_nothing() {
    for (part, is_probe_wrong, receives_max) in [
        (Part::Ledger, false, 3),
        (Part::Dns, false, 3),
        (SES, false, 3),
        // Reads are answered and writes are not, or SES lets us ask and not send: one message a minute tries.
        (Part::Ledger, true, 6),
        (SES, true, 6),
    ] {
        let receives = six_hours_without(part, is_probe_wrong).await;
        assert!(receives <= receives_max, "{part:?}, {is_probe_wrong}: a message was received {receives} times");
    }
}

/// Never ends; while it is sending, or before.
struct Hangs(bool);

#[async_trait]
impl Respond for Hangs {
    async fn respond(&self, _: u32, _: Option<&Envelope>, hold: &Hold, _: &mut Account) -> Outcome {
        let _sending = self.0.then(|| hold.sending());
        std::future::pending().await
    }
    fn ways(&self) -> Vec<Vec<SendMethod>> {
        Vec::new()
    }
}

#[tokio::test]
async fn what_is_not_finished_in_time_is_given_back_unless_it_is_being_sent() {
    for is_sending in [false, true] {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (breakers, timer) = breakers();
        let queue = Arc::new(TestQueue { timer, messages: Mutex::default(), receives_max: AtomicUsize::new(0), parked: AtomicUsize::new(0) });
        queue.put(&Envelope { facts: Facts::default(), mail: Mail::Inline(Bytes::from_static(b"x")) }).await.expect("put");
        let drain = Drain {
            queue: Arc::clone(&queue) as _,
            pace: Arc::new(Pace::new([])),
            store: Arc::new(DirStore::open(dir.path()).expect("store")),
            responder: Arc::new(Hangs(is_sending)),
            metrics: Arc::clone(&breakers.metrics),
            decode: Envelope::decode,
            isolation: Isolation::default(),
            breakers,
            pulse: Arc::new(Pulse::new(MINUTE)),
            clock: Arc::new(SystemClock),
            slots: 1,
            long_poll: Duration::from_secs(1),
            stop_timeout: Duration::from_millis(50),
        };
        let (stop, is_stopping) = watch::channel(false);
        let running = tokio::spawn(drain.run(is_stopping));
        while !queue.is_anything_in_hand() {
            tokio::task::yield_now().await;
        }
        stop.send_replace(true);
        assert_eq!(running.await.expect("no panic"), !is_sending);
        assert_eq!(queue.is_anything_in_hand(), is_sending, "it is given back, or its lease runs out");
        assert_eq!(queue.left().len(), 1);
    }
}

/// A worker of one slot with one message.
async fn with_one_message(
    responder: Arc<dyn Respond>,
    decode: fn(&Bytes) -> Result<Envelope, DecodeError>,
) -> (Drain, Arc<TestQueue>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (breakers, timer) = breakers();
    let queue = Arc::new(TestQueue { timer, messages: Mutex::default(), receives_max: AtomicUsize::new(0), parked: AtomicUsize::new(0) });
    queue.put(&Envelope { facts: Facts::default(), mail: Mail::Inline(Bytes::from_static(b"x")) }).await.expect("put");
    let drain = Drain {
        queue: Arc::clone(&queue) as _,
        pace: Arc::new(Pace::new([])),
        store: Arc::new(DirStore::open(dir.path()).expect("store")),
        responder,
        decode,
        isolation: Isolation::default(),
        metrics: Arc::clone(&breakers.metrics),
        breakers,
        pulse: Arc::new(Pulse::new(MINUTE)),
        clock: Arc::new(SystemClock),
        slots: 1,
        long_poll: Duration::from_secs(1),
        stop_timeout: Duration::from_millis(50),
    };
    (drain, queue, dir)
}

/// Is at its first reply until nothing more may begin, and then looks whether it may begin the second.
#[derive(Default)]
struct TwoReplies(AtomicUsize);

#[async_trait]
impl Respond for TwoReplies {
    async fn respond(&self, _: u32, _: Option<&Envelope>, hold: &Hold, _: &mut Account) -> Outcome {
        for _reply in 0..2 {
            if !hold.is_sure() {
                return Outcome::Retry(Wait::Lease);
            }
            let _sending = hold.sending();
            self.0.fetch_add(1, Ordering::SeqCst);
            while hold.is_sure() {
                tokio::task::yield_now().await;
            }
        }
        Outcome::Answered
    }
    fn ways(&self) -> Vec<Vec<SendMethod>> {
        Vec::new()
    }
}

#[tokio::test]
async fn after_the_stop_time_the_reply_that_is_being_sent_is_finished_and_no_other_begins() {
    let responder = Arc::new(TwoReplies::default());
    let (drain, queue, _dir) = with_one_message(Arc::clone(&responder) as _, Envelope::decode).await;
    let mut ended = drain.metrics.watch();
    let (stop, is_stopping) = watch::channel(false);
    let running = tokio::spawn(drain.run(is_stopping));
    while responder.0.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    stop.send_replace(true);
    assert!(running.await.expect("no panic"), "it has ended in its time");
    assert_eq!(ended.recv().await.expect("told").outcome, Outcome::Retry(Wait::Stopping));
    assert_eq!((responder.0.load(Ordering::SeqCst), queue.is_anything_in_hand(), queue.left().len()), (1, false, 1));
}

#[tokio::test]
async fn a_message_whose_envelope_panics_is_parked() {
    let (drain, queue, _dir) = with_one_message(Arc::new(TwoReplies::default()), |_| panic!("on purpose")).await;
    let mut ended = drain.metrics.watch();
    let (stop, is_stopping) = watch::channel(false);
    let running = tokio::spawn(drain.run(is_stopping));
    let ended = tokio::time::timeout(MINUTE / 3, ended.recv()).await.expect("in time").expect("told");
    assert_eq!(ended.outcome, Outcome::Parked(Park::Panicked));
    stop.send_replace(true);
    assert!(running.await.expect("no panic"));
    assert_eq!(queue.parked.load(Ordering::SeqCst), 1);
}
