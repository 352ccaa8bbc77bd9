//! `replyfleet simulate`: how the deployed policy would fare in a surge. It reads the stack's template (its own, or the one it is given), makes
//! the traffic, runs each profile, and shows them side by side. It needs no settings, no account and no network; the same options
//! and seed give the same result.

mod fault;
mod progress;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use replyfleet_simulator::{
    plan::{Fault, Plan},
    report::{Case, Report, count, duration as words},
    run::Run,
    simulation,
    template::{DEPLOYED, PROFILE, Template},
    traffic::{self, SHAPES, Shape, Traffic},
};

use crate::table::{duration, table};
use progress::Progress;

/// The periods that a worker's settings allow, in seconds.
const PUBLISH_S: [u64; 5] = [1, 5, 10, 30, 60];
/// Mails of one simulation: more take hours, and are a wrong option.
const MAILS_MAX: f64 = 200e6;
/// The longest simulation: a month.
const HORIZON_MAX: Duration = Duration::from_secs(31 * 86_400);
/// The parameter of our template that should follow the machines' boot, and how much longer it is, in seconds.
const WARMUP_SECONDS: &str = "WarmupSeconds";
const SETTLE_S: u64 = 120;
/// The parameter of our template that names the metrics' namespace.
const METRIC_NAMESPACE: &str = "MetricNamespace";

#[derive(Args)]
pub(crate) struct SimulateArguments {
    /// The traffic's shape.
    #[arg(long, value_name = "SHAPE", default_value = "tv", value_parser = shape, conflicts_with = "csv")]
    traffic: Shape,
    /// Traffic of your own instead: a file of lines time,rate (seconds or time stamps; mails a second).
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Mails a second when all is quiet.
    #[arg(long, value_name = "RATE", default_value_t = 10.0, value_parser = above_zero, conflicts_with = "csv")]
    base: f64,
    /// How many times the quiet rate the peak is [default: the shape's: 20 for surges].
    #[arg(long, value_name = "TIMES", value_parser = at_least_one, conflicts_with = "csv")]
    factor: Option<f64>,
    /// When the surge begins.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration, conflicts_with = "csv")]
    surge_at: Duration,
    /// How long is simulated [default: 4h, or the file's].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    horizon: Option<Duration>,
    /// From a machine's launch until its worker takes mail.
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = duration)]
    boot: Duration,
    /// Mails that one worker answers a second when nothing but its CPU holds it.
    #[arg(long, value_name = "RATE", default_value_t = 40.0, value_parser = above_zero)]
    worker_rate: f64,
    /// SES's MaxSendRate, replies a second [default: no limit].
    #[arg(long, value_name = "RATE", value_parser = above_zero)]
    ses_rate: Option<f64>,
    /// How often workers publish their metrics: each ten seconds is high resolution.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = publish)]
    publish: Duration,
    /// What breaks, and when: kill@20m, zone@20m, ses-pause@20m+5m, worker-away@20m+5m, sqs-errors@20m+5m, metrics-lost@20m+5m. May be repeated.
    #[arg(long = "fault", value_name = "FAULT", value_parser = fault::parse)]
    faults: Vec<Fault>,
    /// The seed of everything that is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A stack's template instead of the one that came with this program.
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// A value for a parameter of the template. May be repeated.
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    /// Only this profile. May be repeated [default: all that the template has].
    #[arg(long = "profile", value_name = "PROFILE")]
    profiles: Vec<String>,
    /// Prints JSON, with the series and all events.
    #[arg(long)]
    json: bool,
    /// Writes the series as CSV.
    #[arg(long, value_name = "FILE")]
    csv_out: Option<PathBuf>,
    /// Draws a picture: a name with .svg, or with .html for a page with the figures.
    #[arg(long, value_name = "FILE", value_parser = picture)]
    picture: Option<PathBuf>,
}

fn shape(text: &str) -> Result<Shape, String> {
    let words: Vec<&str> = SHAPES.into_iter().map(Shape::word).collect();
    Shape::from_word(text).ok_or_else(|| format!("there are {}", words.join(", ")))
}

fn above_zero(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|rate| (f64::MIN_POSITIVE..=1e6).contains(rate)).ok_or_else(|| "wants a number above 0, up to 1000000".into())
}

