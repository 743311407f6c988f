//! Frauds: cases of several payments each, planned whole before the stream begins.
//!
//! One case in [`HARD_ONE_IN`] is hard: a fraud that looks like what honest people do, so that no
//! policy finds all of them. What makes it hard:
//!
//! - `night-drain`: on the victim's own device, in few small amounts.
//! - `mule-fan-in`: over hours instead of minutes, in small amounts, to an account that has paid
//!   and been paid for long.
//! - `new-device`: one small payment, by day, as somebody with a new phone makes.
//! - `structuring`: over most of a day, and less close to the limit.
//! - `account-testing`: few tests, an hour apart, of amounts that are usual, on a known device; then
//!   not much.

use super::chance::Chance;
use super::honest::{BY_KEY_PERMILLE, WHOLE_REAIS_PERMILLE, World, whole_reais};
use super::payment::{CHANNEL_APP, Draft, reais};
use super::people::{Who, purpose};
use super::rhythm::{HOUR_S, SECOND_NS, local_hour};
use super::{Label, Scenario, TrafficPlan};

/// One case of a fraud in so many is hard.
pub const HARD_ONE_IN: u64 = 6;
/// Longest cases, seconds: what their counts and pauses below come to at most. Each fits between
/// its hours into a span of one day.
const NIGHT_DRAIN_S: u64 = 90 * 60;
const MULE_S: u64 = 10 * HOUR_S + HOUR_S / 2;
const NEW_DEVICE_S: u64 = 30 * 60;
const STRUCTURING_S: u64 = 4 * HOUR_S;
const STRUCTURING_HARD_S: u64 = 20 * HOUR_S;
const TESTING_S: u64 = 4 * HOUR_S;
/// Numbers of devices that nobody has had before begin here: a household has fewer.
const FIRST_NEW_DEVICE: u64 = 1 << 10;
/// How many numbers of new devices there are: cases share them, never of one payer by more than
/// chance.
const NEW_DEVICES: u64 = 1 << 19;
/// Bits of the number of a stranger within a fraud: more than there are payments of it.
const STRANGERS_BITS: u32 = 24;

/// Share of a fraud in all payments, of 10,000. In all about two in a hundred: far more than on
/// Pix, where it is less than one in 10,000, because a run of 100,000 payments must hold enough
/// cases of each to count. Frauds of more payments have more, so that there are cases of all.
pub const fn share_of_10_000(scenario: Scenario) -> u64 {
    match scenario {
        Scenario::Households | Scenario::Shops => 0,
        Scenario::NightDrain => 30,
        Scenario::MuleFanIn => 60,
        Scenario::NewDevice => 20,
        Scenario::Structuring => 50,
        Scenario::AccountTesting => 50,
    }
}

/// All frauds of a plan, in order of time. At least one case of each that is asked for.
pub(super) fn plan_all(plan: &TrafficPlan, world: World) -> Vec<Draft> {
    let mut frauds = Frauds {
        world,
        start_ns: plan.start_ns(),
        end_ns: plan.end_ns,
        chance: Chance::new(plan.seed, purpose::FRAUDS),
        last_stranger: 0,
        label: Label::of(Scenario::NightDrain),
        drafts: Vec::new(),
    };
    let is_asked_for = |s: &Scenario| s.is_fraud() && plan.scenarios.contains(*s);
    for scenario in Scenario::ALL.into_iter().filter(is_asked_for) {
        // Chance and strangers are those of this fraud alone: which others are asked for changes
        // nothing of it.
        frauds.chance = Chance::new(plan.seed, purpose::FRAUDS << 8 | scenario as u64);
        frauds.last_stranger = (scenario as u32) << STRANGERS_BITS;
        let wanted = plan.payments * share_of_10_000(scenario) / 10_000;
        let enough = frauds.drafts.len() as u64 + wanted;
        let mut cases = 0;
        while cases == 0 || (frauds.drafts.len() as u64) < enough {
            let is_hard = cases % HARD_ONE_IN == HARD_ONE_IN / 2;
            frauds.label = Label { scenario, is_hard };
            match scenario {
                Scenario::NightDrain => frauds.night_drain(),
                Scenario::MuleFanIn => frauds.mule_fan_in(),
                Scenario::NewDevice => frauds.new_device(),
                Scenario::Structuring => frauds.structuring(),
                Scenario::AccountTesting => frauds.account_testing(),
                Scenario::Households | Scenario::Shops => {}
            }
            cases += 1;
        }
    }
    // Stable: payments of one time stay in the order in which they were planned.
    frauds.drafts.sort_by_key(|draft| draft.event_time_ns);
    frauds.drafts
}

