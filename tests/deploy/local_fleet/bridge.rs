//! What Auto Scaling is to a fleet, for processes instead of machines: it hears of alarms by SNS and SQS, obeys the policies by the same rules
//! as the simulator ([`replyfleet_simulator::group`]), starts workers, and ends them by what the instance's metadata service says: the
//! worker sees it, drains, completes its hook and ends. One that ends otherwise fails the test.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use replyfleet::settings::ENV_SECRET_KEY;
use replyfleet_simulator::{
    group::{Call, Facts, largest},
    scaling::{Alarm, Comparison, Policy, Scaling},
};
use replyfleet_tests::{autoscaling::AutoScaling, metadata::Metadata, program};
use serde_json::Value;
use tokio::sync::watch;

pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";
const HOOK: &str = "drain";
const STATE: &str = "autoscaling/target-lifecycle-state";
/// How often policies are called while their alarm rings: each minute at AWS, and here about as much faster as the rest.
const CALL_EVERY: Duration = Duration::from_secs(1);
const CATALOGUE: &str = r#"[{"email_addr": "get@responder.test", "body": "links", "send_method": "SES"}]"#;

/// An alarm and the policy that it calls.
pub(super) struct Wire {
    pub(super) name: String,
    pub(super) alarm: Alarm,
    pub(super) policy: String,
    /// What the alarm's values are divided by to be in the unit of the policy's steps.
    pub(super) unit: f64,
}

/// What the test may see.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) desired: u32,
    pub(super) in_service: u32,
    pub(super) draining: u32,
    /// The most that were in service at a time.
    pub(super) peak: u32,
    /// How many were drained and have ended well.
    pub(super) ended: u32,
    pub(super) ringing: Vec<String>,
    /// What was decided: policy, and from how many to how many.
    pub(super) scaled: Vec<String>,
}

