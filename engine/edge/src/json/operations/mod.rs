//! What operators ask for besides payments: lists, labels, policies. The names are those of the commands.
//!
//! Each file has what a request may hold, and what is answered. Documents stand in bodies and never in a path:
//! paths are in the logs of whatever lies on the way.

mod blacklist;
mod label;
mod lists;
mod policy;
#[cfg(test)]
mod tests;

pub use blacklist::{BlacklistMembers, BlacklistView, read_blacklist};
pub use label::{LabelMembers, LabelView, read_label};
pub use lists::{
    ExemptionMembers, FindMembers, ListMembers, ListView, list_name, read_exemption, read_find,
    read_list,
};
pub use policy::{ComparisonView, PolicyMembers, PolicyView, read_policy};

use super::mistake::{Mistake, member};
use catraca_wire::DocumentKey;
use catraca_wire::client::ClientError;

fn document(name: &str, text: &str) -> Result<DocumentKey, Mistake> {
    DocumentKey::parse(text).map_err(|why| member(name, why))
}

/// What the protocol's own types refuse before anything is sent.
fn refused(name: &str, error: &ClientError) -> Mistake {
    member(name, error)
}
