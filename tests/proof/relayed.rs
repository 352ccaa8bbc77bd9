//! A relay changes nothing: below the Received fields that it adds, a reply arrives as the worker sent it.

use crate::run::{Sent, replies};

/// The mail below the Received fields on top, and how many these are.
fn without_received(mail: &[u8]) -> (usize, &[u8]) {
    let (mut rest, mut fields) = (mail, 0);
    while rest.starts_with(b"Received:") {
        fields += 1;
        let is_next = |window: &[u8]| window[0] == b'\n' && !matches!(window[1], b' ' | b'\t');
        let end = rest.windows(2).position(is_next).expect("a mail is more than its Received fields");
        rest = &rest[end + 1..];
    }
    (fields, rest)
}

#[test]
fn postfix_relays_every_reply_without_changing_a_byte() {
    let Some(replies) = replies() else { return };
    for reply @ Sent { wire, arrived, .. } in replies {
        let (received, arrived) = without_received(arrived);
        assert!(received >= 2, "{}: Postfix and the sink each add a field", reply.name());
        // The sink writes LF. That the worker sent CRLF, and neither of both alone, is asked elsewhere.
        let sent = String::from_utf8_lossy(wire).replace("\r\n", "\n");
        let arrived = String::from_utf8_lossy(arrived);
        if let Some((sent, arrived)) = sent.split('\n').zip(arrived.split('\n')).find(|(sent, arrived)| sent != arrived) {
            panic!("{}: {sent:?} arrived as {arrived:?}", reply.name());
        }
        assert_eq!(sent.len(), arrived.len(), "{}: lines are missing or were added", reply.name());
    }
}
