//! The delivery contract's papers: every row of the fault table has a guard that can be taken out, and a test that is there.

use std::{collections::BTreeSet, fs};

use replyfleet_tests::repository;
use serde::Deserialize;

use crate::{none, sources};

/// Rows of the fault table.
const ROWS: std::ops::RangeInclusive<u32> = 1..=38;

#[derive(Deserialize)]
struct Guards {
    guard: Vec<Guard>,
}

#[derive(Deserialize)]
struct Guard {
    row: u32,
    test: String,
    file: String,
    old: String,
    new: String,
}

fn guards() -> Vec<Guard> {
    let text = fs::read_to_string(repository().join("tests/guards.toml")).unwrap();
    toml::from_str::<Guards>(&text).unwrap().guard
}

/// The rows of the table in the document: number, and the tests that it names.
fn table() -> Vec<(u32, Vec<String>)> {
    let text = fs::read_to_string(repository().join("docs/reliability.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").map(str::trim).collect();
        let tests = cells.last()?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((cells[0].parse().ok()?, tests))
    });
    rows.collect()
}

/// Whether there is a test of this name: a function, or a promise in one of the lists that make functions of them.
fn is_there(test: &str) -> bool {
    let (target, path) = test.split_once("::").unwrap();
    let name = path.rsplit("::").next().unwrap();
    let folder = match target {
        "lib" => return sources(&["src", "worker/src", "enqueuer/src"]).iter().any(|(_, text)| text.contains(&format!("fn {name}("))),
        program if program.starts_with("bin:") => "operator/src".to_owned(),
        target => format!("tests/{target}"),
    };
    sources(&[&folder]).iter().any(|(_, text)| text.contains(&format!("fn {name}(")))
}

#[test]
fn every_row_of_the_fault_table_has_a_test_and_a_guard() {
    let table = table();
    let in_the_table: BTreeSet<u32> = table.iter().map(|(row, _)| *row).collect();
    none("rows that the document lacks", ROWS.filter(|row| !in_the_table.contains(row)).map(|row| row.to_string()));
    let guarded: BTreeSet<u32> = guards().iter().map(|guard| guard.row).collect();
    none("rows without a guard to take out", ROWS.filter(|row| !guarded.contains(row)).map(|row| row.to_string()));
    let named = table.iter().flat_map(|(row, tests)| tests.iter().map(move |test| (*row, test)));
    none("tests that are not there", named.filter(|(_, test)| !is_there(test)).map(|(row, test)| format!("{row}: {test}")));
}

#[test]
fn every_guard_stands_once_where_it_is_taken_out_and_the_document_names_its_test() {
    let table = table();
    let mut offenders = Vec::new();
    for guard in guards() {
        let place = format!("row {}, {}", guard.row, guard.test);
        let text = fs::read_to_string(repository().join(&guard.file)).unwrap_or_default();
        match text.matches(&guard.old).count() {
            1 if guard.old != guard.new => {}
            count => offenders.push(format!("{place}: its text is {count} times in {}", guard.file)),
        }
        if !table.iter().any(|(row, tests)| *row == guard.row && tests.contains(&guard.test)) {
            offenders.push(format!("{place}: not named in that row of docs/reliability.md"));
        }
    }
    none("guards", offenders.into_iter());
}
