//! A mail whose bytes are no UTF-8 travels as they are, and is answered.

use std::fs;

use replyfleet::envelope::{Facts, Mail as Bytes};
use replyfleet_tests::world::{BY_PIPE, Backing, Intake, Mail, Plan, SENDER, TWO_REPLIES, World, date};

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

#[test]
fn a_mail_in_foreign_bytes_by_lmtp_is_queued_as_it_is_and_answered() {
    let Some(world) = World::start(&Plan { intake: Intake::Lmtp, ..Plan::on(Backing::Embedded) }) else { return };
    let mail = foreign_mail("foreign@client.example.org");
    world.send(&Mail::of(mail.clone()));
    world.wait_for_handover(1);
    assert!(world.queued_mail().ends_with(&mail), "the bytes in the queue differ");
    let _worker = world.start_worker();
    assert_both_replies(&world.replies(2), "foreign@client.example.org");
    assert_nothing_is_left(&world);
}

#[test]
fn one_mail_by_lmtp_and_by_the_pipe_has_the_same_bytes_and_facts() {
    let Some(world) = World::start(&Plan { intake: Intake::Lmtp, ..Plan::on(Backing::Embedded) }) else { return };
    let mut mail = foreign_mail("both@client.example.org");
    // Lines that lmtp(8) breaks unless it is told not to, and that smtpd(8) keeps in pieces.
    let strange = b"bare\rcr \x00 nul\n";
    mail.extend([&[b'x'; 998][..], b"\n", &[b'y'; 5000], b"\n.\n", &[b'.'; 3000], b"\n"].concat());
    let kept = mail.clone();
    mail.extend_from_slice(strange);
    world.send(&Mail { to: &format!("{TWO_REPLIES},{BY_PIPE}"), ..Mail::of(mail.clone()) });
    world.wait_for_log("status=sent", 2);
    let mut queued = world.queued();
    queued.sort_by_key(|envelope| envelope.facts.rcpt_to == BY_PIPE);
    assert_eq!(queued.len(), 2);
    assert_eq!((queued[0].facts.rcpt_to.as_str(), queued[1].facts.rcpt_to.as_str()), (TWO_REPLIES, BY_PIPE));
    let bytes = |index: usize| match &queued[index].mail {
        Bytes::Inline(bytes) => bytes.clone(),
        Bytes::Stored(_) => panic!("a small mail travels with its envelope"),
    };
    let is_kept = bytes(0).windows(kept.len()).any(|window| window == kept);
    assert!(is_kept, "Postfix changed more than the line that it may");
    assert!(bytes(0) == bytes(1), "the bytes differ: {} and {}", bytes(0).len(), bytes(1).len());
    let told = |index: usize| {
        let facts = Facts { request_key: String::new(), rcpt_to: String::new(), arrived: Default::default(), ..queued[index].facts.clone() };
        serde_json::to_value(facts).unwrap()
    };
    assert_eq!(told(0), told(1));
    assert!(!queued[0].facts.client_address.is_empty() && !queued[0].facts.helo.is_empty() && queued[0].facts.queue_id.len() > 10);
    world.wait_until_postfix_is_empty();
    world.assert_nothing_bounced();
}
