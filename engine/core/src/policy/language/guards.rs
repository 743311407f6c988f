//! Whether a condition may ask of a field that a transaction lacks: then it would have no result, and it
//! is refused before it ever runs.
//!
//! For one field at a time: it is taken as missing, and of everything else nothing is known. What each
//! part may come to then is a set of true, false and failed.
//!
//! With a choice that is not enough: `c ? false : false` is false whatever a field in `c` holds, and fails
//! without it, so that of two such parts each may settle what the other leaves open, until both fields are
//! missing. There, every set of fields is taken as missing. Without a choice, what depends on a field that
//! is there may come to true and to false, and settles nothing for sure.

use super::fields::Field;
use super::program::{Op, Program, Source};

/// What a part of a condition may come to.
type May = u8;

const TRUE: May = 1;
const FALSE: May = 2;
const FAILED: May = 4;
const EITHER: May = TRUE | FALSE;
/// A number: that there is one.
const SOME: May = TRUE;

/// Some fields, a bit each.
type Fields = u32;

const _: () = assert!(Field::COUNT <= Fields::BITS as usize);

const fn bit(field: Field) -> Fields {
    1 << field as u32
}

/// The first field that is asked of where it may be missing, by itself or together with others.
pub(super) fn unguarded(program: &Program) -> Option<Field> {
    let optional = || program.fields().iter().copied().filter(|field| field.is_optional());
    let fails = |missing| may(program, missing, None) & FAILED != 0;
    optional().find(|field| fails(bit(*field))).or_else(|| {
        let chooses = |op: &Op| matches!(op, Op::ChooseTruth | Op::ChooseNumber(..));
        program.ops.iter().find(|op| chooses(op))?;
        let all = optional().map(bit).sum::<Fields>();
        let next = |set: &Fields| set.checked_sub(1).map(|less| less & all);
        let missing = std::iter::successors(Some(all), next).find(|set| fails(*set))?;
        optional().find(|field| missing & bit(*field) != 0)
    })
}

/// Whether a condition is true whatever a transaction is like, so long as a field of truth is true.
pub(super) fn holds_where(program: &Program, field: Field) -> bool {
    may(program, 0, Some(field)) == TRUE
}

/// What a condition may come to where a transaction lacks some fields, and where one is true.
fn may(program: &Program, missing: Fields, holds: Option<Field>) -> May {
    let is_missing = |field| missing & bit(field) != 0;
    let (mut truths, mut numbers): (Vec<May>, Vec<May>) = (Vec::new(), Vec::new());
    for op in &program.ops {
        let truth = |stack: &mut Vec<May>| stack.pop().expect("the check balances programs");
        let mut number = |source: Source| match source {
            Source::Constant(_) => SOME,
            Source::Field(field) if is_missing(field) => FAILED,
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
            Op::Has(_) => EITHER,
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
