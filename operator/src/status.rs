//! `replyfleet status`: what goes on, from one of three sides: queue and database ([`ground`]), one worker by its own page
//! ([`worker`]), the fleet's last hours by CloudWatch ([`fleet`]). Once, or again and again ([`watch`]). Numbers and words,
//! never a requester.

mod fetch;
mod fleet;
mod ground;
mod hours;
mod watch;
mod worker;

use std::{path::Path, process::ExitCode, time::Duration};

use clap::Args;
use replyfleet::settings::{Settings, StatusListen};
use serde_json::Value;

use self::{fetch::PageUrl, fleet::FleetSource, ground::GroundSource};
use crate::metrics::{FleetArguments, aws, settings};

#[derive(Args)]
pub(crate) struct StatusArguments {
    /// Prints JSON; with --watch, a line each time.
    #[arg(long)]
    json: bool,
    /// One worker, as it sees itself: by its page, which only its own machine is shown. Without a URL, where status.listen says.
    #[arg(long, value_name = "URL", num_args = 0..=1, conflicts_with = "fleet")]
    worker: Option<Option<PageUrl>>,
    /// The fleet's last hours, from CloudWatch.
    #[arg(long)]
    fleet: bool,
    #[command(flatten)]
    place: FleetArguments,
    /// How many hours of the fleet.
    #[arg(long, default_value_t = 3, requires = "fleet", value_parser = clap::value_parser!(u32).range(1..=48))]
    hours: u32,
    /// Shows it again and again, in place on a terminal, until q or Ctrl-C; without a number every 2 s, the fleet every 60 s:
    /// CloudWatch has no sooner news, and costs by the question.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "0", value_parser = clap::value_parser!(u32).range(0..=3_600))]
    watch: Option<u32>,
}

/// What is shown of one look.
trait Page {
    /// For people, in this many columns; `None` where nobody knows how many there are.
    fn text(&self, width: Option<u16>) -> String;
    /// For programs.
    fn json(&self) -> Value;
}

/// Where it is looked.
enum Source {
    Ground(Box<GroundSource>),
    Worker(PageUrl),
    Fleet(FleetSource),
}

impl Source {
    async fn look(&self) -> anyhow::Result<Box<dyn Page>> {
        Ok(match self {
            Self::Ground(ground) => Box::new(ground.look().await?),
            Self::Worker(url) => Box::new(worker::look(url).await?),
            Self::Fleet(fleet) => Box::new(fleet.look().await?),
        })
    }

    /// How long nothing new is to be expected.
    fn pause(&self) -> Duration {
        Duration::from_secs(if matches!(self, Self::Fleet(_)) { 60 } else { 2 })
    }
}

pub(crate) async fn run(arguments: &StatusArguments, config: &Path) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(arguments.fleet || !arguments.place.is_given(), "--group and --namespace say where a fleet's figures are: they go with --fleet");
    let source = match &arguments.worker {
        Some(Some(url)) => Source::Worker(url.clone()),
        Some(None) => Source::Worker(own_page(settings(config)?.map(|settings| settings.status.listen).unwrap_or_default())?),
        None if arguments.fleet => {
            let settings = settings(config)?;
            Source::Fleet(FleetSource::open(&aws(settings.as_ref()), arguments.place.place(settings.as_ref()), arguments.hours).await?)
        }
        None => Source::Ground(Box::new(GroundSource::open(&Settings::load(config)?).await?)),
    };
    if let Some(seconds) = arguments.watch {
        let every = if seconds == 0 { source.pause() } else { Duration::from_secs(seconds.into()) };
        return watch::run(&source, every, arguments.json).await;
    }
    let page = source.look().await?;
    if arguments.json {
        println!("{}", page.json());
    } else {
        print!("{}", page.text(watch::width()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The page of this machine's worker.
fn own_page(listen: StatusListen) -> anyhow::Result<PageUrl> {
    match listen {
        StatusListen::Off => anyhow::bail!("status.listen is off: this machine's worker has no page"),
        StatusListen::At(address) => format!("http://{address}").parse().map_err(anyhow::Error::msg),
    }
}
