//! All payments in a list, and what a window over them may say.

use super::super::{Asked, Event, Function, Span, Subject, Value, WindowSpec};
use crate::policy::windows::ESTIMATED;
use catraca_wire::frame::Verdict;
use std::collections::HashSet;

const DAY_S: i64 = 86_400;
/// Fullest cell of a sliding window, centavos.
const SUM_LIMIT: i64 = u32::MAX as i64;

#[derive(Default)]
pub struct Model {
    added: Vec<(Event, Verdict)>,
}

/// When a payment counts, seconds.
fn time_s(event: &Event) -> i64 {
    (event.event_time_ns.min(event.decided_at_ns) / 1_000_000_000) as i64
}

/// The day or night of a payment.
fn calendar(span: Span, event: &Event) -> Option<i64> {
    let local_s = time_s(event) + i64::from(event.offset_minutes) * 60;
    match span {
        Span::Sliding { .. } => panic!("not of the calendar"),
        Span::Today => Some(local_s.div_euclid(DAY_S)),
        Span::Night { from_hour, to_hour } => {
            let (from, to) = (i64::from(from_hour), i64::from(to_hour));
            let hours = if to > from { to - from } else { to + 24 - from };
            let since_s = local_s - from * 3_600;
            (since_s.rem_euclid(DAY_S) < hours * 3_600).then(|| since_s.div_euclid(DAY_S))
        }
    }
}

/// What a window may hold: all of `least`, and some more of `most`.
pub struct Bounds<'a> {
    least: Vec<&'a Event>,
    most: Vec<&'a Event>,
    /// The window holds exactly `least`.
    is_exact: bool,
    /// No payment that belongs to the window came before, in time, than this one needs.
    in_order: bool,
    /// First second that must be covered.
    start_s: i64,
    all: Vec<&'a Event>,
}

impl Model {
    pub fn add(&mut self, event: Event, verdict: Verdict) {
        self.added.push((event, verdict));
    }

