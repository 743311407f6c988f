//! Tokens, keys and issuers, good and bad.

mod issuers;
pub(crate) mod tokens;
