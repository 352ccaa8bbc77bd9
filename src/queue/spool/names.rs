//! The spool's file names: what they hold, and in which order waiting ones are received.
//!
//! Pure: no file is touched here. A name that is not one of ours parses to `None` and is left where it lies.
//!
//! **Fair order.** A flooder must not keep the others waiting. So a name's rank is how many messages of its group (its
//! sender) are before it, those with a receiver included, and the lowest rank is received first, among equals the one
//! that is due first. With n groups waiting, each gets every n-th turn, however many messages it has; within a group
//! the order is that of their due times. A group with nothing in flight always has a message of rank 0, and its oldest
//! is before every later arrival of rank 0: nobody, the flooder included, waits for ever.

use std::collections::{HashMap, VecDeque};

use crate::{clock::UnixMillis, keyed::hex};

/// Characters of the envelope's group in a name. 32 bits only keep senders apart for a while: two that share them
/// share their turns.
const GROUP_CHARS: usize = 8;
/// Ends the id of a message that an operator brought back from the dead letters. An earlier version takes such an id for
/// one without a group.
const REPLAYED: &str = "_replayed";

/// A message's name in `tmp/`, and the part of its names in the other folders that never changes: when it arrived, random
/// bits, its group or nothing, and the seal of what it holds ([`whole`](super::whole)).
pub(super) fn id(arrived: UnixMillis, random: [u8; 8], group: &str, seal: &str) -> String {
    // What is not a keyed hash has no place in a file's name.
    let short = group.get(..GROUP_CHARS).filter(|short| group_number(short).is_some()).unwrap_or_default();
    format!("{:013}_{}_{short}_{seal}", arrived.0, hex(&random))
}

/// The id of the message with this one, when it is put anew from the dead letters at `now`.
pub(super) fn replayed(id: &str, now: UnixMillis) -> String {
    let rest = id.split_once('_').map_or(id, |(_, rest)| rest);
    format!("{:013}_{}{REPLAYED}", now.0, rest.strip_suffix(REPLAYED).unwrap_or(rest))
}

/// Whether it was brought back from the dead letters.
pub(super) fn is_replayed(id: &str) -> bool {
    id.ends_with(REPLAYED)
}

/// When the message of this id was put.
pub(super) fn arrival(id: &str) -> Option<UnixMillis> {
    id.split_once('_')?.0.parse().ok().map(UnixMillis)
}

/// The group in an id. Names of earlier versions have none: together they are one group.
fn group(id: &str) -> Option<u32> {
    id.split('_').nth(2).and_then(group_number)
}

/// The seal in an id. Names of earlier versions have none.
pub(super) fn seal(id: &str) -> Option<&str> {
    id.strip_suffix(REPLAYED).unwrap_or(id).splitn(4, '_').nth(3)
}

fn group_number(short: &str) -> Option<u32> {
    let is_lower_hex = short.len() == GROUP_CHARS && short.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_lower_hex.then(|| u32::from_str_radix(short, 16).ok()).flatten()
}

/// A name in `new/`.
pub(super) struct Waiting<'a> {
    pub(super) due: UnixMillis,
    pub(super) id: &'a str,
    pub(super) receives: u32,
}

impl<'a> Waiting<'a> {
    pub(super) fn name(&self) -> String {
        format!("{:013}-{}.{}", self.due.0, self.id, self.receives)
    }

    pub(super) fn parse(name: &'a str) -> Option<Self> {
        let (due, rest) = name.split_once('-')?;
        let Held { id, receives } = Held::parse(rest)?;
        Some(Self { due: UnixMillis(due.parse().ok()?), id, receives })
    }
}

/// A name in `cur/`.
pub(super) struct Held<'a> {
    pub(super) id: &'a str,
    pub(super) receives: u32,
}

impl<'a> Held<'a> {
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.id, self.receives)
    }

    pub(super) fn parse(name: &'a str) -> Option<Self> {
        let (id, receives) = name.rsplit_once('.')?;
        Some(Self { id, receives: receives.parse().ok()? })
    }
}

