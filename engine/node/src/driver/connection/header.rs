//! The PROXY header of a connection from a load balancer, before anything else on it is read.

use super::{Connection, feed};
use crate::balancers::recorded;
use crate::driver::core::Core;
use catraca_tls::proxied::{self, Header, MAX_HEADER_LEN, Refused};
use futures::io::AsyncRead as _;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;

/// Takes the header, and has the shard take what came with it; `false` where the connection ends here. The time is that of
/// the HELLO, which is behind it; the bytes that are held are at most [`MAX_HEADER_LEN`].
pub(super) async fn take(core: &Core, connection: &Connection, balancer: IpAddr) -> bool {
    let mut held = Vec::new();
    let header = match whole(core, connection, &mut held).await {
        Ok(header) => header,
        Err(why) => {
            core.balancers.refuse(balancer, why);
            return false;
        }
    };
    let received_ns = core.mono_ns();
    if let Some(source) = header.source {
        tracing::debug!(%balancer, %source, "a connection through a load balancer");
        core.shard.borrow_mut().set_remote(connection.id, recorded(source));
    }
    if held.len() > header.len {
        feed(core, connection.id, &held[header.len..], received_ns);
        core.after_work();
    }
    true
}

/// Reads until there is a header, and whatever is behind it.
async fn whole(
    core: &Core,
    connection: &Connection,
    held: &mut Vec<u8>,
) -> Result<Header, Refused> {
    loop {
        // So many bytes are a header, or none: there always is room for one more.
        let room = MAX_HEADER_LEN - held.len();
        let read = poll_fn(|context| {
            let mut buffer = core.read_buffer.borrow_mut();
            Pin::new(&mut *connection.stream.borrow_mut()).poll_read(context, &mut buffer[..room])
        });
        let Ok(len @ 1..) = read.await else {
            // Who has not said HELLO in time is closed by the shard.
            let is_late = connection.closed.get();
            return Err(if is_late { Refused::Slow } else { Refused::Torn });
        };
        // Nothing gives way between the read and here, so the shared buffer still holds them.
        held.extend_from_slice(&core.read_buffer.borrow()[..len]);
        if let Some(header) = proxied::read(held)? {
            return Ok(header);
        }
    }
}
