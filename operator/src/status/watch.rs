//! The live view: looks again and again, and draws in place on a terminal, whose state it gives back however it ends. Where
//! standard input or output is no terminal, blocks follow each other. A look that fails is said, and the last good one stays.

use std::{
    io::{self, IsTerminal, Read, Write},
    process::ExitCode,
    time::Duration,
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    execute, queue,
    style::Print,
    terminal::{self, Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen},
};
use replyfleet::clock::UnixMillis;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{Receiver, channel},
    time::MissedTickBehavior,
};

use super::{Page, Source};
use crate::table::time_of_day;

/// Ctrl-C and Ctrl-D, which a terminal in raw mode hands over as bytes.
const END_BYTES: [u8; 4] = [b'q', b'Q', 3, 4];

/// The terminal's columns, if standard output is one.
pub(super) fn width() -> Option<u16> {
    if !io::stdout().is_terminal() {
        return None;
    }
    terminal::size().ok().map(|(columns, _)| columns).filter(|columns| *columns > 0)
}

/// Who may end it.
struct Endings {
    keys: Option<Receiver<()>>,
    signals: [Signal; 3],
}

impl Endings {
    fn of(with_keys: bool) -> io::Result<Self> {
        let signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
        Ok(Self { keys: with_keys.then(keys), signals })
    }

    /// Comes when it is to end.
    async fn come(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        let key = async {
            match &mut self.keys {
                // Nobody at the other end: the terminal is gone.
                Some(keys) => drop(keys.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            () = key => {}
        }
    }
}

/// Reads keys on a thread of its own, which ends with the process: no read of a terminal can be called off.
fn keys() -> Receiver<()> {
    let (sender, receiver) = channel(1);
    std::thread::spawn(move || {
        let is_end = |byte: &Result<u8, io::Error>| byte.as_ref().map_or(true, |byte| END_BYTES.contains(byte));
        let _ = io::stdin().lock().bytes().find(is_end);
        let _ = sender.blocking_send(());
    });
    receiver
}

/// A terminal that is drawn on; it is as before when this is dropped.
struct Screen;

impl Screen {
    fn open() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        // From here on a failure gives it back, too.
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, DisableLineWrap, Hide)?;
        Ok(screen)
    }

    /// Line by line over what was there, without a blank moment between.
    fn draw(&self, text: &str) -> io::Result<()> {
        let (_, rows) = terminal::size()?;
        let (mut out, mut row) = (io::stdout().lock(), 0);
        for line in text.lines().take(rows.into()) {
            queue!(out, MoveTo(0, row), Print(line), Clear(ClearType::UntilNewLine))?;
            row += 1;
        }
        if row < rows {
            queue!(out, MoveTo(0, row), Clear(ClearType::FromCursorDown))?;
        }
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone takes nothing back.
        let _ = execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

/// Looks every `every` until somebody ends it.
///
/// # Errors
/// The first look fails, or nothing can be printed.
pub(super) async fn run(source: &Source, every: Duration, is_json: bool) -> anyhow::Result<ExitCode> {
    let is_screen = !is_json && io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut endings = Endings::of(is_screen)?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut page = tokio::select! {
        page = source.look() => page?,
        () = endings.come() => return Ok(ExitCode::SUCCESS),
    };
    let screen = if is_screen { Some(Screen::open()?) } else { None };
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut looked = UnixMillis::now();
    let mut trouble = None;
    let mut is_first = true;
    loop {
        match &screen {
            Some(screen) => screen.draw(&view(page.as_ref(), looked, every, trouble.as_deref(), width()))?,
            None if trouble.is_some() => say(trouble.as_deref().unwrap_or_default()),
            None => block(page.as_ref(), looked, is_json, is_first)?,
        }
        is_first = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => break,
                Some(()) = resized.recv(), if screen.is_some() => {
                    if let Some(screen) = &screen {
                        screen.draw(&view(page.as_ref(), looked, every, trouble.as_deref(), width()))?;
                    }
                }
                () = endings.come() => return Ok(ExitCode::SUCCESS),
            }
        }
        tokio::select! {
            look = source.look() => match look {
                Ok(new) => (page, looked, trouble) = (new, UnixMillis::now(), None),
                Err(error) => trouble = Some(format!("{error:#}")),
            },
            () = endings.come() => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn second_of_day(at: UnixMillis) -> String {
    format!("{}:{:02} UTC", time_of_day(at.0 / 1_000), at.0 / 1_000 % 60)
}

/// What stands on the screen.
fn view(page: &dyn Page, looked: UnixMillis, every: Duration, trouble: Option<&str>, width: Option<u16>) -> String {
    let head = format!("{}, every {} s; q ends\n", second_of_day(looked), every.as_secs());
    let trouble = trouble.map(|text| format!("not up to date: {text}\n")).unwrap_or_default();
    format!("{head}{trouble}\n{}", page.text(width))
}

/// One of many blocks, or a line of JSON.
fn block(page: &dyn Page, looked: UnixMillis, is_json: bool, is_first: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if is_json {
        writeln!(out, "{}", page.json())?;
    } else {
        let before = if is_first { "" } else { "\n" };
        write!(out, "{before}{}\n{}", second_of_day(looked), page.text(None))?;
    }
    out.flush()
}

#[expect(clippy::print_stderr, reason = "standard output is for what was seen")]
fn say(trouble: &str) {
    eprintln!("replyfleet: {trouble}");
}
