//! Tables for people: aligned, quiet, and plain text where the output is no terminal.

use std::time::Duration;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, TableComponent, presets::NOTHING};

/// A table with these column heads.
pub(crate) fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    for line in [TableComponent::HeaderLines, TableComponent::MiddleHeaderIntersections] {
        table.set_style(line, '─');
    }
    table.set_header(heads.iter().map(|head| Cell::new(head).add_attribute(Attribute::Bold)));
    table
}

/// [`table`] in this many columns of the terminal; `None` for as many as it takes.
pub(crate) fn table_for(width: Option<u16>, heads: &[&str]) -> Table {
    let mut table = table(heads);
    if let Some(width) = width {
        table.set_width(width);
    }
    table
}

/// A cell that is good news or bad news.
pub(crate) fn verdict(is_good: bool, text: &str) -> Cell {
    Cell::new(text).fg(if is_good { Color::Green } else { Color::Red })
}

/// A number of seconds as people say it.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A number of milliseconds as people say it.
pub(crate) fn millis(value: f64) -> String {
    match value {
        ..999.5 => format!("{value:.0} ms"),
        999.5..9_950.0 => format!("{:.1} s", value / 1_000.0),
        9_950.0..119_500.0 => format!("{:.0} s", value / 1_000.0),
        119_500.0..7_200_000.0 => format!("{:.0} min", value / 60_000.0),
        _ => format!("{:.0} h", value / 3_600_000.0),
    }
}

/// The time of day, UTC, of a second since 1970.
pub(crate) fn time_of_day(second: u64) -> String {
    format!("{:02}:{:02}", second / 3_600 % 24, second / 60 % 60)
}

/// A time as people type it: a number with s, m, h or d behind it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time: write a number with s, m, h or d behind it, such as 12h");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|&seconds| seconds > 0).map(Duration::from_secs).ok_or_else(wrong)
}

/// A number of bytes as people say it.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_type_them() {
        for (text, seconds) in [("90s", 90), ("90m", 5_400), ("12h", 43_200), ("30d", 2_592_000)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "12", "h", "-1h", "1w", "0s", "9999999999999999999d", "1 h", "1é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_read_well_at_every_length() {
        let said = [0.4, 999.0, 1_000.0, 9_940.0, 12_400.0, 119_400.0, 120_000.0, 7_200_000.0].map(millis);
        assert_eq!(said, ["0 ms", "999 ms", "1.0 s", "9.9 s", "12 s", "119 s", "2 min", "2 h"]);
        assert_eq!([time_of_day(0), time_of_day(1_790_000_100)], ["00:00", "14:15"]);
    }

    #[test]
    fn ages_and_sizes_read_well() {
        assert_eq!([age(0), age(119), age(120), age(7_200), age(172_800)], ["0 s", "119 s", "2 min", "2 h", "2 d"]);
        assert_eq!([size(9_999), size(10_000), size(13_000_000)], ["9999 B", "10 kB", "13 MB"]);
    }
}
