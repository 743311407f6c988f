//! The audit trail in the stream that has it.

use crate::commands::connect::Credential;
use crate::commands::log::{chain_key, document, ip, open, utc};
use catraca_core::log::BlockLocation;
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::LogReader;
use catraca_node::log_files::read::End;
use catraca_wire::client::{AuditEntry, AuditQuery, Client};
use catraca_wire::extension::Audited;
use catraca_wire::frame::{
    BlacklistOp, BreakerForce, ClusterOp, ErrorCode, FrameKind, PolicyOp, text_of,
};
use catraca_wire::list::ListOp;
use catraca_wire::record::{RecordHead, RecordKind};
use clap::Args;
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Stream that has what was asked for besides decisions.
const SHARD: u16 = 0;

/// Where the trail's files are.
#[derive(Args, Debug)]
pub struct Files {
    /// Data directory of a node, or a copy of it
    pub data_dir: PathBuf,
    /// The chain's key [default: chain.key in the data directory, if there]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// Where the trail is: in files, or at a running node.
#[derive(Args, Debug)]
pub struct Source {
    /// Data directory of a node, or a copy of it
    #[arg(required_unless_present = "addr", conflicts_with = "addr")]
    data_dir: Option<PathBuf>,
    /// The chain's key [default: chain.key in the data directory, if there]
    #[arg(long, value_name = "FILE", conflicts_with = "addr")]
    key_file: Option<PathBuf>,
    /// Ask the running node at this address instead, the primary; the permission is `audit`
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,
    #[command(flatten)]
    credential: Credential,
}

/// Which entries are wanted.
#[derive(Args, Debug)]
pub struct Wanted {
    /// Only what was asked for at this time or later
    #[arg(long, value_name = "TIME", value_parser = crate::commands::log::time)]
    from: Option<u64>,
    /// Only what was asked for before this time
    #[arg(long, value_name = "TIME", value_parser = crate::commands::log::time)]
    to: Option<u64>,
    /// Only what this client asked for
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// Only what was refused
    #[arg(long)]
    refused: bool,
    /// Write documents in full
    #[arg(long)]
    pub unmask: bool,
}

impl Wanted {
    /// What to ask a node for.
    fn query(&self) -> AuditQuery {
        AuditQuery { from_ns: self.from.unwrap_or(0), ..AuditQuery::default() }
    }

