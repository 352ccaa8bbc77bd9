//! A mail whose bytes are no UTF-8 travels as they are, and is answered.

use std::fs;

use replyfleet_tests::world::{Backing, Mail, Plan, SENDER, TWO_REPLIES, World, date};

use crate::common::{assert_both_replies, assert_nothing_is_left};

/// "Здравствуйте" in KOI8-R, undeclared, in the header.
const KOI8_SUBJECT: &[u8] = b"\xfa\xc4\xd2\xc1\xd7\xd3\xd4\xd7\xd5\xca\xd4\xc5";
/// Latin-1 and a stray control byte in the body, lines that begin with dots, and no UTF-8 anywhere.
const LATIN1_BODY: &[u8] = b"Gr\xfc\xdfe, s'il vous pla\xeet\n.\n..x\n\xff\xfe\x01\n";

fn foreign_mail(message_id: &str) -> Vec<u8> {
    let head = format!("From: {SENDER}\nTo: {TWO_REPLIES}\nDate: {}\nMessage-ID: <{message_id}>\nSubject: ", date());
    [head.as_bytes(), KOI8_SUBJECT, b"\n\n", LATIN1_BODY].concat()
}

fn a_mail_in_foreign_bytes_is_queued_as_it_is_and_answered(backing: Backing) {
    let keeping = Plan { instead_of_enqueuer: Some("tee \"$W/wrapped/handed-over\" | \"$ENQUEUE\" \"$@\"\n"), ..Plan::on(backing) };
    let Some(world) = World::start(&keeping) else { return };
    let mail = foreign_mail("foreign@client.example.org");
    world.send(&Mail::of(mail.clone()));
    world.wait_for_handover(1);
    let handed_over = fs::read(world.path("wrapped/handed-over")).expect("what Postfix handed over");
    assert!(handed_over.ends_with(&mail), "Postfix itself changed the mail");
    assert!(world.queued_mail() == handed_over, "the bytes in the queue differ");
    let _worker = world.start_worker();
    assert_both_replies(&world.replies(2), "foreign@client.example.org");
    assert_nothing_is_left(&world);
}

#[test]
fn a_mail_in_foreign_bytes_is_queued_as_it_is_and_answered_on_the_embedded_default() {
    a_mail_in_foreign_bytes_is_queued_as_it_is_and_answered(Backing::Embedded);
}

#[test]
fn a_mail_in_foreign_bytes_is_queued_as_it_is_and_answered_on_sqs_s3_and_ses() {
    a_mail_in_foreign_bytes_is_queued_as_it_is_and_answered(Backing::Aws);
}
