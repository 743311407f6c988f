//! Golden vectors of the client protocol's frames.

use super::audit::audit;
use super::auth::{auth, hello};
use super::behalf::behalf;
use super::cluster;
use super::hex;
use super::lists::lists;
use super::policies;
use super::samples::{
    LIST_DAY, MOMENT_NS, decision_record, document, filled, full_transaction, label_record,
    largest_transaction, plain_transaction, visa,
};
use super::shapes::{bytes, fields, large, record, small, text, transaction};
use super::validators::validators;
use catraca_wire::frame::*;
use catraca_wire::record::{RECORD_LEN, Reason, Record, RecordHead};
use serde_json::{Value, json};

/// Every kind of frame, with the values at its edges.
pub fn frames() -> Value {
    let deny = Answer {
        verdict: Verdict::Deny.to_wire(),
        flags: 0,
        score: 1000,
        policy_version: 1,
        blacklist_version: catraca_wire::record::blacklist_version(0x1122_3344_5566_7788, 3),
        matched_rules: 1,
        shard: 0,
        epoch: 1,
        lsn: 42,
        receipt: 0x4746_4544_4342_4140,
        reason: Reason::PayerListed.to_wire(),
        reserved: 0,
    };
    let clear = Answer {
        verdict: Verdict::Approve.to_wire(),
        score: 0,
        matched_rules: 0,
        lsn: 41,
        reason: Reason::Clear.to_wire(),
        ..deny
    };
    let largest = Answer {
        verdict: Verdict::Review.to_wire(),
        flags: VERDICT_DUPLICATE | VERDICT_DEGRADED | VERDICT_SHADOW_DISAGREES,
        score: 1000,
        policy_version: u32::MAX,
        blacklist_version: u64::MAX,
        matched_rules: u64::MAX,
        shard: u16::MAX,
        epoch: u32::MAX,
        lsn: u64::MAX,
        receipt: u64::MAX,
        reason: Reason::Score.to_wire(),
        reserved: 0,
    };
    let ping = Ping { header: of(FrameKind::Ping, PingFrame::LEN, 0, 11), reserved: 0 };
    let pong =
        Pong { header: of(FrameKind::Pong, PongFrame::LEN, 0, 11), server_time_ns: MOMENT_NS };
    let mut vectors = vec![
        hello("hello_plain", 0, (1, 1), "", "", 0),
        hello("hello_full", 0, (1, 3), &"k".repeat(MAX_CREDENTIAL_LEN), "pagamentos-açaí-01", 4096),
        welcome("welcome_primary", Role::Primary, Durability::Single, 1, 1, ""),
        welcome(
            "welcome_standby",
            Role::Standby,
            Durability::Sync,
            u32::MAX,
            16,
            "node-a.example.com:7400",
        ),
        submit("submit_plain", 1, plain_transaction()),
        submit("submit_full", 2, full_transaction()),
        submit("submit_largest", u64::MAX, largest_transaction()),
        verdict("verdict_approve", 1, clear),
        verdict("verdict_deny", 2, deny),
        verdict("verdict_deny_duplicate", 3, Answer { flags: VERDICT_DUPLICATE, ..deny }),
        verdict("verdict_largest", u64::MAX, largest),
        lookup("lookup_any_payer", 4, "order-1", None, 0),
        lookup("lookup_one_payer", 5, "E1234567820261122123400000000001", Some("04933228680"), 0),
        lookup("lookup_labels", 17, "order-1", None, 1),
        record_reply(
            "record_plain",
            4,
            0,
            decision_record(41, plain_transaction(), Verdict::Approve, Reason::Clear, 0),
            &[],
        ),
        record_reply(
            "record_with_extension",
            5,
            0,
            decision_record(42, full_transaction(), Verdict::Deny, Reason::PayerListed, 8),
            b"\x01\x02\x03\x04\x05\x06\x07\x08",
        ),
        record_reply(
            "record_more",
            17,
            FLAG_MORE,
            decision_record(41, plain_transaction(), Verdict::Approve, Reason::Clear, 0),
            &[],
        ),
        record_reply("record_label", 17, 0, label_record(), &visa().to_section()),
        blacklist(
            "blacklist_add",
            BlacklistOp::Add,
            Scope::Root.to_wire(),
            Some("12ABC34501DE35"),
            0,
            "",
            0,
        ),
        blacklist(
            "blacklist_remove",
            BlacklistOp::Remove,
            Scope::Exact.to_wire(),
            Some("04933228680"),
            0,
            "",
            0,
        ),
        blacklist(
            "blacklist_load",
            BlacklistOp::Load,
            0,
            None,
            1,
            "/var/lib/catraca/listas/março.snapshot",
            0,
        ),
        blacklist(
            "blacklist_load_longest",
            BlacklistOp::Load,
            0,
            None,
            0,
            &"/".repeat(MAX_PATH_LEN),
            0,
        ),
        blacklist(
            "blacklist_allow",
            BlacklistOp::Allow,
            Scope::Root.to_wire(),
            Some("12ABC34501DE35"),
            0,
            "",
            LIST_DAY + 30,
        ),
        blacklist("blacklist_describe", BlacklistOp::Describe, 0, None, 0, "", 0),
        blacklist_state(),
        policies::policy(
            "policy_activate",
            PolicyOp::Activate,
            "/etc/catraca/pix-março.toml",
            [0xa5; 32],
        ),
        policies::policy(
            "policy_activate_longest",
            PolicyOp::Activate,
            &"/".repeat(MAX_PATH_LEN),
            [1; 32],
        ),
        policies::policy("policy_rollback", PolicyOp::Rollback, "", [0xff; 32]),
        policies::policy("policy_describe", PolicyOp::Describe, "", [0; 32]),
        policies::policy(
            "policy_candidate",
            PolicyOp::Candidate,
            "/etc/catraca/stricter.toml",
            [0x5a; 32],
        ),
        policies::policy("policy_end_candidate", PolicyOp::EndCandidate, "", [0; 32]),
        policies::policy("policy_compare", PolicyOp::Compare, "", [0; 32]),
        policies::comparison("comparison_none", [0; 32], 0, 1),
        policies::comparison("comparison", [0x5a; 32], 2, 0),
        policies::policy_state(),
        label("label_any_payer", "order-1", None, LabelKind::Chargeback, "visa"),
        label(
            "label_longest",
            "E1234567820261122123400000000001",
            Some("04933228680"),
            LabelKind::ConfirmedGood,
            &"~".repeat(MAX_LABEL_SOURCE_LEN),
        ),
        label_state("label_state", 1, 2),
        label_state("label_state_unchanged", 0, u32::MAX),
        stats("stats_one_shard", 0),
        stats("stats_all_shards", ALL_SHARDS),
        histogram("histogram_more", Stage::Ingress, FLAG_MORE, b"\xde\xad\xbe\xef"),
        histogram("histogram_last_empty", Stage::Total, 0, b""),
        vector(
            "ping",
            ping.header,
            bytemuck::bytes_of(&PingFrame::from(&ping)),
            fields!(ping; large: reserved;),
        ),
        vector(
            "pong",
            pong.header,
            bytemuck::bytes_of(&PongFrame::from(&pong)),
            fields!(pong; large: server_time_ns;),
        ),
        error("error_longest_detail", 12, ErrorCode::Failed, 0, false, &"ã".repeat(64)),
    ];
    vectors.extend(cluster::requests());
    vectors.extend(cluster::states());
    vectors.extend(lists());
    vectors.extend(validators());
    vectors.extend(behalf().into_iter().chain(auth()).chain(audit()));
    for &code in ErrorCode::ALL {
        let closing = matches!(
            code,
            ErrorCode::BadFrame | ErrorCode::UnsupportedVersion | ErrorCode::Unauthenticated
        );
        let retry_after_ms =
            if matches!(code, ErrorCode::Overloaded | ErrorCode::RateLimited) { 50 } else { 0 };
        let name = format!("error_{}", code.name().to_ascii_lowercase());
        vectors.push(error(
            &name,
            13,
            code,
            retry_after_ms,
            closing,
            "what happened, and what to do",
        ));
    }
    Value::Array(vectors)
}

