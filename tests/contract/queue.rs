//! What a [`Queue`] promises.

use std::{
    collections::{HashMap, HashSet},
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use replyfleet::{
    clock::UnixMillis,
    envelope::{Envelope, Facts, Mail},
    queue::{BATCH_MAX, Chosen, Delivery, Limits, Queue, QueueError, Settlement, Unpark, Unreceived, spool::SpoolQueue, sqs::SqsQueue},
};
use replyfleet_tests::{
    eventually,
    ministack::{self, Ministack, free_port, load_aws},
    skipped,
    sqs::Endpoint,
};

/// Of every queue here: short, so that a test can see it pass.
const VISIBILITY: Duration = Duration::from_secs(2);
/// How long a receive waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a receive waits for what must not come: longer than any visibility time-out or delay here.
const NEVER: Duration = Duration::from_secs(3);
/// Whatever is parked was so by then.
const EVER: UnixMillis = UnixMillis(u64::MAX);
/// Clocks of different make may differ by this much.
const TOLERANCE: Duration = Duration::from_millis(50);
/// As the settings' default: what an older SQS queue takes.
const MESSAGE_BYTES_MAX: usize = 262_144;

/// A fresh queue, with two handles as two processes would have.
struct Bed {
    queue: Arc<dyn Queue>,
    other: Arc<dyn Queue>,
    _dir: Option<tempfile::TempDir>,
    _endpoint: Option<Endpoint>,
}

async fn spool() -> Option<Bed> {
    let dir = tempfile::tempdir().expect("temporary folder");
    let open = || Arc::new(SpoolQueue::open(&dir.path().join("spool"), VISIBILITY).expect("spool"));
    Some(Bed { queue: open(), other: open(), _dir: Some(dir), _endpoint: None })
}

async fn sqs() -> Option<Bed> {
    let ministack = Ministack::shared().map_err(|why| skipped(&why.0)).ok()?;
    let name = format!("contract-{}", UnixMillis::now().0 * 1000 + u64::from(rand_suffix()));
    let (url, dead) = (ministack.create_queue(&name).await, ministack.create_queue(&format!("{name}-dead")).await);
    let aws = ministack.aws().await;
    let open = || Arc::new(SqsQueue::new(&aws, &url, &dead, VISIBILITY, MESSAGE_BYTES_MAX));
    Some(Bed { queue: open(), other: open(), _dir: None, _endpoint: None })
}

/// The harness's own endpoint: as the emulator, only faster.
async fn endpoint() -> Option<Bed> {
    let endpoint = Endpoint::start();
    let (url, dead) = (endpoint.create_queue("requests"), endpoint.create_queue("dead"));
    let aws = load_aws(endpoint.endpoint()).await;
    let open = || Arc::new(SqsQueue::new(&aws, &url, &dead, VISIBILITY, MESSAGE_BYTES_MAX));
    Some(Bed { queue: open(), other: open(), _dir: None, _endpoint: Some(endpoint) })
}

/// Tells queues apart that were made in one millisecond.
fn rand_suffix() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

contract! {
    spool by super::spool, sqs by super::sqs, endpoint by super::endpoint;
    any_bytes_survive,
    a_receive_returns_at_most_what_was_asked_for,
    a_received_message_is_invisible_until_its_time_out,
    an_extended_message_stays_invisible,
    a_deleted_message_never_comes_again,
    a_released_message_comes_after_its_delay_and_not_before,
    a_parked_message_leaves_the_queue_and_is_listed_with_its_reason,
    a_replayed_message_comes_again_as_if_it_were_new,
    a_dropped_message_never_comes_again_and_the_others_stay,
    what_is_set_for_the_queue_is_told,
    a_stale_receipt_holds_nothing,
    a_batch_gives_each_message_its_own_result,
    messages_put_together_are_all_there,
    nothing_put_together_is_no_error,
    depth_counts_what_waits_and_what_is_held,
    a_waiting_receive_returns_when_a_message_arrives,
    an_empty_queue_is_no_error,
}

fn envelope(queue_id: &str, mail: &[u8]) -> Envelope {
    let facts = Facts {
        request_key: format!("{queue_id:0>64}"),
        mail_key: format!("{queue_id:0>64}"),
        group: "0123456789abcdef0123456789abcdef".into(),
        mail_from: "requester@example.org".into(),
        rcpt_to: "get@example.com".into(),
        client_address: "198.51.100.7".into(),
        client_name: "client.example.org".into(),
        helo: "client.example.org".into(),
        protocol: "ESMTP".into(),
        tls: String::new(),
        queue_id: queue_id.into(),
        host: "mx1".into(),
        arrived: UnixMillis::now(),
    };
    Envelope { facts, mail: Mail::Inline(Bytes::copy_from_slice(mail)) }
}

async fn put(queue: &dyn Queue, count: usize) {
    for index in 0..count {
        queue.put(&envelope(&format!("Q{index}"), b"Subject: x\n\n")).await.expect("put");
    }
}

/// Puts one message and receives it.
async fn held(bed: &Bed) -> Delivery {
    put(&*bed.queue, 1).await;
    receive_one(&*bed.queue).await
}

async fn receive_one(queue: &dyn Queue) -> Delivery {
    let mut received = queue.receive(BATCH_MAX, PATIENCE).await.expect("receive");
    assert_eq!(received.len(), 1);
    received.remove(0)
}

/// Receives `count` messages, however many calls it takes.
async fn receive_all(queue: &dyn Queue, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        let received = queue.receive(BATCH_MAX, PATIENCE).await.expect("receive");
        assert!(!received.is_empty(), "only {} of {count} came", all.len());
        all.extend(received);
    }
    all
}

