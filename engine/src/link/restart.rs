//! Starting anew: a node that must forget what it has in memory (it was deposed, or its log was cut) replaces itself with a fresh run of the
//! same program, which finds its place in what is on the disk. There is one way into each role, and it is the one that a crash takes too.

use crate::fatal::{self, Failure, Status};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

static RESTARTER: OnceLock<SyncSender<()>> = OnceLock::new();

/// Prepares for [`now`]. Called first of all: the thread that will start the program anew passes on the processors and the priority that
/// the process began with, whatever other threads were given.
///
/// # Errors
/// [`Status::Environment`] when the thread can't start.
pub fn prepare() -> Result<(), Failure> {
    // A program that was started anew through /proc is called `exe` by the kernel otherwise. A name is all that this is.
    let _ = rustix::thread::set_name(c"catraca");
    let (sender, asked) = sync_channel::<()>(1);
    std::thread::Builder::new()
        .name("restart".to_owned())
        .spawn(move || {
            if asked.recv().is_ok() {
                let mut arguments = std::env::args_os();
                let mut command = Command::new("/proc/self/exe");
                if let Some(name) = arguments.next() {
                    command.arg0(name);
                }
                let error = command.args(arguments).exec();
                fatal::end(&Failure::failed(format!("the program can't start anew ({error}); start it again")));
            }
        })
        .map_err(|e| Failure::new(Status::Environment, format!("the restarting thread can't start: {e}")))?;
    // Prepared twice in one process (tests): the first thread serves as well.
    let _ = RESTARTER.set(sender);
    Ok(())
}

/// Ends this run and begins another, in the same process.
pub fn now() -> ! {
    match RESTARTER.get() {
        Some(restarter) => drop(restarter.try_send(())),
        None => fatal::end(&Failure::failed("the node must start anew; start it again")),
    }
    loop {
        std::thread::park();
    }
}
