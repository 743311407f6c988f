//! Tests with an issuer that is played.

mod issuers;
mod tokens;

use super::clients::tests::client;
use super::{Auth, Client, Clients};
use catraca_tokens::testing::{Served, expected};

/// Clients by token: `bank`, and `branch` with a certificate of ones.
fn auth_of(served: &Served) -> Auth {
    let branch = Client { certificate: Some([1; 32]), ..client("branch") };
    let clients = Clients::new(vec![client("bank"), branch], true).expect("sound");
    Auth::new(clients, Some((served.source(), expected())))
}
