//! A policy's text: it is refused with faults that say where, or it decides on any payment, alone as together
//! with others, after any payments before.

use super::input::Input;
use catraca_core::named_lists::NamedLists;
use catraca_core::policy::lists::InForce;
use catraca_core::policy::share::ShareKey;
use catraca_core::policy::windows::{Past, Together, WindowsKey};
use catraca_core::policy::{Batch, Facts, Judgement, ListsDecide, Party, Policy};
use catraca_node::policy_file::{MAX_FAULTS, parse};
use catraca_wire::DocumentKey;
use catraca_wire::extension::{ChangedEntry, ListChange, WindowValue};
use catraca_wire::frame::{ListSource, TransactionFields, Verdict};
use catraca_wire::list::{Author, ListKey, ListKeyKind, ListName, ListOp, ListReason};
use catraca_wire::transaction::{Channel, Rail};

/// Ends the text; behind it stand payments.
const END: u8 = 0;
/// Most payments of an input.
const MAX_PAYMENTS: usize = 64;
/// Seconds since 1970 UTC from which payments are counted.
const BEGIN_S: u64 = 1_795_000_000;

struct Payment {
    transaction: TransactionFields,
    payer: Party,
    payee: Party,
    decided_at_ns: u64,
}

fn payment(input: &mut Input<'_>) -> Payment {
    let mut transaction: TransactionFields = bytemuck::Zeroable::zeroed();
    let party = |input: &mut Input<'_>| {
        let number = input.byte();
        let document = DocumentKey::from_cpf_number(u32::from(number % 8) + 1).expect("valid");
        let listed = (number & 0xc0 == 0xc0).then_some(ListSource::Ceis);
        Party { document, listed, is_allowed: number & 0xc0 == 0x80 }
    };
    let (payer, payee) = (party(input), party(input));
    transaction.payer = payer.document.to_wire();
    transaction.payee = payee.document.to_wire();
    let amount = match input.byte() % 4 {
        0 => i64::MAX - input.number() as i64,
        _ => input.number() as i64 % 2_000_000,
    };
    transaction.amount_centavos = amount.max(1).into();
    let time_s = BEGIN_S + input.number() % 10_000_000;
    transaction.event_time_ns = (time_s * 1_000_000_000).into();
    transaction.rail = Rail::ALL[usize::from(input.byte()) % Rail::ALL.len()].to_wire();
    transaction.channel = Channel::ALL[usize::from(input.byte()) % Channel::ALL.len()].to_wire();
    transaction.device = u64::from(input.byte() % 4).into();
    transaction.payer_account = u64::from(input.byte() % 4).into();
    transaction.payee_account = u64::from(input.byte() % 4).into();
    transaction.pix_key[0] = input.byte() % 2;
    let late_s = u64::from(input.byte()) * u64::from(input.byte());
    Payment { transaction, payer, payee, decided_at_ns: (time_s + late_s) * 1_000_000_000 }
}

/// The lists that a policy reads, each with half of the payers' documents and some small numbers; the first
/// of its rules is not applied to one payer.
fn lists_of(policy: &Policy) -> NamedLists {
    let mut named = NamedLists::default();
    let mut take = |op, key_kind, name, numbers: std::ops::Range<u32>| {
        let document = |number| DocumentKey::from_cpf_number(number).expect("valid").raw().into();
        let key = |number: u32| match key_kind {
            ListKeyKind::Document => ListKey::of(document(number)),
            _ => ListKey::of(number.into()),
        };
        let entry = |number| ChangedEntry { key: key(number), value: 700, until_ns: 0 };
        let entries: Vec<_> = numbers.map(entry).collect();
        let sequence = named.sequence() + entries.len().max(1) as u64;
        let (author, reason) = (Author::EMPTY, ListReason::EMPTY);
        let change =
            ListChange { op, key_kind, name, sequence, changed_at_ns: 1, author, reason, entries };
        // A list that is there already is created again, to no effect.
        named.apply(&change).expect("there is room");
    };
    for asked in &policy.rules().lists {
        take(ListOp::Create, asked.key.kind(), asked.list, 0..0);
        let has_numbers = matches!(
            asked.key.kind(),
            ListKeyKind::Document | ListKeyKind::Account | ListKeyKind::Device
        );
        if has_numbers {
            take(ListOp::Set, asked.key.kind(), asked.list, 1..5);
        }
    }
    if let Some(rule) = policy.rules().rules.first().and_then(|rule| ListName::parse(&rule.id)) {
        take(ListOp::Exempt, ListKeyKind::Document, rule, 3..4);
    }
    named
}

