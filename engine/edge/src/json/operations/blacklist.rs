//! The blacklist: documents that no payment may go to or come from.

use super::document;
use crate::json::answer::{Hex, time_of};
use crate::json::mistake::{Mistake, member, object};
use catraca_wire::frame::{BlacklistChange, BlacklistStateReply, Scope};
use jiff::civil::{Date, date};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A change of the blacklist. A snapshot is loaded by the node's own command, because it lies on the node's machine.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = BlacklistChange)]
pub enum BlacklistMembers {
    /// List a document.
    Add {
        /// CPF or CNPJ, with mask or without.
        #[schema(max_length = 18, example = "049.332.286-80")]
        document: String,
        /// How far it reaches: `exact` where none is given.
        scope: Option<Reach>,
    },
    /// Take that back.
    Remove {
        /// CPF or CNPJ, with mask or without.
        #[schema(max_length = 18, example = "049.332.286-80")]
        document: String,
        /// How far it reaches: `exact` where none is given.
        scope: Option<Reach>,
    },
    /// Let it pass until a day, whatever lists it.
    Allow {
        /// CPF or CNPJ, with mask or without.
        #[schema(max_length = 18, example = "049.332.286-80")]
        document: String,
        /// How far it reaches: `exact` where none is given.
        scope: Option<Reach>,
        /// The last day.
        #[schema(format = Date, example = "2027-02-28")]
        until: String,
    },
}

/// How far a change reaches.
#[derive(Deserialize, ToSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
#[schema(as = Scope)]
pub enum Reach {
    /// This document.
    Exact,
    /// Every branch of the company.
    Root,
}

/// Reads a change.
///
/// # Errors
/// [`Mistake`].
pub fn read_blacklist(body: &[u8]) -> Result<BlacklistChange, Mistake> {
    let key = |text: &str| document("document", text);
    let reach = |scope: Option<Reach>| match scope {
        Some(Reach::Root) => Scope::Root,
        Some(Reach::Exact) | None => Scope::Exact,
    };
    Ok(match object(body)? {
        BlacklistMembers::Add { document, scope } => {
            BlacklistChange::add(key(&document)?, reach(scope))
        }
        BlacklistMembers::Remove { document, scope } => {
            BlacklistChange::remove(key(&document)?, reach(scope))
        }
        BlacklistMembers::Allow { document, scope, until } => {
            BlacklistChange::allow(key(&document)?, reach(scope), day(&until)?)
        }
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
