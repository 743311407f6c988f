//! What HTTP costs beside the binary protocol, and what a client's flood costs another one: a node, a gateway with access
//! tokens, and clients over connections that are kept.
//!
//! `cargo build --release && cargo run --release -p catraca-benches --bin gateway -- DIRECTORY [SECONDS]` runs each part so
//! many seconds (3) on a data directory below DIRECTORY, which it removes. Rates on a machine that is shared by a node, a
//! gateway and its load say little, so that the gateway's own processor time for a decision is told beside them.

use catraca_benches::processes::{Node, Outcome, cpu_us, program};
use catraca_wire::client::{Client, ClientOptions, now_ns};
use catraca_wire::frame::Transaction;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Connections of a load.
const CONNECTIONS: usize = 64;
/// Decisions in a batch.
const BATCH: usize = 5_000;
/// Pause of the calm client between two payments: some 500 a second.
const CALM: Duration = Duration::from_millis(2);
/// Decisions a second that the client of the flood may have.
const FLOOD_RATE: u32 = 1_000;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://catraca.example";
const PAYER: &str = "52998224725";
const PAYEE: &str = "12ABC34501DE35";

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().ok_or("usage: gateway DIRECTORY [SECONDS]")?;
    let seconds: f64 = arguments.next().map_or(Ok(3.0), |text| text.parse())?;
    let time = Duration::from_secs_f64(seconds);
    let path = Path::new(&parent).join(format!("gateway-{}", std::process::id()));
    fs::create_dir_all(&path)?;
    let outcome = measure(&path, time);
    fs::remove_dir_all(&path)?;
    outcome
}

fn measure(path: &Path, time: Duration) -> Outcome<()> {
    let node = Node::start(&path.join("node"), 0, None, &[])?;
    let issuer = Issuer::start()?;
    let gateway = Gateway::start(path, &node, &issuer)?;
    let token = issuer.token("calm")?;

    let binary = one_by_one_binary(&node, time)?;
    let mut calm = Http::connect(gateway.address, &token)?;
    let http = one_by_one(&mut calm, "h", time, Duration::ZERO)?;
    println!(
        "1 × 1: binary p50 {:.0} µs, HTTP with a token p50 {:.0} µs: {:.0} µs are added",
        percentile(&binary, 0.5),
        percentile(&http, 0.5),
        percentile(&http, 0.5) - percentile(&binary, 0.5)
    );

    let begun = gateway.cpu_us()?;
    let decided = many(gateway.address, &token, "m", time, 200)?;
    told(&format!("{CONNECTIONS} connections, one decision each"), decided, time, &gateway, begun)?;

    let begun = gateway.cpu_us()?;
    let decided = batches(gateway.address, &token, time)?;
    told(&format!("batches of {BATCH} lines"), decided, time, &gateway, begun)?;

    let alone = one_by_one(&mut calm, "a", time, CALM)?;
    let flood_token = issuer.token("flood")?;
    let beside = std::thread::scope(|scope| -> Outcome<Vec<f64>> {
        let flood = scope.spawn(|| {
            // Longer than the calm client looks; refused ones count as much.
            many(gateway.address, &flood_token, "f", time.mul_f64(1.5), 429)
                .map_err(|e| e.to_string())
        });
        std::thread::sleep(time.mul_f64(0.2));
        let beside = one_by_one(&mut calm, "b", time, CALM);
        let refused = flood.join().map_err(|_| "the flood ended")??;
        println!(
            "a flood of {:.0} requests a second is refused",
            refused as f64 / time.as_secs_f64() / 1.5
        );
        beside
    })?;
    println!(
        "a calm client beside it: p50 {:.0} µs, p99 {:.0} µs; alone: p50 {:.0} µs, p99 {:.0} µs; p99 × {:.2}",
        percentile(&beside, 0.5),
        percentile(&beside, 0.99),
        percentile(&alone, 0.5),
        percentile(&alone, 0.99),
        percentile(&beside, 0.99) / percentile(&alone, 0.99)
    );
    Ok(())
}