    /// `None`: the window does not concern the payment.
    fn bounds(&self, window: &WindowSpec, event: &Event) -> Option<Bounds<'_>> {
        let key = event.keys[window.subject as usize]?;
        let all: Vec<&Event> = self
            .added
            .iter()
            .filter(|(other, verdict)| {
                other.keys[window.subject as usize] == Some(key)
                    && window.filter.takes(other.rail, *verdict)
            })
            .map(|(other, _)| other)
            .collect();
        let now = time_s(event);
        let within = |from: i64, to: i64| {
            let is_in = move |other: &&&Event| (from..=to).contains(&time_s(other));
            all.iter().filter(is_in).copied().collect::<Vec<_>>()
        };
        Some(match window.span {
            Span::Sliding { span_s, buckets } => {
                let (span_s, bucket_s) =
                    (i64::from(span_s), i64::from(span_s.div_ceil(buckets.into())));
                let newest = all.iter().map(|other| time_s(other)).max().unwrap_or(0);
                let most_s = if newest > now { now + bucket_s - 1 } else { now };
                Bounds {
                    least: within(now - span_s + 1, now),
                    most: within(now - span_s - bucket_s + 2, most_s),
                    is_exact: false,
                    in_order: newest / bucket_s <= now / bucket_s + 1,
                    start_s: now - span_s + 1,
                    all,
                }
            }
            span => {
                let number = calendar(span, event)?;
                let of = |other: &&&Event| calendar(span, other) == Some(number);
                let same: Vec<&Event> = all.iter().filter(of).copied().collect();
                let newest = all.iter().filter_map(|other| calendar(span, other)).max();
                // The window's begin, in local time and back.
                let from_hour =
                    if let Span::Night { from_hour, .. } = span { from_hour } else { 0 };
                let local_s = number * DAY_S + i64::from(from_hour) * 3_600;
                Bounds {
                    least: same.clone(),
                    most: same,
                    is_exact: true,
                    in_order: newest.is_none_or(|newest| newest <= number + 1),
                    start_s: local_s - i64::from(event.offset_minutes) * 60,
                    all: all.into_iter().filter(|other| calendar(span, other).is_some()).collect(),
                }
            }
        })
    }

    /// Holds a value to what it may be. `horizon_s` is the table's.
    pub fn check(
        &self,
        asked: &Asked,
        event: &Event,
        value: Value,
        horizon_s: u32,
    ) -> Result<(), String> {
        let Some(bounds) = self.bounds(&asked.window, event) else {
            return (value == Value::Missing).then_some(()).ok_or("must be missing".to_owned());
        };
        let own = (asked.including && asked.window.filter.takes_rail(event.rail)).then_some(event);
        let complete = bounds.in_order && i64::from(horizon_s) < bounds.start_s;
        let newest_first = bounds.all.iter().all(|other| time_s(other) <= time_s(event));
        let is_full = bounds.all.iter().chain(&own).map(|e| e.amount_centavos).sum::<i64>()
            >= SUM_LIMIT
            && !bounds.is_exact;
        let least = |of: fn(&[&Event]) -> i64| of(&[&bounds.least[..], own.as_slice()].concat());
        let most = |of: fn(&[&Event]) -> i64| of(&[&bounds.most[..], own.as_slice()].concat());
        let count: fn(&[&Event]) -> i64 = |events| events.len() as i64;
        let sum: fn(&[&Event]) -> i64 = |events| events.iter().map(|e| e.amount_centavos).sum();
        let min: fn(&[&Event]) -> i64 =
            |events| events.iter().map(|e| e.amount_centavos).min().unwrap_or(i64::MAX);
        let max: fn(&[&Event]) -> i64 =
            |events| events.iter().map(|e| e.amount_centavos).max().unwrap_or(0);
        let fault = |low: i64, high: i64| Err(format!("not in {low}..={high}"));
        let demand = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        // A number that can only be too small where something is missing.
        let grows = |low: i64, high: i64, may_saturate: bool| match value {
            Value::Present(v) if low <= v && v <= high => Ok(()),
            Value::Saturated(v) if 0 < v && v <= high => {
                demand(may_saturate || !complete, "saturated without need")
            }
            Value::Evicted => demand(!complete, "evicted without need"),
            _ => fault(low, high),
        };
        let is_empty = bounds.least.is_empty() && own.is_none();
        match asked.function {
            Function::Count => grows(least(count), most(count), false),
            Function::Sum => grows(least(sum), most(sum), is_full),
            Function::Max if value == Value::Missing => demand(is_empty, "there is a maximum"),
            Function::Max => grows(least(max), most(max), is_full),
            Function::Min => match value {
                Value::Missing => demand(is_empty, "there is a minimum"),
                Value::Present(v) if (most(min)..=least(min)).contains(&v) => Ok(()),
                Value::Saturated(v) if v == SUM_LIMIT && v <= least(min) => Ok(()),
                Value::Evicted => demand(!complete, "evicted without need"),
                _ => fault(most(min), least(min)),
            },
            // Held to sum and count by the test.
            Function::Avg => demand(value != Value::Missing || is_empty, "there is an average"),
            Function::Distinct { of, up_to } => {
                let different = |events: &[&Event]| {
                    let subject =
                        [Subject::Payer, Subject::Payee, Subject::Device][of as usize] as usize;
                    let own = own.iter().copied();
                    let keys = events.iter().copied().chain(own).filter_map(|e| e.keys[subject]);
                    keys.collect::<HashSet<_>>().len() as i64
                };
                let needs = different(&bounds.all) > i64::from(up_to) || !newest_first;
                match value {
                    Value::Evicted => demand(needs || !complete, "evicted without need"),
                    Value::Estimated(_) => {
                        let may_be = up_to == ESTIMATED && needs;
                        demand(may_be, "estimated without need")
                    }
                    _ => grows(different(&bounds.least), different(&bounds.most), needs),
                }
            }
            Function::SecondsSinceLast => {
                let since = bounds.least.iter().map(|other| time_s(event) - time_s(other)).min();
                match value {
                    Value::Missing => demand(since.is_none(), "there is one before"),
                    Value::Evicted => demand(!complete, "evicted without need"),
                    Value::Present(v) if newest_first => demand(since == Some(v), "not the last"),
                    Value::Present(v) => demand(
                        since.is_none_or(|since| v <= since)
                            && bounds.most.iter().any(|other| {
                                let Span::Sliding { span_s, buckets } = asked.window.span else {
                                    return false;
                                };
                                let bucket_s = i64::from(span_s.div_ceil(buckets.into()));
                                (time_s(event) - v - time_s(other)).abs() < bucket_s
                            }),
                        "not near the last",
                    ),
                    Value::Saturated(_) | Value::Estimated(_) => {
                        Err("the last is known or not".to_owned())
                    }
                }
            }
            Function::SecondsSinceFirst => {
                let since = bounds.session(time_s(event), &asked.window);
                match value {
                    Value::Missing => demand(bounds.least.is_empty(), "there is one before"),
                    Value::Evicted => demand(!complete || !newest_first, "evicted without need"),
                    Value::Present(v) if bounds.came_in_order(time_s(event)) => {
                        demand(since == Some(v), "not the first")
                    }
                    Value::Saturated(_) if horizon_s == 0 => Err("nothing was evicted".to_owned()),
                    Value::Estimated(_) => Err("times are never estimated".to_owned()),
                    Value::Present(v) | Value::Saturated(v) => {
                        demand(since.is_some_and(|since| v <= since), "before the first")
                    }
                }
            }
        }
    }
}

impl Bounds<'_> {
    fn came_in_order(&self, now: i64) -> bool {
        let times: Vec<i64> = self.all.iter().map(|other| time_s(other)).chain([now]).collect();
        times.is_sorted()
    }

    /// Seconds since the payment after which the window was never empty.
    fn session(&self, now: i64, window: &WindowSpec) -> Option<i64> {
        let Span::Sliding { span_s, .. } = window.span else { return None };
        let mut times: Vec<i64> = self.all.iter().map(|other| time_s(other)).collect();
        times.sort_unstable();
        let mut first = now;
        for &time in times.iter().rev().filter(|&&time| time <= now) {
            if first - time >= i64::from(span_s) {
                break;
            }
            first = time;
        }
        (!self.least.is_empty()).then_some(now - first)
    }
}
