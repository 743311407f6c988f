//! Machines that lack something: each lack is one exit status and one clear sentence, and nothing
//! answered is lost over it.
//!
//! File systems are those of `catraca_tests::disk`.

use catraca_tests::disk::{ballast, inside, mounted};
use catraca_tests::load::{Answered, Load};
use catraca_tests::logs::{assert_all_recorded, assert_same_answers, decisions};
use catraca_tests::node::{LOOK_AGAIN, Node, Process, Setup, fail, folder, free_address};
use catraca_tests::payments::payment;
use catraca_tests::sandbox;
use catraca_wire::client::{Client, ClientError};
use catraca_wire::frame::ErrorCode;
use std::net::TcpListener;
use std::path::Path;

/// Exit statuses, as `catraca_node::fatal::Status` has them.
const CONFIG: i32 = 10;
const DATA_DIRECTORY: i32 = 11;
const ENVIRONMENT: i32 = 14;

/// Asserts how a node that can't start ended: this status, and one message that has all of these
/// words.
fn assert_refused((status, text): (i32, String), expected: i32, words: &[&str]) {
    assert_eq!(status, expected, "{text}");
    let messages: Vec<&str> = text.lines().filter(|line| line.starts_with("catraca: ")).collect();
    assert_eq!(messages.len(), 1, "one message is wanted:\n{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_data_directory_that_can_not_be_written_is_named() {
    let setup = Setup::new(Path::new("/proc/catraca"));
    assert_refused(setup.fail(), DATA_DIRECTORY, &["/proc/catraca", "--data-dir"]);
    let dir = folder();
    let setup = Setup::new(&dir.path().join("data")).set("allow_volatile_data_dir", true);
    let outcome = fail(&mut mounted(&setup, "tmpfs", "ro,size=64m"));
    assert_refused(
        outcome,
        DATA_DIRECTORY,
        &[&setup.data_dir.display().to_string(), "Read-only", "writable"],
    );
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("written");
    assert_refused(Setup::new(&file).fail(), DATA_DIRECTORY, &[&file.display().to_string()]);
}

#[test]
fn a_data_directory_in_memory_is_refused() {
    let dir = folder();
    let setup = Setup::new(&dir.path().join("data"));
    assert_refused(
        fail(&mut mounted(&setup, "tmpfs", "size=64m")),
        DATA_DIRECTORY,
        &["in memory", "on a disk"],
    );
}

#[test]
fn a_file_system_without_direct_writes_is_refused() {
    let dir = folder();
    // The one file system of every kernel that has no direct I/O; it lives in memory, which is
    // allowed here.
    let setup = Setup::new(&dir.path().join("data")).set("allow_volatile_data_dir", true);
    assert_refused(
        fail(&mut mounted(&setup, "ramfs", "mode=700")),
        DATA_DIRECTORY,
        &["O_DIRECT", "ext4 or xfs"],
    );
}

#[test]
fn a_data_directory_in_use_is_left_alone() {
    let dir = folder();
    let setup = Setup::new(dir.path());
    let node = setup.start();
    let mut client = node.client();
    client.decide(&payment("before", 1)).expect("decided");
    assert_refused(
        setup.fail(),
        DATA_DIRECTORY,
        &["in use by another node", &dir.path().display().to_string()],
    );
    client.decide(&payment("after", 2)).expect("the node that was there goes on");
    node.stop();
    setup.start().stop();
}

#[test]
fn a_disk_that_is_full_at_the_start_is_named() {
    let dir = folder();
    let setup = Setup::new(&dir.path().join("data")).set("allow_volatile_data_dir", true);
    // Room for the probe and the identity, and not for one segment of 4 MiB.
    assert_refused(
        fail(&mut mounted(&setup, "tmpfs", "size=2m")),
        DATA_DIRECTORY,
        &["no space", ".seg", "free some space"],
    );
}

#[test]
fn a_disk_that_fills_up_refuses_what_is_new_and_keeps_what_is_old() {
    let dir = folder();
    let setup = Setup::new(&dir.path().join("data"))
        .set("allow_volatile_data_dir", true)
        .set("disk_reserve_mib", 16);
    let node = Node::of(Process::spawn(&mut mounted(&setup, "tmpfs", "size=64m")), setup);
    let mut client = node.client();
    let decide = |client: &mut Client, id: &str| -> Result<Answered, ClientError> {
        let transaction = payment(id, 1);
        client.decide(&transaction).map(|decision| Answered { transaction, decision })
    };
    let before = decide(&mut client, "before").expect("decided");
    // Three segments of 4 MiB are there, and the ballast leaves less than the reserve of 16 MiB.
    let file = inside(&node.process, &node.setup.data_dir).join("ballast");
    ballast(&file, 40 * 1024 * 1024);
    node.wait_until("the full disk was noticed", |node| {
        node.http_get("/readyz") == (503, "the disk is nearly full\n".to_owned())
    });
    // The cores hear of it a moment after that is told; each attempt is another transaction.
    let mut last = before;
    let mut refused = String::new();
    node.wait_until("what is new is refused", |_| {
        refused = format!("order-{}", last.decision.answer.lsn);
        match decide(&mut client, &refused) {
            Ok(answered) => last = answered,
            Err(ClientError::Refused(error))
                if error.code == ErrorCode::DiskFull && error.retry_after_ms > 0 =>
            {
                return true;
            }
            Err(other) => panic!("{other}"),
        }
        false
    });
    // What was decided is still answered, and can be looked up; who has nothing to write is not
    // concerned.
    assert_same_answers(&mut client, [&before, &last]);
    client.lookup("before", None).expect("found");
    client.ping().expect("alive");
    std::fs::remove_file(&file).expect("there");
    let mut after = None;
    node.wait_until("the node decides again", |_| {
        after = decide(&mut client, &refused).ok();
        after.is_some()
    });
    let decision = after.expect("decided").decision;
    assert!(!decision.duplicate, "nothing was recorded when it was refused, so it is new");
    // Between them lies the record of who was told the look-up.
    assert_eq!(decision.answer.lsn, last.decision.answer.lsn + 2);
    node.wait_until("the node is ready again", |node| node.http_get("/readyz").0 == 200);
    drop(client);
    node.stop();
}

#[test]
fn with_no_room_for_another_segment_nothing_that_was_answered_is_lost() {
    let dir = folder();
    let setup = Setup::new(&dir.path().join("data"))
        .set("allow_volatile_data_dir", true)
        .set("disk_reserve_mib", 0);
    let node = Node::of(Process::spawn(&mut mounted(&setup, "tmpfs", "size=32m")), setup);
    let data = inside(&node.process, &node.setup.data_dir);
    node.wait_until("all segments are prepared", |_| {
        data.join("log/shard-0000/00000002.seg").exists()
    });
    // Three segments of 4 MiB and the ballast leave less than a fourth needs.
    ballast(&data.join("ballast"), 18 * 1024 * 1024);
    let load = Load::start(&node, "load", 64);
    // Records wait for a segment that does not come, and their transactions' time runs out.
    node.wait_until("the segments are full", |node| {
        node.metric("catraca_deadlines_missed_total") > 0.0
    });
    assert!(node.process.stderr().contains("can't be prepared"), "{}", node.process.stderr());
    let seen = load.stop();
    let known = [ErrorCode::Overloaded, ErrorCode::Unconfirmed, ErrorCode::Late];
    assert!(
        seen.unanswered.is_empty() && seen.refused.keys().all(|code| known.contains(code)),
        "{:?}",
        seen.refused
    );
    assert_same_answers(&mut node.client(), &seen.answered);
    std::fs::remove_file(data.join("ballast")).expect("there");
    node.wait_until("it decides again", |node| node.client().decide(&payment("after", 1)).is_ok());
    assert_same_answers(&mut node.client(), &seen.answered);
    assert_all_recorded(&decisions(&data), &seen.answered);
    node.stop();
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    let dir = folder();
    let mut setup = Setup::new(dir.path());
    setup.listen = address;
    assert_refused(setup.fail(), CONFIG, &[&address.to_string(), "--listen"]);
    let mut command = catraca_tests::command::command();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--replication", "127.0.0.1:0", "--shards", "1"])
        .args(["--http", &address.to_string(), "--data-dir"])
        .arg(dir.path());
    command
        .env("CATRACA_SEGMENT_MIB", "4")
        .env("CATRACA_DEDUPE_ENTRIES", "131072")
        .env("CATRACA_SPIN_US", "0");
    assert_refused(fail(&mut command), CONFIG, &["--http", &address.to_string()]);
}

#[test]
fn a_port_of_another_node_is_not_shared() {
    let (first, second) = (folder(), folder());
    let node = Setup::new(first.path()).start();
    let mut setup = Setup::new(second.path());
    setup.listen = node.listen;
    assert_refused(setup.fail(), CONFIG, &[&node.listen.to_string()]);
    node.client().decide(&payment("order-1", 1)).expect("the node that was there goes on");
    node.stop();
}

#[test]
fn of_two_nodes_that_start_at_once_one_has_the_port() {
    let (first, second) = (folder(), folder());
    let listen = free_address();
    let setups = [&first, &second].map(|dir| Setup { listen, ..Setup::new(dir.path()) });
    let mut processes = setups.each_ref().map(|setup| Process::spawn(&mut setup.command()));
    let refused = loop {
        let ended = processes.iter_mut().position(|process| process.has_ended());
        match ended {
            Some(ended) => break ended,
            None => std::thread::sleep(LOOK_AGAIN),
        }
    };
    assert_eq!(processes[refused].wait().code(), Some(CONFIG), "{}", processes[refused].stderr());
    assert!(processes[refused].stderr().contains("--listen"), "{}", processes[refused].stderr());
    processes[1 - refused].wait_for_line("ready", |line| line["fields"]["message"] == "ready");
}

#[test]
fn settings_that_do_not_exist_are_named_with_their_place() {
    let dir = folder();
    let file = dir.path().join("catraca.toml");
    std::fs::write(&file, "# a comment\nin_flihgt = 5\n").expect("written");
    let data = Setup::new(&dir.path().join("data"));
    let outcome = data.clone().arg("--config").arg(file.display()).fail();
    assert_refused(outcome, CONFIG, &["catraca.toml", "line 2", "in_flihgt"]);
    std::fs::write(&file, "in_flight = \"many\"\n").expect("written");
    assert_refused(
        data.clone().arg("--config").arg(file.display()).fail(),
        CONFIG,
        &["catraca.toml", "line 1"],
    );
    assert_refused(data.clone().set("shardz", 1).fail(), CONFIG, &["CATRACA_SHARDZ"]);
    assert_refused(data.clone().set("in_flight", 0).fail(), CONFIG, &["in_flight is 0"]);
    assert_refused(
        data.clone().arg("--config").arg(dir.path().join("none.toml").display()).fail(),
        CONFIG,
        &["none.toml"],
    );
    let (status, text) = data.arg("--shardz=1").fail();
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("--shardz"), "{text}");
}

