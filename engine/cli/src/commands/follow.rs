//! A process that ends with the one that started it: nodes and doors of a demo.

use catraca_node::fatal::{Failure, Status};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Whether that is wanted.
#[derive(clap::Args, Debug)]
pub(super) struct Follow {
    /// Be killed when the process of this id, which started this one, ends
    #[arg(long, value_name = "PID", hide = true)]
    end_with: Option<i32>,
}

impl Follow {
    /// Lets the kernel kill this process when its parent ends, however it does: nothing that was
    /// answered is lost, and nothing stays behind.
    pub(super) fn follow(&self) -> Result<(), Failure> {
        let Some(parent) = self.end_with else { return Ok(()) };
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| {
            Failure::new(Status::Environment, format!("can't follow process {parent}: {e}"))
        })?;
        // It may have ended before it was followed.
        match getppid() {
            Some(pid) if pid.as_raw_pid() == parent => Ok(()),
            _ => Err(Failure::failed(format!(
                "process {parent} is not the one that started this one, or it has ended"
            ))),
        }
    }
}
