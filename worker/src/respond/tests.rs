//! Which response takes the place of one that was promised and is in the catalogue no more.

use super::*;
use crate::{catalogue::SendMethod, ledger::ReplyRow};

/// Entries of `get@example.com`: (body, has an attachment, trust).
fn catalogue(entries: &[(&str, bool, &str)]) -> Catalogue {
    let entry = |(body, has_attachment, trust): &(&str, bool, &str)| {
        let attachments = if *has_attachment { r#"[["b", "k", "n"]]"# } else { "null" };
        let rest = format!(r#""attachments": {attachments}, "send_method": "SES", "trust": "{trust}""#);
        format!(r#"{{"email_addr": "get@example.com", "body": "{body}", {rest}}}"#)
    };
    let entries: Vec<_> = entries.iter().map(entry).collect();
    Catalogue::parse(&format!("[{}]", entries.join(",")), &[SendMethod::Ses]).expect("valid")
}

#[test]
fn a_mended_catalogue_never_gives_more_than_was_granted() {
    let files = ("files", true, "full");
    let old = catalogue(&[files, ("links", false, "small")]);
    let digest = |index: usize| old.responses()[index].digest.clone();
    for (what, promised, granted, mended, index, expected) in [
        ("links alone, mended", vec![1], Trust::Small, catalogue(&[files, ("better", false, "small")]), 0, Some("better")),
        ("links alone, gone", vec![1], Trust::Small, catalogue(&[("others", true, "full")]), 0, None),
        ("links alone, now for the proven", vec![1], Trust::Small, catalogue(&[files, ("better", false, "full")]), 0, None),
        ("both, the links mended", vec![0, 1], Trust::Full, catalogue(&[files, ("better", false, "small")]), 1, Some("better")),
        ("both, the files mended", vec![0, 1], Trust::Full, catalogue(&[("new", true, "full"), ("links", false, "small")]), 0, Some("new")),
        ("the same, elsewhere", vec![1], Trust::Small, catalogue(&[("links", false, "small"), files]), 0, Some("links")),
    ] {
        let replies = promised.into_iter().map(|index| ReplyRow { state: ReplyState::Pending, response: digest(index), attempts: 0 }).collect();
        let progress = Progress { verdict: Verdict::Answer, replies, granted };
        let facts = Facts { rcpt_to: "get@example.com".into(), ..Facts::default() };
        let request = request::read(b"From: a@example.org\n\n", 1_000).expect("readable");
        let case = Case { facts: &facts, request: &request, to: request.from.as_ref().expect("clear"), catalogue: &mended };
        assert_eq!(case.promised(&progress, index).and_then(|response| response.plain.as_deref()), expected, "{what}");
    }
}
