//! Tokens to a tree in postfix order: what an operator works on stands before it, so that whoever goes
//! over the tree needs no recursion, however long a chain of operators is.

mod answers;
mod lists;

use super::MAX_DEPTH;
use super::asking;
use super::error::{Fault, Span};
use super::token::{Kind, Token};

/// An operator with two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    /// `ratio(a, b)`: a thousand times the one by the other, as a function.
    Ratio,
}

impl Binary {
    /// How it is written between its sides, and how strongly it binds: more binds first.
    const ALL: [(&'static str, Self, u8); 13] = [
        ("||", Self::Or, 2),
        ("&&", Self::And, 3),
        ("==", Self::Equal, RELATION),
        ("!=", Self::NotEqual, RELATION),
        ("<", Self::Less, RELATION),
        ("<=", Self::LessEqual, RELATION),
        (">", Self::Greater, RELATION),
        (">=", Self::GreaterEqual, RELATION),
        ("+", Self::Add, 5),
        ("-", Self::Subtract, 5),
        ("*", Self::Multiply, 6),
        ("/", Self::Divide, 6),
        ("%", Self::Remainder, 6),
    ];

    pub const fn is_logic(self) -> bool {
        matches!(self, Self::Or | Self::And)
    }

    pub const fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Less
                | Self::LessEqual
                | Self::Greater
                | Self::GreaterEqual
        )
    }

    pub fn written(self) -> &'static str {
        let infix = Self::ALL.iter().find(|(_, operator, _)| *operator == self);
        infix.map_or("ratio", |(text, ..)| text)
    }
}

/// How strongly comparisons and `in` bind.
const RELATION: u8 = 4;
/// How strongly `? :` binds.
const CHOICE: u8 = 1;

/// What stands at a place of the tree. What it works on are the nodes right before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeKind {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A text; the span has its quotes.
    Text,
    /// A field, by its whole name.
    Field,
    /// `has` of a field, whose name the span of the argument has.
    Has { argument: Span },
    /// `!x`.
    Not,
    /// `-x`.
    Negate,
    /// Of the two before.
    Binary(Binary),
    /// `c ? a : b`: the three before.
    Choice,
    /// `x in […]`: the one before, and so many constants of a list.
    In { first: usize, count: usize },
    /// `x in list("…")`: whether a key of the payment is in a list; the span of the name has its quotes.
    InList { key: Span, name: Span },
    /// `list("…")[x]`: the number that a list has for a key of the payment; likewise.
    ListNumber { key: Span, name: Span },
    /// `validator("…")`: what a validator answered; the span of the name has its quotes.
    Answer { name: Span },
    /// A function of the one before.
    Call { name: Span },
    /// A value of a window, as `payer.count("1h")`: its function, and its arguments among the constants.
    Window { subject: Span, function: Span, first: usize, count: usize },
    /// `has` of a window's value: the one before.
    HasWindow,
    /// `x.startsWith("…")`: the two before.
    StartsWith,
    /// `x.endsWith("…")`: the two before.
    EndsWith,
}

/// A node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    pub kind: NodeKind,
    /// All of it, what it works on included.
    pub span: Span,
}

/// A condition in postfix order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    pub nodes: Vec<Node>,
    /// The constants of lists, as they stand.
    pub constants: Vec<Node>,
}

pub(super) fn parse(text: &str, tokens: &[Token]) -> Result<Tree, Fault> {
    let tree = Tree { nodes: Vec::new(), constants: Vec::new() };
    let mut parser = Parser { text, tokens, at: 0, depth: 0, tree };
    if parser.peek().kind == Kind::End {
        return Err(Fault::new(
            Span::of(text),
            "there is no condition",
            "a rule that always matches has the condition true",
        ));
    }
    parser.expression(0)?;
    let rest = parser.peek();
    if rest.kind != Kind::End {
        let help = match parser.written(rest) {
            ")" | "]" => "remove it, or open it before",
            _ => "join conditions with && or ||",
        };
        let message = format!("{} is not expected here", parser.shown(rest));
        return Err(Fault::new(rest.span, message, help));
    }
    Ok(parser.tree)
}

