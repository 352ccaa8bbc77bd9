//! The properties of one resource, taken out one by one, so that at the end it is known which nobody read.

use std::str::FromStr;

use super::{
    Resource, TemplateError,
    resolve::{Resolved, Scope, Value},
};

/// Properties of a resource or of a part of one, with their place for errors.
pub(super) struct Properties {
    /// `Workers`, or `Workers.Metrics[0].MetricStat`.
    place: String,
    line: usize,
    entries: Vec<(String, Resolved)>,
    /// Where those lay that were taken out.
    lines: Vec<(String, usize)>,
}

impl Properties {
    /// All of a resource's.
    ///
    /// # Errors
    /// Those of the functions in them.
    pub(super) fn of(resource: &Resource<'_>, scope: &Scope<'_>) -> Result<Self, TemplateError> {
        let mut properties = Self { place: resource.id.to_owned(), line: resource.node.line, entries: Vec::new(), lines: Vec::new() };
        for (name, node) in resource.node.get("Properties").map(super::yaml::Node::entries).unwrap_or_default() {
            let resolved = scope.resolve(node).map_err(|error| match error.place.as_str() {
                "" => TemplateError { place: format!("{}.{name}", resource.id), ..error },
                _ => error,
            })?;
            if resolved.value != Value::Nothing {
                properties.entries.push((name.clone(), resolved));
            }
        }
        Ok(properties)
    }

    /// Those of a part: a value that must be a map.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn part(&self, name: &str, value: Resolved) -> Result<Self, TemplateError> {
        let place = format!("{}.{name}", self.place);
        match value.value {
            Value::Map(entries) => Ok(Self { place, line: value.line, entries, lines: Vec::new() }),
            Value::Unknown(text) => Err(TemplateError { line: value.line, place, text }),
            _ => Err(TemplateError { line: value.line, place, text: "is no map".into() }),
        }
    }

    /// A property, which then counts as read.
    pub(super) fn take(&mut self, name: &str) -> Option<Resolved> {
        let index = self.entries.iter().position(|(known, _)| known == name)?;
        let (name, value) = self.entries.swap_remove(index);
        self.lines.push((name, value.line));
        Some(value)
    }

    /// An error about a property.
    pub(super) fn wrong(&self, name: &str, text: String) -> TemplateError {
        let taken = self.lines.iter().find(|(known, _)| known == name).map(|(_, line)| *line);
        let there = self.entries.iter().find(|(known, _)| known == name).map(|(_, value)| value.line);
        TemplateError { line: taken.or(there).unwrap_or(self.line), place: format!("{}.{name}", self.place), text }
    }

    pub(super) fn optional_text(&mut self, name: &str) -> Result<Option<String>, TemplateError> {
        match self.take(name).map(|resolved| resolved.value) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Unknown(why)) => Err(self.wrong(name, why)),
            Some(_) => Err(self.wrong(name, "is no text".into())),
        }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, TemplateError> {
        self.optional_text(name)?.ok_or_else(|| self.wrong(name, "is missing".into()))
    }

    pub(super) fn optional_number<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, TemplateError> {
        let Some(text) = self.optional_text(name)? else { return Ok(None) };
        // 300.0 is as good as 300 where CloudFormation wants a whole number.
        let whole = text.strip_suffix(".0").unwrap_or(&text);
        whole.parse().map(Some).map_err(|_| self.wrong(name, format!("{text:?} is no number that is allowed here")))
    }

    pub(super) fn number<T: FromStr>(&mut self, name: &str) -> Result<T, TemplateError> {
        self.optional_number(name)?.ok_or_else(|| self.wrong(name, "is missing".into()))
    }

    pub(super) fn is(&mut self, name: &str, default: bool) -> Result<bool, TemplateError> {
        match self.optional_text(name)?.as_deref() {
            None => Ok(default),
            Some("true" | "True" | "yes") => Ok(true),
            Some("false" | "False" | "no") => Ok(false),
            Some(other) => Err(self.wrong(name, format!("{other:?} is neither true nor false"))),
        }
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Resolved>, TemplateError> {
        match self.take(name).map(|resolved| resolved.value) {
            None => Ok(Vec::new()),
            Some(Value::List(items)) => Ok(items),
            Some(Value::Unknown(why)) => Err(self.wrong(name, why)),
            Some(_) => Err(self.wrong(name, "is no list".into())),
        }
    }

    /// The end: what was not taken must be among those that cannot change what scales.
    ///
    /// # Errors
    /// The first that is not.
    pub(super) fn finish(self, harmless: &[&str]) -> Result<(), TemplateError> {
        match self.entries.iter().find(|(name, _)| !harmless.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => Err(self.wrong(name, "can change what scales, and is not simulated".into())),
        }
    }
}
