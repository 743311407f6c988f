//! What the rules in force need of the named lists, and to whom they are not applied: each core holds one, and swaps
//! it between two batches. What it looks up for a decision is recorded with it, as the values of windows are.

use super::share::ShareKey;
use super::validators::Validator;
use super::{EVERY_PAYER, Facts, RuleWords, Rules};
use crate::named_lists::{Exemptions, List, NamedLists};
use catraca_wire::DocumentKey;
use catraca_wire::extension::{MAX_RULE_WORDS, WindowValue};
use catraca_wire::frame::TransactionFields;
use catraca_wire::list::{ListKey, ListKeyKind, ListName};
use siphasher::sip128::Hasher128;
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;

/// Most values that a policy looks up in lists.
pub const MAX_ASKED: usize = 64;

macro_rules! key_fields {
    ($($(#[$doc:meta])* $variant:ident = $name:literal: $kind:ident;)+) => {
        /// What of a payment is looked up.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum KeyField {
            $($(#[$doc])* $variant,)+
        }

        impl KeyField {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As it is written in a condition.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Lists of which keys it is looked up in.
            pub const fn kind(self) -> ListKeyKind {
                match self { $(Self::$variant => ListKeyKind::$kind,)+ }
            }
        }
    };
}

key_fields! {
    /// The payer's document.
    PayerDocument = "payer.document": Document;
    /// The payee's document.
    PayeeDocument = "payee.document": Document;
    /// The payer's company.
    PayerRoot = "payer.root": Company;
    /// The payee's company.
    PayeeRoot = "payee.root": Company;
    /// The payer's account.
    PayerAccount = "tx.payer_account": Account;
    /// The payee's account.
    PayeeAccount = "tx.payee_account": Account;
    /// The device.
    Device = "tx.device": Device;
    /// The Pix key.
    PixKey = "tx.pix_key": PixKey;
    /// The payer's institution.
    PayerIspb = "tx.payer_ispb": Institution;
    /// The payee's institution.
    PayeeIspb = "tx.payee_ispb": Institution;
    /// The address that the payment came from.
    Ip = "tx.ip": Network;
}

impl KeyField {
    /// The field of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }

    /// The key of a payment; `None` where it has none.
    #[inline]
    fn key(self, facts: &Facts<'_>) -> Option<ListKey> {
        self.key_of(facts.transaction, facts.payer.document, facts.payee.document)
    }

    #[inline]
    fn key_of(
        self,
        transaction: &TransactionFields,
        payer: DocumentKey,
        payee: DocumentKey,
    ) -> Option<ListKey> {
        let bits = match self {
            Self::PayerDocument => payer.raw().into(),
            Self::PayeeDocument => payee.raw().into(),
            Self::PayerRoot => payer.cnpj_root()?.into(),
            Self::PayeeRoot => payee.cnpj_root()?.into(),
            Self::PayerAccount => transaction.payer_account.to_native().into(),
            Self::PayeeAccount => transaction.payee_account.to_native().into(),
            Self::Device => transaction.device.to_native().into(),
            Self::PixKey => u128::from_be_bytes(transaction.pix_key),
            Self::PayerIspb => u64::from_be_bytes(transaction.payer_ispb).into(),
            Self::PayeeIspb => u64::from_be_bytes(transaction.payee_ispb).into(),
            Self::Ip => u128::from_be_bytes(transaction.ip),
        };
        // Zeros are what is not known of a payment; no document is zero.
        (bits != 0).then_some(ListKey::of(bits))
    }
}

/// What is looked up: a key of the payment, in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The list.
    pub list: ListName,
    /// The key.
    pub key: KeyField,
}

impl Asked {
    /// As it is written.
    pub fn name(&self) -> String {
        format!("list(\"{}\")[{}]", self.list, self.key.name())
    }
}

/// Of whom exemptions are looked up.
const EXEMPTED: [KeyField; 7] = [
    KeyField::PayerDocument,
    KeyField::PayeeDocument,
    KeyField::PayerRoot,
    KeyField::PayeeRoot,
    KeyField::PayerAccount,
    KeyField::PayeeAccount,
    KeyField::Device,
];

/// The lists that a policy's rules look things up in, and the exemptions from them. Immutable.
#[derive(Debug, Default)]
pub struct InForce {
    asked: Box<[(KeyField, Option<Arc<List>>)]>,
    exemptions: Arc<Exemptions>,
    /// Keys that there are exemptions of.
    exempted: Box<[KeyField]>,
    /// Rules by id; none where there is no exemption.
    rules: BTreeMap<ListName, u16>,
    /// Rules that are applied to a share of all payers, with that share.
    shares: Box<[(u16, u16)]>,
    share_key: ShareKey,
    /// Rules that speak against a payment: they are applied to every payment of a listed party.
    against: RuleWords,
    sequence: u64,
}

impl InForce {
    /// Of a policy's rules, in the cluster of this key.
    pub fn new(lists: &NamedLists, rules: &Rules, share_key: ShareKey) -> Self {
        let asked =
            rules.lists.iter().map(|asked| (asked.key, lists.shared_list(&asked.list).cloned()));
        let exemptions = Arc::clone(lists.shared_exemptions());
        let exempted: Box<[_]> =
            EXEMPTED.into_iter().filter(|field| exemptions.has(field.kind())).collect();
        let all = rules.rules.iter().zip(0..);
        let named =
            all.clone().filter_map(|(rule, number)| Some((ListName::parse(&rule.id)?, number)));
        let rules = if exempted.is_empty() { BTreeMap::new() } else { named.collect() };
        let shares = all.clone().filter(|(rule, _)| rule.share_permille < EVERY_PAYER);
        let shares = shares.map(|(rule, number)| (number, rule.share_permille)).collect();
        let sequence = lists.sequence();
        let mut against = [0; MAX_RULE_WORDS];
        for (_, number) in all.filter(|(rule, _)| rule.effect.is_against()) {
            let number: u16 = number;
            against[usize::from(number) / 64] |= 1 << (number % 64);
        }
        let asked = asked.collect();
        Self { asked, exemptions, exempted, rules, shares, share_key, against, sequence }
    }

    /// Number of the last change of the lists; 0 without one.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many values are looked up.
    pub const fn values(&self) -> usize {
        self.asked.len()
    }

    /// What a validator is asked about a payment, as a keyed hash: payments that are the same to it have the same.
    #[inline]
    pub fn question(
        &self,
        validator: &Validator,
        transaction: &TransactionFields,
        payer: DocumentKey,
        payee: DocumentKey,
    ) -> u128 {
        let mut question = self.share_key.question(&validator.id);
        for field in &validator.sends {
            let bits = field.key_of(transaction, payer, payee).map_or(0, |key| key.bits);
            question.write_u128(bits);
        }
        if validator.sends_amount {
            question.write_i64(transaction.amount_centavos.to_native());
        }
        question.finish128().as_u128()
    }

    /// Asks the processor for what [`Self::look_up`] reads of a payment.
    #[inline]
    pub fn prefetch(
        &self,
        transaction: &TransactionFields,
        payer: DocumentKey,
        payee: DocumentKey,
    ) {
        for (field, list) in &self.asked {
            if let (Some(list), Some(key)) = (list, field.key_of(transaction, payer, payee)) {
                list.prefetch(key);
            }
        }
    }

    /// Looks up what the rules ask of a payment: a number, missing, or not known where there is no such list.
    ///
    /// # Panics
    /// When there is no room for every value.
    #[inline]
    pub fn look_up(&self, facts: &Facts<'_>, values: &mut [WindowValue]) {
        assert_eq!(values.len(), self.asked.len(), "a value for each that is asked");
        for ((field, list), value) in self.asked.iter().zip(values) {
            *value = match list {
                None => WindowValue::Evicted,
                Some(list) => {
                    let entry = field.key(facts).and_then(|key| list.get(key, facts.decided_at_ns));
                    entry.map_or(WindowValue::Missing, |entry| WindowValue::Present(entry.value))
                }
            };
        }
    }

    /// The rules that are not applied to a payment, by an exemption or because its payer is not of their share;
    /// `None` where all are. Where the blacklist names a party, and nothing allows it, every rule is applied that
    /// speaks against the payment.
    #[inline]
    pub fn exempt(&self, facts: &Facts<'_>) -> Option<RuleWords> {
        // By far the most payments: nothing is exempted from anything.
        if self.exempted.is_empty() && self.shares.is_empty() {
            return None;
        }
        self.exempt_by_keys(facts)
    }

    #[inline(never)]
    fn exempt_by_keys(&self, facts: &Facts<'_>) -> Option<RuleWords> {
        let mut exempt = [0; MAX_RULE_WORDS];
        if !self.shares.is_empty()
            && let Some(place) = self.share_key.place(facts.payer.document)
        {
            for &(number, _) in self.shares.iter().filter(|(_, permille)| place >= *permille) {
                exempt[usize::from(number) / 64] |= 1 << (number % 64);
            }
        }
        for field in &self.exempted {
            let Some(key) = field.key(facts) else { continue };
            for of in self.exemptions.rules(field.kind(), key) {
                if of.counts(facts.decided_at_ns)
                    && let Some(&number) = self.rules.get(&of.rule)
                {
                    exempt[usize::from(number) / 64] |= 1 << (number % 64);
                }
            }
        }
        // A rule may be all that stops who is listed.
        if facts.payer.is_listed() || facts.payee.is_listed() {
            exempt.iter_mut().zip(self.against).for_each(|(exempt, against)| *exempt &= !against);
        }
        (exempt != [0; MAX_RULE_WORDS]).then_some(exempt)
    }
}

#[cfg(test)]
mod tests;