    /// Whether an entry is.
    pub fn has(&self, entry: &Entry) -> bool {
        let times = self.from.unwrap_or(0)..self.to.unwrap_or(u64::MAX);
        times.contains(&entry.asked_at_ns)
            && self.client.as_ref().is_none_or(|name| entry.client.as_ref() == Some(name))
            && (!self.refused || entry.outcome == "refused")
    }
}

/// An entry, as programs read it.
#[derive(Debug, Serialize)]
pub struct Entry {
    pub lsn: u64,
    pub epoch: u32,
    pub asked_at: String,
    pub asked_at_ns: u64,
    /// What was asked for: the kind of request and its operation.
    pub act: String,
    /// `done`, `unchanged`, `told` or `refused`.
    pub outcome: &'static str,
    /// Why it was refused.
    pub code: Option<&'static str>,
    /// How many requests this stands for.
    pub count: u32,
    pub institution: u16,
    pub client: Option<String>,
    /// The person or program behind the client, as that says.
    pub subject: Option<String>,
    pub remote: Option<String>,
    /// The client that asked on behalf of that one, and where it asked from.
    pub via: Option<String>,
    pub via_remote: Option<String>,
    /// SHA-256 of the certificate that was shown.
    pub certificate: Option<String>,
    pub request_id: Option<String>,
    /// Kind of the record that says so: `audit`, or that of the change.
    pub record: &'static str,
    pub target: Option<String>,
    pub transaction_id: Option<String>,
    /// The person that it is about.
    pub document: Option<String>,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl Entry {
    /// Of a record that has one.
    fn new(head: &RecordHead, audited: &Audited, epoch: u32, unmask: bool) -> Self {
        let hexed = |bytes: &[u8]| bytes.iter().any(|&byte| byte != 0).then(|| hex::encode(bytes));
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let principal = &audited.principal;
        Self {
            lsn: head.lsn.to_native(),
            epoch,
            asked_at: utc(audited.asked_at_ns),
            asked_at_ns: audited.asked_at_ns,
            act: act(audited),
            outcome: audited.outcome.name(),
            code: audited.code.map(ErrorCode::name),
            count: audited.count,
            institution: principal.submitter.institution.to_native(),
            client: text(principal.submitter.name().as_str()),
            subject: text(principal.subject().as_str()),
            remote: ip(&principal.remote),
            via: text(text_of(&audited.via)),
            via_remote: ip(&audited.via_remote),
            certificate: hexed(&principal.certificate),
            request_id: hexed(&principal.request_id),
            record: RecordKind::from_wire(head.kind).map_or("unknown", RecordKind::name),
            target: text(audited.target.as_str()),
            transaction_id: text(text_of(&head.transaction.id)),
            document: document(&head.transaction.payer, unmask),
            before: hexed(&audited.before),
            after: hexed(&audited.after),
        }
    }
}

/// What was asked for, in words.
fn act(audited: &Audited) -> String {
    let Some(kind) = audited.act else {
        return if audited.code.is_some() { "several" } else { "reload" }.to_owned();
    };
    let op = match kind {
        FrameKind::Blacklist => BlacklistOp::from_wire(audited.op).map(BlacklistOp::name),
        FrameKind::Policy => PolicyOp::from_wire(audited.op).map(PolicyOp::name),
        FrameKind::List => ListOp::from_wire(audited.op).map(ListOp::name),
        FrameKind::Cluster => ClusterOp::from_wire(audited.op).map(ClusterOp::name),
        FrameKind::Validator => BreakerForce::from_wire(audited.op).map(BreakerForce::name),
        _ => None,
    };
    let name = kind.name().to_ascii_lowercase();
    op.map_or_else(|| name.clone(), |op| format!("{name} {op}"))
}

/// What is in the trail's stream.
pub enum Found {
    /// An entry.
    Entry(Box<Entry>),
    /// A change that does not say who asked for it.
    Silent(RecordKind, u64),
    /// An entry of a newer version.
    Unreadable,
}

/// How reading ended.
pub struct Read {
    pub is_damaged: bool,
    /// Records of all kinds that were read.
    pub records: u64,
    /// The chain was checked, and not only check sums.
    pub has_key: bool,
}

/// Shows what a log or a node has of it that may be wanted, in order, until the visitor has seen enough. Gives whether
/// that is damaged.
///
/// # Errors
/// The folder is no log, or its key can't be read; the node does not answer, or refuses.
pub fn read(
    source: &Source,
    wanted: &Wanted,
    mut visitor: impl FnMut(Found) -> ControlFlow<()>,
) -> Result<bool, Failure> {
    match (&source.addr, &source.data_dir) {
        (Some(addr), _) => {
            of_node(addr, &source.credential, wanted, &mut visitor)?;
            // A node refuses to tell of a log that is damaged.
            Ok(false)
        }
        (None, Some(data_dir)) => {
            let files = Files { data_dir: data_dir.clone(), key_file: source.key_file.clone() };
            Ok(read_files(&files, wanted.unmask, visitor)?.is_damaged)
        }
        (None, None) => Err(Failure::new(Status::Usage, "give a data directory, or --addr")),
    }
}

/// Shows what a log has of it, in order, until the visitor has seen enough.
///
/// # Errors
/// The folder is no log, or its key can't be read.
pub fn read_files(
    files: &Files,
    unmask: bool,
    mut visitor: impl FnMut(Found) -> ControlFlow<()>,
) -> Result<Read, Failure> {
    let key = chain_key(&files.data_dir, files.key_file.as_ref())?;
    let has_key = key.is_some();
    let log = open(&files.data_dir, key)?;
    let read = of_log(&log, unmask, &mut visitor)?;
    Ok(Read { has_key, ..read })
}

fn of_node(
    addr: &str,
    credential: &Credential,
    wanted: &Wanted,
    visitor: &mut impl FnMut(Found) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let of_node = |error| Failure::failed(format!("node at {addr}: {error}"));
    let mut client = Client::connect(credential.options(addr)?).map_err(of_node)?;
    let mut next = Some(wanted.query());
    while let Some(query) = next {
        let page = client.audit(&query).map_err(of_node)?;
        for entry in &page.entries {
            let AuditEntry { head, epoch, audited } = entry;
            let entry = Entry::new(head, audited, *epoch, wanted.unmask);
            if visitor(Found::Entry(Box::new(entry))).is_break() {
                return Ok(());
            }
        }
        for _ in 0..page.unreadable {
            if visitor(Found::Unreadable).is_break() {
                return Ok(());
            }
        }
        next = page.next;
    }
    Ok(())
}

fn of_log(
    log: &LogReader,
    unmask: bool,
    visitor: &mut impl FnMut(Found) -> ControlFlow<()>,
) -> Result<Read, Failure> {
    let mut records = 0;
    if !log.shards().contains(&SHARD) {
        return Ok(Read { is_damaged: false, records, has_key: false });
    }
    let read = log.records(SHARD, |head, extension, place| {
        records += 1;
        found(head, extension, place, unmask).map_or(ControlFlow::Continue(()), &mut *visitor)
    })?;
    let is_damaged = matches!(read.end, End::Damaged(_));
    Ok(Read { is_damaged, records, has_key: false })
}

fn found(
    head: &RecordHead,
    extension: &[u8],
    place: &BlockLocation,
    unmask: bool,
) -> Option<Found> {
    let lsn = head.lsn.to_native();
    let kind = RecordKind::from_wire(head.kind)?;
    if let Some(audited) = Audited::read(extension) {
        return Some(Found::Entry(Box::new(Entry::new(head, &audited, place.epoch, unmask))));
    }
    match kind {
        RecordKind::Decision | RecordKind::PolicyText => None,
        RecordKind::Audit => Some(Found::Unreadable),
        // A node loads the configured list at its start without being asked.
        RecordKind::SnapshotLoaded => None,
        kind => Some(Found::Silent(kind, lsn)),
    }
}
