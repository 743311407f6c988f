//! The fastest thing that speaks the protocol: welcomes everybody and approves every transaction, a
//! batch in, a batch out, on one core. Against it, a run shows what the load generator itself can
//! do:
//!
//! ```text
//! cargo run --release -p catraca-loadgen --example sink -- 127.0.0.1:7499 0 &
//! cargo run --release -p catraca-loadgen -- --addr 127.0.0.1:7499 --connections 4 --in-flight 512 --core 1
//! ```
//!
//! Arguments: address, core. It decides nothing, keeps nothing and checks nothing: no example of a
//! server otherwise.

use catraca_wire::frame::{HelloFrame, Role, SubmitFrame, Verdict, VerdictFrame, WelcomeFrame};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

const SUBMIT_LEN: usize = size_of::<SubmitFrame>();
/// Transactions read at once.
const BATCH: usize = 1024;
const IN_FLIGHT: u32 = 65_536;

struct Client {
    stream: TcpStream,
    received: Box<[u8]>,
    len: usize,
    replies: Box<[VerdictFrame]>,
    /// Bytes of replies to send, and how many of them went out.
    pending: (usize, usize),
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let addr = arguments.next().unwrap_or_else(|| "127.0.0.1:7499".to_owned());
    let core = arguments.next().and_then(|core| core.parse().ok()).unwrap_or(0);
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only)?;
    let listener = TcpListener::bind(&addr)?;
    listener.set_nonblocking(true)?;
    eprintln!("sink: {addr}, core {core}");
    let mut clients: Vec<Client> = Vec::new();
    let mut turn = 0u32;
    loop {
        turn = turn.wrapping_add(1);
        // Now and then only: an accept without a client costs as much as a read.
        if clients.is_empty() || turn.is_multiple_of(1024) {
            match listener.accept() {
                Ok((stream, _)) => clients.extend(welcome(stream)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if clients.is_empty() {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                }
                Err(e) => return Err(e),
            }
        }
        clients.retain_mut(|client| client.turn().is_ok());
    }
}

fn welcome(mut stream: TcpStream) -> std::io::Result<Client> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(false)?;
    stream.read_exact(&mut [0; size_of::<HelloFrame>()])?;
    let mut welcome = WelcomeFrame::empty(0);
    welcome.version = 1;
    welcome.role = Role::Primary.to_wire();
    welcome.in_flight = IN_FLIGHT.into();
    stream.write_all(bytemuck::bytes_of(&welcome))?;
    stream.set_nonblocking(true)?;
    let mut verdict = VerdictFrame::empty(0);
    verdict.answer.verdict = Verdict::Approve.to_wire();
    Ok(Client {
        stream,
        received: vec![0; BATCH * SUBMIT_LEN].into_boxed_slice(),
        len: 0,
        replies: vec![verdict; BATCH].into_boxed_slice(),
        pending: (0, 0),
    })
}

impl Client {
    fn turn(&mut self) -> std::io::Result<()> {
        if self.pending.1 < self.pending.0 {
            return self.flush();
        }
        match self.stream.read(&mut self.received[self.len..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => self.len += len,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
        let whole = self.len / SUBMIT_LEN;
        let frames: &[SubmitFrame] = bytemuck::cast_slice(&self.received[..whole * SUBMIT_LEN]);
        for (frame, reply) in frames.iter().zip(&mut self.replies) {
            reply.header.correlation = frame.header.correlation;
        }
        self.received.copy_within(whole * SUBMIT_LEN..self.len, 0);
        self.len -= whole * SUBMIT_LEN;
        self.pending = (whole * size_of::<VerdictFrame>(), 0);
        self.flush()
    }

    fn flush(&mut self) -> std::io::Result<()> {
        while self.pending.1 < self.pending.0 {
            let bytes: &[u8] = bytemuck::cast_slice(&self.replies);
            match self.stream.write(&bytes[self.pending.1..self.pending.0]) {
                Ok(len) => self.pending.1 += len,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
