//! One machine with its worker: slots that hold mails, and a CPU that works on them one after another. It counts what it did; when
//! something happens is the simulation's matter.
//!
//! A mail takes a slot from its receive to the reply's acceptance. Its CPU time queues behind that of the mails before it, its latency
//! runs beside. So a machine carries the lesser of `slots / time` and `cores / CPU time`, whichever binds.

use std::collections::VecDeque;

use crate::{limiter::Pace, mail_queue::Mail, metric::Tally, plan::Machine};

/// A machine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Launched; takes no mail yet.
    Booting,
    /// Takes mail.
    Active,
    /// Its own breaker is open: works on what it has, and takes no more until that closes.
    Away,
    /// Works on what it has, takes no more, and ends.
    Draining,
    /// Is no more, but the group has not noticed: it died.
    Dead,
    /// Is no more.
    Gone,
}

/// A mail in hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InHand {
    pub(crate) mail: Mail,
    /// When it was received.
    pub(crate) received_ms: u64,
    /// When its reply was ready to be sent.
    pub(crate) ready_ms: u64,
    /// How often SES refused it.
    pub(crate) refusals: u32,
}

/// A machine with its worker.
pub(crate) struct Worker {
    pub(crate) state: State,
    pub(crate) zone: u8,
    pub(crate) launched_ms: u64,
    /// When EC2 says *running*, and so the group *InService*; its warm-up counts from here. None: it was there before the start.
    pub(crate) running_ms: Option<u64>,
    /// When it stopped to be billed.
    pub(crate) gone_ms: Option<u64>,
    /// Mails in hand, by slot; `None` is free. Grows as far as needed.
    in_hand: Vec<Option<InHand>>,
    free: Vec<u32>,
    count: u32,
    /// Until when the CPU has work, in microseconds.
    cpu_until_us: u64,
    /// CPU work that was given, as machine time (all cores), in microseconds.
    cpu_given_us: u64,
    /// Slots in use times milliseconds, until `area_ms`.
    area: u64,
    area_ms: u64,
    pub(crate) pace: Pace,
    /// Replies that were accepted lately, whose messages may not be deleted yet.
    accepted: VecDeque<(u64, Mail)>,
    /// What it publishes next.
    pub(crate) tally: Tally,
    /// When it last told, or began to work, in milliseconds.
    pub(crate) told_ms: u64,
    /// When the others last saw it, in milliseconds.
    pub(crate) seen_ms: Option<u64>,
    /// Since when it takes nothing although mail waits, in milliseconds.
    pub(crate) stuck_since_ms: Option<u64>,
    /// Its metrics come so much later than the fleet's first, in milliseconds.
    pub(crate) publish_jitter_ms: u64,
    /// Slot and CPU use when the host's metrics were last taken, and at the last point of the series.
    pub(crate) hosted: Use,
    pub(crate) pointed: Use,
}

/// Use since the launch: slots times milliseconds, and CPU (all cores) in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Use {
    pub(crate) slot_ms: u64,
    pub(crate) cpu_us: u64,
    pub(crate) at_ms: u64,
}

impl Worker {
    /// A machine that is launched.
    pub(crate) fn launch(now_ms: u64, running_ms: Option<u64>, zone: u8, publish_jitter_ms: u64) -> Worker {
        let start = Use { slot_ms: 0, cpu_us: 0, at_ms: now_ms };
        Worker {
            state: State::Booting,
            zone,
            launched_ms: now_ms,
            running_ms,
            gone_ms: None,
            in_hand: Vec::new(),
            free: Vec::new(),
            count: 0,
            cpu_until_us: 0,
            cpu_given_us: 0,
            area: 0,
            area_ms: now_ms,
            pace: Pace::default(),
            accepted: VecDeque::new(),
            tally: Tally::default(),
            told_ms: now_ms,
            seen_ms: None,
            stuck_since_ms: None,
            publish_jitter_ms,
            hosted: start,
            pointed: start,
        }
    }

