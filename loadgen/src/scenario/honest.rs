//! Honest payments: households and shops. Some of them look like fraud, because real ones do:
//!
//! - A household changes its device within the span, and goes on paying (one in
//!   [`NEW_DEVICE_ONE_IN`]).
//! - Somebody pays more than R$ 1,000 at night, or has no device that anybody knows.
//! - Shops are paid by many people in little time, also small ones that a person runs on an account
//!   of his own, and ones that open within the span: like a mule, but what they get they keep.
//! - Rents and wages are large, and lie just below R$ 1,000 as often as just above.

use super::chance::{Chance, keyed, scale, scramble};
use super::payment::{CHANNEL_API, CHANNEL_APP, CHANNEL_WEB, Draft, reais};
use super::people::{People, Who, purpose};
use super::rhythm::{Rhythm, is_night, local_hour};
use super::{Label, Scenario, TrafficPlan};

/// Payments that a household makes in a day, on average: few enough that one of its days does not
/// look like a fraud, enough that it pays the same people again.
const PAYMENTS_A_DAY: u64 = 3;
/// Fewest households, so that most have never paid each other.
const MIN_HOUSEHOLDS: u64 = 200;
/// Households for each shop, so that a shop is paid many times a day.
const HOUSEHOLDS_A_SHOP: u64 = 40;
/// Fewest shops.
const MIN_SHOPS: u64 = 8;
/// One shop in so many is a person, who sells without a company.
const PERSON_SHOP_ONE_IN: u32 = 4;
/// One shop in so many opens within the span.
const YOUNG_SHOP_ONE_IN: u32 = 10;
/// Households for each company that pays wages.
const HOUSEHOLDS_AN_EMPLOYER: u64 = 30;
/// Suppliers that all shops share.
const SUPPLIERS: u32 = 20;
/// Share of shops in the honest payments, per mille, where households are there too.
const SHOPS_PERMILLE: u64 = 400;

/// People that a household pays again and again.
const REGULAR_PAYEES: u64 = 6;
/// Share of its payments that go to anybody else, per mille.
const ANYBODY_PERMILLE: u64 = 120;
/// Of the households' payments by day, wages, and rents and the like, per mille.
const SALARY_PERMILLE: u64 = 15;
const LARGE_PERMILLE: u64 = 20;
/// Of the households' payments at night, those above R$ 1,000, per mille.
const LARGE_AT_NIGHT_PERMILLE: u64 = 10;
/// Of the shops' payments by day, what shops pay their suppliers, per mille.
const SUPPLIER_PERMILLE: u64 = 20;
/// One household in so many has a new device within the span.
const NEW_DEVICE_ONE_IN: u64 = 12;
/// Payments made in a browser, and payments without a known device, per mille.
const WEB_PERMILLE: u64 = 120;
const NO_DEVICE_PERMILLE: u64 = 5;
/// Payments that name the payee's Pix key, per mille; the others name the account.
pub(super) const BY_KEY_PERMILLE: u64 = 900;
/// Amounts in whole reais, per mille.
pub(super) const WHOLE_REAIS_PERMILLE: u64 = 500;

/// What households pay each other: up to which per mille, from and to how many centavos. Heavy at
/// small amounts, as Pix between people is.
const AMOUNTS: [(u64, u64, u64); 5] = [
    (350, reais(2), reais(20)),
    (700, reais(20), reais(80)),
    (900, reais(80), reais(300)),
    (980, reais(300), reais(1_000)),
    (1_000, reais(1_000), reais(2_500)),
];

/// The world that honest payments are made in.
#[derive(Debug, Clone, Copy)]
pub(super) struct World {
    seed: u64,
    start_ns: u64,
    end_ns: u64,
    people: People,
    households: u32,
    shops: u32,
}

impl World {
    pub fn new(plan: &TrafficPlan) -> Self {
        let a_household = PAYMENTS_A_DAY * u64::from(plan.days);
        let households = (plan.payments / a_household).max(MIN_HOUSEHOLDS);
        Self {
            seed: plan.seed,
            start_ns: plan.start_ns(),
            end_ns: plan.end_ns,
            people: People::new(plan.seed),
            households: households as u32,
            shops: (households / HOUSEHOLDS_A_SHOP).max(MIN_SHOPS) as u32,
        }
    }

