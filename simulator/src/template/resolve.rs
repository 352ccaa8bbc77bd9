//! Parameters, conditions and functions: what a property comes to when the stack is made. What only the deployment knows (an account number,
//! a parameter without a value) stays [`Value::Unknown`] with the reason, which is an error only where the value matters.

use std::collections::BTreeMap;

use super::{TemplateError, yaml};

/// Calls of a condition by a condition, so that a ring ends.
const CONDITION_DEPTH_MAX: u32 = 32;

/// A property's value with its line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resolved {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    List(Vec<Resolved>),
    Map(Vec<(String, Resolved)>),
    /// A reference to a resource of the template, by its logical id.
    Resource(String),
    /// `AWS::NoValue`: as if the property were not written.
    Nothing,
    /// Why nobody can know it here, and what helps.
    Unknown(String),
}

/// What the functions of a template refer to.
pub(super) struct Scope<'a> {
    parameters: BTreeMap<&'a str, Value>,
    conditions: BTreeMap<&'a str, &'a yaml::Node>,
    /// With the conditions on which they are made.
    resources: BTreeMap<&'a str, Option<&'a str>>,
}

impl<'a> Scope<'a> {
    /// The scope of a template, with `given` values of parameters; else their defaults. A name that begins with `AWS::` gives a pseudo
    /// parameter.
    ///
    /// # Errors
    /// A given name that is no parameter, a value that the parameter does not allow.
    pub(super) fn new(template: &'a yaml::Node, given: &BTreeMap<String, String>) -> Result<Self, TemplateError> {
        let section = |name: &str| template.get(name).map(yaml::Node::entries).unwrap_or_default();
        let declared = section("Parameters");
        let mut parameters = BTreeMap::new();
        for (name, parameter) in declared {
            parameters.insert(name.as_str(), self::parameter(name, parameter, given.get(name))?);
        }
        if let Some(unknown) = given.keys().find(|name| !name.starts_with("AWS::") && !parameters.contains_key(name.as_str())) {
            let names: Vec<&str> = parameters.keys().copied().collect();
            let text = format!("the template has no parameter {unknown}; it has {}", names.join(", "));
            return Err(TemplateError { line: template.get("Parameters").map_or(1, |node| node.line), place: unknown.clone(), text });
        }
        for name in ["AWS::AccountId", "AWS::Partition", "AWS::Region", "AWS::StackId", "AWS::StackName", "AWS::URLSuffix"] {
            let value = given.get(name).map(|text| Value::Text(text.clone()));
            parameters.insert(name, value.unwrap_or_else(|| Value::Unknown(format!("{name} is known only when the stack is made"))));
        }
        parameters.insert("AWS::NoValue", Value::Nothing);
        let conditions = section("Conditions").iter().map(|(name, node)| (name.as_str(), node)).collect();
        let condition = |node: &'a yaml::Node| node.get("Condition").and_then(yaml::Node::text);
        let resources = section("Resources").iter().map(|(name, node)| (name.as_str(), condition(node))).collect();
        Ok(Self { parameters, conditions, resources })
    }

    /// What a value comes to.
    ///
    /// # Errors
    /// A function with wrong arguments, a name that is nowhere, a condition that depends on what is unknown.
    pub(super) fn resolve(&self, node: &yaml::Node) -> Result<Resolved, TemplateError> {
        let line = node.line;
        let value = match (&node.value, node.function()) {
            (_, Some((name, argument))) => return self.call(name, argument, line),
            (yaml::Value::Scalar(text), _) => Value::Text(text.clone()),
            (yaml::Value::List(nodes), _) => {
                let all: Vec<Resolved> = nodes.iter().map(|node| self.resolve(node)).collect::<Result<_, _>>()?;
                Value::List(all.into_iter().filter(|item| item.value != Value::Nothing).collect())
            }
            (yaml::Value::Map(entries), _) => {
                let all: Vec<(String, Resolved)> =
                    entries.iter().map(|(key, node)| Ok((key.clone(), self.resolve(node)?))).collect::<Result<_, TemplateError>>()?;
                Value::Map(all.into_iter().filter(|(_, item)| item.value != Value::Nothing).collect())
            }
        };
        Ok(Resolved { line, value })
    }

    /// Whether a condition holds.
    ///
    /// # Errors
    /// It is nowhere, or depends on what is unknown.
    pub(super) fn holds(&self, name: &str, line: usize) -> Result<bool, TemplateError> {
        self.condition_of(name, line, 0)
    }

