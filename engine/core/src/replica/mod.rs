//! Replication without I/O: who decides in which epoch, what the standby holds, when a record is
//! committed. Knows no clock, no socket and no disk; `catraca_node::replication` moves it with those, the
//! simulator in `tests/` with fakes.
//!
//! ```text
//! primary                                                      standby
//! journal ──block──→ disk                                      state: epoch fence, membership
//!    └──────block──→ Feeder ═══════ connection of a stream ═══→ Follower ──→ disk ──→ dedupe, overlay
//! CommitTracker ←─ack── Feeder ←══════════════════════════════════ ack (durable)
//! Session: all streams caught up → wait for the standby → GRANT ═→ may be promoted without loss
//! ```
//!
//! Who is primary is decided outside the data path, by an arbiter: today an operator's command.
//! [`ReplicaState`] is all that an arbiter changes, and its rules hold whoever calls.

mod arbiter;
mod boundaries;
mod commit;
mod feeder;
mod follower;
pub mod node;
mod opening;
mod session;
mod start;
mod state;

pub use arbiter::NewEpoch;
pub use boundaries::Boundaries;
pub use commit::{CommitTracker, MAX_REPLICAS, ReplicaSlot, WaitsFor};
pub use feeder::{FeedFault, FeedStep, FeedView, Feeder, MAX_UNACKNOWLEDGED};
pub use follower::{FollowFault, Follower, Next, Placed, Taken};
pub use opening::{Opening, Question, Reply};
pub use session::{Session, Step};
pub use start::StartRefused;
pub use state::{FIRST_EPOCH, Fenced, NotPromotable, Peer, ReplicaState};
