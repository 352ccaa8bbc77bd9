//! The names of a key, `d=` and `s=`, as they stand in signatures and in DNS: A-labels in lower case.
//!
//! Others are refused with what to write, rather than rewritten: the settings say what is published.

/// The longest name (RFC 1035 §2.3.4, without the length bytes).
const NAME_BYTES_MAX: usize = 253;
/// The longest label.
const LABEL_BYTES_MAX: usize = 63;

/// Checks a signing domain and a selector (RFC 6376 §3.1: labels of letters, digits and hyphens).
///
/// # Errors
/// Which of them cannot be used, and what to write.
pub(super) fn check(domain: &str, selector: &str) -> Result<(), String> {
    if !is_name(domain) || !domain.contains('.') {
        return Err(match idna::domain_to_ascii(domain).ok().filter(|ascii| ascii != domain && is_name(ascii)) {
            Some(ascii) => format!("the domain has to be written as {ascii}"),
            None => "the domain is none; write it like example.com".into(),
        });
    }
    if !is_name(selector) {
        return Err("the selector is none; write small letters, digits and hyphens, like rf2026a".into());
    }
    if domain.len() + selector.len() + "._domainkey.".len() > NAME_BYTES_MAX {
        return Err(format!("SELECTOR._domainkey.DOMAIN is longer than {NAME_BYTES_MAX} characters; take a shorter selector"));
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_ldh = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && is_ldh && !label.starts_with('-') && !label.ends_with('-')
    };
    text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_dns_cannot_hold_are_refused_with_what_to_write() {
        check("example.com", "rf2026a").expect("valid");
        check("xn--bcher-kva.example", "a.b-1").expect("valid");
        let long = format!("{}.example.com", vec!["a".repeat(60); 3].join("."));
        check(&long, "s").expect("just fits");
        for (domain, selector, remedy) in [
            ("Example.com", "s", "written as example.com"),
            ("bücher.example", "s", "written as xn--bcher-kva.example"),
            ("example", "s", "like example.com"),
            ("example.com.", "s", "like example.com"),
            ("", "s", "like example.com"),
            ("-a.example", "s", "like example.com"),
            ("example.com", "", "like rf2026a"),
            ("example.com", "S1", "like rf2026a"),
            ("example.com", "s;t=y", "like rf2026a"),
            ("example.com", "a..b", "like rf2026a"),
            (&long, &"s".repeat(60), "shorter selector"),
        ] {
            let error = check(domain, selector).expect_err(domain);
            assert!(error.contains(remedy), "{domain} {selector}: {error}");
        }
    }
}
