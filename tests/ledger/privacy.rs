//! What the database tells of a requester: nothing, and less every day.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use replyfleet::keyed::hex;
use replyfleet_worker::{
    ledger::{ListEntry, ListKind, ListReason, RETENTION, Verdict},
    reason::Reason,
};

use crate::bed::{Ask, Bed, MIDNIGHT, T0, address};

const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);
const SENDER: &str = "Zanahoria.Kumquat+tag@Canary-Domain.example";
const CLIENT: &str = "203.0.113.77";
const ALL_CAPS: &str = r#""per_domain": {"answers": 9, "attachments": 9}, "per_network": {"answers": 9, "attachments": 9},
    "per_address": {"answers": 9, "attachments": 9}, "total": {"answers": 9, "attachments": 9}"#;

promises! {
    nothing_of_a_requester_can_be_found_in_a_dump,
    rows_of_two_days_share_nothing_and_the_first_days_key_goes,
    old_rows_go_by_themselves,
    a_turn_tells_neither_who_took_it_nor_whether_anybody_did,
    a_rehearsal_leaves_the_database_as_it_was,
    of_a_person_who_is_forgotten_nothing_counts_on_any_day,
}

fn ask(number: usize) -> Ask {
    Ask { client: CLIENT.into(), identity: "<zanahoria-id@canary-domain.example>".into(), ..Ask::new(number, SENDER) }
}

