//! A power cut between the moment in which a message gets its name and the one in which it is durable.
//!
//! The spool is on an ext4 of the test's own. Its ioctl "shutdown" stops all writing as a power cut does (ext4's
//! EXT4_IOC_SHUTDOWN, without a last commit); what is found when it is mounted again is what a machine finds after it.

use std::{ffi::OsString, fs, time::Duration};

use replyfleet::{
    envelope::Envelope,
    queue::{Queue, spool::SpoolQueue},
};

use crate::{
    disk::{has_no_namespaces, in_namespace},
    strace,
    world::{World, wild_mail},
};

/// Somebody else's file is synced, which commits all names so far, and then the power is gone.
const CUT: &str = r#"
import fcntl, os, struct, sys
other = open(sys.argv[1] + '/other', 'wb')
other.write(b'x'); other.flush(); os.fsync(other.fileno())
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))
"#;

#[tokio::test]
async fn a_mail_whose_name_outlived_its_bytes_is_nobodys_and_is_delivered_once_when_it_comes_again() {
    if has_no_namespaces() || strace::is_missing() {
        return;
    }
    let world = World::on_spool();
    let (mail, out) = (wild_mail(9_000), world.path("out"));
    fs::create_dir_all(&world.spool).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(world.path("mail"), &mail).unwrap();
    fs::write(world.path("cut.py"), CUT).unwrap();
    let killed: Vec<OsString> = strace::inject("fsync", "signal=SIGKILL", 1);
    let killed: Vec<String> = killed.iter().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let script = format!(
        r#"exec 2> '{out}/said'
        truncate -s 64M '{disk}' && mkfs.ext4 -q -F -O has_journal '{disk}' && mount -o loop,commit=300 '{disk}' '{spool}' || exit 8
        "$@" --queue-id=4XyQz1 < '{mail}' > '{out}/first' || exit 1
        {killed} "$@" --queue-id=4XyQz2 < '{mail}' > '{out}/second' && exit 2
        python3 '{cut}' '{spool}' || exit 8
        umount '{spool}' && mount -o loop '{disk}' '{spool}' || exit 8
        cp -a '{spool}/new' '{out}/cut'
        "$@" --queue-id=4XyQz2 < '{mail}' > '{out}/third' || exit 3
        cp -a '{spool}' '{out}/spool'"#,
        out = out.display(),
        disk = world.path("disk").display(),
        spool = world.spool.display(),
        mail = world.path("mail").display(),
        killed = killed.join(" "),
        cut = world.path("cut.py").display(),
    );
    let ending = world.run().without_argument("queue-id").by(in_namespace(&script)).end();
    if ending.status == Some(8) {
        let said = fs::read_to_string(out.join("said")).unwrap_or_default();
        replyfleet_tests::skipped(&format!("needs mkfs.ext4, loop devices and Python: {said}"));
        return;
    }
    assert_eq!(ending.status, Some(0), "{ending:?}");

    let mut lengths: Vec<u64> = fs::read_dir(out.join("cut")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    lengths.sort_unstable();
    assert!(lengths.len() == 2 && lengths[0] < 9_000 && lengths[1] > 9_000, "one name has outlived its bytes: {lengths:?}");

    let queue = SpoolQueue::open(&out.join("spool"), Duration::from_secs(60)).unwrap();
    let mut ids = Vec::new();
    while let [delivery, ..] = &queue.receive(1, Duration::from_millis(300)).await.unwrap()[..] {
        let envelope = Envelope::decode(&delivery.wire).expect("whole ones only");
        assert_eq!(envelope.mail, replyfleet::envelope::Mail::Inline(mail.clone().into()));
        ids.push(envelope.facts.queue_id);
    }
    ids.sort_unstable();
    assert_eq!(ids, ["4XyQz1", "4XyQz2"], "each once");
    assert!(queue.parked(10).await.unwrap().is_empty());
    assert_eq!(fs::read_dir(out.join("spool/tmp")).unwrap().count(), 1, "what was cut is put aside");
}
