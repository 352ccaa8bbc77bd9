//! The annotated example holds every key, and what is wrong is said with its place.

use super::*;

const EXAMPLE: &str = include_str!("../../docs/replyfleet.toml");

fn parse(text: &str) -> Result<Settings, SettingsError> {
    Settings::parse(text, "replyfleet.toml", |_| None)
}

fn error(text: &str) -> String {
    parse(text).map(drop).expect_err("refused").to_string()
}

#[test]
fn the_annotated_example_is_valid() {
    let settings = parse(EXAMPLE).expect("docs/replyfleet.toml");
    assert_eq!(settings.queue.url, QueueUrl::Spool("/var/spool/replyfleet".into()));
    assert_eq!(settings.allowance.answers_per_sender.get(), 3);
}

#[test]
fn metrics_go_out_where_the_queue_is_on_sqs_unless_the_settings_say_otherwise() {
    let on_sqs =
        EXAMPLE.replace("url = \"spool:/var/spool/replyfleet\"", "url = \"https://sqs.example/1/q\"\ndead_letter_url = \"https://sqs.example/1/d\"");
    for (text, wanted) in [
        (EXAMPLE.to_owned(), false),
        (on_sqs.clone(), true),
        (EXAMPLE.replace("\n[metrics]\n", "\n[metrics]\ncloudwatch = true\n"), true),
        (on_sqs.replace("\n[metrics]\n", "\n[metrics]\ncloudwatch = false\n"), false),
    ] {
        assert_eq!(parse(&text).expect("valid").publishes_metrics(), wanted, "{text}");
    }
}

#[test]
fn a_namespace_or_a_period_that_cloudwatch_does_not_have_is_refused_with_its_place() {
    for bad in ["namespace = \"\"", "namespace = \":x\"", "namespace = \"AWS/SQS\"", "namespace = \"a b\"", "period_s = 2", "period_s = 120"] {
        let text = error(&EXAMPLE.replace("\n[metrics]\n", &format!("\n[metrics]\n{bad}\n")));
        assert!(text.contains(bad.split(' ').next().expect("a key")) && text.contains("expected"), "{text}");
    }
}

