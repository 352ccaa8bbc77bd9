//! `kill -9` of a worker while the relay has a reply and has not said so: every request is answered, and only the reply
//! in question may come twice.

use std::collections::HashMap;

use replyfleet_tests::{
    wait_for,
    world::{Backing, Mail, Plan, SOON, World},
};

use crate::common::assert_nothing_is_left;

#[test]
fn a_killed_worker_loses_nothing_and_repeats_at_most_the_reply_it_was_sending() {
    // One slot: exactly one reply is under way when the worker dies.
    let slow = Plan { slow_sink_s: Some(1), slots: 1, visibility_s: 2, smtp_timeout_s: 3, ..Plan::on(Backing::Embedded) };
    let Some(world) = World::start(&slow) else { return };
    let ids = ["1@client.example.org", "2@client.example.org", "3@client.example.org"];
    for id in ids {
        world.send(&Mail::request(id));
    }
    world.wait_for_handover(ids.len());
    let worker = world.start_worker();
    wait_for("the first reply at the sink", SOON, || (!world.at_the_sink().is_empty()).then_some(()));
    worker.kill();

    let _successor = world.start_worker();
    world.wait_until_settled();
    assert_nothing_is_left(&world);
    let mut copies: HashMap<(String, bool), usize> = HashMap::new();
    for reply in world.at_the_sink() {
        assert_eq!(reply.defects, [""; 0]);
        *copies.entry((reply.header("in-reply-to").to_owned(), reply.attachments().is_empty())).or_default() += 1;
    }
    assert_eq!(copies.len(), 2 * ids.len(), "every request has both replies: {copies:?}");
    let twice = copies.values().filter(|&&count| count == 2).count();
    assert!(twice <= 1 && copies.values().all(|&count| count <= 2), "{copies:?}");
}
