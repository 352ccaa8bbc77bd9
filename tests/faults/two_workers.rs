//! Row 14: the same message at two workers at once. Each reply is sent by one of them.

use replyfleet_tests::faults::{Fault, Rule};

use crate::{
    clouded::OnSqs,
    running::{Running, names},
};

const MAILS: usize = 40;

#[test]
fn a_message_that_two_workers_have_at_once_is_answered_by_one_of_them() {
    let world = OnSqs::new();
    world.take(MAILS);
    world.sqs.faults().add(Rule::new("ReceiveMessage", Fault::Duplicate).times(20));
    let (_one, _other) = (Running::start(&world.installation), Running::start(&world.installation));
    world.wait_until_empty();
    assert_eq!(world.replies(), MAILS);
    assert!(names(&world.installation, "replies/tmp").is_empty());
    assert!(world.sqs.faults().happened().values().sum::<u64>() > 0, "some were given twice");
}
