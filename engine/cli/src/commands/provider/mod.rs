//! `catraca provider`: an invented service for validators to ask, which answers from a list and misbehaves when its
//! script says so: for the demo, for tests, and to try a policy without the real one.
//!
//! `script.rs` is the file of answers, `server.rs` listens, `respond.rs` is what a request gets.

mod respond;
mod script;
mod server;

pub use script::{Answer, Fail, Phase, Script};
pub use server::{Provider, TlsSetup};

use super::Outcome;
use super::output::{self, counted};
use catraca_node::fatal::Failure;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Longest file of answers, bytes.
const MAX_SCRIPT_LEN: u64 = 16 * 1024 * 1024;
/// Bounds of `--seconds`: up to a day.
const SECONDS: std::ops::RangeInclusive<f64> = 0.1..=86_400.0;

/// Arguments of `catraca provider`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Answers are named by the last segment of the path, or by a member of a POST's JSON body (by = \"payer.document\"):
  require = { authorization = \"Bearer abc\" }      # any other request is answered 401
  otherwise = { status = 404 }

  [answer.52998224725]
  body = { status = \"regular\" }                   # status = 200

  [[phase]]                                       # how it behaves from when on
  after_ms = 5000
  delay_ms = 250

  [[phase]]
  after_ms = 10000
  status = 503
  retry_after_s = 2

  [[phase]]
  after_ms = 15000
  fail = \"hang\"         # refuse, reset, not-http, hang, drip, truncate, garbage, huge, redirect, gzip-bomb

Examples:
  catraca provider --answers answers.toml --listen 127.0.0.1:8700
  catraca provider --answers answers.toml --cert server.pem --key server.key --client-ca clients.pem
  curl http://127.0.0.1:8700/people/52998224725")]
pub struct Args {
    /// Answers and phases (TOML)
    #[arg(long, value_name = "FILE")]
    answers: PathBuf,
    /// Address to listen on; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Certificate for https, with its chain (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Authorities of clients (PEM): who has no certificate of theirs is turned away
    #[arg(long, value_name = "FILE", requires = "cert")]
    client_ca: Option<PathBuf>,
    /// End after so long, 0.1 to 86400 [default: with Ctrl-C]
    #[arg(long, value_name = "N", value_parser = seconds)]
    seconds: Option<f64>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| SECONDS.contains(number));
    number.ok_or_else(|| format!("{} to {}", SECONDS.start(), SECONDS.end()))
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let script = read(&args.answers)?;
    let tls = args.cert.clone().zip(args.key.clone()).map(|(cert, key)| TlsSetup {
        cert,
        key,
        client_ca: args.client_ca.clone(),
    });
    let provider = Provider::start(args.listen, script, tls.as_ref())?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    output::write(&format!("provider listens on {scheme}://{}\n", provider.address))?;
    let Some(seconds) = args.seconds else {
        loop {
            std::thread::park();
        }
    };
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let text = format!(
        "{} on {}\n",
        counted(provider.requests(), "request", "requests"),
        counted(provider.connections(), "connection", "connections")
    );
    output::print(&text, ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Script, Failure> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_SCRIPT_LEN).read_to_string(&mut text));
    read.map_err(|e| Failure::failed(format!("{}: could not be read: {e}", path.display())))?;
    Script::parse(&text)
        .map_err(|fault| Failure::new(fault.status, format!("{}: {fault}", path.display())))
}
