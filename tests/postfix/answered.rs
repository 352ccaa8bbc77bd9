//! A request to an address with two replies is answered by both, on either backing, whichever way it comes in.

use replyfleet_tests::world::{Backing, Intake, Mail, Plan, World};

use crate::common::{assert_both_replies, assert_nothing_is_left};

fn a_request_is_answered_by_both_replies(backing: Backing, intake: Intake) {
    let Some(world) = World::start(&Plan { intake, ..Plan::on(backing) }) else { return };
    world.send(&Mail::request("1@client.example.org"));
    world.wait_for_handover(1);
    assert_eq!(world.depth(), (1, 0));
    let _worker = world.start_worker();
    assert_both_replies(&world.replies(2), "1@client.example.org");
    assert_nothing_is_left(&world);
}

#[test]
fn a_request_is_answered_by_both_replies_on_the_embedded_default() {
    a_request_is_answered_by_both_replies(Backing::Embedded, Intake::Pipe);
}

#[test]
fn a_request_is_answered_by_both_replies_on_sqs_s3_and_ses() {
    a_request_is_answered_by_both_replies(Backing::Aws, Intake::Pipe);
}

#[test]
fn a_request_by_lmtp_is_answered_by_both_replies_on_the_embedded_default() {
    a_request_is_answered_by_both_replies(Backing::Embedded, Intake::Lmtp);
}

#[test]
fn a_request_by_lmtp_is_answered_by_both_replies_on_sqs_s3_and_ses() {
    a_request_is_answered_by_both_replies(Backing::Aws, Intake::Lmtp);
}
