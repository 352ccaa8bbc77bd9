//! `replyfleet send` and `replyfleet preview`: the replies of an address, without a request.

use std::fs;

use replyfleet_tests::installation::Installation;

const CATALOGUE: &str = r#"[
  {"email_addr": "get@example.com", "body": "links", "lang": "en", "send_method": "SES",
   "translations": {"fa": {"body": "پیوند", "subject": "پاسخ"}}},
  {"email_addr": "get@example.com", "body": [["html", "<p>the file</p>"]], "attachments": [["files", "a.bin", "a.apk"]], "send_method": "SES"}
]"#;

fn installation() -> Installation {
    let world = Installation::after_a_start();
    world.write("store/catalogue/catalogue.json", CATALOGUE);
    world
}

fn replies(world: &Installation, folder: &str) -> Vec<String> {
    let mut replies: Vec<String> = fs::read_dir(world.path(folder))
        .map(|files| files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect())
        .unwrap_or_default();
    replies.sort_by_key(|reply| reply.contains("multipart/mixed"));
    replies
}

#[test]
fn what_a_request_would_get_is_sent() {
    let world = installation();
    let (status, said) = world.run(&["send", "get@example.com", "--to", "someone@example.org"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.starts_with("reply 1 by SES: accepted, ") && said.contains("\nreply 2 by SES: accepted, ") && !said.contains("someone"), "{said}");
    let replies = replies(&world, "replies/new");
    assert_eq!(replies.len(), 2);
    for reply in &replies {
        for line in ["To: someone@example.org\r\n", "From: <get@example.com>\r\n", "Auto-Submitted: auto-replied\r\n"] {
            assert!(reply.contains(line), "{line}: {reply}");
        }
        assert!(!reply.contains("In-Reply-To"), "nobody asked");
    }
    assert!(replies[1].contains("filename=\"a.apk\""));
}

#[test]
fn a_preview_is_files_and_answers_the_mail_that_it_is_given() {
    let world = installation();
    world.write("request.eml", "From: x@example.net\nMessage-ID: <1@example.net>\n\nسلام\n");
    let (dir, request) = (world.path("out"), world.path("request.eml"));
    let arguments = ["preview", "get+fa@example.com", "--to", "x@gmail.com", "--dir", dir.to_str().unwrap(), "--request", request.to_str().unwrap()];
    let (status, said) = world.run(&arguments);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("1.eml: ") && said.contains("MAIL FROM \"bounces+"), "{said}");
    let replies = replies(&world, "out");
    assert!(replies[0].contains("In-Reply-To: <1@example.net>") && replies[0].contains("Content-Language: fa, en"), "{}", replies[0]);
    assert!(replies[1].contains("filename=\"a.ap_\""), "without DNS the domain itself is what the provider is known by");
    assert!(!world.path("replies/new").is_dir() || fs::read_dir(world.path("replies/new")).unwrap().next().is_none(), "nothing is sent");
    fs::remove_file(world.path("out/1.eml")).unwrap();
    let (status, said) = world.run(&arguments);
    assert!(status == Some(1) && said.contains("out/2.eml is there already; name another folder"), "{said}");
    assert!(!world.path("out/1.eml").exists() && fs::read_to_string(world.path("out/2.eml")).unwrap() == replies[1], "nothing is written over");
}

#[test]
fn who_wants_no_mail_gets_none_by_hand_either_and_what_is_off_stays_off() {
    let world = installation();
    assert_eq!(world.run(&["suppress", "someone@example.org"]).0, Some(0));
    let (status, said) = world.run(&["send", "get@example.com", "--to", "Someone@example.org"]);
    assert!(status == Some(1) && said.contains("replyfleet suppress --remove"), "{said}");
    assert_eq!(world.run(&["switch", "attachments", "off"]).0, Some(0));
    let (status, said) = world.run(&["send", "get@example.com", "--to", "other@example.org"]);
    assert!(status == Some(1) && said.contains("reply 1 by SES: accepted") && said.contains("reply 2 by SES: is switched off"), "{said}");
    assert_eq!(replies(&world, "replies/new").len(), 1);
}

#[test]
fn what_cannot_be_done_is_said_with_the_remedy() {
    let world = installation();
    for (arguments, wanted) in [
        (&["send", "gte@example.com", "--to", "a@example.org"][..], "\"gte@example.com\" is not in the catalogue; these are: get@example.com"),
        (&["send", "get@example.com", "--to", "a"], "--to: \"a\" is not an address local@domain"),
        (&["preview", "get@example.com", "--request", "/no/such.eml"], "--request: cannot read /no/such.eml"),
    ] {
        let (status, said) = world.run(arguments);
        assert!(status == Some(1) && said.contains(wanted), "{arguments:?}: {said}");
    }
    let (status, said) = world.run(&["send", "get@example.com"]);
    assert!(status == Some(2) && said.contains("--to"), "{said}");
}
