//! `replyfleet metrics mrtg`: figures that were put into CloudWatch come out once, in lines that MRTG itself reads, and an
//! endpoint that misbehaves costs none of them.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use replyfleet_tests::{
    cloudwatch_figures::put,
    cloudwatch_read::{Endpoint, Line, Reply},
    installation::{Installation, aws},
    ministack::Ministack,
    program, skipped, wait_for,
};

/// Long enough ago to be looked at, and not before the first time looks.
const AGO: Duration = Duration::from_secs(700);
const NAME: &str = "replyfleet: message_received and response_sent";

/// An installation whose account is at this endpoint.
fn installation(endpoint: &str) -> Installation {
    let world = Installation::new();
    world.change("url = \"spool:", |line| format!("{line}\naws = {}", aws(endpoint)));
    world
}

/// Status, standard output and standard error.
fn mrtg(world: &Installation, more: &[&str]) -> (Option<i32>, String, String) {
    let state = world.path("mrtg").display().to_string();
    let config = world.path("replyfleet.toml").display().to_string();
    let mut command = Command::new(program("replyfleet"));
    command.args(["metrics", "mrtg", "message_received", "response_sent", "--state-dir", &state, "--config", &config]).args(more);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The two numbers of a run that went well.
#[track_caller]
fn numbers(world: &Installation, more: &[&str]) -> String {
    let (status, out, said) = mrtg(world, more);
    assert_eq!((status, said.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((lines.len(), lines[2], lines[3]), (4, "", NAME), "{out}");
    format!("{} {}", lines[0], lines[1])
}

#[tokio::test]
async fn what_was_published_is_printed_once() {
    let account = match Ministack::shared() {
        Ok(account) => account,
        Err(why) => return skipped(&why.0),
    };
    let world = installation(&account.endpoint());
    put(account, "mrtg-once", "message_received", &[5.0, 1.5], SystemTime::now() - AGO).await;
    put(account, "mrtg-once", "response_sent", &[7.0], SystemTime::now() - AGO).await;
    put(account, "mrtg-once", "response_sent", &[100.0], SystemTime::now() - Duration::from_secs(30)).await;
    put(account, "another", "response_sent", &[1_000.0], SystemTime::now() - AGO).await;
    let fleet = ["--group", "mrtg-once"];
    assert_eq!(numbers(&world, &fleet), "6.5 7", "and nothing that is too new or another's");
    assert_eq!(numbers(&world, &fleet), "0 0");
    put(account, "mrtg-once", "message_received", &[3.0], SystemTime::now() - AGO).await;
    assert_eq!(numbers(&world, &fleet), "3 0", "its period grew after it was read");
    let mean = ["--dimension", "AutoScalingGroupName=mrtg-once", "--namespace", "replyfleet", "--statistic", "Average", "--factor", "100"];
    assert_eq!(numbers(&world, &mean), "316.667 700", "another question has a tally of its own");
    let (status, out, said) = mrtg(&world, &[]);
    assert_eq!((status, out), (Some(1), format!("UNKNOWN\nUNKNOWN\n\n{NAME}\n")), "{said}");
    assert!(said.contains("--group"), "{said}");
}

/// A period that is looked at: its start.
fn at_s() -> u64 {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    (now_s - AGO.as_secs()) / 300 * 300
}

fn line(id: &'static str, status: &'static str, points: &[(u64, f64)]) -> Line {
    Line { id, status, points: points.to_vec() }
}

/// A page without another.
fn last(lines: Vec<Line>) -> Reply {
    Reply::Page { lines, next: None }
}

#[test]
fn an_endpoint_that_misbehaves_costs_no_figures() {
    let at = at_s();
    let good = || last(vec![line("q0", "Complete", &[(at, 5.0)]), line("q1", "Complete", &[(at, 7.0)])]);
    let cut = || Reply::Page { lines: vec![line("q0", "PartialData", &[(at, 5.0)])], next: Some("page-2") };
    let cases = [
        (vec![Reply::Error(403, "AccessDenied")], "cloudwatch:GetMetricData", 1),
        (vec![Reply::Error(500, "InternalServiceFault")], "asked 3 times in vain", 3),
        (vec![Reply::Error(400, "Throttling")], "Throttling", 3),
        (vec![Reply::Close], "asked 3 times in vain", 3),
        (vec![Reply::Hang], "no whole answer within 2 s", 1),
        (vec![last(vec![line("q0", "InternalError", &[]), line("q1", "Complete", &[(at, 7.0)])])], "internal error", 3),
        (vec![last(vec![line("q0", "PartialData", &[(at, 4.0)]), line("q1", "Complete", &[(at, 7.0)])])], "only a part of message_received", 1),
        (vec![last(vec![line("q0", "Forbidden", &[]), line("q1", "Complete", &[])])], "does not show message_received", 1),
        (vec![last(vec![line("q0", "Complete", &[(at, 5.0)])])], "nothing of response_sent", 1),
        (vec![last(vec![line("q7", "Complete", &[(at, 5.0)])])], "not asked", 1),
        (vec![last(vec![line("q0", "Complete", &[(at, f64::NAN)]), line("q1", "Complete", &[])])], "no number", 1),
        (vec![cut(), Reply::Error(500, "InternalServiceFault")], "asked 3 times in vain", 4),
        (vec![cut()], "same page again and again", 2),
    ];
    let try_case = |replies: Vec<Reply>, wanted: &str, calls: u64| {
        let endpoint = Endpoint::start(replies);
        let world = installation(&endpoint.endpoint());
        let (status, out, said) = mrtg(&world, &["--group", "fleet", "--timeout", if wanted.contains("2 s") { "2" } else { "30" }]);
        assert_eq!((status, out), (Some(1), format!("UNKNOWN\nUNKNOWN\n\n{NAME}\n")), "{said}");
        assert!(said.starts_with("replyfleet: ") && said.contains(wanted), "{wanted}: {said}");
        assert_eq!(endpoint.calls(), calls, "{wanted}");
        endpoint.set([Reply::Error(503, "ServiceUnavailable"), good()]);
        assert_eq!(numbers(&world, &["--group", "fleet"]), "5 7", "after {wanted}");
    };
    // Most of the time of each is a pause.
    std::thread::scope(|scope| {
        for (replies, wanted, calls) in cases {
            scope.spawn(move || try_case(replies, wanted, calls));
        }
    });
}

#[test]
fn all_pages_are_read() {
    let at = at_s();
    let first = vec![line("q0", "PartialData", &[(at, 5.0)]), line("q1", "PartialData", &[])];
    let second = vec![line("q0", "Complete", &[(at - 300, 2.0)]), line("q1", "Complete", &[(at, 7.0), (at - 86_400, 50.0)])];
    let endpoint = Endpoint::start([Reply::Page { lines: first, next: Some("page-2") }, Reply::Close, last(second)]);
    let world = installation(&endpoint.endpoint());
    let found = numbers(&world, &["--group", "fleet", "--delay", "0"]);
    // The quarter of an hour begins before or after the period before ours.
    assert!(found == "7 7" || found == "5 7", "{found}");
    assert!(endpoint.calls() == 3 && endpoint.latest_has("page-2"), "what failed is asked again, not from the start");
}

#[tokio::test]
async fn mrtg_itself_reads_the_lines() {
    if Command::new("mrtg").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return skipped("no mrtg; the Debian package mrtg has it");
    }
    let account = match Ministack::shared() {
        Ok(account) => account,
        Err(why) => return skipped(&why.0),
    };
    let world = installation(&account.endpoint());
    put(account, "mrtg-real", "message_received", &[3_000.0], SystemTime::now() - AGO).await;
    put(account, "mrtg-real", "response_sent", &[6_000.0], SystemTime::now() - AGO).await;
    let path = |name: &str| world.path(name).display().to_string();
    let (program, state, config) = (program("replyfleet").display().to_string(), path("mrtg-state"), path("replyfleet.toml"));
    world.write("work/readme", "MRTG's folder");
    let target = format!("{program} metrics mrtg message_received response_sent --group mrtg-real --state-dir {state} --config {config}");
    let lines = [
        format!("WorkDir: {}", path("work")),
        format!("Target[fleet]: `{target}`"),
        "Options[fleet]: absolute, growright".into(),
        "MaxBytes[fleet]: 1000000".into(),
        "Title[fleet]: Mail".into(),
        "PageTop[fleet]: <h1>Mail</h1>\n".into(),
    ];
    world.write("mrtg.cfg", &lines.join("\n"));
    // The time of the last run, and what it was told.
    let newest = || {
        let log = fs::read_to_string(world.path("work/fleet.log")).ok()?;
        let numbers: Vec<i64> = log.lines().next()?.split(' ').map(|number| number.parse().unwrap_or_else(|_| panic!("{log:.300}"))).collect();
        Some((numbers[0], (numbers[1], numbers[2])))
    };
    let run = || {
        let mut mrtg = Command::new("mrtg");
        mrtg.env("LANG", "C").env("LC_ALL", "C").arg("--lock-file").arg(path("lock")).arg("--confcache-file").arg(path("ok")).arg(path("mrtg.cfg"));
        let output = mrtg.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (is_good, said) = run();
    assert!(is_good && !said.contains("Problem with External"), "{said}");
    let (first_s, told) = newest().unwrap_or_else(|| panic!("no log: {said}"));
    assert_eq!(told, (3_000, 6_000), "{said}");
    put(account, "mrtg-real", "message_received", &[600.0], SystemTime::now() - AGO).await;
    // MRTG divides by the seconds between two runs.
    wait_for("another second", Duration::from_secs(5), || {
        (SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() > first_s.unsigned_abs() + 1).then_some(())
    });
    let (is_good, said) = run();
    assert!(is_good && !said.contains("Problem with External"), "{said}");
    let (second_s, told) = newest().unwrap();
    assert!(second_s > first_s, "{said}");
    assert_eq!(told, (600, 0), "{said}");
    let page = fs::read_to_string(world.path("work/fleet.html")).unwrap();
    assert!(page.contains("<h1>Mail</h1>") && !page.contains("had been up"), "an empty up-time is none");
    // A figure that is not known is no complaint of MRTG's about our lines, and no zero.
    world.change("aws = ", |_| format!("aws = {}", aws("http://127.0.0.1:9")));
    let (_, said) = run();
    assert!(said.contains("replyfleet: ") && !said.contains("Problem with External"), "{said}");
    assert_eq!(newest().unwrap().1, (-1, -1), "as MRTG writes what it does not know: {said}");
}
