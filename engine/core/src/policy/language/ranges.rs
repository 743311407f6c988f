//! Where a condition is true, as far as the ranges of what it reads say: whether it can ever be true, and
//! whether another one is true wherever it is.
//!
//! A *box* says of some facts between which numbers each lies; of the others it says nothing. A part of a
//! condition has boxes that hold all the payments of which it is true, and boxes for those of which it is
//! false; `&&` meets them pair by pair, `||` puts them beside each other. More than [`MAX_BOXES`] become the one
//! box around them. So boxes may hold too much, never too little: where none is left, there is no payment.
//! What compares fields with each other, or with what is computed, is a fact of its own.

use super::asking::LISTS_FROM;
use super::fields::{Type, Unit};
use super::parse::Binary;
use super::program::{Op, Program, Source};

/// Most boxes of a part. A policy has 256 conditions of up to 500 tokens, each held to each: this keeps
/// the worst of them to a moment.
const MAX_BOXES: usize = 8;

/// What a box may say something of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fact {
    /// A number.
    Number(Source),
    /// Whether something is so, 0 or 1, of which nothing more is known: the step that asks for it.
    Truth(Op),
    /// Whether a number is among these.
    Among(Source, Box<[i64]>),
}

/// For each of its facts, in the order of their numbers, the least and the highest number.
type OneBox = Vec<(u16, i64, i64)>;
type Boxes = Vec<OneBox>;

/// Of a part of a condition.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Where it is true.
    holds: Boxes,
    /// Where it is false.
    fails: Boxes,
}

impl Reach {
    /// Whether a condition can be true.
    pub fn can_hold(&self) -> bool {
        !self.holds.is_empty()
    }

    /// Whether another condition, looked at by the same [`Reaches`], is surely true wherever this one is.
    pub fn lies_within(&self, other: &Self) -> bool {
        let apart = |a: &OneBox, b: &OneBox| meet_boxes(a, b).is_none();
        self.holds.iter().all(|a| other.fails.iter().all(|b| apart(a, b)))
    }

    fn turned(self) -> Self {
        Self { holds: self.fails, fails: self.holds }
    }

    fn constant(holds: bool) -> Self {
        let of = |is_so: bool| if is_so { anything() } else { Vec::new() };
        Self { holds: of(holds), fails: of(!holds) }
    }
}

/// Looks at the conditions of a policy.
#[derive(Debug, Default)]
pub struct Reaches {
    /// What their boxes speak of: a fact's number is its place.
    facts: Vec<Fact>,
}

impl Reaches {
    /// Where a condition is true.
    ///
    /// # Panics
    /// If more facts than 65,536 were looked at: a policy has fewer tokens.
    pub fn of(&mut self, program: &Program) -> Reach {
        let mut parts: Vec<Reach> = Vec::new();
        for op in &program.ops {
            let pop = |parts: &mut Vec<Reach>| parts.pop().expect("the check balances programs");
            let part = match *op {
                Op::Truth(value) => Reach::constant(value),
                Op::TruthField(field) => self.truth(Fact::Number(Source::Field(field))),
                Op::Has(_) | Op::State(..) => self.truth(Fact::Truth(*op)),
                Op::Begins { source, .. } | Op::Ends { source, .. } => match source {
                    Source::Stack => self.unknown(*op),
                    _ => self.truth(Fact::Truth(*op)),
                },
                Op::Not => pop(&mut parts).turned(),
                Op::And => {
                    let (b, a) = (pop(&mut parts), pop(&mut parts));
                    Reach { holds: meet(&a.holds, &b.holds), fails: join(a.fails, b.fails) }
                }
                Op::Or => {
                    let (b, a) = (pop(&mut parts), pop(&mut parts));
                    Reach { holds: join(a.holds, b.holds), fails: meet(&a.fails, &b.fails) }
                }
                Op::Same => {
                    let (b, a) = (pop(&mut parts), pop(&mut parts));
                    same(&a, &b)
                }
                Op::Differ => {
                    let (b, a) = (pop(&mut parts), pop(&mut parts));
                    same(&a, &b).turned()
                }
                Op::ChooseTruth => {
                    let (b, a) = (pop(&mut parts), pop(&mut parts));
                    let condition = pop(&mut parts);
                    let either = |a: &Boxes, b: &Boxes| {
                        join(meet(&condition.holds, a), meet(&condition.fails, b))
                    };
                    Reach { holds: either(&a.holds, &b.holds), fails: either(&a.fails, &b.fails) }
                }
                Op::ChooseNumber(..) => {
                    pop(&mut parts);
                    continue;
                }
                Op::Arithmetic(..) => continue,
                Op::Compare(operator, a, b) => self.compare(*op, operator, a, b),
                Op::Among { source: Source::Stack, .. } => self.unknown(*op),
                Op::Among { source, first, count } => {
                    let among = &program.constants[usize::from(first)..][..usize::from(count)];
                    self.among(source, among)
                }
            };
            parts.push(part);
        }
        parts.pop().expect("a condition is one truth")
    }

