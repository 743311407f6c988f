//! Pairs that are found by IPv6 addresses and by names.

use catraca_tests::command;
use catraca_tests::node::{Node, Setup, folder, free_address_on};
use catraca_tests::pair::{Pair, ask, await_in_sync, await_place, place};
use catraca_tests::payments::payment;
use catraca_wire::client::Client;
use catraca_wire::frame::{ClusterRequest, Role};
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

#[test]
fn a_pair_lives_on_ipv6() {
    let pair = Pair::on(IpAddr::from(Ipv6Addr::LOCALHOST), 1);
    let [first, second] = pair.start_both();
    let mut client = pair.client();
    client.decide(&payment("order-1", 1)).expect("decided");
    // Each says of the other where it is, in a form that can be used as it is.
    let addresses = pair.addresses();
    assert!(addresses.iter().all(|address| address.starts_with("[::1]:")), "{addresses:?}");
    assert_eq!(place(&second).primary.as_deref(), Some(addresses[0].as_str()));
    assert_eq!(
        place(&first).peer.as_deref(),
        Some(pair.setups[1].replication.to_string().as_str())
    );
    let status = command::json(["status", "--addr", &addresses.join(","), "--json"]);
    assert_eq!(status["nodes"][1]["role"], "standby", "{status:#}");
    assert_eq!(first.http_get("/readyz").0, 200);
    // One address is enough: the standby names the primary.
    let mut led =
        Client::connect(second.client_options()).expect("the standby knows where the primary is");
    led.decide(&payment("order-2", 2)).expect("decided");
    first.kill();
    let state = ask(&second, &ClusterRequest::promote(false)).expect("promoted");
    assert_eq!(state.role, Role::Primary);
    client.decide(&payment("order-3", 3)).expect("decided by the other one");
    let first = pair.start(0);
    await_in_sync(&second, &first);
    [first, second].into_iter().for_each(|node| drop(node.stop()));
}

/// Has a program find names in this file instead of in the machine's own. A mount of its own, which
/// ends with it.
fn with_hosts(mut setup: Setup, hosts: &Path) -> Setup {
    let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
    let hosts = hosts.display().to_string();
    setup.wrapper =
        ["unshare", "--mount", "sh", "-c", script, "sh", &hosts].map(str::to_owned).to_vec();
    setup
}

#[test]
fn a_primary_whose_name_changes_its_address_is_found_again() {
    let dir = folder();
    let hosts = dir.path().join("hosts");
    let name_is = |ip: &str| {
        fs::write(&hosts, format!("127.0.0.1 localhost\n{ip} primary.test\n")).expect("written")
    };
    name_is("127.0.0.2");
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let replication = free_address_on(ip("127.0.0.2"));
    let client_port = free_address_on(ip("127.0.0.2"));
    let mut first = Setup::new(&dir.path().join("a")).set("advertise_host", "primary.test");
    (first.listen, first.replication) = (client_port, replication);
    let mut second = Setup::new(&dir.path().join("b"))
        .arg("--standby-of")
        .arg(format!("primary.test:{}", replication.port()));
    second.first_core = 1;
    let (mut first, second) = (with_hosts(first, &hosts), with_hosts(second, &hosts));
    let primary = first.start();
    fs::create_dir_all(dir.path().join("b")).expect("a folder");
    fs::copy(dir.path().join("a/chain.key"), dir.path().join("b/chain.key"))
        .expect("the first node has made its key");
    let standby = second.start();
    await_in_sync(&primary, &standby);
    primary.client().decide(&payment("order-1", 1)).expect("decided");
    let named = format!("primary.test:{}", client_port.port());
    assert_eq!(place(&standby).primary.as_deref(), Some(named.as_str()));
    // It comes back on another machine, under the same name.
    primary.stop();
    name_is("127.0.0.3");
    first.listen.set_ip(ip("127.0.0.3"));
    first.replication.set_ip(ip("127.0.0.3"));
    let primary: Node = first.start();
    assert_eq!(primary.listen.ip(), ip("127.0.0.3"));
    await_in_sync(&primary, &standby);
    primary.client().decide(&payment("order-2", 2)).expect("decided on both");
    // And a standby that starts anew finds it by what it kept.
    standby.kill();
    let standby = second.start();
    await_place("in sync", [&primary, &standby], |[primary, standby]| {
        primary.in_sync && standby.in_sync
    });
    primary.client().decide(&payment("order-3", 3)).expect("decided on both");
    [standby, primary].into_iter().for_each(|node| drop(node.stop()));
}
