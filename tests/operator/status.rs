//! `replyfleet status` of one worker and of the fleet: what its page and CloudWatch say is shown, a live view draws in place
//! and leaves the terminal as it was, and what cannot be asked says where and why.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use replyfleet_tests::{
    cloudwatch_figures::put,
    installation::{Installation, aws, said},
    ministack::Ministack,
    program, skipped, wait_for, web,
};

const DEADLINE: Duration = Duration::from_secs(20);
const PAGE: &str = r#"{"at_ms": 1790000220000, "worker": "0123456789abcdef", "version": "0.1.0", "slots": 32, "in_hand": 5,
    "totals": {"ended": [{"outcome": "answered", "why": "", "count": 120}]},
    "minutes": [{"at_ms": 1790000100000, "answered": 58, "busy_fraction": 0.25, "processing_time": {"p95": 900}}]}"#;

fn worker() -> String {
    web::serve(|request| match request.path.as_str() {
        "/status.json" => web::Answer::new(200, PAGE),
        _ => web::Answer::new(404, ""),
    })
}

#[test]
fn a_worker_is_asked_without_settings_and_shown_in_words_and_in_json() {
    let url = worker();
    let run = |more: &[&str]| said(Command::new(program("replyfleet")).args(["status", "--worker", &url]).args(more));
    let (status, text) = run(&[]);
    for wanted in ["worker    01234567, version 0.1.0", "slots     5 of 32 in use", "answered  █ up to 58/min", "900 ms", "25 %"] {
        assert!(status == Some(0) && text.contains(wanted), "{wanted}\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no terminal, no codes for one: {text}");
    let (status, text) = run(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &json["totals"]["ended"][0]["count"]), (Some(0), &serde_json::json!(120)));
}

#[test]
fn a_page_that_is_not_there_or_is_none_says_what_to_look_at() {
    let not_json = web::serve(|_| web::Answer::new(200, "<html>"));
    let away = web::serve(|_| web::Answer::new(503, "starting"));
    for (url, wanted) in [
        ("http://127.0.0.1:9", "does the worker run, and is status.listen this address?"),
        (&*away, "503"),
        (&*not_json, "no JSON"),
        ("ftp://127.0.0.1", "http://HOST:PORT"),
    ] {
        let (status, text) = said(Command::new(program("replyfleet")).args(["status", "--worker", url]));
        assert!(status.is_some_and(|status| status > 0) && text.contains(wanted), "{url}: {text}");
    }
}

#[test]
fn without_a_terminal_blocks_follow_each_other_until_a_signal() {
    let url = worker();
    for json in [&[][..], &["--json"]] {
        let mut child = Command::new(program("replyfleet"))
            .args(["status", "--worker", &url, "--watch", "1"])
            .args(json)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let head = if json.is_empty() { "worker    01234567" } else { "0123456789abcdef" };
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.filter(|line| line.contains(head)).take(2).count(), 2);
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        // Its output is closed: it may also end by that.
        let ended = wait_for("the end", DEADLINE, || child.try_wait().unwrap());
        assert!(ended.code().is_some(), "{ended}");
    }
}

/// A program on a terminal of its own, whose output goes to a file.
struct Terminal {
    child: Child,
    world: tempfile::TempDir,
}

impl Terminal {
    /// The live view on a terminal of so many columns; the terminal's settings are written before and after.
    fn start(url: &str, columns: u16) -> Self {
        let world = tempfile::tempdir().unwrap();
        let (dir, program) = (world.path().display(), program("replyfleet"));
        let view = format!("echo $$ >{dir}/pid; exec {} status --worker {url} --watch 1", program.display());
        let session = format!("stty rows 20 cols {columns}; stty -g >{dir}/before; sh -c '{view}'; echo $? >{dir}/code; stty -g >{dir}/after");
        let mut script = Command::new("script");
        script.args(["-q", "-f", "-c", &session]).arg(world.path().join("typescript")).env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        script.env("NO_COLOR", "1");
        let child = script.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        Self { child, world }
    }

