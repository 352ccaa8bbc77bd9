//! One mail over one connection: MAIL, RCPT, DATA, message, and what follows from a failure of each.
//!
//! Until the final dot has left as a whole, nobody can have taken the mail; a 4yz or 5yz says that nobody has. Without an
//! answer to the dot it is uncertain. Where the server knows PIPELINING, the three commands go in one write.

use tokio::time::{Instant, timeout_at};

use super::{
    answer::Answer,
    connection::Connection,
    dialogue::{Failed, TOO_LATE},
    limits::Limits,
};
use crate::{
    address::Address,
    compose::Reply,
    send::{Accepted, SendError},
};

/// What every server must take, in bytes (RFC 5321 §4.5.3.1.7): below it, a refusal need not be about the size.
const SIZE_LIMIT_MIN: usize = 65_536;

/// Why a mail was not accepted over a connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection had idled, and the server had closed it.
    Stale,
    /// The reply's own fate.
    Final(SendError),
}

/// How far a mail came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Mail,
    Rcpt,
    Data,
    /// The message is leaving.
    Message,
    /// All of it has left.
    Dot,
}

/// Hands `reply` over. The connection comes back if it can serve the next mail; else it is parted with.
pub(super) async fn deliver(
    mut connection: Connection,
    reply: &Reply,
    is_reused: bool,
    limits: Limits,
) -> (Result<Accepted, Failure>, Option<Connection>) {
    let commands = match commands(&connection, reply) {
        Ok(commands) => commands,
        // Nothing has been said yet: the next mail may be another.
        Err(error) => return (Err(Failure::Final(error)), Some(connection)),
    };
    let mut stage = Stage::Mail;
    let told = timeout_at(limits.end, transact(&mut connection, &commands, reply, limits.dot_by, &mut stage)).await;
    match told.unwrap_or(Err(Failed::Broken("time-out"))) {
        Ok(()) => (Ok(Accepted), connection.dialogue.is_quiet().then_some(connection)),
        Err(failed) => {
            let failure = failure(stage, &failed, reply.len(), is_reused);
            // After a refusal the dialogue would have to be reset; a new connection is simpler, and refusals are rare.
            if let Failed::Answered(_) = failed {
                connection.part(stage == Stage::Rcpt).await;
            }
            (Err(failure), None)
        }
    }
}

/// MAIL, RCPT and DATA for `reply` (RFC 5321 §4.1.1), with what the server needs to know.
fn commands(connection: &Connection, reply: &Reply) -> Result<[String; 3], SendError> {
    let refused = |text: &str| Err(SendError::Refused(text.into()));
    let offers = connection.dialogue.offers();
    let mail_from = match reply.mail_from.as_str() {
        "" => "", // RFC 5321 §4.5.5: nobody gets a bounce
        address if Address::parse(address).is_some_and(|parsed| parsed.as_str() == address) => address,
        _ => return refused("sender address"),
    };
    let Some(rcpt_to) = Address::parse(&reply.rcpt_to) else { return refused("recipient address") };
    if !rcpt_to.as_str().is_ascii() && !offers.has_smtputf8 {
        return refused("no SMTPUTF8");
    }
    if offers.message_bytes_max.is_some_and(|limit| reply.len() > limit) {
        return Err(SendError::TooBig("larger than the server's SIZE".into()));
    }
    let size = if offers.has_size { format!(" SIZE={}", reply.len()) } else { String::new() };
    let smtputf8 = if rcpt_to.as_str().is_ascii() { "" } else { " SMTPUTF8" };
    Ok([format!("MAIL FROM:<{mail_from}>{size}{smtputf8}\r\n"), format!("RCPT TO:<{}>\r\n", rcpt_to.as_str()), "DATA\r\n".into()])
}

async fn transact(connection: &mut Connection, commands: &[String; 3], reply: &Reply, dot_by: Instant, stage: &mut Stage) -> Result<(), Failed> {
    let dialogue = &mut connection.dialogue;
    let is_pipelined = dialogue.offers().has_pipelining;
    if is_pipelined {
        dialogue.write(&commands.concat(), commands.len()).await?;
    }
    for (command, of_command) in commands.iter().zip([Stage::Mail, Stage::Rcpt, Stage::Data]) {
        *stage = of_command;
        if !is_pipelined {
            dialogue.write(command, 1).await?;
        }
        let answer = dialogue.answer().await?;
        let is_good = if of_command == Stage::Data { answer.code == 354 } else { answer.is_positive() };
        if !is_good {
            return Err(Failed::Answered(answer));
        }
    }
    *stage = Stage::Message;
    if let Err(broken) = dialogue.write_message(reply, dot_by).await {
        if matches!(broken, Failed::Broken(TOO_LATE)) {
            return Err(broken);
        }
        // A server that takes no more has perhaps said why before it closed.
        return Err(match dialogue.answer().await {
            Ok(answer) if !answer.is_positive() => Failed::Answered(answer),
            _ => broken,
        });
    }
    *stage = Stage::Dot;
    dialogue.positive().await.map(drop)
}

/// What follows from a failure to hand over so many bytes.
fn failure(stage: Stage, failed: &Failed, bytes: usize, is_reused: bool) -> Failure {
    let command = match stage {
        Stage::Mail => "MAIL",
        Stage::Rcpt => "RCPT",
        Stage::Data => "DATA",
        Stage::Message | Stage::Dot => "message",
    };
    let text = format!("{command}: {}", failed.word());
    let answer = match failed {
        // A server says 421 when it closes a connection that idled.
        Failed::Broken(_) | Failed::Answered(Answer { code: 421, .. }) if stage == Stage::Mail && is_reused => return Failure::Stale,
        Failed::Broken(_) if stage == Stage::Dot => return Failure::Final(SendError::Uncertain(text)),
        Failed::Broken(_) => return Failure::Final(SendError::NotSent(text)),
        Failed::Answered(answer) => answer,
    };
    // Who we are, access, TLS: an operator can mend what is about us, and until then all mail waits. Postfix says "Relay access
    // denied" (5.7.1) only at RCPT (smtpd_delay_reject). A smarthost that bars one recipient in these words makes that one mail
    // wait until it expires, which is the lesser evil. After RCPT, a word of policy is about what is in the mail.
    let is_of_us = answer.is_of_authentication() || stage == Stage::Mail || (stage == Stage::Rcpt && answer.is_of_policy());
    Failure::Final(match answer {
        answer if answer.is_throttling() => SendError::Throttled(text),
        // It answers SIZE=, or our largest mail so far. Without a word of size, 552 may also mean a full disk.
        answer if stage == Stage::Mail && answer.code == 552 && (bytes >= SIZE_LIMIT_MIN || answer.is_of_size()) => SendError::TooBig(text),
        answer if answer.is_permanent() && !is_of_us => SendError::Refused(text),
        _ => SendError::NotSent(text),
    })
}
