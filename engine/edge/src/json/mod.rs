//! Between JSON and the protocol's frames. Pure; everything from outside is checked here, before a
//! node sees it.

mod answer;
mod mistake;
mod money;
pub mod operations;
mod trace;
mod transaction;

pub use answer::{DecisionView, StoredView};
pub use mistake::Mistake;
pub use money::{MoneyError, centavos};
pub use trace::trace_id;
pub use transaction::{Members, read};
