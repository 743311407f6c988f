//! Building BLACKLIST, POLICY, LABEL, LIST and CLUSTER requests from what a caller has.

use super::ClientError;
use crate::document::{DOCUMENT_LEN, DocumentKey};
use crate::extension::LabelSource;
use crate::frame::{
    BlacklistChange, BlacklistFrame, BlacklistOp, ClusterFrame, ClusterOp, ClusterRequest,
    LabelFrame, LabelKind, LabelRequest, ListFrame, ListRequest, MAX_PATH_LEN, PolicyChange,
    PolicyFrame, PolicyOp, Scope, fill, transaction_id,
};
use crate::list::{Author, ListKeyKind, ListName, ListOp, ListReason, MAX_LIST_KEY_LEN};

impl BlacklistChange {
    /// Lists a document.
    pub fn add(document: DocumentKey, scope: Scope) -> Self {
        Self { scope: scope.to_wire(), document: document.to_wire(), ..Self::of(BlacklistOp::Add) }
    }

    /// Unlists a document: earlier listings of the scope, and the snapshot's, no longer count.
    pub fn remove(document: DocumentKey, scope: Scope) -> Self {
        Self {
            scope: scope.to_wire(),
            document: document.to_wire(),
            ..Self::of(BlacklistOp::Remove)
        }
    }

    /// Lets a document pass through `until_day` (days since 1970-01-01), whatever lists it.
    pub fn allow(document: DocumentKey, scope: Scope, until_day: u16) -> Self {
        Self {
            scope: scope.to_wire(),
            document: document.to_wire(),
            until_day,
            ..Self::of(BlacklistOp::Allow)
        }
    }

    /// Takes a snapshot file on the server's machine into use; `force` although it loses more
    /// entries than the server allows.
    ///
    /// # Errors
    /// [`ClientError::Argument`] for a path that is empty or longer than [`MAX_PATH_LEN`] bytes.
    pub fn load(path: &str, force: bool) -> Result<Self, ClientError> {
        if path.is_empty() || path.len() > MAX_PATH_LEN {
            return Err(ClientError::Argument(format!("a path has 1 to {MAX_PATH_LEN} bytes")));
        }
        let mut change = Self {
            force: u8::from(force),
            path_len: path.len() as u16,
            ..Self::of(BlacklistOp::Load)
        };
        fill(&mut change.path, path);
        Ok(change)
    }

    /// Changes nothing; asks for the state.
    pub fn describe() -> Self {
        Self::of(BlacklistOp::Describe)
    }

    fn of(op: BlacklistOp) -> Self {
        Self { op: op.to_wire(), ..Self::from(&BlacklistFrame::empty(0)) }
    }
}

impl PolicyChange {
    /// Takes a policy's file on the server's machine into use; `policy_id` is BLAKE3 of the text that
    /// belongs there.
    ///
    /// # Errors
    /// [`ClientError::Argument`] for a path that is empty or longer than [`MAX_PATH_LEN`] bytes.
    pub fn activate(path: &str, policy_id: [u8; 32]) -> Result<Self, ClientError> {
        if path.is_empty() || path.len() > MAX_PATH_LEN {
            return Err(ClientError::Argument(format!("a path has 1 to {MAX_PATH_LEN} bytes")));
        }
        let path_len = path.len() as u16;
        let mut change = Self { path_len, policy_id, ..Self::of(PolicyOp::Activate) };
        fill(&mut change.path, path);
        Ok(change)
    }

    /// Tries a policy's file on the server's machine beside the one in force, until a time, nanoseconds
    /// since 1970 UTC; `policy_id` as in [`Self::activate`].
    ///
    /// # Errors
    /// As [`Self::activate`].
    pub fn candidate(path: &str, policy_id: [u8; 32], until_ns: u64) -> Result<Self, ClientError> {
        let op = PolicyOp::Candidate.to_wire();
        Ok(Self { op, until_ns, ..Self::activate(path, policy_id)? })
    }

    /// Tries none any more.
    pub fn end_candidate() -> Self {
        Self::of(PolicyOp::EndCandidate)
    }

    /// Changes nothing; asks what came of the policy that is tried.
    pub fn compare() -> Self {
        Self::of(PolicyOp::Compare)
    }

    /// Takes the policy into use again that was in force before the one that `policy_id` names.
    pub fn rollback(policy_id: [u8; 32]) -> Self {
        Self { policy_id, ..Self::of(PolicyOp::Rollback) }
    }

    /// Changes nothing; asks for the state.
    pub fn describe() -> Self {
        Self::of(PolicyOp::Describe)
    }

    fn of(op: PolicyOp) -> Self {
        Self { op: op.to_wire(), ..Self::from(&PolicyFrame::empty(0)) }
    }
}

