//! Building a [`Transaction`]: from what people have (text, numbers, addresses) to fields that a
//! server takes.
//!
//! Whatever can be checked without a server is checked here, so that a mistake is named where it is
//! made. No clock is read: the event time is the caller's, because a transaction that is sent again
//! must say the same time as before.

use crate::document::{DocumentError, DocumentKey};
use crate::frame::{MAX_BUDGET_US, Transaction, TransactionFields, transaction_id, wire_codes};
use bytemuck::Zeroable;
use std::net::IpAddr;

wire_codes! {
    /// Payment arrangement of a transaction.
    Rail: u8 {
        /// None of the others.
        Other = 0 => "other",
        /// Instant payment.
        Pix = 1 => "pix",
        /// Transferência Eletrônica Disponível.
        Ted = 2 => "ted",
        /// Payment slip.
        Boleto = 3 => "boleto",
        /// Card.
        Card = 4 => "card",
    }
}

wire_codes! {
    /// Where a transaction was started.
    Channel: u8 {
        /// None of the others.
        Other = 0 => "other",
        /// The institution's app.
        App = 1 => "app",
        /// The institution's site.
        Web = 2 => "web",
        /// A program of the customer's.
        Api = 3 => "api",
        /// A branch.
        Branch = 4 => "branch",
        /// A cash machine.
        Atm = 5 => "atm",
    }
}

/// Why a transaction can't be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// No usable id.
    #[error("a transaction id is 1 to 32 printable ASCII characters without spaces")]
    Id,
    /// The payer's document is none.
    #[error("payer: {0}")]
    Payer(DocumentError),
    /// The payee's document is none.
    #[error("payee: {0}")]
    Payee(DocumentError),
    /// Nothing, or less, is to be paid.
    #[error("an amount is at least 1 centavo, and this is {0}")]
    Amount(i64),
    /// An ISPB is 8 ASCII letters or digits.
    #[error("an ISPB is 8 ASCII letters or digits")]
    Ispb,
    /// More time than the server promises to need.
    #[error("a budget is at most {MAX_BUDGET_US} microseconds, and this is {0}")]
    Budget(u32),
}

impl Transaction {
    /// A transaction with what each must have; everything else is unknown or 0. Documents may have
    /// a mask and lower-case letters.
    ///
    /// `event_time_ns` is when it happened, nanoseconds since 1970 UTC. Keep it with the
    /// transaction: sent again with another time it is another transaction, and the server answers
    /// ID_REUSED.
    ///
    /// # Errors
    /// The first of the five arguments that is wrong, as [`TransactionError`].
    pub fn new(
        id: &str,
        payer: &str,
        payee: &str,
        amount_centavos: i64,
        event_time_ns: u64,
    ) -> Result<Self, TransactionError> {
        let mut fields = TransactionFields::zeroed();
        fields.id = transaction_id(id).ok_or(TransactionError::Id)?;
        fields.payer = DocumentKey::parse(payer).map_err(TransactionError::Payer)?.to_wire();
        fields.payee = DocumentKey::parse(payee).map_err(TransactionError::Payee)?.to_wire();
        if amount_centavos <= 0 {
            return Err(TransactionError::Amount(amount_centavos));
        }
        fields.amount_centavos = amount_centavos.into();
        fields.event_time_ns = event_time_ns.into();
        Ok(Self::from(&fields))
    }