fn welcome(
    name: &str,
    role: Role,
    durability: Durability,
    epoch: u32,
    shards: u16,
    primary: &str,
) -> Value {
    let welcome = Welcome {
        header: of(FrameKind::Welcome, WelcomeFrame::LEN, 0, 0),
        version: PROTOCOL_VERSION,
        role: role.to_wire(),
        durability: durability.to_wire(),
        reserved_a: 0,
        epoch,
        node_id: std::array::from_fn(|i| 0x10 + i as u8),
        cluster_id: std::array::from_fn(|i| 0x20 + i as u8),
        shards,
        reserved_b: 0,
        max_frame: MAX_REQUEST_LEN as u32,
        in_flight: 1024,
        primary: filled(primary),
        reserved_c: [0; 12],
    };
    let fields = fields!(welcome;
        small: version, role, durability, reserved_a, epoch, shards, reserved_b, max_frame, in_flight;
        bytes: node_id, cluster_id, reserved_c;
        text: primary;
    );
    vector(name, welcome.header, bytemuck::bytes_of(&WelcomeFrame::from(&welcome)), fields)
}

fn submit(name: &str, correlation: u64, what: Transaction) -> Value {
    let submit = Submit {
        header: of(FrameKind::Submit, SubmitFrame::LEN, 0, correlation),
        transaction: what,
        reserved: 0,
    };
    let mut fields = transaction(&what);
    fields["reserved"] = small(&submit.reserved);
    vector(name, submit.header, bytemuck::bytes_of(&SubmitFrame::from(&submit)), fields)
}

