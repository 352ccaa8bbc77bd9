//! `replyfleet simulate` as people run it: what it prints and writes, and what it says of options that are none.

use std::{fs, process::Command};

use replyfleet_tests::{program, repository};
use serde_json::Value;
use tempfile::TempDir;

/// Enough of a surge to scale, and soon over.
const SHORT: [&str; 6] = ["--horizon", "40m", "--surge-at", "5m", "--base", "6"];

/// Runs it in a folder, with arguments that come after [`SHORT`] unless they begin with `csv`; returns its status, and both outputs.
fn simulate(folder: &TempDir, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program("replyfleet"));
    let output = command.arg("simulate").args(arguments).current_dir(folder.path()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn short(folder: &TempDir, more: &[&str]) -> (Option<i32>, String, String) {
    simulate(folder, &[&SHORT, more].concat())
}

#[test]
fn both_profiles_stand_side_by_side_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (status, said, errors) = short(&folder, &["--seed", "42"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""), "no terminal, no bar");
    assert!(said.contains("seed 42") && said.contains("recommended") && said.contains("faithful"), "{said}");
    let row = |label: &str| said.lines().find(|line| line.trim_start().starts_with(label)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(row("Lost"), ["Lost", "0", "0"]);
    assert!(row("Scaled up")[2..].iter().all(|ups| *ups != "0"), "{said}");
}

#[test]
fn a_seed_makes_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let json = |seed: &str| -> Value { serde_json::from_str(&short(&folder, &["--json", "--seed", seed]).1).unwrap() };
    let first = json("7");
    assert_eq!(first, json("7"));
    assert_ne!(first["cases"][0]["run"]["mail"], json("8")["cases"][0]["run"]["mail"]);
    assert_eq!(first["facts"][0], serde_json::json!(["seed", "7"]));
}

#[test]
fn series_and_pictures_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let (status, _, errors) = short(&folder, &["--csv-out", "series.csv", "--picture", "surge.svg", "--fault", "kill@10m"]);
    assert_eq!(status, Some(0), "{errors}");
    let csv = fs::read_to_string(folder.path().join("series.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 * 40 * 6);
    let svg = fs::read_to_string(folder.path().join("surge.svg")).unwrap();
    assert!(svg.contains("surge begins") && svg.contains("fault: a machine dies, at 10 min"));
    let (status, _, errors) = short(&folder, &["--picture", "surge.html", "--profile", "faithful"]);
    assert_eq!(status, Some(0), "{errors}");
    let html = fs::read_to_string(folder.path().join("surge.html")).unwrap();
    assert!(html.contains("</table>") && html.contains(">faithful<") && !html.contains("recommended"));
}

#[test]
fn traffic_of_ones_own_is_simulated() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.csv"), "time,rate\n2026-11-21T12:00:00Z,0\n2026-11-21T12:10:00Z,60\n").unwrap();
    let (status, json, errors) = simulate(&folder, &["--csv", "mine.csv", "--horizon", "20m", "--json"]);
    assert_eq!(status, Some(0), "{errors}");
    let json: Value = serde_json::from_str(&json).unwrap();
    let arrived = json["cases"][0]["run"]["mail"]["arrived"].as_u64().unwrap();
    assert!((17_000..19_000).contains(&arrived), "{arrived}: 600 s at 30 a second in the mean");
    assert_eq!(json["cases"][0]["run"]["series"].as_array().unwrap().len(), 120);
}

#[test]
fn another_template_is_obeyed_and_its_faults_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let template = fs::read_to_string(repository().join("ami/scaling.yaml")).unwrap();
    let write = |text: &str| fs::write(folder.path().join("mine.yaml"), text).unwrap();
    write(&template.replace("ScalingAdjustment: 4", "ScalingAdjustment: 2"));
    let mine = |more: &[&str]| short(&folder, &[&["--template", "mine.yaml", "--profile", "faithful"], more].concat());
    let events = |said: &str| -> String { serde_json::from_str::<Value>(said).unwrap()["cases"][0]["run"]["events"].to_string() };
    let (status, said, errors) = mine(&["--json"]);
    assert_eq!(status, Some(0), "{errors}");
    assert!(events(&said).contains("1 -> 3"), "by two");
    // A default of the template counts as if it were given.
    write(&template.replace("Default: replyfleet\n", "Default: mine\n"));
    let (status, said, errors) = mine(&["--json"]);
    assert_eq!(status, Some(0), "{errors}");
    assert!(events(&said).contains("FaithfulProcessingTimeHigh: "), "its own metrics are found: {said}");
    write(&template.replace("MetricName: processing_time", "MetricName: processing"));
    let (status, _, errors) = mine(&[]);
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("mine.yaml") && errors.contains("FaithfulProcessingTimeHigh: the metric processing of replyfleet is not simulated"),
        "{errors}"
    );
    write(&template.replace("      MinSize:", "      MaxInstanceLifetime: 86400\n      MinSize:"));
    let (status, _, errors) = mine(&[]);
    let line = template.lines().position(|line| line.contains("MinSize:")).unwrap() + 1;
    assert_eq!(status, Some(1));
    assert!(errors.contains(&format!("mine.yaml: line {line}, Workers.MaxInstanceLifetime: can change what scales")), "{errors}");
}

#[test]
fn wrong_options_say_what_is_right() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.csv"), "0,1\n60,much\n").unwrap();
    for (arguments, code, part) in [
        (&["--traffic", "wave"][..], 2, "steady, diurnal, step, tv, two-humps, retry-storm, measured"),
        (&["--base", "0"], 2, "above 0"),
        (&["--factor", "0.5"], 2, "from 1"),
        (&["--publish", "7s"], 2, "7: expected 1, 5, 10, 30 or 60 seconds"),
        (&["--publish", "2m"], 2, "120: expected 1, 5, 10, 30 or 60 seconds"),
        (&["--picture", "surge.png"], 2, ".svg or .html"),
        (&["--fault", "flood@5m"], 2, "ses-pause@20m+5m"),
        (&["--csv", "bad.csv", "--base", "5"], 2, "cannot be used with"),
        (&["--csv", "bad.csv"], 1, "bad.csv: line 2: \"much\" is no rate"),
        (&["--csv", "none.csv"], 1, "cannot read none.csv"),
        (&["--template", "none.yaml"], 1, "cannot read none.yaml"),
        (&["--template", "bad.csv"], 1, "no Resources"),
        (&["--profile", "frugal"], 1, "no profile frugal; it has recommended, faithful"),
        (&["--parameter", "WorkersMax"], 2, "NAME=VALUE"),
        (&["--parameter", "WorkersMax=many"], 1, "no number"),
        (&["--parameter", "WorkerMax=5"], 1, "no parameter WorkerMax"),
        (&["--horizon", "40d"], 1, "a month"),
        (&["--horizon", "10m", "--fault", "kill@10m"], 1, "after the end"),
        (&["--base", "100000", "--traffic", "step"], 1, "lower the rate"),
        (&["--picture", "nowhere/surge.svg", "--horizon", "1m"], 1, "cannot write nowhere/surge.svg"),
    ] {
        let (status, said, errors) = simulate(&folder, arguments);
        assert_eq!(status, Some(code), "{arguments:?}: {said}{errors}");
        assert!(errors.contains(part), "{arguments:?}: {errors}");
    }
}
