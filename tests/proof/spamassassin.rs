//! SpamAssassin, with the rules that its package ships and without any network, finds nothing wrong with a reply.

use std::{fs, process::Command};

use crate::{
    program,
    run::{Sent, replies},
};

const SPAMASSASSIN: &str = "/usr/bin/spamassassin";
/// A mail is spam from 5 points on.
const POINTS_MAX: f64 = 1.0;
/// What these find is the world's network, with its addresses for documentation that have no names, and not the mail.
const ABOUT_THE_WORLD: [&str; 2] = ["RCVD_ILLEGAL_IP", "RDNS_NONE"];
/// SpamAssassin's own test mail.
const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
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
    // A mail that every SpamAssassin takes for spam, last: it shows that mails are looked at.
    let control = folder.path().join("control");
    fs::write(&control, format!("From: a@example.org\nTo: b@example.org\nSubject: x\n\n{GTUBE}\n")).unwrap();
    command.arg(control);
    let said = String::from_utf8_lossy(&program::said(&mut command)).replace("\n\t", " ");
    let fields = said.lines().filter_map(|line| line.strip_prefix(FIELD)?.split_once(' '));
    let names = replies.iter().map(Sent::name).chain(["control".into()]);
    let mut scores: Vec<(f64, String, &str)> =
        fields.zip(names).map(|((points, rules), name)| (points.parse().expect(points), name, rules)).collect();
    assert_eq!(scores.len(), replies.len() + 1, "mails that SpamAssassin judged");
    let control = scores.pop().unwrap();
    assert!(control.0 > 100.0, "{control:?}");
    scores.sort_by(|one, other| other.0.total_cmp(&one.0));
    for (points, name, rules) in &scores[..5] {
        println!("{points:5.1} {name}: {rules}");
    }
    let bad: Vec<_> = scores.iter().filter(|(points, ..)| *points >= POINTS_MAX).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
