//! Row 16: one of a batch cannot be read, and every batch call fails for some of its entries. The others are done and gone;
//! each entry that failed is tried again by itself.

use replyfleet_tests::{
    faults::{Fault, Rule},
    ministack::load_aws,
};

use crate::{clouded::OnSqs, running::Running};

const MAILS: usize = 29;

#[test]
fn one_bad_message_and_failing_entries_keep_nobody_from_an_answer() {
    let world = OnSqs::new();
    world.take(MAILS);
    put_no_envelope(&world);
    world.sqs.faults().add(Rule::new("DeleteMessageBatch", Fault::FailEntries { every: 3 }).times(6));
    world.sqs.faults().add(Rule::new("ChangeMessageVisibilityBatch", Fault::FailEntries { every: 2 }).times(6));
    let worker = Running::start(&world.installation);
    world.wait_until_empty();
    assert_eq!((world.replies(), world.sqs.messages("dead").len()), (MAILS, 1));
    assert!(worker.lines("a message cannot be settled yet").len() > 1, "each entry that failed was seen");
}

fn put_no_envelope(world: &OnSqs) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = aws_sdk_sqs::Client::new(load_aws(world.sqs.endpoint()).await.config());
        client.send_message().queue_url(world.sqs.queue_url("requests")).message_body("bm8gZW52ZWxvcGU=").send().await.unwrap();
    });
}