impl LabelRequest {
    /// Says what became known of the decision on a transaction, when (nanoseconds since 1970 UTC), and who
    /// says so; `payer` where several have that id.
    ///
    /// # Errors
    /// [`ClientError::Argument`] for an id that can't be one.
    pub fn new(
        id: &str,
        payer: Option<DocumentKey>,
        kind: LabelKind,
        known_at_ns: u64,
        source: &LabelSource,
    ) -> Result<Self, ClientError> {
        let id = transaction_id(id).ok_or_else(|| {
            ClientError::Argument(
                "a transaction id is 1 to 32 printable ASCII characters without spaces".to_owned(),
            )
        })?;
        let payer = payer.map_or([0; DOCUMENT_LEN], DocumentKey::to_wire);
        let (source, source_len) = source.to_wire();
        let label = kind.to_wire();
        let empty = Self::from(&LabelFrame::empty(0));
        Ok(Self { id, payer, label, source_len, known_at_ns, source, ..empty })
    }
}

impl ListRequest {
    /// Changes nothing; asks for the state of a list.
    pub fn describe(name: ListName) -> Self {
        Self::of(ListOp::Describe, name)
    }

    /// Changes nothing; asks whether a key is in a list.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn find(name: ListName, key: &str) -> Result<Self, ClientError> {
        Self::of(ListOp::Describe, name).with_key(key)
    }

    /// There is such a list from now on.
    pub fn create(name: ListName, key_kind: ListKeyKind) -> Self {
        Self { key_kind: key_kind.to_wire(), ..Self::of(ListOp::Create, name) }
    }

    /// Puts an entry into a list, or changes it: its key as people write it, its number, and until when it
    /// counts, nanoseconds since 1970 UTC; 0 for ever.
    ///
    /// # Errors
    /// [`ClientError::Argument`] for a key that is empty or longer than [`MAX_LIST_KEY_LEN`] bytes.
    pub fn set(name: ListName, key: &str, value: i64, until_ns: u64) -> Result<Self, ClientError> {
        Ok(Self { value, until_ns, ..Self::of(ListOp::Set, name).with_key(key)? })
    }

    /// Takes an entry out of a list.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn remove(name: ListName, key: &str) -> Result<Self, ClientError> {
        Self::of(ListOp::Remove, name).with_key(key)
    }

    /// Has a rule not applied for a key, until a time, nanoseconds since 1970 UTC.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn exempt(
        rule: ListName,
        key_kind: ListKeyKind,
        key: &str,
        until_ns: u64,
    ) -> Result<Self, ClientError> {
        let request = Self::of(ListOp::Exempt, rule).with_key(key)?;
        Ok(Self { key_kind: key_kind.to_wire(), until_ns, ..request })
    }

    /// Takes an exemption back.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn unexempt(rule: ListName, key_kind: ListKeyKind, key: &str) -> Result<Self, ClientError> {
        let request = Self::of(ListOp::Unexempt, rule).with_key(key)?;
        Ok(Self { key_kind: key_kind.to_wire(), ..request })
    }

    /// The same, with who asks for it, and why.
    #[must_use]
    pub fn by(self, author: Author, reason: ListReason) -> Self {
        Self { author: author.to_wire(), reason: reason.to_wire(), ..self }
    }

    fn of(op: ListOp, name: ListName) -> Self {
        let empty = Self::from(&ListFrame::empty(0));
        Self { op: op.to_wire(), name: name.to_wire(), ..empty }
    }

    fn with_key(self, text: &str) -> Result<Self, ClientError> {
        if text.is_empty() || text.len() > MAX_LIST_KEY_LEN || text.contains('\0') {
            let why = format!("a key of a list has 1 to {MAX_LIST_KEY_LEN} bytes");
            return Err(ClientError::Argument(why));
        }
        let mut request = self;
        fill(&mut request.key, text);
        Ok(request)
    }
}

impl ClusterRequest {
    /// Changes nothing; asks for the state.
    pub fn describe() -> Self {
        Self::of(ClusterOp::Describe, false)
    }

    /// Makes a standby the primary; `force` although it may lack decisions that were answered,
    /// which are lost then.
    pub fn promote(force: bool) -> Self {
        Self::of(ClusterOp::Promote, force)
    }

    /// Lets a primary answer without its standby; `force` where that can't be told: the caller
    /// vouches that it will not be promoted before it has caught up.
    pub fn go_solo(force: bool) -> Self {
        Self::of(ClusterOp::GoSolo, force)
    }

    fn of(op: ClusterOp, force: bool) -> Self {
        Self { op: op.to_wire(), force: u8::from(force), ..Self::from(&ClusterFrame::empty(0)) }
    }
}
