//! Answers to CLUSTER: what this node is to its cluster, and the operator's wishes about it.

use super::Control;
use super::answer::Asker;
use catraca_wire::frame::{ClusterFrame, ClusterOp, ClusterStateFrame, Durability, ErrorCode, NEVER_HEARD, Role};
use std::rc::Rc;

/// Answers a CLUSTER.
pub(super) async fn request(control: Rc<Control>, asker: Asker, frame: ClusterFrame) {
    let Some(op) = ClusterOp::from_wire(frame.op) else {
        return asker.refuse(&control, ErrorCode::BadField, "op: 1 describe, 2 promote, 3 go_solo").await;
    };
    if frame.force > 1 {
        return asker.refuse(&control, ErrorCode::BadField, "force: 0 or 1").await;
    }
    match op {
        ClusterOp::Describe => asker.answer(&control, bytemuck::bytes_of(&state(&control, asker.correlation)).to_vec()).await,
        ClusterOp::Promote | ClusterOp::GoSolo => {
            asker.refuse(&control, ErrorCode::Failed, "this node has no standby: it decides alone already").await;
        }
    }
}

/// The state of a node that no other one is configured for.
fn state(control: &Control, correlation: u64) -> ClusterStateFrame {
    let mut state = ClusterStateFrame::empty(correlation);
    state.role = Role::Primary.to_wire();
    state.durability = Durability::Single.to_wire();
    state.epoch = control.epoch.into();
    state.node_id = control.data_dir.node_id;
    state.cluster_id = control.data_dir.cluster_id;
    state.silence_ms = NEVER_HEARD.into();
    state
}
