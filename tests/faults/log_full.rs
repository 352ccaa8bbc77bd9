//! Row 32: the log cannot be written. Mail is answered all the same.

use std::{fs::File, process::Stdio};

use replyfleet_tests::{installation::Installation, wait_for};

use crate::running::{DEADLINE, Running, names};

#[test]
fn a_log_on_a_full_disk_does_not_keep_anybody_waiting() {
    let world = Installation::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut worker = Running::saying(&world, Stdio::from(full));
    for number in 0..20 {
        world.take(&format!("person{number}@example.org"), &format!("4XyZ{number:03}z"));
    }
    wait_for("all to be answered", DEADLINE, || (names(&world, "replies/new").len() == 20).then_some(()));
    wait_for("the queue to be empty", DEADLINE, || (names(&world, "spool/cur").is_empty() && names(&world, "spool/new").is_empty()).then_some(()));
    assert!(worker.is_running());
}

#[test]
fn a_log_whose_reader_has_gone_does_not_end_the_worker() {
    let world = Installation::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut worker = Running::saying(&world, Stdio::from(writer));
    drop(reader);
    world.take("person@example.org", "4XyZ1z");
    wait_for("the answer", DEADLINE, || (names(&world, "replies/new").len() == 1).then_some(()));
    assert!(worker.is_running());
}
