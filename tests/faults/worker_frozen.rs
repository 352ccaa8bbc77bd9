//! Row 13: a worker is stopped for longer than its leases and claims last. Others go on with what it had; when it wakes, its
//! claims have lost. A reply that it was sending may come twice, nothing is lost.

use std::collections::HashMap;

use replyfleet_tests::{
    wait_for,
    world::{Backing, Mail, Plan, SOON, World},
};

#[test]
fn a_worker_that_sleeps_past_its_leases_loses_them_and_repeats_at_most_what_it_was_sending() {
    let slow = Plan { slow_sink_s: Some(1), slots: 1, visibility_s: 2, smtp_timeout_s: 3, ..Plan::on(Backing::Embedded) };
    let Some(world) = World::start(&slow) else { return };
    let ids = ["1@client.example.org", "2@client.example.org", "3@client.example.org"];
    for id in ids {
        world.send(&Mail::request(id));
    }
    world.wait_for_handover(ids.len());
    let frozen = world.start_worker();
    wait_for("the first reply at the sink", SOON, || (!world.at_the_sink().is_empty()).then_some(()));
    frozen.signal("STOP");
    let other = world.start_worker();
    world.wait_until_settled();
    frozen.signal("CONT");
    // Awake, it works again, and finishes what it had in hand before it ends.
    frozen.signal("TERM");
    frozen.wait(SOON);
    other.signal("TERM");
    other.wait(SOON);
    assert_eq!(world.depth(), (0, 0));
    let mut copies: HashMap<(String, bool), usize> = HashMap::new();
    for reply in world.at_the_sink() {
        *copies.entry((reply.header("in-reply-to").to_owned(), reply.attachments().is_empty())).or_default() += 1;
    }
    assert_eq!(copies.len(), 2 * ids.len(), "every request has both replies: {copies:?}");
    let twice = copies.values().filter(|&&count| count == 2).count();
    assert!(twice <= 1 && copies.values().all(|&count| count <= 2), "{copies:?}");
}
