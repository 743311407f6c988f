//! The stream: the same for ever, valid, in order, and each scenario with its trait.

use super::payment::reais;
use super::rhythm::HOUR_S;
use super::*;
use catraca_wire::frame::is_transaction_id;
use catraca_wire::{DocumentKey, DocumentKind};
use std::collections::{HashMap, HashSet};

/// 2026-11-26 15:04:05 UTC.
const END_NS: u64 = 1_795_705_445 * SECOND_NS;

fn plan(payments: u64, days: u32) -> TrafficPlan {
    TrafficPlan { seed: 1, payments, days, end_ns: END_NS, scenarios: Scenarios::ALL }
}

fn payments(plan: &TrafficPlan) -> Vec<Payment> {
    Traffic::new(plan).collect()
}

/// All fields of all payments, as one number.
fn digest(payments: &[Payment]) -> u64 {
    let mut digest = 0;
    for payment in payments {
        let parties = [payment.payer, payment.payee];
        let texts = parties.iter().flat_map(|party| party.document.iter().chain(&party.ispb));
        let bytes = texts.chain(&payment.id).chain(&payment.pix_key).map(|&byte| u64::from(byte));
        let numbers = [
            payment.number,
            payment.event_time_ns,
            payment.payer.account,
            payment.payee.account,
            payment.device,
            payment.amount_centavos,
            u64::from(payment.channel),
            payment.label.scenario as u64,
            u64::from(payment.label.is_hard),
        ];
        for number in bytes.chain(numbers) {
            digest = keyed(digest, 0, number);
        }
    }
    digest
}

/// The cases of a fraud: its payments by who pays, or for mules by the account in the middle. Two
/// cases of one victim would be taken for one, so they are told apart by a long pause.
fn cases(payments: &[Payment], scenario: Scenario) -> Vec<Vec<Payment>> {
    let of_scenario: Vec<&Payment> =
        payments.iter().filter(|payment| payment.label.scenario == scenario).collect();
    let paid: HashSet<u64> = of_scenario.iter().map(|payment| payment.payee.account).collect();
    let paying: HashSet<u64> = of_scenario.iter().map(|payment| payment.payer.account).collect();
    let mut by_account: HashMap<u64, Vec<Payment>> = HashMap::new();
    for payment in of_scenario {
        let mule = [payment.payee.account, payment.payer.account]
            .into_iter()
            .find(|account| paid.contains(account) && paying.contains(account));
        by_account.entry(mule.unwrap_or(payment.payer.account)).or_default().push(*payment);
    }
    let mut cases: Vec<Vec<Payment>> = by_account.into_values().collect();
    cases.sort_by_key(|case| case[0].number);
    cases
}

#[test]
fn a_seed_has_one_stream_for_ever() {
    // A change of this number is a change of what every seed means: say so in CHANGELOG.md.
    assert_eq!(digest(&payments(&plan(20_000, 3))), 18_092_788_956_329_458_484);
    let other = TrafficPlan { seed: 2, ..plan(1_000, 1) };
    assert_ne!(digest(&payments(&other)), digest(&payments(&plan(1_000, 1))));
}

#[test]
fn a_stream_is_complete_valid_and_in_order() {
    for (count, days) in [(MIN_PAYMENTS, 1), (30_000, 1), (30_000, 7), (5_000, MAX_DAYS)] {
        let plan = plan(count, days);
        let payments = payments(&plan);
        assert_eq!(payments.len() as u64, count);
        assert!(payments.is_sorted_by_key(|payment| payment.event_time_ns));
        let mut ids = HashSet::new();
        for (place, payment) in payments.iter().enumerate() {
            assert_eq!(payment.number, place as u64);
            assert!((plan.start_ns()..plan.end_ns).contains(&payment.event_time_ns));
            for party in [payment.payer, payment.payee] {
                DocumentKey::from_wire(&party.document).expect("valid");
                assert_ne!(party.account, 0);
            }
            assert_ne!(payment.payer.document, payment.payee.document);
            assert!(payment.amount_centavos > 0);
            assert!(is_transaction_id(&payment.id) && ids.insert(payment.id));
            let id = std::str::from_utf8(&payment.id).expect("ASCII");
            assert!(id.starts_with('E') && id.as_bytes()[1..9] == payment.payer.ispb, "{id}");
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        }
    }
}

#[test]
fn an_id_names_the_minute_in_utc() {
    let last = *payments(&plan(MIN_PAYMENTS, 1)).last().expect("a thousand");
    let minute = jiff::Timestamp::from_nanosecond(i128::from(last.event_time_ns))
        .expect("in range")
        .strftime("%Y%m%d%H%M")
        .to_string();
    assert_eq!(&last.id[9..21], minute.as_bytes());
    let rests = |end_ns: u64| {
        let stream = Traffic::new(&TrafficPlan { end_ns, ..plan(MIN_PAYMENTS, 1) });
        stream.map(|payment| payment.id[21..].to_vec()).collect::<HashSet<_>>()
    };
    assert!(
        rests(END_NS).is_disjoint(&rests(END_NS + SECOND_NS)),
        "a later run has ids of its own"
    );
}

