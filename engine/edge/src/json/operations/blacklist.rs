//! The blacklist: documents that no payment may go to or come from.

use super::{document, needed, none_of};
use crate::json::answer::{Hex, time_of};
use crate::json::mistake::{Mistake, member, named, object};
use catraca_wire::frame::{BlacklistChange, BlacklistOp, BlacklistStateReply, Scope};
use jiff::civil::{Date, date};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The operations; a snapshot is loaded by the node's own command, because it lies on the node's machine.
const OPERATIONS: [BlacklistOp; 3] = [BlacklistOp::Add, BlacklistOp::Remove, BlacklistOp::Allow];
const SCOPES: [Scope; 2] = [Scope::Exact, Scope::Root];

/// A change of the blacklist.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BlacklistChange)]
pub struct BlacklistMembers {
    /// `add` lists a document, `remove` takes that back, `allow` lets it pass until a day, whatever lists it.
    #[schema(pattern = "^(add|remove|allow)$", example = "add")]
    operation: String,
    /// CPF or CNPJ, with mask or without.
    #[schema(max_length = 18, example = "049.332.286-80")]
    document: String,
    /// `exact` (the default): this document; `root`: every branch of the company.
    #[schema(pattern = "^(exact|root)$")]
    scope: Option<String>,
    /// The last day, of `allow`.
    #[schema(format = Date, example = "2027-02-28")]
    until: Option<String>,
}

/// Reads a change.
///
/// # Errors
/// [`Mistake`].
pub fn read_blacklist(body: &[u8]) -> Result<BlacklistChange, Mistake> {
    let members: BlacklistMembers = object(body)?;
    let operation = named("operation", &OPERATIONS, BlacklistOp::name, &members.operation)?;
    let key = document("document", &members.document)?;
    let scope = members.scope.as_deref().unwrap_or(Scope::Exact.name());
    let scope = named("scope", &SCOPES, Scope::name, scope)?;
    let until = members.until.as_deref();
    if operation == BlacklistOp::Allow {
        return Ok(BlacklistChange::allow(key, scope, day(needed("until", until)?)?));
    }
    none_of(operation.name(), &[("until", until.is_some())])?;
    Ok(match operation {
        BlacklistOp::Remove => BlacklistChange::remove(key, scope),
        _ => BlacklistChange::add(key, scope),
    })
}

/// A day as days since 1970.
fn day(text: &str) -> Result<u16, Mistake> {
    let why = "a day is as in 2027-02-28, and not before 1970";
    let day: Date = text.parse().map_err(|_| member("until", why))?;
    let days = day.since(date(1970, 1, 1)).map_err(|_| member("until", why))?.get_days();
    u16::try_from(days).map_err(|_| member("until", why))
}

/// The blacklist of the node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Blacklist)]
pub struct BlacklistView {
    /// The request changed something.
    pub changed: bool,
    /// Which snapshot is in use; none without one.
    #[schema(value_type = Option<String>, pattern = "^[0-9a-f]{16}$")]
    pub snapshot_id: Option<Hex>,
    /// When it was built, RFC 3339 in UTC.
    pub snapshot_built_at: Option<String>,
    /// Entries in it.
    pub snapshot_entries: u64,
    /// Documents and companies that were changed since.
    pub overlay_entries: u32,
    /// Number of the last change.
    pub overlay_sequence: u64,
}

impl From<&BlacklistStateReply> for BlacklistView {
    fn from(state: &BlacklistStateReply) -> Self {
        Self {
            changed: state.changed != 0,
            snapshot_id: (state.snapshot_id != 0).then_some(Hex(state.snapshot_id)),
            snapshot_built_at: time_of(state.snapshot_built_ns),
            snapshot_entries: state.snapshot_entries,
            overlay_entries: state.overlay_entries,
            overlay_sequence: state.overlay_sequence,
        }
    }
}
