//! The addresses of a host, by the system's resolver. A look-up has a thread of its own, is never made twice at
//! once, and one that fails leaves the last good answer where it was.

use parking_lot::Mutex;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long an answer is taken without looking again: the system's resolver does not say for how long it is good.
const FRESH: Duration = Duration::from_secs(10);
/// How long is waited for a new answer where there is an older one: a resolver that hangs costs no attempt its time.
const PATIENCE: Duration = Duration::from_millis(100);
/// Addresses of a host that are tried at most: each gets its part of the time.
pub(super) const MAX_ADDRESSES: usize = 4;

type Resolve = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// A host and what is known of its addresses.
pub(super) struct Names {
    host: String,
    port: u16,
    resolve: Box<Resolve>,
    known: Mutex<Known>,
    /// Counts look-ups that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    last_good: Option<Arc<[SocketAddr]>>,
    looked_up: Option<Instant>,
    is_under_way: bool,
    fault: String,
}

impl Names {
    pub(super) fn new(host: &str, port: u16) -> Arc<Self> {
        Self::by(host, port, |host, port| (host, port).to_socket_addrs().map(Iterator::collect))
    }

    fn by(
        host: &str,
        port: u16,
        resolve: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            host: host.to_owned(),
            port,
            resolve: Box::new(resolve),
            known: Mutex::default(),
            ended: watch::Sender::new(0),
        })
    }

    /// Its addresses, at least one. Without an older answer it waits for the look-up: the caller has a deadline.
    ///
    /// # Errors
    /// What the resolver says, where there never was an answer.
    pub(super) async fn addresses(self: &Arc<Self>) -> Result<Arc<[SocketAddr]>, String> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(address, self.port)].into());
        }
        let (mut ended, last_good) = {
            let mut known = self.known.lock();
            let is_fresh = known.looked_up.is_some_and(|at| at.elapsed() < FRESH);
            match &known.last_good {
                Some(good) if is_fresh => return Ok(Arc::clone(good)),
                _ => {}
            }
            let ended = self.ended.subscribe();
            if !known.is_under_way {
                known.is_under_way = true;
                let names = Arc::clone(self);
                tokio::task::spawn_blocking(move || names.look_up());
            }
            (ended, known.last_good.clone())
        };
        match last_good {
            Some(_) => drop(tokio::time::timeout(PATIENCE, ended.changed()).await),
            None => drop(ended.changed().await),
        }
        let known = self.known.lock();
        known.last_good.clone().ok_or_else(|| format!("{}: {}", self.host, known.fault))
    }

    /// Has the next connection look again: at none of the addresses was anybody.
    pub(super) fn were_no_good(&self) {
        self.known.lock().looked_up = None;
    }

    fn look_up(&self) {
        let came = (self.resolve)(&self.host, self.port);
        let mut known = self.known.lock();
        known.is_under_way = false;
        match came {
            Ok(mut addresses) if !addresses.is_empty() => {
                addresses.truncate(MAX_ADDRESSES);
                known.last_good = Some(addresses.into());
                known.looked_up = Some(Instant::now());
            }
            Ok(_) => known.fault = "the name has no address".to_owned(),
            Err(error) => known.fault = format!("the name could not be looked up: {error}"),
        }
        drop(known);
        self.ended.send_modify(|ended| *ended += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let came = runtime.block_on(future);
        runtime.shutdown_background();
        came
    }

    fn address() -> SocketAddr {
        "192.0.2.1:443".parse().expect("an address")
    }

    #[test]
    fn the_last_good_answer_is_kept_where_a_look_up_fails_or_hangs() {
        let times = AtomicUsize::new(0);
        let names =
            Names::by("a.example", 443, move |_, _| match times.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(vec![address(); 9]),
                1 => Err(io::Error::other("down")),
                2 => Ok(Vec::new()),
                _ => {
                    std::thread::sleep(Duration::from_secs(3));
                    Err(io::Error::other("down"))
                }
            });
        run(async {
            let began = Instant::now();
            for _ in 0..5 {
                let addresses = names.addresses().await.expect("the last good one");
                assert_eq!(addresses[..], [address(); MAX_ADDRESSES]);
                names.were_no_good();
            }
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        });
    }

    #[test]
    fn a_name_that_never_had_an_address_is_a_fault_and_many_ask_once() {
        let times = Arc::new(AtomicUsize::new(0));
        let asked = Arc::clone(&times);
        let names = Names::by("a.example", 443, move |_, _| {
            asked.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(100));
            Err(io::Error::other("no such host"))
        });
        run(async {
            let (one, other) = tokio::join!(names.addresses(), names.addresses());
            let fault = one.expect_err("there is none");
            assert!(fault.contains("a.example") && fault.contains("no such host"), "{fault}");
            assert!(other.is_err());
        });
        assert_eq!(times.load(Ordering::SeqCst), 1);
    }
}
