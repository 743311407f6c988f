//! Windows read out of a log: all that they reach back to, no segment that they do not, and what was passed
//! over is not known instead of nothing.

use catraca_core::calendar::Zone;
use catraca_core::log::Tail;
use catraca_core::policy::language::{Asking, compile_into};
use catraca_core::policy::windows::Past;
use catraca_core::policy::{EVERY_DAY, EVERY_PAYER, Policy, Rule, RuleEffect, Rules, WindowsAsked};
use catraca_core::rebuild::Pasts;
use catraca_core::shard::owner;
use catraca_node::data_dir::{DataDir, Options};
use catraca_node::log_files::cursor::segment_start;
use catraca_node::log_files::lookup::OwnLog;
use catraca_node::log_files::past::{Pace, PastReading};
use catraca_node::log_files::search::LogIndex;
use catraca_node::log_files::windows_file;
use catraca_node::policy_windows::by_stream;
use catraca_testkit::log::{KEY, TestLog, decision};
use catraca_wire::DocumentKey;
use catraca_wire::block::BlockIdentity;
use catraca_wire::extension::WindowValue;
use catraca_wire::record::RecordHead;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const NS_PER_HOUR: u64 = 3_600_000_000_000;
/// Records of each part.
const OLD: u64 = 2_000;
const NEW: u64 = 500;

fn now_ns() -> u64 {
    catraca_wire::client::now_ns()
}

/// A payment of one payer that is decided when it happens.
fn payment(lsn: u64, time_ns: u64) -> RecordHead {
    let mut head = decision(lsn);
    head.transaction.payer = DocumentKey::from_cpf_number(1).expect("valid").to_wire();
    head.transaction.event_time_ns = time_ns.into();
    head.decided_at_ns = time_ns.into();
    head
}

/// Many payments of ten days ago, in full segments with their indexes, then some of this hour.
fn log(dir: &Path) -> OwnLog {
    let options = Options { allow_volatile: true, adopt_copy: true };
    let data_dir = DataDir::open(dir, options, None).expect("a data directory");
    let identity = BlockIdentity { shard: 0, epoch: 1, cluster_id: data_dir.cluster_id };
    let mut log = TestLog::of(64 * 1024, identity);
    let now_ns = now_ns();
    let mut add = |count: u64, from_ns: u64| {
        for at in (0..count).step_by(50) {
            let first = log.next_lsn;
            let records: Vec<_> = (0..50)
                .map(|n| (payment(first + n, from_ns + (at + n) * 1_000_000), Vec::new()))
                .collect();
            log.records(&records);
        }
        log.roll();
    };
    add(OLD, now_ns - 240 * NS_PER_HOUR);
    add(NEW, now_ns - NS_PER_HOUR / 2);
    log.write(dir);
    let own = OwnLog { data_dir: dir.to_owned(), cluster_id: data_dir.cluster_id, key: KEY };
    let mut index = LogIndex::new(own.clone());
    while index.work(&[OLD + NEW]).expect("readable") {}
    own
}

fn policy(when: &str) -> Policy {
    let mut asking = Asking::default();
    let rule = Rule {
        id: "rule".to_owned(),
        when: compile_into(when, &mut asking).expect("sound"),
        effect: RuleEffect { score: 1, verdict: None, shadow: false },
        days: EVERY_DAY,
        share_permille: EVERY_PAYER,
    };
    let windows = WindowsAsked { asked: asking.asked().into(), keys: 64 };
    let rules = Rules { rules: [rule].into(), windows, ..Rules::default() };
    Policy::new(1, Zone::default(), rules)
}

