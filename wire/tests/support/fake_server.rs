//! A server for tests of the client: each connection is handled by the next script, which reads and
//! writes frames as it likes.

use catraca_wire::client::ClientOptions;
use catraca_wire::frame::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// What one connection does.
pub type Script = Box<dyn FnOnce(Peer) + Send>;

/// A listener with a script for each connection, in order; connections beyond them are refused.
pub struct FakeServer {
    pub address: String,
    thread: JoinHandle<()>,
}

impl FakeServer {
    pub fn start(scripts: Vec<Script>) -> Self {
        Self::start_at("127.0.0.1:0", scripts)
    }

    /// The same at an address, where a server was before.
    pub fn start_at(address: &str, scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind(address).expect("loopback has a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let thread = std::thread::spawn(move || {
            for script in scripts {
                let (stream, _) = listener.accept().expect("the client connects");
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
                script(Peer { stream });
            }
        });
        Self { address, thread }
    }

    /// Waits for the last script, and fails where one failed.
    pub fn finish(self) {
        self.thread.join().expect("every script held");
    }
}

/// The server's end of a connection.
pub struct Peer {
    pub stream: TcpStream,
}

impl Peer {
    /// The next request; `None` when the client has gone.
    pub fn read(&mut self) -> Option<Vec<u8>> {
        let mut frame = vec![0; HEADER_LEN];
        self.stream.read_exact(&mut frame).ok()?;
        let len = u32::from_le_bytes(frame[..4].try_into().expect("four bytes")) as usize;
        assert!((HEADER_LEN..=MAX_REQUEST_LEN).contains(&len), "a request of {len} bytes");
        frame.resize(len, 0);
        self.stream.read_exact(&mut frame[HEADER_LEN..]).ok()?;
        Some(frame)
    }

    /// Reads HELLO, answers WELCOME, and gives the HELLO.
    pub fn welcome(&mut self, in_flight: u32) -> HelloFrame {
        self.welcome_as(Role::Primary, "", in_flight)
    }

    /// The same as a node of this role that names `primary`.
    pub fn welcome_as(&mut self, role: Role, primary: &str, in_flight: u32) -> HelloFrame {
        let frame = self.read().expect("a HELLO");
        let hello = *view::<HelloFrame>(&frame).expect("HELLO's length");
        assert_eq!(frame[4], FrameKind::Hello.to_wire());
        let mut welcome = WelcomeFrame::empty(hello.header.correlation.to_native());
        welcome.version = PROTOCOL_VERSION;
        welcome.role = role.to_wire();
        fill(&mut welcome.primary, primary);
        welcome.durability = Durability::Single.to_wire();
        welcome.shards = 1.into();
        welcome.max_frame = (MAX_REQUEST_LEN as u32).into();
        welcome.in_flight = in_flight.into();
        self.write(bytemuck::bytes_of(&welcome));
        hello
    }

    /// The next request, which must be a SUBMIT.
    pub fn submit(&mut self) -> SubmitFrame {
        let frame = self.read().expect("a SUBMIT");
        assert_eq!(frame[4], FrameKind::Submit.to_wire());
        *view::<SubmitFrame>(&frame).expect("SUBMIT's length")
    }

    /// Writes, whatever becomes of it.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Answers a SUBMIT.
    pub fn verdict(&mut self, submit: &SubmitFrame, verdict: Verdict, flags: u8) {
        self.write(&verdict_frame(submit, verdict, flags));
    }

    /// Answers anything with ERROR.
    pub fn error(&mut self, correlation: u64, code: ErrorCode, retry_after_ms: u32, closing: bool) {
        self.write(bytemuck::bytes_of(&ErrorFrame::new(
            correlation,
            code,
            retry_after_ms,
            closing,
            "a reason",
        )));
    }
}

/// A VERDICT for a SUBMIT; its `lsn` is the amount, so that a test can tell whose answer it is.
pub fn verdict_frame(submit: &SubmitFrame, verdict: Verdict, flags: u8) -> Vec<u8> {
    let mut frame = VerdictFrame::empty(submit.header.correlation.to_native());
    frame.answer.verdict = verdict.to_wire();
    frame.answer.flags = flags;
    frame.answer.lsn = submit.transaction.amount_centavos.to_native().cast_unsigned().into();
    bytemuck::bytes_of(&frame).to_vec()
}

/// A script, boxed.
pub fn script(script: impl FnOnce(Peer) + Send + 'static) -> Script {
    Box::new(script)
}

/// Options for this server that reconnect quickly.
pub fn options(server: &FakeServer) -> ClientOptions {
    ClientOptions {
        reconnect_base_ms: 1,
        reconnect_max_ms: 4,
        ..ClientOptions::new(&server.address)
    }
}

/// A transaction that its amount tells from others.
pub fn transaction(amount_centavos: i64) -> Transaction {
    Transaction::pix(
        &format!("order-{amount_centavos}"),
        "04933228680",
        "12ABC34501DE35",
        amount_centavos,
        7,
    )
    .expect("valid")
}
