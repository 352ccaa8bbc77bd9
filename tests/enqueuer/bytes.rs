//! Any bytes that come in lie in the queue or the store, and no others.

use replyfleet::envelope::Mail;

use crate::{
    sqs::{Manner, Sqs},
    world::{INLINE_BYTES_MAX, World, wild_mail},
};

pub(crate) fn mails() -> Vec<Vec<u8>> {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let mut mails: Vec<Vec<u8>> = [
        &b""[..],
        b"\n",
        b"\0",
        b"\r",
        b"\r\n\r\n",
        b"no header and no line end",
        b"bare\rcr\nbare lf\r\n.\r\n..\n",
        b"Subject: \xe9t\xe9\n\n\xff\xfe 8 bit\n",
        b"From someone Fri Nov 20\n>From x\n",
        b"{\"v\":1}\n{\"v\":1}\n",
    ]
    .map(<[u8]>::to_vec)
    .into();
    mails.extend([all_bytes, wild_mail(70_000), vec![0; 66_000]]);
    mails
}

#[test]
fn the_spool_holds_the_bytes_that_came() {
    for mail in mails() {
        let world = World::on_spool();
        world.run().mail(&mail).end().assert_delivered();
        let spooled = world.spooled();
        assert!(spooled.len() == 1 && spooled[0].1 == mail, "{} bytes", mail.len());
    }
}

#[test]
fn sqs_holds_the_bytes_that_came() {
    for mail in mails() {
        let sqs = Sqs::start(Manner::Takes);
        let world = World::on_sqs(&sqs);
        world.run().mail(&mail).end().assert_delivered();
        let taken = sqs.taken();
        assert!(taken.len() == 1 && taken[0].mail == Mail::Inline(mail.clone().into()), "{} bytes", mail.len());
    }
}

#[test]
fn the_store_holds_the_bytes_of_a_mail_too_big_for_the_queue() {
    for bytes in [INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 70_000] {
        let world = World::on_spool_with_claim_checks();
        let mail = wild_mail(bytes);
        world.run().mail(&mail).end().assert_delivered();
        let spooled = world.spooled();
        assert!(spooled.len() == 1 && spooled[0].1 == mail);
        assert_eq!(matches!(spooled[0].0.mail, Mail::Stored(_)), bytes > INLINE_BYTES_MAX, "{bytes} bytes");
    }
}

#[test]
fn a_mail_that_sqs_would_refuse_for_its_size_goes_through_the_store() {
    let sqs = Sqs::start(Manner::Takes);
    let world = World::on_sqs(&sqs);
    world.change_settings("[store]", "message_bytes_max = 20_000\n[store]");
    let mail = wild_mail(16_000);
    world.run().mail(&mail).end().assert_delivered();
    let taken = sqs.taken();
    assert!(matches!(taken[..], [replyfleet::envelope::Envelope { mail: Mail::Stored(_), .. }]), "16 kB in base64 are over 20 kB");
    assert_eq!(world.with_mail(taken[0].clone()).1, mail);
}

#[test]
fn a_second_recipient_and_a_second_mail_have_keys_of_their_own() {
    let world = World::on_spool();
    world.run().end().assert_delivered();
    world.run().argument("--original-recipient=win@example.com").end().assert_delivered();
    world.run().argument("--queue-id=4XyA").end().assert_delivered();
    let mut keys: Vec<_> = world.spooled().into_iter().map(|(envelope, _)| envelope.facts.request_key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 3);
}