struct Frauds {
    world: World,
    start_ns: u64,
    end_ns: u64,
    chance: Chance,
    /// Number of the stranger who appeared last.
    last_stranger: u32,
    label: Label,
    drafts: Vec<Draft>,
}

impl Frauds {
    /// An account is emptied at night, in several payments to people whom it never paid, on a
    /// device that it never used.
    fn night_drain(&mut self) {
        let hard = self.label.is_hard;
        let mut time_ns = self.start(NIGHT_DRAIN_S, |hour| !(4..22).contains(&hour));
        let victim = self.world.household(&mut self.chance);
        let device =
            if hard { self.known_device(victim, time_ns) } else { self.new_device_of(victim) };
        let payees = self.new_strangers(if hard { 2 } else { 4 });
        let count = if hard { self.chance.between(3, 4) } else { self.chance.between(4, 10) };
        let balance_centavos = self.chance.between(reais(2_000), reais(12_000));
        for _ in 0..count {
            let payee = payees[self.chance.below(payees.len() as u64) as usize];
            let amount_centavos = if hard {
                self.chance.between(reais(60), reais(250))
            } else {
                balance_centavos / count * self.chance.between(70, 130) / 100
            };
            self.pay(time_ns, victim, payee, device, amount_centavos);
            let pause_s = if hard { 600..=1_500 } else { 60..=540 };
            time_ns = self.after(time_ns, pause_s);
        }
    }

    /// Many people who were deceived pay one account, and soon it passes nearly all of it on.
    fn mule_fan_in(&mut self) {
        let hard = self.label.is_hard;
        let mut time_ns = self.start(MULE_S, |hour| (8..=20).contains(&hour));
        let mule = if hard { self.world.household(&mut self.chance) } else { self.new_stranger() };
        let mut total_centavos = 0;
        for _ in 0..if hard { self.chance.between(6, 9) } else { self.chance.between(10, 20) } {
            let mut victim = self.world.household(&mut self.chance);
            while victim == mule {
                victim = self.world.household(&mut self.chance);
            }
            let amount_centavos = if hard {
                self.chance.between(reais(60), reais(500))
            } else {
                self.chance.between(reais(200), reais(2_500))
            };
            total_centavos += amount_centavos;
            let device = self.known_device(victim, time_ns);
            self.pay(time_ns, victim, mule, device, amount_centavos);
            time_ns = self.after(time_ns, if hard { 2_400..=3_600 } else { 60..=480 });
        }
        let device = self.known_device(mule, time_ns);
        let count = if hard { 2 } else { self.chance.between(3, 5) };
        for _ in 0..count {
            let amount_centavos = total_centavos * self.chance.between(90, 98) / 100 / count;
            let payee = self.new_stranger();
            self.pay(time_ns, mule, payee, device, amount_centavos);
            time_ns = self.after(time_ns, 60..=240);
        }
    }

    /// An account is taken over on a new device, and pays high amounts at once.
    fn new_device(&mut self) {
        let hard = self.label.is_hard;
        let mut time_ns =
            self.start(NEW_DEVICE_S, |hour| (9..if hard { 18 } else { 24 }).contains(&hour));
        let victim = self.world.household(&mut self.chance);
        let device = self.new_device_of(victim);
        for _ in 0..if hard { 1 } else { self.chance.between(1, 3) } {
            let amount_centavos = if hard {
                self.chance.between(reais(150), reais(450))
            } else {
                self.chance.between(reais(2_500), reais(12_000))
            };
            let payee = self.new_stranger();
            self.pay(time_ns, victim, payee, device, amount_centavos);
            time_ns = self.after(time_ns, 120..=600);
        }
    }

