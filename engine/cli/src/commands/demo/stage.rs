//! What the demo plays on: its folder, what a person reads of it, and Ctrl-C.

use crate::commands::{Outcome, output};
use catraca_node::fatal::Failure;
use parking_lot::Mutex;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// `f_type` of tmpfs (linux/magic.h), where a log would not survive a restart.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// What a person reads; nothing where a program does.
pub struct Say {
    /// A program reads.
    pub quiet: bool,
    /// Why something could not be printed, the first time.
    unwritten: Mutex<Option<Failure>>,
}

impl Say {
    /// To a person, or to nobody.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, unwritten: Mutex::default() }
    }

    /// Prints what either reads. The demo goes on when it can't be printed, so that its nodes end
    /// in order: [`Self::finish`] tells.
    pub fn print(&self, text: &str) {
        if let Err(failure) = output::write(text) {
            self.unwritten.lock().get_or_insert(failure);
        }
    }

    /// Fails if anything could not be printed. A closed pipe is no failure.
    pub fn finish(self) -> Result<(), Failure> {
        self.unwritten.into_inner().map_or(Ok(()), Err)
    }

    /// Begins a part.
    pub fn heading(&self, text: &str) {
        self.text(&format!("\n== {text}"));
    }

    /// A paragraph or a table.
    pub fn text(&self, text: &str) {
        if !self.quiet {
            self.print(&format!("{}\n", text.trim_end()));
        }
    }

    /// What an operator would type.
    pub fn command(&self, line: &str) {
        self.text(&format!("  $ {line}"));
    }
}

/// Whether somebody pressed Ctrl-C. The first time all is ended in order, the second time at once.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on.
    pub fn listen() -> Result<Self, Failure> {
        let told = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&told))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&told)))
                .map_err(|e| Failure::failed(format!("can't listen for signal {signal}: {e}")))?;
        }
        Ok(Self(told))
    }

    /// Whether it is time to end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails when it is time to end.
    pub fn check(&self) -> Result<(), Failure> {
        if self.is_set() {
            Err(Failure::failed("interrupted before all was shown; the nodes were stopped"))
        } else {
            Ok(())
        }
    }
}

/// The folder asked for, or a new one on a disk that outlasts the power.
pub fn folder(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    let create = |path: &Path| {
        std::fs::create_dir_all(path).map_err(|e| {
            Failure::failed(format!("{}: the folder can't be made: {e}", path.display()))
        })
    };
    if let Some(path) = asked {
        create(path)?;
        if std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Failure::failed(format!(
                "{} is not empty: name another folder with --data-dir",
                path.display()
            )));
        }
        return std::path::absolute(path)
            .map_err(|e| Failure::failed(format!("{}: {e}", path.display())));
    }
    let volatile =
        |path: &Path| rustix::fs::statfs(path).is_ok_and(|s| s.f_type & 0xffff_ffff == TMPFS_MAGIC);
    let current = std::env::current_dir().unwrap_or_default();
    let parent = [std::env::temp_dir(), PathBuf::from("/var/tmp"), current]
        .into_iter()
        .find(|path| path.is_dir() && !volatile(path));
    let parent = parent.ok_or_else(|| {
        Failure::failed("no folder for temporary files is on a disk: name one with --data-dir")
    })?;
    let name = format!(
        "catraca-demo-{}-{}",
        jiff::Zoned::now().strftime("%Y%m%d-%H%M%S"),
        std::process::id()
    );
    let path = parent.join(name);
    create(&path)?;
    Ok(path)
}

/// Ends a demo that came out so: says what it left, also where it failed.
pub fn end(say: Say, folder: &Path, shown: Result<(), Failure>) -> Outcome {
    let left = left(folder);
    match &shown {
        Ok(()) => say.text(&format!("\n{left}")),
        Err(_) => output::note(&left),
    }
    let written = say.finish();
    shown.and(written).map(|()| ExitCode::SUCCESS)
}

/// What is left, how large it is, and how to remove it.
fn left(folder: &Path) -> String {
    let mib = folder_len(folder) as f64 / f64::from(1 << 20);
    let size =
        if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) };
    let path = folder.display().to_string();
    let is_plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(&b));
    let quoted = if is_plain { path.clone() } else { format!("'{}'", path.replace('\'', r"'\''")) };
    format!("{size} are left in {path}. When you have seen enough, remove them: rm -r {quoted}")
}

/// Bytes that the files below a folder take.
pub fn folder_len(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_len(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// What a command of this program prints in the demo's folder; `found` is a status beside 0 that is no failure.
///
/// # Errors
/// It can't be run, or fails: what it says.
pub fn output(folder: &Path, args: &[&str], found: Option<i32>) -> Result<String, Failure> {
    let failed =
        |e: &dyn std::fmt::Display| Failure::failed(format!("catraca {}: {e}", args.join(" ")));
    let program = std::env::current_exe().map_err(|e| failed(&e))?;
    let output =
        Command::new(program).args(args).current_dir(folder).output().map_err(|e| failed(&e))?;
    if !output.status.success() && (found.is_none() || output.status.code() != found) {
        return Err(failed(&String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