/// The digest of a text as a coreutils program has it, which needs no key.
fn digest(program: &str, text: &str) -> Vec<u8> {
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("coreutils");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let digits = output.split_whitespace().next().expect("a digest");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// All that must not be there, in the forms in which it could be.
fn canaries() -> BTreeSet<String> {
    let plain = [
        SENDER,
        "zanahoria.kumquat@canary-domain.example",
        "zanahoria.kumquat",
        "zanahoria",
        "canary-domain.example",
        "canary-domain",
        CLIENT,
        "203.0.113.0/24",
        "203.0.113",
        "<zanahoria-id@canary-domain.example>",
    ];
    let mut forms = BTreeSet::new();
    for text in plain.iter().flat_map(|text| [(*text).to_owned(), text.to_lowercase()]) {
        let mut bytes = vec![text.as_bytes().to_vec()];
        bytes.extend(["md5sum", "sha1sum", "sha256sum", "sha512sum"].map(|program| digest(program, &text)));
        forms.extend(bytes.iter().flat_map(|bytes| [hex(bytes), STANDARD.encode(bytes)]));
        forms.insert(text);
    }
    forms
}

async fn nothing_of_a_requester_can_be_found_in_a_dump(bed: &Bed) {
    let ledger = bed.ledger(ALL_CAPS).await;
    ask(1).admit(&ledger, T0).await;
    ask(2).admit(&ledger, T0).await;
    for (kind, entry) in [(ListKind::Block, SENDER), (ListKind::Allow, "canary-domain.example"), (ListKind::Suppress, SENDER)] {
        ledger.list_add(kind, &ListEntry::parse(entry).expect(entry), ListReason::Complaint, None, T0).await.expect("added");
    }
    let dump = bed.dump().await;
    for table in ["request|k1|m1|", "request|k2|", "reply|k1|0|small|pending", "counter|", "day_key|", "list|block|", "turn|1023|"] {
        assert!(dump.iter().any(|line| line.starts_with(table)), "the dump shows {table}");
    }
    let canaries = canaries();
    for line in &dump {
        let lower = line.to_lowercase();
        let found = canaries.iter().find(|form| line.contains(form.as_str()) || lower.contains(form.as_str()));
        assert_eq!(found, None, "in {line}");
    }
}

/// Everything in a line that could be a hash.
fn hashes(line: &str) -> BTreeSet<&str> {
    line.split('|').filter(|value| value.len() == 64).collect()
}

async fn rows_of_two_days_share_nothing_and_the_first_days_key_goes(bed: &Bed) {
    let text = format!(r#"{ALL_CAPS}, "answers_per_sender": 9"#);
    let ledger = bed.ledger(&text).await;
    ask(1).admit(&ledger, T0).await;
    let first_day = bed.dump().await;
    assert_eq!(ask(2).verdict(&ledger, T0 + DAY * 2).await, Verdict::Answer);
    let second_day: Vec<String> = bed.dump().await.into_iter().filter(|line| !first_day.contains(line)).collect();
    let of = |lines: &[String]| lines.iter().flat_map(|line| hashes(line).into_iter().map(str::to_owned)).collect::<BTreeSet<_>>();
    assert!(of(&first_day).len() >= 7 && of(&second_day).len() >= 7, "sender, identity, four counters, a day's key");
    assert!(of(&first_day).is_disjoint(&of(&second_day)));

    let key = |lines: &[String], day: u64| lines.iter().any(|line| line.starts_with(&format!("day_key|{day}|")));
    let today = T0.0 / 86_400_000;
    assert!(key(&bed.dump().await, today) && key(&bed.dump().await, today + 2));
    ledger.forget_old(T0 + DAY * 2).await.expect("forget");
    assert!(!key(&bed.dump().await, today) && key(&bed.dump().await, today + 2));
    let old = first_day.iter().find_map(|line| line.strip_prefix("day_key|")?.split('|').nth(1)).expect("the first day's key");
    assert!(!bed.dump().await.iter().any(|line| line.contains(old)));
    // Before the window is over, it stays.
    ledger.forget_old(T0 + DAY * 3).await.expect("forget");
    assert!(key(&bed.dump().await, today + 2));
}

async fn old_rows_go_by_themselves(bed: &Bed) {
    let ledger = bed.ledger(ALL_CAPS).await;
    for number in 0..3 {
        Ask::new(number, &format!("a{number}@b{number}.org")).admit(&ledger, T0).await;
    }
    ledger.forget(&address("a0@b0.org"), T0).await.expect("forgotten");
    assert_eq!(ledger.forget_old(T0 + DAY).await.expect("forget"), 0);
    let count = async |table: &str| bed.dump().await.iter().filter(|line| line.starts_with(table)).count();
    assert_eq!((count("request|").await, count("reply|").await, count("counter|").await), (3, 6, 6));
    assert_eq!(ledger.forget_old(T0 + DAY * 2).await.expect("forget"), 6, "the counters");
    assert_eq!(ledger.forget_old(T0 + RETENTION + DAY).await.expect("forget"), 3, "the requests");
    assert_eq!(ledger.forget_old(T0 + RETENTION + DAY).await.expect("forget"), 0);
    let (turns, left): (Vec<_>, Vec<_>) = bed.dump().await.into_iter().partition(|line| line.starts_with("turn|"));
    assert_eq!(left.into_iter().filter(|line| !line.starts_with("seaql_migrations|")).collect::<Vec<_>>(), Vec::<String>::new());
    assert_random(&marks(&turns));
}

/// What is written in each turn.
fn marks(dump: &[String]) -> Vec<i64> {
    let turns = dump.iter().filter_map(|line| line.strip_prefix("turn|")?.split_once('|'));
    let marks: BTreeMap<i32, i64> = turns.map(|(number, mark)| (number.parse().unwrap(), mark.parse().unwrap())).collect();
    assert_eq!(marks.keys().copied().collect::<Vec<_>>(), (0..1_024).collect::<Vec<_>>());
    marks.into_values().collect()
}

/// Random numbers of 64 bits are all different and far from nought; counts, or times, are not.
fn assert_random(marks: &[i64]) {
    assert_eq!(marks.iter().collect::<BTreeSet<_>>().len(), marks.len());
    assert!(marks.iter().all(|mark| mark.unsigned_abs() > 1_000_000));
    let large = marks.iter().filter(|mark| mark.unsigned_abs() > 1 << 61).count();
    assert!((marks.len() / 2..marks.len()).contains(&large), "three in four of all there are: {large}");
}

async fn a_turn_tells_neither_who_took_it_nor_whether_anybody_did(bed: &Bed) {
    let ledger = bed.ledger("").await;
    let mut before = marks(&bed.dump().await);
    assert_random(&before);
    let mut taken = BTreeSet::new();
    for day in 0..5 {
        ask(day).admit(&ledger, T0 + DAY * 2 * u32::try_from(day).unwrap()).await;
        let after = marks(&bed.dump().await);
        assert_random(&after);
        let changed: Vec<usize> = (0..after.len()).filter(|&turn| after[turn] != before[turn]).collect();
        assert!(changed.iter().all(|&turn| after[turn].abs_diff(before[turn]) > 1_000_000), "no count");
        taken.extend(changed);
        before = after;
    }
    // SQLite has one writer and needs no turns.
    assert_eq!(taken.len() > 1, !bed.url.starts_with("sqlite:"), "one sender's turn is another one from day to day: {taken:?}");
}

async fn a_rehearsal_leaves_the_database_as_it_was(bed: &Bed) {
    let ledger = bed.ledger(ALL_CAPS).await;
    let untouched = bed.dump().await;
    for now in [T0, MIDNIGHT - SECOND, MIDNIGHT + SECOND] {
        assert_eq!(ask(1).rehearse(&ledger, now).await.verdict, Verdict::Answer);
        assert_eq!(bed.dump().await, untouched, "not even a key of the day");
    }
    ask(1).admit(&ledger, T0).await;
    let once = bed.dump().await;
    let repeated = Verdict::Ignore(Reason::Repeated);
    for (number, now, verdict) in [(1, T0, Verdict::Answer), (2, T0, repeated), (2, MIDNIGHT - SECOND, repeated), (2, T0 + DAY * 2, Verdict::Answer)]
    {
        assert_eq!(ask(number).rehearse(&ledger, now).await.verdict, verdict, "it counts what is there");
        assert_eq!(bed.dump().await, once);
    }
    ask(2).admit(&ledger, T0 + DAY * 2).await;
    let key = |lines: &[String]| lines.iter().filter(|line| line.starts_with("day_key|")).count();
    assert_eq!((key(&once), key(&bed.dump().await)), (1, 2), "what was imagined did not become the key");
    assert_eq!(ask(3).verdict(&bed.ledger(ALL_CAPS).await, T0 + DAY * 2).await, repeated, "and another worker counts under the same");
}

async fn of_a_person_who_is_forgotten_nothing_counts_on_any_day(bed: &Bed) {
    let ledger = bed.ledger("").await;
    let empty = |line: &&String| line.contains("||");
    for (number, now) in [(0, T0), (1, T0 + DAY * 3), (2, MIDNIGHT + DAY * 5 + SECOND)] {
        let other = Ask { identity: format!("<{number}@id.example>"), ..ask(number) };
        assert_eq!(other.verdict(&ledger, now).await, Verdict::Answer);
    }
    // By a clock that is behind the last one, and before old keys have gone.
    let forgotten = ledger.forget(&address(SENDER), MIDNIGHT + DAY * 5 - SECOND).await.expect("forgotten");
    assert_eq!(forgotten.requests, 3);
    let dump = bed.dump().await;
    let requests: Vec<_> = dump.iter().filter(|line| line.starts_with("request|")).collect();
    assert_eq!((requests.len(), requests.into_iter().filter(empty).count()), (3, 3));
}
