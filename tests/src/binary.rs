//! The `catraca` program under test: where it is, and that it is what the sources say.
//!
//! Cargo tells a test the path of programs of its own package only. The engine's lies two folders
//! above the test's own executable; where it is missing, or older than its sources, it is built
//! once, under a lock that all tests of a run share.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Packages whose sources the program is made of.
const PACKAGES: [&str; 8] = [
    "engine/core",
    "engine/node",
    "engine/edge",
    "engine/tls",
    "engine/tokens",
    "engine/cli",
    "loadgen",
    "wire",
];

/// The folder of this profile's artefacts, `target/debug` for one.
///
/// # Panics
/// When the test, or the bench, does not run out of a target folder.
pub fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("a running test has an executable");
    let folder = exe.parent().expect("a test runs as target/<profile>/deps/<name>");
    // A bench runs as target/<profile>/<name>.
    let is_test = folder.ends_with("deps");
    let profile = if is_test { folder.parent() } else { Some(folder) };
    profile.expect("it lies in a profile's folder").to_owned()
}

/// The folder for the tests' own files: on a disk, beside the build's artefacts.
///
/// # Panics
/// When it can't be made.
pub fn scratch_dir() -> PathBuf {
    let dir = profile_dir().parent().expect("a profile lies in the target folder").join("tmp");
    fs::create_dir_all(&dir).expect("the target folder is writable");
    dir
}

/// The workspace's root.
pub fn workspace_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// The `catraca` program, built if need be.
///
/// # Panics
/// When it can't be built.
pub fn catraca() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let program = profile_dir().join("catraca");
        let lock = File::options()
            .create(true)
            .append(true)
            .open(scratch_dir().join("build.lock"))
            .expect("the scratch folder");
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .expect("a lock on a file just opened");
        // The stamp tells of a build that left the program as it was, because only times had
        // changed.
        let stamp = scratch_dir().join("build.stamp");
        let built = modified(&program).map(|at| at.max(modified(&stamp).unwrap_or(at)));
        if built.is_none_or(|at| at < newest_source()) {
            build();
            fs::write(&stamp, b"").expect("the scratch folder is writable");
        }
        assert!(program.exists(), "{} was not built; build the workspace first", program.display());
        program
    })
}

fn build() {
    let profile = profile_dir()
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace_dir()).args([
        "build",
        "--package",
        "catraca-cli",
        "--bin",
        "catraca",
    ]);
    // Wherever the tests themselves were built.
    cargo
        .arg("--target-dir")
        .arg(profile_dir().parent().expect("a profile lies in the target folder"));
    if profile != "debug" {
        cargo.args(["--profile", &profile]);
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the program under test does not build");
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

fn newest_source() -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut folders: Vec<PathBuf> =
        PACKAGES.iter().map(|package| workspace_dir().join(package).join("src")).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the sources are there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(at) = modified(&path) {
                newest = newest.max(at);
            }
        }
    }
    newest
}

/// The folder of a program that scripts/setup.sh installs beside cargo's.
///
/// # Panics
/// Where it is not there.
pub fn tool(name: &str, version: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let place = cargo.expect("there is a home").join("catraca-tools");
    let place = place.join(format!("{name}-{version}"));
    assert!(place.is_dir(), "{} is missing: run scripts/setup.sh", place.display());
    place
}
