//! What happens to machines: launched, running, taking mail, draining, ended, dead and replaced.

use super::{Event, World};
use crate::{
    run::EventKind,
    scaling::Group,
    worker::{State, Use, Worker},
};

/// The machines that the group knows.
pub(super) struct Fleet {
    /// Desired capacity.
    pub(super) desired: u32,
    /// Machines that take mail.
    pub(super) active: Vec<u32>,
    /// Machines of the group, and those that it ends, until they are gone.
    members: Vec<u32>,
    /// Free slots of the active ones.
    pub(super) free_slots: u64,
    /// When the last launch or end was complete, and for how long simple policies wait from there, in milliseconds.
    pub(super) activity_ended_ms: Option<u64>,
    pub(super) cooldown_ms: u64,
    /// A zone in which nothing starts any more.
    lost_zone: Option<u8>,
}

impl Fleet {
    pub(super) fn new(desired: u32, group: &Group) -> Fleet {
        Fleet {
            desired,
            active: Vec::new(),
            members: Vec::new(),
            free_slots: 0,
            activity_ended_ms: None,
            cooldown_ms: u64::from(group.cooldown_s) * 1_000,
            lost_zone: None,
        }
    }

    /// Every machine that is not gone.
    pub(super) fn alive(&self) -> Vec<u32> {
        self.members.clone()
    }

    pub(super) fn lose_zone(&mut self, zone: u8) {
        self.lost_zone = Some(zone);
    }
}

/// Is a machine one of the desired ones, as far as the group knows?
pub(super) fn counts(state: State) -> bool {
    matches!(state, State::Booting | State::Active | State::Away | State::Dead)
}

