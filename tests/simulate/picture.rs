//! The picture as a browser shows it: every word has its own place, on the paper, in light and in dark; what was seen lies in
//! `target/pictures/simulate-*.png` to look at.

use std::{fs, path::Path, process::Command};

use replyfleet_tests::{program, repository, skipped};
use serde::Deserialize;

const CHROMIUM: &str = "/usr/bin/chromium-headless-shell";
/// Words may touch by so many pixels: a text's box is larger than its letters.
const TOUCH_MAX: f64 = 3.0;

/// A text of the picture, in pixels.
#[derive(Debug, Deserialize)]
struct Words {
    text: String,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

#[derive(Debug, Deserialize)]
struct Page {
    words: Vec<Words>,
    width: f64,
    height: f64,
    background: String,
    ink: String,
    /// How much wider the page is than the screen.
    overflow: f64,
}

/// What a browser of this width and preference makes of a picture.
fn shown(svg: &str, width: u32, is_dark: bool, picture: &Path) -> Page {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let start = if svg.starts_with("<!DOCTYPE") { "" } else { "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<body style=\"margin:0\">" };
    fs::write(&page, format!("{start}{svg}\n<script>{}</script>", include_str!("measure.js"))).unwrap();
    let mut command = Command::new(CHROMIUM);
    command.args(["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"]);
    command.arg(format!("--blink-settings=preferredColorScheme={}", if is_dark { 0 } else { 1 }));
    command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
    command.arg(format!("--window-size={width},1000")).arg(format!("--screenshot={}", picture.display()));
    command.arg(format!("file://{}", page.display())).env("HOME", folder.path());
    let dom = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let measured = dom.split("<script type=\"application/json\">").nth(1).and_then(|rest| rest.split("</script>").next());
    serde_json::from_str(measured.expect("the page was measured")).unwrap()
}

#[test]
fn every_word_of_the_picture_has_its_own_place() {
    if !Path::new(CHROMIUM).exists() {
        return skipped("no chromium-headless-shell; tests/run installs it");
    }
    let pictures = repository().join("target/pictures");
    fs::create_dir_all(&pictures).unwrap();
    let cases: [(&str, &[&str]); 3] = [
        ("tv", &["--horizon", "2h"]),
        (
            "faults",
            &["--traffic", "step", "--horizon", "1h", "--fault", "kill@12m", "--fault", "ses-pause@14m+5m", "--fault", "zone@55m", "--base", "3"],
        ),
        ("one", &["--profile", "faithful", "--traffic", "steady", "--horizon", "10m", "--base", "0.01"]),
    ];
    for (name, arguments) in cases {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("surge.svg");
        let status = Command::new(program("replyfleet")).arg("simulate").args(arguments).arg("--picture").arg(&file).output().unwrap().status;
        assert!(status.success());
        let svg = fs::read_to_string(file).unwrap();
        let light = shown(&svg, 1_180, false, &pictures.join(format!("simulate-{name}.png")));
        assert!(light.words.len() > 30 && light.words.iter().all(|words| !words.text.is_empty()), "{name}: {light:?}");
        for (index, one) in light.words.iter().enumerate() {
            let is_inside = one.left >= 0.0 && one.top >= 0.0 && one.right <= light.width && one.bottom <= light.height;
            assert!(is_inside, "{name}: {one:?} leaves the paper of {} x {}", light.width, light.height);
            for other in &light.words[index + 1..] {
                let wide = one.right.min(other.right) - one.left.max(other.left);
                let high = one.bottom.min(other.bottom) - one.top.max(other.top);
                assert!(wide <= TOUCH_MAX || high <= TOUCH_MAX, "{name}: {one:?} and {other:?} lie on each other");
            }
        }
        let dark = shown(&svg, 1_180, true, &pictures.join(format!("simulate-{name}-dark.png")));
        assert_eq!((light.background.as_str(), light.ink.as_str()), ("rgb(255, 255, 255)", "rgb(27, 31, 36)"), "{name}");
        assert_eq!((dark.background.as_str(), dark.ink.as_str()), ("rgb(20, 24, 29)", "rgb(228, 232, 238)"), "{name}");
    }
}

#[test]
fn the_page_fits_a_phone() {
    if !Path::new(CHROMIUM).exists() {
        return skipped("no chromium-headless-shell; tests/run installs it");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("surge.html");
    let output = Command::new(program("replyfleet")).args(["simulate", "--horizon", "30m", "--picture"]).arg(&file).output().unwrap();
    assert!(output.status.success());
    let pictures = repository().join("target/pictures");
    fs::create_dir_all(&pictures).unwrap();
    for width in [400, 1_280] {
        let page = shown(&fs::read_to_string(&file).unwrap(), width, false, &pictures.join(format!("simulate-page-{width}.png")));
        assert_eq!(page.overflow, 0.0, "at {width} pixels the page itself scrolls sideways");
    }
}
