//! Disks of a size of their own: mounted in a mount namespace of the node's own (`unshare`), which
//! ends with it: as root, or in a user namespace where the kernel allows that.

use crate::node::{Process, Setup};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounts the disk, and copies onto it what lay in the folder.
const MOUNT: &str = r#"
    set -e
    before=$(mktemp -d)
    cp -a "$3/." "$before"
    mount -t "$1" -o "$2" none "$3"
    test -z "$(ls -A "$before")" || cp -a "$before/." "$3"
    rm -r "$before"
    shift 3
    exec "$@"
"#;

/// The node's command with a file system of its own over the data directory; what lies there
/// already is copied onto it.
///
/// # Panics
/// When the folder can't be made.
pub fn mounted(setup: &Setup, kind: &str, options: &str) -> Command {
    std::fs::create_dir_all(&setup.data_dir).expect("the folder's parent is writable");
    let node = setup.command();
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-c", MOUNT, "sh", kind, options]);
    command.arg(&setup.data_dir).arg(node.get_program()).args(node.get_args());
    for (name, value) in node.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// A path as the process sees it.
///
/// # Panics
/// When the path is relative.
pub fn inside(process: &Process, path: &Path) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", process.pid().as_raw_nonzero()));
    root.join(path.strip_prefix("/").expect("an absolute path"))
}

/// Fills a disk with a file, as far as it goes or to this length.
///
/// # Panics
/// When there is less room.
pub fn ballast(path: &Path, len: usize) {
    std::fs::write(path, vec![1; len]).expect("there was so much room");
}
