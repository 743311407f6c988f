//! SIGHUP: certificates are read anew, and the clients of the configuration are read anew, and every core knows them before the next request that it
//! takes. Whose credential is gone is let go, on connections that are open, too.

use super::audit::{self, States};
use super::{Control, changes};
use crate::fatal::Failure;
use crate::signals::StopSignals;
use catraca_core::shard::access::Access;
use catraca_core::shard::messages::ToShard;
use std::rc::Rc;
use std::sync::Arc;

/// Reads the clients that the configuration names now.
pub type ReadClients = Box<dyn Fn() -> Result<Access, Failure>>;

/// Takes the clients anew, whenever it is asked for.
pub(super) async fn clients(
    control: Rc<Control>,
    changes: changes::Handle,
    signals: Arc<StopSignals>,
    read: ReadClients,
) {
    // As they are at the start; a file that was right then may be gone since.
    let mut before = read().map_or([0; 32], |access| access.digest());
    loop {
        signals.reload_asked().await;
        if let Some(tls) = &control.tls {
            catraca_tls::read_anew(tls).await;
        }
        match read() {
            Ok(access) => {
                let (known, after) = (access.len(), access.digest());
                if control.decides() {
                    // A credential that is taken back has to go, whatever becomes of the record.
                    let states = States { before, after };
                    audit::record_anyway(&changes, &audit::of_machine("clients", states)).await;
                }
                before = after;
                let access = Arc::new(access);
                for shard in 0..control.shards() {
                    control.tell(shard, ToShard::SetAccess(Arc::clone(&access))).await;
                }
                tracing::info!(known, "the clients of the configuration were read anew");
            }
            // Nobody gains or loses anything by a file that is wrong.
            Err(error) => tracing::error!(%error, "the clients stay as they were"),
        }
    }
}
