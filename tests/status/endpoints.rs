//! What a real worker serves, and to whom.

use std::net::{TcpListener, TcpStream};

use replyfleet_tests::{
    faults::{Fault, Rule},
    installation::Installation,
    ministack::free_port,
    smtp::Sink,
    wait_for,
};

use crate::world::{PATIENCE, Worker, ask, installation};

const PATHS: [&str; 5] = ["/", "/status.json", "/healthz", "/readyz", "/metrics"];

fn with_relay(port: u16) -> Installation {
    let installation = installation("127.0.0.1:0");
    installation.change("send.SES = ", |_| format!("send.SES = {{ kind = \"smtp\", host = \"127.0.0.1\", port = {port}, tls = \"none\" }}"));
    installation
}

fn answered(view: &serde_json::Value) -> u64 {
    let ended = view["totals"]["ended"].as_array().unwrap();
    ended.iter().filter(|end| end["outcome"] == "answered").map(|end| end["count"].as_u64().unwrap()).sum()
}

#[test]
fn a_worker_that_answers_shows_what_it_did_and_nothing_of_who_asked() {
    let installation = installation("127.0.0.1:0");
    let mut worker = Worker::start(&installation);
    assert_eq!(worker.wait_until_ready_says(200, "ok"), "ok\n");
    installation.take("walter.whitman@poets.example", "4bQQx7Zz1");
    installation.take("walter.whitman@poets.example", "4bQQx7Zz2");
    wait_for("two answers", PATIENCE, || (answered(&worker.view()) == 2).then_some(()));
    let view = worker.view();
    assert_eq!((view["state"].as_str(), view["slots"].as_u64(), view["last_minute"]["answered"].as_u64()), (Some("answering"), Some(4), Some(2)));
    assert_eq!(view["totals"]["response_sent"][0]["count"], 2, "{view}");
    let everything: String = PATHS.iter().map(|path| worker.get(path)).map(|answer| format!("{}\n{}", answer.head, answer.body)).collect();
    for word in ["walter", "whitman", "poets", "4bQQx7Zz", "192.0.2.1", "client.example"] {
        assert!(!everything.contains(word), "{word}: {everything}");
    }
    for path in PATHS {
        let answer = worker.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        for field in ["cache-control: no-store", "x-content-type-options: nosniff", "cross-origin-resource-policy: same-origin", "connection: close"]
        {
            assert!(answer.head.contains(field), "{path} {field}: {}", answer.head);
        }
    }
    let page = worker.get("/");
    assert!(page.head.contains("content-security-policy: default-src 'none'; style-src 'sha256-"), "{}", page.head);
    assert!(page.body.contains("<title>Answering") && !page.head.contains("refresh"), "{}", page.body);
    assert!(worker.get("/?every=5").head.contains("refresh: 5\r\n"));
    assert!(!worker.get("/?every=1").head.contains("refresh"), "only as often as it offers");
    worker.signal("TERM");
    assert!(worker.wait().success(), "{}", worker.log());
}

#[test]
fn a_worker_that_waits_to_start_says_for_what() {
    let installation = installation("[::1]:0");
    installation.change("database = ", |_| format!("database = {{ url = \"postgres://root@127.0.0.1:{}/x\" }}", free_port()));
    let mut worker = Worker::start(&installation);
    worker.wait_until_ready_says(503, "starting: waiting for the database");
    assert_eq!((worker.get("/healthz").status, worker.get("/metrics").status), (200, 503));
    assert_eq!(worker.view()["waits_for"], "the database");
    let page = worker.get("/").body;
    assert!(page.contains("It waits for the database") && page.contains("Last warnings and errors") && page.contains(">Error<"), "{page}");
    worker.signal("TERM");
    assert!(worker.wait().success(), "{}", worker.log());
}

