//! Whether a condition may ask of a field, or of a window's value, that a transaction lacks: then it would
//! have no result, and it is refused before it ever runs. That a value of a window is not known is not looked
//! at: that may be so of every one, and is found when the condition runs.
//!
//! For one of them at a time: it is taken as missing, and of everything else nothing is known. What each
//! part may come to then is a set of true, false and failed.
//!
//! With a choice that is not enough: `c ? false : false` is false whatever a field in `c` holds, and fails
//! without it, so that of two such parts each may settle what the other leaves open, until both fields are
//! missing. There, every set of them is taken as missing. Without a choice, what depends on a field that
//! is there may come to true and to false, and settles nothing for sure.

use super::asking::Asking;
use super::fields::Field;
use super::program::{Op, Program, Source, State};

/// What a part of a condition may come to.
type May = u8;

const TRUE: May = 1;
const FALSE: May = 2;
const FAILED: May = 4;
const EITHER: May = TRUE | FALSE;
/// A number: that there is one.
const SOME: May = TRUE;

/// What a condition reads of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Input {
    Field(Field),
    /// A value of a window, by its place.
    Window(u8),
}

impl Input {
    pub const fn field(self) -> Option<Field> {
        match self {
            Self::Field(field) => Some(field),
            Self::Window(_) => None,
        }
    }

    /// As it is written.
    pub fn name(self, asking: &Asking) -> String {
        match self {
            Self::Field(field) => field.name().to_owned(),
            Self::Window(place) => asking.value(place).name(),
        }
    }

    /// What is to be written before it, where it may be missing.
    pub fn guard(self, asking: &Asking) -> String {
        match self {
            Self::Field(field) => format!("has({})", field.name()),
            Self::Window(place) => asking.value(place).guard(),
        }
    }

    /// Whether what is read there is missing where this is.
    pub fn is_read_as(self, read: Self, asking: &Asking) -> bool {
        match (self, read) {
            (Self::Field(field), Self::Window(place)) => asking.value(place).field() == Some(field),
            (this, read) => this == read,
        }
    }
}

/// Most inputs that may be missing of a condition with a choice: each set of them is tried.
pub(super) const MAX_MISSING_WITH_CHOICE: usize = 8;

/// The first input that is asked of where it may be missing, by itself or together with others.
///
/// # Errors
/// How many may be missing, where those are more than are tried.
pub(super) fn unguarded(program: &Program, asking: &Asking) -> Result<Option<Input>, usize> {
    let optional = optional(program, asking);
    let fails = |missing: &[Input]| may(program, asking, missing, None) & FAILED != 0;
    let alone = optional.iter().find(|input| fails(&[**input]));
    let chooses = |op: &Op| matches!(op, Op::ChooseTruth | Op::ChooseNumber(..));
    if alone.is_some() || !program.ops.iter().any(chooses) {
        return Ok(alone.copied());
    }
    if optional.len() > MAX_MISSING_WITH_CHOICE {
        return Err(optional.len());
    }
    let sets = 1..1_usize << optional.len();
    let mut sets = sets.map(|set| -> Vec<Input> {
        let is_in = |at: &usize| set >> at & 1 == 1;
        (0..optional.len()).filter(is_in).map(|at| optional[at]).collect()
    });
    Ok(sets.find(|missing| fails(missing)).map(|missing| missing[0]))
}

/// What a condition reads that may be missing.
fn optional(program: &Program, asking: &Asking) -> Vec<Input> {
    let fields = program.fields().iter().filter(|field| field.is_optional());
    let mut optional: Vec<_> = fields.map(|field| Input::Field(*field)).collect();
    for &place in program.windows() {
        let asked = asking.value(place);
        optional.extend(asked.field().map(Input::Field));
        optional.extend(asked.is_optional().then_some(Input::Window(place)));
    }
    optional.sort_unstable();
    optional.dedup();
    optional
}

/// Whether a condition is true whatever a transaction is like, so long as a field of truth is true. Of a
/// value of a window it is never sure that it is known.
pub(super) fn holds_where(program: &Program, field: Field) -> bool {
    may(program, &Asking::default(), &[], Some(field)) == TRUE
}

