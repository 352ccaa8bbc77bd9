//! The house's rules about its own source, held by tests: what `docs/architecture.md` says is absent is absent.

#![allow(clippy::unwrap_used, reason = "a rule that cannot be read fails its test")]
#![forbid(unsafe_code)]

mod contract;
mod documents;
mod machines;

use std::path::{Path, PathBuf};

use replyfleet_tests::repository;

/// Source files with the path below the repository, and their text.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let root = repository();
    let mut files = Vec::new();
    for folder in folders {
        collect(&root.join(folder), "rs", &mut files);
    }
    files.into_iter().map(|path| (path.strip_prefix(&root).unwrap().display().to_string(), std::fs::read_to_string(&path).unwrap())).collect()
}

fn collect(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, extension, files);
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
}

const PRODUCTION: [&str; 5] = ["src", "enqueuer/src", "worker/src", "operator/src", "simulator/src"];
const EVERYTHING: [&str; 9] = ["src", "enqueuer/src", "worker/src", "operator/src", "simulator/src", "tests", "benches", "fuzz/src", "fuzz/targets"];

/// The text without comments and without the module of unit tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/src/") && path.contains("/tests/")
}

#[track_caller]
fn none(what: &str, offenders: impl Iterator<Item = String>) {
    let offenders: Vec<_> = offenders.collect();
    assert!(offenders.is_empty(), "{what}:\n  {}", offenders.join("\n  "));
}

#[test]
fn only_adapters_name_a_type_of_the_aws_sdk() {
    const ADAPTERS: [&str; 9] = [
        "operator/src/cloudwatch.rs",
        "operator/src/secrets/manager.rs",
        "src/aws.rs",
        "src/queue/sqs.rs",
        "src/queue/sqs/dead_letters.rs",
        "src/store/s3.rs",
        "worker/src/lifecycle/aws.rs",
        "worker/src/metrics/cloudwatch.rs",
        "worker/src/send/ses.rs",
    ];
    let offenders = sources(&PRODUCTION).into_iter().filter(|(path, text)| !ADAPTERS.contains(&path.as_str()) && text.contains("aws_sdk_"));
    none("AWS SDK types outside the adapters", offenders.map(|(path, _)| path));
}

#[test]
fn deciding_modules_do_no_io_and_read_no_clock() {
    const PURE: [&str; 30] = [
        "address",
        "request",
        "request/excerpt",
        "screen",
        "language",
        "language/accept",
        "language/tag",
        "ledger/steps",
        "metrics/data",
        "metrics/figures",
        "metrics/prometheus",
        "metrics/table",
        "script",
        "compose",
        "compose/canonical",
        "compose/file_name",
        "compose/render",
        "compose/text",
        "provider",
        "sign/field",
        "sign/header",
        "sign/name",
        "outcome",
        "reason",
        "switches",
        "status/chart",
        "status/history",
        "status/page",
        "status/text",
        "status/view",
    ];
    const FORBIDDEN: [&str; 9] = ["std::fs", "std::net", "tokio", "async ", "SystemTime", "Instant", "::now()", "std::env", "dyn Store"];
    for module in PURE {
        let text = std::fs::read_to_string(repository().join(format!("worker/src/{module}.rs"))).unwrap();
        let code = code(&text);
        none(&format!("{module} does no I/O"), FORBIDDEN.iter().filter(|word| code.contains(**word)).map(|word| (*word).to_owned()));
    }
}

#[test]
fn settings_are_read_in_one_place() {
    // The AWS SDK's own variable decides which credentials are asked for; pipe(8)'s, whether a person asked for help.
    const READERS: [&str; 3] = ["src/settings.rs", "src/aws.rs", "enqueuer/src/main.rs"];
    let offenders = sources(&PRODUCTION).into_iter().filter(|(path, text)| !READERS.contains(&path.as_str()) && code(text).contains("env::var"));
    none("environment variables are read elsewhere", offenders.map(|(path, _)| path));
}

#[test]
fn a_message_leaves_the_queue_in_one_place() {
    let offenders = sources(&["worker/src", "operator/src"])
        .into_iter()
        .filter(|(path, text)| path != "worker/src/settle.rs" && code(text).contains(".settle(&"));
    none("messages are settled elsewhere", offenders.map(|(path, _)| path));
}

#[test]
fn what_the_documents_ask_prometheus_for_is_exposed() {
    let exposed: Vec<String> = replyfleet_worker::metrics::table::EXPOSED.iter().map(|metric| metric.exposed_name()).collect();
    let is_exposed = |name: &str| {
        let bare = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        exposed.iter().any(|metric| metric == name || metric == bare)
    };
    let mut asked = 0;
    for file in ["docs/monitoring.md", "docs/grafana.json"] {
        let text = std::fs::read_to_string(repository().join(file)).expect(file);
        let names =
            text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_').filter(|word| word.starts_with("replyfleet_"));
        let names: Vec<&str> = names.collect();
        asked += names.len();
        none(file, names.into_iter().filter(|name| !is_exposed(name)).map(str::to_owned));
    }
    assert!(asked > 20, "{asked}");
}

#[test]
fn every_module_has_a_head() {
    none("no head", sources(&EVERYTHING).into_iter().filter(|(path, text)| !is_test(path) && !text.starts_with("//!")).map(|(path, _)| path));
}

#[test]
fn no_test_sleeps_and_hopes_or_is_ignored() {
    let word = |parts: [&str; 2]| parts.concat(); // so that this file does not find itself
    for banned in [word(["#[ign", "ore"]), word(["sle", "ep("]), word(["to", "do!("]), word(["unimpl", "emented!("]), word(["db", "g!("])] {
        let files = sources(&["tests", "benches"]).into_iter().chain(sources(&PRODUCTION).into_iter().filter(|(path, _)| is_test(path)));
        none(&banned, files.filter(|(_, text)| text.contains(&banned)).map(|(path, _)| path));
    }
}

#[test]
fn unwraps_say_why_they_cannot_fail() {
    let mut offenders = Vec::new();
    for (path, text) in sources(&PRODUCTION).into_iter().filter(|(path, _)| !is_test(path)) {
        let text = text.split("#[cfg(test)]").next().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let is_unwrap = line.contains(".unwrap()") || line.contains(".expect(\"");
            let has_reason = lines[index.saturating_sub(3)..=index].iter().any(|line| line.contains("// Unwrap:"));
            if is_unwrap && !has_reason && !line.trim_start().starts_with("//") {
                offenders.push(format!("{path}:{}", index + 1));
            }
        }
    }
    none("unwrap or expect without a reason", offenders.into_iter());
}

#[test]
fn modules_hold_one_idea() {
    // At this size ask which two ideas a file holds. Tests apart.
    const LINES_MAX: usize = 560;
    let files = sources(&PRODUCTION).into_iter().filter(|(path, _)| !is_test(path));
    none(
        "files to split",
        files.filter(|(_, text)| text.lines().count() > LINES_MAX).map(|(path, text)| format!("{path}: {} lines", text.lines().count())),
    );
}

#[test]
fn links_in_the_documents_resolve() {
    let root = repository();
    let mut documents = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    collect(&root.join("docs"), "md", &mut documents);
    collect(&root.join("ami"), "md", &mut documents);
    let mut broken = Vec::new();
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap();
            let is_local = !path.is_empty() && !path.contains("://") && !path.starts_with("mailto:");
            if is_local && !document.parent().unwrap().join(path).exists() {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    none("broken links", broken.into_iter());
}