    /// A Pix payment: [`Self::new`] with the rail set. The id is the EndToEndId, or the caller's
    /// own.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub fn pix(
        id: &str,
        payer: &str,
        payee: &str,
        amount_centavos: i64,
        event_time_ns: u64,
    ) -> Result<Self, TransactionError> {
        Self::new(id, payer, payee, amount_centavos, event_time_ns)
            .map(|transaction| transaction.with_rail(Rail::Pix))
    }

    /// With another payment arrangement.
    pub fn with_rail(mut self, rail: Rail) -> Self {
        self.rail = rail.to_wire();
        self
    }

    /// With the place where it was started.
    pub fn with_channel(mut self, channel: Channel) -> Self {
        self.channel = channel.to_wire();
        self
    }

    /// With the time that the answer may take, microseconds; 0 is the most, [`MAX_BUDGET_US`].
    ///
    /// # Errors
    /// [`TransactionError::Budget`] above [`MAX_BUDGET_US`].
    pub fn with_budget_us(mut self, budget_us: u32) -> Result<Self, TransactionError> {
        if budget_us > MAX_BUDGET_US {
            return Err(TransactionError::Budget(budget_us));
        }
        self.budget_us = budget_us;
        Ok(self)
    }

    /// With the institutions of payer and payee; an empty text is unknown.
    ///
    /// # Errors
    /// [`TransactionError::Ispb`] for a text that is neither empty nor 8 ASCII letters and digits.
    pub fn with_ispbs(mut self, payer: &str, payee: &str) -> Result<Self, TransactionError> {
        self.payer_ispb = ispb(payer)?;
        self.payee_ispb = ispb(payee)?;
        Ok(self)
    }

    /// With the address that it came from; an IPv4 address is mapped into IPv6.
    pub fn with_ip(mut self, ip: IpAddr) -> Self {
        self.ip = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        self
    }

    /// The time that the answer may take, microseconds, with the default filled in.
    pub const fn effective_budget_us(&self) -> u32 {
        if self.budget_us == 0 { MAX_BUDGET_US } else { self.budget_us }
    }
}

fn ispb(text: &str) -> Result<[u8; 8], TransactionError> {
    if text.is_empty() {
        return Ok([0; 8]);
    }
    let bytes: [u8; 8] = text.as_bytes().try_into().map_err(|_| TransactionError::Ispb)?;
    if bytes.iter().all(u8::is_ascii_alphanumeric) {
        Ok(bytes)
    } else {
        Err(TransactionError::Ispb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYER: &str = "049.332.286-80";
    const PAYEE: &str = "12.abc.345/01de-35";

    #[test]
    fn a_transaction_is_canonical() {
        let transaction = Transaction::pix("order-1", PAYER, PAYEE, 1234, 5).expect("valid");
        assert_eq!(transaction.payer, *b"04933228680\0\0\0");
        assert_eq!(transaction.payee, *b"12ABC34501DE35");
        assert_eq!(
            (transaction.rail, transaction.amount_centavos, transaction.event_time_ns),
            (1, 1234, 5)
        );
        assert_eq!(transaction.effective_budget_us(), MAX_BUDGET_US);
        let full = transaction
            .with_ispbs("12345678", "")
            .and_then(|t| t.with_budget_us(9))
            .expect("valid");
        assert_eq!(
            (&full.payer_ispb, full.payee_ispb, full.effective_budget_us()),
            (b"12345678", [0; 8], 9)
        );
        assert_eq!(full.with_ip(IpAddr::from([192, 0, 2, 1])).ip[10..], [0xff, 0xff, 192, 0, 2, 1]);
        assert_eq!(
            (full.with_channel(Channel::Atm).channel, full.with_rail(Rail::Card).rail),
            (5, 4)
        );
    }

    #[test]
    fn each_mistake_is_named() {
        let build =
            |id, payer, payee, amount| Transaction::new(id, payer, payee, amount, 0).map(|_| ());
        assert_eq!(build("two words", PAYER, PAYEE, 1), Err(TransactionError::Id));
        assert_eq!(
            build("a", "04933228681", PAYEE, 1),
            Err(TransactionError::Payer(DocumentError::CheckDigit))
        );
        assert_eq!(build("a", PAYER, "1", 1), Err(TransactionError::Payee(DocumentError::Length)));
        assert_eq!(build("a", PAYER, PAYEE, 0), Err(TransactionError::Amount(0)));
        let valid = Transaction::new("a", PAYER, PAYEE, 1, 0).expect("valid");
        assert_eq!(
            valid.with_budget_us(MAX_BUDGET_US + 1),
            Err(TransactionError::Budget(MAX_BUDGET_US + 1))
        );
        for bad in ["1234567", "123456789", "1234567é", "1234 678"] {
            assert_eq!(valid.with_ispbs(bad, ""), Err(TransactionError::Ispb), "{bad:?}");
        }
    }
}