impl World<'_> {
    /// The machines that are there from the start.
    pub(super) fn begin(&mut self, first: u32) {
        for _ in 0..first {
            let number = self.add(None);
            self.activate(number);
        }
    }

    fn add(&mut self, running_ms: Option<u64>) -> u32 {
        let number = self.workers.len() as u32;
        let jitter_ms = self.machine_random.below(self.plan.metrics.publish_jitter_ms + 1);
        let zone = self.fullest_zones().0;
        self.workers.push(Worker::launch(self.now_ms, running_ms, zone, jitter_ms));
        self.fleet.members.push(number);
        number
    }

    /// The zone with the fewest machines (that is not lost), and the one with the most.
    fn fullest_zones(&self) -> (u8, u8) {
        let count = |zone| {
            let is_in = |number: &&u32| {
                let worker = &self.workers[**number as usize];
                worker.zone == zone && counts(worker.state)
            };
            self.fleet.members.iter().filter(is_in).count()
        };
        let (first, second) = (count(0), count(1));
        let fewest = match self.fleet.lost_zone {
            Some(zone) => 1 - zone,
            None => u8::from(second < first),
        };
        (fewest, u8::from(second > first))
    }

    /// Launches machines or ends some until the group has what is desired.
    pub(super) fn fit(&mut self) {
        let has = self.fleet.members.iter().filter(|number| counts(self.workers[**number as usize].state)).count() as u32;
        for _ in has..self.fleet.desired {
            self.launch();
        }
        for _ in self.fleet.desired..has {
            self.end_one();
        }
    }

    fn launch(&mut self) {
        let machine = &self.plan.machine;
        let boot_ms = machine.boot_ms + self.machine_random.below(machine.boot_jitter_ms + 1);
        let running_ms = self.now_ms + machine.running_ms.min(boot_ms);
        let number = self.add(Some(running_ms));
        self.recorder.launched();
        self.events.plan(running_ms, Event::Running(number));
        self.events.plan(self.now_ms + boot_ms, Event::Booted(number));
    }

    pub(super) fn running(&mut self, number: u32) {
        if self.workers[number as usize].state != State::Gone {
            self.fleet.activity_ended_ms = Some(self.now_ms);
        }
    }

    pub(super) fn booted(&mut self, number: u32) {
        if self.workers[number as usize].state == State::Booting {
            self.activate(number);
            self.recorder.in_service(self.now_ms, self.fleet.active.len() as u32);
            self.dispatch(Some(number));
        }
    }

    fn activate(&mut self, number: u32) {
        let start = Use { at_ms: self.now_ms, ..Use::default() };
        let worker = &mut self.workers[number as usize];
        (worker.hosted, worker.pointed, worker.told_ms) = (start, start, self.now_ms);
        self.take_part(number);
    }

    /// A worker takes mail, from now on.
    fn take_part(&mut self, number: u32) {
        let worker = &mut self.workers[number as usize];
        (worker.state, worker.seen_ms) = (State::Active, Some(self.now_ms));
        self.fleet.free_slots += u64::from(self.plan.machine.slots - worker.count());
        self.fleet.active.push(number);
    }

    /// A worker's own breaker opens, until then.
    pub(super) fn away(&mut self, number: u32, until_ms: u64) {
        self.deactivate(number);
        self.workers[number as usize].state = State::Away;
        self.events.plan(until_ms, Event::Back(number));
    }

    /// A worker's own breaker closes.
    pub(super) fn back(&mut self, number: u32) {
        if self.workers[number as usize].state == State::Away {
            self.take_part(number);
            self.dispatch(Some(number));
        }
    }

    fn deactivate(&mut self, number: u32) {
        if let Some(place) = self.fleet.active.iter().position(|active| *active == number) {
            self.fleet.active.remove(place);
            self.fleet.free_slots -= u64::from(self.plan.machine.slots - self.workers[number as usize].count());
        }
    }

    /// Ends the oldest machine of the zone with the most.
    fn end_one(&mut self) {
        let zone = self.fullest_zones().1;
        let candidates = self.fleet.members.iter().copied().filter(|number| {
            let worker = &self.workers[*number as usize];
            matches!(worker.state, State::Booting | State::Active | State::Away)
        });
        let Some(number) = candidates.min_by_key(|number| (self.workers[*number as usize].zone != zone, *number)) else { return };
        let is_idle = {
            let worker = &self.workers[number as usize];
            worker.state == State::Booting || worker.count() == 0
        };
        self.deactivate(number);
        self.workers[number as usize].state = State::Draining;
        if is_idle {
            self.ended(number);
            return;
        }
        let hook_ms = self.plan.scaling.group.termination_hook_s.map_or(0, |seconds| u64::from(seconds) * 1_000);
        self.events.plan(self.now_ms + self.plan.machine.drain_ms_max.min(hook_ms), Event::DrainEnd(number));
    }

    /// A machine that drained is gone.
    pub(super) fn ended(&mut self, number: u32) {
        let workers = self.workers_seen();
        self.publish_of(number, workers, true);
        let worker = &mut self.workers[number as usize];
        worker.state = State::Gone;
        worker.gone_ms = Some(self.now_ms);
        self.fleet.members.retain(|member| *member != number);
        self.fleet.activity_ended_ms = Some(self.now_ms);
        self.recorder.event(self.now_ms, EventKind::Terminated, format!("a machine ended: {} in service", self.fleet.active.len()));
    }

    /// A machine that still drains has no more time: what it has in hand shows at once (without a hook, when the lease ends).
    pub(super) fn drain_end(&mut self, number: u32) {
        let now_ms = self.now_ms;
        let worker = &mut self.workers[number as usize];
        if worker.state != State::Draining {
            return;
        }
        for mail in worker.release(now_ms) {
            self.queue.release(mail);
        }
        self.ended(number);
        self.dispatch(None);
    }

    /// A machine dies at once, with what it has in hand.
    pub(super) fn kill(&mut self, number: u32) {
        let now_ms = self.now_ms;
        self.deactivate(number);
        let worker = &mut self.workers[number as usize];
        worker.state = State::Dead;
        let left = worker.die(now_ms, self.plan.queue.delete_lag_ms);
        let visibility_ms = self.plan.queue.visibility_ms;
        for mail in left {
            // Leases are prolonged when half of them is over.
            let shows_ms = now_ms + visibility_ms / 2 + self.machine_random.below(visibility_ms / 2 + 1);
            self.queue.hide(mail);
            self.events.plan(shows_ms, Event::Show(mail));
        }
        self.recorder.killed();
        self.recorder.event(now_ms, EventKind::Terminated, format!("a machine died: {} in service", self.fleet.active.len()));
        self.events.plan(now_ms + self.plan.machine.noticed_after_ms, Event::Notice(number));
    }

    /// The group notices a death, and launches another machine.
    pub(super) fn notice(&mut self, number: u32) {
        let worker = &mut self.workers[number as usize];
        worker.state = State::Gone;
        worker.gone_ms = Some(self.now_ms);
        self.fleet.members.retain(|member| *member != number);
        self.fit();
    }
}
