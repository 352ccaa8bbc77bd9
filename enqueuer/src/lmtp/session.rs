//! One connection of LMTP (RFC 2033) from greeting to end.
//!
//! A mail is confirmed for each recipient by itself, and only after the queue has taken that recipient's envelope. What
//! goes wrong with a mail is always a 4xx: the bounce of a request would go to a sender who may be forged, and the request
//! would be lost. The commands out of their order get a 4xx too, where RFC 5321 says 503: a mistake here must not bounce
//! mail either.
//!
//! DATA's bytes are stored as pipe(8) gives them ([`data`](super::data)), BDAT's (RFC 3030) as they are.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use super::{
    command::{Attribute, Command},
    data::Decoder,
    memory::Hold,
    server::Shared,
    wire::{Gone, Line, READ_BYTES, Wire},
};
use crate::{Handover, is_short};

/// Recipients of one mail. Postfix's own limit is 50, and 1 as we want it set.
const RECIPIENTS_MAX: usize = 100;
/// Lines that are no commands, after which we hang up.
const FAULTS_MAX: u32 = 20;

/// By so much a mail may be longer than its piece had room for: a byte too many, and a CR that was held back.
const HELD_BACK_MAX: usize = 2;

const GREETING: &str = "LMTP replyfleet";
/// Not SIZE: Postfix bounces by itself what is larger than that says.
const OFFERS: [&str; 7] =
    ["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "XFORWARD NAME ADDR PROTO HELO IDENT SOURCE"];
const STOPPING: &str = "421 4.3.2 the service stops; try again";
const NO_MEMORY: &str = "452 4.3.1 no memory free for this mail now";
const OUT_OF_ORDER: &str = "451 4.5.1 not in this order: MAIL, RCPT, DATA or BDAT";
const NO_IDENT: &str = "451 4.3.5 no queue id: set lmtp_send_xforward_command = yes in main.cf";
const SHORT_IDENT: &str = "451 4.3.5 short queue ids are used again: set enable_long_queue_ids = yes in main.cf";

/// A mail on its way in.
struct Transaction {
    /// All but the recipient.
    envelope: Handover,
    /// As ORCPT says, else as RCPT does.
    recipients: Vec<String>,
    /// What BDAT has brought so far.
    body: Option<Body>,
}

/// A mail's bytes as they come.
struct Body {
    mail: Vec<u8>,
    hold: Option<Hold>,
    /// Why it cannot be taken; its bytes are read and dropped.
    refusal: Option<String>,
}

/// A mail that has come whole. Its memory is given back with its last copy, not when the client has its reply: at the
/// deadline a write that hangs still has the bytes.
struct Kept {
    mail: Vec<u8>,
    _hold: Option<Hold>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.mail
    }
}

/// What the client is told next.
enum Next {
    Stay,
    Leave,
}