async fn assert_nothing_comes(queue: &dyn Queue, wait: Duration) {
    let received = queue.receive(BATCH_MAX, wait).await.expect("receive");
    assert_eq!(received.len(), 0);
}

async fn settle(queue: &dyn Queue, delivery: &Delivery, settlement: Settlement) -> Result<(), QueueError> {
    let mut results = queue.settle(&[(delivery.clone(), settlement)]).await;
    assert_eq!(results.len(), 1);
    results.remove(0)
}

async fn extend(queue: &dyn Queue, delivery: &Delivery) -> Result<(), QueueError> {
    let mut results = queue.extend(std::slice::from_ref(&delivery.receipt)).await;
    assert_eq!(results.len(), 1);
    results.remove(0)
}

async fn any_bytes_survive(bed: &Bed) {
    let all_bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    for mail in [&b""[..], b"\0", b"\r\n.\r\n", b"\xff\xfe\xef\xbf\xbe]]>&amp;\x0b", &all_bytes] {
        let sent = envelope("4XyZ", mail);
        bed.queue.put(&sent).await.expect("put");
        let delivery = receive_one(&*bed.queue).await;
        assert_eq!(Envelope::decode(&delivery.wire).expect("decodes"), sent);
        settle(&*bed.queue, &delivery, Settlement::Delete).await.expect("deleted");
    }
}

async fn a_receive_returns_at_most_what_was_asked_for(bed: &Bed) {
    put(&*bed.queue, 12).await;
    for (max, most) in [(1, 1), (3, 3), (1000, BATCH_MAX)] {
        let received = bed.queue.receive(max, Duration::ZERO).await.expect("receive").len();
        assert!((1..=most).contains(&received), "asked for {max}, got {received}");
    }
}

async fn a_received_message_is_invisible_until_its_time_out(bed: &Bed) {
    put(&*bed.queue, 1).await;
    let start = Instant::now();
    let first = receive_one(&*bed.queue).await;
    assert_eq!(first.receive_count, 1);
    assert_nothing_comes(&*bed.other, Duration::from_secs(1)).await;
    let second = receive_one(&*bed.other).await;
    assert!(start.elapsed() + TOLERANCE >= VISIBILITY, "came again after {:?}", start.elapsed());
    assert_eq!((second.receive_count, second.wire), (2, first.wire));
}

async fn an_extended_message_stays_invisible(bed: &Bed) {
    let delivery = held(bed).await;
    let mut extended = Instant::now();
    for _ in 0..3 {
        assert_nothing_comes(&*bed.other, Duration::from_secs(1)).await;
        extended = Instant::now();
        extend(&*bed.queue, &delivery).await.expect("extended");
    }
    let again = receive_one(&*bed.other).await;
    assert!(extended.elapsed() + TOLERANCE >= VISIBILITY, "came again {:?} after it was extended", extended.elapsed());
    assert_eq!(again.receive_count, 2);
}

async fn a_deleted_message_never_comes_again(bed: &Bed) {
    let delivery = held(bed).await;
    settle(&*bed.queue, &delivery, Settlement::Delete).await.expect("deleted");
    assert_nothing_comes(&*bed.other, NEVER).await;
    let again = settle(&*bed.queue, &delivery, Settlement::Delete).await;
    // Amazon's own answer to a second delete is "done"; the emulator's and the spool's that the receipt is stale.
    assert!(matches!(again, Ok(()) | Err(QueueError::StaleReceipt)), "{again:?}");
}

