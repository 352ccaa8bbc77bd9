#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{Mutex, atomic::AtomicU64, atomic::Ordering},
};

use proptest::prelude::*;
use replyfleet::clock::UnixMillis;

use super::*;
use crate::cloudwatch::{Points, Window};

/// Any time that is the start of a period of five minutes.
const START_S: u64 = 1_790_000_100;
const PERIOD_S: u64 = 300;

/// A sample, and from when on CloudWatch shows it.
#[derive(Clone, Copy, Debug)]
struct Sample {
    line: usize,
    at_s: u64,
    shown_s: u64,
    value: f64,
}

/// CloudWatch with a clock of its own, which shows samples late.
#[derive(Default)]
struct Fake {
    now_s: AtomicU64,
    samples: Mutex<Vec<Sample>>,
    windows: Mutex<Vec<Window>>,
    is_away: bool,
}

impl Clock for Fake {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.now_s.load(Ordering::Relaxed) * 1_000)
    }
}

impl Figures for Fake {
    async fn read(&self, queries: &[Query], window: Window) -> anyhow::Result<Vec<Points>> {
        ensure!(!self.is_away, "CloudWatch, GetMetricData: away");
        self.windows.lock().unwrap().push(window);
        Ok(self.points(queries, window))
    }
}

impl Fake {
    fn points(&self, queries: &[Query], window: Window) -> Vec<Points> {
        let (now_s, samples) = (self.now_s.load(Ordering::Relaxed), self.samples.lock().unwrap());
        let points = |query: &Query| {
            let line = usize::from(query.metric.name == "out");
            let shown = samples.iter().filter(|sample| sample.line == line && sample.shown_s <= now_s);
            let mut periods = std::collections::BTreeMap::<u64, Vec<f64>>::new();
            for sample in shown.filter(|sample| (window.from_s..window.to_s).contains(&sample.at_s)) {
                periods.entry(sample.at_s - sample.at_s % u64::from(query.period_s)).or_default().push(sample.value);
            }
            let of = |values: Vec<f64>| match &query.statistic {
                Statistic::Sum => values.iter().sum(),
                Statistic::SampleCount => f64::from(u32::try_from(values.len()).unwrap()),
                Statistic::Minimum => values.into_iter().reduce(f64::min).unwrap(),
                _ => values.into_iter().reduce(f64::max).unwrap(),
            };
            periods.into_iter().map(|(second, values)| (second, of(values))).collect()
        };
        queries.iter().map(points).collect()
    }

    fn at(now_s: u64) -> Self {
        Self { now_s: now_s.into(), ..Self::default() }
    }

    fn go(&self, now_s: u64) {
        self.now_s.store(now_s, Ordering::Relaxed);
    }

    fn sample(&self, line: usize, at_s: u64, shown_s: u64, value: f64) {
        self.samples.lock().unwrap().push(Sample { line, at_s, shown_s, value });
    }
}

fn target(statistic: Statistic) -> Target {
    let metric = |name: &str| Metric { namespace: "replyfleet".into(), name: name.into(), dimensions: Vec::new() };
    Target { metrics: [metric("in"), metric("out")], statistics: [statistic.clone(), statistic], period_s: 300, delay_s: 300, factor: 1.0 }
}

async fn open(dir: &Path) -> StateFile {
    StateFile::open(dir, "in-out", "target".into(), Duration::from_secs(5)).await.unwrap()
}

/// What one run prints, without the line of the up-time.
async fn run_of(target: &Target, dir: &Path, fake: &Fake) -> anyhow::Result<String> {
    let mut out = Vec::new();
    ask(target, &open(dir).await, fake, fake, "in and out", &mut out).await?;
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<_> = text.split('\n').collect();
    assert_eq!((lines.len(), lines[2], lines[3], lines[4]), (5, "", "replyfleet: in and out", ""), "{text}");
    Ok(format!("{} {}", lines[0], lines[1]))
}

