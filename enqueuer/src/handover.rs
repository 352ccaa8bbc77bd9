//! How the enqueuer's process ends, whatever happens to it.
//!
//! Postfix's pipe(8) takes exit status 0 as delivered, 75 (`EX_TEMPFAIL`) and death by a signal as "try again", nearly
//! every other status as a bounce, and its own time limit as a bounce too. A bounce here is a lost request and a mail to
//! a sender who may be forged. Hence:
//!
//! * the first output is a line that begins with `4.3.0`: with it Postfix defers whatever the exit status says;
//! * there are two ways out, [`EXIT_DELIVERED`] and [`EXIT_DEFER`];
//! * a panic on any thread ends the process with [`EXIT_DEFER`];
//! * a thread of its own ends the process at the deadline, even while another hangs in a system call.

use std::{
    io::Write,
    process,
    sync::mpsc::{Sender, channel},
    time::{Duration, Instant},
};

/// Postfix may forget the mail.
pub const EXIT_DELIVERED: i32 = 0;
/// `EX_TEMPFAIL` of sysexits.h: Postfix keeps the mail and tries again.
pub const EXIT_DEFER: i32 = 75;

/// Prints the line that turns every later failure into a deferral, and makes panics end in one.
pub fn promise_to_defer() {
    say("4.3.0 not finished");
    std::panic::set_hook(Box::new(|panic| {
        // The place only: a panic's message can quote what was worked on.
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
        defer(&format!("panic at {place}"));
    }));
}

/// Until the settings are read, which name the deadline.
const SETTINGS_DEADLINE: Duration = Duration::from_secs(5);

/// Ends the process with [`EXIT_DEFER`] when the deadline has passed. The deadline, counted from now, is sent to the
/// thread that watches; until it has one, it waits for a short time only: reading the settings may hang, too.
///
/// # Errors
/// The system's, if there can be no thread; nothing was taken then.
pub fn watch_deadline() -> std::io::Result<Sender<Duration>> {
    let (sender, receiver) = channel();
    let start = Instant::now();
    let watch = move || {
        let deadline: Duration = receiver.recv_timeout(SETTINGS_DEADLINE).unwrap_or_default();
        std::thread::sleep(deadline.saturating_sub(start.elapsed()));
        defer("deadline passed");
    };
    std::thread::Builder::new().name("deadline".into()).spawn(watch).map(|_| sender)
}

/// Ends the process; Postfix keeps the mail and logs `why`.
pub fn defer(why: &str) -> ! {
    say(&format!("4.3.0 {why}"));
    process::exit(EXIT_DEFER)
}

/// Ends the process; the queue has the mail.
pub fn delivered() -> ! {
    process::exit(EXIT_DELIVERED)
}

/// Postfix reads both outputs as one; a reader that is gone must not change how we end.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
