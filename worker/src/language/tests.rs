//! Which translation a request gets.

use super::*;
use crate::{
    catalogue::{Catalogue, SendMethod},
    request,
};

/// A response in `own` with translations into `others`, named by their tags.
fn response(own: &str, others: &[&str]) -> Response {
    let translations: Vec<String> = others.iter().map(|tag| format!(r#""{tag}": {{"body": "in {tag}"}}"#)).collect();
    let text = format!(
        r#"[{{"email_addr": "get@example.com", "body": "own", "send_method": "SES", "lang": "{own}", "translations": {{{}}}}}]"#,
        translations.join(", ")
    );
    Catalogue::parse(&text, &[SendMethod::Ses]).expect("valid").responses()[0].clone()
}

/// The tag of the text that is chosen; the response's own if none is.
fn chosen(response: &Response, rcpt_to: &str, header: &str, body: &str) -> String {
    let request = request::read(format!("From: a@b.org\n{header}\n\n{body}").as_bytes(), 1 << 20).expect("readable");
    choose(response, rcpt_to, &request).map_or_else(|| "own".to_owned(), |translation| translation.lang.to_string())
}

#[test]
fn a_plus_tag_names_a_language_as_a_whole_or_by_a_part() {
    let response = response("en", &["fa", "zh-Hans", "zh-Hant", "pt-BR", "is"]);
    for (rcpt_to, want) in [
        ("get+fa@example.com", "fa"),
        ("get+FA@example.com", "fa"),
        ("get+fa-IR@example.com", "fa"),
        ("get+zh-TW@example.com", "zh-Hant"),
        ("get+zh_cn@example.com", "zh-Hans"),
        ("get+zh@example.com", "zh-Hans"),
        ("get+phone.zh-TW@example.com", "zh-Hant"),
        ("get+phone+fa@example.com", "fa"),
        ("get+fa+phone@example.com", "fa"),
        ("get+phone-fa@example.com", "fa"),
        ("get+pt@example.com", "pt-BR"),
        ("get+pt-PT@example.com", "pt-BR"),
        ("get+en@example.com", "own"),
        ("get+phone@example.com", "own"),
        ("get+family@example.com", "own"),
        ("get+this@example.com", "own"),
        ("get+@example.com", "own"),
        ("get@example.com", "own"),
        ("fa@example.com", "own"),
        ("no address", "own"),
    ] {
        assert_eq!(chosen(&response, rcpt_to, "Subject: hello", "hello"), want, "{rcpt_to}");
    }
}

#[test]
fn the_first_source_that_names_a_language_of_the_response_decides() {
    let response = response("en", &["fa", "ru", "zh-Hans"]);
    for (rcpt_to, header, body, want) in [
        ("get+fa@example.com", "Accept-Language: ru", "你好", "fa"),
        ("get+de@example.com", "Accept-Language: ru\nContent-Language: fa", "你好", "ru"),
        ("get@example.com", "Accept-Language: de, fr\nContent-Language: fa", "你好", "fa"),
        ("get@example.com", "Accept-Language: de", "你好", "zh-Hans"),
        ("get@example.com", "Accept-Language: *", "Привет", "ru"),
        ("get@example.com", "Accept-Language: en-US, ru;q=0.5", "سلام", "own"),
        ("get@example.com", "Accept-Language: ru;q=0.5\nAccept-Language: fa", "", "ru"),
        ("get@example.com", "Accept-Language: ru;q=0.1, fa;q=0.2", "", "fa"),
        ("get+en@example.com", "Accept-Language: fa", "سلام", "own"),
        ("get@example.com", "Subject: سلام", "hello, please", "fa"),
        ("get@example.com", "Subject: שלום", "Γεια", "own"),
        ("get@example.com", "Subject:", "", "own"),
    ] {
        assert_eq!(chosen(&response, rcpt_to, header, body), want, "{rcpt_to} {header} {body}");
    }
}

#[test]
fn a_language_finds_itself_then_its_shorter_then_its_longer_forms() {
    let lookup = |wanted: &str, offered: &[&str]| {
        let tags: Vec<Tag> = offered.iter().map(|tag| Tag::parse(tag).expect(tag)).collect();
        lookup(&Tag::leading(wanted).expect(wanted), &tags.iter().collect::<Vec<_>>()).map(|index| offered[index].to_owned())
    };
    for (wanted, offered, want) in [
        ("zh-Hant-TW", &["zh", "zh-Hant"][..], Some("zh-Hant")),
        ("zh-Hant-TW", &["zh-Hans", "zh"], Some("zh")),
        ("zh-CN", &["zh-Hant", "zh-Hans"], Some("zh-Hans")),
        ("zh-SG", &["zh-TW", "zh-CN"], Some("zh-CN")),
        ("zh-HK", &["zh-Hans", "zh-Hant"], Some("zh-Hant")),
        ("zh-Hans", &["zh-TW", "zh-CN"], Some("zh-CN")),
        ("zh", &["en", "zh-Hant"], Some("zh-Hant")),
        ("zh-TW", &["en", "zh-Hans"], Some("zh-Hans")),
        ("cmn-Hans", &["zh-Hans"], Some("zh-Hans")),
        ("prs", &["ar", "fa"], Some("fa")),
        ("en-GB", &["en-US", "en"], Some("en")),
        ("fa", &["fat", "far"], None),
        ("fas", &["fa"], None),
        ("de", &["en", "nl"], None),
    ] {
        assert_eq!(lookup(wanted, offered).as_deref(), want, "{wanted} of {offered:?}");
    }
}

#[test]
fn mails_as_people_send_them_get_their_language() {
    let response = response("en", &["fa", "ar", "zh-Hans", "zh-Hant", "ru", "uk", "my", "vi"]);
    let base64 = "Content-Transfer-Encoding: base64";
    for (name, header, body, want) in [
        ("a Persian subject in UTF-8", "Subject: =?UTF-8?B?2LPZhNin2YXYjCDZhNi32YHYpyDZgduM2YTYqtix2LTaqdmG?=", "", "fa"),
        ("a Persian subject in windows-1256", "Subject: =?windows-1256?B?0+HH4yDh2N3HIIHR5t/T7SCQ?=", "", "fa"),
        ("Chinese in GB2312", &format!("Content-Type: text/plain; charset=GB2312\n{base64}"), "x+u4+M7St6LX7tDCtcTI7bz+o6zQu9C7", "zh-Hans"),
        ("Chinese in GB18030", &format!("Content-Type: text/plain; charset=gb18030\n{base64}"), "x+u4+M7St6LX7tDCtcTI7bz+o6zQu9C7", "zh-Hans"),
        ("Chinese in Big5", &format!("Content-Type: text/plain; charset=big5\n{base64}"), "vdC1uafas27F6aFBwcLBwg==", "zh-Hant"),
        (
            "Russian in KOI8-R",
            "Content-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: quoted-printable",
            "=FA=C4=D2=C1=D7=D3=D4=D7=D5=CA=D4=C5",
            "ru",
        ),
        ("Russian subject in windows-1251", "Subject: =?windows-1251?B?z/Do4uXy?=", "", "ru"),
        ("Ukrainian", "Subject: x", "Надішліть, будь ласка", "uk"),
        (
            "Persian HTML beside an empty plain part",
            "Content-Type: multipart/alternative; boundary=b",
            "--b\nContent-Type: text/plain\n\n\n--b\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\nPGh0bWw+PGhlYWQ+PHN0eWxlPnB7Y29sb3I6cmVkfTwvc3R5bGU+PC9oZWFkPjxib2R5PjxwPtiz2YTYp9mF2Iwg2YTYt9mB2KfZiyDZvtix2Yjaqdiz24w8L3A+PC9ib2R5PjwvaHRtbD4=\n--b--",
            "fa",
        ),
        ("a quoted reply of ours", "Subject: Re: links", "thanks\n> فارسی - https://example.com/fa\n", "own"),
        ("empty", "Subject:", "", "own"),
        ("no subject at all", "X-Mailer: x", "", "own"),
        ("emoji only", "Subject: =?UTF-8?B?8J+Zj/CfmY8=?=", "🙏🙏🙏", "own"),
        ("Latin only", "Subject: please send links", "Thank you!", "own"),
        ("a charset that nobody knows", "Content-Type: text/plain; charset=x-unknown", "\u{fffd}\u{fffd}\u{fffd}", "own"),
    ] {
        assert_eq!(chosen(&response, "get@example.com", header, body), want, "{name}");
    }
}

#[test]
fn a_response_without_translations_has_none_to_choose() {
    assert_eq!(chosen(&response("en", &[]), "get+fa@example.com", "Accept-Language: fa", "سلام"), "own");
}
