//! `catraca demo --doors` with a real RabbitMQ and a real broker of Kafka's protocol.

use catraca_tests::command::command;
use catraca_tests::kafka::Kafka;
use catraca_tests::node::folder;
use catraca_tests::rabbit::Rabbit;
use serde_json::{Value, json};

fn show(args: &[&str]) -> Value {
    let dir = folder();
    let mut demo = command();
    demo.args(["demo", "--doors", "--json", "--data-dir"]).arg(dir.path().join("demo")).args(args);
    for (name, value) in [
        ("CATRACA_DEDUPE_ENTRIES", "131072"),
        ("CATRACA_SEGMENT_MIB", "16"),
        ("CATRACA_DISK_RESERVE_MIB", "64"),
    ] {
        demo.env(name, value);
    }
    let output = demo.output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn one_payment_through_all_doors_is_one_decision_also_while_the_primary_dies() {
    let (of_rabbit, of_kafka) = (folder(), folder());
    let rabbit = Rabbit::start(of_rabbit.path(), "", "");
    let kafka = Kafka::start(of_kafka.path());
    let (amqp, kafka_at) = (rabbit.address.to_string(), kafka.address.to_string());
    let shown = show(&["--amqp", &amqp, "--kafka", &kafka_at]);
    assert_eq!(shown["ok"], true, "{shown:#}");
    for part in ["at_once", "while_the_primary_dies", "again"] {
        let answers = shown[part].as_array().expect("answers");
        let doors: Vec<&Value> = answers.iter().map(|answer| &answer["door"]).collect();
        assert_eq!(doors, ["binary", "HTTP", "AMQP", "Kafka"], "{shown:#}");
        let lsn = &answers[0]["decision"]["lsn"];
        assert!(answers.iter().all(|answer| answer["decision"]["lsn"] == *lsn), "{shown:#}");
    }
    let records = json!({"catraca-demo-doors-1": 1, "catraca-demo-doors-2": 1});
    assert_eq!(shown["records"], records, "{shown:#}");
    // What it has made at the broker is gone, but for a queue that goes a minute later.
    let left = rabbit.say(&["list_queues", "name", "--quiet"]);
    assert!(left.lines().filter(|line| line.starts_with("catraca-demo")).count() <= 1, "{left}");
}

#[test]
fn without_brokers_the_other_doors_are_shown() {
    let shown = show(&[]);
    assert_eq!(shown["ok"], true, "{shown:#}");
    let answers = shown["at_once"].as_array().expect("answers");
    let doors: Vec<&Value> = answers.iter().map(|answer| &answer["door"]).collect();
    assert_eq!(doors, ["binary", "HTTP", "Kafka"], "{shown:#}");
}
