//! What a BLACKLIST frame asks for: every field held to what its operation uses. Pure.

use catraca_core::blacklist::MAX_ALLOW_DAYS;
use catraca_wire::DocumentKey;
use catraca_wire::frame::{BlacklistFrame, BlacklistOp, ErrorCode, MAX_PATH_LEN, Scope};
use catraca_wire::record::OverlayOp;
use std::path::PathBuf;

/// A request that makes sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ListRequest {
    /// Tell the state.
    Describe,
    /// Change the overlay.
    Change { document: DocumentKey, scope: Scope, op: OverlayOp },
    /// Take a snapshot file into use.
    Load { path: PathBuf, force: bool },
}

/// Why a request, or a change, was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub ErrorCode, pub String);

impl Refused {
    fn field(what: impl Into<String>) -> Self {
        Self(ErrorCode::BadField, what.into())
    }
}

/// Fields of the frame, each with whether an operation uses it.
struct Uses {
    entry: bool,
    file: bool,
    until: bool,
}

impl ListRequest {
    /// Reads a frame on a day.
    ///
    /// # Errors
    /// [`Refused`], naming the field.
    pub fn read(frame: &BlacklistFrame, today: u16) -> Result<Self, Refused> {
        let op =
            BlacklistOp::from_wire(frame.op).ok_or_else(|| Refused::field("op: unknown code"))?;
        let entry = matches!(op, BlacklistOp::Add | BlacklistOp::Remove | BlacklistOp::Allow);
        Uses { entry, file: op == BlacklistOp::Load, until: op == BlacklistOp::Allow }
            .hold(frame, op)?;
        match op {
            BlacklistOp::Describe => Ok(Self::Describe),
            BlacklistOp::Add => change(frame, OverlayOp::List),
            BlacklistOp::Remove => change(frame, OverlayOp::Unlist),
            BlacklistOp::Allow => {
                let until_day = frame.until_day.to_native();
                // Yesterday allows nothing, and so ends an allowance made before.
                let days = today.saturating_sub(1)..=today.saturating_add(MAX_ALLOW_DAYS);
                if !days.contains(&until_day) {
                    return Err(Refused::field(format!(
                        "until_day: from yesterday, which ends an allowance, to {MAX_ALLOW_DAYS} days ahead"
                    )));
                }
                change(frame, OverlayOp::Allow { until_day })
            }
            BlacklistOp::Load => load(frame),
        }
    }
}

impl Uses {
    /// What an operation does not use must be 0: it is a mistake, or means something that this
    /// version does not know.
    fn hold(&self, frame: &BlacklistFrame, op: BlacklistOp) -> Result<(), Refused> {
        let fields = [
            ("scope", self.entry, frame.scope == 0),
            ("document", self.entry, frame.document.iter().all(|&byte| byte == 0)),
            ("force", self.file, frame.force == 0),
            ("path_len", self.file, frame.path_len == 0),
            ("path", self.file, frame.path.iter().all(|&byte| byte == 0)),
            ("until_day", self.until, frame.until_day == 0),
        ];
        match fields.iter().find(|(_, used, zero)| !used && !zero) {
            Some((name, ..)) => Err(Refused::field(format!("{name}: must be 0 for {op}"))),
            None => Ok(()),
        }
    }
}

fn change(frame: &BlacklistFrame, op: OverlayOp) -> Result<ListRequest, Refused> {
    let document = DocumentKey::from_wire(&frame.document).map_err(|_| {
        Refused(
            ErrorCode::BadDocument,
            "document: not a valid CPF or CNPJ in canonical form".to_owned(),
        )
    })?;
    let scope =
        Scope::from_wire(frame.scope).ok_or_else(|| Refused::field("scope: 1 exact or 2 root"))?;
    Ok(ListRequest::Change { document, scope, op })
}

