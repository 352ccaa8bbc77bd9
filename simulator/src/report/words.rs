//! Numbers as people read them.

/// A number of milliseconds: `850 ms`, `41.2 s`, `90 s`, `3 min 20 s`, `20 min`, `2 h 05 min`.
pub fn duration(ms: u64) -> String {
    let seconds = (ms + 500) / 1_000;
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=119_949 if ms.is_multiple_of(1_000) => format!("{seconds} s"),
        1_000..=119_949 => format!("{:.1} s", ms as f64 / 1_000.0),
        119_950..=7_199_499 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        119_950..=7_199_499 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ if (seconds % 3_600) < 60 => format!("{} h", seconds / 3_600),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A count, with a comma at each thousand.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share from 0 to 1. What is there but rounds to nothing is `< 0.1 %`.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        none if none <= 0.0 => "0 %".into(),
        little if little < 0.1 => "< 0.1 %".into(),
        per_cent => format!("{per_cent:.1} %"),
    }
}