fn at_least_one(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|factor| (1.0..=10_000.0).contains(factor)).ok_or_else(|| "wants a number from 1 to 10000".into())
}

fn publish(text: &str) -> Result<Duration, String> {
    let period = duration(text)?;
    if PUBLISH_S.contains(&period.as_secs()) { Ok(period) } else { Err(format!("{}: expected 1, 5, 10, 30 or 60 seconds", period.as_secs())) }
}

fn parameter(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "wants NAME=VALUE".into())
}

fn picture(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg" | "html") => Ok(path),
        _ => Err("wants a name that ends with .svg or .html".into()),
    }
}

pub(crate) fn run(arguments: &SimulateArguments) -> anyhow::Result<ExitCode> {
    let (traffic, surge_at_ms) = traffic(arguments)?;
    let plans = plans(arguments, &traffic, surge_at_ms)?;
    let runs = simulate(&plans);
    let report = report(arguments, &plans, runs, surge_at_ms);
    if arguments.json {
        println!("{}", report.json()?);
    } else {
        print(&report);
    }
    if let Some(path) = &arguments.csv_out {
        write(path, &report.csv())?;
    }
    if let Some(path) = &arguments.picture {
        write(path, &if path.extension().is_some_and(|extension| extension == "svg") { report.svg() } else { report.html() })?;
    }
    let lost: u64 = report.cases.iter().map(|case| case.run.mail.lost).sum();
    Ok(if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rates, and when the surge begins, in milliseconds.
fn traffic(arguments: &SimulateArguments) -> anyhow::Result<(Vec<f64>, Option<u64>)> {
    let horizon = arguments.horizon.filter(|horizon| *horizon > HORIZON_MAX);
    if horizon.is_some() {
        bail!("--horizon: at most a month (31d)");
    }
    let (mut rates, surge_at_ms) = match &arguments.csv {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("--csv: cannot read {}", path.display()))?;
            (traffic::csv(&text).with_context(|| format!("--csv: {}", path.display()))?, None)
        }
        None => {
            let traffic = Traffic {
                shape: arguments.traffic,
                base: arguments.base,
                factor: arguments.factor.unwrap_or_else(|| arguments.traffic.usual_factor()),
                surge_at_s: u32::try_from(arguments.surge_at.as_secs()).unwrap_or(u32::MAX),
                horizon_s: arguments.horizon.map_or(14_400, |horizon| horizon.as_secs()) as u32,
            };
            (traffic.rates(), traffic.surge_s().map(|second| u64::from(second) * 1_000))
        }
    };
    if let Some(horizon) = arguments.horizon {
        rates.resize(horizon.as_secs() as usize, 0.0);
    }
    let mails: f64 = rates.iter().sum();
    if mails > MAILS_MAX {
        bail!("{} mails; this simulates up to {}: lower the rate or the horizon", count(mails as u64), count(MAILS_MAX as u64));
    }
    Ok((rates, surge_at_ms))
}

