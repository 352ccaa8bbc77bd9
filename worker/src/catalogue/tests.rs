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