fn verdict(name: &str, correlation: u64, answer: Answer) -> Value {
    let reply =
        VerdictReply { header: of(FrameKind::Verdict, VerdictFrame::LEN, 0, correlation), answer };
    let fields = fields!(answer;
        small: verdict, flags, score, policy_version, shard, epoch, reason, reserved;
        large: blacklist_version, matched_rules, lsn, receipt;
    );
    vector(name, reply.header, bytemuck::bytes_of(&VerdictFrame::from(&reply)), fields)
}

fn lookup(name: &str, correlation: u64, id: &str, payer: Option<&str>, labels: u8) -> Value {
    let lookup = Lookup {
        header: of(FrameKind::Lookup, LookupFrame::LEN, 0, correlation),
        id: transaction_id(id).expect("valid"),
        payer: payer.map_or([0; 14], document),
        labels,
        reserved: 0,
    };
    let fields = fields!(lookup; text: id, payer; small: labels, reserved;);
    vector(name, lookup.header, bytemuck::bytes_of(&LookupFrame::from(&lookup)), fields)
}

fn record_reply(
    name: &str,
    correlation: u64,
    flags: u16,
    stored: Record,
    extension: &[u8],
) -> Value {
    let place = RecordPlace {
        header: of(
            FrameKind::Record,
            size_of::<RecordPlaceFields>() + RECORD_LEN + extension.len(),
            flags,
            correlation,
        ),
        epoch: 1,
        shard: 0,
        extension_len: extension.len() as u16,
        segment: 2,
        block_offset: 8192,
        chain: std::array::from_fn(|i| 0x40 + i as u8),
    };
    let mut wire = bytemuck::bytes_of(&RecordPlaceFields::from(&place)).to_vec();
    wire.extend_from_slice(bytemuck::bytes_of(&RecordHead::from(&stored)));
    wire.extend_from_slice(extension);
    let mut fields =
        fields!(place; small: epoch, shard, extension_len, segment, block_offset; bytes: chain;);
    fields["record"] = record(&stored);
    fields["extension"] = bytes(extension);
    vector(name, place.header, &wire, fields)
}

fn blacklist(
    name: &str,
    op: BlacklistOp,
    scope: u8,
    listed: Option<&str>,
    force: u8,
    path: &str,
    until_day: u16,
) -> Value {
    let change = BlacklistChange {
        header: of(FrameKind::Blacklist, BlacklistFrame::LEN, 0, 9),
        op: op.to_wire(),
        scope,
        document: listed.map_or([0; 14], document),
        force,
        reserved_a: 0,
        path_len: path.len() as u16,
        path: filled(path),
        until_day,
        reserved_b: [0; 26],
    };
    let fields = fields!(change;
        small: op, scope, force, reserved_a, path_len, until_day;
        text: document, path;
        bytes: reserved_b;
    );
    vector(name, change.header, bytemuck::bytes_of(&BlacklistFrame::from(&change)), fields)
}