/// A connection.
pub(super) struct Session<S> {
    wire: Wire<S>,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    /// What XFORWARD has said of the next mail.
    client: Handover,
    transaction: Option<Transaction>,
    faults: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) fn new(stream: S, shared: Arc<Shared>, stop: watch::Receiver<bool>) -> Self {
        Self { wire: Wire::new(stream), shared, stop, client: Handover::default(), transaction: None, faults: 0 }
    }

    /// Serves the connection to its end.
    pub(super) async fn run(mut self) {
        self.wire.reply(&format!("220 {} {GREETING}", self.shared.host));
        // A connection that is gone is no error of ours, and Postfix has the mail.
        while let Ok(Some(line)) = self.next_line().await {
            match self.answer(line).await {
                Ok(Next::Stay) => {}
                Ok(Next::Leave) => break,
                Err(Gone) => return,
            }
        }
        let _ = self.wire.flush().await;
    }

    /// The next line; `None` if the service stops and no mail is under way here.
    async fn next_line(&mut self) -> Result<Option<Line>, Gone> {
        if self.transaction.is_some() || !self.wire.is_waiting() {
            return self.wire.line().await.map(Some);
        }
        self.wire.flush().await?;
        tokio::select! {
            biased;
            () = async { drop(self.stop.wait_for(|is_stopping| *is_stopping).await) } => {
                self.wire.reply(STOPPING);
                Ok(None)
            }
            line = self.wire.line() => line.map(Some),
        }
    }

    async fn answer(&mut self, line: Line) -> Result<Next, Gone> {
        let command = match line {
            Line::Text(text) => Command::parse(&text).map_err(|fault| fault.0),
            Line::TooLong => Err("451 4.5.2 the line is too long"),
        };
        match command {
            Ok(Command::Lhlo) => self.lhlo(),
            Ok(Command::Xforward(attributes)) => self.xforward(attributes),
            Ok(Command::Mail(sender)) => self.mail(sender),
            Ok(Command::Rcpt { to, original }) => self.rcpt(original.unwrap_or(to)),
            Ok(Command::Data) => self.data().await?,
            Ok(Command::Bdat { bytes, is_last }) => self.bdat(bytes, is_last).await?,
            Ok(Command::Rset) => {
                self.reset();
                self.wire.reply("250 2.0.0 ok");
            }
            Ok(Command::Noop) => self.wire.reply("250 2.0.0 ok"),
            Ok(Command::Quit) => {
                self.wire.reply("221 2.0.0 bye");
                return Ok(Next::Leave);
            }
            // Postfix would take a 5xx here for the recipients' too.
            Ok(Command::Smtp) => self.wire.reply("451 4.5.1 this is LMTP: name the transport lmtp: in main.cf"),
            Err(reply) => {
                self.wire.reply(reply);
                self.faults += 1;
                if reply.starts_with("421") {
                    return Ok(Next::Leave);
                }
                if self.faults >= FAULTS_MAX {
                    self.wire.reply("421 4.7.0 too many lines that are no commands");
                    return Ok(Next::Leave);
                }
            }
        }
        Ok(Next::Stay)
    }

    fn lhlo(&mut self) {
        self.reset();
        self.wire.reply(&format!("250-{}", self.shared.host));
        for (index, offer) in OFFERS.iter().enumerate() {
            let separator = if index + 1 == OFFERS.len() { ' ' } else { '-' };
            self.wire.reply(&format!("250{separator}{offer}"));
        }
    }

    fn xforward(&mut self, attributes: Vec<(Attribute, Option<String>)>) {
        for (attribute, value) in attributes {
            let value = value.unwrap_or_default();
            match attribute {
                Attribute::Name => self.client.client_hostname = value,
                Attribute::Addr => self.client.client_address = without_family(value),
                Attribute::Proto => self.client.client_protocol = value,
                Attribute::Helo => self.client.client_helo = value,
                Attribute::Ident => self.client.queue_id = value,
            }
        }
        self.wire.reply("250 2.0.0 ok");
    }

    fn mail(&mut self, sender: String) {
        if self.transaction.is_some() {
            return self.wire.reply(OUT_OF_ORDER);
        }
        if self.client.queue_id.is_empty() {
            return self.wire.reply(NO_IDENT);
        }
        if is_short(&self.client.queue_id) {
            return self.wire.reply(SHORT_IDENT);
        }
        let envelope = Handover { sender, ..std::mem::take(&mut self.client) };
        self.transaction = Some(Transaction { envelope, recipients: Vec::new(), body: None });
        self.wire.reply("250 2.1.0 ok");
    }

    fn rcpt(&mut self, recipient: String) {
        let reply = match &mut self.transaction {
            None => OUT_OF_ORDER,
            Some(Transaction { body: Some(_), .. }) => OUT_OF_ORDER,
            Some(transaction) if transaction.recipients.len() >= RECIPIENTS_MAX => "452 4.5.3 too many recipients for one mail",
            Some(transaction) => {
                transaction.recipients.push(recipient);
                "250 2.1.5 ok"
            }
        };
        self.wire.reply(reply);
    }

    /// The transaction is over; what XFORWARD said belonged to it.
    fn reset(&mut self) {
        self.transaction = None;
        self.client = Handover::default();
    }

    async fn data(&mut self) -> Result<(), Gone> {
        let is_ready = self.transaction.as_ref().is_some_and(|transaction| transaction.body.is_none() && !transaction.recipients.is_empty());
        if !is_ready {
            self.wire.reply(OUT_OF_ORDER);
            return Ok(());
        }
        let Some(mut body) = Body::begin(&self.shared) else {
            self.wire.reply(NO_MEMORY);
            return Ok(());
        };
        self.wire.reply("354 end with a dot on a line of its own");
        let mut decoder = Decoder::default();
        loop {
            let piece = self.wire.bytes().await?;
            // What is decoded is never longer than what came, but for a CR that was held back.
            let piece = &piece[..piece.len().min(body.room())];
            let (read, is_end) = decoder.read(piece, &mut body.mail);
            self.wire.consume(read);
            body.settle(&self.shared).await;
            if is_end {
                break;
            }
        }
        self.take(body).await;
        Ok(())
    }

    async fn bdat(&mut self, bytes: u64, is_last: bool) -> Result<(), Gone> {
        let is_ready = self.transaction.as_ref().is_some_and(|transaction| !transaction.recipients.is_empty());
        let begun = self.transaction.as_mut().and_then(|transaction| transaction.body.take());
        let mut body = match begun.or_else(|| is_ready.then(|| Body::begin(&self.shared)).flatten()) {
            Some(body) => body,
            None => Body::refused(if is_ready { NO_MEMORY } else { OUT_OF_ORDER }),
        };
        // The bytes come whatever we think of them.
        let mut rest = bytes;
        while rest > 0 {
            let piece = self.wire.bytes().await?;
            let count = piece.len().min(body.room()).min(usize::try_from(rest).unwrap_or(usize::MAX));
            body.mail.extend_from_slice(&piece[..count]);
            self.wire.consume(count);
            rest -= count as u64;
            body.settle(&self.shared).await;
        }
        match (&mut self.transaction, is_last) {
            (Some(_), true) if is_ready => self.take(body).await,
            (Some(transaction), false) if is_ready => {
                self.wire.reply(body.refusal.as_deref().unwrap_or("250 2.0.0 go on"));
                transaction.body = Some(body);
            }
            _ => self.wire.reply(OUT_OF_ORDER),
        }
        Ok(())
    }

    /// Puts the mail on the queue for each recipient, and replies for each, in their order.
    async fn take(&mut self, body: Body) {
        let Some(transaction) = self.transaction.take() else { return };
        let replies = match body.refusal {
            Some(refusal) => vec![refusal; transaction.recipients.len()],
            None => {
                let mail = Bytes::from_owner(Kept { mail: body.mail, _hold: body.hold });
                self.shared.put_for_each(transaction.envelope, transaction.recipients, mail).await
            }
        };
        replies.iter().for_each(|reply| self.wire.reply(reply));
        self.reset();
    }
}

