//! What decisions depend on besides the transaction, as a start or a promotion finds it.

use catraca_core::blacklist::{Overlay, Snapshot};
use catraca_core::log::policies::PolicyInLog;
use catraca_core::named_lists::NamedLists;
use catraca_core::policy::Policy;
use std::sync::Arc;

/// What is in use.
pub struct InUse {
    /// List in use.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The log says that it is; else that is to be put into the log, for the standby and for the next
    /// start.
    pub list_logged: bool,
    /// Overlay in use.
    pub overlay: Overlay,
    /// Named lists and exemptions.
    pub named: NamedLists,
    /// The policy in force, and the one before.
    pub policies: PolicyInLog,
    /// The one in force, as the cores have it.
    pub policy: Arc<Policy>,
}

impl Default for InUse {
    fn default() -> Self {
        Self {
            snapshot: None,
            list_logged: false,
            overlay: Overlay::default(),
            named: NamedLists::default(),
            policies: PolicyInLog::default(),
            policy: Policy::blacklist_only().into(),
        }
    }
}
