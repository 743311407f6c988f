//! Between JSON and the protocol's frames. Pure; everything from outside is checked here, before a
//! node sees it.

mod answer;
mod money;
mod trace;
mod transaction;

pub use answer::{DecisionView, StoredView};
pub use money::{MoneyError, centavos};
pub use trace::trace_id;
pub use transaction::{Members, Mistake, read};
