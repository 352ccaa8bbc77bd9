//! The predecessor's form is read, and every fault is found by entry, field, line and column.

use super::*;

const BOTH: [SendMethod; 2] = [SendMethod::Ses, SendMethod::Smtp];

/// The shape that the predecessor's documentation shows: two entries for one address, a string body, null attachments.
const SEED_SHAPE: &str = r#"[
  {
    "email_addr": "get@example.com",
    "body":
        [
          ["plain", "English - https://example.com/en.html\nفارسی - https://example.com/fa.html"],
          ["html", "<a href=\"https://example.com/en.html\">English</a>"]
        ],
    "attachments": null,
    "send_method": "SES"
  },
  {
    "email_addr": "get@example.com",
    "body": "I have an attachment",
    "attachments": [["bucket-name", "Program.exe", "Program.ex_"],
                  ["bucket-name", "Program.apk", "Program.apk"]],
    "send_method": "SMTP"
  }
]"#;

fn fault(text: &str) -> CatalogueError {
    Catalogue::parse(text, &BOTH).expect_err("refused")
}

#[test]
fn the_predecessors_catalogue_works_unchanged_and_in_its_order() {
    let catalogue = Catalogue::parse(SEED_SHAPE, &BOTH).expect("valid");
    let responses = catalogue.responses_for("Get+fa@EXAMPLE.com");
    assert_eq!(responses.len(), 2);
    assert_eq!(responses[0].send_method, SendMethod::Ses);
    assert!(responses[0].attachments.is_empty() && responses[0].html.is_some());
    assert_eq!(responses[1].plain.as_deref(), Some("I have an attachment"));
    assert_eq!(responses[1].attachments[0].file_name, "Program.ex_");
    assert!(catalogue.responses_for("got@example.com").is_empty());
    assert_eq!(catalogue.domains().collect::<Vec<_>>(), ["example.com"]);
}

#[test]
fn a_missing_comma_is_found_by_line_and_column() {
    let text = SEED_SHAPE.replace("\"Program.apk\"]],", "\"Program.apk\"]]");
    let line = text.lines().position(|line| line.contains("\"SMTP\"")).expect("there") + 1;
    let fault = fault(&text);
    assert_eq!((fault.line, fault.column), (line, 5), "{fault}");
    assert!(fault.to_string().contains("expected `,`"), "{fault}");
}

#[test]
fn every_fault_names_its_entry_field_and_place() {
    for (from, to, entry, field, wanted) in [
        ("\"SMTP\"", "\"FAX\"", 2, "send_method", "\"SES\" or \"SMTP\""),
        ("\"body\": \"I have", "\"bodi\": \"I have", 2, "bodi", "is not a field"),
        ("\"body\": \"I have an attachment\"", "\"body\": 7", 2, "body", "a string, or a list"),
        ("\"attachments\": null", "\"attachments\": [[\"a\", \"b\"]]", 1, "attachments", "[bucket, key, file name]"),
        ("\"Program.exe\"", "\"../Program.exe\"", 2, "attachments", "not an object key"),
        ("\"Program.ex_\"", "\"a/b\"", 2, "attachments", "file name"),
        ("[\"html\"", "[\"plain\"", 1, "body", "two parts"),
        ("[\"html\"", "[\"rtf\"", 1, "body", "rtf"),
        ("\"send_method\": \"SES\"", "\"send_method\": \"SES\", \"send_method\": \"SES\"", 1, "send_method", "there twice"),
        ("\"send_method\": \"SES\"", "\"subject\": \"a\\nb\", \"send_method\": \"SES\"", 1, "subject", "control characters"),
    ] {
        assert!(SEED_SHAPE.contains(from), "{from}");
        let text = SEED_SHAPE.replacen(from, to, 1);
        let fault = fault(&text);
        assert_eq!((fault.entry, fault.field.as_deref()), (Some(entry), Some(field)), "{fault}");
        assert!(fault.text.contains(wanted), "{fault}");
        let line = text.lines().nth(fault.line - 1).expect("a line");
        assert!(line.contains(&format!("\"{field}\"")) || field == "body", "{fault} points at {line}");
    }
}

#[test]
fn an_address_that_is_not_lower_case_is_refused_by_name() {
    let fault = fault(&SEED_SHAPE.replacen("get@", "Get@", 1));
    assert_eq!((fault.line, fault.column, fault.entry), (3, 19, Some(1)));
    assert!(fault.text.contains("\"Get@example.com\"") && fault.text.contains("\"get@example.com\""), "{fault}");
}

#[test]
fn what_would_silence_the_service_is_refused() {
    assert!(fault("[]").text.contains("no entry"));
    assert!(fault("").text.contains("EOF"));
    assert!(fault("{}").text.contains("expected a sequence"));
    assert!(fault("[{}]").text.contains("is missing"));
    let no_smtp = Catalogue::parse(SEED_SHAPE, &[SendMethod::Ses]).expect_err("no sender");
    assert!(no_smtp.text.contains("[send.SMTP]") && no_smtp.entry == Some(2), "{no_smtp}");
}

