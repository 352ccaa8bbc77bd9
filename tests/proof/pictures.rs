//! A browser shows the HTML of a reply in the right direction and asks nobody for anything.
//!
//! Chromium measures where each paragraph stands, on a phone and on a desktop, and takes a picture of it to look at:
//! `target/pictures/NAME-WIDTH.png`. Its resolver knows no host at all.

use std::{fs, path::Path, process::Command};

use base64::{Engine, prelude::BASE64_STANDARD};
use replyfleet_tests::repository;
use serde::Deserialize;

use crate::{program, python::read_replies};

const CHROMIUM: &str = "/usr/bin/chromium-headless-shell";
/// Width and height of a phone and of a desktop, in pixels.
const SCREENS: [(u32, u32); 2] = [(360, 640), (1280, 720)];
/// What a browser leaves free around a page, in pixels.
const MARGIN: f64 = 8.0;
/// What remains free on the far side of every paragraph of the cases, in pixels, even on a phone.
const FREE_MIN: f64 = 60.0;

/// A page as the browser lays it out.
#[derive(Debug, Deserialize)]
struct Page {
    paragraphs: Vec<Paragraph>,
    /// Of what is seen, in pixels.
    width: f64,
    /// How much wider the page is.
    overflow: f64,
    /// Addresses of what else it wanted to load.
    asked_for: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Paragraph {
    text: String,
    left: f64,
    right: f64,
    lang: String,
    direction: String,
}

/// Lays out a page, or a fragment as a mail program would put it into its own page.
fn laid_out(html: &str, (width, height): (u32, u32), picture: &Path) -> Page {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let is_document = html.starts_with("<!DOCTYPE");
    let start = if is_document { "" } else { "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<body>\n" };
    fs::write(&page, format!("{start}{html}\n<script>{}</script>\n", include_str!("measure.js"))).unwrap();
    let mut command = Command::new(CHROMIUM);
    // Without a sandbox: it refuses to have one for root, and the page is ours.
    command.args(["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
    command.arg(format!("--window-size={width},{height}")).arg(format!("--screenshot={}", picture.display()));
    command.arg(format!("file://{}", page.display())).env("HOME", folder.path());
    let dom = String::from_utf8(program::said(&mut command)).unwrap();
    let measured = dom.split("data-measured=\"").nth(1).and_then(|rest| rest.split('"').next());
    let measured = BASE64_STANDARD.decode(measured.expect("the page was measured")).unwrap();
    serde_json::from_slice(&measured).unwrap()
}

impl Paragraph {
    /// It begins at the edge where its language begins.
    #[track_caller]
    fn assert_begins_where_it_should(&self, page_width: f64) {
        let is_persian = self.text.contains(|c| matches!(c, '\u{600}'..='\u{6ff}'));
        let (lang, direction) = if is_persian { ("fa", "rtl") } else { ("en", "ltr") };
        assert_eq!((self.lang.as_str(), self.direction.as_str()), (lang, direction), "{self:?}");
        let (before, after) = (self.left - MARGIN, page_width - MARGIN - self.right);
        let (near, far) = if is_persian { (after, before) } else { (before, after) };
        assert!(near.abs() < 1.0 && far > FREE_MIN, "{self:?} in {page_width}");
    }
}

#[test]
fn text_begins_at_the_edge_where_its_language_begins() {
    if !program::is_there(CHROMIUM) {
        return;
    }
    let Some(replies) = read_replies() else { return };
    let pictures = repository().join("target/pictures");
    fs::create_dir_all(&pictures).unwrap();
    // Replies, and how many of their paragraphs are Persian, and English.
    let mut wanted = vec![("ltr.0", (0, 2)), ("rtl.0", (2, 0)), ("rtl-and-ltr.0", (2, 2)), ("document.0", (1, 0))];
    for (sent, read) in replies {
        let Some(at) = wanted.iter().position(|(name, _)| *name == sent.name()) else { continue };
        let (name, counts) = wanted.remove(at);
        let html = read.text("text/html").unwrap();
        for screen in SCREENS {
            let page = laid_out(&html, screen, &pictures.join(format!("{name}-{}.png", screen.0)));
            assert_eq!(page.width, f64::from(screen.0), "{name}");
            page.paragraphs.iter().for_each(|paragraph| paragraph.assert_begins_where_it_should(page.width));
            let persian = page.paragraphs.iter().filter(|paragraph| paragraph.lang == "fa").count();
            assert_eq!((persian, page.paragraphs.len() - persian), counts, "paragraphs of {name}: {page:?}");
            assert_eq!((page.overflow, page.asked_for.len()), (0.0, 0), "{name}: {page:?}");
        }
    }
    assert!(wanted.is_empty(), "{wanted:?}");
}

#[test]
fn a_page_that_asks_for_something_is_noticed() {
    if !program::is_there(CHROMIUM) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let page = laid_out("<p>x</p><img src=\"https://example.com/pixel.png\">", SCREENS[0], &folder.path().join("picture.png"));
    assert_eq!(page.asked_for, ["https://example.com/pixel.png"]);
}
