//! The last warnings and errors of our own log, for the status page: a layer beside the one that writes them.
//!
//! Of a line its time, level and message are kept, and the fields that say what was wrong (`TOLD`).
//! By the house's rule a line of the log tells of no requester; what other crates say is not ours and is not kept.
//! Lines that are the same are one, with a count: a storm does not wash away what was before it. Nothing here fails.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use replyfleet::clock::UnixMillis;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, Filter},
    registry::LookupSpan,
};

use super::view::ErrorView;

/// Lines that are kept.
pub const LINES_MAX: usize = 20;
/// Bytes of a line that are kept: it stands in a table.
const LINE_BYTES_MAX: usize = 400;
/// The fields that say what was wrong.
const TOLD: [&str; 8] = ["outcome", "why", "part", "error", "fault", "reason", "object", "place"];

/// The lines, shared by the log and the page.
#[derive(Clone, Debug, Default)]
pub struct Errors(Arc<Mutex<VecDeque<ErrorView>>>);

impl Errors {
    /// What keeps the lines of our own programs, to be put beside the log's own layer.
    pub fn layer<S: Subscriber + for<'lookup> LookupSpan<'lookup>>(&self) -> impl Layer<S> + Send + Sync + 'static + use<S> {
        let ours: Targets = Targets::new().with_target("replyfleet", Level::WARN);
        Keeper(self.clone()).with_filter(Box::new(ours) as Box<dyn Filter<S> + Send + Sync>)
    }

    /// Takes a line in, at this time.
    pub fn keep(&self, now: UnixMillis, level: &str, text: &str) {
        let text = &text[..text.floor_char_boundary(LINE_BYTES_MAX)];
        // Poisoned: each of its lines is whole.
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lines.iter().position(|line| line.text == text && line.level == level).and_then(|at| lines.remove(at));
        let mut line = known.unwrap_or_else(|| ErrorView { first_ms: now.0, level: level.to_owned(), text: text.to_owned(), ..ErrorView::default() });
        (line.at_ms, line.count) = (now.0, line.count + 1);
        lines.push_front(line);
        lines.truncate(LINES_MAX);
    }

    /// The lines, the newest first.
    pub fn lines(&self) -> Vec<ErrorView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

struct Keeper(Errors);

impl<S: Subscriber> Layer<S> for Keeper {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = if *event.metadata().level() == Level::ERROR { "ERROR" } else { "WARN" };
        self.0.keep(UnixMillis::now(), level, &line.text());
    }
}

/// What is kept of an event.
#[derive(Default)]
struct Line {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Line {
    fn text(self) -> String {
        let fields = self.fields.into_iter().filter(|(_, value)| !value.is_empty());
        let parts = std::iter::once(self.message).chain(fields.map(|(name, value)| format!("{name}: {value}")));
        parts.collect::<Vec<_>>().join("; ")
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if TOLD.contains(&field.name()) {
            self.fields.push((field.name(), value.to_owned()));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            // An error, as `%` gives it: what it prints is its text, not its parts.
            name if TOLD.contains(&name) => self.fields.push((name, format!("{value:?}"))),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn kept(log: impl FnOnce()) -> Vec<ErrorView> {
        let errors = Errors::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(errors.layer()), log);
        errors.lines()
    }

    #[test]
    fn a_warning_of_ours_is_kept_with_what_was_wrong() {
        let lines = kept(|| {
            tracing::warn!(request = "0123456789abcdef", error = %std::io::Error::other("no route"), "a reply was not accepted");
            tracing::error!(error = "plain", "worse");
            tracing::info!("all is well");
            tracing::error!(target: "hyper", "what it carries");
        });
        let told: Vec<_> = lines.iter().map(|line| (line.level.as_str(), line.text.as_str())).collect();
        assert_eq!(told, [("ERROR", "worse; error: plain"), ("WARN", "a reply was not accepted; error: no route")]);
    }

    #[test]
    fn a_storm_of_one_line_is_one_line_with_a_count() {
        let errors = Errors::default();
        errors.keep(UnixMillis(1), "WARN", "the first");
        for at in 2..1_000 {
            errors.keep(UnixMillis(at), "ERROR", "again");
        }
        errors.keep(UnixMillis(1_000), "WARN", "the first");
        let lines = errors.lines();
        assert_eq!(lines.iter().map(|line| (line.count, line.first_ms, line.at_ms)).collect::<Vec<_>>(), [(2, 1, 1_000), (998, 2, 999)]);
    }

    #[test]
    fn lines_are_few_and_short() {
        let errors = Errors::default();
        for at in 0..100 {
            errors.keep(UnixMillis(at), "WARN", &format!("{at} {}", "ä".repeat(1_000)));
        }
        let lines = errors.lines();
        assert_eq!((lines.len(), lines[0].at_ms), (LINES_MAX, 99));
        assert!(lines.iter().all(|line| line.text.len() <= LINE_BYTES_MAX));
    }
}
