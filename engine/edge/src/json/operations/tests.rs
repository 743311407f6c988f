use super::*;
use catraca_wire::frame::{BlacklistOp, LabelKind, PolicyOp};
use catraca_wire::list::{ListKeyKind, ListOp};
use serde_json::{Value, json};

const NAME: &str = "vip";
const ID: &str = "0101010101010101010101010101010101010101010101010101010101010101";

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn name() -> catraca_wire::list::ListName {
    list_name(NAME).expect("a name")
}

/// What is said of each body that a reader refuses.
fn said<T>(read: impl Fn(&[u8]) -> Result<T, Mistake>, cases: &[(Value, &str)]) {
    for (body, why) in cases {
        let mistake = read(&bytes(body)).err().unwrap_or_else(|| panic!("taken: {body}"));
        assert!(mistake.to_string().starts_with(why), "{body}: {mistake}");
    }
    // A document that is wrong, or in a wrong place, is not repeated.
    for body in [json!({"049.332.286-80": 1}), json!(["049.332.286-80"]), json!("049.332.286-80")] {
        let mistake = read(&bytes(&body)).err().expect("no such body").to_string();
        assert!(!mistake.contains("332"), "{mistake}");
    }
}

#[test]
fn a_change_of_the_blacklist_says_whom_and_how_far() {
    let add = json!({"operation": "add", "document": "049.332.286-80"});
    let change = read_blacklist(&bytes(&add)).expect("sound");
    assert_eq!((change.op, change.scope), (BlacklistOp::Add.to_wire(), 1));
    assert_eq!(&change.document[..11], b"04933228680");
    let allow = json!({"operation": "allow", "document": "12.ABC.345/01DE-35", "scope": "root", "until": "1970-01-03"});
    let change = read_blacklist(&bytes(&allow)).expect("sound");
    assert_eq!((change.op, change.scope, change.until_day), (BlacklistOp::Allow.to_wire(), 2, 2));
    let with = |operation: &str, key: &str, value: &str| {
        let mut body = json!({"operation": operation, "document": "049.332.286-80"});
        body[key] = value.into();
        body
    };
    said(
        read_blacklist,
        &[
            (with("load", "scope", "exact"), "unknown variant"),
            (with("add", "scope", "company"), "unknown variant"),
            (with("add", "until", "2027-01-01"), "unknown field"),
            (with("remove", "until", "2027-01-01"), "unknown field"),
            (with("allow", "scope", "exact"), "missing field"),
            (with("allow", "until", "1969-12-31"), "until: a day is as in"),
            (with("allow", "until", "2200-01-01"), "until: a day is as in"),
            (with("allow", "until", "tomorrow"), "until: a day is as in"),
            (with("add", "document", "049.332.286-81"), "document: "),
            (with("add", "path", "/etc/passwd"), "unknown field"),
            (json!({"operation": "add"}), "missing field"),
        ],
    );
}