async fn a_released_message_comes_after_its_delay_and_not_before(bed: &Bed) {
    let mut delivery = held(bed).await;
    for (delay, count) in [(Duration::from_secs(1), 2), (Duration::ZERO, 3), (Duration::from_secs(3), 4)] {
        let start = Instant::now();
        settle(&*bed.queue, &delivery, Settlement::Release(delay)).await.expect("released");
        delivery = receive_one(&*bed.queue).await;
        assert!(start.elapsed() + TOLERANCE >= delay, "released for {delay:?}, came after {:?}", start.elapsed());
        assert!(start.elapsed() < delay + NEVER, "released for {delay:?}, came after {:?}", start.elapsed());
        assert_eq!(delivery.receive_count, count);
    }
}

async fn a_parked_message_leaves_the_queue_and_is_listed_with_its_reason(bed: &Bed) {
    assert_eq!(bed.queue.parked(10).await.expect("list"), []);
    let delivery = held(bed).await;
    settle(&*bed.queue, &delivery, Settlement::Park("unreadable_envelope")).await.expect("parked");
    let listed = bed.other.parked(10).await.expect("list");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].reason.as_str(), listed[0].receive_count), ("unreadable_envelope", 1));
    assert!(listed[0].bytes >= delivery.wire.len() as u64, "{} bytes", listed[0].bytes);
    assert!(!format!("{listed:?}").contains("requester"), "{listed:?}");
    assert_nothing_comes(&*bed.queue, NEVER).await;
    assert_eq!(bed.queue.parked(10).await.expect("list").len(), 1, "looking takes nothing away");
}

