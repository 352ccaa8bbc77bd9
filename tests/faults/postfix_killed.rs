//! Row 6: Postfix is killed, all of it, while mail comes in and goes on. Every mail that had its 250 is answered; one that was
//! being handed over may be handed over again, and is answered once.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::Stdio,
};

use replyfleet_tests::world::{Backing, CLIENT, Plan, World, date};

/// Mails that are given to each Postfix before it is killed.
const MAILS: usize = 40;

/// Speaks SMTP over one connection until it breaks; tells each mail that had its 250 the moment it had it.
const CLIENT_SCRIPT: &str = r#"
import smtplib, sys
client, first, count, date = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
smtp = smtplib.SMTP("192.0.2.25", 25, local_hostname="client.example.org", source_address=(client, 0))
for number in range(first, first + count):
    mail = f"From: p{number}@example.org\r\nTo: get@responder.test\r\nDate: {date}\r\nMessage-ID: <{number}@client.example.org>\r\n\r\nplease\r\n"
    smtp.sendmail(f"p{number}@example.org", ["get@responder.test"], mail)
    print(number, flush=True)
"#;

#[test]
fn every_mail_that_had_its_250_is_answered_however_often_postfix_is_killed() {
    let Some(mut world) = World::start(&Plan::on(Backing::Embedded)) else { return };
    let mut accepted: BTreeSet<usize> = BTreeSet::new();
    for round in 0..3 {
        let mut client = world.command("python3");
        client.args(["-c", CLIENT_SCRIPT, CLIENT, &(round * MAILS).to_string(), &MAILS.to_string(), &date()]);
        let mut client = client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
        let mut had = 0;
        for line in lines.by_ref() {
            accepted.insert(line.unwrap().parse().unwrap());
            had += 1;
            if had == MAILS / 2 - round {
                break; // in the midst of it
            }
        }
        world.kill_postfix();
        for line in lines {
            accepted.insert(line.unwrap().parse().unwrap());
        }
        client.wait().unwrap();
        world.start_postfix_again();
    }
    let _worker = world.start_worker();
    world.flush_postfix();
    world.wait_until_postfix_is_empty();
    world.wait_until_settled();
    world.assert_nothing_bounced();
    let replies = world.at_the_sink();
    let answered: Vec<usize> =
        replies.iter().map(|reply| reply.header("in-reply-to").trim_start_matches('<').split('@').next().unwrap().parse().unwrap()).collect();
    let copies = |number: &usize| answered.iter().filter(|answered| *answered == number).count();
    assert!(accepted.len() > MAILS / 2, "{accepted:?}");
    for number in &accepted {
        assert_eq!(copies(number), 2, "both replies of mail {number}, once");
    }
    // One whose 250 was cut off on its way may be answered, too.
    assert!(answered.iter().all(|number| copies(number) == 2), "nobody is answered twice");
}
