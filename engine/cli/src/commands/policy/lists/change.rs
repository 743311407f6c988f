//! `catraca policy lists create`, `set`, `remove` and `find`.

use super::{About, By, kind, name, show, state_text};
use crate::commands::Outcome;
use crate::commands::connect::Connect;
use crate::commands::log::time;
use crate::commands::output::print;
use catraca_node::fatal::{Failure, Status};
use catraca_wire::client::ClientError;
use catraca_wire::frame::ListRequest;
use catraca_wire::list::{ListKeyKind, ListName};
use std::path::PathBuf;
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
A rule looks a list up by its name: payee.document in list(\"known-payees\"), and the number of an entry with list(\"limits\")[payer.document].
A change is logged on both nodes, and every core has it, before it is answered; no payment waits. The credential needs the permission `admin`.

Keys: a CPF or CNPJ; the first 8 characters of a CNPJ (company); the keyed hash of an account or a device, a number or hex behind 0x; that of a
Pix key, 32 hex digits; an ISPB; an IP address or a network, 10.0.0.0/8. --until: RFC 3339, or a date or date and time in the zone
of this machine, where the command runs (TZ), and not in that of the policy or the node; a date stands for its midnight, so that the day itself is
not in it.

Examples:
  catraca policy lists create known-payees --kind document
  catraca policy lists set known-payees 11.222.333/0001-81 --until 2027-12-31 --reason \"supplier since 2019\"
  catraca policy lists set limits 529.982.247-25 --value 500000
  catraca policy lists remove known-payees 11.222.333/0001-81 --author ana
  catraca policy lists find known-payees 11.222.333/0001-81 --json
  catraca policy lists find limits 529.982.247-25 --log /var/lib/catraca   # with its number, its end, by whom and why

Exit status: 0 done, or so already; 1 refused. Of find: 0 it is in the list, 3 it is not.";

/// Arguments of `catraca policy lists create`.
#[derive(clap::Args, Debug)]
pub struct CreateArgs {
    /// Name of the list
    #[arg(value_name = "NAME", value_parser = name)]
    list: ListName,
    /// What its keys are: document, company, account, device, pix_key, institution, network
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: ListKeyKind,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `catraca policy lists set`.
#[derive(clap::Args, Debug)]
pub struct SetArgs {
    /// Name of the list
    #[arg(value_name = "NAME", value_parser = name)]
    list: ListName,
    /// What is listed
    key: String,
    /// Its number, which rules may read
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    value: i64,
    /// Until when it counts: RFC 3339, or a date, which is its midnight, or date and time, in this machine's zone (TZ) [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `catraca policy lists remove`.
#[derive(clap::Args, Debug)]
pub struct RemoveArgs {
    /// Name of the list
    #[arg(value_name = "NAME", value_parser = name)]
    list: ListName,
    /// What is listed
    key: String,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `catraca policy lists find`.
#[derive(clap::Args, Debug)]
pub struct FindArgs {
    /// Name of the list
    #[arg(value_name = "NAME", value_parser = name)]
    list: ListName,
    /// What may be listed; left out, only the list is described
    key: Option<String>,
    /// Ask no node, but the log of a data directory or of a copy of it, which has all of an entry: its number, its
    /// end, by whom it is and why
    #[arg(long, value_name = "DIR", requires = "key", conflicts_with = "addr")]
    log: Option<PathBuf>,
    /// With --log: the chain's key [default: chain.key in the data directory, if there]
    #[arg(long, value_name = "FILE", requires = "log")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct Common {
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn create(args: &CreateArgs) -> Outcome {
    let CreateArgs { list, kind, common } = args;
    change(common, *list, About::List, Ok(ListRequest::create(*list, *kind)))
}

pub fn set(args: &SetArgs) -> Outcome {
    let SetArgs { list, key, value, until, common } = args;
    change(common, *list, About::Entry, ListRequest::set(*list, key, *value, until.unwrap_or(0)))
}

pub fn remove(args: &RemoveArgs) -> Outcome {
    change(&args.common, args.list, About::Entry, ListRequest::remove(args.list, &args.key))
}

pub fn find(args: &FindArgs) -> Outcome {
    if let (Some(log), Some(key)) = (&args.log, &args.key) {
        return show::find(log, args.key_file.as_ref(), (args.list, key), args.json);
    }
    let request = match &args.key {
        Some(key) => ListRequest::find(args.list, key).map_err(usage)?,
        None => ListRequest::describe(args.list),
    };
    let state = ask(&args.connect, args.list, &request)?;
    let is_missing = args.key.is_some() && state.is_in == 0;
    let status = if is_missing { ExitCode::from(Status::Found as u8) } else { ExitCode::SUCCESS };
    let about = if args.key.is_some() { About::Entry } else { About::List };
    let mut text = state_text(&state, about, false, args.json);
    if args.key.is_some() && !is_missing && !args.json {
        text.push_str(
            "its number, its end, by whom it is and why: with --log DIR, out of the log\n",
        );
    }
    print(&text, status)
}

fn usage(error: ClientError) -> Failure {
    Failure::new(Status::Usage, error.to_string())
}

fn change(
    common: &Common,
    of: ListName,
    about: About,
    request: Result<ListRequest, ClientError>,
) -> Outcome {
    let (author, reason) = common.by.both();
    let request = request.map_err(usage)?.by(author, reason);
    let state = ask(&common.connect, of, &request)?;
    print(&state_text(&state, about, true, common.json), ExitCode::SUCCESS)
}

/// Has a node carry out one request.
pub fn ask(
    connect: &Connect,
    of: ListName,
    request: &ListRequest,
) -> Result<catraca_wire::frame::ListStateReply, Failure> {
    let mut client = connect.connect()?;
    let answer = client.lists(std::slice::from_ref(request)).pop();
    let answer = answer.expect("each request has an answer");
    answer.map_err(|error| Failure::failed(format!("{of}: {error}")))
}
