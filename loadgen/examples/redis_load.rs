//! The same job on Redis, for `scripts/bench-peers.sh`: the same transactions, drawn by the same
//! generator, in the same kind of loop (one pinned thread, epoll, one write for all that one read
//! allows), verdicts checked. Speaks just enough of Redis's protocol.
//!
//! ```text
//! redis_load --addr 127.0.0.1:6379 --list million.csv --load          fill the set of listed documents
//! redis_load --addr 127.0.0.1:6379 --list million.csv --connections 4 --in-flight 512 --seconds 10 --core 1
//! ```
//!
//! The script does what a decision of catraca does: it looks payer and payee up, keeps the verdict
//! under the transaction's id unless there is one already (which it then answers), and appends the
//! transaction with its verdict to a stream. The stream is kept to about a million entries, so that
//! memory is not what is measured.

use catraca_loadgen::documents::Documents;
use catraca_loadgen::list::List;
use catraca_loadgen::report::Percentiles;
use catraca_loadgen::transactions::{Transactions, template, write};
use catraca_wire::frame::SubmitFrame;
use clap::Parser;
use hdrhistogram::Histogram;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustix::event::epoll;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SCRIPT: &str = "local verdict = 1 \
    if redis.call('SISMEMBER', 'listed', ARGV[1]) == 1 then verdict = 3 end \
    if redis.call('SISMEMBER', 'listed', ARGV[2]) == 1 then verdict = 3 end \
    if not redis.call('SET', KEYS[1], verdict, 'NX') then return tonumber(redis.call('GET', KEYS[1])) end \
    redis.call('XADD', 'log', 'MAXLEN', '~', '1000000', '*', 't', ARGV[3], 'v', verdict) \
    return verdict";
/// Documents in one SADD while loading.
const LOAD_BATCH: usize = 1_000;
/// Bytes of a SUBMIT frame before the transaction.
const HEADER_LEN: usize = 16;
/// A reply: `:1\r\n` or `:3\r\n`.
const REPLY_LEN: usize = 4;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    addr: String,
    /// Documents that are listed, as for catraca-loadgen.
    #[arg(long)]
    list: PathBuf,
    /// Fill the set of listed documents, and end.
    #[arg(long)]
    load: bool,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    #[arg(long, default_value_t = 1)]
    in_flight: usize,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    #[arg(long, default_value_t = 0.01)]
    listed_share: f64,
    #[arg(long, default_value_t = 1)]
    core: usize,
}

struct Connection {
    stream: TcpStream,
    /// When each unanswered transaction was sent, and whether it must be denied; replies come in
    /// order.
    sent: VecDeque<(u64, bool)>,
    out: Vec<u8>,
    written: usize,
    left: Vec<u8>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let list = List::read(&args.list, jiff::Zoned::now().date()).map_err(Error::other)?;
    if args.load {
        return load(&args.addr, &list);
    }
    let mut only = CpuSet::new();
    only.set(args.core);
    sched_setaffinity(None, &only)?;
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let mut rng = SmallRng::seed_from_u64(1);
    let documents = Documents::generate(100_000, &list, &mut rng).map_err(Error::other)?;
    let mut transactions = Transactions::new(documents, rng, args.listed_share, 0.0);
    let wall_ns =
        || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64;
    let mut frame = template(wall_ns() ^ u64::from(std::process::id()).rotate_left(48));