    /// The number of a fact.
    fn fact(&mut self, fact: Fact) -> u16 {
        let at = self.facts.iter().position(|known| *known == fact).unwrap_or_else(|| {
            self.facts.push(fact);
            self.facts.len() - 1
        });
        u16::try_from(at).expect("a policy has fewer tokens than that")
    }

    fn truth(&mut self, fact: Fact) -> Reach {
        let fact = self.fact(fact);
        Reach { holds: vec![vec![(fact, 1, 1)]], fails: vec![vec![(fact, 0, 0)]] }
    }

    /// What depends on a number that is computed: like no other fact, not even one that reads the same.
    fn unknown(&mut self, op: Op) -> Reach {
        self.facts.push(Fact::Truth(op));
        let fact = u16::try_from(self.facts.len() - 1).expect("a policy has fewer tokens");
        Reach { holds: vec![vec![(fact, 1, 1)]], fails: vec![vec![(fact, 0, 0)]] }
    }

    /// Where a number lies between two others.
    fn within(&mut self, source: Source, (low, high): (i64, i64)) -> Boxes {
        let (least, highest) = range(source);
        let (low, high) = (low.max(least), high.min(highest));
        if low > high {
            return Vec::new();
        }
        vec![vec![(self.fact(Fact::Number(source)), low, high)]]
    }

    /// Where a number is another one than this.
    fn except(&mut self, source: Source, number: i64) -> Boxes {
        let below = number.checked_sub(1).map(|high| self.within(source, (i64::MIN, high)));
        let above = number.checked_add(1).map(|low| self.within(source, (low, i64::MAX)));
        join(below.unwrap_or_default(), above.unwrap_or_default())
    }

    /// Whether a number is among some, which are sorted.
    fn among(&mut self, source: Source, among: &[i64]) -> Reach {
        let ends = (among[0], among[among.len() - 1]);
        let is_in = self.truth(Fact::Among(source, among.into()));
        let mut holds = meet(&is_in.holds, &self.within(source, ends));
        let mut fails = is_in.fails;
        if among.len() < MAX_BOXES {
            let one_each = among.iter().map(|number| self.within(source, (*number, *number)));
            let one_each = one_each.reduce(join).unwrap_or_default();
            holds = meet(&holds, &one_each);
            let but = among.iter().map(|number| self.except(source, *number));
            let but = but.reduce(|a, b| meet(&a, &b)).unwrap_or_default();
            fails = meet(&fails, &but);
        }
        Reach { holds, fails }
    }