#[test]
fn a_worker_without_a_way_out_is_not_ready_until_there_is_one() {
    let relay = Sink::start();
    let away = relay.faults().add(Rule::new("CONNECT", Fault::CutBefore));
    let installation = with_relay(relay.address().port());
    let mut worker = Worker::start(&installation);
    worker.wait_until_ready_says(200, "ok");
    for number in 0..6 {
        installation.take(&format!("a{number}@example.org"), &format!("q{number}"));
    }
    worker.wait_until_ready_says(503, "nothing can be answered");
    let (view, page) = (worker.view(), worker.get("/").body);
    assert_eq!((view["state"].as_str(), view["breakers"][0]["name"].as_str()), (Some("blocked"), Some("send.SES")), "{view}");
    assert!(page.contains("<title>Cannot answer") && page.contains("<strong>send.SES is away</strong>"), "{page}");
    assert_eq!(worker.get("/healthz").status, 200, "its loop moves");
    relay.faults().remove(away);
    worker.wait_until_ready_says(200, "ok");
    wait_for("all replies", PATIENCE, || (relay.arrivals().len() == 6).then_some(()));
    assert_eq!(worker.view()["breakers"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_worker_that_stops_says_so_while_it_finishes() {
    let relay = Sink::start();
    let hang = relay.faults().add(Rule::new("DOT", Fault::BlackHole));
    let installation = with_relay(relay.address().port());
    let mut worker = Worker::start(&installation);
    worker.wait_until_ready_says(200, "ok");
    installation.take("a@example.org", "q1");
    wait_for("a message in hand", PATIENCE, || (worker.view()["in_hand"] == 1).then_some(()));
    worker.signal("TERM");
    worker.wait_until_ready_says(503, "stopping");
    assert!(worker.get("/").body.contains("Messages still in hand: 1."));
    relay.faults().remove(hang);
}

#[test]
fn whoever_asks_for_another_host_or_to_change_something_is_refused() {
    let installation = installation("127.0.0.1:0");
    let mut worker = Worker::start(&installation);
    let address = worker.address();
    let many = (0..70).map(|number| format!("X-{number}: x")).collect::<Vec<_>>().join("\r\n");
    let long = format!("X: {}", "x".repeat(20_000));
    for (lines, wanted) in [
        (vec!["GET /healthz HTTP/1.1", "Host: localhost:9125"], 200),
        (vec!["GET /healthz HTTP/1.1", "Host: LOCALHOST"], 200),
        (vec!["GET /healthz HTTP/1.1", "Host: 127.0.0.1:1"], 200),
        (vec!["GET /healthz HTTP/1.1", "Host: [::1]:9125"], 200),
        (vec!["GET /healthz HTTP/1.1", "Host: [::1]"], 200),
        (vec!["GET /healthz HTTP/1.1", "Host: rebound.example"], 421),
        (vec!["GET /healthz HTTP/1.1", "Host: localhost.rebound.example"], 421),
        (vec!["GET /healthz HTTP/1.1", "Host: rebound.example:localhost"], 421),
        (vec!["GET /healthz HTTP/1.1"], 421),
        (vec!["GET /healthz HTTP/1.0"], 421),
        (vec!["GET /healthz HTTP/1.1", "Host: localhost", "Host: rebound.example"], 421),
        (vec!["GET http://rebound.example/healthz HTTP/1.1", "Host: localhost"], 421),
        (vec!["POST / HTTP/1.1", "Host: localhost", "Content-Length: 0"], 405),
        (vec!["DELETE /status.json HTTP/1.1", "Host: localhost"], 405),
        (vec!["GET /../etc/passwd HTTP/1.1", "Host: localhost"], 404),
        (vec!["GET / HTTP/1.1", "Host: localhost", &many], 431),
        (vec!["GET / HTTP/1.1", "Host: localhost", &long], 431),
        (vec!["GET / HTTP/1.1", "Host: localhost", "nonsense"], 400),
    ] {
        let answer = ask(address, &lines);
        assert_eq!(answer.status, wanted, "{:?}: {}", lines.iter().map(|line| &line[..line.len().min(80)]).collect::<Vec<_>>(), answer.body);
    }
    let head = ask(address, &["HEAD / HTTP/1.1", "Host: localhost"]);
    assert!(head.status == 200 && head.body.is_empty() && head.head.contains("content-length: "), "{}", head.head);
}

#[test]
fn who_holds_connections_open_keeps_nobody_waiting_for_ever() {
    let installation = installation("127.0.0.1:0");
    let mut worker = Worker::start(&installation);
    let address = worker.address();
    let idle: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    installation.take("a@example.org", "q1");
    wait_for("the answer", PATIENCE, || std::fs::read_dir(installation.path("replies/new")).ok()?.next().map(drop));
    // Three times sixteen, five seconds each.
    assert_eq!(worker.get("/healthz").status, 200);
    drop(idle);
}

#[test]
fn a_port_that_is_taken_is_said_and_keeps_no_mail_waiting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let installation = installation(&taken.local_addr().unwrap().to_string());
    let mut worker = Worker::start(&installation);
    installation.take("a@example.org", "q1");
    wait_for("the answer", PATIENCE, || std::fs::read_dir(installation.path("replies/new")).ok()?.next().map(drop));
    let log = worker.log();
    let said: Vec<_> = log.lines().filter(|line| line.contains("the status page is not served")).collect();
    assert!(said.len() == 1 && said[0].contains("in use") && said[0].contains("status.listen"), "{log}");
    worker.signal("TERM");
    assert!(worker.wait().success());
}

#[test]
fn a_worker_that_is_to_serve_no_page_listens_nowhere() {
    let installation = installation("off");
    let worker = Worker::start(&installation);
    wait_for("the worker to be ready", PATIENCE, || worker.log().contains("\"ready\"").then_some(()));
    assert!(!worker.log().contains("status page"), "{}", worker.log());
    assert!(worker.listens_nowhere());
}

impl Worker {
    /// Whether it has no listening socket, as the system sees it.
    fn listens_nowhere(&self) -> bool {
        let inodes = std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        let inodes = inodes.filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()));
        let inodes: Vec<String> = inodes.collect();
        let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/{}/net/{table}", self.id())).unwrap_or_default());
        let listening = |line: &&str| line.split_whitespace().nth(3) == Some("0A");
        let of_us = |line: &str| line.split_whitespace().nth(9).is_some_and(|inode| inodes.iter().any(|ours| ours == inode));
        !tables.iter().flat_map(|table| table.lines()).filter(listening).any(of_us)
    }
}
