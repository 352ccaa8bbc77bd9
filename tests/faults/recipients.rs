//! Row 5: a mail to several of our addresses, and to the same one twice. Each distinct recipient is one request, and the mail
//! is answered once.

use replyfleet_tests::world::{Backing, Mail, Plan, TWO_REPLIES, World};

#[test]
fn a_mail_to_several_recipients_is_a_request_for_each_distinct_one_and_answered_once() {
    let Some(world) = World::start(&Plan::on(Backing::Embedded)) else { return };
    let recipients = format!("{TWO_REPLIES},{TWO_REPLIES},get+fa@responder.test");
    world.send(&Mail { to: &recipients, ..Mail::request("1@client.example.org") });
    world.wait_for_handover(2);
    world.wait_until_postfix_is_empty();
    let mut queued: Vec<_> = world.queued().into_iter().map(|envelope| (envelope.facts.rcpt_to, envelope.facts.request_key)).collect();
    queued.sort_unstable();
    queued.dedup();
    assert_eq!(queued.iter().map(|(recipient, _)| recipient.as_str()).collect::<Vec<_>>(), ["get+fa@responder.test", TWO_REPLIES]);
    let _worker = world.start_worker();
    world.replies(2);
    world.wait_until_settled();
    assert_eq!(world.at_the_sink().len(), 2, "one recipient's replies; the other is answered already");
}
