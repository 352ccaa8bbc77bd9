//! The simulation itself: one event after another, until the horizon. What happens to mail is in `mail`, to machines in `machines`, what
//! is measured and decided in `control`, what breaks in `faults`.

mod control;
mod faults;
mod machines;
mod mail;

use crate::{
    arrivals::Arrivals,
    event_queue::EventQueue,
    limiter::Limiter,
    mail_queue::{Mail, MailQueue},
    pipe::Pipe,
    plan::Plan,
    random::Random,
    recorder::{Gauges, Recorder},
    run::{POINT_MS, Run},
    worker::{State, Use, Worker},
};
use control::Control;
use machines::Fleet;

/// Progress is told so often in a run.
const PROGRESS_STEPS: u64 = 100;

/// What can happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// EC2 says that a machine is running.
    Running(u32),
    /// A machine's worker takes mail.
    Booted(u32),
    /// A reply is ready to be sent, or is to be sent again.
    Ready { worker: u32, slot: u32 },
    /// A dead worker's mail shows again.
    Show(Mail),
    /// Workers that SQS refused receive again.
    Poll,
    /// A worker's own breaker closes.
    Back(u32),
    /// The group notices that a machine is dead.
    Notice(u32),
    /// A machine that drains may no longer.
    DrainEnd(u32),
    /// CloudWatch looks at an alarm.
    Look(u32),
    /// Workers publish.
    Publish,
    /// A point of the series ends.
    Point,
    /// A fault begins.
    Fault(u32),
}

/// The state of everything.
struct World<'a> {
    plan: &'a Plan,
    now_ms: u64,
    events: EventQueue<Event>,
    queue: MailQueue,
    workers: Vec<Worker>,
    fleet: Fleet,
    limiter: Limiter,
    pipe: Pipe,
    control: Control<'a>,
    faults: faults::Standing,
    recorder: Recorder,
    /// Draws service times and who takes a mail.
    service_random: Random,
    /// Draws boots, jitter and deaths.
    machine_random: Random,
}

/// Simulates a plan. `progress` is told the share that is done, 0 to 1, about a hundred times.
///
/// The same plan gives the same run. What [`Plan::check`] would refuse is not an error here, but has no effect: an alarm on a metric that
/// is not simulated never has data.
pub fn run(plan: &Plan, progress: &mut dyn FnMut(f64)) -> Run {
    let mut world = World::new(plan);
    let mut arrivals = Arrivals::new(&plan.traffic, plan.seed).take_while(|at_ms| *at_ms < plan.horizon_ms).peekable();
    let step_ms = (plan.horizon_ms / PROGRESS_STEPS).max(1);
    let mut told_ms = step_ms;
    loop {
        let event_ms = world.events.next_at_ms().unwrap_or(u64::MAX);
        let arrival_ms = arrivals.peek().copied().unwrap_or(u64::MAX);
        let next_ms = event_ms.min(arrival_ms);
        // A point that ends at the horizon belongs to the run, and so does whatever happens in that millisecond.
        if next_ms > plan.horizon_ms {
            break;
        }
        if next_ms >= told_ms {
            progress(next_ms as f64 / plan.horizon_ms as f64);
            told_ms = next_ms + step_ms;
        }
        world.now_ms = next_ms;
        if arrival_ms <= event_ms {
            arrivals.next();
            world.arrive();
        } else if let Some((_, event)) = world.events.take() {
            world.happen(event);
        }
        if world.control.has_calls() && world.events.next_at_ms() != Some(next_ms) {
            world.scale();
        }
    }
    progress(1.0);
    world.finish()
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan) -> World<'a> {
        // When alarms are looked at is apart, or one more alarm for people would change how long machines boot.
        let control = Control::new(plan, &mut Random::new(plan.seed, 4));
        let pipe = Pipe::new(control.queries(), &plan.metrics.namespace);
        let first = plan.scaling.group.desired.clamp(plan.scaling.group.min, plan.scaling.group.max);
        let mut world = World {
            plan,
            now_ms: 0,
            events: EventQueue::new(),
            queue: MailQueue::default(),
            workers: Vec::new(),
            fleet: Fleet::new(first, &plan.scaling.group),
            limiter: Limiter::new(&plan.ses),
            pipe,
            control,
            faults: faults::Standing::default(),
            recorder: Recorder::new(first),
            service_random: Random::new(plan.seed, 3),
            machine_random: Random::new(plan.seed, 2),
        };
        world.begin(first);
        world.events.plan(POINT_MS, Event::Point);
        world.events.plan(u64::from(plan.metrics.publish_every_s) * 1_000, Event::Publish);
        for (number, at_ms) in world.control.first_looks() {
            world.events.plan(at_ms, Event::Look(number));
        }
        for (number, fault) in plan.faults.iter().enumerate() {
            world.events.plan(fault.at_ms, Event::Fault(number as u32));
        }
        world
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Running(worker) => self.running(worker),
            Event::Booted(worker) => self.booted(worker),
            Event::Ready { worker, slot } => self.ready(worker, slot),
            Event::Show(mail) => {
                self.queue.show(mail);
                self.dispatch(None);
            }
            Event::Poll => {
                self.faults.is_poll_planned = false;
                self.dispatch(None);
            }
            Event::Back(worker) => self.back(worker),
            Event::Notice(worker) => self.notice(worker),
            Event::DrainEnd(worker) => self.drain_end(worker),
            Event::Look(number) => self.look(number),
            Event::Publish => self.publish(),
            Event::Point => self.point(),
            Event::Fault(number) => self.fault(number),
        }
    }

    /// Ends a point of the series.
    fn point(&mut self) {
        let now_ms = self.now_ms;
        let mut gauges = Gauges {
            backlog: self.recorder.backlog(),
            in_service: self.fleet.active.len() as u32,
            pending: 0,
            draining: 0,
            desired: self.fleet.desired,
            oldest_ms: self.queue.oldest_ms(now_ms),
            machines: 0.0,
            worked: 0.0,
        };
        for number in self.fleet.alive() {
            let worker = &mut self.workers[number as usize];
            match worker.state {
                State::Booting => gauges.pending += 1,
                State::Draining => gauges.draining += 1,
                _ => {}
            }
            if worker.state.works() {
                let used = worker.used(now_ms);
                let (slots, cpu) = used.shares_since(&worker.pointed, self.plan.machine.slots);
                let share = (used.at_ms - worker.pointed.at_ms) as f64 / POINT_MS as f64;
                gauges.machines += share;
                gauges.worked += share * slots.max(cpu);
                worker.pointed = Use { ..used };
            }
        }
        self.recorder.end_point(now_ms, &gauges);
        self.events.plan(now_ms + POINT_MS, Event::Point);
    }

    fn finish(self) -> Run {
        let horizon_ms = self.plan.horizon_ms;
        let in_hand = self.workers.iter().flat_map(Worker::mails);
        let ages: Vec<u64> = self
            .queue
            .mails()
            .chain(self.queue.hidden())
            .chain(in_hand)
            .filter(|mail| !mail.is_answered)
            .map(|mail| horizon_ms.saturating_sub(u64::from(mail.arrived_ms)))
            .collect();
        let billed_ms: f64 = self.workers.iter().map(|worker| worker.gone_ms.unwrap_or(horizon_ms).saturating_sub(worker.launched_ms) as f64).sum();
        self.recorder.finish(self.plan, ages.into_iter(), billed_ms)
    }
}

#[cfg(test)]
mod tests;