    fn call(&self, name: &str, argument: &yaml::Node, line: usize) -> Result<Resolved, TemplateError> {
        let wrong = |text: String| Err(TemplateError { line, place: String::new(), text });
        let value = match (name, &argument.value) {
            ("Ref", yaml::Value::Scalar(name)) => self.reference(name, line)?,
            ("Fn::If", yaml::Value::List(arguments)) => match arguments.as_slice() {
                [condition, yes, no] => {
                    let Some(condition) = condition.text() else { return wrong("Fn::If wants a condition's name first".into()) };
                    return self.resolve(if self.holds(condition, line)? { yes } else { no });
                }
                _ => return wrong("Fn::If wants a condition's name and two values".into()),
            },
            ("Fn::Sub", yaml::Value::Scalar(text)) => self.substitute(text, &[], line)?,
            ("Fn::Sub", yaml::Value::List(arguments)) => match arguments.as_slice() {
                [text, names] if text.text().is_some() => self.substitute(text.text().unwrap_or_default(), names.entries(), line)?,
                _ => return wrong("Fn::Sub wants a text, or a text and a map".into()),
            },
            ("Fn::Join", yaml::Value::List(arguments)) => match arguments.as_slice() {
                [separator, list] if separator.text().is_some() => self.join(separator.text().unwrap_or_default(), list)?,
                _ => return wrong("Fn::Join wants a separator and a list".into()),
            },
            ("Fn::GetAtt", _) => self.attribute(argument),
            ("Ref" | "Fn::If" | "Fn::Sub" | "Fn::Join", _) => return wrong(format!("{name} with wrong arguments")),
            _ => Value::Unknown(format!("{name} is not simulated")),
        };
        Ok(Resolved { line, value })
    }

    fn reference(&self, name: &str, line: usize) -> Result<Value, TemplateError> {
        let wrong = |text: String| Err(TemplateError { line, place: String::new(), text });
        match (self.parameters.get(name), self.resources.get(name)) {
            (Some(value), _) => Ok(value.clone()),
            // A condition that is not known here is not what makes it wrong.
            (None, Some(Some(condition))) if self.holds(condition, line) == Ok(false) => {
                wrong(format!("{name} is not made where {condition} does not hold, and CloudFormation refuses to refer to it"))
            }
            (None, Some(_)) => Ok(Value::Resource(name.to_owned())),
            (None, None) => wrong(format!("{name} is neither a parameter nor a resource")),
        }
    }

    /// A policy's ARN is what a reference to it is; of all else only the name of the resource is known here.
    fn attribute(&self, argument: &yaml::Node) -> Value {
        let (resource, attribute) = match &argument.value {
            yaml::Value::Scalar(text) => text.split_once('.').unwrap_or((text, "")),
            yaml::Value::List(parts) => match parts.as_slice() {
                [resource, attribute] => (resource.text().unwrap_or_default(), attribute.text().unwrap_or_default()),
                _ => ("", ""),
            },
            yaml::Value::Map(_) => ("", ""),
        };
        match attribute {
            "Arn" if self.resources.contains_key(resource) => Value::Resource(resource.to_owned()),
            _ => Value::Unknown(format!("the attribute {attribute} of {resource} is known only when the stack is made")),
        }
    }

