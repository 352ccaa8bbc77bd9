//! The harness's SES endpoint, SMTP sink and proxy do what their knobs say.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use replyfleet::settings::SesSettings;
use replyfleet_tests::{
    faults::{Fault, Rule},
    ministack::load_aws,
    proxy::{Mode, Proxy},
    ses::{self, Account},
    smtp::Sink,
    wait_for,
};
use replyfleet_worker::send::{Accepted, SendError, Sender, ses::SesSender};

use super::ses::reply;

const SOON: Duration = Duration::from_secs(10);

async fn sender(endpoint: &ses::Endpoint) -> SesSender {
    SesSender::new(&load_aws(endpoint.endpoint()).await, &SesSettings::default()).unwrap()
}

#[tokio::test]
async fn ses_remembers_what_it_accepted_answered_or_not() {
    let endpoint = ses::Endpoint::start();
    let sender = sender(&endpoint).await;
    let mail = reply("Message-ID: <1@example.com>\r\nIn-Reply-To: <2@\r\n example.org>\r\n\r\n", vec!["a text\r\n".into()]);
    assert_eq!(sender.send(&mail).await, Ok(Accepted));
    for (fault, count) in [(Fault::CutBefore, 1), (Fault::ActThenCut, 2)] {
        endpoint.faults().add(Rule::new("SendEmail", fault).times(1));
        assert!(matches!(sender.send(&mail).await, Err(SendError::Uncertain(_) | SendError::NotSent(_))));
        assert_eq!(endpoint.arrivals().len(), count);
    }
    let arrival = endpoint.arrivals().remove(0);
    assert_eq!((arrival.to, arrival.tag.as_str()), (vec!["a@example.org".to_owned()], "0a1b_1"));
    assert_eq!((arrival.message_id.as_str(), arrival.in_reply_to.as_str()), ("<1@example.com>", "<2@ example.org>"));
    assert_eq!((arrival.bytes, endpoint.sends()), (mail.to_vec().len(), 3));
}

#[tokio::test]
async fn ses_refuses_by_the_names_that_amazons_has() {
    let endpoint = ses::Endpoint::start();
    let sender = sender(&endpoint).await;
    let mail = reply("Subject: x\r\n\r\n", vec![]);
    assert_eq!(sender.check().await, Ok(()));
    endpoint.set_account(Account { is_sending_enabled: false, ..Account::default() });
    assert_eq!(sender.send(&mail).await, Err(SendError::Away("paused")));
    assert!(sender.check().await.is_err(), "GetAccount says so too");
    endpoint.set_account(Account { day_max: 0.0, ..Account::default() });
    assert_eq!(sender.send(&mail).await, Err(SendError::Away("quota")));
    endpoint.set_account(Account::default());
    endpoint.faults().add(Rule::new("SendEmail", Fault::Answer { status: 429, code: "TooManyRequestsException".into() }));
    assert_eq!(sender.send(&mail).await, Err(SendError::Throttled("TooManyRequestsException".into())));
    assert_eq!(endpoint.arrivals().len(), 0);
}

/// A dialogue in which every command waits for its reply; the replies, as far as they came.
fn dialogue(address: SocketAddr, lines: &[&str]) -> Vec<String> {
    let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
    stream.get_ref().set_read_timeout(Some(SOON)).unwrap();
    let mut replies = Vec::new();
    for line in ["", "HELO x\r\n"].iter().chain(lines) {
        if stream.get_mut().write_all(line.as_bytes()).is_err() {
            break;
        }
        loop {
            let mut reply = String::new();
            if stream.read_line(&mut reply).unwrap_or_default() == 0 {
                return replies;
            }
            if reply.as_bytes()[3] == b' ' {
                replies.push(reply.trim().to_owned());
                break;
            }
        }
    }
    replies.split_off(2)
}

const MAIL: [&str; 4] = ["MAIL FROM:<>\r\n", "RCPT TO:<a@example.org>\r\n", "DATA\r\n", "Message-ID: <1@example.com>\r\n\r\n..a dot\r\n.\r\n"];

