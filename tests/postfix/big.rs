//! A mail too big for the queue goes through the store, and is gone from there when it was answered.

use replyfleet_tests::world::{Backing, Mail, Plan, SENDER, TWO_REPLIES, World, date};

use crate::common::{assert_both_replies, assert_nothing_is_left};

/// A mail with a text attachment of 3 MB.
fn big_mail(message_id: &str) -> Vec<u8> {
    let mut mail = format!(
        "From: {SENDER}\nTo: {TWO_REPLIES}\nSubject: with a log\nDate: {}\nMessage-ID: <{message_id}>\nMIME-Version: 1.0\n\
         Content-Type: multipart/mixed; boundary=\"=-x\"\n\n--=-x\nContent-Type: text/plain\n\nplease\n\
         --=-x\nContent-Type: text/plain\nContent-Disposition: attachment; filename=\"log.txt\"\n\n",
        date()
    );
    while mail.len() < 3 << 20 {
        mail.push_str("nothing worth reading, line by line, until three megabytes are full\n");
    }
    mail.push_str("--=-x--\n");
    mail.into_bytes()
}

fn a_big_mail_is_answered_and_forgotten(backing: Backing) {
    let Some(world) = World::start(&Plan::on(backing)) else { return };
    world.send(&Mail::of(big_mail("big@client.example.org")));
    world.wait_for_handover(1);
    assert_eq!((world.depth(), world.claim_checks().len()), ((1, 0), 1));
    let _worker = world.start_worker();
    assert_both_replies(&world.replies(2), "big@client.example.org");
    assert_nothing_is_left(&world);
}

#[test]
fn a_big_mail_is_answered_and_forgotten_on_the_embedded_default() {
    a_big_mail_is_answered_and_forgotten(Backing::Embedded);
}

#[test]
fn a_big_mail_is_answered_and_forgotten_on_sqs_s3_and_ses() {
    a_big_mail_is_answered_and_forgotten(Backing::Aws);
}
