//! SpamAssassin, with the rules that its package ships and without any network, finds nothing wrong with a reply.

use std::{fs, process::Command};

use crate::{program, run::replies};

const SPAMASSASSIN: &str = "/usr/bin/spamassassin";
/// A mail is spam from 5 points on.
const POINTS_MAX: f64 = 1.0;
/// What these find is the world's network, with its addresses for documentation that have no names, and not the mail.
const ABOUT_THE_WORLD: [&str; 2] = ["RCVD_ILLEGAL_IP", "RDNS_NONE"];
/// The field in which SpamAssassin says what it thinks.
const FIELD: &str = "X-Spam-Points: ";

#[test]
fn every_reply_scores_under_one_point() {
    if !program::is_there(SPAMASSASSIN) {
        return;
    }
    let Some(replies) = replies() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(SPAMASSASSIN);
    // No network, nothing learnt, and nothing of the user who runs this.
    command.args(["--local", "--nocreate-prefs", "--cf=use_bayes 0", "--cf=report_safe 0", "--cf=add_header all Points _SCORE_ _TESTSSCORES(,)_"]);
    command.args(ABOUT_THE_WORLD.map(|rule| format!("--cf=score {rule} 0")));
    command.env("HOME", folder.path());
    for (number, reply) in replies.iter().enumerate() {
        let path = folder.path().join(format!("{number:03}"));
        fs::write(&path, &reply.arrived).unwrap();
        command.arg(path);
    }
    let said = String::from_utf8_lossy(&program::said(&mut command)).replace("\n\t", " ");
    let fields = said.lines().filter_map(|line| line.strip_prefix(FIELD));
    let mut scores: Vec<(f64, String, &str)> = fields
        .zip(replies)
        .map(|(field, reply)| {
            let (points, rules) = field.split_once(' ').unwrap_or((field, ""));
            (points.parse().expect(field), reply.name(), rules)
        })
        .collect();
    assert_eq!(scores.len(), replies.len(), "mails that SpamAssassin judged");
    // A rule that always fires shows that it looked at all.
    assert!(scores.iter().all(|(_, _, rules)| !rules.is_empty()), "{scores:?}");
    scores.sort_by(|one, other| other.0.total_cmp(&one.0));
    for (points, name, rules) in &scores[..5] {
        println!("{points:5.1} {name}: {rules}");
    }
    let bad: Vec<_> = scores.iter().filter(|(points, ..)| *points >= POINTS_MAX).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
