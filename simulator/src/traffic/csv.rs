//! Traffic from a file of one's own: `time,rate` on every line, as it comes out of a monitoring system or a log.
//!
//! A time is a number of seconds (from any moment; 1790000000 is as good as 0) or a time stamp `2026-11-21T12:25:00Z`. A rate is in mails a
//! second. Between two lines the rate is on the line between them, so gaps are no zeros. One line of headings is allowed.

use super::interpolate;

/// The longest traffic, in seconds: a month. More is a wrong column.
const SECONDS_MAX: f64 = 31.0 * 86_400.0;
/// Mails a second. More is a wrong column, too.
const RATE_MAX: f64 = 1e6;

/// Why a file is no traffic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text}")]
pub struct CsvError {
    /// The line; the first is 1.
    pub line: usize,
    /// What is wrong with it, and what would be right.
    pub text: String,
}

/// Mails expected in each second, from the first line's time to the last's.
///
/// # Errors
/// With the line: no two columns, no time or rate in them, a time that is not after the one before, a rate below 0, no two lines.
pub fn csv(text: &str) -> Result<Vec<f64>, CsvError> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut last_line = 0;
    for (index, row) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = index + 1;
        last_line = line;
        let row = row.trim();
        if row.is_empty() || row.starts_with('#') {
            continue;
        }
        let wrong = |text: String| CsvError { line, text };
        let separator = if row.contains(';') { ';' } else { ',' };
        let Some((time, rate)) = row.split_once(separator) else {
            return Err(wrong(format!("{row:?} has no two columns; write time,rate such as 60,12.5")));
        };
        let (time, rate) = (time.trim().trim_matches('"'), rate.trim().trim_matches('"'));
        let (time, rate) = match (seconds(time), rate.parse::<f64>().ok()) {
            (Some(time), Some(rate)) => (time, rate),
            // The headings, and only before all else.
            (None, None) if points.is_empty() => continue,
            (None, _) => return Err(wrong(format!("{time:?} is no time; write seconds, or a time stamp such as 2026-11-21T12:25:00Z"))),
            (_, None) => return Err(wrong(format!("{rate:?} is no rate; write mails a second, such as 12.5"))),
        };
        if !(0.0..=RATE_MAX).contains(&rate) {
            return Err(wrong(format!("a rate of {rate} mails a second; it must be from 0 to {RATE_MAX}")));
        }
        if points.last().is_some_and(|before| before.0 >= time) {
            return Err(wrong("its time is not after the time of the line before; sort the lines".into()));
        }
        if points.first().is_some_and(|first| time - first.0 > SECONDS_MAX) {
            return Err(wrong("over a month after the first line; is the time in milliseconds?".into()));
        }
        points.push((time, rate));
    }
    let (Some(first), true) = (points.first().map(|first| first.0), points.len() > 1) else {
        return Err(CsvError { line: last_line.max(1), text: "fewer than two lines time,rate; two points make a line".into() });
    };
    let length = points[points.len() - 1].0 - first;
    Ok((0..=length as u32).map(|second| interpolate(&points, first + f64::from(second))).collect())
}

/// A number, or a time stamp of RFC 3339 as seconds since 1970.
fn seconds(text: &str) -> Option<f64> {
    match text.parse::<f64>() {
        Ok(number) => number.is_finite().then_some(number),
        Err(_) => time_stamp(text),
    }
}

/// RFC 3339, section 5.6, where `T` may be a blank and the offset may be missing (UTC).
fn time_stamp(text: &str) -> Option<f64> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i64>().ok()).flatten();
    let field = |range: std::ops::Range<usize>| text.get(range).and_then(digits);
    let sign = |at: usize, signs: &str| text.get(at..=at).is_some_and(|found| signs.contains(found));
    let is_marked = sign(4, "-") && sign(7, "-") && sign(10, "Tt ") && sign(13, ":");
    let (year, month, day) = (field(0..4)?, field(5..7)?, field(8..10)?);
    let (hour, minute) = (field(11..13)?, field(14..16)?);
    let rest = text.get(16..)?;
    let (second, rest) = match rest.strip_prefix(':') {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            (rest[..end].parse::<f64>().ok()?, &rest[end..])
        }
        None => (0.0, rest),
    };
    let offset = match rest {
        "" | "Z" | "z" => 0,
        _ => {
            let sign = if rest.starts_with('+') { 1 } else { -1 };
            let (hours, minutes) = rest.strip_prefix(['+', '-'])?.split_once(':')?;
            sign * (digits(hours)? * 60 + digits(minutes)?)
        }
    };
    let is_possible = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61.0;
    let minutes = (days(year, month, day) * 24 + hour) * 60 + minute - offset;
    (is_marked && is_possible).then_some(minutes as f64 * 60.0 + second)
}

/// Days from 1970-01-01, in the Gregorian calendar: whole years before, counted from March so that the leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 + day - 1 - 719_468
}
