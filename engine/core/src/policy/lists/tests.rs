use super::*;
use crate::named_lists::{ListFault, MAX_LISTS};
use crate::policy::facts::Party;
use crate::policy::language::{Asking, compile_into};
use crate::policy::share::ShareKey;
use crate::policy::{EVERY_DAY, EVERY_PAYER, Rule, RuleEffect};
use catraca_wire::DocumentKey;
use catraca_wire::extension::{ChangedEntry, ListChange, WindowValue};
use catraca_wire::frame::{ListSource, TransactionFields};
use catraca_wire::list::{Author, ListKey, ListKeyKind, ListName, ListOp, ListReason};

const NOW: u64 = 1_800_000_000_000_000_000;

fn name(text: &str) -> ListName {
    ListName::parse(text).expect("a name")
}

/// Makes changes with their numbers.
#[derive(Default)]
struct Changes {
    lists: NamedLists,
}

impl Changes {
    fn change(
        &mut self,
        op: ListOp,
        of: &str,
        key_kind: ListKeyKind,
        keys: &[(&str, i64, u64)],
    ) -> Result<ListChange, ListFault> {
        let entry = |&(key, value, until_ns): &(&str, i64, u64)| {
            let key = ListKey::parse(key_kind, key).expect("a key");
            ChangedEntry { key, value, until_ns }
        };
        let entries: Vec<_> = keys.iter().map(entry).collect();
        let change = ListChange {
            op,
            key_kind,
            name: name(of),
            sequence: self.lists.sequence() + entries.len().max(1) as u64,
            changed_at_ns: NOW,
            author: Author::parse("ana").expect("a name"),
            reason: ListReason::EMPTY,
            entries,
        };
        let mut next = self.lists.clone();
        next.apply(&change)?;
        self.lists = next;
        Ok(change)
    }
}

fn transaction() -> TransactionFields {
    let mut transaction: TransactionFields = bytemuck::Zeroable::zeroed();
    transaction.amount_centavos = 100.into();
    transaction.device = 7.into();
    transaction.payer_ispb = *b"12345678";
    transaction.pix_key = [9; 16];
    transaction.ip = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7];
    transaction
}

fn facts(transaction: &TransactionFields) -> Facts<'_> {
    let party = |text| Party {
        document: DocumentKey::parse(text).expect("valid"),
        listed: None,
        is_allowed: false,
    };
    Facts {
        transaction,
        payer: party("52998224725"),
        payee: party("11222333000181"),
        decided_at_ns: NOW,
        offset_minutes: -180,
    }
}

fn rules(conditions: &[&str]) -> Rules {
    let mut asking = Asking::default();
    let rule = |(number, when): (usize, &&str)| Rule {
        id: format!("rule-{number}"),
        when: compile_into(when, &mut asking).expect("sound"),
        effect: RuleEffect { score: 1, verdict: None, shadow: false },
        days: EVERY_DAY,
        share_permille: EVERY_PAYER,
    };
    let rules: Vec<_> = conditions.iter().enumerate().map(rule).collect();
    let lists = asking.looked_up().into();
    Rules { rules: rules.into(), lists, ..Rules::default() }
}

fn looked_up(
    lists: &NamedLists,
    rules: &Rules,
    transaction: &TransactionFields,
) -> Vec<WindowValue> {
    let in_force = InForce::new(lists, rules, ShareKey::unknown());
    let mut values = vec![WindowValue::Saturated(1); in_force.values()];
    in_force.look_up(&facts(transaction), &mut values);
    values
}

#[test]
fn each_key_of_a_payment_is_looked_up_in_lists_of_its_kind() {
    let mut changes = Changes::default();
    for (list, kind, key) in [
        ("documents", ListKeyKind::Document, "11222333000181"),
        ("companies", ListKeyKind::Company, "11222333"),
        ("devices", ListKeyKind::Device, "7"),
        ("keys", ListKeyKind::PixKey, "09090909090909090909090909090909"),
        ("banks", ListKeyKind::Institution, "12345678"),
        ("networks", ListKeyKind::Network, "192.0.2.0/24"),
        ("accounts", ListKeyKind::Account, "5"),
    ] {
        changes.change(ListOp::Create, list, kind, &[]).expect("new");
        changes.change(ListOp::Set, list, kind, &[(key, 3, 0)]).expect("room");
    }
    let rules = rules(&[
        "payer.document in list('documents')",
        "payee.document in list('documents')",
        "payee.root in list('companies') && payer.root in list('companies')",
        "tx.device in list('devices')",
        "tx.pix_key in list('keys')",
        "tx.payer_ispb in list('banks') && tx.payee_ispb in list('banks')",
        "tx.ip in list('networks')",
        "tx.payer_account in list('accounts') || payer.document in list('unheard-of')",
    ]);
    let values = looked_up(&changes.lists, &rules, &transaction());
    let (is_in, missing) = (WindowValue::Present(3), WindowValue::Missing);
    let expected = [
        missing,
        is_in,
        is_in,
        missing,
        is_in,
        is_in,
        is_in,
        missing,
        is_in,
        missing,
        WindowValue::Evicted,
    ];
    assert_eq!(values, expected);
}