#[test]
fn frauds_have_their_shares_and_each_has_a_case() {
    let share = |count: u64, scenario: Scenario| {
        let of_it = |payment: &Payment| payment.label.scenario == scenario;
        Traffic::new(&plan(count, 2)).filter(of_it).count() as u64
    };
    for scenario in Scenario::ALL.into_iter().filter(|s| s.is_fraud()) {
        let planned = 100_000 * share_of_10_000(scenario) / 10_000;
        let found = share(100_000, scenario);
        // The last case is whole, also where it goes past the share.
        assert!((planned..planned + 30).contains(&found), "{scenario:?}: {found}, {planned}");
        assert!(share(MIN_PAYMENTS, scenario) > 0, "{scenario:?}");
    }
    let frauds = Traffic::new(&plan(MIN_PAYMENTS, 1)).filter(|p| p.label.is_fraud()).count();
    assert!(frauds < 110, "{frauds}");
    let frauds = Traffic::new(&plan(100_000, 1)).filter(|p| p.label.is_fraud()).count();
    assert!((2_000..2_300).contains(&frauds), "{frauds}");
}

#[test]
fn some_cases_of_each_fraud_are_hard_and_nothing_honest_is() {
    let payments = payments(&plan(100_000, 2));
    for scenario in Scenario::ALL {
        let of_it = payments.iter().filter(|payment| payment.label.scenario == scenario);
        let hard = of_it.filter(|payment| payment.label.is_hard).count();
        assert_eq!(hard > 0, scenario.is_fraud(), "{scenario:?}: {hard}");
    }
}

#[test]
fn only_what_is_asked_for_is_there() {
    let scenarios: Scenarios = "shops,structuring".parse().expect("two names");
    let stream = Traffic::new(&TrafficPlan { scenarios, ..plan(10_000, 1) });
    let found: HashSet<Scenario> = stream.map(|payment| payment.label.scenario).collect();
    assert_eq!(found, HashSet::from([Scenario::Shops, Scenario::Structuring]));
    assert_eq!(scenarios.to_string(), "shops,structuring");
    assert_eq!("all".parse(), Ok(Scenarios::ALL));
    assert!("shop".parse::<Scenarios>().expect_err("unknown").contains("households, shops"));
    assert!("night-drain".parse::<Scenarios>().expect_err("no honest ones").contains("`shops`"));
}

#[test]
fn a_night_drain_is_at_night_to_payees_who_are_new() {
    let payments = payments(&plan(100_000, 2));
    let mut seen = HashSet::new();
    let mut fresh = 0;
    for payment in &payments {
        if payment.label.scenario == Scenario::NightDrain {
            assert!(is_night(payment.event_time_ns), "{}", local_hour(payment.event_time_ns));
            assert_eq!(payment.channel, 1);
            fresh += u32::from(!seen.contains(&payment.payee.account));
        }
        seen.extend([payment.payer.account, payment.payee.account]);
    }
    assert!(fresh > 100, "{fresh}");
    let devices: HashMap<u64, HashSet<u64>> = payments.iter().filter(|p| !p.label.is_fraud()).fold(
        HashMap::new(),
        |mut devices: HashMap<u64, HashSet<u64>>, payment| {
            devices.entry(payment.payer.account).or_default().insert(payment.device);
            devices
        },
    );
    for case in cases(&payments, Scenario::NightDrain).iter().filter(|c| !c[0].label.is_hard) {
        assert!(case.len() >= 4);
        let known = devices.get(&case[0].payer.account);
        assert!(known.is_none_or(|known| !known.contains(&case[0].device)), "a device of his own");
    }
}

