//! `replyfleet switch` and `replyfleet status`: what is set is shown, who follows is shown, and what cannot be set is refused.

use std::time::Duration;

use replyfleet_tests::wait_for;
use serde_json::json;

use replyfleet_tests::installation::Installation;

/// What an operator is promised.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(60);

fn rows(said: &str) -> Vec<Vec<&str>> {
    said.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn switches_are_listed_as_they_were_set_and_gone_when_they_are_back() {
    let world = Installation::after_a_start();
    let (status, said) = world.run(&["switch"]);
    assert_eq!((status, rows(&said).len()), (Some(0), 2), "only the table's head: {said}");
    assert!(world.run(&["status"]).1.contains("switches  all on"));
    for (name, value, shown) in [
        ("all", "hold", "all is hold"),
        ("attachments", "off", "attachments is off"),
        ("address:Get+x@EXAMPLE.com", "off", "address:get@example.com is off"),
        ("provider:B\u{fc}cher.example", "hold", "provider:xn--bcher-kva.example is hold"),
        ("shedding", "600", "shedding is 600"),
    ] {
        let (status, said) = world.run(&["switch", name, value]);
        assert!(status == Some(0) && said.starts_with(shown) && said.contains("within a minute"), "{said}");
    }
    let (_, said) = world.run(&["switch"]);
    for row in [["all", "hold"], ["address:get@example.com", "off"], ["provider:xn--bcher-kva.example", "hold"], ["shedding", "600"]] {
        assert!(rows(&said).contains(&row.to_vec()), "{row:?}: {said}");
    }
    let switches = json!({
        "all": "hold", "attachments": "off", "address:get@example.com": "off", "provider:xn--bcher-kva.example": "hold", "shedding": "600"
    });
    assert_eq!(world.json(&["status"])["switches"], switches);
    let (status, said) = world.run_with_input(&["explain", "-"], "From: a@example.org\n\n");
    assert!(status == Some(0) && said.contains("ignored: switched_off"), "explain asks the switches, too: {said}");

    for (name, value) in
        [("all", "on"), ("attachments", "on"), ("address:get@example.com", "on"), ("provider:b\u{fc}cher.example", "on"), ("shedding", "auto")]
    {
        assert_eq!(world.run(&["switch", name, value]).0, Some(0), "{name}");
    }
    assert_eq!(world.json(&["status"])["switches"], json!({}));
}

#[test]
fn what_cannot_be_set_is_refused_with_what_was_expected() {
    let world = Installation::after_a_start();
    for (arguments, wanted) in [
        (["switch", "everything", "off"], "there are all, attachments, address:LOCAL@DOMAIN, provider:DOMAIN and shedding"),
        (["switch", "all", "of"], "cannot be set to \"of\"; expected on, off or hold"),
        (["switch", "attachments", "hold"], "expected on or off"),
        (["switch", "shedding", "90000"], "auto, off, or seconds from 1 to 86400"),
        (["switch", "address:get", "off"], "no switch \"address:get\""),
    ] {
        let (status, said) = world.run(&arguments);
        assert!(status == Some(1) && said.contains(wanted), "{arguments:?}: {said}");
    }
    let (status, said) = world.run(&["switch", "all"]);
    assert!(status == Some(1) && said.contains("switch all to what?"), "{said}");
    assert_eq!(world.json(&["status"])["switches"], json!({}), "nothing was set");
}

#[test]
fn status_shows_which_workers_follow() {
    let world = Installation::new();
    let mut worker = world.worker();
    let following = |count: usize| {
        wait_for("the worker to follow", FOLLOWS_WITHIN, || {
            // Before its first start there is nothing to look at.
            let (status, said) = world.run(&["status", "--json"]);
            let said: serde_json::Value = serde_json::from_str(&said).ok().filter(|_| status == Some(0))?;
            let workers = said["workers"].as_array().unwrap();
            (workers.iter().filter(|worker| worker["follows"] == true).count() == count && !workers.is_empty()).then_some(())
        });
    };
    following(1);
    assert_eq!(world.run(&["switch", "attachments", "off"]).0, Some(0));
    following(0);
    let (_, said) = world.run(&["status"]);
    assert!(said.contains("workers   1, 0 follow the switches, 0 give up attachments") && said.contains("not yet"), "{said}");
    following(1);
    let (_, said) = world.run(&["status"]);
    assert!(said.contains("workers   1, 1 follow the switches") && said.contains("switches  attachments off"), "{said}");
    assert!(said.contains("queue     0 waiting, 0 delayed, 0 in flight"), "{said}");
    worker.kill().unwrap();
    worker.wait().unwrap();
}
