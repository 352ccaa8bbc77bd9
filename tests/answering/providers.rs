//! What a recipient's provider wants, by the hosts that take his mail: other names for files, and no more than it takes.

use replyfleet_tests::{
    dkim::Signer,
    dns::{Dns, Fault},
};
use replyfleet_worker::outcome::{Outcome, Wait};

use crate::world::{Incoming, Plan, World, bare};

const PROVIDERS: &str = r#"
[[providers]]
name = "big-mail"
mx = ["mail.big.example"]
message_bytes_max = 60000
rename = { bin = "b_n" }
"#;

fn zones(signer: &Signer) -> Dns {
    Dns::start(|zone| {
        for domain in ["signs.example", "big.example"] {
            bare(zone, domain);
            signer.publish(zone, domain);
        }
        // A school whose mail lies with that provider, and with another one for bad days.
        zone.mx("school.example", 20, "mx.signs.example").mx("school.example", 10, "in.mail.big.example");
        signer.publish(zone, "school.example");
    })
}

fn from(signer: &Signer, domain: &str) -> Incoming {
    Incoming::of(&format!("a@{domain}")).signed(signer, domain)
}

fn asks_for_files(incoming: Incoming) -> Incoming {
    Incoming { rcpt_to: "files@responder.test".into(), ..incoming }
}

#[tokio::test]
async fn files_are_called_as_the_provider_behind_the_domain_wants() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let mut world = World::start(&dns, &Plan { more: PROVIDERS, ..Plan::default() }).await;
    for (domain, name) in [("signs.example", "a.bin"), ("school.example", "a.b_n"), ("big.example", "a.bin")] {
        let before = world.replies().1;
        assert_eq!(world.ask(from(&signer, domain)).await, Outcome::Answered);
        let new: Vec<String> = world.replies().1.into_iter().filter(|reply| !before.contains(reply)).collect();
        assert!(new.len() == 1 && new[0].contains(&format!("filename=\"{name}\"")), "{domain}: {new:?}");
    }
    world.ends_empty().await;
}

#[tokio::test]
async fn files_that_are_too_big_for_the_provider_stay_here_and_the_small_reply_goes_alone() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let file = "x".repeat(45_000); // encoded it is some 61 kB
    let mut world = World::start(&dns, &Plan { more: PROVIDERS, file: &file, ..Plan::default() }).await;
    assert_eq!(world.ask(from(&signer, "signs.example")).await, Outcome::Answered);
    assert_eq!(world.sent(), (1, 1), "others take it");
    assert_eq!(world.ask(from(&signer, "school.example")).await, Outcome::Answered);
    assert_eq!(world.sent(), (2, 1));
    let census = world.ledger().await.census(replyfleet::clock::UnixMillis::now()).await.unwrap();
    assert_eq!((census.day.replies.get("too_big"), census.day.replies.get("sent")), (Some(&1), Some(&3)), "it is counted");

    assert_eq!(world.ask(asks_for_files(from(&signer, "school.example"))).await, Outcome::Answered);
    let (_, files) = world.replies();
    let alone: Vec<&String> = files.iter().filter(|reply| !reply.contains("multipart/mixed")).collect();
    assert_eq!((files.len(), alone.len()), (2, 1), "where there is no small reply, the text goes without its files");
    world.ends_empty().await;
}

#[tokio::test]
async fn no_file_leaves_while_dns_does_not_say_whose_customer_the_recipient_is() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    // A request has to wait for its turn, and when that comes the name server does not know the domain any more.
    let more = "rates.domains = { \"responder.test\" = \"20/min\" }";
    let mut world = World::start(&dns, &Plan { authentication: ", cache_entries = 0", more, ..Plan::default() }).await;
    for _ in 0..2 {
        assert_eq!(world.ask(from(&signer, "big.example")).await, Outcome::Answered, "the slack");
    }
    let key = world.take(from(&signer, "signs.example")).await;
    let outcome = world.end_of(&key).await;
    assert!(matches!(outcome, Outcome::Retry(Wait::Pace(_))), "{outcome:?}");
    dns.change(|zone| {
        zone.remove("signs.example").fault("signs.example", Fault::Failure);
    });
    assert_eq!(world.end_of(&key).await, Outcome::Retry(Wait::Dns));
    let before = world.sent();
    dns.change(|zone| {
        zone.remove("signs.example").mx("signs.example", 10, "mx.signs.example");
    });
    assert_eq!(world.end_of(&key).await, Outcome::Answered);
    assert_eq!((before.1, world.sent()), (2, (3, 3)));
    world.ends_empty().await;
}
