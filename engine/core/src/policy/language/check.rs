//! Types, units and constants of a parsed condition; then it is a program. One pass over the tree.

mod answers;
mod constants;
mod texts;
mod windows;

use super::asking::Asking;
use super::error::{Fault, Span};
use super::fields::{Field, MAX_TEXT_LEN, Type, Unit};
use super::guards::Input;
use super::parse::{Binary, Node, NodeKind, Tree};
use super::program::{MAX_STACK, Program, State, Step, lower};
use constants::{folded, units};
use texts::{bytes, distance, word};

/// The functions that give a number its unit: what one is worth.
const FUNCTIONS: [(&str, Unit, i64); 5] = [
    ("reais", Unit::Centavos, 100),
    ("seconds", Unit::Seconds, 1),
    ("minutes", Unit::Seconds, 60),
    ("hours", Unit::Seconds, 3600),
    ("days", Unit::Seconds, 24 * 3600),
];

/// What is on the stack where the check stands.
#[derive(Debug, Clone, Copy)]
struct Operand {
    ty: Type,
    span: Span,
    /// Its value, where it is known.
    constant: Option<i64>,
    /// The place of the window's value that it is.
    window: Option<u8>,
    /// Where its steps begin.
    first: usize,
}

struct Check<'t> {
    text: &'t str,
    tree: &'t Tree,
    stack: Vec<Operand>,
    steps: Vec<Step>,
    constants: Vec<i64>,
    asking: &'t mut Asking,
    /// What it reads, and where.
    reads: Vec<(Input, Span)>,
    /// Values of windows that it reads or asks for.
    windows: Vec<u8>,
}

/// Gives what the condition reads, too, and where.
pub(super) fn check(
    text: &str,
    tree: &Tree,
    asking: &mut Asking,
) -> Result<(Program, Vec<(Input, Span)>), Fault> {
    let mut check = Check {
        text,
        tree,
        stack: Vec::new(),
        steps: Vec::new(),
        constants: Vec::new(),
        asking,
        reads: Vec::new(),
        windows: Vec::new(),
    };
    for node in &tree.nodes {
        check.node(node)?;
        assert!(check.stack.len() <= MAX_STACK, "nesting is bounded");
    }
    let result = check.pop();
    assert!(check.stack.is_empty(), "the parser balances operators and operands");
    if result.ty != Type::Bool {
        return Err(Fault::new(
            result.span,
            format!("a condition is true or false, and this is {}", result.ty.name()),
            "compare it with something",
        ));
    }
    if result.constant == Some(0) {
        return Err(Fault::new(
            result.span,
            "the condition is never true",
            "remove the rule, or compare with a field",
        ));
    }
    let Check { steps, constants, reads, mut windows, .. } = check;
    let mut fields: Vec<_> = reads.iter().filter_map(|(input, _)| input.field()).collect();
    fields.sort_unstable();
    fields.dedup();
    windows.sort_unstable();
    windows.dedup();
    Ok((lower(&steps, constants, fields, windows), reads))
}