fn told(what: &str, decided: u64, time: Duration, gateway: &Gateway, begun: f64) -> Outcome<()> {
    let cpu_us = (gateway.cpu_us()? - begun) / decided as f64;
    println!(
        "{what}: {:.0} decisions a second; {cpu_us:.1} µs of the gateway's processor for each, {:.0} a second on a processor of its own",
        decided as f64 / time.as_secs_f64(),
        1e6 / cpu_us
    );
    Ok(())
}

fn percentile(micros: &[f64], share: f64) -> f64 {
    let mut sorted = micros.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Microseconds of each decision, one after the other.
fn one_by_one_binary(node: &Node, time: Duration) -> Outcome<Vec<f64>> {
    let mut client = Client::connect(ClientOptions::new(node.client.clone()))?;
    let (began, mut micros) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        let id = format!("n{}", micros.len());
        let payment = Transaction::new(&id, PAYER, PAYEE, 1_234, now_ns())?;
        let sent = Instant::now();
        client.decide(&payment)?;
        micros.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    Ok(micros)
}

fn one_by_one(http: &mut Http, prefix: &str, time: Duration, pause: Duration) -> Outcome<Vec<f64>> {
    let (began, mut micros) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        let request = http.request(&format!("{prefix}{}", micros.len()));
        let sent = Instant::now();
        http.stream.write_all(&request)?;
        let status = http.answer()?;
        if status != 200 {
            return Err(format!("status {status}").into());
        }
        micros.push(sent.elapsed().as_secs_f64() * 1e6);
        std::thread::sleep(pause);
    }
    Ok(micros)
}

/// As many decisions as come over many connections; gives how many had this status, and fails where none had.
fn many(
    address: SocketAddr,
    token: &str,
    prefix: &str,
    time: Duration,
    status: u16,
) -> Outcome<u64> {
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS {
        all.push(Http::connect(address, token)?);
    }
    let (began, mut number, mut counted) = (Instant::now(), 0_u64, 0);
    for http in &mut all {
        http.stream.write_all(&http.request(&format!("{prefix}{number}")))?;
        number += 1;
    }
    while began.elapsed() < time {
        for http in &mut all {
            counted += u64::from(http.answer()? == status);
            http.stream.write_all(&http.request(&format!("{prefix}{number}")))?;
            number += 1;
        }
    }
    for http in &mut all {
        counted += u64::from(http.answer()? == status);
    }
    if counted == 0 { Err(format!("no answer has status {status}").into()) } else { Ok(counted) }
}

