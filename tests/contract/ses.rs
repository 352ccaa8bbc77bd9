//! What SES is sent: the request that the SDK signs has a body that it never saw. The far end is a socket of the test that
//! takes the request apart as AWS would: it computes the signature anew (Signature Version 4) from what really came. The
//! emulator, which checks no signature, says whether it can read the mail.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, mpsc},
};

use aws_lc_rs::{digest, hmac};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use replyfleet::settings::SesSettings;
use replyfleet_tests::ministack::{Ministack, load_aws};
use replyfleet_worker::{
    compose::{Body, Reply, Segment},
    send::{Accepted, Sender, ses::SesSender},
};

/// The secret that tests/build.rs gives every test.
const SECRET: &str = "test";

/// A request as it came.
struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Answers each request with 200 and `answer`, or with 500 if there is none; tells what came.
fn far_end(answer: Option<&'static str>) -> (String, mpsc::Receiver<Request>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (seen, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let request = read(&mut BufReader::new(&stream));
            let (status, body) = answer.map_or((500, "{}"), |answer| (200, answer));
            let length = body.len();
            let head = format!("HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = seen.send(request); // the test may have seen enough
            let _ = stream.write_all(format!("{head}{body}").as_bytes()); // a client that goes away is its own affair
        }
    });
    (endpoint, requests)
}

fn read(stream: &mut impl BufRead) -> Request {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let mut words = lines[0].split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let headers: BTreeMap<_, _> =
        lines[1..].iter().map(|line| line.split_once(": ").unwrap()).map(|(k, v)| (k.to_lowercase(), v.to_owned())).collect();
    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    Request { method, path, headers, body }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// The signature that a request with this body must have, and the one that it has.
fn signatures(request: &Request, body: &[u8]) -> (String, String) {
    let authorization = &request.headers["authorization"];
    let part = |name: &str| authorization.split_once(&format!("{name}=")).unwrap().1.split(',').next().unwrap().to_owned();
    let (credential, signed, signature) = (part("Credential"), part("SignedHeaders"), part("Signature"));
    let headers: String = signed.split(';').map(|name| format!("{name}:{}\n", request.headers[name].trim())).collect();
    let canonical = format!("{}\n{}\n\n{headers}\n{signed}\n{}", request.method, request.path, sha256(body));
    let (_, scope) = credential.split_once('/').unwrap();
    let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", request.headers["x-amz-date"], sha256(canonical.as_bytes()));
    let key = scope.split('/').fold(format!("AWS4{SECRET}").into_bytes(), |key, text| mac(&key, text));
    (hex(&mac(&key, &to_sign)), signature)
}

pub(super) fn reply(head: &str, segments: Vec<Bytes>) -> Reply {
    let body = Body::new(String::new(), segments.into_iter().map(|lines| Arc::new(Segment::new(lines))).collect());
    let rcpt_to = "a@example.org".into();
    Reply { id: "0a1b.1".into(), mail_from: "bounces+t@example.com".into(), rcpt_to, head: head.into(), body: Arc::new(body) }
}

/// An attachment of 13 MiB, in lines of base64.
fn attachment() -> Bytes {
    let line: String = ('A'..='Z').chain('a'..='z').chain('0'..='9').cycle().take(76).chain("\r\n".chars()).collect();
    line.repeat((13 << 20) * 4 / 3 / 76).into()
}

async fn sender(endpoint: String, settings: &SesSettings) -> SesSender {
    SesSender::new(&load_aws(endpoint).await, settings).unwrap()
}

#[tokio::test]
async fn the_request_holds_the_mail_byte_for_byte_and_its_signature_is_good() {
    let head = |length: usize| format!("Subject: {}\r\n\r\n", "x".repeat(length));
    let mut settings = SesSettings { configuration_set: Some("set-1".into()), ..SesSettings::default() };
    settings.tags.insert("stage".into(), "test".into());
    let (endpoint, requests) = far_end(Some("{\"MessageId\":\"1\"}"));
    let sender = sender(endpoint, &settings).await;
    let text = Bytes::from_static(b"a text\r\n.\r\n");
    for reply in [
        reply(&head(1), vec![text.clone()]),
        reply(&head(2), vec![text.clone()]), // in groups of three bytes, and not
        reply(&head(3), vec![text.clone()]),
        reply(&head(2), vec![attachment(), text.clone()]),
        reply(&head(5), vec![]),
    ] {
        assert_eq!(sender.send(&reply).await, Ok(Accepted));
        let request = requests.recv().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let raw = BASE64_STANDARD.decode(json["Content"]["Raw"]["Data"].as_str().unwrap()).unwrap();
        assert!(raw == reply.to_vec(), "changed on its way");
        assert_eq!(json["Destination"], serde_json::json!({"ToAddresses": ["a@example.org"]}));
        assert_eq!(json["ConfigurationSetName"], "set-1");
        let tags = serde_json::json!([{"Name": "stage", "Value": "test"}, {"Name": "reply", "Value": "0a1b_1"}]);
        assert_eq!(json["EmailTags"], tags);
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v2/email/outbound-emails"));
        assert!(!request.headers.contains_key("transfer-encoding"), "AWS wants a length");
        let (wanted, signed) = signatures(&request, &request.body);
        assert_eq!(wanted, signed, "AWS would refuse it");
        let mut changed = request.body.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_ne!(signatures(&request, &changed).0, signed, "the signature covers the body");
    }
}

/// One request to the emulator, past the SDK; the whole answer.
fn ask(ministack: &Ministack, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(ministack.endpoint().trim_start_matches("http://")).unwrap();
    let credential = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/ses/aws4_request, SignedHeaders=host, Signature=0";
    let head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: {credential}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.split(' ').nth(1) == Some("200"), "{method} {path}: {}", answer.lines().next().unwrap_or_default());
    answer
}

