//! Addresses to listen on.

use crate::fatal::{Failure, Status};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How long a connection to somebody else's listener may take.
const PROBE_TIMEOUT: Duration = Duration::from_millis(200);
/// How long an address may take to come free. The sockets of an earlier run outlive it by the time that the kernel needs to end its rings,
/// and one that starts anew comes back within milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Finds out whether somebody listens on the address already: the cores' own sockets would share it silently, because glommio always
/// sets `SO_REUSEPORT`. Asking for a connection tells, and unlike binding it is not disturbed by what an earlier run left in TIME_WAIT.
/// Port 0 becomes a free one.
pub(super) fn free_address(listen: SocketAddr) -> Result<SocketAddr, Failure> {
    let refuse = |why: String| {
        Failure::new(
            Status::Config,
            format!("can't listen on {listen}: {why}; stop the other process, or choose another with --listen"),
        )
    };
    if listen.port() == 0 {
        return TcpListener::bind(listen).and_then(|listener| listener.local_addr()).map_err(|e| refuse(e.to_string()));
    }
    let mut reachable = listen;
    if listen.ip().is_unspecified() {
        reachable.set_ip(if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    let began = Instant::now();
    while TcpStream::connect_timeout(&reachable, PROBE_TIMEOUT).is_ok() {
        if began.elapsed() > PATIENCE {
            return Err(refuse("somebody answers there already".to_owned()));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(listen)
}