/// What a condition may come to where a transaction lacks some inputs, and where one field is true.
fn may(program: &Program, asking: &Asking, missing: &[Input], holds: Option<Field>) -> May {
    let is_missing = |field| missing.contains(&Input::Field(field));
    let is_window_missing = |place| {
        missing.contains(&Input::Window(place))
            || (!missing.is_empty() && asking.value(place).field().is_some_and(is_missing))
    };
    // Where it is asked whether a condition always holds, what is not known counts.
    let of_window = if holds.is_some() { SOME | FAILED } else { SOME };
    let (mut truths, mut numbers): (Vec<May>, Vec<May>) = (Vec::new(), Vec::new());
    for op in &program.ops {
        let truth = |stack: &mut Vec<May>| stack.pop().expect("the check balances programs");
        let mut number = |source: Source| match source {
            Source::Constant(_) => SOME,
            Source::Field(field) if is_missing(field) => FAILED,
            Source::Window(place) if is_window_missing(place) => FAILED,
            Source::Window(_) => of_window,
            Source::Field(_) => SOME,
            Source::Stack => truth(&mut numbers),
        };
        let came = match *op {
            Op::Truth(true) => TRUE,
            Op::Truth(false) => FALSE,
            Op::TruthField(field) if is_missing(field) => FAILED,
            Op::TruthField(field) if holds == Some(field) => TRUE,
            Op::TruthField(_) => EITHER,
            Op::Has(field) if is_missing(field) => FALSE,
            Op::State(State::Has | State::Exact, place) if is_window_missing(place) => FALSE,
            Op::State(State::Known, place) if is_window_missing(place) => TRUE,
            Op::Has(_) | Op::State(..) => EITHER,
            Op::Not => {
                let x = truth(&mut truths);
                each(x, |x| if x == FAILED { FAILED } else { EITHER & !x })
            }
            Op::And | Op::Or => {
                let (b, a) = (truth(&mut truths), truth(&mut truths));
                let settling = if matches!(op, Op::And) { FALSE } else { TRUE };
                pairs(a, b, |x, y| match (x, y) {
                    (x, y) if x == settling || y == settling => settling,
                    (x, y) if (x | y) & FAILED != 0 => FAILED,
                    _ => EITHER & !settling,
                })
            }
            Op::Same | Op::Differ => {
                let (b, a) = (truth(&mut truths), truth(&mut truths));
                pairs(a, b, |x, y| if (x | y) & FAILED != 0 { FAILED } else { EITHER })
            }
            Op::ChooseTruth => {
                let (b, a) = (truth(&mut truths), truth(&mut truths));
                chosen(truth(&mut truths), a, b)
            }
            Op::Compare(_, a, b) => {
                let (b, a) = (number(b), number(a));
                pairs(a, b, |x, y| if (x | y) & FAILED != 0 { FAILED } else { EITHER })
            }
            Op::Among { source, .. } | Op::Begins { source, .. } | Op::Ends { source, .. } => {
                each(number(source), |x| if x == FAILED { FAILED } else { EITHER })
            }
            Op::Arithmetic(_, a, b) => {
                let (b, a) = (number(b), number(a));
                let came = pairs(a, b, |x, y| if (x | y) & FAILED != 0 { FAILED } else { SOME });
                numbers.push(came);
                continue;
            }
            Op::ChooseNumber(a, b) => {
                let (b, a) = (number(b), number(a));
                let came = chosen(truth(&mut truths), a, b);
                numbers.push(came);
                continue;
            }
        };
        truths.push(came);
    }
    truths.pop().expect("a condition is one truth")
}

/// What a choice may come to.
fn chosen(condition: May, a: May, b: May) -> May {
    each(condition, |c| match c {
        TRUE => a,
        FALSE => b,
        _ => FAILED,
    })
}

fn each(a: May, of: impl Fn(May) -> May) -> May {
    [TRUE, FALSE, FAILED].into_iter().filter(|x| a & x != 0).fold(0, |may, x| may | of(x))
}

fn pairs(a: May, b: May, of: impl Fn(May, May) -> May) -> May {
    each(a, |x| each(b, |y| of(x, y)))
}