#[test]
fn an_entry_counts_until_its_time_is_over() {
    let mut changes = Changes::default();
    let kind = ListKeyKind::Document;
    changes.change(ListOp::Create, "limits", kind, &[]).expect("new");
    let rules = rules(&["payer.document in list('limits')"]);
    for (until_ns, expected) in [
        (0, WindowValue::Present(-9)),
        (NOW + 1, WindowValue::Present(-9)),
        (NOW, WindowValue::Missing),
        (1, WindowValue::Missing),
    ] {
        changes
            .change(ListOp::Set, "limits", kind, &[("52998224725", -9, until_ns)])
            .expect("room");
        assert_eq!(looked_up(&changes.lists, &rules, &transaction()), [expected], "{until_ns}");
    }
    assert_eq!(changes.lists.entries(), 1);
    changes.change(ListOp::Remove, "limits", kind, &[("52998224725", 0, 0)]).expect("there");
    assert_eq!(changes.lists.entries(), 0);
}

#[test]
fn the_narrowest_network_counts() {
    let mut changes = Changes::default();
    let kind = ListKeyKind::Network;
    changes.change(ListOp::Create, "networks", kind, &[]).expect("new");
    let rules = rules(&["tx.ip in list('networks')"]);
    let value = |changes: &Changes| looked_up(&changes.lists, &rules, &transaction())[0];
    let set = |changes: &mut Changes, key, value, until_ns| {
        drop(changes.change(ListOp::Set, "networks", kind, &[(key, value, until_ns)]));
    };
    set(&mut changes, "2001:db8::/32", 1, 0);
    assert_eq!(value(&changes), WindowValue::Missing);
    set(&mut changes, "::/0", 2, 0);
    assert_eq!(value(&changes), WindowValue::Present(2));
    set(&mut changes, "192.0.2.0/24", 3, 0);
    set(&mut changes, "192.0.2.7", 4, 1);
    assert_eq!(value(&changes), WindowValue::Present(3), "the time of the narrowest is over");
    set(&mut changes, "192.0.2.7", 4, 0);
    assert_eq!(value(&changes), WindowValue::Present(4));
    for (key, expected) in [("192.0.2.7", 3), ("192.0.2.0/24", 2)] {
        changes.change(ListOp::Remove, "networks", kind, &[(key, 0, 0)]).expect("there");
        assert_eq!(value(&changes), WindowValue::Present(expected));
    }
    let mut nowhere = transaction();
    nowhere.ip = [0; 16];
    assert_eq!(looked_up(&changes.lists, &rules, &nowhere), [WindowValue::Missing]);
}

#[test]
fn a_rule_is_not_applied_for_whom_it_is_exempted_from() {
    let mut changes = Changes::default();
    let rules = rules(&["tx.amount > 1", "tx.amount > 2", "tx.amount > 3"]);
    let payment = transaction();
    let exempt = |changes: &Changes| {
        InForce::new(&changes.lists, &rules, ShareKey::unknown())
            .exempt(&facts(&payment))
            .map(|words| words[0])
    };
    assert_eq!(exempt(&changes), None);
    let cases = [
        (ListKeyKind::Document, "52998224725", "rule-0", NOW + 1, Some(1)),
        (ListKeyKind::Document, "04933228680", "rule-1", NOW + 1, Some(1)),
        (ListKeyKind::Company, "11222333", "rule-1", NOW, Some(1)),
        (ListKeyKind::Device, "7", "rule-2", NOW + 1, Some(5)),
        (ListKeyKind::Device, "7", "rule-9", NOW + 1, Some(5)),
        (ListKeyKind::Document, "52998224725", "rule-1", NOW + 1, Some(7)),
    ];
    for (kind, key, rule, until_ns, expected) in cases {
        changes.change(ListOp::Exempt, rule, kind, &[(key, 0, until_ns)]).expect("room");
        assert_eq!(exempt(&changes), expected, "{key} {rule}");
    }
    assert_eq!(changes.lists.exemptions_len(), 6);
    let mut of_listed = facts(&payment);
    of_listed.payee.listed = Some(ListSource::Ceis);
    let in_force = InForce::new(&changes.lists, &rules, ShareKey::unknown());
    assert_eq!(in_force.exempt(&of_listed), None, "a rule may be all that stops them");
    let kind = ListKeyKind::Document;
    changes.change(ListOp::Unexempt, "rule-0", kind, &[("52998224725", 0, 0)]).expect("there");
    assert_eq!((exempt(&changes), changes.lists.exemptions_len()), (Some(6), 5));
    let refused = changes.change(ListOp::Exempt, "rule-0", ListKeyKind::Network, &[("::/0", 0, 1)]);
    assert_eq!(refused, Err(ListFault::ExemptionKind));
}

