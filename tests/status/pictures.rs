//! The page in a browser: on a phone and on a desktop, by day and by night, it fits, asks nobody for anything, has nothing to
//! complain of, and passes axe-core. The pictures lie in `target/pictures` to look at; `docs/pictures` has copies.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use replyfleet_tests::{
    ministack::venv,
    repository, skipped,
    web::{Answer, serve},
};
use replyfleet_worker::status::{
    page::{self, Wish},
    view::View,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    fixture,
    world::{Worker, installation},
};

const CHROMIUM: &str = "/usr/bin/chromium-headless-shell";
/// Names of screens, their width and height in pixels, and what their owner prefers.
const SCREENS: [(&str, u32, u32, &str); 5] = [
    ("light", 1_280, 800, "light"),
    ("dark", 1_280, 800, "dark"),
    ("phone", 360, 640, "light"),
    ("phone-dark", 360, 640, "dark"),
    ("tablet", 800, 1_000, "light"),
];
/// The screens of which `docs/pictures` has copies.
const SHOWN: [&str; 3] = ["light", "dark", "phone"];
/// Bytes of a picture there.
const PICTURE_BYTES_MAX: u64 = 120_000;
/// Smaller letters are not read on a phone, in pixels.
const TEXT_MIN: f64 = 9.5;
/// Rules that axe-core finds kept on any page of ours; fewer mean that it has not looked.
const CHECKS_MIN: usize = 10;

/// What was seen of a page.
#[derive(Debug, Deserialize)]
struct Seen {
    title: String,
    overflow: f64,
    sticks_out: Vec<String>,
    cut_off: Vec<String>,
    smallest_text: Option<f64>,
    is_dark: bool,
    asked_for: Vec<String>,
    console: Vec<String>,
    checked: usize,
    violations: Vec<serde_json::Value>,
}

/// What axe-core lies in, as `tests/run` installs it.
fn axe() -> Option<PathBuf> {
    let versions = fs::read_dir(venv().join("lib")).ok()?.flatten();
    versions.map(|version| version.path().join("site-packages/axe_playwright_python/axe.min.js")).find(|file| file.exists())
}

/// Browser and axe-core, if they are there; else that is said.
fn eyes() -> Option<PathBuf> {
    let axe = axe().filter(|_| Path::new(CHROMIUM).exists());
    if axe.is_none() {
        skipped("no chromium-headless-shell, or no axe-core; tests/run installs them");
    }
    axe
}

/// Looks at each of these addresses on every screen; what is seen has the name of its picture.
fn look(axe: &Path, pages: &[(&str, &str)]) -> Vec<(String, Seen)> {
    let pictures = repository().join("target/pictures");
    fs::create_dir_all(&pictures).unwrap();
    let views = pages.iter().flat_map(|page| SCREENS.map(|screen| (page, screen)));
    let (names, asked): (Vec<_>, Vec<_>) = views
        .map(|((name, url), (screen, width, height, scheme))| {
            let name = format!("status-{name}-{screen}");
            let picture = pictures.join(format!("{name}.png"));
            (name, json!({ "url": url, "width": width, "height": height, "scheme": scheme, "picture": picture }))
        })
        .unzip();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", "240", "python3"]).arg(repository().join("tests/status/look.py")).arg(CHROMIUM).arg(axe);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!(asked).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Vec<Seen> = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!(seen.len(), names.len());
    names.into_iter().zip(seen).collect()
}

/// Serves a page as the worker does.
fn served(view: &View, query: &str) -> String {
    let html = page::render(view, Wish::read(query));
    serve(move |_| Answer::new(200, html.clone()).with("Content-Type", "text/html; charset=utf-8").with("Content-Security-Policy", page::policy()))
        + "/"
}

