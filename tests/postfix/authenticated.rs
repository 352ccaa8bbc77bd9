//! Who sent it, as real Postfix hands it over: bare LF at the ends of lines, fields of its own on top, and the client's
//! address in the envelope. A name server of the world's own has the keys and records.

use replyfleet_tests::{
    dkim::Signer,
    world::{Backing, CLIENT, Mail, Plan, TWO_REPLIES, World, date},
};

use crate::common::assert_nothing_is_left;

/// Each has a mail host, where the sink is.
const DOMAINS: [&str; 4] = ["signs.example", "spf.example", "guarded.example", "bare.example"];

fn names(signer: &Signer) -> Vec<String> {
    let (key_at, key) = signer.record("signs.example");
    let mut names: Vec<String> = DOMAINS.iter().map(|domain| format!("--mx-host={domain},mail.example.org,10")).collect();
    for (name, text) in [
        (key_at.as_str(), key.as_str()),
        ("spf.example", &format!("v=spf1 ip4:{CLIENT} -all")),
        ("guarded.example", "v=spf1 ip4:192.0.2.99 -all"),
        ("_dmarc.guarded.example", "v=DMARC1; p=reject"),
    ] {
        names.push(format!("--txt-record={name},{text}"));
    }
    names
}

fn request(from: &str) -> Vec<u8> {
    // Bodies that signers and Postfix may see differently: dots, "From " at the start, white space, blank lines at the end.
    let body = "please\n.\n..\nFrom here on\n two  spaces \n\n\n";
    format!("From: Some One <{from}>\nTo: {TWO_REPLIES}\nSubject: please\n\tsend it\nDate: {}\nMessage-ID: <{from}>\n\n{body}", date()).into_bytes()
}

fn who_is_proven_gets_what_that_buys(backing: Backing) {
    let signer = Signer::new("postfix");
    let names = names(&signer);
    let Some(world) = World::start(&Plan { authentication: "timeout_s = 5", names: &names, ..Plan::on(backing) }) else { return };
    let signed = |from: &str, domain: &str| signer.sign(&request(from), domain);
    let mails = [
        ("a@signs.example", signed("a@signs.example", "signs.example")),
        ("a@spf.example", request("a@spf.example")),
        ("a@guarded.example", request("a@guarded.example")),
        ("a@bare.example", request("a@bare.example")),
        // Signed by a domain that is not From's, and sent with an envelope for which SPF passes.
        ("a@spf.example", signed("b@bare.example", "signs.example")),
        ("a@nowhere.example", signed("a@nowhere.example", "signs.example")),
    ];
    for (from, content) in mails.clone() {
        world.send(&Mail { from, ..Mail::of(content) });
    }
    world.wait_for_handover(mails.len());
    let _worker = world.start_worker();
    world.wait_until_settled();
    let mut found: Vec<(String, bool)> = world.replies(3).into_iter().map(|reply| (reply.rcpt_to.clone(), !reply.attachments().is_empty())).collect();
    found.sort_unstable();
    let wanted = [("<a@signs.example>", false), ("<a@signs.example>", true), ("<a@spf.example>", false)];
    assert_eq!(found, wanted.map(|(to, has_attachments)| (to.to_owned(), has_attachments)), "all, links, and nothing for the forged");
    assert_nothing_is_left(&world);
    assert_eq!(world.at_the_sink().len(), 3);
}

#[test]
fn who_is_proven_gets_what_that_buys_on_the_embedded_default() {
    who_is_proven_gets_what_that_buys(Backing::Embedded);
}

#[test]
fn who_is_proven_gets_what_that_buys_on_sqs_s3_and_ses() {
    who_is_proven_gets_what_that_buys(Backing::Aws);
}
