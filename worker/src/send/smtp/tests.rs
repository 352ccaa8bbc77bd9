//! The dialogue against a scripted server: what it says, and when it breaks, decides what a failure is.

use std::sync::{Arc, Mutex as StdMutex};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

use super::*;
use crate::compose::{Body, Segment};

/// What the server does at one point of the dialogue.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    /// Goes on as a server does.
    Good,
    /// Says this line.
    Say(&'static str),
    /// Closes the connection.
    Cut,
    /// Says nothing any more.
    Hang,
}

#[derive(Clone, Copy)]
struct Script {
    greeting: Act,
    mail: Act,
    rcpt: Act,
    data: Act,
    dot: Act,
    ehlo: &'static str,
}

const GOOD: Script =
    Script { greeting: Act::Good, mail: Act::Good, rcpt: Act::Good, data: Act::Good, dot: Act::Good, ehlo: "250-test\r\n250 SMTPUTF8" };

/// A server that follows a script; it notes the lines that it was sent.
struct Server {
    port: u16,
    lines: Arc<StdMutex<Vec<String>>>,
}

impl Server {
    async fn start(scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let lines: Arc<StdMutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&lines);
        tokio::spawn(async move {
            for script in scripts {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(converse(stream, script, Arc::clone(&noted)));
            }
        });
        Self { port, lines }
    }

    fn saw(&self, start: &str) -> usize {
        self.lines.lock().expect("no panic").iter().filter(|line| line.starts_with(start)).count()
    }
}

async fn converse(stream: TcpStream, script: Script, lines: Arc<StdMutex<Vec<String>>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut is_data = false;
    act(&mut stream, script.greeting, "220 test").await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        lines.lock().expect("no panic").push(line.trim_end().to_owned());
        if is_data {
            if line == ".\r\n" {
                is_data = false;
                act(&mut stream, script.dot, "250 2.0.0 queued").await?;
            }
            continue;
        }
        match line.split([' ', ':', '\r']).next().unwrap_or_default() {
            "EHLO" => act(&mut stream, Act::Say(script.ehlo), "").await?,
            "MAIL" => act(&mut stream, script.mail, "250 2.1.0 ok").await?,
            "RCPT" => act(&mut stream, script.rcpt, "250 2.1.5 ok").await?,
            "DATA" => {
                is_data = true;
                act(&mut stream, script.data, "354 go on").await?;
            }
            _ => act(&mut stream, Act::Good, "250 ok").await?,
        }
    }
}

async fn act(stream: &mut BufReader<TcpStream>, act: Act, good: &str) -> Option<()> {
    let line = match act {
        Act::Good => good,
        Act::Say(line) => line,
        Act::Cut => return None,
        Act::Hang => return std::future::pending().await,
    };
    stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.ok()
}

fn sender(port: u16, tls: &str) -> SmtpSender {
    let host = if tls == "none" { "127.0.0.1" } else { "localhost" };
    let text = format!("kind = \"smtp\"\nhost = \"{host}\"\nport = {port}\ntls = \"{tls}\"\ntimeout_s = 2\nconnections_max = 2\n");
    let example = include_str!("../../../../docs/replyfleet.toml");
    let settings = format!("{}[send.SMTP]\n{text}", example.split("[send.SMTP]").next().expect("there"));
    let settings = replyfleet::settings::Settings::parse(&settings, "test", |_| None).expect("valid");
    match settings.send.smtp {
        Some(replyfleet::settings::SenderSettings::Smtp(smtp)) => SmtpSender::new(&smtp).expect("opened"),
        other => panic!("{other:?}"),
    }
}

