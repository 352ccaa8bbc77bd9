//! An SQS endpoint that refuses, fails, is silent or is not there. Each defers; none loses the mail or doubles its key.

use std::{net::TcpListener, time::Duration};

use crate::{
    sqs::{Manner, Sqs},
    world::World,
};

#[test]
fn an_endpoint_that_never_answers_defers_at_the_deadline() {
    let sqs = Sqs::start(Manner::IsSilent);
    let ending = World::on_sqs(&sqs).with_short_deadline().run().mail(b"x").end();
    ending.assert_deferred("deadline passed");
    assert!(ending.took < Duration::from_secs(5), "{ending:?}");
}

#[test]
fn an_endpoint_that_never_accepts_defers_at_the_deadline() {
    // The kernel takes the connection into the queue of this listener, which nobody serves.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    World::on_sqs_at(&url).with_short_deadline().run().mail(b"x").end().assert_deferred("deadline passed");
}

#[test]
fn a_refused_connection_defers() {
    let url = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    World::on_sqs_at(&url).run().mail(b"x").end().assert_deferred("the queue is not available");
}

#[test]
fn an_endpoint_that_is_not_https_behind_an_https_url_defers() {
    let sqs = Sqs::start(Manner::Takes);
    let url = sqs.url().replace("http:", "https:");
    World::on_sqs_at(&url).with_short_deadline().run().mail(b"x").end().assert_deferred("");
}

#[test]
fn each_answer_that_is_not_a_yes_defers_with_its_code() {
    let json = |code: &str| format!(r#"{{"__type":"com.amazonaws.sqs#{code}","message":"m"}}"#);
    let cases = [
        (500, json("InternalFailure"), "InternalFailure"),
        (503, json("ServiceUnavailable"), "ServiceUnavailable"),
        (400, json("RequestThrottled"), "RequestThrottled"),
        (400, json("AccessDenied"), "the queue refuses: AccessDenied"),
        (400, json("QueueDoesNotExist"), "the queue refuses: QueueDoesNotExist"),
        (403, json("InvalidClientTokenId"), "the queue refuses: InvalidClientTokenId"),
        (500, String::new(), "the queue is not available"),
        (503, "<html>busy</html>".to_owned(), "the queue is not available"),
        (302, String::new(), "the queue is not available"),
        (200, "not JSON".to_owned(), "the queue is not available"),
    ];
    let sqs = Sqs::start(Manner::Takes);
    let world = World::on_sqs(&sqs);
    for (status, body, why) in cases {
        sqs.set_manner(Manner::Answers(status, body));
        world.run().mail(b"x").end().assert_deferred(why);
    }
    assert!(sqs.taken().is_empty());
}

#[test]
fn a_connection_cut_after_the_message_was_taken_defers_and_the_second_copy_has_the_same_key() {
    let sqs = Sqs::start(Manner::TakesAndCuts);
    let world = World::on_sqs(&sqs);
    world.run().mail(b"x").end().assert_deferred("the queue is not available");
    sqs.set_manner(Manner::Takes);
    world.run().mail(b"x").end().assert_delivered();
    let taken = sqs.taken();
    assert!(taken.len() >= 2);
    assert!(taken.iter().all(|envelope| envelope.facts.request_key == taken[0].facts.request_key && envelope.mail == taken[0].mail));
}
