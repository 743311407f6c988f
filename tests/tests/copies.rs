//! A copy of a data directory does not become a second node unnoticed.

use catraca_tests::command;
use catraca_tests::node::{Setup, folder, free_address};
use catraca_tests::pair::{Pair, place};
use catraca_tests::payments::payment;
use std::path::Path;
use std::process::Command;

/// Copies a folder, of a running node too: a file that gets its name meanwhile is gone under the one that
/// it had, and then all is copied anew.
fn copy(from: &Path, to: &Path) {
    let copied = (0..20).any(|_| {
        let _ = std::fs::remove_dir_all(to);
        Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp is there").success()
    });
    assert!(copied, "{} can't be copied", from.display());
}

#[test]
fn a_copy_starts_only_on_the_operators_word() {
    let dir = folder();
    let original = Setup::new(&dir.path().join("original"));
    let node = original.start();
    let order = payment("order-1", 1);
    let decided = node.client().decide(&order).expect("decided");
    let id = node.client().welcome().node_id;
    node.stop();
    let copied = Setup { data_dir: dir.path().join("copy"), ..original.clone() };
    copy(&original.data_dir, &copied.data_dir);
    let (status, text) = copied.fail();
    assert_eq!(status, 11, "{text}");
    assert!(text.contains("is a copy") && text.contains("--adopt-copy"), "{text}");
    // Its log can be read all the same.
    let verified = command::run(["log", "verify", &copied.data_dir.display().to_string()]);
    assert!(verified.status.success(), "{verified:?}");
    let node = copied.clone().arg("--adopt-copy").start();
    assert_eq!(node.client().welcome().node_id, id);
    assert_eq!(node.client().decide(&order).expect("known").answer.lsn, decided.answer.lsn);
    node.stop();
    // Once is enough, and the original is what it was.
    copied.start().stop();
    original.start().stop();
}

#[test]
fn a_second_standby_of_one_identity_is_refused() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    let mut client = pair.client();
    client.decide(&payment("order-1", 1)).expect("decided");
    let mut twin = pair.setups[1].clone().arg("--adopt-copy");
    twin.data_dir = pair.folder().join("twin");
    (twin.listen, twin.replication) = (free_address(), free_address());
    copy(&pair.data_dir(1), &twin.data_dir);
    let twin = twin.start();
    let message = |text: &'static str| {
        move |line: &serde_json::Value| {
            line["fields"]["message"].as_str().is_some_and(|m| m.contains(text))
        }
    };
    twin.process.wait_for_line("why it waits", |line| {
        line["fields"]["why"]
            .as_str()
            .is_some_and(|why| why.contains("is one data directory a copy of the other"))
    });
    primary.process.wait_for_line("the warning", message("two standbys of one identity"));
    // Nothing changes for who was there first.
    client.decide(&payment("order-2", 2)).expect("decided on both");
    let (there, copied) = (place(&standby), place(&twin));
    assert!(there.in_sync && there.connected && place(&primary).in_sync, "{there:?}");
    // It may lack what the first one has got since: it is not promotable.
    assert!(!copied.connected && !copied.in_sync, "{copied:?}");
    drop(client);
    // With the first one gone the copy has its place, and catches up.
    standby.stop();
    primary.wait_until("the copy is in sync", |primary| {
        place(primary).in_sync && place(&twin).in_sync
    });
    pair.client().decide(&payment("order-3", 3)).expect("decided on both");
    [twin, primary].into_iter().for_each(|node| drop(node.stop()));
}

#[test]
fn a_copy_of_a_primary_with_a_standby_is_not_adopted() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    pair.client().decide(&payment("order-1", 1)).expect("decided");
    primary.kill();
    let mut copied = pair.setups[0].clone().arg("--adopt-copy");
    copied.data_dir = pair.folder().join("copy");
    copy(&pair.data_dir(0), &copied.data_dir);
    let (status, text) = copied.fail();
    assert_eq!(status, 11, "{text}");
    assert!(text.contains("promote the standby"), "{text}");
    standby.stop();
}
