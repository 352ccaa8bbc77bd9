//! Authentication-Results (RFC 8601 §2.2), and what follows `i=` in ARC-Authentication-Results.
//!
//! A parser for the grammar as it stands: comments that nest, quoted strings, versions, reasons, several results. What
//! does not follow it is malformed and is believed not at all. Whether a field is to be believed, and what it buys, is
//! decided elsewhere.

/// How deep comments may nest.
const COMMENT_DEPTH_MAX: usize = 20;
/// Results of one field.
const RESULTS_MAX: usize = 100;
/// Properties of one result.
const PROPERTIES_MAX: usize = 50;

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Results {
    /// Who checked.
    pub authserv_id: String,
    /// What was found; empty for `none`.
    pub results: Vec<MethodResult>,
}

/// What one method found. Method, result, ptypes and properties are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodResult {
    /// `dkim`, `spf`, `dmarc` ...
    pub method: String,
    /// `pass`, `fail` ...
    pub result: String,
    properties: Vec<(String, String, String)>,
}

impl MethodResult {
    /// The value of `ptype.property`. `None` if it is not there, or there twice.
    pub fn property(&self, ptype: &str, property: &str) -> Option<&str> {
        let mut found = self.properties.iter().filter(|(kind, name, _)| kind == ptype && name == property);
        match (found.next(), found.next()) {
            (Some((_, _, value)), None) => Some(value),
            _ => None,
        }
    }
}

/// Reads a field's value; `None` if it is malformed.
pub fn parse(value: &str) -> Option<Results> {
    let mut parser = Parser { rest: value };
    let authserv_id = parser.head()?;
    parser.spaces()?;
    let mut results = Vec::new();
    let mut is_none = false;
    while !parser.rest.is_empty() {
        parser.sign(';')?;
        parser.spaces()?;
        let method = parser.keyword()?;
        parser.spaces()?;
        if method == "none" && results.is_empty() && parser.rest.is_empty() {
            is_none = true;
            break;
        }
        results.push(parser.result(method)?);
        if results.len() > RESULTS_MAX {
            return None;
        }
    }
    (is_none || !results.is_empty()).then_some(Results { authserv_id, results })
}

/// Who wrote a field, even if its rest is malformed; `None` if not even that can be read.
pub fn authserv_id(value: &str) -> Option<String> {
    let mut parser = Parser { rest: value };
    parser.spaces()?;
    parser.value().filter(|id| !id.is_empty() && matches!(parser.rest.bytes().next(), None | Some(b';' | b' ' | b'\t' | b'\r' | b'\n' | b'(')))
}

