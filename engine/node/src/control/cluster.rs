//! Answers to CLUSTER: what this node is to its cluster, and the operator's requests about it. The
//! operator is the arbiter: an automatic one would call the same two functions of the replication.

use super::answer::Asker;
use super::{Control, audit, changes};
use catraca_wire::extension::AuditOutcome;
use catraca_wire::frame::{
    ClusterFrame, ClusterOp, ClusterStateFrame, ErrorCode, NEVER_HEARD, Role, fill,
};
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of a block's records by which what a standby lacks is estimated: a record without
/// extension.
const RECORD_LEN: u64 = catraca_wire::record::RECORD_LEN as u64;

/// Answers a CLUSTER.
pub(super) async fn request(
    control: Rc<Control>,
    asker: Asker,
    frame: ClusterFrame,
    changes: changes::Handle,
) {
    let Some(op) = ClusterOp::from_wire(frame.op) else {
        return asker
            .refuse(&control, ErrorCode::BadField, "op: 1 describe, 2 promote, 3 go_solo")
            .await;
    };
    if frame.force > 1 {
        return asker.refuse(&control, ErrorCode::BadField, "force: 0 or 1").await;
    }
    let done = match op {
        ClusterOp::Describe => Ok(()),
        ClusterOp::Promote => promote(&control, frame.force == 1).await,
        ClusterOp::GoSolo => {
            let replication = Arc::clone(&control.replication);
            let standby_is_down = frame.force == 1;
            joined(tokio::task::spawn_blocking(move || replication.go_solo(standby_is_down)).await)
        }
    };
    match done {
        Ok(()) => {
            if asker.act.is_audited() {
                // Neither can wait for its record: without the one nothing becomes durable, and before the
                // other there is nobody who logs.
                let mut audited = asker.audited(AuditOutcome::Done, 1);
                audited.target = audit::target(if frame.force == 1 { "forced" } else { "" });
                let _ = audit::record_anyway(&changes, &audited).await;
            }
            asker
                .answer(&control, bytemuck::bytes_of(&state(&control, asker.correlation)).to_vec())
                .await
        }
        Err(why) => {
            tracing::warn!(%op, why, "an operator's request was refused");
            asker.refuse(&control, ErrorCode::Failed, &why).await;
        }
    }
}

/// Stops following, makes the new epoch durable, and has every shard decide; then the lists are
/// this thread's to change.
async fn promote(control: &Control, force: bool) -> Result<(), String> {
    let replication = Arc::clone(&control.replication);
    let promoted = joined(tokio::task::spawn_blocking(move || replication.promote(force)).await)?;
    let _ = control.promoted.send(promoted.in_use);
    Ok(())
}

fn joined<T>(outcome: Result<Result<T, String>, tokio::task::JoinError>) -> Result<T, String> {
    outcome.unwrap_or_else(|error| Err(format!("it was cut off: {error}")))
}

/// What this node is to its cluster.
fn state(control: &Control, correlation: u64) -> ClusterStateFrame {
    let status = control.replication.status();
    let mut state = ClusterStateFrame::empty(correlation);
    state.role = status.state.role.to_wire();
    state.durability = status.state.durability.to_wire();
    state.in_sync = u8::from(status.in_sync);
    state.connected = u8::from(status.connected);
    state.epoch = status.state.epoch.into();
    state.node_id = control.data_dir.node_id;
    state.cluster_id = control.data_dir.cluster_id;
    state.behind_records = status.behind_records.into();
    state.behind_bytes = (status.behind_records * RECORD_LEN).into();
    state.silence_ms =
        status.last_heard.map_or(NEVER_HEARD, |heard| heard.elapsed().as_millis() as u64).into();
    if let Some(peer) = &status.state.peer {
        state.peer_node_id = peer.node_id;
        fill(&mut state.peer, &peer.replication_address);
        if status.state.role == Role::Standby {
            fill(&mut state.primary, &peer.client_address);
        }
    }
    state
}