#[test]
fn too_little_lockable_memory_is_named() {
    let dir = folder();
    let mut command = Setup::new(dir.path()).command();
    sandbox::limit(&mut command, libc::RLIMIT_MEMLOCK, 64 * 1024);
    assert_refused(fail(&mut command), ENVIRONMENT, &["64 KiB", "ulimit -l", "LimitMEMLOCK"]);
}

#[test]
fn too_few_descriptors_are_named() {
    let dir = folder();
    let mut command = Setup::new(dir.path()).command();
    sandbox::limit(&mut command, libc::RLIMIT_NOFILE, 1_000);
    assert_refused(fail(&mut command), ENVIRONMENT, &["1000 descriptors", "max_connections"]);
}

#[test]
fn a_kernel_without_io_uring_is_named() {
    for error in [libc::ENOSYS, libc::EPERM] {
        let dir = folder();
        let mut command = Setup::new(dir.path()).command();
        sandbox::refuse_call(&mut command, libc::SYS_io_uring_setup, error);
        assert_refused(fail(&mut command), ENVIRONMENT, &["io_uring", "Linux 5.8"]);
    }
}

#[test]
fn a_core_that_is_not_there_is_named() {
    let dir = folder();
    let mut command = catraca_tests::command::command();
    command
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--replication",
            "127.0.0.1:0",
        ])
        .args(["--cores", "1000", "--data-dir"])
        .arg(dir.path());
    assert_refused(fail(&mut command), ENVIRONMENT, &["processor 1000", "--cores"]);
}