#[test]
fn a_mule_is_paid_by_many_and_passes_it_on_and_a_shop_keeps_it() {
    let payments = payments(&plan(100_000, 2));
    for case in cases(&payments, Scenario::MuleFanIn) {
        let mule = case[0].payee.account;
        let paid_in: Vec<&Payment> = case.iter().filter(|p| p.payee.account == mule).collect();
        let paid_out: Vec<&Payment> = case.iter().filter(|p| p.payer.account == mule).collect();
        assert_eq!(paid_in.len() + paid_out.len(), case.len());
        assert!(paid_in.len() >= 6 && paid_out.len() >= 2, "{} {}", paid_in.len(), paid_out.len());
        let sum = |part: &[&Payment]| part.iter().map(|p| p.amount_centavos).sum::<u64>();
        let permille = sum(&paid_out) * 1_000 / sum(&paid_in);
        assert!((880..=980).contains(&permille), "{permille}");
        let longest_h = if case[0].label.is_hard { 11 } else { 4 };
        let took_ns = case[case.len() - 1].event_time_ns - case[0].event_time_ns;
        assert!(took_ns < longest_h * HOUR_S * SECOND_NS);
    }
    let shops = payments.iter().filter(|p| p.label.scenario == Scenario::Shops);
    let mut in_and_out: HashMap<u64, (u64, u64, HashSet<u64>)> = HashMap::new();
    for payment in shops {
        let amount_centavos = payment.amount_centavos;
        let (paid, _, payers) = in_and_out.entry(payment.payee.account).or_default();
        *paid += amount_centavos;
        payers.insert(payment.payer.account);
        in_and_out.entry(payment.payer.account).or_default().1 += amount_centavos;
    }
    let busy: Vec<_> =
        in_and_out.values().filter(|(paid, _, payers)| *paid > 0 && payers.len() >= 50).collect();
    assert!(busy.len() > 100, "shops are paid by many: {}", busy.len());
    let (paid, out) = busy.iter().fold((0, 0), |(a, b), (paid, out, _)| (a + paid, b + out));
    assert!(out * 1_000 / paid < 700, "shops keep a part: {out} of {paid}");
}

#[test]
fn a_taken_over_account_pays_on_a_device_that_nobody_had() {
    let payments = payments(&plan(100_000, 2));
    let others: HashSet<u64> = payments
        .iter()
        .filter(|p| p.label.scenario != Scenario::NewDevice)
        .map(|payment| payment.device)
        .collect();
    for payment in payments.iter().filter(|p| p.label.scenario == Scenario::NewDevice) {
        assert!(payment.device != 0 && !others.contains(&payment.device));
        let high = payment.amount_centavos >= reais(2_500);
        assert_eq!(high, !payment.label.is_hard);
    }
}

#[test]
fn structured_payments_are_many_and_below_the_limit() {
    for case in cases(&payments(&plan(100_000, 2)), Scenario::Structuring) {
        assert!(case.len() >= 8, "{}", case.len());
        let least_centavos = if case[0].label.is_hard { reais(600) } else { reais(900) };
        let amounts = case.iter().map(|payment| payment.amount_centavos);
        assert!(amounts.into_iter().all(|a| a >= least_centavos && a < reais(1_000)));
        let took_ns = case[case.len() - 1].event_time_ns - case[0].event_time_ns;
        assert!(case.len() > 15 || took_ns < DAY_S * SECOND_NS);
    }
}

#[test]
fn tests_of_an_account_are_tiny_and_the_last_payment_is_large() {
    for case in cases(&payments(&plan(100_000, 2)), Scenario::AccountTesting) {
        let (last, tests) = case.split_last().expect("payments");
        if !case[0].label.is_hard {
            assert!(tests.len() >= 10 && tests.iter().all(|p| p.device == last.device));
            assert!(tests.iter().all(|p| p.amount_centavos <= reais(2)));
            assert!(last.amount_centavos >= reais(3_000));
        }
    }
}

#[test]
fn honest_payments_look_like_fraud_now_and_then() {
    let payments = payments(&plan(100_000, 2));
    let honest: Vec<&Payment> = payments.iter().filter(|p| !p.label.is_fraud()).collect();
    let count = |is: &dyn Fn(&Payment) -> bool| honest.iter().filter(|p| is(p)).count();
    let night = count(&|p| is_night(p.event_time_ns) && p.amount_centavos > reais(1_000));
    assert!(night > 100, "{night}");
    assert!(count(&|p| p.device == 0 && p.channel == 1) > 100);
    assert!(count(&|p| (reais(900)..reais(1_000)).contains(&p.amount_centavos)) > 100);
    let mut devices: HashMap<u64, HashSet<u64>> = HashMap::new();
    for payment in honest.iter().filter(|p| p.channel == 1 && p.device != 0) {
        devices.entry(payment.payer.account).or_default().insert(payment.device);
    }
    let changed = devices.values().filter(|devices| devices.len() == 2).count();
    assert!((200..3_000).contains(&changed), "{changed}");
    assert!(devices.values().all(|devices| devices.len() <= 2));
    let small = count(&|p| p.amount_centavos < reais(100));
    assert!(small * 10 > honest.len() * 7, "heavy at small amounts: {small}");
    let people = honest.iter().filter(|p| {
        p.label.scenario == Scenario::Shops
            && DocumentKey::from_wire(&p.payee.document).expect("valid").kind() == DocumentKind::Cpf
    });
    assert!(people.count() > 1_000, "shops that a person runs");
}
