//! Where clients connect over TLS: takes connections, shakes hands, and passes them on to the data cores in turn. Off
//! the data cores, because a handshake costs some hundred microseconds of a processor.

use super::Control;
use crate::balancers::recorded;
use crate::channels::Handed;
use catraca_core::shard::messages::Peer;
use catraca_tls::proxied::{self, Refused};
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
/// PROXY headers that are waited for at once, 5 s each; more connections of load balancers are closed. A header comes with
/// the first packet, so they are few, and those that hang keep nobody from shaking hands.
const MAX_WAITING: usize = 256;
/// Pause when no connection can be taken: others have to close first.
const BACK_OFF: Duration = Duration::from_millis(200);

/// What a connection passes before it is handed on.
struct Door {
    control: Rc<Control>,
    tls: Arc<Tls>,
    waiting: Semaphore,
    handshakes: Semaphore,
}

/// Takes connections until the node stops.
pub(super) async fn serve(control: Rc<Control>, listener: TcpListener, tls: Arc<Tls>) {
    let waiting = if control.balancers.is_empty() { 0 } else { MAX_WAITING };
    let places = Arc::new(Semaphore::new(MAX_HANDSHAKES + waiting));
    let door = Rc::new(Door {
        control,
        tls,
        waiting: Semaphore::new(waiting),
        handshakes: Semaphore::new(MAX_HANDSHAKES),
    });
    let mut turn = 0_usize;
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                turn = turn.wrapping_add(1);
                let (door, core) = (Rc::clone(&door), turn % door.control.shards());
                tokio::task::spawn_local(async move {
                    door.pass(stream, address.ip(), core).await;
                    drop(place);
                });
            }
            Err(error) => {
                if let Some(attempts) = door.control.channels.not_taken.count() {
                    tracing::warn!(%error, attempts, "a client's connection could not be taken; it waits: raise the limit of descriptors");
                }
                sleep(BACK_OFF).await;
            }
        }
    }
}

impl Door {
    /// Has a connection say whom it is from, where it is a load balancer's, and shakes hands.
    async fn pass(&self, mut stream: TcpStream, address: IpAddr, core: usize) {
        // An answer that waits for a fuller packet comes late; without it, it still comes.
        let _ = stream.set_nodelay(true);
        let source = if self.control.balancers.believes(address) {
            match self.source(&mut stream, address).await {
                Ok(source) => source,
                Err(why) => return self.control.balancers.refuse(address, why),
            }
        } else {
            address
        };
        let Ok(_place) = self.handshakes.acquire().await else { return };
        shake(&self.control, core, &self.tls, stream, recorded(source)).await;
    }

    /// Whom the connection of a load balancer is from.
    async fn source(&self, stream: &mut TcpStream, balancer: IpAddr) -> Result<IpAddr, Refused> {
        let _waits = self.waiting.try_acquire().map_err(|_| Refused::TooMany)?;
        let Some(source) = proxied::take(stream).await? else { return Ok(balancer) };
        tracing::debug!(%balancer, %source, "a connection through a load balancer");
        Ok(source)
    }
}

async fn shake(control: &Control, core: usize, tls: &Tls, stream: TcpStream, remote: [u8; 16]) {
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