/// The instance (`i=1`) of an ARC-Authentication-Results field, and the rest, which is as in Authentication-Results
/// (RFC 8617 §4.1.1).
pub(super) fn instance(value: &str) -> Option<(u32, &str)> {
    let mut parser = Parser { rest: value };
    parser.spaces()?;
    parser.keyword().filter(|name| name == "i")?;
    parser.spaces()?;
    parser.sign('=')?;
    parser.spaces()?;
    let number = parser.token()?.parse().ok()?;
    parser.spaces()?;
    parser.sign(';')?;
    Some((number, parser.rest))
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    /// authserv-id and version. Version 1 is the only one.
    fn head(&mut self) -> Option<String> {
        self.spaces()?;
        let id = self.value().filter(|id| !id.is_empty())?;
        let is_separated = self.spaces()?;
        if !self.rest.is_empty() && !self.rest.starts_with(';') {
            self.token().filter(|version| is_separated && *version == "1")?;
        }
        Some(id)
    }

    /// The rest of a resinfo, behind its method's name.
    fn result(&mut self, method: String) -> Option<MethodResult> {
        if self.rest.starts_with('/') {
            self.sign('/')?;
            self.spaces()?;
            self.token().filter(|version| *version == "1")?;
            self.spaces()?;
        }
        self.sign('=')?;
        self.spaces()?;
        let mut found = MethodResult { method, result: self.keyword()?, properties: Vec::new() };
        let mut is_separated = self.spaces()?;
        let mut has_reason = false;
        while !self.rest.is_empty() && !self.rest.starts_with(';') {
            if !is_separated || found.properties.len() == PROPERTIES_MAX {
                return None;
            }
            let name = self.keyword()?;
            self.spaces()?;
            if self.rest.starts_with('=') {
                // reasonspec: once, and before the properties.
                if name != "reason" || has_reason || !found.properties.is_empty() {
                    return None;
                }
                self.sign('=')?;
                self.spaces()?;
                self.value()?;
                has_reason = true;
            } else {
                self.sign('.')?;
                self.spaces()?;
                let property = self.keyword()?;
                self.spaces()?;
                self.sign('=')?;
                self.spaces()?;
                let value = self.property_value()?;
                found.properties.push((name, property, value));
            }
            is_separated = self.spaces()?;
        }
        Some(found)
    }

    fn sign(&mut self, sign: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(sign)?;
        Some(())
    }

    /// Passes over white space and comments; whether there were any. `None` for a comment that never ends.
    fn spaces(&mut self) -> Option<bool> {
        let before = self.rest.len();
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
            if !self.rest.starts_with('(') {
                return Some(self.rest.len() < before);
            }
            let (mut depth, mut is_escaped) = (0_usize, false);
            let mut end = None;
            for (at, c) in self.rest.char_indices() {
                match c {
                    _ if is_escaped => is_escaped = false,
                    '\\' => is_escaped = true,
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    end = Some(at + 1);
                    break;
                }
                if depth > COMMENT_DEPTH_MAX {
                    return None;
                }
            }
            self.rest = &self.rest[end?..];
        }
    }

    fn while_is(&mut self, is_taken: impl Fn(char) -> bool) -> Option<&'t str> {
        let end = self.rest.find(|c| !is_taken(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!taken.is_empty()).then_some(taken)
    }

    /// RFC 5321's Keyword (letters, digits, hyphens), in lower case. Names in the registry have underscores too.
    fn keyword(&mut self) -> Option<String> {
        self.while_is(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_').map(str::to_ascii_lowercase)
    }

    /// RFC 2045's token.
    fn token(&mut self) -> Option<&'t str> {
        self.while_is(is_token)
    }

    /// A token or a quoted string.
    fn value(&mut self) -> Option<String> {
        if self.rest.starts_with('"') { self.quoted() } else { self.token().map(str::to_owned) }
    }

    fn quoted(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut is_escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            match c {
                _ if is_escaped => {
                    text.push(c);
                    is_escaped = false;
                }
                '\\' => is_escaped = true,
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                '\r' | '\n' => {}
                _ => text.push(c),
            }
        }
        None
    }

    /// pvalue: a value, or `[[local-part] "@"] domain-name`.
    fn property_value(&mut self) -> Option<String> {
        let mut text = if self.rest.starts_with('@') { String::new() } else { self.value()? };
        if self.rest.starts_with('@') {
            self.sign('@')?;
            text.push('@');
            text.push_str(self.while_is(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_' || !c.is_ascii())?);
        }
        Some(text)
    }
}

/// Whether `text` is one token of RFC 2045: an authserv-id that needs no quotes.
pub(super) fn is_one_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_token)
}

