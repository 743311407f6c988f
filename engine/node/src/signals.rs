//! SIGTERM and SIGINT, from the first moment of `catraca serve` to its last, SIGHUP, which asks for
//! files to be read anew, and the word of the node itself that another run of the program is to take
//! its place: one thread takes all, so that they have an order.
//!
//! They are blocked before any other thread exists, and one thread takes them. A blocked signal
//! waits: for that thread, for the program that replaces this one when a node starts anew, and for
//! the first process of a container too, for which the kernel throws away what is neither blocked
//! nor handled.

use crate::fatal::{Failure, Status};
use crate::mailbox::{Mailbox, any_message};
use parking_lot::Mutex;
use rustix::process::{Signal, getpid, kill_process};
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The signals that are taken: two stop a node, one has it read files anew, and with the last it wakes the
/// thread that takes them.
const TAKEN: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1];

/// Another run is wanted. Somebody else's SIGUSR1 means nothing.
static ANOTHER_RUN: AtomicBool = AtomicBool::new(false);

fn taken_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset makes a whole set of the memory that it is given, and sigaddset changes
    // one that is whole.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in TAKEN {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Has the signals wait until [`StopSignals::watch`] takes them. Called before anything else:
/// threads inherit it.
///
/// # Errors
/// [`Status::Environment`].
pub fn hold() -> Result<(), Failure> {
    let set = taken_set();
    // SAFETY: pthread_sigmask reads one set, and writes none where it is given no place for it.
    let error =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if error == 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(error);
    Err(Failure::new(Status::Environment, format!("signals can't be held: {error}")))
}

/// Waits for one of the signals.
fn wait() -> io::Result<libc::c_int> {
    let set = taken_set();
    let mut signal = 0;
    // SAFETY: sigwait reads one set and writes one number, both of which outlive the call.
    match unsafe { libc::sigwait(&raw const set, &raw mut signal) } {
        0 => Ok(signal),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Asks the thread that takes signals to begin another run of the program.
///
/// # Errors
/// What the system says.
pub fn ask_for_another_run() -> io::Result<()> {
    ANOTHER_RUN.store(true, Ordering::Release);
    Ok(kill_process(getpid(), Signal::USR1)?)
}

/// What becomes of a signal.
pub struct StopSignals {
    /// There is somebody to stop in order.
    serves: Mutex<bool>,
    told: Mailbox<()>,
    reload: Mailbox<()>,
}

impl StopSignals {
    /// Takes the signals from now on, those that have waited first, on a thread that passes on the
    /// processors and the priority of the calling one. `run_anew` begins another run, when that is
    /// asked for.
    ///
    /// # Errors
    /// [`Status::Environment`] when the thread can't start.
    pub fn watch(run_anew: fn() -> !) -> Result<Arc<Self>, Failure> {
        let signals = Arc::new(Self {
            serves: Mutex::new(false),
            told: Mailbox::new(1),
            reload: Mailbox::new(1),
        });
        let taking = Arc::clone(&signals);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || taking.take(run_anew))
            .map_err(|e| {
                Failure::new(
                    Status::Environment,
                    format!("the thread for signals can't start: {e}"),
                )
            })?;
        Ok(signals)
    }

    fn take(&self, run_anew: fn() -> !) {
        let mut stopping = false;
        loop {
            match wait() {
                // A node that stops is not to come back.
                Ok(libc::SIGUSR1) if ANOTHER_RUN.load(Ordering::Acquire) && !stopping => run_anew(),
                Ok(libc::SIGUSR1) => continue,
                Ok(libc::SIGHUP) => {
                    // Where one waits already, the files are read after this one, too.
                    if self.reload.push(()).is_ok() {
                        self.reload.wake();
                    }
                    continue;
                }
                Ok(_) => stopping = true,
                Err(error) => {
                    tracing::error!(%error, "signals can't be received any more; SIGKILL ends this node, and loses nothing");
                    return;
                }
            }
            let serves = self.serves.lock();
            if !*serves {
                // Nothing was accepted that could be answered, and what is on the disk is made for
                // a crash at any moment. The lock is held to the end, so that nobody begins to
                // serve.
                tracing::info!("stopped before it served");
                std::process::exit(0);
            }
            drop(serves);
            match self.told.push(()) {
                Ok(()) => self.told.wake(),
                Err(()) => tracing::info!("it is stopping already: the signal changes nothing"),
            }
        }
    }

    /// From now on a signal is [`Self::told`] instead of ending the process.
    pub fn serve(&self) {
        *self.serves.lock() = true;
    }

    /// Resolves when SIGHUP has come since the last time.
    pub async fn reload_asked(&self) {
        let others: [&Mailbox<()>; 0] = [];
        any_message(&self.reload, &others).await;
        while self.reload.pop().is_some() {}
    }

    /// Resolves when a signal has come. Those that come after it change nothing.
    pub async fn told(&self) {
        let others: [&Mailbox<()>; 0] = [];
        any_message(&self.told, &others).await;
    }
}
