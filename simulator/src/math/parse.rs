//! Reads an expression: by descent, one function for each precedence. Every error has its place.

use super::{Across, Each, MathError, Node, Operator};

/// Characters of an expression: CloudWatch's own limit (`MetricDataQuery.Expression`).
const CHARACTERS_MAX: usize = 2_048;
/// Nesting, so that a hostile expression takes no stack.
const DEPTH_MAX: u32 = 64;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    Word(String),
    Sign(&'static str),
    End,
}

/// What each position of the text holds.
struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: u32,
}

/// Binary operators, those that bind least first.
const LEVELS: [&[(&str, Operator)]; 6] = [
    &[("OR", Operator::Or), ("||", Operator::Or)],
    &[("AND", Operator::And), ("&&", Operator::And)],
    &[
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[("*", Operator::Multiply), ("/", Operator::Divide)],
    &[("^", Operator::Power)],
];

/// Longest first.
const SIGNS: [&str; 18] = ["<=", ">=", "==", "!=", "&&", "||", "<", ">", "+", "-", "*", "/", "^", "(", ")", "[", "]", ","];

pub(super) fn parse(text: &str) -> Result<Node, MathError> {
    if text.chars().count() > CHARACTERS_MAX {
        return Err(MathError { position: CHARACTERS_MAX, text: format!("too long: CloudWatch takes {CHARACTERS_MAX} characters") });
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
    let node = parser.level(0)?;
    match parser.peek() {
        Token::End => Ok(node),
        _ => Err(parser.wrong("an operator or the end")),
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, MathError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let position = |rest: &str| text[..text.len() - rest.len()].chars().count() + 1;
    while let Some(first) = rest.chars().next() {
        let at = position(rest);
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
        } else if first.is_ascii_digit() || first == '.' {
            let length = number_length(rest);
            let number = rest[..length].parse().map_err(|_| MathError { position: at, text: format!("{:?} is not a number", &rest[..length]) })?;
            tokens.push((at, Token::Number(number)));
            rest = &rest[length..];
        } else if first.is_ascii_alphabetic() {
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push((at, Token::Word(rest[..length].to_owned())));
            rest = &rest[length..];
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push((at, Token::Sign(sign)));
            rest = &rest[sign.len()..];
        } else {
            return Err(MathError { position: at, text: format!("{first:?} belongs to no expression") });
        }
    }
    tokens.push((position(rest), Token::End));
    Ok(tokens)
}

/// How many bytes at the start are a number: digits, a point, an exponent.
fn number_length(text: &str) -> usize {
    let digits = |from: usize| from + text[from..].find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len() - from);
    let end = digits(0);
    let exponent = text[end..].strip_prefix(['e', 'E']).map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
    match exponent {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => digits(text.len() - rest.len()),
        _ => end,
    }
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)].1
    }

    fn position(&self) -> usize {
        self.tokens[self.next.min(self.tokens.len() - 1)].0
    }

    fn wrong(&self, wanted: &str) -> MathError {
        let found = match self.peek() {
            Token::Number(number) => number.to_string(),
            Token::Word(word) => word.clone(),
            Token::Sign(sign) => (*sign).to_owned(),
            Token::End => "the end".to_owned(),
        };
        MathError { position: self.position(), text: format!("wanted {wanted}, found {found}") }
    }

    fn take(&mut self, sign: &str) -> bool {
        let is_there = matches!(self.peek(), Token::Sign(found) if *found == sign);
        self.next += usize::from(is_there);
        is_there
    }

    fn want(&mut self, sign: &str) -> Result<(), MathError> {
        if self.take(sign) { Ok(()) } else { Err(self.wrong(sign)) }
    }

    fn operator(&mut self, level: usize) -> Option<Operator> {
        let found = match self.peek() {
            Token::Sign(sign) => *sign,
            Token::Word(word) => word.as_str(),
            _ => return None,
        };
        let operator = LEVELS[level].iter().find(|(sign, _)| *sign == found)?.1;
        self.next += 1;
        Some(operator)
    }

    fn level(&mut self, level: usize) -> Result<Node, MathError> {
        if level == 0 {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(MathError { position: self.position(), text: format!("nested more than {DEPTH_MAX} deep") });
            }
        }
        let mut node = self.side(level)?;
        while let Some(operator) = self.operator(level) {
            node = Node::Binary(operator, Box::new(node), Box::new(self.side(level)?));
        }
        if level == 0 {
            self.depth -= 1;
        }
        Ok(node)
    }

    fn side(&mut self, level: usize) -> Result<Node, MathError> {
        if level + 1 < LEVELS.len() { self.level(level + 1) } else { self.unary() }
    }

    fn unary(&mut self) -> Result<Node, MathError> {
        let mut minuses = 0;
        while self.take("-") {
            minuses += 1;
        }
        let node = self.primary()?;
        Ok(if minuses % 2 == 1 { Node::Negative(Box::new(node)) } else { node })
    }

    fn primary(&mut self) -> Result<Node, MathError> {
        if self.take("(") {
            let node = self.level(0)?;
            self.want(")")?;
            return Ok(node);
        }
        match self.peek().clone() {
            Token::Number(number) => {
                self.next += 1;
                Ok(Node::Number(number))
            }
            Token::Word(word) if word.starts_with(|c: char| c.is_ascii_lowercase()) => {
                self.next += 1;
                Ok(Node::Metric(word))
            }
            Token::Word(word) => self.function(&word),
            _ => Err(self.wrong("a number, a metric's id, a function or (")),
        }
    }

    fn function(&mut self, name: &str) -> Result<Node, MathError> {
        let at = self.position();
        let each = |each| move |of| Node::Each(each, Box::new(of));
        self.next += 1;
        match name {
            "IF" => {
                self.want("(")?;
                let condition = self.level(0)?;
                self.want(",")?;
                let yes = self.level(0)?;
                let no = if self.take(",") { Some(Box::new(self.level(0)?)) } else { None };
                self.want(")")?;
                Ok(Node::If(Box::new(condition), Box::new(yes), no))
            }
            "FILL" => self.fill(),
            "ABS" => self.one().map(each(Each::Abs)),
            "CEIL" => self.one().map(each(Each::Ceil)),
            "FLOOR" => self.one().map(each(Each::Floor)),
            "AVG" => self.list(name).map(|list| Node::Across(Across::Average, list)),
            "MAX" => self.list(name).map(|list| Node::Across(Across::Maximum, list)),
            "MIN" => self.list(name).map(|list| Node::Across(Across::Minimum, list)),
            "SUM" => self.list(name).map(|list| Node::Across(Across::Sum, list)),
            _ => Err(MathError {
                position: at,
                text: format!("{name} is not simulated; there are IF, FILL, ABS, CEIL, FLOOR, and AVG, MAX, MIN, SUM of a list [..]"),
            }),
        }
    }

    fn fill(&mut self) -> Result<Node, MathError> {
        self.want("(")?;
        let at = self.position();
        let series = self.level(0)?;
        self.want(",")?;
        let node = match self.peek() {
            Token::Word(word) if word == "REPEAT" => {
                self.next += 1;
                let Node::Metric(id) = series else {
                    return Err(MathError { position: at, text: "FILL(.., REPEAT) is simulated for a metric only, not for an expression".into() });
                };
                Node::FillRepeat(id)
            }
            Token::Word(word) if word == "LINEAR" => {
                let text = "FILL(.., LINEAR) is not simulated: the newest period has nothing to be interpolated with; use REPEAT or a number";
                return Err(MathError { position: self.position(), text: text.into() });
            }
            _ => Node::FillWith(Box::new(series), Box::new(self.level(0)?)),
        };
        self.want(")")?;
        Ok(node)
    }

    fn one(&mut self) -> Result<Node, MathError> {
        self.want("(")?;
        let node = self.level(0)?;
        self.want(")")?;
        Ok(node)
    }

    fn list(&mut self, name: &str) -> Result<Vec<Node>, MathError> {
        self.want("(")?;
        if !self.take("[") {
            let text = format!("{name} of one series depends on how much an alarm happens to fetch; only {name}([m1, m2]) is simulated");
            return Err(MathError { position: self.position(), text });
        }
        let mut list = vec![self.level(0)?];
        while self.take(",") {
            list.push(self.level(0)?);
        }
        self.want("]")?;
        self.want(")")?;
        Ok(list)
    }
}
