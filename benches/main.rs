//! What a mail costs the enqueuer, one process for each, beside the floors that bound it.
//!
//! Prints one JSON line a figure and nothing else: `name` is `WHAT/FLOOR`, `value` and `floor` are medians of the same
//! run in `unit`, and `ratio` is `value / floor`. Only ratios compare between machines. All programs take turns, so that a
//! busy moment of the machine touches all of them. CPU is user and system time of the child process, from getrusage(2).
//!
//! ```text
//! replyfleet-bench [ROUNDS]
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its figures are its output")]

mod certificates;
mod cost;
mod endpoint;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, ensure};
use certificates::Certificates;
use cost::{Cost, Costs, cost_of, median};
use endpoint::Endpoint;

/// Enough for a median that moves by less than a tenth between runs.
const ROUNDS: usize = 200;
/// Python takes a hundred times as long; its median needs fewer.
const PYTHON_EVERY: usize = 8;
const MAIL_BYTES: usize = 8 << 10;
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// What the enqueuer reads where no `trusted_roots_file` is set.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The first argument of the second process, which has a mount namespace of its own.
const WITHIN: &str = "within-namespace";
/// Puts a bundle that knows our authority in place of the system's, for this namespace only, and goes on.
const MOUNT_AND_RUN: &str = r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [WITHIN, folder, rounds] => measure(Path::new(folder), rounds.parse()?, true)?,
        [] => return prepare(ROUNDS),
        [rounds] => return prepare(rounds.parse().context("usage: replyfleet-bench [ROUNDS]")?),
        _ => anyhow::bail!("usage: replyfleet-bench [ROUNDS]"),
    }
    Ok(ExitCode::SUCCESS)
}