    fn substitute(&self, text: &str, names: &[(String, yaml::Node)], line: usize) -> Result<Value, TemplateError> {
        let mut whole = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let Some(length) = rest[start..].find('}') else { break };
            let name = rest[start + 2..start + length].trim();
            whole.push_str(&rest[..start]);
            let after = &rest[start + length + 1..];
            if let Some(literal) = name.strip_prefix('!') {
                whole.push_str(&format!("${{{literal}}}"));
            } else {
                let value = match names.iter().find(|(known, _)| known == name) {
                    Some((_, node)) => self.resolve(node)?.value,
                    None if name.contains('.') => Value::Unknown(format!("{name} is known only when the stack is made")),
                    None => self.reference(name, line)?,
                };
                match value {
                    Value::Text(text) => whole.push_str(&text),
                    Value::Resource(_) if text.len() == name.len() + 3 => return Ok(value),
                    Value::Unknown(_) => return Ok(value),
                    _ => return Ok(Value::Unknown(format!("{name} in the middle of a text is known only when the stack is made"))),
                }
            }
            rest = after;
        }
        whole.push_str(rest);
        Ok(Value::Text(whole))
    }

    fn join(&self, separator: &str, list: &yaml::Node) -> Result<Value, TemplateError> {
        let list = self.resolve(list)?;
        let Value::List(items) = list.value else { return Ok(Value::Unknown("Fn::Join of what is no list here".into())) };
        let mut texts = Vec::new();
        for item in items {
            match item.value {
                Value::Text(text) => texts.push(text),
                Value::Unknown(why) => return Ok(Value::Unknown(why)),
                _ => return Ok(Value::Unknown("Fn::Join of what is no text here".into())),
            }
        }
        Ok(Value::Text(texts.join(separator)))
    }

    fn condition_of(&self, name: &str, line: usize, depth: u32) -> Result<bool, TemplateError> {
        let wrong = |text: &str| Err(TemplateError { line, place: name.to_owned(), text: text.to_owned() });
        match self.conditions.get(name) {
            Some(_) if depth > CONDITION_DEPTH_MAX => wrong("a condition that depends on itself"),
            Some(node) => self.test(node, name, depth),
            None => wrong("no condition of this name"),
        }
    }

    fn test(&self, node: &yaml::Node, of: &str, depth: u32) -> Result<bool, TemplateError> {
        let wrong = |text: String| Err(TemplateError { line: node.line, place: of.to_owned(), text });
        let Some((name, argument)) = node.function() else { return wrong("no condition: wants Fn::Equals, Fn::Not, Fn::And, Fn::Or".into()) };
        let items: &[yaml::Node] = if let yaml::Value::List(items) = &argument.value { items } else { &[] };
        let test = |item: &yaml::Node| self.test(item, of, depth + 1);
        match (name, items) {
            _ if depth > CONDITION_DEPTH_MAX => wrong("a condition that depends on itself".into()),
            ("Condition", _) => self.condition_of(argument.text().unwrap_or_default(), node.line, depth + 1),
            ("Fn::Not", [item]) => Ok(!test(item)?),
            ("Fn::And", [_, ..]) => Ok(items.iter().map(test).collect::<Result<Vec<_>, _>>()?.into_iter().all(|holds| holds)),
            ("Fn::Or", [_, ..]) => Ok(items.iter().map(test).collect::<Result<Vec<_>, _>>()?.into_iter().any(|holds| holds)),
            ("Fn::Equals", [left, right]) => match (self.resolve(left)?.value, self.resolve(right)?.value) {
                (Value::Unknown(why), _) | (_, Value::Unknown(why)) => wrong(why),
                (left, right) => Ok(left == right),
            },
            _ => wrong(format!("{name} is no condition that is understood here")),
        }
    }
}

/// A parameter's value: the given one, else the default.
fn parameter(name: &str, parameter: &yaml::Node, given: Option<&String>) -> Result<Value, TemplateError> {
    let text = |key: &str| parameter.get(key).and_then(yaml::Node::text);
    let wrong = |text: String| Err(TemplateError { line: parameter.line, place: name.to_owned(), text });
    let Some(value) = given.map(String::as_str).or_else(|| text("Default")) else {
        return Ok(Value::Unknown(format!("the parameter {name} has no default; give it a value")));
    };
    if let Some(yaml::Value::List(allowed)) = parameter.get("AllowedValues").map(|node| &node.value) {
        let allowed: Vec<&str> = allowed.iter().filter_map(yaml::Node::text).collect();
        if !allowed.contains(&value) {
            return wrong(format!("{value:?} is not allowed; these are: {}", allowed.join(", ")));
        }
    }
    if text("Type") == Some("Number") {
        let Ok(number) = value.parse::<f64>() else { return wrong(format!("{value:?} is no number")) };
        let bound = |key: &str| text(key).and_then(|bound| bound.parse::<f64>().ok());
        if bound("MinValue").is_some_and(|least| number < least) || bound("MaxValue").is_some_and(|most| number > most) {
            return wrong(format!("{value} is outside of MinValue and MaxValue"));
        }
    }
    let is_list = text("Type").is_some_and(|of| of.starts_with("List<") || of == "CommaDelimitedList");
    let item = |text: &str| Resolved { line: parameter.line, value: Value::Text(text.trim().to_owned()) };
    Ok(if is_list { Value::List(value.split(',').map(item).collect()) } else { Value::Text(value.to_owned()) })
}
