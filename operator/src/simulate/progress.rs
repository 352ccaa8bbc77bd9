//! How far a simulation is: one line that is written over, on standard error, and only on a terminal.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::Mutex,
};

/// Characters of the bar.
const WIDTH: usize = 40;

/// The line.
pub(super) struct Progress {
    is_shown: bool,
    /// The share of each run that is done, and the per cent that were last written.
    state: Mutex<(Vec<f64>, u32)>,
}

impl Progress {
    /// A line for so many runs.
    pub(super) fn new(runs: usize) -> Self {
        Self { is_shown: stderr().is_terminal(), state: Mutex::new((vec![0.0; runs], 0)) }
    }

    /// Says how far one run is, from 0 to 1.
    pub(super) fn tell(&self, run: usize, share: f64) {
        // Whoever panicked while he held it left numbers that are as good as any.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (shares, told) = &mut *state;
        shares[run] = share;
        let percent = (shares.iter().sum::<f64>() / shares.len() as f64 * 100.0) as u32;
        if self.is_shown && percent > *told {
            *told = percent;
            let _ = stderr().write_all(line(percent).as_bytes());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = stderr().write_all(b"\r\x1b[K");
        }
    }
}

fn line(percent: u32) -> String {
    let full = WIDTH * percent.min(100) as usize / 100;
    format!("\rsimulating  {}{}  {percent} %", "█".repeat(full), "░".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        assert_eq!([line(0), line(50), line(100)].map(|line| line.matches('█').count()), [0, 20, 40]);
        assert!(line(50).ends_with("  50 %"));
    }
}
