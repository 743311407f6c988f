//! Accepting connections: one loop a core, never cancelled, because a dropped accept can leak the
//! accepted descriptor.

use super::connection;
use super::core::Core;
use super::tls::Tls;
use crate::balancers::recorded;
use crate::channels::Handed;
use crate::mailbox::{Mailbox, any_message};
use crate::socket;
use catraca_core::shard::messages::Peer;
use catraca_wire::frame::{ErrorCode, ErrorFrame};
use futures::AsyncWriteExt;
use glommio::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Pause when the process has no descriptor left: others have to close first.
const BACK_OFF: Duration = Duration::from_millis(100);
/// What a refused connection is asked to wait, milliseconds.
const RETRY_MS: u32 = 1_000;

/// Glommio's listener over a socket that listens already.
pub(super) fn listener(socket: OwnedFd) -> TcpListener {
    // SAFETY: the descriptor is that of a listening socket, and is given away here: nobody else
    // closes it.
    unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) }
}

/// Accepts until the process ends. The listener is kept to the end.
pub(super) async fn accept(core: Rc<Core>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok(stream) => take(&core, stream).await,
            Err(_) if core.listening_ended.get() => std::future::pending().await,
            Err(error) => {
                if let Some(attempts) = core.channels.not_taken.count() {
                    tracing::warn!(%error, attempts, "a client's connection could not be taken; it waits: raise the limit of descriptors");
                }
                glommio::timer::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Takes connections over TLS, whose hands were shaken elsewhere, until the process ends.
pub(super) async fn take_handed(core: Rc<Core>) {
    let channels = Arc::clone(&core.channels);
    let handed = &channels.handed[core.shard_index];
    let others: [&Mailbox<()>; 0] = [];
    loop {
        any_message(handed, &others).await;
        while let Some(Handed { socket, end, peer }) = handed.pop() {
            // SAFETY: the descriptor is that of a connected socket, and is given away here: nobody else closes it.
            let stream = unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) };
            keep_alive(&stream);
            let id = core.shard.borrow_mut().connect(&peer, core.now());
            // Without a place the connection ends here: there is nobody to seal an answer.
            if let Some(id) = id.filter(|_| !core.listening_ended.get()) {
                connection::serve(&core, id, stream, None, Some(Tls::new(*end)));
            }
        }
    }
}

async fn take(core: &Rc<Core>, mut stream: TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    keep_alive(&stream);
    // Without one it is gone already.
    let address = stream.peer_addr().ok().map(|address| address.ip());
    let peer = Peer { remote: address.map_or([0; 16], recorded), ..Peer::default() };
    let balancer = address.filter(|&address| core.balancers.believes(address));
    let id = core.shard.borrow_mut().connect(&peer, core.now());
    match id {
        Some(id) => connection::serve(core, id, stream, balancer, None),
        None => {
            let detail = "the server has as many connections as it may";
            let error = ErrorFrame::new(0, ErrorCode::Overloaded, RETRY_MS, true, detail);
            // Fits any socket's buffer, so this does not wait; if it fails the peer is gone.
            let _ = stream.write_all(bytemuck::bytes_of(&error)).await;
            let _ = stream.close().await;
        }
    }
}

/// Has the kernel notice a peer that vanished without a word, within
/// [`limits::DEAD_PEER_AFTER`](catraca_core::limits::DEAD_PEER_AFTER).
fn keep_alive(stream: &TcpStream) {
    // SAFETY: the stream owns the descriptor and outlives this borrow of it.
    let fd = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    if let Err(error) = socket::keep_alive(fd) {
        tracing::debug!(%error, "keep-alive was refused");
    }
}
