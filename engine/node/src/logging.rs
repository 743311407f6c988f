//! The program's own log: human on a terminal, JSON otherwise. Never per transaction, never a
//! document in full.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Crates of which only warnings matter to an operator. Glommio says much at `info` about each ring, and those of HTTP at
/// `debug` about each request, which is somebody's payment. The client of RabbitMQ has messages and the password at `trace`, and
/// calls each end of a connection an error, which the intake tells itself.
const QUIET: &str = "glommio=warn,h2=warn,hyper_util=warn,lapin=off,amq_protocol=off";

/// Sends `tracing` to standard error at `level` (`info`, `catraca=debug`, …). Standard output
/// belongs to results.
///
/// # Errors
/// When the level is not understood.
pub fn start(level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{level},{QUIET}")).map_err(|error| {
        format!(
            "log level {level:?} is not understood: {error}; use error, warn, info, debug or trace"
        )
    })?;
    // A line that nobody can take is dropped: saying so on the same closed pipe would end the
    // process.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    // A second start in one process (the demo, tests) keeps the first.
    let _ = if std::io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().try_init()
    };
    Ok(())
}
