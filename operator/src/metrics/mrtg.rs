//! `replyfleet metrics mrtg`: two metrics in the form that MRTG asks of an external command: two numbers, an up-time, a name.
//!
//! What is printed is what was not printed before ([`tally`]), by a file between runs ([`state`]) that moves only after the
//! lines were written. If anything fails the numbers are `UNKNOWN`, the reason is on standard error and the status is 1;
//! what was not told now is told the next time.

mod state;
mod tally;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Args;
use replyfleet::clock::{Clock, SystemClock};

use self::{
    state::StateFile,
    tally::{Tally, parts, readings},
};
use super::{FleetArguments, aws, settings};
use crate::cloudwatch::{CloudWatch, Dimension, Figures, Metric, Query, READ_TIMEOUT_S, Statistic};

/// How long another run of the same target is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const DAY_S: u32 = 86_400;

#[derive(Args, Clone)]
pub(crate) struct MrtgArguments {
    /// The metric of the first line, with dimensions of its own if it has some: request,Address=get@example.com.
    #[arg(value_name = "NAME[,KEY=VALUE...]")]
    incoming: Line,
    /// The metric of the second line.
    #[arg(value_name = "NAME[,KEY=VALUE...]")]
    outgoing: Line,
    #[command(flatten)]
    fleet: FleetArguments,
    /// A dimension of both metrics, beside the group.
    #[arg(long = "dimension", value_name = "KEY=VALUE")]
    dimensions: Vec<Dimension>,
    /// Sum, SampleCount, Average, Minimum, Maximum, p99, ...; without it, Sum of the fleet's counts and Average of its measures.
    #[arg(long)]
    statistic: Option<Statistic>,
    /// The seconds of a data point, best those between two runs of MRTG: 1, 5, 10, 20, 30, or minutes that divide a day.
    #[arg(long, default_value = "300", value_parser = period)]
    period: u32,
    /// The seconds after its end at which a data point is looked at: CloudWatch's own delay.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(0..=i64::from(DAY_S)))]
    delay: u32,
    /// Multiplies what is printed: MRTG draws integers, and a busy_fraction is none.
    #[arg(long, default_value_t = 1.0, value_parser = factor)]
    factor: f64,
    /// The seconds that CloudWatch may take, all repetitions included.
    #[arg(long, default_value_t = READ_TIMEOUT_S, value_parser = clap::value_parser!(u32).range(1..=600))]
    timeout: u32,
    /// Where is kept what was told. Two graphs of the same two figures need a folder each.
    #[arg(long, default_value = "/var/lib/replyfleet/mrtg")]
    state_dir: PathBuf,
}

/// One of the two metrics, as it is typed.
#[derive(Clone, Debug)]
struct Line {
    name: String,
    dimensions: Vec<Dimension>,
}

impl FromStr for Line {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let name = parts.next().filter(|name| !name.is_empty()).ok_or("a metric has a name")?;
        Ok(Self { name: name.to_owned(), dimensions: parts.map(str::parse).collect::<Result<_, _>>()? })
    }
}

fn period(text: &str) -> Result<u32, String> {
    let is_good =
        |period: &u32| matches!(period, 1 | 5 | 10 | 20 | 30) || (period.is_multiple_of(60) && *period > 0 && DAY_S.is_multiple_of(*period));
    text.parse()
        .ok()
        .filter(is_good)
        .ok_or_else(|| "a period is 1, 5, 10, 20 or 30 seconds, or whole minutes that divide a day, such as 60 or 300".into())
}

fn factor(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|factor: &f64| factor.is_finite() && *factor > 0.0).ok_or_else(|| "a factor is a number above zero".into())
}

/// Two lines of figures, and how they are asked for.
struct Target {
    metrics: [Metric; 2],
    statistics: [Statistic; 2],
    period_s: u32,
    delay_s: u32,
    factor: f64,
}

