//! CloudWatch's metric math, as far as alarms of a fleet need it: one period's value of an expression from the metrics' values in it.
//!
//! Metrics are time series: in a period without data they have no value, and what becomes of that differs by operator and is
//! what this file is for ([`Expression::eval`]). Functions over a whole range (`AVG(m1)`, `RATE`, `METRICS()`) are refused by
//! [`Expression::parse`]: in an alarm they depend on how much CloudWatch happens to fetch, and its guide advises against them.

mod evaluate;
mod parse;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

/// An expression of an alarm.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    root: Node,
}

/// Why an expression cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {text}")]
pub struct MathError {
    /// The character where it went wrong; the first is 1.
    pub position: usize,
    /// What is wrong, and what would be right.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Number(f64),
    Metric(String),
    Negative(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    If(Box<Node>, Box<Node>, Option<Box<Node>>),
    /// A series whose gaps are filled with a number.
    FillWith(Box<Node>, Box<Node>),
    /// A metric whose gaps are filled with its last value.
    FillRepeat(String),
    /// One number of each data point: `ABS`, `CEIL`, `FLOOR`.
    Each(Each, Box<Node>),
    /// One series of several: `MIN([m1, m2])`.
    Across(Across, Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    And,
    Or,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Each {
    Abs,
    Ceil,
    Floor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Across {
    Average,
    Maximum,
    Minimum,
    Sum,
}

impl Expression {
    /// Reads an expression: numbers, metrics' ids, `+ - * / ^`, comparisons, `AND OR && ||`, `IF`, `FILL`, `ABS`, `CEIL`, `FLOOR`, and `AVG`,
    /// `MAX`, `MIN` and `SUM` of a list `[..]`.
    ///
    /// # Errors
    /// With the place of what is not understood, or not simulated.
    pub fn parse(text: &str) -> Result<Expression, MathError> {
        let root = parse::parse(text)?;
        if evaluate::is_scalar(&root) {
            return Err(MathError { position: 1, text: "names no metric, so it is a number and no time series; an alarm needs a series".into() });
        }
        Ok(Expression { root })
    }

    /// The ids of the metrics in it.
    pub fn ids(&self) -> BTreeSet<&str> {
        let mut ids = BTreeSet::new();
        self.root.collect(&mut ids);
        ids
    }

    /// Its value in a period in which the metrics have these values. `None`: no data point. Nothing is known of the periods before, so
    /// `FILL(m, REPEAT)` has nothing to repeat.
    pub fn eval(&self, now: &BTreeMap<&str, Option<f64>>) -> Option<f64> {
        self.eval_after(now, &BTreeMap::new())
    }

    /// Its value, where `last` has each metric's last value before this period, for `FILL(m, REPEAT)`.
    ///
    /// Missing data, as the CloudWatch user guide says ("Using math expressions with CloudWatch metrics"): of two series one of which
    /// has no value, that one counts as 0; a series that has none against a number has none; a division by 0 has none. `IF` has
    /// none where its condition has none, 0 where the value for true is missing, and none where the value for false is.
    pub fn eval_after(&self, now: &BTreeMap<&str, Option<f64>>, last: &BTreeMap<&str, f64>) -> Option<f64> {
        evaluate::value(&self.root, &evaluate::Period { now, last }).number()
    }
}

impl Node {
    fn collect<'a>(&'a self, ids: &mut BTreeSet<&'a str>) {
        match self {
            Node::Number(_) => {}
            Node::Metric(id) | Node::FillRepeat(id) => {
                ids.insert(id);
            }
            Node::Negative(of) | Node::Each(_, of) => of.collect(ids),
            Node::Binary(_, left, right) | Node::FillWith(left, right) => {
                left.collect(ids);
                right.collect(ids);
            }
            Node::If(condition, yes, no) => [Some(condition), Some(yes), no.as_ref()].into_iter().flatten().for_each(|node| node.collect(ids)),
            Node::Across(_, list) => list.iter().for_each(|node| node.collect(ids)),
        }
    }
}
