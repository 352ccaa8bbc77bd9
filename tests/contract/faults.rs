//! How a failed AWS call is sorted: whether it may have had its effect decides whether a reply may be sent again. The
//! far end is a socket of the test that breaks where it is told to.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
};

use replyfleet::{
    aws::Aws,
    settings::{SenderSettings, Settings},
};
use replyfleet_tests::repository;
use replyfleet_worker::{
    compose::{Body, Reply, Segment},
    send::{SendError, Sender, ses::SesSender},
};

/// What the far end does with a request.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Reads it and closes the connection.
    TakesAndCloses,
    /// Reads it and resets the connection half way through its answer.
    CutsTheAnswer,
    /// Closes before a byte is read.
    ClosesAtOnce,
    /// Reads so many bytes and resets the connection.
    CutsTheUpload(u64),
    /// Reads so many bytes, and then no more.
    Stalls(u64),
    /// Answers with a status and an error code.
    Says(u16, &'static str),
    /// Takes it.
    Accepts,
}

/// Serves one connection after another for as long as the test lives; returns the port.
fn far_end(manner: Manner) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = serve(stream, manner); // a client that goes away is its own affair
        }
    });
    port
}

fn serve(mut stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    match manner {
        Manner::ClosesAtOnce => return Ok(()),
        Manner::CutsTheUpload(bytes) => return std::io::copy(&mut (&stream).take(bytes), &mut std::io::sink()).map(drop),
        Manner::Stalls(bytes) => {
            std::io::copy(&mut (&stream).take(bytes), &mut std::io::sink())?;
            std::mem::forget(stream); // it stands for as long as the test does
            return Ok(());
        }
        _ => read_request(&stream)?,
    }
    let answer = |status: u16, kind: &str, body: &str| {
        format!(
            "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nx-amzn-ErrorType: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    match manner {
        Manner::TakesAndCloses | Manner::ClosesAtOnce | Manner::CutsTheUpload(_) | Manner::Stalls(_) => Ok(()),
        Manner::CutsTheAnswer => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"Mess"),
        Manner::Says(status, kind) => stream.write_all(answer(status, kind, "{\"message\":\"a@example.org is not welcome\"}").as_bytes()),
        Manner::Accepts => stream.write_all(answer(200, "", "{\"MessageId\":\"1\"}").as_bytes()),
    }
}

fn read_request(stream: &TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while stream.read_line(&mut line)? > 0 && line != "\r\n" {
        length = line.to_lowercase().strip_prefix("content-length: ").map_or(length, |length| length.trim().parse().unwrap());
        line.clear();
    }
    std::io::copy(&mut stream.take(length), &mut std::io::sink()).map(drop)
}

fn reply(body: Vec<u8>) -> Reply {
    Reply {
        id: "1.0".into(),
        mail_from: "bounces+t@example.com".into(),
        rcpt_to: "a@example.org".into(),
        head: b"Subject: x\r\n\r\n".to_vec(),
        body: Arc::new(Body::new(String::new(), vec![Arc::new(Segment::new(body))])),
    }
}

/// A sender with a time-out of so many seconds.
async fn sender(endpoint: &str, timeout_s: u64) -> SesSender {
    let text = std::fs::read_to_string(repository().join("docs/replyfleet.toml")).unwrap();
    let text = text
        .replace("# endpoint_url = \"http://127.0.0.1:4566\"", &format!("endpoint_url = \"{endpoint}\""))
        .replace("# region =", "region =")
        .replace("kind = \"maildir\"\ndir = \"/var/lib/replyfleet/replies\"", &format!("kind = \"ses\"\ntimeout_s = {timeout_s}"));
    let settings = Settings::parse(&text, "docs/replyfleet.toml", |_| None).unwrap();
    assert_eq!(settings.aws.endpoint_url.as_deref(), Some(endpoint));
    let aws = Aws::load(&settings.aws).await.unwrap();
    let Some(SenderSettings::Ses(ses)) = settings.send.ses else { panic!("{:?}", settings.send.ses) };
    let sender = SesSender::new(&aws, &ses).unwrap();
    assert_eq!(sender.timeout().as_secs(), timeout_s);
    sender
}

async fn send_to(endpoint: &str) -> Result<(), SendError> {
    sender(endpoint, 60).await.send(&reply(b"x\r\n".to_vec())).await.map(drop)
}

#[tokio::test]
async fn what_may_have_been_sent_is_told_from_what_surely_was_not() {
    let uncertain = |error: &SendError| matches!(error, SendError::Uncertain(_));
    let not_sent = |error: &SendError| matches!(error, SendError::NotSent(_));
    let either = |error: &SendError| matches!(error, SendError::Uncertain(_) | SendError::NotSent(_));
    let throttled = |error: &SendError| matches!(error, SendError::Throttled(_));
    let refused = |error: &SendError| matches!(error, SendError::Refused(_));
    type Check = fn(&SendError) -> bool;
    let cases: [(Manner, Check); 12] = [
        (Manner::TakesAndCloses, uncertain),
        (Manner::CutsTheAnswer, uncertain),
        (Manner::ClosesAtOnce, either), // it stood: whether the last byte had left by then is chance
        (Manner::Says(500, "InternalServiceError"), uncertain),
        (Manner::Says(504, "GatewayTimeout"), uncertain),
        (Manner::Says(429, "TooManyRequestsException"), throttled),
        (Manner::Says(429, "SomethingNew"), throttled),
        (Manner::Says(400, "SendingPausedException"), |error| *error == SendError::Away("paused")),
        (Manner::Says(400, "AccountSuspendedException"), |error| *error == SendError::Away("suspended")),
        (Manner::Says(400, "LimitExceededException"), |error| *error == SendError::Away("quota")), // slower does not help
        (Manner::Says(403, "AccessDeniedException"), not_sent),
        (Manner::Says(400, "MessageRejected"), refused),
    ];
    for (manner, is_right) in cases {
        let error = send_to(&format!("http://127.0.0.1:{}", far_end(manner))).await.expect_err("it fails");
        assert!(is_right(&error), "{manner:?}: {error:?}");
        assert!(!error.to_string().contains('@'), "{manner:?}: {error} quotes an address");
    }
    send_to(&format!("http://127.0.0.1:{}", far_end(Manner::Accepts))).await.expect("taken");
}

#[tokio::test]
async fn an_upload_that_was_cut_has_surely_not_been_taken() {
    // More than all buffers between us hold: the last byte never leaves.
    let large = reply([&[b'x'; 76][..], b"\r\n"].concat().repeat(200_000));
    for (manner, timeout_s, want) in [
        (Manner::CutsTheUpload(1_000_000), 60, SendError::NotSent("no connection, in the upload".into())),
        (Manner::Stalls(1_000_000), 1, SendError::NotSent("time-out, in the upload".into())),
        (Manner::TakesAndCloses, 60, SendError::Uncertain("no connection".into())),
    ] {
        let endpoint = format!("http://127.0.0.1:{}", far_end(manner));
        assert_eq!(sender(&endpoint, timeout_s).await.send(&large).await, Err(want), "{manner:?}");
    }
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let no_tls = far_end(Manner::TakesAndCloses);
    for endpoint in [format!("http://127.0.0.1:{nobody}"), "http://no-such-host.invalid:80".into(), format!("https://127.0.0.1:{no_tls}")] {
        let error = send_to(&endpoint).await.expect_err("nobody there");
        assert!(matches!(error, SendError::NotSent(_)), "{endpoint}: {error:?}");
    }
}
