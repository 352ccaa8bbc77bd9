//! Organisations whose name servers do not answer: they are left alone for a minute, so that mail which makes us ask them
//! does not hold every slot of the worker until its time is over.
//!
//! An entry is of the organisational domain that was asked, and so of all its sub-domains: else each mail would name
//! another. One lost datagram is no silence: it takes several time-outs without an answer in between, or so many that a
//! zone which answers now and then cannot hide among its own answers. A failure that comes at once (SERVFAIL, no
//! server) is none either: it holds nobody up. What is in the cache is not asked for, and so not touched by this.
//!
//! What happens when the table is full: nothing more is noted until entries are over. The time is the caller's.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Time-outs without an answer in between that are a silence.
const IN_A_ROW: u32 = 3;
/// Time-outs that are a silence among answers, too, if these are not [`ANSWERS_FOR_EACH`] times as many.
const AMONG_ANSWERS: u32 = 10;
const ANSWERS_FOR_EACH: u32 = 4;
/// For how long time-outs are counted together, and a silent organisation is left alone.
pub(super) const LEFT_ALONE: Duration = Duration::from_secs(60);
/// Organisations that are noted.
const ZONES_MAX: usize = 10_000;

/// Who did not answer lately.
pub(super) struct Silences {
    zones: Mutex<HashMap<String, Zone>>,
    left_alone: Duration,
}

#[derive(Clone, Copy)]
struct Zone {
    in_a_row: u32,
    time_outs: u32,
    answers: u32,
    /// When all of this is forgotten.
    until: Instant,
}

impl Zone {
    fn is_silent(&self) -> bool {
        let is_hiding = self.time_outs >= AMONG_ANSWERS && self.answers <= self.time_outs.saturating_mul(ANSWERS_FOR_EACH);
        self.in_a_row >= IN_A_ROW || is_hiding
    }
}

impl Silences {
    /// None yet. `left_alone` is [`LEFT_ALONE`] but for tests.
    pub(super) fn new(left_alone: Duration) -> Self {
        Self { zones: Mutex::default(), left_alone }
    }

    /// Whether the organisation of `zone` is left alone.
    pub(super) fn is_silent(&self, zone: &str, now: Instant) -> bool {
        self.zones().get(zone).is_some_and(|zone| now < zone.until && zone.is_silent())
    }

    /// Notes that it did not answer in time.
    pub(super) fn timed_out(&self, zone: &str, now: Instant) {
        let mut zones = self.zones();
        if let Some(noted) = zones.get_mut(zone).filter(|noted| now < noted.until) {
            let was_silent = noted.is_silent();
            (noted.in_a_row, noted.time_outs) = (noted.in_a_row.saturating_add(1), noted.time_outs.saturating_add(1));
            // The minute begins when the silence is noticed. Those who asked before do not make it longer.
            if !was_silent && noted.is_silent() {
                noted.until = now + self.left_alone;
            }
            return;
        }
        if zones.len() >= ZONES_MAX {
            zones.retain(|_, zone| now < zone.until);
        }
        if zones.len() < ZONES_MAX {
            zones.insert(zone.to_owned(), Zone { in_a_row: 1, time_outs: 1, answers: 0, until: now + self.left_alone });
        }
    }

    /// Notes that it answered, whatever it said.
    pub(super) fn answered(&self, zone: &str) {
        let mut zones = self.zones();
        if let Some(noted) = zones.get_mut(zone) {
            (noted.in_a_row, noted.answers) = (0, noted.answers.saturating_add(1));
        }
    }

    fn zones(&self) -> MutexGuard<'_, HashMap<String, Zone>> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The domain whose name servers' silence a name would be: its organisational domain, or the name itself at a public
/// suffix. For the name of an address, which has no organisation, its network of 24 or 48 bits.
pub(super) fn zone_of(name: &str) -> &str {
    let labels = match () {
        () if name.ends_with(".in-addr.arpa") => 3 + 2,
        () if name.ends_with(".ip6.arpa") => 12 + 2,
        () => return psl::domain_str(name).unwrap_or(name),
    };
    name.rmatch_indices('.').nth(labels - 1).map_or(name, |(dot, _)| &name[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Whether `a.org` is left alone after these: `t` a time-out, `a` an answer, each a tenth of a second after the other.
    fn is_silent_after(course: &str) -> bool {
        let silences = Silences::new(LEFT_ALONE);
        let mut now = Instant::now();
        for event in course.chars() {
            now += SECOND / 10;
            if event == 't' { silences.timed_out("a.org", now) } else { silences.answered("a.org") }
        }
        assert!(!silences.is_silent("b.org", now), "it is a.org that was asked");
        silences.is_silent("a.org", now)
    }

    #[test]
    fn it_takes_several_time_outs_without_an_answer_or_very_many() {
        for (course, is_silent) in [
            ("", false),
            ("t", false),
            ("tt", false),
            ("ttt", true),
            ("ttatt", false),
            ("aaattt", true),
            ("ttta", false),
            (&"ta".repeat(9), false),
            (&"ta".repeat(10), true),
            (&"taaaa".repeat(10), true),
            (&"taaaaa".repeat(50), false),
        ] {
            assert_eq!(is_silent_after(course), is_silent, "{course}");
        }
    }

    #[test]
    fn a_silent_organisation_is_asked_again_after_a_minute_whoever_asked_meanwhile() {
        let silences = Silences::new(LEFT_ALONE);
        let start = Instant::now();
        (0..3).for_each(|n| silences.timed_out("a.org", start + n * SECOND));
        let noticed = start + 2 * SECOND;
        // Questions that were under way by then end one after the other.
        (3..40).for_each(|n| silences.timed_out("a.org", start + n * SECOND));
        assert!(silences.is_silent("a.org", noticed + 59 * SECOND));
        assert!(!silences.is_silent("a.org", noticed + 60 * SECOND));
        silences.timed_out("a.org", noticed + 61 * SECOND);
        assert!(!silences.is_silent("a.org", noticed + 62 * SECOND), "it begins anew");
    }

    #[test]
    fn time_outs_far_apart_are_no_silence() {
        let silences = Silences::new(LEFT_ALONE);
        let start = Instant::now();
        (0..20).for_each(|n| silences.timed_out("a.org", start + n * 31 * SECOND));
        assert!(!silences.is_silent("a.org", start + 19 * 31 * SECOND));
    }

    #[test]
    fn the_table_is_bounded_and_makes_room_for_what_is_new() {
        let silences = Silences::new(LEFT_ALONE);
        let start = Instant::now();
        (0..ZONES_MAX + 100).for_each(|n| silences.timed_out(&format!("{n}.org"), start));
        assert_eq!(silences.zones().len(), ZONES_MAX);
        let later = start + LEFT_ALONE;
        (0..3).for_each(|_| silences.timed_out("new.org", later));
        assert!(silences.is_silent("new.org", later));
        assert_eq!(silences.zones().len(), 1, "what is over went");
    }

    #[test]
    fn sub_domains_share_one_entry_and_a_suffix_has_its_own() {
        for (name, zone) in [
            ("s1._domainkey.mail.example.org", "example.org"),
            ("example.co.uk", "example.co.uk"),
            ("_dmarc.a.example.co.uk", "example.co.uk"),
            ("a.someone.github.io", "someone.github.io"),
            ("co.uk", "co.uk"),
            ("org", "org"),
            ("7.2.0.192.in-addr.arpa", "2.0.192.in-addr.arpa"),
            ("0.192.in-addr.arpa", "0.192.in-addr.arpa"),
            ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"),
        ] {
            assert_eq!(zone_of(name), zone, "{name}");
        }
    }
}
