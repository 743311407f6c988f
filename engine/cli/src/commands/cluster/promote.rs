//! `catraca promote`: makes a standby the primary.

use super::{change, show};
use crate::commands::Outcome;
use crate::commands::connect::Connect;
use catraca_node::fatal::Failure;
use catraca_wire::client::ClusterState;
use catraca_wire::frame::ClusterRequest;

/// Arguments of `catraca promote`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Promote the standby when the primary is lost, or to move the work. A standby that is in sync holds everything that was ever \
answered: it becomes the primary of a new epoch, and the node that was it can't answer any more, whether it knows or not. One \
that may lack something refuses, and says how far behind it is. With --force it is promoted all the same: decisions that were \
answered, and that only the lost primary has, are lost then, and the same transaction sent again may be decided in another \
way.
The credential needs the permission `admin`. Exit status: 0 it is the primary now, 1 it was not promoted, as one that is the primary already is \
not; `catraca status` tells.

Examples:
  catraca status --addr node-a:7400,node-b:7400
  catraca promote --addr node-b:7400
  catraca promote --addr node-b:7400 --force --json")]
pub struct Args {
    #[command(flatten)]
    connect: Connect,
    /// Promote although answered decisions may be lost
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    show(&args.connect, promote(&args.connect, args.force)?, args.json)
}

/// Promotes the node.
///
/// # Errors
/// When it can't be reached, or refuses.
pub(in crate::commands) fn promote(
    connect: &Connect,
    force: bool,
) -> Result<ClusterState, Failure> {
    change(connect, &ClusterRequest::promote(force), "not promoted")
}
