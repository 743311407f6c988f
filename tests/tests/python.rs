//! The Python client, against a real node.

use catraca_tests::binary::workspace_dir;
use catraca_tests::node::{Setup, folder};
use std::process::Command;

#[test]
fn the_python_client_passes_its_tests_against_a_node() {
    let dir = folder();
    let node = Setup::new(dir.path()).shards(2).start();
    let output = Command::new("python3")
        .args(["-B", "-m", "unittest", "-v", "test_catraca"])
        .current_dir(workspace_dir().join("scripts/clients/python"))
        .env("CATRACA_ADDR", node.listen.to_string())
        .output()
        .expect("python3 is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("AgainstARealServer") && !text.contains("skipped"),
        "the tests against a server did not run:\n{text}"
    );
    node.stop();
}
