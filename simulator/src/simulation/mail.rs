//! What happens to a mail: it arrives, a worker with a free slot receives it, its reply becomes ready, SES accepts it.

use super::{Event, World};
use crate::{
    mail_queue::Mail,
    metric::Metric,
    plan::{Latency, Machine},
    random::Random,
    worker::State,
};

/// Workers that SQS refused try again after so many milliseconds.
const POLL_AGAIN_MS: u64 = 1_000;
/// A reply that SES refused is tried again after at most so many milliseconds.
const RETRY_MS_MAX: u64 = 60_000;
/// Messages older than this are not in `processing_time`, in milliseconds.
const STALE_MS: u64 = 3_600_000;
/// A reply that waits for its turn at SES for less than this is not in `send_wait`, in milliseconds: workers let it go at once.
const SEND_SLACK_MS: u64 = 1_000;
/// The standard normal's 99th percentile.
const NORMAL_P99: f64 = 2.326_347_874;

impl World<'_> {
    /// A mail comes.
    pub(super) fn arrive(&mut self) {
        self.recorder.arrived(self.now_ms);
        self.queue.arrive(self.now_ms);
        self.dispatch(None);
    }

    /// Gives waiting mails to free slots; `first` is asked first.
    pub(super) fn dispatch(&mut self, first: Option<u32>) {
        // The breaker is open: a reply could not leave, so its message stays in the queue.
        if let Some(ends_ms) = self.limiter.paused_until_ms(self.now_ms) {
            if !self.faults.is_poll_planned {
                self.faults.is_poll_planned = true;
                self.events.plan(ends_ms, Event::Poll);
            }
            return;
        }
        let mut hint = first;
        while self.fleet.free_slots > 0 && !self.queue.is_empty() {
            if self.faults.refuses_receive(self.now_ms, &mut self.service_random) {
                if !self.faults.is_poll_planned {
                    self.faults.is_poll_planned = true;
                    self.events.plan(self.now_ms + POLL_AGAIN_MS, Event::Poll);
                }
                break;
            }
            match self.queue.receive(self.plan.queue.receives_max) {
                None => break,
                Some(Err(mail)) => self.recorder.mail.parked += u64::from(!mail.is_answered),
                Some(Ok(mail)) => {
                    let Some(worker) = self.taker(hint.take()) else { break };
                    self.take(worker, mail);
                }
            }
        }
    }

    /// A worker with a free slot: the hinted one, or the first from a random place on.
    fn taker(&mut self, hint: Option<u32>) -> Option<u32> {
        let slots = self.plan.machine.slots;
        let is_free = |number: u32| {
            let worker = &self.workers[number as usize];
            worker.state == State::Active && worker.count() < slots
        };
        if let Some(number) = hint.filter(|number| is_free(*number)) {
            return Some(number);
        }
        let active = &self.fleet.active;
        let start = self.service_random.below(active.len() as u64) as usize;
        active[start..].iter().chain(&active[..start]).copied().find(|number| is_free(*number))
    }

    fn take(&mut self, number: u32, mail: Mail) {
        let (now_ms, machine) = (self.now_ms, &self.plan.machine);
        let waited_ms = now_ms - u64::from(mail.arrived_ms);
        let has_attachments = machine.attachment_share > 0.0 && self.service_random.unit() < machine.attachment_share;
        let is_shed = has_attachments && self.plan.elasticity.no_attachments_over_ms.is_some_and(|limit_ms| waited_ms > limit_ms);
        let (cpu_us, latency_us) = service(machine, has_attachments && !is_shed, &mut self.service_random);
        let worker = &mut self.workers[number as usize];
        if mail.receives == 1 {
            self.recorder.queue_waits.add(waited_ms);
            worker.tally.queue_wait.add_ms(waited_ms, self.pipe.is_kept(Metric::QueueWait));
            worker.tally.received += 1;
        }
        self.recorder.mail.without_attachments += u64::from(is_shed);
        let (slot, ready_ms) = worker.take(mail, now_ms, cpu_us, latency_us, machine);
        self.fleet.free_slots -= 1;
        self.events.plan(ready_ms, Event::Ready { worker: number, slot });
    }

    /// A reply is to be sent now, if this worker's share of the rate allows and SES takes it.
    pub(super) fn ready(&mut self, number: u32, slot: u32) {
        let (now_ms, live) = (self.now_ms, self.fleet.active.len());
        let worker = &mut self.workers[number as usize];
        if !worker.state.works() {
            return;
        }
        let mut pace = worker.pace;
        let Some(held) = worker.held(slot) else { return };
        if held.ready_ms == now_ms && held.refusals == 0 {
            let turn_ms = pace.turn(now_ms, &self.plan.ses, live);
            worker.pace = pace;
            if turn_ms > now_ms {
                self.events.plan(turn_ms, Event::Ready { worker: number, slot });
                return;
            }
        }
        if self.limiter.accepts(now_ms) {
            self.accepted(number, slot);
            return;
        }
        let Some(held) = worker.held(slot) else { return };
        let again_ms = (self.plan.ses.retry_ms.max(1) << held.refusals.min(16)).min(RETRY_MS_MAX);
        held.refusals += 1;
        // A pause is not "too fast": it opens the breaker.
        worker.tally.throttled += u32::from(self.limiter.paused_until_ms(now_ms).is_none());
        self.recorder.throttled();
        self.events.plan(now_ms + again_ms, Event::Ready { worker: number, slot });
    }

    /// SES accepted a reply.
    fn accepted(&mut self, number: u32, slot: u32) {
        let (now_ms, pipe) = (self.now_ms, &self.pipe);
        let worker = &mut self.workers[number as usize];
        let Some(held) = worker.give_up(slot, now_ms) else { return };
        worker.accepted(held.mail, now_ms, self.plan.queue.delete_lag_ms);
        let wait_ms = now_ms - u64::from(held.mail.arrived_ms);
        let tally = &mut worker.tally;
        tally.sent += 1;
        tally.handling.add_ms(now_ms - held.received_ms, pipe.is_kept(Metric::HandlingTime));
        if now_ms >= held.ready_ms + SEND_SLACK_MS {
            tally.send_wait.add_ms(now_ms - held.ready_ms, pipe.is_kept(Metric::SendWait));
        }
        if wait_ms > STALE_MS {
            tally.stale.add_ms(wait_ms, pipe.is_kept(Metric::ProcessingTimeStale));
        } else {
            tally.processing.add_ms(wait_ms, pipe.is_kept(Metric::ProcessingTime));
        }
        if held.mail.is_answered {
            self.recorder.mail.duplicates += 1;
        } else {
            self.recorder.answered(wait_ms);
        }
        match worker.state {
            State::Active => {
                self.fleet.free_slots += 1;
                self.dispatch(Some(number));
            }
            State::Draining if worker.count() == 0 => self.ended(number),
            _ => {}
        }
    }
}

/// A mail's CPU (of one core) and latency, in microseconds.
fn service(machine: &Machine, has_attachments: bool, random: &mut Random) -> (u64, u64) {
    let latency_ms = match machine.latency {
        Latency::Constant(ms) => ms,
        Latency::Exponential(mean_ms) => mean_ms * random.exponential(),
        Latency::LogNormal { p50_ms, p99_ms } => p50_ms * (random.normal() * (p99_ms / p50_ms).ln() / NORMAL_P99).exp(),
    };
    let (more_cpu_ms, more_latency_ms) = if has_attachments { (machine.attachment_cpu_ms, machine.attachment_latency_ms) } else { (0.0, 0.0) };
    (((machine.cpu_ms + more_cpu_ms) * 1_000.0) as u64, ((latency_ms + more_latency_ms) * 1_000.0) as u64)
}
