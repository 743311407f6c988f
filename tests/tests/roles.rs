//! What nodes say of their part in a cluster, and what operators ask of them.

use catraca_tests::command;
use catraca_tests::node::{Setup, folder};
use std::net::TcpListener;

#[test]
fn a_node_without_a_standby_describes_itself_and_has_nothing_to_change() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let address = node.listen.to_string();
    let state = command::json(["status", "--addr", &address, "--json"]);
    let part = &state["nodes"][0];
    assert_eq!(
        (&part["addr"], &part["role"], &part["durability"]),
        (&address.as_str().into(), &"primary".into(), &"single".into())
    );
    assert_eq!(
        (&part["epoch"], &part["silence_ms"], &part["primary"]),
        (&1.into(), &().into(), &().into())
    );
    let hex = |id: [u8; 16]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let client = node.client();
    assert_eq!(part["node_id"], hex(client.welcome().node_id));
    assert_eq!(part["cluster_id"], hex(client.welcome().cluster_id));

    let refusals = [
        (&["promote"][..], "is the primary already"),
        (&["promote", "--force"], "is the primary already"),
        (&["solo"], "has no standby"),
        (&["solo", "--standby-is-down"], "has no standby"),
    ];
    for (args, why) in refusals {
        let output = command::run([args, &["--addr", &address]].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        let sentence = String::from_utf8(output.stderr).expect("text");
        assert!(sentence.contains(why) && sentence.lines().count() == 1, "{args:?}: {sentence}");
    }

    // Who is not there is said beside who is, and the status tells.
    let nobody =
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").to_string();
    for form in [&["--json"][..], &[]] {
        let both = format!("{address},{nobody}");
        let output = command::run([&["status", "--addr", &both], form].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(
            text.contains("primary") && text.contains(&format!("no connection to {nobody}")),
            "{text}"
        );
    }
    node.stop();
}
