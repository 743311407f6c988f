//! What a LIST frame asks for: every field held to what its operation uses. Pure.

use super::list_request::Refused;
use catraca_core::named_lists::NamedLists;
use catraca_wire::extension::ChangedEntry;
use catraca_wire::frame::{ErrorCode, ListFrame, text_of};
use catraca_wire::list::{
    Author, ListKey, ListKeyKind, ListName, ListOp, ListReason, MAX_LIST_KEY_LEN,
};

/// Furthest end of an exemption, so that none is forgotten: a year, whatever year it is.
const MAX_EXEMPT_NS: u64 = 366 * 24 * 60 * 60 * 1_000_000_000;

/// A request that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedRequest {
    pub op: ListOp,
    /// List, or rule.
    pub name: ListName,
    /// Of the list, or of the exemption.
    pub kind: ListKeyKind,
    /// The entry that is set, taken out, exempted or asked for.
    pub entry: Option<ChangedEntry>,
    pub author: Author,
    pub reason: ListReason,
}

impl NamedRequest {
    /// Reads a frame, at a time, of a node with these lists.
    ///
    /// # Errors
    /// [`Refused`], naming the field.
    pub fn read(frame: &ListFrame, lists: &NamedLists, now_ns: u64) -> Result<Self, Refused> {
        let field = |what: String| Refused(ErrorCode::BadField, what);
        let op = ListOp::from_wire(frame.op).ok_or_else(|| field("op: unknown code".to_owned()))?;
        let (value, until_ns) = (frame.value.to_native(), frame.until_ns.to_native());
        let has_kind = op == ListOp::Create || op.is_of_rule();
        let fields = [
            ("key_kind", has_kind, frame.key_kind == 0),
            ("key", op != ListOp::Create, frame.key == [0; MAX_LIST_KEY_LEN]),
            ("value", op == ListOp::Set, value == 0),
            ("until_ns", matches!(op, ListOp::Set | ListOp::Exempt), until_ns == 0),
        ];
        if let Some((name, ..)) = fields.iter().find(|(_, used, zero)| !used && !zero) {
            return Err(field(format!("{name}: must be 0 for {op}")));
        }
        let name = ListName::from_wire(&frame.name)
            .ok_or_else(|| field("name: 1 to 64 of a to z, 0 to 9 and -".to_owned()))?;
        let author = Author::from_wire(&frame.author)
            .ok_or_else(|| field("author: UTF-8 without control characters".to_owned()))?;
        let reason = ListReason::from_wire(&frame.reason)
            .ok_or_else(|| field("reason: UTF-8 without control characters".to_owned()))?;
        let kind = match lists.list(&name) {
            _ if has_kind => ListKeyKind::from_wire(frame.key_kind)
                .ok_or_else(|| field("key_kind: unknown code".to_owned()))?,
            Some(list) => list.kind(),
            None => {
                let why = format!("there is no list {name}: create it first");
                return Err(Refused(ErrorCode::Failed, why));
            }
        };
        let exempts = matches!(
            kind,
            ListKeyKind::Document
                | ListKeyKind::Company
                | ListKeyKind::Account
                | ListKeyKind::Device
        );
        if op.is_of_rule() && !exempts {
            return Err(field("key_kind: document, company, account or device".to_owned()));
        }
        let ends_in_time = (now_ns + 1..=now_ns.saturating_add(MAX_EXEMPT_NS)).contains(&until_ns);
        if op == ListOp::Exempt && !ends_in_time {
            let why = "until_ns: an exemption ends, and within 366 days from now";
            return Err(field(why.to_owned()));
        }
        let is_without_key = op == ListOp::Describe && frame.key[0] == 0;
        let entry = if op == ListOp::Create || is_without_key {
            None
        } else {
            Some(ChangedEntry { key: key(frame, kind)?, value, until_ns })
        };
        Ok(Self { op, name, kind, entry, author, reason })
    }

    /// Whether lists are as it wants them already.
    pub fn is_so(&self, lists: &NamedLists) -> bool {
        let Some(entry) = &self.entry else { return lists.list(&self.name).is_some() };
        let set = lists.list(&self.name).and_then(|list| list.entry(entry.key));
        let exempt = lists.exemption(self.kind, entry.key, &self.name);
        match self.op {
            ListOp::Describe => true,
            ListOp::Create => false,
            ListOp::Set => {
                set.is_some_and(|set| (set.value, set.until_ns) == (entry.value, entry.until_ns))
            }
            ListOp::Remove => set.is_none(),
            ListOp::Exempt => exempt.is_some_and(|exempt| exempt.until_ns == entry.until_ns),
            ListOp::Unexempt => exempt.is_none(),
        }
    }

    /// Whether its key counts at a time.
    pub fn is_in(&self, lists: &NamedLists, now_ns: u64) -> bool {
        let Some(entry) = &self.entry else { return false };
        if self.op.is_of_rule() {
            let exempt = lists.exemption(self.kind, entry.key, &self.name);
            return exempt.is_some_and(|exempt| exempt.counts(now_ns));
        }
        lists.list(&self.name).is_some_and(|list| list.get(entry.key, now_ns).is_some())
    }

