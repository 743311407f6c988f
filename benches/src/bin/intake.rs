//! How fast an intake empties RabbitMQ's queue, and how fast the broker itself goes: the same queue, emptied by a program that
//! decides nothing, and answers each message with a confirmed reply as an intake does.
//!
//! `cargo build --release && cargo run --release -p catraca-benches --bin intake -- DIRECTORY [ROUNDS [MESSAGES]]` runs so many
//! rounds (3) of so many messages (50,000) in folders below DIRECTORY, which it removes. Needs Debian's `rabbitmq-server`
//! (`scripts/setup.sh tests`). On a machine that broker, node and intake share the processor time of each says more than the rate.

use catraca_benches::processes::{Node, Outcome, cpu_us, median, program};
use catraca_tests::gateway::body;
use catraca_tests::payments::payment;
use catraca_tests::rabbit::{Letter, Rabbit};
use futures::stream::{FuturesUnordered, StreamExt as _};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Messages of a queue that are taken and not answered: the intake's default.
const PREFETCH: u16 = 1_024;
/// Messages that are put at once.
const CHUNK: u64 = 5_000;
const QUEUE: &str = "payments";
const REPLIES: &str = "decisions";
const DEAD: &str = "payments.dead";
/// Between two looks how many replies there are.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().ok_or("usage: intake DIRECTORY [ROUNDS [MESSAGES]]")?;
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let count: u64 = arguments.next().map_or(Ok(50_000), |text| text.parse())?;
    let path = Path::new(&parent).join(format!("intake-{}", std::process::id()));
    fs::create_dir_all(path.join("broker"))?;
    let outcome = measure(&path, rounds, count);
    fs::remove_dir_all(&path)?;
    outcome
}

/// What emptied the queue.
const KINDS: [&str; 2] = ["decides nothing", "catraca intake amqp"];

fn measure(path: &Path, rounds: usize, count: u64) -> Outcome<()> {
    let rabbit = Rabbit::start(&path.join("broker"), "", "");
    let client = rabbit.client();
    [QUEUE, REPLIES, DEAD].iter().for_each(|queue| client.declare(queue));
    let node = Node::start(&path.join("node"), 0, None, &[])?;
    let mut rates: [Vec<f64>; 2] = Default::default();
    for round in 0..rounds {
        for turn in 0..KINDS.len() {
            let kind = (round + turn) % KINDS.len();
            for from in (0..count).step_by(CHUNK as usize) {
                let letters: Vec<_> = (from..count.min(from + CHUNK))
                    .map(|number| {
                        let id = format!("r{round}k{kind}n{number}");
                        Letter::of(&body(&payment(&id, number)))
                    })
                    .collect();
                client.put(QUEUE, &letters)?;
            }
            let broker = rabbit.process_id().ok_or("the broker runs")?;
            let before = (cpu_us(broker)?, cpu_us(node.process_id())?);
            let began = Instant::now();
            let own = match kind {
                0 => floor(&rabbit, count)?,
                _ => by_intake(&rabbit, &node, &client, count)?,
            };
            let took_s = began.elapsed().as_secs_f64();
            let each = |us: f64| us / count as f64;
            println!(
                "round {}: {}: {:.0} messages/s; processor time for each: broker {:.0} µs, {} {:.0} µs, node {:.0} µs",
                round + 1,
                KINDS[kind],
                count as f64 / took_s,
                each(cpu_us(broker)? - before.0),
                ["it", "intake"][kind],
                each(own),
                each(cpu_us(node.process_id())? - before.1)
            );
            rates[kind].push(count as f64 / took_s);
            rabbit.say(&["purge_queue", REPLIES]);
        }
    }
    let [nothing, intake] = rates.map(median);
    println!(
        "medians: {}: {nothing:.0}/s, {}: {intake:.0}/s: × {:.2}",
        KINDS[0],
        KINDS[1],
        intake / nothing
    );
    Ok(())
}

/// An intake, which is killed when dropped.
struct Intake(Child);

impl Drop for Intake {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Empties the queue by an intake; gives the processor time that it took, microseconds.
fn by_intake(
    rabbit: &Rabbit,
    node: &Node,
    client: &catraca_tests::rabbit::Amqp,
    count: u64,
) -> Outcome<f64> {
    let mut command = Command::new(program("catraca")?);
    command.args(["intake", "amqp", "--node", &node.client, "--broker"]);
    command.arg(rabbit.address.to_string()).args(["--queue", QUEUE, "--reply-key", REPLIES]);
    command.args(["--dead-letter-key", DEAD]).env("CATRACA_INTAKE_PASSWORD", "guest");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let intake = Intake(command.spawn()?);
    while u64::from(client.waiting(REPLIES)) < count {
        std::thread::sleep(LOOK_AGAIN);
    }
    if client.waiting(DEAD) > 0 {
        return Err("not all were decided".into());
    }
    cpu_us(intake.0.id())
}

/// Empties the queue with a reply to each message, which is confirmed before the message is acknowledged. Gives the
/// processor time that it took, microseconds.
fn floor(rabbit: &Rabbit, count: u64) -> Outcome<f64> {
    let before = cpu_us(std::process::id())?;
    let uri = format!("amqp://guest:guest@{}/%2f", rabbit.address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connect = || Connection::connect(&uri, ConnectionProperties::default());
        let (taking, sending) = (connect().await?, connect().await?);
        let (taker, sender) = (taking.create_channel().await?, sending.create_channel().await?);
        sender.confirm_select(ConfirmSelectOptions::default()).await?;
        taker.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let mut messages =
            taker.basic_consume(QUEUE.into(), "floor".into(), options, arguments).await?;
        let (mut replies, mut answered, mut last_tag) = (FuturesUnordered::new(), 0, 0);
        while answered < count {
            tokio::select! {
                Some(message) = messages.next() => {
                    let message = message?;
                    last_tag = message.delivery_tag;
                    let properties = BasicProperties::default().with_delivery_mode(2);
                    let options = BasicPublishOptions { mandatory: true, immediate: false };
                    let confirm = sender
                        .basic_publish("".into(), REPLIES.into(), options, &message.data, properties)
                        .await?;
                    replies.push(confirm);
                }
                Some(reply) = replies.next() => {
                    reply?;
                    answered += 1;
                    // All that were taken are answered now and then: few words do.
                    if replies.is_empty() {
                        taker.basic_ack(last_tag, BasicAckOptions { multiple: true }).await?;
                    }
                }
            }
        }
        Ok::<_, lapin::Error>(())
    })?;
    Ok(cpu_us(std::process::id())? - before)
}
