//! SIGTERM while messages are in hand: they are finished, and the worker ends with 0.

use replyfleet_tests::{
    wait_for,
    world::{Backing, Mail, Plan, SOON, World},
};

use crate::common::assert_nothing_is_left;

#[test]
fn a_worker_that_is_told_to_stop_finishes_what_it_has_in_hand() {
    let Some(world) = World::start(&Plan { slow_sink_s: Some(1), ..Plan::on(Backing::Embedded) }) else { return };
    for id in ["1@client.example.org", "2@client.example.org"] {
        world.send(&Mail::request(id));
    }
    world.wait_for_handover(2);
    let worker = world.start_worker();
    wait_for("both messages to be in hand", SOON, || (world.in_hand() == 2).then_some(()));
    worker.signal("TERM");
    let status = worker.wait(SOON);
    assert!(status.success(), "{status}");
    assert_eq!(world.replies(4).len(), 4);
    assert_nothing_is_left(&world);
}
