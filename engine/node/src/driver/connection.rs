//! One client connection: a task that reads and a task that writes, both as long-lived as the
//! connection.

mod header;

use super::broadcast;
use super::core::Core;
use super::event::Event;
use super::tls::{OVERHEAD_LEN, Tls};
use super::yield_to_reactor;
use catraca_core::limits::{READ_BUFFER_LEN, UNREAD_TIMEOUT};
use catraca_core::shard::messages::ConnectionId;
use catraca_wire::frame::{FixedFrame, SubmitFrame};
use futures::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;

/// SUBMITs handed to the shard between two readings of the clock: the reading costs nothing beside
/// them, and the stages stay apart.
const CLOCKED_CHUNK: usize = 64 * SubmitFrame::LEN;

pub(super) struct Connection {
    id: ConnectionId,
    /// Borrowed only within one poll of the reading or the writing task.
    stream: RefCell<TcpStream>,
    /// What seals and opens; none where bytes go as they are.
    tls: Option<Tls>,
    /// There is output, or the connection is to be closed.
    pub output: Event,
    /// Reading may go on.
    readable: Event,
    /// The peer has said all it will say.
    peer_done: Cell<bool>,
    closed: Cell<bool>,
}

/// Serves an accepted connection that the shard knows as `id`. One from a load balancer at
/// `balancer` begins with a PROXY header; with `tls` hands were shaken, and that is over.
pub(super) fn serve(
    core: &Rc<Core>,
    id: ConnectionId,
    stream: TcpStream,
    balancer: Option<IpAddr>,
    tls: Option<Tls>,
) {
    let connection = Rc::new(Connection {
        id,
        stream: RefCell::new(stream),
        tls,
        output: Event::default(),
        readable: Event::default(),
        peer_done: Cell::new(false),
        closed: Cell::new(false),
    });
    let slot = id.slot as usize;
    {
        let mut connections = core.connections.borrow_mut();
        if connections.len() <= slot {
            connections.resize_with(slot + 1, || None);
        }
        connections[slot] = Some(Rc::clone(&connection));
    }
    glommio::spawn_local(read(Rc::clone(core), Rc::clone(&connection), balancer)).detach();
    glommio::spawn_local(write(Rc::clone(core), connection)).detach();
}

async fn read(core: Rc<Core>, connection: Rc<Connection>, balancer: Option<IpAddr>) {
    let id = connection.id;
    let mut is_over = match balancer {
        // In memory of its own, which few connections need, and for no longer than that.
        Some(balancer) => !Box::pin(header::take(&core, &connection, balancer)).await,
        // Behind the handshake there may lie requests already.
        None => connection.tls.is_some() && !open(&core, &connection, &[], core.mono_ns()),
    };
    while !connection.closed.get() && !is_over {
        let allowance = core.shard.borrow().read_allowance(id);
        if allowance == 0 {
            // Flow control: wait until answers have gone out, then first take what was kept.
            connection.readable.wait().await;
            let received_ns = core.mono_ns();
            feed(&core, id, &[], received_ns);
            core.after_work();
            continue;
        }
        if connection.tls.is_some() {
            is_over = !read_sealed(&core, &connection, allowance + OVERHEAD_LEN).await;
            continue;
        }
        let read = poll_fn(|context| {
            let mut buffer = core.read_buffer.borrow_mut();
            Pin::new(&mut *connection.stream.borrow_mut())
                .poll_read(context, &mut buffer[..allowance])
        })
        .await;
        let Ok(len @ 1..) = read else { break };
        let received_ns = core.mono_ns();
        // Nothing gives way between the read and here, so the shared buffer still holds these
        // bytes.
        for chunk in core.read_buffer.borrow()[..len].chunks(CLOCKED_CHUNK) {
            feed(&core, id, chunk, received_ns);
            // A long batch must not keep the disk idle, nor durable answers waiting.
            if core.disk().has_written() {
                core.disk().progress(&core);
            }
        }
        core.after_work();
        // A socket that always has data never waits by itself. One that had less than was asked for
        // does: the next read waits for a poll.
        if len == allowance {
            yield_to_reactor().await;
        }
    }
    connection.peer_done.set(true);
    connection.output.set();
}