impl Body {
    /// With room for the first bytes; `None` if there is no memory.
    fn begin(shared: &Shared) -> Option<Self> {
        let hold = shared.memory.begin()?;
        Some(Self { mail: Vec::with_capacity(READ_BYTES), hold: Some(hold), refusal: None })
    }

    /// One that is read and dropped.
    fn refused(why: &str) -> Self {
        Self { mail: Vec::new(), hold: None, refusal: Some(why.to_owned()) }
    }

    /// For so many more bytes there is room; one that is refused has always some, since its bytes are dropped.
    fn room(&self) -> usize {
        self.hold.as_ref().map_or(usize::MAX, |hold| hold.bytes().saturating_sub(self.mail.len()).max(1))
    }

    /// After some bytes came: makes room for more, or refuses the mail and lets go what it has.
    async fn settle(&mut self, shared: &Shared) {
        let max = shared.mail_bytes_max;
        if let Some(hold) = &mut self.hold {
            if self.mail.len() > max {
                let why = format!("452 4.3.1 the mail is larger than enqueuer.mail_bytes_max = {max}; lower Postfix's message_size_limit");
                *self = Self::refused(&why);
            } else if self.mail.len() >= hold.bytes() && hold.bytes() < max {
                if shared.memory.grow(hold).await {
                    // All at once: a vector that doubles would hold, for a moment, three times the mail.
                    let room = hold.bytes().min(max) - self.mail.len();
                    self.mail.reserve_exact(room + HELD_BACK_MAX);
                } else {
                    *self = Self::refused(NO_MEMORY);
                }
            }
        }
        if self.refusal.is_some() {
            self.mail.clear();
        }
    }
}

/// XFORWARD says of which family an address of IPv6 is; pipe(8) does not.
fn without_family(address: String) -> String {
    const FAMILY: &str = "IPV6:";
    match address.split_at_checked(FAMILY.len()) {
        Some((family, rest)) if family.eq_ignore_ascii_case(FAMILY) => rest.to_owned(),
        _ => address,
    }
}

#[cfg(test)]
mod tests;
