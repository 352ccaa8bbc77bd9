//! The value of an expression in one period. Cannot fail: what has no value has none.

use std::collections::BTreeMap;

use super::{Across, Each, Node, Operator};

/// What is known in a period.
pub(super) struct Period<'a> {
    pub(super) now: &'a BTreeMap<&'a str, Option<f64>>,
    pub(super) last: &'a BTreeMap<&'a str, f64>,
}

/// A number is there in every period; a series may have no value in this one. They differ in what a missing value becomes.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Scalar(f64),
    Series(Option<f64>),
}

impl Value {
    pub(super) fn number(self) -> Option<f64> {
        match self {
            Value::Scalar(number) => Some(number),
            Value::Series(number) => number,
        }
    }

    fn map(self, change: impl Fn(f64) -> f64) -> Value {
        match self {
            Value::Scalar(number) => Value::Scalar(change(number)),
            Value::Series(number) => Value::Series(number.map(change)),
        }
    }
}

/// Whether it has no series in it.
pub(super) fn is_scalar(node: &Node) -> bool {
    match node {
        Node::Number(_) => true,
        Node::Metric(_) | Node::FillRepeat(_) | Node::FillWith(..) | Node::Across(..) => false,
        Node::Negative(of) | Node::Each(_, of) => is_scalar(of),
        Node::Binary(_, left, right) => is_scalar(left) && is_scalar(right),
        Node::If(condition, yes, no) => is_scalar(condition) && is_scalar(yes) && no.as_ref().is_none_or(|no| is_scalar(no)),
    }
}

pub(super) fn value(node: &Node, period: &Period<'_>) -> Value {
    match node {
        Node::Number(number) => Value::Scalar(*number),
        Node::Metric(id) => Value::Series(period.now.get(id.as_str()).copied().flatten()),
        Node::Negative(of) => value(of, period).map(|number| -number),
        Node::Each(each, of) => value(of, period).map(|number| match each {
            Each::Abs => number.abs(),
            Each::Ceil => number.ceil(),
            Each::Floor => number.floor(),
        }),
        Node::Binary(operator, left, right) => binary(*operator, value(left, period), value(right, period)),
        Node::If(condition, yes, no) => {
            let Some(condition) = value(condition, period).number() else { return Value::Series(None) };
            Value::Series(match (condition != 0.0, no) {
                (true, _) => Some(value(yes, period).number().unwrap_or(0.0)),
                (false, Some(no)) => value(no, period).number(),
                (false, None) => None,
            })
        }
        Node::FillWith(series, filler) => Value::Series(value(series, period).number().or_else(|| value(filler, period).number())),
        Node::FillRepeat(id) => Value::Series(period.now.get(id.as_str()).copied().flatten().or_else(|| period.last.get(id.as_str()).copied())),
        Node::Across(across, list) => Value::Series(over(*across, list.iter().map(|node| value(node, period).number()))),
    }
}

fn binary(operator: Operator, left: Value, right: Value) -> Value {
    let (a, b) = match (left, right) {
        (Value::Scalar(a), Value::Scalar(b)) => return calculate(operator, a, b).map_or(Value::Series(None), Value::Scalar),
        (Value::Series(None), Value::Series(None)) => return Value::Series(None),
        (Value::Series(a), Value::Series(b)) => (a.unwrap_or(0.0), b.unwrap_or(0.0)),
        (Value::Series(Some(a)), Value::Scalar(b)) | (Value::Scalar(a), Value::Series(Some(b))) => (a, b),
        (Value::Series(None), Value::Scalar(_)) | (Value::Scalar(_), Value::Series(None)) => return Value::Series(None),
    };
    Value::Series(calculate(operator, a, b))
}

fn calculate(operator: Operator, a: f64, b: f64) -> Option<f64> {
    let truth = |is_true: bool| Some(f64::from(u8::from(is_true)));
    match operator {
        Operator::Add => Some(a + b),
        Operator::Subtract => Some(a - b),
        Operator::Multiply => Some(a * b),
        Operator::Divide => (b != 0.0).then(|| a / b),
        Operator::Power => Some(a.powf(b)).filter(|power| power.is_finite()),
        Operator::Less => truth(a < b),
        Operator::LessOrEqual => truth(a <= b),
        Operator::Greater => truth(a > b),
        Operator::GreaterOrEqual => truth(a >= b),
        Operator::Equal => truth(a == b),
        Operator::NotEqual => truth(a != b),
        Operator::And => truth(a != 0.0 && b != 0.0),
        Operator::Or => truth(a != 0.0 || b != 0.0),
    }
}

/// One value of many. A missing one counts as 0 in a sum and a mean, as the guide says, and not at all in the others; where all are missing
/// there is none.
fn over(across: Across, values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<Option<f64>> = values.collect();
    let there = values.iter().copied().flatten();
    match across {
        _ if values.iter().all(Option::is_none) => None,
        Across::Maximum => there.reduce(f64::max),
        Across::Minimum => there.reduce(f64::min),
        Across::Sum => Some(there.sum()),
        Across::Average => Some(there.sum::<f64>() / values.len() as f64),
    }
}
