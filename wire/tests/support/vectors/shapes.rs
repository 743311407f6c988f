//! How the fields of a native struct look in JSON.

use super::hex;
use catraca_wire::frame::Transaction;
use catraca_wire::record::Record;
use serde_json::{Value, json};

/// Names fields of a native struct with the shape that each has in JSON.
macro_rules! fields {
    ($source:expr; $($shape:ident: $($field:ident),+;)+) => {{
        let source = &$source;
        let mut map = serde_json::Map::new();
        $($(map.insert(stringify!($field).to_owned(), $shape(&source.$field));)+)+
        serde_json::Value::Object(map)
    }};
}

pub(super) use fields;

pub(super) fn transaction(transaction: &Transaction) -> Value {
    fields!(transaction;
        text: id, payer, payee, payer_ispb, payee_ispb;
        large: amount_centavos, event_time_ns, payer_account, payee_account, device;
        small: budget_us, rail, channel, flags;
        bytes: pix_key, ip, trace_id;
    )
}

pub(super) fn record(record: &Record) -> Value {
    let mut fields = fields!(record;
        small: kind, version, extension_len, verdict, flags, score, reason, payer_source, payee_source, reserved_a, policy_version, list_day;
        large: lsn, decided_at_ns, snapshot_id, overlay_sequence, matched_rules, list_sequence;
    );
    fields["institution"] = small(&record.submitter.institution);
    fields["submitter"] = text(&record.submitter.name);
    fields["transaction"] = transaction(&record.transaction);
    fields
}

pub(super) fn small<T: Copy + Into<u32>>(number: &T) -> Value {
    json!((*number).into())
}

pub(super) fn large(number: &impl ToString) -> Value {
    json!(number.to_string())
}

pub(super) fn text(field: &[u8]) -> Value {
    let len = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    json!(std::str::from_utf8(&field[..len]).expect("the vectors' texts are UTF-8"))
}

pub(super) fn bytes(field: impl AsRef<[u8]>) -> Value {
    json!(hex(field.as_ref()))
}
