//! The fields `lang` and `translations` of an entry. Each fault is found at its own place, as `translations.fa.body`.

use super::{Field, Fields};
use crate::{
    catalogue::{CatalogueError, Subject, Translation, is_whole_document},
    language::Tag,
};

/// Translations of one entry.
const TRANSLATIONS_MAX: usize = 100;

/// What translations must go with: the entry's own.
pub(super) struct Original<'a> {
    pub(super) lang: Option<&'a Tag>,
    pub(super) plain: &'a Option<String>,
    pub(super) html: &'a Option<String>,
    pub(super) subject: &'a Subject,
}

impl Field<'_> {
    pub(super) fn lang(&self) -> Result<Tag, CatalogueError> {
        let text: String = self.parse("a language tag, such as \"en\"")?;
        self.tag(&text)
    }

    fn tag(&self, text: &str) -> Result<Tag, CatalogueError> {
        Tag::parse(text).ok_or_else(|| self.error(&format!("{text:?} must be a language tag (BCP 47), such as \"en\", \"fa\" or \"zh-Hans\"")))
    }

    pub(super) fn translations(&self, original: &Original<'_>) -> Result<Vec<Translation>, CatalogueError> {
        let list: Fields<'_> = self.parse("an object from language tags to {\"body\": ..., \"subject\": ...}")?;
        if list.0.is_empty() {
            return Ok(Vec::new());
        }
        if list.0.len() > TRANSLATIONS_MAX {
            return Err(self.error(&format!("has more than {TRANSLATIONS_MAX} translations")));
        }
        let own = original.lang.ok_or_else(|| self.error("needs the language of the entry's own body: add \"lang\" to the entry"))?;
        if original.html.as_deref().is_some_and(is_whole_document) {
            return Err(self.error("cannot be beside a body whose html is a whole document: give there only what stands inside <body>"));
        }
        let mut translations: Vec<Translation> = Vec::with_capacity(list.0.len());
        for (text, value) in &list.0 {
            let field = Field { entry: self.entry, name: &format!("{}.{text}", self.name), raw: value.get() };
            let lang = field.tag(text)?;
            if lang == *own || translations.iter().any(|earlier| earlier.lang == lang) {
                return Err(field.error("is a language that the entry has already"));
            }
            translations.push(field.translation(lang, original)?);
        }
        Ok(translations)
    }

    fn translation(&self, lang: Tag, original: &Original<'_>) -> Result<Translation, CatalogueError> {
        let fields: Fields<'_> = self.parse("an object with body, and subject if need be")?;
        let (mut body, mut subject) = (None, None);
        for (index, (name, value)) in fields.0.iter().enumerate() {
            let field = Field { entry: self.entry, name: &format!("{}.{name}", self.name), raw: value.get() };
            if fields.0[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(field.error("is there twice"));
            }
            match name.as_str() {
                "body" => body = Some(field.translated_body(original)?),
                "subject" if *original.subject == Subject::FromRequest => {
                    return Err(field.error("cannot be beside \"subject_from_request\": true; remove one of the two"));
                }
                "subject" => subject = Some(field.subject()?),
                _ => return Err(field.error("is not a field of a translation; these are: body, subject")),
            }
        }
        let (plain, html) = body.ok_or_else(|| self.error("has no body"))?;
        Ok(Translation { lang, plain, html, subject })
    }

    /// A body with the parts that the entry's own has: both go out together, part by part.
    fn translated_body(&self, original: &Original<'_>) -> Result<(Option<String>, Option<String>), CatalogueError> {
        let (plain, html) = self.body()?;
        for (kind, is_here, is_there) in [("plain", plain.is_some(), original.plain.is_some()), ("html", html.is_some(), original.html.is_some())] {
            if is_here != is_there {
                let (with, without) = if is_here { ("this", "the entry's own") } else { ("the entry's own", "this") };
                let text = format!("must have the parts of the entry's own body: {with} has a {kind:?} part, {without} has none");
                return Err(self.error(&text));
            }
        }
        if html.as_deref().is_some_and(is_whole_document) {
            return Err(self.error("has a whole document as html: give only what stands inside <body>"));
        }
        Ok((plain, html))
    }
}
