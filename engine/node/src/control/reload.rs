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
    let found = read();
    let mut had_clients = found.as_ref().map_or(true, |access| !access.is_empty());
    let mut before = found.map_or([0; 32], |access| access.digest());
    loop {
        signals.reload_asked().await;
        if let Some(tls) = &control.tls {
            catraca_tls::read_anew(tls).await;
        }
        if let Some(tls) = &control.replication.setup().tls {
            catraca_tls::read_anew(tls).await;
        }
        match read() {
            // Whoever connects could do everything from now on, wherever this node listens.
            Ok(access) if access.is_empty() && had_clients => {
                tracing::error!(
                    "the clients stay as they were: there are none in the configuration now, which wants a restart"
                );
            }
            Ok(access) => {
                had_clients = !access.is_empty();
                let (known, after) = (access.len(), access.digest());
                let access = Arc::new(access);
                for shard in 0..control.shards() {
                    control.tell(shard, ToShard::SetAccess(Arc::clone(&access))).await;
                }
                // A credential that is taken back has to go at once, whatever becomes of the record.
                if control.decides() {
                    let states = States { before, after };
                    let audited = audit::of_machine("clients", states);
                    let _ = audit::record_anyway(&changes, &audited).await;
                }
                before = after;
                tracing::info!(known, "the clients of the configuration were read anew");
            }
            // Nobody gains or loses anything by a file that is wrong.
            Err(error) => tracing::error!(%error, "the clients stay as they were"),
        }
    }
}
