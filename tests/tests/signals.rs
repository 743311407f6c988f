//! SIGTERM at any moment of a node's life: it counts, it ends the node with status 0, and it leaves
//! a sound log.

use catraca_tests::load::{Load, Seen};
use catraca_tests::logs::{assert_all_recorded, assert_verified, decisions};
use catraca_tests::node::{LOOK_AGAIN, Process, Setup, folder, free_address};
use catraca_tests::pair::{Pair, ask, await_in_sync};
use catraca_tests::sandbox;
use catraca_wire::frame::{ClusterRequest, ErrorCode};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest wait for a sign of life of a process that starts.
const PATIENCE: Duration = Duration::from_secs(30);
/// Times that a moment is looked for which may be gone before it is seen.
const ATTEMPTS: usize = 20;

fn wait_until(what: &str, process: &Process, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "never {what}:\n{}", process.stderr());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn assert_stopped(process: &mut Process) {
    let status = process.wait();
    assert_eq!(status.code(), Some(0), "{status}: {}", process.stderr());
}

fn has_served(process: &Process) -> bool {
    process.lines().iter().any(|line| line.contains("\"ready\""))
}

#[test]
fn a_term_before_anything_else_is_not_lost() {
    let dir = folder();
    let mut command = Setup::new(dir.path()).command();
    sandbox::hold_signal(&mut command, libc::SIGTERM);
    // It waits for a program that has not run an instruction of its own.
    let mut process = Process::spawn(&mut command);
    process.signal(Signal::TERM);
    assert_stopped(&mut process);
    assert!(!has_served(&process), "{}", process.stderr());
}

#[test]
fn a_term_while_a_node_starts_stops_it() {
    let dir = folder();
    let setup = Setup::new(&dir.path().join("data"));
    let mut process = Process::spawn(&mut setup.command());
    wait_until("begun", &process, || setup.data_dir.exists());
    process.signal(Signal::TERM);
    assert_stopped(&mut process);
    setup.start().stop();
    assert_verified(&setup.data_dir, true);
}

/// The first process of the namespace that `unshare` has made.
fn first_inside(unshare: &Process) -> Option<Pid> {
    let pid = unshare.pid().as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

#[test]
fn the_first_process_of_a_container_is_stopped_by_a_term_too() {
    let dir = folder();
    let mut setup = Setup::new(&dir.path().join("data"));
    let user: &[&str] =
        if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let namespace = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    setup.wrapper =
        ["unshare"].iter().chain(user).chain(&namespace).map(|&word| word.to_owned()).collect();
    let mut process = Process::spawn(&mut setup.command());
    wait_until("begun", &process, || setup.data_dir.exists());
    let node = first_inside(&process).expect("it runs inside");
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.as_raw_nonzero()))
        .expect("it runs");
    let inside = status
        .lines()
        .find(|line| line.starts_with("NSpid:"))
        .expect("the kernel tells its number inside");
    assert_eq!(inside.split_whitespace().last(), Some("1"), "{inside}");
    kill_process(node, Signal::TERM).expect("it runs");
    assert_stopped(&mut process);
}

#[test]
fn more_signals_cut_off_nothing() {
    let dir = folder();
    let mut node = Setup::new(dir.path()).start();
    let loads: Vec<Load> =
        (0..3).map(|number| Load::start(&node, &format!("load{number}"), 200)).collect();
    loads.iter().for_each(|load| load.wait_for(500));
    for signal in [Signal::TERM, Signal::TERM, Signal::INT, Signal::TERM] {
        node.process.signal(signal);
    }
    // Between the first and the end, too. It may be gone already, and is not forgotten before it is
    // waited for.
    for _ in 0..10 {
        node.process.signal(Signal::TERM);
        std::thread::sleep(LOOK_AGAIN);
    }
    assert_stopped(&mut node.process);
    let seen: Vec<Seen> = loads.into_iter().map(Load::join).collect();
    let recorded = decisions(dir.path());
    let mut answered = 0;
    for seen in &seen {
        assert!(
            seen.refused.keys().all(|code| *code == ErrorCode::ShuttingDown),
            "{:?}",
            seen.refused
        );
        assert_all_recorded(&recorded, &seen.answered);
        answered += seen.answered.len();
    }
    assert_eq!(recorded.len(), answered, "what was accepted was answered");
    assert_verified(dir.path(), true);
}

