//! What the demo works with: settings, a catalogue with attachments, and the sample mails with what is to come of them.

use std::{os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// A mail that the demo sends to itself.
pub(super) struct Sample {
    /// What it is, for the table.
    pub(super) what: &'static str,
    /// MAIL FROM.
    pub(super) sender: &'static str,
    /// RCPT TO.
    pub(super) recipient: &'static str,
    /// Header and body, with LF line ends.
    pub(super) mail: &'static str,
    /// The outcome's word.
    pub(super) ends_as: &'static str,
    /// And why.
    pub(super) why: &'static str,
    /// Replies that are sent.
    pub(super) replies: usize,
}

const fn answered(what: &'static str, sender: &'static str, recipient: &'static str, mail: &'static str, replies: usize) -> Sample {
    Sample { what, sender, recipient, mail, ends_as: "answered", why: "", replies }
}

const fn ignored(what: &'static str, sender: &'static str, mail: &'static str, why: &'static str) -> Sample {
    Sample { what, sender, recipient: "get@demo.example", mail, ends_as: "ignored", why, replies: 0 }
}

/// The samples, in the order in which they are sent.
pub(super) const SAMPLES: [Sample; 11] = [
    answered(
        "a person asks in Persian: links, then the programs",
        "maryam@example.org",
        "get@demo.example",
        "From: Maryam <maryam@example.org>\nMessage-ID: <1@example.org>\nSubject: =?utf-8?b?2LPZhNin2YU=?=\n\nplease\n",
        2,
    ),
    answered("an empty mail", "li@example.net", "links+phone@demo.example", "From: li@example.net\n\n", 1),
    answered(
        "a subject that tries to inject a header",
        "eve@example.net",
        "links@demo.example",
        "From: eve@example.net\nSubject: =?utf-8?q?x=0D=0ABcc:_victim@example.org?=\n\n",
        1,
    ),
    ignored(
        "another program's automatic answer",
        "bot@example.org",
        "From: bot@example.org\nAuto-Submitted: auto-replied\n\nI am on holiday.\n",
        "auto_submitted",
    ),
    ignored(
        "a bounce",
        "",
        "From: MAILER-DAEMON@example.org\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b--\n",
        "null_sender",
    ),
    ignored("a mailing list", "news@example.org", "From: news@example.org\nList-Id: <news.example.org>\n\nhello all\n", "mailing_list"),
    ignored("two people in From", "a@example.org", "From: a@example.org, b@example.org\n\nwho?\n", "unclear_from"),
    answered(
        "the person asks again",
        "maryam@example.org",
        "get@demo.example",
        "From: Maryam <maryam@example.org>\nMessage-ID: <2@example.org>\n\nagain\n",
        2,
    ),
    ignored(
        "the same mail, sent again",
        "maryam@example.org",
        "From: Maryam <maryam@example.org>\nMessage-ID: <2@example.org>\n\nagain\n",
        "repeated",
    ),
    answered(
        "and again: her attachments for today are used up",
        "maryam@example.org",
        "get@demo.example",
        "From: Maryam <maryam@example.org>\nMessage-ID: <3@example.org>\n\nagain\n",
        1,
    ),
    ignored(
        "and once too often, with another spelling",
        "maryam@example.org",
        "From: Maryam <Maryam+x@EXAMPLE.org>\nMessage-ID: <4@example.org>\n\nagain\n",
        "over_allowance",
    ),
];

/// All replies of the samples.
pub(super) const REPLIES_EXPECTED: usize = 7;

/// What a visitor may write to.
pub(super) const ADDRESSES: &str = "get@demo.example, links@demo.example";

const SETTINGS: &str = r#"
secret_key_file = "DIR/secret.key"
authentication = { mode = "off", unproven = "full" }
queue = { url = "spool:DIR/spool" }
store = { url = "dir:DIR/store" }
catalogue = { bucket = "catalogue", key = "catalogue.json" }
worker = { cache_dir = "DIR/cache" }
database = { url = "sqlite:DIR/ledger.db" }
reply = { from_name = "replyfleet demo", bounce_address = "bounces@demo.example" }
enqueuer = { host = "demo" }
send.SES = { kind = "maildir", dir = "DIR/replies" }
send.SMTP = { kind = "maildir", dir = "DIR/replies" }
"#;

const CATALOGUE: &str = r#"[
  { "email_addr": "get@demo.example",
    "body": [["plain", "English - https://demo.example/en\nThe programs follow in a second mail.\n"],
             ["html", "<p><a href=\"https://demo.example/en\">English</a></p><p>The programs follow in a second mail.</p>"]],
    "attachments": null,
    "send_method": "SES",
    "lang": "en",
    "translations": {
      "fa": { "body": [["plain", "فارسی - https://demo.example/fa\nبرنامه‌ها در نامهٔ دوم می‌آیند.\n"],
                       ["html", "<p><a href=\"https://demo.example/fa\">فارسی</a></p><p>برنامه‌ها در نامهٔ دوم می‌آیند.</p>"]],
              "subject": "پاسخ به درخواست شما" } } },
  { "email_addr": "get@demo.example",
    "body": "Here are the programs. Rename program.ex_ to program.exe.\n",
    "attachments": [["programs", "windows/program.exe", "program.ex_"], ["programs", "android/program.apk", "program.apk"]],
    "send_method": "SMTP",
    "lang": "en",
    "translations": { "fa": { "body": "برنامه‌ها پیوست این نامه‌اند. نام program.ex_ را به program.exe تغییر دهید.\n" } } },
  { "email_addr": "links@demo.example",
    "body": "https://demo.example/en\n",
    "subject_from_request": true,
    "send_method": "SES" }
]
"#;

/// Bytes of each sample program.
const PROGRAM_BYTES: usize = 200_000;

/// Puts settings, secret, catalogue and programs into `dir`.
pub(super) fn furnish(dir: &Path) -> anyhow::Result<()> {
    let root = dir.to_str().context("the temporary folder's name is not UTF-8")?;
    let program: Vec<u8> = (0..PROGRAM_BYTES).map(|index| (index * index % 251) as u8).collect();
    let secret = replyfleet::keyed::sha256_hex(format!("{root} {:?}", std::time::SystemTime::now()).as_bytes());
    for (name, content) in [
        ("replyfleet.toml", SETTINGS.replace("DIR", root).into_bytes()),
        ("secret.key", secret.into_bytes()),
        ("store/catalogue/catalogue.json", CATALOGUE.as_bytes().to_vec()),
        ("store/programs/windows/program.exe", program.clone()),
        ("store/programs/android/program.apk", program),
    ] {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Sends a sample by SMTP to the demo's own listener; returns the request key, which the listener says in its last answer.
pub(super) async fn send(sample: &Sample, port: u16) -> anyhow::Result<String> {
    let mut socket = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
    let message = sample.mail.replace('\n', "\r\n").replace("\r\n.", "\r\n..") + ".\r\n";
    let steps =
        ["", "HELO demo\r\n", &format!("MAIL FROM:<{}>\r\n", sample.sender), &format!("RCPT TO:<{}>\r\n", sample.recipient), "DATA\r\n", &message];
    let mut answer = String::new();
    for step in steps {
        socket.get_mut().write_all(step.as_bytes()).await?;
        answer.clear();
        socket.read_line(&mut answer).await?;
        if !answer.starts_with(['2', '3']) {
            bail!("the listener said: {}", answer.trim());
        }
    }
    let key = answer.trim().rsplit(' ').next().context("no request key")?;
    Ok(key.to_owned())
}
