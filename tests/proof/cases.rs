//! Every branch of composing as a request, the catalogue's entries that answer it, and what must be in each reply.
//!
//! What is expected is written out here, or put together from the catalogue's texts by the rules of the policy; nothing of
//! it comes from the code that composes.

use std::sync::LazyLock;

use replyfleet_tests::world::date;
use serde_json::{Value, json};

/// Whose addresses answer.
pub(crate) const DOMAIN: &str = "responder.test";
/// A domain whose mail Google takes.
pub(crate) const GOOGLE_CUSTOMER: &str = "example.net";
/// `reply.from_name`.
pub(crate) const FROM_NAME: &str = "پاسخ‌گو Responder";
/// `reply.subject`.
const DEFAULT_SUBJECT: &str = "Your request ✉️ درخواست شما";

const PLAIN: &str = "Hello,\n\nthe links: https://example.com/get?id=1&x=2\n\nGoodbye\n";
const HTML: &str = "<p>Hello, <b>reader</b></p>\n<p><a href=\"https://example.com/get?id=1&amp;x=2\">The links</a></p>\n";
const PERSIAN: &str = "سلام،\n\nپیوندها اینجاست: https://example.com/fa\nنسخهٔ ۱۲٫۵ 😀\n";
const PERSIAN_HTML: &str = "<p>سلام، خواننده</p>\n<p><a href=\"https://example.com/fa\">پیوندها</a> نسخهٔ ۱۲٫۵</p>\n";
const CHINESE: &str = "您好！\n请点击链接：https://example.com/zh\n谢谢。𠮷\n";
const EMOJI: &str = "Here you are 👩‍👩‍👧‍👦 🇮🇷 ✉️ 🏳️‍🌈\n";
/// Whatever might be taken for the end of a mail, of a line, of a part, of a header, or for an escape.
const TRAPS: &str = ".\n..\n.x\n. \nFrom here to there\n>From here\nFrom: x\n\n\n-- \n--\n--=_x\n=3D =\ntrailing space \ntab\t\n   \nend=\n";
const DOCUMENT: &str = "<!DOCTYPE html>\n<html lang=\"fa\" dir=\"rtl\"><head><meta charset=\"utf-8\"><title>سلام</title></head>\n<body><p>سلام، خواننده</p></body></html>\n";
/// Between the texts of two languages.
const RULE: &str = "----------------------------------------";

/// The attachments' names, and where their contents lie in the store.
const ASCII_FILE: (&str, &str) = ("notes.txt", "lines.txt");
const FILES: [(&str, &str); 8] = [
    ASCII_FILE,
    ("راهنمای نصب.apk", "all-bytes.bin"),
    ("说明书.pdf", "all-bytes.bin"),
    ("emoji 😀.zip", "lines.txt"),
    ("it's 100% (a; b=c), <final>.tar.gz", "all-bytes.bin"),
    (LONG_NAME, "lines.txt"),
    ("nothing", "empty.bin"),
    ("same.bin", "all-bytes.bin"),
];
const LONG_NAME: &str = "یک نام بسیار بسیار بسیار بلند که در یک خط جا نمی‌شود و باید به چند بخش شکسته شود تا هر خط کوتاه بماند.docx";

/// What the store holds, by key.
pub(crate) fn contents() -> [(&'static str, Vec<u8>); 3] {
    let all_bytes: Vec<u8> = (0..77_777_usize).map(|index| u8::try_from((index * index / 7 + index) % 256).unwrap()).collect();
    [("all-bytes.bin", all_bytes), ("lines.txt", b".\n..\nFrom here\r\nx\ry \t\n\n".to_vec()), ("empty.bin", Vec::new())]
}

/// A request, and what answers it.
pub(crate) struct Case {
    /// Local part of the address that is asked; `someone.NAME` asks.
    pub(crate) name: &'static str,
    /// The +tag of the address.
    tag: &'static str,
    /// Whose customer asks.
    domain: &'static str,
    /// Message-ID, References and Subject of the request.
    fields: String,
    /// The catalogue's entries, without address and way to send.
    entries: Vec<Value>,
    /// What must come, an item for each entry.
    pub(crate) replies: Vec<Expected>,
}

/// What must be in a reply.
#[derive(Clone)]
pub(crate) struct Expected {
    pub(crate) subject: String,
    pub(crate) plain: Plain,
    pub(crate) html: Option<String>,
    /// Names and contents, in order.
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
    /// Content-Language of the text parts.
    pub(crate) languages: Option<&'static str>,
    pub(crate) in_reply_to: Option<String>,
    pub(crate) references: Option<String>,
    pub(crate) reply_to: Option<String>,
}

/// The plain text of a reply.
#[derive(Clone)]
pub(crate) enum Plain {
    /// This.
    Text(String),
    /// Whatever is made of the HTML: all of these must be in it.
    Derived(&'static [&'static str]),
}

