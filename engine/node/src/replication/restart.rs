//! Starting anew: a node that must forget what it has in memory (it was demoted, or its log was
//! cut) replaces itself with a fresh run of the same program, which finds its place in what is on
//! the disk. There is one way into each role, and it is the one that a crash takes too.

use crate::fatal::{self, Failure};
use crate::signals;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Ends this run and begins another, in the same process; unless the node stops: then that goes on,
/// and the calling thread rests.
///
/// The thread that takes signals does it ([`run_anew`]), so that none is lost between the two: what
/// it has taken stops this run, and what it has not taken waits for the next one.
pub fn now() -> ! {
    if let Err(error) = signals::ask_for_another_run() {
        fatal::end(&Failure::failed(format!(
            "the program can't start anew ({error}); start it again"
        )));
    }
    loop {
        std::thread::park();
    }
}

/// Replaces the program by another run of it, which gets the processors and the priority of the
/// calling thread.
pub fn run_anew() -> ! {
    let mut arguments = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).exec();
    fatal::end(&Failure::failed(format!("the program can't start anew ({error}); start it again")));
}
