//! Row 12: the mail that a message points to is missing, cut, or another one. It is tried again where that can help, then
//! parked with the reason; never is a part of it, or another mail, answered.

use std::fs;

use replyfleet_tests::{installation::Installation, wait_for};

use crate::running::{DEADLINE, Running, hurry, names};

/// What is done to the mail in the store, and the word under which its message is parked after so many receives.
fn is_parked_as(harm: impl Fn(&std::path::Path), reason: &str, receives: u32) {
    let world = Installation::new();
    let settings = fs::read_to_string(world.path("replyfleet.toml")).unwrap();
    world.write("replyfleet.toml", &settings.replace("/spool\" }", "/spool\", inline_bytes_max = 10 }"));
    world.take("someone@example.org", "4XyZ1z");
    let claims = world.path("store/claim-check/mail");
    let object = fs::read_dir(claims).unwrap().next().unwrap().unwrap().path();
    harm(&object);
    let mut worker = Running::start(&world);
    wait_for("it to be parked", DEADLINE, || {
        hurry(&world);
        (!names(&world, "spool/parked").is_empty()).then_some(())
    });
    let parked = names(&world, "spool/parked");
    assert!(parked[0].ends_with(&format!(".{receives}.{reason}")), "{parked:?}");
    worker.wait_for_ends("parked", reason, 1);
    assert_eq!(worker.lines("message ended").last().unwrap()["level"], "ERROR", "someone must look");
    assert!(worker.is_running() && names(&world, "replies/new").is_empty(), "nothing is answered");
    assert!(names(&world, "spool/new").is_empty() && names(&world, "spool/cur").is_empty());
}

#[test]
fn a_mail_that_is_missing_is_looked_for_again_and_then_parked() {
    is_parked_as(|object| fs::remove_file(object).unwrap(), "mail_missing", 5);
}

#[test]
fn a_mail_that_is_cut_is_fetched_again_and_then_parked() {
    is_parked_as(|object| fs::write(object, &fs::read(object).unwrap()[..20]).unwrap(), "mail_differs", 5);
}

#[test]
fn another_mail_of_the_same_length_is_parked_at_once() {
    let another = |object: &std::path::Path| {
        let changed = fs::read_to_string(object).unwrap().replace("please", "Please");
        fs::write(object, changed).unwrap();
    };
    is_parked_as(another, "mail_differs", 1);
}