fn blacklist_state() -> Value {
    let state = BlacklistStateReply {
        header: of(FrameKind::BlacklistState, BlacklistStateFrame::LEN, 0, 9),
        snapshot_id: 0x1122_3344_5566_7788,
        snapshot_entries: 100_000_000,
        overlay_sequence: 4,
        overlay_entries: 2,
        changed: 1,
        reserved: [0; 3],
        snapshot_built_ns: MOMENT_NS,
        reserved_b: 0,
    };
    let fields = fields!(state;
        large: snapshot_id, snapshot_entries, overlay_sequence, snapshot_built_ns, reserved_b;
        small: overlay_entries, changed;
        bytes: reserved;
    );
    vector(
        "blacklist_state",
        state.header,
        bytemuck::bytes_of(&BlacklistStateFrame::from(&state)),
        fields,
    )
}

fn label(name: &str, id: &str, payer: Option<&str>, kind: LabelKind, source: &str) -> Value {
    let request = LabelRequest {
        header: of(FrameKind::Label, LabelFrame::LEN, 0, 16),
        id: transaction_id(id).expect("an id"),
        payer: payer.map_or([0; 14], document),
        label: kind.to_wire(),
        source_len: source.len() as u8,
        known_at_ns: MOMENT_NS,
        source: filled(source),
        reserved: [0; 24],
    };
    let fields = fields!(request;
        text: id, payer, source;
        small: label, source_len;
        large: known_at_ns;
        bytes: reserved;
    );
    vector(name, request.header, bytemuck::bytes_of(&LabelFrame::from(&request)), fields)
}

fn label_state(name: &str, changed: u8, labels: u32) -> Value {
    let state = LabelStateReply {
        header: of(FrameKind::LabelState, LabelStateFrame::LEN, 0, 16),
        changed,
        verdict: Verdict::Approve.to_wire(),
        shard: 3,
        labels,
        lsn: 41,
        decided_at_ns: MOMENT_NS,
        counts: LabelKind::Chargeback.to_wire(),
        reserved: [0; 23],
    };
    let fields = fields!(state;
        small: changed, verdict, shard, labels, counts;
        large: lsn, decided_at_ns;
        bytes: reserved;
    );
    vector(name, state.header, bytemuck::bytes_of(&LabelStateFrame::from(&state)), fields)
}

fn stats(name: &str, shard: u16) -> Value {
    let stats = StatsRequest {
        header: of(FrameKind::Stats, StatsFrame::LEN, 0, 10),
        shard,
        reserved: [0; 6],
    };
    let fields = fields!(stats; small: shard; bytes: reserved;);
    vector(name, stats.header, bytemuck::bytes_of(&StatsFrame::from(&stats)), fields)
}

/// The encoding here is a placeholder: it shows where the bytes lie, and decodes to no histogram.
fn histogram(name: &str, stage: Stage, flags: u16, encoded: &[u8]) -> Value {
    let head = HistogramHead {
        header: of(
            FrameKind::Histogram,
            size_of::<HistogramHeadFields>() + encoded.len(),
            flags,
            10,
        ),
        stage: stage.to_wire(),
        reserved: [0; 3],
        encoded_len: encoded.len() as u32,
        uptime_ns: 61_000_000_000,
    };
    let mut wire = bytemuck::bytes_of(&HistogramHeadFields::from(&head)).to_vec();
    wire.extend_from_slice(encoded);
    let mut fields = fields!(head; small: stage, encoded_len; bytes: reserved; large: uptime_ns;);
    fields["encoded"] = bytes(encoded);
    vector(name, head.header, &wire, fields)
}

fn error(
    name: &str,
    correlation: u64,
    code: ErrorCode,
    retry_after_ms: u32,
    closing: bool,
    detail: &str,
) -> Value {
    let wire = ErrorFrame::new(correlation, code, retry_after_ms, closing, detail);
    let reply = ErrorReply::from(&wire);
    let fields = fields!(reply; small: code, detail_len, retry_after_ms; text: detail;);
    vector(name, reply.header, bytemuck::bytes_of(&wire), fields)
}

pub(super) fn vector(name: &str, frame_header: Header, wire: &[u8], fields: Value) -> Value {
    assert_eq!(frame_header.length as usize, wire.len(), "{name}: the header's length");
    let kind =
        FrameKind::from_wire(frame_header.kind).expect("the vectors have kinds of this version");
    json!({ "name": name, "kind": kind.name(), "hex": hex(wire), "header": header(&frame_header), "fields": fields })
}

fn header(header: &Header) -> Value {
    fields!(header; small: length, kind, version, flags; large: correlation;)
}

pub(super) fn of(kind: FrameKind, length: usize, flags: u16, correlation: u64) -> Header {
    Header::from(&HeaderFields::new(kind, length, flags, correlation))
}
