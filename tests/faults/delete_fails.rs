//! Row 31: a message cannot be deleted, or is deleted and comes again all the same. Nobody gets a second copy.

use replyfleet_tests::faults::{Fault, Rule};

use crate::{clouded::OnSqs, running::Running};

const MAILS: usize = 12;

/// Answers some mails while deletes go wrong in this way; each is answered once, and some came again.
fn nobody_gets_a_second_copy(fault: Fault, times: u64) {
    let world = OnSqs::new();
    world.take(MAILS);
    world.sqs.faults().add(Rule::new("DeleteMessage*", fault).times(times));
    let worker = Running::start(&world.installation);
    worker.wait_for_ends("answered", "", MAILS);
    worker.wait_for_ends("duplicate", "", 1);
    world.wait_until_empty();
    assert_eq!((world.replies(), world.sqs.messages("dead").len()), (MAILS, 0));
}

#[test]
fn a_message_that_cannot_be_deleted_comes_again_and_gives_no_copy() {
    // More than the tries of each batch: its messages are left to their leases.
    nobody_gets_a_second_copy(Fault::Answer { status: 500, code: "InternalError".into() }, 40);
}

#[test]
fn a_message_that_comes_again_after_it_was_deleted_gives_no_copy() {
    nobody_gets_a_second_copy(Fault::Replay { ms: 500 }, 3);
}
