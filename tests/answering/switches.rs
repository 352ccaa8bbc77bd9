//! The operator's switches, set beside a running worker: it follows within the minute that is promised, and says so.

use std::time::Duration;

use replyfleet::clock::UnixMillis;
use replyfleet_tests::{dkim::Signer, dns::Dns, eventually};
use replyfleet_worker::{
    outcome::{Outcome, Wait},
    reason::Reason,
    switches::Setting,
};

use crate::world::{Incoming, Plan, World, bare};

/// What an operator is promised.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(60);

fn zones(signer: &Signer) -> Dns {
    Dns::start(|zone| {
        for domain in ["signs.example", "provider.example"] {
            bare(zone, domain);
            signer.publish(zone, domain);
        }
        // A company whose mail lies with that provider.
        zone.mx("company.example", 10, "in.mail.provider.example");
        signer.publish(zone, "company.example");
    })
}

async fn set(world: &World, switches: &[(&str, &str)]) {
    let ledger = world.ledger().await;
    for (name, value) in switches {
        ledger.set_switch(&Setting::parse(name, value).unwrap(), UnixMillis::now()).await.unwrap();
    }
}

#[tokio::test]
async fn a_running_worker_follows_within_a_minute() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let mut world = World::start(&dns, &Plan::default()).await;
    let from = |local: &str, domain: &str| Incoming::of(&format!("{local}@{domain}")).signed(&signer, domain);
    let to = |rcpt_to: &str, incoming: Incoming| Incoming { rcpt_to: rcpt_to.into(), ..incoming };
    assert_eq!(world.ask(from("a", "company.example")).await, Outcome::Answered);
    assert_eq!(world.sent(), (1, 1));

    set(&world, &[("attachments", "off"), ("address:files@responder.test", "off"), ("provider:mail.provider.example", "off")]).await;
    let ledger = world.ledger().await;
    let version = ledger.switches().await.unwrap().version;
    eventually("the worker to follow", FOLLOWS_WITHIN, async || {
        let workers = ledger.workers(UnixMillis::now()).await.unwrap();
        (workers.len() == 1 && workers[0].switches == version).then_some(())
    })
    .await;
    assert_eq!(world.metrics.current_switches().settings.len(), 3);

    assert_eq!(world.ask(from("b", "signs.example")).await, Outcome::Answered);
    assert_eq!(world.sent(), (2, 1), "attachments are off");
    assert_eq!(world.ask(to("Files+x@Responder.TEST", from("c", "signs.example"))).await, Outcome::Ignored(Reason::SwitchedOff), "the address");
    assert_eq!(world.ask(from("d", "provider.example")).await, Outcome::Answered, "not the provider that is off");
    assert_eq!(world.ask(from("e", "company.example")).await, Outcome::Ignored(Reason::SwitchedOff), "its mail hosts are the provider's");
    assert_eq!(world.sent(), (3, 1));
    world.ends_empty().await;
}

#[tokio::test]
async fn what_was_switched_before_its_start_holds_from_the_first_mail_on() {
    let signer = Signer::new("s");
    let dns = zones(&signer);
    let mut asked = 0;
    for (name, value, outcome) in [
        ("all", "off", Outcome::Ignored(Reason::SwitchedOff)),
        ("all", "hold", Outcome::Retry(Wait::Switch)),
        ("address:get@responder.test", "hold", Outcome::Retry(Wait::Switch)),
        ("provider:provider.example", "off", Outcome::Ignored(Reason::SwitchedOff)),
    ] {
        let prepared = World::prepare(&dns, &Plan::default());
        prepared.ledger().await.set_switch(&Setting::parse(name, value).unwrap(), UnixMillis::now()).await.unwrap();
        let mut world = prepared.start().await;
        asked += 1;
        let incoming = Incoming::of(&format!("a{asked}@company.example")).signed(&signer, "company.example");
        assert_eq!(world.ask(incoming).await, outcome, "{name} {value}");
        assert_eq!(world.sent(), (0, 0), "{name} {value}");
    }
}
