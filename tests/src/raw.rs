//! A connection byte by byte: for what no sound client would send, and for looking at exactly what
//! comes back.

use bytemuck::Pod;
use catraca_wire::frame::{
    ErrorCode, ErrorFrame, FLAG_CLOSING, FixedFrame, FrameKind, HEADER_LEN, HeaderFields,
    HelloFrame, MAX_REPLY_LEN, WelcomeFrame, fill, view,
};
use rustix::net::{self, AddressFamily, SocketType};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for a reply; more than any time-out of the server's.
const PATIENCE: Duration = Duration::from_secs(30);

/// A whole frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply(pub Vec<u8>);

impl Reply {
    /// Its header.
    ///
    /// # Panics
    /// Never: a reply has at least a header.
    pub fn header(&self) -> &HeaderFields {
        view(&self.0[..HEADER_LEN]).expect("a reply has a header")
    }

    /// Its kind.
    ///
    /// # Panics
    /// When the server sent a kind that does not exist.
    pub fn kind(&self) -> FrameKind {
        FrameKind::from_wire(self.header().kind).expect("servers send known kinds")
    }

    /// The correlation.
    pub fn correlation(&self) -> u64 {
        self.header().correlation.to_native()
    }

    /// As a frame of this type, if it is one.
    pub fn get<F: FixedFrame + Pod>(&self) -> Option<&F> {
        (self.kind() == F::KIND).then(|| view(&self.0)).flatten()
    }

    /// As an ERROR: its code, and whether the server closes behind it.
    pub fn error(&self) -> Option<(ErrorCode, bool)> {
        let frame = self.get::<ErrorFrame>()?;
        let closing = frame.header.flags.to_native() & FLAG_CLOSING != 0;
        Some((ErrorCode::from_wire(frame.code.to_native())?, closing))
    }
}

/// A connection.
#[derive(Debug)]
pub struct Raw(pub TcpStream);

impl Raw {
    /// Connects, and says nothing yet.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// The same from another address of this machine.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<Self> {
        Self::over(stream_from(source, address)?)
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Connects and shakes hands.
    ///
    /// # Panics
    /// When the server does not welcome.
    pub fn open(address: SocketAddr) -> Self {
        let mut raw = Self::connect(address).expect("the node takes connections");
        raw.send(&hello("")).expect("HELLO goes out");
        let reply = raw.receive().expect("an answer to HELLO").expect("an answer to HELLO");
        assert!(reply.get::<WelcomeFrame>().is_some(), "{:?}", reply.error());
        raw
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn send<F: Pod>(&mut self, frame: &F) -> io::Result<()> {
        self.send_bytes(bytemuck::bytes_of(frame))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// The next frame; `None` when the server has closed.
    ///
    /// # Errors
    /// Those of the connection, and `InvalidData` for a length that no reply has.
    pub fn receive(&mut self) -> io::Result<Option<Reply>> {
        let mut bytes = vec![0; HEADER_LEN];
        match self.0.read(&mut bytes)? {
            0 => return Ok(None),
            read => self.0.read_exact(&mut bytes[read..])?,
        }
        let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if !(HEADER_LEN..=MAX_REPLY_LEN).contains(&length) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a reply of {length} bytes"),
            ));
        }
        bytes.resize(length, 0);
        self.0.read_exact(&mut bytes[HEADER_LEN..])?;
        Ok(Some(Reply(bytes)))
    }

    /// Sends a frame and waits for the next reply.
    ///
    /// # Panics
    /// When none comes.
    pub fn ask<F: Pod>(&mut self, frame: &F) -> Reply {
        self.send(frame).expect("the connection takes the frame");
        self.receive().expect("a reply").expect("a reply, not the end")
    }

    /// Reads until the server closes; gives the frames that came before.
    ///
    /// # Panics
    /// When the connection stays open.
    pub fn rest(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        loop {
            match self.receive() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => return replies,
                // Closed with bytes of ours unread: the same end, told differently.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return replies,
                Err(error) => panic!("the server did not close: {error}"),
            }
        }
    }
}

/// A connection from another address of this machine.
///
/// # Errors
/// Those of the connection.
pub fn stream_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    net::bind(&socket, &SocketAddr::from((source, 0)))?;
    net::connect(&socket, &address)?;
    Ok(TcpStream::from(socket))
}

/// A HELLO with this credential.
pub fn hello(credential: &str) -> HelloFrame {
    let mut frame = HelloFrame::empty(0);
    frame.version_min = 1;
    frame.version_max = 1;
    frame.credential_len =
        u8::try_from(credential.len()).expect("a credential of at most 64 bytes");
    fill(&mut frame.credential, credential);
    frame
}

/// A HELLO of somebody with this name, which the audit trail has as the subject.
pub fn hello_of(name: &str) -> HelloFrame {
    let mut frame = hello("");
    frame.client_name_len = u8::try_from(name.len()).expect("a name of at most 40 bytes");
    fill(&mut frame.client_name, name);
    frame
}
