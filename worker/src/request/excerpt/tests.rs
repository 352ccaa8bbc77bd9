//! Bodies as mail programs write them, and as attackers do.

use std::time::{Duration, Instant};

use crate::request::read;

const MAX: usize = 20 << 20;
/// Unoptimised, on a busy machine; optimised it is well below one.
const IN_TIME: Duration = Duration::from_millis(200);

fn excerpt(mail: &[u8]) -> String {
    read(mail, MAX).expect("readable").excerpt
}

fn excerpt_of(header: &str, body: &str) -> String {
    excerpt(format!("From: a@b.org\n{header}\n\n{body}").replace('\n', "\r\n").as_bytes())
}

#[test]
fn a_text_is_decoded_whatever_its_encoding_and_charset() {
    for (header, body, want) in [
        ("Subject: x", "hello\n", "hello"),
        ("Subject: x", "سلام\n", "سلام"),
        (
            "Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: BASE64",
            "2LPZhNin2YXYjCDZhNi32YHYpyDZgduM\n2YTYqtix2LTaqdmG\n",
            "سلام، لطفا فیلترشکن",
        ),
        ("Content-Type: text/plain; charset=\"windows-1256\"\nContent-Transfer-Encoding: base64", "0+HH4yDh2N3HIIHR5t/T7SCQ", "سلام لطفا پروكسي گ"),
        (
            "Content-Type: text/plain; charset=gb2312\nContent-Transfer-Encoding: base64",
            "x+u4+M7St6LX7tDCtcTI7bz+o6zQu9C7",
            "请给我发最新的软件，谢谢",
        ),
        (
            "Content-Type: text/plain; charset=GB18030\nContent-Transfer-Encoding: base64",
            "x+u4+M7St6LX7tDCtcTI7bz+o6zQu9C7",
            "请给我发最新的软件，谢谢",
        ),
        ("Content-Type: text/plain; charset=big5\nContent-Transfer-Encoding: base64", "vdC1uafas27F6aFBwcLBwg==", "請給我軟體，謝謝"),
        (
            "Content-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: quoted-printable",
            "=FA=C4=D2=C1=D7=D3=D4=D7=D5=CA=D4=C5, =D0=D2=C9=DB=CC=C9=D4=C5 =D0=D2=CF=C7=\n=D2=C1=CD=CD=D5",
            "Здравствуйте, пришлите программу",
        ),
        ("Content-Type: text/plain; charset=iso-2022-jp\nContent-Transfer-Encoding: 7bit", "\x1b$B%=%U%H$r$/$@$5$$\x1b(B", "ソフトをください"),
        ("Content-Type: text/plain; charset=us-ascii", "سلام", "سلام"),
        ("Content-Type: text/plain; charset=nobody-knows-it", "سلام", "سلام"),
        ("Content-Transfer-Encoding: quoted-printable", "50 % =\n= 100 =zz =D8=B3=", "50 % = 100 =zz س="),
        ("Content-Transfer-Encoding: base64", "2LPZ!!hNin-2YU", "سلام"),
        ("Content-Type: text/html; charset=utf-8", "<style>p{}</style><p title=\"x\">&#1587;&#x644;&nbsp;<b>ام</b></p>", "سل ام"),
        ("Content-Type: text/plain", "> quoted\nmine\n> quoted\n", "mine"),
        ("Content-Type: image/png", "hello", ""),
        ("Content-Type: text/calendar", "hello", ""),
        ("Content-Type: multipart/mixed", "--b\n\nno boundary is named\n--b--", ""),
    ] {
        assert_eq!(excerpt_of(header, body).trim().replace('\u{a0}', " "), want, "{header}");
    }
}

#[test]
fn the_first_text_with_letters_is_found_among_the_parts() {
    let mixed = "Content-Type: multipart/mixed; boundary=\"=_out er\"";
    for (name, body, want) in [
        (
            "plain before html",
            "pre\n--=_out er\nContent-Type: text/plain\n\none\n--=_out er\nContent-Type: text/html\n\n<p>two\n--=_out er--\n",
            "one",
        ),
        ("an empty plain", "--=_out er\n\n \n--=_out er\nContent-Type: text/html\n\n<p>two</p>\n--=_out er--\n", "two"),
        (
            "one in another",
            "--=_out er\nContent-Type: multipart/alternative; boundary=in\n\n--in\nContent-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: quoted-printable\n\n=C4=C1\n--in--\n--=_out er--",
            "да",
        ),
        (
            "an attached text is not the requester's words",
            "--=_out er\nContent-Type: text/plain\nContent-Disposition: attachment; filename=x.txt\n\nfile\n--=_out er\n\nwords\n--=_out er--",
            "words",
        ),
        (
            "behind a part without text",
            "--=_out er\nContent-Type: multipart/related; boundary=in\n\n--in\nContent-Type: image/png\n\nx\n--in--\n--=_out er\n\nlast\n--=_out er--",
            "last",
        ),
        ("a boundary that begins like another", "--=_out er\nContent-Type: text/plain\n\n--=_out er2\none\n--=_out er  \n", "--=_out er2\none"),
        ("cut", "--=_out er\nContent-Type: text/plain\n\none", "one"),
        ("cut in its header", "--=_out er\nContent-Type: text/pl", ""),
        ("no part", "text without a part", ""),
    ] {
        assert_eq!(excerpt_of(mixed, body).replace("\r\n", "\n").trim(), want, "{name}");
    }
}