fn prepare(rounds: usize) -> anyhow::Result<ExitCode> {
    // Beside the programs: there fsync meets a disk, which under /tmp it may not.
    let folder = tempfile::tempdir_in(beside("")?)?;
    let certificates = Certificates::make(folder.path())?;
    let Ok(mut bundle) = fs::read(SYSTEM_ROOTS) else {
        eprintln!("no figure with the system's roots: there is no {SYSTEM_ROOTS}");
        measure(folder.path(), rounds, false)?;
        return Ok(ExitCode::SUCCESS);
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("no figure with the system's roots: needs root, for a mount namespace");
        measure(folder.path(), rounds, false)?;
        return Ok(ExitCode::SUCCESS);
    }
    bundle.extend(fs::read(certificates.root_pem())?);
    let bundle_file = folder.path().join("bundle.pem");
    fs::write(&bundle_file, bundle)?;
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", MOUNT_AND_RUN, "sh"])
        .arg(&bundle_file)
        .arg(SYSTEM_ROOTS)
        .arg(std::env::current_exe()?)
        .arg(WITHIN)
        .arg(folder.path())
        .arg(rounds.to_string())
        .status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(folder: &Path, rounds: usize, has_system_bundle: bool) -> anyhow::Result<()> {
    let mail = mail();
    let certificates = Certificates::in_folder(folder);
    let endpoint = Endpoint::start(&certificates)?;
    let spool = folder.join("spool");
    let python = python();

    let floor_program = beside("replyfleet-bench-floor")?;
    let floor = || Command::new(&floor_program);
    let https = enqueuer(settings(folder, "https", &sqs_queue(&endpoint), Some(&certificates.trusted_pem()))?)?;
    let https_system = enqueuer(settings(folder, "https-system", &sqs_queue(&endpoint), None)?)?;
    let on_spool = enqueuer(settings(folder, "spool", &format!("url = \"spool:{}\"", spool.display()), None)?)?;

    let (mut of_floor, mut of_https, mut of_system, mut of_spool, mut of_python) = <(Costs, Costs, Costs, Costs, Costs)>::default();
    let (mut of_write, mut is_warm) = (Vec::new(), false);
    // The first round fills the page cache and does not count.
    for round in 0..=rounds {
        let taken = Round {
            floor: cost_of(&mut floor(), &mail)?,
            https: cost_of(&mut https(), &mail)?,
            system: if has_system_bundle { Some(cost_of(&mut https_system(), &mail)?) } else { None },
            spool: cost_of(&mut on_spool(), &mail)?,
            write: durable_write(folder, &mail)?,
        };
        let python_cost = match &python {
            Some(python) if round % PYTHON_EVERY == 0 => Some(cost_of(Command::new(python).args(["-c", "import boto3"]), b"")?),
            _ => None,
        };
        if std::mem::replace(&mut is_warm, true) {
            of_floor.push(taken.floor);
            of_https.push(taken.https);
            of_spool.push(taken.spool);
            of_system.extend(taken.system);
            of_python.extend(python_cost);
            of_write.push(taken.write);
        }
    }

    let sent = (rounds + 1) * if has_system_bundle { 2 } else { 1 };
    ensure!(endpoint.accepted() == sent, "the endpoint took {} mails of {sent}", endpoint.accepted());
    let spooled = fs::read_dir(spool.join("new"))?.count();
    ensure!(spooled == rounds + 1, "the spool took {spooled} mails of {}", rounds + 1);

    print("enqueuer_https_cpu/empty_process", of_https.cpu_ms(), of_floor.cpu_ms());
    print("enqueuer_https_cpu/goal", of_https.cpu_ms(), 5.0);
    print("enqueuer_https_wall/empty_process", of_https.wall_ms(), of_floor.wall_ms());
    if of_python.is_empty() {
        eprintln!("no ratio to boto3: no Python with boto3; make one: python3 -m venv target/venv && target/venv/bin/pip install boto3");
    } else {
        print("enqueuer_https_cpu/python_import_boto3", of_https.cpu_ms(), of_python.cpu_ms());
    }
    if has_system_bundle {
        print("enqueuer_https_system_roots_cpu/trusted_roots_file", of_system.cpu_ms(), of_https.cpu_ms());
    }
    print("enqueuer_spool_cpu/empty_process", of_spool.cpu_ms(), of_floor.cpu_ms());
    print("enqueuer_spool_wall/empty_process_and_durable_write", of_spool.wall_ms(), of_floor.wall_ms() + median(&mut of_write));
    Ok(())
}

/// What each program cost in one round.
struct Round {
    floor: Cost,
    https: Cost,
    system: Option<Cost>,
    spool: Cost,
    write: f64,
}

fn print(name: &str, value: f64, floor: f64) {
    println!(r#"{{"name":"{name}","value":{value:.3},"unit":"ms","floor":{floor:.3},"ratio":{:.3}}}"#, value / floor);
}

/// The least that a durable file costs: write, fsync, rename, fsync of the folder. In milliseconds.
fn durable_write(folder: &Path, mail: &[u8]) -> anyhow::Result<f64> {
    let (temporary, target) = (folder.join("floor.tmp"), folder.join("floor"));
    let start = std::time::Instant::now();
    let mut file = fs::File::create(&temporary)?;
    std::io::Write::write_all(&mut file, mail)?;
    file.sync_all()?;
    fs::rename(&temporary, &target)?;
    fs::File::open(folder)?.sync_all()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// The enqueuer as pipe(8) runs it: its arguments, and an environment of a few words.
fn enqueuer(settings: PathBuf) -> anyhow::Result<impl Fn() -> Command> {
    let program = match std::env::var_os("REPLYFLEET_ENQUEUE") {
        Some(program) => PathBuf::from(program),
        None => beside("replyfleet-enqueue")?,
    };
    let config = format!("--config={}", settings.display());
    Ok(move || {
        let mut command = Command::new(&program);
        command.env_clear().envs([("LANG", "C"), ("MAIL_CONFIG", "/etc/postfix"), ("PATH", "/usr/bin:/bin")]);
        command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("REPLYFLEET_SECRET_KEY", SECRET)]);
        command.args([&config, "--sender=someone@example.org", "--original-recipient=get@example.com", "--client-address=192.0.2.7"]);
        command.args(["--client-hostname=mail.example.org", "--client-helo=mail.example.org", "--client-protocol=ESMTP", "--queue-id=4XyZ"]);
        command
    })
}

fn sqs_queue(endpoint: &Endpoint) -> String {
    let url = endpoint.url();
    format!("url = \"{url}/000000000000/requests\"\ndead_letter_url = \"{url}/000000000000/dead-letters\"")
}

fn settings(folder: &Path, name: &str, queue: &str, trusted_pem: Option<&Path>) -> anyhow::Result<PathBuf> {
    let roots = trusted_pem.map(|path| format!("trusted_roots_file = \"{}\"", path.display())).unwrap_or_default();
    let place = folder.display();
    let endpoint = queue.split('"').nth(1).filter(|url| url.starts_with("https:")).and_then(|url| url.split_once("/0000"));
    let endpoint = endpoint.map(|(endpoint, _)| format!("endpoint_url = \"{endpoint}\"")).unwrap_or_default();
    let text = format!(
        r#"authentication = {{ mode = "off", unproven = "full" }}
[queue]
{queue}
[store]
url = "dir:{place}/store"
[catalogue]
bucket = "config"
key = "catalogue.json"
[aws]
region = "eu-central-1"
{endpoint}
{roots}
[worker]
cache_dir = "{place}/cache"
[database]
url = "sqlite:{place}/ledger.sqlite"
[reply]
bounce_address = "bounce@example.com"
[send]
"#
    );
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, text)?;
    Ok(path)
}

/// A mail of [`MAIL_BYTES`] bytes.
fn mail() -> Vec<u8> {
    let mut mail = b"From: someone@example.org\nTo: get@example.com\nSubject: please\n\n".to_vec();
    let lines = b"The quick brown fox jumps over the lazy dog, and does so in every line of this mail.\n".iter().cycle();
    mail.extend(lines.take(MAIL_BYTES - mail.len()));
    mail
}

/// A program that lies beside this one.
fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let path = this.parent().context("a program lies in a folder")?.join(name);
    ensure!(path.exists(), "{} is not built; run: benches/run", path.display());
    Ok(path)
}

/// A Python that can import boto3: of the virtual environment that `REPLYFLEET_VENV` names, else of `target/venv`.
fn python() -> Option<PathBuf> {
    let venv = match std::env::var_os("REPLYFLEET_VENV") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("target/venv"),
    };
    let python = venv.join("bin/python3");
    // Also writes the byte code, so that what is measured is the import alone.
    let imports = Command::new(&python).args(["-c", "import boto3"]).output();
    imports.is_ok_and(|output| output.status.success()).then_some(python)
}
