//! `catraca policy init`: a policy to begin with, and its tests.

use crate::commands::Outcome;
use crate::commands::output::print;
use catraca_node::fatal::Failure;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca policy init                    # pix.toml and pix-tests.toml, here
  catraca policy init --dir policies
  catraca policy test pix.toml pix-tests.toml

Files that are there already are not touched. Exit status: 0 written, 1 not.";

/// The policy, and its tests.
const FILES: [(&str, &str); 2] =
    [("pix.toml", include_str!("pix.toml")), ("pix-tests.toml", include_str!("pix-tests.toml"))];

/// Arguments of `catraca policy init`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder to write to
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let paths = FILES.map(|(name, text)| (args.dir.join(name), text));
    // Neither is written where one is there: they belong together.
    if let Some((path, _)) = paths.iter().find(|(path, _)| path.exists()) {
        return Err(Failure::failed(format!(
            "{}: it is there already; name another folder with --dir",
            path.display()
        )));
    }
    for (path, text) in &paths {
        write(path, text)
            .map_err(|e| Failure::failed(format!("{}: can't be written: {e}", path.display())))?;
    }
    let written: String = paths.iter().map(|(path, _)| format!("{}\n", path.display())).collect();
    print(&written, ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    File::create_new(path)?.write_all(text.as_bytes())
}
