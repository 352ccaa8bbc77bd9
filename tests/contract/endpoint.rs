//! The harness's SQS endpoint does what its knobs say, and keeps to SQS's limits. That it is a queue at all is the
//! contract's business (`queue`), on the same terms as the emulator.

use std::time::{Duration, Instant};

use aws_sdk_sqs::{Client, error::ProvideErrorMetadata, types::SendMessageBatchRequestEntry};
use replyfleet_tests::{
    faults::{Fault, Rule},
    ministack::load_aws,
    sqs::Endpoint,
};

/// An endpoint with a queue, its URL, and a client.
async fn bed() -> (Endpoint, String, Client) {
    let endpoint = Endpoint::start();
    let url = endpoint.create_queue("requests");
    let client = Client::new(load_aws(endpoint.endpoint()).await.config());
    (endpoint, url, client)
}

async fn send(client: &Client, url: &str, body: &str) -> Result<(), String> {
    let sent = client.send_message().queue_url(url).message_body(body).send().await;
    sent.map(drop).map_err(|error| error.code().unwrap_or("no answer").to_owned())
}

/// Receives up to ten messages, hidden for `visibility_s`: receipts.
async fn receive(client: &Client, url: &str, visibility_s: i32) -> Vec<String> {
    let call = client.receive_message().queue_url(url).max_number_of_messages(10).visibility_timeout(visibility_s);
    let messages = call.send().await.expect("receive").messages.unwrap_or_default();
    messages.into_iter().map(|message| message.receipt_handle.expect("a receipt")).collect()
}

async fn delete(client: &Client, url: &str, receipt: &str) -> Result<(), String> {
    let deleted = client.delete_message().queue_url(url).receipt_handle(receipt).send().await;
    deleted.map(drop).map_err(|error| error.code().unwrap_or("no answer").to_owned())
}

fn entries(count: usize, body: &str) -> Vec<SendMessageBatchRequestEntry> {
    (0..count).map(|index| SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(body).build().expect("complete")).collect()
}

#[tokio::test]
async fn a_fault_happens_as_often_as_it_is_asked_for_and_then_no_more() {
    let (endpoint, url, client) = bed().await;
    endpoint.faults().add(Rule::new("SendMessage", Fault::Answer { status: 400, code: "RequestThrottled".into() }).times(1));
    endpoint.faults().add(Rule::new("Send*", Fault::Answer { status: 503, code: "ServiceUnavailable".into() }).times(1));
    assert_eq!(send(&client, &url, "x").await, Err("RequestThrottled".into()));
    assert_eq!(send(&client, &url, "x").await, Err("ServiceUnavailable".into()));
    assert_eq!(endpoint.depth("requests").visible, 0);
    assert_eq!(send(&client, &url, "x").await, Ok(()));
    assert_eq!(endpoint.messages("requests"), ["x"]);
    let happened: Vec<(String, u64)> = endpoint.faults().happened().into_iter().collect();
    assert_eq!(happened, [("SendMessage 400 RequestThrottled".into(), 1), ("SendMessage 503 ServiceUnavailable".into(), 1)]);
    assert_eq!(endpoint.calls("SendMessage"), 3);
}

#[tokio::test]
async fn a_cut_before_has_no_effect_and_a_cut_after_has() {
    let (endpoint, url, client) = bed().await;
    for (fault, depth) in [(Fault::CutBefore, 0), (Fault::ActThenCut, 1)] {
        endpoint.faults().add(Rule::new("SendMessage", fault).times(1));
        assert_eq!(send(&client, &url, "x").await, Err("no answer".into()));
        assert_eq!(endpoint.depth("requests").visible, depth);
    }
}

#[tokio::test]
async fn a_black_hole_is_silent_and_a_delay_is_late() {
    let (endpoint, url, client) = bed().await;
    endpoint.faults().add(Rule::new("SendMessage", Fault::BlackHole).times(1));
    let limit = Duration::from_millis(300);
    assert!(tokio::time::timeout(limit, send(&client, &url, "x")).await.is_err(), "it answered");
    let delay = endpoint.faults().add(Rule::new("SendMessage", Fault::Delay { ms: 300 }));
    let start = Instant::now();
    assert_eq!(send(&client, &url, "x").await, Ok(()));
    assert!(start.elapsed() >= limit, "only {:?}", start.elapsed());
    endpoint.faults().remove(delay);
    assert_eq!(endpoint.depth("requests").visible, 1);
}