impl Case {
    /// Asked as other cases are: one entry, its subject the settings' own.
    fn new(name: &'static str, entry: Value, expected: Expected) -> Self {
        let id = format!("<{name}@client.example.org>");
        let expected = Expected { in_reply_to: Some(id.clone()), references: Some(id.clone()), ..expected };
        Self {
            name,
            tag: "",
            domain: "example.org",
            fields: format!("Message-ID: {id}\nSubject: please\n"),
            entries: vec![entry],
            replies: vec![expected],
        }
    }

    /// With another header: its own subject and thread, and the ids that the reply must have.
    fn asked_with(mut self, fields: &str, in_reply_to: Option<&str>, references: Option<&str>) -> Self {
        self.fields = format!("{fields}\n");
        for reply in &mut self.replies {
            (reply.in_reply_to, reply.references) = (in_reply_to.map(str::to_owned), references.map(str::to_owned));
        }
        self
    }

    fn tagged(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }

    /// With this subject in the reply, which the entry asks for by `field`.
    fn subject(mut self, field: &str, value: Value, subject: impl Into<String>) -> Self {
        self.entries[0][field] = value;
        self.replies[0].subject = subject.into();
        self
    }

    /// With answers to the address that was asked.
    fn with_reply_to(mut self) -> Self {
        self.entries[0]["reply_to"] = json!(true);
        self.replies[0].reply_to = Some(self.asked());
        self
    }

    /// The same case with another one's entry after its own.
    fn followed_by(mut self, other: Self) -> Self {
        let (in_reply_to, references) = (self.replies[0].in_reply_to.clone(), self.replies[0].references.clone());
        self.entries.extend(other.entries);
        self.replies.extend(other.replies.into_iter().map(|reply| Expected {
            in_reply_to: in_reply_to.clone(),
            references: references.clone(),
            ..reply
        }));
        self
    }

    /// Who asks, and gets the replies.
    pub(crate) fn sender(&self) -> String {
        format!("someone.{}@{}", self.name, self.domain)
    }

    /// The address that answers.
    pub(crate) fn address(&self) -> String {
        format!("{}@{DOMAIN}", self.name)
    }

    /// The address that is asked.
    pub(crate) fn asked(&self) -> String {
        if self.tag.is_empty() { self.address() } else { format!("{}+{}@{DOMAIN}", self.name, self.tag) }
    }

    /// The request, with LF.
    pub(crate) fn request(&self) -> Vec<u8> {
        format!("From: Some One <{}>\nTo: {}\nDate: {}\n{}\nplease\n", self.sender(), self.asked(), date(), self.fields).into()
    }
}

/// Expects these texts, no files, and the settings' subject.
fn texts(plain: Plain, html: Option<&str>) -> Expected {
    let html = html.map(str::to_owned);
    Expected { subject: DEFAULT_SUBJECT.into(), plain, html, files: Vec::new(), languages: None, in_reply_to: None, references: None, reply_to: None }
}

fn text(plain: &str) -> Plain {
    Plain::Text(plain.to_owned())
}