/// The machines' ground: a folder, and where everything is.
pub(super) struct Fleet {
    dir: tempfile::TempDir,
    group_name: String,
    queues: [String; 2],
    environment: Vec<(&'static str, String)>,
    group: AutoScaling,
    machines: Vec<Machine>,
    launched: usize,
}

/// A worker, and the machine that it believes to be on.
struct Machine {
    id: String,
    metadata: Metadata,
    child: Child,
    log: PathBuf,
    ready: Option<Instant>,
    is_draining: bool,
}

impl Fleet {
    pub(super) fn new(name: &str, [queue, dead]: [&str; 2], environment: Vec<(&'static str, String)>, group: AutoScaling) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("store/catalogue")).unwrap();
        fs::write(dir.path().join("store/catalogue/catalogue.json"), CATALOGUE).unwrap();
        let queues = [queue.to_owned(), dead.to_owned()];
        Self { dir, group_name: name.to_owned(), queues, environment, group, machines: Vec::new(), launched: 0 }
    }

    fn launch(&mut self) {
        let id = format!("i-{}", self.launched);
        self.launched += 1;
        let metadata = Metadata::start(&[("instance-id", &id), (STATE, "InService")]);
        let settings = format!(
            r#"
            authentication = {{ mode = "off", unproven = "full" }}
            queue = {{ url = "{queue}", dead_letter_url = "{dead}", visibility_s = 30 }}
            store = {{ url = "dir:{dir}/store" }}
            catalogue = {{ bucket = "catalogue", key = "catalogue.json" }}
            worker = {{ cache_dir = "{dir}/{id}.cache", slots = 2, stop_timeout_s = 20, probe_s = 1 }}
            reply = {{ bounce_address = "bounces@responder.test" }}
            send.SES = {{ kind = "ses" }}
            aws = {{ region = "us-east-1", imds_endpoint_url = "{imds}" }}
            termination = {{ hook = "{HOOK}", group = "{group}" }}
            status = {{ listen = "off" }}
            metrics = {{ cloudwatch = true, namespace = "{group}", period_s = 1, sample_s = 1 }}"#,
            queue = self.queues[0],
            dead = self.queues[1],
            dir = self.dir.path().display(),
            imds = metadata.url,
            group = self.group_name,
        );
        let path = self.dir.path().join(format!("{id}.toml"));
        fs::write(&path, settings).unwrap();
        let log = self.dir.path().join(format!("{id}.log"));
        let file = File::create(&log).unwrap();
        let mut command = Command::new(program("replyfleet-worker"));
        command.arg("--config").arg(path).env(ENV_SECRET_KEY, SECRET).envs(self.environment.iter().map(|(name, value)| (name, value)));
        let child = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        self.machines.push(Machine { id, metadata, child, log, ready: None, is_draining: false });
    }

    /// Ends the oldest machine that is in service.
    fn terminate(&mut self) {
        let machine = self.machines.iter_mut().find(|machine| !machine.is_draining && machine.ready.is_some());
        let Some(machine) = machine else { return };
        machine.is_draining = true;
        machine.metadata.set(STATE, "Terminated");
    }

    /// What has become of the machines; returns how many have drained and ended.
    fn look(&mut self) -> u32 {
        let (group, mut ended) = (&self.group, 0);
        self.machines.retain_mut(|machine| {
            let status = machine.child.try_wait().unwrap();
            let log = || fs::read_to_string(&machine.log).unwrap();
            if machine.ready.is_none() && log().contains("\"message\":\"ready\"") {
                machine.ready = Some(Instant::now());
            }
            let Some(status) = status else { return true };
            assert!(machine.is_draining && status.success(), "{}: {status}: {}", machine.id, log());
            assert!(group.has_completed(&machine.id, HOOK), "{} has ended without its hook: {}", machine.id, log());
            ended += 1;
            false
        });
        ended
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for machine in &mut self.machines {
            if std::thread::panicking() {
                eprintln!("---- {}\n{}", machine.id, fs::read_to_string(&machine.log).unwrap_or_default());
            }
            let _ = machine.child.kill();
            let _ = machine.child.wait();
        }
    }
}

/// Auto Scaling.
pub(super) struct Bridge {
    scaling: Scaling,
    wires: Vec<Wire>,
    fleet: Fleet,
    shown: Arc<Mutex<Shown>>,
    began: Instant,
    /// By the alarm's name, while it rings: its value, and when its policy was called last.
    ringing: BTreeMap<String, (f64, Option<Instant>)>,
    desired: u32,
    had_activity: bool,
    activity_ended_ms: Option<u64>,
    cooldown_ms: u64,
}

impl Bridge {
    pub(super) fn new(scaling: Scaling, wires: Vec<Wire>, fleet: Fleet, shown: Arc<Mutex<Shown>>) -> Self {
        let desired = scaling.group.desired;
        let ringing = BTreeMap::new();
        Self { scaling, wires, fleet, shown, began: Instant::now(), ringing, desired, had_activity: false, activity_ended_ms: None, cooldown_ms: 0 }
    }

    /// Scales until it is to stop; returns the fleet, which still works.
    pub(super) async fn run(mut self, (client, queue): (aws_sdk_sqs::Client, String), mut stop: watch::Receiver<bool>) -> Fleet {
        loop {
            self.fit();
            let receive = client.receive_message().queue_url(&queue).max_number_of_messages(10).wait_time_seconds(1).send();
            let received = tokio::select! {
                received = receive => received.unwrap().messages.unwrap_or_default(),
                _ = stop.wait_for(|stop| *stop) => return self.fleet,
            };
            for message in received {
                self.hear(message.body().unwrap());
                client.delete_message().queue_url(&queue).receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
            }
            self.scale();
        }
    }

