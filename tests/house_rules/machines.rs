//! What the stack tells its machines is what programs on them understand: user-data is read where no test can look, and a key that is
//! not known there keeps Postfix from starting, or a machine from its secrets.

use std::collections::BTreeSet;

use replyfleet_tests::repository;

use super::none;

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).expect(path)
}

/// The words before `=` in the template's user-data, of the files with this path: in lines of their own, or in one quoted line.
fn told(template: &str, path: &str) -> BTreeSet<String> {
    let files = template.split(path).skip(1);
    let content = files.filter_map(|rest| rest.split("path: ").next()?.split("runcmd").next()).filter(|content| content.contains("content:"));
    content.flat_map(|content| content.split(['\n', '"', ' ']).flat_map(|part| part.split("\\n"))).filter_map(key).collect()
}

fn key(assignment: &str) -> Option<String> {
    let (key, _) = assignment.split_once('=')?;
    (!key.is_empty() && key.chars().all(|character| character.is_ascii_uppercase() || character == '_')).then(|| key.to_owned())
}

#[test]
fn what_the_stack_says_to_postfix_is_understood() {
    let known: BTreeSet<String> = read("ami/files/etc/replyfleet/postfix.env").lines().filter_map(|line| key(line.trim_start_matches('#'))).collect();
    let told = told(&read("ami/fleet.yaml"), "/etc/replyfleet/postfix.env");
    assert!(told.contains("MYHOSTNAME") && known.contains("MYHOSTNAME"), "{told:?}, {known:?}");
    none("keys that postfix-configure does not know", told.difference(&known).cloned());
}

#[test]
fn the_names_of_secrets_in_the_stack_are_understood() {
    let reader = read("operator/src/secrets/names.rs");
    let told = told(&read("ami/fleet.yaml"), "/etc/replyfleet/secrets.env");
    assert!(told.contains("SECRET_KEY_ARN") && told.contains("DATABASE_HOST"), "{told:?}");
    none("keys that replyfleet secrets does not know", told.into_iter().filter(|key| !reader.contains(&format!("\"{key}\""))));
}

#[test]
fn mxs_know_the_ways_of_sending_that_workers_know() {
    // `replyfleet postfix-maps` reads the catalogue as workers do: one with a send_method that the settings do not have is refused whole,
    // and an MX without maps takes no mail.
    let template = read("ami/fleet.yaml");
    let settings =
        |name: &str| template.split(&format!("\n  {name}:\n")).nth(1).expect(name).split("AWS::SSM::Parameter").nth(1).expect(name).to_owned();
    let (mx, worker) = (settings("MxSettings"), settings("WorkerSettings"));
    let mx = mx.split("\n  WorkerSettings:").next().unwrap();
    for way in ["[send.SES]", "${Smtp}"] {
        assert!(worker.contains(way), "{way}");
        assert!(mx.contains(way), "the MXs' settings lack {way}");
    }
}

#[test]
fn keys_are_found_in_both_ways_to_write_them() {
    let lines = "- path: /a.env\n  content: |\n    ONE=x\n    TWO_THREE=${y}\n- path: /b.env\n  content: |\n    NOT=this\n";
    assert_eq!(told(lines, "/a.env"), ["ONE", "TWO_THREE"].map(str::to_owned).into());
    assert_eq!(told("{path: /a.env, content: \"ONE=x\\nTWO=y\\n\"}", "/a.env"), ["ONE", "TWO"].map(str::to_owned).into());
}