    fn read(&self, name: &str) -> String {
        fs::read(self.world.path().join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn shows(&self, text: &str) {
        wait_for(text, DEADLINE, || self.read("typescript").contains(text).then_some(()));
    }

    /// What it showed, after its end by a good status, with the terminal as it was.
    fn ended(mut self) -> String {
        wait_for("the end", DEADLINE, || self.child.try_wait().unwrap());
        let shown = self.read("typescript");
        assert_eq!(self.read("code").trim(), "0", "{shown:?}");
        assert_eq!(self.read("before"), self.read("after"), "the terminal's settings");
        let (enter, leave) = (shown.find("\u{1b}[?1049h").unwrap(), shown.rfind("\u{1b}[?1049l").expect("the screen is given back"));
        assert!(enter < leave && shown.rfind("\u{1b}[?25h").unwrap() > enter && shown.rfind("\u{1b}[?7h").unwrap() > enter, "{shown:?}");
        shown
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn on_a_terminal_it_draws_in_place_until_q() {
    let mut terminal = Terminal::start(&worker(), 40);
    terminal.shows("q ends");
    terminal.shows("900 ms");
    terminal.child.stdin.as_mut().unwrap().write_all(b"xq").unwrap();
    let shown = terminal.ended();
    assert!(!shown.contains("\u{1b}[38;") && !shown.contains("\u{1b}[2J"), "no colour with NO_COLOR, and no blank moment: {shown:?}");
    assert!(shown.contains("\u{1b}[1;1H") || shown.contains("\u{1b}[H"), "in place: {shown:?}");
}

#[test]
fn a_worker_that_goes_away_leaves_its_last_page_with_a_word_about_that() {
    let asked = Arc::new(AtomicU32::new(0));
    let url = web::serve(move |_| if asked.fetch_add(1, Ordering::Relaxed) == 0 { web::Answer::new(200, PAGE) } else { web::Answer::new(503, "") });
    let mut terminal = Terminal::start(&url, 80);
    terminal.shows("not up to date: http://127.0.0.1:");
    let shown = terminal.read("typescript");
    let (_, after) = shown.split_once("not up to date").unwrap();
    wait_for("the page below it", DEADLINE, || (after.contains("900 ms") || terminal.read("typescript").matches("900 ms").count() > 1).then_some(()));
    terminal.child.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    terminal.ended();
}

#[test]
fn a_signal_or_ctrl_c_gives_the_terminal_back_too() {
    for signal in ["-TERM", "-INT", "-HUP"] {
        let terminal = Terminal::start(&worker(), 80);
        terminal.shows("q ends");
        let pid = terminal.read("pid");
        assert!(Command::new("kill").args([signal, pid.trim()]).status().unwrap().success());
        terminal.ended();
    }
    let mut terminal = Terminal::start(&worker(), 80);
    terminal.shows("q ends");
    terminal.child.stdin.as_mut().unwrap().write_all(&[3]).unwrap();
    terminal.ended();
}

#[tokio::test]
async fn the_fleet_is_shown_by_what_its_workers_published() {
    let account = match Ministack::shared() {
        Ok(account) => account,
        Err(why) => return skipped(&why.0),
    };
    let world = Installation::new();
    world.change("url = \"spool:", |line| format!("{line}\naws = {}", aws(&account.endpoint())));
    let times: Vec<f64> = (1..=100).map(|number| f64::from(number) * 10.0).collect();
    let now = SystemTime::now();
    for minute in 1..=4 {
        let at = now - Duration::from_secs(60 * minute);
        put(account, "status-fleet", "processing_time", &times, at).await;
        put(account, "status-fleet", "busy_fraction", &[0.5, 0.25, 0.75], at).await;
        put(account, "status-fleet", "oldest_age", &[3.0], at).await;
        put(account, "status-fleet", "queue_depth", &[17.0], at).await;
        put(account, "status-fleet", "response_sent", &[90.0], at).await;
    }
    let (status, text) = world.run(&["status", "--fleet", "--group", "status-fleet"]);
    for wanted in
        ["fleet     status-fleet, by CloudWatch", "workers   3\n", "queue     17 waiting, oldest 3.0 s", "breakers  all closed", "50 %", "990 ms"]
    {
        assert!(status == Some(0) && text.contains(wanted), "{wanted}\n{text}");
    }
    let json = world.json(&["status", "--fleet", "--group", "status-fleet"]);
    assert_eq!((&json["workers"], &json["depth"], &json["open_breakers"]), (&3.0.into(), &17.0.into(), &serde_json::json!([])));
    let (status, text) = world.run(&["status", "--fleet", "--group", "no-such-fleet"]);
    assert!(status == Some(1) && text.contains("knows nothing of a fleet no-such-fleet"), "{text}");
    let (status, text) = world.run(&["status", "--group", "status-fleet"]);
    assert!(status == Some(1) && text.contains("they go with --fleet"), "{text}");
    let (status, text) = world.run(&["status", "--fleet"]);
    assert!(status == Some(1) && text.contains("--group"), "{text}");
}