fn reply() -> Reply {
    let lines = b".a line with a dot\r\nend\r\n".to_vec();
    let body = Arc::new(Body::new(String::new(), vec![Arc::new(Segment::new(lines))]));
    let head = b"Subject: x\r\n\r\n".to_vec();
    Reply { id: "1.0".into(), mail_from: "bounces+t@example.com".into(), rcpt_to: "a@example.org".into(), head, body }
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_and_the_connection_serves_the_next() {
    let server = Server::start(vec![GOOD]).await;
    let sender = sender(server.port, "none");
    for _ in 0..3 {
        assert_eq!(sender.send(&reply()).await, Ok(Accepted));
    }
    assert_eq!(server.saw("EHLO"), 1, "one connection");
    let lines = server.lines.lock().expect("no panic").clone();
    let start = lines.iter().position(|line| line == "DATA").expect("sent") + 1;
    assert_eq!(lines[start..start + 5], ["Subject: x", "", "..a line with a dot", "end", "."]);
    assert_eq!(lines[start - 3..start - 1], ["MAIL FROM:<bounces+t@example.com>", "RCPT TO:<a@example.org>"]);
}

#[tokio::test]
async fn where_it_breaks_decides_what_may_follow() {
    let refused = |text: &str| SendError::Refused(text.into());
    let not_sent = |text: &str| SendError::NotSent(text.into());
    let uncertain = |text: &str| SendError::Uncertain(text.into());
    for (script, want) in [
        (Script { greeting: Act::Say("554 no"), ..GOOD }, not_sent("connect: 554")),
        (Script { greeting: Act::Cut, ..GOOD }, not_sent("connect: no SMTP answer")),
        (Script { greeting: Act::Hang, ..GOOD }, not_sent("connect: time-out")),
        (Script { mail: Act::Say("451 4.7.1 later"), ..GOOD }, not_sent("MAIL: 451")),
        (Script { mail: Act::Say("554 5.7.1 access denied"), ..GOOD }, not_sent("MAIL: 554")),
        (Script { rcpt: Act::Say("550 5.1.1 a@example.org unknown"), ..GOOD }, refused("RCPT: 550")),
        (Script { rcpt: Act::Say("450 4.2.0 greylisted"), ..GOOD }, not_sent("RCPT: 450")),
        (Script { rcpt: Act::Cut, ..GOOD }, not_sent("RCPT: no SMTP answer")),
        (Script { data: Act::Hang, ..GOOD }, not_sent("DATA: time-out")),
        (Script { dot: Act::Say("552 5.3.4 too big"), ..GOOD }, refused("message: 552")),
        (Script { dot: Act::Say("451 4.3.0 later"), ..GOOD }, not_sent("message: 451")),
        (Script { dot: Act::Cut, ..GOOD }, uncertain("message: no SMTP answer")),
        (Script { dot: Act::Hang, ..GOOD }, uncertain("message: time-out")),
    ] {
        let server = Server::start(vec![script]).await;
        assert_eq!(sender(server.port, "none").send(&reply()).await, Err(want));
    }
    let nobody = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port").local_addr().expect("bound").port();
    assert_eq!(sender(nobody, "none").send(&reply()).await, Err(not_sent("connect: connection refused")));
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_replaced_unseen() {
    let server = Server::start(vec![Script { dot: Act::Good, ..GOOD }, GOOD]).await;
    let sender = sender(server.port, "none");
    assert_eq!(sender.send(&reply()).await, Ok(Accepted));
    // The server's end of the idle connection goes away: the next MAIL finds it dead.
    let (mut connection, since) = sender.idle.lock().expect("no panic").pop().expect("one idles");
    connection.abort().await;
    sender.idle.lock().expect("no panic").push((connection, since));
    assert_eq!(sender.send(&reply()).await, Ok(Accepted));
    assert_eq!(server.saw("EHLO"), 2);
}

#[tokio::test]
async fn nothing_is_sent_in_clear_where_tls_is_asked_for() {
    for (tls, ehlo) in [("starttls", "250 test"), ("starttls", "250-test\r\n250 STARTTLS"), ("implicit", "250 test")] {
        let server = Server::start(vec![Script { ehlo, ..GOOD }]).await;
        let failed = sender(server.port, tls).send(&reply()).await.expect_err("no TLS there");
        assert!(matches!(&failed, SendError::NotSent(text) if text.starts_with("connect: ")), "{failed}");
        assert_eq!(server.saw("MAIL") + server.saw("Subject"), 0);
    }
}

#[tokio::test]
async fn an_address_beyond_ascii_needs_a_server_that_knows_it() {
    let reply = Reply { rcpt_to: "用户@example.org".into(), ..reply() };
    let server = Server::start(vec![GOOD]).await;
    assert_eq!(sender(server.port, "none").send(&reply).await, Ok(Accepted));
    assert_eq!(server.saw("MAIL FROM:<bounces+t@example.com> SMTPUTF8"), 1);
    let old = Server::start(vec![Script { ehlo: "250 test", ..GOOD }]).await;
    assert_eq!(sender(old.port, "none").send(&reply).await, Err(SendError::Refused("no SMTPUTF8".into())));
}

#[tokio::test]
async fn connections_are_bounded() {
    let server = Server::start(vec![GOOD; 10]).await;
    let sender = Arc::new(sender(server.port, "none"));
    let sends: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let sender = Arc::clone(&sender);
                async move { sender.send(&reply()).await }
            })
        })
        .collect();
    for send in sends {
        assert_eq!(send.await.expect("no panic"), Ok(Accepted));
    }
    assert!(server.saw("EHLO") <= 2, "connections_max = 2");
}