fn load(frame: &BlacklistFrame) -> Result<ListRequest, Refused> {
    if frame.force > 1 {
        return Err(Refused::field("force: 0 or 1"));
    }
    let len = usize::from(frame.path_len.to_native());
    if !(1..=MAX_PATH_LEN).contains(&len) {
        return Err(Refused::field(format!("path_len: 1 to {MAX_PATH_LEN}")));
    }
    let (path, behind) = frame.path.split_at(len);
    if behind.iter().any(|&byte| byte != 0) {
        return Err(Refused::field("path: must be 0 behind path_len"));
    }
    let path = std::str::from_utf8(path).map_err(|_| Refused::field("path: must be UTF-8"))?;
    Ok(ListRequest::Load { path: PathBuf::from(path), force: frame.force == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::frame::BlacklistChange;

    const TODAY: u16 = 20_782;

    fn frame(change: &BlacklistChange) -> BlacklistFrame {
        BlacklistFrame::from(change)
    }

    fn document() -> DocumentKey {
        DocumentKey::parse("04933228680").expect("valid")
    }

    fn sound() -> [(&'static str, BlacklistFrame); 5] {
        [
            ("describe", frame(&BlacklistChange::describe())),
            ("add", frame(&BlacklistChange::add(document(), Scope::Exact))),
            ("remove", frame(&BlacklistChange::remove(document(), Scope::Root))),
            ("allow", frame(&BlacklistChange::allow(document(), Scope::Exact, TODAY))),
            ("load", frame(&BlacklistChange::load("/tmp/list", true).expect("short"))),
        ]
    }

    #[test]
    fn every_field_that_an_operation_does_not_use_must_be_zero() {
        type Set = fn(&mut BlacklistFrame);
        let fields: [(&str, Set, &[&str]); 7] = [
            ("scope", |frame| frame.scope = 1, &["add", "remove", "allow"]),
            (
                "document",
                |frame| frame.document = document().to_wire(),
                &["add", "remove", "allow"],
            ),
            ("force", |frame| frame.force = 1, &["load"]),
            ("path_len", |frame| frame.path_len = 9.into(), &["load"]),
            ("path", |frame| frame.path[0] = b'x', &["load"]),
            ("path", |frame| frame.path[MAX_PATH_LEN - 1] = b'x', &[]),
            ("until_day", |frame| frame.until_day = TODAY.into(), &["allow"]),
        ];
        let mut refused = 0;
        for (op, frame) in sound() {
            assert!(ListRequest::read(&frame, TODAY).is_ok(), "{op}");
            for (name, set, used_by) in &fields {
                let mut frame = frame;
                set(&mut frame);
                let read = ListRequest::read(&frame, TODAY);
                if used_by.contains(&op) {
                    assert!(read.is_ok(), "{op} uses {name}: {read:?}");
                } else {
                    let Err(Refused(ErrorCode::BadField, why)) = read else {
                        panic!("{op} takes {name}: {read:?}")
                    };
                    assert!(why.starts_with(name), "{op}: {why}");
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 5 * 7 - 10);
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        type Set = fn(&mut BlacklistFrame);
        let [_, add, _, allow, load] = sound().map(|(_, frame)| frame);
        let cases: [(BlacklistFrame, Set, &str); 8] = [
            (add, |frame| frame.op = 6, "op"),
            (add, |frame| frame.op = 0, "op"),
            (add, |frame| frame.scope = 3, "scope"),
            (add, |frame| frame.document[0] = b'x', "document"),
            (load, |frame| frame.force = 2, "force"),
            (
                load,
                |frame| (frame.path_len, frame.path) = (0.into(), [0; MAX_PATH_LEN]),
                "path_len",
            ),
            (load, |frame| frame.path_len = 257.into(), "path_len"),
            (allow, |frame| frame.until_day = 0.into(), "until_day"),
        ];
        for (mut frame, set, name) in cases {
            set(&mut frame);
            let Err(Refused(_, why)) = ListRequest::read(&frame, TODAY) else {
                panic!("{name} is taken")
            };
            assert!(why.starts_with(name), "{why}");
        }
    }

    #[test]
    fn an_allowance_is_bounded() {
        for (until, taken) in [
            (TODAY - 2, false),
            (TODAY - 1, true),
            (TODAY, true),
            (TODAY + MAX_ALLOW_DAYS, true),
            (TODAY + MAX_ALLOW_DAYS + 1, false),
        ] {
            let frame = frame(&BlacklistChange::allow(document(), Scope::Exact, until));
            assert_eq!(ListRequest::read(&frame, TODAY).is_ok(), taken, "{until}");
        }
    }
}
