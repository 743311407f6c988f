//! Validators over real sockets: what an attempt comes to, however badly the service behaves, and `catraca policy ask`
//! and `catraca provider` from the shell. The provider is in this process, on a free port of loopback.

mod command;
mod failures;
mod secrets;
mod support;
mod tls;