#[test]
fn the_example_documents_every_key_with_its_default() {
    // With every commented key switched on, it still parses: no key is unknown, none is misspelt.
    let mut switched_on = String::new();
    let with_ses = EXAMPLE.replace("kind = \"maildir\"\ndir = \"/var/lib/replyfleet/replies\"\n", "kind = \"ses\"\n");
    for line in with_ses.lines() {
        let is_key = line.strip_prefix("# ").is_some_and(|rest| {
            let key = rest.split_once(" = ").map(|(key, _)| key);
            rest.starts_with("[[") || key.is_some_and(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        });
        let without_default = ["kind", "dead_letter_url", "user", "per_address", "total", "exempt_domains"];
        let is_for_another_choice = without_default.iter().any(|key| line.starts_with(&format!("# {key} ")));
        switched_on += if is_key && !is_for_another_choice { &line[2..] } else { line };
        switched_on.push('\n');
    }
    let (all, some) = (parse(&switched_on).expect("every key"), parse(&with_ses).expect("the example"));
    let defaults = |s: &Settings| {
        format!(
            "{:?}",
            (
                &s.log,
                &s.queue,
                &s.store,
                &s.catalogue.refresh_s,
                (&s.worker, &s.status),
                &s.screen.age_max_s,
                &s.screen.mail_bytes_max,
                &s.allowance,
                (&s.authentication.spf_only, &s.authentication.unproven, &s.authentication.timeout_s, &s.authentication.cache_entries),
                &s.enqueuer.deadline_s,
                &s.enqueuer.mail_bytes_max,
                (&s.metrics.namespace, &s.metrics.period_s, s.metrics.host, &s.metrics.sample_s)
            )
        )
    };
    assert_eq!(defaults(&all), defaults(&some), "what the example shows as a default is the default");
    // And the other way round: every key that the program knows stands in the example. serde lists them when asked for one
    // that it does not know.
    for section in [
        "",
        "log",
        "queue",
        "store",
        "catalogue",
        "aws",
        "enqueuer",
        "worker",
        "database",
        "authentication",
        "screen",
        "allowance",
        "shedding",
        "reply",
        "send",
        "send.SES",
        "send.SMTP",
        "send.SMTP.routes",
        "signing.keys",
        "providers",
        "rates",
        "dns",
        "termination",
        "status",
        "metrics",
    ] {
        let broken = match section {
            "" => format!("no_such_key = 1\n{EXAMPLE}"),
            "send" => EXAMPLE.replacen("[send.SES]", "[send]\nno_such_key = 1\n[send.SES]", 1),
            _ => {
                // The tables of which there may be many are comments.
                let many = with_ses.replacen(&format!("# [[{section}]]\n"), &format!("[[{section}]]\nno_such_key = 1\n"), 1);
                many.replacen(&format!("\n[{section}]\n"), &format!("\n[{section}]\nno_such_key = 1\n"), 1)
            }
        };
        let text = error(&broken);
        let known = text.split_once("expected").expect(&text).1;
        for key in known.split('`').skip(1).step_by(2) {
            assert!(
                EXAMPLE.contains(&format!("{key} ="))
                    || EXAMPLE.contains(&format!("[{key}]"))
                    || EXAMPLE.contains(&format!("[{key}."))
                    || EXAMPLE.contains(&format!(".{key}]")),
                "{section}.{key} is not documented"
            );
        }
    }
}

#[test]
fn an_error_names_file_line_key_and_what_was_expected() {
    let line_of = |key: &str| EXAMPLE.lines().position(|line| line.starts_with(key)).expect(key) + 1;
    for (from, to, wanted) in [
        ("bucket = \"catalogue\"", "buckt = \"catalogue\"", vec!["`buckt`", "expected one of", "`bucket`"]),
        ("answers_per_sender = 3", "answers_per_sender = -1", vec!["answers_per_sender: invalid value: integer `-1`"]),
        ("answers_per_sender = 3", "answers_per_sender = 1000001", vec!["answers_per_sender: 1000001: expected a number from 0 to 1000000"]),
        ("url = \"spool:/var/spool/replyfleet\"", "url = \"rabbit:x\"", vec!["spool:DIR", "SQS"]),
        ("# mode = \"on\"", "mode = \"maybe\"", vec!["`maybe`", "`off`"]),
        ("# spf_only = \"small\"", "spf_only = \"half\"", vec!["`half`", "`full`"]),
        ("# visibility_s = 120", "visibility_s = 0", vec!["expected seconds from 2"]),
        ("# lmtp = []", "lmtp = [\"tcp:192.0.2.1:24\"]", vec!["not a loopback address"]),
        ("# lmtp = []", "lmtp = [\"/run/lmtp.sock\"]", vec!["\"unix:PATH\""]),
        ("# listen = \"127.0.0.1:9125\"", "listen = \"0.0.0.0:9125\"", vec!["listen: ", "not a loopback address", "ssh -L"]),
        ("# listen = \"127.0.0.1:9125\"", "listen = \"localhost:9125\"", vec!["expected \"127.0.0.1:PORT\"", "\"off\""]),
    ] {
        let text = error(&EXAMPLE.replace(from, to));
        assert!(text.contains("replyfleet.toml: "), "{text}");
        assert!(text.contains(&format!("line {}", line_of(from))), "{text}");
        for word in wanted {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}

#[test]
fn values_that_do_not_fit_together_are_refused_with_the_key() {
    for (from, to, wanted) in [
        ("spool:/var/spool/replyfleet", "https://sqs.example/1/q", "queue.dead_letter_url"),
        ("spool:/var/spool", "spool:var/spool", "absolute path"),
        ("host = \"127.0.0.1\"", "host = \"relay.example.com\"", "send.SMTP.tls"),
        ("bucket = \"catalogue\"", "bucket = \"claim-check\"", "store.claim_check_bucket"),
        ("sqlite:/var/lib", "sqlite:lib", "absolute path"),
        ("# lmtp = []", "lmtp = [\"unix:lmtp.sock\"]", "absolute path"),
        ("# memory_bytes_max = 268435456", "memory_bytes_max = 50_000_000", "enqueuer.memory_bytes_max"),
        ("bounces@example.com\"", "bounces+x@example.com\"", "reply.bounce_address"),
        ("# fallback = \"SMTP\"", "fallback = \"SES\"", "send.SES.fallback: SES is the sender itself"),
    ] {
        let text = error(&EXAMPLE.replace(from, to));
        assert!(text.contains(wanted) && text.starts_with("replyfleet.toml: line "), "{wanted}: {text}");
    }
}

#[test]
fn secrets_come_from_the_environment_and_never_show() {
    let env = |name: &str| match name {
        ENV_SECRET_KEY => Some("0123456789abcdef0123456789abcdef".to_owned()),
        ENV_DATABASE_URL => Some("sqlite:/tmp/hunter2.db".to_owned()),
        _ => None,
    };
    let settings = Settings::parse(EXAMPLE, "replyfleet.toml", env).expect("valid");
    settings.secret().expect("from the environment");
    assert_eq!(settings.database_url().expect("set"), "sqlite:/tmp/hunter2.db");
    let shown = format!("{settings:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("0123456789abcdef"), "{shown}");
    let without = EXAMPLE.replace("url = \"sqlite:/var/lib/replyfleet/ledger.db\"", "").replace("[database]", "");
    assert!(Settings::parse(&without, "x", env).is_ok(), "the file need not name what the environment has");
    let text = parse(&without).expect("the enqueuer needs none").database_url().expect_err("missing").to_string();
    assert!(text.contains("database.url") && text.contains(ENV_DATABASE_URL), "{text}");
}

#[test]
fn an_error_does_not_quote_the_file() {
    // Postfix shows the enqueuer's words to senders in the end, and a line of settings may hold a password.
    let text = error(&EXAMPLE.replace("url = \"sqlite:/var/lib/replyfleet/ledger.db\"", "urll = \"sqlite:hunter2\""));
    assert!(!text.contains("hunter2") && text.contains("`urll`"), "{text}");
}
