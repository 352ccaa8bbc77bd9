//! `replyfleet demo`, and what the program says of itself.

use std::{fs, process::Command};

use replyfleet_tests::program;

use replyfleet_tests::installation::{Installation, said};

#[test]
fn the_demo_goes_as_expected() {
    let (status, said) = said(Command::new(program("replyfleet")).args(["demo", "--once"]));
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("Every sample went as expected: 7 replies."), "{said}");
}

#[test]
fn the_demo_is_not_led_astray_by_an_exported_fleet() {
    let world = Installation::new();
    let database = format!("sqlite:{}", world.path("production.db").display());
    let (status, said) = said(Command::new(program("replyfleet")).args(["demo", "--once"]).env("REPLYFLEET_DATABASE_URL", database));
    assert_eq!(status, Some(0), "{said}");
    assert!(!world.path("production.db").exists());
}

#[test]
fn completions_and_manual_pages_come_from_the_program_itself() {
    let world = Installation::new();
    let (status, said) = world.run(&["completions", "bash"]);
    assert!(status == Some(0) && said.contains("complete -F _replyfleet"), "{said}");
    let (status, said) = world.run(&["manual", world.path("").to_str().unwrap()]);
    assert_eq!(status, Some(0), "{said}");
    assert!(fs::read_to_string(world.path("replyfleet-explain.1")).unwrap().contains("Says for saved mail"));
}
