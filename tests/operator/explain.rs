//! `replyfleet explain`: one mail with each rule's verdict, or many with how they would have ended.

use std::{fs, path::Path};

use replyfleet_tests::{dkim::Signer, dns::Dns};
use serde_json::json;

use replyfleet_tests::installation::Installation;

#[test]
fn explain_gives_each_rules_verdict() {
    let world = Installation::after_a_start();
    world.write("list.eml", "From: a@example.org\nList-Id: <x>\nAuto-Submitted: auto-replied\n\n");
    let file = world.path("list.eml");
    let (status, said) = world.run(&["explain", file.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("ignored: auto_submitted"), "{said}");
    assert!(said.lines().any(|line| line.contains("mailing_list") && line.contains("list-id")), "every rule is asked: {said}");
    world.write("person.eml", "From: a@example.org\n\nplease\n");
    let file = world.path("person.eml");
    let (_, said) = world.run(&["explain", file.to_str().unwrap(), "--recipient", "get+fa@example.com"]);
    assert!(said.contains("answered with 1 replies"), "{said}");
    let (_, said) = world.run(&["explain", file.to_str().unwrap(), "--sender", ""]);
    assert!(said.contains("ignored: null_sender"), "{said}");
}

/// `authentication` that asks this server.
fn asking(dns: &Dns) -> String {
    format!(r#"resolver = "{}", timeout_s = 2"#, dns.address())
}

fn zones(signer: &Signer) -> Dns {
    Dns::start(|zone| {
        for domain in ["signs.example", "spf.example", "bare.example"] {
            zone.mx(domain, 10, "mx.example");
        }
        signer.publish(zone, "signs.example");
        zone.txt("spf.example", "v=spf1 ip4:192.0.2.10 -all");
    })
}

#[test]
fn explain_proves_senders_as_the_worker_does() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let world = Installation::with_authentication(&asking(&dns)).started_once();
    let mail = |from: &str| format!("From: {from}\nSubject: please\n\nplease\n");
    let signed = String::from_utf8(signer.sign(mail("a@signs.example").as_bytes(), "signs.example")).unwrap();
    let explain = |mail: &str, arguments: &[&str]| {
        let (status, said) = world.run_with_input(&[&["explain", "-"], arguments].concat(), mail);
        assert_eq!(status, Some(0), "{said}");
        said
    };
    assert!(explain(&signed, &[]).contains("answered with 1 replies"));
    assert!(explain(&signed.replace("please", "Please"), &[]).contains("ignored: unproven"));
    // The only response has an attachment: SPF alone does not buy it, and the line says so.
    let said = explain(&mail("a@spf.example"), &["--client-address", "192.0.2.10", "--helo", "client.spf.example"]);
    assert!(said.contains("trust small") && said.contains("ignored: unproven"), "{said}");
    let said = explain(&mail("a@spf.example"), &[]);
    assert!(said.contains("no --client-address, so no SPF") && said.contains("trust none"), "{said}");
    assert!(explain(&mail("a@nowhere.example"), &[]).contains("ignored: cannot_take_mail"));
    // Without DNS and database, every sender counts as proven: the other rules are what is asked.
    let asked = dns.asked_in_all();
    assert!(explain(&mail("a@nowhere.example"), &["--offline"]).contains("answered with 1 replies"));
    fs::remove_file(world.path("ledger.db")).unwrap();
    assert!(explain(&mail("a@bare.example"), &["--offline"]).contains("answered with 1 replies"));
    assert_eq!(dns.asked_in_all(), asked, "nobody was asked");
    let (status, said) = world.run_with_input(&["explain", "-"], &signed);
    assert!(status == Some(1) && said.contains("give --offline to do without the database"), "{said}");
}

#[test]
fn explain_speaks_json() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let world = Installation::with_authentication(&asking(&dns)).started_once();
    world.write("a.eml", &String::from_utf8(signer.sign(b"From: a@signs.example\n\n", "signs.example")).unwrap());
    let file = world.path("a.eml");
    let said = world.json(&["explain", file.to_str().unwrap()]);
    assert_eq!([&said["end"], &said["trust"], &said["proof"], &said["replies"]], [&json!("answered"), &json!("full"), &json!("dkim"), &json!(1)]);
    let rules = said["rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["verdict"] == "passes"), "{rules:#?}");
    let numbers: Vec<u64> = rules.iter().map(|rule| rule["rule"].as_u64().unwrap()).collect();
    for number in [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 25, 29] {
        assert!(numbers.contains(&number), "rule {number} is not shown: {numbers:?}");
    }
    let said = world.json(&["explain", file.to_str().unwrap(), "--sender", "", "--recipient", "nobody@example.com"]);
    assert_eq!(said["end"], "null_sender");
    let verdicts: Vec<&str> = said["rules"].as_array().unwrap().iter().map(|rule| rule["verdict"].as_str().unwrap()).collect();
    assert!(verdicts.contains(&"unknown_recipient"), "rules after the first that fires are asked as well: {verdicts:?}");
}

const PERSON: &str = "From: a@example.org\n\nplease\n";
const LIST: &str = "From: a@example.org\nList-Id: <x>\n\nnews\n";

fn ends(world: &Installation, path: &Path) -> serde_json::Value {
    world.json(&["explain", path.to_str().unwrap(), "--each"])
}

#[test]
fn explain_counts_a_maildir_a_folder_and_an_mbox_by_reason() {
    let world = Installation::after_a_start();
    for (name, mail) in [
        ("Maildir/new/1", PERSON),
        ("Maildir/cur/2:2,S", LIST),
        ("Maildir/cur/3:2,", LIST),
        ("Maildir/tmp/4", PERSON),
        ("Maildir/cur/.hidden", PERSON),
        ("folder/a.eml", PERSON),
        ("folder/below/b.eml", LIST),
        (
            "mbox",
            &format!("From a@example.org Sat Nov 21 12:00:00 2026\n{PERSON}>From the start\n\nFrom b@example.org Sat Nov 21 12:00:01 2026\n{LIST}"),
        ),
    ] {
        world.write(name, mail);
    }
    let maildir = ends(&world, &world.path("Maildir"));
    assert_eq!((&maildir["mails"], &maildir["ends"]), (&json!(3), &json!({"answered": 1, "mailing_list": 2})));
    let folder = ends(&world, &world.path("folder"));
    assert_eq!((&folder["mails"], &folder["ends"]), (&json!(2), &json!({"answered": 1, "mailing_list": 1})));
    let mbox = ends(&world, &world.path("mbox"));
    let each: Vec<_> = mbox["each"].as_array().unwrap().iter().map(|mail| mail["end"].as_str().unwrap()).collect();
    assert_eq!(each, ["answered", "mailing_list"]);
    assert!(mbox["each"][1]["mail"].as_str().unwrap().ends_with("mbox#2"));

    let (status, said) = world.run(&["explain", world.path("Maildir").to_str().unwrap()]);
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(status, Some(0), "{said}");
    for wanted in [["answered", "1", "33.3", "%"], ["mailing_list", "2", "66.7", "%"]] {
        assert!(lines.contains(&wanted.to_vec()), "{said}");
    }
    assert!(said.ends_with("3 mails\n"), "{said}");
}

#[test]
fn explain_says_what_it_cannot_read() {
    let world = Installation::after_a_start();
    fs::create_dir(world.path("empty")).unwrap();
    for (path, wanted) in [("empty", "there is no file in this folder"), ("missing.eml", "cannot read")] {
        let path = world.path(path);
        let (status, said) = world.run(&["explain", path.to_str().unwrap()]);
        assert!(status == Some(1) && said.contains(wanted) && said.contains(path.to_str().unwrap()), "{said}");
    }
    let (_, said) = world.run_with_input(&["explain", "-"], "no header at all");
    assert!(said.contains("ignored: unreadable"), "{said}");
    let (status, said) = world.run(&["explain", "-", "--client-address", "nobody"]);
    assert!(status == Some(2) && said.contains("--client-address"), "{said}");
}

#[test]
fn explaining_counts_nothing() {
    let world = Installation::after_a_start();
    world.write("person.eml", PERSON);
    let file = world.path("person.eml");
    for _ in 0..5 {
        let (_, said) = world.run(&["explain", file.to_str().unwrap()]);
        assert!(said.contains("answered with 1 replies"), "it is asked about, not counted: {said}");
    }
    assert_eq!(world.json(&["status"])["census"]["day"]["requests"], json!({}));
}