impl Check<'_> {
    fn pop(&mut self) -> Operand {
        self.stack.pop().expect("the parser balances operators and operands")
    }

    fn written(&self, span: Span) -> &str {
        &self.text[span.range()]
    }

    fn push(&mut self, ty: Type, span: Span, first: usize, step: Step) {
        self.steps.push(step);
        let constant = match step {
            Step::Constant(value) => Some(value),
            Step::Truth(value) => Some(value.into()),
            _ => None,
        };
        let window = match step {
            Step::Window(place) => Some(place),
            _ => None,
        };
        self.stack.push(Operand { ty, span, constant, window, first });
    }

    /// What all operands of the node at the top amount to, where that is known: one step.
    fn fold(
        &mut self,
        ty: Type,
        span: Span,
        first: usize,
        value: Option<i64>,
    ) -> Result<(), Fault> {
        let overflows = || Fault::new(span, "the number overflows", "numbers have 64 bits");
        let value = value.ok_or_else(overflows)?;
        self.steps.truncate(first);
        let step = if ty == Type::Bool { Step::Truth(value != 0) } else { Step::Constant(value) };
        self.push(ty, span, first, step);
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<(), Fault> {
        let (span, first) = (node.span, self.steps.len());
        match node.kind {
            NodeKind::Bool(value) => self.push(Type::Bool, span, first, Step::Truth(value)),
            NodeKind::Int(value) => {
                self.push(Type::Int(Unit::Plain), span, first, Step::Constant(value));
            }
            // Its value is known where it is known what it is compared with.
            NodeKind::Text => self.push(Type::Quoted, span, first, Step::Constant(0)),
            NodeKind::Field => {
                let field = self.field(span)?;
                self.reads.push((Input::Field(field), span));
                self.push(field.ty(), span, first, Step::Field(field));
            }
            NodeKind::Has { argument } => {
                let field = self.field(argument)?;
                self.push(Type::Bool, span, first, Step::Has(field));
                if !field.is_optional() {
                    let message = format!("every transaction has {}", field.name());
                    return Err(Fault::new(span, message, "leave has() out"));
                }
            }
            NodeKind::Window { subject, function, first, count } => {
                self.window(span, subject, function, first..first + count)?;
            }
            NodeKind::InList { key, name } => {
                let place = self.look_up(key, name)?;
                self.windows.push(place);
                self.push(Type::Bool, span, first, Step::State(State::Has, place));
            }
            NodeKind::ListNumber { key, name } => {
                let place = self.look_up(key, name)?;
                self.reads.push((Input::Window(place), span));
                self.windows.push(place);
                self.push(Type::Int(Unit::Plain), span, first, Step::Window(place));
            }
            NodeKind::Answer { name } => self.answer(span, name)?,
            NodeKind::HasWindow => {
                let x = self.pop();
                self.state(span, &x, State::Has)?;
            }
            NodeKind::Not => {
                let x = self.pop();
                self.wants(&x, Type::Bool, "! turns true into false")?;
                match x.constant {
                    Some(value) => self.fold(Type::Bool, span, x.first, Some(1 - value))?,
                    None => self.push(Type::Bool, span, x.first, Step::Not),
                }
            }
            NodeKind::Negate => {
                let x = self.pop();
                if let Some(place) = x.window {
                    self.asking.tell_all_apart(place);
                }
                let unit = self.number(&x)?;
                match x.constant {
                    Some(value) => {
                        let negated = value.checked_neg();
                        self.fold(Type::Int(unit), span, x.first, negated)?;
                    }
                    None => self.push(Type::Int(unit), span, x.first, Step::Negate),
                }
            }
            NodeKind::Binary(operator) => self.operator(operator, span)?,
            NodeKind::Choice => self.choice(span)?,
            NodeKind::In { first, count } => self.among(span, first, count)?,
            NodeKind::Call { name } => self.call(span, name)?,
            NodeKind::StartsWith | NodeKind::EndsWith => self.affix(node.kind, span)?,
        }
        Ok(())
    }

    fn field(&self, span: Span) -> Result<Field, Fault> {
        let name = self.written(span);
        Field::named(name).ok_or_else(|| {
            let near = Field::ALL
                .iter()
                .map(|field| (distance(field.name(), name), field.name()))
                .min()
                .filter(|(distance, _)| *distance <= 3);
            let help = match near {
                Some((_, near)) => format!("did you mean {near}?"),
                None => "fields begin with tx, payer or payee: tx.amount, payer.listed".to_owned(),
            };
            Fault::new(span, format!("there is no field {name}"), help)
        })
    }

    fn wants(&self, operand: &Operand, ty: Type, why: &str) -> Result<(), Fault> {
        if operand.ty == ty {
            return Ok(());
        }
        let message = format!("{} belongs here, and this is {}", ty.name(), operand.ty.name());
        Err(Fault::new(operand.span, message, why))
    }

    fn number(&self, operand: &Operand) -> Result<Unit, Fault> {
        match operand.ty {
            Type::Int(unit) => Ok(unit),
            other => Err(Fault::new(
                operand.span,
                format!("a number belongs here, and this is {}", other.name()),
                "only numbers are added, multiplied and ordered",
            )),
        }
    }

    fn operator(&mut self, operator: Binary, span: Span) -> Result<(), Fault> {
        let (mut b, mut a) = (self.pop(), self.pop());
        let written = operator.written();
        self.tell_apart(operator, &a, &b);
        let ty = if operator.is_logic() {
            for side in [&a, &b] {
                self.wants(side, Type::Bool, &format!("{written} joins conditions"))?;
            }
            Type::Bool
        } else if operator.is_comparison() {
            self.resolve(&mut a, &mut b)?;
            self.comparable(operator, &a, &b, span)?;
            Type::Bool
        } else {
            Type::Int(self.arithmetic(operator, &a, &b, span)?)
        };
        match (a.constant, b.constant) {
            (Some(x), Some(y)) => self.fold(ty, span, a.first, folded(operator, x, y)),
            _ => {
                self.push(ty, span, a.first, Step::Binary(operator));
                Ok(())
            }
        }
    }

    /// Finds what a text in quotes stands for, by what it is compared with.
    fn resolve(&mut self, a: &mut Operand, b: &mut Operand) -> Result<(), Fault> {
        let (quoted, other) = match (a.ty, b.ty) {
            (Type::Quoted, Type::Quoted) => {
                let span = a.span.to(b.span);
                return Err(Fault::new(span, "two texts are compared", "compare with a field"));
            }
            (Type::Quoted, _) => (a, b.ty),
            (_, Type::Quoted) => (b, a.ty),
            _ => return Ok(()),
        };
        let value = self.quoted(quoted.span, other)?;
        self.steps[quoted.first] = Step::Constant(value);
        (quoted.ty, quoted.constant) = (other, Some(value));
        Ok(())
    }

    /// What a text in quotes stands for as a value of a type.
    fn quoted(&self, span: Span, ty: Type) -> Result<i64, Fault> {
        let text = &self.written(span)[1..span.end - span.start - 1];
        match ty {
            Type::Word(words) => word(words, text).ok_or_else(|| {
                let near = words.iter().map(|(word, _)| (distance(word, text), *word)).min();
                let help = match near.filter(|(distance, _)| *distance <= 2) {
                    Some((_, near)) => format!("did you mean \"{near}\"?"),
                    None => format!("it is {}", ty.name()),
                };
                Fault::new(span, format!("\"{text}\" never stands there"), help)
            }),
            Type::Text => bytes(text).map(|bytes| bytes as i64).ok_or_else(|| {
                Fault::new(
                    span,
                    format!("\"{text}\" never stands there"),
                    format!("such texts have 1 to {MAX_TEXT_LEN} ASCII characters"),
                )
            }),
            Type::Answer(validator) => self.answered_word(span, validator, text),
            other => Err(Fault::new(
                span,
                format!("a text is compared with {}", other.name()),
                "numbers stand without quotes",
            )),
        }
    }

    fn comparable(
        &self,
        operator: Binary,
        a: &Operand,
        b: &Operand,
        span: Span,
    ) -> Result<(), Fault> {
        let orders = !matches!(operator, Binary::Equal | Binary::NotEqual);
        let same = match (a.ty, b.ty) {
            (Type::Int(x), Type::Int(y)) => return units(x, y, span).map(drop),
            (Type::Word(x), Type::Word(y)) => x == y,
            (x, y) => x == y,
        };
        if !same {
            let message = format!("{} is compared with {}", a.ty.name(), b.ty.name());
            return Err(Fault::new(span, message, "compare things of one kind"));
        }
        if orders {
            let message = format!("{} has no order", a.ty.name());
            return Err(Fault::new(span, message, "compare it by == or !="));
        }
        Ok(())
    }

    fn arithmetic(
        &self,
        operator: Binary,
        a: &Operand,
        b: &Operand,
        span: Span,
    ) -> Result<Unit, Fault> {
        let (x, y) = (self.number(a)?, self.number(b)?);
        match operator {
            Binary::Multiply => match (x, y) {
                (unit, Unit::Plain) | (Unit::Plain, unit) => Ok(unit),
                _ => Err(Fault::new(
                    span,
                    format!("{} are multiplied by {}", x.name(), y.name()),
                    "multiply by a plain number",
                )),
            },
            Binary::Ratio if b.constant == Some(0) => Err(Fault::new(
                b.span,
                "it is divided by zero",
                "write what it is held to, and then to what: ratio(tx.amount, payer.avg(\"30d\"))",
            )),
            Binary::Ratio => units(x, y, span).map(|_| Unit::Plain),
            Binary::Divide | Binary::Remainder => {
                match b.constant {
                    None => {
                        return Err(Fault::new(
                            b.span,
                            "what divides may be zero",
                            "divide by a number that stands here, or multiply: a / b > 3 is a > 3 * b; or write ratio(a, b) > 3000",
                        ));
                    }
                    Some(0) => {
                        return Err(Fault::new(
                            b.span,
                            "it is divided by zero",
                            "divide by another number",
                        ));
                    }
                    Some(_) => {}
                }
                match (x, y) {
                    (unit, Unit::Plain) => Ok(unit),
                    (x, y) if x == y && operator == Binary::Divide => Ok(Unit::Plain),
                    (x, y) => units(x, y, span),
                }
            }
            _ => units(x, y, span),
        }
    }

    fn choice(&mut self, span: Span) -> Result<(), Fault> {
        let (mut b, mut a, condition) = (self.pop(), self.pop(), self.pop());
        self.wants(&condition, Type::Bool, "a choice is written c ? a : b")?;
        if (a.ty, b.ty) != (Type::Quoted, Type::Quoted) {
            self.resolve(&mut a, &mut b)?;
        }
        for place in [a.window, b.window].into_iter().flatten() {
            self.asking.tell_all_apart(place);
        }
        let ty = match (a.ty, b.ty) {
            (Type::Int(x), Type::Int(y)) => Type::Int(units(x, y, span)?),
            (Type::Quoted, _) => {
                return Err(Fault::new(
                    span,
                    "two texts to choose from",
                    "choose between conditions",
                ));
            }
            (x, y) if x == y => x,
            (x, y) => {
                let message = format!("{} or {}", x.name(), y.name());
                return Err(Fault::new(span, message, "both sides of a choice are of one kind"));
            }
        };
        if let (Some(c), Some(x), Some(y)) = (condition.constant, a.constant, b.constant) {
            return self.fold(ty, span, condition.first, Some(if c != 0 { x } else { y }));
        }
        self.push(ty, span, condition.first, Step::Choice);
        Ok(())
    }

    fn among(&mut self, span: Span, first: usize, count: usize) -> Result<(), Fault> {
        let x = self.pop();
        if let Some(place) = x.window {
            self.asking.tell_all_apart(place);
        }
        if count == 0 {
            return Err(Fault::new(span, "the list is empty", "nothing is ever in it: remove it"));
        }
        let tree = self.tree;
        let from = self.constants.len();
        for constant in &tree.constants[first..first + count] {
            let value = match (constant.kind, x.ty) {
                (NodeKind::Int(value), Type::Int(_)) => value,
                (NodeKind::Text, ty) => self.quoted(constant.span, ty)?,
                (_, ty) => {
                    let message = format!("a number is compared with {}", ty.name());
                    return Err(Fault::new(constant.span, message, "compare things of one kind"));
                }
            };
            if self.constants[from..].contains(&value) {
                return Err(Fault::new(constant.span, "it stands in the list twice", "remove one"));
            }
            self.constants.push(value);
        }
        if let Type::Int(unit @ (Unit::Centavos | Unit::Seconds)) = x.ty {
            let message = format!("{} are looked for in a list of plain numbers", unit.name());
            return Err(Fault::new(span, message, "compare with == and ||"));
        }
        self.constants[from..].sort_unstable();
        let step = Step::Among { first: from as u16, count: count as u16 };
        match x.constant {
            Some(value) => {
                let found = self.constants[from..].binary_search(&value).is_ok();
                self.fold(Type::Bool, span, x.first, Some(found.into()))
            }
            None => {
                self.push(Type::Bool, span, x.first, step);
                Ok(())
            }
        }
    }

    fn call(&mut self, span: Span, name: Span) -> Result<(), Fault> {
        let x = self.pop();
        let written = self.written(name);
        if let Some((_, state)) = windows::STATES.iter().find(|(known, _)| *known == written) {
            return self.state(span, &x, *state);
        }
        if written == answers::NO_ANSWER {
            return self.no_answer(span, &x);
        }
        let Some(&(_, unit, worth)) = FUNCTIONS.iter().find(|(known, ..)| *known == written) else {
            let known: Vec<_> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
            let message = format!("there is no function {written}");
            let help =
                format!("there are has, known, exact, no_answer, ratio, {}", known.join(", "));
            return Err(Fault::new(name, message, help));
        };
        let (Type::Int(Unit::Plain), Some(value)) = (x.ty, x.constant) else {
            let message = format!("{written} takes a number that stands here");
            return Err(Fault::new(x.span, message, format!("write {written}(10)")));
        };
        let value = value.checked_mul(worth);
        self.fold(Type::Int(unit), span, x.first, value)
    }
}
