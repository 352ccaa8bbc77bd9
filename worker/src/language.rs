//! In which of a response's languages a request is answered.
//!
//! The first of these that names a language of the response decides:
//!
//! 1. the +tag of the address that was asked (`get+fa@`, `get+phone.zh-TW@`),
//! 2. Accept-Language, then Content-Language (RFC 3282),
//! 3. the letters of the Subject and of the first text part of the body ([`crate::script`]).
//!
//! A language names another by RFC 4647 §3.4 (lookup): `zh-Hant-TW` finds `zh-Hant`, then `zh`; and what is found at none
//! of these steps may still be a closer kind of one: `zh` finds `zh-Hans`. Nothing here fails: if no language is found the
//! response goes out as the catalogue has it, and if a wrong one is found the catalogue's own text stands beside it.

mod accept;
mod tag;

pub use tag::{Direction, Tag};

use crate::{
    address::Address,
    catalogue::{Response, Translation},
    request::Request,
    script,
};

/// The translation of `response` for a request to `rcpt_to`; `None` if the response's own text is the one.
pub fn choose<'a>(response: &'a Response, rcpt_to: &str, request: &Request) -> Option<&'a Translation> {
    let own = response.lang.as_ref()?;
    if response.translations.is_empty() {
        return None;
    }
    let offered: Vec<&Tag> = std::iter::once(own).chain(response.translations.iter().map(|translation| &translation.lang)).collect();
    let find = |wanted: Vec<Tag>| wanted.iter().find_map(|tag| lookup(tag, &offered));
    let in_fields = |name: &str| request.values(name).flat_map(accept::languages).collect();
    let found = find(in_plus_tag(rcpt_to))
        .or_else(|| find(in_fields("accept-language")))
        .or_else(|| find(in_fields("content-language")))
        .or_else(|| find(in_letters(request)));
    response.translations.get(found?.checked_sub(1)?)
}

/// The languages that a +tag may name: as a whole, then its parts, the larger ones first.
fn in_plus_tag(rcpt_to: &str) -> Vec<Tag> {
    let Some(address) = Address::parse(rcpt_to) else { return Vec::new() };
    let Some((_, plus_tag)) = address.local().split_once('+') else { return Vec::new() };
    let whole_tag = |text: &str| Tag::parse(&text.replace('_', "-"));
    let parts = plus_tag.split(['+', '.']);
    let small_parts = plus_tag.split(['+', '.', '-', '_']);
    std::iter::once(plus_tag).chain(parts).chain(small_parts).filter_map(whole_tag).collect()
}

fn in_letters(request: &Request) -> Vec<Tag> {
    let text = format!("{}\n{}", request.subject, request.excerpt);
    script::languages(&text).iter().filter_map(|tag| Tag::parse(tag)).collect()
}

/// Which of `offered` serves who wants `wanted`.
fn lookup(wanted: &Tag, offered: &[&Tag]) -> Option<usize> {
    let keys: Vec<String> = offered.iter().map(|tag| tag.key()).collect();
    let key = wanted.key();
    let mut range = key.as_str();
    loop {
        let is_kind_of_range = |key: &String| key.strip_prefix(range).is_some_and(|rest| rest.starts_with('-'));
        let found = keys.iter().position(|key| key == range).or_else(|| keys.iter().position(is_kind_of_range));
        match (found, range.rsplit_once('-')) {
            (Some(index), _) => return Some(index),
            (None, Some((shorter, _))) => range = shorter,
            (None, None) => return None,
        }
    }
}

#[cfg(test)]
mod tests;