#[test]
fn a_mail_without_a_body_has_no_excerpt() {
    assert_eq!(excerpt(b"From: a@b.org\n"), "");
    assert_eq!(excerpt(b"From: a@b.org\nContent-Type: text/html\n\n"), "");
}

#[test]
fn no_body_costs_more_than_moments() {
    let nested = |levels: usize| {
        (0..levels).map(|level| format!("--b{level}\nContent-Type: multipart/mixed; boundary=b{}\n\n", level + 1)).collect::<String>()
    };
    let multipart = "From: a@b.org\nContent-Type: multipart/mixed; boundary=b0\n\n";
    let with = |header: &str, body: Vec<u8>| [header.as_bytes().to_vec(), body].concat();
    let text = "From: a@b.org\nContent-Type: text/plain; charset=gb18030\n\n";
    let bombs: [(&str, Vec<u8>); 12] = [
        ("empty parts", with(multipart, b"--b0\n\n".repeat(1_000_000))),
        ("ends", with(multipart, b"--b0--\n".repeat(1_000_000))),
        ("nested", with(multipart, nested(100_000).into_bytes())),
        ("almost boundaries", with(multipart, b"--b0x\n".repeat(1_000_000))),
        ("hyphens", with(multipart, vec![b'-'; 10 << 20])),
        ("part headers without end", with(multipart, b"--b0\nX: y\n".repeat(1_000_000))),
        ("one line", with("From: a@b.org\n\n", vec![b'x'; 10 << 20])),
        ("line ends", with("From: a@b.org\n\n", vec![b'\n'; 10 << 20])),
        ("tags", with("From: a@b.org\nContent-Type: text/html\n\n", b"<p<!--&#1;".repeat(1_000_000))),
        ("equals signs", with("From: a@b.org\nContent-Transfer-Encoding: quoted-printable\n\n", vec![b'='; 10 << 20])),
        ("no digit of base64", with("From: a@b.org\nContent-Transfer-Encoding: base64\n\n", vec![b'!'; 10 << 20])),
        ("bytes of no character", with(text, vec![0xff; 10 << 20])),
    ];
    for (name, bomb) in bombs {
        let start = Instant::now();
        let found = excerpt(&bomb);
        assert!(start.elapsed() < IN_TIME, "{name}: {:?}", start.elapsed());
        assert!(found.chars().count() <= super::EXCERPT_CHARS_MAX, "{name}");
    }
}

#[test]
fn what_lies_behind_a_limit_is_not_found() {
    let levels = |count: usize| {
        let begin: String = (1..count).map(|level| format!("--b{}\nContent-Type: multipart/mixed; boundary=b{level}\n\n", level - 1)).collect();
        excerpt_of("Content-Type: multipart/mixed; boundary=b0", &format!("{begin}--b{}\n\nfound\n", count - 1))
    };
    assert_eq!(levels(super::MULTIPARTS_MAX).trim(), "found");
    assert_eq!(levels(super::MULTIPARTS_MAX + 1), "");
    let behind = |bytes: usize| excerpt_of("Content-Type: multipart/mixed; boundary=b", &format!("{}\n--b\n\nfound\n--b--", "x".repeat(bytes)));
    assert_eq!(behind(super::SCANNED_BYTES_MAX - 100).trim(), "found");
    assert_eq!(behind(super::SCANNED_BYTES_MAX), "");
    let parts = |count: usize| {
        excerpt_of("Content-Type: multipart/mixed; boundary=b", &("--b\nContent-Type: image/png\n\n".repeat(count) + "--b\n\nfound\n"))
    };
    assert_eq!(parts(super::PARTS_MAX - 1).trim(), "found");
    assert_eq!(parts(super::PARTS_MAX), "");
    assert_eq!(excerpt_of("Subject: x", &"ا".repeat(10_000)).chars().count(), super::EXCERPT_CHARS_MAX);
    assert_eq!(excerpt_of("Subject: x", &"😀".repeat(10_000)).chars().count(), super::PLAIN_BYTES_MAX / 4);
}
