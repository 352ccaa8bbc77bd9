//! Who sends the mails: many clients at once, each of which knows exactly what it got its 250 for.
//!
//! A mail that Postfix did not take is sent again. One whose fate is unknown, because the connection broke after the final
//! dot, is not: it counts neither as accepted nor as a stranger's.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::mails::Mail;

/// Where Postfix listens.
const MX: &str = "192.0.2.25:25";
/// How many send at a time; so many mails one end of Postfix can leave unknown.
pub(crate) const CLIENTS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);
/// Before a mail that was not taken is sent again.
const PAUSE: Duration = Duration::from_millis(300);

/// A mail that got its 250.
pub(crate) struct Accepted {
    pub(crate) mail: Mail,
    /// As Postfix told it.
    pub(crate) queue_id: String,
}

/// What became of all mails.
#[derive(Default)]
pub(crate) struct Injected {
    pub(crate) accepted: Vec<Accepted>,
    /// Mails that Postfix may or may not have.
    pub(crate) unknown: Vec<Mail>,
    /// Mails that were sent more than once because Postfix did not take them.
    pub(crate) tries: usize,
}

/// What became of one try.
enum Try {
    Accepted(String),
    NotTaken,
    Unknown,
}

/// Sends all mails, evenly over `span` from `start`.
pub(crate) fn inject(mails: Vec<Mail>, span: Duration, start: Instant) -> Injected {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Injected::default()));
    let interval = span / u32::try_from(mails.len().max(1)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(mail) = mails.get(index) else { break };
                    wait_until(start + interval * u32::try_from(index).unwrap());
                    inject_one(mail, &done);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

fn wait_until(then: Instant) {
    while let Some(left) = then.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

fn inject_one(mail: &Mail, done: &Mutex<Injected>) {
    loop {
        let tried = deliver(mail);
        let mut done = done.lock().unwrap();
        match tried {
            Try::Accepted(queue_id) => return done.accepted.push(Accepted { mail: mail.clone(), queue_id }),
            Try::Unknown => return done.unknown.push(mail.clone()),
            Try::NotTaken => done.tries += 1,
        }
        drop(done);
        wait_until(Instant::now() + PAUSE);
    }
}

fn deliver(mail: &Mail) -> Try {
    let mut is_sent = false;
    match dialogue(mail, &mut is_sent) {
        Ok(Some(queue_id)) => Try::Accepted(queue_id),
        Ok(None) => Try::NotTaken,
        Err(_) if is_sent => Try::Unknown,
        Err(_) => Try::NotTaken,
    }
}

/// RFC 5321, without pipelining. `None`: Postfix said no.
fn dialogue(mail: &Mail, is_sent: &mut bool) -> std::io::Result<Option<String>> {
    let stream = TcpStream::connect(MX)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = BufReader::new(stream);
    let mut commands = vec![String::new(), "EHLO client.example.org\r\n".into(), format!("MAIL FROM:<{}>\r\n", mail.mail_from)];
    commands.extend(mail.recipients.iter().map(|recipient| format!("RCPT TO:<{recipient}>\r\n")));
    commands.push("DATA\r\n".into());
    for command in commands {
        stream.get_mut().write_all(command.as_bytes())?;
        if !reply(&mut stream)?.starts_with(['2', '3']) {
            return Ok(None);
        }
    }
    *is_sent = true;
    stream.get_mut().write_all(format!("{}.\r\n", mail.content).as_bytes())?;
    let last = reply(&mut stream)?;
    // "250 2.0.0 Ok: queued as 4XyZ..."
    let queue_id = last.rsplit(' ').next().unwrap_or_default().trim().to_owned();
    let _ = stream.get_mut().write_all(b"QUIT\r\n"); // we have what we came for
    Ok(last.starts_with("250 ").then_some(queue_id))
}

/// The last line of a reply.
fn reply(stream: &mut impl BufRead) -> std::io::Result<String> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line);
        }
    }
}
