//! What an attachment is called: for its provider, and in its header fields.

use std::collections::BTreeMap;

use mail_builder::headers::{Header, content_type::ContentType};

/// The name of a file for a provider: `rename` says by the extension, in lower case and without its dot, which one takes
/// its place. The empty one takes it away.
pub fn renamed(file_name: &str, rename: &BTreeMap<String, String>) -> String {
    let Some((stem, extension)) = file_name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()) else { return file_name.to_owned() };
    match rename.get(&extension.to_lowercase()).map(String::as_str) {
        None => file_name.to_owned(),
        Some("") => stem.to_owned(),
        Some(other) => format!("{stem}.{other}"),
    }
}

/// The header fields of an attachment, whole lines. The name stands in Content-Disposition, by RFC 2231 if it is not ASCII
/// or long; then an ASCII one stands in Content-Type for programs that do not know that RFC.
pub(super) fn fields(file_name: &str) -> Vec<u8> {
    let mut kind = ContentType::new("application/octet-stream");
    if !file_name.is_ascii() {
        kind = kind.attribute("name", ascii(file_name));
    }
    let mut fields = b"Content-Type: ".to_vec();
    kind.write_header(&mut fields, "Content-Type: ".len());
    fields.extend_from_slice(b"Content-Disposition: ");
    ContentType::new("attachment").attribute("filename", file_name).write_header(&mut fields, "Content-Disposition: ".len());
    fields.extend_from_slice(b"Content-Transfer-Encoding: base64\r\n");
    fields
}

/// The name with `_` for what is not ASCII; a part of it that would be nothing else is called `file`.
fn ascii(file_name: &str) -> String {
    let (stem, extension) = file_name.rsplit_once('.').unwrap_or((file_name, ""));
    let part = |text: &str| -> String { text.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect() };
    let stem = if stem.is_ascii() || stem.chars().any(|c| c.is_ascii_alphanumeric()) { part(stem) } else { "file".into() };
    if extension.is_empty() { stem } else { format!("{stem}.{}", part(extension)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_is_replaced_or_taken_away_as_the_provider_wants() {
        let rename = [("exe", ""), ("apk", "ap_")].map(|(from, to)| (from.to_owned(), to.to_owned())).into();
        for (name, want) in [
            ("program.exe", "program"),
            ("program.EXE", "program"),
            ("a.b.apk", "a.b.ap_"),
            ("program.zip", "program.zip"),
            ("apk", "apk"),
            (".apk", ".apk"),
            ("برنامه.apk", "برنامه.ap_"),
        ] {
            assert_eq!(renamed(name, &rename), want);
        }
    }

    #[test]
    fn a_name_beyond_ascii_has_a_fall_back() {
        for (name, want) in [
            ("program.apk", "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"program.apk\"\r\n"),
            (
                "برنامه.apk",
                "Content-Type: application/octet-stream; name=\"file.apk\"\r\nContent-Disposition: attachment;\r\n filename*=UTF-8''%D8%A8%D8%B1%D9%86%D8%A7%D9%85%D9%87.apk\r\n",
            ),
            (
                "Größe 1.zip",
                "Content-Type: application/octet-stream; name=\"Gr__e 1.zip\"\r\nContent-Disposition: attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe%201.zip\r\n",
            ),
        ] {
            let fields = String::from_utf8(fields(name)).expect("ASCII");
            assert_eq!(fields, format!("{want}Content-Transfer-Encoding: base64\r\n"));
        }
    }
}
