//! The arguments of `replyfleet-enqueue`: as the program reads them, and as its manual page tells them.
//!
//! Two definitions, because pipe(8)'s hold what strangers wrote, and the service's do not. What a wrong argument comes to is the
//! program's affair: clap's own text would quote it.

use std::path::PathBuf;

use clap::{Arg, Command, CommandFactory, Parser};

/// Takes one mail from Postfix and puts it on the queue.
///
/// Exits with 0 when the queue has the mail, else with 75, on which Postfix keeps it. Run by pipe(8) in master.cf:
///
///   argv=/usr/bin/replyfleet-enqueue --sender=${sender} --original-recipient=${original_recipient}
///     --client-address=${client_address} --client-hostname=${client_hostname} --client-helo=${client_helo}
///     --client-protocol=${client_protocol} --queue-id=${queue_id}
///
/// With --lmtp, and with --config alone beside it, it is a service that takes mail from Postfix's lmtp(8) at the sockets
/// that enqueuer.lmtp names, or that systemd gives it.
#[derive(Parser)]
#[command(name = "replyfleet-enqueue", version, verbatim_doc_comment)]
pub struct MailArguments {
    /// The file of settings.
    #[arg(long, default_value = replyfleet::settings::DEFAULT_PATH)]
    pub config: PathBuf,
    /// MAIL FROM; empty for the null sender.
    #[arg(long)]
    pub sender: String,
    /// RCPT TO before aliasing.
    #[arg(long)]
    pub original_recipient: String,
    /// The client's IP address.
    #[arg(long, default_value = "")]
    pub client_address: String,
    /// The client's verified host name.
    #[arg(long, default_value = "")]
    pub client_hostname: String,
    /// The client's HELO or EHLO argument.
    #[arg(long, default_value = "")]
    pub client_helo: String,
    /// SMTP or ESMTP.
    #[arg(long, default_value = "")]
    pub client_protocol: String,
    /// Postfix's queue id.
    #[arg(long)]
    pub queue_id: String,
}

/// The service's arguments.
#[derive(Parser)]
#[command(name = "replyfleet-enqueue", version)]
pub struct ServiceArguments {
    /// Take mail by LMTP until SIGTERM.
    #[arg(long)]
    pub lmtp: bool,
    /// The file of settings.
    #[arg(long, default_value = replyfleet::settings::DEFAULT_PATH)]
    pub config: PathBuf,
}

/// Both as one, for the manual page; nothing is read by it.
pub fn documented() -> Command {
    let service = ServiceArguments::command();
    let lmtp = service.get_arguments().filter(|argument| argument.get_id() == "lmtp").cloned();
    MailArguments::command().args(lmtp.collect::<Vec<Arg>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_knows_both_ways() {
        let command = documented();
        let names: Vec<&str> = command.get_arguments().filter_map(Arg::get_long).collect();
        assert!(names.contains(&"lmtp") && names.contains(&"queue-id"), "{names:?}");
        assert_eq!(names.iter().filter(|name| **name == "config").count(), 1);
        command.debug_assert();
    }
}
