//! Machines' mail gets no reply and leaves nothing behind; a person's mail beside it is answered.

use replyfleet_tests::world::{Backing, Mail, Plan, World};

use crate::common::{assert_both_replies, assert_nothing_is_left};

#[test]
fn mail_from_machines_is_ignored_and_a_request_beside_it_answered() {
    let Some(world) = World::start(&Plan::on(Backing::Embedded)) else { return };
    let machines = [
        Mail::with_fields("Message-ID: <auto@client.example.org>\nAuto-Submitted: auto-replied\n"),
        Mail::with_fields("Message-ID: <list@client.example.org>\nList-Id: People <people.example.org>\n"),
        Mail { from: "", ..Mail::request("bounce@client.example.org") },
    ];
    for mail in &machines {
        world.send(mail);
    }
    world.send(&Mail::request("person@client.example.org"));
    world.wait_for_handover(machines.len() + 1);
    let _worker = world.start_worker();
    assert_both_replies(&world.replies(2), "person@client.example.org");
    assert_nothing_is_left(&world);
    assert_eq!(world.at_the_sink().len(), 2, "only the person was answered");
}
