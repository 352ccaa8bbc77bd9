//! The mails of a drill: mostly one request of one sender each, and some of every kind that could go wrong.

use replyfleet_tests::{faults::Random, world::date};

/// Addresses that answer, each with one reply by SES and one by SMTP.
pub(crate) const ADDRESSES: [&str; 2] = ["get@responder.test", "win@responder.test"];
/// Bytes of a mail that does not fit into the queue.
const LARGE_BYTES: usize = 60_000;

/// What is special about a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Plain,
    /// To both addresses: one of the two requests is answered.
    TwoRecipients,
    /// To one address, twice: one request.
    SameRecipientTwice,
    /// Larger than what goes through the queue.
    Large,
    /// With the Message-ID of another sender's mail.
    SharedMessageId,
    /// The sender's own mail once more: one of the two is answered.
    Again,
    /// Sent by a machine: never answered.
    Automatic,
    /// From the null sender: never answered.
    NullSender,
}

/// A mail to inject.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) kind: Kind,
    /// The From address, whom the answer goes to.
    pub(crate) from: String,
    /// MAIL FROM; empty for the null sender.
    pub(crate) mail_from: String,
    pub(crate) recipients: Vec<&'static str>,
    /// With CRLF, no line begins with a dot.
    pub(crate) content: String,
}

impl Mail {
    /// Whether one of the sender's requests is to be answered.
    pub(crate) fn is_answerable(&self) -> bool {
        !matches!(self.kind, Kind::Automatic | Kind::NullSender)
    }
}

/// `count` mails.
pub(crate) fn make(random: &mut Random, count: usize) -> Vec<Mail> {
    let date = date();
    let mut mails: Vec<Mail> = Vec::with_capacity(count);
    for index in 0..count {
        let kind = match random.below(100) {
            0..2 => Kind::TwoRecipients,
            2 => Kind::SameRecipientTwice,
            3..5 => Kind::Large,
            5 if index > 0 => Kind::SharedMessageId,
            6 if index > 0 => Kind::Again,
            7..9 => Kind::Automatic,
            9 => Kind::NullSender,
            _ => Kind::Plain,
        };
        let address = ADDRESSES[usize::try_from(random.below(2)).unwrap()];
        let recipients = match kind {
            Kind::TwoRecipients => ADDRESSES.to_vec(),
            Kind::SameRecipientTwice => vec![address, address],
            _ => vec![address],
        };
        let mut sender = index;
        let mut id = format!("{index}@client.example.org");
        if matches!(kind, Kind::SharedMessageId | Kind::Again) {
            let other = usize::try_from(random.below(index as u64)).unwrap();
            id = format!("{other}@client.example.org");
            if kind == Kind::Again {
                sender = other;
            }
        }
        let from = match kind {
            // Of a mail that is itself of another, or of none that is answered, another sender's will do.
            Kind::Again if mails[sender].kind == Kind::Plain => mails[sender].from.clone(),
            _ => format!("s{index}@example.org"),
        };
        let recipients = if from == mails.get(sender).map_or("", |mail| &mail.from) { mails[sender].recipients.clone() } else { recipients };
        let marks = if kind == Kind::Automatic { "Auto-Submitted: auto-replied\r\n" } else { "" };
        let text = "please send it\r\n".repeat(if kind == Kind::Large { LARGE_BYTES / 16 } else { 1 });
        let content = format!("From: <{from}>\r\nTo: <{address}>\r\nSubject: please\r\nDate: {date}\r\nMessage-ID: <{id}>\r\n{marks}\r\n{text}");
        let mail_from = if kind == Kind::NullSender { String::new() } else { from.clone() };
        mails.push(Mail { kind, from, mail_from, recipients, content });
    }
    mails
}