/// What the windows of a payment of now say, and how many records were read for it.
fn read(own: &OwnLog, policy: &Policy) -> (Vec<WindowValue>, u64) {
    let mut reading = PastReading::new(own.clone(), Pace::Full, Arc::default());
    let mut pasts = reading.empty(policy, 1).expect("sound").expect("it reads windows");
    let last_lsns = by_stream([OLD + NEW]);
    assert_eq!(reading.left(&last_lsns), OLD + NEW);
    reading.on(&mut pasts, &last_lsns).expect("a sound log");
    assert_eq!(reading.left(&last_lsns), 0);
    let mut past: Box<Past> = pasts.into_shards().pop().expect("one shard");
    let head = payment(OLD + NEW + 1, now_ns());
    let [payer, payee] = [&head.transaction.payer, &head.transaction.payee]
        .map(|document| DocumentKey::from_wire(document).expect("valid"));
    let event = past.event(payer, payee, &head.transaction, head.decided_at_ns.to_native());
    let mut values = vec![WindowValue::Evicted; policy.window_values()];
    past.windows().read(&event, &mut values);
    (values, reading.records())
}

#[test]
fn what_no_window_reaches_back_to_is_not_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let own = log(dir.path());
    let (values, records) = read(&own, &policy("payer.count('1h') > 3"));
    assert_eq!(values, [WindowValue::Present(NEW as i64)]);
    assert_eq!(records, NEW, "the older segments are passed over");
    let (values, records) = read(&own, &policy("payer.count('30d') > 3"));
    assert_eq!(values, [WindowValue::Present((OLD + NEW) as i64)]);
    assert_eq!(records, OLD + NEW);
}

#[test]
fn a_reading_that_is_told_to_stop_gives_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let own = log(dir.path());
    let stop = Arc::new(AtomicBool::new(false));
    let mut reading = PastReading::new(own, Pace::Full, Arc::clone(&stop));
    let policy = policy("payer.count('30d') > 3");
    let mut pasts = reading.empty(&policy, 1).expect("sound").expect("it reads windows");
    stop.store(true, Ordering::Relaxed);
    assert!(reading.on(&mut pasts, &by_stream([OLD + NEW])).is_err());
}

#[test]
fn windows_go_on_from_their_checkpoint_and_from_no_other_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let own = log(dir.path());
    let policy = policy("payer.sum('90d') > 3 && payer.distinct_payees('30d') < 9");
    let begin = |policy: &Policy| {
        let mut reading = PastReading::new(own.clone(), Pace::Full, Arc::default());
        let pasts = reading.begun(policy, 1).expect("sound").expect("it reads windows");
        (reading, pasts)
    };
    let digest = |pasts: &Pasts| pasts.shard(0).expect("here").windows().digest();
    let last_lsns = by_stream([OLD + NEW]);
    let (mut reading, mut whole) = begin(&policy);
    reading.on(&mut whole, &last_lsns).expect("a sound log");
    assert_eq!(reading.records(), OLD + NEW);
    // Before the fourth segment.
    let place = segment_start(dir.path(), 0, 3).expect("readable").expect("it has a block");
    let (mut reading, mut some) = begin(&policy);
    reading.on(&mut some, &by_stream([place.next_lsn - 1])).expect("a sound log");
    let places = BTreeMap::from([(0, place)]);
    windows_file::write(&own, &policy, &some, &places).expect("written");
    assert_eq!(windows_file::segments(&own, 1), Some(3));
    assert_eq!(windows_file::segments(&own, 2), None);
    let (mut reading, mut resumed) = begin(&policy);
    assert_eq!(digest(&resumed), digest(&some));
    reading.on(&mut resumed, &last_lsns).expect("a sound log");
    assert_eq!(reading.records(), OLD + NEW - (place.next_lsn - 1));
    assert_eq!(digest(&resumed), digest(&whole));
    // Of other windows, damaged, or of what the log does not have there: the log is read instead.
    let is_used = |policy: &Policy| windows_file::read(&own, policy, 1).is_some();
    assert!(is_used(&policy));
    assert!(!is_used(&self::policy("payer.sum('90d') > 3")));
    let path = windows_file::path(dir.path());
    let bytes = std::fs::read(&path).expect("there");
    for at in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        let mut spoiled = bytes.clone();
        spoiled[at] ^= 0x10;
        std::fs::write(&path, &spoiled).expect("written");
        assert!(!is_used(&policy), "byte {at} of {}", bytes.len());
    }
    for len in [0, 10, 72, 100, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..len]).expect("written");
        assert!(!is_used(&policy), "{len} bytes");
    }
    std::fs::write(&path, [&bytes[..], b"x"].concat()).expect("written");
    assert!(!is_used(&policy), "one byte more");
    std::fs::write(&path, &bytes).expect("written");
    assert!(is_used(&policy));
    let other = OwnLog { key: [9; 32], ..own.clone() };
    assert!(windows_file::read(&other, &policy, 1).is_none(), "made with another key");
    let elsewhere = BTreeMap::from([(0, Tail { next_lsn: place.next_lsn + 1, ..place })]);
    windows_file::write(&own, &policy, &some, &elsewhere).expect("written");
    assert!(!is_used(&policy), "the log has another record there");
}