impl Seen {
    #[track_caller]
    fn assert_is_well(&self, name: &str) {
        assert_eq!((self.overflow, &self.sticks_out, &self.cut_off), (0.0, &Vec::new(), &Vec::new()), "{name}");
        assert_eq!((&self.asked_for, &self.console), (&Vec::new(), &Vec::new()), "{name}");
        assert!(self.violations.is_empty(), "{name}: {:#?}", self.violations);
        assert!(self.checked >= CHECKS_MIN, "{name}: axe-core has checked {}", self.checked);
        assert!(self.smallest_text.is_none_or(|size| size >= TEXT_MIN), "{name}: {:?}", self.smallest_text);
        assert_eq!(self.is_dark, name.ends_with("dark"), "{name}");
    }
}

#[test]
fn the_page_is_seen_well_on_every_screen() {
    let Some(axe) = eyes() else { return };
    let states = [("idle", fixture::idle(), ""), ("surge", fixture::surge(), "every=5&last=30"), ("breaker", fixture::breaker_open(), "last=120")];
    let pages = states.map(|(name, view, query)| (name, served(&view, query)));
    let seen = look(&axe, &pages.each_ref().map(|(name, url)| (*name, url.as_str())));
    for (name, seen) in &seen {
        seen.assert_is_well(name);
    }
    let titles: Vec<_> = seen.iter().step_by(SCREENS.len()).map(|(_, seen)| seen.title.as_str()).collect();
    assert_eq!(titles, ["Answering – replyfleet worker", "Answering – replyfleet worker", "Answering in part – replyfleet worker"]);
}

#[test]
fn what_real_workers_serve_is_seen_as_well() {
    let Some(axe) = eyes() else { return };
    let (fresh, waiting) = (installation("127.0.0.1:0"), installation("127.0.0.1:0"));
    waiting.change("database = ", |_| "database = { url = \"postgres://root@127.0.0.1:1/x\" }".into());
    let (mut worker, mut starting) = (Worker::start(&fresh), Worker::start(&waiting));
    worker.wait_until_ready_says(200, "ok");
    starting.wait_until_ready_says(503, "the database");
    let urls = [worker.address(), starting.address()].map(|address| format!("http://{address}/"));
    for (name, seen) in look(&axe, &[("fresh", &urls[0]), ("starting", &urls[1])]) {
        seen.assert_is_well(&name);
    }
}

#[test]
fn a_page_that_is_not_well_is_noticed() {
    let Some(axe) = eyes() else { return };
    let html = "<!DOCTYPE html><title>x</title><body><p style=\"color: #999; width: 2000px\">pale<img src=\"https://example.com/pixel.png\">\
                <svg width=\"100\" viewBox=\"0 0 1000 10\"><text x=\"-5\" y=\"8\" font-size=\"12\">small</text></svg><script>console.error('x')</script>";
    let url = serve(move |_| Answer::new(200, html).with("Content-Type", "text/html")) + "/";
    let (_, seen) = look(&axe, &[("unwell", &url)]).remove(0);
    assert!(seen.overflow > 0.0 && !seen.sticks_out.is_empty() && seen.smallest_text.is_some_and(|size| size < 2.0), "{seen:?}");
    assert!(seen.asked_for == ["https://example.com/pixel.png"] && !seen.console.is_empty() && !seen.cut_off.is_empty(), "{seen:?}");
    let found: Vec<_> = seen.violations.iter().filter_map(|violation| violation["id"].as_str()).collect();
    assert!(["color-contrast", "html-has-lang", "image-alt"].iter().all(|rule| found.contains(rule)), "{found:?}");
}

#[test]
fn the_documents_have_the_pictures_and_they_are_small() {
    let guide = fs::read_to_string(repository().join("docs/status.md")).unwrap();
    for state in ["idle", "surge", "breaker"] {
        for screen in SHOWN {
            let name = format!("pictures/status-{state}-{screen}.png");
            let bytes = fs::metadata(repository().join("docs").join(&name)).unwrap_or_else(|error| panic!("{name}: {error}")).len();
            assert!(bytes <= PICTURE_BYTES_MAX, "{name}: {bytes} bytes");
            assert!(guide.contains(&name), "docs/status.md does not show {name}");
        }
    }
}