fn is_token(c: char) -> bool {
    !c.is_ascii_control() && !" ()<>@,;:\\\"/[]?=".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(text: &str) -> Vec<(String, String, Vec<String>)> {
        let parsed = parse(text).unwrap_or_else(|| panic!("{text}"));
        let show = |result: MethodResult| {
            let properties = result.properties.into_iter().map(|(kind, name, value)| format!("{kind}.{name}={value}")).collect();
            (result.method, result.result, properties)
        };
        parsed.results.into_iter().map(show).collect()
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 8601 appendix B.
        assert_eq!(parse(" example.org 1; none"), Some(Results { authserv_id: "example.org".into(), results: vec![] }));
        assert_eq!(
            properties(" example.com;\r\n spf=pass smtp.mailfrom=example.net"),
            [("spf".into(), "pass".into(), vec!["smtp.mailfrom=example.net".into()])]
        );
        let text = " example.com;\r\n auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n spf=pass smtp.mailfrom=example.net";
        assert_eq!(properties(text)[0], ("auth".into(), "pass".into(), vec!["smtp.auth=sender@example.net".into()]));
        let text = " example.com;\r\n dkim=pass reason=\"good signature\"\r\n header.i=@mail-router.example.net;\r\n dkim=fail reason=\"bad signature\"\r\n header.i=@newyork.example.com";
        assert_eq!(properties(text)[1], ("dkim".into(), "fail".into(), vec!["header.i=@newyork.example.com".into()]));
        let text = " foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n policy (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I wasn't expecting it) 1362471462";
        assert_eq!(parse(text).expect("valid").authserv_id, "foo.example.net");
        assert_eq!(properties(text), [("dkim".into(), "fail".into(), vec!["policy.expired=1362471462".into()])]);
    }

    #[test]
    fn what_breaks_the_grammar_is_no_result() {
        for bad in [
            "",
            ";",
            "example.org",
            "example.org;",
            "example.org 2; none",
            "example.org; none; spf=pass",
            "example.org; spf",
            "example.org; spf=",
            "example.org; spf=pass smtp.mailfrom=",
            "example.org; spf=pass smtp.mailfrom",
            "example.org; spf=pass;",
            "example.org; spf=pass smtp.mailfrom=a.org reason=x",
            "example.org; spf=pass reason=x reason=y",
            "example.org; spf/2=pass",
            "example.org; dkim=pass header.b=/d5r",
            "example.org; dkim=pass header.d=\"open",
            "example.org; dkim=pass (open header.d=a.org",
            "example.org; dkim=pass header.d=a.org, header.d=b.org",
            "example.org; dkim=pass header.d=a.orgheader.i=@b.org@",
            "\"example.org; dkim=pass header.d=a.org",
            "; dkim=pass header.d=a.org",
            "\"\"; dkim=pass header.d=a.org",
            "\"\" 1; dkim=pass header.d=a.org",
            "exa mple.org; dkim=pass header.d=a.org",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&format!("a.org; {}x=y", "(".repeat(50_000))), None, "nothing recurses");
        assert_eq!(parse(&format!("a.org{}", "; dkim=pass".repeat(101))), None, "bounded");
        assert_eq!(parse(&format!("a.org; dkim=pass{}", " header.d=a.org".repeat(51))), None, "bounded");
    }

    #[test]
    fn a_quoted_string_or_a_comment_cannot_smuggle_a_result() {
        let text = "a.org; dkim=fail reason=\"x; dkim=pass header.d=b.org\" (; dkim=pass header.d=c.org) header.d=d.org";
        assert_eq!(properties(text), [("dkim".into(), "fail".into(), vec!["header.d=d.org".into()])]);
        assert_eq!(properties("\"a.org\"; spf=pass smtp.mailfrom=\"x\\\"y\"@b.org")[0].2, ["smtp.mailfrom=x\"y@b.org"]);
    }

    #[test]
    fn a_property_that_is_there_twice_says_nothing() {
        let parsed = parse("a.org; dkim=pass header.d=b.org header.d=c.org header.s=x").expect("valid");
        assert_eq!((parsed.results[0].property("header", "d"), parsed.results[0].property("header", "s")), (None, Some("x")));
    }

    #[test]
    fn the_author_is_known_even_of_a_malformed_field() {
        for (text, id) in [
            (" mx.example.org; dkim=", Some("mx.example.org")),
            ("(c) mx.example.org(x) 7;", Some("mx.example.org")),
            ("\"mx.example.org\";", Some("mx.example.org")),
            ("mx.example.org", Some("mx.example.org")),
            ("dkim=pass", None),
            ("\"\"; dkim=pass", None),
            ("", None),
            ("(open", None),
        ] {
            assert_eq!(authserv_id(text).as_deref(), id, "{text}");
        }
    }

    #[test]
    fn an_arc_instance_is_split_off() {
        assert_eq!(instance(" i=1; mx.example.org; none"), Some((1, " mx.example.org; none")));
        assert_eq!(instance("i = (x) 12 ;a"), Some((12, "a")));
        for bad in ["", "i=1", "j=1; a", "mx.example.org; i=1", "i=x; a"] {
            assert_eq!(instance(bad), None, "{bad}");
        }
    }
}
