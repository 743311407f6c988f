//! What a POLICY frame asks for.

use super::list_request::Refused;
use catraca_core::log::policies::PolicyId;
use catraca_wire::frame::{ErrorCode, MAX_PATH_LEN, PolicyFrame, PolicyOp};
use std::path::PathBuf;

/// A request that makes sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PolicyRequest {
    Describe,
    Activate { path: PathBuf, id: PolicyId },
    Rollback { from: PolicyId },
    Candidate { path: PathBuf, id: PolicyId, until_ns: u64 },
    EndCandidate,
    Compare,
}

impl PolicyRequest {
    /// Reads a frame. A field that the operation does not use must be 0: it is a mistake, or means
    /// something that this version does not know.
    pub fn read(frame: &PolicyFrame) -> Result<Self, Refused> {
        let field = |what: String| Refused(ErrorCode::BadField, what);
        let op =
            PolicyOp::from_wire(frame.op).ok_or_else(|| field("op: unknown code".to_owned()))?;
        let len = usize::from(frame.path_len.to_native());
        let names_file = matches!(op, PolicyOp::Activate | PolicyOp::Candidate);
        let until_ns = frame.until_ns.to_native();
        let fields = [
            ("path_len", names_file, len == 0),
            ("path", names_file, frame.path == [0; MAX_PATH_LEN]),
            ("policy_id", names_file || op == PolicyOp::Rollback, frame.policy_id == [0; 32]),
            ("until_ns", op == PolicyOp::Candidate, until_ns == 0),
        ];
        if let Some((name, ..)) = fields.iter().find(|(_, used, zero)| !used && !zero) {
            return Err(field(format!("{name}: must be 0 for {op}")));
        }
        let id = PolicyId(frame.policy_id);
        match op {
            PolicyOp::Describe => Ok(Self::Describe),
            PolicyOp::Rollback => Ok(Self::Rollback { from: id }),
            PolicyOp::EndCandidate => Ok(Self::EndCandidate),
            PolicyOp::Compare => Ok(Self::Compare),
            PolicyOp::Activate | PolicyOp::Candidate => {
                if !(1..=MAX_PATH_LEN).contains(&len) {
                    return Err(field(format!("path_len: 1 to {MAX_PATH_LEN}")));
                }
                let (path, behind) = frame.path.split_at(len);
                if behind.iter().any(|&byte| byte != 0) {
                    return Err(field("path: must be 0 behind path_len".to_owned()));
                }
                let path = std::str::from_utf8(path)
                    .map_err(|_| field("path: must be UTF-8".to_owned()))?;
                let path = PathBuf::from(path);
                Ok(match op {
                    PolicyOp::Candidate => Self::Candidate { path, id, until_ns },
                    _ => Self::Activate { path, id },
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::frame::PolicyChange;

    #[test]
    fn every_field_that_an_operation_does_not_use_must_be_zero() {
        let frame = |change: PolicyChange| PolicyFrame::from(&change);
        let sound = [
            ("describe", frame(PolicyChange::describe())),
            ("activate", frame(PolicyChange::activate("/p.toml", [7; 32]).expect("short"))),
            ("rollback", frame(PolicyChange::rollback([7; 32]))),
            ("candidate", frame(PolicyChange::candidate("/p.toml", [7; 32], 9).expect("short"))),
            ("end_candidate", frame(PolicyChange::end_candidate())),
            ("compare", frame(PolicyChange::compare())),
        ];
        type Set = fn(&mut PolicyFrame);
        let fields: [(&str, Set, &[&str]); 5] = [
            ("until_ns", |frame| frame.until_ns = 1.into(), &["candidate"]),
            ("path_len", |frame| frame.path_len = 7.into(), &["activate", "candidate"]),
            ("path", |frame| frame.path[0] = b'x', &["activate", "candidate"]),
            ("path", |frame| frame.path[MAX_PATH_LEN - 1] = b'x', &[]),
            ("policy_id", |frame| frame.policy_id[31] = 1, &["activate", "rollback", "candidate"]),
        ];
        for (op, frame) in sound {
            assert!(PolicyRequest::read(&frame).is_ok(), "{op}");
            for (name, set, used_by) in &fields {
                let mut frame = frame;
                set(&mut frame);
                match PolicyRequest::read(&frame) {
                    Ok(_) => assert!(used_by.contains(&op), "{op} takes {name}"),
                    Err(Refused(code, why)) => {
                        assert!(!used_by.contains(&op), "{op} uses {name}: {why}");
                        assert_eq!(code, ErrorCode::BadField);
                        assert!(why.starts_with(name), "{op}: {why}");
                    }
                }
            }
        }
        for (set, name) in [
            ((|frame| frame.op = 9) as Set, "op"),
            (|frame| frame.path_len = 257.into(), "path_len"),
            (|frame| (frame.path[0], frame.path_len) = (0xff, 1.into()), "path"),
        ] {
            let mut frame = sound[1].1;
            set(&mut frame);
            let Err(Refused(_, why)) = PolicyRequest::read(&frame) else {
                panic!("{name} is taken")
            };
            assert!(why.starts_with(name), "{why}");
        }
    }
}
