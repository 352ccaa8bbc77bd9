//! A template's text as a tree in which every value knows its line. Short tags (`!Ref x`) become what they stand for (`Ref: x`). JSON is YAML,
//! so it is read, too.
//!
//! What CloudFormation does not take (aliases, several documents, a key twice) is an error.

use saphyr_parser::{Event, Parser, Tag};

use super::TemplateError;

/// Nesting, so that a hostile text takes no stack.
const DEPTH_MAX: usize = 64;

/// A value of the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// As written, without quotes: CloudFormation takes `300` and `'300'` alike.
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value of a key, if this is a map with it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// The entries of a map; of all else, none.
    pub(super) fn entries(&self) -> &[(String, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The function that a map of one entry calls, as `Ref` and `Fn::If` do.
    pub(super) fn function(&self) -> Option<(&str, &Node)> {
        match self.entries() {
            [(name, argument)] if name == "Ref" || name == "Condition" || name.starts_with("Fn::") => Some((name, argument)),
            _ => None,
        }
    }
}

/// A collection that is still open.
struct Open {
    line: usize,
    tag: Option<String>,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<(String, Node)>, key: Option<String> },
}

/// Reads a text.
///
/// # Errors
/// With the line of what is no YAML, or no YAML that CloudFormation takes.
pub(super) fn read(text: &str) -> Result<Node, TemplateError> {
    let wrong = |line: usize, text: String| TemplateError { line, place: String::new(), text };
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| wrong(error.marker().line(), format!("no YAML: {}", error.info())))?;
        let line = span.start.line();
        let node = match event {
            Event::Scalar(text, _, _, tag) => tagged(name(tag.as_deref()), Node { line, value: Value::Scalar(text.into_owned()) }),
            Event::SequenceStart(_, tag) | Event::MappingStart(_, tag) if open.len() >= DEPTH_MAX => {
                return Err(wrong(line, format!("nested more than {DEPTH_MAX} deep{}", if tag.is_some() { ", with a tag" } else { "" })));
            }
            Event::SequenceStart(_, tag) => {
                open.push(Open { line, tag: name(tag.as_deref()), items: Items::List(Vec::new()) });
                continue;
            }
            Event::MappingStart(_, tag) => {
                open.push(Open { line, tag: name(tag.as_deref()), items: Items::Map { entries: Vec::new(), key: None } });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(closed) = open.pop() else { continue };
                let value = match closed.items {
                    Items::List(nodes) => Value::List(nodes),
                    Items::Map { entries, .. } => Value::Map(entries),
                };
                tagged(closed.tag, Node { line: closed.line, value })
            }
            Event::Alias(_) => return Err(wrong(line, "an alias, which CloudFormation does not take: write it out".into())),
            _ => continue,
        };
        match open.last_mut().map(|open| &mut open.items) {
            Some(Items::List(nodes)) => nodes.push(node),
            Some(Items::Map { entries, key }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => match node.value {
                    Value::Scalar(text) if entries.iter().any(|(there, _)| *there == text) => {
                        return Err(wrong(line, format!("the key {text} is there twice")));
                    }
                    Value::Scalar(text) => *key = Some(text),
                    _ => return Err(wrong(line, "a key that is no text".into())),
                },
            },
            None if root.is_some() => return Err(wrong(line, "a second document; a template is one".into())),
            None => root = Some(node),
        }
    }
    root.ok_or_else(|| wrong(1, "empty; a template has Resources".into()))
}

/// The long name of a short tag.
fn name(tag: Option<&Tag>) -> Option<String> {
    let tag = tag.filter(|tag| tag.handle == "!" && !tag.suffix.is_empty())?;
    Some(match tag.suffix.as_str() {
        "Ref" | "Condition" => tag.suffix.clone(),
        other => format!("Fn::{other}"),
    })
}

fn tagged(tag: Option<String>, node: Node) -> Node {
    match tag {
        Some(name) => Node { line: node.line, value: Value::Map(vec![(name, node)]) },
        None => node,
    }
}