struct Parser<'t> {
    text: &'t str,
    tokens: &'t [Token],
    at: usize,
    depth: usize,
    tree: Tree,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Token {
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn written(&self, token: Token) -> &'t str {
        &self.text[token.span.range()]
    }

    fn shown(&self, token: Token) -> String {
        match token.kind {
            Kind::End => "the end".to_owned(),
            _ => self.written(token).to_owned(),
        }
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is_there = self.peek().kind != Kind::Text && self.written(self.peek()) == sign;
        if is_there {
            self.at += 1;
        }
        is_there
    }

    fn expect(&mut self, sign: &str, help: &str) -> Result<Token, Fault> {
        let token = self.peek();
        if self.takes(sign) {
            return Ok(token);
        }
        let message = format!("{sign} belongs before {}", self.shown(token));
        Err(Fault::new(token.span, message, help))
    }

    fn push(&mut self, kind: NodeKind, span: Span) -> Span {
        self.tree.nodes.push(Node { kind, span });
        span
    }

    /// An expression whose operators bind more strongly than `least`; gives its span.
    fn expression(&mut self, least: u8) -> Result<Span, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::new(
                self.peek().span,
                format!("more than {MAX_DEPTH} parts inside each other"),
                "make several rules of it",
            ));
        }
        let mut left = self.operand()?;
        loop {
            let token = self.peek();
            let written = if token.kind == Kind::Text { "" } else { self.written(token) };
            if written == "?" && least < CHOICE {
                left = self.choice(left)?;
                continue;
            }
            if written == "in" && token.kind == Kind::Name && least < RELATION {
                self.at += 1;
                left = match self.written(self.peek()) {
                    "list" => self.in_named_list(left)?,
                    _ => self.list(left)?,
                };
                continue;
            }
            let operator = Binary::ALL.iter().find(|(text, ..)| *text == written);
            let Some(&(_, operator, strength)) = operator.filter(|(.., s)| *s > least) else {
                break;
            };
            self.at += 1;
            let right = self.expression(strength)?;
            left = self.push(NodeKind::Binary(operator), left.to(right));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn choice(&mut self, condition: Span) -> Result<Span, Fault> {
        self.at += 1;
        self.expression(CHOICE)?;
        self.expect(":", "a choice is written c ? a : b")?;
        // To the right: a ? b : c ? d : e.
        let otherwise = self.expression(0)?;
        Ok(self.push(NodeKind::Choice, condition.to(otherwise)))
    }

    fn list(&mut self, operand: Span) -> Result<Span, Fault> {
        self.expect("[", "a list is written in brackets: x in [1, 2, 3]")?;
        let first = self.tree.constants.len();
        loop {
            if self.peek().kind != Kind::Text && self.written(self.peek()) == "]" {
                break;
            }
            let constant = self.constant()?;
            self.tree.constants.push(constant);
            if !self.takes(",") {
                break;
            }
        }
        let end = self.expect("]", "separate the values of a list by commas")?;
        let count = self.tree.constants.len() - first;
        Ok(self.push(NodeKind::In { first, count }, operand.to(end.span)))
    }

    fn constant(&mut self) -> Result<Node, Fault> {
        let token = self.next();
        let node = |kind, span| Ok(Node { kind, span });
        match (token.kind, self.written(token)) {
            (Kind::Number(number), _) => {
                node(NodeKind::Int(self.int(number, token.span)?), token.span)
            }
            (Kind::Text, _) => node(NodeKind::Text, token.span),
            (_, "-") => {
                let Token { kind: Kind::Number(number), span } = self.next() else {
                    return Err(self.no_constant(token));
                };
                node(NodeKind::Int(negative(number)), token.span.to(span))
            }
            _ => Err(self.no_constant(token)),
        }
    }

    fn no_constant(&self, token: Token) -> Fault {
        Fault::new(
            token.span,
            format!("{} is no value of a list", self.shown(token)),
            "lists hold numbers or texts as they are; compare with fields by ==",
        )
    }

    fn int(&self, number: u64, span: Span) -> Result<i64, Fault> {
        i64::try_from(number).map_err(|_| {
            Fault::new(
                span,
                "the number is too large",
                "numbers have 64 bits: at most 9223372036854775807",
            )
        })
    }

    /// What stands before and behind operators.
    fn operand(&mut self) -> Result<Span, Fault> {
        let token = self.next();
        let span = match (token.kind, self.written(token)) {
            (Kind::Number(number), _) => {
                let number = self.int(number, token.span)?;
                self.push(NodeKind::Int(number), token.span)
            }
            (Kind::Text, _) => self.push(NodeKind::Text, token.span),
            (Kind::Sign(_), "(") => {
                self.expression(0)?;
                let end = self.expect(")", "close the parenthesis")?;
                let span = token.span.to(end.span);
                return self.methods(span);
            }
            (Kind::Sign(_), "!") => {
                let operand = self.unary()?;
                return Ok(self.push(NodeKind::Not, token.span.to(operand)));
            }
            (Kind::Sign(_), "-") => {
                if let Kind::Number(number) = self.peek().kind {
                    let span = token.span.to(self.next().span);
                    return Ok(self.push(NodeKind::Int(negative(number)), span));
                }
                let operand = self.unary()?;
                return Ok(self.push(NodeKind::Negate, token.span.to(operand)));
            }
            (Kind::Name, "true" | "false") => {
                let value = self.written(token) == "true";
                self.push(NodeKind::Bool(value), token.span)
            }
            (Kind::Name, _) => return self.named(token),
            (Kind::End, _) => {
                return Err(Fault::new(
                    token.span,
                    "the condition ends too early",
                    "a field, a number or a text belongs here",
                ));
            }
            _ => {
                return Err(Fault::new(
                    token.span,
                    format!("{} is not expected here", self.shown(token)),
                    "a field, a number or a text belongs here",
                ));
            }
        };
        self.methods(span)
    }

    /// What a unary operator works on.
    fn unary(&mut self) -> Result<Span, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::new(
                self.peek().span,
                format!("more than {MAX_DEPTH} parts inside each other"),
                "make several rules of it",
            ));
        }
        let operand = self.operand()?;
        self.depth -= 1;
        Ok(operand)
    }

    /// A field, or a function.
    fn named(&mut self, first: Token) -> Result<Span, Fault> {
        if self.takes("(") {
            if self.written(first) == "has" {
                let name = self.next();
                let argument = self.dotted(name)?;
                let is_window = self.window(argument)?.is_some() || self.answer(name)?.is_some();
                let end = self.expect(")", "has() takes one field: has(tx.device)")?;
                let span = first.span.to(end.span);
                let kind = match is_window {
                    true => NodeKind::HasWindow,
                    false => NodeKind::Has { argument },
                };
                return Ok(self.push(kind, span));
            }
            if self.written(first) == "list" {
                let span = self.list_number(first)?;
                return self.methods(span);
            }
            if self.written(first) == answers::VALIDATOR {
                let span = self.answer_behind(first)?;
                return self.methods(span);
            }
            self.expression(0)?;
            if self.written(first) == "ratio" {
                const TAKES: &str =
                    "ratio() takes two values: ratio(tx.amount, payer.avg(\"30d\"))";
                self.expect(",", TAKES)?;
                self.expression(0)?;
                let end = self.expect(")", TAKES)?;
                let span = first.span.to(end.span);
                self.push(NodeKind::Binary(Binary::Ratio), span);
                return self.methods(span);
            }
            let end = self.expect(")", "functions take one value: reais(10)")?;
            let span = first.span.to(end.span);
            self.push(NodeKind::Call { name: first.span }, span);
            return self.methods(span);
        }
        let mut span = self.dotted(first)?;
        match self.window(span)? {
            Some(window) => span = window,
            None => {
                self.push(NodeKind::Field, span);
            }
        }
        self.methods(span)
    }

    /// A value of a window behind its subject, if one stands there.
    fn window(&mut self, subject: Span) -> Result<Option<Span>, Fault> {
        if asking::subject(&self.text[subject.range()]).is_none() || !self.takes(".") {
            return Ok(None);
        }
        let function = self.next();
        self.expect("(", "write it as payer.count(\"1h\")")?;
        let first = self.tree.constants.len();
        while self.peek().kind == Kind::Text {
            let span = self.next().span;
            self.tree.constants.push(Node { kind: NodeKind::Text, span });
            if !self.takes(",") {
                break;
            }
        }
        let end = self.expect(")", "windows take texts in quotes, with commas between them")?;
        let count = self.tree.constants.len() - first;
        let kind = NodeKind::Window { subject, function: function.span, first, count };
        Ok(Some(self.push(kind, subject.to(end.span))))
    }

    /// The whole name of a field: a method's name is not part of it.
    fn dotted(&mut self, first: Token) -> Result<Span, Fault> {
        if first.kind != Kind::Name {
            return Err(Fault::new(
                first.span,
                format!("{} is no field", self.shown(first)),
                "write a field: has(tx.device)",
            ));
        }
        let mut span = first.span;
        while self.written(self.peek()) == "."
            && let [name, behind] = self.tokens[(self.at + 1).min(self.tokens.len())..]
                .first_chunk::<2>()
                .copied()
                .unwrap_or([self.peek(), self.peek()])
            && name.kind == Kind::Name
            && self.written(behind) != "("
        {
            self.at += 2;
            span = span.to(name.span);
        }
        Ok(span)
    }

    /// `.startsWith("…")` and `.endsWith("…")` behind an operand.
    fn methods(&mut self, mut span: Span) -> Result<Span, Fault> {
        while self.takes(".") {
            let name = self.next();
            let kind = match self.written(name) {
                "startsWith" => NodeKind::StartsWith,
                "endsWith" => NodeKind::EndsWith,
                _ => {
                    let message = format!("there is no method {}", self.shown(name));
                    let help = "texts have startsWith(\"…\") and endsWith(\"…\")";
                    return Err(Fault::new(name.span, message, help));
                }
            };
            self.expect("(", "write it as x.startsWith(\"…\")")?;
            let argument = self.next();
            if argument.kind != Kind::Text {
                let message = format!("{} is no text", self.shown(argument));
                return Err(Fault::new(argument.span, message, "write a text in quotes"));
            }
            self.push(NodeKind::Text, argument.span);
            let end = self.expect(")", "it takes one text")?;
            span = span.to(end.span);
            self.push(kind, span);
        }
        Ok(span)
    }
}

/// The number with its sign. One more than the largest is the smallest.
fn negative(number: u64) -> i64 {
    (number as i64).wrapping_neg()
}