#[tokio::test]
async fn each_sample_is_told_once_however_late_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::at(START_S + 900);
    let sums = target(Statistic::Sum);
    fake.sample(0, START_S - 1, 0, 1_000.0); // before the first time
    fake.sample(0, START_S + 10, 0, 5.0);
    fake.sample(1, START_S + 310, 0, 7.0);
    fake.sample(0, START_S + 650, 0, 9.0); // its period has ended too short a time ago
    assert_eq!(run_of(&sums, dir.path(), &fake).await.unwrap(), "5 7");
    assert_eq!(run_of(&sums, dir.path(), &fake).await.unwrap(), "0 0", "at once again");
    fake.sample(0, START_S + 20, START_S + 1_000, 0.5); // CloudWatch still adds to what was told
    fake.sample(1, START_S + 30, START_S + 1_000, 2.0); // and has a period that was empty
    fake.go(START_S + 1_250);
    assert_eq!(run_of(&sums, dir.path(), &fake).await.unwrap(), "9.5 2");
    assert_eq!(run_of(&sums, dir.path(), &fake).await.unwrap(), "0 0");
    fake.go(START_S + 86_400);
    fake.sample(0, START_S + 40_000, 0, 11.0); // MRTG was away for a day
    assert_eq!(run_of(&sums, dir.path(), &fake).await.unwrap(), "11 0");
}

#[tokio::test]
async fn the_first_time_goes_back_a_quarter_of_an_hour() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::at(START_S + 3_600 + 200);
    run_of(&target(Statistic::Sum), dir.path(), &fake).await.unwrap();
    fake.go(START_S + 3_600 + 900);
    run_of(&target(Statistic::Sum), dir.path(), &fake).await.unwrap();
    let from_s = START_S + 3_600 - 900;
    let wanted = [Window { from_s, to_s: START_S + 3_600 - 300 }, Window { from_s, to_s: START_S + 3_600 + 600 }];
    assert_eq!(*fake.windows.lock().unwrap(), wanted, "and never further back than that");
}

#[tokio::test]
async fn a_mean_is_that_of_all_new_samples_and_unknown_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::at(START_S + 900);
    for value in [1.0, 2.0, 3.0] {
        fake.sample(0, START_S + 5, 0, value);
    }
    fake.sample(0, START_S + 305, 0, 10.0);
    let means = target(Statistic::Average);
    assert_eq!(run_of(&means, dir.path(), &fake).await.unwrap(), "4 UNKNOWN", "a mean of means would be 6");
    assert_eq!(run_of(&means, dir.path(), &fake).await.unwrap(), "UNKNOWN UNKNOWN");
    fake.sample(0, START_S + 6, 0, 8.0);
    assert_eq!(run_of(&means, dir.path(), &fake).await.unwrap(), "8 UNKNOWN", "only what is new");
    for (statistic, wanted) in
        [(Statistic::Minimum, "1 UNKNOWN"), (Statistic::Maximum, "10 UNKNOWN"), (Statistic::Percentile("p99".into()), "9 UNKNOWN")]
    {
        let dir = tempfile::tempdir().unwrap();
        let target = Target { statistics: [statistic.clone(), statistic], ..target(Statistic::Sum) };
        assert_eq!(run_of(&target, dir.path(), &fake).await.unwrap(), wanted);
        assert_eq!(run_of(&target, dir.path(), &fake).await.unwrap(), "UNKNOWN UNKNOWN");
    }
}

#[tokio::test]
async fn what_was_told_stays_told_if_cloudwatch_takes_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::at(START_S + 900);
    let sums = target(Statistic::Sum);
    for value in [5.0, 6.0] {
        fake.sample(0, START_S + 10, 0, value);
    }
    assert_eq!(run_of(&sums, dir.path(), &fake).await.unwrap(), "11 0");
    fake.samples.lock().unwrap().truncate(1);
    assert_eq!(run_of(&sums, dir.path(), &fake).await.unwrap(), "0 0");
    fake.sample(0, START_S + 10, 0, 7.0);
    assert_eq!(run_of(&sums, dir.path(), &fake).await.unwrap(), "1 0", "of the 12, 11 were told");
}

