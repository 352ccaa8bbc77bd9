//! Mail that real people wrote, given to Postfix as it is, comes back with both replies.

use std::{collections::BTreeMap, fs};

use replyfleet_tests::{
    repository, skipped,
    world::{Backing, Mail, Plan, SENDER, TWO_REPLIES, World},
};

use crate::common::assert_nothing_is_left;

/// From the corpus: Outlook, Netscape, Eudora and Pine; plain, alternative, with attachments, in several alphabets.
const PEOPLE: [(&str, &str); 1] = [("zbateson/m0001.txt", "x")];

#[test]
fn mail_of_people_comes_back_with_both_replies() {
    let corpus = repository().join("../shared/corpora/people");
    if !corpus.exists() {
        return skipped("no corpora beside the repository");
    }
    let Some(world) = World::start(&Plan::on(Backing::Embedded)) else { return };
    for (file, _) in PEOPLE {
        let content = fs::read(corpus.join(file)).expect("a mail of the corpus");
        world.send(&Mail { from: SENDER, to: TWO_REPLIES, content });
    }
    world.wait_for_handover(PEOPLE.len());
    let _worker = world.start_worker();
    let mut replies: BTreeMap<String, usize> = BTreeMap::new();
    for reply in world.replies(2 * PEOPLE.len()) {
        assert_eq!(reply.defects, [""; 0]);
        *replies.entry(reply.rcpt_to).or_default() += 1;
    }
    let wanted: BTreeMap<String, usize> = PEOPLE.iter().map(|(_, from)| (format!("<{from}>"), 2)).collect();
    assert_eq!(replies, wanted);
    assert_nothing_is_left(&world);
}