    /// A large sum in many payments just below R$ 1,000, by day or at night.
    fn structuring(&mut self) {
        let hard = self.label.is_hard;
        let longest_s = if hard { STRUCTURING_HARD_S } else { STRUCTURING_S };
        let mut time_ns = self.start(longest_s, |_| true);
        let payer = self.world.household(&mut self.chance);
        let device = self.known_device(payer, time_ns);
        let payees = self.new_strangers(4);
        for _ in 0..self.chance.between(8, 15) {
            let payee = payees[self.chance.below(payees.len() as u64) as usize];
            let least_centavos = if hard { reais(600) } else { reais(900) };
            let amount_centavos = self.chance.between(least_centavos, 99_999);
            self.pay(time_ns, payer, payee, device, amount_centavos);
            time_ns = self.after(time_ns, if hard { 4_000..=4_800 } else { 300..=900 });
        }
    }

    /// Many tiny payments find out whether a stolen account still pays; then it pays much.
    fn account_testing(&mut self) {
        let hard = self.label.is_hard;
        let mut time_ns = self.start(TESTING_S, |hour| hour >= 7);
        let victim = self.world.household(&mut self.chance);
        let device =
            if hard { self.known_device(victim, time_ns) } else { self.new_device_of(victim) };
        for _ in 0..if hard { 3 } else { self.chance.between(10, 25) } {
            let amount_centavos = if hard {
                self.chance.between(reais(5), reais(30))
            } else {
                self.chance.between(1, reais(2))
            };
            let payee = self.new_stranger();
            self.pay(time_ns, victim, payee, device, amount_centavos);
            time_ns = self.after(time_ns, if hard { 1_800..=3_600 } else { 10..=90 });
        }
        let amount_centavos = if hard {
            self.chance.between(reais(300), reais(700))
        } else {
            self.chance.between(reais(3_000), reais(15_000))
        };
        let payee = self.new_stranger();
        self.pay(time_ns, victim, payee, device, amount_centavos);
    }

    /// A time from which a case of this length fits into the span, in an hour that is allowed.
    /// Every span has one: it is nearly a day at least.
    fn start(&mut self, longest_s: u64, is_allowed: impl Fn(u64) -> bool) -> u64 {
        let room_ns = self.end_ns - self.start_ns - longest_s * SECOND_NS;
        loop {
            let time_ns = self.start_ns + self.chance.below(room_ns);
            if is_allowed(local_hour(time_ns)) {
                return time_ns;
            }
        }
    }

    fn after(&mut self, time_ns: u64, pause_s: std::ops::RangeInclusive<u64>) -> u64 {
        let (low, high) = (pause_s.start() * SECOND_NS, pause_s.end() * SECOND_NS);
        time_ns + self.chance.between(low, high)
    }

    fn new_stranger(&mut self) -> Who {
        self.last_stranger += 1;
        self.world.stranger(self.last_stranger)
    }

    fn new_strangers(&mut self, count: usize) -> Vec<Who> {
        (0..count).map(|_| self.new_stranger()).collect()
    }

    fn known_device(&self, who: Who, event_time_ns: u64) -> u64 {
        self.world.known_device(who, event_time_ns)
    }

    fn new_device_of(&mut self, victim: Who) -> u64 {
        let later = FIRST_NEW_DEVICE + self.chance.below(NEW_DEVICES);
        self.world.people().device(victim, later)
    }

    /// Key and whole reais as often as where people are honest: they must not give a fraud away.
    fn pay(&mut self, time_ns: u64, payer: Who, payee: Who, device: u64, amount_centavos: u64) {
        let is_whole = amount_centavos >= reais(10) && self.chance.permille(WHOLE_REAIS_PERMILLE);
        let amount_centavos = if is_whole { whole_reais(amount_centavos) } else { amount_centavos };
        self.drafts.push(Draft {
            event_time_ns: time_ns,
            payer,
            payee,
            device,
            amount_centavos,
            channel: CHANNEL_APP,
            by_key: self.chance.permille(BY_KEY_PERMILLE),
            label: self.label,
        });
    }
}
