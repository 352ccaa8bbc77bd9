//! A queue that is away: Postfix keeps the mail, nobody gets a bounce, and the request is answered when the queue is back.

use replyfleet_tests::world::{Backing, Intake, Mail, Plan, World};

use crate::common::{assert_both_replies, assert_nothing_is_left};

fn a_mail_waits_in_postfix_while_the_queue_is_away(backing: Backing, intake: Intake, set_away: impl Fn(&World, bool)) {
    let Some(world) = World::start(&Plan { intake, ..Plan::on(backing) }) else { return };
    set_away(&world, true);
    world.send(&Mail::request("1@client.example.org"));
    world.wait_for_log("dsn=4.3.0, status=deferred", 1);
    assert_eq!(world.mails_in_postfix(), 1);
    set_away(&world, false);
    world.flush_postfix();
    world.wait_for_handover(1);
    let _worker = world.start_worker();
    assert_both_replies(&world.replies(2), "1@client.example.org");
    assert_nothing_is_left(&world);
    assert_eq!(world.at_the_sink().len(), 2, "answered once");
}

#[test]
fn a_mail_waits_in_postfix_while_the_spool_cannot_be_written() {
    a_mail_waits_in_postfix_while_the_queue_is_away(Backing::Embedded, Intake::Pipe, |world, is_away| world.set_spool_owner(!is_away));
}

#[test]
fn a_mail_waits_in_postfix_while_sqs_does_not_answer() {
    // Frozen, it takes the connection and the request, and may act on it when it goes on: answered once all the same.
    a_mail_waits_in_postfix_while_the_queue_is_away(Backing::Aws, Intake::Pipe, |world, is_away| {
        world.daemon("ministack").signal(if is_away { "STOP" } else { "CONT" });
    });
}

#[test]
fn a_mail_by_lmtp_waits_in_postfix_while_the_spool_cannot_be_written() {
    a_mail_waits_in_postfix_while_the_queue_is_away(Backing::Embedded, Intake::Lmtp, |world, is_away| world.set_spool_owner(!is_away));
}

#[test]
fn a_mail_by_lmtp_waits_in_postfix_while_sqs_does_not_answer() {
    a_mail_waits_in_postfix_while_the_queue_is_away(Backing::Aws, Intake::Lmtp, |world, is_away| {
        world.daemon("ministack").signal(if is_away { "STOP" } else { "CONT" });
    });
}

#[test]
fn a_mail_waits_in_postfix_while_the_service_is_away() {
    // Frozen, it takes the connection and says nothing.
    let Some(world) = World::start(&Plan { intake: Intake::Lmtp, ..Plan::on(Backing::Embedded) }) else { return };
    world.daemon("service").signal("STOP");
    world.send(&Mail::request("1@client.example.org"));
    world.wait_for_log("dsn=4.4.2, status=deferred", 1);
    world.daemon("service").signal("CONT");
    world.flush_postfix();
    world.wait_for_handover(1);
    let _worker = world.start_worker();
    assert_both_replies(&world.replies(2), "1@client.example.org");
    assert_nothing_is_left(&world);
}
