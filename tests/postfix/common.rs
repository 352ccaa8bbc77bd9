//! What several scenarios assert.

use replyfleet_tests::world::{Reply, SENDER, World, attachments};

/// These are the two replies to the request with this Message-ID, without a defect, with the attachments byte for byte.
pub(crate) fn assert_both_replies(replies: &[Reply], message_id: &str) {
    assert_eq!(replies.len(), 2);
    for reply in replies {
        assert_eq!(reply.defects, [""; 0]);
        assert_eq!(reply.rcpt_to, format!("<{SENDER}>"));
        // SES puts its own address there.
        assert!(reply.mail_from.starts_with("<bounce+") || reply.mail_from == "<ses@ses.example>", "{}", reply.mail_from);
        assert_eq!(reply.header("auto-submitted"), "auto-replied");
        assert_eq!(reply.header("in-reply-to"), format!("<{message_id}>"));
    }
    let (with, without): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| !reply.attachments().is_empty());
    assert_eq!((with.len(), without.len()), (1, 1));
    assert!(without[0].texts["text/plain"].contains("پیوندها"), "{:?}", without[0].texts);
    assert!(without[0].texts["text/html"].contains("https://example.com/"), "{:?}", without[0].texts);
    let found = with[0].attachments().into_iter().collect();
    let wanted: std::collections::HashMap<String, Vec<u8>> = attachments().into_iter().map(|(name, content)| (name.to_owned(), content)).collect();
    assert!(
        wanted == found,
        "the attachments differ: {:?}",
        with[0].attachments().iter().map(|(name, content)| (name.clone(), content.len())).collect::<Vec<_>>()
    );
}

/// Waits until all is over, and nothing is left anywhere.
pub(crate) fn assert_nothing_is_left(world: &World) {
    world.wait_until_settled();
    world.wait_until_postfix_is_empty();
    world.assert_nothing_bounced();
    assert_eq!(world.claim_checks(), [""; 0]);
}
