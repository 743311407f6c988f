//! Named lists, which a policy's rules look things up in, and exemptions from rules.

use super::{needed, none_of, refused};
use crate::json::mistake::{Mistake, member, named, object, time};
use catraca_wire::frame::{ListRequest, ListStateReply};
use catraca_wire::list::{Author, ListKeyKind, ListName, ListOp, ListReason};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const OF_LISTS: [ListOp; 3] = [ListOp::Create, ListOp::Set, ListOp::Remove];
const OF_RULES: [ListOp; 2] = [ListOp::Exempt, ListOp::Unexempt];

/// A change of a named list.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListChange)]
pub struct ListMembers {
    /// `create` makes the list, `set` puts an entry in or changes it, `remove` takes it out.
    #[schema(pattern = "^(create|set|remove)$", example = "set")]
    operation: String,
    /// What the keys are, of `create`: `document`, `company`, `account`, `device`, `pix_key`, `institution`, `network`.
    key_kind: Option<String>,
    /// The key, of `set` and `remove`, as people write it.
    #[schema(min_length = 1, max_length = 48, example = "049.332.286-80")]
    key: Option<String>,
    /// The number of the entry, of `set`; 0 where none is given.
    value: Option<i64>,
    /// Until when the entry counts, of `set`: RFC 3339 with a zone; for ever where none is given.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Who asks for it; the client's name where none is given.
    #[schema(max_length = 32)]
    author: Option<String>,
    /// Why.
    #[schema(max_length = 64)]
    reason: Option<String>,
}

/// An exemption from a rule.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Exemption)]
pub struct ExemptionMembers {
    /// `exempt`: the rule is not applied to payments with this key; `unexempt`: it is again.
    #[schema(pattern = "^(exempt|unexempt)$", example = "exempt")]
    operation: String,
    /// What the key is; as those of lists.
    #[schema(example = "document")]
    key_kind: String,
    /// The key, as people write it.
    #[schema(min_length = 1, max_length = 48, example = "049.332.286-80")]
    key: String,
    /// Until when, of `exempt`: RFC 3339 with a zone, at most 366 days ahead.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Who asks for it; the client's name where none is given.
    #[schema(max_length = 32)]
    author: Option<String>,
    /// Why.
    #[schema(max_length = 64)]
    reason: Option<String>,
}

/// What is looked for in a list.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListKey)]
pub struct FindMembers {
    /// The key, as people write it.
    #[schema(min_length = 1, max_length = 48, example = "049.332.286-80")]
    key: String,
}

/// The name of a list, or the id of a rule.
///
/// # Errors
/// [`Mistake::Member`] for any other text.
pub fn list_name(text: &str) -> Result<ListName, Mistake> {
    let why = "it has 1 to 64 of a to z, 0 to 9 and -";
    ListName::parse(text).ok_or_else(|| member("name", why))
}

/// Reads a change of this list; `client` asks for it.
///
/// # Errors
/// [`Mistake`].
pub fn read_list(body: &[u8], name: ListName, client: &str) -> Result<ListRequest, Mistake> {
    let members: ListMembers = object(body)?;
    let operation = named("operation", &OF_LISTS, ListOp::name, &members.operation)?;
    let of_entry = [("value", members.value.is_some()), ("until", members.until.is_some())];
    let request = match operation {
        ListOp::Create => {
            none_of(operation.name(), &of_entry)?;
            none_of(operation.name(), &[("key", members.key.is_some())])?;
            ListRequest::create(name, kind(&needed("key_kind", members.key_kind)?)?)
        }
        _ => {
            none_of(operation.name(), &[("key_kind", members.key_kind.is_some())])?;
            let key = needed("key", members.key)?;
            if operation == ListOp::Remove {
                none_of(operation.name(), &of_entry)?;
                ListRequest::remove(name, &key)
            } else {
                let until = members.until.as_deref().map(|text| time("until", text)).transpose()?;
                ListRequest::set(name, &key, members.value.unwrap_or(0), until.unwrap_or(0))
            }
            .map_err(|error| refused("key", &error))?
        }
    };
    by(request, members.author.as_deref(), members.reason.as_deref(), client)
}

/// Reads an exemption from this rule; `client` asks for it.
///
/// # Errors
/// [`Mistake`].
pub fn read_exemption(body: &[u8], rule: ListName, client: &str) -> Result<ListRequest, Mistake> {
    let members: ExemptionMembers = object(body)?;
    let operation = named("operation", &OF_RULES, ListOp::name, &members.operation)?;
    let (kind, key) = (kind(&members.key_kind)?, &members.key);
    let request = if operation == ListOp::Exempt {
        let until = needed("until", members.until)?;
        ListRequest::exempt(rule, kind, key, time("until", &until)?)
    } else {
        none_of(operation.name(), &[("until", members.until.is_some())])?;
        ListRequest::unexempt(rule, kind, key)
    };
    let request = request.map_err(|error| refused("key", &error))?;
    by(request, members.author.as_deref(), members.reason.as_deref(), client)
}

/// Reads what is looked for in this list.
///
/// # Errors
/// [`Mistake`].
pub fn read_find(body: &[u8], name: ListName) -> Result<ListRequest, Mistake> {
    let members: FindMembers = object(body)?;
    ListRequest::find(name, &members.key).map_err(|error| refused("key", &error))
}

fn kind(text: &str) -> Result<ListKeyKind, Mistake> {
    named("key_kind", ListKeyKind::ALL, ListKeyKind::name, text)
}

fn by(
    request: ListRequest,
    author: Option<&str>,
    reason: Option<&str>,
    client: &str,
) -> Result<ListRequest, Mistake> {
    let wrong = |name: &'static str, most| {
        move || member(name, format!("it has at most {most} bytes, no space at either end"))
    };
    let author = Author::parse(author.unwrap_or(client)).ok_or_else(wrong("author", 32))?;
    let reason = ListReason::parse(reason.unwrap_or_default()).ok_or_else(wrong("reason", 64))?;
    Ok(request.by(author, reason))
}

/// A list, or the exemptions from a rule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = List)]
pub struct ListView {
    /// Its name, or the id of the rule.
    pub name: String,
    /// The request changed something.
    pub changed: bool,
    /// What the keys are.
    pub key_kind: Option<&'static str>,
    /// The key of the request is in it now; none where the request had no key.
    pub is_in: Option<bool>,
    /// Its entries, those whose time is over included.
    pub entries: u32,
    /// Entries of all lists, and exemptions.
    pub all_entries: u32,
    /// Lists that there are.
    pub lists: u32,
    /// Changes of all of them so far.
    pub sequence: u64,
}

impl ListView {
    /// Of this list, after a request.
    pub fn new(request: &ListRequest, state: &ListStateReply) -> Self {
        let name = ListName::from_wire(&request.name).map(|name| name.to_string());
        Self {
            name: name.unwrap_or_default(),
            changed: state.changed != 0,
            key_kind: ListKeyKind::from_wire(state.key_kind).map(ListKeyKind::name),
            is_in: (request.key[0] != 0).then_some(state.is_in != 0),
            entries: state.entries,
            all_entries: state.all_entries,
            lists: state.lists,
            sequence: state.sequence,
        }
    }
}