fn with_files(expected: Expected, files: &[(&'static str, &str)]) -> Expected {
    let contents = contents();
    let content = |key: &str| contents.iter().find(|(found, _)| *found == key).unwrap().1.clone();
    Expected { files: files.iter().map(|&(name, key)| (name, content(key))).collect(), ..expected }
}

/// Asked by somebody whose provider wants other names.
fn renamed() -> Case {
    let entry = json!({"body": PLAIN, "attachments": attachments(&[("برنامه.apk", "all-bytes.bin"), ("setup.exe", "lines.txt")])});
    let expected = with_files(texts(text(PLAIN), None), &[("برنامه.ap_", "all-bytes.bin"), ("setup", "lines.txt")]);
    Case { domain: GOOGLE_CUSTOMER, ..Case::new("renamed", entry, expected) }
}

fn attachments(files: &[(&str, &str)]) -> Value {
    files.iter().map(|(name, key)| json!(["files", key, name])).collect()
}

fn marked(lang: &str, dir: &str, html: &str) -> String {
    format!("<div lang=\"{lang}\" dir=\"{dir}\">\n{html}\n</div>")
}

fn plain_case(name: &'static str, body: &str) -> Case {
    Case::new(name, json!({"body": body}), texts(text(body), None))
}

fn html_case(name: &'static str, html: &str, derived: &'static [&'static str]) -> Case {
    Case::new(name, json!({"body": [["html", html]]}), texts(Plain::Derived(derived), Some(html)))
}

fn both_case(name: &'static str, plain: &str, html: &str) -> Case {
    Case::new(name, json!({"body": [["plain", plain], ["html", html]]}), texts(text(plain), Some(html)))
}

/// English with a Persian translation, or the other way round, with these files.
fn bilingual(name: &'static str, is_english: bool, is_html: bool, files: &[(&'static str, &str)]) -> Case {
    let (english, persian) = (("en", "ltr", PLAIN, HTML), ("fa", "rtl", PERSIAN, PERSIAN_HTML));
    let (own, other) = if is_english { (english, persian) } else { (persian, english) };
    let body =
        |(_, _, plain, html): (&str, &str, &str, &str)| if is_html { json!([["plain", plain], ["html", html]]) } else { json!([["plain", plain]]) };
    let entry = json!({
        "body": body(own), "lang": own.0, "subject": "Own", "attachments": attachments(files),
        "translations": {other.0: {"body": body(other), "subject": "ترجمه 😀"}},
    });
    let plain = format!("{}\n\n{RULE}\n\n{}", other.2.trim_end(), own.2);
    let html = format!("{}\n<hr>\n{}", marked(other.0, other.1, other.3), marked(own.0, own.1, own.3));
    let languages = Some(if is_english { "fa, en" } else { "en, fa" });
    let expected = Expected { subject: "ترجمه 😀".into(), languages, ..texts(Plain::Text(plain), is_html.then_some(html.as_str())) };
    Case::new(name, entry, with_files(expected, files)).tagged(other.0)
}

/// [`bilingual`], asked for the own language.
fn monolingual(name: &'static str, is_english: bool) -> Case {
    let mut case = bilingual(name, is_english, true, &[]);
    let (lang, dir, plain, html) = if is_english { ("en", "ltr", PLAIN, HTML) } else { ("fa", "rtl", PERSIAN, PERSIAN_HTML) };
    case.replies[0] =
        Expected { subject: "Own".into(), plain: text(plain), html: Some(marked(lang, dir, html)), languages: Some(lang), ..case.replies[0].clone() };
    case.tagged(lang)
}

/// Every case.
pub(crate) static CASES: LazyLock<Vec<Case>> =
    LazyLock::new(|| [bodies(), files(), languages(), subjects(), threads()].into_iter().flatten().collect());

fn bodies() -> Vec<Case> {
    let long = |text: &str| text.repeat(5_000 / text.len());
    vec![
        plain_case("plain", PLAIN),
        html_case("html", HTML, &["Hello,", "reader", "The links", "https://example.com/get?id=1&x=2"]),
        both_case("both", PLAIN, HTML),
        plain_case("persian", PERSIAN),
        plain_case("chinese", CHINESE),
        plain_case("emoji", EMOJI),
        both_case("traps", TRAPS, &format!("<pre>\n{TRAPS}</pre>\n")),
        plain_case("long-words", &format!("{}\n", long("abcdefghij"))),
        plain_case("long-lines", &format!("{}.\n", long("from here to there, "))),
        both_case("long-persian", &format!("{}\n", long("سلام و درود. ")), &format!("<p>{}</p>\n", long("سلام و درود. "))),
        both_case("long-html", &format!("{}\n", long("a word and ")), &format!("<p>{}</p>\n", long("a word and "))),
        html_case("document", DOCUMENT, &["سلام، خواننده"]),
        // As an editor of another system writes it.
        Case::new("crlf", json!({"body": PLAIN.replace('\n', "\r\n")}), texts(text(PLAIN), None)),
    ]
}

fn files() -> Vec<Case> {
    let with = |name, body: Value, files: &[(&'static str, &str)], expected| {
        Case::new(name, json!({"body": body, "attachments": attachments(files)}), with_files(expected, files))
    };
    vec![
        with("file", json!(PLAIN), &[ASCII_FILE], texts(text(PLAIN), None)),
        with("html-file", json!([["html", HTML]]), &[ASCII_FILE], texts(Plain::Derived(&["reader"]), Some(HTML))),
        with("files", json!([["plain", PERSIAN], ["html", PERSIAN_HTML]]), &FILES, texts(text(PERSIAN), Some(PERSIAN_HTML))),
        renamed(),
        both_case("several", PLAIN, HTML).followed_by(with("several", json!(PERSIAN), &FILES[..2], texts(text(PERSIAN), None))),
    ]
}

fn languages() -> Vec<Case> {
    vec![
        bilingual("plain-in-two", true, false, &[]),
        bilingual("rtl-and-ltr", true, true, &FILES[..2]),
        bilingual("ltr-and-rtl", false, true, &[]),
        monolingual("ltr", true),
        monolingual("rtl", false),
    ]
}

fn subjects() -> Vec<Case> {
    let asked_subject = |name, subject: &str, expected: String| {
        let id = format!("<{name}@client.example.org>");
        let fields = format!("Message-ID: {id}\nSubject: {subject}");
        plain_case(name, PLAIN).asked_with(&fields, Some(&id), Some(&id)).subject("subject_from_request", json!(true), expected)
    };
    let fixed = |name, subject: String| plain_case(name, PLAIN).subject("subject", json!(subject), subject);
    vec![
        fixed("fixed", "The links that you asked for".into()),
        fixed("fixed-persian", "پیوندهایی که خواستید 😀".into()),
        // 256 characters: the most there may be, in encoded words and without a space.
        fixed("fixed-long", "سلام".repeat(64)),
        fixed("fixed-like-an-encoded-word", "=?utf-8?q?not_one?= \"quoted\" <x@example.org>".into()),
        asked_subject("asked-subject", "hello", "Re: hello".into()),
        asked_subject("asked-subject-persian", "=?utf-8?B?2LPZhNin2YUg2K/ZhtuM2Kc=?= =?utf-8?q?_=F0=9F=98=80?=", "Re: سلام دنیا 😀".into()),
        asked_subject("asked-subject-reply", "RE: hello", "RE: hello".into()),
        asked_subject("asked-subject-long", &"word ".repeat(150), format!("Re: {}", "word ".repeat(150)[..256].trim_end())),
        asked_subject("asked-subject-hostile", "=?utf-8?q?a=0D=0ABcc:_b@example.net=00_=E2=80=AEc?=", "Re: aBcc: b@example.net c".into()),
        // Nothing but white space must not be a line by itself.
        asked_subject("asked-subject-blank", &format!("=?utf-8?q?a{}b?=", "_".repeat(50)), format!("Re: a{}b", " ".repeat(50))),
        fixed("fixed-blank", format!("a{}b{}c", " ".repeat(90), " ".repeat(90))),
        // An encoded word that comes out of another one is only text.
        asked_subject("asked-subject-nested", "=?utf-8?q?=3D=3Futf-8=3Fq=3Fa=3DE2=3D80=3DAEb=3F=3D?=", "Re: =?utf-8?q?a=E2=80=AEb?=".into()),
    ]
}

fn threads() -> Vec<Case> {
    let long = |letter: &str| format!("<{}@client.example.org>", letter.repeat(870));
    vec![
        plain_case("answers", PLAIN).tagged("code-1").with_reply_to(),
        plain_case("no-id", PLAIN).asked_with("Subject: please", None, None),
        plain_case("two-ids", PLAIN).asked_with("Subject: please\nMessage-ID: <1@x.example> <2@x.example>\nReferences: <0@x.example>", None, None),
        both_case("thread", PLAIN, HTML).asked_with(
            "Subject: please\nMessage-ID: <t4@client.example.org>\nReferences: <t1@client.example.org> <t2@client.example.org>\n <t3@client.example.org>",
            Some("<t4@client.example.org>"),
            Some("<t1@client.example.org> <t3@client.example.org> <t4@client.example.org>"),
        ),
        plain_case("long-thread", PLAIN).asked_with(
            &format!("Subject: please\nMessage-ID: {}\nReferences: {}\n {}\n {}", long("d"), long("a"), long("b"), long("c")),
            Some(&long("d")),
            Some(&format!("{} {} {}", long("a"), long("c"), long("d"))),
        ),
    ]
}

/// The catalogue with the entries of all cases, sent by SMTP.
pub(crate) fn catalogue() -> String {
    let entries = CASES.iter().flat_map(|case| {
        case.entries.iter().map(|entry| {
            let mut entry = entry.clone();
            entry["email_addr"] = json!(case.address());
            entry["send_method"] = json!("SMTP");
            entry
        })
    });
    Value::from_iter(entries).to_string()
}

/// `[reply]`'s settings that the cases rely on.
pub(crate) fn settings() -> String {
    format!("from_name = \"{FROM_NAME}\"\nsubject = \"{DEFAULT_SUBJECT}\"")
}