/// Reads up to so many sealed bytes, and takes what is in them; `false` where nothing more comes.
async fn read_sealed(core: &Core, connection: &Connection, most: usize) -> bool {
    let read = poll_fn(|context| {
        let mut buffer = core.sealed_buffer.borrow_mut();
        if buffer.is_empty() {
            buffer.resize(READ_BUFFER_LEN + OVERHEAD_LEN, 0);
        }
        let most = most.min(buffer.len());
        Pin::new(&mut *connection.stream.borrow_mut()).poll_read(context, &mut buffer[..most])
    })
    .await;
    let Ok(len @ 1..) = read else { return false };
    let received_ns = core.mono_ns();
    // Nothing gives way between the read and here.
    let sealed = std::mem::take(&mut *core.sealed_buffer.borrow_mut());
    let goes_on = open(core, connection, &sealed[..len], received_ns);
    *core.sealed_buffer.borrow_mut() = sealed;
    core.after_work();
    if len == most {
        yield_to_reactor().await;
    }
    goes_on
}

/// Opens sealed bytes, and has the shard take what is in them; `false` where nothing more comes.
fn open(core: &Core, connection: &Connection, sealed: &[u8], received_ns: u64) -> bool {
    let Some(tls) = &connection.tls else { return true };
    let opened = {
        let mut buffer = core.read_buffer.borrow_mut();
        tls.open(sealed, &mut buffer[..], |bytes| {
            for chunk in bytes.chunks(CLOCKED_CHUNK) {
                feed(core, connection.id, chunk, received_ns);
                if core.disk().has_written() {
                    core.disk().progress(core);
                }
            }
        })
    };
    if tls.has_output() {
        connection.output.set();
    }
    opened.is_ok()
}

fn feed(core: &Core, id: ConnectionId, bytes: &[u8], received_ns: u64) {
    let mut shard = core.shard.borrow_mut();
    broadcast::take(core, &mut shard);
    shard.receive(id, bytes, received_ns, core.now());
    broadcast::deliver(core, &mut shard);
    shard.date_decisions(core.mono_ns());
}

async fn write(core: Rc<Core>, connection: Rc<Connection>) {
    let id = connection.id;
    // A peer that takes nothing for this long is gone or hostile.
    let _ = connection.stream.borrow().set_write_timeout(Some(UNREAD_TIMEOUT));
    let (mut bytes, mut sealed) = (Vec::new(), Vec::new());
    'open: loop {
        connection.output.wait().await;
        loop {
            let closing = core.shard.borrow_mut().take_output(id, &mut bytes);
            if let Some(tls) = &connection.tls {
                tls.seal(&bytes, &mut sealed);
                std::mem::swap(&mut bytes, &mut sealed);
                sealed.clear();
            }
            if bytes.is_empty() {
                let done = connection.peer_done.get() && core.shard.borrow().is_settled(id);
                if closing || done {
                    break 'open;
                }
                break;
            }
            let mut sent = 0;
            while sent < bytes.len() {
                let write = poll_fn(|context| {
                    Pin::new(&mut *connection.stream.borrow_mut())
                        .poll_write(context, &bytes[sent..])
                });
                match write.await {
                    Ok(len @ 1..) => sent += len,
                    _ => break 'open,
                }
            }
            bytes.clear();
        }
        connection.readable.set();
    }
    if let Some(tls) = &connection.tls {
        sealed.clear();
        tls.seal_end(&mut sealed);
        // Fits any socket's buffer that is not full; a peer that is gone needs no last word.
        let last_word = poll_fn(|context| {
            Pin::new(&mut *connection.stream.borrow_mut()).poll_write(context, &sealed)
        });
        let _ = last_word.await;
    }
    close(&core, &connection);
}

/// Closes for good: the only place where a connection ends.
fn close(core: &Core, connection: &Connection) {
    connection.closed.set(true);
    core.shard.borrow_mut().disconnect(connection.id);
    core.connections.borrow_mut()[connection.id.slot as usize] = None;
    let stream = connection.stream.borrow();
    // SAFETY: the stream owns the descriptor, and `stream` keeps it from being closed until the end
    // of this function, past the last use.
    let fd = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    // Ends the reading task's poll, if it waits in one; an error means that the peer was faster.
    let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Both);
    connection.readable.set();
}