    /// Whether one record may hold both.
    pub fn goes_with(&self, other: &Self) -> bool {
        let what = |of: &Self| (of.op, of.name, of.kind, of.author, of.reason);
        self.entry.is_some() && other.entry.is_some() && what(self) == what(other)
    }
}

fn key(frame: &ListFrame, kind: ListKeyKind) -> Result<ListKey, Refused> {
    let text = text_of(&frame.key);
    let is_text = !text.is_empty() && frame.key[text.len()..].iter().all(|&byte| byte == 0);
    let key = if is_text {
        ListKey::parse(kind, text).map_err(|e| e.to_string())
    } else {
        Err("it is empty, or no text".to_owned())
    };
    key.map_err(|why| Refused(ErrorCode::BadField, format!("key: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::extension::ListChange;
    use catraca_wire::frame::ListRequest;

    const NOW: u64 = 1_800_000_000_000_000_000;

    fn name(text: &str) -> ListName {
        ListName::parse(text).expect("a name")
    }

    /// With a list of documents.
    fn lists() -> NamedLists {
        let mut lists = NamedLists::default();
        let change = ListChange {
            op: ListOp::Create,
            key_kind: ListKeyKind::Document,
            name: name("vip"),
            sequence: 1,
            changed_at_ns: 5,
            author: Author::EMPTY,
            reason: ListReason::EMPTY,
            entries: Vec::new(),
        };
        lists.apply(&change).expect("room");
        lists
    }

    fn sound() -> [(&'static str, ListRequest); 6] {
        const KEY: &str = "52998224725";
        let kind = ListKeyKind::Document;
        [
            ("describe", ListRequest::describe(name("vip"))),
            ("create", ListRequest::create(name("vip"), kind)),
            ("set", ListRequest::set(name("vip"), KEY, -3, NOW).expect("short")),
            ("remove", ListRequest::remove(name("vip"), KEY).expect("short")),
            ("exempt", ListRequest::exempt(name("night"), kind, KEY, NOW + 1).expect("short")),
            ("unexempt", ListRequest::unexempt(name("night"), kind, KEY).expect("short")),
        ]
    }

    #[test]
    fn every_field_that_an_operation_does_not_use_must_be_zero() {
        type Set = fn(&mut ListFrame);
        let fields: [(&str, Set, &[&str]); 4] = [
            ("key_kind", |frame| frame.key_kind = 1, &["create", "exempt", "unexempt"]),
            (
                "key",
                |frame| frame.key[..11].copy_from_slice(b"52998224725"),
                &["describe", "set", "remove", "exempt", "unexempt"],
            ),
            ("value", |frame| frame.value = 9.into(), &["set"]),
            ("until_ns", |frame| frame.until_ns = (NOW + 9).into(), &["set", "exempt"]),
        ];
        for (op, request) in sound() {
            let frame = ListFrame::from(&request);
            assert!(NamedRequest::read(&frame, &lists(), NOW).is_ok(), "{op}");
            for (field, set, used_by) in &fields {
                let mut frame = frame;
                set(&mut frame);
                match NamedRequest::read(&frame, &lists(), NOW) {
                    Ok(_) => assert!(used_by.contains(&op), "{op} takes {field}"),
                    Err(Refused(code, why)) => {
                        assert!(!used_by.contains(&op), "{op} uses {field}: {why}");
                        assert_eq!(code, ErrorCode::BadField);
                        assert!(why.starts_with(field), "{op}: {why}");
                    }
                }
            }
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        type Set = fn(&mut ListFrame);
        let cases: [(usize, Set, &str); 12] = [
            (0, |frame| frame.op = 9, "op"),
            (0, |frame| frame.name = [0; 64], "name"),
            (0, |frame| frame.name[0] = b'V', "name"),
            (1, |frame| frame.key_kind = 0, "key_kind"),
            (1, |frame| frame.key_kind = 8, "key_kind"),
            (2, |frame| frame.key = [0; 48], "key"),
            (2, |frame| frame.key[3] = 0, "key"),
            (2, |frame| frame.key[0] = 0xff, "key"),
            (2, |frame| frame.author[0] = 0xff, "author"),
            (2, |frame| frame.reason[1] = b'x', "reason"),
            (4, |frame| frame.until_ns = NOW.into(), "until_ns"),
            (4, |frame| frame.key_kind = 7, "key_kind"),
        ];
        for (of, set, field) in cases {
            let mut frame = ListFrame::from(&sound()[of].1);
            set(&mut frame);
            let Err(Refused(code, why)) = NamedRequest::read(&frame, &lists(), NOW) else {
                panic!("{field} is taken")
            };
            assert_eq!(code, ErrorCode::BadField);
            assert!(why.starts_with(field), "{field}: {why}");
        }
        let mut forever = ListFrame::from(&sound()[4].1);
        forever.until_ns = (NOW + MAX_EXEMPT_NS + 1).into();
        assert!(NamedRequest::read(&forever, &lists(), NOW).is_err());
        let nowhere = ListFrame::from(&ListRequest::describe(name("other")));
        let Err(Refused(code, _)) = NamedRequest::read(&nowhere, &lists(), NOW) else {
            panic!("there is no such list")
        };
        assert_eq!(code, ErrorCode::Failed);
    }
}
