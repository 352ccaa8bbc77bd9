//! What runs found, for people and programs: rows of a table, JSON, CSV, and a picture as SVG or in a page. Several runs stand side by side with
//! the same scales, because they are there to be compared. Nothing is written here: the caller has the text.

mod figures;
mod picture;
#[cfg(test)]
mod tests;
mod words;

use std::fmt::Write as _;

use serde::Serialize;

use crate::run::{POINT_MS, Run};
pub use words::{count, duration, percent};

/// One run with its name, such as its profile's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// The name.
    pub name: String,
    /// What it found.
    pub run: Run,
}

/// Runs to be compared: the same traffic, another fleet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// A line that says what was simulated.
    pub title: String,
    /// What one must know to make it again: name and value.
    pub facts: Vec<(String, String)>,
    /// When the surge begins, in milliseconds.
    pub surge_at_ms: Option<u64>,
    /// The runs.
    pub cases: Vec<Case>,
}

impl Report {
    /// The table: what is told, and each case's figure.
    pub fn rows(&self) -> Vec<(&'static str, Vec<String>)> {
        figures::FIGURES.iter().map(|figure| (figure.label, self.cases.iter().map(|case| (figure.of)(&case.run)).collect())).collect()
    }

    /// Everything, as JSON.
    ///
    /// # Errors
    /// None that is known: numbers, texts and lists can be written.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// The series, one line for each case and [`POINT_MS`]: rates in mails a second, times in seconds, empty where nothing was answered.
    pub fn csv(&self) -> String {
        let mut csv = String::from(
            "case,time_s,arrived_per_s,answered_per_s,backlog,in_service,pending,draining,desired,oldest_s,wait_p50_s,wait_p99_s,busy,throttled\n",
        );
        let seconds = POINT_MS as f64 / 1_000.0;
        let optional = |ms: Option<u64>| ms.map(|ms| (ms as f64 / 1_000.0).to_string()).unwrap_or_default();
        for case in &self.cases {
            for point in &case.run.series {
                // Writing to a text cannot fail.
                let _ = writeln!(
                    csv,
                    "{},{},{},{},{},{},{},{},{},{},{},{},{:.4},{}",
                    field(&case.name),
                    point.at_ms / 1_000,
                    f64::from(point.arrived) / seconds,
                    f64::from(point.answered) / seconds,
                    point.backlog,
                    point.in_service,
                    point.pending,
                    point.draining,
                    point.desired,
                    point.oldest_ms as f64 / 1_000.0,
                    optional(point.wait_p50_ms),
                    optional(point.wait_p99_ms),
                    point.busy,
                    point.throttled,
                );
            }
        }
        csv
    }

    /// The picture, as a file of its own.
    pub fn svg(&self) -> String {
        picture::svg(self, true)
    }

    /// The picture with the table, as one page without outside resources.
    pub fn html(&self) -> String {
        let mut rows = String::new();
        for (label, values) in self.rows() {
            let cells: String = values.iter().map(|value| format!("<td>{}</td>", escape(value))).collect();
            let _ = writeln!(rows, "<tr><th scope=\"row\">{}</th>{cells}</tr>", escape(label));
        }
        let heads: String = self.cases.iter().map(|case| format!("<th scope=\"col\">{}</th>", escape(&case.name))).collect();
        let facts: String = self.facts.iter().map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value))).collect();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>{PAGE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
             <div class=\"wide\" role=\"region\" aria-label=\"Picture\" tabindex=\"0\">\n{svg}</div>\n<h2>Figures</h2>\n<div class=\"wide\" role=\"region\" aria-label=\"Figures\" tabindex=\"0\">\n<table>\n<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
             </table>\n</div>\n<h2>To make it again</h2>\n<dl>\n{facts}</dl>\n</main>\n</body>\n</html>\n",
            title = escape(&self.title),
            svg = picture::svg(self, false),
        )
    }
}

const PAGE: &str = "
:root { color-scheme: light dark; --page: #fff; --text: #1b1f24; --line: #c9ced6; }
@media (prefers-color-scheme: dark) { :root { --page: #14181d; --text: #e4e8ee; --line: #3d4650; } }
@media print { :root { --page: #fff; --text: #000; --line: #999; } }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.45 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; }
.wide { overflow-x: auto; } .wide svg { min-width: 44rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th[scope=row] { text-align: left; font-weight: normal; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; } dd { margin: 0; overflow-wrap: anywhere; }
";

/// A text in XML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A text as a field of CSV (RFC 4180, section 2).
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
