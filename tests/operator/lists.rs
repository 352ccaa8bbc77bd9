//! `replyfleet block`, `allow` and `forget`, by what they do to mail; and that they say nothing of a requester.

use std::time::Duration;

use replyfleet_tests::wait_for;
use serde_json::json;

use replyfleet_tests::installation::Installation;

/// Longer than a mail takes from the enqueuer to its end.
const SOON: Duration = Duration::from_secs(30);

/// How a mail from this address would end, and from this MAIL FROM.
fn end_of(world: &Installation, from: &str) -> String {
    let (status, said) = world.run_with_input(&["explain", "-", "--json"], &format!("From: {from}\n\nplease\n"));
    assert_eq!(status, Some(0), "{said}");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    said["end"].as_str().unwrap().to_owned()
}

#[test]
fn a_blocked_sender_gets_nothing_whatever_it_is_called() {
    let world = Installation::after_a_start();
    let file = "# from last week\nforger@example.org\n\n  mailer.example.net  \n";
    assert_eq!(world.run_with_input(&["block", "-"], file), (Some(0), "2 entries are on the block list\n".into()), "and no word about whom");
    for (from, end) in [
        ("forger@example.org", "blocked"),
        ("Forger+1@EXAMPLE.org", "blocked"),
        ("other@example.org", "answered"),
        ("anyone@mailer.example.net", "blocked"),
        ("anyone@deep.mailer.example.net", "blocked"),
        ("anyone@example.net", "answered"),
    ] {
        assert_eq!(end_of(&world, from), end, "{from}");
    }
    assert_eq!(world.json(&["status"])["lists"], json!({"block": 2, "allow": 0, "suppress": 0}));
    let (_, said) = world.run(&["status"]);
    assert!(said.contains("block 2, allow 0, suppress 0") && !said.contains("example"), "{said}");

    let (status, said) = world.run(&["allow", "forger@example.org"]);
    assert_eq!((status, said.as_str()), (Some(0), "1 entries are on the allow list\n"));
    assert_eq!(end_of(&world, "forger@example.org"), "blocked", "the allow list lifts the allowance, not the block");

    let (status, said) = world.run_with_input(&["block", "--remove", "-"], "forger@example.org\nnever@example.org\n");
    assert_eq!((status, said.as_str()), (Some(0), "1 of 2 entries were on the block list and are not any more\n"));
    assert_eq!(end_of(&world, "forger@example.org"), "answered");
}

#[test]
fn a_block_runs_out() {
    let world = Installation::after_a_start();
    assert_eq!(world.run(&["block", "--for", "2s", "a@example.org"]).0, Some(0));
    assert_eq!(end_of(&world, "a@example.org"), "blocked");
    wait_for("two seconds to pass", SOON, || (end_of(&world, "a@example.org") == "answered").then_some(()));
}

#[test]
fn what_can_be_no_entry_is_refused_with_its_line_and_nothing_is_changed() {
    let world = Installation::after_a_start();
    let (status, said) = world.run_with_input(&["block", "-"], "good@example.org\n*@example.net\n");
    assert_eq!(status, Some(1), "{said}");
    for wanted in ["standard input, line 2", "\"*@example.net\"", "neither an address LOCAL@DOMAIN nor a domain", "without @ and *"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(!said.contains("good@"), "what was typed well is not said again: {said}");
    assert_eq!(end_of(&world, "good@example.org"), "answered", "all is done, or nothing");

    let (status, said) = world.run(&["forget", "example.org"]);
    assert!(status == Some(1) && said.contains("\"example.org\" is not an address local@domain"), "{said}");
    for (arguments, wanted) in [
        (&["block"][..], "ADDRESS|DOMAIN"),
        (&["block", "--for", "1w", "example.org"], "write a number with s, m, h or d behind it"),
        (&["block", "--for", "1h", "--remove", "example.org"], "cannot be used with"),
        (&["forget"], "ADDRESS"),
    ] {
        let (status, said) = world.run(arguments);
        assert!(status == Some(2) && said.contains(wanted), "{arguments:?}: {said}");
    }
}

#[test]
fn the_allowance_holds_is_lifted_and_begins_anew() {
    let world = Installation::after_a_start();
    let mut worker = world.worker();
    // The address has only an attachment: two a day for each sender.
    for number in 1..=4 {
        world.take("Person+x@example.org", &format!("4Qz{number}"));
    }
    world.take("other@example.org", "4Qz5");
    let wanted = json!({"requests": {"answer": 3, "over_allowance": 2}, "replies": {"sent": 3}});
    // Hour and day are two readings: while the worker works, a reply may be sent between them.
    wait_for("all to have ended", SOON, || (world.json(&["status"])["census"]["day"] == wanted).then_some(()));
    assert_eq!(world.json(&["status"])["census"]["hour"], wanted);
    worker.kill().unwrap();
    worker.wait().unwrap();
    let (_, said) = world.run(&["status"]);
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["over_allowance", "2", "2"]) && !said.contains('@'), "{said}");

    assert_eq!(end_of(&world, "person@example.org"), "over_allowance");
    assert_eq!(world.run(&["allow", "example.org"]).0, Some(0));
    assert_eq!(end_of(&world, "person@example.org"), "answered", "who is on the allow list has no allowance");
    assert_eq!(world.run(&["allow", "--remove", "example.org"]).0, Some(0));
    assert_eq!(end_of(&world, "person@example.org"), "over_allowance");

    assert_eq!(world.run(&["allow", "person@example.org"]).0, Some(0));
    assert_eq!(world.run(&["block", "example.org"]).0, Some(0));
    let (status, said) = world.run_with_input(&["forget", "-"], "PERSON@example.org\n");
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("4 requests belong to nobody any more, and 1 list entries are removed"), "{said}");
    assert!(said.contains("1 of them stay on the block list; `replyfleet block --remove` takes them off") && !said.contains('@'), "{said}");
    assert_eq!(world.run(&["block", "--remove", "example.org"]).0, Some(0));
    assert_eq!(end_of(&world, "person@example.org"), "answered", "its allowance begins anew");
}

#[test]
fn who_wants_no_mail_gets_none_until_it_is_taken_off() {
    let world = Installation::after_a_start();
    assert_eq!(world.run_with_input(&["suppress", "-"], "a@example.org\n"), (Some(0), "1 entries are on the suppress list\n".into()));
    assert_eq!((end_of(&world, "A+x@example.org").as_str(), end_of(&world, "b@example.org").as_str()), ("suppressed", "answered"));
    assert_eq!(world.run(&["suppress", "--remove", "a@example.org"]).0, Some(0));
    assert_eq!(end_of(&world, "a@example.org"), "answered");
}
