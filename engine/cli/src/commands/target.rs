//! Where records go that a command writes for other programs: standard output, or a file that appears when it is whole.

use super::output;
use catraca_node::fatal::Failure;
use catraca_node::whole_file::{GROUP, WholeFile};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Bytes gathered before they are written.
const BUFFER_LEN: usize = 256 * 1024;

/// Where bytes go.
pub enum Target {
    Stdout(BufWriter<io::Stdout>),
    File(WholeFile),
}

impl Target {
    /// The file that is named, else standard output.
    pub fn open(out: Option<&PathBuf>) -> io::Result<Self> {
        match out {
            Some(path) => WholeFile::create(path, GROUP).map(Self::File),
            None => Ok(Self::Stdout(BufWriter::with_capacity(BUFFER_LEN, io::stdout()))),
        }
    }

    /// All was written.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Stdout(mut stdout) => stdout.flush(),
            Self::File(file) => file.finish(),
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

/// What a command ends with that could not write there.
pub fn cannot_write(out: Option<&Path>, error: &io::Error) -> Failure {
    match out {
        Some(out) => {
            Failure::failed(format!("{}: the export can't be written: {error}", out.display()))
        }
        None => output::failure(error),
    }
}

/// How writing ended: who reads a pipe and closes it has seen enough.
pub fn written(out: Option<&Path>, outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe && out.is_none() => Ok(()),
        other => other.map_err(|error| cannot_write(out, &error)),
    }
}
