//! `catraca blacklist synth`: an invented plain list of any size.

use crate::commands::Outcome;
use crate::commands::output::{counted, print};
use catraca_core::blacklist::synthetic::{MAX_SYNTHETIC, document};
use catraca_node::fatal::Failure;
use catraca_node::whole_file::{PUBLIC, WholeFile};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The documents are valid and invented: half CPFs, half CNPJs, one in ten with letters. Some numbers may have been\n\
                        issued to somebody: use such a list for measurements only.\n\n\
                        Example:\n  catraca blacklist synth --entries 1000000 --seed 7 --out million.csv\n  \
                        catraca blacklist build --source plain=million.csv --out million.catraca"
)]
pub(super) struct Args {
    /// How many documents, all different
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=MAX_SYNTHETIC))]
    entries: u64,
    /// The same seed gives the same list
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// CSV file to write; replaced if it is there
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Outcome {
    write(&args.out, args.seed, args.entries).map_err(|error| {
        Failure::failed(format!("{}: the list can't be written: {error}", args.out.display()))
    })?;
    print(
        &format!("{}: {}\n", args.out.display(), counted(args.entries, "document", "documents")),
        ExitCode::SUCCESS,
    )
}

fn write(path: &Path, seed: u64, entries: u64) -> io::Result<()> {
    let mut out = WholeFile::create(path, PUBLIC)?;
    writeln!(out, "document,scope,reason,valid_from,valid_until")?;
    for number in 0..entries {
        writeln!(out, "{},exact,synthetic,,", as_printed(&document(seed, number).to_canonical()))?;
    }
    out.finish()
}

/// With its mask: a few bare CNPJs with leading zeros could be CPFs too, and a build refuses rows
/// that may be somebody else's.
fn as_printed(canonical: &str) -> String {
    let part = |from, to| &canonical[from..to];
    if canonical.len() == 11 {
        format!("{}.{}.{}-{}", part(0, 3), part(3, 6), part(6, 9), part(9, 11))
    } else {
        format!("{}.{}.{}/{}-{}", part(0, 2), part(2, 5), part(5, 8), part(8, 12), part(12, 14))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::DocumentKey;

    #[test]
    fn what_is_printed_is_the_same_document() {
        for number in 0..200 {
            let key = document(7, number);
            assert_eq!(DocumentKey::parse(&as_printed(&key.to_canonical())), Ok(key));
        }
    }
}