    /// A notification by SNS of an alarm's change.
    fn hear(&mut self, body: &str) {
        let notification: Value = serde_json::from_str(body).unwrap();
        let change: Value = serde_json::from_str(notification["Message"].as_str().unwrap()).unwrap();
        let name = change["AlarmName"].as_str().unwrap().to_owned();
        if change["NewStateValue"] == "ALARM" {
            // "Threshold Crossed: Average 12345.0 GreaterThanThreshold 10000.0"
            let reason = change["NewStateReason"].as_str().unwrap();
            let value = reason.split_whitespace().nth(3).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{reason}"));
            self.ringing.insert(name, (value, None));
        } else {
            self.ringing.remove(&name);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    /// Calls the policies of the alarms that ring, and obeys the largest answer.
    fn scale(&mut self) {
        let mut due = Vec::new();
        for wire in &self.wires {
            let Some((value, called)) = self.ringing.get_mut(&wire.name) else { continue };
            if called.is_none_or(|called| called.elapsed() >= CALL_EVERY) {
                *called = Some(Instant::now());
                due.push((wire, *value));
            }
        }
        let calls: Vec<(Call<'_>, Facts)> = due
            .iter()
            .map(|(wire, value)| {
                let policy = &self.scaling.policies[&wire.policy];
                let is_above = matches!(wire.alarm.comparison, Comparison::GreaterThanThreshold | Comparison::GreaterThanOrEqualToThreshold);
                let call = Call { policy, value: value / wire.unit, threshold: wire.alarm.threshold / wire.unit, is_above };
                (call, self.facts(policy))
            })
            .collect();
        let Some((winner, desired)) = largest(&self.scaling.group, &calls) else { return };
        let policy = &due[winner].0.policy;
        let cooldown_s = match &self.scaling.policies[policy] {
            Policy::Simple { cooldown_s, .. } => cooldown_s.unwrap_or(self.scaling.group.cooldown_s),
            Policy::Step { .. } | Policy::TargetTracking { .. } => self.scaling.group.cooldown_s,
        };
        self.shown.lock().unwrap().scaled.push(format!("{policy}: {} to {desired}", self.desired));
        (self.desired, self.cooldown_ms) = (desired, u64::from(cooldown_s) * 1_000);
    }

    fn facts(&self, policy: &Policy) -> Facts {
        let group = &self.scaling.group;
        let own_s = match policy {
            Policy::Simple { .. } => None,
            Policy::Step { warmup_s, .. } | Policy::TargetTracking { warmup_s, .. } => *warmup_s,
        };
        let warmup = Duration::from_secs(own_s.or(group.warmup_s).unwrap_or(group.cooldown_s).into());
        let (draining, others): (Vec<&Machine>, Vec<&Machine>) = self.fleet.machines.iter().partition(|machine| machine.is_draining);
        let warming = others.iter().filter(|machine| machine.ready.is_none_or(|ready| ready.elapsed() < warmup));
        Facts {
            desired: self.desired,
            warming: u32::try_from(warming.count()).unwrap(),
            terminating: u32::try_from(draining.len()).unwrap(),
            is_activity: self.had_activity,
            activity_ended_ms: self.activity_ended_ms,
            cooldown_ms: self.cooldown_ms,
            now_ms: self.now_ms(),
        }
    }

    /// Starts and ends machines until there are as many as desired, and shows what there is.
    fn fit(&mut self) {
        let ended = self.fleet.look();
        let count =
            |fleet: &Fleet, is: &dyn Fn(&Machine) -> bool| u32::try_from(fleet.machines.iter().filter(|machine| is(machine)).count()).unwrap();
        let staying = count(&self.fleet, &|machine| !machine.is_draining);
        for _ in staying..self.desired {
            self.fleet.launch();
        }
        for _ in self.desired..staying {
            self.fleet.terminate();
        }
        let is_activity = count(&self.fleet, &|machine| machine.is_draining || machine.ready.is_none()) > 0;
        if std::mem::replace(&mut self.had_activity, is_activity) && !is_activity {
            self.activity_ended_ms = Some(self.now_ms());
        }
        let mut shown = self.shown.lock().unwrap();
        shown.desired = self.desired;
        shown.in_service = count(&self.fleet, &|machine| machine.ready.is_some() && !machine.is_draining);
        shown.draining = count(&self.fleet, &|machine| machine.is_draining);
        shown.peak = shown.peak.max(shown.in_service);
        shown.ended += ended;
        shown.ringing = self.ringing.keys().cloned().collect();
    }
}
