//! What documents promise each other, and what templates promise people: an alarm that calls somebody at night has a page, a link with a
//! `#` leads somewhere, and nothing of the system that this one descends from was forgotten. What a page says is for readers to judge.

use std::collections::BTreeSet;

use replyfleet_tests::repository;

use super::{collect, none};

/// The headings of a document as links name them (GitHub's rule: lower case, hyphens for spaces, no other signs).
fn anchors(document: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut anchors = BTreeSet::new();
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let heading = line.trim_start_matches('#');
        if is_code || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = heading.trim().chars().filter(|character| character.is_alphanumeric() || [' ', '-', '_'].contains(character));
        anchors.insert(kept.map(|character| if character == ' ' { '-' } else { character }).collect::<String>().to_lowercase());
    }
    anchors
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).expect(path)
}

/// The names behind `#alarm-` in the templates.
fn runbook_links() -> BTreeSet<String> {
    let mut templates = Vec::new();
    collect(&repository().join("ami"), "yaml", &mut templates);
    assert!(!templates.is_empty());
    runbook_names(&templates.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect::<String>())
}

fn runbook_names(text: &str) -> BTreeSet<String> {
    let is_name = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
    text.split("#alarm-").skip(1).map(|rest| format!("alarm-{}", rest.split(|character| !is_name(character)).next().unwrap())).collect()
}

#[test]
fn every_alarm_that_calls_a_person_has_a_page_that_says_what_to_type() {
    // These are in the templates, or their conditions are for people to set up elsewhere.
    const ALARMS: [&str; 15] = [
        "alarm-bounce-rate",
        "alarm-breaker",
        "alarm-catalogue-age",
        "alarm-complaint-rate",
        "alarm-disk",
        "alarm-mail-queue",
        "alarm-no-answer-to-probe",
        "alarm-no-mx",
        "alarm-no-workers",
        "alarm-oldest-age",
        "alarm-parked",
        "alarm-processing-time",
        "alarm-scaling",
        "alarm-ses-away",
        "alarm-ses-throttles",
    ];
    let runbook = read("docs/operating.md");
    let pages = anchors(&runbook);
    let wanted: BTreeSet<String> = ALARMS.into_iter().map(str::to_owned).chain(runbook_links()).collect();
    none("alarms without a page in docs/operating.md", wanted.iter().filter(|name| !pages.contains(*name)).cloned());
    let is_helpful = |name: &String| {
        let page = runbook.split(&format!("\n### {name}\n")).nth(1).unwrap_or_default();
        page.split("\n### ").next().is_some_and(|page| page.contains("```sh") && (page.contains("**Means**") || name == "alarm-scaling"))
    };
    none("pages without a meaning and a command", wanted.iter().filter(|name| !is_helpful(name)).cloned());
}

#[test]
fn every_link_from_an_alarm_is_read_whole() {
    // The reader itself: what it takes for a name decides what the test above can miss.
    let text = "AlarmDescription: !Sub 'x. ${RunbookUrl}#alarm-ses-away'\n# alarm-none\n'#alarm-disk. More'";
    assert_eq!(runbook_names(text), ["alarm-disk", "alarm-ses-away"].map(str::to_owned).into());
}

#[test]
fn links_to_headings_lead_to_headings() {
    let root = repository();
    let mut documents = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    collect(&root.join("docs"), "md", &mut documents);
    collect(&root.join("ami"), "md", &mut documents);
    let mut broken = Vec::new();
    let mut seen = 0;
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((path, anchor)) = target.split_once('#') else { continue };
            let file = if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            if target.contains("://") || file.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            seen += 1;
            // A file that is not there is another test's.
            if std::fs::read_to_string(&file).is_ok_and(|text| !anchors(&text).contains(anchor)) {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(seen > 20, "{seen}");
    none("links to headings that are not there", broken.into_iter());
}

#[test]
fn every_section_of_the_ancestors_readme_has_its_line() {
    const SECTIONS: [&str; 23] = [
        "How the autoresponder works",
        "Future improvements",
        "Setup",
        "OS",
        "SSH, fail2ban",
        "Postfix",
        "Logwatch and Postfix-Logwatch",
        "Amazon AWS services",
        "Source files and cron jobs",
        "Logging",
        "Stats",
        "Blacklist",
        "DKIM",
        "SPF",
        "Email Responder Configuration",
        "Appendices",
        "Sample `main.cf`",
        "Elastic Mail Responder",
        "Additional CloudWatch metrics",
        "Setup (of the Elastic Mail Responder)",
        "Destroying the setup",
        "Updating the AMI",
        "AWS user IAM policies",
    ];
    let text = read("docs/deploy.md");
    let table = text.split("## The ancestor's README, section by section").nth(1).expect("the table").split("\n##").next().unwrap();
    let rows: Vec<(&str, &str)> = table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")).collect();
    let is_answered = |section: &str| rows.iter().any(|(name, now)| *name == section && now.len() > 10);
    none("sections without a line in docs/deploy.md", SECTIONS.into_iter().filter(|section| !is_answered(section)).map(str::to_owned));
}

#[test]
fn a_heading_is_named_as_a_link_names_it() {
    let document = "# One, `two`\n```sh\n# no heading\n```\n### alarm-disk\n#nor this\n";
    assert_eq!(anchors(document), ["alarm-disk", "one-two"].map(str::to_owned).into());
}
