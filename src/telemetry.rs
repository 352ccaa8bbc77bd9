//! Logging: lines on standard error, for journald. One place decides what may be logged at all.
//!
//! Our own lines follow the settings. Other crates log errors only: what an HTTP client or a database driver says at
//! lower levels can quote what it carries.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt,
    layer::{Identity, SubscriberExt},
    util::SubscriberInitExt,
};

use crate::settings::{LogFormat, LogLevel, LogSettings};

/// Starts logging for this process; a second call changes nothing.
pub fn init(settings: &LogSettings) {
    init_beside(settings, Identity::new());
}

/// [`init`], with another layer that hears what its own filter lets through.
pub fn init_beside(settings: &LogSettings, other: impl Layer<Registry> + Send + Sync) {
    let level = match settings.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    // "replyfleet" is a prefix: it covers replyfleet_worker and the rest.
    let ours = Targets::new().with_default(Level::ERROR).with_target("replyfleet", level);
    let layer = match settings.format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
        LogFormat::Text => fmt::layer().compact().with_target(false).with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).boxed(),
    };
    // An error means that a test already started logging.
    let _ = tracing_subscriber::registry().with(other).with(layer.with_filter(ours)).try_init();
}

/// An error and its causes as one line, outermost first. A cause that its parent's text already ends with is not repeated.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.replace('\n', " | ")
}

/// Makes a panic say where it happened and nothing else: its message can quote the mail that was worked on.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
        tracing::error!(place, "panic");
    }));
}