/// Standard output that is closed.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_could_not_be_read_or_printed_is_told_the_next_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut fake = Fake::at(START_S + 900);
    let sums = target(Statistic::Sum);
    fake.sample(0, START_S + 10, 0, 5.0);
    fake.is_away = true;
    assert!(run_of(&sums, dir.path(), &fake).await.unwrap_err().to_string().contains("away"));
    fake.is_away = false;
    let printed = ask(&sums, &open(dir.path()).await, &fake, &fake, "x", &mut Closed).await;
    assert!(printed.unwrap_err().to_string().contains("cannot print"));
    assert_eq!(run_of(&sums, dir.path(), &fake).await.unwrap(), "5 0", "although a prepared file lies there");
    fake.go(START_S + 1_200);
    fake.sample(0, START_S + 610, 0, 6.0);
    fake.is_away = true;
    run_of(&sums, dir.path(), &fake).await.unwrap_err();
    fake.is_away = false;
    fake.go(START_S + 1_500);
    assert_eq!(run_of(&sums, dir.path(), &fake).await.unwrap(), "6 0");
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_put_aside_with_a_note() {
    for (spoiled, wanted) in [("{\"version\":1,\"tar", "damaged"), ("", "damaged"), ("{\"version\":1}", "damaged")] {
        let dir = tempfile::tempdir().unwrap();
        let fake = Fake::at(START_S + 900);
        fake.sample(0, START_S + 10, 0, 5.0);
        run_of(&target(Statistic::Sum), dir.path(), &fake).await.unwrap();
        let path = files(dir.path(), "json").pop().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, spoiled).unwrap();
        let (tally, remark) = open(dir.path()).await.load(|_| Ok(())).unwrap();
        let remark = remark.unwrap();
        assert!(tally.is_none() && remark.contains(wanted) && remark.contains(".broken") && remark.contains("15 minutes back"), "{remark}");
        assert_eq!(fs::read_to_string(&files(dir.path(), "broken")[0]).unwrap(), spoiled);
        assert_eq!(run_of(&target(Statistic::Sum), dir.path(), &fake).await.unwrap(), "5 0", "it goes on");
    }
}

#[tokio::test]
async fn a_tally_of_another_target_or_from_the_future_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::at(START_S + 900);
    run_of(&target(Statistic::Sum), dir.path(), &fake).await.unwrap();
    let path = files(dir.path(), "json").pop().unwrap();
    let saved = fs::read_to_string(&path).unwrap();
    for (from, to, wanted) in [
        ("\"target\":\"target\"", "\"target\":\"other\"", "another target's"),
        ("\"version\":1", "\"version\":2", "another version"),
        (&*format!("\"next_s\":{}", START_S + 600), &*format!("\"next_s\":{}", START_S + 1_800), "from the future"),
        (&*format!("\"next_s\":{}", START_S + 600), &*format!("\"next_s\":{}", START_S + 601), "not those of periods"),
    ] {
        assert!(saved.contains(from), "{saved}");
        fs::write(&path, saved.replace(from, to)).unwrap();
        let (_, remark) = open(dir.path()).await.load(|tally| tally.check(START_S + 900, PERIOD_S)).unwrap();
        assert!(remark.as_ref().is_some_and(|remark| remark.contains(wanted)), "{remark:?}");
    }
}

#[tokio::test]
async fn two_runs_of_a_target_do_not_work_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let held = open(dir.path()).await;
    let second = StateFile::open(dir.path(), "in-out", "target".into(), Duration::from_millis(120)).await;
    assert!(second.err().unwrap().to_string().contains("--state-dir each"));
    StateFile::open(dir.path(), "in-out", "another".into(), Duration::from_millis(120)).await.unwrap();
    drop(held);
    open(dir.path()).await;
}