/// Two streams whose blocks were closed in turn; each payment has a payee of its own.
fn two_streams(dir: &Path, records: u64) -> OwnLog {
    let options = Options { allow_volatile: true, adopt_copy: true };
    let data_dir = DataDir::open(dir, options, None).expect("a data directory");
    for stream in 0..2 {
        let identity = BlockIdentity { shard: stream, epoch: 1, cluster_id: data_dir.cluster_id };
        let mut log = TestLog::of(64 * 1024, identity);
        let mut payers = (1..).map(|number| DocumentKey::from_cpf_number(number).expect("valid"));
        let payer = payers.find(|payer| owner(*payer, 2) == stream).expect("one of many");
        for lsn in 1..=records {
            let mut head = decision(lsn);
            head.transaction.payer = payer.to_wire();
            head.transaction.payee = payee_of(stream, lsn).to_wire();
            log.records(&[(head, Vec::new())]);
        }
        log.write(dir);
    }
    OwnLog { data_dir: dir.to_owned(), cluster_id: data_dir.cluster_id, key: KEY }
}

fn payee_of(stream: u16, lsn: u64) -> DocumentKey {
    DocumentKey::from_cpf_number(1_000 + u32::from(stream) * 1_000 + lsn as u32).expect("valid")
}

#[test]
fn several_streams_are_read_as_their_blocks_were_closed() {
    const RECORDS: u64 = 300;
    let dir = tempfile::tempdir().expect("a folder");
    let own = two_streams(dir.path(), RECORDS);
    // Room for 64 payees: those of the last moments, of either stream.
    let policy = policy("payee.count('30d') > 3");
    let mut reading = PastReading::new(own, Pace::Full, Arc::default());
    let mut pasts = reading.empty(&policy, 2).expect("sound").expect("it reads windows");
    reading.on(&mut pasts, &by_stream([RECORDS; 2])).expect("a sound log");
    for mut past in pasts.into_shards() {
        let mut count = |stream, lsn| {
            let head = decision(RECORDS);
            let payer = DocumentKey::from_wire(&head.transaction.payer).expect("valid");
            let decided_at_ns = head.decided_at_ns.to_native();
            let payee = payee_of(stream, lsn);
            let event = past.event(payer, payee, &head.transaction, decided_at_ns);
            let mut values = [WindowValue::Missing];
            past.windows().read(&event, &mut values);
            values[0]
        };
        for (stream, lsn) in [(0, RECORDS), (0, RECORDS - 20), (1, RECORDS), (1, RECORDS - 20)] {
            assert_eq!(count(stream, lsn), WindowValue::Saturated(1), "{stream}/{lsn}");
        }
        assert_eq!(count(0, 1), WindowValue::Evicted, "which came first");
        assert_eq!(count(1, 1), WindowValue::Evicted);
    }
}
