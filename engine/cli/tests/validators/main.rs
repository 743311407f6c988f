//! Validators over real sockets: what an attempt comes to, however badly the service behaves. The provider is in this process, on a free port of loopback.

mod failures;
mod secrets;
mod support;
mod tls;
