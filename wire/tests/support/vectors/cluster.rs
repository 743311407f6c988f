//! Golden vectors of CLUSTER and CLUSTER_STATE.

use super::frames::{of, vector};
use super::samples::filled;
use super::shapes::{bytes, fields, large, small, text};
use catraca_wire::frame::*;
use serde_json::Value;

/// Every operation, with and without force.
pub fn requests() -> [Value; 3] {
    [
        request("cluster_describe", ClusterOp::Describe, 0),
        request("cluster_promote_forced", ClusterOp::Promote, 1),
        request("cluster_go_solo", ClusterOp::GoSolo, 0),
    ]
}

fn request(name: &str, op: ClusterOp, force: u8) -> Value {
    let request = ClusterRequest {
        header: of(FrameKind::Cluster, ClusterFrame::LEN, 0, 14),
        op: op.to_wire(),
        force,
        reserved: [0; 6],
    };
    let fields = fields!(request; small: op, force; bytes: reserved;);
    vector(name, request.header, bytemuck::bytes_of(&ClusterFrame::from(&request)), fields)
}

fn cluster_state(name: &str, state: ClusterStateReply) -> Value {
    let fields = fields!(state;
        small: role, durability, in_sync, connected, epoch;
        bytes: node_id, cluster_id, peer_node_id, reserved;
        large: behind_records, behind_bytes, silence_ms;
        text: primary, peer;
    );
    vector(name, state.header, bytemuck::bytes_of(&ClusterStateFrame::from(&state)), fields)
}

/// A node alone, a primary whose standby holds everything, and a standby that lacks some and has
/// lost its primary.
pub fn states() -> [Value; 3] {
    let alone = ClusterStateReply {
        header: of(FrameKind::ClusterState, ClusterStateFrame::LEN, 0, 14),
        role: Role::Primary.to_wire(),
        durability: Durability::Single.to_wire(),
        in_sync: 0,
        connected: 0,
        epoch: 1,
        node_id: std::array::from_fn(|i| 0x10 + i as u8),
        cluster_id: std::array::from_fn(|i| 0x20 + i as u8),
        peer_node_id: [0; 16],
        behind_records: 0,
        behind_bytes: 0,
        silence_ms: NEVER_HEARD,
        primary: [0; MAX_ADDRESS_LEN],
        peer: [0; MAX_ADDRESS_LEN],
        reserved: [0; 64],
    };
    let in_sync = ClusterStateReply {
        durability: Durability::Sync.to_wire(),
        in_sync: 1,
        connected: 1,
        epoch: 3,
        peer_node_id: std::array::from_fn(|i| 0x30 + i as u8),
        silence_ms: 12,
        peer: filled("node-b.example.com:7401"),
        ..alone
    };
    let behind = ClusterStateReply {
        role: Role::Standby.to_wire(),
        in_sync: 0,
        connected: 0,
        epoch: u32::MAX,
        behind_records: 1_234,
        behind_bytes: u64::MAX,
        silence_ms: 4_500,
        primary: filled(&format!("{}:7400", "p".repeat(MAX_ADDRESS_LEN - 5))),
        ..in_sync
    };
    [
        cluster_state("cluster_state_single", alone),
        cluster_state("cluster_state_in_sync", in_sync),
        cluster_state("cluster_state_behind", behind),
    ]
}
