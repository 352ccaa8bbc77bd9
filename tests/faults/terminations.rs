//! Row 33: workers that are told to stop, or killed, at random moments while mail flows. Nothing is lost, and no reply has more
//! than two copies; a worker that was only told to stop repeats none.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use replyfleet_tests::world::{Backing, Mail, Plan, World};

use crate::bed::{Bed, PATIENCE};

const TERMINATIONS: usize = 20;
const MAILS_EACH: usize = 4;

/// A seed, which is printed, and numbers from it (xorshift64).
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
        let seed = std::env::var("REPLYFLEET_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(u64::from(seed) | 1);
        eprintln!("REPLYFLEET_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn twenty_random_terminations_under_load_lose_nothing_and_repeat_at_most_once() {
    let plan = Plan { visibility_s: 2, smtp_timeout_s: 3, slots: 4, slow_sink_s: Some(1), ..Plan::on(Backing::Embedded) };
    let Some(world) = World::start(&plan) else { return };
    let mut chance = Chance::new();
    let mut worker = world.start_worker();
    let (mut mails, mut kills) = (0, 0);
    for _ in 0..TERMINATIONS {
        for _ in 0..MAILS_EACH {
            world.send(&Mail::request(&format!("{mails}@client.example.org")));
            mails += 1;
        }
        // The moment is what is random here, not something that is waited for.
        std::thread::park_timeout(Duration::from_millis(chance.below(1_500)));
        if chance.below(2) == 0 {
            kills += 1;
            worker.kill();
        } else {
            worker.signal("TERM");
            let status = worker.wait(PATIENCE);
            assert!(status.success(), "{status}");
        }
        worker = world.start_worker();
    }
    // What a killed worker had claimed waits until that claim has run out, perhaps twice; and all that it had in hand is worked
    // on one at a time, in a process each.
    let deadline = std::time::Instant::now() + Duration::from_secs(180);
    while world.depth().0 > 0 && std::time::Instant::now() < deadline {
        std::thread::park_timeout(Duration::from_millis(200));
    }
    world.wait_until_settled();
    let mut copies: HashMap<(String, bool), usize> = HashMap::new();
    for reply in world.at_the_sink() {
        assert_eq!(reply.defects, [""; 0]);
        *copies.entry((reply.header("in-reply-to").to_owned(), reply.attachments().is_empty())).or_default() += 1;
    }
    assert_eq!(copies.len(), 2 * mails, "every request has both replies");
    assert!(copies.values().all(|count| *count <= 2), "{copies:?}");
    let repeated = copies.values().filter(|count| **count == 2).count();
    assert!(repeated <= kills * (plan.slots + 1), "only what a killed worker was sending: {repeated} of {kills} kills");
    worker.signal("TERM");
    assert!(worker.wait(PATIENCE).success());
}

/// A relay that takes a connection and says nothing, so that a send hangs.
fn silent_relay() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().flatten() {
            held.push(stream);
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_ends_in_its_time_and_a_second_signal_ends_it_at_once() {
    let relay = format!(
        "database.url = \"sqlite:DIR/ledger.db\"\nsend.SES = {{ kind = \"smtp\", host = \"127.0.0.1\", port = {}, tls = \"none\", timeout_s = 60 }}",
        silent_relay()
    );
    let bed = Bed::new(&relay);
    // Another's, since what the first worker has in hand stays hidden for a while.
    let other = Bed::new(&relay);
    let text = std::fs::read_to_string(bed.path("replyfleet.toml")).unwrap().replace("stop_timeout_s = 20", "stop_timeout_s = 2");
    std::fs::write(bed.path("replyfleet.toml"), text).unwrap();
    for number in 0..4 {
        bed.put(number).await;
        other.put(number).await;
    }
    let mut worker = bed.start_ready();
    replyfleet_tests::wait_for("messages in hand", PATIENCE, || (bed.depth().1 == 4).then_some(()));
    let start = std::time::Instant::now();
    worker.signal("TERM");
    // What is being sent may have been sent: it is not given back, and the worker says so by its status.
    assert_eq!(worker.wait(PATIENCE).code(), Some(1));
    assert!(start.elapsed() > Duration::from_secs(2) && start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());

    let mut worker = other.start_ready();
    replyfleet_tests::wait_for("messages in hand", PATIENCE, || (other.depth().1 == 4).then_some(()));
    let start = std::time::Instant::now();
    worker.signal("TERM");
    worker.wait_until_logged(&["a second signal ends at once"]);
    worker.signal("TERM");
    assert_eq!(worker.wait(PATIENCE).code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(10), "well before its own time of twenty: {:?}", start.elapsed());
}