    pub fn people(&self) -> People {
        self.people
    }

    /// Anybody of a household.
    pub fn household(&self, chance: &mut Chance) -> Who {
        Who::Person(chance.below(u64::from(self.households)) as u32)
    }

    /// Somebody who appears nowhere else: of another number, another one.
    pub fn stranger(&self, number: u32) -> Who {
        Who::Person(self.households + self.shops + number)
    }

    /// The device that a household has at a time.
    pub fn known_device(&self, who: Who, event_time_ns: u64) -> u64 {
        let Who::Person(index) = who else { return 0 };
        let random = keyed(self.seed, purpose::NEW_DEVICE, u64::from(index));
        let changes = random.is_multiple_of(NEW_DEVICE_ONE_IN)
            && event_time_ns >= self.within_span(scramble(random));
        self.people.device(who, u64::from(changes))
    }

    /// A time within the span.
    fn within_span(&self, random: u64) -> u64 {
        self.start_ns + scale(random, self.end_ns - self.start_ns)
    }

    /// One of those whom somebody pays often, the first ones most.
    fn regular_payee(&self, payer: u32, chance: &mut Chance) -> Who {
        let place = chance.below(REGULAR_PAYEES).min(chance.below(REGULAR_PAYEES));
        let random = keyed(self.seed, purpose::REGULAR_PAYEE, u64::from(payer) << 8 | place);
        self.other_than(payer, scale(random, u64::from(self.households)) as u32)
    }

    fn other_than(&self, payer: u32, payee: u32) -> Who {
        Who::Person(if payer == payee { (payee + 1) % self.households } else { payee })
    }

    /// A shop that is open: first ones are larger. One that is not open yet has one that is before
    /// it.
    fn shop(&self, event_time_ns: u64, chance: &mut Chance) -> u32 {
        let shops = u64::from(self.shops);
        let shop = chance.below(shops).min(chance.below(shops)) as u32;
        let is_young = shop % YOUNG_SHOP_ONE_IN == YOUNG_SHOP_ONE_IN - 1;
        let opening = keyed(self.seed, purpose::OPENING, u64::from(shop));
        if is_young && event_time_ns < self.within_span(opening) { shop - 1 } else { shop }
    }

    fn shop_owner(&self, shop: u32) -> Who {
        if shop % PERSON_SHOP_ONE_IN == PERSON_SHOP_ONE_IN - 1 {
            Who::Person(self.households + shop)
        } else {
            Who::Company(shop)
        }
    }

    fn employer(&self, employee: u32) -> Who {
        let employers = (u64::from(self.households) / HOUSEHOLDS_AN_EMPLOYER).max(1) as u32;
        Who::Company(self.shops + SUPPLIERS + employee % employers)
    }
}

/// An amount without its centavos.
pub(super) fn whole_reais(amount_centavos: u64) -> u64 {
    amount_centavos / reais(1) * reais(1)
}

/// Draws honest payments, in order.
#[derive(Debug, Clone)]
pub(super) struct Honest {
    world: World,
    chance: Chance,
    times_chance: Chance,
    rhythm: Rhythm,
    shops_permille: u64,
}

impl Honest {
    /// So many payments of the honest scenarios of the plan.
    pub fn new(plan: &TrafficPlan, world: World, count: u64) -> Self {
        let has = |scenario| plan.scenarios.contains(scenario);
        Self {
            world,
            chance: Chance::new(plan.seed, purpose::HONEST),
            times_chance: Chance::new(plan.seed, purpose::TIMES),
            rhythm: Rhythm::new(plan.start_ns(), plan.end_ns, count),
            shops_permille: match (has(Scenario::Households), has(Scenario::Shops)) {
                (true, true) => SHOPS_PERMILLE,
                (_, shops) => 1_000 * u64::from(shops),
            },
        }
    }

    /// The next one; `None` when all were drawn.
    pub fn next(&mut self) -> Option<Draft> {
        let event_time_ns = self.rhythm.next(&mut self.times_chance)?;
        Some(if self.chance.permille(self.shops_permille) {
            self.at_a_shop(event_time_ns)
        } else {
            self.of_a_household(event_time_ns)
        })
    }