    fn compare(&mut self, op: Op, operator: Binary, a: Source, b: Source) -> Reach {
        let (operator, source, constant) = match (a, b) {
            (Source::Stack, _) | (_, Source::Stack) => return self.unknown(op),
            (source, Source::Constant(constant)) => (operator, source, constant),
            (Source::Constant(constant), source) => {
                let turned = match operator {
                    Binary::Less => Binary::Greater,
                    Binary::LessEqual => Binary::GreaterEqual,
                    Binary::Greater => Binary::Less,
                    Binary::GreaterEqual => Binary::LessEqual,
                    other => other,
                };
                (turned, source, constant)
            }
            _ => return self.truth(Fact::Truth(op)),
        };
        let mut upto = |high: Option<i64>| {
            high.map(|high| self.within(source, (i64::MIN, high))).unwrap_or_default()
        };
        let at_most = upto(Some(constant));
        let below = upto(constant.checked_sub(1));
        let mut from = |low: Option<i64>| {
            low.map(|low| self.within(source, (low, i64::MAX))).unwrap_or_default()
        };
        let at_least = from(Some(constant));
        let above = from(constant.checked_add(1));
        match operator {
            Binary::Less => Reach { holds: below, fails: at_least },
            Binary::LessEqual => Reach { holds: at_most, fails: above },
            Binary::Greater => Reach { holds: above, fails: at_most },
            Binary::GreaterEqual => Reach { holds: at_least, fails: below },
            Binary::Equal | Binary::NotEqual => {
                let exactly = self.within(source, (constant, constant));
                let equal = Reach { holds: exactly, fails: join(below, above) };
                if operator == Binary::Equal { equal } else { equal.turned() }
            }
            _ => self.unknown(op),
        }
    }
}

/// What a number may be at all.
fn range(source: Source) -> (i64, i64) {
    let field = match source {
        Source::Field(field) => field,
        Source::Constant(number) => return (number, number),
        Source::Window(place) if place < LISTS_FROM => return (0, i64::MAX),
        // Lists hold any number.
        Source::Window(_) | Source::Stack => return (i64::MIN, i64::MAX),
    };
    match field.ty() {
        Type::Int(Unit::Centavos) => (1, i64::MAX),
        Type::Int(Unit::Seconds) => (0, i64::MAX),
        Type::Int(Unit::HourOfDay) => (0, 23),
        Type::Int(Unit::MinuteOfDay) => (0, 24 * 60 - 1),
        _ => (i64::MIN, i64::MAX),
    }
}

/// One box that says nothing.
fn anything() -> Boxes {
    vec![OneBox::new()]
}

/// What lies in both boxes, if anything does.
fn meet_boxes(a: &OneBox, b: &OneBox) -> Option<OneBox> {
    let mut both = OneBox::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x.0 == y.0 => (x.0, x.1.max(y.1), x.2.min(y.2)),
            (Some(x), Some(y)) => **if x.0 < y.0 { x } else { y },
            (Some(one), None) | (None, Some(one)) => **one,
            (None, None) => return Some(both),
        };
        if next.1 > next.2 {
            return None;
        }
        a.next_if(|x| x.0 == next.0);
        b.next_if(|y| y.0 == next.0);
        both.push(next);
    }
}

/// Where both are so.
fn meet(a: &Boxes, b: &Boxes) -> Boxes {
    let pairs = a.iter().flat_map(|x| b.iter().filter_map(|y| meet_boxes(x, y)));
    bounded(pairs.collect())
}

/// Where one of them is so.
fn join(mut a: Boxes, b: Boxes) -> Boxes {
    a.extend(b);
    bounded(a)
}

/// No more than [`MAX_BOXES`], or the one around all of them.
fn bounded(boxes: Boxes) -> Boxes {
    if boxes.len() <= MAX_BOXES {
        return boxes;
    }
    let around = boxes.into_iter().reduce(|a, b| {
        let both = |x: &(u16, i64, i64)| {
            let at = b.binary_search_by_key(&x.0, |y| y.0).ok()?;
            Some((x.0, x.1.min(b[at].1), x.2.max(b[at].2)))
        };
        a.iter().filter_map(both).collect()
    });
    around.into_iter().collect()
}

fn same(a: &Reach, b: &Reach) -> Reach {
    Reach {
        holds: join(meet(&a.holds, &b.holds), meet(&a.fails, &b.fails)),
        fails: join(meet(&a.holds, &b.fails), meet(&a.fails, &b.holds)),
    }
}
