//! `catraca policy lists`: what a policy's rules look up, changed on a running node.

mod change;
mod import;
mod show;

use crate::commands::Outcome;
use crate::commands::output::{changed, json, lines};
use catraca_wire::frame::ListStateReply;
use catraca_wire::list::{
    Author, ListKeyKind, ListName, ListReason, MAX_AUTHOR_LEN, MAX_LIST_NAME_LEN,
    MAX_LIST_REASON_LEN,
};
use clap::Subcommand;

pub use change::ask;

/// Arguments of `catraca policy lists`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a list of documents, accounts, devices, Pix keys, institutions or networks
    #[command(after_help = change::EXAMPLES)]
    Create(change::CreateArgs),
    /// Put an entry into a list, or change its number and its end
    #[command(after_help = change::EXAMPLES)]
    Set(change::SetArgs),
    /// Take an entry out of a list
    #[command(after_help = change::EXAMPLES)]
    Remove(change::RemoveArgs),
    /// Whether a key is in a list of a running node, and how many are
    #[command(after_help = change::EXAMPLES)]
    Find(change::FindArgs),
    /// Put many entries into a list, out of a CSV file
    #[command(after_help = import::EXAMPLES)]
    Import(import::Args),
    /// The lists of a log, with their entries and the exemptions from rules
    #[command(after_help = show::EXAMPLES)]
    Show(show::Args),
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Create(args) => change::create(args),
        Command::Set(args) => change::set(args),
        Command::Remove(args) => change::remove(args),
        Command::Find(args) => change::find(args),
        Command::Import(args) => import::run(args),
        Command::Show(args) => show::run(args),
    }
}

/// Who changes something, and why.
#[derive(clap::Args, Debug)]
pub struct By {
    /// Who asks for it [default: $USER]
    #[arg(long, value_name = "NAME", value_parser = author)]
    author: Option<Author>,
    /// Why, at most 64 bytes; no personal data
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<ListReason>,
}

impl By {
    /// The author that was given, or this machine's user; the reason, or none.
    pub fn both(&self) -> (Author, ListReason) {
        let user = || std::env::var("USER").ok().and_then(|user| Author::parse(user.trim()));
        let author = self.author.or_else(user).unwrap_or(Author::EMPTY);
        (author, self.reason.unwrap_or(ListReason::EMPTY))
    }
}

/// Who asks for something.
pub fn author(text: &str) -> Result<Author, String> {
    Author::parse(text.trim())
        .ok_or_else(|| format!("an author has at most {MAX_AUTHOR_LEN} bytes, all visible"))
}

/// Why something is asked for.
pub fn reason(text: &str) -> Result<ListReason, String> {
    ListReason::parse(text.trim())
        .ok_or_else(|| format!("a reason has at most {MAX_LIST_REASON_LEN} bytes, all visible"))
}

/// A name of a list, or an id of a rule.
pub fn name(text: &str) -> Result<ListName, String> {
    ListName::parse(text)
        .ok_or_else(|| format!("a name has 1 to {MAX_LIST_NAME_LEN} of a to z, 0 to 9 and -"))
}

/// A kind of keys by its name, with hyphens or underscores.
pub fn kind(text: &str) -> Result<ListKeyKind, String> {
    let name = text.trim().replace('-', "_");
    let found = ListKeyKind::ALL.iter().find(|kind| kind.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = ListKeyKind::ALL.iter().map(|kind| kind.name()).collect();
        format!("give one of {}", names.join(", "))
    })
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A list.
    List,
    /// A key of a list.
    Entry,
    /// An exemption from a rule.
    Exemption,
}

/// What became of a list, of an entry, or of an exemption; `is_change`: that was to be changed, and not only looked up.
pub fn state_text(state: &ListStateReply, about: About, is_change: bool, as_json: bool) -> String {
    let kind = ListKeyKind::from_wire(state.key_kind).map_or("unknown", ListKeyKind::name);
    let (is_in, entries) = match about {
        About::Exemption => ("exempt", "exemptions"),
        About::List | About::Entry => ("in_list", "entries"),
    };
    if as_json {
        return json(&serde_json::json!({
            "changed": state.changed == 1,
            is_in: state.is_in == 1,
            "kind": kind,
            entries: state.entries,
            "all_entries": state.all_entries,
            "lists": state.lists,
            "sequence": state.sequence,
        }));
    }
    let yes = |is: u8| if is == 1 { "yes" } else { "no" }.to_owned();
    let mut rows = vec![
        (entries.to_owned(), format!("{}, by {kind}", state.entries)),
        ("changes".to_owned(), state.sequence.to_string()),
    ];
    // Of a list no key was asked for.
    if about != About::List {
        rows.insert(0, (is_in.replace('_', " "), yes(state.is_in)));
    }
    if is_change {
        rows.insert(0, changed(state.changed == 1));
    }
    lines(&rows)
}