/// Parks a message for each of these reasons; returns their ids, in the same order.
async fn parked(bed: &Bed, reasons: &[&'static str]) -> Vec<String> {
    put(&*bed.queue, reasons.len()).await;
    let deliveries = receive_all(&*bed.queue, reasons.len()).await;
    let batch: Vec<_> = deliveries.into_iter().zip(reasons).map(|(delivery, reason)| (delivery, Settlement::Park(reason))).collect();
    assert!(bed.queue.settle(&batch).await.iter().all(Result::is_ok));
    let listed = bed.other.parked(100).await.expect("list");
    assert_eq!(listed.len(), reasons.len());
    let mut left = listed;
    reasons
        .iter()
        .map(|reason| {
            let at = left.iter().position(|parked| parked.reason == *reason).expect("it is listed");
            left.swap_remove(at).id
        })
        .collect()
}

async fn a_replayed_message_comes_again_as_if_it_were_new(bed: &Bed) {
    let ids = parked(bed, &["poison", "mail_missing", "poison"]).await;
    let unpark = async |chosen: Chosen| bed.other.unpark(&chosen, Unpark::Replay, EVER, 10).await.expect("replayed");
    // It looks at every letter, and leaves it where it was.
    assert_eq!(unpark(Chosen::Reason("nobody_says_this".into())).await.len(), 0);
    assert_eq!(bed.queue.parked(10).await.expect("list").len(), 3);
    let long_ago = UnixMillis(UnixMillis::now().0 - 3_600_000);
    assert_eq!(bed.other.unpark(&Chosen::All, Unpark::Replay, long_ago, 10).await.expect("looked").len(), 0, "parked later");
    let replayed = unpark(Chosen::Ids(vec![ids[1].clone(), "no id of ours".into()])).await;
    assert_eq!(replayed.len(), 1);
    let again = receive_one(&*bed.queue).await;
    assert_eq!((again.receive_count, &again.wire, again.is_replayed), (1, &replayed[0], true));
    settle(&*bed.queue, &again, Settlement::Release(Duration::ZERO)).await.expect("released");
    let again = receive_one(&*bed.queue).await;
    assert!(again.is_replayed, "whenever it comes again");
    settle(&*bed.queue, &again, Settlement::Delete).await.expect("deleted");
    assert_eq!(unpark(Chosen::Reason("poison".into())).await.len(), 2);
    assert_eq!(receive_all(&*bed.queue, 2).await.iter().map(|delivery| delivery.receive_count).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(bed.queue.parked(10).await.expect("list"), []);
    assert_eq!(unpark(Chosen::All).await.len(), 0);
}

async fn a_dropped_message_never_comes_again_and_the_others_stay(bed: &Bed) {
    parked(bed, &["poison", "mail_missing", "poison", "panicked"]).await;
    let unpark = async |chosen: Chosen, max: usize| bed.queue.unpark(&chosen, Unpark::Drop, EVER, max).await.expect("dropped").len();
    assert_eq!(unpark(Chosen::Reason("poison".into()), 1).await, 1, "no more than was asked for");
    assert_eq!(unpark(Chosen::Reason("poison".into()), 10).await, 1);
    let mut left: Vec<String> = bed.other.parked(10).await.expect("list").into_iter().map(|parked| parked.reason).collect();
    left.sort_unstable();
    assert_eq!(left, ["mail_missing", "panicked"]);
    assert_eq!(unpark(Chosen::All, 10).await, 2);
    assert_nothing_comes(&*bed.queue, NEVER).await;
    assert_eq!(bed.queue.parked(10).await.expect("list"), []);
}

async fn what_is_set_for_the_queue_is_told(bed: &Bed) {
    let limits = bed.queue.limits().await.expect("limits");
    let days = |duration: Option<Duration>| duration.map(|duration| duration.as_secs() / 86_400);
    // A spool keeps what waits for ever; SQS's own default is four days for every queue.
    assert!([(None, Some(14)), (Some(4), Some(4))].contains(&(days(limits.retention), days(limits.parked_retention))), "{limits:?}");
    assert_eq!(limits.receives_max, None, "no redrive is set here");
}

async fn a_stale_receipt_holds_nothing(bed: &Bed) {
    let stale = held(bed).await;
    let fresh = receive_one(&*bed.other).await;
    for settlement in [Settlement::Delete, Settlement::Release(Duration::ZERO)] {
        let result = settle(&*bed.queue, &stale, settlement).await;
        assert!(matches!(result, Err(QueueError::StaleReceipt)), "{settlement:?}: {result:?}");
    }
    let result = extend(&*bed.queue, &stale).await;
    assert!(matches!(result, Err(QueueError::StaleReceipt)), "extend: {result:?}");
    extend(&*bed.other, &fresh).await.expect("the second receiver still holds it");
    settle(&*bed.other, &fresh, Settlement::Delete).await.expect("and may delete it");
    assert_nothing_comes(&*bed.queue, NEVER).await;
}

async fn a_batch_gives_each_message_its_own_result(bed: &Bed) {
    let gone = held(bed).await;
    settle(&*bed.queue, &gone, Settlement::Delete).await.expect("deleted");
    put(&*bed.queue, 24).await;
    let mut batch: Vec<(Delivery, Settlement)> = Vec::new();
    for (index, delivery) in receive_all(&*bed.queue, 24).await.into_iter().enumerate() {
        batch.push((delivery, [Settlement::Delete, Settlement::Release(Duration::ZERO), Settlement::Park("poison")][index % 3]));
    }
    batch.insert(13, (gone, Settlement::Release(Duration::ZERO)));
    let results = bed.queue.settle(&batch).await;
    assert_eq!(results.len(), 25);
    for (index, result) in results.iter().enumerate() {
        assert_eq!(result.is_err(), index == 13, "{index}: {result:?}");
    }
    assert!(matches!(results[13], Err(QueueError::StaleReceipt)), "{:?}", results[13]);
    assert_eq!(receive_all(&*bed.queue, 8).await.len(), 8, "a third was released");
    assert_eq!(bed.queue.parked(100).await.expect("list").len(), 8, "a third was parked");
    assert_eq!(bed.queue.settle(&[]).await.len(), 0);
}

async fn messages_put_together_are_all_there(bed: &Bed) {
    // More than one call of SQS takes, in number and in bytes.
    let envelopes: Vec<_> = (0..23).map(|index| envelope(&format!("Q{index}"), &vec![index; if index % 5 == 0 { 60_000 } else { 100 }])).collect();
    let results = bed.queue.put_all(&envelopes).await;
    assert_eq!(results.len(), 23);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let mut received: Vec<_> = receive_all(&*bed.other, 23).await.iter().map(|delivery| Envelope::decode(&delivery.wire).expect("whole")).collect();
    assert_nothing_comes(&*bed.other, Duration::ZERO).await;
    let number = |envelope: &Envelope| envelope.facts.queue_id[1..].parse::<usize>().expect("a number");
    received.sort_unstable_by_key(number);
    assert!(received == envelopes, "the bytes differ");
}

async fn nothing_put_together_is_no_error(bed: &Bed) {
    assert_eq!(bed.queue.put_all(&[]).await.len(), 0);
}

async fn depth_counts_what_waits_and_what_is_held(bed: &Bed) {
    let count = async || bed.other.depth().await.expect("depth");
    assert_eq!((count().await.visible, count().await.in_flight), (0, 0));
    put(&*bed.queue, 3).await;
    assert_eq!((count().await.visible, count().await.in_flight), (3, 0));
    let delivery = bed.queue.receive(1, PATIENCE).await.expect("receive").remove(0);
    assert_eq!((count().await.visible, count().await.in_flight), (2, 1));
    settle(&*bed.queue, &delivery, Settlement::Release(Duration::from_secs(60))).await.expect("released");
    // SQS counts what waits for its visibility as in flight; "delayed" are only those that were sent with a delay.
    let depth = count().await;
    assert_eq!((depth.visible, depth.delayed + depth.in_flight), (2, 1));
}

async fn a_waiting_receive_returns_when_a_message_arrives(bed: &Bed) {
    let start = Instant::now();
    let waiting = bed.queue.receive(1, PATIENCE);
    let putting = async {
        assert_nothing_comes(&*bed.other, Duration::from_millis(500)).await; // both wait now
        put(&*bed.other, 1).await;
    };
    let (received, ()) = tokio::join!(waiting, putting);
    assert_eq!(received.expect("receive").len(), 1);
    assert!(start.elapsed() < PATIENCE / 2, "came after {:?}", start.elapsed());
}

async fn an_empty_queue_is_no_error(bed: &Bed) {
    assert_nothing_comes(&*bed.queue, Duration::ZERO).await;
    assert_eq!(bed.queue.settle(&[]).await.len(), 0);
    assert_eq!(bed.queue.extend(&[]).await.len(), 0);
    assert_eq!(bed.queue.visibility(), VISIBILITY);
}

mod spool_only {
    use super::*;

    /// A spool and its folder.
    fn folder() -> (SpoolQueue, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("temporary folder");
        (SpoolQueue::open(dir.path(), VISIBILITY).expect("spool"), dir)
    }

    #[tokio::test]
    async fn the_oldest_is_told_of_those_that_nobody_received_and_a_replayed_one_is_as_if_it_were_put_now() {
        let (queue, dir) = folder();
        let depth = async || queue.depth().await.expect("depth");
        assert_eq!((depth().await.unreceived, depth().await.parked), (Unreceived::Nobody, Some(0)));
        std::fs::write(dir.path().join("new/1790000000000-1790000000000_0123456789abcdef.0"), "of an earlier version").expect("write");
        assert_eq!(depth().await.unreceived, Unreceived::Since(UnixMillis(1_790_000_000_000)));
        let delivery = receive_one(&queue).await;
        assert!(!delivery.is_replayed);
        settle(&queue, &delivery, Settlement::Release(Duration::ZERO)).await.expect("released");
        assert_eq!((depth().await.visible, depth().await.unreceived), (1, Unreceived::Nobody), "it waits for a second receipt");
        let (delivery, before) = (receive_one(&queue).await, UnixMillis::now());
        settle(&queue, &delivery, Settlement::Park("poison")).await.expect("parked");
        assert_eq!(depth().await.parked, Some(1));
        assert_eq!(queue.unpark(&Chosen::All, Unpark::Replay, EVER, 10).await.expect("replayed").len(), 1);
        let Unreceived::Since(put) = depth().await.unreceived else { panic!("it waits") };
        assert!(put >= before && receive_one(&queue).await.is_replayed);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_message_goes_to_exactly_one_of_many_receivers() {
        let (queue, dir) = folder();
        put(&queue, 200).await;
        let mut receivers = Vec::new();
        for _ in 0..4 {
            let handle = SpoolQueue::open(dir.path(), Duration::from_secs(60)).expect("spool");
            receivers.push(tokio::spawn(async move {
                let mut ids = Vec::new();
                loop {
                    let received = handle.receive(3, Duration::from_millis(200)).await.expect("receive");
                    if received.is_empty() {
                        return ids;
                    }
                    ids.extend(received.iter().map(|delivery| Envelope::decode(&delivery.wire).expect("decodes").facts.queue_id));
                }
            }));
        }
        let mut seen: HashMap<String, usize> = HashMap::new();
        for receiver in receivers {
            receiver.await.expect("ended").into_iter().for_each(|id| *seen.entry(id).or_default() += 1);
        }
        assert_eq!(seen.len(), 200);
        assert!(seen.values().all(|&times| times == 1), "{seen:?}");
    }

    #[tokio::test]
    async fn messages_come_in_the_order_of_their_arrival() {
        let (queue, _dir) = folder();
        for index in 0..30 {
            queue.put(&envelope(&format!("Q{index}"), b"")).await.expect("put");
            let put = UnixMillis::now(); // the order holds between milliseconds, not within one
            eventually("the next millisecond", PATIENCE, async || (UnixMillis::now() > put).then_some(())).await;
        }
        let received = receive_all(&queue, 30).await;
        let ids: Vec<_> = received.iter().map(|delivery| Envelope::decode(&delivery.wire).expect("decodes").facts.queue_id).collect();
        assert_eq!(ids, (0..30).map(|index| format!("Q{index}")).collect::<Vec<_>>());
    }

    /// Puts `count` messages of a sender of this group.
    async fn put_from(queue: &SpoolQueue, group: &str, count: usize) {
        for _ in 0..count {
            let mut envelope = envelope("Q", b"");
            envelope.facts.group = group.repeat(32);
            queue.put(&envelope).await.expect("put");
        }
    }

    /// The first letters of the groups of the next `count` messages, as several receivers get them.
    async fn next_groups(receivers: &[&SpoolQueue], count: usize) -> String {
        let mut groups = String::new();
        for receiver in receivers.iter().cycle() {
            for delivery in receiver.receive(2, PATIENCE).await.expect("receive") {
                groups.extend(Envelope::decode(&delivery.wire).expect("decodes").facts.group.chars().next());
            }
            if groups.len() >= count {
                break;
            }
        }
        groups
    }

    /// Of a spool where leases outlive the test.
    fn receiver(dir: &tempfile::TempDir) -> SpoolQueue {
        SpoolQueue::open(dir.path(), Duration::from_secs(600)).expect("spool")
    }

    #[tokio::test]
    async fn a_flooder_does_not_starve_the_others_and_they_do_not_starve_the_flooder() {
        let (queue, dir) = folder();
        put_from(&queue, "f", 1_000).await;
        for other in ["1", "2", "3", "4", "5"] {
            put_from(&queue, other, 1).await;
        }
        let receivers = [receiver(&dir), receiver(&dir), receiver(&dir)];
        let first = next_groups(&receivers.each_ref(), 20).await;
        for other in ["1", "2", "3", "4", "5"] {
            assert_eq!(first.matches(other).count(), 1, "{first}");
        }
        assert!(first.starts_with('f'), "the flooder was first: {first}");
        assert_eq!(first.matches('f').count(), first.len() - 5, "and has every turn that the others leave: {first}");
    }

    #[tokio::test]
    async fn who_comes_while_a_flooder_holds_leases_is_next() {
        let (queue, dir) = folder();
        put_from(&queue, "f", 300).await;
        let (one, two) = (receiver(&dir), receiver(&dir));
        next_groups(&[&one, &two], 40).await;
        put_from(&queue, "1", 2).await;
        put_from(&queue, "2", 2).await;
        // A new process lists now; one that has listed before does so again within moments.
        let next = next_groups(&[&receiver(&dir)], 4).await;
        assert!(["1212", "1221", "2112", "2121"].contains(&next.as_str()), "{next}"); // within a millisecond there is no order
        put_from(&queue, "3", 1).await;
        let has_come = async || next_groups(&[&one], 2).await.contains('3').then_some(());
        eventually("the newcomer at an old receiver", PATIENCE, has_come).await;
    }

    #[tokio::test]
    async fn a_released_message_keeps_its_group_and_an_earlier_versions_name_is_received() {
        let (queue, dir) = folder();
        put_from(&queue, "f", 1).await;
        let delivery = receive_one(&queue).await;
        settle(&queue, &delivery, Settlement::Release(Duration::ZERO)).await.expect("released");
        let names = fs::read_dir(dir.path().join("new")).expect("folder");
        let names: Vec<String> = names.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8")).collect();
        assert!(names.len() == 1 && names[0].contains("_ffffffff_") && names[0].ends_with(".1"), "{names:?}");
        fs::write(dir.path().join("new/1790000000000-1790000000000_0123456789abcdef.3"), envelope("old", b"").encode()).expect("write");
        let counts: Vec<u32> = receive_all(&queue, 2).await.iter().map(|delivery| delivery.receive_count).collect();
        assert!(counts.contains(&4) && counts.contains(&2), "{counts:?}");
    }

    #[tokio::test]
    async fn no_file_name_speaks_of_the_requester() {
        let (queue, dir) = folder();
        put(&queue, 3).await;
        let held = queue.receive(2, PATIENCE).await.expect("receive");
        settle(&queue, &held[0], Settlement::Park("poison")).await.expect("parked");
        let names: Vec<String> = ["tmp", "new", "cur", "parked"]
            .iter()
            .flat_map(|folder| fs::read_dir(dir.path().join(folder)).expect("folder"))
            .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
            .collect();
        assert_eq!(names.len(), 3);
        for name in names {
            let word = name.strip_suffix(".poison").unwrap_or(&name);
            assert!(word.chars().all(|letter| letter.is_ascii_hexdigit() || "-_.".contains(letter)), "{name}");
        }
    }

    #[tokio::test]
    async fn a_half_written_message_is_not_delivered() {
        let (queue, dir) = folder();
        fs::write(dir.path().join("tmp/1790000000000_00"), b"half").expect("write");
        assert_nothing_comes(&queue, Duration::from_secs(1)).await;
        assert_eq!(queue.depth().await.expect("depth").visible, 0);
    }

    /// What a power cut can leave of a message that was not yet accepted: its name, with no bytes, with some, or with blocks
    /// that were never written.
    #[tokio::test]
    async fn a_file_that_was_cut_before_it_was_accepted_goes_and_its_mail_that_comes_again_is_delivered_once() {
        let whole = envelope("Q0", &[b'x'; 9_000]);
        let wire = whole.encode();
        let holed = [&wire[..512], &vec![0; wire.len() - 512][..]].concat();
        for left in [&[][..], &wire[..1], &wire[..wire.len() - 1], &holed] {
            let (queue, dir) = folder();
            queue.put(&whole).await.expect("put");
            fs::write(only_file(&dir, "new"), left).expect("cut");
            assert_nothing_comes(&queue, Duration::from_millis(600)).await;
            let depth = queue.depth().await.expect("depth");
            assert_eq!((depth.visible, depth.delayed, depth.in_flight), (0, 0, 0), "{} bytes", left.len());
            assert!(queue.parked(10).await.expect("parked").is_empty());

            queue.put(&whole).await.expect("its sender comes again");
            assert_eq!(receive_all(&queue, 1).await.remove(0).wire, wire);
            assert_nothing_comes(&queue, Duration::from_millis(600)).await;

            // What is put aside stays for a day and a half.
            let aside = only_file(&dir, "tmp");
            let successor = || SpoolQueue::open(dir.path(), VISIBILITY).expect("spool");
            successor().receive(1, Duration::ZERO).await.expect("receive");
            assert!(aside.exists());
            let long_ago = std::time::SystemTime::now() - Duration::from_secs(37 * 3600);
            fs::File::open(&aside).and_then(|file| file.set_modified(long_ago)).expect("aged");
            successor().receive(1, Duration::ZERO).await.expect("receive");
            assert!(!aside.exists());
        }
    }

    #[tokio::test]
    async fn a_file_whose_bytes_changed_is_delivered_as_no_envelope_to_be_parked() {
        let (queue, dir) = folder();
        put(&queue, 1).await;
        let path = only_file(&dir, "new");
        let mut wire = fs::read(&path).expect("read");
        *wire.last_mut().expect("a byte") ^= 1;
        fs::write(&path, &wire).expect("damaged");
        let delivery = receive_one(&queue).await;
        assert!(delivery.wire.is_empty());
        settle(&queue, &delivery, Settlement::Park("poison")).await.expect("parked");
        assert_eq!(fs::read(only_file(&dir, "parked")).expect("read"), wire, "for people to see");
    }

    fn only_file(dir: &tempfile::TempDir, folder: &str) -> std::path::PathBuf {
        let files: Vec<_> = fs::read_dir(dir.path().join(folder)).expect("folder").map(|entry| entry.expect("entry").path()).collect();
        assert_eq!(files.len(), 1, "{folder}: {files:?}");
        files[0].clone()
    }

    #[tokio::test]
    async fn a_killed_receivers_message_is_received_by_a_new_process() {
        let (queue, dir) = folder();
        put(&queue, 1).await;
        drop(receive_one(&queue).await);
        drop(queue);
        let successor = SpoolQueue::open(dir.path(), VISIBILITY).expect("spool");
        assert_eq!(receive_one(&successor).await.receive_count, 2);
    }

    #[tokio::test]
    async fn a_spool_that_cannot_be_is_refused() {
        let (_queue, dir) = folder();
        fs::write(dir.path().join("file"), b"").expect("write");
        let error = SpoolQueue::open(&dir.path().join("file/spool"), VISIBILITY).err();
        assert!(matches!(error, Some(QueueError::Refused(_))), "{error:?}");
    }
}

mod sqs_only {
    use super::*;

    #[tokio::test]
    async fn of_messages_put_together_one_that_fails_fails_alone() {
        let Some(bed) = super::sqs().await else { return };
        let mut envelopes: Vec<_> = (0..12).map(|index| envelope(&format!("Q{index}"), b"x")).collect();
        envelopes[7].mail = Mail::Inline(vec![0; MESSAGE_BYTES_MAX].into());
        let results = bed.queue.put_all(&envelopes).await;
        assert!(matches!(results[7], Err(QueueError::TooBig { .. })), "{:?}", results[7]);
        let failed: Vec<usize> = (0..12).filter(|&index| results[index].is_err()).collect();
        assert_eq!(failed, [7], "{results:?}");
        let received = receive_all(&*bed.queue, 11).await;
        let ids: HashSet<String> = received.iter().map(|delivery| Envelope::decode(&delivery.wire).expect("whole").facts.queue_id).collect();
        assert!(ids.len() == 11 && !ids.contains("Q7"), "{ids:?}");
        assert_nothing_comes(&*bed.queue, Duration::ZERO).await;
    }

    #[tokio::test]
    async fn a_message_that_does_not_fit_is_too_big_and_not_sent() {
        let Some(bed) = sqs().await else { return };
        let result = bed.queue.put(&envelope("Q", &[b'x'; 200_000])).await;
        assert!(matches!(result, Err(QueueError::TooBig { max: MESSAGE_BYTES_MAX, .. })), "{result:?}");
        assert_eq!(bed.queue.depth().await.expect("depth").visible, 0);
        bed.queue.put(&envelope("Q", &[b'x'; 190_000])).await.expect("the settings' default for what travels inline fits");
    }

    #[tokio::test]
    async fn a_message_is_in_its_senders_group_so_that_the_queue_is_fair() {
        use aws_sdk_sqs::types::MessageSystemAttributeName::MessageGroupId;
        let Ok(ministack) = Ministack::shared().map_err(|why| skipped(&why.0)) else { return };
        let (url, aws) = (ministack.create_queue("contract-fair").await, ministack.aws().await);
        let queue = SqsQueue::new(&aws, &url, &url, VISIBILITY, MESSAGE_BYTES_MAX);
        let with_group = envelope("Q", b"");
        let mut without = with_group.clone();
        without.facts.group.clear();
        let client = aws_sdk_sqs::Client::new(aws.config());
        for (envelope, want) in [(&with_group, Some(with_group.facts.group.clone())), (&without, None)] {
            queue.put(envelope).await.expect("put");
            let receive = client.receive_message().queue_url(&url).wait_time_seconds(5).message_system_attribute_names(MessageGroupId);
            let message = receive.send().await.expect("receive").messages.and_then(|mut messages| messages.pop()).expect("a message");
            assert_eq!(message.attributes().and_then(|attributes| attributes.get(&MessageGroupId)).cloned(), want);
            client.delete_message().queue_url(&url).receipt_handle(message.receipt_handle().expect("held")).send().await.expect("deleted");
        }
    }

    #[tokio::test]
    async fn how_often_the_queue_lets_a_message_be_received_is_told() {
        use aws_sdk_sqs::types::QueueAttributeName::{MaximumMessageSize, MessageRetentionPeriod, RedrivePolicy};
        let Ok(ministack) = Ministack::shared().map_err(|why| skipped(&why.0)) else { return };
        let (url, dead, aws) = (ministack.create_queue("limits").await, ministack.create_queue("limits-dead").await, ministack.aws().await);
        let policy = format!(r#"{{"deadLetterTargetArn":"arn:aws:sqs:{}:000000000000:limits-dead","maxReceiveCount":"1000"}}"#, ministack::REGION);
        let client = aws_sdk_sqs::Client::new(aws.config());
        let set = client.set_queue_attributes().queue_url(&url).attributes(MessageRetentionPeriod, "1209600").attributes(RedrivePolicy, policy);
        set.attributes(MaximumMessageSize, "262144").send().await.expect("set");
        let limits = SqsQueue::new(&aws, &url, &dead, VISIBILITY, MESSAGE_BYTES_MAX).limits().await.expect("limits");
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        let want = Limits { retention: days(14), parked_retention: days(4), receives_max: Some(1_000), message_bytes_max: Some(262_144) };
        assert_eq!(limits, want);
    }

    #[tokio::test]
    async fn a_queue_that_is_not_there_refuses() {
        let Ok(ministack) = Ministack::shared().map_err(|why| skipped(&why.0)) else { return };
        let url = ministack.queue_url("nobody-made-this");
        let queue = SqsQueue::new(&ministack.aws().await, &url, &url, VISIBILITY, MESSAGE_BYTES_MAX);
        let put = queue.put(&envelope("Q", b"")).await;
        assert!(matches!(put, Err(QueueError::Refused(_))), "{put:?}");
        let received = queue.receive(1, Duration::ZERO).await.map(|received| received.len());
        assert!(matches!(received, Err(QueueError::Refused(_))), "{received:?}");
        let depth = queue.depth().await;
        assert!(matches!(depth, Err(QueueError::Refused(_))), "{depth:?}");
    }

    #[tokio::test]
    async fn an_endpoint_that_is_away_is_unavailable() {
        let endpoint = format!("http://127.0.0.1:{}", free_port());
        let url = format!("{endpoint}/000000000000/queue");
        let queue = SqsQueue::new(&load_aws(endpoint).await, &url, &url, VISIBILITY, MESSAGE_BYTES_MAX);
        let put = queue.put(&envelope("Q", b"")).await;
        assert!(matches!(put, Err(QueueError::Unavailable(_))), "{put:?}");
        let received = queue.receive(1, Duration::ZERO).await.map(|received| received.len());
        assert!(matches!(received, Err(QueueError::Unavailable(_))), "{received:?}");
    }
}
