//! A gateway as a process of its own, and a small HTTP client that speaks to it.

use crate::command;
use crate::node::{Process, free_address};
use catraca_wire::frame::{Transaction, text_of};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

/// Longest wait for an answer over HTTP: a budget, its grace, and a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running gateway.
pub struct Gateway {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// The process.
    pub process: Process,
}

/// The command that starts a gateway to these nodes, on a free port.
pub fn command(nodes: &[String]) -> Command {
    let mut command = command::command();
    command.args(["gateway", "--listen", &free_address().to_string()]);
    for node in nodes {
        command.args(["--node", node]);
    }
    // Everything that it could say of somebody.
    command.env("CATRACA_GATEWAY_LOG_LEVEL", "debug");
    command
}

impl Gateway {
    /// Starts one, and waits until it serves.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn start(nodes: &[String]) -> Self {
        Self::of(&mut command(nodes))
    }

    /// The gateway that this command starts, once it serves.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn of(command: &mut Command) -> Self {
        let process = Process::spawn(command);
        let ready = process.wait_for_line("ready", |line| line["fields"]["message"] == "ready");
        let listen = ready["fields"]["listen"].as_str().and_then(|text| text.parse().ok());
        Self { listen: listen.expect("the ready line has the address"), process }
    }

    /// A connection to it.
    ///
    /// # Panics
    /// When there is none to be had.
    pub fn connect(&self) -> Http {
        Http::connect(self.listen).expect("the gateway takes connections")
    }

    /// Stops it as an operator would; it must end with status 0. Gives what it had written.
    ///
    /// # Panics
    /// When it ends in another way.
    pub fn stop(mut self) -> String {
        self.process.signal(Signal::TERM);
        let status = self.process.wait();
        assert_eq!(status.code(), Some(0), "{}", self.process.stderr());
        self.process.stderr()
    }
}

/// A payment as the body of a request.
pub fn body(transaction: &Transaction) -> Value {
    json!({
        "transaction_id": text_of(&transaction.id),
        "payer": text_of(&transaction.payer),
        "payee": text_of(&transaction.payee),
        "amount_centavos": transaction.amount_centavos,
        "event_time_ns": transaction.event_time_ns,
        "rail": "pix",
    })
}

/// The head of a request with many transactions, as lines; `length` is the field that says where they end.
pub fn batch_head(length: &str) -> String {
    format!(
        "POST /v1/decisions:batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n{length}\r\n\r\n"
    )
}

/// A connection whose answers are waited for so long and no longer.
///
/// # Errors
/// Those of the system.
pub fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What HTTP is spoken over.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A connection over HTTP/1.1 that is kept.
pub struct Http {
    stream: BufReader<Box<dyn Stream>>,
}

impl Http {
    /// Connects.
    ///
    /// # Errors
    /// Those of the system.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(tcp(address)?))
    }

    /// Speaks over this.
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: BufReader::new(Box::new(stream)) }
    }

    /// Asks for a decision: status and body.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn decide(&mut self, body: &Value) -> io::Result<(u16, Value)> {
        self.decide_with(body, "")
    }

    /// The same with these header fields besides, each with its line end.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn decide_with(&mut self, body: &Value, fields: &str) -> io::Result<(u16, Value)> {
        self.post("/v1/decisions", body, fields)
    }

    /// Sends a body to a path, with these header fields besides.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn post(&mut self, path: &str, body: &Value, fields: &str) -> io::Result<(u16, Value)> {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{fields}\r\n",
            body.len()
        );
        self.stream.get_mut().write_all((head + &body).as_bytes())?;
        self.answer()
    }

    /// Fetches a path.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn get(&mut self, path: &str) -> io::Result<(u16, Value)> {
        self.get_with(path, "")
    }

    /// The same with these header fields besides, each with its line end.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn get_with(&mut self, path: &str, fields: &str) -> io::Result<(u16, Value)> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        self.stream.get_mut().write_all(head.as_bytes())?;
        self.answer()
    }

    /// Sends transactions as lines and asks for the answers, which come as chunks.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn batch(&mut self, lines: &str) -> io::Result<(u16, Vec<Value>)> {
        let len = lines.len();
        self.stream
            .get_mut()
            .write_all((batch_head(&format!("Content-Length: {len}")) + lines).as_bytes())?;
        let mut answers = Vec::new();
        let status = self.answers(|answer| answers.push(answer))?;
        Ok((status, answers))
    }

    /// Gives each line of an answer in chunks; its status.
    ///
    /// # Errors
    /// Those of the connection, and where it is not in chunks.
    pub fn answers(&mut self, mut each: impl FnMut(Value)) -> io::Result<u16> {
        let wrong = |what: &str| io::Error::other(what.to_owned());
        let (status, len) = self.head()?;
        if len.is_some() {
            return Err(wrong(&format!("status {status}, and no chunks")));
        }
        let mut rest = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let len = usize::from_str_radix(line.trim_end(), 16).map_err(|_| wrong("no chunk"))?;
            let mut chunk = vec![0; len + 2];
            self.stream.read_exact(&mut chunk)?;
            if len == 0 {
                return if rest.is_empty() { Ok(status) } else { Err(wrong("half a line")) };
            }
            rest.extend_from_slice(&chunk[..len]);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                each(serde_json::from_slice(&line)?);
            }
        }
    }

    /// Status and body; a body that is no JSON is text.
    fn answer(&mut self) -> io::Result<(u16, Value)> {
        let (status, len) = self.head()?;
        let mut body = vec![0; len.unwrap_or(0)];
        self.stream.read_exact(&mut body)?;
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        Ok((status, serde_json::from_slice(&body).unwrap_or_else(|_| text())))
    }

    /// Status, and length of the body where it is said.
    fn head(&mut self) -> io::Result<(u16, Option<usize>)> {
        let wrong = |what: &str| io::Error::other(what.to_owned());
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| wrong("no status"))?;
        let mut len = None;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let field = line.trim_end().to_lowercase();
            if field.is_empty() {
                return Ok((status, len));
            }
            if let Some(value) = field.strip_prefix("content-length:") {
                len = Some(value.trim().parse().map_err(|_| wrong("no length"))?);
            }
        }
    }
}
