//! What the page says, and that nothing in it is anything but text.

use super::*;
use crate::status::view::{BreakerView, CatalogueView, EndedView, QueueView};

const NOW: u64 = 1_790_000_000_000;

fn view() -> View {
    View {
        at_ms: NOW,
        worker: "0123456789abcdef".into(),
        version: "0.1.0".into(),
        started_ms: NOW - 3_600_000,
        state: State::Answering,
        is_alive: true,
        slots: 32,
        in_hand: 7,
        queue: Some(QueueView { visible: 12_345, delayed: 3, in_flight: 40, oldest_s: Some(72) }),
        catalogue: Some(CatalogueView { version: "abc".into(), age_s: 12 }),
        totals: Totals { ended: vec![EndedView { outcome: "ignored".into(), why: "over_allowance".into(), count: 3 }], response_sent: Vec::new() },
        last_minute: Minute { at_ms: NOW, seconds: 60.0, answered: 118, busy_fraction: 0.004, ..Minute::default() },
        ..View::default()
    }
}

#[test]
fn it_says_what_there_is() {
    let page = render(&view(), Wish::default());
    for wanted in [
        "<title>Answering – replyfleet worker</title>",
        "worker 01234567 · runs for 1 h · version 0.1.0",
        "<dd class=\"value\">12,345</dd><dd>3 delayed, 40 in flight</dd>",
        "<dd class=\"value\">1 min 12 s</dd>",
        "7 <span class=\"unit\">of 32</span></dd><dd>under 1 % of the slots’ time",
        "<dd class=\"value\">118</dd>",
        "over allowance",
        "version abc, confirmed 12 s ago",
        "all on",
        "nothing is away",
        "The first minute is not over yet.",
    ] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
}

#[test]
fn every_state_has_its_word_and_what_follows_from_it() {
    let with = |change: fn(&mut View)| {
        let mut view = view();
        change(&mut view);
        render(&view, Wish::default())
    };
    let breaker = || BreakerView { name: "send.SES".into(), reason: "no_answer".into(), since_ms: NOW - 120_000 };
    for (page, wanted) in [
        (with(|view| (view.state, view.waits_for) = (State::Starting, Some("the database".into()))), "It waits for the database"),
        (with(|view| view.state = State::Starting), "It opens queue, store"),
        (with(|view| view.state = State::Blocked), "<title>Cannot answer"),
        (with(|view| view.state = State::Stopping), "Messages still in hand: 7."),
        (with(|view| view.is_alive = false), "<title>Stuck"),
        (with(|view| view.is_shedding = true), "<strong>Answers go without attachments"),
        (with(|view| view.switches = vec!["address:a@b.c=hold".into()]), "address:a@b.c hold"),
        (with(|view| view.queue = None), "<dd class=\"value\">unknown</dd>"),
    ] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
    let page = render(&View { breakers: vec![breaker()], ..view() }, Wish::default());
    assert!(page.contains("<title>Answering in part") && page.contains("<strong>send.SES is away</strong> (no answer) for 2 min."), "{page}");
    assert!(page.contains("2 min ago <"), "{page}");
}

#[test]
fn a_worker_that_starts_has_no_figures_yet() {
    let page = render(&View { state: State::Starting, ..view() }, Wish::default());
    assert!(!page.contains("id=\"now\"") && page.contains("id=\"errors\""), "{page}");
}

#[test]
fn foreign_text_stays_text() {
    const EVIL: &str = "</style><script>alert(1)</script>\" onload='x'";
    let page = render(
        &View {
            worker: EVIL.into(),
            version: EVIL.into(),
            catalogue: Some(CatalogueView { version: EVIL.into(), age_s: 1 }),
            switches: vec![EVIL.into()],
            breakers: vec![BreakerView { name: EVIL.into(), reason: EVIL.into(), since_ms: 0 }],
            totals: Totals {
                ended: vec![EndedView { outcome: EVIL.into(), why: EVIL.into(), count: 1 }],
                response_sent: vec![super::super::view::SentView { method: EVIL.into(), count: 1 }],
            },
            errors: vec![ErrorView { level: EVIL.into(), text: EVIL.into(), ..ErrorView::default() }],
            ..view()
        },
        Wish::default(),
    );
    assert!(!page.contains("<script") && !page.contains("' onload") && page.matches("</style>").count() == 1, "{page}");
    let page = render(&View { state: State::Starting, waits_for: Some(EVIL.into()), ..view() }, Wish::default());
    assert!(!page.contains("<script"), "{page}");
}

#[test]
fn the_policy_lets_in_this_style_and_nothing_else() {
    let page = render(&view(), Wish::default());
    let style = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).expect("a style");
    let hash = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
    assert!(policy().contains(&format!("style-src 'sha256-{hash}'")) && policy().starts_with("default-src 'none'"), "{}", policy());
    // What the policy would keep from working.
    for banned in [" style=", "<script", "<link rel=\"stylesheet", "http-equiv", "src="] {
        assert!(!page.contains(banned), "{banned}");
    }
}

#[test]
fn what_is_wished_for_is_marked_and_kept() {
    let marked = |query: &str| {
        let page = render(&view(), Wish::read(query));
        let links = page.split("<li><a href=\"").skip(1).filter(|link| link.contains(" aria-current="));
        links.map(|link| link.split('"').next().map(str::to_owned).expect("a link")).collect::<Vec<_>>()
    };
    assert_eq!(marked(""), ["/", "/"]);
    assert_eq!(marked("every=5"), ["/?every=5", "/?every=5"]);
    assert_eq!(marked("last=30&every=30"), ["/?every=30&amp;last=30", "/?every=30&amp;last=30"]);
    assert_eq!(Wish::read("every=1&last=99999&x=<script>"), Wish::default(), "only what is on offer");
    let page = render(&view(), Wish::read("last=120"));
    assert!(page.contains("The last 2 hours") && page.contains("href=\"/?every=5&amp;last=120\""), "{page}");
}
