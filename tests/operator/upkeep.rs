//! What a running worker looks at again and again: the signing, and its cache folder.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use replyfleet_tests::{program, wait_for};

use replyfleet_tests::installation::{CATALOGUE, Installation};

const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn a_worker_says_whom_it_does_not_sign_for_whenever_that_changes_and_tidies_its_cache() {
    let world = Installation::new();
    let settings = fs::read_to_string(world.path("replyfleet.toml")).unwrap();
    world.write("replyfleet.toml", &settings.replace("key = \"catalogue.json\"", "key = \"catalogue.json\", refresh_s = 1"));
    let (unknown, strange) = (format!("cache/{}.bin", "0".repeat(64)), "cache/notes.bin");
    for name in [&unknown, strange] {
        world.write(name, "x");
        let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 86_400);
        File::options().write(true).open(world.path(name)).unwrap().set_modified(two_days_ago).unwrap();
    }
    let mut worker = Command::new(program("replyfleet-worker"));
    let log = File::create(world.path("log")).unwrap();
    let mut worker = worker.arg("--config").arg(world.path("replyfleet.toml")).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let said = |domains: &str| {
        let log = fs::read_to_string(world.path("log")).unwrap();
        let is_it = |line: &&str| line.contains("leave unsigned") && line.contains(&format!("\"{domains}\""));
        log.lines().filter(is_it).count()
    };
    wait_for("the first word", DEADLINE, || (said("example.com") == 1).then_some(()));
    wait_for("an unknown file to be removed", DEADLINE, || (!world.path(&unknown).exists()).then_some(()));
    let more = r#"{"email_addr": "get@example.org", "body": "links", "send_method": "SES"}, "#;
    world.write("store/catalogue/catalogue.json", &CATALOGUE.replacen('{', &format!("{more}{{"), 1));
    wait_for("the second word", DEADLINE, || (said("example.com example.org") == 1).then_some(()));
    assert!(said("example.com") == 1 && world.path(strange).exists(), "it is said once, and files of others stay");
    worker.kill().unwrap();
    worker.wait().unwrap();
}
