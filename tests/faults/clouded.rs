//! An installation whose queue is SQS, or whose replies go by SES and SMTP, at services that misbehave when they are told to.

use std::fs;

use replyfleet_tests::{
    installation::{Installation, aws},
    ses, smtp, sqs, wait_for,
};

use crate::running::DEADLINE;

/// Of the queue: short, so that what was not settled is soon back.
const VISIBILITY_S: u32 = 2;
/// Of both senders: short, so that an unanswered claim soon ends.
const SEND_TIMEOUT_S: u32 = 1;

/// Queue on SQS, replies into a folder.
pub(crate) struct OnSqs {
    pub(crate) installation: Installation,
    pub(crate) sqs: sqs::Endpoint,
}

impl OnSqs {
    pub(crate) fn new() -> Self {
        let (installation, sqs) = (Installation::new(), sqs::Endpoint::start());
        let (url, dead) = (sqs.create_queue("requests"), sqs.create_queue("dead"));
        installation.queue_on_sqs(&sqs, &url, &dead, VISIBILITY_S);
        Self { installation, sqs }
    }

    /// Hands over `count` mails of as many people.
    pub(crate) fn take(&self, count: usize) {
        for number in 0..count {
            self.installation.take(&format!("person{number}@example.org"), &format!("4XyZ{number:03}z"));
        }
    }

    /// How many replies there are.
    pub(crate) fn replies(&self) -> usize {
        fs::read_dir(self.installation.path("replies/new")).map_or(0, Iterator::count)
    }

    /// Waits until no message is left in the queue.
    pub(crate) fn wait_until_empty(&self) {
        wait_for("the queue to be empty", DEADLINE, || self.sqs.messages("requests").is_empty().then_some(()));
    }
}

/// Queue in a spool; of the two replies to a request one goes by SES and one by SMTP.
pub(crate) struct TwoSenders {
    pub(crate) installation: Installation,
    pub(crate) ses: ses::Endpoint,
    pub(crate) smtp: smtp::Sink,
}

impl TwoSenders {
    pub(crate) fn new() -> Self {
        let (installation, ses, smtp) = (Installation::new(), ses::Endpoint::start(), smtp::Sink::start());
        let port = smtp.address().port();
        installation.change("send.SES = ", |_| {
            format!(
                "aws = {}\nsend.SES = {{ kind = \"ses\", timeout_s = {SEND_TIMEOUT_S} }}\n\
                 send.SMTP = {{ kind = \"smtp\", host = \"127.0.0.1\", port = {port}, tls = \"none\", timeout_s = {SEND_TIMEOUT_S} }}",
                aws(&ses.endpoint())
            )
        });
        installation.change("url = \"spool:", |line| line.replace(" }", &format!(", visibility_s = {VISIBILITY_S} }}")));
        installation.write(
            "store/catalogue/catalogue.json",
            r#"[{"email_addr": "get@example.com", "body": "by SES", "send_method": "SES"},
                {"email_addr": "get@example.com", "body": "by SMTP", "send_method": "SMTP"}]"#,
        );
        Self { installation, ses, smtp }
    }
}