#[test]
fn a_response_is_known_by_what_it_says_and_not_by_its_place() {
    let digests =
        |text: &str| Catalogue::parse(text, &BOTH).expect("valid").responses().iter().map(|response| response.digest.clone()).collect::<Vec<_>>();
    let old = digests(SEED_SHAPE);
    let shifted = digests(&SEED_SHAPE.replacen('[', r#"[{"email_addr": "new@example.com", "body": "x", "send_method": "SES"},"#, 1));
    assert_eq!(shifted[1..], old);
    let edited = digests(&SEED_SHAPE.replace("I have an attachment", "I have two"));
    assert!(edited[0] == old[0] && edited[1] != old[1]);
}

const TRANSLATED: &str = r#"[
  {
    "email_addr": "get@example.com",
    "body": [["plain", "links"], ["html", "<p>links</p>"]],
    "send_method": "SES",
    "lang": "EN",
    "translations": {
      "fa": {
        "body": [["plain", "پیوندها"], ["html", "<p>پیوندها</p>"]],
        "subject": "پاسخ"
      },
      "zh-hans": { "body": [["html", "<p>链接</p>"], ["plain", "链接"]] }
    }
  }
]"#;

#[test]
fn a_body_may_have_translations() {
    let catalogue = Catalogue::parse(TRANSLATED, &BOTH).expect("valid");
    let response = &catalogue.responses()[0];
    assert_eq!(response.lang.as_ref().map(Tag::as_str), Some("en"));
    let [fa, zh] = response.translations.as_slice() else { panic!("two") };
    assert_eq!((fa.lang.as_str(), fa.plain.as_deref(), fa.subject.as_deref()), ("fa", Some("پیوندها"), Some("پاسخ")));
    assert_eq!((zh.lang.as_str(), zh.html.as_deref(), zh.subject.as_deref()), ("zh-Hans", Some("<p>链接</p>"), None));
    let plain = r#"[{"email_addr": "a@b.org", "body": "x", "send_method": "SES", "lang": "en", "translations": {"fa": {"body": "y"}}}]"#;
    assert_eq!(Catalogue::parse(plain, &BOTH).expect("valid").responses()[0].translations[0].plain.as_deref(), Some("y"));
    Catalogue::parse(&plain.replace(r#"{"fa": {"body": "y"}}"#, "{}"), &BOTH).expect("none yet");
}

#[test]
fn a_changed_translation_is_another_response() {
    let digest = |text: &str| Catalogue::parse(text, &BOTH).expect("valid").responses()[0].digest.clone();
    for (from, to) in [("پاسخ", "پاسخ ما"), ("<p>链接</p>", "<p>链</p>"), ("\"EN\"", "\"de\""), ("zh-hans", "zh-hant")] {
        assert_ne!(digest(TRANSLATED), digest(&TRANSLATED.replacen(from, to, 1)), "{from}");
    }
}

#[test]
fn every_fault_of_a_translation_is_found_at_its_own_place() {
    for (from, to, field, line, wanted) in [
        ("\"EN\"", "\"English\"", "lang", 6, "\"English\" must be a language tag"),
        ("\"EN\"", "7", "lang", 6, "must be a language tag, such as \"en\""),
        ("\"lang\": \"EN\",", "", "translations", 7, "add \"lang\""),
        ("\"EN\"", "\"fa\"", "translations.fa", 8, "already"),
        ("\"zh-hans\"", "\"FA\"", "translations.FA", 12, "already"),
        ("\"zh-hans\"", "\"zh_hans\"", "translations.zh_hans", 12, "\"zh_hans\" must be a language tag"),
        ("\"subject\": \"پاسخ\"", "\"subjekt\": \"پاسخ\"", "translations.fa.subjekt", 10, "these are: body, subject"),
        ("\"subject\": \"پاسخ\"", "\"subject\": \"\"", "translations.fa.subject", 10, "1 to 256 characters"),
        ("\"subject\": \"پاسخ\"", "\"body\": \"x\"", "translations.fa.body", 10, "there twice"),
        (", [\"html\", \"<p>پیوندها</p>\"]", "", "translations.fa.body", 9, "the entry's own has a \"html\" part, this has none"),
        (", [\"html\", \"<p>links</p>\"]", "", "translations.fa.body", 9, "this has a \"html\" part, the entry's own has none"),
        ("[[\"html\", \"<p>链接</p>\"], [\"plain\", \"链接\"]]", "7", "translations.zh-hans.body", 12, "a string, or a list"),
        ("{ \"body\": [[\"html\", \"<p>链接</p>\"], [\"plain\", \"链接\"]] }", "{}", "translations.zh-hans", 12, "has no body"),
        ("{ \"body\": [[\"html\", \"<p>链接</p>\"], [\"plain\", \"链接\"]] }", "\"链接\"", "translations.zh-hans", 12, "an object with body"),
        ("<p>链接</p>", "<!DOCTYPE html><p>链接</p>", "translations.zh-hans.body", 12, "only what stands inside <body>"),
        ("<p>links</p>", "<html><body>links</body></html>", "translations", 7, "only what stands inside <body>"),
        ("\"lang\"", "\"subject_from_request\": true, \"lang\"", "translations.fa.subject", 10, "subject_from_request"),
    ] {
        assert!(TRANSLATED.contains(from), "{from}");
        let fault = fault(&TRANSLATED.replacen(from, to, 1));
        assert_eq!((fault.entry, fault.field.as_deref(), fault.line), (Some(1), Some(field), line), "{fault}");
        assert!(fault.text.contains(wanted), "{fault}");
    }
    let list = fault(r#"[{"email_addr": "a@b.org", "body": "x", "send_method": "SES", "lang": "en", "translations": [["fa", "y"]]}]"#);
    assert!(list.field.as_deref() == Some("translations") && list.text.contains("an object from language tags"), "{list}");
}

#[test]
fn a_whole_document_is_told_from_a_fragment() {
    for document in ["<!DOCTYPE html><p>x", " <HTML lang=\"fa\">", "<html>", "<!-- x -->\n<head>", "<body\n>"] {
        assert!(is_whole_document(document), "{document}");
    }
    for fragment in ["", "<p>x</p>", "<header>x</header>", "<htmlx>", "html head body", "&lt;html&gt;"] {
        assert!(!is_whole_document(fragment), "{fragment}");
    }
}