#[tokio::test]
async fn what_cloudwatch_no_longer_has_is_not_asked_for() {
    let tally = Tally::first(START_S, PERIOD_S);
    let now_s = START_S + 100 * 86_400;
    let window = tally.window(now_s, 300, PERIOD_S).unwrap();
    assert_eq!((window.from_s, tally.lost_s(window)), (now_s - 63 * 86_400 + PERIOD_S, 37 * 86_400 + 900 + PERIOD_S));
    assert_eq!(tally.lost_s(tally.window(START_S + 86_400, 300, PERIOD_S).unwrap()), 0);
    assert_eq!(Tally::first(START_S, 3_600).window(START_S, 300, 3_600), None, "no hour has ended yet");
}

#[test]
fn numbers_are_such_as_mrtg_reads() {
    for (value, wanted) in
        [(0.0, "0"), (-0.0001, "0"), (12.0, "12"), (0.4567, "0.457"), (1e21, "1000000000000000000000"), (100.0, "100"), (2.5, "2.5")]
    {
        assert_eq!(number(value), wanted);
    }
}

#[test]
fn lines_and_periods_are_read_as_people_type_them() {
    let line: Line = "request,Address=get@example.com".parse().unwrap();
    assert_eq!((line.name.as_str(), line.dimensions), ("request", vec!["Address=get@example.com".parse().unwrap()]));
    assert!("".parse::<Line>().is_err() && ",A=b".parse::<Line>().is_err() && "a,b".parse::<Line>().is_err());
    assert_eq!([period("60"), period("300"), period("5"), period("86400")], [Ok(60), Ok(300), Ok(5), Ok(86_400)]);
    for text in ["0", "7", "59", "420", "86460", "-60", "x"] {
        assert!(period(text).unwrap_err().contains("divide a day"), "{text}");
    }
    assert!(factor("0").is_err() && factor("nan").is_err() && factor("-1").is_err() && factor("100").is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn over_a_day_of_delays_and_failures_nothing_is_missed_and_nothing_told_twice(
        samples in prop::collection::vec((0..2_usize, 0_u64..86_400, 0_u64..8_000, 1_u32..100), 1..200),
        pauses in prop::collection::vec((1_u64..2_400, any::<bool>()), 1..80),
    ) {
        let fake = Fake::default();
        let sums = target(Statistic::Sum);
        let (mut wanted, mut told) = ([0.0, 0.0], [0.0, 0.0]);
        for (line, at_s, late_s, value) in samples {
            fake.sample(line, START_S + at_s, START_S + at_s + late_s, f64::from(value));
            wanted[line] += f64::from(value);
        }
        let (mut now_s, mut tally) = (START_S + 900, Tally::first(START_S + 900, PERIOD_S));
        // Until all is shown and told, as MRTG goes on and on.
        let rest = std::iter::repeat_n((290, true), 86_400 / 290 + 60);
        for (pause_s, is_printed) in pauses.into_iter().chain(rest) {
            fake.go(now_s);
            let mut next = tally.clone();
            if let Some(window) = tally.window(now_s, 300, PERIOD_S) {
                let query = |metric: &Metric| Query { metric: metric.clone(), statistic: Statistic::Sum, period_s: 300 };
                let points = fake.points(&sums.metrics.each_ref().map(query), window);
                let lines = [0, 1].map(|line| readings(&Statistic::Sum, &points[line..=line]).unwrap());
                let news = next.tell(&lines, &sums.statistics, window, PERIOD_S);
                if is_printed {
                    (0..2).for_each(|line| told[line] += news[line].unwrap());
                    tally = next;
                }
            }
            now_s += pause_s;
        }
        prop_assert_eq!(told, wanted);
    }
}
