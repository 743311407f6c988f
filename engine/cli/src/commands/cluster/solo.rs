//! `catraca solo`: lets a primary answer without its standby.

use super::{change, show};
use crate::commands::Outcome;
use crate::commands::connect::Connect;
use catraca_wire::frame::ClusterRequest;

/// Arguments of `catraca solo`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
A primary that has lost its standby answers nothing, because no answer would be safe on both. `solo` lets it go on alone: the \
decision is recorded, answers are safe on its disk only, and WELCOME and the metrics say so until the standby has caught up.
A standby that is connected is told first that it is no longer in sync. One that can't be told still takes itself to be in \
sync, and promoted later it would lack what was answered meanwhile; so the node refuses then, unless --standby-is-down is \
given. That is your word that the standby is down, or cut off, and will not be promoted before it has caught up.
The credential needs the permission `admin`. Exit status: 0 it answers alone now, 1 it does not.

Examples:
  catraca solo --addr node-a:7400
  catraca solo --addr node-a:7400 --standby-is-down")]
pub struct Args {
    #[command(flatten)]
    connect: Connect,
    /// The standby is down, and will not be promoted before it has caught up
    #[arg(long)]
    standby_is_down: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let state = change(
        &args.connect,
        &ClusterRequest::go_solo(args.standby_is_down),
        "the node does not answer alone",
    )?;
    show(&args.connect, state, args.json)
}
