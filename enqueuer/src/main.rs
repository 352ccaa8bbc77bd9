//! `replyfleet-enqueue`: run by Postfix's pipe(8) once for each mail and recipient; or, with `--lmtp`, a service for its
//! lmtp(8).
//!
//! The pipe reads the mail from standard input and the envelope from its arguments, hands both to the service if one
//! answers, else puts them on the queue itself, and exits with 0 after the queue has taken them durably, else with 75.
//! [`handover`](replyfleet_enqueuer::handover) says why never with anything else.
//! [`service`] is the other.

#![forbid(unsafe_code)]

use std::{io::Read, os::unix::process::parent_id, process::ExitCode, time::Instant};

use bytes::Bytes;
use clap::Parser;
use replyfleet::{
    clock::UnixMillis,
    ground::Ground,
    settings::{Settings, SettingsError},
    telemetry::chain,
};
use replyfleet_enqueuer::{
    Destination, Handover,
    arguments::{MailArguments, ServiceArguments},
    enqueue_patiently, facts,
    handover::{defer, delivered, promise_to_defer, watch_deadline},
    host_name, is_short,
    lmtp::client,
    service,
};

fn main() -> ExitCode {
    if is_service() {
        return service::run(&ServiceArguments::parse().config);
    }
    pipe()
}

/// Postfix cannot ask for the service: what a stranger wrote stands behind a `=`, and pipe(8) sets its variable.
fn is_service() -> bool {
    std::env::args_os().skip(1).any(|argument| argument == "--lmtp") && !is_under_postfix()
}

/// One mail from pipe(8).
fn pipe() -> ! {
    let (start, feeder) = (Instant::now(), parent_id());
    help_for_people();
    promise_to_defer();
    let arguments = arguments();
    if is_short(&arguments.queue_id) {
        defer("short queue ids are used again: set enable_long_queue_ids = yes in main.cf");
    }
    // From here on the process ends in time, whatever hangs.
    let deadline = watch_deadline().unwrap_or_else(|error| defer(&format!("no deadline thread: {error}")));
    let settings = Settings::load(&arguments.config).unwrap_or_else(|error| defer(&unusable(&error)));
    // The watch outlives this thread's work: it is there as long as the process.
    let _ = deadline.send(settings.enqueuer.deadline_s.duration());
    let mail = read_mail(settings.enqueuer.mail_bytes_max.get(), feeder);
    // One thread: a runtime with workers would cost more than the mail.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| defer(&format!("no runtime: {error}")));
    match runtime.block_on(hand_over(arguments, &settings, mail, start)) {
        Ok(()) => delivered(),
        Err(why) => defer(&why),
    }
}

async fn hand_over(arguments: MailArguments, settings: &Settings, mail: Bytes, start: Instant) -> Result<(), String> {
    let handover = Handover {
        sender: arguments.sender,
        original_recipient: arguments.original_recipient,
        client_address: arguments.client_address,
        client_hostname: arguments.client_hostname,
        client_helo: arguments.client_helo,
        client_protocol: arguments.client_protocol,
        queue_id: arguments.queue_id,
    };
    if let Some(socket) = settings.enqueuer.unix_socket() {
        // What is left then must do for the queue.
        let limit = (settings.enqueuer.deadline_s.duration() / SERVICE_SHARE).saturating_sub(start.elapsed());
        if client::hand_over(socket, &handover, &mail, limit).await {
            return Ok(());
        }
    }
    let secret = settings.secret().map_err(|error| chain(&error))?;
    let ground = Ground::open(settings, false).await.map_err(|error| chain(&error))?;
    let host = host_name(&settings.enqueuer)?;
    let destination = Destination {
        queue: ground.queue.as_ref(),
        store: ground.store.as_ref(),
        claim_check_bucket: &settings.store.claim_check_bucket,
        inline_bytes_max: settings.queue.inline_bytes_max.get(),
    };
    let facts = facts(&secret, &host, &handover, UnixMillis::now());
    enqueue_patiently(&destination, facts, mail).await.map_err(|error| error.public())
}

/// The service may take this part of the deadline to say that it has the mail.
const SERVICE_SHARE: u32 = 2;

/// Where the settings are wrong, without the reader's words, which can quote a value.
fn unusable(error: &SettingsError) -> String {
    match error {
        SettingsError::Invalid { .. } => {
            let text = error.to_string();
            let place = text.split(": ").take(2).collect::<Vec<_>>().join(": ");
            format!("the settings cannot be used: {place}; run: replyfleet check")
        }
        _ => chain(error),
    }
}

/// A person who asks for help gets it with status 0. Postfix cannot ask: it always gives more than one argument, and
/// what a stranger wrote stands behind a `=`.
fn help_for_people() {
    let mut arguments = std::env::args_os().skip(1);
    let asks = matches!(arguments.next().as_deref().and_then(|first| first.to_str()), Some("--help" | "-h" | "--version" | "-V"));
    if asks && arguments.next().is_none() && !is_under_postfix() {
        MailArguments::parse();
    }
}

/// pipe(8) sets this in the environment of what it runs.
fn is_under_postfix() -> bool {
    std::env::var_os("MAIL_CONFIG").is_some()
}

/// Reads the arguments; bytes that are not UTF-8 become U+FFFD: such an address cannot be answered, but its mail is kept.
fn arguments() -> MailArguments {
    let lossy = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    // clap's own text would quote the arguments.
    MailArguments::try_parse_from(lossy).unwrap_or_else(|error| defer(&format!("bad arguments in master.cf: {:?}", error.kind())))
}

/// Reads the mail to its end. If `feeder`, the process that writes it, dies half way, the end looks the same from here:
/// then the mail is cut, and Postfix still has it whole.
fn read_mail(bytes_max: usize, feeder: u32) -> Bytes {
    let mut mail = Vec::with_capacity(16 << 10);
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    match std::io::stdin().lock().take(limit + 1).read_to_end(&mut mail) {
        Err(error) => defer(&format!("cannot read the mail: {error}")),
        Ok(read) if read > bytes_max => {
            defer(&format!("the mail is larger than enqueuer.mail_bytes_max = {bytes_max}; lower Postfix's message_size_limit"))
        }
        Ok(_) => {
            defer_if_orphaned(feeder);
            Bytes::from(mail)
        }
    }
}

/// Ends here if the parent is not, any more, the process that gives us the mail.
fn defer_if_orphaned(feeder: u32) {
    // In this order: one that died, and is gone between the two looks, has been our parent before.
    // And pipe(8) is never process 1; a parent that is, has taken us over before we could look.
    if is_dying(feeder) || parent_id() != feeder || (feeder == 1 && is_under_postfix()) {
        defer("what gave us the mail has died");
    }
}

/// Whether a process is on its way out. It closes its files, which ends our input, a moment before it stops being our
/// parent; from before that moment its flags say so (proc(5), /proc/pid/stat; PF_EXITING of the kernel's sched.h).
fn is_dying(process: u32) -> bool {
    const PF_EXITING: u32 = 0x4;
    // Not readable: it has gone, and is our parent no more; or the system hides processes, and the parent must do.
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return false };
    // Behind the name, which may hold anything: state, parent, group, session, terminal, its group, flags.
    let flags = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(6)?.parse::<u32>().ok());
    flags.is_some_and(|flags| flags & PF_EXITING != 0)
}