/// Judges payments, so many at most together, and adds each.
fn judge(policy: &Policy, payments: &[Payment], most: usize) -> Vec<(Judgement, Vec<WindowValue>)> {
    let mut past = Past::new(policy, 1, WindowsKey::without_secret()).expect("a sound policy");
    let (mut batch, mut together) = (Batch::new(), Together::with_capacity(most));
    let named = InForce::new(&lists_of(policy), policy.rules(), ShareKey::of(&[7; 32]));
    let mut values = vec![WindowValue::Evicted; policy.values()];
    let windows = policy.window_values();
    let mut judged = Vec::new();
    let mut rest = payments;
    while !rest.is_empty() {
        batch.clear();
        together.clear();
        let mut taken = 0;
        for payment in rest.iter().take(most) {
            let Payment { transaction, payer, payee, decided_at_ns } = payment;
            if let Some(past) = &mut past {
                let event = past.event(payer.document, payee.document, transaction, *decided_at_ns);
                if !past.windows().read_together(&event, &mut together, &mut values[..windows]) {
                    break;
                }
            }
            let offset_minutes =
                policy.zone().offset_at(transaction.event_time_ns.to_native()).minutes;
            let facts = Facts {
                transaction,
                payer: *payer,
                payee: *payee,
                decided_at_ns: *decided_at_ns,
                offset_minutes,
            };
            named.look_up(&facts, &mut values[windows..]);
            batch.push(&facts, true, &values);
            if let Some(exempt) = named.exempt(&facts) {
                batch.exempt(&exempt);
            }
            taken += 1;
        }
        assert!(taken > 0, "the first of a batch waits for nobody");
        policy.judge(&mut batch);
        for row in 0..taken {
            judged.push((*batch.judgement(row), batch.seen(row).to_vec()));
            if let Some(past) = &mut past {
                let verdict = batch.judgement(row).decision.verdict;
                past.windows_mut().add_together(&together, row, verdict);
            }
        }
        rest = &rest[taken..];
    }
    judged
}

pub(super) fn body(data: &[u8]) {
    let (text, behind) = match data.iter().position(|&byte| byte == END) {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    let text = String::from_utf8_lossy(text);
    let file = match parse(&text) {
        Ok(file) => file,
        Err(faults) => {
            assert!((1..=MAX_FAULTS).contains(&faults.len()), "faults are told, and not too many");
            for fault in &faults {
                assert!(fault.line >= 1 && fault.column >= 1, "{fault:?}");
                assert!(!fault.message.is_empty() && !fault.help.is_empty(), "{fault:?}");
            }
            return;
        }
    };
    let mut input = Input::new(behind);
    let mut payments = Vec::new();
    while !input.is_empty() && payments.len() < MAX_PAYMENTS {
        payments.push(payment(&mut input));
    }
    let policy = Policy::new(1, file.zone.clone(), file.rules.clone());
    let together = judge(&policy, &payments, 32);
    assert_eq!(judge(&policy, &payments, 1), together, "alone and together are the same");
    for ((judgement, _), payment) in together.iter().zip(&payments) {
        let is_listed = payment.payer.is_listed() || payment.payee.is_listed();
        if is_listed && policy.rules().listed == ListsDecide::Deny {
            assert_eq!(judgement.decision.verdict, Verdict::Deny, "whoever is listed is denied");
        }
        if is_listed {
            assert_ne!(judgement.decision.verdict, Verdict::Approve, "rules stop who is listed");
        }
        assert!(judgement.decision.score <= 1000);
    }
}