pub(crate) async fn run(arguments: &MrtgArguments, config: &Path) -> anyhow::Result<ExitCode> {
    let name = format!("{} and {}", arguments.incoming.name, arguments.outgoing.name);
    let asked = async {
        let settings = settings(config)?;
        let target = Target::of(arguments, settings.as_ref())?;
        let cloudwatch = CloudWatch::open(&aws(settings.as_ref()), arguments.timeout).await?;
        let words = format!("{}-{}", arguments.incoming.name, arguments.outgoing.name);
        let file = StateFile::open(&arguments.state_dir, &words, target.identity(cloudwatch.region()), PATIENCE).await?;
        ask(&target, &file, &cloudwatch, &SystemClock, &name, &mut io::stdout()).await
    };
    let asked = asked.await;
    if asked.is_err() {
        // The reason follows on standard error, whether or not anybody reads this.
        let _ = print(&mut io::stdout(), [None, None], &name);
    }
    asked.map(|()| ExitCode::SUCCESS)
}

impl Target {
    fn of(arguments: &MrtgArguments, settings: Option<&replyfleet::settings::Settings>) -> anyhow::Result<Self> {
        let place = arguments.fleet.place(settings);
        let metric = |line: &Line| place.metric(&line.name, &[&arguments.dimensions[..], &line.dimensions].concat());
        let statistic = |line: &Line| arguments.statistic.clone().map_or_else(|| place.statistic(&line.name), Ok);
        Ok(Self {
            metrics: [metric(&arguments.incoming)?, metric(&arguments.outgoing)?],
            statistics: [statistic(&arguments.incoming)?, statistic(&arguments.outgoing)?],
            period_s: arguments.period,
            delay_s: arguments.delay,
            factor: arguments.factor,
        })
    }

    /// Everything that makes what was told of one target worthless for another.
    fn identity(&self, region: &str) -> String {
        let line = |index: usize| {
            let Metric { namespace, name, dimensions } = &self.metrics[index];
            let dimensions: Vec<_> = dimensions.iter().map(|dimension| (&dimension.name, &dimension.value)).collect();
            serde_json::json!([namespace, name, dimensions, self.statistics[index].to_string()])
        };
        serde_json::json!([region, self.period_s, line(0), line(1)]).to_string()
    }
}

/// One run: reads what is new, prints it, and remembers that.
async fn ask(target: &Target, file: &StateFile, figures: &impl Figures, clock: &dyn Clock, name: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let (now_s, period_s) = (clock.now().0 / 1_000, u64::from(target.period_s));
    let (tally, remark) = file.load(|tally| tally.check(now_s, period_s))?;
    if let Some(remark) = remark {
        note(&remark);
    }
    let mut tally = tally.unwrap_or_else(|| Tally::first(now_s, period_s));
    let news = match tally.window(now_s, u64::from(target.delay_s), period_s) {
        None => tally.tell(&Default::default(), &target.statistics, tally.nothing(), period_s),
        Some(window) => {
            if tally.lost_s(window) > 0 {
                note(&format!(
                    "{name}: {} hours are lost: CloudWatch no longer has points of {period_s} s from before",
                    tally.lost_s(window).div_ceil(3_600)
                ));
            }
            let mut queries = Vec::new();
            for (metric, statistic) in target.metrics.iter().zip(&target.statistics) {
                let query = |statistic| Query { metric: metric.clone(), statistic, period_s: target.period_s };
                queries.extend(parts(statistic).into_iter().map(query));
            }
            let points = figures.read(&queries, window).await?;
            ensure!(points.len() == queries.len(), "CloudWatch answered {} of {} questions", points.len(), queries.len());
            let (first, second) = points.split_at(parts(&target.statistics[0]).len());
            let lines = [readings(&target.statistics[0], first)?, readings(&target.statistics[1], second)?];
            tally.tell(&lines, &target.statistics, window, period_s)
        }
    };
    let prepared = file.prepare(&tally)?;
    print(out, news.map(|value| value.map(|value| value * target.factor)), name).context("cannot print")?;
    prepared.commit()
}

/// MRTG's four lines. `None` is what MRTG calls unknown: it draws the last value again, or a gap with rrdtool.
fn print(out: &mut impl Write, values: [Option<f64>; 2], name: &str) -> io::Result<()> {
    let [incoming, outgoing] = values.map(|value| value.map_or("UNKNOWN".into(), number));
    // The third is an up-time, which a fleet has not.
    out.write_all(format!("{incoming}\n{outgoing}\n\nreplyfleet: {name}\n").as_bytes())?;
    out.flush()
}

/// With at most three decimals, and never an exponent, which MRTG would read as something else.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".into() } else { short.to_owned() }
}

#[expect(clippy::print_stderr, reason = "standard output is MRTG's")]
fn note(text: &str) {
    eprintln!("replyfleet: {text}");
}