#[test]
fn a_change_of_a_list_has_what_its_operation_needs_and_no_more() {
    let read = |body: &[u8]| read_list(body, name(), "core banking");
    let create = json!({"operation": "create", "key_kind": "document", "reason": "a try"});
    let request = read(&bytes(&create)).expect("sound");
    assert_eq!((request.op, request.key_kind), (ListOp::Create.to_wire(), 1));
    assert_eq!(&request.author[..13], b"core banking\0");
    let set = json!({"operation": "set", "key": "049.332.286-80", "value": -7, "until": "1970-01-01T00:00:01Z", "author": "ana"});
    let request = read(&bytes(&set)).expect("sound");
    assert_eq!((request.op, request.value), (ListOp::Set.to_wire(), -7));
    assert_eq!((request.until_ns, &request.author[..4]), (1_000_000_000, &b"ana\0"[..]));
    let remove = json!({"operation": "remove", "key": "049.332.286-80"});
    assert_eq!(read(&bytes(&remove)).expect("sound").op, ListOp::Remove.to_wire());
    said(
        read,
        &[
            (json!({"operation": "describe"}), "unknown variant"),
            (json!({"operation": "create"}), "missing field"),
            (json!({"operation": "create", "key_kind": "cpf"}), "unknown variant"),
            (json!({"operation": "create", "key_kind": "document", "key": "1"}), "unknown field"),
            (json!({"operation": "create", "key_kind": "document", "value": 1}), "unknown field"),
            (json!({"operation": "set", "key": "1", "key_kind": "document"}), "unknown field"),
            (json!({"operation": "set"}), "missing field"),
            (json!({"operation": "set", "key": ""}), "key: "),
            (json!({"operation": "set", "key": "x".repeat(49)}), "key: "),
            (json!({"operation": "set", "key": "1", "value": 1.5}), "invalid type"),
            (json!({"operation": "set", "key": "1", "until": "2027"}), "until: a time is as in"),
            (
                json!({"operation": "remove", "key": "1", "until": "2027-01-01T00:00:00Z"}),
                "unknown field",
            ),
            (json!({"operation": "set", "key": "1", "author": "a\n"}), "author: "),
            (json!({"operation": "set", "key": "1", "reason": "r".repeat(65)}), "reason: "),
        ],
    );
    for bad in ["", "VIP", "a_b", "a b", &"n".repeat(65)] {
        assert!(list_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_exemption_has_an_end_and_a_look_has_a_key() {
    let read = |body: &[u8]| read_exemption(body, name(), "");
    let mut exempt = json!({"operation": "exempt", "key_kind": "company", "key": "12ABC345", "until": "2027-01-01T00:00:00Z"});
    let request = read(&bytes(&exempt)).expect("sound");
    assert_eq!(request.op, ListOp::Exempt.to_wire());
    assert_eq!(request.key_kind, ListKeyKind::Company.to_wire());
    assert_eq!(request.author, [0; 32]);
    let find = json!({"key": "12ABC345"});
    let request = read_find(&bytes(&find), name()).expect("sound");
    assert_eq!((request.op, &request.key[..8]), (ListOp::Describe.to_wire(), &b"12ABC345"[..]));
    said(
        |body| read_find(body, name()),
        &[(json!({}), "missing field"), (json!({"key": ""}), "key")],
    );
    exempt.as_object_mut().expect("an object").remove("until");
    let mut unexempt = exempt.clone();
    unexempt["operation"] = "unexempt".into();
    assert_eq!(read(&bytes(&unexempt)).expect("sound").op, ListOp::Unexempt.to_wire());
    unexempt["until"] = "2027-01-01T00:00:00Z".into();
    said(
        read,
        &[
            (exempt, "missing field"),
            (unexempt, "unknown field"),
            (json!({"operation": "set", "key_kind": "document", "key": "1"}), "unknown variant"),
        ],
    );
}

#[test]
fn a_label_says_what_of_which_and_who_says_so() {
    let sound = json!({"transaction_id": "order-1", "payer": "049.332.286-80", "label": "chargeback", "known_at": "2026-11-22T00:00:00Z", "source": "disputes"});
    let request = read_label(&bytes(&sound)).expect("sound");
    assert_eq!((request.label, request.source_len), (LabelKind::Chargeback.to_wire(), 8));
    assert_eq!(&request.id[..8], b"order-1\0");
    let with = |key: &str, value: &str| {
        let mut body = sound.clone();
        body[key] = value.into();
        body
    };
    said(
        read_label,
        &[
            (with("transaction_id", ""), "transaction_id: "),
            (with("transaction_id", &"i".repeat(33)), "transaction_id: "),
            (with("payer", "1"), "payer: "),
            (with("label", "fraud"), "label: there are med_accepted"),
            (with("known_at", "2026-11-22"), "known_at: a time is as in"),
            (with("source", ""), "source: "),
            (with("source", "ação"), "source: "),
        ],
    );
}

#[test]
fn a_policy_is_named_by_its_text() {
    let activate =
        json!({"operation": "activate", "path": "/etc/catraca/policy.toml", "policy_id": ID});
    let change = read_policy(&bytes(&activate)).expect("sound");
    let expected = (PolicyOp::Activate.to_wire(), 24, [1; 32]);
    assert_eq!((change.op, change.path_len, change.policy_id), expected);
    let rollback = json!({"operation": "rollback", "policy_id": ID});
    assert_eq!(read_policy(&bytes(&rollback)).expect("sound").op, PolicyOp::Rollback.to_wire());
    let candidate = json!({"operation": "candidate", "path": "/p", "policy_id": ID, "until": "1970-01-01T00:00:01Z"});
    assert_eq!(read_policy(&bytes(&candidate)).expect("sound").until_ns, 1_000_000_000);
    let end = json!({"operation": "end_candidate"});
    assert_eq!(read_policy(&bytes(&end)).expect("sound").op, PolicyOp::EndCandidate.to_wire());
    said(
        read_policy,
        &[
            (json!({"operation": "describe"}), "unknown variant"),
            (json!({"operation": "activate", "policy_id": ID}), "missing field"),
            (json!({"operation": "activate", "path": "/p"}), "missing field"),
            (
                json!({"operation": "activate", "path": "/p", "policy_id": "01"}),
                "policy_id: it is 64",
            ),
            (json!({"operation": "activate", "path": "", "policy_id": ID}), "path: "),
            (json!({"operation": "rollback"}), "missing field"),
            (json!({"operation": "rollback", "policy_id": ID, "path": "/p"}), "unknown field"),
            (json!({"operation": "end_candidate", "policy_id": ID}), "unknown field"),
            (json!({"operation": "candidate", "path": "/p", "policy_id": ID}), "missing field"),
            (
                json!({"operation": "activate", "path": "/p", "policy_id": ID, "until": "1970-01-01T00:00:01Z"}),
                "unknown field",
            ),
        ],
    );
}