/// The decisions of batches, one behind the other.
fn batches(address: SocketAddr, token: &str, time: Duration) -> Outcome<u64> {
    let (began, mut decided, mut number) = (Instant::now(), 0, 0_u64);
    while began.elapsed() < time {
        let mut http = Http::connect(address, token)?;
        let mut body = String::new();
        for _ in 0..BATCH {
            body.push_str(&payment(&format!("l{number}")).to_string());
            body.push('\n');
            number += 1;
        }
        let head = format!(
            "POST /v1/decisions:batch HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut sending = http.stream.try_clone()?;
        decided += std::thread::scope(|scope| -> Outcome<u64> {
            scope.spawn(move || {
                let sent = sending.write_all(head.as_bytes());
                sent.and_then(|()| sending.write_all(body.as_bytes()))
            });
            let mut text = String::new();
            http.reader.read_to_string(&mut text)?;
            Ok(text.matches("\"verdict\"").count() as u64)
        })?;
    }
    if decided == number { Ok(decided) } else { Err(format!("{decided} of {number}").into()) }
}

fn payment(id: &str) -> Value {
    json!({"transaction_id": id, "payer": PAYER, "payee": PAYEE, "amount_centavos": 1_234, "event_time_ns": now_ns()})
}

/// A connection to a gateway that is kept.
struct Http {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    head: String,
}

impl Http {
    fn connect(address: SocketAddr, token: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let reader = BufReader::new(stream.try_clone()?);
        let head = format!(
            "POST /v1/decisions HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        );
        Ok(Self { stream, reader, head })
    }

    fn request(&self, id: &str) -> Vec<u8> {
        let body = payment(id).to_string();
        format!("{}Content-Length: {}\r\n\r\n{body}", self.head, body.len()).into_bytes()
    }

    /// The status of the next answer, all of which is read.
    fn answer(&mut self) -> Outcome<u16> {
        let (mut line, mut status, mut length) = (String::new(), 0, 0);
        loop {
            line.clear();
            if self.reader.read_line(&mut line)? == 0 {
                return Err("the gateway closed the connection".into());
            }
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if status == 0 {
                status = text.split(' ').nth(1).ok_or("a status")?.parse()?;
            } else if let Some((name, value)) = text.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok(status)
    }
}

/// An issuer of tokens, whose keys can be fetched.
struct Issuer {
    address: SocketAddr,
    key: EncodingKey,
}

impl Issuer {
    fn start() -> Outcome<Self> {
        let key = rcgen::KeyPair::generate()?;
        let key = EncodingKey::from_ec_der(&key.serialize_der());
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
        jwk.common.key_id = Some("one".to_owned());
        let keys = json!({"keys": [jwk]}).to_string();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut request = [0; 4_096];
                // Whatever is asked for; a client that goes gets nothing.
                let _ = stream.read(&mut request);
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{keys}",
                    keys.len()
                );
            }
        });
        Ok(Self { address, key })
    }

    fn token(&self, client: &str) -> Outcome<String> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some("one".to_owned());
        let now_s = now_ns() / 1_000_000_000;
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": client, "client_id": client, "jti": client,
            "iat": now_s, "exp": now_s + 600, "scope": "decisions:write decisions:read",
        });
        Ok(encode(&header, &claims, &self.key)?)
    }
}

/// A running gateway; killed when dropped.
struct Gateway {
    process: Child,
    address: SocketAddr,
}

impl Gateway {
    fn start(path: &Path, node: &Node, issuer: &Issuer) -> Outcome<Self> {
        let file = path.join("gateway.toml");
        let text = format!(
            "oauth_issuer = \"{ISSUER}\"\noauth_audience = \"{AUDIENCE}\"\noauth_jwks_url = \"http://{}/jwks\"\n\
             [[clients]]\nid = \"calm\"\nname = \"calm\"\npermissions = [\"decisions:write\"]\n\
             decisions_per_second = 1000000\nconcurrent = 100000\n\
             [[clients]]\nid = \"flood\"\nname = \"flood\"\npermissions = [\"decisions:write\"]\n\
             decisions_per_second = {FLOOD_RATE}\n",
            issuer.address
        );
        fs::write(&file, text)?;
        let mut command = Command::new(program("catraca")?);
        command.args(["gateway", "--listen", "127.0.0.1:0", "--node", &node.client, "--config"]);
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let mut lines =
            BufReader::new(process.stderr.take().ok_or("standard error is piped")?).lines();
        let mut last = String::new();
        let address = loop {
            let Some(line) = lines.next().transpose()? else {
                return Err(format!("the gateway did not start: {last}").into());
            };
            let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
            if parsed["fields"]["message"] == "ready" {
                break parsed["fields"]["listen"].as_str().ok_or("an address")?.parse()?;
            }
            last = line;
        };
        std::thread::spawn(move || lines.for_each(drop));
        let gateway = Self { process, address };
        // Its connections to the node, and the issuer's keys.
        std::thread::sleep(Duration::from_secs(1));
        Ok(gateway)
    }

    /// Processor time that it has had, microseconds.
    fn cpu_us(&self) -> Outcome<f64> {
        cpu_us(self.process.id())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
