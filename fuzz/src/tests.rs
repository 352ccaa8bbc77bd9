//! Every seed, replayed. A file that once broke a target is among them.

use std::{fs, path::PathBuf};

fn replay(target: &str, run: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let files: Vec<PathBuf> = fs::read_dir(&folder).expect("seeds").map(|entry| entry.expect("an entry").path()).collect();
    assert!(!files.is_empty(), "{target} has no seeds");
    for file in files {
        let data = fs::read(&file).expect("a seed");
        assert!(std::panic::catch_unwind(|| run(&data)).is_ok(), "{} breaks {target}", file.display());
    }
}

#[test]
fn no_seed_breaks_its_target() {
    replay("parse", super::parse);
    replay("screen", super::screen);
    replay("results", super::results);
    replay("catalogue", super::catalogue);
    replay("settings", super::settings);
    replay("envelope", super::envelope);
}