    /// How many mails it has in hand.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    fn pass(&mut self, now_ms: u64) {
        self.area += u64::from(self.count) * (now_ms - self.area_ms);
        self.area_ms = now_ms;
    }

    /// Takes a mail that needs so much CPU (of one core, in microseconds) and latency; gives its slot and when its reply is ready.
    pub(crate) fn take(&mut self, mail: Mail, now_ms: u64, cpu_us: u64, latency_us: u64, machine: &Machine) -> (u32, u64) {
        self.pass(now_ms);
        let work_us = (cpu_us as f64 / machine.cores) as u64;
        self.cpu_until_us = self.cpu_until_us.max(now_ms * 1_000) + work_us;
        self.cpu_given_us += work_us;
        let ready_ms = (self.cpu_until_us + latency_us).div_ceil(1_000);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.in_hand.push(None);
            (self.in_hand.len() - 1) as u32
        });
        self.in_hand[slot as usize] = Some(InHand { mail, received_ms: now_ms, ready_ms, refusals: 0 });
        self.count += 1;
        (slot, ready_ms)
    }

    /// The mail in a slot.
    pub(crate) fn held(&mut self, slot: u32) -> Option<&mut InHand> {
        self.in_hand.get_mut(slot as usize)?.as_mut()
    }

    /// Frees a slot.
    pub(crate) fn give_up(&mut self, slot: u32, now_ms: u64) -> Option<InHand> {
        let held = self.in_hand.get_mut(slot as usize)?.take()?;
        self.pass(now_ms);
        self.free.push(slot);
        self.count -= 1;
        Some(held)
    }

    /// Notes an accepted reply, whose message is deleted `delete_lag_ms` later.
    pub(crate) fn accepted(&mut self, mail: Mail, now_ms: u64, delete_lag_ms: u64) {
        while self.accepted.front().is_some_and(|(at_ms, _)| at_ms + delete_lag_ms <= now_ms) {
            self.accepted.pop_front();
        }
        self.accepted.push_back((now_ms, Mail { is_answered: true, ..mail }));
    }

    /// Dies: gives everything that it had in hand or had not deleted.
    pub(crate) fn die(&mut self, now_ms: u64, delete_lag_ms: u64) -> Vec<Mail> {
        let mut left = self.release(now_ms);
        left.extend(self.accepted.drain(..).filter(|(at_ms, _)| at_ms + delete_lag_ms > now_ms).map(|(_, mail)| mail));
        left
    }

    /// Gives back what is in hand.
    pub(crate) fn release(&mut self, now_ms: u64) -> Vec<Mail> {
        self.pass(now_ms);
        self.count = 0;
        self.free.clear();
        self.in_hand.drain(..).flatten().map(|held| held.mail).collect()
    }

    /// What is in hand.
    pub(crate) fn mails(&self) -> impl Iterator<Item = &Mail> {
        self.in_hand.iter().flatten().map(|held| &held.mail)
    }

    /// What it used until now.
    pub(crate) fn used(&mut self, now_ms: u64) -> Use {
        self.pass(now_ms);
        let ahead = self.cpu_until_us.saturating_sub(now_ms * 1_000);
        Use { slot_ms: self.area, cpu_us: self.cpu_given_us - ahead.min(self.cpu_given_us), at_ms: now_ms }
    }
}

impl State {
    /// Does its worker run?
    pub(crate) fn works(self) -> bool {
        matches!(self, State::Active | State::Away | State::Draining)
    }
}

impl Use {
    /// The shares of slots and of CPU that were used since `earlier`, 0 to 1.
    pub(crate) fn shares_since(&self, earlier: &Use, slots: u32) -> (f64, f64) {
        let time_ms = (self.at_ms - earlier.at_ms) as f64;
        if time_ms <= 0.0 {
            return (0.0, 0.0);
        }
        let slot = (self.slot_ms - earlier.slot_ms) as f64 / (time_ms * f64::from(slots));
        let cpu = (self.cpu_us - earlier.cpu_us) as f64 / (time_ms * 1_000.0);
        (slot.clamp(0.0, 1.0), cpu.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(arrived_ms: u32) -> Mail {
        Mail { arrived_ms, receives: 1, is_answered: false }
    }

    #[test]
    fn cpu_queues_and_latency_runs_beside() {
        let machine = Machine { cores: 2.0, ..Machine::default() };
        let mut worker = Worker::launch(0, None, 0, 0);
        assert_eq!(worker.take(mail(0), 0, 20_000, 100_000, &machine).1, 110);
        assert_eq!(worker.take(mail(0), 0, 20_000, 100_000, &machine).1, 120, "its CPU comes after the first's");
        assert_eq!(worker.take(mail(0), 50, 20_000, 100_000, &machine).1, 160, "the CPU was idle again");
        let used = worker.used(55);
        assert_eq!((used.cpu_us, used.slot_ms), (25_000, 2 * 50 + 3 * 5));
        let (slot, cpu) = used.shares_since(&Use::default(), 10);
        assert!((cpu - 25.0 / 55.0).abs() < 1e-9 && (slot - 115.0 / 550.0).abs() < 1e-9, "{slot} {cpu}");
    }

    #[test]
    fn a_death_leaves_what_was_in_hand_and_what_was_not_deleted() {
        let machine = Machine::default();
        let mut worker = Worker::launch(0, None, 0, 0);
        let slots: Vec<u32> = (0..3).map(|arrived| worker.take(mail(arrived), 0, 0, 0, &machine).0).collect();
        for (slot, at_ms) in [(slots[0], 10), (slots[1], 95)] {
            let held = worker.give_up(slot, at_ms).expect("in hand");
            worker.accepted(held.mail, at_ms, 50);
        }
        let left = worker.die(100, 50);
        assert_eq!(left, [mail(2), Mail { is_answered: true, ..mail(1) }]);
        assert_eq!(worker.count(), 0);
    }
}
