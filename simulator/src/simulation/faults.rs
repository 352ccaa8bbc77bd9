//! What breaks, as the plan has it.

use super::World;
use crate::{plan::FaultKind, random::Random, run::EventKind, worker::State};

/// Faults that last.
#[derive(Default)]
pub(super) struct Standing {
    receive_errors_until_ms: u64,
    receive_errors_share: f64,
    metrics_lost_until_ms: u64,
    /// Is a receive planned that makes up for refused ones?
    pub(super) is_poll_planned: bool,
}

impl Standing {
    /// Does SQS refuse this receive?
    pub(super) fn refuses_receive(&self, now_ms: u64, random: &mut Random) -> bool {
        now_ms < self.receive_errors_until_ms && random.unit() < self.receive_errors_share
    }

    /// Does what is published now get lost?
    pub(super) fn loses_metrics(&self, now_ms: u64) -> bool {
        now_ms < self.metrics_lost_until_ms
    }
}

impl World<'_> {
    pub(super) fn fault(&mut self, number: u32) {
        let now_ms = self.now_ms;
        let plan = self.plan;
        let text = match &plan.faults[number as usize].kind {
            FaultKind::KillMachine => {
                let active = &self.fleet.active;
                if !active.is_empty() {
                    let victim = active[self.machine_random.below(active.len() as u64) as usize];
                    self.kill(victim);
                }
                "a machine is killed".to_owned()
            }
            FaultKind::LoseZone => {
                self.fleet.lose_zone(0);
                for victim in self.fleet.alive() {
                    let worker = &self.workers[victim as usize];
                    if worker.zone == 0 && matches!(worker.state, State::Active | State::Away | State::Booting) {
                        self.kill(victim);
                    }
                }
                "a zone is lost".to_owned()
            }
            FaultKind::SesPause { for_ms } => {
                self.limiter.pause(now_ms + for_ms);
                format!("SES refuses everything for {} s", for_ms / 1_000)
            }
            FaultKind::WorkerAway { for_ms } => {
                if let Some(worker) = self.fleet.active.first().copied() {
                    self.away(worker, now_ms + for_ms);
                }
                format!("a worker's own breaker is open for {} s", for_ms / 1_000)
            }
            FaultKind::SqsErrors { for_ms, share } => {
                (self.faults.receive_errors_until_ms, self.faults.receive_errors_share) = (now_ms + for_ms, *share);
                format!("SQS refuses {:.0} % of the receives for {} s", share * 100.0, for_ms / 1_000)
            }
            FaultKind::MetricsLost { for_ms } => {
                self.faults.metrics_lost_until_ms = now_ms + for_ms;
                format!("metrics are lost for {} s", for_ms / 1_000)
            }
        };
        self.recorder.event(now_ms, EventKind::Fault, text);
    }
}
