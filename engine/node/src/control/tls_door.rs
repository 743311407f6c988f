//! Where clients connect over TLS: takes connections, shakes hands, and passes them on to the data cores in turn. Off
//! the data cores, because a handshake costs some hundred microseconds of a processor.

use super::Control;
use crate::channels::Handed;
use catraca_core::shard::messages::Peer;
use catraca_tls::{Tls, TlsEnd};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Handshakes at once; more connections wait to be taken. Each has 5 s and some 50 KiB.
const MAX_HANDSHAKES: usize = 256;
/// Pause when no connection can be taken: others have to close first.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Takes connections until the node stops.
pub(super) async fn serve(control: Rc<Control>, listener: TcpListener, tls: Arc<Tls>) {
    let places = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let mut turn = 0_usize;
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                turn = turn.wrapping_add(1);
                let (control, tls, core) =
                    (Rc::clone(&control), Arc::clone(&tls), turn % control.shards());
                tokio::task::spawn_local(async move {
                    let remote = match address.ip() {
                        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                        IpAddr::V6(ip) => ip.octets(),
                    };
                    shake(&control, core, &tls, stream, remote).await;
                    drop(place);
                });
            }
            Err(error) => {
                if let Some(attempts) = control.channels.not_taken.count() {
                    tracing::warn!(%error, attempts, "a client's connection could not be taken; it waits: raise the limit of descriptors");
                }
                sleep(BACK_OFF).await;
            }
        }
    }
}

async fn shake(control: &Control, core: usize, tls: &Tls, stream: TcpStream, remote: [u8; 16]) {
    // An answer that waits for a fuller packet comes late; without it, it still comes.
    let _ = stream.set_nodelay(true);
    let Some((stream, shown)) = tls.accept(stream).await else { return };
    let peer = Peer { remote, certificate: shown.unwrap_or_default() };
    let (stream, connection) = stream.into_inner();
    let Ok(stream) = stream.into_std() else { return };
    // The rings of the data cores wait by themselves.
    if stream.set_nonblocking(false).is_err() {
        return;
    }
    let handed =
        Handed { socket: OwnedFd::from(stream), end: Box::new(TlsEnd::new(connection)), peer };
    // A core that has so many to take has no room for more: the connection ends, and its client comes again.
    if control.channels.handed[core].push(handed).is_ok() {
        control.channels.handed[core].wake();
    }
}
