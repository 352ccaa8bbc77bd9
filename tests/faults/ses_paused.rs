//! Row 28: SES lets nobody send: paused, suspended, over the day's quota. The queue is left alone, one reply a probe tries, and all
//! are answered when SES is open again; or they leave by another sender, where the settings name one.

use std::sync::{Arc, Mutex};

use replyfleet_tests::{
    wait_for,
    web::{Answer, serve},
};

use crate::bed::{Bed, PATIENCE};

const MAILS: usize = 30;
const SQLITE: &str = "database.url = \"sqlite:DIR/ledger.db\"";

/// How SES is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// With this error from SendEmail: its status, its type, its message; and whether GetAccount knows of it.
    Away(u16, &'static str, &'static str, bool),
}

/// An SES of the test's own.
#[derive(Clone)]
struct Ses {
    state: Arc<Mutex<State>>,
    /// How often a mail was tried while it was away, how often it was asked how it is, and to whom it took mails.
    tried: Arc<Mutex<(usize, usize)>>,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Ses {
    fn start(state: State) -> (Self, String) {
        let ses = Self { state: Arc::new(Mutex::new(state)), tried: Arc::default(), taken: Arc::default() };
        let served = ses.clone();
        let url = serve(move |request| {
            let state = *served.state.lock().unwrap();
            match (request.path.as_str(), state) {
                ("/v2/email/account", _) => {
                    served.tried.lock().unwrap().1 += 1;
                    let is_known = matches!(state, State::Away(.., true));
                    let quota = if is_known { 100 } else { -1 };
                    let body = format!(
                        r#"{{"SendingEnabled": {}, "SendQuota": {{"Max24HourSend": {quota}, "MaxSendRate": -1, "SentLast24Hours": 100}}}}"#,
                        !matches!(state, State::Away(_, "SendingPausedException", _, true))
                    );
                    Answer::new(200, body).with("Content-Type", "application/json")
                }
                (_, State::Away(status, kind, message, _)) => {
                    served.tried.lock().unwrap().0 += 1;
                    let body = format!(r#"{{"message": "{message}"}}"#);
                    Answer::new(status, body).with("Content-Type", "application/json").with("x-amzn-ErrorType", kind)
                }
                (_, State::Open) => {
                    let json: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
                    served.taken.lock().unwrap().push(json["Destination"]["ToAddresses"][0].as_str().unwrap().to_owned());
                    Answer::new(200, r#"{"MessageId": "1"}"#).with("Content-Type", "application/json")
                }
            }
        });
        (ses, url)
    }

    fn tried(&self) -> (usize, usize) {
        *self.tried.lock().unwrap()
    }
}

fn settings(url: &str, more: &str) -> String {
    format!("{SQLITE}\naws = {{ region = \"us-east-1\", endpoint_url = \"{url}\" }}\n{more}")
}

fn all() -> Vec<String> {
    let mut all: Vec<String> = (0..MAILS).map(|number| format!("a{number}@example.org")).collect();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_suspended_or_used_up_ses_is_left_alone_and_tried_once_a_probe() {
    let cases = [
        (State::Away(400, "SendingPausedException", "", true), "paused"),
        (State::Away(400, "AccountSuspendedException", "", false), "suspended"),
        (State::Away(400, "LimitExceededException", "", true), "quota"),
        (State::Away(429, "TooManyRequestsException", "Daily message quota exceeded.", false), "quota"),
    ];
    for (state, reason) in cases {
        let State::Away(.., is_known) = state else { panic!("it is away") };
        let (ses, url) = Ses::start(state);
        let bed = Bed::new(&settings(&url, "send.SES = { kind = \"ses\" }"));
        for number in 0..MAILS {
            bed.put(number).await;
        }
        let mut worker = bed.start_ready();
        worker.wait_until_logged(&["ERROR", "a breaker is open", "send.SES", reason]);
        wait_for("what was in hand to be given back", PATIENCE, || (bed.depth().1 == 0).then_some(()));
        let (before, asked) = ses.tried();
        assert!(before <= 4, "as many as there are slots: {before}");
        wait_for("five probes", PATIENCE, || (ses.tried().1 >= asked + 5).then_some(()));
        let ((tried, probes), receives) = (ses.tried(), bed.receives());
        let more = if is_known { 0 } else { probes - asked };
        assert!(tried - before <= more, "{reason}: {tried} tried, {before} before {} probes", probes - asked);
        assert!(receives.iter().all(|receives| *receives <= 4), "{reason}: {receives:?}");
        *ses.state.lock().unwrap() = State::Open;
        bed.wait_until_empty();
        worker.wait_until_logged(&["INFO", "a breaker is closed", "send.SES"]);
        let mut taken = ses.taken.lock().unwrap().clone();
        taken.sort_unstable();
        assert_eq!(taken, all(), "{reason}: each once");
        worker.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_leave_by_the_other_sender_while_ses_is_paused() {
    let (ses, url) = Ses::start(State::Away(400, "SendingPausedException", "", true));
    let senders = "send.SES = { kind = \"ses\", fallback = \"SMTP\" }\nsend.SMTP = { kind = \"maildir\", dir = \"DIR/replies\" }";
    let bed = Bed::new(&settings(&url, senders));
    for number in 0..MAILS {
        bed.put(number).await;
    }
    let mut worker = bed.start_ready();
    bed.wait_until_empty();
    assert_eq!(bed.answered("replies"), all(), "each once");
    assert!(ses.tried().0 <= 4, "{:?}", ses.tried());
    *ses.state.lock().unwrap() = State::Open;
    worker.wait_until_logged(&["a breaker is closed", "send.SES"]);
    bed.put(MAILS).await;
    bed.wait_until_empty();
    assert_eq!(*ses.taken.lock().unwrap(), [format!("a{MAILS}@example.org")]);
    worker.stop();
}
