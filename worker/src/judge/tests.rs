//! What the switches and the kind of a response come to, without DNS and database.

use replyfleet::{clock::UnixMillis, envelope::Facts};

use super::*;
use crate::{
    catalogue::{Catalogue, SendMethod},
    request,
    switches::Setting,
};

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

fn judge(unproven: &str) -> Judge {
    let text = include_str!("../../../docs/replyfleet.toml")
        .replace("# mode = \"on\"", "mode = \"off\"")
        .replace("# unproven = \"none\"", &format!("unproven = \"{unproven}\""));
    Judge::open(&Settings::parse(&text, "docs/replyfleet.toml", |_| None).expect("valid")).expect("a judge")
}

/// Responses of `get@example.com`: (attachments, trust).
fn catalogue(responses: &[(bool, &str)]) -> Catalogue {
    let entry = |(has_attachment, trust): &(bool, &str)| {
        let attachments = if *has_attachment { r#"[["b", "k", "n"]]"# } else { "null" };
        format!(r#"{{"email_addr": "get@example.com", "body": "x", "attachments": {attachments}, "send_method": "SES", "trust": "{trust}"}}"#)
    };
    let entries: Vec<_> = responses.iter().map(entry).collect();
    Catalogue::parse(&format!("[{}]", entries.join(",")), &[SendMethod::Ses]).expect("valid")
}

/// How it ends; else which trust each promise needs of the ledger, and the most that it may grant.
async fn judged(judge: &Judge, catalogue: &Catalogue, switches: &[(&str, &str)], is_shedding: bool) -> Result<(Vec<Trust>, Trust), End> {
    let mail = b"From: someone@example.org\n\nplease\n";
    let request = request::read(mail, 1_000).expect("readable");
    let facts = Facts { mail_from: "someone@example.org".into(), rcpt_to: "get+fa@example.com".into(), arrived: NOW, ..Facts::default() };
    let set: Vec<_> = switches.iter().map(|(name, value)| (Setting::parse(name, value).expect(name), 1)).collect();
    let hearing = Hearing {
        seen: Seen { facts: &facts, request: &request, catalogue, policy: judge.policy(), now: NOW },
        mail,
        switches: Switches::new(&set).into(),
        is_shedding,
        is_first_look: true,
    };
    match judge.judge(&hearing, None).await {
        (_, Some(end)) => Err(end),
        (judgement, None) => {
            let promises = judgement.promises(&catalogue.responses_for(&facts.rcpt_to));
            Ok((promises.iter().map(|promise| promise.needs).collect(), judgement.ceiling(&promises)))
        }
    }
}

#[tokio::test]
async fn trust_chooses_the_responses_and_attachments_are_what_the_ledger_counts() {
    let both = catalogue(&[(false, "small"), (true, "full")]);
    assert_eq!(judged(&judge("full"), &both, &[], false).await, Ok((vec![Trust::Small, Trust::Full], Trust::Full)));
    assert_eq!(judged(&judge("small"), &both, &[], false).await, Ok((vec![Trust::Small], Trust::Small)));
    assert_eq!(judged(&judge("none"), &both, &[], false).await, Err(End::Ignore(Reason::Unproven)));
    // A file for everybody, and links for the proven only: whoever wants it so.
    let crossed = catalogue(&[(true, "small"), (false, "full")]);
    assert_eq!(judged(&judge("full"), &crossed, &[], false).await, Ok((vec![Trust::Full, Trust::Small], Trust::Full)));
    assert_eq!(judged(&judge("small"), &crossed, &[], false).await, Ok((vec![Trust::Full], Trust::Full)));
    assert_eq!(judged(&judge("small"), &catalogue(&[(false, "full")]), &[], false).await, Err(End::Ignore(Reason::Unproven)));
}

#[tokio::test]
async fn attachments_that_are_off_or_shed_are_so_whatever_trust_their_response_needs() {
    let off = [("attachments", "off")];
    let nothing_else = catalogue(&[(true, "small")]);
    for (switches, is_shedding) in [(&off[..], false), (&[][..], true)] {
        let with = |catalogue: Catalogue| async move { judged(&judge("full"), &catalogue, switches, is_shedding).await };
        assert_eq!(with(catalogue(&[(false, "full"), (true, "small")])).await.map(|(_, ceiling)| ceiling), Ok(Trust::Small));
        assert_eq!(with(nothing_else.clone()).await, Err(End::Ignore(Reason::SwitchedOff)));
    }
}

#[tokio::test]
async fn the_strictest_switch_holds_and_says_whether_the_request_is_lost() {
    let (judge, links) = (judge("full"), catalogue(&[(false, "small")]));
    let (off, hold) = (Err(End::Ignore(Reason::SwitchedOff)), Err(End::Later(Wait::Switch)));
    for (switches, end) in [
        (&[("all", "hold")][..], &hold),
        (&[("all", "off")], &off),
        (&[("address:get@example.com", "hold")], &hold),
        (&[("address:get@example.com", "hold"), ("all", "off")], &off),
        (&[("provider:example.org", "off")], &off),
    ] {
        assert_eq!(&judged(&judge, &links, switches, false).await, end, "{switches:?}");
    }
    assert!(judged(&judge, &links, &[("address:other@example.com", "off"), ("provider:example.net", "off")], false).await.is_ok());
}
