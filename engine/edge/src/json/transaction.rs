//! A transaction from JSON: the names are those of `catraca log show --json`.

#[cfg(test)]
mod tests;

use super::centavos;
use super::mistake::{Mistake, member, missing, named, object, time};
use catraca_wire::frame::{MAX_BUDGET_US, Transaction};
use catraca_wire::transaction::{Channel, Rail, TransactionError};
use serde::Deserialize;
use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Deref;
use utoipa::ToSchema;

/// A transaction to decide on. Members that are unknown or given twice are refused, and so is a number with a point
/// where money belongs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Transaction)]
pub struct Members<'a> {
    /// 1 to 32 printable ASCII characters without spaces; in a single request it may be left to `Idempotency-Key`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 32, pattern = "^[!-~]+$", example = "order-1")]
    transaction_id: Option<Text<'a>>,
    /// CPF or CNPJ of who pays, with mask or without.
    #[serde(borrow)]
    #[schema(value_type = String, required = true, max_length = 18, example = "049.332.286-80")]
    payer: Option<Text<'a>>,
    /// CPF or CNPJ of who is paid.
    #[serde(borrow)]
    #[schema(value_type = String, required = true, max_length = 18, example = "12.ABC.345/01DE-35")]
    payee: Option<Text<'a>>,
    /// The amount in centavos; this or `amount`.
    #[schema(minimum = 1, example = 12345)]
    amount_centavos: Option<i64>,
    /// The amount as a decimal text; this or `amount_centavos`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^(0|[1-9][0-9]{0,15})([.][0-9]{2})?$")]
    amount: Option<Text<'a>>,
    /// RFC 3339 with a zone; this or `event_time_ns`. It is part of the content.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-11-22T12:34:56Z")]
    event_time: Option<Text<'a>>,
    /// Nanoseconds since 1970 UTC; this or `event_time`.
    event_time_ns: Option<u64>,
    /// Time for the answer, microseconds.
    #[schema(maximum = 2_000_000)]
    budget_us: Option<u32>,
    /// The payment arrangement: `other`, `pix`, `ted`, `boleto`, `card`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, example = "pix")]
    rail: Option<Text<'a>>,
    /// Where it was started: `other`, `app`, `web`, `api`, `branch`, `atm`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    channel: Option<Text<'a>>,
    /// Bits for the policy.
    transaction_flags: Option<u16>,
    /// Keyed hash of the payer's account.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^[0-9a-fA-F]{16}$")]
    payer_account: Option<Text<'a>>,
    /// Keyed hash of the payee's account.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^[0-9a-fA-F]{16}$")]
    payee_account: Option<Text<'a>>,
    /// Keyed hash of the device.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^[0-9a-fA-F]{16}$")]
    device: Option<Text<'a>>,
    /// Keyed hash of the Pix key.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^[0-9a-fA-F]{32}$")]
    pix_key: Option<Text<'a>>,
    /// IPv4 or IPv6.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    ip: Option<Text<'a>>,
    /// The payer's institution.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^([0-9A-Za-z]{8})?$")]
    payer_ispb: Option<Text<'a>>,
    /// The payee's institution.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^([0-9A-Za-z]{8})?$")]
    payee_ispb: Option<Text<'a>>,
}

/// A text that lies in the body, where it has no escapes: a line of a batch is read without an allocation.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Reads a transaction. `key` is the Idempotency-Key, which is the id where the body has none.
///
/// # Errors
/// [`Mistake`]; of several the first that is met. It names members, and repeats no document.
pub fn read(body: &[u8], key: Option<&str>) -> Result<Transaction, Mistake> {
    let members: Members<'_> = object(body)?;
    let id = match (members.transaction_id.as_deref(), key) {
        (Some(id), Some(key)) if id != key => return Err(Mistake::Ids),
        (Some(id), _) | (None, Some(id)) => id,
        (None, None) => {
            return Err(member("transaction_id", "it is missing, and so is Idempotency-Key"));
        }
    };
    let amount_centavos = match (members.amount_centavos, &members.amount) {
        (Some(amount), None) => amount,
        (None, Some(text)) => centavos(text).map_err(|why| member("amount", why))?,
        (None, None) => return Err(member("amount_centavos", "it is missing, and so is amount")),
        (Some(_), Some(_)) => {
            return Err(member("amount", "give it or amount_centavos, and not both"));
        }
    };
    let event_time_ns = match (&members.event_time, members.event_time_ns) {
        (None, Some(ns)) => ns,
        (Some(text), None) => time("event_time", text)?,
        (None, None) => {
            return Err(member("event_time", "it is missing, and so is event_time_ns"));
        }
        (Some(_), Some(_)) => {
            return Err(member("event_time", "give it or event_time_ns, and not both"));
        }
    };
    let payer = members.payer.as_deref().ok_or_else(|| missing("payer"))?;
    let payee = members.payee.as_deref().ok_or_else(|| missing("payee"))?;
    let text = |text| Option::as_deref(text).unwrap_or_default();
    let built = Transaction::new(id, payer, payee, amount_centavos, event_time_ns)
        .and_then(|built| built.with_budget_us(members.budget_us.unwrap_or(MAX_BUDGET_US)))
        .and_then(|built| built.with_ispbs(text(&members.payer_ispb), text(&members.payee_ispb)));
    let mut built = built.map_err(of_transaction)?;
    if let Some(rail) = &members.rail {
        built = built.with_rail(named("rail", Rail::ALL, Rail::name, rail)?);
    }
    if let Some(channel) = &members.channel {
        built = built.with_channel(named("channel", Channel::ALL, Channel::name, channel)?);
    }
    if let Some(ip) = &members.ip {
        let ip: IpAddr = ip.parse().map_err(|_| member("ip", "it is no IP address"))?;
        built = built.with_ip(ip);
    }
    built.flags = members.transaction_flags.unwrap_or(0);
    built.payer_account = hash64("payer_account", members.payer_account.as_deref())?;
    built.payee_account = hash64("payee_account", members.payee_account.as_deref())?;
    built.device = hash64("device", members.device.as_deref())?;
    built.pix_key = hash("pix_key", members.pix_key.as_deref())?;
    Ok(built)
}

/// What is wrong with the transaction, with the member that it is about.
fn of_transaction(error: TransactionError) -> Mistake {
    match error {
        // These name it themselves.
        TransactionError::Payer(_) | TransactionError::Payee(_) => {
            Mistake::Member(error.to_string())
        }
        TransactionError::Id => member("transaction_id", error),
        TransactionError::Amount(_) => member("amount_centavos", error),
        TransactionError::Ispb => member("payer_ispb, payee_ispb", error),
        TransactionError::Budget(_) => member("budget_us", error),
    }
}

fn hash64(field: &str, text: Option<&str>) -> Result<u64, Mistake> {
    Ok(u64::from_be_bytes(hash(field, text)?))
}

/// A keyed hash in hexadecimal digits; zeros where there is none.
fn hash<const N: usize>(field: &str, text: Option<&str>) -> Result<[u8; N], Mistake> {
    let mut bytes = [0; N];
    if let Some(text) = text {
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| member(field, format!("a keyed hash is {} hexadecimal digits", N * 2)))?;
    }
    Ok(bytes)
}
