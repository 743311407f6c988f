//! What has a name and a number: kinds, errors, verdicts, roles and so on, and the flag bits.
//!
//! PROTOCOL.md has a table for each; a test holds the two to each other.

/// A set of constants of one wire byte or word, with the way back from a number.
macro_rules! wire_codes {
    ($(#[$meta:meta])* $name:ident: $repr:ty { $($(#[$vmeta:meta])* $variant:ident = $value:literal => $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($repr)]
        pub enum $name { $($(#[$vmeta])* $variant = $value),+ }

        impl $name {
            /// All of them, in order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// From the number on the wire.
            pub const fn from_wire(code: $repr) -> Option<Self> {
                match code { $($value => Some(Self::$variant),)+ _ => None }
            }

            /// The number on the wire.
            pub const fn to_wire(self) -> $repr { self as $repr }

            /// The name in print, in JSON and in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.name()) }
        }
    };
}
pub(crate) use wire_codes;

wire_codes! {
    /// What a frame is: byte 4 of its header.
    FrameKind: u8 {
        /// Client's first frame.
        Hello = 1 => "HELLO",
        /// The server's answer to HELLO.
        Welcome = 2 => "WELCOME",
        /// A transaction to decide on.
        Submit = 3 => "SUBMIT",
        /// The decision.
        Verdict = 4 => "VERDICT",
        /// Asks for a stored decision.
        Lookup = 5 => "LOOKUP",
        /// A stored decision.
        Record = 6 => "RECORD",
        /// Changes or describes the blacklist.
        Blacklist = 7 => "BLACKLIST",
        /// The state of the blacklist after a BLACKLIST.
        BlacklistState = 8 => "BLACKLIST_STATE",
        /// Asks for latency histograms.
        Stats = 9 => "STATS",
        /// One histogram.
        Histogram = 10 => "HISTOGRAM",
        /// Is anybody there?
        Ping = 11 => "PING",
        /// Yes.
        Pong = 12 => "PONG",
        /// The request failed, or the connection will be closed.
        Error = 13 => "ERROR",
        /// Describes or changes who decides.
        Cluster = 14 => "CLUSTER",
        /// The node's part in its cluster after a CLUSTER.
        ClusterState = 15 => "CLUSTER_STATE",
        /// Changes or describes the policy.
        Policy = 16 => "POLICY",
        /// The policy in force after a POLICY.
        PolicyState = 17 => "POLICY_STATE",
        /// Says what became known of a decision.
        Label = 18 => "LABEL",
        /// The labelled decision after a LABEL.
        LabelState = 19 => "LABEL_STATE",
        /// What came of the policy that is tried, after a POLICY.
        Comparison = 20 => "COMPARISON",
        /// Changes or describes a named list, or exemptions from a rule.
        List = 21 => "LIST",
        /// The list after a LIST.
        ListState = 22 => "LIST_STATE",
        /// Forces a validator's circuit breaker.
        Validator = 23 => "VALIDATOR",
        /// The breaker after a VALIDATOR.
        ValidatorState = 24 => "VALIDATOR_STATE",
        /// Says for whom what follows is.
        OnBehalf = 25 => "ON_BEHALF",
        /// A part of a token.
        Auth = 26 => "AUTH",
        /// Until when the token counts, after the last part of it.
        AuthState = 27 => "AUTH_STATE",
        /// Asks for entries of the audit trail.
        Audit = 28 => "AUDIT",
        /// An entry of the audit trail, or the end of an answer.
        AuditEntry = 29 => "AUDIT_ENTRY",
    }
}

wire_codes! {
    /// Why a request was refused. PROTOCOL.md says for each what to do next.
    ErrorCode: u16 {
        /// The frame breaks the protocol: its length, kind, flags or reserved bytes.
        BadFrame = 1 => "BAD_FRAME",
        /// Payer or payee is no valid CPF or CNPJ in canonical form.
        BadDocument = 2 => "BAD_DOCUMENT",
        /// A field has a value that it can't have.
        BadField = 3 => "BAD_FIELD",
        /// No protocol version in common.
        UnsupportedVersion = 4 => "UNSUPPORTED_VERSION",
        /// The credential is missing or unknown.
        Unauthenticated = 5 => "UNAUTHENTICATED",
        /// The credential does not allow this operation.
        Forbidden = 6 => "FORBIDDEN",
        /// This node does not decide now; the detail says who does, where it is known.
        NotPrimary = 7 => "NOT_PRIMARY",
        /// A bounded queue is full. Nothing was recorded; try again after `retry_after_ms`.
        Overloaded = 8 => "OVERLOADED",
        /// The budget ran out before a decision; nothing was recorded.
        Deadline = 9 => "DEADLINE",
        /// The budget ran out before the record was known to be safe: it may be recorded. Send it
        /// again.
        Unconfirmed = 10 => "UNCONFIRMED",
        /// The same payer and id came before with other content.
        IdReused = 11 => "ID_REUSED",
        /// This client sends more than it may.
        RateLimited = 12 => "RATE_LIMITED",
        /// The disk is nearly full; nothing was recorded.
        DiskFull = 13 => "DISK_FULL",
        /// The node is stopping; nothing was recorded.
        ShuttingDown = 14 => "SHUTTING_DOWN",
        /// No stored decision has that id.
        NotFound = 15 => "NOT_FOUND",
        /// The operation failed on the server for the reason in the detail; nothing changed.
        Failed = 16 => "FAILED",
        /// The decision is recorded and safe, and came after the budget. Send it again to get it.
        Late = 17 => "LATE",
    }
}

wire_codes! {
    /// What was decided.
    Verdict: u8 {
        /// Go ahead.
        Approve = 1 => "approve",
        /// A person should look at it.
        Review = 2 => "review",
        /// Refuse.
        Deny = 3 => "deny",
    }
}

wire_codes! {
    /// What the node is to its cluster.
    Role: u8 {
        /// Decides.
        Primary = 1 => "primary",
        /// Follows a primary; answers LOOKUP, STATS, CLUSTER and PING only.
        Standby = 2 => "standby",
    }
}

wire_codes! {
    /// Where an answered decision is safe.
    Durability: u8 {
        /// On this node's disk; there is no standby.
        Single = 1 => "single",
        /// On this node's disk and the standby's.
        Sync = 2 => "sync",
        /// On this node's disk only, although there should be a standby: a recorded decision of the
        /// operator.
        Solo = 3 => "solo",
    }
}

wire_codes! {
    /// What a BLACKLIST frame asks for.
    BlacklistOp: u8 {
        /// List a document.
        Add = 1 => "add",
        /// Unlist a document: earlier listings of the scope, and the snapshot's, no longer count.
        Remove = 2 => "remove",
        /// Take a snapshot file on the server's machine into use.
        Load = 3 => "load",
        /// Only tell the state.
        Describe = 4 => "describe",
        /// Let a document pass until a day, whatever lists it.
        Allow = 5 => "allow",
    }
}

wire_codes! {
    /// What a POLICY frame asks for.
    PolicyOp: u8 {
        /// Only tell the state.
        Describe = 1 => "describe",
        /// Take a policy's file on the server's machine into use.
        Activate = 2 => "activate",
        /// Take the policy that was in force before into use again.
        Rollback = 3 => "rollback",
        /// Try a policy's file on the server's machine beside the one in force.
        Candidate = 4 => "candidate",
        /// Try none any more.
        EndCandidate = 5 => "end_candidate",
        /// Tell what came of the policy that is tried.
        Compare = 6 => "compare",
    }
}

wire_codes! {
    /// What became known of a decision.
    LabelKind: u8 {
        /// The payer's bank accepted that the Pix was fraud, and asked for the money back (MED).
        MedAccepted = 1 => "med_accepted",
        /// Such a claim was rejected.
        MedRejected = 2 => "med_rejected",
        /// The payer disputed the payment, and got the money back.
        Chargeback = 3 => "chargeback",
        /// A person looked at what was taken for fraud: it was none.
        FalsePositive = 4 => "false_positive",
        /// The payer, or a person who asked, says that the payment was good.
        ConfirmedGood = 5 => "confirmed_good",
    }
}

impl LabelKind {
    /// Whether it says that the payment was fraud; else it was good.
    pub const fn is_fraud(self) -> bool {
        matches!(self, Self::MedAccepted | Self::Chargeback)
    }
}

wire_codes! {
    /// What a person says of a validator's circuit breaker.
    BreakerForce: u8 {
        /// The validator is left alone, whatever it would answer.
        Open = 1 => "open",
        /// It is asked, whatever it fails.
        Closed = 2 => "closed",
        /// The breaker judges by itself again, closed to begin with.
        Auto = 3 => "auto",
    }
}

wire_codes! {
    /// How a validator's circuit breaker stands.
    Breaker: u8 {
        /// The validator is asked.
        Closed = 1 => "closed",
        /// It is left alone for a while.
        Open = 2 => "open",
        /// A few questions probe whether it is well again.
        HalfOpen = 3 => "half_open",
        /// It is left alone, as a person has said.
        ForcedOpen = 4 => "forced_open",
        /// It is asked whatever happens, as a person has said.
        ForcedClosed = 5 => "forced_closed",
    }
}

wire_codes! {
    /// What a CLUSTER frame asks for.
    ClusterOp: u8 {
        /// Only tell the state.
        Describe = 1 => "describe",
        /// Make this standby the primary.
        Promote = 2 => "promote",
        /// Let this primary answer alone.
        GoSolo = 3 => "go_solo",
    }
}

wire_codes! {
    /// How far a listed CNPJ reaches.
    Scope: u8 {
        /// This document.
        Exact = 1 => "exact",
        /// Every branch of the company.
        Root = 2 => "root",
    }
}

wire_codes! {
    /// Which list an entry comes from.
    ListSource: u8 {
        /// Cadastro de Empresas Inidôneas e Suspensas.
        Ceis = 1 => "ceis",
        /// Cadastro Nacional de Empresas Punidas.
        Cnep = 2 => "cnep",
        /// Entidades Privadas Sem Fins Lucrativos Impedidas.
        Cepim = 3 => "cepim",
        /// The operator's own CSV.
        Plain = 4 => "plain",
        /// Added on the running node.
        Overlay = 5 => "overlay",
    }
}

wire_codes! {
    /// The stages of a decision that STATS measures.
    Stage: u8 {
        /// From the bytes' arrival to the decision's start: parsing, admission, the hop to another
        /// core.
        Ingress = 1 => "ingress",
        /// Dedupe, look-ups, decision, record.
        Decide = 2 => "decide",
        /// From the record to its block being durable.
        LogWrite = 3 => "log_write",
        /// From the bytes' arrival to the answer in the socket's queue.
        Total = 4 => "total",
    }
}

/// Header flag of HELLO: the credential follows as a token in AUTH frames, and WELCOME after them.
pub const FLAG_AUTH: u16 = 1;
/// Header flag of ERROR: the connection is closed after this frame.
pub const FLAG_CLOSING: u16 = 1;
/// Header flag of HISTOGRAM: more frames with this correlation follow.
pub const FLAG_MORE: u16 = 1;
/// VERDICT flag: this transaction was decided before; this is that decision.
pub const VERDICT_DUPLICATE: u8 = 1;
/// VERDICT flag: decided without an answer that the policy asked for.
pub const VERDICT_DEGRADED: u8 = 2;
/// VERDICT flag: with the rules in shadow the verdict would be another one.
pub const VERDICT_SHADOW_DISAGREES: u8 = 4;