#[test]
fn the_sink_takes_mail_and_misbehaves_at_each_stage() {
    let sink = Sink::start();
    assert_eq!(dialogue(sink.address(), &MAIL).last().map(String::as_str), Some("250 taken"));
    let arrival = sink.arrivals().remove(0);
    assert_eq!((arrival.to, arrival.message_id.as_str()), (vec!["a@example.org".to_owned()], "<1@example.com>"));
    assert_eq!(arrival.bytes, "Message-ID: <1@example.com>\r\n\r\n.a dot\r\n".len(), "the stuffed dot is not the mail's");
    for (stage, at) in [("MAIL", 0), ("RCPT", 1), ("DATA", 2), ("DOT", 3)] {
        sink.faults().add(Rule::new(stage, Fault::Answer { status: 451, code: "later".into() }).times(1));
        let replies = dialogue(sink.address(), &MAIL[..=at]);
        assert_eq!(replies.last().map(String::as_str), Some("451 later"), "{stage}");
    }
    for (fault, count) in [(Fault::CutBefore, 1), (Fault::ActThenCut, 2)] {
        sink.faults().add(Rule::new("DOT", fault).times(1));
        dialogue(sink.address(), &MAIL);
        wait_for("what was accepted", SOON, || (sink.arrivals().len() == count).then_some(()));
    }
    sink.faults().add(Rule::new("DATA", Fault::CutAfter { bytes: 10 }).times(1));
    dialogue(sink.address(), &MAIL);
    assert_eq!(sink.arrivals().len(), 2, "a mail that was cut was not taken");
}

/// Sends back what it is sent.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(std::io::copy(&mut &stream, &mut &stream)));
        }
    });
    address
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream
}

/// What comes back for these bytes, and how it ended.
fn ask(stream: &mut TcpStream, bytes: usize) -> (usize, std::io::Result<()>) {
    let mut answer = vec![0; bytes];
    if let Err(error) = stream.write_all(&vec![b'x'; bytes]) {
        return (0, Err(error));
    }
    let mut read = 0;
    while read < bytes {
        match stream.read(&mut answer[read..]) {
            Ok(0) => return (read, Ok(())),
            Ok(count) => read += count,
            Err(error) => return (read, Err(error)),
        }
    }
    (read, Ok(()))
}

fn is_reset(result: &std::io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe))
}

#[test]
fn a_bad_network_is_late_silent_cut_closed_or_refuses() {
    let proxy = Proxy::start(echo());
    let mut stream = connect(&proxy);
    assert_eq!(ask(&mut stream, 1_000).0, 1_000);

    proxy.set(Mode { latency: Duration::from_millis(100), ..Mode::default() });
    let start = Instant::now();
    assert_eq!(ask(&mut stream, 10).0, 10);
    assert!(start.elapsed() >= Duration::from_millis(200), "there and back in {:?}", start.elapsed());

    proxy.set(Mode { is_black_hole: true, ..Mode::default() });
    for stream in [&mut stream, &mut connect(&proxy)] {
        let (read, end) = ask(stream, 10);
        assert!(read == 0 && end.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "{read} {end:?}");
    }
    proxy.set(Mode::default());
    stream.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(ask(&mut stream, 10).0, 10, "what was under way arrives");

    proxy.reset_all();
    wait_for("the connection to be reset", SOON, || is_reset(&ask(&mut stream, 1).1).then_some(()));

    proxy.set(Mode { reset_after_answered: Some(500), ..Mode::default() });
    let (read, end) = ask(&mut connect(&proxy), 1_000);
    assert!(read <= 500 && is_reset(&end), "{read} {end:?}");

    proxy.set(Mode { reset_after_sent: Some(500), ..Mode::default() });
    let (read, end) = ask(&mut connect(&proxy), 1_000);
    assert!(read <= 500 && is_reset(&end), "{read} {end:?}");

    proxy.set(Mode { close_after_answered: Some(500), ..Mode::default() });
    let mut closed = connect(&proxy);
    let (read, end) = ask(&mut closed, 1_000);
    assert!(read == 500 && end.is_ok(), "{read} {end:?}");
    closed.write_all(b"more").expect("the other direction is open");

    proxy.set(Mode { is_refusing: true, ..Mode::default() });
    assert_eq!(TcpStream::connect(proxy.address()).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    proxy.set(Mode::default());
    assert_eq!(ask(&mut connect(&proxy), 10).0, 10);
}
