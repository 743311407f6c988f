//! Named lists, which a policy's rules look things up in, and exemptions from rules.

use super::refused;
use crate::json::mistake::{Mistake, member, object, time};
use catraca_wire::client::ClientError;
use catraca_wire::frame::{ListRequest, ListStateReply};
use catraca_wire::list::{Author, ListKeyKind, ListName, ListReason};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A change of a named list.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = ListChange)]
pub enum ListMembers {
    /// There is such a list from now on.
    Create {
        /// What its keys are.
        key_kind: KeyKind,
        /// Who asks for it; the client's name where none is given.
        #[schema(max_length = 32, pattern = "^([!-~]([ -~]*[!-~])?)?$")]
        author: Option<String>,
        /// Why.
        #[schema(max_length = 64, pattern = "^([!-~]([ -~]*[!-~])?)?$")]
        reason: Option<String>,
    },
    /// Put an entry in, or change it.
    Set {
        /// The key, as people write it.
        #[schema(min_length = 1, max_length = 48, example = "049.332.286-80")]
        key: String,
        /// The number of the entry; 0 where none is given.
        value: Option<i64>,
        /// Until when it counts, RFC 3339 with a zone; for ever where none is given.
        #[schema(format = DateTime)]
        until: Option<String>,
        /// Who asks for it; the client's name where none is given.
        #[schema(max_length = 32, pattern = "^([!-~]([ -~]*[!-~])?)?$")]
        author: Option<String>,
        /// Why.
        #[schema(max_length = 64, pattern = "^([!-~]([ -~]*[!-~])?)?$")]
        reason: Option<String>,
    },
    /// Take an entry out.
    Remove {
        /// The key, as people write it.
        #[schema(min_length = 1, max_length = 48, example = "049.332.286-80")]
        key: String,
        /// Who asks for it; the client's name where none is given.
        #[schema(max_length = 32, pattern = "^([!-~]([ -~]*[!-~])?)?$")]
        author: Option<String>,
        /// Why.
        #[schema(max_length = 64, pattern = "^([!-~]([ -~]*[!-~])?)?$")]
        reason: Option<String>,
    },
}

/// What the keys of a list are.
#[derive(Deserialize, ToSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// CPF and CNPJ.
    Document,
    /// The first 8 characters of a CNPJ.
    Company,
    /// Keyed hashes of accounts.
    Account,
    /// Keyed hashes of devices.
    Device,
    /// Keyed hashes of Pix keys.
    PixKey,
    /// ISPB.
    Institution,
    /// IP addresses, or networks of them.
    Network,
}

impl From<KeyKind> for ListKeyKind {
    fn from(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Document => Self::Document,
            KeyKind::Company => Self::Company,
            KeyKind::Account => Self::Account,
            KeyKind::Device => Self::Device,
            KeyKind::PixKey => Self::PixKey,
            KeyKind::Institution => Self::Institution,
            KeyKind::Network => Self::Network,
        }
    }
}

/// An exemption from a rule.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = Exemption)]
pub enum ExemptionMembers {
    /// The rule is not applied to payments with this key.
    Exempt {
        /// What the key is.
        key_kind: KeyKind,
        /// The key, as people write it.
        #[schema(min_length = 1, max_length = 48, example = "049.332.286-80")]
        key: String,
        /// Until when: RFC 3339 with a zone, at most 366 days ahead.
        #[schema(format = DateTime)]
        until: String,
        /// Who asks for it; the client's name where none is given.
        #[schema(max_length = 32, pattern = "^([!-~]([ -~]*[!-~])?)?$")]
        author: Option<String>,
        /// Why.
        #[schema(max_length = 64, pattern = "^([!-~]([ -~]*[!-~])?)?$")]
        reason: Option<String>,
    },
    /// It is again.
    Unexempt {
        /// What the key is.
        key_kind: KeyKind,
        /// The key, as people write it.
        #[schema(min_length = 1, max_length = 48, example = "049.332.286-80")]
        key: String,
        /// Who asks for it; the client's name where none is given.
        #[schema(max_length = 32, pattern = "^([!-~]([ -~]*[!-~])?)?$")]
        author: Option<String>,
        /// Why.
        #[schema(max_length = 64, pattern = "^([!-~]([ -~]*[!-~])?)?$")]
        reason: Option<String>,
    },
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
    let (request, author, reason) = match object(body)? {
        ListMembers::Create { key_kind, author, reason } => {
            (Ok(ListRequest::create(name, key_kind.into())), author, reason)
        }
        ListMembers::Set { key, value, until, author, reason } => {
            let until = until.as_deref().map(|text| time("until", text)).transpose()?;
            let set = ListRequest::set(name, &key, value.unwrap_or(0), until.unwrap_or(0));
            (set, author, reason)
        }
        ListMembers::Remove { key, author, reason } => {
            (ListRequest::remove(name, &key), author, reason)
        }
    };
    by(request, author.as_deref().unwrap_or(client), reason.as_deref())
}

/// Reads an exemption from this rule; `client` asks for it.
///
/// # Errors
/// [`Mistake`].
pub fn read_exemption(body: &[u8], rule: ListName, client: &str) -> Result<ListRequest, Mistake> {
    let (request, author, reason) = match object(body)? {
        ExemptionMembers::Exempt { key_kind, key, until, author, reason } => {
            let until = time("until", &until)?;
            (ListRequest::exempt(rule, key_kind.into(), &key, until), author, reason)
        }
        ExemptionMembers::Unexempt { key_kind, key, author, reason } => {
            (ListRequest::unexempt(rule, key_kind.into(), &key), author, reason)
        }
    };
    by(request, author.as_deref().unwrap_or(client), reason.as_deref())
}

/// Reads what is looked for in this list.
///
/// # Errors
/// [`Mistake`].
pub fn read_find(body: &[u8], name: ListName) -> Result<ListRequest, Mistake> {
    let members: FindMembers = object(body)?;
    ListRequest::find(name, &members.key).map_err(|error| refused("key", &error))
}

/// The same, with who asks for it, and why.
fn by(
    request: Result<ListRequest, ClientError>,
    author: &str,
    reason: Option<&str>,
) -> Result<ListRequest, Mistake> {
    let request = request.map_err(|error| refused("key", &error))?;
    let wrong = |name: &'static str, most| {
        move || member(name, format!("it has at most {most} bytes, no space at either end"))
    };
    let author = Author::parse(author).ok_or_else(wrong("author", 32))?;
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