    fn of_a_household(&mut self, event_time_ns: u64) -> Draft {
        let households = u64::from(self.world.households);
        // Some pay more than others.
        let index = self.chance.below(households).min(self.chance.below(households)) as u32;
        let by_day = (8..18).contains(&local_hour(event_time_ns));
        if by_day && self.chance.permille(SALARY_PERMILLE) {
            return self.salary(event_time_ns, index);
        }
        let regular = self.world.regular_payee(index, &mut self.chance);
        let (payee, amount_centavos) = if by_day && self.chance.permille(LARGE_PERMILLE) {
            (regular, self.chance.between(reais(800), reais(4_500)))
        } else if is_night(event_time_ns) && self.chance.permille(LARGE_AT_NIGHT_PERMILLE) {
            (regular, self.chance.between(100_001, reais(3_000)))
        } else if self.chance.permille(ANYBODY_PERMILLE) {
            let anybody = self.chance.below(households) as u32;
            (self.world.other_than(index, anybody), self.amount())
        } else {
            (regular, self.amount())
        };
        self.by_a_person(
            Who::Person(index),
            payee,
            event_time_ns,
            amount_centavos,
            Scenario::Households,
        )
    }

    /// Wages: of the same employer, the same amount each time.
    fn salary(&mut self, event_time_ns: u64, employee: u32) -> Draft {
        let random = keyed(self.world.seed, purpose::SALARY, u64::from(employee));
        Draft {
            event_time_ns,
            payer: self.world.employer(employee),
            payee: Who::Person(employee),
            device: 0,
            amount_centavos: reais(1_700) + scale(random, reais(7_000)),
            channel: CHANNEL_API,
            by_key: false,
            label: Label::of(Scenario::Households),
        }
    }

    fn at_a_shop(&mut self, event_time_ns: u64) -> Draft {
        let shop = self.world.shop(event_time_ns, &mut self.chance);
        let owner = self.world.shop_owner(shop);
        let by_day = (8..18).contains(&local_hour(event_time_ns));
        if by_day && self.chance.permille(SUPPLIER_PERMILLE) {
            return self.supplies(event_time_ns, shop, owner);
        }
        // What a shop sells costs about the same.
        let random = keyed(self.world.seed, purpose::PRICE, u64::from(shop));
        let price_centavos = reais(4) + scale(random, reais(56));
        let amount_centavos = price_centavos * self.chance.between(50, 250) / 100;
        let payer = self.world.household(&mut self.chance);
        self.by_a_person(payer, owner, event_time_ns, amount_centavos, Scenario::Shops)
    }

    /// A shop pays one of its suppliers.
    fn supplies(&mut self, event_time_ns: u64, shop: u32, owner: Who) -> Draft {
        let random = keyed(self.world.seed, purpose::SUPPLIER, u64::from(shop));
        let supplier = scale(random, u64::from(SUPPLIERS)) as u32;
        Draft {
            event_time_ns,
            payer: owner,
            payee: Who::Company(self.world.shops + supplier),
            device: self.world.people.device(owner, 0),
            amount_centavos: self.chance.between(reais(300), reais(3_000)),
            channel: CHANNEL_WEB,
            by_key: true,
            label: Label::of(Scenario::Shops),
        }
    }

    fn by_a_person(
        &mut self,
        payer: Who,
        payee: Who,
        event_time_ns: u64,
        amount_centavos: u64,
        scenario: Scenario,
    ) -> Draft {
        let web = self.chance.permille(WEB_PERMILLE);
        let device = if self.chance.permille(NO_DEVICE_PERMILLE) {
            0
        } else if web {
            self.world.people.device(payer, purpose::COMPUTER)
        } else {
            self.world.known_device(payer, event_time_ns)
        };
        Draft {
            event_time_ns,
            payer,
            payee,
            device,
            amount_centavos,
            channel: if web { CHANNEL_WEB } else { CHANNEL_APP },
            by_key: self.chance.permille(BY_KEY_PERMILLE),
            label: Label::of(scenario),
        }
    }

    /// What people pay each other.
    fn amount(&mut self) -> u64 {
        let random = self.chance.below(1_000);
        let (_, low, high) = AMOUNTS
            .into_iter()
            .find(|&(up_to, ..)| random < up_to)
            .expect("the last entry has all that is left");
        let amount_centavos = self.chance.between(low, high);
        if self.chance.permille(500) {
            amount_centavos / reais(1) * reais(1)
        } else {
            amount_centavos
        }
    }
}