    let sha = bulk_reply(
        &mut TcpStream::connect(&args.addr)?,
        &command(&[b"SCRIPT", b"LOAD", SCRIPT.as_bytes()]),
    )?;
    let command = Command::new(&sha);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = Vec::new();
    for index in 0..args.connections {
        let stream = TcpStream::connect(&args.addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(&poll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        connections.push(Connection {
            stream,
            sent: VecDeque::new(),
            out: Vec::new(),
            written: 0,
            left: Vec::new(),
        });
    }
    let origin = Instant::now();
    let now_ns = || origin.elapsed().as_nanos() as u64;
    let (warm_ns, end_ns) =
        ((args.warmup * 1e9) as u64, ((args.warmup + args.seconds) * 1e9) as u64);
    let mut latency =
        Histogram::<u64>::new_with_bounds(1, 120_000_000_000, 3).map_err(Error::other)?;
    let (mut answered, mut wrong, mut deny, mut last_ns) = (0u64, 0u64, 0u64, warm_ns);
    let mut buffer = vec![0; 128 * 1024].into_boxed_slice();
    let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
    let mut refill = |connection: &mut Connection, at_ns: u64, event_time_ns: u64| {
        while connection.sent.len() < args.in_flight {
            let (transaction, parties) = transactions.draw(event_time_ns);
            write(&mut frame, &transaction, &parties, 0);
            command.append(&mut connection.out, &frame);
            connection.sent.push_back((at_ns, transactions.is_listed(&transaction)));
        }
    };
    for connection in &mut connections {
        refill(connection, now_ns(), wall_ns());
        connection.flush()?;
    }
    loop {
        let sending = now_ns() < end_ns;
        if !sending && connections.iter().all(|c| c.sent.is_empty()) {
            break;
        }
        events.clear();
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        // Short only while something is unwritten: then nobody tells when the socket takes more.
        let timeout = connections.iter().any(|c| !c.out.is_empty()).then_some(&timeout);
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for connection in connections.iter_mut().filter(|c| !c.out.is_empty()) {
            connection.flush()?;
        }
        for event in &events {
            let data = event.data;
            let connection = &mut connections[data.u64() as usize];
            let len = match connection.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e),
            };
            connection.left.extend_from_slice(&buffer[..len]);
            let at_ns = now_ns();
            let whole = connection.left.len() / REPLY_LEN * REPLY_LEN;
            for reply in connection.left[..whole].chunks_exact(REPLY_LEN) {
                let (sent_ns, listed) =
                    connection.sent.pop_front().ok_or_else(|| Error::other("a reply too many"))?;
                let denied = match reply {
                    b":1\r\n" => false,
                    b":3\r\n" => true,
                    _ => {
                        return Err(Error::other(
                            String::from_utf8_lossy(&connection.left).into_owned(),
                        ));
                    }
                };
                wrong += u64::from(denied != listed);
                if sent_ns >= warm_ns {
                    answered += 1;
                    deny += u64::from(denied);
                    last_ns = at_ns;
                    latency.saturating_record(at_ns - sent_ns);
                }
            }
            connection.left.drain(..whole);
            if sending {
                refill(connection, now_ns(), wall_ns());
                connection.flush()?;
            }
        }
    }
    let seconds = (last_ns.max(end_ns) - warm_ns) as f64 / 1e9;
    let report = serde_json::json!({
        "target": args.addr, "connections": args.connections, "in_flight": args.in_flight, "seconds": seconds, "answered": answered,
        "verdicts": { "approve": answered - deny, "deny": deny }, "violations": { "wrong_verdict": wrong },
        "throughput_per_s": answered as f64 / seconds, "latency_us": Percentiles::of(&latency),
    });
    println!("{report:#}");
    if wrong > 0 { Err(Error::other(format!("{wrong} wrong verdicts"))) } else { Ok(()) }
}

impl Connection {
    fn flush(&mut self) -> Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(len) => self.written += len,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }
}

/// An EVALSHA with room for one transaction; all of them have one length.
struct Command {
    bytes: Vec<u8>,
    id: usize,
    payer: usize,
    payee: usize,
    payload: usize,
}

impl Command {
    fn new(sha: &[u8]) -> Self {
        let (id, document, payload) =
            ([b'i'; 32], [b'd'; 14], [b'p'; size_of::<SubmitFrame>() - HEADER_LEN]);
        let bytes = command(&[b"EVALSHA", sha, b"1", &id, &document, &document, &payload]);
        let find = |what: &[u8], from: usize| {
            from + bytes[from..]
                .windows(what.len())
                .position(|w| w == what)
                .expect("it was put there just now")
        };
        let id_at = find(&id, 0);
        let payer = find(&document, id_at + id.len());
        let payee = find(&document, payer + document.len());
        let payload = find(&payload, payee + document.len());
        Self { id: id_at, payer, payee, payload, bytes }
    }

    fn append(&self, out: &mut Vec<u8>, frame: &SubmitFrame) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let command = &mut out[start..];
        let transaction = &frame.transaction;
        command[self.id..self.id + 32].copy_from_slice(&transaction.id);
        command[self.payer..self.payer + 14].copy_from_slice(&transaction.payer);
        command[self.payee..self.payee + 14].copy_from_slice(&transaction.payee);
        let bytes = &bytemuck::bytes_of(frame)[HEADER_LEN..];
        command[self.payload..self.payload + bytes.len()].copy_from_slice(bytes);
    }
}

/// A command in Redis's protocol.
fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Sends a command and takes a reply of one line, or of one line and a text.
fn bulk_reply(stream: &mut TcpStream, command: &[u8]) -> Result<Vec<u8>> {
    stream.write_all(command)?;
    let line = |stream: &mut TcpStream| -> Result<Vec<u8>> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        Ok(line)
    };
    let first = line(stream)?;
    match first.first() {
        Some(b'$') => line(stream),
        Some(b'-') => Err(Error::other(String::from_utf8_lossy(&first).into_owned())),
        _ => Ok(first.get(1..).unwrap_or_default().to_vec()),
    }
}

fn load(addr: &str, list: &List) -> Result<()> {
    let mut stream = TcpStream::connect(addr)?;
    for batch in list.listed().chunks(LOAD_BATCH) {
        let documents: Vec<_> = batch.iter().map(|key| key.to_wire()).collect();
        let parts: Vec<&[u8]> = [b"SADD".as_slice(), b"listed"]
            .into_iter()
            .chain(documents.iter().map(|d| d.as_slice()))
            .collect();
        bulk_reply(&mut stream, &command(&parts))?;
    }
    let members = bulk_reply(&mut stream, &command(&[b"SCARD", b"listed"]))?;
    println!("{} documents listed", String::from_utf8_lossy(&members));
    Ok(())
}