/// The names of `waiting` that are due at `now`, in the order in which they are to be received while those in `held`
/// are with a receiver.
pub(super) fn in_fair_order(mut waiting: Vec<String>, held: &[String], now: UnixMillis) -> VecDeque<String> {
    waiting.sort_unstable(); // by due time: it comes first, and all names have it in the same width
    let mut before: HashMap<Option<u32>, u32> = HashMap::new();
    for held in held.iter().filter_map(|name| Held::parse(name)) {
        *before.entry(group(held.id)).or_default() += 1;
    }
    let mut ranked: Vec<(u32, String)> = Vec::with_capacity(waiting.len());
    for name in waiting {
        let Some(Waiting { due, id, .. }) = Waiting::parse(&name) else { continue };
        if due > now {
            break;
        }
        let count = before.entry(group(id)).or_default();
        ranked.push((*count, name));
        *count = count.saturating_add(1);
    }
    // Stable: among equals the order of their due times stays. One flooder alone is in order already, which is seen.
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOODER: &str = "aaaaaaaa00";
    const NOW: UnixMillis = UnixMillis(1_790_000_000_500);
    const SEAL: &str = "1f_0123456789abcdef";

    /// A waiting name that was put and due `millis` after a base time.
    fn waiting(millis: u64, group: &str) -> String {
        let at = UnixMillis(1_790_000_000_000 + millis);
        Waiting { due: at, id: &id(at, [7; 8], group, SEAL), receives: 0 }.name()
    }

    fn held(millis: u64, group: &str) -> String {
        Held { id: &id(UnixMillis(1_790_000_000_000 + millis), [7; 8], group, SEAL), receives: 1 }.name()
    }

    #[test]
    fn a_name_holds_a_short_group_and_nothing_that_is_not_a_hash() {
        let at = UnixMillis(1_790_000_000_000);
        assert_eq!(id(at, [0xab; 8], "0123456789abcdef", SEAL), "1790000000000_abababababababab_01234567_1f_0123456789abcdef");
        for other in ["", "short", "someone@example.org", "ABCDEF0123", "../../../etc", "äääääääää"] {
            assert_eq!(id(at, [0xab; 8], other, SEAL), "1790000000000_abababababababab__1f_0123456789abcdef", "{other}");
        }
    }

    #[test]
    fn a_name_keeps_group_and_seal_through_its_folders_and_an_old_name_may_have_neither() {
        let name = waiting(3, FLOODER);
        let parsed = Waiting::parse(&name).expect("ours");
        let held = Held { id: parsed.id, receives: 1 }.name();
        assert_eq!(Held::parse(&held).map(|held| group(held.id)), Some(Some(0xaaaa_aaaa)));
        assert_eq!(Held::parse(&held).and_then(|held| seal(held.id)), Some(SEAL));
        assert_eq!(arrival(parsed.id), Some(UnixMillis(1_790_000_000_003)));
        let grouped = "1790000000000_0123456789abcdef_aaaaaaaa";
        assert_eq!((group(grouped), seal(grouped)), (Some(0xaaaa_aaaa), None), "an earlier version's");
        assert_eq!((group(&id(NOW, [7; 8], "", SEAL)), seal(&id(NOW, [7; 8], "", SEAL))), (None, Some(SEAL)));
        let old = Waiting::parse("1790000000001-1790000000000_0123456789abcdef.2").expect("an old name");
        assert_eq!(
            (old.due, old.receives, group(old.id), seal(old.id), arrival(old.id)),
            (UnixMillis(1_790_000_000_001), 2, None, None, Some(UnixMillis(1_790_000_000_000)))
        );
    }

    #[test]
    fn a_replayed_name_is_put_anew_keeps_its_group_and_is_marked_once() {
        let then = UnixMillis(1_790_000_000_000);
        for (group_of_it, number) in [(FLOODER, Some(0xaaaa_aaaa)), ("", None)] {
            let fresh = id(then, [7; 8], group_of_it, SEAL);
            let once = replayed(&fresh, NOW);
            assert_eq!(once, format!("1790000000500{}_replayed", &fresh[13..]));
            assert_eq!(replayed(&once, NOW), once);
            assert_eq!((group(&once), seal(&once), arrival(&once)), (number, Some(SEAL), Some(NOW)));
            assert_eq!((is_replayed(&fresh), is_replayed(&once)), (false, true));
            let name = Waiting { due: NOW, id: &once, receives: 2 }.name();
            assert_eq!(Waiting::parse(&name).map(|waiting| (waiting.id, waiting.receives)), Some((once.as_str(), 2)));
        }
    }

    #[test]
    fn every_group_gets_its_turn_and_within_one_the_oldest_is_first() {
        let (f, a, b) = (|millis| waiting(millis, FLOODER), |millis| waiting(millis, "bbbbbbbb"), |millis| waiting(millis, "cccccccc"));
        let order = in_fair_order(vec![b(9), f(3), f(1), a(5), f(2), a(6), f(4)], &[], NOW);
        assert_eq!(order, [f(1), a(5), b(9), f(2), a(6), f(3), f(4)]);
    }

    #[test]
    fn who_has_messages_in_flight_waits_for_who_has_none_and_is_first_again_when_they_are_done() {
        let names = || vec![waiting(1, FLOODER), waiting(2, FLOODER), waiting(8, "bbbbbbbb"), waiting(9, "bbbbbbbb")];
        let (f1, f2, a8, a9) = (waiting(1, FLOODER), waiting(2, FLOODER), waiting(8, "bbbbbbbb"), waiting(9, "bbbbbbbb"));
        assert_eq!(in_fair_order(names(), &[held(0, FLOODER), held(0, FLOODER)], NOW), [&a8, &a9, &f1, &f2].map(String::as_str));
        assert_eq!(in_fair_order(names(), &[held(0, "bbbbbbbb")], NOW), [&f1, &f2, &a8, &a9].map(String::as_str));
        assert_eq!(in_fair_order(names(), &[], NOW), [&f1, &a8, &f2, &a9].map(String::as_str));
    }

    #[test]
    fn what_is_not_due_or_not_ours_is_left_out() {
        let order = in_fair_order(vec![waiting(501, FLOODER), waiting(500, FLOODER), "stray".into(), "x-y.z".into()], &["stray".into()], NOW);
        assert_eq!(order, [waiting(500, FLOODER)]);
    }
}