#[tokio::test]
async fn a_duplicate_is_given_to_two_receivers_and_a_replay_comes_after_its_delete() {
    let (endpoint, url, client) = bed().await;
    endpoint.faults().add(Rule::new("ReceiveMessage", Fault::Duplicate).times(1));
    endpoint.faults().add(Rule::new("DeleteMessage", Fault::Replay { ms: 0 }).times(1));
    send(&client, &url, "x").await.expect("sent");
    let (one, two) = (receive(&client, &url, 60).await, receive(&client, &url, 60).await);
    assert_eq!((one.len(), two.len()), (1, 1));
    assert_eq!(delete(&client, &url, &one[0]).await, Ok(()));
    assert_eq!(delete(&client, &url, &two[0]).await, Ok(()));
    let replayed = receive(&client, &url, 60).await;
    assert_eq!(replayed.len(), 1);
    assert_eq!(delete(&client, &url, &replayed[0]).await, Ok(()));
    assert_eq!(endpoint.stored("requests").len(), 0);
}

#[tokio::test]
async fn a_stale_receipt_deletes_nothing_whether_it_says_so_or_not() {
    let (endpoint, url, client) = bed().await;
    endpoint.faults().add(Rule::new("ReceiveMessage", Fault::StaleReceipt).times(1));
    send(&client, &url, "x").await.expect("sent");
    let stale = receive(&client, &url, 60).await;
    assert_eq!(delete(&client, &url, &stale[0]).await, Err("ReceiptHandleIsInvalid".into()));
    endpoint.faults().add(Rule::new("DeleteMessage", Fault::SilentStaleDelete));
    assert_eq!(delete(&client, &url, &stale[0]).await, Ok(()));
    assert_eq!(endpoint.depth("requests").in_flight, 1);
}

#[tokio::test]
async fn a_batch_fails_in_parts() {
    let (endpoint, url, client) = bed().await;
    endpoint.faults().add(Rule::new("SendMessageBatch", Fault::FailEntries { every: 3 }).times(1));
    let output = client.send_message_batch().queue_url(&url).set_entries(Some(entries(10, "x"))).send().await.expect("answered");
    let failed: Vec<&str> = output.failed().iter().map(aws_sdk_sqs::types::BatchResultErrorEntry::id).collect();
    assert_eq!((failed, output.successful().len()), (vec!["2", "5", "8"], 7));
    assert_eq!(endpoint.depth("requests").visible, 7);
}

#[tokio::test]
async fn a_message_that_was_received_too_often_goes_to_the_dead_letters() {
    let (endpoint, url, client) = bed().await;
    endpoint.create_queue("dead");
    endpoint.redrive("requests", "dead", 2);
    send(&client, &url, "x").await.expect("sent");
    for _ in 0..2 {
        let receipts = receive(&client, &url, 60).await;
        assert_eq!(receipts.len(), 1);
        let release = client.change_message_visibility().queue_url(&url).receipt_handle(&receipts[0]).visibility_timeout(0);
        release.send().await.expect("released");
    }
    assert_eq!(receive(&client, &url, 60).await.len(), 0);
    assert_eq!((endpoint.depth("requests").visible, endpoint.messages("dead")), (0, vec!["x".to_owned()]));
}

#[tokio::test]
async fn what_is_too_large_or_no_text_is_refused() {
    let (endpoint, url, client) = bed().await;
    endpoint.set_attribute("requests", "MaximumMessageSize", "262144");
    assert_eq!(send(&client, &url, &"x".repeat(262_144)).await, Ok(()));
    assert_eq!(send(&client, &url, &"x".repeat(262_145)).await, Err("InvalidParameterValue".into()));
    assert_eq!(send(&client, &url, "\0").await, Err("InvalidMessageContents".into()));
    let code = async |entries| {
        let sent = client.send_message_batch().queue_url(&url).set_entries(Some(entries)).send().await;
        sent.map(drop).map_err(|error| error.code().unwrap_or("no answer").to_owned())
    };
    assert_eq!(code(entries(10, &"x".repeat(104_857))).await, Ok(()));
    assert_eq!(code(entries(10, &"x".repeat(104_858))).await, Err("AWS.SimpleQueueService.BatchRequestTooLong".into()));
    assert_eq!(code(entries(11, "x")).await, Err("AWS.SimpleQueueService.TooManyEntriesInBatchRequest".into()));
}

#[tokio::test]
async fn hurrying_shows_what_was_released_and_not_what_is_held() {
    let (endpoint, url, client) = bed().await;
    for body in ["held", "released"] {
        send(&client, &url, body).await.expect("sent");
    }
    let receipts = receive(&client, &url, 60).await;
    let release = client.change_message_visibility().queue_url(&url).receipt_handle(&receipts[1]).visibility_timeout(600);
    release.send().await.expect("released");
    endpoint.hurry("requests", Duration::from_secs(60));
    assert_eq!((endpoint.depth("requests").visible, endpoint.depth("requests").in_flight), (1, 1));
}