/// Whether the process has a segment of a log in its hands.
fn reads_log(process: &Process) -> bool {
    let proc = format!("/proc/{}", process.pid().as_raw_nonzero());
    let mapped =
        || std::fs::read_to_string(format!("{proc}/maps")).is_ok_and(|maps| maps.contains(".seg"));
    let open = || {
        let descriptors = std::fs::read_dir(format!("{proc}/fd")).into_iter().flatten().flatten();
        descriptors
            .filter_map(|fd| std::fs::read_link(fd.path()).ok())
            .any(|path| path.to_string_lossy().ends_with(".seg"))
    };
    mapped() || open()
}

#[test]
fn a_term_during_recovery_stops_the_node_and_leaves_the_log_sound() {
    /// Enough that recovery takes a moment that can be seen.
    const RECORDS: u64 = 20_000;
    let dir = folder();
    let setup = Setup::new(dir.path());
    let node = setup.start();
    let load = Load::start(&node, "load", 512);
    load.wait_for(RECORDS);
    // Killed, so that recovery may find an end to clear.
    node.kill();
    let seen = load.join();
    let met = (0..ATTEMPTS).any(|_| {
        let mut process = Process::spawn(&mut setup.command());
        wait_until("recovering", &process, || reads_log(&process) || has_served(&process));
        process.signal(Signal::TERM);
        assert_stopped(&mut process);
        !has_served(&process)
    });
    assert!(met, "no attempt of {ATTEMPTS} met a node in recovery");
    assert_all_recorded(&decisions(dir.path()), &seen.answered);
    setup.start().stop();
    assert_verified(dir.path(), true);
    assert_all_recorded(&decisions(dir.path()), &seen.answered);
}

/// The key of a cluster that nobody else has.
fn invent_key(data_dir: &Path) {
    std::fs::create_dir_all(data_dir).expect("a folder");
    let key = data_dir.join("chain.key");
    std::fs::write(&key, format!("{}\n", "5a".repeat(32))).expect("written");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("own file");
}

#[test]
fn a_new_standby_that_waits_for_its_primary_is_stopped_by_a_term() {
    let dir = folder();
    invent_key(dir.path());
    let mut process = Process::spawn(
        &mut Setup::new(dir.path()).arg("--standby-of").arg(free_address()).command(),
    );
    process
        .wait_for_line("it waits", |line| line["fields"]["message"] == "waiting for the primary");
    process.signal(Signal::TERM);
    assert_stopped(&mut process);
    assert!(!dir.path().join("replica.json").exists(), "it was nobody's standby yet");
}

#[test]
fn a_standby_that_catches_up_is_stopped_by_a_term_and_goes_on_from_there() {
    /// Enough that catching up takes a moment.
    const RECORDS: u64 = 40_000;
    let pair = Pair::new(1);
    let primary = pair.start(0);
    let load = Load::start(&primary, "load", 512);
    load.wait_for(RECORDS);
    let seen = load.stop();
    pair.share_key();
    let stopped_behind = (0..ATTEMPTS).filter(|_| {
        let mut process = Process::spawn(&mut pair.setups[1].command());
        process.wait_for_line("following", |line| line["fields"]["message"] == "following");
        process.signal(Signal::TERM);
        assert_stopped(&mut process);
        // What it has written until then is a log in order.
        if pair.data_dir(1).join("log").exists() {
            assert_verified(&pair.data_dir(1), false);
        }
        !process.stderr().contains("in_sync\":true")
    });
    assert!(
        stopped_behind.take(3).count() > 0,
        "no attempt of {ATTEMPTS} met a standby that was behind"
    );
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    primary.stop();
    standby.stop();
    for index in [0, 1] {
        assert_verified(&pair.data_dir(index), true);
        assert_all_recorded(&decisions(&pair.data_dir(index)), &seen.answered);
    }
}

#[test]
fn a_term_while_a_demoted_primary_starts_anew_is_not_lost() {
    for delay_ms in [0, 1, 5, 20, 50] {
        let pair = Pair::new(1);
        let [mut primary, standby] = pair.start_both();
        ask(&standby, &ClusterRequest::promote(false)).expect("in sync");
        primary.process.wait_for_line("starts anew", |line| {
            line["fields"]["message"]
                .as_str()
                .is_some_and(|message| message.contains("starts anew"))
        });
        std::thread::sleep(Duration::from_millis(delay_ms));
        primary.process.signal(Signal::TERM);
        assert_stopped(&mut primary.process);
        standby.stop();
        for index in [0, 1] {
            assert_verified(&pair.data_dir(index), false);
        }
    }
}