#[tokio::test]
async fn the_emulator_reads_a_large_mail_as_it_was() {
    let Ok(ministack) = Ministack::shared() else { return };
    ask(ministack, "POST", "/v2/email/identities", "{\"EmailIdentity\": \"example.com\"}");
    let subject = format!("large-{}", std::process::id());
    let head = format!("From: a@example.com\r\nTo: a@example.org\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n");
    let text = attachment();
    assert_eq!(sender(ministack.endpoint(), &SesSettings::default()).await.send(&reply(&head, vec![text.clone()])).await, Ok(Accepted));
    let answer = ask(ministack, "GET", "/_ministack/ses/messages", "");
    let messages: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let all: Vec<_> = messages["messages"].as_object().unwrap().values().flat_map(|of_account| of_account.as_array().unwrap()).collect();
    let message = all.iter().find(|message| message["Subject"] == subject.as_str()).expect("it is there");
    let lines = |text: &str| text.trim_end().replace("\r\n", "\n");
    assert!(lines(message["BodyText"].as_str().unwrap()) == lines(std::str::from_utf8(&text).unwrap()), "changed on its way");
}

#[tokio::test]
async fn the_fleets_rate_is_the_settings_or_nine_tenths_of_what_ses_grants() {
    for (answer, want) in [
        (Some("{\"SendingEnabled\":true,\"SendQuota\":{\"Max24HourSend\":50000,\"MaxSendRate\":14,\"SentLast24Hours\":1}}"), Some(12.6)),
        (Some("{\"SendQuota\":{\"MaxSendRate\":-1}}"), None),
        (Some("{\"SendingEnabled\":true}"), None),
        (None, None),
    ] {
        let (endpoint, requests) = far_end(answer);
        assert_eq!(sender(endpoint.clone(), &SesSettings::default()).await.rate_max().await, want, "{answer:?}");
        assert_eq!(requests.try_iter().map(|request| request.path).collect::<Vec<_>>(), ["/v2/email/account"]);
        let rate = serde_json::from_str("\"600/min\"").unwrap();
        let settings = SesSettings { rate: Some(rate), ..SesSettings::default() };
        assert_eq!(sender(endpoint, &settings).await.rate_max().await, Some(10.0));
        assert_eq!(requests.try_iter().count(), 0, "the settings need no question");
    }
}

#[tokio::test]
async fn a_tag_that_ses_would_refuse_is_found_before_a_mail_is() {
    let mut settings = SesSettings::default();
    settings.tags.insert("stage".into(), "not good".into());
    let error = SesSender::new(&load_aws("http://127.0.0.1:9".into()).await, &settings).err().expect("refused");
    assert!(error.starts_with("tags.stage: \"not good\" must be"), "{error}");
}