#[test]
fn a_rule_with_a_share_is_applied_to_the_same_payers_always_and_to_all_that_are_listed() {
    let mut rules = rules(&["tx.amount > 1", "tx.amount > 2", "tx.amount > 3"]);
    rules.rules[1].share_permille = 300;
    rules.rules[2].share_permille = 600;
    let of = |key| InForce::new(&NamedLists::default(), &rules, key);
    let (known, unknown) = (of(ShareKey::of(&[5; 32])), of(ShareKey::unknown()));
    let payment = transaction();
    let mut counts = [0; 3];
    for number in 1..=10_000 {
        let mut facts = facts(&payment);
        facts.payer.document = DocumentKey::from_cpf_number(number).expect("nine digits");
        let exempt = known.exempt(&facts).unwrap_or_default()[0];
        assert_eq!(known.exempt(&facts).unwrap_or_default()[0], exempt);
        assert_eq!(unknown.exempt(&facts), None, "nobody knows whom to leave out");
        counts[[0b000, 0b010, 0b110].iter().position(|of| *of == exempt).expect("nested")] += 1;
        facts.payee.listed = Some(ListSource::Ceis);
        assert_eq!(known.exempt(&facts), None);
    }
    let expected = [2_850..3_150, 2_850..3_150, 3_850..4_150];
    assert!(expected.iter().zip(counts).all(|(range, count)| range.contains(&count)), "{counts:?}");
}

#[test]
fn changes_that_can_not_be_made_are_refused() {
    let mut changes = Changes::default();
    let kind = ListKeyKind::Device;
    let set =
        |changes: &mut Changes, kind| changes.change(ListOp::Set, "vip", kind, &[("1", 0, 0)]);
    assert_eq!(set(&mut changes, kind), Err(ListFault::NoSuchList));
    changes.change(ListOp::Create, "vip", kind, &[]).expect("new");
    assert_eq!(set(&mut changes, ListKeyKind::Account), Err(ListFault::OtherKind));
    let other = changes.change(ListOp::Create, "vip", ListKeyKind::Account, &[]);
    assert_eq!(other, Err(ListFault::OtherKind));
    for number in 1..MAX_LISTS {
        changes.change(ListOp::Create, &format!("list-{number}"), kind, &[]).expect("room");
    }
    let one_more = changes.change(ListOp::Create, "one-more", kind, &[]);
    assert_eq!(one_more, Err(ListFault::Lists));
    let change = set(&mut changes, kind).expect("room");
    let before = changes.lists.clone();
    assert_eq!(changes.lists.apply(&change), Ok(()), "it was taken before");
    let gap = ListChange { sequence: change.sequence + 2, ..change.clone() };
    assert_eq!(changes.lists.apply(&gap), Err(ListFault::Nonsense));
    let nothing = ListChange { sequence: 0, ..change };
    assert_eq!(changes.lists.apply(&nothing), Err(ListFault::Nonsense));
    assert_eq!(changes.lists, before);
}

#[test]
fn lists_come_out_of_their_changes_and_out_of_a_checkpoint() {
    let mut changes = Changes::default();
    let mut logged = Vec::new();
    let mut number = 17_u64;
    for (list, kind) in
        [("a", ListKeyKind::Device), ("b", ListKeyKind::Network), ("c", ListKeyKind::Account)]
    {
        logged.push(changes.change(ListOp::Create, list, kind, &[]).expect("new"));
    }
    for step in 0..2_000_u64 {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let key = (number >> 40) % 300 + 1;
        let (network, key) = (format!("10.0.{}.0/{}", key % 256, 24 + key % 2), key.to_string());
        let (op, of, kind, key) = match number >> 60 {
            0..=3 => (ListOp::Set, "a", ListKeyKind::Device, &key),
            4..=6 => (ListOp::Remove, "a", ListKeyKind::Device, &key),
            7..=8 => (ListOp::Set, "b", ListKeyKind::Network, &network),
            9 => (ListOp::Remove, "b", ListKeyKind::Network, &network),
            10..=13 => (ListOp::Exempt, "some-rule", ListKeyKind::Account, &key),
            _ => (ListOp::Unexempt, "some-rule", ListKeyKind::Account, &key),
        };
        logged.push(changes.change(op, of, kind, &[(key, step as i64, step)]).expect("room"));
        if step % 500 != 0 {
            continue;
        }
        let mut again = NamedLists::default();
        for change in &logged {
            let section = change.to_section();
            again.apply(&ListChange::read(&section).expect("sound")).expect("room");
            again.apply(change).expect("it was taken before");
        }
        assert_eq!(again, changes.lists);
        let of_checkpoint =
            NamedLists::of_changes(&changes.lists.changes(), changes.lists.sequence());
        assert_eq!(of_checkpoint.as_ref(), Ok(&changes.lists));
    }
    assert!(changes.lists.entries() > 300);
    assert_eq!(
        changes.lists.entries(),
        changes.lists.exemptions().count()
            + changes.lists.lists().map(|(_, list)| list.entries().count()).sum::<usize>()
    );
}
