//! Mail that real people wrote, given to Postfix as it is, comes back with both replies.

use std::{collections::BTreeMap, fs};

use replyfleet_tests::{
    repository, skipped,
    world::{Backing, Mail, Plan, World},
};

use crate::common::assert_nothing_is_left;

/// From the corpus, with who gets the replies: Outlook, Netscape, Eudora and Pine; 8-bit and encoded headers, plain,
/// alternative, with pictures, and a message within the message.
const PEOPLE: [(&str, &str); 6] = [
    ("zbateson/m0001.txt", "doug@example.com"),
    ("zbateson/m0013.txt", "doug@example.com"),
    ("zbateson/m1005.txt", "dwsauder@example.com"),
    ("zbateson/m2010.txt", "dwsauder@example.com"),
    ("zbateson/m3004.txt", "doug@penguin.example.com"),
    ("mikel/ks_c_5601-1987.eml", "from@example.com"),
];

#[test]
fn mail_of_people_comes_back_with_both_replies() {
    let corpus = repository().join("../shared/corpora/people");
    if !corpus.exists() {
        return skipped("no corpora beside the repository");
    }
    let Some(world) = World::start(&Plan::on(Backing::Embedded)) else { return };
    for (file, from) in PEOPLE {
        let content = fs::read(corpus.join(file)).expect("a mail of the corpus");
        world.send(&Mail { from, ..Mail::of(content) });
    }
    world.wait_for_handover(PEOPLE.len());
    let _worker = world.start_worker();
    let mut replies: BTreeMap<String, usize> = BTreeMap::new();
    for reply in world.replies(2 * PEOPLE.len()) {
        assert_eq!(reply.defects, [""; 0]);
        *replies.entry(reply.rcpt_to).or_default() += 1;
    }
    let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
    for (_, from) in PEOPLE {
        *wanted.entry(format!("<{from}>")).or_default() += 2;
    }
    assert_eq!(replies, wanted);
    assert_nothing_is_left(&world);
}