/// A plan for each profile, by its name.
fn plans(arguments: &SimulateArguments, traffic: &[f64], surge_at_ms: Option<u64>) -> anyhow::Result<Vec<(String, Plan)>> {
    let (text, name) = match &arguments.template {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("--template: cannot read {}", path.display()))?;
            (text, path.display().to_string())
        }
        None => (DEPLOYED.to_owned(), "the template that came with this program".to_owned()),
    };
    let template = Template::parse(&text).with_context(|| name.clone())?;
    let allowed = template.allowed(PROFILE);
    if let Some(unknown) = arguments.profiles.iter().find(|profile| !allowed.contains(&profile.as_str())) {
        let has = if allowed.is_empty() { "no profiles".to_owned() } else { allowed.join(", ") };
        bail!("--profile: {name} has no profile {unknown}; it has {has}");
    }
    let chosen = allowed.into_iter().filter(|profile| arguments.profiles.is_empty() || arguments.profiles.iter().any(|wanted| wanted == profile));
    let mut profiles: Vec<Option<&str>> = chosen.map(Some).collect();
    if profiles.is_empty() {
        profiles.push(None);
    }
    let mut parameters: BTreeMap<String, String> = arguments.parameters.iter().cloned().collect();
    // Deployed as it should be: by the boot that was measured.
    if template.has_parameter(WARMUP_SECONDS) {
        parameters.entry(WARMUP_SECONDS.into()).or_insert_with(|| (arguments.boot.as_secs() + SETTLE_S).to_string());
    }
    let mut plans = Vec::new();
    for profile in profiles {
        let mut parameters = parameters.clone();
        if let Some(profile) = profile {
            parameters.insert(PROFILE.into(), profile.into());
        }
        let scaling = template.scaling(&parameters).with_context(|| name.clone())?;
        let mut plan = Plan::new(scaling, traffic.to_vec(), arguments.seed);
        plan.surge_at_ms = surge_at_ms;
        plan.machine.boot_ms = arguments.boot.as_millis() as u64;
        plan.machine.cpu_ms = 1_000.0 * plan.machine.cores / arguments.worker_rate;
        plan.ses.rate = arguments.ses_rate;
        plan.metrics.publish_every_s = arguments.publish.as_secs() as u32;
        if let Some(namespace) = template.parameter(METRIC_NAMESPACE, &parameters) {
            namespace.clone_into(&mut plan.metrics.namespace);
        }
        plan.check().with_context(|| name.clone())?;
        plan.faults.clone_from(&arguments.faults);
        if let Some(late) = plan.faults.iter().find(|fault| fault.at_ms >= plan.horizon_ms) {
            bail!("--fault: one at {} is after the end, {}", words(late.at_ms), words(plan.horizon_ms));
        }
        plans.push((profile.unwrap_or("template").to_owned(), plan));
    }
    Ok(plans)
}

/// All plans, side by side.
fn simulate(plans: &[(String, Plan)]) -> Vec<Run> {
    let progress = Progress::new(plans.len());
    std::thread::scope(|scope| {
        let runs: Vec<_> = plans
            .iter()
            .enumerate()
            .map(|(index, (_, plan))| {
                let progress = &progress;
                scope.spawn(move || simulation::run(plan, &mut |share| progress.tell(index, share)))
            })
            .collect();
        // A panic there is a panic here.
        runs.into_iter().map(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

fn report(arguments: &SimulateArguments, plans: &[(String, Plan)], runs: Vec<Run>, surge_at_ms: Option<u64>) -> Report {
    let horizon = plans.first().map_or(0, |(_, plan)| plan.horizon_ms);
    let factor = arguments.factor.unwrap_or_else(|| arguments.traffic.usual_factor());
    let what = match &arguments.csv {
        Some(path) => format!("The traffic of {}", path.file_name().unwrap_or_default().to_string_lossy()),
        None if factor == 1.0 => format!("Traffic \"{}\", {} mails a second", arguments.traffic.word(), arguments.base),
        None => format!("Traffic \"{}\", from {} mails a second to {:.0} times that", arguments.traffic.word(), arguments.base, factor),
    };
    let mut facts = vec![
        ("seed", arguments.seed.to_string()),
        ("boot", words(arguments.boot.as_millis() as u64)),
        ("one worker answers", format!("{} mails a second", arguments.worker_rate)),
        ("SES takes", arguments.ses_rate.map_or_else(|| "any rate".into(), |rate| format!("{rate} replies a second"))),
        ("metrics every", words(arguments.publish.as_millis() as u64)),
    ];
    if let Some(path) = &arguments.template {
        facts.push(("template", path.display().to_string()));
    }
    if !arguments.parameters.is_empty() {
        let values: Vec<String> = arguments.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        facts.push(("parameters", values.join(" ")));
    }
    for fault in &arguments.faults {
        facts.push(("fault:", fault::words(fault)));
    }
    let cases = plans.iter().zip(runs).map(|((name, _), run)| Case { name: name.clone(), run }).collect();
    Report {
        title: format!("{what}, for {}", words(horizon)),
        facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        surge_at_ms,
        cases,
    }
}

fn print(report: &Report) {
    println!("{}", report.title);
    for (name, value) in &report.facts {
        println!("  {name} {value}");
    }
    println!();
    let heads: Vec<&str> = std::iter::once("").chain(report.cases.iter().map(|case| case.name.as_str())).collect();
    let mut table = table(&heads);
    for (label, values) in report.rows() {
        table.add_row(std::iter::once(label.to_owned()).chain(values));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    println!("{table}");
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).map_err(|error| anyhow!("cannot write {}: {error}", path.display()))
}
